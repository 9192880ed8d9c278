//! A few journeys, one of each kind. `./host-tests/run versions` runs them on every Envoy that the README names.

use std::{env, fs};

use selvage_rig::envoy::{Gateway, repository};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Origin};

use crate::{assert_forwarded, assert_hit, assert_says, becomes};

const TOKEN: &str = "a-token-of-some-length";

/// An origin whose every path is fresh for an hour, and says how often it was asked.
fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("answer {}", request.before)));
    origin
}

#[test]
fn the_filter_starts_and_answers_from_its_store() {
    let origin = origin();
    let gateway = Gateway::by_default().origin(origin.url()).start();
    if let Some(version) = env::var_os("SELVAGE_ENVOY_VERSION") {
        let information = gateway.admin("/server_info");
        let version = version.to_str().unwrap();
        assert!(information.contains(&format!("/{version}/")), "not {version}: {information}");
    }
    assert_forwarded(&gateway.get("/a").send(), "uri-miss", "answer 0");
    assert_hit(&gateway.get("/a").send(), "answer 0");
    origin.on("/text", |_| Answer::fresh("text ".repeat(2_000)).header("content-type", "text/plain"));
    gateway.get("/text").send();
    let small =
        becomes(|| gateway.get("/text").header("accept-encoding", "gzip").send(), |answer| answer.is_hit());
    assert_eq!(small.header("content-encoding").as_deref(), Some("gzip"));
    let part = gateway.get("/text").header("range", "bytes=5-8").send();
    assert_eq!((part.status, part.text().as_str()), (206, "text"));
    gateway.assert_sound();
}

#[test]
fn what_is_purged_is_gone_from_every_worker() {
    let origin = origin();
    let gateway =
        Gateway::by_default().origin(origin.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
    let get = || gateway.get("/a").header("host", "shop.example").send();
    get();
    for _ in 0..4 {
        assert_hit(&get(), "answer 0");
    }
    let purge = || gateway.ask("PURGE", "/a").header("host", "shop.example");
    assert_eq!(purge().send().status, 401);
    assert_eq!(purge().header("authorization", format!("Bearer {TOKEN}")).send().status, 200);
    // The other worker hears of it within `node.poll`.
    becomes(get, |answer| answer.text() == "answer 1");
    gateway.assert_sound();
}

#[test]
fn a_wrong_configuration_is_refused_with_its_paths() {
    let refused = Gateway::with(r#"{ "worker": { "bytes": "12 parsecs" }, "rulez": [] }"#);
    let refused = refused.origin("http://127.0.0.1:9").try_start().err().unwrap();
    assert!(!refused.status.success());
    for fault in ["worker.bytes: found \"12 parsecs\"", "rulez: found an unknown member"] {
        assert!(refused.output.contains(fault), "{fault:?} is not in\n{}", refused.output);
    }
}

#[test]
fn a_keyed_body_is_held_until_it_is_here() {
    let origin = origin();
    let rule = r#"{ "rules": [{ "name": "search", "match": { "paths": ["/search"] }, "key": { "body": { "methods": ["POST"] } } }] }"#;
    let gateway = Gateway::with(rule).origin(origin.url()).start();
    let search = |words: &str| gateway.ask("POST", "/search").body(words).send();
    assert_forwarded(&search("shoes"), "uri-miss", "answer 0");
    assert_hit(&search("shoes"), "answer 0");
    assert_forwarded(&search("hats"), "uri-miss", "answer 1");
    gateway.assert_sound();
}

#[test]
fn what_one_envoy_stores_another_has_from_redis() {
    let (origin, bridge) = (origin(), Bridge::start());
    let configuration = r#"{ "remote": { "enabled": true, "timeout": "1s" } }"#;
    let envoys =
        [0, 1].map(|_| Gateway::with(configuration).bridge(bridge.port()).origin(origin.url()).start());
    for gateway in &envoys {
        // Before it has answered its first probe the store is not used.
        becomes(|| gateway.get("/probe").send(), |_| gateway.stat("remote_state.ready") >= 1);
    }
    let get = |gateway: &Gateway| gateway.get("/a").header("host", "shop.example").send();
    assert_forwarded(&get(&envoys[0]), "uri-miss", "answer 0");
    becomes(|| envoys[0].get("/probe").send(), |_| bridge_has_two(&envoys[0]));
    let hit = get(&envoys[1]);
    assert_hit(&hit, "answer 0");
    assert_says(&hit, "detail=remote");
    envoys.iter().for_each(Gateway::assert_sound);
}

/// Both records of this Envoy, the probe's and the other one, are in Redis.
fn bridge_has_two(gateway: &Gateway) -> bool {
    gateway.stat("remote.written") >= 2
}

#[test]
fn the_readme_claims_the_versions_that_are_run() {
    let setup = fs::read_to_string(repository().join("envoy/lib/setup.sh")).unwrap();
    let value = |name: &str| {
        let line = setup.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap();
        line.trim_matches(['(', ')']).to_owned()
    };
    let versions = value("ENVOY_VERSIONS").replace(' ', " and ");
    let oldest = value("ENVOY_OLDEST");
    assert!(versions.starts_with(&oldest) && versions.ends_with(&value("ENVOY_WHEEL_VERSION")));
    for file in ["README.md", "envoy/bootstrap/local.yaml"] {
        let text = fs::read_to_string(repository().join(file)).unwrap();
        assert!(text.contains(&format!("{oldest} or newer")), "{file}");
        assert!(text.contains(&format!("tested with {versions}")), "{file}: not {versions}");
    }
}

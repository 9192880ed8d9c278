//! Purges in the release module: in every worker, in a VM that starts later, and on the way to other nodes.

use selvage_host::{Gateway, Headers, OriginResponse, Stream};

use crate::{assert_hit, cache_status, fresh};

const OPEN: &str = r#"{"admin":{"open":true,"hosts":["cache.test"]}}"#;

fn gateway(configuration: &str) -> Gateway {
    Gateway::with(configuration).workers(2).origin(|_| fresh("old").header("surrogate-key", "t")).start()
}

/// This host, like an Envoy without `allow_on_headers_stop_iteration`, shows no body of a held request, so these tests purge
/// by method. The JSON is for the engine's scenarios and the real Envoy.
fn purge(gateway: &Gateway, worker: usize) -> Stream {
    gateway.request("PURGE", "/a").send(worker)
}

#[test]
fn where_no_token_is_asked_for_a_page_of_another_site_purges_nothing() {
    let gateway = gateway(OPEN);
    gateway.get("/a").send(0);
    for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        let refused = gateway.request("PURGE", "/a").header(name, value).send(0);
        assert_eq!(refused.status(), 403, "{}", refused.text());
        assert_hit(&gateway.get("/a").send(0), "old");
    }
    assert_eq!(gateway.request("PURGE", "/a").header("sec-fetch-site", "same-origin").send(0).status(), 200);
}

#[test]
fn a_purge_reaches_the_other_worker_by_a_call_without_a_tick() {
    let gateway = gateway(OPEN);
    for worker in [0, 1] {
        let stream = gateway.get("/a").send(worker);
        assert_eq!((stream.text().as_str(), stream.header("surrogate-key")), ("old", None));
    }
    gateway.advance(1);
    let answer = purge(&gateway, 0);
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, r#"{"fleet":"off","purged":1,"soft":false}"#)
    );
    gateway.run();
    gateway.advance(1);
    gateway.origin().next(fresh("new"));
    let next = gateway.get("/a").send(1);
    assert_eq!(next.text(), "new");
    assert!(cache_status(&next).contains("detail=purged"), "{}", cache_status(&next));
    assert_hit(&gateway.get("/a").send(0), "new");
    let notes = gateway.logs().into_iter().filter(|line| line.message.contains(r#""event":"purge""#)).count();
    assert_eq!(notes, 1);
}

#[test]
fn a_vm_that_starts_knows_what_was_purged_before() {
    let gateway = gateway(OPEN);
    gateway.get("/a").send(0);
    gateway.advance(1);
    gateway.kill_worker(1);
    assert_eq!(purge(&gateway, 0).status(), 200);
    gateway.restart_worker(1);
    gateway.advance(1);
    gateway.origin().next(fresh("new"));
    assert_eq!(gateway.get("/a").send(1).text(), "new");
    assert_hit(&gateway.get("/a").send(1), "new");
}

#[test]
fn without_token_and_door_both_ways_go_to_the_origin() {
    let gateway = Gateway::with("{}").workers(1).origin(|_| OriginResponse::status(404)).start();
    assert_eq!(purge(&gateway, 0).status(), 404);
    assert_eq!(gateway.origin().fetches(), 1);
}

#[test]
fn the_token_comes_from_the_environment_and_must_be_there() {
    let configuration = r#"{"admin":{"token_env":"PURGE_TOKEN"}}"#;
    let refused = Gateway::with(configuration).try_start().err().expect("no variable").text();
    assert!(refused.contains("admin.token_env: found \"PURGE_TOKEN\""), "{refused}");
    let gateway = Gateway::with(configuration).environment("PURGE_TOKEN", "secret").workers(1);
    let gateway = gateway.origin(|_| fresh("old")).start();
    assert_eq!(purge(&gateway, 0).status(), 401);
    let with = |token: &str| gateway.request("PURGE", "/a").header("authorization", token).send(0).status();
    assert_eq!((with("Bearer wrong"), with("Bearer secret")), (403, 200));
    assert_eq!(gateway.origin().fetches(), 0);
    assert!(gateway.logs().iter().all(|line| !line.message.contains("secret")));
}

#[test]
fn a_purge_is_written_for_the_other_nodes_at_once_under_the_number_after_the_last() {
    let configuration = r#"{"admin":{"open":true,"hosts":["cache.test"]},"remote":{"enabled":true}}"#;
    let gateway = Gateway::with(configuration).workers(1).cluster("redis").origin(|_| fresh("old")).start();
    purge(&gateway, 0);
    let call = |beginning: &str| {
        let found = gateway.callouts().into_iter().find(|call| call.path().starts_with(beginning));
        found.unwrap_or_else(|| panic!("no {beginning}"))
    };
    call("/GET/selvage:v1:purges.bin").respond(200, Headers::new(), "6");
    let add = call("/SET/selvage:v1:purge:7/");
    let path = add.path();
    let entry =
        path.strip_prefix("/SET/selvage:v1:purge:7/").and_then(|rest| rest.strip_suffix("/NX/EX/86400"));
    let entry = entry.unwrap_or_else(|| panic!("{path}"));
    // The answer is lost, and the next try finds what the first one wrote.
    add.respond(503, Headers::new(), "no healthy upstream");
    gateway.advance(1);
    gateway.tick();
    call("/SET/selvage:v1:purge:7/").respond(200, Headers::new(), r#"{"SET":null}"#);
    call("/GET/selvage:v1:purge:7.bin").respond(200, Headers::new(), entry);
    let hint = call("/SETEX/selvage:v1:purges/86400");
    assert_eq!(hint.body(), b"7");
    hint.respond(200, Headers::new(), r#"{"SETEX":[true,"OK"]}"#);
    gateway.tick();
    assert_eq!(gateway.metric("selvage.purge.spread"), Some(1));
}

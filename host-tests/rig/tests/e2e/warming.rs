//! URLs that are in the cache before a client asks for them, in the real Envoy.

use std::time::{Duration, Instant};

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Gate, Origin, Received};

use super::{assert_hit, becomes};

const TOKEN: &str = "a-token-of-some-length";
const HOST: &str = "warm.example";

fn start(origin: &Origin, warm: &str) -> Gateway {
    let configuration = format!(
        r#"{{ "admin": {{ "token_env": "SELVAGE_ADMIN_TOKEN" }}, "warm": {{ {warm} }},
              "defaults": {{ "refresh": {{ "cluster": "origin" }} }} }}"#
    );
    Gateway::with(&configuration).origin(origin.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN).start()
}

fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request: &Received| Answer::fresh(format!("{} {}", request.target, request.before)));
    origin
}

fn get(gateway: &Gateway, target: &str) -> Response {
    gateway.get(target).header("host", HOST).send()
}

fn operator(gateway: &Gateway, method: &str, target: &str, body: &str) -> Response {
    let ask = gateway.ask(method, target).header("authorization", format!("Bearer {TOKEN}"));
    if body.is_empty() { ask.send() } else { ask.body(body).send() }
}

/// What of the progress is wanted, such as `"stored":20`.
#[track_caller]
fn progress_becomes(gateway: &Gateway, wanted: &str) -> Response {
    let tells = |answer: &Response| answer.status == 200 && answer.text().contains(wanted);
    becomes(|| operator(gateway, "GET", "/.selvage/warm", ""), tells)
}

fn urls(beginning: &str, count: usize) -> String {
    let urls: Vec<String> = (0..count).map(|n| format!(r#""http://{HOST}/{beginning}/{n}""#)).collect();
    format!(r#""urls":[{}]"#, urls.join(","))
}

#[test]
fn a_list_is_fetched_once_by_one_of_the_workers_and_then_hit_in_all() {
    let origin = origin();
    let gateway = start(&origin, &format!(r#""per_second": 50, {}"#, urls("list", 20)));
    progress_becomes(&gateway, r#""stored":20"#);
    for n in 0..20 {
        let target = format!("/list/{n}");
        for _ in 0..4 {
            assert_hit(&get(&gateway, &target), &format!("{target} 0"));
        }
        assert_eq!(origin.count(&target), 1);
        assert_eq!(origin.received(&target)[0].header("accept-encoding").as_deref(), Some("gzip"));
    }
    becomes(|| get(&gateway, "/list/0"), |_| gateway.stat("selvage.warm.stored") == 20);
    gateway.assert_sound();
}

#[test]
fn an_operators_urls_are_fetched_at_the_pace_and_clients_wait_for_them() {
    let origin = origin();
    let gate = Gate::new();
    let held = gate.clone();
    origin.on("/slow", move |_| Answer::fresh("slow").waits_for(&held));
    origin.on("/secret", |_| Answer::ok("secret").header("cache-control", "no-store"));
    let gateway = start(&origin, r#""per_second": 10"#);
    let body = format!("{{{}}}", urls("posted", 20));
    let begun = Instant::now();
    let answer = operator(&gateway, "POST", "/.selvage/warm", &body);
    assert_eq!((answer.status, answer.text().as_str()), (202, r#"{"already":0,"queued":20,"refused":[]}"#));
    progress_becomes(&gateway, r#""stored":20"#);
    // The last leaves 1.6 seconds after the first, since a quarter of a second's may leave at once.
    assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
    for n in 0..20 {
        let target = format!("/posted/{n}");
        assert_hit(&get(&gateway, &target), &format!("{target} 0"));
    }
    let more =
        format!(r#"{{"urls":["http://{HOST}/slow","http://{HOST}/secret","http://{HOST}/posted/1"]}}"#);
    assert_eq!(operator(&gateway, "POST", "/.selvage/warm", &more).status, 202);
    becomes(|| get(&gateway, "/posted/1"), |_| origin.count("/slow") == 1);
    let waiting = std::thread::scope(|scope| {
        let client = scope.spawn(|| get(&gateway, "/slow"));
        progress_becomes(&gateway, r#""under_way":1,"unstored":{"no-store":1}"#);
        gate.open();
        client.join().unwrap()
    });
    assert_eq!((waiting.text().as_str(), origin.count("/slow")), ("slow", 1));
    let told = progress_becomes(&gateway, r#""stored":21"#).text();
    assert!(told.contains(r#""fresh":1"#), "{told}");
    gateway.assert_sound();
}

#[test]
fn nobody_warms_without_the_token_and_nothing_reaches_the_origin() {
    let origin = origin();
    let gateway = start(&origin, "");
    for (method, target) in [("GET", "/.selvage/warm"), ("POST", "/.selvage/warm"), ("GET", "/.selvage/x")] {
        let ask = || gateway.ask(method, target).header("host", HOST);
        assert_eq!(ask().send().status, 401, "{method} {target}");
        assert_eq!(ask().header("authorization", "Bearer x").send().status, 403, "{method} {target}");
    }
    assert_eq!(operator(&gateway, "GET", "/.selvage/x", "").status, 404);
    assert_eq!(operator(&gateway, "POST", "/.selvage/warm", r#"{"urls":["/a"]}"#).status, 400);
    assert_eq!(operator(&gateway, "PUT", "/.selvage/warm", "x").status, 405);
    for path in ["/.selvage/warm", "/.selvage/x"] {
        assert_eq!(origin.count(path), 0);
    }
    assert!(!gateway.log().contains("token-of"));
    gateway.assert_sound();
}

#[test]
fn after_a_purge_of_everything_the_hottest_come_back_by_themselves() {
    let origin = origin();
    let gateway = start(&origin, r#""per_second": 50, "after_purge_all": 5"#);
    // Both workers know the five, and each of them well.
    for _ in 0..20 {
        for n in 0..5 {
            get(&gateway, &format!("/hot/{n}"));
        }
    }
    for n in 0..20 {
        get(&gateway, &format!("/cold/{n}"));
    }
    let answer = operator(&gateway, "POST", "/.selvage/purge", r#"{"all":true}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let deadline = Instant::now() + Duration::from_secs(10);
    let fetched = || (0..5).filter(|n| origin.count(&format!("/hot/{n}")) == 2).count();
    while fetched() < 5 {
        assert!(Instant::now() < deadline, "{} came back: {:?}", fetched(), gateway.stats("selvage.warm"));
        std::thread::sleep(Duration::from_millis(20));
    }
    progress_becomes(&gateway, r#""queued":0"#);
    for n in 0..5 {
        let target = format!("/hot/{n}");
        becomes(
            || get(&gateway, &target),
            |answer| answer.is_hit() && answer.text() == format!("{target} 1"),
        );
        assert_eq!(origin.count(&target), 2);
    }
    gateway.assert_sound();
}

#[test]
fn a_second_envoy_takes_its_list_from_redis() {
    let origin = origin();
    let bridge = Bridge::start();
    let configuration = format!(
        r#"{{ "admin": {{ "open": true, "hosts": ["example.test"] }}, "remote": {{ "enabled": true, "timeout": "2s" }},
              "warm": {{ "per_second": 50, {} }}, "defaults": {{ "refresh": {{ "cluster": "origin" }} }} }}"#,
        urls("list", 20)
    );
    let start = || Gateway::with(&configuration).origin(origin.url()).bridge(bridge.port()).start();
    let one = start();
    progress_becomes(&one, r#""stored":20"#);
    becomes(|| get(&one, "/list/0"), |_| one.stat("selvage.remote.written") >= 20);
    let two = start();
    progress_becomes(&two, r#""fresh":20"#);
    for n in 0..20 {
        let target = format!("/list/{n}");
        assert_hit(&get(&two, &target), &format!("{target} 0"));
        assert_eq!(origin.count(&target), 1);
    }
    [one, two].iter().for_each(Gateway::assert_sound);
}

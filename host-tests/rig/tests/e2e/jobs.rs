//! Requests that are accepted and done later, on the real Envoy with a real Redis.

use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::{Bridge, Part, Redis, signal};
use selvage_rig::scripted::{Answer, Gate, Origin};
use selvage_rig::upstash::Upstash;
use serde_json::Value;

use super::{assert_says, becomes};

/// Jobs of everything that prefers it below `/tasks`, and of all below `/always`.
fn config(jobs: &str, remote: &str) -> String {
    format!(
        r#"{{ "admin": {{ "open": true }}, "remote": {{ "enabled": true, "timeout": "2s" {remote} }},
              "jobs": {{ "cluster": "origin", "by": ["header:x-tenant"], "pause": "50ms", "poll": "100ms" {jobs} }},
              "rules": [ {{ "name": "work", "match": {{ "paths": ["/tasks/*"] }}, "jobs": "prefer" }},
                         {{ "name": "always", "match": {{ "paths": ["/always/*"] }}, "jobs": "always" }} ] }}"#
    )
}

fn member(origin: &Origin, bridge: u16, jobs: &str) -> Gateway {
    Gateway::with(&config(jobs, "")).origin(origin.url()).bridge(bridge).start()
}

fn post(gateway: &Gateway, path: &str, body: &str) -> Response {
    gateway.ask("POST", path).header("x-tenant", "ann").header("prefer", "respond-async").body(body).send()
}

/// Where a job that was accepted is found.
#[track_caller]
pub(super) fn accepted(response: &Response) -> String {
    assert_eq!(response.status, 202, "{}", response.text());
    assert_says(response, "detail=job");
    response.header("location").unwrap()
}

pub(super) fn asked(gateway: &Gateway, method: &str, path: &str) -> Response {
    gateway.ask(method, path).header("x-tenant", "ann").send()
}

pub(super) fn state(gateway: &Gateway, place: &str) -> Value {
    let response = asked(gateway, "GET", place);
    if response.status == 200 { serde_json::from_str(&response.text()).unwrap() } else { Value::Null }
}

#[track_caller]
pub(super) fn is_in(gateway: &Gateway, place: &str, wanted: &str) -> Value {
    becomes(|| state(gateway, place), |state| state["state"] == wanted)
}

fn operators(gateway: &Gateway) -> Value {
    let response = gateway.get("/.selvage/jobs").header("host", "localhost").send();
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

#[test]
fn a_request_is_accepted_done_and_told_to_who_asked() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.on("/tasks/report", |received| {
        Answer::new(201)
            .header("x-made", "yes")
            .body(format!("made of {}", String::from_utf8_lossy(&received.body)))
    });
    let fleet = [(); 2].map(|()| member(&origin, bridge.port(), ""));
    let [edge, other] = &fleet;
    let response = post(edge, "/tasks/report?a=b", "all of it");
    let place = accepted(&response);
    assert_eq!(response.all("preference-applied"), ["respond-async"]);
    assert_eq!(
        (response.all("retry-after"), response.all("cache-control")),
        (vec!["1".into()], vec!["no-store".into()])
    );
    let id = place.strip_prefix("/jobs/").unwrap();
    assert!(id.len() == 32 && response.text().contains(id), "{place}");
    // Any member of the fleet knows of it.
    let done = is_in(other, &place, "done");
    assert_eq!(
        (&done["attempt"], &done["status"], &done["result"]),
        (&1.into(), &201.into(), &"kept".into()),
        "{done}"
    );
    let result = asked(other, "GET", &format!("{place}/result"));
    assert_eq!((result.status, result.text()), (201, "made of all of it".to_owned()));
    assert_eq!(result.all("x-made"), ["yes"]);
    let head = asked(edge, "HEAD", &format!("{place}/result"));
    assert_eq!((head.status, head.text(), head.all("x-made")), (201, String::new(), vec!["yes".into()]));
    let received = origin.received("/tasks/report");
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].header("x-selvage-job").as_deref(), Some(id));
    assert_eq!(
        (received[0].header("prefer"), received[0].header("x-tenant").as_deref()),
        (None, Some("ann"))
    );
    assert!(received[0].header("cdn-loop").unwrap().contains("selvage-"));
    // To others it is not there.
    for path in [place.clone(), format!("{place}/result")] {
        assert_eq!(edge.get(&path).header("x-tenant", "eve").send().status, 404);
        assert_eq!(edge.get(&path).send().status, 404);
    }
    assert_eq!(edge.ask("DELETE", &place).header("x-tenant", "eve").send().status, 404);
    let wrong = asked(edge, "PUT", &place);
    assert_eq!((wrong.status, wrong.all("allow")), (405, vec!["GET, HEAD, DELETE".to_owned()]));
    assert_eq!(asked(edge, "DELETE", &place).status, 204);
    assert_eq!(asked(other, "GET", &place).status, 404);
    assert_eq!(bridge.keys("*:j:*").len(), 0);
    fleet.iter().for_each(Gateway::assert_sound);
}

#[test]
fn only_what_is_to_be_a_job_becomes_one() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| Answer::ok("at once"));
    let edge = member(&origin, bridge.port(), "");
    assert_eq!(edge.ask("POST", "/tasks/a").body("x").send().status, 200);
    assert_eq!(edge.ask("POST", "/other").header("prefer", "respond-async").body("x").send().status, 200);
    assert_eq!(edge.ask("OPTIONS", "/always/a").send().status, 200);
    assert_eq!(edge.get("/jobs/report").send().status, 200);
    // What does a job is none.
    assert_eq!(edge.get("/always/a").header("x-selvage-job", "1").send().status, 200);
    let place = accepted(&edge.get("/always/b").header("x-tenant", "ann").send());
    is_in(&edge, &place, "done");
    assert_eq!(edge.ask("POST", "/always/b").header("idempotency-key", "").body("x").send().status, 400);
    let explained =
        edge.get("/.selvage/explain?url=http://a.test/always/b").header("host", "localhost").send().text();
    assert!(explained.contains("accepted as a job"), "{explained}");
    edge.assert_sound();
}

#[test]
fn the_same_idempotency_key_is_the_same_job() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let gate = Gate::new();
    let waits = gate.clone();
    origin.otherwise(move |_| Answer::ok("once").waits_for(&waits));
    let fleet = [(); 2].map(|()| member(&origin, bridge.port(), ""));
    let ask = |nth: usize, user: &str, key: &str, body: &str| {
        let ask =
            fleet[nth % 2].ask("POST", "/always/pay").header("x-tenant", user).header("idempotency-key", key);
        ask.body(body).send()
    };
    let places: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..8).map(|nth| scope.spawn(move || accepted(&ask(nth, "ann", "\"k-1\"", "5")))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    assert_eq!(ask(0, "ann", "k-1", "6").status, 422);
    assert_ne!(accepted(&ask(0, "bob", "k-1", "6")), places[0]);
    gate.open();
    is_in(&fleet[1], &places[0], "done");
    assert_eq!(accepted(&ask(1, "ann", "k-1", "5")), places[0]);
    let received = becomes(|| origin.received("/always/pay"), |received| received.len() == 2);
    assert!(received.iter().all(|one| one.header("idempotency-key").is_some()));
}

#[test]
fn what_fails_is_tried_again_and_dies_in_the_end_and_operators_try_it_once_more() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.on("/tasks/flaky", |received| match received.before {
        0 => Answer::new(503).header("retry-after", "0"),
        1 => Answer::ok("").breaks_before_the_head(),
        2 => Answer::new(429),
        _ => Answer::new(404).body("there is none"),
    });
    origin.on(
        "/tasks/broken",
        |received| if received.before < 2 { Answer::new(500) } else { Answer::ok("at last") },
    );
    let edge = member(&origin, bridge.port(), r#", "attempts": 4, "longest_pause": "100ms""#);
    let place = accepted(&post(&edge, "/tasks/flaky", "x"));
    let done = is_in(&edge, &place, "done");
    assert_eq!((&done["attempt"], &done["status"]), (&4.into(), &404.into()), "{done}");
    assert_eq!(asked(&edge, "GET", &format!("{place}/result")).text(), "there is none");
    drop(edge);
    let edge = member(&origin, bridge.port(), r#", "attempts": 2, "longest_pause": "100ms""#);
    let place = accepted(&post(&edge, "/tasks/broken", "x"));
    let dead = is_in(&edge, &place, "dead");
    assert_eq!((&dead["failure"], &dead["attempt"]), (&"500".into(), &2.into()), "{dead}");
    assert_eq!(asked(&edge, "GET", &format!("{place}/result")).status, 409);
    let listed = operators(&edge);
    let id = place.strip_prefix("/jobs/").unwrap();
    assert_eq!((&listed["counts"]["dead"], &listed["dead"][0]["id"]), (&1.into(), &id.into()), "{listed}");
    becomes(|| edge.stat("selvage.jobs_kept.dead"), |dead| *dead == 1);
    assert_eq!(edge.stat("selvage.jobs.dead"), 1);
    let again = |id: &str| {
        let ask = edge.ask("POST", "/.selvage/jobs").header("host", "localhost");
        ask.body(format!(r#"{{"retry":"{id}"}}"#)).send().status
    };
    assert_eq!([again("nonsense"), again(&"0".repeat(32)), again(id)], [400, 404, 200]);
    is_in(&edge, &place, "done");
    assert_eq!(asked(&edge, "GET", &format!("{place}/result")).text(), "at last");
    assert_eq!(operators(&edge)["counts"]["dead"], 0);
    edge.assert_sound();
}

#[test]
fn what_waits_or_runs_can_be_cancelled() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/tasks/a", move |_| Answer::ok("for nobody").waits_for(&waits));
    // It waits for its second run.
    origin.on("/tasks/b", |_| Answer::new(503).header("retry-after", "600"));
    let edge = member(&origin, bridge.port(), "");
    let runs = accepted(&post(&edge, "/tasks/a", "1"));
    is_in(&edge, &runs, "running");
    let waiting = accepted(&post(&edge, "/tasks/b", "2"));
    becomes(|| state(&edge, &waiting), |state| state["state"] == "waiting" && state["failure"] == "503");
    let early = asked(&edge, "GET", &format!("{waiting}/result"));
    assert_eq!((early.status, early.all("retry-after")), (409, vec!["1".to_owned()]));
    assert_eq!([asked(&edge, "DELETE", &waiting).status, asked(&edge, "DELETE", &runs).status], [204, 204]);
    assert_eq!(asked(&edge, "GET", &waiting).status, 404);
    gate.open();
    becomes(|| edge.stat("selvage.jobs.late"), |late| *late == 1);
    assert_eq!(state(&edge, &runs)["state"], "cancelled");
    assert_eq!(asked(&edge, "GET", &format!("{runs}/result")).status, 409);
    assert_eq!(edge.stat("selvage.jobs.cancelled"), 2);
    assert_eq!(origin.count("/tasks/b"), 1);
}

#[test]
fn what_is_too_large_is_told() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.on("/tasks/large", |_| Answer::ok(vec![b'x'; 5_000]));
    let config = config("", r#", "object_bytes": "4KiB""#);
    let edge = Gateway::with(&config).origin(origin.url()).bridge(bridge.port()).start();
    assert_eq!(post(&edge, "/tasks/large", &"x".repeat(4097)).status, 413);
    let chunks: [&[u8]; 2] = [&[b'x'; 4_000], &[b'x'; 97]];
    let ask = edge.ask("POST", "/tasks/large").header("x-tenant", "ann").header("prefer", "respond-async");
    assert_eq!(ask.chunks(&chunks).send().status, 413);
    let place = accepted(&post(&edge, "/tasks/large", &"x".repeat(4096)));
    let done = is_in(&edge, &place, "done");
    assert_eq!((&done["result"], &done["status"]), (&"too large".into(), &200.into()), "{done}");
    assert_eq!(asked(&edge, "GET", &format!("{place}/result")).status, 410);
    edge.assert_sound();
}

/// Killed with a job under way: another member does it when the lease has run out, and not before.
#[test]
fn a_job_outlives_the_envoy_that_has_taken_it() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/tasks/long", move |received| {
        let answer = Answer::ok(format!("run {}", received.before));
        if received.before == 0 { answer.waits_for(&waits) } else { answer }
    });
    let jobs = r#", "timeout": "1s", "lease": "2s""#;
    let first = member(&origin, bridge.port(), jobs);
    let place = accepted(&post(&first, "/tasks/long", "x"));
    becomes(|| origin.count("/tasks/long"), |count| *count == 1);
    signal(first.pid(), "KILL");
    let second = member(&origin, bridge.port(), jobs);
    let done = is_in(&second, &place, "done");
    assert_eq!(done["attempt"], 2, "{done}");
    assert_eq!(asked(&second, "GET", &format!("{place}/result")).text(), "run 1");
    becomes(|| second.stat("selvage.jobs.expired"), |expired| *expired == 1);
    gate.open();
}

#[test]
fn without_redis_it_is_503_or_goes_at_once() {
    let origin = Origin::start();
    origin.otherwise(|received| Answer::ok(format!("at once: {}", String::from_utf8_lossy(&received.body))));
    for (on_failure, status) in [("503", 503), ("forward", 200)] {
        let mut bridge = Bridge::start();
        let remote = r#", "breaker": { "pause": "100ms" }"#;
        let config = config(&format!(r#", "on_failure": "{on_failure}""#), remote);
        let edge = Gateway::with(&config).origin(origin.url()).bridge(bridge.port()).start();
        accepted(&post(&edge, "/tasks/a", "x"));
        bridge.kill(Part::Redis);
        bridge.kill(Part::Webdis);
        let response = post(&edge, "/tasks/a", "whole");
        assert_eq!(response.status, status, "{}", response.text());
        match status {
            200 => assert_eq!(response.text(), "at once: whole"),
            _ => assert_eq!(response.all("retry-after"), ["1"]),
        }
        assert_eq!(asked(&edge, "GET", &format!("/jobs/{}", "0".repeat(32))).status, 503);
        // It is back.
        bridge.start_redis();
        bridge.start_webdis();
        let response = becomes(|| post(&edge, "/tasks/a", "x"), |response| response.status == 202);
        is_in(&edge, &accepted(&response), "done");
        edge.assert_sound();
    }
}

/// A Redis that hangs may have accepted what it does not answer: nothing is done at once beside it.
#[test]
fn a_slow_redis_is_waited_for_once() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| Answer::ok("done"));
    let text = config(r#", "on_failure": "forward""#, r#", "breaker": { "pause": "100ms" }"#)
        .replace(r#""timeout": "2s""#, r#""timeout": "300ms""#);
    let edge = Gateway::with(&text).origin(origin.url()).bridge(bridge.port()).start();
    accepted(&post(&edge, "/tasks/a", "x"));
    becomes(|| origin.count("/tasks/a"), |count| *count == 1);
    bridge.stall(Part::Redis);
    let response = post(&edge, "/tasks/b", "x");
    assert_eq!(response.status, 503, "{}", response.text());
    bridge.resume(Part::Redis);
    becomes(|| origin.count("/tasks/b"), |count| *count == 1);
    edge.assert_sound();
}

/// One that is full takes nothing, and what it has it keeps.
#[test]
fn a_full_redis_refuses_and_loses_nothing() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let gate = Gate::new();
    let waits = gate.clone();
    origin.otherwise(move |_| Answer::ok("done").waits_for(&waits));
    let edge = member(&origin, bridge.port(), "");
    let place = accepted(&post(&edge, "/tasks/a", "x"));
    becomes(|| origin.count("/tasks/a"), |count| *count == 1);
    bridge.command("CONFIG SET maxmemory 1");
    let refused = post(&edge, "/tasks/b", "x");
    assert_eq!((refused.status, refused.all("retry-after")), (503, vec!["1".to_owned()]));
    // What comes of those that it has it still takes.
    gate.open();
    is_in(&edge, &place, "done");
    assert_eq!(asked(&edge, "GET", &format!("{place}/result")).text(), "done");
    bridge.command("CONFIG SET maxmemory 0");
    let next = accepted(&post(&edge, "/tasks/b", "x"));
    is_in(&edge, &next, "done");
    assert_eq!(origin.count("/tasks/a"), 1);
    edge.assert_sound();
}

/// What is in Redis and nobody can read is told, and keeps nothing else.
#[test]
fn a_lying_redis_is_not_believed() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| Answer::ok("done"));
    let edge = member(&origin, bridge.port(), "");
    let place = accepted(&post(&edge, "/tasks/a", "x"));
    is_in(&edge, &place, "done");
    let [key] = &bridge.keys("*:j:*")[..] else { panic!("one job") };
    let base = key.split(":j:").next().unwrap().to_owned();
    for (nth, payload) in ["nonsense", "AQEAAAD_", "AQ==", "AQUAAAAAAAAAAA=="].into_iter().enumerate() {
        let id = format!("{nth:032x}");
        bridge.command(&format!("HSET {base}:j:{id} s w n 0 g 0 o 0 c 1 u 1 k - q {payload}"));
        bridge.command(&format!("ZADD {base}:due 1 {id}"));
    }
    bridge.command(&format!("SET {base}:j:{} x", "f".repeat(32)));
    bridge.command(&format!("ZADD {base}:due 1 {}", "f".repeat(32)));
    bridge.command(&format!("ZADD {base}:due 1 ../etc"));
    bridge.command(&format!("HSET {key} b QUJD"));
    assert_eq!(asked(&edge, "GET", &format!("{place}/result")).status, 502);
    let next = accepted(&post(&edge, "/tasks/b", "x"));
    is_in(&edge, &next, "done");
    becomes(|| edge.stat("selvage.jobs.bad"), |bad| *bad >= 6);
    becomes(|| operators(&edge), |told| told["counts"]["dead"] == 4 && told["counts"]["due"] == 0);
    edge.assert_sound();
}

#[test]
fn upstash_takes_them_too() {
    let origin = Origin::start();
    let redis = Redis::start(|_| String::new());
    let upstash = Upstash::start(redis.port(), "secret-token");
    origin.otherwise(|received| Answer::ok(received.body.clone()));
    let remote = r#", "dialect": "upstash", "credentials_env": "SELVAGE_REMOTE_CREDENTIALS""#;
    let edge = Gateway::with(&config("", remote))
        .environment("SELVAGE_REMOTE_CREDENTIALS", "secret-token")
        .origin(origin.url())
        .bridge(upstash.port())
        .start();
    let body = "\u{0}\u{1}\"\\ \u{e4}".repeat(1000);
    let place = accepted(&post(&edge, "/tasks/a", &body));
    is_in(&edge, &place, "done");
    assert_eq!(asked(&edge, "GET", &format!("{place}/result")).text(), body);
    edge.assert_sound();
}

/// Nobody asks for more than four times a second and node while there is nothing to do.
#[test]
fn one_worker_of_a_node_asks_for_jobs() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let edge = Gateway::with(&config("", "").replace(r#""poll": "100ms""#, r#""poll": "1s""#))
        .origin(origin.url())
        .bridge(bridge.port())
        .start();
    becomes(|| bridge.calls("evalsha"), |calls| *calls > 1);
    let before = bridge.calls("evalsha");
    std::thread::sleep(Duration::from_secs(3));
    let calls = bridge.calls("evalsha") - before;
    assert!((1..=4).contains(&calls), "{calls} in three seconds");
    edge.assert_sound();
}

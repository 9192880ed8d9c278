//! Batches that are accepted and done later, on the real Envoy with a real Redis: their state says how many parts are done.

use selvage_rig::batches::{Part, body_of, parts, post};
use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::{self, Bridge, signal};
use selvage_rig::scripted::{Answer, Gate, Origin};
use serde_json::{Value, json};

use super::batches::{json_of, statuses};
use super::jobs::{self, asked, is_in, state};
use super::{assert_says, becomes};

/// Batches and jobs of everything.
fn config(jobs: &str, remote: &str) -> String {
    format!(
        r#"{{ "admin": {{ "open": true }}, "remote": {{ "enabled": true, "timeout": "2s" {remote} }}, "batch": {{}},
              "jobs": {{ "cluster": "origin", "by": ["header:x-tenant"], "poll": "100ms" {jobs} }},
              "rules": [ {{ "name": "batch", "match": {{ "paths": ["/batch"] }}, "jobs": "prefer" }},
                         {{ "name": "api", "match": {{ "paths": ["/api/*"] }}, "batch": true, "refresh": {{ "cluster": "origin" }} }} ] }}"#
    )
}

fn member(origin: &Origin, bridge: u16, jobs: &str) -> Gateway {
    Gateway::with(&config(jobs, "")).origin(origin.url()).bridge(bridge).start()
}

/// Asks for these as a job.
fn asks(gateway: &Gateway, paths: &[&str]) -> Response {
    post(gateway, body_of(paths)).header("x-tenant", "ann").header("prefer", "respond-async").send()
}

#[track_caller]
fn accepted(response: &Response) -> String {
    let place = jobs::accepted(response);
    assert_eq!(response.all("preference-applied"), ["respond-async"]);
    place
}

fn result(gateway: &Gateway, place: &str) -> Vec<Part> {
    let response = asked(gateway, "GET", &format!("{place}/result"));
    assert_eq!(response.all("cache-control"), ["private, no-store"]);
    parts(&response)
}

#[test]
fn a_batch_is_done_later_and_its_state_counts_the_parts() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let gates = [(); 2].map(|()| Gate::new());
    for (nth, gate) in gates.iter().enumerate() {
        let waits = gate.clone();
        origin.on(&format!("/api/slow/{nth}"), move |_| json_of("\"slow\"").waits_for(&waits));
    }
    origin.on("/api/gone", |_| Answer::new(404).body("none"));
    origin.on("/api/stored", |_| json_of("{ \"n\" : 1.50 }"));
    let fleet = [(); 2].map(|()| member(&origin, bridge.port(), ""));
    let [edge, other] = &fleet;
    edge.get("/api/stored").send();
    let paths = ["/api/stored", "/api/slow/0", "/api/gone", "/api/slow/1", "/api/slow/1", "/else"];
    let place = accepted(&asks(edge, &paths));
    // Whoever of the fleet is asked knows how far it is.
    let progress = |gateway: &Gateway, done: u64| {
        becomes(|| state(gateway, &place), |state| state["progress"] == json!({ "done": done, "of": 6 }))
    };
    assert_eq!(progress(other, 3)["state"], "running");
    let early = asked(edge, "GET", &format!("{place}/result"));
    assert_eq!((early.status, early.all("retry-after")), (409, vec!["1".to_owned()]));
    gates[0].open();
    progress(edge, 4);
    gates[1].open();
    let done = is_in(other, &place, "done");
    assert_eq!(
        (&done["status"], &done["attempt"], &done["progress"]),
        (&200.into(), &1.into(), &Value::Null),
        "{done}"
    );
    let told = result(other, &place);
    assert_eq!(statuses(&told), [200, 200, 404, 200, 200, 403]);
    assert_eq!(
        (&*told[0].body, &*told[2].body, &*told[4].body),
        (&b"{ \"n\" : 1.50 }"[..], &b"none"[..], &b"\"slow\""[..])
    );
    // Whichever of the fleet has done it had it from a store.
    let from_store = told[0].cache_status();
    assert!(from_store.contains("hit") || from_store.contains("detail=remote"), "{from_store}");
    assert_eq!((origin.count("/api/stored"), origin.count("/api/slow/1")), (1, 1));
    assert_eq!(origin.count("/batch"), 0);
    // To others it is not there.
    for path in [place.clone(), format!("{place}/result")] {
        assert_eq!(edge.get(&path).header("x-tenant", "eve").send().status, 404);
    }
    assert_eq!(asked(edge, "DELETE", &place).status, 204);
    assert_eq!(asked(other, "GET", &place).status, 404);
    fleet.iter().for_each(Gateway::assert_sound);
}

#[test]
fn parts_are_asked_for_with_the_credentials_that_came_and_are_for_nobody_else() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|received| {
        json_of(format!("\"{}\"", received.header("authorization").unwrap_or_default()))
    });
    let edge = member(&origin, bridge.port(), "");
    let ask = |user: &str| {
        let ask = post(&edge, body_of(&["/api/mine"])).header("prefer", "respond-async");
        accepted(&ask.header("x-tenant", "ann").header("authorization", user).send())
    };
    for user in ["Basic YTph", "Basic YjpiCg=="] {
        let place = ask(user);
        is_in(&edge, &place, "done");
        assert_eq!(result(&edge, &place)[0].body, format!("\"{user}\"").as_bytes());
    }
    assert_eq!(edge.get("/api/mine").send().text(), "\"\"");
    let received = origin.received("/api/mine");
    assert!(received.iter().all(|one| one.header(":peer").is_none() && one.header("prefer").is_none()));
    edge.assert_sound();
}

#[test]
fn what_is_no_batch_is_told_at_once_and_without_the_preference_none_is_a_job() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| json_of("1"));
    let edge = member(&origin, bridge.port(), "");
    for (body, status) in [("{", 400), (r#"{"requests":[]}"#, 400), (r#"{"requests":[{"id":""}]}"#, 400)] {
        let response = post(&edge, body).header("prefer", "respond-async").send();
        assert_eq!(response.status, status, "{}", response.text());
        assert_says(&response, "detail=batch-refused");
    }
    let plain = post(&edge, body_of(&["/api/a"])).header("prefer", "wait=10").send();
    assert_eq!(statuses(&parts(&plain)), [200]);
    assert_eq!(bridge.keys("*:j:*").len(), 0);
    // Where no rule takes jobs the preference is left aside, as RFC 7240 allows.
    let text = config("", "").replace(r#""jobs": "prefer""#, r#""jobs": "off""#);
    let edge = Gateway::with(&text).origin(origin.url()).bridge(bridge.port()).start();
    let response = asks(&edge, &["/api/a"]);
    assert_eq!(statuses(&parts(&response)), [200]);
    assert!(response.all("preference-applied").is_empty());
    edge.assert_sound();
}

/// Killed with parts under way: another member does it when the lease has run out. What is stored is not asked for again.
#[test]
fn a_batch_outlives_the_envoy_that_has_taken_it() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/api/long", move |received| {
        if received.before == 0 { json_of("\"first\"").waits_for(&waits) } else { json_of("\"second\"") }
    });
    origin.otherwise(|_| json_of("1"));
    let jobs = r#", "timeout": "1s", "lease": "2s""#;
    let first = member(&origin, bridge.port(), jobs);
    let place = accepted(&asks(&first, &["/api/a", "/api/long"]));
    becomes(|| state(&first, &place), |state| state["progress"]["done"] == 1);
    becomes(|| bridge.keys("*").iter().filter(|key| !key.contains("{q:")).count(), |records| *records > 0);
    signal(first.pid(), "KILL");
    let second = member(&origin, bridge.port(), jobs);
    let done = is_in(&second, &place, "done");
    assert_eq!(done["attempt"], 2, "{done}");
    let told = result(&second, &place);
    assert_eq!(statuses(&told), [200, 200]);
    assert_eq!(told[1].body, b"\"second\"");
    assert_eq!(origin.count("/api/a"), 1, "it was stored");
    gate.open();
    second.assert_sound();
}

#[test]
fn one_that_runs_is_cancelled_and_no_further_part_is_asked_for() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let gates = [(); 2].map(|()| Gate::new());
    for (nth, gate) in gates.iter().enumerate() {
        let waits = gate.clone();
        origin.on(&format!("/api/{nth}"), move |_| json_of("1").waits_for(&waits));
    }
    let edge = member(&origin, bridge.port(), "");
    let place = accepted(&asks(&edge, &["/api/0", "/api/1"]));
    becomes(|| state(&edge, &place), |state| state["progress"]["of"] == 2);
    assert_eq!(asked(&edge, "DELETE", &place).status, 204);
    // The next time that it tells how far it is it hears of that.
    gates[0].open();
    becomes(|| edge.stat("selvage.jobs.late"), |late| *late == 1);
    gates[1].open();
    becomes(|| edge.stat("selvage.batch.left"), |left| *left == 1);
    assert_eq!(state(&edge, &place)["state"], "cancelled");
    assert_eq!(asked(&edge, "GET", &format!("{place}/result")).status, 409);
    edge.assert_sound();
}

#[test]
fn without_redis_it_is_503_or_done_at_once() {
    let origin = Origin::start();
    origin.otherwise(|_| json_of("1"));
    for (on_failure, status) in [("503", 503), ("forward", 200)] {
        let mut bridge = Bridge::start();
        let text =
            config(&format!(r#", "on_failure": "{on_failure}""#), r#", "breaker": { "pause": "100ms" }"#);
        let edge = Gateway::with(&text).origin(origin.url()).bridge(bridge.port()).start();
        accepted(&asks(&edge, &["/api/a"]));
        bridge.kill(redis::Part::Redis);
        bridge.kill(redis::Part::Webdis);
        let response = asks(&edge, &["/api/a", "/api/b"]);
        assert_eq!(response.status, status, "{}", response.text());
        if status == 200 {
            assert_eq!(statuses(&parts(&response)), [200, 200]);
            assert!(response.all("preference-applied").is_empty());
        }
        bridge.start_redis();
        bridge.start_webdis();
        let response = becomes(|| asks(&edge, &["/api/c"]), |response| response.status == 202);
        let place = accepted(&response);
        is_in(&edge, &place, "done");
        assert_eq!(statuses(&result(&edge, &place)), [200]);
        edge.assert_sound();
    }
}

/// A run that has been overtaken says nothing of the one that has overtaken it, and none brings back a job that is over.
#[test]
fn progress_of_a_run_that_was_overtaken_is_nobodys() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/api/0", move |_| json_of("1").waits_for(&waits));
    let edge = member(&origin, bridge.port(), "");
    let place = accepted(&asks(&edge, &["/api/0", "/api/1"]));
    let told = becomes(|| state(&edge, &place), |state| state["progress"]["done"] == 1);
    let [key] = &bridge.keys("*:j:*")[..] else { panic!("one job") };
    // As if its lease had run out and another had it.
    bridge.command(&format!("HSET {key} g 7"));
    bridge.command(&format!("HSET {key} pd 0"));
    gate.open();
    becomes(|| edge.stat("selvage.jobs.late"), |late| *late == 1);
    let still = state(&edge, &place);
    assert_eq!((&still["state"], &still["progress"]["done"]), (&told["state"], &0.into()), "{still}");
    edge.assert_sound();
}

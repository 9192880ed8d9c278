//! Calls to the remote store: a request waits for one, and nothing that may become of it holds the request up.

use base64::prelude::{BASE64_STANDARD, Engine};
use selvage_host::{Callout, Gateway, Headers, OriginResponse, Stream};

use crate::{assert_forwarded, assert_hit, cache_status, fresh};

/// Without claims, which one test is about: a lookup is a plain GET.
const PLAIN: &str = r#"{"remote":{"enabled":true},"defaults":{"coalesce":{"fleet":false}}}"#;

/// One worker with a remote store that has said that it is ready.
fn gateway() -> Gateway {
    gateway_of(1, PLAIN)
}

fn gateway_of(workers: usize, configuration: &str) -> Gateway {
    let gateway =
        Gateway::with(configuration).workers(workers).cluster("redis").origin(|_| fresh("content")).start();
    gateway.tick();
    only(calls(&gateway)).respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
    gateway
}

/// The calls in flight, without the one that asks for the purges of other nodes and those that probe writes.
pub fn calls(gateway: &Gateway) -> Vec<Callout> {
    let asked = |call: &Callout| [":purges", ":probe"].iter().all(|key| !call.path().contains(key));
    gateway.callouts().into_iter().filter(asked).collect()
}

pub fn only(mut calls: Vec<Callout>) -> Callout {
    let call = calls.pop().expect("a call is made");
    assert!(calls.is_empty(), "{} calls more", calls.len());
    call
}

fn logged(gateway: &Gateway, text: &str) -> usize {
    gateway.logs().iter().filter(|line| line.message.contains(text)).count()
}

/// A request that waits for the remote store.
fn waiting(gateway: &Gateway, path: &str) -> Stream {
    let stream = gateway.get(path).open(0);
    stream.request_headers();
    assert!(stream.is_paused());
    stream
}

/// The record that is sent after a response has been stored, and the key it is sent to.
fn record(gateway: &Gateway, path: &str) -> (Vec<u8>, String) {
    let stream = waiting(gateway, path);
    for call in calls(gateway) {
        call.respond(404, Headers::new(), "");
    }
    stream.respond_with_body(Headers::from([
        (":status", "200"),
        ("cache-control", "max-age=60"),
        ("content-type", "text/plain"),
    ]));
    stream.last_body("content");
    gateway.tick();
    let mut calls = calls(gateway);
    let call = calls.pop().expect("a record is sent");
    assert!(calls.is_empty());
    assert!(call.path().starts_with("/SETEX/selvage:v1:"), "{}", call.path());
    let sent = (call.body().to_vec(), call.path().split('/').nth(2).unwrap().to_owned());
    call.respond(200, Headers::new(), r#"{"SETEX":[true,"OK"]}"#);
    sent
}

#[test]
fn a_record_answers_the_request_that_waits_for_it() {
    let (record, key) = record(&gateway(), "/a");
    let other = gateway();
    let stream = waiting(&other, "/a");
    let call = calls(&other).pop().unwrap();
    assert_eq!((call.path(), call.timeout_milliseconds()), (format!("/GET/{key}.bin"), 50));
    call.respond(200, Headers::new(), record);
    assert_hit(&stream, "content");
    assert!(cache_status(&stream).contains("detail=remote"), "{}", cache_status(&stream));
    assert_eq!(other.origin().fetches(), 0);
}

#[test]
fn whatever_fails_the_request_goes_to_the_origin() {
    for failure in 0..6 {
        let gateway = gateway();
        let stream = waiting(&gateway, "/a");
        let call = calls(&gateway).pop().unwrap();
        match failure {
            0 => call.respond(404, Headers::new(), ""),
            1 => call.respond(200, Headers::new(), "no record"),
            2 => call.respond(200, Headers::new(), ""),
            3 => call.synthesise(504),
            4 => call.fail(),
            _ => call.respond(403, Headers::new(), "Forbidden"),
        }
        assert!(!stream.is_paused(), "failure {failure}");
        stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
        stream.last_body("content");
        assert_forwarded(&stream, "uri-miss");
        assert_hit(&gateway.get("/a").send(0), "content");
    }
}

#[test]
fn a_call_that_cannot_be_made_is_not_waited_for() {
    let gateway = gateway();
    gateway.refuse_callouts(true);
    for path in ["/a", "/b", "/c"] {
        assert_forwarded(&gateway.get(path).send(0), "uri-miss");
    }
}

#[test]
fn an_answer_for_a_client_that_has_left_is_for_nobody() {
    let (record, _) = record(&gateway(), "/a");
    let gateway = gateway();
    for body in [record.clone(), Vec::new(), b"garbage".to_vec()] {
        let stream = waiting(&gateway, "/a");
        let call = calls(&gateway).pop().unwrap();
        stream.disconnect();
        call.respond(200, Headers::new(), body);
    }
    assert_eq!(gateway.worker(0).open_streams(), 0);
    gateway.tick();
    let stream = waiting(&gateway, "/b");
    stream.disconnect();
    gateway.kill_worker(0);
    gateway.restart_worker(0);
    gateway.origin().next(OriginResponse::ok("content").header("cache-control", "max-age=60"));
    let stream = waiting(&gateway, "/c");
    calls(&gateway).pop().unwrap().fail();
    assert!(!stream.is_paused());
}

#[test]
fn a_quiet_node_shows_no_call_as_alive_although_each_tick_asks_for_purges() {
    let gateway = gateway();
    let answer_all = || {
        let waves = (0..10).map(|_| gateway.callouts()).take_while(|calls| !calls.is_empty());
        waves.flatten().for_each(|call| call.respond(404, Headers::new(), ""));
    };
    let tick = || {
        gateway.advance(1);
        gateway.tick();
        assert!(gateway.callouts().iter().any(|call| call.path().contains(":purge")));
        gateway.metric("selvage.live.remote-calls").unwrap_or_default()
    };
    for _ in 0..3 {
        answer_all();
        assert_eq!(tick(), 0);
    }
    // One that is not answered is.
    assert!(tick() > 0);
}

/// One lookup in a worker that ends so, with the request on its way to the origin.
fn lookup(gateway: &Gateway, worker: usize, path: &str, end: impl FnOnce(Callout)) {
    let stream = gateway.get(path).open(worker);
    stream.request_headers();
    assert!(stream.is_paused(), "{path}");
    end(only(calls(gateway)));
    assert!(!stream.is_paused(), "{path}");
    stream.disconnect();
}

fn absent(call: Callout) {
    call.respond(404, Headers::new(), "");
}

#[test]
fn a_store_that_fails_is_left_alone_by_all_workers_and_used_again_when_it_answers() {
    type End = fn(Callout);
    let ends: [(&str, End); 4] = [
        ("timeout", |call| call.synthesise(504)),
        ("unreachable", |call| call.synthesise(503)),
        ("reset", |call| call.fail()),
        ("status", |call| call.respond(500, Headers::new(), "")),
    ];
    for (word, end) in ends {
        let gateway = gateway_of(2, PLAIN);
        for nth in 0..10 {
            lookup(&gateway, 0, &format!("/{nth}"), end);
        }
        // What says nothing about the resource leaves no task that would be the probe.
        let unstored = || OriginResponse::status(429);
        gateway.origin().next(unstored());
        assert_forwarded(&gateway.get("/open").send(0), "uri-miss");
        gateway.tick();
        gateway.origin().next(unstored());
        // This worker has not seen a single failure.
        assert_forwarded(&gateway.get("/spared").send(1), "uri-miss");
        assert!(calls(&gateway).is_empty(), "{word}");
        assert_eq!(logged(&gateway, "requests go on without it"), 1, "{word}");
        gateway.tick();
        let metric = |name: &str| gateway.metric(&format!("selvage.{name}")).unwrap_or_default();
        assert_eq!((metric(&format!("remote.{word}")), metric("remote.open")), (10, 2));
        assert_eq!((metric("breaker.opened-by-failures"), metric("breaker.adopted")), (1, 2));
        // The two workers and the main thread.
        assert_eq!((metric("breaker_state.open"), metric("breaker_state.closed")), (3, 0));
        gateway.advance(1);
        for (nth, worker) in [1, 0, 1].into_iter().enumerate() {
            lookup(&gateway, worker, &format!("/probe/{nth}"), absent);
            gateway.tick();
        }
        for worker in [0, 1] {
            lookup(&gateway, worker, "/closed", absent);
        }
        assert_eq!(logged(&gateway, "used again"), 1, "{word}");
    }
}

#[test]
fn a_store_that_is_slow_is_left_alone_too() {
    let gateway = gateway();
    for nth in 0..10 {
        lookup(&gateway, 0, &format!("/{nth}"), |call| {
            gateway.node().clock().advance(std::time::Duration::from_millis(30));
            absent(call);
        });
    }
    assert_forwarded(&gateway.get("/open").send(0), "uri-miss");
    gateway.tick();
    assert_eq!(gateway.metric("selvage.breaker.opened-by-slowness"), Some(1));
    assert_eq!(logged(&gateway, "is too slow"), 1);
}

#[test]
fn a_store_slower_than_the_origin_for_long_is_left_alone() {
    let gateway = gateway();
    let clock = gateway.node().clock();
    let mut opened = false;
    for nth in 0..200 {
        clock.advance(std::time::Duration::from_millis(100));
        gateway.tick();
        if let [probe] = &calls(&gateway)[..] {
            panic!("{}", probe.path());
        }
        let stream = gateway.get(&format!("/{nth}")).header("cookie", "a").open(0);
        stream.request_headers();
        if stream.is_paused() {
            clock.advance(std::time::Duration::from_millis(15));
            absent(only(calls(&gateway)));
        } else {
            opened = true;
        }
        clock.advance(std::time::Duration::from_millis(2));
        stream.respond(Headers::from([(":status", "200"), ("cache-control", "no-store")]));
        if opened {
            break;
        }
    }
    assert!(opened, "{:?}", gateway.metrics());
}

#[test]
fn what_redis_refuses_to_write_keeps_nobody_from_reading() {
    let gateway = gateway();
    for nth in 0..20 {
        let stream = waiting(&gateway, &format!("/{nth}"));
        absent(only(calls(&gateway)));
        stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
        stream.last_body("content");
        gateway.tick();
        let full = r#"{"SETEX":[false,"OOM command not allowed when used memory > 'maxmemory'."]}"#;
        for call in calls(&gateway) {
            call.respond(200, Headers::new(), full);
        }
    }
    waiting(&gateway, "/read");
    gateway.tick();
    // Once that is known, records wait.
    assert_eq!(gateway.metric("selvage.remote.redis-error"), Some(3));
    assert_eq!(gateway.metric("selvage.remote.lookups"), Some(21));
}

const UPSTASH: &str = r#"{"remote":{"enabled":true,"dialect":"upstash","credentials_env":"TOKEN"},
    "defaults":{"coalesce":{"fleet":false}}}"#;

fn upstash() -> Gateway {
    Gateway::with(UPSTASH)
        .workers(2)
        .cluster("redis")
        .environment("TOKEN", "s3cret\n")
        .origin(|_| fresh("content"))
        .start()
}

#[test]
fn the_node_probes_once_and_an_upstash_that_changes_values_is_not_used_until_it_is_mended() {
    for (status, answer, why) in [
        (200, r#"{"result":"selvage"}"#, "byte for byte"),
        (401, r#"{"error":"Unauthorized"}"#, "credentials"),
    ] {
        let gateway = upstash();
        gateway.tick();
        let probe = only(calls(&gateway));
        assert_eq!(probe.path(), "/ping/selvage");
        assert_eq!(probe.headers().get("authorization").as_deref(), Some("Bearer s3cret"));
        probe.respond(status, Headers::new(), answer);
        gateway.tick();
        for worker in [0, 1] {
            assert_forwarded(&gateway.get(&format!("/unfit/{worker}")).send(worker), "uri-miss");
        }
        assert!(calls(&gateway).is_empty());
        gateway.tick();
        assert_eq!(gateway.metric("selvage.remote.unfit"), Some(2));
        assert_eq!(gateway.metric("selvage.remote_state.ready"), Some(0));
        assert_eq!(logged(&gateway, why), 1, "{:?}", gateway.logs());
        gateway.advance(11);
        gateway.tick();
        only(calls(&gateway)).respond(200, Headers::new(), r#"{"result":"c2VsdmFnZQ=="}"#);
        gateway.tick();
        assert_eq!(gateway.metric("selvage.remote_state.ready"), Some(1));
        // What was stored meanwhile is sent now.
        assert!(calls(&gateway).iter().all(|call| call.path().starts_with("/set/selvage:v1:")));
        assert!(gateway.logs().iter().all(|line| !line.message.contains("s3cret")));
    }
}

#[test]
fn a_webdis_that_may_not_be_probed_is_used_all_the_same() {
    let gateway = Gateway::with(PLAIN).cluster("redis").start();
    waiting(&gateway, "/before-any-tick").disconnect();
    only(calls(&gateway)).fail();
    gateway.tick();
    only(calls(&gateway)).respond(403, Headers::new(), "Forbidden");
    gateway.tick();
    assert_eq!(gateway.metric("selvage.remote_state.ready"), Some(0));
    waiting(&gateway, "/a");
}

#[test]
fn an_upstash_record_answers_the_request_that_waits_for_it() {
    let gateway = upstash();
    let stream = waiting(&gateway, "/a");
    let call = only(calls(&gateway));
    assert!(call.path().starts_with("/get/selvage:v1:"), "{}", call.path());
    assert_eq!(call.headers().get("upstash-encoding").as_deref(), Some("base64"));
    assert_eq!(call.headers().get("authorization").as_deref(), Some("Bearer s3cret"));
    call.respond(200, Headers::new(), r#"{"result":null}"#);
    stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
    stream.last_body("content");
    gateway.tick();
    let mut sent = calls(&gateway);
    let at = sent.iter().position(|call| call.path().starts_with("/set/")).expect("the record is sent");
    let set = sent.remove(at);
    assert!(set.path().contains("?EX="), "{}", set.path());
    let encoded = BASE64_STANDARD.encode(set.body());
    set.respond(200, Headers::new(), r#"{"result":"OK"}"#);

    let other = upstash();
    let stream = waiting(&other, "/a");
    only(calls(&other)).respond(200, Headers::new(), format!(r#"{{"result":"{encoded}"}}"#));
    assert_hit(&stream, "content");
    assert!(cache_status(&stream).contains("detail=remote"), "{}", cache_status(&stream));
}

#[test]
fn credentials_come_from_the_environment_and_are_never_logged() {
    let named = r#"{"remote":{"enabled":true,"credentials_env":"REDIS_LOGIN"}}"#;
    let gateway = Gateway::with(named).cluster("redis").environment("REDIS_LOGIN", "user:pass:word").start();
    waiting(&gateway, "/a");
    let call = only(calls(&gateway));
    assert_eq!(call.headers().get("authorization").as_deref(), Some("Basic dXNlcjpwYXNzOndvcmQ="));
    assert!(gateway.logs().iter().all(|line| !line.message.contains("word")));
    for (name, value, wanted) in [
        ("OTHER", "user:hidden", "is empty or not in the environment of the VM"),
        ("REDIS_LOGIN", " \n", "is empty or not in the environment of the VM"),
        ("REDIS_LOGIN", "hidden", "whose value cannot be sent, allowed: user:password"),
    ] {
        let refused = Gateway::with(named).environment(name, value).try_start().err().unwrap().text();
        assert!(refused.contains("remote.credentials_env: found \"REDIS_LOGIN\""), "{refused}");
        assert!(refused.contains(wanted) && !refused.contains("hidden"), "{refused}");
    }
}

#[test]
fn a_change_of_the_configuration_keeps_what_the_breaker_knows() {
    let gateway = gateway();
    for nth in 0..10 {
        lookup(&gateway, 0, &format!("/{nth}"), |call| call.synthesise(504));
    }
    gateway.reconfigure(r#"{"name":"Edge","remote":{"enabled":true}}"#).unwrap();
    assert_forwarded(&gateway.get("/open").send(0), "uri-miss");
}

#[test]
fn a_lookup_claims_what_is_not_there_and_another_envoys_claim_is_waited_for() {
    let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
    let stream = waiting(&gateway, "/a");
    let call = only(calls(&gateway));
    assert!(call.path().starts_with("/SET/selvage:v1:"), "{}", call.path());
    assert!(call.path().ends_with("/NX/GET/PX/6000.bin"), "{}", call.path());
    call.respond(200, Headers::new(), "claim:0123456789abcdef");
    assert!(stream.is_paused(), "another Envoy fetches");
    let other = waiting(&gateway, "/a");
    assert!(calls(&gateway).is_empty(), "one asks for all");
    gateway.advance(1);
    gateway.tick();
    only(calls(&gateway)).respond(404, Headers::new(), "");
    assert!(!stream.is_paused(), "the claim has ended, and this one's is there now");
    stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "private")]));
    stream.last_body("for one");
    gateway.tick();
    assert!(!other.is_paused());
    let told = only(calls(&gateway));
    assert_eq!((told.path().split('/').nth(1), told.body()), (Some("SETEX"), &b"claim:!"[..]));
}

#[test]
fn a_redis_that_knows_no_claims_is_asked_plainly() {
    let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
    let stream = waiting(&gateway, "/a");
    only(calls(&gateway)).respond(200, Headers::new(), "-ERR syntax error");
    assert!(!stream.is_paused());
    waiting(&gateway, "/b");
    let call = only(calls(&gateway));
    assert!(call.path().starts_with("/GET/selvage:v1:"), "{}", call.path());
}

#[test]
fn a_claim_for_a_client_that_has_left_is_taken_back() {
    let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
    let stream = waiting(&gateway, "/a");
    let call = only(calls(&gateway));
    stream.disconnect();
    call.respond(404, Headers::new(), "");
    gateway.tick();
    assert!(only(calls(&gateway)).path().starts_with("/DEL/selvage:v1:"));
}

#[test]
fn a_claim_that_was_not_answered_is_taken_back_if_its_fetch_comes_to_nothing() {
    let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
    let stream = waiting(&gateway, "/a");
    only(calls(&gateway)).fail();
    assert!(!stream.is_paused());
    stream.disconnect();
    gateway.tick();
    assert!(only(calls(&gateway)).path().starts_with("/DEL/selvage:v1:"));
}

#[test]
fn a_claim_that_could_not_be_taken_back_in_its_time_is_left_to_end_by_itself() {
    for (later, again) in [(1, true), (20, false)] {
        let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
        let stream = waiting(&gateway, "/a");
        only(calls(&gateway)).respond(404, Headers::new(), "");
        stream.disconnect();
        gateway.tick();
        let deletion = only(calls(&gateway));
        let path = deletion.path().to_owned();
        gateway.advance(later);
        deletion.fail();
        gateway.tick();
        let repeated: Vec<String> = calls(&gateway).iter().map(|call| call.path().to_owned()).collect();
        assert_eq!(repeated.contains(&path), again, "after {later} s: {repeated:?}");
    }
}

#[test]
fn what_was_invalidated_is_deleted_when_calls_can_be_made_again() {
    let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
    let (_, key) = record(&gateway, "/a");
    gateway.refuse_callouts(true);
    gateway.post("/a").body("change").send(0);
    for _ in 0..3 {
        gateway.advance(1);
        gateway.tick();
    }
    gateway.refuse_callouts(false);
    let deletion = format!("/DEL/{key}");
    let found = (0..60).any(|_| {
        gateway.advance(1);
        gateway.tick();
        calls(&gateway).iter().any(|call| call.path() == deletion)
    });
    assert!(found, "it was forgotten");
}

#[test]
fn what_was_invalidated_is_deleted_however_late_if_what_takes_its_place_does_not_get_there() {
    let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
    let (_, key) = record(&gateway, "/a");
    gateway.post("/a").body("change").send(0);
    gateway.tick();
    let deletion = only(calls(&gateway));
    assert_eq!(deletion.path(), format!("/DEL/{key}"));
    gateway.advance(1);
    let stream = waiting(&gateway, "/a");
    gateway.node().run();
    let lookup = calls(&gateway).into_iter().find(|call| !call.path().starts_with("/DEL/")).unwrap();
    lookup.respond(404, Headers::new(), "");
    stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
    stream.last_body("new");
    gateway.advance(20);
    // The deletion has failed, and the new record will do instead.
    deletion.fail();
    gateway.tick();
    let written = only(calls(&gateway));
    assert!(written.path().starts_with(&format!("/SETEX/{key}")), "{}", written.path());
    written.fail();
    gateway.tick();
    assert_eq!(only(calls(&gateway)).path(), format!("/DEL/{key}"));
}

#[test]
fn a_refresh_is_claimed_for_the_fleet_before_the_origin_is_called() {
    let configuration = r#"{"remote":{"enabled":true},"defaults":{"refresh":{"cluster":"origin"},
        "stale":{"while_revalidate":"1h"}}}"#;
    let builder = Gateway::with(configuration).workers(1).cluster("redis").cluster("origin");
    let gateway = builder.origin(|_| fresh("content")).start();
    gateway.tick();
    only(calls(&gateway)).respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
    let (record, key) = record(&gateway, "/a");
    let expired = |content: &str| {
        gateway.advance(61);
        assert_hit(&gateway.get("/a").send(0), content);
        gateway.tick();
        let claim = only(calls(&gateway));
        assert!(claim.path().ends_with("/NX/GET/PX/5000.bin"), "{}", claim.path());
        assert!(claim.path().starts_with("/SET/selvage:v1:") && !claim.path().contains(&key));
        claim
    };
    // Another Envoy has it: its record is looked for, and is still the old one.
    expired("content").respond(200, Headers::new(), "claim:1");
    assert!(calls(&gateway).is_empty());
    gateway.advance(1);
    gateway.tick();
    let look = only(calls(&gateway));
    assert_eq!(look.path(), format!("/GET/{key}.bin"));
    look.respond(200, Headers::new(), record.clone());
    assert!(calls(&gateway).is_empty());
    // It never comes: the refresh is given up, and the next one gets the claim.
    gateway.advance(6);
    gateway.tick();
    let claim = expired("content");
    claim.respond(404, Headers::new(), "");
    let look = only(calls(&gateway));
    assert_eq!(look.path(), format!("/GET/{key}.bin"));
    look.respond(200, Headers::new(), record);
    let fetch = only(calls(&gateway));
    assert_eq!((fetch.cluster(), fetch.path().as_str()), ("origin", "/a"));
    fetch.respond(200, Headers::new().with("cache-control", "max-age=60"), "new");
    assert_hit(&gateway.get("/a").send(0), "new");
    // A Redis that does not answer keeps nothing from being refreshed.
    for call in calls(&gateway) {
        call.respond(200, Headers::new(), r#"{"SETEX":[true,"OK"]}"#);
    }
    gateway.tick();
    for call in calls(&gateway) {
        call.respond(200, Headers::new(), r#"{"SETEX":[true,"OK"]}"#);
    }
    expired("new").synthesise(504);
    only(calls(&gateway)).synthesise(504);
    assert_eq!(only(calls(&gateway)).cluster(), "origin");
}

#[test]
fn what_has_expired_is_claimed_beside_its_record_before_the_origin_is_asked() {
    let configuration = r#"{"remote":{"enabled":true}}"#;
    let gateway = gateway_of(1, configuration);
    let (old, key) = record(&gateway, "/a");
    gateway.advance(61);
    let look = |stream: &Stream| {
        assert!(stream.is_paused());
        let look = only(calls(&gateway));
        assert_eq!(look.path(), format!("/GET/{key}.bin"));
        look.respond(200, Headers::new(), old.clone());
        let claim = only(calls(&gateway));
        assert!(claim.path().ends_with("/NX/GET/PX/6000.bin"), "{}", claim.path());
        assert!(claim.path().starts_with("/SET/selvage:v1:") && !claim.path().contains(&key));
        claim
    };
    // Another Envoy has it. This one looks at the record again, and then at the claim.
    let stream = waiting(&gateway, "/a");
    look(&stream).respond(200, Headers::new(), "claim:0123456789abcdef");
    assert!(stream.is_paused() && calls(&gateway).is_empty());
    gateway.advance(1);
    gateway.tick();
    let claim = look(&stream);
    let path = claim.path().to_owned();
    // That one has given it back, and this one has it now.
    claim.respond(404, Headers::new(), "");
    assert!(!stream.is_paused());
    // It fails, and gives it back too.
    let claimed = path.split('/').nth(2).unwrap().to_owned();
    stream.disconnect();
    gateway.tick();
    assert_eq!(only(calls(&gateway)).path(), format!("/DEL/{claimed}"));
}

#[test]
fn a_redis_that_does_not_answer_a_claim_beside_a_record_keeps_nobody_from_the_origin() {
    let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
    let (old, _) = record(&gateway, "/a");
    gateway.advance(61);
    let stream = waiting(&gateway, "/a");
    only(calls(&gateway)).respond(200, Headers::new(), old.clone());
    only(calls(&gateway)).synthesise(504);
    assert!(!stream.is_paused());
    stream.disconnect();
    // One that is older than 7.0 is asked for no more claims.
    let gateway = gateway_of(1, r#"{"remote":{"enabled":true}}"#);
    let (old, _) = record(&gateway, "/a");
    gateway.advance(61);
    let stream = waiting(&gateway, "/a");
    only(calls(&gateway)).respond(200, Headers::new(), old);
    only(calls(&gateway)).respond(200, Headers::new(), "-ERR syntax error");
    assert!(!stream.is_paused());
}

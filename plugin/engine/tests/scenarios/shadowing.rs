//! A rule that only watches: everything runs except serving, and what the origin sends is compared with what a store has.

use selvage_engine::exchange::Event;
use selvage_engine::purge::admin_auth::AdminAuth;
use serde_json::{Value, json};

use crate::gateway::{Gateway, fresh_for, origin, unreachable};

pub const WATCHES: &str = r#"{"defaults":{"shadow":true}}"#;

/// What the report says of the only rule that watches, and the mismatches.
#[track_caller]
pub fn seen(gateway: &mut Gateway, at: u64) -> (Value, Vec<Value>) {
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway.exports();
    let answer = gateway.get("/.selvage/report").at(at).answered().status(200);
    let report: Value = serde_json::from_slice(answer.bytes()).unwrap();
    let [rule] = report["shadow"]["rules"].as_array().unwrap().as_slice() else { panic!("{report}") };
    (rule.clone(), report["shadow"]["mismatches"].as_array().unwrap().clone())
}

/// The comparisons so far: same, mismatch, unknown.
#[track_caller]
pub fn compared(gateway: &mut Gateway, at: u64) -> [u64; 3] {
    let (rule, _) = seen(gateway, at);
    ["same", "mismatch", "unknown"].map(|word| rule[word].as_u64().unwrap())
}

#[test]
fn what_would_be_a_hit_goes_to_the_origin_and_is_compared() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(60).body("one")).stored();
    let answer = gateway.get("/a").at(10).forwarded(fresh_for(60).body("o").body("ne"));
    answer
        .content("one")
        .says("fwd=bypass")
        .says("fwd-status=200")
        .ttl(50)
        .detail("shadow")
        .says_nothing_of("stored");
    gateway.get("/a").at(20).forwarded(fresh_for(60).body("two")).content("two").detail("shadow");
    // What was sent meanwhile did not make it any younger.
    gateway.get("/a").at(61).forwarded(fresh_for(60).body("two")).says("fwd=stale").stored();
    let (rule, mismatches) = seen(&mut gateway, 62);
    let expected = json!({ "rule": "default", "hit": 2, "stale": 0, "collapsed": 0, "miss": 2, "bytes": 6, "same": 1,
        "mismatch": 1, "unknown": 0, "hit_rate": 0.5 });
    assert_eq!(rule, expected);
    let expected = json!([{ "rule": "default", "url": "https://example.com/a", "keyed": "/a", "differs": "body", "age_s": 20 }]);
    assert_eq!(json!(mismatches), expected);
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_wrong_key_shows_and_the_origin_is_asked_what_the_client_asked() {
    let config = r#"{"rules":[{"name":"feeds","shadow":true,"key":{"query":{"drop":true}}}]}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/feed?user=1").at(0).miss(fresh_for(60).body("for 1"));
    let flight = gateway.get("/feed?user=2").at(1).leaves();
    assert!(flight.edits.is_empty(), "{:?}", flight.edits);
    gateway.answers(flight, 1, fresh_for(60).body("for 2")).content("for 2");
    let (rule, mismatches) = seen(&mut gateway, 2);
    assert_eq!((&rule["rule"], &rule["mismatch"]), (&json!("feeds"), &json!(1)));
    assert_eq!(mismatches[0]["url"], "https://example.com/feed?user=2");
    assert_eq!(mismatches[0]["keyed"], "/feed");
}

#[test]
fn nothing_that_was_stored_while_watching_is_ever_served() {
    let mut gateway = Gateway::of_workers(2, WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(60).body("one"));
    let mut serving = Gateway::with("{}");
    std::mem::swap(&mut serving.shared, &mut gateway.shared);
    serving.get("/a").at(1).miss(fresh_for(60).body("two"));
    serving.get("/a").at(2).hit().content("two");
    std::mem::swap(&mut serving.shared, &mut gateway.shared);
    // The other worker that watches finds what the first has stored.
    gateway.get("/a").worker(1).at(3).forwarded(fresh_for(60).body("one")).detail("shadow");
    assert_eq!(compared(&mut gateway, 4), [1, 0, 0]);
}

#[test]
fn what_is_stale_is_neither_served_nor_validated_and_is_renewed() {
    let stale = |text: &str| {
        origin(200)
            .header("cache-control", "max-age=10, stale-while-revalidate=100, stale-if-error=1000")
            .header("etag", "\"1\"")
            .body(text)
    };
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(stale("one"));
    let flight = gateway.get("/a").at(20).leaves();
    assert!(!flight.is_conditional());
    gateway.answers(flight, 20, stale("two")).content("two").detail("shadow").stored();
    gateway.get("/a").at(21).forwarded(stale("two")).detail("shadow");
    // Past every window but that for errors: the client gets the error all the same.
    gateway.get("/a").at(200).forwarded(origin(503)).status(503).says("fwd=stale");
    gateway.get("/a").at(201).forwarded(unreachable()).status(503);
    let (rule, _) = seen(&mut gateway, 202);
    assert_eq!([&rule["stale"], &rule["hit"], &rule["miss"]], [1, 1, 3].map(|n| json!(n)).each_ref());
    assert_eq!(compared(&mut gateway, 202), [1, 0, 0]);
    gateway.assert_no_room_is_taken();
}

#[test]
fn requests_that_would_wait_go_on_at_once() {
    let mut gateway = Gateway::with(WATCHES);
    let first = gateway.get("/a").at(0).leaves();
    let second = gateway.get("/a").at(0).leaves();
    gateway.answers(first, 1, fresh_for(60).body("one"));
    gateway.answers(second, 1, fresh_for(60).body("one"));
    let (rule, _) = seen(&mut gateway, 2);
    assert_eq!([&rule["miss"], &rule["collapsed"]], [1, 1].map(|n| json!(n)).each_ref());
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

#[test]
pub fn what_cannot_be_compared_is_no_mismatch() {
    let mut gateway = Gateway::with(WATCHES);
    let stored =
        fresh_for(600).header("etag", "\"1\"").header("content-type", "text/html").body("0123456789");
    gateway.get("/a").at(0).miss(stored.clone());
    gateway.get("/a").at(1).forwarded(unreachable());
    gateway.get("/a").at(2).forwarded(origin(500).body("oh"));
    gateway.get("/a").at(3).forwarded(origin(429));
    gateway
        .head("/a")
        .at(4)
        .forwarded(fresh_for(600).header("etag", "\"1\"").header("content-type", "text/html"));
    // The client leaves before the end.
    gateway.get("/a").at(5).forwarded(stored.clone().cut());
    assert_eq!(compared(&mut gateway, 6), [0, 0, 5]);
    // 304 to a client that has it, and the part that a client wants.
    gateway.get("/a").header("if-none-match", "\"1\"").at(7).forwarded(origin(304)).status(304);
    let part = origin(206).header("content-type", "text/html").header("content-range", "bytes 2-4/10");
    gateway.get("/a").header("range", "bytes=2-4").at(8).forwarded(part.clone().body("234"));
    assert_eq!(compared(&mut gateway, 9), [2, 0, 5]);
    gateway.get("/a").header("range", "bytes=2-4").at(10).forwarded(part.body("abc"));
    gateway.get("/a").header("if-none-match", "\"2\"").at(11).forwarded(origin(304)).status(304);
    gateway.get("/a").at(12).forwarded(origin(404));
    gateway
        .get("/a")
        .at(13)
        .forwarded(fresh_for(600).header("content-type", "text/plain").body("0123456789"));
    // Shorter, longer.
    gateway.get("/a").at(14).forwarded(stored.clone().body("0"));
    gateway.get("/a").at(15).forwarded(fresh_for(6).header("content-type", "text/html").body("012345678"));
    assert_eq!(compared(&mut gateway, 16), [2, 6, 5]);
    let (_, mismatches) = seen(&mut gateway, 17);
    let differs: Vec<&str> = mismatches.iter().map(|one| one["differs"].as_str().unwrap()).collect();
    assert_eq!(differs, ["body", "body", "content-type", "status", "status", "body"]);
}

#[test]
fn what_is_stored_compressed_is_compared_as_it_came() {
    let text = "the same words over and over, ".repeat(200);
    let page = || fresh_for(600).header("content-type", "text/plain").body(text.as_bytes());
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").header("accept-encoding", "gzip").at(0).miss(page()).lacks("vary");
    gateway
        .get("/a")
        .header("accept-encoding", "gzip")
        .at(1)
        .forwarded(page())
        .lacks("vary")
        .content(text.as_bytes());
    gateway.get("/a").at(2).forwarded(page());
    assert_eq!(compared(&mut gateway, 3), [2, 0, 0]);
    assert_eq!(gateway.shared.metrics.get(&("compression", "kept")), Some(&1));
}

#[test]
fn responses_pass_as_they_are_and_invalidation_works() {
    let mut gateway = Gateway::with(WATCHES);
    gateway
        .get("/a")
        .at(0)
        .miss(fresh_for(600).header("surrogate-key", "x").body("1"))
        .has("surrogate-key", "x");
    gateway
        .get("/b")
        .at(1)
        .miss(origin(200).header("cache-control", "no-store").body("1"))
        .detail("no-store");
    gateway.post("/a").at(2).forwarded(origin(200));
    gateway.get("/a").at(3).miss(fresh_for(600).body("2")).stored();
    gateway
        .get("/a")
        .header("cache-control", "only-if-cached")
        .at(4)
        .forwarded(fresh_for(600).body("2"))
        .status(200);
    gateway.get("/c").header("cache-control", "only-if-cached").at(5).forwarded(origin(404)).status(404);
}

#[test]
fn an_origin_that_fails_is_not_left_alone() {
    let config = r#"{"defaults":{"shadow":true,"origin_breaker":{"enabled":true,"least_calls":2}}}"#;
    let mut gateway = Gateway::with(config);
    for n in 0..20 {
        gateway.get(&format!("/{n}")).at(1).forwarded(origin(503)).status(503);
    }
}

#[test]
fn the_body_of_a_comparison_is_wanted_until_its_end_or_until_it_is_longer() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(600).body("0123456789"));
    let mut flight = gateway.get("/a").at(1).leaves();
    let head = crate::gateway::block(&[(":status", "200"), ("cache-control", "max-age=600")]);
    let fields = selvage_engine::fields::Fields::parse(&head).unwrap();
    gateway.feed(0, &mut flight.exchange, 1000, Event::Response { head: fields, end_of_stream: false });
    assert!(flight.exchange.wants_body());
    gateway.feed(0, &mut flight.exchange, 1000, Event::Body { chunk: b"01234", end_of_stream: false });
    assert!(flight.exchange.wants_body());
    gateway.feed(0, &mut flight.exchange, 1000, Event::Body { chunk: b"56789x", end_of_stream: false });
    assert!(flight.exchange.is_over());
    assert_eq!(compared(&mut gateway, 2), [0, 1, 0]);
}

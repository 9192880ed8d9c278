//! Responses of which nothing is read: where the cache stays out, and for keys that are known not to be storable.

use selvage_engine::exchange::{Directive, Event};
use selvage_engine::fields::Fields;
use selvage_engine::purge::admin_auth::AdminAuth;

use crate::gateway::{Flight, Gateway, Origin, fresh_for, origin, unreachable};

const RULES: &str = r#"{"rules":[{"name":"out","match":{"paths":["/out/*"]},"bypass":true}]}"#;

fn no_store() -> Origin {
    origin(200).header("cache-control", "no-store").body("private")
}

/// Whether the head of its response is not asked for.
fn goes_unread(flight: &Flight) -> bool {
    flight.exchange.state_name() == "passing"
}

/// A key of which the first response, at second 0, was not storable.
fn unstorable(config: &str) -> Gateway {
    let mut gateway = Gateway::with(config);
    gateway.get("/a").at(0).miss(no_store()).not_stored("no-store").says("fwd-status=200");
    gateway
}

#[test]
fn what_the_cache_stays_out_of_passes_without_its_head() {
    let mut gateway = Gateway::with(RULES);
    for (method, path, said) in [
        ("GET", "/out/a", "Selvage; fwd=bypass; detail=rule"),
        ("HEAD", "/out/a", "Selvage; fwd=bypass; detail=rule"),
        ("OPTIONS", "/a", "Selvage; fwd=method"),
        ("GET", "/a\\b", "Selvage; fwd=bypass; detail=ambiguous-path"),
    ] {
        let mut flight = gateway.request(method, path).at(0).leaves();
        assert!(goes_unread(&flight), "{method} {path}");
        let event = Event::Response { head: Fields::default(), end_of_stream: false };
        let directive = gateway.step(0, &mut flight.exchange, 0, event);
        let Directive::Relay { cache_status: Some(line), .. } = directive else { panic!("{directive:?}") };
        assert_eq!(String::from_utf8(line).unwrap(), said);
        assert!(flight.exchange.is_over() && !flight.exchange.is_passing());
    }
    // What invalidates has to know how the origin has answered.
    let flight = gateway.post("/out/a").at(0).leaves();
    assert!(!goes_unread(&flight));
    gateway.answers(flight, 0, origin(204)).says("fwd-status=204");
    assert_eq!(gateway.counted(0, "requests", "bypass.origin"), 5);
    assert_eq!(gateway.counted(0, "detail", "rule"), 3);
}

#[test]
fn a_key_that_is_known_not_to_be_storable_is_looked_at_again_every_two_seconds() {
    let mut gateway = unstorable("{}");
    for millis in [10, 1_000, 1_999] {
        let flight = gateway.get("/a").at_millis(millis).leaves();
        assert!(goes_unread(&flight), "{millis}");
        let answer = gateway.answers(flight, 2, fresh_for(60).body("for all"));
        answer.says("fwd=uri-miss").detail("no-store").says_nothing_of("fwd-status").content("for all");
    }
    gateway.get("/a").at(2).miss(fresh_for(60).body("for all")).stored().says("fwd-status=200");
    gateway.get("/a").at(3).hit().content("for all");
    gateway.assert_nobody_waits();
}

#[test]
fn the_reason_is_that_of_the_response_that_was_read() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(origin(200).header("cache-control", "private")).not_stored("private");
    gateway.get("/a").at(1).miss(no_store()).detail("private").says_nothing_of("fwd-status");
    gateway.get("/a").at(2).miss(no_store()).detail("no-store").says("fwd-status=200");
    gateway.get("/a").at(3).miss(no_store()).detail("no-store");
    assert_eq!(gateway.counted(0, "detail", "no-store"), 2);
    assert_eq!(gateway.counted(0, "requests", "miss.origin"), 4);
}

#[test]
fn an_answer_that_speaks_for_one_client_or_for_itself_alone_is_none_to_go_by() {
    for (request, response) in [
        (("authorization", "Bearer x"), no_store()),
        (("accept", "*/*"), no_store().header("vary", "accept")),
        (("accept", "*/*"), origin(503).header("cache-control", "no-store")),
        (("accept", "*/*"), fresh_for(60).header("set-cookie", "a=b")),
    ] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").header(request.0, request.1).at(0).miss(response);
        let flight = gateway.get("/a").header(request.0, request.1).at(1).leaves();
        assert!(!goes_unread(&flight), "{request:?}");
    }
}

#[test]
fn who_asks_for_something_else_is_not_passed_unread() {
    let mut gateway = unstorable(r#"{"defaults":{"range":{"fill":true}}}"#);
    gateway.workers[0].set_admin_auth(AdminAuth::Open);
    let head = gateway.head("/a").at(1).leaves();
    let part = gateway.get("/a").header("range", "bytes=0-1").at(1).leaves();
    let explained = gateway.get("/a").header("selvage-explain", "x").at(1).leaves();
    for flight in [head, part, explained] {
        assert!(!goes_unread(&flight));
    }
    assert!(goes_unread(&gateway.get("/a").at(1).leaves()));
}

#[test]
fn clients_do_not_get_the_tags_of_what_nobody_reads() {
    let tagged = || no_store().header("surrogate-key", "a b").header("x-kept", "1");
    let mut gateway = unstorable("{}");
    gateway.get("/a").at(1).miss(tagged()).lacks("surrogate-key").has("x-kept", "1");
    gateway.request("OPTIONS", "/a").at(1).forwarded(tagged()).lacks("surrogate-key");
    let mut gateway = unstorable(r#"{"defaults":{"tags":{"strip":false}}}"#);
    gateway.get("/a").at(1).miss(tagged()).has("surrogate-key", "a b");
}

#[test]
fn once_an_origin_has_failed_every_response_is_read() {
    let breaks =
        r#"{"defaults":{"origin_breaker":{"enabled":true,"least_calls":4},"refresh":{"cluster":"origin"}}}"#;
    let mut gateway = unstorable(breaks);
    // These count as answered.
    for _ in 0..6 {
        assert!(goes_unread(&gateway.get("/a").at(1).leaves()));
    }
    gateway.get("/b").at(1).miss(unreachable());
    for _ in 0..6 {
        let flight = gateway.get("/a").at(1).leaves();
        assert!(!goes_unread(&flight));
        gateway.answers(flight, 1, unreachable()).status(503);
    }
    // 7 of 14 have failed.
    gateway.get("/a").at(1).answered().detail("origin-open");
}

#[test]
fn while_an_origin_is_tried_again_its_answer_is_read() {
    let breaks = r#"{"defaults":{"origin_breaker":{"enabled":true,"least_calls":4,"pause":"1s","longest_pause":"1s"}}}"#;
    let mut gateway = unstorable(breaks);
    while gateway.counted(0, "origin", "refused") == 0 {
        let sent = gateway.get("/b").header("cache-control", "no-cache").at(0).send();
        sent.or_answers(&mut gateway, 0, unreachable());
    }
    gateway.get("/a").at_millis(200).answered().detail("origin-open");
    let probe = gateway.get("/a").at_millis(1_900).leaves();
    assert!(!goes_unread(&probe));
    gateway.answers(probe, 2, no_store()).status(200);
    assert!(goes_unread(&gateway.get("/a").at(3).leaves()));
}

#[test]
fn one_in_64_is_read_for_its_length_and_counts_for_all_of_them() {
    for path in ["/out/a", "/a"] {
        let mut gateway = Gateway::with(RULES);
        gateway.get("/a").at(0).miss(no_store());
        let before = gateway.counted(0, "served_bytes", "origin");
        let mut read = 0;
        for _ in 0..6_400 {
            let flight = gateway.get(path).at(1).leaves();
            read += u32::from(!goes_unread(&flight));
            let length = origin(200).header("cache-control", "no-store").header("content-length", "7");
            gateway.answers(flight, 1, length.body("private")).says_nothing_of("fwd-status");
        }
        assert_eq!(read, 100, "{path}");
        assert_eq!(gateway.counted(0, "served_bytes", "origin") - before, 6_400 * 7, "{path}");
    }
}

#[test]
fn what_the_origin_takes_is_measured_for_some() {
    let mut gateway = Gateway::with("{}");
    for nth in 0..6_400 {
        gateway.get(&format!("/{nth}")).at(0).miss(origin(200));
    }
    let samples = &gateway.workers[0].stats.samples;
    let measured = samples.iter().filter(|(word, _)| *word == ("duration_us", "origin")).count();
    assert!((90..=110).contains(&measured), "{measured}");
}

#[test]
fn another_worker_judges_by_itself() {
    let mut gateway = Gateway::of_workers(2, "{}");
    gateway.get("/a").at(0).miss(no_store());
    assert!(goes_unread(&gateway.get("/a").at(1).leaves()));
    let flight = gateway.get("/a").worker(1).at(1).leaves();
    assert!(!goes_unread(&flight));
    gateway.answers(flight, 1, fresh_for(60).body("new")).stored();
    // What another worker has stored since is found once the two seconds are over.
    gateway.get("/a").at(2).hit().content("new");
}

//! What a rule that only watches compares and counts, and what it must not take from rules that serve.

use selvage_engine::exchange::Event;
use serde_json::json;

use crate::gateway::{Gateway, Origin, block, fresh_for, origin};
use crate::shadowing::{WATCHES, compared, seen};

fn page() -> Origin {
    let text = "the same words over and over, ".repeat(200);
    fresh_for(600).header("content-type", "text/plain").header("etag", "\"1\"").body(text.as_bytes())
}

#[test]
fn a_browser_that_has_it_is_told_so_whatever_form_is_stored() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").header("accept-encoding", "gzip").at(0).miss(page());
    gateway
        .get("/a")
        .header("accept-encoding", "gzip")
        .header("if-none-match", "\"1\"")
        .at(1)
        .forwarded(origin(304).header("etag", "\"1\""))
        .status(304);
    assert_eq!(compared(&mut gateway, 2), [1, 0, 0]);
}

#[test]
fn several_ranges_are_not_compared() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(page());
    let multi = origin(206).header("content-type", "multipart/byteranges; boundary=x").body("--x");
    gateway.get("/a").header("range", "bytes=0-1,4-5").at(1).forwarded(multi);
    assert_eq!(compared(&mut gateway, 2), [0, 0, 1]);
}

#[test]
fn a_range_past_the_end_is_no_mismatch() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(600).body("0123456789"));
    gateway
        .get("/a")
        .header("range", "bytes=20-")
        .at(1)
        .forwarded(origin(416).header("content-range", "bytes */10").body("no"));
    assert_eq!(compared(&mut gateway, 2)[1], 0);
}

#[test]
fn a_part_may_leave_out_what_the_client_knows() {
    let mut gateway = Gateway::with(WATCHES);
    gateway
        .get("/a")
        .at(0)
        .miss(fresh_for(600).header("content-type", "text/html").header("etag", "\"1\"").body("0123456789"));
    gateway
        .get("/a")
        .header("range", "bytes=2-4")
        .header("if-range", "\"1\"")
        .at(1)
        .forwarded(origin(206).header("content-range", "bytes 2-4/10").header("etag", "\"1\"").body("234"));
    assert_eq!(compared(&mut gateway, 2), [1, 0, 0]);
}

#[test]
fn head_may_tell_less_than_get() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(600).header("content-type", "text/html").body("0123456789"));
    gateway.head("/a").at(1).forwarded(fresh_for(600));
    gateway.head("/a").at(2).forwarded(origin(405));
    assert_eq!(compared(&mut gateway, 3), [0, 0, 2]);
}

fn short() -> Origin {
    origin(200).header("cache-control", "max-age=10").header("etag", "\"1\"").body("one")
}

#[test]
fn a_304_to_a_client_renews_what_is_stored() {
    for config in ["{}", WATCHES] {
        let mut gateway = Gateway::with(config);
        gateway.get("/a").at(0).miss(short());
        let confirmed = origin(304).header("cache-control", "max-age=10").header("etag", "\"1\"");
        gateway.get("/a").header("if-none-match", "\"1\"").at(20).forwarded(confirmed).status(304);
        if config == "{}" {
            gateway.get("/a").at(21).hit();
        } else {
            gateway.get("/a").at(21).forwarded(short()).detail("shadow");
        }
    }
}

#[test]
fn another_site_allowed_is_a_mismatch() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(600).header("access-control-allow-origin", "https://a").body("1"));
    gateway
        .get("/a")
        .at(1)
        .forwarded(fresh_for(600).header("access-control-allow-origin", "https://b").body("1"));
    assert_eq!(compared(&mut gateway, 2), [0, 1, 0]);
}

#[test]
fn a_part_of_something_longer_is_a_mismatch() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(600).body("0123456789"));
    gateway
        .get("/a")
        .header("range", "bytes=2-4")
        .at(1)
        .forwarded(origin(206).header("content-range", "bytes 2-4/20").body("234"));
    assert_eq!(compared(&mut gateway, 2), [0, 1, 0]);
}

#[test]
fn a_shorter_part_than_asked_for_is_no_mismatch() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(600).body("0123456789"));
    gateway
        .get("/a")
        .header("range", "bytes=2-9")
        .at(1)
        .forwarded(origin(206).header("content-range", "bytes 2-4/10").body("234"));
    assert_eq!(compared(&mut gateway, 2)[1], 0);
}

#[test]
fn what_a_post_brings_is_not_stored_for_a_rule_that_serves() {
    let mut gateway =
        Gateway::with(r#"{"rules":[{"name":"writes","match":{"methods":["POST"]},"shadow":true}]}"#);
    let answer = gateway
        .post("/a")
        .at(0)
        .forwarded(fresh_for(60).header("content-location", "/a").header("surrogate-key", "x").body("new"));
    answer.has("surrogate-key", "x");
    gateway.get("/a").at(1).miss(fresh_for(60).body("new"));
}

#[test]
fn whoever_would_have_waited_in_vain_is_a_miss() {
    let mut gateway = Gateway::with(WATCHES);
    let flights: Vec<_> = (0..10).map(|_| gateway.get("/a").at(0).leaves()).collect();
    for flight in flights {
        gateway.answers(flight, 1, origin(200).body("personal"));
    }
    let (rule, _) = seen(&mut gateway, 2);
    assert_eq!(rule["collapsed"], 0);
}

#[test]
fn what_is_invalidated_meanwhile_is_no_mismatch() {
    let mut gateway = Gateway::with(WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(600).body("old"));
    let flight = gateway.get("/a").at(1).leaves();
    gateway.post("/a").at(2).forwarded(origin(200));
    gateway.answers(flight, 3, fresh_for(600).body("new"));
    assert_eq!(compared(&mut gateway, 4)[1], 0);
}

#[test]
fn a_serving_rules_waiter_is_looked_after() {
    let config = r#"{"rules":[{"name":"watched","match":{"paths":["/s"]},"shadow":true}]}"#;
    for many in [0, 17_000] {
        let mut gateway = Gateway::of_workers(2, config);
        let _watched = gateway.get("/s").worker(0).at(0).leaves();
        for _ in 0..many {
            gateway.get("/s").worker(1).at(0).leaves();
        }
        let leader = gateway.get("/b").worker(0).at(0).leaves();
        let waiter = gateway.get("/b").worker(1).at(0).waits();
        gateway.answers(leader, 1, fresh_for(60).body("one")).stored();
        for _ in 0..200 {
            gateway.looks_after_fills(1, 1);
        }
        assert!(gateway.is_woken(1, &waiter), "after {many} requests under the rule that watches");
    }
}

#[test]
fn a_herd_stores_once() {
    for swr in [false, true] {
        let mut gateway = Gateway::with(WATCHES);
        let text = "the same words over and over, ".repeat(200);
        let page = || {
            origin(200)
                .header("cache-control", "max-age=10, stale-while-revalidate=100")
                .header("content-type", "text/plain")
                .body(text.as_bytes())
        };
        let mut wanted = 1;
        if swr {
            gateway.get("/a").at(0).miss(page());
            wanted += 1;
        }
        let flights: Vec<_> = (0..10).map(|_| gateway.get("/a").at(20).leaves()).collect();
        for flight in flights {
            gateway.answers(flight, 21, page());
        }
        gateway.exports();
        let compressed = gateway.shared.metrics.get(&("compression", "kept")).copied();
        assert_eq!(compressed, Some(wanted));
    }
}

#[test]
fn a_herd_takes_no_room_from_rules_that_serve() {
    let config = r#"{"worker":{"filling_bytes":"4MiB"},"rules":[{"name":"watched","match":{"paths":["/s"]},"shadow":true}]}"#;
    let mut gateway = Gateway::with(config);
    let mut flights: Vec<_> = (0..20).map(|_| gateway.get("/s").at(0).leaves()).collect();
    for flight in &mut flights {
        let head =
            block(&[(":status", "200"), ("cache-control", "max-age=600"), ("content-length", "900000")]);
        let fields = selvage_engine::fields::Fields::parse(&head).unwrap();
        gateway.feed(0, &mut flight.exchange, 0, Event::Response { head: fields, end_of_stream: false });
    }
    gateway.get("/served").at(1).miss(fresh_for(60).body("x")).stored();
    gateway
        .get("/large")
        .at(1)
        .miss(fresh_for(60).header("content-length", "300000").body("x".repeat(300_000)))
        .stored();
}

#[test]
pub fn of_a_herd_one_asks_the_remote_store() {
    let config = r#"{"defaults":{"shadow":true},"remote":{"enabled":true,"cluster":"redis"}}"#;
    let mut gateway = Gateway::with(config);
    let first = gateway.get("/a").at(0).asks();
    let second = gateway.get("/a").at(0).leaves();
    assert_eq!(gateway.workers[0].fills_under_way(), (1, 0));
    let flight = gateway.remote_answers(first, 0).left();
    gateway.answers(flight, 1, fresh_for(60).body("one")).stored();
    gateway.answers(second, 1, fresh_for(60).body("one")).says_nothing_of("stored");
    gateway.assert_nobody_waits();
    // One that goes away.
    let gone = gateway.get("/b").at(2).asks();
    gateway.goes_away(gone, 2);
    gateway.assert_nobody_waits();
    let (rule, _) = seen(&mut gateway, 3);
    assert_eq!([&rule["miss"], &rule["collapsed"]], [1, 1].map(|n| json!(n)).each_ref());
}

#[test]
fn what_the_remote_store_has_is_compared() {
    let config = r#"{"defaults":{"shadow":true},"remote":{"enabled":true,"cluster":"redis"}}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/a").at(0).miss(fresh_for(60).body("one")).stored();
    gateway.sends();
    let mut other = Gateway::with(config);
    std::mem::swap(&mut other.redis, &mut gateway.redis);
    other.get("/a").at(1).forwarded(fresh_for(60).body("one")).detail("shadow");
    other.assert_nobody_waits();
    assert_eq!(compared(&mut other, 2), [1, 0, 0]);
}

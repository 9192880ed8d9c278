//! Unsafe methods: RFC 9111 §4.4.

use selvage_engine::exchange::Wake;

use crate::gateway::{Gateway, fresh_for, origin};

fn stored(paths: &[&str]) -> Gateway {
    let mut gateway = Gateway::with("{}");
    for path in paths {
        gateway.get(path).at(0).miss(fresh_for(600).body("old"));
    }
    gateway
}

#[test]
fn a_successful_unsafe_request_invalidates_its_target() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "PURGE"] {
        for status in [200, 201, 204, 303] {
            let mut gateway = stored(&["/a", "/b"]);
            gateway.request(method, "/a").at(1).forwarded(origin(status)).says("fwd=method").status(status);
            gateway.get("/a").at(2).miss(fresh_for(60)).says("fwd=uri-miss");
            gateway.get("/b").at(2).hit();
        }
    }
}

#[test]
fn a_failed_or_a_safe_request_invalidates_nothing() {
    let mut gateway = stored(&["/a"]);
    for status in [400, 403, 404, 412, 500, 503] {
        gateway.post("/a").at(1).forwarded(origin(status));
        gateway.get("/a").at(2).hit();
    }
    for method in ["OPTIONS", "QUERY", "PROPFIND"] {
        gateway.request(method, "/a").at(1).forwarded(origin(200));
        gateway.get("/a").at(2).hit();
    }
}

#[test]
fn location_and_content_location_of_the_same_origin_are_invalidated_too() {
    for (name, value) in [
        ("location", "/b"),
        ("location", "b"),
        ("location", "https://example.com/b"),
        ("location", "HTTPS://EXAMPLE.COM:443/b#part"),
        ("location", "//example.com/b"),
        ("content-location", "/b"),
        ("content-location", "/x/../b"),
    ] {
        let mut gateway = stored(&["/a", "/b"]);
        gateway.post("/a").at(1).forwarded(origin(201).header(name, value));
        gateway.get("/a").at(2).miss(fresh_for(60));
        gateway.get("/b").at(2).miss(fresh_for(60)).says("fwd=uri-miss");
    }
}

#[test]
fn another_origin_has_no_say_over_ours() {
    let others =
        ["http://example.com/b", "https://other.example/b", "//example.com:8443/b", "//a@example.com/b"];
    for name in ["location", "content-location"] {
        for value in others {
            let mut gateway = stored(&["/a", "/b"]);
            gateway.post("/a").at(1).forwarded(origin(201).header(name, value));
            gateway.get("/b").at(2).hit();
        }
    }
}

#[test]
fn all_variants_go_at_once() {
    let mut gateway = Gateway::with("{}");
    for value in ["a", "b"] {
        gateway.get("/a").header("x-a", value).at(0).miss(fresh_for(60).header("vary", "x-a").body(value));
    }
    gateway.post("/a").header("x-a", "c").at(1).forwarded(origin(204));
    for value in ["a", "b"] {
        let answer = gateway.get("/a").header("x-a", value).at(2);
        answer.miss(fresh_for(60).header("vary", "x-a").body("new")).content("new");
    }
    gateway.get("/a").header("x-a", "a").at(3).hit().content("new");
}

#[test]
fn a_response_that_was_requested_before_an_invalidation_is_not_stored() {
    let mut gateway = Gateway::with("{}");
    let early = gateway.get("/a").at(0).leaves();
    gateway.post("/a").at(1).forwarded(origin(204));
    gateway.answers(early, 2, fresh_for(60).body("old")).content("old");
    gateway.get("/a").at(3).miss(fresh_for(60).body("new")).stored();
    gateway.get("/a").at(4).hit().content("new");
    gateway.assert_no_room_is_taken();
}

#[test]
fn an_invalidation_while_the_body_comes_counts_too() {
    let mut gateway = Gateway::with("{}");
    let mut early = gateway.get("/a").at(0).leaves();
    let head = crate::gateway::block(&[(":status", "200"), ("cache-control", "max-age=60")]);
    let head = selvage_engine::fields::Fields::parse(&head).unwrap();
    let event = selvage_engine::exchange::Event::Response { head, end_of_stream: false };
    gateway.feed(0, &mut early.exchange, 1000, event);
    gateway.post("/a").at(2).forwarded(origin(204));
    let event = selvage_engine::exchange::Event::Body { chunk: b"old", end_of_stream: true };
    gateway.feed(0, &mut early.exchange, 3000, event);
    gateway.get("/a").at(4).miss(fresh_for(60).body("new"));
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_304_that_was_requested_before_an_invalidation_freshens_nothing() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(10).header("etag", "\"1\"").body("old"));
    let early = gateway.get("/a").at(10).leaves();
    gateway.post("/a").at(11).forwarded(origin(204));
    gateway.answers(early, 12, origin(304)).status(200).content("old").says_nothing_of("stored");
    gateway.get("/a").at(13).miss(fresh_for(60).body("new"));
}

#[test]
fn those_who_wait_for_a_304_that_freshens_nothing_wait_for_the_next_fetch() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(10).header("etag", "\"1\"").body("old"));
    let early = gateway.get("/a").at(10).leaves();
    let mut waiters: Vec<_> = (0..3).map(|_| gateway.get("/a").at(10).waits()).collect();
    gateway.post("/a").at(11).forwarded(origin(204));
    gateway.answers(early, 12, origin(304)).status(200);
    let next = gateway.wakes(waiters.remove(0), Wake::Ended, 12).left();
    let waiters: Vec<_> =
        waiters.into_iter().map(|waiter| gateway.wakes(waiter, Wake::Ended, 12).waiting()).collect();
    gateway.answers(next, 13, fresh_for(60).body("new")).stored();
    for waiter in waiters {
        gateway.wakes(waiter, Wake::Ended, 13).answered().content("new").says("collapsed");
    }
    gateway.assert_nobody_waits();
}

#[test]
fn a_head_that_was_requested_before_an_invalidation_freshens_nothing() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(10).header("etag", "\"1\"").body("old"));
    let early = gateway.head("/a").at(10).leaves();
    gateway.post("/a").at(11).forwarded(origin(204));
    gateway.answers(early, 12, fresh_for(60).header("etag", "\"1\""));
    gateway.get("/a").at(13).miss(fresh_for(60).body("new")).says("fwd=uri-miss");
}

#[test]
fn a_rule_that_bypasses_still_invalidates() {
    let mut gateway =
        Gateway::with(r#"{"rules":[{"name":"writes","match":{"methods":["PUT"]},"bypass":true}]}"#);
    gateway.get("/a").at(0).miss(fresh_for(60).body("old"));
    gateway.request("PUT", "/a").at(1).forwarded(origin(204)).says("fwd=bypass").detail("rule");
    gateway.get("/a").at(2).miss(fresh_for(60).body("new"));
}

#[test]
fn another_spelling_of_the_target_is_invalidated_alike() {
    let mut gateway = Gateway::with(r#"{"defaults":{"key":{"query":{"order":"sort"}}}}"#);
    gateway.get("/a?x=1&y=2").at(0).miss(fresh_for(60).body("old"));
    gateway.post("/b/../%61?y=2&x=1").authority("EXAMPLE.com:443").at(1).forwarded(origin(204));
    gateway.get("/a?x=1&y=2").at(2).miss(fresh_for(60));
}

/// A rule that lets a POST answer GETs.
const POSTS: &str = r#"{"defaults":{"post_answers_get":true}}"#;

#[test]
fn a_post_that_says_it_is_the_get_becomes_it() {
    let mut gateway = stored(&["/a"]);
    let new = fresh_for(60).header("content-location", "/a").body("new");
    gateway.post("/a").chunk("form").at(1).forwarded(new).says_nothing_of("stored");
    gateway.get("/a").at(2).miss(fresh_for(60));
    let mut gateway = Gateway::with(POSTS);
    let new = fresh_for(60).header("content-location", "/a").body("new");
    gateway.post("/a").chunk("form").at(1).forwarded(new).stored();
    gateway.get("/a").at(2).hit().content("new").age(1);
}

#[test]
fn a_post_becomes_no_get_without_freshness_its_own_location_and_status_200() {
    let here = |status| origin(status).header("content-location", "/a").body("new");
    for response in [
        here(200),
        here(200).header("last-modified", &crate::gateway::date(-1000)),
        here(201).header("cache-control", "max-age=60"),
        here(200).header("cache-control", "no-store, max-age=60"),
        here(200).header("cache-control", "private, max-age=60"),
        here(200).header("cache-control", "max-age=60").header("set-cookie", "a=1"),
        fresh_for(60).body("new"),
        fresh_for(60).header("content-location", "/b").body("new"),
        fresh_for(60).header("content-location", "http://example.com/a").body("new"),
        fresh_for(60).header("content-location", "").body("new"),
        fresh_for(60).header("content-location", " ").body("new"),
    ] {
        let mut gateway = Gateway::with(POSTS);
        gateway.post("/a").at(1).forwarded(response).says_nothing_of("stored");
        gateway.get("/a").at(2).miss(fresh_for(60));
        gateway.assert_no_room_is_taken();
    }
    let mut gateway = Gateway::with("{}");
    let put = fresh_for(60).header("content-location", "/a").body("new");
    gateway.request("PUT", "/a").at(1).forwarded(put).says_nothing_of("stored");
}

#[test]
fn a_post_whose_answer_comes_before_its_body_has_ended_is_stored_all_the_same() {
    let mut gateway = Gateway::with(POSTS);
    let head = crate::gateway::block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/a"),
    ]);
    let response = crate::gateway::block(&[
        (":status", "200"),
        ("cache-control", "max-age=60"),
        ("content-location", "/a"),
        ("content-length", "3"),
    ]);
    let response = selvage_engine::fields::Fields::parse(&response).unwrap();
    use selvage_engine::exchange::{Event, Exchange};
    let mut exchange = Exchange::new();
    for event in [
        Event::Request { head, end_of_stream: false },
        Event::RequestBody { chunk: b"a", end_of_stream: false },
        Event::Response { head: response, end_of_stream: false },
        Event::RequestBody { chunk: b"b", end_of_stream: true },
        Event::Body { chunk: b"new", end_of_stream: true },
        Event::Ended,
    ] {
        gateway.feed(0, &mut exchange, 1000, event);
    }
    gateway.assert_no_room_is_taken();
    gateway.get("/a").at(2).hit().content("new");
}

#[test]
fn a_post_whose_target_is_not_the_keyed_one_becomes_no_get() {
    for target in ["/a?utm_source=x", "/a?utm_source=x&id=1", "/%61", "/x/../a"] {
        let mut gateway =
            Gateway::with(r#"{"defaults":{"post_answers_get":true,"key":{"query":{"except":["utm_*"]}}}}"#);
        let answer = fresh_for(60).header("content-location", target).body("new");
        gateway.post(target).at(1).forwarded(answer).says_nothing_of("stored");
        for path in [target, "/a", "/a?id=1"] {
            let flight = gateway.get(path).at(2).leaves();
            gateway.goes_away(flight, 2);
        }
    }
    let mut gateway =
        Gateway::with(r#"{"defaults":{"post_answers_get":true,"key":{"query":{"except":["utm_*"]}}}}"#);
    let answer = fresh_for(60).header("content-location", "/a?id=1").body("new");
    gateway.post("/a?id=1").at(1).forwarded(answer).stored();
    gateway.get("/a?id=1&utm_source=x").at(2).hit().content("new");
}

#[test]
fn a_confirmation_on_its_way_does_not_bring_back_what_another_worker_has_invalidated() {
    let mut gateway = Gateway::of_workers(2, "{}");
    gateway.get("/a").at(0).miss(fresh_for(10).header("etag", "\"1\"").body("old"));
    let validating = gateway.get("/a").at(20).leaves();
    gateway.post("/a").worker(1).at(21).forwarded(origin(204));
    let confirmed = origin(304).header("cache-control", "max-age=60");
    gateway.answers(validating, 22, confirmed).content("old").says_nothing_of("stored");
    gateway.get("/a").at(23).miss(fresh_for(60).body("new"));
}

#[test]
fn an_error_is_not_hidden_by_a_response_that_was_invalidated_meanwhile() {
    for worker in [0, 1] {
        let mut gateway = Gateway::of_workers(2, "{}");
        let response = fresh_for(10).headers("cache-control: stale-if-error=600 | etag: \"1\"").body("old");
        gateway.get("/a").at(0).miss(response);
        let validating = gateway.get("/a").at(20).leaves();
        gateway.post("/a").worker(worker).at(21).forwarded(origin(204));
        gateway.answers(validating, 22, origin(503)).status(503).says_nothing_of("hit").content("");
    }
}

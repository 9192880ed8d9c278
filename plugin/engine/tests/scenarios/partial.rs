//! Parts and incomplete responses: RFC 9111 §3.3, RFC 9110 §14.

use crate::gateway::{Gateway, date, fresh_for, origin};

fn ten_bytes() -> Gateway {
    let mut gateway = Gateway::with("{}");
    let lines = format!("etag: \"1\" | content-length: 10 | content-type: a/a | last-modified: {}", date(-9));
    gateway.get("/a").at(0).miss(fresh_for(60).headers(&lines).body("0123").body("456789")).stored();
    gateway
}

#[test]
fn a_range_is_cut_from_the_stored_response() {
    let mut gateway = ten_bytes();
    for (range, part, content_range) in [
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=0-99", "0123456789", "bytes 0-9/10"),
    ] {
        let answer = gateway.get("/a").header("range", range).at(1).hit();
        answer.status(206).content(part).has("content-range", content_range).has("etag", "\"1\"").age(1);
    }
}

#[test]
fn a_range_past_the_end_is_416() {
    let mut gateway = ten_bytes();
    let answer = gateway.get("/a").header("range", "bytes=10-").at(1).hit();
    answer.status(416).content("").has("content-range", "bytes */10").lacks("etag");
}

#[test]
fn several_ranges_other_units_and_head_get_it_whole() {
    let mut gateway = ten_bytes();
    for range in ["bytes=0-1,3-4", "lines=0-1", "bytes=5-2", "nonsense"] {
        gateway.get("/a").header("range", range).at(1).hit().status(200).content("0123456789");
    }
    gateway.head("/a").header("range", "bytes=0-1").at(1).hit().status(200).lacks("content-range");
}

#[test]
fn if_range_must_name_exactly_what_is_stored() {
    let mut gateway = ten_bytes();
    for (if_range, status) in [
        ("\"1\"".to_owned(), 206),
        ("\"2\"".to_owned(), 200),
        ("W/\"1\"".to_owned(), 200),
        (date(-9), 206),
        (date(-8), 200),
        (date(-10), 200),
        ("yesterday".to_owned(), 200),
    ] {
        let call = gateway.get("/a").header("range", "bytes=0-1").header("if-range", &if_range);
        call.at(1).hit().status(status);
    }
}

#[test]
fn conditions_are_judged_before_ranges() {
    let mut gateway = ten_bytes();
    let both = |tag: &str| {
        let mut gateway = ten_bytes();
        gateway.get("/a").header("range", "bytes=0-1").header("if-none-match", tag).at(1).hit()
    };
    both("\"1\"").status(304);
    both("\"2\"").status(206);
    gateway.get("/a").header("range", "bytes=0-1").at(60).validates(origin(304)).status(206).content("01");
}

#[test]
fn a_part_is_never_stored_and_never_displaces_the_whole() {
    let mut gateway = Gateway::with("{}");
    let part = origin(206).headers("content-range: bytes 0-1/10 | cache-control: max-age=60").body("01");
    gateway.get("/a").header("range", "bytes=0-1").at(0).miss(part).not_stored("partial").status(206);
    let whole = fresh_for(60).body("0123456789");
    gateway.get("/a").header("range", "bytes=0-1").at(1).miss(whole).stored();
    gateway.get("/a").at(2).hit().content("0123456789");
    gateway.get("/a").header("range", "bytes=8-").at(2).hit().status(206).content("89");
}

#[test]
fn an_incomplete_response_is_not_stored() {
    for response in [
        fresh_for(60).body("01").cut(),
        fresh_for(60).cut(),
        fresh_for(60).header("content-length", "4").body("01").cut(),
        fresh_for(60).header("content-length", "4").body("01"),
        fresh_for(60).header("content-length", "4").body("01").trailers(),
        fresh_for(60).header("content-length", "4").body("01234"),
        fresh_for(60).header("content-length", "4").body("0123").body("4"),
        fresh_for(60).header("content-length", "4"),
    ] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(response);
        gateway.assert_no_room_is_taken();
        gateway.get("/a").at(1).miss(fresh_for(60).body("whole"));
        gateway.get("/a").at(2).hit().content("whole");
    }
}

#[test]
fn a_body_where_there_is_none_by_definition_is_not_stored() {
    let mut gateway = Gateway::with(r#"{"defaults":{"ttl":{"statuses":{"204":"60s"}}}}"#);
    gateway
        .get("/a")
        .at(0)
        .forwarded(origin(204).header("cache-control", "max-age=60").body("HTTP/1.1 200 OK"));
    gateway.assert_no_room_is_taken();
    gateway.get("/a").at(1).forwarded(origin(204).header("cache-control", "max-age=60"));
    gateway.get("/a").at(2).hit().status(204).content("");
}

#[test]
fn trailers_end_a_response_like_its_last_byte() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(60).body("0").body("1").trailers());
    gateway.get("/a").at(1).hit().content("01");
    gateway.get("/b").at(0).miss(fresh_for(60).header("content-length", "2").body("01").trailers());
    gateway.get("/b").at(1).hit().content("01");
}

#[test]
fn an_incomplete_replacement_leaves_the_stored_response_to_be_validated() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(10).header("etag", "\"1\"").body("one"));
    gateway.get("/a").at(10).validates(fresh_for(10).body("tw").cut());
    gateway.get("/a").at(11).validates(origin(304)).content("one");
}

#[test]
fn a_range_that_the_origin_cannot_satisfy_is_not_stored() {
    for config in
        ["{}", r#"{"defaults":{"statuses":[200,416]}}"#, r#"{"defaults":{"ttl":{"override":"1h"}}}"#]
    {
        let mut gateway = Gateway::with(config);
        let refusal =
            || origin(416).headers("content-range: bytes */10 | cache-control: max-age=60").body("no");
        let answer = gateway.get("/a").header("range", "bytes=99-").at(0).miss(refusal());
        answer.status(416).not_stored("partial");
        gateway.get("/a").at(1).miss(refusal()).not_stored("partial");
        gateway.get("/a").at(2).miss(fresh_for(60).body("0123456789")).stored();
    }
}

#[test]
fn a_request_with_range_or_expect_stores_only_what_does_not_depend_on_them() {
    for (name, value) in [("range", "bytes=0-1"), ("expect", "100-continue")] {
        for status in [301, 308, 404, 410] {
            let mut gateway = Gateway::with("{}");
            let response = || origin(status).header("cache-control", "max-age=60").body("no");
            gateway.get("/a").header(name, value).at(0).miss(response()).stored();
            gateway.get("/a").at(1).hit().status(status);
        }
        for status in [204, 302, 403, 417, 501] {
            let mut gateway = Gateway::with("{}");
            let response = origin(status).header("cache-control", "max-age=60").body("no");
            gateway.get("/a").header(name, value).at(0).miss(response).not_stored("status");
            gateway.get("/a").at(1).miss(fresh_for(60).body("whole"));
            gateway.get("/a").at(2).hit().status(200).content("whole");
        }
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").header(name, value).at(0).miss(fresh_for(60).body("whole")).stored();
        gateway.get("/a").at(1).hit().content("whole");
    }
}

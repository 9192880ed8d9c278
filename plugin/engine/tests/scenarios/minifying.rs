//! JSON that is stored without white space.

use crate::gateway::{Gateway, Origin, fresh_for, origin};

const RULE: &str = r#"{"defaults":{"compression":{"minify_json":true,"min_bytes":300}}}"#;
const PRETTY: &str = "{\n  \"b\": 1.50,\n  \"a\": [ \" x \", 1e+05 ],\n  \"a\": null\n}\n";
const SMALL: &str = "{\"b\":1.50,\"a\":[\" x \",1e+05],\"a\":null}";

fn json(seconds: u64) -> Origin {
    fresh_for(seconds)
        .headers("content-type: application/json | etag: \"x\" | content-digest: sha-256=:x: | accept-ranges: bytes")
        .body(PRETTY)
}

#[test]
fn the_first_client_gets_it_as_it_came_and_the_others_without_white_space() {
    let mut gateway = Gateway::of_workers(2, RULE);
    let first = gateway.get("/a").at(0).miss(json(60)).stored();
    first.content(PRETTY).has("etag", "\"x\"").has("content-digest", "sha-256=:x:");
    for worker in [0, 1, 1] {
        let hit = gateway.get("/a").worker(worker).at(1).hit().content(SMALL).has("etag", "\"x-min\"");
        hit.lacks("content-digest").lacks("accept-ranges").has("content-type", "application/json");
    }
    gateway.head("/a").at(1).hit().has("etag", "\"x-min\"");
    // The client that has it in its own form is told so, and parts of it there are none.
    gateway.get("/a").header("if-none-match", "\"x-min\"").at(1).answered().status(304);
    gateway.get("/a").header("range", "bytes=0-3").at(1).hit().status(200).content(SMALL);
    assert_eq!(gateway.counted(0, "minified", "kept"), 1);
    assert_eq!(gateway.counted(0, "minified_bytes", "in"), PRETTY.len() as u64);
    assert_eq!(gateway.counted(0, "minified_bytes", "out"), SMALL.len() as u64);
}

#[test]
fn the_gzip_form_is_that_of_the_small_one() {
    let mut gateway = Gateway::with(RULE);
    let pretty = format!("[\n{}  0\n]", "  \"some words\",\n".repeat(100));
    let small = format!("[{}0]", "\"some words\",".repeat(100));
    let response = fresh_for(60).headers("content-type: application/vnd.a+json | etag: \"x\"").body(&pretty);
    gateway.get("/a").at(0).miss(response).stored();
    let gzip = gateway.get("/a").header("accept-encoding", "gzip").at(1).hit();
    assert!(gzip.bytes().len() < 100);
    gzip.has("content-encoding", "gzip").has("etag", "\"x-min-gz\"");
    gateway.get("/a").at(1).hit().content(small).has("etag", "\"x-min\"");
}

#[test]
fn the_origin_is_asked_with_its_own_tag() {
    let mut gateway = Gateway::with(RULE);
    gateway.get("/a").at(0).miss(json(10)).stored();
    let flight = gateway.get("/a").header("if-none-match", "\"x-min\", \"other\"").at(20).leaves();
    assert_eq!(flight.sets("if-none-match").as_deref(), Some("\"x\", \"other\""));
    let answer = gateway.answers(flight, 20, origin(304).headers("etag: \"x\" | cache-control: max-age=10"));
    answer.status(304).has("etag", "\"x-min\"");
    gateway.get("/a").at(21).hit().content(SMALL).has("etag", "\"x-min\"");
    gateway.get("/a").at(40).validates(origin(304).header("cache-control", "max-age=10")).content(SMALL);
    let changed = fresh_for(10).headers("content-type: application/json | etag: \"y\"").body("[ 1 ]");
    gateway.get("/a").at(60).validates(changed).content("[ 1 ]");
    gateway.get("/a").at(61).hit().content("[1]").has("etag", "\"y-min\"");
    // A change on condition of our tag is judged by the origin with its own.
    let flight = gateway.request("PUT", "/a").header("if-match", "\"y-min\"").chunk("[2]").at(62).leaves();
    assert_eq!(flight.sets("if-match").as_deref(), Some("\"y-min\", \"y\""));
    // HEAD tells of the origin's form, which has another length.
    let head = origin(200).headers(
        "content-type: application/json | etag: \"y\" | content-length: 5 | cache-control: max-age=10",
    );
    gateway.head("/a").header("cache-control", "no-cache").at(63).forwarded(head);
    gateway.get("/a").at(64).hit().content("[1]");
}

#[test]
fn what_must_stay_as_it_is_stays() {
    for (fields, body) in [
        ("content-type: application/json | cache-control: max-age=60, no-transform", PRETTY),
        ("content-type: application/json | content-encoding: br", PRETTY),
        ("content-type: text/plain", PRETTY),
        ("content-type: application/json", "{ \"a\": 1, }"),
        ("content-type: application/json", "{\"a\":1}"),
        ("content-type: application/json | last-modified: Mon, 30 Nov 2026 00:00:00 GMT", PRETTY),
    ] {
        let mut gateway = Gateway::with(RULE);
        gateway
            .get("/a")
            .at(0)
            .miss(origin(200).headers("cache-control: max-age=60").headers(fields).body(body));
        gateway.get("/a").at(1).hit().content(body);
    }
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(json(60)).stored();
    gateway.get("/a").at(1).hit().content(PRETTY).has("etag", "\"x\"");
    gateway.get("/a").header("range", "bytes=0-3").at(1).hit().status(206);
}

#[test]
fn who_wants_no_transformation_gets_it_from_the_origin() {
    let mut gateway = Gateway::with(RULE);
    gateway.get("/a").at(0).miss(json(60)).stored();
    gateway.get("/a").header("cache-control", "no-transform").at(1).miss(json(60)).content(PRETTY);
    gateway.get("/a").at(2).hit().content(SMALL);
    // Nor is what an origin forbids from now on confirmed by its 304.
    let mut gateway = Gateway::with(&RULE.replace(r#"{"comp"#, r#"{"refresh":{"cluster":"origin"},"comp"#));
    gateway.get("/a").at(0).miss(json(10)).stored();
    let mut flight = gateway.get("/a").at(20).leaves();
    let stays = origin(304).headers("etag: \"x\" | cache-control: max-age=10, no-transform");
    gateway.calls_for_all(&mut flight, 20, stays);
    let whole = json(10).header("cache-control", "no-transform");
    gateway.fetches(flight, 20, Some(whole)).content(PRETTY);
    gateway.get("/a").at(21).hit().content(PRETTY).has("etag", "\"x\"");
}

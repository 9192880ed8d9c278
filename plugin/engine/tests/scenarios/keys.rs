//! What makes two requests the same, and what the origin is asked for.

use selvage_engine::cache::Cache;

use crate::gateway::{Gateway, fresh_for, policy};
use crate::shared::Shared;

/// Config, the first request's path, another one's, whether they are the same, and what the origin is asked for in
/// place of the first, if not that.
#[test]
fn paths_and_queries_are_the_same_as_the_table_says() {
    const DEFAULT: &str = "{}";
    const SORT: &str = r#"{"defaults":{"key":{"query":{"order":"sort"}}}}"#;
    const ONLY: &str = r#"{"defaults":{"key":{"query":{"only":["id","p*"]}}}}"#;
    const EXCEPT: &str = r#"{"defaults":{"key":{"query":{"except":["utm_*"]}}}}"#;
    const DROP: &str = r#"{"defaults":{"key":{"query":{"drop":true}}}}"#;
    let table: &[(&str, &str, &str, bool, Option<&str>)] = &[
        (DEFAULT, "/a", "/a", true, None),
        (DEFAULT, "/a", "/A", false, None),
        (DEFAULT, "/a", "/a/", false, None),
        (DEFAULT, "/a", "/a?", false, None),
        (DEFAULT, "/%61", "/a", true, Some("/a")),
        (DEFAULT, "/x/../a/./b", "/a/b", true, Some("/a/b")),
        (DEFAULT, "/a%2fb", "/a%2Fb", true, Some("/a%2Fb")),
        (DEFAULT, "/a%2Fb", "/a/b", false, None),
        (DEFAULT, "/a?x=1&y=2", "/a?y=2&x=1", false, None),
        (DEFAULT, "/a?x=%61", "/a?x=a", true, Some("/a?x=a")),
        (SORT, "/a?y=2&x=1", "/a?x=1&y=2", true, Some("/a?x=1&y=2")),
        (SORT, "/a?x=1&y=2", "/a?x=1&y=2", true, None),
        (SORT, "/a?x=2&x=1", "/a?x=1&x=2", false, None),
        (ONLY, "/a?id=1&z=2&page=3", "/a?id=1&page=3", true, Some("/a?id=1&page=3")),
        (ONLY, "/a?id=1", "/a?id=2", false, None),
        (ONLY, "/a?z=1", "/a", true, Some("/a")),
        (EXCEPT, "/a?utm_source=x&id=1", "/a?id=1&utm_medium=y", true, Some("/a?id=1")),
        (EXCEPT, "/a?utm=1", "/a?utm=2", false, None),
        (DROP, "/a?x=1", "/a?y=2", true, Some("/a")),
        (DROP, "/a", "/a?y=2", true, None),
    ];
    for (config, first, second, same, asked) in table {
        let row = format!("{config} {first} {second}");
        let mut gateway = Gateway::with(config);
        let flight = gateway.get(first).at(0).leaves();
        assert_eq!(flight.sets(":path").as_deref(), *asked, "{row}");
        gateway.answers(flight, 0, fresh_for(60).body("x"));
        if *same {
            gateway.get(second).at(1).hit();
        } else {
            gateway.get(second).at(1).miss(fresh_for(60)).says("fwd=uri-miss");
        }
    }
}

#[test]
fn scheme_and_authority_are_keyed_in_their_normal_form() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").authority("Example.com:443").at(0).miss(fresh_for(60).body("x"));
    gateway.get("/a").authority("example.com").at(1).hit();
    gateway.get("/a").authority("example.com:8443").at(1).miss(fresh_for(60));
    gateway.get("/a").authority("example.com").scheme("http").at(1).miss(fresh_for(60));
    gateway.get("/a").authority("www.example.com").at(1).miss(fresh_for(60));
}

#[test]
fn named_fields_are_keyed_and_an_absent_one_is_not_an_empty_one() {
    let mut gateway = Gateway::with(r#"{"defaults":{"key":{"headers":["x-plan"]}}}"#);
    gateway.get("/a").at(0).miss(fresh_for(60).body("absent"));
    gateway.get("/a").header("x-plan", "").at(0).miss(fresh_for(60).body("empty")).says("fwd=uri-miss");
    gateway.get("/a").header("x-plan", "free").at(0).miss(fresh_for(60).body("free"));
    gateway.get("/a").at(1).hit().content("absent");
    gateway.get("/a").header("x-plan", "").at(1).hit().content("empty");
    gateway.get("/a").header("x-plan", "free").at(1).hit().content("free");
}

#[test]
fn a_rule_is_chosen_by_host_path_and_method_and_get_and_head_share_it() {
    let mut gateway = Gateway::with(
        r#"{"rules":[
            {"name":"api","match":{"hosts":["api.example.com"],"paths":["/v1/*"]},"bypass":true},
            {"name":"short","match":{"methods":["GET"],"paths":["/s/*"]},"ttl":{"override":"1s"}}]}"#,
    );
    let api = |gateway: &mut Gateway, host: &str, path: &str| {
        gateway.get(path).authority(host).at(0).forwarded(fresh_for(60).body("x")).cache_status()
    };
    assert!(api(&mut gateway, "API.example.com:443", "/v1/a").ends_with("fwd=bypass; detail=rule"));
    assert!(api(&mut gateway, "api.example.com", "/x/../v1/a").contains("detail=rule"));
    assert!(api(&mut gateway, "api.example.com", "/v2/a").contains("stored"));
    assert!(api(&mut gateway, "example.com", "/v1/a").contains("stored"));
    gateway.get("/s/a").at(0).miss(fresh_for(60).body("x")).ttl(1);
    gateway.head("/s/a").at_millis(500).hit();
    gateway.head("/s/a").at(2).forwarded(fresh_for(60));
}

#[test]
fn what_a_rule_bypasses_is_neither_stored_nor_answered() {
    let mut gateway =
        Gateway::with(r#"{"rules":[{"name":"p","match":{"paths":["/private/*"]},"bypass":true}]}"#);
    for second in 0..3 {
        let answer = gateway.get("/private/a").at(second).forwarded(fresh_for(60).body("x"));
        answer.says("fwd=bypass").detail("rule").says_nothing_of("stored");
    }
}

#[test]
fn the_cache_is_called_as_the_configuration_says() {
    let mut gateway = Gateway::with(r#"{"name":"edge 1"}"#);
    let line = gateway.get("/a").miss(fresh_for(60)).cache_status();
    assert!(line.starts_with("\"edge 1\"; fwd=uri-miss"), "{line}");
}

/// Scheme, authority as sent, and what the origin is asked under in its place.
#[test]
fn the_origin_is_asked_under_the_authority_that_is_keyed() {
    for (scheme, sent, asked) in [
        ("http", "a.example:80", Some("a.example")),
        ("https", "a.example:443", Some("a.example")),
        ("http", "A.EXAMPLE", Some("a.example")),
        ("http", "A.Example:8080", Some("a.example:8080")),
        ("http", "a.example:443", None),
        ("http", "a.example", None),
    ] {
        let mut gateway = Gateway::with("{}");
        let flight = gateway.get("/a").scheme(scheme).authority(sent).at(0).leaves();
        assert_eq!(flight.sets(":authority").as_deref(), asked, "{scheme} {sent}");
        gateway.answers(flight, 0, fresh_for(10).header("etag", "\"1\"").body("x")).stored();
        let plain = asked.unwrap_or(sent);
        gateway.get("/a").scheme(scheme).authority(plain).at(1).hit().content("x");
        let validating = gateway.get("/a").scheme(scheme).authority(sent).at(10).leaves();
        assert!(validating.is_conditional());
        assert_eq!(validating.sets(":authority").as_deref(), asked, "{scheme} {sent}, validating");
    }
}

/// Two configurations over the same shared data, and whether one answers with what the other has stored.
#[test]
fn caches_share_responses_only_on_the_same_terms() {
    let table = [
        ("{}", "{}", true),
        ("{}", r#"{"name":"Edge"}"#, true),
        ("{}", r#"{"namespace":"main"}"#, true),
        ("{}", r#"{"namespace":"shop"}"#, false),
        (r#"{"namespace":"blog"}"#, r#"{"namespace":"shop"}"#, false),
        ("{}", r#"{"defaults":{"cookies":"ignore"}}"#, false),
        ("{}", r#"{"defaults":{"cookies":"bypass"}}"#, false),
        ("{}", r#"{"defaults":{"set_cookie":"strip"}}"#, false),
        ("{}", r#"{"defaults":{"vary":{"ignore":["user-agent"]}}}"#, false),
        ("{}", r#"{"defaults":{"key":{"headers":["x-plan"]}}}"#, false),
        ("{}", r#"{"defaults":{"key":{"query":{"except":["utm_*"]}}}}"#, false),
        ("{}", r#"{"defaults":{"ttl":{"default":"2s","max":"1h"}}}"#, true),
    ];
    for (first, second, share) in table {
        for (one, other) in [(first, second), (second, first)] {
            let workers = [one, other].map(|config| Cache::new(policy(config))).into();
            let mut gateway = Gateway { workers, shared: Shared::default(), redis: Default::default() };
            gateway.get("/a").worker(0).at(0).miss(fresh_for(60).body("x")).stored();
            if share {
                gateway.get("/a").worker(1).at(1).hit().content("x");
            } else {
                gateway.get("/a").worker(1).at(1).miss(fresh_for(60).body("y")).says("fwd=uri-miss");
                gateway.get("/a").worker(0).at(2).hit().content("x");
                gateway.get("/a").worker(1).at(2).hit().content("y");
            }
        }
    }
}

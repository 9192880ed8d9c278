//! What is stored: RFC 9111 §3, RFC 9213.

use crate::gateway::{Gateway, date, fresh_for, origin, unreachable};

/// Config, request fields, status, response fields, and the word why it is not stored.
type Row = (&'static str, &'static str, u16, &'static str, Option<&'static str>);

#[test]
fn storability_is_as_the_table_says() {
    const DEFAULT: &str = "{}";
    const LISTED: &str = r#"{"defaults":{"statuses":[200,404]}}"#;
    const STRIP: &str = r#"{"defaults":{"set_cookie":"strip"}}"#;
    const STORE: &str = r#"{"defaults":{"set_cookie":"store"}}"#;
    const DEAF: &str = r#"{"defaults":{"request_directives":"ignore"}}"#;
    const LONG: &str = r#"{"defaults":{"ttl":{"override":"1h"}}}"#;
    const AUTH_KEYED: &str = r#"{"defaults":{"key":{"headers":["authorization"]}}}"#;
    let auth = "authorization: Bearer x";
    let table: &[Row] = &[
        // §3: explicit freshness makes any final status storable.
        (DEFAULT, "", 200, "cache-control: max-age=60", None),
        (DEFAULT, "", 201, "cache-control: max-age=60", None),
        (DEFAULT, "", 302, "cache-control: max-age=60", None),
        (DEFAULT, "", 404, "cache-control: max-age=60", None),
        (DEFAULT, "", 503, "cache-control: max-age=60", None),
        (DEFAULT, "", 599, "cache-control: max-age=60", None),
        (DEFAULT, "", 200, "expires: {later}", None),
        (DEFAULT, "", 200, "cache-control: s-maxage=60", None),
        (DEFAULT, "", 200, "cache-control: max-age=0, s-maxage=60", None),
        // §3: otherwise the status must be heuristically cacheable, or the response public.
        (DEFAULT, "", 200, "last-modified: {earlier}", None),
        (DEFAULT, "", 404, "last-modified: {earlier}", None),
        (DEFAULT, "", 200, "etag: \"a\"", None),
        (DEFAULT, "", 200, "", Some("no-freshness")),
        (DEFAULT, "", 302, "last-modified: {earlier}", Some("no-freshness")),
        (DEFAULT, "", 302, "cache-control: public | last-modified: {earlier}", None),
        // One request can provoke these, and all others would get them.
        (DEFAULT, "", 400, "cache-control: max-age=60", Some("status")),
        (DEFAULT, "", 405, "cache-control: max-age=60", Some("status")),
        (DEFAULT, "", 413, "cache-control: max-age=60", Some("status")),
        (DEFAULT, "", 414, "cache-control: max-age=60", Some("status")),
        (DEFAULT, "", 431, "cache-control: max-age=60", Some("status")),
        (DEFAULT, "", 501, "cache-control: max-age=60", Some("status")),
        // What cannot be parsed restricts.
        (DEFAULT, "", 200, "cache-control: private; max-age=60", Some("private")),
        (DEFAULT, "", 200, "cache-control: no-cache; no-store", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: no-store;", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: max-age=60, private;", Some("private")),
        (DEFAULT, "", 200, "cache-control: max-age=60, foo=\"a, no-store", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: max-age=60, x=\" | cache-control: no-store", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: private = x", Some("private")),
        (DEFAULT, "", 200, "cache-control: no-store = 1", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: max-age=60; x | last-modified: {earlier}", None),
        (DEFAULT, "", 200, "cache-control: max-age=60; x", Some("no-freshness")),
        (DEFAULT, "", 200, "cache-control: ext=\"no-store\", max-age=60", None),
        (DEFAULT, "", 200, "cache-control: max-age=60 | cdn-cache-control: no-store;", Some("no-store")),
        (DEFAULT, auth, 200, "cache-control: s-maxage=x | etag: \"a\"", Some("authorization")),
        (
            DEFAULT,
            auth,
            200,
            "cache-control: must-revalidate; max-age=60 | etag: \"a\"",
            Some("authorization"),
        ),
        (DEFAULT, "x-api-key: k", 200, "cache-control: max-age=60", Some("authorization")),
        (DEFAULT, "x_api_key: k", 200, "cache-control: max-age=60", Some("authorization")),
        (DEFAULT, "x-api-key: k", 200, "cache-control: max-age=60, public", None),
        (AUTH_KEYED, "x-api-key: k", 200, "cache-control: max-age=60", Some("authorization")),
        (DEFAULT, "rsc: 1", 200, "cache-control: max-age=60", Some("unkeyed-header")),
        (DEFAULT, "rsc: 1", 200, "cache-control: max-age=60 | vary: RSC", None),
        (DEFAULT, "", 200, "cache-control: max-age=0", Some("no-freshness")),
        (DEFAULT, "", 200, "expires: 0", Some("no-freshness")),
        (DEFAULT, "", 200, "cache-control: max-age=0 | etag: \"a\"", None),
        (DEFAULT, "", 200, "cache-control: max-age=0, stale-while-revalidate=60", None),
        // §3.3, §3.4: parts, and a 304 that nobody asked for.
        (DEFAULT, "", 206, "cache-control: max-age=60 | content-range: bytes 0-0/2", Some("partial")),
        (DEFAULT, "", 304, "cache-control: max-age=60", Some("partial")),
        (DEFAULT, "", 101, "cache-control: max-age=60", Some("status")),
        // §5.2.2
        (DEFAULT, "", 200, "cache-control: no-store", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: no-store, max-age=60", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: max-age=60 | cache-control: NO-STORE", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: private, max-age=60", Some("private")),
        (DEFAULT, "", 200, "cache-control: private=\"set-cookie\", max-age=60", Some("private")),
        (DEFAULT, "", 200, "cache-control: no-cache, max-age=60", Some("no-cache")),
        (DEFAULT, "", 200, "cache-control: no-cache | etag: \"a\"", None),
        (DEFAULT, "", 200, "cache-control: must-understand, no-store, max-age=60", None),
        (DEFAULT, "", 499, "cache-control: must-understand, max-age=60", Some("must-understand")),
        (DEFAULT, "", 499, "cache-control: must-understand, no-store, max-age=60", Some("must-understand")),
        (LONG, "", 200, "cache-control: no-store", Some("no-store")),
        (LONG, "", 200, "cache-control: private", Some("private")),
        (LONG, "", 200, "", None),
        // §3.5
        (DEFAULT, auth, 200, "cache-control: max-age=60", Some("authorization")),
        (DEFAULT, auth, 200, "cache-control: max-age=60, public", None),
        (DEFAULT, auth, 200, "cache-control: max-age=60, must-revalidate", None),
        (DEFAULT, auth, 200, "cache-control: s-maxage=60", None),
        (DEFAULT, auth, 200, "cache-control: max-age=60, proxy-revalidate", Some("authorization")),
        (AUTH_KEYED, auth, 200, "cache-control: max-age=60", None),
        // §7.3: a response that sets a cookie is for one client.
        (DEFAULT, "", 200, "cache-control: max-age=60 | set-cookie: a=1", Some("set-cookie")),
        (DEFAULT, "", 200, "cache-control: public, max-age=60 | set-cookie: a=1", Some("set-cookie")),
        (STRIP, "", 200, "cache-control: max-age=60 | set-cookie: a=1", None),
        (STORE, "", 200, "cache-control: max-age=60 | set-cookie: a=1", None),
        // §5.2.1.5
        (DEFAULT, "cache-control: no-store", 200, "cache-control: max-age=60", Some("request-no-store")),
        (DEAF, "cache-control: no-store", 200, "cache-control: max-age=60", None),
        // §4.1
        (DEFAULT, "", 200, "cache-control: max-age=60 | vary: *", Some("vary-star")),
        (DEFAULT, "", 200, "cache-control: max-age=60 | vary: accept, *", Some("vary-star")),
        (DEFAULT, "", 200, "cache-control: max-age=60 | vary: accept", None),
        // The rule's list.
        (LISTED, "", 200, "cache-control: max-age=60", None),
        (LISTED, "", 301, "cache-control: max-age=60", Some("status")),
        // RFC 9213 §2.2: the first targeted field that is valid hides the others.
        (DEFAULT, "", 200, "cache-control: no-store | cdn-cache-control: max-age=60", None),
        (DEFAULT, "", 200, "cache-control: max-age=60 | cdn-cache-control: no-store", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: max-age=60 | cdn-cache-control: private", Some("private")),
        (DEFAULT, "", 200, "cache-control: no-store | cdn-cache-control: max-age=\"60\"", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: no-store | cdn-cache-control: ", Some("no-store")),
        (DEFAULT, "", 200, "cache-control: no-store | other-cache-control: max-age=60", Some("no-store")),
        (DEFAULT, "", 200, "expires: {later} | cdn-cache-control: foo", Some("no-freshness")),
    ];
    for (config, asked, status, said, refusal) in table {
        let said = said.replace("{later}", &date(60)).replace("{earlier}", &date(-1000));
        let mut gateway = Gateway::with(config);
        let mut call = gateway.get("/a");
        if let Some((name, value)) = asked.split_once(": ") {
            call = call.header(name, value);
        }
        let answer = call.at(0).miss(origin(*status).headers(&said).body("x"));
        let line = answer.cache_status();
        let row = format!("{config} | {asked} | {status} | {said} -> {line}");
        assert_eq!(line.contains("; stored"), refusal.is_none(), "{row}");
        if let Some(word) = refusal {
            assert!(line.ends_with(&format!("detail={word}")), "{row}");
        }
        gateway.assert_no_room_is_taken();
    }
}

/// RFC 9213 §2.1: directives mean in a targeted field what they mean in `Cache-Control`; RFC 9111 §3.5 does not let
/// `max-age` share a response to a request with credentials.
#[test]
fn a_targeted_max_age_alone_does_not_share_what_credentials_brought() {
    let mut gateway = Gateway::with("{}");
    let secret = origin(200).header("cdn-cache-control", "max-age=60").body("mine");
    gateway.get("/a").header("authorization", "Bearer x").miss(secret).not_stored("authorization");
}

#[test]
fn a_stored_response_comes_back_with_its_fields_and_content() {
    let mut gateway = Gateway::with("{}");
    gateway
        .get("/a")
        .at(0)
        .miss(
            fresh_for(60)
                .header("content-type", "text/css")
                .header("x-a", "1")
                .header("x-a", "2")
                .body("a{}"),
        )
        .stored()
        .ttl(60)
        .says("fwd=uri-miss")
        .says("fwd-status=200");
    let answer = gateway.get("/a").at(1).hit().status(200).age(1).ttl(59).detail("worker").content("a{}");
    answer.has("content-type", "text/css").has("x-a", "1, 2").has("date", &date(0)).lacks(":status");
}

#[test]
fn hop_by_hop_and_nominated_fields_are_not_stored() {
    let mut gateway = Gateway::with("{}");
    let lines = "connection: close, X-Once | x-once: 1 | keep-alive: 5 | proxy-authenticate: Basic \
                 | transfer-encoding: chunked | upgrade: h2c | te: trailers | trailer: x | age: 3 \
                 | proxy-connection: close | x-envoy-upstream-service-time: 7 | x-kept: 1";
    gateway.get("/a").at(0).miss(fresh_for(60).headers(lines).body("x"));
    let mut answer = gateway.get("/a").at(0).hit().has("x-kept", "1").age(3);
    for gone in [
        "connection",
        "x-once",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "te",
        "trailer",
        "x-envoy-upstream-service-time",
    ] {
        answer = answer.lacks(gone);
    }
}

#[test]
fn a_rule_strips_the_cookie_or_stores_it() {
    for (word, kept) in [("strip", None), ("store", Some("a=1"))] {
        let mut gateway = Gateway::with(&format!(r#"{{"defaults":{{"set_cookie":"{word}"}}}}"#));
        let answer = gateway.get("/a").miss(fresh_for(60).header("set-cookie", "a=1").body("x"));
        answer.has("set-cookie", "a=1");
        assert_eq!(gateway.get("/a").at(1).hit().value("set-cookie").as_deref(), kept, "{word}");
    }
}

#[test]
fn a_rule_generates_an_etag_that_clients_can_use() {
    let mut gateway = Gateway::with(r#"{"defaults":{"etag":"generate"}}"#);
    gateway.get("/a").at(0).miss(fresh_for(60).body("x"));
    let etag = gateway.get("/a").at(1).hit().value("etag").unwrap();
    gateway.get("/a").at(2).header("if-none-match", &etag).hit().status(304).has("etag", &etag);
    gateway.get("/b").at(0).miss(fresh_for(60).header("etag", "\"own\"").body("x"));
    gateway.get("/b").at(1).hit().has("etag", "\"own\"");
    gateway.get("/c").at(0).miss(fresh_for(60).header("last-modified", &date(-9)).body("x"));
    gateway.get("/c").at(1).hit().lacks("etag");
}

#[test]
fn responses_to_head_and_options_are_not_stored() {
    let mut gateway = Gateway::with("{}");
    gateway.head("/a").at(0).miss(fresh_for(60)).says_nothing_of("stored");
    gateway.request("OPTIONS", "/a").at(1).forwarded(fresh_for(60)).says("fwd=method");
    gateway.get("/a").at(2).miss(fresh_for(60)).stored();
}

#[test]
fn a_response_without_content_is_stored() {
    let mut gateway = Gateway::with("{}");
    let moved = origin(301).header("location", "/b").header("cache-control", "max-age=60");
    gateway.get("/a").miss(moved.header("content-length", "0")).stored();
    gateway.get("/a").at(5).hit().status(301).has("location", "/b").content("");
    let empty = origin(204).header("cache-control", "max-age=60");
    gateway.get("/b").miss(empty).stored();
    gateway.get("/b").at(5).hit().status(204);
}

/// An error that one client provokes must not be what the next one gets.
#[test]
fn a_lifetime_of_the_rule_is_not_for_errors_that_a_request_can_provoke() {
    let rules = [r#""ttl":{"default":"10s"}"#, r#""ttl":{"override":"10s"}"#];
    for rule in rules {
        for status in [400, 403, 405, 413, 414, 429, 431, 500, 502, 503, 504] {
            let mut gateway = Gateway::with(&format!(r#"{{"defaults":{{{rule}}}}}"#));
            let provoked = matches!(status, 400 | 405 | 413 | 414 | 429 | 431);
            let word = if provoked { "status" } else { "no-freshness" };
            gateway.get("/a").at(0).miss(origin(status).body("no")).not_stored(word);
            gateway.get("/a").at(1).miss(fresh_for(60).body("yes")).content("yes");
            // Where the rule lists the status, or the origin gives a lifetime, it is meant.
            let listed = format!(r#"{{"defaults":{{{rule},"statuses":[200,{status}]}}}}"#);
            Gateway::with(&listed).get("/a").miss(origin(status).body("no")).stored();
            let timed = rule.replace('}', &format!(r#","statuses":{{"{status}":"5s"}}}}"#));
            let mut gateway = Gateway::with(&format!(r#"{{"defaults":{{{timed}}}}}"#));
            gateway.get("/a").miss(origin(status).body("no")).stored();
            let explicit = origin(status).header("cache-control", "max-age=60").body("no");
            gateway.get("/b").miss(explicit).stored();
        }
        for status in [201, 202, 205, 226, 302, 303, 305, 307] {
            let mut gateway = Gateway::with(&format!(r#"{{"defaults":{{{rule}}}}}"#));
            gateway.get("/a").at(0).miss(origin(status)).not_stored("no-freshness");
            gateway.get("/a").at(1).miss(origin(status).header("cache-control", "public")).stored().ttl(10);
        }
        for status in [301, 308, 404, 410] {
            let mut gateway = Gateway::with(&format!(r#"{{"defaults":{{{rule}}}}}"#));
            gateway.get("/a").at(0).miss(origin(status).header("location", "/b")).stored().ttl(10);
            gateway.get("/a").at(1).hit().status(status);
        }
    }
}

#[test]
fn an_error_that_the_origin_did_not_make_is_never_stored() {
    let moved = origin(301).made_by_host();
    Gateway::with("{}").get("/a").miss(moved.header("cache-control", "max-age=60")).not_stored("status");
    for config in ["{}", r#"{"defaults":{"ttl":{"statuses":{"503":"10s"}}}}"#] {
        let mut gateway = Gateway::with(config);
        let made_here = unreachable().header("cache-control", "max-age=60").body("no");
        gateway.get("/a").at(0).miss(made_here).not_stored("status").status(503);
        gateway.get("/a").at(1).miss(fresh_for(60).body("yes")).stored();
    }
}

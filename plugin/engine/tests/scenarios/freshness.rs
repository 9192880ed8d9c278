//! How long and how old: RFC 9111 §4.2.

use crate::gateway::{Gateway, date, fresh_for, origin};

#[test]
fn a_response_is_fresh_for_less_than_its_lifetime() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(60).header("etag", "\"1\"").body("x"));
    gateway.get("/a").at(59).hit().age(59).ttl(1);
    gateway.get("/a").at_millis(59_999).hit().age(59).ttl(0);
    gateway.get("/a").at(60).validates(origin(304)).says("fwd=stale");
}

/// Config, response fields at second 0, and the seconds for which they make it fresh.
#[test]
fn lifetimes_are_as_the_table_says() {
    const DEFAULT: &str = "{}";
    const OVERRIDE: &str = r#"{"defaults":{"ttl":{"override":"10s"}}}"#;
    const FALLBACK: &str = r#"{"defaults":{"ttl":{"default":"10s"}}}"#;
    const MAX: &str = r#"{"defaults":{"ttl":{"max":"10s"}}}"#;
    const STATUSES: &str = r#"{"defaults":{"ttl":{"default":"10s","statuses":{"404":"5s"}}}}"#;
    const NO_GUESS: &str = r#"{"defaults":{"ttl":{"heuristic":false}}}"#;
    const HALF: &str = r#"{"defaults":{"ttl":{"heuristic_percent":50,"heuristic_max":"40s"}}}"#;
    let table: &[(&str, u16, &str, u64)] = &[
        (DEFAULT, 200, "cache-control: max-age=60", 60),
        (DEFAULT, 200, "cache-control: max-age=\"60\"", 60),
        (DEFAULT, 200, "cache-control: MAX-AGE=60", 60),
        (DEFAULT, 200, "cache-control: foo, max-age=60, bar=\"a,b\"", 60),
        (DEFAULT, 200, "cache-control: max-age=60, s-maxage=30", 30),
        (DEFAULT, 200, "cache-control: max-age = 60", 60),
        (DEFAULT, 200, "cache-control: max-age=60; public", 0),
        (DEFAULT, 200, "cache-control: max-age=60 public", 0),
        (DEFAULT, 200, "cache-control: public;max-age=60 | last-modified: {-1000}", 0),
        (OVERRIDE, 200, "cache-control: max-age=60;", 10),
        (DEFAULT, 200, "cache-control: max-age=30, s-maxage=60", 60),
        (DEFAULT, 200, "expires: {60}", 60),
        (DEFAULT, 200, "date: {-10} | expires: {50}", 50),
        (DEFAULT, 200, "cache-control: max-age=30 | expires: {60}", 30),
        (DEFAULT, 200, "cache-control: max-age=-1 | expires: {60}", 0),
        (DEFAULT, 200, "cache-control: max-age=1.5", 0),
        (DEFAULT, 200, "cache-control: max-age", 0),
        (DEFAULT, 200, "cache-control: max-age=99999999999999999999", 2_147_483_648),
        (DEFAULT, 200, "expires: tomorrow", 0),
        (DEFAULT, 200, "cdn-cache-control: max-age=30 | cache-control: max-age=60", 30),
        (DEFAULT, 200, "cdn-cache-control: max-age=a b | cache-control: max-age=60", 60),
        // §4.2.3: age counts against the lifetime, the greater of Age with delay and of apparent age.
        (DEFAULT, 200, "cache-control: max-age=60 | age: 20", 40),
        (DEFAULT, 200, "cache-control: max-age=60 | age: 70", 0),
        (DEFAULT, 200, "cache-control: max-age=60 | age: 20, 30", 40),
        (DEFAULT, 200, "cache-control: max-age=60 | age: -5", 60),
        (DEFAULT, 200, "cache-control: max-age=60 | age: 20.5", 60),
        (DEFAULT, 200, "cache-control: max-age=60 | date: {-20}", 40),
        (DEFAULT, 200, "cache-control: max-age=60 | date: {-20} | age: 30", 30),
        (DEFAULT, 200, "cache-control: max-age=60 | date: {-30} | age: 20", 30),
        (DEFAULT, 200, "cache-control: max-age=60 | date: {20}", 60),
        (DEFAULT, 200, "cache-control: max-age=60 | date: soon", 60),
        // §4.2.2
        (DEFAULT, 200, "last-modified: {-1000}", 100),
        (DEFAULT, 404, "last-modified: {-1000}", 100),
        (DEFAULT, 302, "cache-control: public | last-modified: {-1000}", 100),
        (DEFAULT, 200, "last-modified: {-10000000}", 86_400),
        (DEFAULT, 200, "last-modified: {1000}", 0),
        (DEFAULT, 200, "etag: \"a\"", 0),
        (NO_GUESS, 200, "last-modified: {-1000}", 0),
        (HALF, 200, "last-modified: {-60}", 30),
        (HALF, 200, "last-modified: {-1000}", 40),
        // The rule's lifetimes.
        (OVERRIDE, 200, "cache-control: max-age=60", 10),
        (OVERRIDE, 200, "cache-control: max-age=0", 10),
        (OVERRIDE, 302, "", 0),
        (OVERRIDE, 302, "cache-control: public", 10),
        (OVERRIDE, 301, "", 10),
        (FALLBACK, 202, "", 0),
        (FALLBACK, 200, "content-type: text/event-stream", 0),
        (OVERRIDE, 200, "content-type: Text/Event-Stream; charset=utf-8", 0),
        (FALLBACK, 200, "content-type: multipart/x-mixed-replace; boundary=b", 0),
        (FALLBACK, 200, "x-accel-buffering: no", 0),
        (DEFAULT, 200, "content-type: text/event-stream | last-modified: {-1000}", 0),
        (DEFAULT, 200, "content-type: text/event-stream | cache-control: max-age=60", 60),
        (FALLBACK, 200, "", 10),
        (FALLBACK, 404, "", 10),
        // Errors that a request can provoke get a lifetime only where the rule or the origin names one.
        (FALLBACK, 500, "", 0),
        (FALLBACK, 400, "", 0),
        (OVERRIDE, 431, "", 0),
        (OVERRIDE, 500, "cache-control: max-age=60", 10),
        (FALLBACK, 200, "cache-control: max-age=60", 60),
        (FALLBACK, 200, "expires: {60}", 60),
        (FALLBACK, 200, "last-modified: {-1000}", 10),
        (MAX, 200, "cache-control: max-age=60", 10),
        (MAX, 200, "cache-control: max-age=5", 5),
        (MAX, 200, "last-modified: {-1000}", 10),
        (STATUSES, 404, "", 5),
        (STATUSES, 200, "", 10),
        (STATUSES, 404, "cache-control: max-age=60", 60),
    ];
    for (config, status, said, lifetime) in table {
        let mut said = (*said).to_owned();
        while let Some((before, rest)) = said.split_once('{') {
            let (second, after) = rest.split_once('}').unwrap();
            said = format!("{before}{}{after}", date(second.parse().unwrap()));
        }
        let row = format!("{config} {status} {said}");
        let response = || origin(*status).headers(&said).body("x");
        let mut gateway = Gateway::with(config);
        gateway.get("/a").at(0).miss(response());
        if *lifetime > 0 {
            let answer = gateway.get("/a").at(lifetime - 1).answered();
            assert!(answer.cache_status().contains("; hit; ttl=1;"), "{row}: {}", answer.cache_status());
        }
        let answer = gateway.get("/a").at(*lifetime).forwarded(response());
        assert!(answer.cache_status().contains("fwd="), "{row}");
    }
}

#[test]
fn the_time_the_response_took_counts_as_age() {
    let mut gateway = Gateway::with("{}");
    gateway
        .get("/a")
        .at(0)
        .miss(fresh_for(60).header("age", "10").header("etag", "\"1\"").after(5_000).body("x"));
    gateway.get("/a").at(5).hit().age(15);
    gateway.get("/a").at(49).hit().age(59);
    gateway.get("/a").at(50).validates(origin(304));
}

#[test]
fn a_response_without_date_gets_the_time_of_its_arrival() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(7).miss(fresh_for(60).body("x"));
    gateway.get("/a").at(9).hit().has("date", &date(7)).age(2);
    gateway.get("/b").at(7).miss(fresh_for(60).header("date", &date(30)).body("x"));
    gateway.get("/b").at(9).hit().has("date", &date(30)).age(2);
}

#[test]
fn an_override_does_not_spare_what_must_always_be_validated() {
    let mut gateway = Gateway::with(r#"{"defaults":{"ttl":{"override":"1h"}}}"#);
    gateway
        .get("/a")
        .at(0)
        .miss(origin(200).headers("cache-control: no-cache | etag: \"1\"").body("x"))
        .stored();
    gateway.get("/a").at(1).validates(origin(304)).content("x");
}

#[test]
fn an_override_does_not_widen_what_is_stale_at_once() {
    let rule = r#"{"defaults":{"ttl":{"override":"1h"}}}"#;
    for value in ["max-age=0", "max-age=60;", "s-maxage=0, max-age=60"] {
        let mut gateway = Gateway::with(rule);
        let login = origin(302).header("location", "/login").header("cache-control", value);
        gateway.get("/a").at(0).forwarded(login).says_nothing_of("stored");
    }
    let mut gateway = Gateway::with(rule);
    gateway
        .get("/a")
        .at(0)
        .forwarded(origin(302).header("location", "/b").header("cache-control", "max-age=1"))
        .stored();
}

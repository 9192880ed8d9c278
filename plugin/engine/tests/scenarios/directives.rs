//! What requests ask of caches: RFC 9111 §5.2.1, §5.4.

use crate::gateway::{Gateway, fresh_for, origin};

fn stored(config: &str) -> Gateway {
    let mut gateway = Gateway::with(config);
    gateway.get("/a").at(0).miss(fresh_for(60).header("etag", "\"1\"").body("x"));
    gateway
}

/// Directives, second, and the word of `Cache-Status` for what they come to.
#[test]
fn request_directives_are_obeyed_as_the_table_says() {
    let table: &[(&str, u64, &str)] = &[
        ("no-cache", 1, "fwd=request"),
        ("NO-CACHE", 1, "fwd=request"),
        ("no-store", 1, "hit"),
        ("no-store", 60, "fwd=stale"),
        ("max-age=10", 10, "hit"),
        ("max-age=10", 11, "fwd=request"),
        ("max-age=0", 0, "fwd=request"),
        ("max-age=x", 1, "hit"),
        ("no-cache;", 1, "fwd=request"),
        ("max-age=1000", 60, "fwd=stale"),
        ("min-fresh=10", 50, "hit"),
        ("min-fresh=10", 51, "fwd=request"),
        ("min-fresh=61", 0, "fwd=request"),
        ("max-stale", 1000, "detail=max-stale"),
        ("max-stale=5", 65, "detail=max-stale"),
        ("max-stale=5", 66, "fwd=stale"),
        ("max-stale=5, max-age=100", 64, "detail=max-stale"),
        ("max-stale=5, max-age=62", 63, "fwd=stale"),
        ("only-if-cached", 1, "hit"),
        ("only-if-cached", 60, "detail=only-if-cached"),
        ("only-if-cached, max-stale", 60, "detail=max-stale"),
        ("only-if-cached, no-cache", 1, "detail=only-if-cached"),
        ("foo, max-age=\"10\"", 10, "hit"),
        ("", 1, "hit"),
    ];
    for (asked, second, word) in table {
        let mut gateway = stored("{}");
        let call = gateway.get("/a").header("cache-control", asked).at(*second);
        if word.starts_with("fwd") {
            call.forwarded(fresh_for(60).body("y")).says(word);
        } else {
            call.answered().says(word);
        }
        // Told to ignore them, the cache does as if nothing was asked.
        let mut gateway = stored(r#"{"defaults":{"request_directives":"ignore"}}"#);
        let call = gateway.get("/a").header("cache-control", asked).at(*second);
        if *second < 60 {
            call.hit();
        } else {
            call.validates(origin(304));
        }
    }
}

#[test]
fn only_if_cached_never_reaches_the_origin() {
    let mut gateway = Gateway::with("{}");
    let answer = gateway.get("/a").header("cache-control", "only-if-cached").answered();
    answer.status(504).detail("only-if-cached").says_nothing_of("hit").says_nothing_of("fwd");
    gateway.get("/a").header("x-a", "1").at(0).miss(fresh_for(60).header("vary", "x-a"));
    gateway.get("/a").header("cache-control", "only-if-cached").at(1).answered().status(504);
}

#[test]
fn a_forced_validation_freshens_for_everyone() {
    let mut gateway = stored("{}");
    gateway.get("/a").header("cache-control", "no-cache").at(50).validates(origin(304)).age(0);
    gateway.get("/a").at(100).hit().age(50);
}

#[test]
fn a_request_that_says_no_store_changes_nothing_in_the_store() {
    let mut gateway = stored("{}");
    gateway.get("/a").header("cache-control", "no-store").at(1).hit().content("x");
    let anew = |gateway: &mut Gateway, method: &str| {
        let call = gateway.request(method, "/a").header("cache-control", "no-store, no-cache").at(1);
        call.leaves()
    };
    // What confirms it, or is about the same, neither renews nor removes it.
    for method in ["GET", "HEAD"] {
        let flight = anew(&mut gateway, method);
        assert!(flight.is_conditional());
        gateway.answers(flight, 1, origin(304).header("cache-control", "max-age=600")).status(200);
        let flight = anew(&mut gateway, method);
        let same = fresh_for(600).header("etag", "\"1\"").body("x");
        gateway.answers(flight, 1, same).says_nothing_of("stored");
        gateway.get("/a").at(59).hit().content("x").age(59);
    }
    // News of something else is not stored, and yet the end of what is.
    let flight = anew(&mut gateway, "GET");
    gateway.answers(flight, 2, fresh_for(60).body("y")).content("y").not_stored("request-no-store");
    gateway.get("/a").at(3).miss(fresh_for(60));
}

#[test]
fn pragma_stands_in_for_an_absent_cache_control() {
    let mut gateway = stored("{}");
    gateway.get("/a").header("pragma", "no-cache").at(1).validates(origin(304));
    gateway.get("/a").header("pragma", "no-cache").header("cache-control", "foo").at(2).hit();
}

#[test]
fn a_targeted_field_that_does_not_parse_restricts_beside_one_that_does() {
    let mut gateway = Gateway::with(r#"{"defaults":{"targeted":["a-cache-control","b-cache-control"]}}"#);
    let response = origin(200).header("a-cache-control", "private;;").header("b-cache-control", "max-age=60");
    gateway.get("/a").at(0).forwarded(response).says_nothing_of("stored");
}

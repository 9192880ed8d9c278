//! A rule that says nothing of the cache to clients: `cache_status: "off"`.

use selvage_engine::purge::admin_auth::AdminAuth;

use crate::gateway::{Answer, Gateway, fresh_for, origin, unreachable};

const SILENT: &str = r#"{"defaults":{"cache_status":"off","stale":{"if_error":"1h"}},"rules":[
    {"name":"out","match":{"paths":["/out/*"]},"bypass":true},
    {"name":"watched","match":{"paths":["/watched"]},"shadow":true},
    {"name":"closed","match":{"paths":["/closed"]},"maintenance":{}},
    {"name":"told","match":{"paths":["/told"]},"cache_status":"on"}]}"#;

#[track_caller]
fn silent(answer: Answer) -> Answer {
    answer.lacks("cache-status")
}

#[test]
fn no_answer_of_such_a_rule_says_what_the_cache_did() {
    let mut gateway = Gateway::with(SILENT);
    let old = || fresh_for(10).header("etag", "\"1\"").body("old");
    silent(gateway.get("/a").at(0).forwarded(old())).content("old");
    silent(gateway.get("/a").at(1).answered()).content("old").age(1);
    silent(gateway.head("/a").at(1).answered());
    silent(gateway.get("/a").header("if-none-match", "\"1\"").at(1).answered()).status(304);
    silent(gateway.get("/a").header("range", "bytes=0-0").at(1).answered()).status(206).content("o");
    silent(gateway.get("/a").header("range", "bytes=9-").at(1).answered())
        .status(416)
        .has("content-range", "bytes */3");
    silent(gateway.get("/a").header("if-match", "\"1\"").at(1).answered()).status(200);
    silent(gateway.get("/a").at(20).validates(unreachable())).status(200).content("old");
    silent(gateway.get("/a").at(20).validates(origin(304))).status(200).content("old");
    silent(gateway.get("/b").header("cache-control", "only-if-cached").at(0).answered()).status(504);
    silent(gateway.get("/c").at(0).forwarded(origin(200).header("cache-control", "no-store")));
    silent(gateway.get("/c").at(1).forwarded(origin(200).header("cache-control", "no-store")));
    silent(gateway.post("/a").at(21).forwarded(origin(204))).status(204);
    silent(gateway.get("/watched").at(0).forwarded(fresh_for(60).body("x")));
    silent(gateway.get("/watched").at(1).forwarded(fresh_for(60).body("x")));
    gateway.get("/told").at(0).miss(fresh_for(60)).stored();
    // It is counted all the same.
    assert_eq!(gateway.counted(0, "requests", "stale.origin"), 1);
    assert_eq!(gateway.counted(0, "detail", "no-store"), 2);
    gateway.assert_nobody_waits();
}

#[test]
#[cfg(feature = "maintenance")]
fn nor_does_the_answer_of_a_rule_that_is_closed() {
    let mut gateway = Gateway::with(SILENT);
    silent(gateway.get("/closed").at(0).answered()).status(503).has("cache-control", "no-store");
}

#[test]
fn a_caches_member_that_came_with_the_response_stays() {
    let mut gateway = Gateway::with(SILENT);
    gateway.get("/a").at(0).forwarded(fresh_for(60).header("cache-status", "Inner; hit"));
    gateway.get("/a").at(1).answered().has("cache-status", "Inner; hit");
}

#[test]
fn compressed_for_a_client_it_is_as_silent() {
    let mut gateway = Gateway::with(SILENT);
    let page = || fresh_for(60).header("content-type", "text/html").body("a".repeat(4_000));
    silent(gateway.get("/a").header("accept-encoding", "gzip").at(0).forwarded(page()));
    silent(gateway.get("/a").header("accept-encoding", "gzip").at(1).answered())
        .has("content-encoding", "gzip")
        .has("vary", "Accept-Encoding");
}

#[test]
fn of_a_bypass_that_says_nothing_nothing_is_kept() {
    let mut gateway = Gateway::with(SILENT);
    for nth in 0..200 {
        let flight = gateway.get("/out/a").at(0).leaves();
        assert!(flight.exchange.is_over(), "{nth}");
        silent(gateway.answers(flight, 0, origin(200).header("surrogate-key", "a")))
            .has("surrogate-key", "a");
    }
    assert_eq!(gateway.counted(0, "requests", "bypass.origin"), 200);
    // What is not a bypass has tags that clients do not get.
    let flight = gateway.request("OPTIONS", "/a").at(0).leaves();
    assert_eq!(flight.exchange.state_name(), "passing");
    silent(gateway.answers(flight, 0, origin(200).header("surrogate-key", "a"))).lacks("surrogate-key");
    let flight = gateway.post("/out/a").at(0).leaves();
    assert_eq!(flight.exchange.state_name(), "forwarding");
    silent(gateway.answers(flight, 0, origin(200)));
}

#[test]
fn who_shows_the_operators_token_is_told_by_the_other_field() {
    let mut gateway = Gateway::with(SILENT);
    gateway.workers[0].set_admin_auth(AdminAuth::Open);
    let answer = gateway.get("/out/a").header("selvage-explain", "x").at(0).forwarded(origin(200));
    assert!(silent(answer).value("selvage-explanation").is_some());
}

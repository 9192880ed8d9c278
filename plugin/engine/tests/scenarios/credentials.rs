//! Whose response it is: `Authorization` (RFC 9111 §3.5) and `Cookie`.

use crate::gateway::{Gateway, Origin, fresh_for, origin};

fn shared(body: &str) -> Origin {
    origin(200).header("cache-control", "public, max-age=60").body(body)
}

#[test]
fn a_response_to_credentials_is_for_everyone_only_if_it_says_so() {
    let mut gateway = Gateway::with("{}");
    gateway
        .get("/a")
        .header("authorization", "Bearer x")
        .at(0)
        .miss(fresh_for(60))
        .not_stored("authorization");
    gateway.get("/a").header("authorization", "Bearer x").at(1).miss(shared("all")).stored();
    gateway.get("/a").header("authorization", "Bearer y").at(2).hit().content("all");
    gateway.get("/a").at(2).hit().content("all");
}

#[test]
fn a_request_with_credentials_does_not_get_what_an_anonymous_one_brought() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(60).body("anonymous"));
    let answer = gateway.get("/a").header("authorization", "Bearer x").at(1).miss(fresh_for(60).body("mine"));
    answer.says("fwd=vary-miss").not_stored("authorization").content("mine");
    gateway.get("/a").at(2).hit().content("anonymous");
}

#[test]
fn keyed_credentials_have_responses_of_their_own() {
    let mut gateway = Gateway::with(r#"{"defaults":{"key":{"headers":["authorization"]}}}"#);
    gateway.get("/a").header("authorization", "x").at(0).miss(fresh_for(60).body("of x")).stored();
    gateway.get("/a").header("authorization", "y").at(0).miss(fresh_for(60).body("of y")).stored();
    gateway.get("/a").at(0).miss(fresh_for(60).body("anonymous"));
    gateway.get("/a").header("authorization", "x").at(1).hit().content("of x");
    gateway.get("/a").header("authorization", "y").at(1).hit().content("of y");
    gateway.get("/a").at(1).hit().content("anonymous");
}

#[test]
fn different_cookies_share_no_response() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("cookie", "id=1").at(0).miss(fresh_for(60).body("of 1"));
    gateway.get("/a").header("cookie", "id=2").at(0).miss(fresh_for(60).body("of 2"));
    gateway.get("/a").header("cookie", "id=1").at(1).hit().content("of 1");
    gateway.get("/a").header("cookie", "id=2").at(1).hit().content("of 2");
    gateway.get("/a").at(1).miss(fresh_for(60).body("anonymous"));
    gateway.get("/a").at(2).hit().content("anonymous");
    gateway.get("/a").header("cookie", "id=1").at(2).hit().content("of 1");
}

#[test]
fn anonymous_then_with_a_cookie_then_anonymous_again() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(60).body("anonymous"));
    gateway.get("/a").at(1).hit();
    gateway.get("/a").header("cookie", "id=1").at(2).miss(fresh_for(60).body("of 1")).says("fwd=vary-miss");
    gateway.get("/a").header("cookie", "id=1").at(3).hit().content("of 1");
    gateway.get("/a").header("cookie", "id=2").at(3).miss(fresh_for(60).body("of 2")).content("of 2");
    gateway.get("/a").at(4).hit().content("anonymous");
    gateway.get("/a").header("cookie", "id=1").at(6).hit().content("of 1");
    gateway.get("/a").header("cookie", "id=2").at(6).hit().content("of 2");
    gateway.get("/a").at(6).hit().content("anonymous");
}

#[test]
fn a_response_marked_as_shared_is_for_all_cookies() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("cookie", "id=1").at(0).miss(shared("all"));
    gateway.get("/a").header("cookie", "id=2").at(1).hit().content("all");
    gateway.get("/a").at(1).hit().content("all");
}

#[test]
fn a_rule_ignores_cookies_or_passes_them_by() {
    let mut gateway = Gateway::with(r#"{"defaults":{"cookies":"ignore"}}"#);
    gateway.get("/a").header("cookie", "id=1").at(0).miss(fresh_for(60).body("all"));
    gateway.get("/a").header("cookie", "id=2").at(1).hit().content("all");
    gateway.get("/a").at(1).hit().content("all");
    let mut gateway = Gateway::with(r#"{"defaults":{"cookies":"bypass"}}"#);
    gateway.get("/a").at(0).miss(fresh_for(60).body("anonymous"));
    let answer = gateway.get("/a").header("cookie", "id=1").at(1).forwarded(fresh_for(60).body("mine"));
    answer.says("fwd=bypass").detail("cookie").says_nothing_of("stored");
    gateway.get("/a").at(2).hit().content("anonymous");
}

#[test]
fn keyed_cookies_tell_apart_and_others_still_isolate() {
    let mut gateway = Gateway::with(r#"{"defaults":{"key":{"cookies":["plan"]},"cookies":"ignore"}}"#);
    gateway.get("/a").header("cookie", "plan=free; id=1").at(0).miss(fresh_for(60).body("free"));
    gateway.get("/a").header("cookie", "id=2; plan=free").at(1).hit().content("free");
    gateway.get("/a").header("cookie", "plan=paid; id=1").at(1).miss(fresh_for(60).body("paid"));
    gateway.get("/a").at(1).miss(fresh_for(60).body("none"));
    let mut gateway = Gateway::with(r#"{"defaults":{"key":{"cookies":["plan"]}}}"#);
    gateway.get("/a").header("cookie", "plan=free; id=1").at(0).miss(fresh_for(60).body("of 1"));
    gateway.get("/a").header("cookie", "plan=free; id=2").at(1).miss(fresh_for(60).body("of 2"));
}

#[test]
fn vary_on_cookie_alone_is_enough() {
    let mut gateway = Gateway::with("{}");
    let by_cookie = |body: &str| fresh_for(60).header("vary", "Cookie").body(body);
    gateway.get("/a").at(0).miss(by_cookie("anonymous"));
    gateway.get("/a").header("cookie", "id=1").at(0).miss(by_cookie("of 1"));
    gateway.get("/a").header("cookie", "id=1").at(1).hit().content("of 1");
    gateway.get("/a").at(1).hit().content("anonymous");
}

#[test]
fn a_stale_response_is_not_shown_to_another_cookie_when_the_origin_fails() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("cookie", "id=1").at(0).miss(fresh_for(10).body("of 1"));
    let other = gateway.get("/a").header("cookie", "id=2").at(20).forwarded(crate::gateway::unreachable());
    other.status(503);
    let own = gateway.get("/a").header("cookie", "id=1").at(20).forwarded(crate::gateway::unreachable());
    own.status(200).content("of 1");
}

#[test]
fn a_lifetime_for_caches_of_this_kind_alone_shares_nobodys_response() {
    let targeted = |terms: &str, body: &str| origin(200).header("cdn-cache-control", terms).body(body);
    let mut gateway = Gateway::with("{}");
    let mine = gateway.get("/a").header("authorization", "Bearer x").at(0).miss(targeted("max-age=60", "x"));
    mine.not_stored("authorization");
    gateway.get("/a").at(1).miss(targeted("max-age=60", "anonymous")).stored();
    gateway.get("/b").header("cookie", "id=1").at(0).miss(targeted("max-age=60", "of 1"));
    gateway.get("/b").header("cookie", "id=2").at(1).miss(targeted("max-age=60", "of 2")).content("of 2");
    gateway.get("/b").at(1).miss(targeted("max-age=60", "anonymous"));
    // It may say so there as well as anywhere.
    let all = targeted("public, max-age=60", "all");
    gateway.get("/c").header("authorization", "Bearer x").at(0).miss(all).stored();
    gateway.get("/c").header("cookie", "id=2").at(1).hit().content("all");
}

#[test]
fn must_revalidate_shares_despite_authorization_but_not_across_cookies() {
    let response = |body: &str| fresh_for(60).header("cache-control", "must-revalidate").body(body);
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("authorization", "Bearer x").at(0).miss(response("all")).stored();
    gateway.get("/a").header("authorization", "Bearer y").at(1).hit().content("all");
    gateway.get("/b").header("cookie", "id=1").at(0).miss(response("of 1"));
    gateway.get("/b").header("cookie", "id=2").at(1).miss(response("of 2")).content("of 2");
    gateway.get("/b").at(1).miss(response("anonymous")).content("anonymous");
    gateway.get("/b").header("cookie", "id=1").at(2).hit().content("of 1");
}

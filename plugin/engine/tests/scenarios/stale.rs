//! Serving stale: RFC 9111 §4.2.4, RFC 5861.

use crate::gateway::{Gateway, Origin, fresh_for, origin, unreachable};

fn stale(directives: &str) -> Origin {
    origin(200).header("cache-control", directives).header("etag", "\"1\"").body("old")
}

#[test]
fn the_first_is_answered_stale_and_the_next_one_validates_while_others_stay_stale() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10, stale-while-revalidate=30"));
    gateway.get("/a").at(12).hit().detail("stale-while-revalidate").ttl(-2).age(12).content("old");
    let validating = gateway.get("/a").at(13).leaves();
    assert!(validating.is_conditional());
    for second in [13, 14, 20] {
        gateway.get("/a").at(second).hit().detail("stale-while-revalidate");
    }
    gateway.answers(validating, 21, origin(304)).detail("validated");
    gateway.get("/a").at(22).hit().detail("worker");
    // It begins anew with the next staleness.
    gateway.get("/a").at(35).hit().detail("stale-while-revalidate");
    gateway.get("/a").at(36).validates(fresh_for(60).body("new")).content("new");
    gateway.get("/a").at(37).hit().content("new");
}

#[test]
fn after_a_validation_that_failed_the_next_request_validates() {
    for failure in [origin(500).body("no"), origin(503), fresh_for(9).body("ne").cut()] {
        let mut gateway = Gateway::with(r#"{"defaults":{"stale":{"disconnected":"0s"}}}"#);
        gateway.get("/a").at(0).miss(stale("max-age=10, stale-while-revalidate=30"));
        gateway.get("/a").at(11).hit();
        gateway.get("/a").at(12).validates(failure);
        gateway.get("/a").at(13).validates(origin(304)).content("old");
    }
}

#[test]
fn a_validation_whose_client_went_away_is_tried_again() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10, stale-while-revalidate=30"));
    gateway.get("/a").at(11).hit();
    let mut gone = gateway.get("/a").at(12).leaves();
    gateway.get("/a").at(12).hit();
    gateway.feed(0, &mut gone.exchange, 13_000, selvage_engine::exchange::Event::Ended);
    gateway.get("/a").at(13).validates(origin(304));
}

#[test]
fn a_validation_that_is_never_heard_of_again_holds_nobody_up_for_long() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10, stale-while-revalidate=300"));
    gateway.get("/a").at(11).hit();
    let _lost = gateway.get("/a").at(12).leaves();
    gateway.get("/a").at(41).hit();
    gateway.get("/a").at(42).validates(origin(304));
}

#[test]
fn past_the_window_every_request_waits_for_the_origin() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10, stale-while-revalidate=30"));
    gateway.get("/a").at(40).hit();
    gateway.get("/a").at(41).validates(origin(304));
}

#[test]
fn a_rule_gives_the_window_where_the_origin_does_not() {
    let mut gateway = Gateway::with(r#"{"defaults":{"stale":{"while_revalidate":"30s"}}}"#);
    gateway.get("/a").at(0).miss(stale("max-age=10"));
    gateway.get("/a").at(40).hit().detail("stale-while-revalidate");
    gateway.get("/b").at(0).miss(stale("max-age=10, stale-while-revalidate=5"));
    gateway.get("/b").at(16).validates(origin(304));
}

#[test]
fn an_error_of_the_origin_is_hidden_while_the_window_lasts() {
    for status in [500, 502, 503, 504] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(stale("max-age=10, stale-if-error=30"));
        let answer = gateway.get("/a").at(40).validates(origin(status).body("broken"));
        answer.status(200).content("old").ttl(-30).age(40).detail("stale-if-error").says("fwd=stale");
        gateway.get("/a").at(41).validates(origin(status).body("broken")).status(status).content("broken");
        // Without a validator it is asked for anew, and stands in all the same.
        let page = origin(200).header("cache-control", "max-age=10, stale-if-error=30").body("old");
        gateway.get("/b").at(0).miss(page);
        gateway.get("/b").at(40).forwarded(origin(status).body("broken")).status(200).content("old");
    }
}

#[test]
fn invalidations_of_other_keys_keep_nothing_from_standing_in() {
    let page = || stale("max-age=10, stale-if-error=600");
    let mut gateway = Gateway::of_workers(2, "{}");
    gateway.get("/a").worker(0).at(0).miss(page());
    gateway.get("/a").worker(1).at(1).hit();
    // More than a worker remembers, and more at once than it can learn from another.
    for n in 0..5000 {
        gateway.post(&format!("/{n}")).worker(0).at(20).forwarded(origin(204));
    }
    for worker in [0, 1] {
        let answer = gateway.get("/a").worker(worker).at(30).validates(origin(500));
        answer.status(200).content("old").detail("stale-if-error");
    }
    // What was found before a worker lost track may have been invalidated since, unless the stores still have it.
    let asked = gateway.get("/a").worker(1).at(40).leaves();
    for n in 0..300 {
        gateway.post(&format!("/{n}")).worker(0).at(41).forwarded(origin(204));
    }
    gateway.answers(asked, 42, origin(500)).status(200).detail("stale-if-error");
    let asked = gateway.get("/a").worker(1).at(43).leaves();
    for n in 0..300 {
        gateway.post(&format!("/{n}")).worker(0).at(44).forwarded(origin(204));
    }
    gateway.post("/a").worker(0).at(44).forwarded(origin(204));
    gateway.answers(asked, 45, origin(500)).status(500);
}

#[test]
fn what_is_no_error_is_passed_on() {
    for status in [404, 410, 429, 501, 505] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(stale("max-age=10, stale-if-error=30"));
        gateway.get("/a").at(11).validates(origin(status)).status(status);
    }
    let mut gateway =
        Gateway::with(r#"{"defaults":{"stale":{"if_error":"30s","error_statuses":[429],"disconnected":0}}}"#);
    gateway.get("/a").at(0).miss(stale("max-age=10"));
    gateway.get("/a").at(11).validates(origin(429)).status(200).detail("stale-if-error");
    gateway.get("/a").at(12).validates(origin(500)).status(500);
}

#[test]
fn a_stale_response_stands_in_as_a_fresh_one_would_whatever_the_client_holds() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10, stale-if-error=30"));
    for failure in [origin(500), unreachable()] {
        let conditional = gateway.get("/a").header("if-none-match", "\"1\"").header("range", "bytes=0-0");
        conditional.at(11).validates(failure.clone()).status(304).content("").age(11);
        let part = gateway.get("/a").header("range", "bytes=0-0").at(11).validates(failure.clone());
        part.status(206).content("o").has("content-range", "bytes 0-0/3");
        gateway
            .get("/a")
            .header("if-none-match", "\"2\"")
            .at(11)
            .validates(failure)
            .status(200)
            .content("old");
    }
}

#[test]
fn an_origin_that_cannot_be_reached_is_stood_in_for() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10"));
    gateway
        .get("/a")
        .at(20)
        .validates(unreachable())
        .status(200)
        .content("old")
        .detail("disconnected")
        .ttl(-10);
    // The origin's own 503 is not that.
    gateway.get("/a").at(21).validates(origin(503)).status(503);
    // Ten minutes, if the rule does not say otherwise.
    gateway.get("/a").at(610).validates(unreachable()).detail("disconnected");
    gateway.get("/a").at(611).validates(unreachable()).status(503);
    let mut gateway = Gateway::with(r#"{"defaults":{"stale":{"disconnected":"0s"}}}"#);
    gateway.get("/a").at(0).miss(stale("max-age=10"));
    gateway.get("/a").at(20).validates(unreachable()).status(503);
}

#[test]
fn without_a_validator_a_stale_response_stands_in_too() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(10).body("old"));
    gateway.get("/a").at(20).forwarded(unreachable()).status(200).content("old").detail("disconnected");
}

#[test]
fn directives_forbid_stale_use_of_every_kind() {
    for directive in ["must-revalidate", "proxy-revalidate", "no-cache"] {
        let mut gateway = Gateway::with(
            r#"{"defaults":{"stale":{"while_revalidate":"1h","if_error":"1h","disconnected":"1h"}}}"#,
        );
        let terms = format!("max-age=10, {directive}, stale-while-revalidate=60, stale-if-error=60");
        gateway.get("/a").at(0).miss(stale(&terms));
        gateway.get("/a").at(11).validates(origin(500)).status(500);
        gateway.get("/a").at(12).validates(unreachable()).status(503);
        gateway.get("/a").header("cache-control", "max-stale").at(13).validates(origin(304)).status(200);
    }
}

#[test]
fn s_maxage_forbids_stale_use_unless_the_origin_names_one() {
    let rule = r#"{"defaults":{"stale":{"while_revalidate":"1h","if_error":"1h","disconnected":"1h"}}}"#;
    let mut gateway = Gateway::with(rule);
    gateway.get("/a").at(0).miss(stale("s-maxage=10"));
    gateway.get("/a").at(11).validates(origin(500)).status(500);
    gateway.get("/a").at(12).validates(unreachable()).status(503);
    let mut gateway = Gateway::with(rule);
    gateway.get("/a").at(0).miss(stale("s-maxage=10, stale-if-error=60"));
    gateway.get("/a").at(11).validates(origin(500)).status(200).detail("stale-if-error");
}

#[test]
fn the_windows_are_those_of_the_freshened_response() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10, stale-while-revalidate=30"));
    gateway.get("/a").at(50).validates(origin(304).header("cache-control", "max-age=10, must-revalidate"));
    gateway.get("/a").at(59).hit();
    gateway.get("/a").at(60).validates(origin(503)).status(503);
}

#[test]
fn a_request_that_may_not_be_forwarded_holds_no_validation_up() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10, stale-while-revalidate=300"));
    gateway.get("/a").at(11).hit();
    gateway.get("/a").header("cache-control", "only-if-cached").at(12).answered();
    gateway.get("/a").at(13).validates(origin(304));
}

#[test]
fn a_head_that_fails_to_validate_leaves_it_to_the_next_request() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("max-age=10, stale-while-revalidate=300"));
    gateway.get("/a").at(11).hit();
    gateway.head("/a").at(12).validates(origin(404));
    gateway.get("/a").at(13).validates(origin(304));
}

#[test]
fn s_maxage_with_a_window_of_the_origins_own_is_served_stale_while_revalidating() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(stale("s-maxage=10, stale-while-revalidate=60"));
    gateway.get("/a").at(11).hit().detail("stale-while-revalidate").content("old");
    gateway.get("/a").at(12).validates(origin(304)).content("old");
}

#[test]
fn what_is_never_fresh_and_has_no_validator_stands_in_where_the_origin_allows_it() {
    let mut gateway = Gateway::with("{}");
    let response = || origin(200).header("cache-control", "max-age=0, stale-if-error=60").body("old");
    gateway.get("/a").at(0).miss(response()).stored();
    gateway.get("/a").at(10).forwarded(origin(503)).status(200).content("old").detail("stale-if-error");
    gateway.get("/a").at(70).forwarded(origin(503)).status(503);
    // Without the window it could never help.
    gateway.get("/b").at(0).miss(origin(200).header("cache-control", "max-age=0")).detail("no-freshness");
}

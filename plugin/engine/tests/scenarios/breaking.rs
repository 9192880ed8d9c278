//! An origin that fails is left alone for a while.

use selvage_engine::purge::admin_auth::AdminAuth;

use crate::gateway::{Gateway, Origin, fresh_for, origin, unreachable};

/// Four requests decide; the first pause is 2 s at most and 1.5 s at least.
const BREAKS: &str = r#"{"defaults":{
    "origin_breaker":{"enabled":true,"least_calls":4,"pause":"2s","longest_pause":"20s"},
    "refresh":{"clusters":["origin"]}}}"#;

fn old() -> Origin {
    fresh_for(10).header("etag", "\"1\"").body("old")
}

/// The origin fails four requests in second 20.
fn breaks(gateway: &mut Gateway) {
    for nth in 0..4 {
        gateway.get(&format!("/broken/{nth}")).at(20).forwarded(unreachable()).status(503);
    }
}

#[test]
fn nothing_that_is_not_stored_is_asked_for_while_the_origin_is_left_alone() {
    let mut gateway = Gateway::with(BREAKS);
    breaks(&mut gateway);
    let refused = gateway.get("/a").at(20).answered().status(503).detail("origin-open");
    let seconds: u64 = refused.value("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{seconds}");
    refused.says_nothing_of("fwd").says_nothing_of("hit");
    // One request finds out whether it is back, the others are refused meanwhile.
    let probe = gateway.get("/a").at(23).leaves();
    gateway.get("/b").at(23).answered().status(503).detail("origin-open").has("retry-after", "1");
    // Those who want the same wait for what the probe brings.
    let waiter = gateway.get("/a").at(23).waits();
    gateway.answers(probe, 24, fresh_for(60).body("new")).stored();
    gateway.wakes(waiter, selvage_engine::exchange::Wake::Ended, 24).answered().content("new");
    gateway.get("/b").at(24).miss(fresh_for(60));
    gateway.assert_nobody_waits();
    assert_eq!(gateway.counted(0, "origin", "refused"), 2);
}

#[test]
fn an_origin_that_has_answered_is_asked_for_all_of_it_although_it_is_left_alone_by_now() {
    let config = BREAKS.replace(r#""clusters":["origin"]"#, r#""cluster":"origin""#);
    let mut gateway = Gateway::with(&config);
    gateway.workers[0].set_admin_auth(AdminAuth::Open);
    gateway.get("/a").at(0).miss(old());
    let mut flight = gateway.get("/a").at(19).leaves();
    breaks(&mut gateway);
    gateway.request("PURGE", "/a").at(20).answered().status(200);
    gateway.calls_for_all(&mut flight, 20, origin(304));
    gateway.fetches(flight, 20, Some(fresh_for(60).body("new"))).status(200).content("new").stored();
    gateway.get("/b").at(20).answered().status(503).detail("origin-open");
}

#[test]
fn what_is_stored_is_served_stale_without_asking() {
    let mut gateway = Gateway::with(BREAKS);
    gateway.get("/a").at(0).miss(old());
    gateway.get("/must").at(0).miss(fresh_for(10).header("cache-control", "must-revalidate").body("old"));
    breaks(&mut gateway);
    for _ in 0..3 {
        let answer = gateway.get("/a").at(21).hit().content("old").detail("origin-open");
        answer.ttl(-11).age(21).status(200);
    }
    gateway.get("/must").at(21).answered().status(503);
    gateway.assert_nobody_waits();
}

#[test]
fn a_probe_that_fails_makes_the_pause_longer() {
    let mut gateway = Gateway::with(BREAKS);
    gateway.get("/a").at(0).miss(old());
    breaks(&mut gateway);
    gateway.get("/a").at(23).validates(unreachable()).detail("disconnected");
    gateway.get("/a").at(25).hit().detail("origin-open");
    gateway.get("/a").at(28).validates(origin(304)).detail("validated");
    gateway.get("/b").at(28).miss(fresh_for(60));
}

#[test]
fn errors_of_the_origin_count_and_those_of_requests_do_not() {
    for (status, opens) in [(500, true), (502, true), (503, true), (404, false), (401, false), (200, false)] {
        let mut gateway = Gateway::with(BREAKS);
        for nth in 0..8 {
            gateway.get(&format!("/{nth}")).at(nth / 4).forwarded(origin(status));
            if opens && nth == 3 {
                break;
            }
        }
        let refused = gateway.get("/a").at(1).header("range", "bytes=0-0");
        if opens {
            refused.answered().status(503);
        } else {
            refused.forwarded(origin(200));
        }
    }
}

#[test]
fn slow_answers_count_where_the_rule_says_what_is_slow() {
    let config = r#"{"defaults":{"origin_breaker":{"enabled":true,"least_calls":4,"slow_after":"1s"}}}"#;
    for (after, opens) in [(900, false), (1100, true)] {
        let mut gateway = Gateway::with(config);
        for nth in 0..4 {
            gateway.get(&format!("/{nth}")).at(0).forwarded(fresh_for(60).after(after));
        }
        let next = gateway.get("/next").at(1);
        if opens {
            next.answered().status(503).detail("origin-open");
        } else {
            next.miss(fresh_for(60));
        }
    }
}

#[test]
fn a_client_that_goes_away_says_nothing_about_the_origin() {
    let mut gateway = Gateway::with(BREAKS);
    for nth in 0..10 {
        let flight = gateway.get(&format!("/{nth}")).at(0).leaves();
        gateway.goes_away(flight, 1);
    }
    gateway.get("/a").at(1).miss(fresh_for(60));
    // Nor does a probe's client: the next request is a probe.
    breaks(&mut gateway);
    let probe = gateway.get("/b").at(23).leaves();
    gateway.goes_away(probe, 23);
    gateway.get("/b").at(23).miss(fresh_for(60));
    gateway.get("/c").at(23).miss(fresh_for(60));
}

#[test]
fn workers_share_what_they_find_out() {
    let mut gateway = Gateway::of_workers(2, BREAKS);
    gateway.shared.cluster = "origin";
    gateway.get("/warm").worker(0).at(1).miss(fresh_for(1));
    gateway.get("/warm/1").worker(1).at(1).miss(fresh_for(1));
    breaks(&mut gateway);
    gateway.looks_after_origins(1, 20);
    gateway.get("/a").worker(1).at(20).answered().status(503).detail("origin-open");
    let probe = gateway.get("/a").worker(0).at(23).leaves();
    gateway.get("/b").worker(1).at(23).answered().status(503);
    gateway.answers(probe, 24, fresh_for(60));
    gateway.looks_after_origins(1, 24);
    gateway.get("/b").worker(1).at(24).miss(fresh_for(60));
}

#[test]
fn refreshes_pause_and_stale_is_served_meanwhile() {
    let mut gateway = Gateway::with(BREAKS);
    gateway.shared.cluster = "origin";
    let response = origin(200).header("cache-control", "max-age=10, stale-while-revalidate=100").body("old");
    gateway.get("/a").at(1).miss(response);
    breaks(&mut gateway);
    gateway.get("/a").at(20).hit().detail("stale-while-revalidate");
    gateway.refreshes_nothing(0, 20);
    assert_eq!(gateway.counted(0, "refresh", "paused"), 1);
    // The refresh is the probe.
    gateway.get("/a").at(23).hit().detail("stale-while-revalidate");
    let refresh = gateway.refreshes(0, 23);
    gateway.get("/b").at(23).answered().status(503);
    gateway.renews(0, refresh, 24, fresh_for(60).body("new"));
    gateway.get("/b").at(24).miss(fresh_for(60));
    gateway.get("/a").at(24).hit().content("new");
    gateway.assert_nobody_waits();
}

#[test]
fn answers_to_refreshes_that_are_cut_off_say_nothing_about_the_origin() {
    let mut gateway = Gateway::with(BREAKS);
    gateway.shared.cluster = "origin";
    let long = || {
        origin(200)
            .header("cache-control", "max-age=10, stale-while-revalidate=100")
            .body("old, and too long to call for")
    };
    for nth in 0..10 {
        gateway.get(&format!("/{nth}")).at(1).miss(long());
    }
    for nth in 0..10 {
        gateway.get(&format!("/{nth}")).at(20).hit().detail("stale-while-revalidate");
        let refresh = gateway.refreshes(0, 20);
        match nth % 2 {
            0 => gateway.cuts_off(0, refresh, 20),
            _ => gateway.renews(0, refresh, 20, long().header("content-length", "2000000")),
        }
    }
    assert_eq!(gateway.counted(0, "refresh", "failed"), 10);
    assert_eq!(gateway.counted(0, "refresh", "stored"), 0);
    gateway.get("/cold").at(20).miss(fresh_for(60));
    gateway.assert_nobody_waits();
    // A probe that is cut off gives the next one its turn.
    let mut gateway = Gateway::with(BREAKS);
    gateway.shared.cluster = "origin";
    gateway.get("/1").at(1).miss(long());
    breaks(&mut gateway);
    gateway.get("/1").at(23).hit();
    let probe = gateway.refreshes(0, 23);
    gateway.cuts_off(0, probe, 23);
    gateway.get("/new").at(23).miss(fresh_for(60));
}

#[test]
fn rules_without_a_breaker_ask_a_failing_origin_for_ever() {
    let mut gateway = Gateway::with("{}");
    for nth in 0..100 {
        gateway.get(&format!("/{nth}")).at(0).forwarded(unreachable()).status(503);
    }
    gateway.get("/a").at(0).miss(fresh_for(60));
}

#[test]
fn requests_that_the_cache_stays_out_of_are_not_refused() {
    let mut gateway = Gateway::with(BREAKS);
    breaks(&mut gateway);
    gateway.post("/a").at(20).forwarded(origin(200)).status(200);
}

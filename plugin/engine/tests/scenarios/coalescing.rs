//! Requests for the same thing wait for one fetch.

use selvage_engine::exchange::Wake;

use crate::gateway::{Gateway, fresh_for, origin, unreachable};

#[test]
fn the_first_request_fetches_and_the_others_are_answered_with_what_it_brought() {
    let mut gateway = Gateway::with("{}");
    let leader = gateway.get("/a").at(0).leaves();
    let waiters: Vec<_> = (0..3).map(|_| gateway.get("/a").at(0).waits()).collect();
    gateway.answers(leader, 1, fresh_for(60).body("one")).stored();
    assert!(gateway.is_woken(0, &waiters[0]));
    for waiter in waiters {
        let answer = gateway.wakes(waiter, Wake::Ended, 1).answered();
        answer.content("one").says("fwd=uri-miss").says("collapsed").detail("worker").says_nothing_of("hit");
    }
    gateway.get("/a").at(2).hit().says_nothing_of("collapsed");
    gateway.assert_nobody_waits();
}

#[test]
fn other_keys_do_not_wait() {
    let mut gateway = Gateway::with("{}");
    let one = gateway.get("/a").at(0).leaves();
    let other = gateway.get("/b").at(0).leaves();
    gateway.answers(one, 1, fresh_for(60));
    gateway.answers(other, 1, fresh_for(60));
    gateway.assert_nobody_waits();
}

#[test]
fn what_is_not_storable_is_remembered_and_nobody_waits_in_line() {
    for response in [fresh_for(60).header("cache-control", "no-store"), origin(200).header("vary", "*")] {
        let mut gateway = Gateway::of_workers(2, "{}");
        let leader = gateway.get("/a").at(0).leaves();
        let waiters: Vec<_> =
            (0..3).map(|worker| gateway.get("/a").worker(worker % 2).at(0).waits()).collect();
        gateway.answers(leader, 1, response.clone());
        gateway.learns(1, 1);
        let flights: Vec<_> =
            waiters.into_iter().map(|waiter| gateway.wakes(waiter, Wake::Ended, 1).left()).collect();
        // All are under way at once, and so are those that come now.
        let late = [gateway.get("/a").at(2).leaves(), gateway.get("/a").worker(1).at(2).leaves()];
        for flight in flights.into_iter().chain(late) {
            gateway.answers(flight, 3, response.clone());
        }
        gateway.assert_nobody_waits();
    }
}

#[test]
fn when_the_leaders_client_goes_one_of_the_others_leads() {
    let mut gateway = Gateway::with("{}");
    let leader = gateway.get("/a").at(0).leaves();
    let waiters: Vec<_> = (0..3).map(|_| gateway.get("/a").at(0).waits()).collect();
    gateway.goes_away(leader, 1);
    let mut waiters = waiters.into_iter();
    let next = gateway.wakes(waiters.next().unwrap(), Wake::Ended, 1).left();
    let again: Vec<_> = waiters.map(|waiter| gateway.wakes(waiter, Wake::Ended, 1).waiting()).collect();
    gateway.answers(next, 2, fresh_for(60).body("two")).stored();
    for waiter in again {
        gateway.wakes(waiter, Wake::Ended, 2).answered().content("two").says("collapsed");
    }
    gateway.assert_nobody_waits();
}

#[test]
fn after_an_error_one_of_the_others_asks_again_and_after_three_all_do() {
    for errors in 1..=3 {
        let mut gateway = Gateway::with("{}");
        let mut leader = gateway.get("/a").at(0).leaves();
        let mut waiters: Vec<_> = (0..5).map(|_| gateway.get("/a").at(0).waits()).collect();
        for at in 1..=errors {
            gateway.answers(leader, at, origin(503)).status(503);
            leader = gateway.wakes(waiters.pop().unwrap(), Wake::Ended, at).left();
            if at < 3 {
                waiters =
                    waiters.into_iter().map(|one| gateway.wakes(one, Wake::Ended, at).waiting()).collect();
            }
        }
        let alone = errors == 3;
        if alone {
            for waiter in waiters.drain(..) {
                let flight = gateway.wakes(waiter, Wake::Ended, 4).left();
                gateway.answers(flight, 4, origin(503)).status(503);
            }
        }
        gateway.answers(leader, 5, fresh_for(60).body("well again"));
        for waiter in waiters {
            gateway.wakes(waiter, Wake::Ended, 5).answered().content("well again").says("collapsed");
        }
        gateway.assert_nobody_waits();
    }
}

#[test]
fn a_response_that_breaks_off_or_is_too_large_lets_the_others_go() {
    let small = r#"{"worker":{"object_bytes":"1KiB"},"node":{"object_bytes":"1KiB"}}"#;
    let mut gateway = Gateway::with(small);
    let leader = gateway.get("/a").at(0).leaves();
    let waiter = gateway.get("/a").at(0).waits();
    gateway.answers(leader, 1, fresh_for(60).header("content-length", "10").body("half").cut());
    let next = gateway.wakes(waiter, Wake::Ended, 1).left();
    let waiter = gateway.get("/a").at(1).waits();
    gateway.answers(next, 2, fresh_for(60).body("x".repeat(2000)));
    let flight = gateway.wakes(waiter, Wake::Ended, 2).left();
    gateway.answers(flight, 3, fresh_for(60).body("x".repeat(2000)));
    gateway.assert_nobody_waits();
}

#[test]
fn a_request_waits_no_longer_than_its_rule_says() {
    let mut gateway = Gateway::with(r#"{"defaults":{"coalesce":{"wait":"2s"}}}"#);
    let leader = gateway.get("/a").at(0).leaves();
    let waiter = gateway.get("/a").at(1).waits();
    let alone = gateway.wakes(waiter, Wake::Enough, 3).left();
    gateway.answers(alone, 4, fresh_for(60).body("alone")).stored();
    // The leader is given up too: the next one does not wait for it.
    gateway.get("/a").at(5).hit().content("alone");
    gateway.answers(leader, 6, fresh_for(60));
    gateway.assert_nobody_waits();
}

#[test]
fn a_client_that_goes_away_while_it_waits_leaves_nothing() {
    let mut gateway = Gateway::with("{}");
    let leader = gateway.get("/a").at(0).leaves();
    let waiter = gateway.get("/a").at(0).waits();
    gateway.goes_away(waiter, 0);
    gateway.answers(leader, 1, fresh_for(60)).stored();
    gateway.assert_nobody_waits();
}

#[test]
fn other_workers_wait_too_and_are_told() {
    let mut gateway = Gateway::of_workers(2, "{}");
    let leader = gateway.get("/a").worker(0).at(0).leaves();
    let waiter = gateway.get("/a").worker(1).at(0).waits();
    gateway.answers(leader, 1, fresh_for(60).body("one")).stored();
    assert!(!gateway.is_woken(1, &waiter));
    gateway.learns(1, 1);
    assert!(gateway.is_woken(1, &waiter));
    gateway.wakes(waiter, Wake::Ended, 1).answered().content("one").says("collapsed").detail("node");
    gateway.assert_nobody_waits();
}

#[test]
fn a_worker_whose_call_was_lost_finds_out_by_itself() {
    let mut gateway = Gateway::of_workers(2, "{}");
    let leader = gateway.get("/a").worker(0).at(0).leaves();
    let waiter = gateway.get("/a").worker(1).at(0).waits();
    gateway.looks_after_fills(1, 1);
    assert!(!gateway.is_woken(1, &waiter));
    gateway.answers(leader, 2, fresh_for(60).body("one")).stored();
    gateway.looks_after_fills(1, 2);
    assert!(gateway.is_woken(1, &waiter));
    gateway.wakes(waiter, Wake::Ended, 2).answered().content("one");
    gateway.assert_nobody_waits();
}

#[test]
fn a_stale_response_is_validated_once() {
    let mut gateway = Gateway::with("{}");
    let response = fresh_for(10).header("etag", "\"1\"").body("one");
    gateway.get("/a").at(0).miss(response);
    let leader = gateway.get("/a").at(20).leaves();
    assert!(leader.is_conditional());
    let waiter = gateway.get("/a").at(20).waits();
    gateway.answers(leader, 21, origin(304).header("cache-control", "max-age=60")).detail("validated");
    gateway.wakes(waiter, Wake::Ended, 21).answered().content("one").says("collapsed");
    gateway.assert_nobody_waits();
}

#[test]
fn variants_wait_for_the_first_and_then_for_their_own() {
    let mut gateway = Gateway::with("{}");
    let variant = |text: &str| fresh_for(60).header("vary", "accept-language").body(text);
    let leader = gateway.get("/a").header("accept-language", "en").at(0).leaves();
    let english = gateway.get("/a").header("accept-language", "en").at(0).waits();
    let german = gateway.get("/a").header("accept-language", "de").at(0).waits();
    gateway.answers(leader, 1, variant("one")).stored();
    gateway.wakes(english, Wake::Ended, 1).answered().content("one");
    let leader = gateway.wakes(german, Wake::Ended, 1).left();
    let german = gateway.get("/a").header("accept-language", "de").at(1).waits();
    gateway.answers(leader, 2, variant("eins")).stored();
    gateway.wakes(german, Wake::Ended, 2).answered().content("eins");
    gateway.assert_nobody_waits();
}

#[test]
fn requests_that_fetch_for_themselves_neither_lead_nor_wait() {
    let mut gateway = Gateway::with("{}");
    let leader = gateway.get("/a").at(0).leaves();
    for (name, value) in [
        ("range", "bytes=0-1"),
        ("authorization", "Basic x"),
        ("cache-control", "no-store"),
        ("cache-control", "no-cache"),
    ] {
        let flight = gateway.get("/a").header(name, value).at(0).leaves();
        gateway.answers(flight, 0, origin(500));
    }
    let flight = gateway.head("/a").at(0).leaves();
    gateway.answers(flight, 0, origin(500));
    gateway.answers(leader, 1, fresh_for(60)).stored();
    gateway.assert_nobody_waits();
}

#[test]
fn waiters_have_a_bound() {
    let config = r#"{"worker":{"waiters":3},"defaults":{"coalesce":{"waiters":2}}}"#;
    let mut gateway = Gateway::with(config);
    let one = gateway.get("/a").at(0).leaves();
    let other = gateway.get("/b").at(0).leaves();
    let waiters =
        [gateway.get("/a").at(0).waits(), gateway.get("/a").at(0).waits(), gateway.get("/b").at(0).waits()];
    let alone = [gateway.get("/a").at(0).leaves(), gateway.get("/b").at(0).leaves()];
    assert_eq!(gateway.counted(0, "coalesce", "too-many-waiters"), 2);
    for flight in [one, other].into_iter().chain(alone) {
        gateway.answers(flight, 1, fresh_for(60));
    }
    for waiter in waiters {
        gateway.wakes(waiter, Wake::Ended, 1).answered();
    }
    gateway.assert_nobody_waits();
}

#[test]
fn a_rule_may_do_without() {
    let mut gateway = Gateway::with(r#"{"defaults":{"coalesce":{"enabled":false}}}"#);
    let flights = [gateway.get("/a").at(0).leaves(), gateway.get("/a").at(0).leaves()];
    for flight in flights {
        gateway.answers(flight, 1, fresh_for(60));
    }
}

#[test]
fn an_origin_that_cannot_be_reached_serves_stale_to_all() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(10).header("etag", "\"1\"").body("one"));
    let leader = gateway.get("/a").at(20).leaves();
    let waiter = gateway.get("/a").at(20).waits();
    gateway.answers(leader, 21, unreachable()).detail("disconnected");
    // The origin is not asked again for each of those who waited.
    let answer = gateway.wakes(waiter, Wake::Ended, 21).answered();
    answer.content("one").detail("disconnected").says("collapsed").says("fwd=stale").ttl(-11);
    // The next one tries, for all that come meanwhile.
    let leader = gateway.get("/a").at(22).leaves();
    let waiter = gateway.get("/a").at(22).waits();
    gateway.answers(leader, 23, origin(304).header("cache-control", "max-age=10")).detail("validated");
    gateway.wakes(waiter, Wake::Ended, 23).answered().content("one").says("collapsed");
    gateway.assert_nobody_waits();
}

#[test]
fn an_error_serves_stale_to_those_who_waited_only_where_it_may() {
    for (directives, served) in [("max-age=10, stale-if-error=60", true), ("max-age=10", false)] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(origin(200).header("cache-control", directives).body("one"));
        let leader = gateway.get("/a").at(20).leaves();
        let waiter = gateway.get("/a").at(20).waits();
        gateway.answers(leader, 21, origin(503));
        let sent = gateway.wakes(waiter, Wake::Ended, 21);
        if served {
            sent.answered().content("one").detail("stale-if-error").says("collapsed");
        } else {
            let flight = sent.left();
            gateway.answers(flight, 21, origin(503)).status(503);
        }
        gateway.assert_nobody_waits();
    }
}

#[test]
fn one_request_asks_the_remote_store_for_all() {
    let config = r#"{"remote":{"enabled":true}}"#;
    let mut first = Gateway::with(config);
    first.get("/a").at(0).miss(fresh_for(60).body("one"));
    first.sends();
    let mut gateway = Gateway::with(config);
    gateway.redis = first.redis;
    gateway.redis.lookups = 0;
    let asking = gateway.get("/a").at(1).asks();
    let waiter = gateway.get("/a").at(1).waits();
    gateway.remote_answers(asking, 1).answered().content("one").detail("remote").says("hit");
    gateway.wakes(waiter, Wake::Ended, 1).answered().content("one").says("collapsed");
    assert_eq!(gateway.redis.lookups, 1);
    gateway.assert_nobody_waits();
}

/// Two Envoys that share a Redis.
fn fleet() -> (Gateway, Gateway) {
    let config = r#"{"remote":{"enabled":true}}"#;
    (Gateway::with(config), Gateway::with(config))
}

#[test]
fn another_envoy_polls_until_the_record_is_there() {
    let (mut first, mut second) = fleet();
    let leader = first.get("/a").at(0).leaves();
    second.redis = first.redis.clone();
    let polling = second.get("/a").at(0).waits();
    let waiting = second.get("/a").at(0).waits();
    let polling = second.wakes(polling, Wake::Poll, 1).waiting();
    first.answers(leader, 2, fresh_for(60).body("one")).stored();
    first.sends();
    second.redis = first.redis.clone();
    let answer = second.wakes(polling, Wake::Poll, 2).answered();
    answer.content("one").detail("remote").says("collapsed");
    second.wakes(waiting, Wake::Ended, 2).answered().content("one").detail("worker");
    first.assert_nobody_waits();
    second.assert_nobody_waits();
}

#[test]
pub fn what_is_not_storable_is_known_to_the_fleet() {
    let (mut first, mut second) = fleet();
    let leader = first.get("/a").at(0).leaves();
    second.redis = first.redis.clone();
    let polling = second.get("/a").at(0).waits();
    first.answers(leader, 1, origin(200).header("cache-control", "private"));
    first.sends();
    second.redis = first.redis.clone();
    let alone = second.wakes(polling, Wake::Poll, 1).left();
    let next = second.get("/a").at(1).leaves();
    for flight in [alone, next] {
        second.answers(flight, 2, origin(200).header("cache-control", "private"));
    }
    second.assert_nobody_waits();
}

#[test]
fn a_fetch_that_comes_to_nothing_lets_the_next_envoy_claim() {
    let (mut first, mut second) = fleet();
    let leader = first.get("/a").at(0).leaves();
    second.redis = first.redis.clone();
    let polling = second.get("/a").at(0).waits();
    first.goes_away(leader, 1);
    first.sends();
    second.redis = first.redis.clone();
    let next = second.wakes(polling, Wake::Poll, 1).left();
    assert_eq!(second.redis.records.len(), 1, "its own claim");
    second.answers(next, 2, fresh_for(60).body("two")).stored();
    second.sends();
    first.redis = second.redis.clone();
    first.get("/a").at(3).hit().content("two").detail("remote");
}

#[test]
fn an_envoy_that_dies_with_a_claim_is_waited_for_no_longer_than_the_rule_says() {
    let (mut first, mut second) = fleet();
    let lost = first.get("/a").at(0).leaves();
    second.redis = first.redis.clone();
    let mut polling = second.get("/a").at(0).waits();
    for at in 1..5 {
        polling = second.wakes(polling, Wake::Poll, at).waiting();
    }
    let alone = second.wakes(polling, Wake::Poll, 5).left();
    second.answers(alone, 6, fresh_for(60).body("alone")).stored();
    second.assert_nobody_waits();
    first.goes_away(lost, 6);
}

#[test]
fn an_envoy_whose_claim_has_ended_displaces_nothing() {
    let (mut first, mut second) = fleet();
    let slow = first.get("/a").at(0).leaves();
    // The claim has ended in Redis, and another Envoy has fetched meanwhile.
    second.get("/a").at(6).miss(fresh_for(60).body("new"));
    second.sends();
    first.redis = second.redis.clone();
    first.answers(slow, 7, fresh_for(60).body("old"));
    first.sends();
    let mut third = fleet().0;
    third.redis = first.redis.clone();
    third.get("/a").at(8).hit().content("new");
}

#[test]
fn envoys_of_a_rule_that_says_so_do_not_wait_for_one_another() {
    let config = r#"{"remote":{"enabled":true},"defaults":{"coalesce":{"fleet":false}}}"#;
    let mut gateway = Gateway::with(config);
    let flight = gateway.get("/a").at(0).leaves();
    assert!(gateway.redis.records.is_empty());
    gateway.answers(flight, 1, fresh_for(60));
}

#[test]
fn a_request_for_what_is_stored_only_claims_nothing() {
    let (mut first, mut second) = fleet();
    first.get("/a").header("cache-control", "only-if-cached").at(0).answered().status(504);
    assert!(first.redis.records.is_empty());
    second.redis = first.redis.clone();
    second.get("/a").at(0).leaves();
    first.assert_nobody_waits();
}

#[test]
fn what_must_be_validated_each_time_is_shared_with_the_fleet_all_the_same() {
    let (mut first, mut second) = fleet();
    let response = origin(200).headers("cache-control: no-cache | etag: \"1\"").body("one");
    let flight = first.get("/a").at(0).leaves();
    first.answers(flight, 1, response).stored();
    first.sends();
    second.redis = first.redis.clone();
    second.get("/a").at(11).validates(origin(304)).content("one");
}

#[test]
fn a_leader_that_nobody_waits_for_any_more_does_not_end_the_fetch_of_its_heir() {
    let mut gateway = Gateway::of_workers(2, "{}");
    let slow = gateway.get("/a").at(0).leaves();
    let heir = gateway.get("/a").at(6).leaves();
    gateway.goes_away(slow, 7);
    let waiters = [gateway.get("/a").at(7).waits(), gateway.get("/a").worker(1).at(7).waits()];
    gateway.answers(heir, 8, fresh_for(60).body("one")).stored();
    gateway.learns(1, 8);
    for waiter in waiters {
        gateway.wakes(waiter, Wake::Ended, 8).answered().content("one");
    }
    gateway.assert_nobody_waits();
}

#[test]
fn a_leader_that_was_given_up_does_not_end_the_fetch_of_the_next() {
    let mut gateway = Gateway::with(r#"{"defaults":{"coalesce":{"wait":"2s"}}}"#);
    let slow = gateway.get("/a").at(0).leaves();
    let next = gateway.get("/a").at(3).leaves();
    let waiter = gateway.get("/a").at(3).waits();
    gateway.goes_away(slow, 4);
    assert!(!gateway.is_woken(0, &waiter));
    let late = gateway.get("/a").at(4).waits();
    gateway.answers(next, 4, fresh_for(60).body("two")).stored();
    for waiter in [waiter, late] {
        gateway.wakes(waiter, Wake::Ended, 4).answered().content("two").says("collapsed");
    }
    gateway.assert_nobody_waits();
}

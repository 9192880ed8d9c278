//! The store that a fleet shares: looked into on a miss, written to after the response, and never needed.

use selvage_engine::exchange::{Event, Wake};
use selvage_engine::fields::Fields;

use crate::gateway::{Gateway, Origin, block, fresh_for, origin};

const REMOTE: &str = r#"{"remote":{"enabled":true}}"#;

/// Another Envoy of the fleet, with what the first one has sent.
fn joins(first: &mut Gateway) -> Gateway {
    first.sends();
    let mut second = Gateway::with(REMOTE);
    second.redis = first.redis.clone();
    second.redis.lookups = 0;
    second
}

fn in_language(language: &str) -> Origin {
    fresh_for(60).header("vary", "accept-language").body(language)
}

#[test]
fn what_one_envoy_stored_another_one_answers_with_its_age() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(0).miss(fresh_for(60).header("x-kept", "yes").body("content"));
    let mut second = joins(&mut first);
    second.get("/a").at(20).hit().detail("remote").age(20).ttl(40).content("content").has("x-kept", "yes");
    // It has its own copy from then on.
    second.get("/a").at(21).hit().detail("worker");
    assert_eq!(second.redis.lookups, 1);
}

#[test]
fn a_stale_record_is_validated() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(0).miss(fresh_for(60).header("etag", "\"1\"").body("content"));
    let mut second = joins(&mut first);
    second.get("/a").at(100).validates(origin(304)).detail("validated").content("content");
}

#[test]
fn a_variant_takes_two_questions() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").header("accept-language", "de").at(0).miss(in_language("de"));
    first.get("/a").header("accept-language", "en").at(0).forwarded(in_language("en"));
    let mut second = joins(&mut first);
    second.get("/a").header("accept-language", "en").at(1).hit().detail("remote").content("en");
    assert_eq!(second.redis.lookups, 2);
    second.get("/a").header("accept-language", "fr").at(2).forwarded(in_language("fr")).says("fwd=vary-miss");
    second.get("/a").header("accept-language", "de").at(3).hit().detail("remote").content("de");
}

#[test]
fn a_store_that_does_not_answer_costs_a_miss() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(0).miss(fresh_for(60).body("old"));
    let mut second = joins(&mut first);
    second.redis.dead = true;
    second.get("/a").at(1).miss(fresh_for(60).body("new")).says("fwd=uri-miss").content("new");
    second.get("/a").at(2).hit().detail("worker").content("new");
}

#[test]
fn spoilt_records_and_those_of_other_keys_are_counted_misses() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(0).miss(fresh_for(60).body("of a"));
    let mut second = joins(&mut first);
    let (hash, record) = second.redis.records.first_key_value().map(|(h, r)| (*h, r.clone())).unwrap();
    for at in (0..record.len()).step_by(7) {
        let mut spoilt = record.clone();
        spoilt[at] ^= 0x20;
        second.redis.records.insert(hash, spoilt);
        let flight = second.get("/a").at(1).leaves();
        second.goes_away(flight, 1);
    }
    assert_ne!(second.counted(0, "event", "bad-record"), 0);
    first.get("/b").at(0).miss(fresh_for(60).body("of b"));
    first.sends();
    let other =
        first.redis.records.iter().find(|(known, _)| **known != hash).map(|(_, r)| r.clone()).unwrap();
    second.redis.records.insert(hash, other);
    second.get("/a").at(1).miss(fresh_for(60).body("of a")).content("of a");
}

#[test]
fn what_was_forged_is_as_good_as_absent() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(0).miss(fresh_for(60).header("x-a", "1\r\nset-cookie: forged=1").body("of a"));
    first.sends();
    let (hash, forged) = first.redis.records.iter().next().map(|(h, r)| (*h, r.clone())).unwrap();
    let mut second = Gateway::with(REMOTE);
    second.redis.records.insert(hash, forged);
    second.get("/a").at(1).miss(fresh_for(60).body("of the origin")).content("of the origin");
    assert_eq!(second.counted(0, "event", "bad-record"), 1);
}

#[test]
fn an_invalidation_deletes_and_what_is_not_deleted_yet_is_not_believed() {
    let mut gateway = Gateway::with(REMOTE);
    gateway.get("/a").at(0).miss(fresh_for(60).body("old"));
    gateway.sends();
    gateway.post("/a").at(5).forwarded(origin(204));
    // The deletion still waits, so Redis still offers the old record.
    assert_eq!(gateway.redis.records.len(), 1);
    gateway.get("/a").at(6).miss(fresh_for(60).body("new")).content("new");
    gateway.post("/a").at(7).forwarded(origin(204));
    gateway.sends();
    assert!(gateway.redis.records.is_empty());
}

#[test]
fn a_rule_and_a_request_may_stay_out_of_it() {
    let config = r#"{"remote":{"enabled":true},
        "rules":[{"name":"here","match":{"paths":["/here/*"]},"remote":false}]}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/here/a").at(0).miss(fresh_for(60).body("x"));
    gateway.sends();
    assert!(gateway.redis.records.is_empty());
    gateway.get("/a").header("cache-control", "no-cache").at(0).forwarded(fresh_for(60).body("x"));
    assert_eq!(gateway.redis.lookups, 0);
}

#[test]
fn what_is_not_storable_is_neither_sent_nor_asked_for_again_at_once() {
    let mut gateway = Gateway::with(REMOTE);
    for at in [0, 1] {
        gateway.get("/a").at(at).forwarded(origin(200).header("cache-control", "no-store").body("x"));
    }
    gateway.sends();
    assert_eq!(gateway.redis.lookups, 1);
    // The other Envoys are told that nobody should wait.
    let left: Vec<Vec<u8>> = gateway.redis.records.into_values().collect();
    assert_eq!(left, [b"claim:!"]);
}

#[test]
fn the_origins_latency_is_that_of_answers_to_get_which_are_no_errors() {
    let mut gateway = Gateway::with(REMOTE);
    for nth in 0..10 {
        let path = format!("/{nth}");
        gateway.get(&path).at(nth).forwarded(fresh_for(60).after(40).body("x"));
        gateway.get(&format!("{path}/broken")).at(nth).forwarded(origin(503));
        gateway.post(&path).at(nth).forwarded(origin(204));
    }
    let mean = gateway.workers[0].origin_latency().mean().unwrap();
    assert_eq!(mean.as_millis().next_multiple_of(10), 40, "{mean:?}");
    let mut without = Gateway::with("{}");
    (0..10).for_each(|nth| _ = without.get(&format!("/{nth}")).at(nth).miss(fresh_for(60).body("x")));
    assert_eq!(without.workers[0].origin_latency().mean(), None);
}

#[test]
fn a_response_that_no_other_store_takes_is_answered_from_the_remote_one_all_the_same() {
    let config = r#"{"worker":{"bytes":0},"node":{"bytes":0},"remote":{"enabled":true}}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/a").at(0).miss(fresh_for(60).body("one")).stored();
    let response = fresh_for(60).header("vary", "accept-language").body("zwei");
    gateway.get("/b").header("accept-language", "de").at(0).miss(response).stored();
    gateway.sends();
    for at in 1..3 {
        gateway.get("/a").at(at).hit().content("one").detail("remote");
        gateway.get("/b").header("accept-language", "de").at(at).hit().content("zwei").detail("remote");
        let other = fresh_for(60).header("vary", "accept-language");
        gateway.get("/b").header("accept-language", "en").at(at).miss(other).says("fwd=vary-miss");
    }
}

#[test]
fn what_this_envoy_has_newer_is_not_displaced_by_an_older_record() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(0).miss(fresh_for(3600).header("etag", "\"1\"").body("one"));
    let mut second = joins(&mut first);
    let newer = fresh_for(10).header("etag", "\"2\"").body("two");
    // It does not reach the remote store.
    second.get("/a").header("cache-control", "no-cache").at(5).forwarded(newer).stored();
    let flight = second.get("/a").at(30).leaves();
    assert_eq!(flight.sets("if-none-match").as_deref(), Some("\"2\""));
}

#[test]
fn a_record_from_the_future_is_not_believed() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(100).miss(fresh_for(60).body("of tomorrow"));
    let mut second = joins(&mut first);
    second.get("/a").at(10).miss(fresh_for(60).body("of today"));
}

#[test]
fn a_response_in_its_window_of_stale_use_is_served_without_a_question() {
    let mut gateway = Gateway::with(REMOTE);
    let response = origin(200).headers("cache-control: max-age=10, stale-while-revalidate=60 | etag: \"1\"");
    gateway.get("/a").at(0).miss(response.body("one"));
    let before = gateway.redis.lookups;
    gateway.get("/a").at(20).hit().detail("stale-while-revalidate");
    let validating = gateway.get("/a").at(20).leaves();
    gateway.get("/a").at(20).hit().detail("stale-while-revalidate");
    gateway.answers(validating, 21, origin(304).header("cache-control", "max-age=10"));
    assert_eq!(gateway.redis.lookups, before);
}

#[test]
pub fn an_index_does_not_outlast_an_invalidation_while_its_variant_is_asked_for() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").header("accept-language", "en").at(0).miss(in_language("en"));
    let mut second = joins(&mut first);
    let asking = second.get("/a").header("accept-language", "en").at(1).asks();
    let asking = second.remote_leads_on(asking, 1);
    second.post("/a").at(2).forwarded(origin(204));
    let flight = second.remote_answers(asking, 2).left();
    second.answers(flight, 3, in_language("new")).stored();
}

#[test]
fn a_variant_that_is_older_than_an_invalidation_is_not_believed_though_its_index_is_younger() {
    let mut first = Gateway::with(REMOTE);
    let mut second = Gateway::with(REMOTE);
    let mut flight = first.get("/a").header("accept-language", "en").at(0).leaves();
    let fields = [(":status", "200"), ("cache-control", "max-age=60"), ("vary", "accept-language")];
    let block = block(&fields);
    let head = Fields::parse(&block).unwrap();
    first.feed(0, &mut flight.exchange, 1000, Event::Response { head, end_of_stream: false });
    second.post("/a").at(2).forwarded(origin(204));
    // The index is made when the body has come.
    first.feed(0, &mut flight.exchange, 3000, Event::Body { chunk: b"old", end_of_stream: true });
    first.sends();
    second.redis = first.redis.clone();
    second.get("/a").header("accept-language", "en").at(4).forwarded(in_language("new")).content("new");
}

/// An Envoy whose own stores keep nothing, with what another one has sent.
fn keeps_nothing(first: &mut Gateway) -> Gateway {
    first.sends();
    let mut second =
        Gateway::with(r#"{"remote":{"enabled":true},"worker":{"bytes":"0"},"node":{"bytes":"0"}}"#);
    second.redis = first.redis.clone();
    second.redis.lookups = 0;
    second
}

#[test]
fn what_is_too_large_to_keep_is_asked_for_once_by_all_who_want_it_at_once() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(0).miss(fresh_for(60).body("large"));
    let mut second = keeps_nothing(&mut first);
    let asks = second.get("/a").at(1).asks();
    let waits: Vec<_> = (0..3).map(|_| second.get("/a").at(1).waits()).collect();
    let answer = second.remote_answers(asks, 2).answered();
    assert!(answer.cache_status().contains("; hit") && answer.cache_status().ends_with("detail=remote"));
    for (nth, waiter) in waits.into_iter().enumerate() {
        if nth == 1 {
            second.goes_away(waiter, 2);
            continue;
        }
        let answer = second.wakes(waiter, Wake::Ended, 2).answered();
        assert_eq!(answer.cache_status(), "Selvage; fwd=uri-miss; collapsed; ttl=58; detail=remote");
    }
    assert_eq!(second.redis.lookups, 1);
    // Who comes later asks again.
    second.get("/a").at(3).hit().detail("remote").content("large");
    assert_eq!(second.redis.lookups, 2);
    second.assert_nobody_waits();
}

#[test]
pub fn variants_that_are_too_large_to_keep_are_given_to_those_who_wait_for_the_same() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").header("accept-language", "de").at(0).miss(in_language("de"));
    let mut second = keeps_nothing(&mut first);
    let asks = second.get("/a").header("accept-language", "de").at(1).asks();
    let same = second.get("/a").header("accept-language", "de").at(1).waits();
    let other = second.get("/a").header("accept-language", "fr").at(1).waits();
    let asks = second.remote_leads_on(asks, 2);
    // Both have waited for whatever is there. What it is is known now, and who wants the same waits for that.
    let same = second.wakes(same, Wake::Ended, 2).waiting();
    let flight = second.wakes(other, Wake::Ended, 2).left();
    second.answers(flight, 2, in_language("fr"));
    // So does who comes now and has to ask what there is.
    let late = second.get("/a").header("accept-language", "de").at(2).waits();
    assert_eq!(second.redis.lookups, 2);
    second.remote_answers(asks, 3).answered().content("de");
    for waiter in [same, late] {
        second.wakes(waiter, Wake::Ended, 3).answered().content("de").says("collapsed").detail("remote");
    }
    assert_eq!(second.redis.lookups, 3);
    second.assert_nobody_waits();
}

#[test]
fn what_was_invalidated_since_is_given_to_nobody() {
    let mut first = Gateway::with(REMOTE);
    first.get("/a").at(0).miss(fresh_for(60).body("old"));
    let mut second = keeps_nothing(&mut first);
    let asks = second.get("/a").at(1).asks();
    let waits = second.get("/a").at(1).waits();
    second.remote_answers(asks, 2).answered();
    second.post("/a").at(3).forwarded(origin(204));
    let flight = second.wakes(waits, Wake::Ended, 4).left();
    second.answers(flight, 4, fresh_for(60).body("new")).content("new");
}

//! A full answer of the origin takes the place of what is stored, wherever that is (RFC 9111 §4.3.3).

use crate::gateway::{Gateway, Origin, origin};

fn version(text: &str) -> Origin {
    let response = origin(200).header("cache-control", "max-age=10, stale-if-error=600");
    response.header("etag", &format!("\"{}\"", text.len())).body(text)
}

fn gone() -> Origin {
    origin(410).header("cache-control", "no-store").body("gone")
}

/// An Envoy whose fleet has what another one stored for a path, and which has nothing itself.
fn beside_one_that_stored(path: &str) -> Gateway {
    let config = r#"{"remote":{"enabled":true}}"#;
    let mut first = Gateway::with(config);
    let lasting = origin(200).header("cache-control", "max-age=600").body("old");
    first.get(path).at(0).miss(lasting);
    first.sends();
    let mut second = Gateway::with(config);
    second.redis = first.redis.clone();
    second
}

fn failure() -> Origin {
    origin(500).body("failure")
}

#[test]
fn what_is_replaced_in_one_worker_does_not_stand_in_in_another_without_a_common_store() {
    let mut gateway = Gateway::of_workers(2, r#"{"node":{"bytes":0}}"#);
    gateway.get("/a").worker(0).at(0).miss(version("old"));
    gateway.get("/a").worker(1).at(0).miss(version("old"));
    gateway.get("/a").worker(0).at(20).validates(version("newer"));
    gateway.learns(1, 21);
    gateway.get("/a").worker(1).at(22).forwarded(failure()).content("failure");
    // Each fetches the new one for itself: only what differs is told, or they would empty each other for ever.
    gateway.get("/a").worker(1).at(23).miss(version("newer"));
    gateway.learns(0, 24);
    gateway.get("/a").worker(0).at(25).hit().content("newer");
}

#[test]
fn nor_where_the_common_store_cannot_take_the_new_one() {
    let config = r#"{"node":{"bytes":"64KiB","buckets":64,"object_bytes":"2KiB"}}"#;
    let mut gateway = Gateway::of_workers(2, config);
    gateway.get("/a").worker(0).at(0).miss(version("old"));
    gateway.get("/a").worker(1).at(1).hit().content("old");
    gateway.get("/a").worker(0).at(20).validates(version(&"n".repeat(8000)));
    gateway.learns(1, 21);
    gateway.get("/a").worker(1).at(22).forwarded(failure()).content("failure");
}

#[test]
fn what_the_remote_store_did_not_tell_in_time_does_not_come_back() {
    let mut second = beside_one_that_stored("/a");
    second.redis.dead = true;
    second.get("/a").at(1).forwarded(gone()).content("gone");
    second.redis.dead = false;
    second.sends();
    second.get("/a").at(15).forwarded(version("newer")).content("newer");
}

#[test]
fn a_validation_that_fails_after_a_reload_has_brought_the_new_one_is_answered_by_that() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(version("old"));
    let flight = gateway.get("/a").at(20).leaves();
    gateway.get("/a").header("cache-control", "no-cache").at(21).forwarded(version("newer"));
    gateway.answers(flight, 22, failure()).content("newer");
    // It has expired too by the time of the next one.
    let flight = gateway.get("/a").at(40).leaves();
    gateway.get("/a").header("cache-control", "no-cache").at(41).forwarded(version("newest"));
    gateway.answers(flight, 55, failure()).content("newest").detail("stale-if-error");
}

#[test]
fn a_response_that_breaks_off_replaces_nothing() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(version("old"));
    gateway.get("/a").at(20).forwarded(version("newer").cut());
    gateway.get("/a").at(21).forwarded(failure()).content("old");
}

#[test]
fn what_is_invalidated_while_head_asks_about_it_is_not_put_back() {
    for status in [200, 404] {
        let mut first = Gateway::of_workers(2, r#"{"remote":{"enabled":true}}"#);
        first.get("/a").worker(0).at(0).miss(version("old"));
        first.sends();
        let flight = first.head("/a").worker(0).at(20).leaves();
        first.post("/a").worker(1).at(21).forwarded(origin(200));
        first.sends();
        first.answers(flight, 22, origin(status).header("etag", "\"other\""));
        first.sends();
        let mut second = Gateway::with(r#"{"remote":{"enabled":true}}"#);
        second.redis = first.redis.clone();
        second.get("/a").at(24).forwarded(failure()).content("failure");
    }
}

#[test]
fn a_late_confirmation_does_not_bring_back_what_is_selected_by_fields_now() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(version("old"));
    let flight = gateway.get("/a").at(20).leaves();
    let asked = gateway.get("/a").header("cache-control", "no-cache").at(21);
    asked.forwarded(version("newer").header("vary", "accept-language"));
    gateway.answers(flight, 22, origin(304));
    gateway.get("/a").at(23).hit().content("newer");
}

#[test]
fn what_is_selected_by_fields_now_is_not_hidden_by_what_was_for_all() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(version("old"));
    let flight = gateway.get("/a").at(20).leaves();
    let asked = gateway.get("/a").header("cache-control", "no-cache").at(21);
    asked.forwarded(version("newer").header("vary", "accept-language"));
    gateway.answers(flight, 22, failure()).content("failure");
}

#[test]
fn what_is_selected_by_other_fields_now_is_not_hidden_by_what_was_selected_before() {
    let mut gateway = Gateway::with("{}");
    let german = |gateway: &mut Gateway, at: u64, response: Origin| {
        gateway.get("/a").header("accept-language", "de").at(at).forwarded(response);
    };
    german(&mut gateway, 0, version("old").header("vary", "accept-language"));
    let flight = gateway.get("/a").header("accept-language", "de").at(20).leaves();
    let reload = gateway.get("/a").header("accept-language", "de").header("cache-control", "no-cache");
    reload.at(21).forwarded(version("newer").header("vary", "x-device"));
    german(&mut gateway, 40, gone());
    gateway.answers(flight, 41, failure()).content("failure");
}

#[test]
fn what_was_selected_by_a_lost_index_does_not_stand_in_for_what_is_gone_by_another() {
    for config in ["{}", r#"{"remote":{"enabled":true}}"#] {
        let mut gateway = Gateway::of_workers(2, config);
        let varies = |text: &str| version(text).header("vary", "accept-language");
        gateway.get("/a").worker(0).header("accept-language", "de").at(0).forwarded(varies("old"));
        let flight = gateway.get("/a").worker(0).header("accept-language", "de").at(20).leaves();
        gateway.shared.spoil_records();
        gateway.redis.dead = true;
        let french = gateway.get("/a").worker(1).header("accept-language", "fr").at(21);
        french.forwarded(varies("francais"));
        gateway.get("/a").worker(1).header("accept-language", "de").at(22).forwarded(varies("newer"));
        gateway.get("/a").worker(1).header("accept-language", "de").at(40).forwarded(gone()).content("gone");
        gateway.answers(flight, 41, failure()).content("failure");
    }
}

#[test]
fn what_is_gone_is_gone_by_whatever_fields_it_was_selected() {
    let mut gateway = Gateway::with("{}");
    let german = |gateway: &mut Gateway, at: u64, response: Origin| {
        let asked = gateway.get("/a").header("accept-language", "de").header("x-device", "small");
        asked.header("cache-control", "no-cache").at(at).forwarded(response);
    };
    german(&mut gateway, 0, version("by one").header("vary", "accept-language"));
    german(&mut gateway, 1, version("by two").header("vary", "accept-language, x-device"));
    german(&mut gateway, 2, gone());
    let again = gateway.get("/a").header("accept-language", "de").header("x-device", "small").at(3);
    again.forwarded(failure()).content("failure");
}

#[test]
fn what_is_gone_for_one_client_stays_for_those_who_are_given_another_variant() {
    let mut gateway = Gateway::with(r#"{"remote":{"enabled":true}}"#);
    let varies = |text: &str| version(text).header("vary", "accept-language");
    gateway.get("/a").header("accept-language", "de").at(0).forwarded(varies("deutsch"));
    gateway.get("/a").header("accept-language", "fr").at(0).forwarded(varies("francais"));
    let german = gateway.get("/a").header("accept-language", "de").at(20);
    german.forwarded(gone()).content("gone");
    let french = gateway.get("/a").header("accept-language", "fr").at(21);
    french.forwarded(failure()).content("francais").detail("stale-if-error");
}

#[test]
fn what_another_envoy_stored_without_vary_does_not_come_back_for_a_variant_that_is_gone() {
    let config = r#"{"remote":{"enabled":true}}"#;
    let mut first = Gateway::with(config);
    first
        .get("/a")
        .header("accept-language", "de")
        .at(0)
        .forwarded(version("1").header("vary", "accept-language"));
    let mut second = Gateway::with(config);
    second.get("/a").header("accept-language", "de").at(1).forwarded(version("for all"));
    second.sends();
    first.redis = second.redis.clone();
    first.get("/a").header("accept-language", "de").at(20).forwarded(gone()).content("gone");
    first.sends();
    let again = first.get("/a").header("accept-language", "de").at(31);
    again.forwarded(failure()).content("failure");
}

#[test]
fn what_a_reload_finds_gone_does_not_come_back_from_the_remote_store() {
    let mut second = beside_one_that_stored("/a");
    second.get("/a").header("cache-control", "no-cache").at(1).forwarded(gone()).content("gone");
    second.sends();
    second.get("/a").at(15).forwarded(version("newer")).content("newer");
}

#[test]
fn what_the_origin_forbids_goes_even_if_the_request_forbids_to_store() {
    for forbidden in [gone(), version("for one").header("cache-control", "private")] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(version("old"));
        gateway.get("/a").header("cache-control", "no-store").at(20).forwarded(forbidden);
        gateway.get("/a").at(21).forwarded(failure()).content("failure");
    }
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(version("old"));
    let confirmed = origin(304).header("cache-control", "no-store");
    gateway.get("/a").header("cache-control", "no-store").at(20).validates(confirmed).content("old");
    gateway.get("/a").at(21).forwarded(failure()).content("failure");
}

#[test]
fn what_a_request_without_storing_finds_unchanged_stays() {
    let dated = |day: u32| {
        let response = origin(200).header("cache-control", "max-age=10, stale-if-error=600");
        response.header("last-modified", &format!("Thu, {day:02} Jan 2026 00:00:00 GMT")).body("old")
    };
    for (day, then) in [(1, "old"), (2, "failure")] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(dated(1));
        gateway.get("/a").header("cache-control", "no-store").at(20).forwarded(dated(day));
        gateway.get("/a").at(21).forwarded(failure()).content(then);
    }
}

#[test]
fn what_comes_back_to_the_cache_that_renews_it_is_not_answered_by_what_it_renews() {
    let mut gateway = Gateway::with("{}");
    let lasting = origin(200).header("cache-control", "max-age=10, stale-while-revalidate=60");
    gateway.get("/a").at(0).miss(lasting.header("etag", "\"1\"").body("old"));
    let flight = gateway.get("/b").at(1).leaves();
    let mark = flight.sets("cdn-loop").unwrap();
    gateway.get("/a").header("cdn-loop", &mark).at(12).validates(version("newer")).content("newer");
}

//! A full answer of the origin takes the place of what is stored, wherever that is (RFC 9111 §4.3.3).

use crate::gateway::{Gateway, Origin, origin};

fn version(text: &str) -> Origin {
    let response = origin(200).header("cache-control", "max-age=10, stale-if-error=600");
    response.header("etag", &format!("\"{}\"", text.len())).body(text)
}

fn gone() -> Origin {
    origin(410).header("cache-control", "no-store").body("gone")
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
    let config = r#"{"remote":{"enabled":true}}"#;
    let mut first = Gateway::with(config);
    let lasting = origin(200).header("cache-control", "max-age=600").body("old");
    first.get("/a").at(0).miss(lasting);
    first.sends();
    let mut second = Gateway::with(config);
    second.redis = first.redis.clone();
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

//! What several workers and several exchanges at once do to one stored response: the old never comes back.

use selvage_engine::exchange::Event;
use selvage_engine::fields::Fields;

use crate::gateway::{ALONE, Flight, Gateway, Origin, block, date, fresh_for, origin};

/// The head of a storable response comes; its body is still on the way.
fn begins(gateway: &mut Gateway, flight: &mut Flight, at: u64, vary: &str) {
    let mut fields = vec![(":status", "200"), ("cache-control", "max-age=60")];
    if !vary.is_empty() {
        fields.push(("vary", vary));
    }
    let head = block(&fields);
    let event = Event::Response { head: Fields::parse(&head).unwrap(), end_of_stream: false };
    gateway.feed(flight.worker, &mut flight.exchange, at * 1000, event);
    assert!(flight.exchange.wants_body(), "it is being stored");
}

/// The rest of the body comes.
fn ends(gateway: &mut Gateway, mut flight: Flight, at: u64, body: &str) {
    let event = Event::Body { chunk: body.as_bytes(), end_of_stream: true };
    gateway.feed(flight.worker, &mut flight.exchange, at * 1000, event);
    gateway.feed(flight.worker, &mut flight.exchange, at * 1000, Event::Ended);
    gateway.assert_no_room_is_taken();
}

fn tagged(tag: &str, body: &str) -> Origin {
    fresh_for(10).header("etag", tag).body(body)
}

/// No worker answers, and neither does the node: a worker without anything of its own would see it there.
fn nobody_answers(gateway: &mut Gateway, at: u64, fields: &[(&str, &str)]) {
    for worker in 0..gateway.workers.len() {
        let mut call = gateway.get("/a").worker(worker).at(at);
        for (name, value) in fields {
            call = call.header(name, value);
        }
        let flight = call.leaves();
        assert!(!flight.is_conditional(), "worker {worker}");
        gateway.goes_away(flight, at);
    }
}

#[test]
fn what_another_worker_invalidated_meanwhile_is_stored_nowhere() {
    let mut gateway = Gateway::of_workers(3, "{}");
    let mut slow = gateway.get("/a").worker(0).at(0).leaves();
    begins(&mut gateway, &mut slow, 1, "");
    gateway.post("/a").worker(1).at(2).forwarded(origin(204));
    ends(&mut gateway, slow, 3, "old");
    nobody_answers(&mut gateway, 4, &[]);
    gateway.get("/a").worker(0).at(5).miss(fresh_for(60).body("new")).stored();
    gateway.get("/a").worker(2).at(6).hit().content("new");
}

#[test]
fn a_variant_that_another_worker_invalidated_meanwhile_is_stored_nowhere() {
    let mut gateway = Gateway::of_workers(3, "{}");
    let known = fresh_for(60).header("vary", "x-a").body("a");
    gateway.get("/a").header("x-a", "a").worker(0).at(0).miss(known);
    gateway.get("/a").header("x-a", "a").worker(1).at(0).hit();
    let mut slow = gateway.get("/a").header("x-a", "b").worker(0).at(1).leaves();
    begins(&mut gateway, &mut slow, 2, "x-a");
    gateway.post("/a").worker(1).at(3).forwarded(origin(204));
    ends(&mut gateway, slow, 4, "b");
    for value in ["a", "b"] {
        nobody_answers(&mut gateway, 5, &[("x-a", value)]);
    }
}

#[test]
fn a_new_variant_brings_no_invalidated_one_back() {
    let mut gateway = Gateway::of_workers(3, "{}");
    let by = |body: &str| fresh_for(60).header("vary", "x-a").body(body);
    for value in ["a", "b"] {
        gateway.get("/a").header("x-a", value).worker(0).at(0).miss(by(value));
    }
    gateway.post("/a").worker(1).at(1).forwarded(origin(204));
    // The first worker has not heard of it when it is asked for a third variant.
    gateway.get("/a").header("x-a", "c").worker(0).at(2).forwarded(by("c")).stored();
    for value in ["a", "b"] {
        nobody_answers(&mut gateway, 3, &[("x-a", value)]);
    }
    gateway.get("/a").header("x-a", "c").worker(2).at(4).hit().content("c");
}

#[test]
fn more_invalidations_than_a_worker_remembers_still_keep_the_old_response_out() {
    let mut gateway = Gateway::with("{}");
    let mut slow = gateway.get("/a").at(1).leaves();
    begins(&mut gateway, &mut slow, 1, "");
    gateway.post("/a").at(2).forwarded(origin(204));
    for n in 0..5000 {
        gateway.post(&format!("/{n}")).at(3).forwarded(origin(204));
    }
    ends(&mut gateway, slow, 4, "old");
    gateway.get("/a").at(5).miss(fresh_for(60).body("new")).stored();
    gateway.get("/a").at(6).hit().content("new");
}

#[test]
fn invalidations_by_others_in_any_number_keep_the_old_response_out() {
    // Learnt of bit by bit, or so late that some are lost.
    for learns in [true, false] {
        let mut gateway = Gateway::of_workers(3, "{}");
        let mut slow = gateway.get("/a").worker(0).at(1).leaves();
        begins(&mut gateway, &mut slow, 1, "");
        gateway.post("/a").worker(1).at(2).forwarded(origin(204));
        for n in 0..5000 {
            gateway.post(&format!("/{n}")).worker(1).at(3).forwarded(origin(204));
            if learns && n % 50 == 0 {
                gateway.learns(0, 3);
            }
        }
        ends(&mut gateway, slow, 4, "old");
        assert_eq!(gateway.counted(0, "event", "changes-lost"), u64::from(!learns));
        nobody_answers(&mut gateway, 5, &[]);
        gateway.get("/a").worker(0).at(6).miss(fresh_for(60).body("new")).stored();
        gateway.get("/a").worker(0).at(7).hit().content("new");
    }
}

#[test]
fn workers_without_a_node_store_learn_of_invalidations_all_the_same() {
    let mut gateway = Gateway::of_workers(2, r#"{"node":{"bytes":0}}"#);
    for worker in [0, 1] {
        gateway.get("/a").worker(worker).at(0).miss(fresh_for(60).body("old")).stored();
        gateway.get("/b").worker(worker).at(0).miss(fresh_for(60).body("other")).stored();
    }
    gateway.post("/a").worker(0).at(1).forwarded(origin(204));
    assert!(gateway.workers[0].take_changes_to_tell());
    gateway.learns(1, 2);
    gateway.get("/a").worker(1).at(3).miss(fresh_for(60).body("new")).content("new");
    gateway.get("/b").worker(1).at(3).hit().content("other");
}

#[test]
fn new_terms_for_a_fresh_response_reach_the_other_worker() {
    for terms in ["no-cache", "max-age=3"] {
        let mut gateway = Gateway::of_workers(2, "{}");
        gateway.get("/a").worker(0).at(0).miss(fresh_for(60).header("etag", "\"1\"").body("one"));
        gateway.get("/a").worker(1).at(1).hit();
        let asked = gateway.get("/a").header("cache-control", "no-cache").worker(0).at(10);
        asked.validates(origin(304).header("cache-control", terms)).content("one");
        assert!(gateway.workers[0].take_changes_to_tell(), "{terms}");
        gateway.learns(1, 11);
        gateway.get("/a").worker(1).at(14).validates(origin(304)).says("fwd=stale").content("one");
    }
}

#[test]
fn new_terms_for_a_fresh_variant_reach_the_other_worker() {
    let mut gateway = Gateway::of_workers(2, "{}");
    let response = fresh_for(60).headers("etag: \"1\" | vary: x-a").body("one");
    gateway.get("/a").header("x-a", "a").worker(0).at(0).miss(response);
    gateway.get("/a").header("x-a", "a").worker(1).at(1).hit();
    let asked = gateway.get("/a").header("x-a", "a").header("cache-control", "no-cache").worker(0).at(10);
    asked.validates(origin(304).header("cache-control", "max-age=3"));
    gateway.learns(1, 11);
    gateway.get("/a").header("x-a", "a").worker(1).at(14).validates(origin(304)).content("one");
}

#[test]
fn a_late_304_does_not_displace_what_was_stored_meanwhile() {
    for other in [0, 1] {
        let mut gateway = Gateway::of_workers(2, ALONE);
        gateway.get("/a").worker(0).at(0).miss(tagged("\"1\"", "one"));
        let late = gateway.get("/a").worker(0).at(10).leaves();
        assert!(late.is_conditional());
        gateway.get("/a").worker(other).at(11).validates(fresh_for(60).header("etag", "\"2\"").body("two"));
        gateway.answers(late, 12, origin(304)).status(200).content("one").says_nothing_of("stored");
        for worker in [0, 1] {
            gateway.get("/a").worker(worker).at(13).hit().content("two").has("etag", "\"2\"");
        }
    }
}

#[test]
fn a_slow_response_does_not_displace_one_that_the_origin_made_later() {
    for other in [0, 1] {
        let mut gateway = Gateway::of_workers(2, ALONE);
        let slow = gateway.get("/a").worker(0).at(0).leaves();
        let newer = fresh_for(600).header("date", &date(20)).body("new");
        gateway.get("/a").worker(other).at(20).miss(newer).stored();
        let older = fresh_for(600).header("date", &date(5)).body("old");
        gateway.answers(slow, 30, older).content("old");
        for worker in [0, 1] {
            gateway.get("/a").worker(worker).at(31).hit().content("new");
        }
    }
}

#[test]
fn a_slow_response_takes_the_place_of_a_stale_one() {
    let mut gateway = Gateway::with("{}");
    let slow = gateway.get("/a").at(0).leaves();
    gateway.get("/a").at(20).miss(fresh_for(5).header("date", &date(20)).body("short")).stored();
    gateway.answers(slow, 30, fresh_for(600).header("date", &date(10)).body("long"));
    gateway.get("/a").at(31).hit().content("long");
}

#[test]
fn what_is_known_not_to_be_storable_is_not_looked_for_in_the_node() {
    let mut gateway = Gateway::of_workers(2, "{}");
    let private = || origin(200).header("cache-control", "no-store").body("x");
    gateway.get("/a").worker(0).at(0).miss(private()).not_stored("no-store");
    let before = gateway.shared.gets;
    let next = gateway.get("/a").worker(0).at(1).leaves();
    assert_eq!(gateway.shared.gets, before, "the node was asked");
    // Should it become storable, that is seen at the next look.
    gateway.answers(next, 1, fresh_for(60).body("y")).says_nothing_of("stored");
    gateway.get("/a").worker(0).at(2).miss(fresh_for(60).body("y")).stored();
    gateway.get("/a").worker(0).at_millis(2500).hit().content("y");
    gateway.get("/a").worker(1).at_millis(2500).hit().detail("node").content("y");
}

#[test]
fn what_was_not_storable_is_looked_for_again_soon() {
    let mut gateway = Gateway::of_workers(2, "{}");
    gateway.get("/a").worker(0).at(0).miss(origin(200).header("cache-control", "no-store").body("x"));
    gateway.get("/a").worker(1).at(1).miss(fresh_for(60).body("y")).stored();
    gateway.get("/a").worker(0).at(3).hit().detail("node").content("y");
}

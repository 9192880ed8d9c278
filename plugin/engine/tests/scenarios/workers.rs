//! Several workers of one Envoy.

use selvage_engine::config::Query;
use selvage_engine::exchange::Wake;
use selvage_engine::key::{self, KeyBuilder};
use selvage_engine::policy::Policy;
use selvage_engine::store::node::{NodeLimits, NodeStore};

use crate::gateway::{Gateway, Origin, fresh_for, moment, origin};

fn two() -> Gateway {
    Gateway::of_workers(2, "{}")
}

fn tagged() -> Origin {
    fresh_for(60).header("etag", "\"1\"").header("content-type", "a/a").body("one")
}

#[test]
fn a_second_worker_answers_from_what_the_first_one_stored() {
    let mut gateway = two();
    gateway.get("/a").worker(0).at(0).miss(tagged());
    let answer = gateway.get("/a").worker(1).at(1).hit().detail("node").age(1).ttl(59);
    answer.content("one").has("etag", "\"1\"").has("content-type", "a/a");
    gateway.get("/a").worker(1).at(2).hit().detail("worker").content("one");
    gateway.get("/a").worker(1).header("range", "bytes=1-").at(3).hit().status(206).content("ne");
}

#[test]
fn variants_are_shared_too() {
    let mut gateway = two();
    for value in ["a", "b"] {
        gateway.get("/a").header("x-a", value).at(0).miss(fresh_for(60).header("vary", "x-a").body(value));
    }
    for value in ["a", "b"] {
        gateway.get("/a").worker(1).header("x-a", value).at(1).hit().detail("node").content(value);
        gateway.get("/a").worker(1).header("x-a", value).at(2).hit().detail("worker").content(value);
    }
    gateway.get("/a").worker(1).header("x-a", "c").at(3).miss(fresh_for(60).header("vary", "x-a").body("c"));
    gateway.get("/a").worker(0).header("x-a", "a").at(4).hit().content("a");
}

#[test]
fn a_variant_that_another_worker_added_is_found() {
    let mut gateway = two();
    let by = |value: &str| fresh_for(60).header("vary", "x-a").body(value);
    gateway.get("/a").worker(0).header("x-a", "a").at(0).miss(by("a"));
    gateway.get("/a").worker(1).header("x-a", "a").at(1).hit();
    gateway.get("/a").worker(1).header("x-a", "b").at(2).miss(by("b"));
    gateway.get("/a").worker(0).header("x-a", "b").at(3).hit().content("b");
    gateway.get("/a").worker(0).header("x-a", "a").at(3).hit().content("a");
}

/// The first look of such a worker brings the node's index, by which the next one is told something else.
#[test]
fn what_only_one_worker_still_has_is_fetched_once_for_all_workers() {
    let mut gateway = Gateway::of_workers(2, r#"{"worker":{"variants":1}}"#);
    let by = |name: &str, body: &str| fresh_for(60).header("etag", "\"1\"").header("vary", name).body(body);
    gateway.get("/a").worker(0).header("x-a", "a").at(0).miss(by("x-a", "a"));
    gateway.get("/a").worker(1).header("x-a", "a").at(1).hit();
    gateway.get("/a").worker(0).header("x-a", "b").at(2).miss(by("x-b", "b"));
    let leader = gateway.get("/a").worker(1).header("x-a", "a").header("x-b", "a").at(70).leaves();
    let waiters = [1, 0]
        .map(|worker| gateway.get("/a").worker(worker).header("x-a", "a").header("x-b", "a").at(70).waits());
    gateway.answers(leader, 71, by("x-b", "new")).stored();
    gateway.learns(0, 71);
    for waiter in waiters {
        gateway.wakes(waiter, Wake::Ended, 71).answered().content("new").says("collapsed");
    }
    gateway.assert_nobody_waits();
}

#[test]
fn what_the_node_could_not_take_is_still_the_newer_one_in_its_worker() {
    let mut gateway = two();
    gateway.get("/a").at(0).miss(tagged());
    gateway.shared.refuses = true;
    gateway.get("/a").at(61).validates(fresh_for(9).header("etag", "\"2\"").body("two"));
    gateway.shared.refuses = false;
    for at in 80..83 {
        let flight = gateway.get("/a").at(at).leaves();
        assert_eq!(flight.sets("if-none-match").as_deref(), Some("\"2\""));
        gateway.goes_away(flight, at);
    }
}

#[test]
fn an_invalidation_reaches_a_worker_once_it_learns_of_it() {
    let mut gateway = two();
    gateway.get("/a").worker(0).at(0).miss(tagged());
    gateway.get("/a").worker(1).at(1).hit();
    gateway.post("/a").worker(0).at(2).forwarded(origin(204));
    assert!(gateway.workers[0].take_changes_to_tell());
    assert!(!gateway.workers[0].take_changes_to_tell());
    gateway.learns(1, 3);
    gateway.get("/a").worker(1).at(4).miss(fresh_for(60).body("new")).says("fwd=uri-miss");
    gateway.get("/a").worker(0).at(5).hit().content("new").detail("node");
}

#[test]
fn a_response_on_its_way_to_another_worker_is_not_stored_over_an_invalidation() {
    let mut gateway = two();
    let early = gateway.get("/a").worker(1).at(0).leaves();
    gateway.post("/a").worker(0).at(1).forwarded(origin(204));
    gateway.learns(1, 2);
    gateway.answers(early, 3, fresh_for(60).body("old"));
    gateway.get("/a").worker(1).at(4).miss(fresh_for(60).body("new"));
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_replacement_reaches_a_worker_that_learns() {
    let mut gateway = two();
    gateway.get("/a").worker(0).at(0).miss(tagged());
    gateway.get("/a").worker(1).at(1).hit();
    gateway
        .get("/a")
        .worker(0)
        .header("cache-control", "no-cache")
        .at(2)
        .forwarded(fresh_for(60).body("two"));
    gateway.learns(1, 3);
    gateway.get("/a").worker(1).at(4).hit().detail("node").content("two");
}

#[test]
fn what_one_worker_freshened_is_fresh_for_all() {
    let mut gateway = two();
    gateway.get("/a").worker(0).at(0).miss(tagged());
    gateway.get("/a").worker(1).at(1).hit();
    gateway.get("/a").worker(0).at(60).validates(origin(304));
    gateway.get("/a").worker(1).at(61).hit().detail("node").age(1).content("one");
}

#[test]
fn a_variant_that_one_worker_freshened_is_fresh_for_all() {
    let mut gateway = two();
    gateway.get("/a").worker(0).header("x-a", "a").at(0).miss(tagged().header("vary", "x-a"));
    gateway.get("/a").worker(1).header("x-a", "a").at(1).hit();
    gateway.get("/a").worker(0).header("x-a", "a").at(60).validates(origin(304));
    gateway.get("/a").worker(1).header("x-a", "a").at(61).hit().age(1).content("one");
}

#[test]
fn a_worker_that_missed_too_many_changes_forgets_everything() {
    let mut gateway = two();
    gateway.get("/kept").worker(0).at(0).miss(tagged());
    gateway.get("/gone").worker(0).at(0).miss(tagged());
    gateway.get("/kept").worker(1).at(1).hit();
    gateway.get("/gone").worker(1).at(1).hit();
    gateway.post("/gone").worker(0).at(2).forwarded(origin(204));
    for n in 0..300 {
        gateway.post(&format!("/{n}")).worker(0).at(3).forwarded(origin(204));
    }
    gateway.learns(1, 4);
    assert_eq!(gateway.counted(1, "event", "changes-lost"), 1);
    assert_eq!(gateway.workers[1].worker_usage().0, 0);
    gateway.get("/gone").worker(1).at(5).miss(fresh_for(60).body("new"));
    gateway.get("/kept").worker(1).at(5).hit().detail("node");
}

#[test]
fn a_spoilt_record_is_a_counted_miss() {
    let mut gateway = two();
    gateway.get("/a").worker(0).at(0).miss(tagged());
    gateway.shared.spoil_records();
    gateway.get("/a").worker(1).at(1).miss(tagged()).says("fwd=uri-miss");
    assert_ne!(gateway.counted(1, "event", "bad-record"), 0);
    gateway.get("/a").worker(0).at(2).hit().detail("worker");
    gateway.get("/a").worker(1).at(2).hit();
}

/// Puts the record of one path where another path is looked for, as if their hashes were the same.
#[test]
fn another_keys_record_under_the_same_hash_is_a_miss() {
    let mut gateway = two();
    gateway.get("/a").worker(0).at(0).miss(fresh_for(60).body("of a"));
    let hash = |path: &str| {
        let mut out = Vec::new();
        let mut key = KeyBuilder::new(&mut out);
        key.resource(b"https", b"example.com", path.as_bytes(), &Query::default());
        key.scope(Policy::default().scope(0));
        key::hash(&out)
    };
    let limits = NodeLimits { bytes: 1 << 20, object_bytes: 1 << 16, buckets: 16 };
    let mut node = NodeStore::new(limits);
    let now = moment(1000).as_millis();
    let record = node.get(&mut gateway.shared, hash("/a"), now).expect("the record of /a");
    node.put(&mut gateway.shared, hash("/b"), &record, now + 60_000, now).unwrap();
    gateway.get("/b").worker(1).at(1).miss(fresh_for(60).body("of b")).says("fwd=uri-miss").content("of b");
    gateway.get("/b").worker(1).at(2).hit().content("of b");
    gateway.get("/a").worker(1).at(2).hit().content("of a");
}

#[test]
fn without_a_node_store_each_worker_keeps_its_own() {
    let mut gateway = Gateway::of_workers(2, r#"{"node":{"bytes":0}}"#);
    gateway.get("/a").worker(0).at(0).miss(tagged());
    gateway.get("/a").worker(1).at(1).miss(tagged());
    gateway.get("/a").worker(0).at(2).hit().detail("worker");
    // But for what tells this Envoy from others.
    assert_eq!(gateway.shared.bytes(), 8);
}

#[test]
fn without_a_worker_store_the_node_answers() {
    let mut gateway = Gateway::of_workers(2, r#"{"worker":{"bytes":0}}"#);
    gateway.get("/a").worker(0).at(0).miss(tagged());
    for worker in [0, 1, 0] {
        gateway.get("/a").worker(worker).at(1).hit().detail("node").content("one");
    }
    gateway.post("/a").worker(1).at(2).forwarded(origin(204));
    gateway.get("/a").worker(0).at(3).miss(tagged());
}

#[test]
fn the_latest_by_other_fields_is_the_latest_in_each_worker() {
    let mut gateway = Gateway::of_workers(2, "{}");
    let by = |name: &str| fresh_for(60).header("vary", name).body(name);
    gateway
        .get("/a")
        .header("accept-language", "en")
        .header("x-kind", "a")
        .worker(0)
        .at(0)
        .miss(by("accept-language"));
    gateway
        .get("/a")
        .header("accept-language", "de")
        .header("x-kind", "b")
        .worker(1)
        .at(1)
        .miss(by("x-kind"));
    gateway.learns(0, 2);
    let both = gateway.get("/a").header("accept-language", "en").header("x-kind", "b").worker(0).at(3);
    both.hit().content("x-kind");
}

fn by_kind(body: &str) -> Origin {
    fresh_for(60).header("vary", "x-kind").body(body)
}

#[test]
fn a_worker_stores_under_the_index_of_the_node_if_that_was_begun_later() {
    let mut gateway = two();
    gateway.get("/a").worker(0).header("x-kind", "a").at(0).miss(by_kind("old"));
    let flight = gateway.get("/a").worker(0).header("x-kind", "b").at(1).leaves();
    gateway.shared.spoil_records();
    gateway.get("/a").worker(1).header("x-kind", "a").at(2).forwarded(by_kind("new"));
    gateway.answers(flight, 3, by_kind("b")).stored();
    gateway.get("/a").worker(0).header("x-kind", "a").at(4).hit().content("new");
}

#[test]
fn a_worker_takes_no_index_from_the_remote_store_that_is_older_than_the_one_of_the_node() {
    let config = r#"{"remote":{"enabled":true}}"#;
    let mut gateway = Gateway::of_workers(2, config);
    gateway.get("/a").worker(0).header("x-kind", "a").at(0).forwarded(by_kind("old"));
    let mut other = Gateway::with(config);
    other.get("/a").header("x-kind", "b").at(1).forwarded(by_kind("b"));
    other.sends();
    gateway.redis = other.redis.clone();
    let asking = gateway.get("/a").worker(0).header("x-kind", "b").at(2).asks();
    gateway.shared.spoil_records();
    gateway.redis.dead = true;
    gateway.get("/a").worker(1).header("x-kind", "a").at(3).forwarded(by_kind("new"));
    gateway.redis.dead = false;
    let flight = gateway.remote_answers(asking, 4).left();
    gateway.answers(flight, 4, by_kind("b")).stored();
    gateway.get("/a").worker(0).header("x-kind", "a").at(5).hit().content("new");
}

//! Requests that go to their origin through a pool: who goes, who waits, who is refused, and who is served what is stored.

use selvage_engine::cache::Moment;
use selvage_engine::exchange::Wake;
use selvage_engine::time::Timestamp;

use crate::gateway::{Flight, Gateway, Sent, Waiter, fresh_for, origin};

fn gateway(pool: &str, rule: &str) -> Gateway {
    Gateway::with(&format!(
        r#"{{"pools":[{{"name":"api","fixed":1,{pool}}}],"defaults":{{"coalesce":{{"fleet":false}},"admission":{{"pool":"api"{rule}}}}}}}"#
    ))
}

const ONE_WAITS: &str = r#""queue":{"requests":1,"wait":{"normal":"10s"}}"#;
const NOBODY_WAITS: &str = r#""queue":{"requests":0}"#;

fn at(gateway: &mut Gateway, millis: u64) {
    let now = Timestamp::from_millis(1_800_000_000_000 + millis);
    let mut moment = Moment { now, host: &mut gateway.shared };
    gateway.workers[0].look_after_pools(false, &mut moment);
}

/// The one whose ticket is decided is woken.
#[track_caller]
fn decided(gateway: &mut Gateway, waiter: Waiter, second: u64) -> Sent {
    assert_eq!(gateway.workers[0].take_decided_tickets().len(), 1);
    gateway.wakes(waiter, Wake::Slot, second)
}

fn counted(gateway: &mut Gateway, word: &'static str) -> u64 {
    gateway.exports();
    gateway.shared.rule_metrics.get(&("default".into(), ("pool_requests", word))).copied().unwrap_or(0)
}

#[test]
fn the_next_goes_when_the_one_before_it_is_done() {
    let mut gateway = gateway(ONE_WAITS, "");
    let first = gateway.get("/a").at(0).leaves();
    let second = gateway.get("/b").at(0).waits();
    assert!(!gateway.workers[0].has_decided_tickets());
    gateway.answers(first, 1, fresh_for(60)).stored();
    let second = decided(&mut gateway, second, 1).left();
    let answer = gateway.answers(second, 2, fresh_for(60)).stored();
    assert_eq!(answer.value("server-timing").as_deref(), Some("queue;dur=1000"));
    assert_eq!((counted(&mut gateway, "went"), counted(&mut gateway, "waited")), (1, 1));
    // What is stored goes to no origin.
    gateway.get("/a").at(3).hit().lacks("server-timing");
    gateway.assert_no_room_is_taken();
}

#[test]
fn who_finds_the_queue_full_is_refused_and_told_when_to_come_again() {
    let mut gateway = gateway(ONE_WAITS, "");
    let _first = gateway.get("/a").at(0).leaves();
    let _second = gateway.get("/b").at(0).waits();
    let answer = gateway.get("/c").at(0).answered();
    assert_eq!(answer.cache_status(), "Selvage; detail=overload");
    let seconds: u64 = answer.value("retry-after").unwrap().parse().unwrap();
    assert!((1..=38).contains(&seconds), "{seconds}");
    answer.status(503).has("content-type", "application/problem+json").has("cache-control", "no-store");
    assert_eq!(counted(&mut gateway, "full"), 1);
}

#[test]
fn who_has_waited_enough_is_refused() {
    let mut gateway = gateway(r#""queue":{"wait":{"normal":"500ms"}}"#, "");
    let first = gateway.get("/a").at(0).leaves();
    let second = gateway.get("/b").at(0).waits();
    at(&mut gateway, 499);
    assert!(!gateway.workers[0].has_decided_tickets());
    at(&mut gateway, 500);
    let answer = decided(&mut gateway, second, 1).answered();
    assert_eq!(answer.cache_status(), "Selvage; detail=overload");
    answer.status(503);
    assert_eq!(counted(&mut gateway, "refused"), 1);
    gateway.goes_away(first, 1);
    gateway.assert_no_room_is_taken();
}

#[test]
fn what_is_stored_is_served_stale_in_the_place_of_a_refusal() {
    for method in ["GET", "HEAD"] {
        let mut gateway = gateway(NOBODY_WAITS, r#"},"stale":{"if_error":"1h""#);
        gateway.get("/a").at(0).miss(fresh_for(10).body("old")).stored();
        let _busy = gateway.get("/b").at(20).leaves();
        let answer = gateway.request(method, "/a").at(20).answered();
        assert_eq!(answer.cache_status(), "Selvage; hit; ttl=-10; detail=overload");
        answer.status(200);
        // Nothing of that kind is stored.
        gateway.get("/c").at(20).answered().status(503);
        assert_eq!((counted(&mut gateway, "stale"), counted(&mut gateway, "full")), (1, 1));
    }
}

#[test]
fn an_answer_that_must_be_validated_is_not_served_in_its_place() {
    let mut gateway = gateway(NOBODY_WAITS, r#"},"stale":{"if_error":"1h""#);
    gateway.get("/a").at(0).miss(fresh_for(10).header("cache-control", "must-revalidate")).stored();
    let _busy = gateway.get("/b").at(20).leaves();
    gateway.get("/a").at(20).answered().status(503);
}

#[test]
fn what_was_invalidated_while_a_request_waited_is_not_served_in_the_place_of_its_refusal() {
    let rule = r#"},"stale":{"if_error":"1h""#;
    let pool = r#""queue":{"requests":8,"wait":{"normal":"10s"}}"#;
    let config = format!(
        r#"{{"pools":[{{"name":"api","fixed":2,{pool}}}],"defaults":{{"admission":{{"pool":"api"{rule}}}}}}}"#
    );
    let mut gateway = Gateway::with(&config);
    gateway.get("/a").at(0).miss(fresh_for(10).body("old")).stored();
    let busy = gateway.get("/b").at(20).leaves();
    let change = gateway.post("/a").chunk("x").at(20).leaves();
    let reader = gateway.get("/a").at(20).waits();
    // When others have waited for long, who came last goes first.
    let next = gateway.get("/c").at(20).waits();
    gateway.answers(change, 21, origin(204));
    let next = decided(&mut gateway, next, 21).left();
    at(&mut gateway, 30_000);
    let answer = decided(&mut gateway, reader, 30).answered();
    assert_eq!(answer.cache_status(), "Selvage; detail=overload");
    answer.status(503);
    gateway.goes_away(busy, 31);
    gateway.goes_away(next, 31);
    gateway.assert_no_room_is_taken();
}

#[test]
pub fn a_client_that_leaves_while_it_waits_leaves_nothing_behind() {
    let mut gateway = gateway(ONE_WAITS, "");
    let first = gateway.get("/a").at(0).leaves();
    let second = gateway.get("/b").at(0).waits();
    gateway.goes_away(second, 1);
    let third = gateway.get("/c").at(1).waits();
    gateway.goes_away(first, 2);
    // It was given the place, and leaves before it is woken.
    assert_eq!(gateway.workers[0].take_decided_tickets().len(), 1);
    gateway.goes_away(third, 2);
    let last = gateway.get("/d").at(2).leaves();
    gateway.answers(last, 3, fresh_for(60)).stored();
    assert_eq!(counted(&mut gateway, "left"), 2);
    gateway.assert_no_room_is_taken();
    gateway.assert_nobody_waits();
}

#[test]
fn a_place_is_free_at_the_head_where_the_pool_says_so() {
    let mut gateway = gateway(r#""release":"head","queue":{"requests":0}"#, "");
    let mut first: Flight = gateway.get("/a").at(0).leaves();
    gateway.get("/b").at(0).answered().status(503);
    let head = crate::gateway::block(&[(":status", "200"), ("cache-control", "no-store")]);
    let head = selvage_engine::fields::Fields::parse(&head).unwrap();
    let event = selvage_engine::exchange::Event::Response { head, end_of_stream: false };
    gateway.feed(0, &mut first.exchange, 100, event);
    let second = gateway.get("/b").at(1).leaves();
    gateway.answers(second, 2, fresh_for(60)).stored();
}

#[test]
fn the_highest_class_goes_first() {
    let mut gateway = gateway(r#""queue":{"requests":8}"#, r#","priority_header":"x-class""#);
    let first = gateway.get("/a").at(0).leaves();
    let low = gateway.get("/low").header("x-class", "low").at(0).waits();
    let normal = gateway.get("/normal").header("x-class", "what").at(0).waits();
    let high = gateway.get("/high").header("x-class", "HIGH").at(0).waits();
    gateway.goes_away(first, 0);
    let high = decided(&mut gateway, high, 0).left();
    gateway.goes_away(high, 0);
    let normal = decided(&mut gateway, normal, 0).left();
    gateway.goes_away(normal, 0);
    let low = decided(&mut gateway, low, 0).left();
    gateway.goes_away(low, 0);
}

#[test]
fn a_rule_that_only_watches_refuses_nothing() {
    let mut gateway = gateway(NOBODY_WAITS, r#","shadow":true"#);
    let first = gateway.get("/a").at(0).leaves();
    let second = gateway.get("/b").at(0).leaves();
    gateway.answers(first, 1, fresh_for(60)).stored();
    gateway.answers(second, 1, fresh_for(60)).stored();
    assert_eq!((counted(&mut gateway, "went"), counted(&mut gateway, "shadow")), (1, 1));
}

#[test]
fn every_way_to_the_origin_goes_through_the_pool() {
    let mut gateway = gateway(NOBODY_WAITS, "");
    let busy = gateway.get("/a").at(0).leaves();
    gateway.post("/a").chunk("x").at(0).answered().status(503);
    gateway.get("/a?x").header("cache-control", "no-store").at(0).answered().status(503);
    gateway.request("OPTIONS", "/a").at(0).answered().status(503);
    gateway.answers(busy, 1, origin(200).header("cache-control", "no-store"));
    // Known not to be storable, so that nothing of its response is read.
    let known = gateway.get("/a").at(1).leaves();
    gateway.get("/b").at(1).answered().status(503);
    gateway.goes_away(known, 2);
    let next = gateway.get("/b").at(2).leaves();
    gateway.goes_away(next, 3);
}

#[test]
pub fn every_kind_of_request_waits_and_goes_on_as_it_would_have() {
    let mut gateway = Gateway::with(
        r#"{"pools":[{"name":"api","fixed":1}],"remote":{"enabled":true},"rules":[
            {"name":"silent","match":{"paths":["/silent"]},"bypass":true,"cache_status":"off"},
            {"name":"body","remote":false,"match":{"paths":["/body"]},"key":{"body":{"methods":["POST"]}}}],
            "defaults":{"admission":{"pool":"api"}}}"#,
    );
    let mut unstorable = gateway.get("/known").at(0).leaves();
    unstorable = gateway.answers_later(unstorable, 0, origin(200).header("cache-control", "no-store"));
    let busy = unstorable;
    let silent = gateway.get("/silent").at(1).waits();
    let known = gateway.get("/known").at(1).waits();
    let body = gateway.post("/body").chunk("{}").at(1).waits();
    let asks = gateway.get("/asks").at(1).asks();
    let asks = gateway.remote_answers(asks, 1).waiting();
    let mut held = body;
    gateway.more_comes(&mut held, 1);
    gateway.goes_away(busy, 1);
    for waiter in [silent, known, held, asks] {
        let flight = decided(&mut gateway, waiter, 1).left();
        gateway.goes_away(flight, 1);
    }
    gateway.assert_no_room_is_taken();
}

#[test]
pub fn those_who_wait_for_a_fetch_that_is_refused_are_refused_or_served_stale() {
    let mut gateway = gateway(ONE_WAITS, "");
    let busy = gateway.get("/a").at(0).leaves();
    let leader = gateway.get("/b").at(0).waits();
    let follower = gateway.get("/b").at(0).waits();
    at(&mut gateway, 10_000);
    decided(&mut gateway, leader, 10).answered().status(503);
    assert!(gateway.is_woken(0, &follower));
    // It leads now, and waits for a place by itself.
    let follower = gateway.wakes(follower, Wake::Ended, 10).waiting();
    at(&mut gateway, 20_000);
    decided(&mut gateway, follower, 20).answered().status(503);
    gateway.goes_away(busy, 20);
    gateway.assert_nobody_waits();
}

#[test]
fn the_caches_own_requests_take_only_what_is_free() {
    let mut gateway = Gateway::with(
        r#"{"pools":[{"name":"api","fixed":1,"queue":{"wait":{"normal":"10s"}}}],"defaults":{"admission":{"pool":"api"},
            "stale":{"while_revalidate":"1h"},"refresh":{"cluster":"origin","timeout":"10s"}}}"#,
    );
    gateway.get("/a").at(0).miss(fresh_for(10).body("old")).stored();
    let busy = gateway.get("/b").at(20).leaves();
    gateway.get("/a").at(20).hit().content("old");
    gateway.refreshes_nothing(0, 20);
    gateway.goes_away(busy, 21);
    let refresh = gateway.refreshes(0, 21);
    let second = gateway.get("/b").at(21).waits();
    gateway.renews(0, refresh, 22, fresh_for(10).body("new"));
    let second = decided(&mut gateway, second, 22).left();
    gateway.goes_away(second, 22);
    gateway.get("/a").at(23).hit().content("new");
}

#[test]
fn workers_share_a_limit() {
    let config = r#"{"pools":[{"name":"api","fixed":4,"queue":{"requests":9}}],"defaults":{"admission":{"pool":"api"}}}"#;
    let mut gateway = Gateway::of_workers(2, config);
    let mut flights = Vec::new();
    let mut waiters = 0;
    for nth in 0..8 {
        let path = format!("/{nth}");
        match gateway.get(&path).worker(nth % 2).at_millis(nth as u64 * 100).send() {
            Sent::Left(flight) => flights.push(flight),
            Sent::Waits(_) => waiters += 1,
            Sent::Answered(answer) => panic!("{answer:?}"),
            Sent::Calls(_) => panic!("it is asked for by a call"),
        }
    }
    assert!(flights.len() <= 4, "{} are at the origin", flights.len());
    assert!(flights.len() >= 3 && waiters >= 4, "{} at the origin, {waiters} wait", flights.len());
}

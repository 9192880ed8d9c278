//! Nothing grows past its bound.

use selvage_engine::cache::Cache;
use selvage_engine::exchange::Wake;

use crate::gateway::{Gateway, fresh_for, moment};

#[test]
fn a_response_larger_than_an_object_may_be_passes_through() {
    let config = r#"{"worker":{"object_bytes":"1KiB"},"node":{"object_bytes":"2KiB"}}"#;
    let mut gateway = Gateway::with(config);
    let told = fresh_for(60).header("content-length", "2049").body([b'x'; 2049]);
    gateway.get("/a").at(0).miss(told).not_stored("too-large").content([b'x'; 2049]);
    gateway.get("/b").at(0).miss(fresh_for(60).body([b'x'; 1500]).body([b'x'; 1500])).content([b'x'; 3000]);
    assert_eq!(gateway.counted(0, "event", "outgrown"), 1);
    gateway.get("/b").at(1).miss(fresh_for(60).body("x"));
    // Too large for the worker, but not for the node.
    gateway.get("/c").at(0).miss(fresh_for(60).body([b'x'; 1500]));
    gateway.get("/c").at(1).hit().detail("node");
    gateway.get("/c").at(2).hit().detail("node");
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_head_of_more_lines_than_envoy_takes_back_passes_through() {
    let with = |lines: usize| (0..lines).fold(fresh_for(60), |origin, _| origin.header("x-line", "1"));
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(with(800).body("x")).not_stored("too-large");
    gateway.get("/b").at(0).miss(with(700).body("x")).stored();
    gateway.get("/b").at(1).hit().content("x");
}

#[test]
fn bodies_that_are_being_stored_share_one_budget() {
    let mut gateway = Gateway::with(r#"{"worker":{"filling_bytes":"64KiB"}}"#);
    let half = || fresh_for(60).header("content-length", "40000").body(vec![b'x'; 40_000]);
    let first = gateway.get("/a").at(0).leaves();
    let mut first_exchange = first.exchange;
    let head = crate::gateway::block(&[
        (":status", "200"),
        ("cache-control", "max-age=60"),
        ("content-length", "40000"),
    ]);
    let head = selvage_engine::fields::Fields::parse(&head).unwrap();
    use selvage_engine::exchange::Event;
    gateway.feed(0, &mut first_exchange, 0, Event::Response { head, end_of_stream: false });
    gateway.get("/b").at(1).miss(half()).not_stored("filling-limit").content(vec![b'x'; 40_000]);
    // One that did not say its length finds out on the way.
    let untold = fresh_for(60).body(vec![b'x'; 20_000]).body(vec![b'x'; 20_000]);
    gateway.get("/c").at(1).miss(untold).content(vec![b'x'; 40_000]);
    assert_eq!(gateway.counted(0, "event", "filling-limit"), 1);
    gateway.feed(0, &mut first_exchange, 2000, Event::Ended);
    gateway.assert_no_room_is_taken();
    gateway.get("/b").at(3).miss(half()).stored();
    gateway.assert_no_room_is_taken();
    gateway.get("/b").at(4).hit();
}

#[test]
fn room_is_given_back_however_a_response_ends() {
    for response in [
        fresh_for(60).body("x"),
        fresh_for(60).body("x").cut(),
        fresh_for(60).body("x").trailers(),
        fresh_for(60).header("content-length", "50000").body("x"),
        fresh_for(60).header("content-length", "50000").body("x").cut(),
        fresh_for(60).header("content-length", "1").body("xy"),
        fresh_for(60).header("content-length", "50000"),
    ] {
        let mut gateway = Gateway::with(r#"{"worker":{"filling_bytes":"64KiB"}}"#);
        gateway.get("/a").miss(response);
        gateway.assert_no_room_is_taken();
    }
}

#[test]
fn room_is_given_back_when_an_event_comes_that_nobody_expects() {
    use selvage_engine::exchange::Event;
    let mut gateway = Gateway::with("{}");
    let head = crate::gateway::block(&[
        (":status", "200"),
        ("cache-control", "max-age=60"),
        ("content-length", "40000"),
    ]);
    let head = selvage_engine::fields::Fields::parse(&head).unwrap();
    for stray in [
        Event::RequestBody { chunk: b"x", end_of_stream: true },
        Event::Response { head, end_of_stream: true },
        Event::Request { head: Vec::new(), end_of_stream: true },
    ] {
        let mut exchange = gateway.get("/a").at(0).leaves().exchange;
        gateway.feed(0, &mut exchange, 0, Event::Response { head, end_of_stream: false });
        gateway.feed(0, &mut exchange, 0, stray);
        gateway.feed(0, &mut exchange, 0, Event::Ended);
        gateway.assert_no_room_is_taken();
    }
}

#[test]
fn stores_stay_within_their_budgets() {
    let mut gateway = Gateway::of_workers(
        2,
        r#"{"worker":{"bytes":"256KiB","entries":100},"node":{"bytes":"512KiB","buckets":16}}"#,
    );
    for n in 0..2000 {
        let path = format!("/{n}");
        gateway.get(&path).worker(n % 2).at(n as u64).forwarded(fresh_for(86_400).body(vec![b'x'; 2000]));
        let (entries, bytes) = gateway.workers[n % 2].worker_usage();
        assert!(entries <= 100 && bytes <= 256 << 10, "{entries} entries, {bytes} bytes");
        assert!(gateway.shared.bytes() <= 512 << 10, "{} bytes", gateway.shared.bytes());
    }
    let (entries, _) = gateway.workers[0].worker_usage();
    assert!(entries > 50, "{entries}");
    gateway.assert_no_room_is_taken();
}

#[test]
fn past_the_bytes_that_may_wait_requests_go_to_the_origin_at_once_and_keep_nothing() {
    for config in [
        r#"{"worker":{"waiting_bytes":"64KiB"}}"#,
        r#"{"worker":{"waiting_bytes":"64KiB"},"defaults":{"shadow":true}}"#,
    ] {
        let mut gateway = Gateway::with(config);
        gateway.get("/hot").at(0).miss(fresh_for(60).body("hot"));
        let large = "x".repeat(20_000);
        let ask = |gateway: &mut Gateway, n: usize| {
            gateway.get(&format!("/{n}")).header("x-large", &large).at(1).leaves()
        };
        let flights: Vec<_> = (0..8).map(|n| ask(&mut gateway, n)).collect();
        let kept = gateway.workers[0].waiting_bytes();
        assert!((60_000..=64 << 10).contains(&kept), "{kept} bytes");
        let passed = |answer: &str| answer.contains("detail=waiting-limit");
        let answers = flights
            .into_iter()
            .map(|flight| gateway.answers(flight, 2, fresh_for(60).body("cold")).cache_status());
        assert_eq!(answers.filter(|answer| passed(answer)).count(), 5);
        assert_eq!(gateway.workers[0].waiting_bytes(), 0);
        // What is stored is served whatever waits.
        let _waits = ask(&mut gateway, 9);
        if !config.contains("shadow") {
            gateway.get("/hot").header("x-large", &large).at(3).hit();
        }
    }
}

#[test]
fn a_body_for_a_key_keeps_no_more_than_there_is_room_for() {
    let config = r#"{"worker":{"waiting_bytes":"64KiB"},
        "defaults":{"key":{"body":{"methods":["POST"],"inline_bytes":"64KiB","max_bytes":"1MiB"}}}}"#;
    let mut gateway = Gateway::with(config);
    let ask = |bytes: usize| vec![b'x'; bytes];
    // Its first part fills half of the room: what follows has that of its own.
    gateway.post("/q").chunk(ask(30_000)).chunk("end").at(0).miss(fresh_for(60).body("answer")).stored();
    gateway.post("/q").chunk(ask(30_000)).chunk("end").at(1).hit();
    let passes = gateway.post("/q").chunk(ask(50_000)).chunk("end").at(1).forwarded(fresh_for(60));
    passes.says("fwd=bypass").detail("waiting-limit");
    assert_eq!(gateway.workers[0].waiting_bytes(), 0);
}

#[test]
fn those_who_wait_for_one_fetch_stay_when_the_bytes_are_used_up() {
    let mut gateway = Gateway::with(r#"{"worker":{"waiting_bytes":"64KiB"}}"#);
    let large = "x".repeat(20_000);
    let leader = gateway.get("/a").header("x-large", &large).at(0).leaves();
    let waiters: Vec<_> = (0..2).map(|_| gateway.get("/a").header("x-large", &large).at(0).waits()).collect();
    let passing = gateway.get("/a").header("x-large", &large).at(0).leaves();
    gateway.answers(passing, 1, fresh_for(60).body("b")).detail("waiting-limit");
    // Its client has gone: one of them leads, and the other waits on.
    gateway.goes_away(leader, 1);
    let mut waiters = waiters.into_iter();
    let next = gateway.wakes(waiters.next().unwrap(), Wake::Ended, 1).left();
    let last = gateway.wakes(waiters.next().unwrap(), Wake::Ended, 1).waiting();
    gateway.answers(next, 2, fresh_for(60).body("a")).says("stored");
    gateway.wakes(last, Wake::Ended, 2).answered().content("a").says("collapsed");
    assert_eq!(gateway.workers[0].waiting_bytes(), 0);
}

#[test]
fn bodies_that_hardly_grow_do_not_keep_the_room_from_others() {
    let mut gateway = Gateway::with(r#"{"worker":{"filling_bytes":"1MiB"}}"#);
    let cache = &mut gateway.workers[0];
    let chunk = [b'x'; 100 << 10];
    let begin = |cache: &mut Cache, millis| {
        let body = cache.begin_body_of(0, moment(millis)).unwrap();
        assert!(cache.grow_body(&body, &chunk, moment(millis)));
        body
    };
    let unread: Vec<_> = (0..8).map(|_| begin(cache, 0)).collect();
    let read = begin(cache, 0);
    assert!(cache.grow_body(&read, &chunk[..90 << 10], moment(14_000)));
    // There is no room, and none of them has stood still for long.
    let late = cache.begin_body_of(0, moment(14_500)).unwrap();
    assert!(!cache.grow_body(&late, &chunk, moment(14_500)));
    // One byte now and then is not progress.
    assert!(cache.grow_body(&unread[0], b"x", moment(14_900)));
    assert!(cache.grow_body(&late, &chunk, moment(15_000)));
    assert!(unread.iter().all(|body| body.has_ended() && body.is_empty()) && !read.has_ended());
    assert_eq!(cache.filling_bytes(), 290 << 10);
    assert!(!cache.grow_body(&unread[0], &chunk, moment(15_000)));
    assert_eq!(late.finish().len(), chunk.len());
    drop((unread, read));
    assert_eq!((cache.filling_bytes(), gateway.counted(0, "event", "stalled")), (0, 8));
}

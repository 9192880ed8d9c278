//! Limits that count for the fleet: a request that waits for Redis goes on as it would have.

use selvage_engine::cache::Moment;
use selvage_engine::exchange::{Directive, Event, Exchange, RemoteAnswer, Wake};
use selvage_engine::fields::Fields;
use selvage_engine::limits::NoAnswer;
use selvage_engine::limits::lease::LeaseAnswer;

use crate::gateway::{Gateway, block, fresh_for, moment, origin};

/// A limit of its own for each path.
fn gateway(limit: &str, defaults: &str, more: &str) -> Gateway {
    Gateway::with(&format!(
        r#"{{"remote":{{"enabled":true}},
            "limits":[{{"name":"fleet","by":["path"],"quota":100,"window":"1s","burst":20,"scope":"fleet"{limit}}}],
            "defaults":{{"limits":["fleet"],"key":{{"body":{{"methods":["QUERY"]}}}}{defaults}}}{more}}}"#
    ))
}

const OPEN: &str = r#","on_failure":"open""#;

/// Redis answers what is asked, with so many tokens, or not at all. Gives how often it was asked.
fn answers(gateway: &mut Gateway, granted: Option<u32>, millis: u64) -> usize {
    let mut asked = 0;
    while let Some(request) = gateway.workers[0].next_lease() {
        asked += 1;
        let text = |granted: u32| format!("{granted} 1000 1 7 9 {:x}", request.question);
        let answer = granted.and_then(|granted| LeaseAnswer::read(text(granted).as_bytes(), &request));
        let mut moment = Moment { now: moment(millis), host: &mut gateway.shared };
        gateway.workers[0].lease_answered(&request, answer.ok_or(NoAnswer::NotAsked), &mut moment);
    }
    gateway.workers[0].take_decided_leases();
    asked
}

#[test]
fn who_waited_is_admitted_or_refused_as_redis_says_and_told_what_is_left() {
    let mut gateway = gateway("", r#","bypass":true"#, "");
    let waiter = gateway.get("/a").at(0).waits();
    assert_eq!(answers(&mut gateway, Some(3), 0), 1);
    let flight = gateway.wakes(waiter, Wake::Slot, 0).left();
    let answer = gateway.answers(flight, 0, origin(200));
    assert_eq!(answer.value("ratelimit").as_deref(), Some("\"fleet\";r=11;t=1"));
    // Two more are in stock.
    for _ in 0..2 {
        gateway.get("/a").at(0).forwarded(origin(200));
    }
    let waiter = gateway.get("/b").at(0).waits();
    assert!(answers(&mut gateway, Some(0), 0) > 0);
    let answer = gateway.wakes(waiter, Wake::Slot, 0).answered();
    answer.status(429).detail("limited").has("retry-after", "1");
    assert_eq!(gateway.counted(0, "detail", "limited"), 1);
    gateway.assert_no_room_is_taken();
}

#[test]
fn where_nothing_passes_uncounted_it_is_503_without_redis() {
    let mut gateway = gateway(r#","on_failure":"closed""#, r#","bypass":true"#, "");
    let waiter = gateway.get("/a").at(0).waits();
    answers(&mut gateway, None, 0);
    let answer = gateway.wakes(waiter, Wake::Slot, 0).answered().status(503).detail("limited");
    answer.has("retry-after", "1").lacks("ratelimit");
}

#[test]
fn what_a_store_can_answer_asks_nobody_where_only_the_rest_counts() {
    let mut gateway = gateway(r#","counts":"forwarded""#, r#","coalesce":{"fleet":false}"#, "");
    let waiter = gateway.get("/a").at(0).asks();
    let waiter = gateway.remote_answers(waiter, 0).waiting();
    assert_eq!(answers(&mut gateway, Some(1), 0), 1);
    let flight = gateway.wakes(waiter, Wake::Slot, 0).left();
    gateway.answers(flight, 0, fresh_for(60)).stored();
    gateway.get("/a").at(1).hit();
    assert_eq!(answers(&mut gateway, Some(1), 1_000), 0);
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_client_that_leaves_while_it_waits_leaves_nothing_behind() {
    for counts in ["requests", "forwarded"] {
        let mut gateway = gateway(&format!(r#","counts":"{counts}""#), r#","bypass":true"#, "");
        let waiter = gateway.get("/a").at(0).waits();
        assert!(gateway.workers[0].has_waiting_leases());
        gateway.goes_away(waiter, 0);
        assert!(!gateway.workers[0].has_waiting_leases());
        answers(&mut gateway, Some(1), 0);
        assert!(!gateway.workers[0].has_decided_leases());
        gateway.assert_no_room_is_taken();
    }
}

fn begin(gateway: &mut Gateway, method: &str, path: &str, end_of_stream: bool) -> Exchange {
    let fields = [(":method", method), (":scheme", "https"), (":authority", "example.com"), (":path", path)];
    let mut exchange = Exchange::new();
    let head = block(&fields);
    gateway.feed(0, &mut exchange, 60_000, Event::Request { head, end_of_stream });
    exchange
}

fn wake(gateway: &mut Gateway, exchange: &mut Exchange) -> Directive {
    gateway.feed(0, exchange, 60_000, Event::Woken(Wake::Slot))
}

#[test]
pub fn every_kind_of_request_waits_and_goes_on_as_it_would_have() {
    const BODY: Event<'static> = Event::RequestBody { chunk: b"q", end_of_stream: true };
    let rules = r#","rules":[{"name":"out","match":{"paths":["/out"]},"bypass":true},
        {"name":"off","match":{"paths":["/off"]},"bypass":true,"cache_status":"off","tags":{"strip":false}}]"#;
    let mut gateway = gateway(OPEN, "", rules);
    let mut kinds: Vec<Exchange> = [("POST", "/a", false), ("GET", "/out", true), ("GET", "/off", true)]
        .into_iter()
        .chain([("QUERY", "/q", false), ("GET", "/b", true), ("GET", "/b", true), ("GET", "/gone", true)])
        .map(|(method, path, is_all)| begin(&mut gateway, method, path, is_all))
        .collect();
    assert!(kinds.iter().all(Exchange::awaits_lease));
    gateway.feed(0, &mut kinds[3], 60_000, BODY);
    // Nothing is known yet: it waits on.
    wake(&mut gateway, &mut kinds[0]);
    assert!(kinds[0].awaits_lease());
    gateway.feed(0, &mut kinds[6], 60_000, Event::Ended);
    answers(&mut gateway, None, 60_000);
    let states: Vec<&str> = kinds
        .iter_mut()
        .take(6)
        .map(|exchange| {
            wake(&mut gateway, exchange);
            exchange.state_name()
        })
        .collect();
    assert_eq!(states, ["forwarding", "passing", "relaying", "awaiting body", "looking up", "waiting"]);
    where_nothing_passes_uncounted_it_is_503_without_redis();
}

#[test]
pub fn what_goes_to_the_origin_waits_wherever_it_comes_from() {
    let mut gateway =
        gateway(r#","on_failure":"open","counts":"forwarded""#, r#","coalesce":{"fleet":false}"#, "");
    let mut leader = begin(&mut gateway, "GET", "/a", true);
    let mut waits = begin(&mut gateway, "GET", "/a", true);
    gateway.feed(0, &mut leader, 60_000, Event::Remote(RemoteAnswer::Nothing));
    assert!(leader.awaits_lease());
    answers(&mut gateway, None, 60_000);
    wake(&mut gateway, &mut leader);
    assert_eq!((leader.state_name(), waits.state_name()), ("forwarding", "waiting"));
    let head = block(&[(":status", "200"), ("cache-control", "no-store")]);
    let unstorable = Event::Response { head: Fields::parse(&head).unwrap(), end_of_stream: false };
    gateway.feed(0, &mut leader, 60_000, unstorable);
    gateway.feed(0, &mut waits, 61_000, Event::Woken(Wake::Ended));
    assert!(waits.awaits_lease());
    gateway.feed(0, &mut waits, 61_000, Event::Ended);
    // Its body is too long to be part of a key.
    let mut long = begin(&mut gateway, "QUERY", "/q", false);
    let chunk = vec![b'q'; 2 << 20];
    gateway.feed(0, &mut long, 60_000, Event::RequestBody { chunk: &chunk, end_of_stream: false });
    assert!(long.awaits_lease());
}

#[cfg(feature = "pools")]
#[test]
pub fn a_place_at_the_origin_is_waited_for_after_that() {
    let pool = r#","pools":[{"name":"p","fixed":1,"queue":{"wait":{"normal":"10s"}}}]"#;
    let mut gateway = gateway(OPEN, r#","admission":{"pool":"p"}"#, pool);
    let mut both = ["/a", "/b"].map(|path| begin(&mut gateway, "POST", path, false));
    answers(&mut gateway, None, 60_000);
    let states = both.each_mut().map(|exchange| {
        wake(&mut gateway, exchange);
        exchange.state_name()
    });
    assert_eq!(states, ["forwarding", "queued"]);
}

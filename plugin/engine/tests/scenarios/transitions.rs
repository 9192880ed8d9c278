//! Walks the table of transitions that stands in `exchange.rs`, every row of it.

use selvage_engine::exchange::{Directive, Event, Exchange, Fetched, RemoteAnswer, RequestEdit, Wake};
use selvage_engine::fields::Fields;
use selvage_engine::purge::admin_auth::AdminAuth;

use crate::gateway::{Gateway, block, fresh_for};
use crate::walked::{Step, not_walked};

const CONFIG: &str = r#"{"worker":{"object_bytes":"1KiB"},"node":{"bytes":0},
    "defaults":{"stale":{"if_error":"1h"},"key":{"body":{"methods":["QUERY"]}}},
    "rules":[{"name":"out","match":{"paths":["/out"]},"bypass":true}]}"#;

/// What can be seen of a state from outside.
#[derive(Debug, PartialEq)]
enum Seen {
    Start,
    AwaitingBody,
    Storing,
    /// Relaying or finished.
    Over,
}

fn seen(exchange: &Exchange) -> Seen {
    match (exchange.awaits_request_body(), exchange.wants_body(), exchange.is_over()) {
        (true, false, false) => Seen::AwaitingBody,
        (false, true, false) => Seen::Storing,
        (false, false, true) => Seen::Over,
        (false, false, false) => Seen::Start,
        other => panic!("two states at once: {other:?}"),
    }
}

struct Walk {
    gateway: Gateway,
    exchange: Exchange,
    second: u64,
}

/// A gateway on which "/fresh" is fresh and "/stale" has been stale for ten seconds, with a validator.
fn walk() -> Walk {
    let mut gateway = Gateway::with(CONFIG);
    for path in ["/fresh", "/stale"] {
        let seconds = if path == "/fresh" { 600 } else { 10 };
        gateway.get(path).at(0).miss(fresh_for(seconds).header("etag", "\"1\"").body("old"));
        let response = fresh_for(seconds).header("etag", "\"1\"").body("old");
        gateway.request("QUERY", path).chunk("q").at(0).miss(response);
    }
    Walk { gateway, exchange: Exchange::new(), second: 20 }
}

impl Walk {
    fn on(&mut self, event: Event<'_>) -> Directive {
        self.gateway.feed(0, &mut self.exchange, self.second * 1000, event)
    }

    fn request(&mut self, method: &str, path: &str, end_of_stream: bool) -> Directive {
        let head =
            [(":method", method), (":scheme", "https"), (":authority", "example.com"), (":path", path)];
        self.on(Event::Request { head: block(&head), end_of_stream })
    }

    fn response(&mut self, status: &str, cache_control: &str, end_of_stream: bool) -> Directive {
        let head = block(&[(":status", status), ("cache-control", cache_control)]);
        self.on(Event::Response { head: Fields::parse(&head).unwrap(), end_of_stream })
    }

    #[track_caller]
    fn is(&self, state: Seen) {
        assert_eq!(seen(&self.exchange), state);
    }
}

/// Whether a directive is to forward, with conditions or without.
fn forwards(directive: &Directive, conditional: bool) -> bool {
    matches!(directive, Directive::Forward(edits)
        if conditional == edits.iter().any(|edit| matches!(edit, RequestEdit::Set("if-none-match" | "if-modified-since", _))))
}

fn relays(directive: &Directive) -> bool {
    matches!(directive, Directive::Relay { cache_status: Some(_), .. })
}

fn responds(directive: &Directive) -> bool {
    matches!(directive, Directive::Respond(reply) if reply.content() == b"old")
}

#[test]
fn start_a_request_the_cache_stays_out_of_is_forwarded() {
    for (method, path) in [("GET", "/out"), ("POST", "/fresh"), ("OPTIONS", "/fresh"), ("GET", "/a\\b")] {
        let mut walk = walk();
        walk.is(Seen::Start);
        assert!(forwards(&walk.request(method, path, true), false));
        assert!(relays(&walk.response("200", "max-age=60", false)));
        walk.is(Seen::Over);
    }
}

#[test]
fn start_a_request_keyed_by_its_body_waits_for_it() {
    let mut walk = walk();
    assert_eq!(walk.request("QUERY", "/absent", false), Directive::AwaitBody);
    walk.is(Seen::AwaitingBody);
    assert_eq!(walk.on(Event::RequestBody { chunk: b"q", end_of_stream: false }), Directive::AwaitBody);
    walk.is(Seen::AwaitingBody);
}

#[test]
fn start_and_awaiting_body_fresh_is_responded() {
    let mut walk = walk();
    assert!(responds(&walk.request("GET", "/fresh", true)));
    walk.is(Seen::Over);
    walk.exchange = Exchange::new();
    walk.request("QUERY", "/fresh", false);
    assert!(responds(&walk.on(Event::RequestBody { chunk: b"q", end_of_stream: true })));
    walk.is(Seen::Over);
}

#[test]
fn start_and_awaiting_body_stale_is_forwarded_with_conditions() {
    let mut walk = walk();
    assert!(forwards(&walk.request("GET", "/stale", true), true));
    walk.exchange = Exchange::new();
    walk.request("QUERY", "/stale", false);
    assert!(forwards(&walk.on(Event::RequestBody { chunk: b"q", end_of_stream: true }), true));
}

#[test]
fn start_and_awaiting_body_absent_is_forwarded() {
    let mut walk = walk();
    assert!(forwards(&walk.request("GET", "/absent", true), false));
    walk.exchange = Exchange::new();
    walk.request("QUERY", "/absent", false);
    assert!(forwards(&walk.on(Event::RequestBody { chunk: b"q", end_of_stream: true }), false));
}

#[test]
fn forwarding_a_304_or_an_error_is_responded_to() {
    for status in ["304", "503"] {
        let mut walk = walk();
        walk.request("GET", "/stale", true);
        assert!(responds(&walk.response(status, "max-age=60", true)), "{status}");
        walk.is(Seen::Over);
    }
}

#[test]
fn forwarding_storable_or_not_is_relayed() {
    for (cache_control, then) in [("max-age=60", Seen::Storing), ("no-store", Seen::Over)] {
        let mut walk = walk();
        walk.request("GET", "/absent", true);
        assert!(relays(&walk.response("200", cache_control, false)));
        walk.is(then);
    }
}

#[test]
fn storing_the_end_of_the_response_stores_it() {
    let ends: &[fn(&mut Walk) -> Directive] = &[
        |walk| walk.on(Event::Body { chunk: b"old", end_of_stream: true }),
        |walk| {
            walk.on(Event::Body { chunk: b"old", end_of_stream: false });
            walk.on(Event::Trailers)
        },
        |walk| {
            walk.on(Event::Body { chunk: b"old", end_of_stream: false });
            walk.on(Event::Body { chunk: b"", end_of_stream: true })
        },
    ];
    for end in ends {
        let mut walk = walk();
        walk.request("GET", "/absent", true);
        walk.response("200", "max-age=60", false);
        assert_eq!(end(&mut walk), Directive::Pass);
        walk.is(Seen::Over);
        walk.second = 21;
        walk.exchange = Exchange::new();
        assert!(responds(&walk.request("GET", "/absent", true)));
    }
}

#[test]
fn storing_abandoned_or_too_large_or_too_short_is_relayed() {
    let ends: &[fn(&mut Walk)] = &[
        |walk| {
            walk.on(Event::Ended);
        },
        |walk| {
            assert_eq!(walk.on(Event::Body { chunk: &[b'x'; 2000], end_of_stream: false }), Directive::Pass);
        },
    ];
    for end in ends {
        let mut walk = walk();
        walk.request("GET", "/absent", true);
        walk.response("200", "max-age=60", false);
        end(&mut walk);
        walk.is(Seen::Over);
        walk.gateway.assert_no_room_is_taken();
        walk.exchange = Exchange::new();
        assert!(forwards(&walk.request("GET", "/absent", true), false));
    }
    let mut walk = walk();
    walk.request("GET", "/absent", true);
    let head = block(&[(":status", "200"), ("cache-control", "max-age=60"), ("content-length", "4")]);
    walk.on(Event::Response { head: Fields::parse(&head).unwrap(), end_of_stream: false });
    walk.on(Event::Body { chunk: b"old", end_of_stream: true });
    walk.is(Seen::Over);
    walk.exchange = Exchange::new();
    assert!(forwards(&walk.request("GET", "/absent", true), false));
}

#[test]
fn an_event_outside_the_table_passes_and_is_counted() {
    let mut walk = walk();
    assert_eq!(walk.on(Event::Trailers), Directive::Pass);
    walk.is(Seen::Over);
    assert_eq!(walk.gateway.counted(0, "event", "unexpected"), 1);
    assert_eq!(walk.request("GET", "/fresh", true), Directive::Pass);
    assert_eq!(walk.gateway.counted(0, "event", "unexpected"), 1, "what is over expects anything");
}

/// Every scenario keeps to the table; these together leave no row of it out.
#[test]
fn every_row_of_the_table_is_walked() {
    crate::order::any_plausible_order_of_events_is_survived_and_leaks_no_room();
    crate::batch_jobs::what_redis_cannot_take_is_answered_at_once_if_that_is_wanted();
    crate::batches::parts_are_answered_as_requests_of_their_own_and_in_their_order();
    crate::batches::what_is_no_batch_is_refused_and_asks_for_nothing();
    crate::batches::whatever_comes_a_batch_goes_to_no_origin();
    crate::embeddings::whatever_a_request_has_waited_for_it_is_called_for_after_that();
    crate::embeddings::who_was_asked_with_others_in_vain_goes_by_itself();
    crate::embeddings::single_requests_are_asked_as_one_and_each_gets_its_own();
    crate::embeddings::what_is_known_is_not_asked_for_again();
    crate::embeddings::after_a_call_that_failed_there_are_none_for_a_while();
    crate::sessions::jobs_belong_to_who_has_the_session();
    crate::jobs::every_kind_of_request_goes_on_as_it_would_have();
    crate::jobs::what_redis_does_not_say_is_503_and_what_it_was_not_asked_goes_on();
    crate::jobs::events_that_nobody_expects_change_nothing();
    crate::leasing::every_kind_of_request_waits_and_goes_on_as_it_would_have();
    crate::leasing::what_goes_to_the_origin_waits_wherever_it_comes_from();
    crate::leasing::a_place_at_the_origin_is_waited_for_after_that();
    crate::llm_fallback::what_brings_nothing_better_leaves_the_failure_as_it_came();
    crate::llm_usage::bodies_are_read_wherever_the_cache_stays_out();
    crate::llm::what_is_not_complete_is_not_stored_though_its_framing_is_whole();
    crate::pooled::every_kind_of_request_waits_and_goes_on_as_it_would_have();
    crate::pooled::those_who_wait_for_a_fetch_that_is_refused_are_refused_or_served_stale();
    crate::pooled::a_client_that_leaves_while_it_waits_leaves_nothing_behind();
    crate::purging::a_body_that_cannot_be_read_purges_nothing();
    crate::purging::records_of_the_fleet_that_are_older_than_a_purge_are_not_used_and_the_clocks_get_some_slack();
    crate::coalescing::what_is_not_storable_is_known_to_the_fleet();
    crate::remote::an_index_does_not_outlast_an_invalidation_while_its_variant_is_asked_for();
    crate::remote::variants_that_are_too_large_to_keep_are_given_to_those_who_wait_for_the_same();
    crate::uploads::what_has_passed_goes_on_as_it_would_have_without();
    crate::uploads::what_comes_later_is_refused_wherever_the_request_is();
    crate::uploads::clients_that_leave_leave_nothing_behind();
    crate::uploads::a_head_that_cannot_wait_goes_before_its_body();
    crate::sessions::every_kind_of_request_waits_and_goes_on_as_it_would_have();
    crate::shadow_comparisons::of_a_herd_one_asks_the_remote_store();
    crate::shadowing::what_cannot_be_compared_is_no_mismatch();
    crate::validating::what_a_304_confirms_and_is_not_there_is_asked_for_in_full();
    walk_what_seldom_happens();
    assert_eq!(not_walked(), [] as [Step; 0]);
}

/// Steps that come of no journey: a body that goes on while its request waits, a stream that goes away.
fn walk_what_seldom_happens() {
    const BODY: Event<'static> = Event::RequestBody { chunk: b"q", end_of_stream: true };
    let head = |method: &str, path: &str| {
        block(&[(":method", method), (":scheme", "https"), (":authority", "example.com"), (":path", path)])
    };
    let response = |fields: &[(&str, &str)]| block(&[&[(":status", "200")], fields].concat());
    let start = |config: &str| {
        let mut gateway = Gateway::with(config);
        gateway.workers[0].set_admin_auth(AdminAuth::Open);
        gateway
    };
    let begin = |gateway: &mut Gateway, method: &str, path: &str, end_of_stream: bool| {
        let mut exchange = Exchange::new();
        gateway.feed(0, &mut exchange, 60_000, Event::Request { head: head(method, path), end_of_stream });
        exchange
    };

    let keyed = r#"{"defaults":{"key":{"body":{"methods":["QUERY"]}}}}"#;
    let gateway = &mut start(keyed);
    let mut leader = begin(gateway, "QUERY", "/a", false);
    gateway.feed(0, &mut leader, 60_000, BODY);
    let mut waits = begin(gateway, "QUERY", "/a", false);
    gateway.feed(0, &mut waits, 60_000, BODY);
    gateway.feed(0, &mut waits, 60_000, BODY);
    let head_of = response(&[("cache-control", "max-age=60")]);
    let storable = || Event::Response { head: Fields::parse(&head_of).unwrap(), end_of_stream: false };
    gateway.feed(0, &mut leader, 60_000, storable());
    gateway.feed(0, &mut leader, 60_000, BODY);

    let silent = r#"{"defaults":{"cache_status":"off","tags":{"strip":false}},
        "rules":[{"name":"out","match":{"paths":["/out"]},"bypass":true}]}"#;
    let gateway = &mut start(silent);
    begin(gateway, "GET", "/out", true);
    let mut leader = begin(gateway, "GET", "/a", true);
    let mut waits = begin(gateway, "GET", "/a", true);
    let head_of = response(&[("cache-control", "no-store")]);
    let unstorable = Event::Response { head: Fields::parse(&head_of).unwrap(), end_of_stream: false };
    gateway.feed(0, &mut leader, 60_000, unstorable);
    gateway.feed(0, &mut waits, 60_000, Event::Woken(Wake::Ended));

    let fleet = r#"{"remote":{"enabled":true},"defaults":{"key":{"body":{"methods":["QUERY"]}}}}"#;
    let gateway = &mut start(fleet);
    let mut asks = begin(gateway, "QUERY", "/a", false);
    gateway.feed(0, &mut asks, 60_000, BODY);
    gateway.feed(0, &mut asks, 60_000, BODY);
    let mut waits = begin(gateway, "QUERY", "/a", false);
    gateway.feed(0, &mut waits, 60_000, BODY);
    gateway.feed(0, &mut asks, 60_000, Event::Ended);
    gateway.feed(0, &mut waits, 60_000, Event::Woken(Wake::Ended));
    gateway.feed(0, &mut waits, 60_000, Event::Remote(RemoteAnswer::Fetching));
    gateway.feed(0, &mut waits, 60_000, BODY);
    gateway.feed(0, &mut waits, 60_000, Event::Ended);
    let mut operating = begin(gateway, "POST", "/.selvage/purge", false);
    let mut purging = begin(gateway, "PURGE", "/a", true);
    gateway.feed(0, &mut purging, 60_000, BODY);
    for held in [&mut operating, &mut purging] {
        for event in [
            Event::Woken(Wake::Poll),
            Event::Request { head: head("GET", "/a"), end_of_stream: true },
            storable(),
            Event::Body { chunk: b"", end_of_stream: true },
            Event::Trailers,
            Event::Remote(RemoteAnswer::Nothing),
            Event::Fetched(Fetched::Nothing),
            Event::Ended,
        ] {
            gateway.feed(0, held, 60_000, event);
        }
    }

    let calls = r#"{"defaults":{"refresh":{"cluster":"origin"}}}"#;
    let gateway = &mut start(calls);
    gateway.get("/a").at(0).miss(fresh_for(10).header("etag", "\"1\"").body("old"));
    let mut refetching = begin(gateway, "GET", "/a", true);
    let other = block(&[(":status", "304"), ("etag", "\"2\"")]);
    let other = Event::Response { head: Fields::parse(&other).unwrap(), end_of_stream: false };
    gateway.feed(0, &mut refetching, 60_000, other);
    gateway.feed(0, &mut refetching, 60_000, Event::Body { chunk: b"", end_of_stream: false });
    gateway.feed(0, &mut refetching, 60_000, Event::Trailers);

    let gateway = &mut start(crate::shadowing::WATCHES);
    gateway.get("/a").at(0).miss(fresh_for(600).body("old"));
    let mut comparing = begin(gateway, "GET", "/a", true);
    gateway.feed(0, &mut comparing, 60_000, storable());
    gateway.feed(0, &mut comparing, 60_000, BODY);
    gateway.feed(0, &mut comparing, 60_000, Event::Body { chunk: b"old", end_of_stream: false });
    gateway.feed(0, &mut comparing, 60_000, Event::Trailers);
}

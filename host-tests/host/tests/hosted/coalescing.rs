//! Streams that wait for another's fetch, as Envoy sees them: paused, and woken a few at a time.

use selvage_host::{Gateway, Headers, Stream};

use crate::{cache_status, fresh, gateway};

/// A stream whose request has reached the cache; the origin has not answered.
fn open(gateway: &Gateway, worker: usize) -> Stream {
    let stream = gateway.get("/a").open(worker);
    stream.request_headers();
    stream
}

fn respond(leader: &Stream) {
    leader.respond_with_body(Headers::from([
        (":status", "200"),
        ("cache-control", "max-age=60"),
        ("content-type", "text/plain"),
    ]));
    leader.last_body("one");
}

#[test]
fn a_hundred_streams_on_two_workers_are_answered_after_one_fetch() {
    let gateway = gateway(|_| fresh("not asked"));
    let leader = open(&gateway, 0);
    assert!(!leader.is_paused());
    let waiting: Vec<Stream> = (0..100).map(|nth| open(&gateway, nth % 2)).collect();
    assert!(waiting.iter().all(Stream::is_paused));
    respond(&leader);
    gateway.run();
    for stream in &waiting {
        assert_eq!((stream.status(), stream.text().as_str()), (200, "one"));
        assert!(cache_status(stream).contains("; collapsed"), "{}", cache_status(stream));
    }
    // A few at a time, each time in a call of its own.
    for worker in 0..2 {
        let calls = gateway.worker(worker).root_trace();
        let replies =
            |names: &[&str]| names.iter().filter(|name| **name == "proxy_send_local_response").count();
        assert!(calls.iter().all(|call| replies(&call.hostcalls) <= 16));
    }
    assert_eq!(gateway.origin().fetches(), 0);
}

#[test]
fn streams_whose_clients_have_gone_are_left_alone() {
    let gateway = gateway(|_| fresh("not asked"));
    let leader = open(&gateway, 0);
    let waiting: Vec<Stream> = (0..20).map(|_| open(&gateway, 0)).collect();
    for gone in waiting.iter().step_by(2) {
        gone.disconnect();
    }
    respond(&leader);
    gateway.run();
    for (nth, stream) in waiting.iter().enumerate() {
        let status = if nth % 2 == 0 { 0 } else { 200 };
        assert_eq!(stream.status(), status, "{nth}");
    }
    assert!(!gateway.worker(0).is_dead());
}

#[test]
fn when_the_first_client_goes_another_request_goes_on_to_the_origin() {
    let gateway = gateway(|_| fresh("not asked"));
    let leader = open(&gateway, 0);
    let waiting: Vec<Stream> = (0..20).map(|_| open(&gateway, 0)).collect();
    leader.disconnect();
    gateway.tick();
    let (going, held): (Vec<&Stream>, Vec<&Stream>) = waiting.iter().partition(|stream| !stream.is_paused());
    assert_eq!((going.len(), held.len()), (1, 19));
    respond(going[0]);
    gateway.run();
    assert!(held.iter().all(|stream| stream.status() == 200 && stream.text() == "one"));
}

#[test]
fn nobody_waits_longer_than_the_rule_says() {
    let gateway =
        Gateway::with(r#"{"defaults":{"coalesce":{"wait":"2s"}}}"#).workers(1).origin(|_| fresh("a"));
    let gateway = gateway.start();
    let _leader = open(&gateway, 0);
    let waiting = open(&gateway, 0);
    gateway.advance(1);
    gateway.tick();
    assert!(waiting.is_paused());
    gateway.advance(1);
    gateway.tick();
    assert!(!waiting.is_paused());
}

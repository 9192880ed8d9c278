//! Requests that go to their origin through a pool, as Envoy sees them: paused, resumed one by one, or answered with 503.

use selvage_host::{Gateway, Headers, Stream};

use crate::{cache_status, fresh};

/// Two places at the origin.
fn gateway(queue: &str, workers: usize) -> Gateway {
    let config = format!(
        r#"{{"pools":[{{"name":"api","fixed":2,"queue":{queue}}}],"defaults":{{"admission":{{"pool":"api"}}}}}}"#
    );
    Gateway::with(&config).workers(workers).origin(|_| fresh("not asked")).start()
}

fn open(gateway: &Gateway, path: &str, worker: usize) -> Stream {
    let stream = gateway.get(path).open(worker);
    stream.request_headers();
    stream
}

fn respond(stream: &Stream) {
    stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "no-store")]));
    stream.last_body("one");
}

fn open_many(gateway: &Gateway, count: usize, worker: usize) -> Vec<Stream> {
    (0..count).map(|nth| open(gateway, &format!("/{nth}"), worker)).collect()
}

#[test]
fn a_stream_goes_on_when_one_before_it_has_ended() {
    let gateway = gateway(r#"{"wait":{"normal":"10s"}}"#, 1);
    let streams = open_many(&gateway, 5, 0);
    let paused = |streams: &[Stream]| streams.iter().map(Stream::is_paused).collect::<Vec<_>>();
    assert_eq!(paused(&streams), [false, false, true, true, true]);
    respond(&streams[0]);
    gateway.run();
    assert_eq!(paused(&streams), [false, false, false, true, true]);
    // One whose client goes away makes room as well, and one that waits does not.
    streams[4].disconnect();
    gateway.run();
    assert_eq!(paused(&streams)[..4], [false, false, false, true]);
    streams[1].disconnect();
    gateway.run();
    assert_eq!(paused(&streams)[..4], [false, false, false, false]);
    respond(&streams[3]);
    assert!(streams[3].header("server-timing").is_some_and(|timing| timing.starts_with("queue;dur=")));
    assert_eq!(streams[3].text(), "one");
    gateway.advance(1);
    gateway.tick();
    assert_eq!(gateway.metric("selvage.pool_requests.default.left"), Some(1));
}

#[test]
fn a_stream_that_has_waited_enough_is_answered_with_503() {
    let gateway = gateway(r#"{"wait":{"normal":"1s"}}"#, 1);
    let streams = open_many(&gateway, 30, 0);
    gateway.advance(1);
    gateway.tick();
    gateway.run();
    for stream in &streams[2..] {
        assert_eq!(stream.status(), 503);
        assert_eq!(cache_status(stream), "Selvage; detail=overload");
    }
    let calls = gateway.worker(0).root_trace();
    let replies = |names: &[&str]| names.iter().filter(|name| **name == "proxy_send_local_response").count();
    assert!(calls.iter().all(|call| replies(&call.hostcalls) <= 16), "too many in one call");
    assert!(!gateway.worker(0).is_dead());
}

#[test]
fn the_places_of_a_worker_that_has_died_come_back() {
    let gateway = gateway(r#"{"requests":0}"#, 2);
    let first = open_many(&gateway, 2, 0);
    assert!(first.iter().all(|stream| !stream.is_paused()));
    assert_eq!(open(&gateway, "/a", 1).status(), 503);
    gateway.kill_worker(0);
    gateway.advance(1);
    assert_eq!(open(&gateway, "/a", 1).status(), 503);
    gateway.advance(2);
    let second = open(&gateway, "/a", 1);
    assert_eq!((second.status(), second.is_paused()), (0, false));
}

//! Calls to the remote store: a request waits for one, and nothing that may become of it holds the request up.

use selvage_host_tests::{Gateway, Headers, OriginResponse, Stream};

use crate::{assert_forwarded, assert_hit, cache_status, fresh};

/// One worker with a remote store.
fn gateway() -> Gateway {
    Gateway::with(r#"{"remote":{"enabled":true}}"#).cluster("redis").origin(|_| fresh("content")).start()
}

/// A request that waits for the remote store.
fn waiting(gateway: &Gateway, path: &str) -> Stream {
    let stream = gateway.get(path).open(0);
    stream.request_headers();
    assert!(stream.is_paused());
    stream
}

/// The record that is sent after a response has been stored, and the key it is sent to.
fn record(gateway: &Gateway, path: &str) -> (Vec<u8>, String) {
    let stream = waiting(gateway, path);
    for call in gateway.callouts() {
        call.respond(404, Headers::new(), "");
    }
    stream.respond_with_body(Headers::from([
        (":status", "200"),
        ("cache-control", "max-age=60"),
        ("content-type", "text/plain"),
    ]));
    stream.last_body("content");
    gateway.tick();
    let mut calls = gateway.callouts();
    let call = calls.pop().expect("a record is sent");
    assert!(calls.is_empty());
    assert!(call.path().starts_with("/SETEX/selvage:v1:"), "{}", call.path());
    let sent = (call.body().to_vec(), call.path().split('/').nth(2).unwrap().to_owned());
    call.respond(200, Headers::new(), r#"{"SETEX":[true,"OK"]}"#);
    sent
}

#[test]
fn a_record_answers_the_request_that_waits_for_it() {
    let (record, key) = record(&gateway(), "/a");
    let other = gateway();
    let stream = waiting(&other, "/a");
    let call = other.callouts().pop().unwrap();
    assert_eq!((call.path(), call.timeout_milliseconds()), (format!("/GET/{key}.bin"), 50));
    call.respond(200, Headers::new(), record);
    assert_hit(&stream, "content");
    assert!(cache_status(&stream).contains("detail=remote"), "{}", cache_status(&stream));
    assert_eq!(other.origin().fetches(), 0);
}

#[test]
fn whatever_fails_the_request_goes_to_the_origin() {
    for failure in 0..6 {
        let gateway = gateway();
        let stream = waiting(&gateway, "/a");
        let call = gateway.callouts().pop().unwrap();
        match failure {
            0 => call.respond(404, Headers::new(), ""),
            1 => call.respond(200, Headers::new(), "no record"),
            2 => call.respond(200, Headers::new(), ""),
            3 => call.synthesise(504),
            4 => call.fail(),
            _ => call.respond(403, Headers::new(), "Forbidden"),
        }
        assert!(!stream.is_paused(), "failure {failure}");
        stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
        stream.last_body("content");
        assert_forwarded(&stream, "uri-miss");
        assert_hit(&gateway.get("/a").send(0), "content");
    }
}

#[test]
fn a_call_that_cannot_be_made_is_not_waited_for() {
    let gateway = gateway();
    gateway.refuse_callouts(true);
    for path in ["/a", "/b", "/c"] {
        assert_forwarded(&gateway.get(path).send(0), "uri-miss");
    }
}

#[test]
fn an_answer_for_a_client_that_has_left_is_for_nobody() {
    let (record, _) = record(&gateway(), "/a");
    let gateway = gateway();
    for body in [record.clone(), Vec::new(), b"garbage".to_vec()] {
        let stream = waiting(&gateway, "/a");
        let call = gateway.callouts().pop().unwrap();
        stream.disconnect();
        call.respond(200, Headers::new(), body);
    }
    assert_eq!(gateway.worker(0).open_streams(), 0);
    gateway.tick();
    let stream = waiting(&gateway, "/b");
    stream.disconnect();
    gateway.kill_worker(0);
    gateway.restart_worker(0);
    gateway.origin().next(OriginResponse::ok("content").header("cache-control", "max-age=60"));
    let stream = waiting(&gateway, "/c");
    gateway.callouts().pop().unwrap().fail();
    assert!(!stream.is_paused());
}

#[test]
fn a_store_that_fails_is_left_alone_for_a_while() {
    let gateway = gateway();
    for nth in 0..5 {
        let stream = waiting(&gateway, &format!("/{nth}"));
        gateway.callouts().pop().unwrap().synthesise(503);
        assert!(!stream.is_paused());
    }
    assert_forwarded(&gateway.get("/open").send(0), "uri-miss");
    assert!(gateway.callouts().is_empty());
    gateway.advance(1);
    let stream = waiting(&gateway, "/probe");
    gateway.callouts().pop().unwrap().respond(404, Headers::new(), "");
    assert!(!stream.is_paused());
    waiting(&gateway, "/closed");
}

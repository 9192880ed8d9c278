//! Responses that clients get in another form than they come: a part of the whole, 304, what is stored in an error's place; and
//! responses that are held for a call to the origin.

use selvage_host::{Gateway, Headers, OriginResponse, Stream};

use crate::{assert_hit, cache_status, fresh, gateway};

/// A stream whose request has gone to the origin, which has not answered.
fn sent(gateway: &Gateway, fields: &[(&str, &str)]) -> Stream {
    let mut call = gateway.get("/a");
    for (name, value) in fields {
        call = call.header(name, value);
    }
    let stream = call.open(0);
    stream.request_headers();
    assert!(!stream.is_paused());
    stream
}

fn whole() -> Headers {
    Headers::from([
        (":status", "200"),
        ("cache-control", "max-age=60"),
        ("content-type", "text/plain"),
        ("content-length", "10"),
        ("content-digest", "sha-256=:x:"),
        ("etag", "\"1\""),
    ])
}

const FILLS: &str = r#"{"defaults":{"range":{"fill":true},"refresh":{"cluster":"origin"}}}"#;

fn filling() -> Gateway {
    Gateway::with(FILLS).workers(2).cluster("origin").origin(|_| fresh("not asked")).start()
}

#[test]
fn a_part_is_cut_from_the_whole_on_its_way_however_it_is_cut_in_pieces() {
    for pieces in
        [&["0123456789"][..], &["0", "1234", "56789"], &["01", "23", "45", "67", "89"], &["0123456789", ""]]
    {
        let gateway = filling();
        let stream = sent(&gateway, &[("range", "bytes=2-6")]);
        stream.respond_with_body(whole());
        let (last, first) = pieces.split_last().unwrap();
        first.iter().for_each(|piece| {
            stream.body(piece);
        });
        stream.last_body(last);
        assert_eq!((stream.status(), stream.text().as_str()), (206, "23456"), "{pieces:?}");
        assert_eq!(stream.header("content-range").as_deref(), Some("bytes 2-6/10"));
        assert_eq!(stream.header("content-length").as_deref(), Some("5"));
        assert_eq!(stream.header("content-digest"), None);
        assert_hit(&gateway.get("/a").send(0), "0123456789");
        assert_hit(&gateway.get("/a").send(1), "0123456789");
    }
}

#[test]
fn a_client_that_has_what_others_wait_for_gets_304_while_it_is_stored() {
    let gateway = gateway(|_| fresh("not asked"));
    let leader = sent(&gateway, &[("if-none-match", "\"1\"")]);
    assert_eq!(leader.upstream().headers.unwrap().get("if-none-match"), None);
    let waiter = gateway.get("/a").open(0);
    waiter.request_headers();
    assert!(waiter.is_paused());
    leader.respond_with_body(whole());
    leader.body("01234").last_body("56789");
    assert_eq!((leader.status(), leader.text().as_str()), (304, ""));
    assert_eq!(leader.header("content-type"), None);
    gateway.run();
    assert_eq!((waiter.status(), waiter.text().as_str()), (200, "0123456789"));
}

/// Envoy's own replies name a type where there is none, and lose it where there is no content.
#[test]
fn what_stands_in_for_an_error_with_a_body_is_as_it_was_stored() {
    for (kind, body) in [(None, "0123456789"), (Some("text/x-empty"), "")] {
        let gateway = gateway(move |_| {
            let response = OriginResponse::ok(body).header("cache-control", "max-age=60, stale-if-error=600");
            kind.into_iter().fold(response, |response, kind| response.header("content-type", kind))
        });
        gateway.get("/a").send(0);
        gateway.advance(61);
        let stream = sent(&gateway, &[]);
        stream.respond_with_body(Headers::from([(":status", "503"), ("content-type", "text/html")]));
        stream.body("much").body(" to be").last_body(" said");
        assert_eq!((stream.status(), stream.text().as_str()), (200, body));
        assert_eq!(stream.header("content-type").as_deref(), kind);
        assert_eq!(stream.header("content-length"), Some(body.len().to_string()));
        assert!(cache_status(&stream).contains("detail=stale-if-error"), "{}", cache_status(&stream));
    }
}

#[test]
fn those_who_wait_leave_a_body_that_takes_long() {
    let gateway = gateway(|_| fresh("not asked"));
    let leader = sent(&gateway, &[]);
    let waiters: Vec<Stream> = (0..4)
        .map(|nth| {
            let stream = gateway.get("/a").open(nth % 2);
            stream.request_headers();
            stream
        })
        .collect();
    leader.respond_with_body(whole());
    leader.body("0");
    gateway.run();
    assert!(waiters.iter().all(Stream::is_paused));
    gateway.advance(1);
    gateway.tick();
    gateway.run();
    for waiter in &waiters {
        assert!(!waiter.is_paused() && waiter.status() == 0, "it goes to the origin by itself");
    }
    // The first one's response is stored all the same.
    leader.last_body("123456789");
    assert_hit(&gateway.get("/a").send(0), "0123456789");
    assert_eq!(gateway.metric("selvage.coalesce.slow-body"), Some(1));
}

/// A 304 about something else, and the answer to the call for all of it.
fn held(gateway: &Gateway) -> Stream {
    gateway.get("/a").send(0);
    gateway.advance(61);
    let stream = sent(gateway, &[]);
    stream.respond(Headers::from([(":status", "304"), ("etag", "\"2\"")]));
    stream
}

fn calling() -> Gateway {
    let origin = |_: &_| fresh("one").header("etag", "\"1\"");
    Gateway::with(FILLS).workers(2).cluster("origin").origin(origin).start()
}

#[test]
fn a_response_is_held_for_the_call_that_brings_the_whole() {
    let gateway = calling();
    let stream = held(&gateway);
    assert_eq!(stream.status(), 0, "nothing is sent yet");
    let mut calls = gateway.callouts();
    let call = calls.pop().unwrap();
    assert!(calls.is_empty());
    assert_eq!(call.headers().get("if-none-match"), None);
    let head = Headers::new()
        .with("cache-control", "max-age=60")
        .with("etag", "\"2\"")
        .with("content-type", "text/css");
    call.respond(200, head, "two");
    gateway.run();
    assert_eq!((stream.status(), stream.text().as_str()), (200, "two"));
    assert_eq!(stream.header("content-type").as_deref(), Some("text/css"));
    assert!(cache_status(&stream).contains("detail=other-validator"), "{}", cache_status(&stream));
    assert_hit(&gateway.get("/a").send(0), "two");
    assert_hit(&gateway.get("/a").send(1), "two");
}

#[test]
fn a_call_that_brings_nothing_or_cannot_be_made_leaves_the_old_content() {
    for refused in [false, true] {
        let gateway = calling();
        gateway.refuse_callouts(refused);
        let stream = held(&gateway);
        gateway.callouts().into_iter().for_each(|call| call.synthesise(503));
        gateway.run();
        assert_eq!((stream.status(), stream.text().as_str()), (200, "one"), "{refused}");
        assert!(!gateway.worker(0).is_dead());
    }
}

#[test]
fn a_client_that_leaves_a_held_response_is_forgotten() {
    let gateway = calling();
    let stream = held(&gateway);
    stream.disconnect();
    gateway.callouts().into_iter().for_each(|call| call.respond(200, Headers::new(), "two"));
    gateway.run();
    assert!(!gateway.worker(0).is_dead());
    assert_eq!(gateway.unavailable_reads(), 0);
}

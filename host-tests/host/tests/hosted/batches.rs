//! Several GETs in one request through the release module: held for its parts, which are called for by the root context.

#![allow(clippy::indexing_slicing)] // A broken test must stop loudly.

use selvage_host::{Callout, Gateway, Headers, Stream};
use serde_json::{Value, json};

use crate::remote::{calls, only};
use crate::{assert_hit, cache_status, fresh};

const ON: &str = r#"{"batch":{},"defaults":{"batch":true,"refresh":{"cluster":"origin"}}}"#;

fn gateway(configuration: &str) -> Gateway {
    let gateway = Gateway::with(configuration).workers(2).shows_bodies().cluster("origin");
    gateway.origin(|_| fresh("\"of the stream\"").header("content-type", "application/json")).start()
}

fn body_of(paths: &[&str]) -> String {
    let get = |(nth, path): (usize, &&str)| json!({ "id": nth.to_string(), "method": "GET", "url": path });
    json!({ "requests": paths.iter().enumerate().map(get).collect::<Vec<_>>() }).to_string()
}

fn ask(gateway: &Gateway, paths: &[&str]) -> Stream {
    let body = body_of(paths);
    let (head, tail) = body.split_at(body.len() / 2);
    let ask = gateway.post("/batch").header("content-type", "application/json");
    ask.header("x-client", "a").body(head).body(tail).send(0)
}

fn json() -> Headers {
    Headers::new().with("content-type", "application/json").with("cache-control", "public, max-age=60")
}

/// The call for a path.
fn call_for(gateway: &Gateway, path: &str) -> Callout {
    only(gateway.callouts().into_iter().filter(|call| call.path() == path).collect())
}

#[track_caller]
fn told(stream: &Stream) -> Vec<Value> {
    assert_eq!(stream.status(), 200);
    assert_eq!(cache_status(stream), "Selvage; detail=batch");
    assert!(stream.upstream().headers.is_none(), "it went to the origin");
    let told: Value = serde_json::from_str(&stream.text()).unwrap();
    told["responses"].as_array().unwrap().clone()
}

fn statuses(told: &[Value]) -> Vec<u64> {
    told.iter().map(|part| part["status"].as_u64().unwrap()).collect()
}

#[test]
fn parts_are_called_for_and_the_last_answer_is_that_of_the_batch() {
    let gateway = gateway(ON);
    let stream = ask(&gateway, &["/a", "/b", "/a", "//evil.test/"]);
    assert!(stream.is_paused());
    let call = call_for(&gateway, "/a");
    assert_eq!((call.cluster(), call.timeout_milliseconds(), call.body()), ("origin", 5000, &b""[..]));
    let sent = |name: &str| call.headers().get(name);
    assert_eq!(sent(":method").as_deref(), Some("GET"));
    assert_eq!(sent("x-client").as_deref(), Some("a"));
    assert!(sent("content-type").is_none() && sent("content-length").is_none());
    call.respond(200, json(), "{\"n\": 1.50}");
    assert!(stream.is_paused());
    call_for(&gateway, "/b").respond(404, Headers::new().with("content-type", "text/plain"), "none");
    gateway.run();
    let parts = told(&stream);
    assert_eq!(statuses(&parts), [200, 404, 200, 400]);
    assert!(stream.text().contains("\"body\":{\"n\": 1.50}"), "{}", stream.text());
    assert_eq!((&parts[1]["body"], &parts[1]["encoding"]), (&json!("bm9uZQ=="), &json!("base64")));
    assert_eq!(stream.header("content-type").as_deref(), Some("application/json"));
    // It is stored for everybody, in both workers.
    for worker in [0, 1] {
        assert_hit(&gateway.get("/a").send(worker), "{\"n\": 1.50}");
    }
    let stream = ask(&gateway, &["/a"]);
    gateway.run();
    assert_eq!(statuses(&told(&stream)), [200]);
    assert_eq!(gateway.origin().fetches(), 0);
    gateway.advance(1);
    gateway.tick();
    let counted = |word: &str| gateway.metric(&format!("selvage.{word}"));
    let words =
        ["batch.answered", "batch_parts.answered", "batch_parts.refused", "requests.collapsed.worker"];
    assert_eq!(words.map(counted), [Some(2), Some(4), Some(1), Some(1)]);
}

#[test]
fn whatever_becomes_of_a_call_the_other_parts_have_their_answers() {
    for (failure, status) in [(0, 503), (1, 504), (2, 502), (3, 502), (4, 503)] {
        let gateway = gateway(ON);
        if failure == 4 {
            ask(&gateway, &["/well"]);
            call_for(&gateway, "/well").respond(200, json(), "1");
            gateway.refuse_callouts(true);
        }
        let stream = ask(&gateway, &["/a", "/well"]);
        match failure {
            0 => call_for(&gateway, "/a").synthesise(503),
            1 => call_for(&gateway, "/a").synthesise(504),
            2 => call_for(&gateway, "/a").fail(),
            3 => call_for(&gateway, "/a").respond(200, json().with("content-length", "9"), "1"),
            _ => {}
        }
        if failure < 4 {
            call_for(&gateway, "/well").respond(200, json(), "1");
        }
        gateway.run();
        let parts = told(&stream);
        assert_eq!((statuses(&parts), &parts[1]["body"]), (vec![status, 200], &json!(1)), "{failure}");
        // Nobody is left to wait for it.
        gateway.refuse_callouts(false);
        assert_eq!(gateway.get("/a").send(0).status(), 200);
    }
}

#[test]
fn what_takes_too_long_is_told_so_and_stored_when_it_comes() {
    let gateway = gateway(ON);
    let stream = ask(&gateway, &["/slow", "/quick"]);
    let slow = call_for(&gateway, "/slow");
    call_for(&gateway, "/quick").respond(200, json(), "1");
    gateway.advance(9);
    gateway.tick();
    gateway.run();
    assert!(stream.is_paused());
    gateway.advance(1);
    gateway.tick();
    gateway.run();
    assert_eq!(statuses(&told(&stream)), [504, 200]);
    slow.respond(200, json(), "2");
    assert_hit(&gateway.get("/slow").send(1), "2");
}

#[test]
fn a_client_that_leaves_leaves_its_calls_to_the_store() {
    let gateway = gateway(ON);
    let stream = ask(&gateway, &["/a", "/b"]);
    call_for(&gateway, "/a").respond(200, json(), "1");
    stream.disconnect();
    call_for(&gateway, "/b").respond(200, json(), "2");
    gateway.run();
    assert_hit(&gateway.get("/b").send(1), "2");
    gateway.advance(1);
    gateway.tick();
    assert_eq!(gateway.metric("selvage.batch.left"), Some(1));
}

#[test]
fn parts_and_streams_wait_for_each_other() {
    let gateway = gateway(ON);
    let batch = ask(&gateway, &["/a"]);
    let waits = gateway.get("/a").open(0);
    waits.request_headers();
    assert!(waits.is_paused());
    call_for(&gateway, "/a").respond(200, json(), "1");
    gateway.run();
    assert_eq!(waits.text(), "1");
    assert!(cache_status(&waits).contains("collapsed"), "{}", cache_status(&waits));
    assert_eq!(statuses(&told(&batch)), [200]);

    let leads = gateway.get("/b").open(0);
    leads.request_headers();
    let batch = ask(&gateway, &["/b"]);
    assert!(batch.is_paused() && gateway.callouts().is_empty());
    let head =
        [(":status", "200"), ("cache-control", "public, max-age=60"), ("content-type", "application/json")];
    leads.respond_with_body(Headers::from(head));
    leads.last_body("2");
    gateway.run();
    // A batch that waited for a stream may be woken by the parts' tick.
    gateway.advance(1);
    gateway.tick();
    gateway.run();
    let parts = told(&batch);
    assert_eq!(parts[0]["body"], json!(2));
}

#[test]
fn a_body_that_never_comes_and_one_that_is_none_go_to_no_origin() {
    let gateway = gateway(ON);
    let empty = gateway.post("/batch").header("content-type", "application/json").send(0);
    assert_eq!((empty.status(), cache_status(&empty).as_str()), (400, "Selvage; detail=batch-refused"));
    let wrong = gateway.post("/batch").header("content-type", "application/json").body("[").send(0);
    assert_eq!(wrong.status(), 400);
    let never = gateway.post("/batch").header("content-type", "application/json").body("{").open(0);
    never.request_headers();
    assert!(never.is_paused());
    gateway.advance(2);
    gateway.tick();
    assert_eq!(never.status(), 408);
    assert_eq!(gateway.origin().fetches(), 0);
}

#[test]
fn the_remote_store_is_asked_for_parts_and_may_have_them() {
    let config = r#"{"batch":{},"remote":{"enabled":true},
        "defaults":{"batch":true,"refresh":{"cluster":"origin"},"coalesce":{"fleet":false}}}"#;
    let gateway = Gateway::with(config).workers(1).shows_bodies().cluster("origin").cluster("redis");
    let gateway = gateway.origin(|_| fresh("1")).start();
    gateway.tick();
    only(calls(&gateway)).respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
    let stream = ask(&gateway, &["/a"]);
    only(calls(&gateway)).respond(404, Headers::new(), "");
    call_for(&gateway, "/a").respond(200, json(), "\"mine\"");
    gateway.run();
    assert_eq!(statuses(&told(&stream)), [200]);
    // A store that hangs holds nobody up.
    let stream = ask(&gateway, &["/b"]);
    calls(&gateway).into_iter().find(|call| call.path().starts_with("/GET/")).unwrap().synthesise(504);
    call_for(&gateway, "/b").respond(200, json(), "2");
    gateway.run();
    assert_eq!(statuses(&told(&stream)), [200]);
}

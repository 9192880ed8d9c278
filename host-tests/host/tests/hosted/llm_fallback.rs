//! Another model in the place of one that has failed, through the release module: the failure is held, whatever it consists of,
//! and one of the two answers is the client's.

use selvage_host::{Callout, Gateway, Headers, OriginResponse, Stream};

use crate::cache_status;

const PATH: &str = "/v1/chat/completions";
const QUESTION: &str = r#"{"model":"large","seed":1,"messages":[]}"#;
const ANSWER: &str =
    r#"{"model":"small-1","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;

const RULES: &str = r#"{"rules":[{"name":"chat","llm":{"api":"openai","cache":{},
    "fallback":{"header":"x-route","value":"backup","model":"small","on":["429","5xx"],"cluster":"backup"}}}]}"#;

fn gateway() -> Gateway {
    let ok = |_: &_| OriginResponse::ok("{}");
    Gateway::with(RULES).workers(1).cluster("backup").shows_bodies().origin(ok).start()
}

/// A question that has reached the first model.
fn asked(gateway: &Gateway) -> Stream {
    let stream = gateway.post(PATH).header("content-type", "application/json").body(QUESTION).open(0);
    stream.request_headers().request_rest();
    assert_eq!(stream.upstream().body, QUESTION.as_bytes());
    stream
}

fn failure() -> Headers {
    Headers::from([(":status", "503"), ("content-type", "text/plain"), ("x-first", "1")])
}

fn call(gateway: &Gateway) -> Callout {
    let mut calls = gateway.callouts();
    let call = calls.pop().expect("the second model is called");
    assert!(calls.is_empty());
    assert_eq!(call.body(), QUESTION.replace("large", "small").as_bytes());
    call
}

fn json() -> Headers {
    Headers::from([("content-type", "application/json"), ("x-second", "1")])
}

/// With what the failure's body ends.
type End = fn(&Stream);
const ENDS: [(&str, End); 4] = [
    ("whole", |stream| {
        stream.body("bu").last_body("sy");
    }),
    ("trailers", |stream| {
        stream.body("busy").trailers(Headers::from([("t", "1")]));
    }),
    ("open", |stream| {
        stream.body("busy");
    }),
    ("nothing", |_| {}),
];

#[test]
fn the_answer_of_the_second_takes_the_place_of_the_failure() {
    for (kind, end) in ENDS {
        let gateway = gateway();
        let stream = asked(&gateway);
        stream.respond_with_body(failure());
        end(&stream);
        assert_eq!((stream.status(), stream.is_paused()), (0, true), "{kind}");
        call(&gateway).respond(200, json(), ANSWER);
        assert_eq!((stream.status(), stream.text()), (200, ANSWER.to_owned()), "{kind}");
        assert_eq!(stream.header("content-type").as_deref(), Some("application/json"));
        assert_eq!((stream.header("x-first"), stream.header("x-second").as_deref()), (None, Some("1")));
        assert!(cache_status(&stream).contains("detail=fallback"), "{}", cache_status(&stream));
        // It is not stored, and nothing is left behind.
        asked(&gateway);
    }
    // A failure without a body.
    let gateway = gateway();
    let stream = asked(&gateway);
    stream.respond(failure());
    call(&gateway).respond(200, json(), ANSWER);
    assert_eq!((stream.status(), stream.text()), (200, ANSWER.to_owned()));
}

#[test]
fn the_failure_goes_on_where_the_second_brings_nothing_better() {
    for (kind, end) in &ENDS[..3] {
        for status in [429, 503] {
            let gateway = gateway();
            let stream = asked(&gateway);
            stream.respond_with_body(failure());
            end(&stream);
            call(&gateway).respond(status, json(), "no");
            gateway.run();
            assert_eq!((stream.status(), stream.text()), (503, "busy".to_owned()), "{kind}");
            assert_eq!((stream.header("x-first").as_deref(), stream.header("x-second")), (Some("1"), None));
            assert!(cache_status(&stream).contains("fwd-status=503"), "{}", cache_status(&stream));
            if *kind == "open" {
                stream.last_body(" now");
                assert_eq!(stream.text(), "busy now");
            }
        }
    }
}

#[test]
fn a_failure_that_is_longer_than_is_held_goes_on_and_the_answer_to_the_call_is_for_nobody() {
    let gateway = gateway();
    let stream = asked(&gateway);
    stream.respond_with_body(failure());
    let part = "x".repeat(10_000);
    stream.body(&part);
    assert!(stream.is_paused());
    stream.body(&part);
    assert_eq!((stream.status(), stream.is_paused()), (503, false));
    call(&gateway).respond(200, json(), ANSWER);
    stream.last_body(&part);
    assert_eq!((stream.status(), stream.text()), (503, part.repeat(3)));
    assert_eq!(stream.header("x-first").as_deref(), Some("1"));
}

#[test]
fn a_client_that_leaves_and_a_cluster_that_is_not_there_do_no_harm() {
    let gateway = gateway();
    let stream = asked(&gateway);
    stream.respond_with_body(failure());
    stream.disconnect();
    call(&gateway).respond(200, json(), ANSWER);
    assert!(!gateway.worker(0).is_dead());
    let reset = asked(&gateway);
    reset.respond_with_body(failure());
    reset.upstream_reset();
    call(&gateway).respond(200, json(), ANSWER);
    assert!(!gateway.worker(0).is_dead());

    let ok = |_: &_| OriginResponse::ok("{}");
    let gateway = Gateway::with(RULES).workers(1).shows_bodies().origin(ok).start();
    let stream = asked(&gateway);
    stream.respond_with_body(failure());
    stream.last_body("busy");
    assert_eq!((stream.status(), stream.text()), (503, "busy".to_owned()));
}

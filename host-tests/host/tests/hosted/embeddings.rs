//! Requests for embeddings through the release module: held for a call, answered by it, or let go.

use selvage_host::{Callout, Gateway, Headers, OriginRequest, OriginResponse, Stream};

use crate::{assert_forwarded, assert_hit, cache_status};

const RULE: &str = r#"{"rules":[{"name":"vectors","llm":{"api":"openai","usage":"count","cache":{},
    "embeddings":{"by_input":true,"cluster":"openai","merge":{"inputs":32}}}}]}"#;
const PATH: &str = "/v1/embeddings";

fn gateway(configuration: &str) -> Gateway {
    let origin = |_: &OriginRequest| json(&answer(&["new", "two"]));
    Gateway::with(configuration).workers(2).shows_bodies().cluster("openai").origin(origin).start()
}

fn body(inputs: &[&str]) -> String {
    let input = match inputs {
        [only] => format!("\"{only}\""),
        several => format!("{several:?}").replace(", ", ","),
    };
    format!(r#"{{"model":"e","input":{input}}}"#)
}

fn answer(inputs: &[&str]) -> String {
    let items = inputs.iter().enumerate().map(|(index, input)| {
        format!(r#"{{"object":"embedding","index":{index},"embedding":[0.{},-1.0e-3]}}"#, input.len())
    });
    let (items, tokens) = (items.collect::<Vec<_>>().join(","), inputs.len());
    format!(
        r#"{{"object":"list","data":[{items}],"model":"e","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
    )
}

fn json(content: &str) -> OriginResponse {
    OriginResponse::status(200).header("content-type", "application/json").chunk(content)
}

fn ask(gateway: &Gateway, inputs: &[&str], worker: usize) -> Stream {
    let body = body(inputs);
    let (head, tail) = body.split_at(body.len() / 2);
    gateway.post(PATH).header("authorization", "Bearer a").body(head).body(tail).send(worker)
}

fn only(mut calls: Vec<Callout>) -> Callout {
    let call = calls.pop().expect("a call is made");
    assert!(calls.is_empty(), "{} calls more", calls.len());
    call
}

fn respond(call: Callout, content: &str) {
    call.respond(200, Headers::new().with("content-type", "application/json"), content);
}

/// "one" is stored, asked for by itself after the end of its window.
fn with_one(gateway: &Gateway) {
    let stream = ask(gateway, &["one"], 0);
    assert!(stream.is_paused());
    gateway.origin().next(json(&answer(&["one"])));
    gateway.advance(1);
    gateway.tick();
    gateway.run();
    assert_forwarded(&stream, "uri-miss");
    assert_eq!(stream.text(), answer(&["one"]));
}

#[test]
fn only_what_is_missing_is_asked_for_and_both_workers_have_it_then() {
    let gateway = gateway(RULE);
    with_one(&gateway);
    let stream = ask(&gateway, &["four", "one", "fifty"], 1);
    assert!(stream.is_paused() && stream.upstream().headers.is_none());
    let call = only(gateway.callouts());
    assert_eq!((call.cluster(), call.path().as_str(), call.timeout_milliseconds()), ("openai", PATH, 30_000));
    assert_eq!(call.body(), br#"{"model":"e","input":["four","fifty"]}"#);
    assert_eq!(call.headers().get("authorization").as_deref(), Some("Bearer a"));
    respond(call, &answer(&["four", "fifty"]));
    let whole = answer(&["four", "one", "fifty"]);
    assert_eq!(
        cache_status(&stream),
        "Selvage; fwd=partial; fwd-status=200; stored; ttl=3600; detail=by-input"
    );
    assert_eq!((stream.status(), stream.text()), (200, whole.clone()));
    for worker in [0, 1] {
        assert_hit(&ask(&gateway, &["four", "one", "fifty"], worker), &whole);
    }
    assert_eq!(gateway.origin().fetches(), 1);
    gateway.node().tick();
    let counted = |word: &str| gateway.metric(&format!("selvage.llm_{word}"));
    assert_eq!(
        [counted("inputs.stored"), counted("inputs.asked"), counted("calls.partial")],
        [Some(1), Some(2), Some(1)]
    );
    // Of 1 + 3 + 3 + 3 tokens 1 + 2 were used.
    assert_eq!([counted("tokens.other.input"), counted("saved_tokens.other.input")], [Some(3), Some(7)]);
}

#[test]
fn a_call_that_comes_to_nothing_lets_the_request_go_as_it_came() {
    for failure in 0..6 {
        let gateway = gateway(RULE);
        with_one(&gateway);
        if failure == 5 {
            gateway.refuse_callouts(true);
        }
        let asked = ["four", "one"];
        gateway.origin().next(json(&answer(&asked)));
        let stream = ask(&gateway, &asked, 0);
        if failure < 5 {
            let call = only(gateway.callouts());
            match failure {
                0 => call.synthesise(503),
                1 => call.synthesise(504),
                2 => call.fail(),
                3 => respond(call, &answer(&asked)),
                _ => call.respond(429, Headers::new(), "{}"),
            }
        }
        assert_forwarded(&stream, "partial");
        assert_eq!(stream.text(), answer(&asked));
        let request = gateway.origin().requests().pop().expect("it went on");
        assert_eq!(request.path(), PATH);
        assert_eq!(String::from_utf8_lossy(&stream.upstream().body), body(&asked));
        assert_hit(&ask(&gateway, &asked, 1), &answer(&asked));
    }
}

#[test]
fn thirty_two_single_inputs_are_one_call() {
    let gateway = gateway(RULE);
    let inputs: Vec<String> = (1..=32).map(|nth| "x".repeat(nth)).collect();
    let streams: Vec<Stream> = inputs.iter().map(|input| ask(&gateway, &[input], 0)).collect();
    // It is full, so it goes at once.
    let call = only(gateway.callouts());
    let asked: Vec<&str> = inputs.iter().map(String::as_str).collect();
    assert_eq!(String::from_utf8_lossy(call.body()), body(&asked));
    respond(call, &answer(&asked));
    gateway.run();
    for (stream, input) in streams.iter().zip(&inputs) {
        assert_eq!(
            cache_status(stream),
            "Selvage; fwd=uri-miss; fwd-status=200; stored; ttl=3600; detail=merged"
        );
        assert!(stream.text().contains(&format!("[0.{},-1.0e-3]", input.len())), "{}", stream.text());
        assert!(stream.text().contains("\"index\":0"));
        assert!(cache_status(&ask(&gateway, &[input], 1)).contains("; hit"));
    }
    let calls = gateway.worker(0).root_trace();
    let replies = |names: &[&str]| names.iter().filter(|name| **name == "proxy_send_local_response").count();
    assert!(calls.iter().all(|call| replies(&call.hostcalls) <= 16), "too many in one call");
    assert_eq!(gateway.origin().fetches(), 0);
    gateway.node().tick();
    assert_eq!(gateway.metric("selvage.llm_inputs.merged"), Some(32));
    assert_eq!(gateway.metric("selvage.llm_tokens.other.input"), Some(32));
}

#[test]
fn who_waits_for_others_goes_alone_if_none_come_or_the_call_fails() {
    for failure in 0..4 {
        let gateway = gateway(RULE);
        let streams = ["a", "bb"].map(|input| ask(&gateway, &[input], 0));
        // One that leaves is nobody's business.
        let left = ask(&gateway, &["ccc"], 0);
        left.disconnect();
        assert!(gateway.callouts().is_empty());
        if failure == 3 {
            gateway.refuse_callouts(true);
        }
        gateway.origin().next(json(&answer(&["a"])));
        gateway.origin().next(json(&answer(&["bb"])));
        gateway.advance(1);
        gateway.tick();
        if failure < 3 {
            let call = only(gateway.callouts());
            assert_eq!(String::from_utf8_lossy(call.body()), body(&["a", "bb"]));
            match failure {
                0 => call.synthesise(504),
                1 => call.fail(),
                _ => respond(call, &answer(&["a"])),
            }
        }
        gateway.run();
        for (stream, input) in streams.iter().zip(["a", "bb"]) {
            assert_forwarded(stream, "uri-miss");
            assert_eq!(stream.text(), answer(&[input]), "{failure}");
            assert_hit(&ask(&gateway, &[input], 1), &answer(&[input]));
        }
    }
}

#[test]
fn a_client_that_leaves_is_nobodys_business() {
    let gateway = gateway(RULE);
    with_one(&gateway);
    let left = ask(&gateway, &["four", "one"], 0);
    left.disconnect();
    let stays = ask(&gateway, &["one", "seven"], 0);
    for call in gateway.callouts() {
        let seven = call.body().windows(5).any(|window| window == b"seven");
        respond(call, &answer(if seven { &["seven"] } else { &["four"] }));
    }
    assert_eq!(stays.text(), answer(&["one", "seven"]));
    assert!(!gateway.worker(0).is_dead());
    gateway.tick();
    assert_eq!(gateway.worker(0).open_streams(), 0);
}

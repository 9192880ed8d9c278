//! Streams that are asked for their usage, through the release module: both bodies are changed where the host holds them, and
//! nothing of them is lost.

use selvage_host::{Gateway, Headers, OriginResponse, Stream};

use crate::{assert_hit, cache_status};

const PATH: &str = "/v1/chat/completions";
const QUESTION: &str = r#"{"model":"m","seed":1,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const BEGIN: &str = concat!(
    ": ping\n\ndata: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
);
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

const RULES: &str = r#"{"models":[{"name":"m","input":1,"output":2}],
    "pools":[{"name":"one","fixed":1,"queue":{"wait":{"normal":"10s"}}}],
    "rules":[
        {"name":"out","match":{"paths":["/out/*"]},"bypass":true,"cache_status":"off","llm":{"api":"openai","usage":"ask"}},
        {"name":"pool","match":{"paths":["/pool/*"]},"admission":{"pool":"one"},"llm":{"api":"openai","usage":"ask"}},
        {"name":"chat","llm":{"api":"openai","usage":"ask","cache":{}}}]}"#;

fn asking(body: &str) -> String {
    body.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1)
}

fn events() -> OriginResponse {
    OriginResponse::status(200).header("content-type", "text/event-stream")
}

fn gateway() -> Gateway {
    let whole = |_: &_| events().chunk(BEGIN).chunk(USAGE).chunk(DONE);
    Gateway::with(RULES).workers(2).shows_bodies().origin(whole).start()
}

#[test]
fn both_bodies_are_changed_wherever_they_are_cut() {
    let (told, untold) = (format!("{BEGIN}{USAGE}{DONE}"), format!("{BEGIN}{DONE}"));
    for cut in (0..told.len()).step_by(7) {
        let gateway = gateway();
        let (begin, end) = QUESTION.split_at(cut % QUESTION.len());
        let length = QUESTION.len().to_string();
        for (nth, path) in [PATH, "/out/v1/chat/completions", "/pool/v1/chat/completions"].iter().enumerate()
        {
            let (head, tail) = told.split_at(cut);
            gateway
                .origin()
                .next(events().header("content-length", &told.len().to_string()).chunk(head).chunk(tail));
            let ask = gateway.post(path).header("content-length", &length).header("accept-encoding", "gzip");
            let answer = ask.body(begin).body(end).send(0);
            assert_eq!(answer.text(), untold, "{path} {cut}");
            assert_eq!(answer.header("content-length"), None);
            let got = &gateway.origin().requests()[nth];
            assert_eq!(String::from_utf8_lossy(&got.body), asking(QUESTION));
            assert_eq!(got.header("content-length"), Some(asking(QUESTION).len().to_string()));
        }
        for worker in [0, 1] {
            assert_hit(&gateway.post(PATH).body(QUESTION).send(worker), &untold);
        }
        gateway.node().tick();
        let counted = |word: &str| gateway.metric(&format!("selvage.llm_{word}"));
        assert_eq!(
            ["requests.m.told", "requests.m.estimated"].map(|word| counted(word).unwrap_or(0)),
            [3, 0]
        );
        assert_eq!(["tokens.m.input", "tokens.m.output"].map(counted), [Some(30), Some(15)]);
    }
}

/// What trailers end is complete, but for the beginning of an event that nothing ends.
#[test]
fn trailers_end_a_stream_as_well() {
    let gateway = gateway();
    gateway.origin().next(events().chunk(BEGIN).chunk(USAGE).chunk(DONE).trailer("t", "1"));
    let answer = gateway.post(PATH).body(QUESTION).send(0);
    assert_eq!(answer.text(), format!("{BEGIN}{DONE}"));
    assert!(cache_status(&answer).contains("stored"));
    assert_hit(&gateway.post(PATH).body(QUESTION).send(1), &format!("{BEGIN}{DONE}"));
}

/// A request that has waited is changed in the callback of another stream.
#[test]
fn who_waits_for_a_place_is_changed_when_it_goes() {
    let gateway = gateway();
    let open = || -> Stream {
        let length = QUESTION.len().to_string();
        let stream = gateway
            .post("/pool/v1/chat/completions")
            .header("content-length", &length)
            .body(QUESTION)
            .open(0);
        stream.request_headers().request_rest();
        stream
    };
    let (first, second) = (open(), open());
    assert_eq!((first.is_paused(), second.is_paused()), (false, true));
    assert_eq!(second.upstream().body, b"");
    first.respond_with_body(Headers::from([(":status", "200"), ("content-type", "text/event-stream")]));
    first.body(BEGIN).body(USAGE).last_body(DONE);
    gateway.run();
    for stream in [&first, &second] {
        let upstream = stream.upstream();
        assert_eq!(String::from_utf8_lossy(&upstream.body), asking(QUESTION));
        let length = upstream.headers.and_then(|headers| headers.get("content-length"));
        assert_eq!(length, Some(asking(QUESTION).len().to_string()));
    }
    assert_eq!(first.text(), format!("{BEGIN}{DONE}"));
}

/// Where the host shows no bodies of what is held, the request goes as it came, and so does its answer.
#[test]
fn a_host_that_shows_no_bodies_gets_requests_as_they_are() {
    let told = format!("{BEGIN}{USAGE}{DONE}");
    let gateway = Gateway::with(RULES)
        .workers(1)
        .origin(move |_: &_| events().chunk(BEGIN).chunk(USAGE).chunk(DONE))
        .start();
    let stream = gateway.post("/out/v1/chat/completions").body(QUESTION).open(0);
    stream.request_headers().request_rest();
    assert!(stream.is_paused());
    gateway.advance(2);
    gateway.tick();
    assert!(!stream.is_paused());
    assert_eq!(String::from_utf8_lossy(&stream.upstream().body), QUESTION);
    stream.respond_with_body(Headers::from([(":status", "200"), ("content-type", "text/event-stream")]));
    stream.body(BEGIN).body(USAGE).last_body(DONE);
    assert_eq!(stream.text(), told);
}

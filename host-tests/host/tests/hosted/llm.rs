//! Answers of language models through the release module: bodies that come in parts, on the way there and back.

use selvage_host::{Gateway, Headers, OriginResponse};

use crate::{assert_forwarded, assert_hit, cache_status};

const RULE: &str = r#"{"rules":[{"name":"chat","llm":{"api":"openai","cache":{}}}]}"#;
const PATH: &str = "/v1/chat/completions";
const QUESTION: &str = r#"{"model":"m","seed":1,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const STREAM: &str = concat!(
    ": ping\n\ndata: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
);

fn events() -> OriginResponse {
    OriginResponse::status(200)
        .header("content-type", "text/event-stream")
        .header("cache-control", "no-store")
        .header("set-cookie", "a=1")
}

fn gateway() -> Gateway {
    let whole = |_: &_| events().chunk(STREAM);
    Gateway::with(RULE).workers(2).shows_bodies().origin(whole).start()
}

#[test]
fn a_stream_comes_again_byte_for_byte_in_every_worker_however_both_bodies_were_cut() {
    for cut in (0..STREAM.len()).step_by(7) {
        let gateway = gateway();
        let (head, tail) = STREAM.split_at(cut);
        gateway.origin().next(events().chunk(head).chunk(tail));
        let (begin, end) = QUESTION.split_at(cut % QUESTION.len());
        let first = gateway.post(PATH).header("accept-encoding", "gzip").body(begin).body(end).send(0);
        assert_forwarded(&first, "uri-miss");
        assert!(cache_status(&first).contains("stored"));
        assert_eq!(first.text(), STREAM);
        assert_eq!(gateway.origin().requests()[0].header("accept-encoding"), None);
        for worker in [0, 1] {
            let again = gateway.post(PATH).body(QUESTION).send(worker);
            assert_hit(&again, STREAM);
            assert_eq!(again.header("content-type").as_deref(), Some("text/event-stream"));
            assert_eq!(again.header("set-cookie"), None);
        }
        assert_eq!(gateway.origin().fetches(), 1);
    }
}

#[test]
fn what_is_cut_and_what_breaks_off_is_not_stored() {
    let gateway = gateway();
    let cut = STREAM.strip_suffix("data: [DONE]\n\n").expect("its end");
    for response in [
        events().chunk(cut),
        events().chunk(cut).trailer("t", "1"),
        events().chunk(STREAM.split_at(60).0).chunk("x").reset_after(1),
        events().chunk("data: {\"error\":{\"message\":\"busy\"}}\n\ndata: [DONE]\n\n"),
    ] {
        gateway.origin().next(response);
        gateway.post(PATH).body(QUESTION).send(0);
    }
    assert_eq!(gateway.origin().fetches(), 4);
    assert_forwarded(&gateway.post(PATH).body(QUESTION).send(0), "uri-miss");
    assert_hit(&gateway.post(PATH).body(QUESTION).send(1), STREAM);
    // Of two clients each has an answer of its own.
    assert_forwarded(
        &gateway.post(PATH).header("authorization", "Bearer b").body(QUESTION).send(0),
        "uri-miss",
    );
    gateway.node().tick();
    let counted = |word: &str| gateway.metric(&format!("selvage.llm_answers.{word}"));
    assert_eq!([counted("complete"), counted("cut"), counted("error")], [Some(2), Some(2), Some(1)]);
}

#[test]
fn a_request_that_is_not_for_the_cache_goes_on_as_it_came() {
    let gateway = gateway();
    for (body, word) in [
        (QUESTION.replace("\"seed\":1,", ""), "not-deterministic"),
        (QUESTION.replace("\"seed\":1", "\"seed\":1,\"seed\":2"), "ambiguous-json"),
        (QUESTION.replace("\"seed\":1", "\"seed\":1,\"conversation\":\"c\""), "stateful"),
    ] {
        let (begin, end) = body.split_at(20);
        let passed = gateway.post(PATH).body(begin).body(end).send(0);
        assert!(cache_status(&passed).contains(&format!("detail={word}")), "{}", cache_status(&passed));
        assert_eq!(passed.text(), STREAM);
    }
}

/// Whatever of the response the cache reads, tokens are counted of what goes by.
#[test]
fn tokens_of_what_passes_unread_are_counted_in_both_forms() {
    let rules = r#"{"models":[{"name":"m","input":1,"output":2}],"rules":[
        {"name":"out","match":{"paths":["/out/*"]},"bypass":true,"cache_status":"off","llm":{"api":"openai","usage":"count"}},
        {"name":"chat","llm":{"api":"openai","usage":"count","cache":{}}}]}"#;
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n";
    let stream = STREAM.replace("data: [DONE]\n\n", usage);
    let random = QUESTION.replace("\"seed\":1,", "");
    let gateway = Gateway::with(rules).workers(1).shows_bodies().origin(|_: &_| events()).start();
    for (path, cut) in [("/out/v1/chat/completions", 30), (PATH, 100), ("/out/v1/chat/completions", 199)] {
        let (head, tail) = stream.split_at(cut);
        gateway.origin().next(events().chunk(head).chunk(tail));
        let passed = gateway.post(path).header("accept-encoding", "gzip").body(&random).send(0);
        assert_eq!(passed.text(), stream);
        assert_eq!(gateway.origin().requests().last().expect("it came").header("accept-encoding"), None);
    }
    // Its end may be in trailers, or never come.
    gateway.origin().next(events().chunk(&stream).trailer("t", "1"));
    gateway.post(PATH).body(&random).send(0);
    gateway.origin().next(events().chunk(STREAM.split_at(120).0).chunk("x").reset_after(1));
    gateway.post("/out/v1/chat/completions").body(&random).send(0);
    gateway.origin().next(events().chunk(&stream));
    gateway.post(PATH).body(QUESTION).send(0);
    assert_hit(&gateway.post(PATH).body(QUESTION).send(0), &stream);
    gateway.node().tick();
    let counted = |word: &str| gateway.metric(&format!("selvage.llm_{word}"));
    assert_eq!(
        ["requests.m.told", "requests.m.estimated", "requests.m.saved"].map(counted),
        [Some(5), Some(1), Some(1)]
    );
    assert_eq!(["saved_tokens.m.input", "saved_tokens.m.output"].map(counted), [Some(10), Some(5)]);
    assert_eq!(counted("cost_nanos.m.saved"), Some(20_000));
}

#[test]
fn operators_see_who_ends_streams() {
    let rules = r#"{"rules":[{"name":"chat","llm":{"api":"openai","usage":"count"}}]}"#;
    let gateway = Gateway::with(rules).workers(2).origin(|_: &_| events().chunk(STREAM)).start();
    gateway.post(PATH).body(QUESTION).send(0);
    gateway.origin().next(events().chunk(STREAM.split_at(60).0).chunk("x").reset_after(1));
    gateway.post(PATH).body(QUESTION).send(1);
    let leaves = gateway.post(PATH).body(QUESTION).open(0);
    let head = Headers::from([(":status", "200"), ("content-type", "text/event-stream")]);
    leaves.request_headers().request_rest().respond_with_body(head).body(STREAM.split_at(60).0);
    gateway.node().tick();
    assert_eq!(gateway.metric("selvage.live.llm-streams"), Some(1));
    leaves.disconnect();
    gateway.node().tick();
    let of = |word: &str| gateway.metric(&format!("selvage.{word}"));
    let ended = ["whole", "origin", "client"].map(|word| of(&format!("llm_streams.{word}")));
    assert_eq!((ended, of("live.llm-streams")), ([Some(1), Some(1), Some(1)], Some(0)));
    assert_eq!(gateway.samples("selvage.llm_stream_ms.duration").len(), 3);
}

#[test]
fn both_workers_take_tokens_of_one_quota_and_what_is_not_used_comes_back() {
    let rules = r#"{"limits":[{"name":"all","by":[],"unit":"tokens","quota":1000,"window":"1h","burst":1000}],
        "rules":[{"name":"chat","limits":["all"],"llm":{"api":"openai","cache":{"when":"all"}}}]}"#;
    let answer = r#"{"model":"m","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":60,"completion_tokens":40}}"#;
    let json =
        move |_: &_| OriginResponse::status(200).header("content-type", "application/json").chunk(answer);
    let gateway = Gateway::with(rules).workers(2).shows_bodies().origin(json).start();
    // Of 300 bytes: 100 tokens for itself.
    let question = |nth: usize, most: usize| {
        let begin = format!(r#"{{"model":"m","max_tokens":{most},"nth":{nth},"messages":""#);
        format!("{begin}{}\"}}", "x".repeat(298 - begin.len()))
    };
    let mut admitted = 0;
    for (most, times) in [(500, 5), (100, 4)] {
        for nth in 0..times + 1 {
            let body = question(most + nth, most);
            let (head, tail) = body.split_at(nth * 20);
            let got = gateway.post(PATH).body(head).body(tail).send(nth % 2);
            let status = if nth < times { 200 } else { 429 };
            assert_eq!(got.status(), status, "{most} {nth}");
            admitted += usize::from(status == 200);
        }
    }
    assert_eq!((admitted, gateway.origin().fetches()), (9, 9));
}

/// Of what passes unread only the head is looked at, and what was taken for it comes back.
#[test]
fn what_is_no_question_and_what_fails_takes_nothing_in_the_end() {
    let rules = r#"{"limits":[{"name":"all","by":[],"unit":"tokens","quota":1000,"window":"1h","burst":1000,"cost":300}],
        "rules":[{"name":"chat","limits":["all"],"bypass":true,"llm":{"api":"openai"}}]}"#;
    let gateway =
        Gateway::with(rules).workers(2).origin(|_: &_| OriginResponse::status(200).chunk("{}")).start();
    for nth in 0..40 {
        assert_eq!(gateway.get("/v1/models").send(nth % 2).status(), 200, "{nth}");
        gateway.origin().next(OriginResponse::status(503).chunk("busy"));
        assert_eq!(gateway.post(PATH).body(QUESTION).send(nth % 2).status(), 503, "{nth}");
    }
}

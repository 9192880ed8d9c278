//! Answers of language models on the real Envoy: they come again byte for byte, from every store, and to nobody else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::provider::{Provider, Usage, events, openai_stream};
use selvage_rig::scripted::{Answer, Gate};

use super::{assert_says, becomes};

const TOKEN: &str = "a-token-of-some-length";

const RULES: &str = r#"{ "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" }, "rules": [
    { "name": "chat", "match": { "paths": ["/v1/*"] }, "coalesce": { "wait": "20s", "body_wait": "20s" },
      "llm": { "api": "openai", "cache": { "ttl": "1h" } } },
    { "name": "messages", "match": { "paths": ["/anthropic/*"] }, "llm": { "api": "anthropic", "cache": { "when": "all" } } }
] }"#;

fn body(question: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"gpt-t","temperature":0,"stream":{stream},"messages":[{{"role":"user","content":"{question}"}}]}}"#
    )
}

fn ask(gateway: &Gateway, path: &str, key: &str, body: &str) -> Response {
    gateway
        .ask("POST", path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .header("accept-encoding", "gzip, br")
        .body(body)
        .send()
}

#[test]
fn answers_come_again_byte_for_byte_and_to_nobody_else() {
    let provider = Provider::start();
    let gateway =
        Gateway::with(RULES).origin(provider.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
    let chat = |key: &str, body: &str| ask(&gateway, "/v1/chat/completions", key, body);
    for stream in [true, false] {
        let question = body("one", stream);
        let first = chat("a", &question);
        assert_says(&first, "fwd=uri-miss");
        assert_says(&first, "stored");
        // In every worker, on connections of their own.
        for _ in 0..8 {
            let again =
                chat("a", &question.replace("\"temperature\":0,", "\"temperature\": 0.0, \"user\":\"u\","));
            assert!(again.is_hit(), "{:?}", again.cache_status());
            assert_eq!(again.body, first.body);
            assert_eq!(again.all("content-length"), [first.body.len().to_string()]);
            assert_eq!(again.all("content-type"), first.all("content-type"));
            for name in
                ["set-cookie", "openai-organization", "x-ratelimit-remaining-requests", "transfer-encoding"]
            {
                assert!(again.all(name).is_empty(), "{name}");
            }
            assert_eq!(again.all("age").len(), 1);
        }
        let other = chat("b", &question);
        assert_says(&other, "fwd=uri-miss");
        assert_ne!(other.body, first.body);
    }
    assert_eq!(provider.answers(), 4);
    let asked = provider.origin().received("/v1/chat/completions");
    assert!(asked.iter().all(|request| request.header("accept-encoding").is_none()));
    let message = ask(&gateway, "/anthropic/v1/messages", "a", &body("one", true));
    let again = ask(&gateway, "/anthropic/v1/messages", "a", &body("one", true));
    assert!(again.is_hit() && again.body == message.body && again.text().ends_with("message_stop\"}\n\n"));
    for (question, word) in [
        (body("x", false).replace(":0,", ":1,"), "not-deterministic"),
        (body("x", false).replace("{\"model\"", "{\"model\":\"other\",\"model\""), "ambiguous-json"),
        (format!("\"{}\"", "x".repeat(1 << 20)), "request-body-too-large"),
    ] {
        let passed = chat("a", &question);
        assert_eq!(passed.status, 200, "{word}");
        assert_says(&passed, &format!("detail={word}"));
    }
    // A model is purged by its name.
    let purge = gateway.ask("POST", "/.selvage/purge").header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(purge.body(r#"{"tags":["model:gpt-t-2026"]}"#).send().status, 200);
    becomes(|| chat("a", &body("one", true)), |answer| !answer.is_hit());
    assert!(ask(&gateway, "/anthropic/v1/messages", "a", &body("one", true)).is_hit());
    gateway.assert_sound();
}

#[test]
fn what_is_not_whole_is_never_stored() {
    let provider = Provider::start();
    let gateway =
        Gateway::with(RULES).origin(provider.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
    let whole = openai_stream(0, Usage::Untold);
    let cut = whole.strip_suffix("data: [DONE]\n\n").unwrap().to_owned();
    type Script = Box<dyn Fn() -> Answer + Send + Sync>;
    let scripts: [(&str, Script); 3] = [
        ("/v1/ended/chat/completions", Box::new(move || events(&cut))),
        ("/v1/broken/chat/completions", Box::new(move || events(&whole).breaks_after(200))),
        (
            "/v1/failed/chat/completions",
            Box::new(|| events("data: {\"error\":{\"message\":\"overloaded\"}}\n\ndata: [DONE]\n\n")),
        ),
    ];
    for (path, script) in scripts {
        provider.origin().on(path, move |_| script());
        for nth in 1..=3 {
            let answer = gateway.ask("POST", path).body(body("one", true)).try_send();
            assert!(answer.is_err() || !answer.unwrap().is_hit(), "{path}");
            assert_eq!(provider.origin().count(path), nth, "{path}");
        }
    }
    gateway.assert_sound();
}

/// Those who ask for JSON share one call; a stream reaches its client while it comes.
#[test]
fn json_is_asked_for_once_and_streams_pass_at_once() {
    let provider = Provider::start();
    let gateway =
        Gateway::with(RULES).origin(provider.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
    let gate = Gate::new();
    let asked = Arc::new(AtomicBool::new(false));
    let (waits, seen) = (gate.clone(), Arc::clone(&asked));
    provider.origin().on("/v1/slow/chat/completions", move |request| {
        seen.store(true, Ordering::SeqCst);
        selvage_rig::provider::answer(request, 0).waits_for(&waits)
    });
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| ask(&gateway, "/v1/slow/chat/completions", "a", &body("one", false))))
            .collect();
        becomes(|| asked.load(Ordering::SeqCst), |asked| *asked);
        gate.open();
        let answers: Vec<Response> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    });
    assert_eq!(provider.origin().count("/v1/slow/chat/completions"), 1);

    let (first_came, goes_on) = mpsc::channel::<()>();
    let goes_on = Arc::new(Mutex::new(goes_on));
    provider.origin().on("/v1/live/chat/completions", move |_| {
        let goes_on = Arc::clone(&goes_on);
        events(openai_stream(0, Usage::Untold)).halts_after(60, move || {
            goes_on
                .lock()
                .unwrap()
                .recv_timeout(Duration::from_secs(20))
                .expect("the client has got the first part");
        })
    });
    let question = body("one", true);
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    let length = question.len();
    let head = "POST /v1/live/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close";
    write!(client, "{head}\r\ncontent-length: {length}\r\n\r\n{question}").unwrap();
    let mut got = Vec::new();
    let mut part = [0; 1024];
    while !String::from_utf8_lossy(&got).contains(": ping") {
        let read = client.read(&mut part).unwrap();
        assert!(read > 0, "it ended before its first part");
        got.extend_from_slice(&part[..read]);
    }
    first_came.send(()).unwrap();
    client.read_to_end(&mut got).unwrap();
    assert!(String::from_utf8_lossy(&got).contains("stored"));
    let again =
        gateway.ask("POST", "/v1/live/chat/completions").header("host", "localhost").body(question).send();
    assert!(again.is_hit() && again.text() == openai_stream(0, Usage::Untold), "{:?}", again.cache_status());
    gateway.assert_sound();
}

/// Of both workers together, of what is stored and of what is not, and of a client that leaves.
#[test]
fn tokens_are_counted_by_model_and_priced() {
    let provider = Provider::start();
    let rules = r#"{ "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" },
        "models": [ { "name": "gpt-t", "input": 2.5, "output": 10 }, { "name": "claude", "input": "3", "cached": 0.3, "output": 15 } ],
        "rules": [
            { "name": "messages", "match": { "paths": ["/anthropic/*"] }, "bypass": true, "llm": { "api": "anthropic", "usage": "count" } },
            { "name": "chat", "llm": { "api": "openai", "usage": "count", "cache": {} } } ] }"#;
    let gateway =
        Gateway::with(rules).origin(provider.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
    for nth in 0..8 {
        let answer = ask(&gateway, "/v1/chat/completions", "a", &body("one", false));
        assert_eq!(answer.is_hit(), nth > 0, "{:?}", answer.cache_status());
        let random =
            body("one", true).replace("\"temperature\":0,", "\"stream_options\":{\"include_usage\":true},");
        assert_says(&ask(&gateway, "/v1/chat/completions", "a", &random), "detail=not-deterministic");
        assert_eq!(ask(&gateway, "/anthropic/v1/messages", "a", &body("one", true)).status, 200);
    }
    // One that leaves before the end: what has passed until then is estimated.
    let (ends, goes_on) = mpsc::channel::<()>();
    let goes_on = Arc::new(Mutex::new(goes_on));
    provider.origin().on("/v1/left/chat/completions", move |_| {
        let goes_on = Arc::clone(&goes_on);
        events(openai_stream(0, Usage::Told)).halts_after(360, move || {
            let _ = goes_on.lock().unwrap().recv_timeout(Duration::from_secs(20));
        })
    });
    let question = body("one", true);
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    let length = question.len();
    let head = "POST /v1/left/chat/completions HTTP/1.1\r\nhost: localhost";
    write!(client, "{head}\r\ncontent-length: {length}\r\n\r\n{question}").unwrap();
    let mut got = Vec::new();
    let mut part = [0; 1024];
    while !String::from_utf8_lossy(&got).contains("answer 0") {
        let read = client.read(&mut part).unwrap();
        assert!(read > 0, "it ended before its answer: {}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&part[..read]);
    }
    drop(client);
    let counted = |word: &str| gateway.stat(&format!("wasmcustom.selvage.llm_{word}"));
    becomes(|| counted("requests.gpt-t.estimated"), |count| *count == 1);
    drop(ends);
    for (word, times) in
        [("requests.gpt-t.told", 9), ("requests.gpt-t.saved", 7), ("requests.claude.told", 8)]
    {
        becomes(|| counted(word), |count| *count == times);
    }
    assert_eq!([counted("saved_tokens.gpt-t.input"), counted("saved_tokens.gpt-t.output")], [63, 14]);
    assert_eq!(counted("cost_nanos.gpt-t.saved"), 7 * (9 * 2500 + 2 * 10_000));
    assert_eq!(counted("cost_nanos.claude.spent"), 8 * (9 * 3000 + 2 * 15_000));
    let report =
        gateway.ask("GET", "/.selvage/report").header("authorization", format!("Bearer {TOKEN}")).send();
    assert!(report.text().contains(r#""model":"claude""#), "{}", report.text());
    let metrics = gateway.admin("/stats/prometheus");
    let cost = 8 * (9 * 3000 + 2 * 15_000);
    let said = format!("selvage_llm_cost_nanos{{result=\"spent\",model=\"claude\"}} {cost}");
    assert!(metrics.lines().any(|line| line == said), "{said}");
    gateway.assert_sound();
}

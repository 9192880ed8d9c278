//! Answers of language models on the real Envoy: they come again byte for byte, from every store, and to nobody else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response, repository};
use selvage_rig::provider::{Provider, Usage, events, json, openai_stream};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Gate};
use serde_json::Value;

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
    // One that its provider breaks off.
    let broken = || events(openai_stream(0, Usage::Told)).breaks_after(300);
    provider.origin().on("/v1/broken/chat/completions", move |_| broken());
    let _ = gateway.ask("POST", "/v1/broken/chat/completions").body(body("one", true)).try_send();
    for (word, times) in [("streams.origin", 1), ("streams.client", 1), ("streams.whole", 16)] {
        becomes(|| counted(word), |count| *count == times);
    }
    assert_eq!(gateway.stat("wasmcustom.selvage.live.llm-streams"), 0);
    let report =
        gateway.ask("GET", "/.selvage/report").header("authorization", format!("Bearer {TOKEN}")).send();
    let streams = r#""streams":{"ended":{"client":1,"origin":1,"timeout":0,"whole":16}"#;
    for part in [r#""model":"claude""#, streams] {
        assert!(report.text().contains(part), "{}", report.text());
    }
    let metrics = gateway.admin("/stats/prometheus");
    let cost = 8 * (9 * 3000 + 2 * 15_000);
    let said = format!("selvage_llm_cost_nanos{{result=\"spent\",model=\"claude\"}} {cost}");
    assert!(metrics.lines().any(|line| line == said), "{said}");
    // Envoy adds up histograms now and then.
    let durations = "selvage_llm_stream_ms_count{step=\"duration\"} 18";
    becomes(|| gateway.admin("/stats/prometheus"), |metrics| metrics.lines().any(|line| line == durations));
    gateway.assert_sound();
}

/// At the edge of a quota of tokens, many at once at two Envoys with two workers each: never more than there is.
#[test]
fn a_fleet_never_uses_more_tokens_than_there_are() {
    let (provider, bridge) = (Provider::start(), Bridge::start());
    let config = r#"{ "remote": { "enabled": true, "timeout": "2s" },
        "limits": [ { "name": "team", "by": ["header:x-team"], "unit": "tokens", "scope": "fleet", "quota": 3000, "window": "1h", "burst": 3000 } ],
        "rules": [ { "name": "chat", "limits": ["team"], "llm": { "api": "openai", "cache": { "when": "all", "coalesce": "none" } } } ] }"#;
    let fleet = [(); 2].map(|()| Gateway::with(config).origin(provider.url()).bridge(bridge.port()).start());
    // Each may use 100, and uses all of it.
    let question = |nth: usize| {
        let begin = format!(
            r#"{{"model":"gpt-t","max_tokens":40,"n{nth}":1,"messages":[{{"role":"user","content":""#
        );
        let rest = 180 - begin.len() - 4;
        format!("{begin}{}\"}}]}}", "x".repeat(rest))
    };
    provider.origin().on("/v1/chat/completions", |_| {
        json(r#"{"id":"c","model":"gpt-t","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"length"}],"usage":{"prompt_tokens":60,"completion_tokens":40}}"#)
    });
    let statuses: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|nth| {
                let gateway = &fleet[nth % 2];
                scope.spawn(move || {
                    let ask = gateway.ask("POST", "/v1/chat/completions").header("x-team", "a");
                    ask.body(question(nth)).send().status
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    // What one Envoy has leased and another would need is forgotten: rather a few too few.
    assert!((25..=30).contains(&admitted), "{admitted}");
    assert_eq!(provider.origin().count("/v1/chat/completions"), admitted);
    // What is not used comes back: of a team that bounds its answers loosely.
    provider.origin().on("/v1/loose/chat/completions", |_| {
        json(r#"{"id":"c","model":"gpt-t","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":5}}"#)
    });
    for nth in 0..5 {
        let loose = question(nth).replace(":40", ":2000");
        let ask = || fleet[nth % 2].ask("POST", "/v1/loose/chat/completions").header("x-team", "b");
        becomes(|| ask().body(&loose).send().status, |status| *status == 200);
    }
    let refused =
        fleet[1].ask("POST", "/v1/chat/completions").header("x-team", "a").body(question(99)).send();
    assert_eq!((refused.status, refused.all("content-type")), (429, vec!["application/json".to_owned()]));
    assert!(refused.text().contains("rate_limit_exceeded") && !refused.all("retry-after").is_empty());
    fleet.iter().for_each(Gateway::assert_sound);
}

/// What a client library makes of the answers to its questions.
fn asked_with(library: &str, folder: &str, provider: &str, gateway: &Gateway) -> Value {
    let folder = repository().join(".node").join(folder);
    assert!(
        folder.join("node_modules").join(library).is_dir(),
        "no {library}: ./host-tests/run e2e installs it"
    );
    let output = std::process::Command::new("node")
        .arg(repository().join("host-tests/rig/tests/e2e/llm_clients.mjs"))
        .arg(folder)
        .args([provider, &format!("http://{}", gateway.address())])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the client has made of requests for embeddings by their inputs: each vector has the place of its input and the length that
/// this has, whoever brought it.
fn assert_vectors(seen: &Value) {
    let told = |nth: usize| &seen["vectors"][nth]["told"];
    let said = |nth: usize| seen["vectors"][nth]["status"].as_str().unwrap().to_owned();
    let lengths = |nth: usize| -> Vec<(u64, u64)> {
        let vectors = told(nth)[0].as_array().unwrap();
        vectors.iter().map(|item| (item[0].as_u64().unwrap(), item[1][1].as_f64().unwrap() as u64)).collect()
    };
    type Vectors<'a> = &'a [(u64, u64)];
    let wanted: [(&str, Vectors<'_>, u64); 7] = [
        ("fwd=uri-miss; fwd-status=200; stored", &[(0, 5), (1, 7)], 6),
        ("; hit;", &[(0, 7), (1, 5), (2, 7)], 9),
        ("fwd=partial; fwd-status=200; stored; ttl=", &[(0, 5), (1, 5)], 6),
        ("; hit;", &[(0, 5)], 3),
        ("fwd=uri-miss; fwd-status=200; stored", &[(0, 5), (1, 3)], 6),
        ("detail=by-input", &[(0, 3), (1, 5)], 5),
        ("; hit;", &[(0, 5)], 3),
    ];
    for (nth, (status, vectors, tokens)) in wanted.into_iter().enumerate() {
        assert!(said(nth).contains(status), "{nth}: {}", said(nth));
        assert_eq!((lengths(nth), told(nth)[1].as_u64()), (vectors.to_vec(), Some(tokens)), "{nth}");
    }
    // The same input has the same vector, with all its digits.
    assert_eq!(told(0)[0][0][1], told(1)[0][1][1]);
    assert_eq!(told(0)[0][0][1], told(2)[0][1][1]);
    assert_eq!(told(2)[0][0][1], told(3)[0][0][1]);
    let floats = &seen["floats"];
    assert_eq!(floats[0]["told"][0][1], floats[1]["told"][0][1]);
    assert!(floats[1]["status"].as_str().unwrap().contains("detail=by-input"), "{floats}");
}

/// The clients that applications use see no difference between an answer and its replay, and know a refusal for what it is.
#[test]
fn the_client_libraries_of_applications_understand_replays_and_refusals() {
    let provider = Provider::start();
    let rules = r#"{ "limits": [ { "name": "small", "by": [], "unit": "tokens", "quota": 1, "window": "1h" } ],
        "rules": [
            { "name": "small-chat", "match": { "paths": ["/small/v1/*"] }, "limits": ["small"], "llm": { "api": "openai", "cache": {} } },
            { "name": "small-messages", "match": { "paths": ["/small/*"] }, "limits": ["small"], "llm": { "api": "anthropic", "cache": {} } },
            { "name": "messages", "match": { "paths": ["/anthropic/*"] }, "llm": { "api": "anthropic", "usage": "count", "cache": {} } },
            { "name": "vectors", "match": { "paths": ["/vectors/*"] },
              "llm": { "api": "openai", "usage": "count", "cache": {}, "embeddings": { "by_input": true, "cluster": "origin" } } },
            { "name": "chat", "llm": { "api": "openai", "usage": "ask", "cache": {} } } ] }"#;
    let gateway = Gateway::with(rules).origin(provider.url()).start();
    // What there is of the small quota is used.
    let used = gateway.ask("POST", "/small/v1/chat/completions").body(body("x", false)).send();
    assert_eq!(used.status, 200);
    for (library, folder, api, error) in [
        ("openai", "openai", "openai", "rate_limit_exceeded"),
        ("@anthropic-ai/sdk", "anthropic", "anthropic", "rate_limit_error"),
    ] {
        let seen = asked_with(library, folder, api, &gateway);
        for kind in ["json", "stream", "unasked", "embeddings"] {
            let Some(two) = seen[kind].as_array() else { continue };
            assert_eq!(two[0]["told"], two[1]["told"], "{api} {kind}");
            assert!(two[0]["told"].to_string().len() > 5, "{api} {kind}: {}", two[0]);
            let statuses = [0, 1].map(|nth| two[nth]["status"].as_str().unwrap().to_owned());
            assert!(
                statuses[0].contains("stored") && statuses[1].contains("; hit;"),
                "{api} {kind}: {statuses:?}"
            );
        }
        if api == "openai" {
            assert_vectors(&seen);
        }
        let refused = &seen["refused"];
        assert_eq!(
            (&refused["name"], &refused["status"]),
            (&Value::from("RateLimitError"), &Value::from(429)),
            "{refused}"
        );
        assert!(refused["error"].to_string().contains(error), "{refused}");
        assert!(refused["retry"].as_str().unwrap().parse::<u64>().unwrap() > 0, "{refused}");
    }
    // All have told what they have used: of the small quota one, of OpenAI four and six for vectors, of Anthropic two.
    becomes(|| gateway.stat("llm_requests.other.told"), |told| *told == 1 + 4 + 6 + 2);
    assert_eq!(gateway.stat("llm_requests.other.estimated"), 0);
    gateway.assert_sound();
}

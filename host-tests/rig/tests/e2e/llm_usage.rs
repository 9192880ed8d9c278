//! Streams of language models that are asked for their usage, on the real Envoy: from every place where a request may have
//! waited, however both bodies come, and seen by nobody but the provider and the counters.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::provider::{Provider, Usage, events, openai_stream};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Gate, Received};

use super::{assert_says, becomes};

const CHAT: &str = "/chat/completions";

const CONFIG: &str = r#"{ "remote": { "enabled": true, "timeout": "2s" },
    "pools": [ { "name": "one", "fixed": 1, "queue": { "wait": { "normal": "20s" } } } ],
    "limits": [ { "name": "fleet", "by": [], "unit": "tokens", "scope": "fleet", "quota": 100000000, "window": "1h" } ],
    "rules": [
        { "name": "out", "match": { "paths": ["/out/*"] }, "bypass": true, "llm": { "api": "openai", "usage": "ask" } },
        { "name": "plain", "match": { "paths": ["/plain/*"] }, "llm": { "api": "openai", "usage": "ask" } },
        { "name": "pool", "match": { "paths": ["/pool/*"] }, "admission": { "pool": "one" },
          "llm": { "api": "openai", "usage": "ask", "cache": { "when": "all", "coalesce": "none" } } },
        { "name": "lease", "match": { "paths": ["/lease/*"] }, "limits": ["fleet"], "llm": { "api": "openai", "usage": "ask" } },
        { "name": "stored", "llm": { "api": "openai", "usage": "ask", "cache": {} } } ] }"#;

fn body(question: &str) -> String {
    format!(
        r#"{{"model":"gpt-t","temperature":0,"stream":true,"messages":[{{"role":"user","content":"{question}"}}]}}"#
    )
}

/// The body that the provider gets for it.
fn asking(body: &str) -> String {
    body.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1)
}

fn start() -> (Provider, Bridge, Gateway) {
    let (provider, bridge) = (Provider::start(), Bridge::start());
    let gateway = Gateway::with(CONFIG).origin(provider.url()).bridge(bridge.port()).start();
    (provider, bridge, gateway)
}

fn last(provider: &Provider, path: &str) -> Received {
    provider.origin().received(path).pop().unwrap()
}

fn told(gateway: &Gateway) -> [u64; 2] {
    ["told", "estimated"].map(|word| gateway.stat(&format!("llm_requests.other.{word}")))
}

#[test]
fn the_provider_is_asked_and_the_client_and_the_store_get_what_they_would_have_got() {
    let (provider, _bridge, gateway) = start();
    let mut asked = 0;
    for prefix in ["/out", "/plain", "/pool", "/lease", "/v1"] {
        let path = format!("{prefix}{CHAT}");
        for (nth, chunked) in [false, true, false].into_iter().enumerate() {
            let question = if nth == 2 { body(&"x".repeat(300_000)) } else { body(&format!("q{nth}")) };
            let ask = || {
                let ask = gateway.ask("POST", &path).header("content-type", "application/json");
                let (head, tail) = question.as_bytes().split_at(40);
                if chunked { ask.chunks(&[head, tail]).send() } else { ask.body(&question).send() }
            };
            let answer = ask();
            let stream = openai_stream(asked, Usage::Untold);
            asked += 1;
            assert_eq!((answer.status, answer.text()), (200, stream.clone()), "{path} {nth}");
            let received = last(&provider, &path);
            assert!(received.body == asking(&question).as_bytes(), "{path} {nth}");
            if !chunked {
                assert_eq!(received.header("content-length"), Some(received.body.len().to_string()));
            }
            assert!(received.header("accept-encoding").is_none());
            if matches!(prefix, "/v1" | "/pool") {
                assert_says(&answer, "stored");
                for _ in 0..4 {
                    let again = ask();
                    assert!(again.is_hit() && again.text() == stream, "{:?}", again.cache_status());
                }
            }
        }
    }
    becomes(|| told(&gateway), |counted| *counted == [asked, 0]);
    // Who asks for it gets it; who has not been understood gets what comes.
    let own = asking(&body("own"));
    let answer = gateway.ask("POST", "/v1/chat/completions").body(&own).send();
    assert_eq!(answer.text(), openai_stream(asked, Usage::Told));
    assert!(last(&provider, "/v1/chat/completions").body == own.as_bytes());
    let twice = body("x").replace("{\"model\"", "{\"model\":\"m\",\"model\"");
    for path in ["/v1/chat/completions", "/out/chat/completions"] {
        let answer = gateway.ask("POST", path).body(&twice).send();
        assert!(last(&provider, path).body == twice.as_bytes() && answer.status == 200);
    }
    gateway.assert_sound();
}

/// Whoever has waited for a place is changed when it goes, from a callback of another stream.
#[test]
fn who_waits_for_a_place_is_made_to_ask_when_it_gets_one() {
    let (provider, _bridge, gateway) = start();
    let gate = Gate::new();
    let waits = gate.clone();
    provider.origin().on("/pool/chat/completions", move |request| {
        selvage_rig::provider::answer(request, 7).waits_for(&waits)
    });
    let answers: Vec<Response> = thread::scope(|scope| {
        let ask = |nth: usize| {
            let question = body(&format!("{nth}"));
            gateway.ask("POST", "/pool/chat/completions").body(question).send()
        };
        let clients: Vec<_> = (0..6).map(|nth| scope.spawn(move || ask(nth))).collect();
        // Each worker has a place at least.
        let there = || ["waiting-normal", "in-flight"].map(|word| gateway.stat(&format!("pool.one.{word}")));
        becomes(there, |[waiting, going]| *waiting >= 4 && waiting + going == 6);
        gate.open();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!((answer.status, answer.text()), (200, openai_stream(7, Usage::Untold)));
    }
    let received = provider.origin().received("/pool/chat/completions");
    assert_eq!(received.len(), 6);
    for request in received {
        let sent = String::from_utf8(request.body.clone()).unwrap();
        assert!(sent.starts_with(r#"{"stream_options":{"include_usage":true},"model""#), "{sent}");
        assert_eq!(request.header("content-length"), Some(sent.len().to_string()));
    }
    becomes(|| told(&gateway), |counted| *counted == [6, 0]);
    gateway.assert_sound();
}

/// Each event is with the client before the next one comes, however long that takes.
#[test]
fn events_pass_at_once_and_lengths_and_broken_ends_are_told_as_they_are() {
    let (provider, _bridge, gateway) = start();
    let (goes_on, waits) = mpsc::channel::<()>();
    let waits = Arc::new(Mutex::new(waits));
    provider.origin().on("/v1/live/chat/completions", move |_| {
        let waits = Arc::clone(&waits);
        // Up to the end of the event with the answer: what comes then is the end, and the usage.
        let stream = openai_stream(0, Usage::Told);
        let length = stream.find("data: {\"choices\":[{\"index\":0,\"delta\":{},").unwrap();
        events(&stream).chunked(length, &[]).halts_after(length + 5, move || {
            waits
                .lock()
                .unwrap()
                .recv_timeout(Duration::from_secs(20))
                .expect("the client has got the first part");
        })
    });
    let question = body("one");
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    let length = question.len();
    let head = "POST /v1/live/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close";
    write!(client, "{head}\r\ncontent-length: {length}\r\n\r\n{question}").unwrap();
    let (mut got, mut part) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&got).contains("answer 0\"}}]}\n\n") {
        let read = client.read(&mut part).unwrap();
        assert!(read > 0, "it ended before its first part");
        got.extend_from_slice(&part[..read]);
    }
    goes_on.send(()).unwrap();
    client.read_to_end(&mut got).unwrap();
    let got = String::from_utf8_lossy(&got).into_owned();
    assert!(got.contains("[DONE]") && !got.contains("prompt_tokens"), "{got}");
    let again =
        gateway.ask("POST", "/v1/live/chat/completions").header("host", "localhost").body(question).send();
    assert!(again.is_hit() && again.text() == openai_stream(0, Usage::Untold), "{:?}", again.cache_status());

    let whole = || openai_stream(0, Usage::Told);
    type Script = Box<dyn Fn() -> Answer + Send + Sync>;
    let sized = move || Answer::ok(whole()).header("content-type", "text/event-stream");
    let scripts: [(&str, Script); 3] = [
        ("/v1/sized/chat/completions", Box::new(sized)),
        ("/out/sized/chat/completions", Box::new(sized)),
        ("/v1/closed/chat/completions", Box::new(move || events(whole()).until_close())),
    ];
    for (path, script) in scripts {
        provider.origin().on(path, move |_| script());
        let answer = gateway.ask("POST", path).body(body("one")).send();
        assert_eq!((answer.status, answer.text()), (200, openai_stream(0, Usage::Untold)), "{path}");
        assert!(answer.all("content-length").is_empty(), "{path}");
    }
    for bytes in [300, 420, 480] {
        let path = format!("/v1/{bytes}/chat/completions");
        provider.origin().on(&path, move |_| events(openai_stream(0, Usage::Told)).breaks_after(bytes));
        for _ in 0..2 {
            let broken = gateway.ask("POST", &path).body(body("one")).try_send();
            assert!(broken.is_err() || !broken.unwrap().is_hit(), "{path}");
        }
    }
    gateway.assert_sound();
}

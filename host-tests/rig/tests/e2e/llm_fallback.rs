//! Another model in the place of one that cannot be asked or has failed, on the real Envoy: the route follows from wherever a
//! request goes, and a failure is held while another is called.

use selvage_rig::envoy::{Gateway, Response, repository};
use selvage_rig::provider::{Provider, Usage, json, openai_stream};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Origin};

use super::{assert_says, becomes};

const CHAT: &str = "/chat/completions";

const CONFIG: &str = r#"{ "remote": { "enabled": true, "timeout": "2s" },
    "limits": [ { "name": "node", "by": ["header:x-team"], "unit": "tokens", "quota": 100, "window": "1h", "burst": 100 },
                { "name": "fleet", "by": ["header:x-team"], "unit": "tokens", "scope": "fleet", "quota": 100, "window": "1h", "burst": 100 } ],
    "defaults": { "origin_breaker": { "enabled": BREAKER, "least_calls": 2, "pause": "5m", "longest_pause": "5m" } },
    "rules": [
        { "name": "out", "match": { "paths": ["/out/*"] }, "bypass": true, LLM } },
        { "name": "plain", "match": { "paths": ["/plain/*"] }, LLM } },
        { "name": "node", "match": { "paths": ["/node/*"] }, "limits": ["node"], LLM } },
        { "name": "fleet", "match": { "paths": ["/fleet/*"] }, "limits": ["fleet"], LLM, "cache": {} } },
        { "name": "stored", LLM, "cache": { "when": "all" } } } ] }"#;

const LLM: &str = r#""llm": { "api": "openai", "usage": "ask",
    "fallback": { "header": "x-route", "value": "backup", "model": "small", "on": [ON], "cluster": "backup", "timeout": "20s" }"#;

/// The piece of a page between a line and the end of its block.
fn yaml_of(page: &str, heading: &str) -> String {
    let text = std::fs::read_to_string(repository().join("plugin/docs").join(page)).unwrap();
    let (_, from) = text.split_once(&format!("```yaml\n# {heading}")).unwrap();
    let (block, _) = from.split_once("```").unwrap();
    block.split_once('\n').unwrap().1.to_owned()
}

/// Lines, so many columns further right.
fn indented(text: &str, columns: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(columns))).collect()
}

struct Models {
    first: Origin,
    second: Provider,
    bridge: Bridge,
}

fn models() -> Models {
    Models { first: Origin::start(), second: Provider::start(), bridge: Bridge::start() }
}

impl Models {
    /// A gateway as the page has it, whose rules ask another for these reasons.
    fn gateway(&self, on: &str) -> Gateway {
        self.gateway_at(&self.first.url(), on)
    }

    fn gateway_at(&self, first: &str, on: &str) -> Gateway {
        let port = self.second.url().rsplit(':').next().unwrap().to_owned();
        let routes = indented(&yaml_of("llm-fallback.md", "route"), 24);
        let cluster = indented(&yaml_of("llm-fallback.md", "cluster").replace("18081", &port), 4);
        let edits = [
            ("                      routes:\n", format!("                      routes:\n{routes}")),
            ("\n  clusters:\n", format!("\n  clusters:\n{cluster}")),
        ];
        let edits: Vec<(&str, &str)> = edits.iter().map(|(piece, other)| (*piece, other.as_str())).collect();
        let config = CONFIG.replace("LLM", &LLM.replace("[ON]", &format!("[{on}]")));
        let config = config.replace("BREAKER", &on.contains("open").to_string());
        let gateway = Gateway::with(&config).origin(first).bridge(self.bridge.port());
        gateway.try_start_edited(&edits).unwrap_or_else(|refused| panic!("{}", refused.output))
    }

    /// What the second was asked last.
    fn last(&self, path: &str) -> (String, Option<String>) {
        let asked = self.second.origin().received(path).pop().unwrap();
        (String::from_utf8(asked.body.clone()).unwrap(), asked.header("x-route"))
    }
}

fn body(question: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"large","seed":1,"stream":{stream},"messages":[{{"role":"user","content":"{question}"}}]}}"#
    )
}

fn ask(gateway: &Gateway, path: &str, body: &str) -> Response {
    gateway
        .ask("POST", path)
        .header("content-type", "application/json")
        .header("x-team", "a")
        .body(body)
        .send()
}

#[test]
fn an_origin_that_is_left_alone_is_replaced_on_its_route() {
    let models = models();
    models.first.otherwise(|_| Answer::new(503).body("busy"));
    let gateway = models.gateway("\"open\"");
    for prefix in ["/out", "/plain", "/v1"] {
        let path = format!("{prefix}{CHAT}");
        // Both workers know of it at the next tick at the latest.
        becomes(
            || {
                let answer = ask(&gateway, &path, &body("x", false));
                (answer.status, answer.text(), answer.cache_status())
            },
            |(status, ..)| *status == 200,
        );
        for nth in 0..8 {
            for stream in [true, false] {
                let question = body(&format!("{nth}"), stream);
                let before = models.second.answers();
                let asked = models.first.count(&path);
                let answer = becomes(|| ask(&gateway, &path, &question), |answer| answer.status == 200);
                assert_says(&answer, "detail=fallback");
                assert!(!answer.cache_status().contains("stored"));
                if models.first.count(&path) == asked && stream {
                    assert_eq!(answer.text(), openai_stream(before, Usage::Untold), "{path}");
                }
                let (sent, route) = models.last(&path);
                assert!(sent.contains(r#""model":"small""#) && !sent.contains("large"), "{sent}");
                assert_eq!((sent.contains("include_usage"), route.as_deref()), (stream, Some("backup")));
            }
        }
    }
    becomes(|| gateway.stat("llm_fallbacks.open"), |count| *count >= 48);
    gateway.assert_sound();
}

/// Of this Envoy, and of a fleet: there the request has waited for Redis.
#[test]
fn what_a_limit_refuses_goes_to_another_and_clients_cannot_choose_the_route() {
    let models = models();
    models.first.otherwise(|_| json(r#"{"model":"large","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":90,"completion_tokens":90}}"#));
    let gateway = models.gateway("\"limit\"");
    for prefix in ["/node", "/fleet"] {
        let path = format!("{prefix}{CHAT}");
        let first = ask(&gateway, &path, &body("0", false));
        assert_eq!((first.status, models.first.count(&path)), (200, 1), "{}", first.text());
        let mut nth = 0;
        let mut next = || {
            nth += 1;
            ask(&gateway, &path, &body(&format!("{nth}"), nth % 2 == 0))
        };
        becomes(&mut next, |answer| answer.cache_status().contains("detail=fallback"));
        let asked = models.first.count(&path);
        for _ in 0..8 {
            let answer = next();
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_says(&answer, "detail=fallback");
            assert!(models.last(&path).0.contains(r#""model":"small""#));
        }
        assert_eq!(models.first.count(&path), asked, "{prefix}");
    }
    // A client that sets the field by itself gets the first model, whatever else becomes of its request.
    for (path, question) in [
        ("/v1/chat/completions", body("own", false)),
        ("/out/chat/completions", body("own", true)),
        ("/plain/models", "x".to_owned()),
        ("/v1/models", "x".to_owned()),
    ] {
        let before = models.second.answers();
        let answer = gateway.ask("POST", path).header("x-route", "backup").body(&question).send();
        assert_eq!((answer.status, models.second.answers()), (200, before), "{path}");
        assert_eq!(models.first.received(path).pop().unwrap().header("x-route"), None, "{path}");
        let answer = gateway.get(path).header("x-route", "backup").send();
        assert_eq!((answer.status, models.second.answers()), (200, before), "{path}");
    }
    gateway.assert_sound();
}

#[test]
fn a_failure_is_held_while_another_is_called() {
    let models = models();
    let gateway = models.gateway("\"429\", \"5xx\"");
    models.first.otherwise(|request| {
        let status = request.target.split('/').nth(2).and_then(|part| part.parse().ok()).unwrap_or(503);
        let answer =
            Answer::new(status).body("busy").header("content-type", "text/plain").header("x-first", "1");
        match request.target.split('/').nth(3) {
            Some("empty") => Answer::new(status),
            Some("chunked") => answer.chunked(3, &[]),
            Some("long") => answer.body("x".repeat(300_000)),
            Some("cut") => answer.body("x".repeat(3000)).breaks_after(1000),
            _ => answer,
        }
    });
    for prefix in ["out", "plain", "v1"] {
        for status in [429, 500, 503] {
            for kind in ["plain", "empty", "chunked"] {
                let path = format!("/{prefix}/{status}/{kind}{CHAT}");
                let question = body("x", false);
                let answer = ask(&gateway, &path, &question);
                assert_eq!(answer.status, 200, "{path} {}", answer.text());
                assert!(answer.text().contains("\"answer "), "{path} {}", answer.text());
                assert_eq!(answer.all("content-type"), ["application/json"], "{path}");
                assert_eq!(answer.all("content-length"), [answer.body.len().to_string()]);
                assert!(answer.all("x-first").is_empty());
                assert_says(&answer, "detail=fallback");
                let (sent, route) = models.last(&path);
                assert_eq!((sent, route.as_deref()), (question.replace("large", "small"), Some("backup")));
                // A stream has the failure as it came.
                let stream = ask(&gateway, &path, &body("x", true));
                assert_eq!(
                    (stream.status, stream.all("x-first").len()),
                    (status, usize::from(kind != "empty"))
                );
            }
        }
    }
    // What is longer than is held goes on, and so does what the second cannot better.
    let long = ask(&gateway, "/v1/503/long/chat/completions", &body("x", false));
    assert_eq!((long.status, long.body.len()), (503, 300_000));
    models.second.origin().on("/v1/503/worse/chat/completions", |_| Answer::new(429).body("no"));
    for _ in 0..4 {
        let worse = ask(&gateway, "/v1/503/worse/chat/completions", &body("x", false));
        assert_eq!((worse.status, worse.text(), worse.all("x-first").len()), (503, "busy".to_owned(), 1));
        assert_says(&worse, "fwd-status=503");
    }
    let cut = gateway.ask("POST", "/v1/503/cut/chat/completions").body(body("x", false)).try_send();
    if let Ok(cut) = cut {
        assert!(cut.status >= 500 || cut.text().contains("answer"), "{} {}", cut.status, cut.text());
    }
    becomes(|| gateway.stat("llm_fallbacks.failed"), |count| *count >= 4);
    gateway.assert_sound();
}

/// Envoy answers in the place of an origin that is not there: that is held as well.
#[test]
fn an_origin_that_is_not_there_is_replaced_by_a_call() {
    let models = models();
    let gateway = models.gateway_at("http://127.0.0.1:1", "\"5xx\"");
    for path in ["/v1/chat/completions", "/out/chat/completions"] {
        let answer = ask(&gateway, path, &body("x", false));
        assert_eq!(answer.status, 200, "{path} {}", answer.text());
        assert_says(&answer, "detail=fallback");
    }
    let answer = ask(&gateway, "/plain/chat/completions", &body("x", false));
    assert_eq!(answer.cache_status(), "Selvage; fwd=method; fwd-status=200; detail=fallback");
    gateway.assert_sound();
}

/// The page's retries: another endpoint of the same cluster, by Envoy's route.
#[test]
fn a_stream_that_has_not_begun_is_retried_by_the_route() {
    let models = models();
    models.first.otherwise(|request| {
        let status = if request.target.contains("busy") { 429 } else { 503 };
        Answer::new(status).body("busy").header("content-type", "text/plain")
    });
    let port = models.second.url().rsplit(':').next().unwrap().to_owned();
    let retries = indented(&yaml_of("llm-fallback.md", "retries"), 28);
    let endpoint = indented(&yaml_of("llm-fallback.md", "priorities").replace("18081", &port), 10);
    let line = "                      port_value: 18080 # SELVAGE_ORIGIN_PORT\n";
    let edits = [
        (
            "                            cluster: origin\n",
            format!("                            cluster: origin\n{retries}"),
        ),
        (line, format!("{line}{endpoint}")),
    ];
    let edits: Vec<(&str, &str)> = edits.iter().map(|(piece, other)| (*piece, other.as_str())).collect();
    let config =
        r#"{ "rules": [ { "name": "chat", "llm": { "api": "openai", "usage": "ask", "cache": {} } } ] }"#;
    let started = Gateway::with(config).origin(models.first.url()).try_start_edited(&edits);
    let gateway = started.unwrap_or_else(|refused| panic!("{}", refused.output));
    for path in ["/v1/chat/completions", "/busy/chat/completions"] {
        for stream in [true, false] {
            let before = models.second.answers();
            let answer = ask(&gateway, path, &body("x", stream));
            assert_eq!(answer.status, 200, "{path} {}", answer.text());
            assert_says(&answer, "stored");
            if stream {
                assert_eq!(answer.text(), openai_stream(before, Usage::Untold));
            }
            assert!(ask(&gateway, path, &body("x", stream)).is_hit());
            let sent = models.last(path).0;
            assert!(sent.contains("large") && sent.contains("include_usage") == stream, "{sent}");
        }
    }
    becomes(|| gateway.stat("llm_requests.other.told"), |told| *told == 4);
    gateway.assert_sound();
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // A broken test must stop loudly.

use serde_json::{Value, json};

use super::{ahead, complete, explain, pasted, play, shortened};

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|fault| panic!("{fault}: {json}"))
}

fn scene(config: &str, steps: Value) -> String {
    json!({ "config": config, "steps": steps }).to_string()
}

/// The `Cache-Status` of each step, and the word for what became of it.
fn lines(told: &Value) -> Vec<String> {
    let line = |step: &Value| match step["problem"].as_str() {
        Some(problem) => problem.to_owned(),
        None if step["purged"].is_number() => "purged".to_owned(),
        None => format!("{} {}", step["kind"].as_str().unwrap(), step["cache_status"].as_str().unwrap()),
    };
    told["steps"].as_array().unwrap().iter().map(line).collect()
}

const FRESH: &str = "HTTP/1.1 200 OK\nCache-Control: max-age=60\nETag: \"a\"\n\nhello";

fn get(at: u64, origin: &str) -> Value {
    json!({ "at": at, "request": "GET https://a.test/x", "origin": origin, "response": FRESH })
}

#[test]
fn steps_act_on_one_store_and_the_clock_goes_on() {
    let steps = json!([
        get(0, "says"),
        get(30, "same"),
        get(70, "same"),
        { "at": 80, "purge": { "urls": ["https://a.test/x"] } },
        get(90, "same"),
        get(155, "down"),
        get(100, "same"),
    ]);
    let told = parsed(&play(&scene("", steps)));
    assert_eq!(
        lines(&told),
        [
            "origin Selvage; fwd=uri-miss; fwd-status=200; stored; ttl=60",
            "fresh Selvage; hit; ttl=30; detail=worker",
            "validated Selvage; fwd=stale; fwd-status=304; stored; ttl=60; detail=validated",
            "purged",
            "origin Selvage; fwd=uri-miss; fwd-status=200; stored; ttl=60; detail=purged",
            "stale Selvage; fwd=stale; fwd-status=503; ttl=-5; detail=disconnected",
            "validated Selvage; fwd=stale; fwd-status=304; stored; ttl=60; detail=validated",
        ]
    );
}

#[test]
fn each_step_of_each_lesson_ends_as_the_lesson_says() {
    for lesson in parsed(include_str!("../lessons.json")).as_array().unwrap() {
        let told = parsed(&play(&scene(&lesson["config"].to_string(), lesson["steps"].clone())));
        assert_eq!(told["faults"], Value::Null, "{}", lesson["name"]);
        let steps = lesson["steps"].as_array().unwrap();
        for (told, written) in told["steps"].as_array().unwrap().iter().zip(steps) {
            let expected = &written["expect"];
            assert_eq!(told["cache_status"], expected["cache_status"], "{}", lesson["name"]);
            assert_eq!(told["kind"], expected["kind"], "{}", lesson["name"]);
        }
    }
}

#[test]
fn all_faults_of_a_configuration_are_told_with_their_places() {
    let told =
        parsed(&play(&scene(r#"{"rulez":[],"defaults":{"cookies":"none"}}"#, json!([get(0, "says")]))));
    let paths: Vec<&str> =
        told["faults"].as_array().unwrap().iter().map(|fault| fault["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["defaults.cookies", "rulez"]);
    // What is for operators is read, although they have no business here.
    assert_eq!(parsed(&play(&scene(r#"{"admin":{"token_env":"T"}}"#, json!([]))))["faults"], Value::Null);
}

#[test]
fn a_step_that_cannot_be_read_hides_no_other() {
    let steps = json!([
        { "at": 0, "request": "nonsense", "response": FRESH },
        { "at": 1, "request": "GET https://a.test/x", "response": "" },
        { "at": 2, "purge": { "urls": [] } },
        get(3, "says"),
    ]);
    let told = lines(&parsed(&play(&scene("", steps))));
    assert_eq!(told[0], "request: \"nonsense\" is no request line, such as GET https://example.com/a");
    assert_eq!(told[1], "response: a message is empty");
    assert_eq!(told[2], "body: something to purge");
    assert!(told[3].starts_with("origin Selvage; fwd=uri-miss"), "{}", told[3]);
}

#[test]
fn a_url_alone_is_asked_for_and_fields_alone_are_those_of_a_200() {
    let step = |request: &str, response: &str| json!({ "at": 0, "request": request, "response": response });
    let steps = json!([
        step("https://a.test/x", "Cache-Control: max-age=60\n"),
        step("  HTTPS://a.test/y\naccept: */*", "\nHTTP/1.1 200\ncache-control: max-age=60"),
        step("hello", "<html>"),
    ]);
    let told = lines(&parsed(&play(&scene("", steps))));
    assert_eq!(told[0], "origin Selvage; fwd=uri-miss; fwd-status=200; stored; ttl=60");
    assert_eq!(told[1], told[0]);
    assert_eq!(told[2], "response: \"<html>\" is no status line");
}

#[test]
fn what_is_no_scene_is_answered_and_never_traps() {
    let long = json!({ "config": "x".repeat(300_000), "steps": [] }).to_string();
    let many = json!({ "steps": vec![get(0, "says"); 33] }).to_string();
    for nonsense in ["", "null", "[]", "{\"steps\":7}", "\u{0}", &long, &many] {
        let told = parsed(&play(nonsense));
        assert!(told["problem"].is_string() || told["steps"] == json!([]), "{told}");
        assert!(parsed(&ahead(nonsense, 0, 1.0, 0.0))["problem"].is_string());
    }
    let one = scene("", json!([get(0, "says")]));
    for seconds in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        assert!(parsed(&ahead(&one, 0, seconds, seconds))["answers"].is_object());
    }
    assert!(parsed(&ahead(&one, 9, 0.0, 0.0))["problem"].is_string());
}

/// The stretches of a line, as `kind:detail@end`.
fn stretches(line: &Value) -> Vec<String> {
    let told = |of: &Value| {
        format!("{}:{}@{}", of["kind"].as_str().unwrap(), of["detail"].as_str().unwrap(), of["to"])
    };
    line["segments"].as_array().unwrap().iter().map(told).collect()
}

#[test]
fn the_time_line_changes_where_the_engine_does() {
    let response = "HTTP/1.1 200 OK\nCache-Control: max-age=60, stale-while-revalidate=30, stale-if-error=300\nETag: \"a\"\n";
    let steps = json!([{ "at": 5, "request": "GET https://a.test/x", "response": response }]);
    let told = parsed(&ahead(&scene("", steps), 0, 70.0, 0.0));
    assert_eq!(told["horizon"], json!(825.0));
    assert_eq!(
        stretches(&told["answers"]),
        ["fresh:worker@60.0", "stale:stale-while-revalidate@90.001", "validated:validated@825.0"]
    );
    assert_eq!(
        stretches(&told["fails"]),
        [
            "fresh:worker@60.0",
            "stale:stale-while-revalidate@90.001",
            "stale:stale-if-error@360.001",
            "stale:disconnected@660.001",
            "failed:no-freshness@825.0"
        ]
    );
    assert_eq!(
        told["answers"]["now"]["cache_status"],
        "Selvage; hit; ttl=-10; detail=stale-while-revalidate"
    );
    assert_eq!(told["answers"]["now"]["reason"]["reference"], "RFC 5861 §3");
    // Where nothing is stored, every request goes to the origin.
    let steps = json!([{ "at": 0, "request": "GET https://a.test/x", "response": "HTTP/1.1 200\nCache-Control: no-store" }]);
    let told = parsed(&ahead(&scene("", steps), 0, 0.0, 0.0));
    assert_eq!(stretches(&told["answers"]), ["origin:no-store@60.0"]);
}

#[test]
fn a_response_with_a_date_sets_the_clock() {
    let response =
        "HTTP/1.1 200 OK\nDate: Tue, 01 Dec 2026 02:00:00 GMT\nExpires: Tue, 01 Dec 2026 02:01:00 GMT\n";
    let request = "GET https://a.test/x";
    let steps = json!([
        { "at": 10, "request": request, "response": response },
        { "at": 69, "request": request, "origin": "same" },
        { "at": 71, "request": request, "origin": "same" },
    ]);
    let told = parsed(&play(&scene("", steps)));
    assert_eq!(told["zero"], "Tue, 01 Dec 2026 01:59:50 GMT");
    let told = lines(&told);
    assert_eq!(told[0], "origin Selvage; fwd=uri-miss; fwd-status=200; stored; ttl=60");
    assert_eq!(told[1], "fresh Selvage; hit; ttl=1; detail=worker");
    // The origin says it anew, with a new date.
    assert_eq!(told[2], "origin Selvage; fwd=stale; fwd-status=200; stored; ttl=60");
}

#[test]
fn a_pasted_head_counts_as_whole() {
    let response = "HTTP/1.1 200 OK\nCache-Control: max-age=60\nContent-Length: 100000\n";
    let steps = json!([{ "at": 0, "request": "GET https://a.test/x", "response": response }, get(1, "same")]);
    let told = parsed(&play(&scene("", steps)));
    assert_eq!((&told["steps"][1]["kind"], &told["steps"][1]["bytes"]), (&json!("fresh"), &json!(100_000)));
}

fn labels(before: &str) -> Vec<String> {
    let told = parsed(&complete(before, ""));
    told["items"].as_array().unwrap().iter().map(|item| item["label"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn members_and_words_are_proposed_where_they_may_stand() {
    assert_eq!(labels(""), ["{"]);
    assert!(labels("{").contains(&"rules".to_owned()));
    assert_eq!(labels(r#"{ "ru"#), ["rules"]);
    assert_eq!(labels(r#"{ "defaults": { "cookies": "#), ["isolate", "ignore", "bypass"]);
    assert_eq!(labels(r#"{ "defaults": { "cookies": "i"#), ["isolate", "ignore"]);
    assert_eq!(labels(r#"{ "rules": [ { "name": "a{b", "ttl": { "over"#), ["override"]);
    assert_eq!(labels(r#"{ "rules": [ { "name": "a", "byp"#), ["bypass"]);
    assert_eq!(labels(r#"{ "rules": [ { "bypass": t"#), ["true"]);
    assert!(!labels(r#"{ "name": "x", "#).contains(&"name".to_owned()));
    assert!(labels(r#"{ "name": "x" "#).is_empty());
    assert!(labels(r#"{ "limits": [ { "#).contains(&"quota".to_owned()));
    for nonsense in ["}", "]]]", "{\"a\":[[[[", "\"\\", "{\"rules\":{", "[1,2", "{:::,,,\""] {
        labels(nonsense);
    }
}

#[test]
fn what_curl_and_browsers_show_becomes_steps() {
    let of = |text: &str| parsed(&pasted(text));
    let told = of(
        "* SSL connection using TLS\n> GET /x HTTP/2\r\n> Host: a.test\r\n> Accept: */*\r\n>\n< HTTP/2 200\r\n< cache-control: max-age=5\r\n<\n<html>\n< b\n> c",
    );
    assert_eq!(told["steps"][0]["request"], "GET https://a.test/x\naccept: */*\n");
    assert_eq!(told["steps"][0]["response"], "HTTP/1.1 200\ncache-control: max-age=5\n");
    let told = of("HTTP/1.1 301 Moved\r\nlocation: /x\r\n\r\nHTTP/1.1 200 OK\r\netag: \"a\"\r\n\r\nhello");
    assert_eq!(told["steps"][0]["response"], "HTTP/1.1 200\netag: \"a\"\n\nhello");
    let told = of("GET /x HTTP/1.1\nHost: a.test\n\nHTTP/1.1 404 Not Found\nvary: *\n");
    assert_eq!(told["steps"][0]["request"], "GET https://a.test/x\n");
    assert_eq!(told["steps"][0]["response"], "HTTP/1.1 404\nvary: *\n");
    let entry = |second: u8| {
        json!({ "startedDateTime": format!("2026-12-01T02:00:0{second}.5Z"), "request": { "method": "GET", "url": "https://a.test/x" },
                "response": { "status": 200, "headers": [] } })
    };
    let told = of(&json!({ "log": { "entries": [entry(0), entry(7)] } }).to_string());
    assert_eq!((&told["steps"][1]["at"], &told["all"]), (&json!(7.0), &json!(2)));
    let told = of(&json!({ "log": { "entries": vec![entry(0); 40] } }).to_string());
    assert_eq!((told["steps"].as_array().unwrap().len(), &told["all"]), (32, &json!(40)));
    for nonsense in ["", "{}", "hello", "> \n", "HTTP/1.1 x"] {
        assert!(of(nonsense)["problem"].is_string(), "{nonsense}");
    }
}

#[test]
fn a_configuration_in_force_is_shown_as_one_would_write_it() {
    let written = r#"{"admin":{"open":true},"defaults":{"ttl":{"default":"5m"}},"rules":[{"name":"a","match":{"paths":["/a"]},"ttl":{"default":"5m","max":"1h"}}]}"#;
    let policy = selvage_engine::policy::Policy::from(
        selvage_engine::config::Config::parse(written.as_bytes()).unwrap(),
    );
    let whole = selvage_engine::policy::effective::effective(&policy).to_string();
    assert!(whole.len() > 2000);
    let short = parsed(&shortened(&whole));
    assert_eq!(
        short,
        json!({ "admin": { "open": true }, "defaults": { "ttl": { "default": "5m" } },
                "rules": [ { "name": "a", "match": { "paths": ["/a"] }, "ttl": { "max": "1h" } } ] })
    );
    assert_eq!(parsed(&shortened(r#"{"rules":[{"name":"a","bypass":true}]}"#))["rules"][0]["bypass"], true);
    assert_eq!(shortened("{"), "{");
}

#[test]
fn an_archive_is_explained_as_the_command_does() {
    let entry = json!({ "startedDateTime": "2026-12-01T02:00:00Z", "request": { "method": "GET", "url": "https://a.test/x" },
                        "response": { "status": 200, "headers": [ { "name": "Vary", "value": "*" } ] } });
    let told = explain("", &entry.to_string());
    assert_eq!(parsed(told.lines().next().unwrap())["verdict"][0]["word"], "uri-miss");
    assert!(parsed(&explain("{", "{}"))["faults"].is_array());
    assert!(parsed(&explain("", "{}"))["problem"].is_string());
}

/// Of several inputs the missing ones are asked for by a call, which the response at hand answers.
#[test]
fn a_call_for_missing_inputs_is_told() {
    let config = r#"{"rules":[{"name":"v","llm":{"api":"openai","cache":{},"embeddings":{"by_input":true,"cluster":"o"}}}]}"#;
    let item = r#"{"index":0,"embedding":[1]}"#;
    let response = format!(
        "HTTP/1.1 200 OK\nContent-Type: application/json\n\n{{\"data\":[{item}],\"model\":\"e\",\"usage\":{{\"prompt_tokens\":1,\"total_tokens\":1}}}}"
    );
    let ask = |input: &str| {
        let request = format!(
            "POST https://a.test/v1/embeddings\nContent-Type: application/json\n\n{{\"model\":\"e\",\"input\":{input}}}"
        );
        json!({ "at": 0, "request": request, "origin": "says", "response": response })
    };
    let told =
        parsed(&play(&scene(config, json!([ask("\"a\""), ask("[\"a\",\"b\"]"), ask("[\"b\",\"a\"]")]))));
    let lines = lines(&told);
    assert!(lines[1].contains("fwd=partial") && lines[1].contains("detail=by-input"), "{lines:?}");
    assert!(lines[2].contains("; hit;"), "{lines:?}");
}

/// The stretches of the time line of a first request, each with its end in seconds.
fn stretches_within(response: &str, horizon: u32, line: &str) -> Vec<(f64, String)> {
    let steps = json!([{ "at": 0, "request": "GET https://a.test/x", "response": response }]);
    let told = parsed(&ahead(&scene("", steps), 0, 0.0, f64::from(horizon)));
    let segments = told[line]["segments"].as_array().unwrap().clone();
    let told = |one: &Value| (one["to"].as_f64().unwrap(), one["detail"].as_str().unwrap().to_owned());
    segments.iter().map(told).collect()
}

#[test]
fn short_stretches_of_a_long_time_line_are_not_missed() {
    let both = "HTTP/1.1 200\nCache-Control: max-age=60, stale-while-revalidate=30\nETag: \"a\"\n\nhello";
    for horizon in [3600, 86_400] {
        let ends = stretches_within(both, horizon, "answers");
        let [(fresh, _), (renewed, detail), (last, _)] = ends.as_slice() else { panic!("{ends:?}") };
        assert!((fresh - 60.0).abs() < 0.1 && (renewed - 90.0).abs() < 0.1, "{ends:?}");
        assert_eq!((detail.as_str(), *last), ("stale-while-revalidate", f64::from(horizon)));
    }
    let ends = stretches_within(both, 86_400, "fails");
    let details: Vec<&str> = ends.iter().map(|(_, detail)| detail.as_str()).collect();
    assert_eq!(details[..3], ["worker", "stale-while-revalidate", "disconnected"], "{ends:?}");
    // Nothing is told of a stretch without length.
    let ends = stretches_within(both, 60, "answers");
    assert_eq!(ends.len(), 1, "{ends:?}");
}

#[test]
fn an_archive_is_played_by_the_clock_of_the_browser() {
    let entry = |at: &str| {
        json!({
            "startedDateTime": at,
            "request": { "method": "GET", "url": "https://a.test/x", "headers": [] },
            "response": { "status": 200, "headers": [
                { "name": "Cache-Control", "value": "max-age=5" },
                { "name": "Date", "value": "Tue, 11 Jun 2024 10:00:00 GMT" },
            ], "content": {} },
        })
    };
    let entries = [entry("2024-06-11T10:00:00.000Z"), entry("2024-06-11T10:00:12.500Z")];
    let told = parsed(&pasted(&json!({ "log": { "entries": entries } }).to_string()));
    let at: Vec<f64> =
        told["steps"].as_array().unwrap().iter().map(|step| step["at"].as_f64().unwrap()).collect();
    assert_eq!(at, [0.0, 12.5]);
}

#[test]
fn who_renews_without_a_call_is_told_so() {
    let stale = "HTTP/1.1 200\nCache-Control: max-age=60, stale-while-revalidate=30\n\nhello";
    let ask = |at: u64| json!({ "at": at, "request": "GET https://a.test/x", "response": stale });
    let told = parsed(&play(&scene("", json!([ask(0), ask(75), ask(76)]))));
    let verdict =
        |n: usize| told["steps"][n]["explanation"]["verdict"][0]["outcome"].as_str().unwrap().to_owned();
    assert_eq!([verdict(1), verdict(2)], ["answered from the store", "goes to the origin"]);
}

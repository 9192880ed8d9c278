//! Responses that pass unread, and rules that say nothing of the cache, on the real Envoy.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Origin};

use super::{assert_forwarded, assert_hit, assert_says, becomes};

const BYPASS: &str = r#"{ "rules": [ { "name": "out", "match": { "paths": ["/out/*"] }, "bypass": true },
    { "name": "silent", "match": { "paths": ["/silent/*"] }, "bypass": true, "cache_status": "off" } ] }"#;

fn no_store(content: impl AsRef<[u8]>) -> Answer {
    Answer::ok(content).header("cache-control", "no-store").header("surrogate-key", "a b")
}

#[track_caller]
fn assert_unread(answer: &Response) {
    assert!(!answer.cache_status().contains("fwd-status"), "{answer:?}");
}

#[test]
fn a_key_that_becomes_storable_is_stored_at_the_next_look() {
    let (origin, storable) = (Origin::start(), Arc::new(AtomicBool::new(false)));
    let by_now = Arc::clone(&storable);
    origin.on("/a", move |_| match by_now.load(Ordering::Relaxed) {
        true => Answer::fresh("for all"),
        false => no_store("for one"),
    });
    let gateway = Gateway::with("{}").origin(origin.url()).workers(1).start();
    let read = gateway.get("/a").send();
    assert_forwarded(&read, "uri-miss", "for one");
    assert_says(&read, "fwd-status=200");
    let unread = becomes(|| gateway.get("/a").send(), |answer| !answer.cache_status().contains("fwd-status"));
    assert_forwarded(&unread, "uri-miss", "for one");
    assert_says(&unread, "detail=no-store");
    for answer in [&read, &unread] {
        assert_eq!(answer.header("surrogate-key"), None);
    }
    let asked = origin.count("/a");
    storable.store(true, Ordering::Relaxed);
    becomes(|| gateway.get("/a").send(), Response::is_hit);
    assert_hit(&gateway.get("/a").send(), "for all");
    // What passed meanwhile came from the origin each time, and was not stored.
    assert!(origin.count("/a") > asked);
    becomes(|| gateway.stat("responses.stored"), |stored| *stored == 1);
    gateway.assert_sound();
}

#[test]
fn what_is_bypassed_is_the_origins_whatever_it_is() {
    let origin = Origin::start();
    let long = "0123456789abcdef".repeat(1 << 17);
    let content = long.clone();
    origin.otherwise(move |request| match request.target.rsplit('/').next() {
        Some("chunked") => no_store(&content).chunked(9_000, &[("x-checksum", "abc")]),
        Some("part") => Answer::new(206).body("part").header("content-range", "bytes 0-3/9"),
        Some("error") => Answer::new(500).body("sorry"),
        Some("reset") => Answer::ok("").breaks_before_the_head(),
        Some("echo") => no_store(&request.body),
        Some("none") => Answer::new(304),
        _ => no_store("short"),
    });
    let gateway = Gateway::with(BYPASS).origin(origin.url()).start();
    for rule in ["out", "silent"] {
        let ask = |method: &str, name: &str| gateway.ask(method, &format!("/{rule}/{name}"));
        let mut answers = Vec::new();
        for (method, name, status, content) in [
            ("GET", "a", 200, "short"),
            ("HEAD", "a", 200, ""),
            ("GET", "chunked", 200, long.as_str()),
            ("GET", "part", 206, "part"),
            ("GET", "error", 500, "sorry"),
            ("GET", "none", 304, ""),
        ] {
            let answer = ask(method, name).send();
            assert_eq!((answer.status, answer.complete), (status, true), "{method} {name}");
            assert!(answer.text() == content, "{method} {name}");
            answers.push(answer);
        }
        answers.push(ask("GET", "reset").send());
        assert_eq!(answers.last().unwrap().status, 503);
        for answer in &answers {
            assert_unread(answer);
            assert_eq!(answer.header("cache-status").is_some(), rule == "out", "{answer:?}");
        }
        assert_eq!(answers[0].all("surrogate-key"), ["a b"]);
        // What is unsafe invalidates, and is read.
        let echoed = ask("POST", "echo").body(&long).send();
        assert!(echoed.text() == long);
        assert_eq!(echoed.cache_status().contains("fwd-status=200"), rule == "out");
    }
    gateway.assert_sound();
}

#[test]
fn a_websocket_passes_a_bypass() {
    let origin = Origin::start();
    let switches =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nframes";
    origin.otherwise(move |_| Answer::raw(switches));
    let line = "proxy_100_continue: true";
    let upgrades = format!("upgrade_configs: [{{ upgrade_type: websocket }}]\n                {line}");
    let started = Gateway::with(BYPASS).origin(origin.url()).try_start_edited(&[(line, &upgrades)]);
    let gateway = started.unwrap_or_else(|refused| panic!("{}", refused.output));
    for path in ["/out/a", "/silent/a", "/a"] {
        let mut client = TcpStream::connect(gateway.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let asked = format!(
            "GET {path} HTTP/1.1\r\nhost: example.test\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        );
        client.write_all(asked.as_bytes()).unwrap();
        let mut told = String::new();
        client.read_to_string(&mut told).unwrap();
        assert!(told.starts_with("HTTP/1.1 101") && told.ends_with("\r\n\r\nframes"), "{path}: {told}");
        assert_eq!(told.contains("cache-status: Selvage; fwd=bypass"), path != "/silent/a", "{told}");
    }
    gateway.assert_sound();
}

#[test]
fn a_silent_rule_says_nothing_in_any_answer() {
    let origin = Origin::start();
    origin.otherwise(|request| match (request.target.as_str(), request.before) {
        ("/dies", before) if before > 0 => Answer::ok("").breaks_before_the_head(),
        ("/dies" | "/renewed", 0) => Answer::fresh("old")
            .header("age", "4000")
            .header("etag", "\"1\"")
            .header("cache-control", "stale-if-error=600"),
        ("/renewed", _) => Answer::new(304).header("etag", "\"1\"").header("cache-control", "max-age=3600"),
        ("/private", _) => no_store("private"),
        ("/text", _) => Answer::fresh("text ".repeat(1_000)).header("content-type", "text/plain"),
        _ => Answer::fresh("a").header("etag", "\"1\"").header("cache-status", "Inner; hit"),
    });
    let silent = r#"{ "defaults": { "cache_status": "off" }, "rules": [
        { "name": "watched", "match": { "paths": ["/watched"] }, "shadow": true },
        { "name": "told", "match": { "paths": ["/told"] }, "cache_status": "on" } ] }"#;
    let gateway = Gateway::with(silent).origin(origin.url()).workers(1).start();
    let ask = |method: &str, target: &str, fields: &[(&str, &str)], status: u16, content: &str| {
        let ask = gateway.ask(method, target);
        let answer = fields.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, content),
            "{method} {target}: {answer:?}"
        );
        // What another cache has said is the response's own.
        let own = |value: &String| value.contains("Selvage");
        assert!(!answer.all("cache-status").iter().any(own), "{method} {target}: {answer:?}");
        answer
    };
    for _ in 0..2 {
        let answer = ask("GET", "/a", &[], 200, "a");
        assert_eq!(answer.all("cache-status"), ["Inner; hit"]);
        ask("HEAD", "/a", &[], 200, "");
        ask("GET", "/private", &[], 200, "private");
        ask("GET", "/watched", &[], 200, "a");
    }
    assert_eq!(origin.count("/a"), 1);
    ask("GET", "/a", &[("if-none-match", "\"1\"")], 304, "");
    ask("GET", "/a", &[("range", "bytes=0-0")], 206, "a");
    ask("GET", "/a", &[("range", "bytes=7-")], 416, "");
    ask("GET", "/none", &[("cache-control", "only-if-cached")], 504, "");
    ask("GET", "/dies", &[], 200, "old");
    ask("GET", "/dies", &[], 200, "old");
    ask("GET", "/renewed", &[], 200, "old");
    ask("GET", "/renewed", &[], 200, "old");
    for _ in 0..2 {
        let zipped = gateway.get("/text").header("accept-encoding", "gzip").send();
        assert_eq!((zipped.status, zipped.header("cache-status")), (200, None));
    }
    ask("POST", "/a", &[], 200, "a");
    assert_says(&gateway.get("/told").send(), "stored");
    // They are counted all the same.
    becomes(|| gateway.stat("requests.hit.worker"), |hits| *hits >= 4);
    gateway.assert_sound();
}

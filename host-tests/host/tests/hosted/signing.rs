//! `remote.secret_env` on the wire: what is written and read back, by webdis and by Upstash, and what is refused.

use selvage_host::{Callout, Gateway, Headers, Stream};

use crate::{assert_forwarded, assert_hit, cache_status, fresh};

const SIGNED: &str = r#"{"remote":{"enabled":true,"secret_env":"SECRET","object_bytes":"1KiB"},
    "defaults":{"coalesce":{"fleet":false}}}"#;
const SECRET: &str = "a-secret-of-the-fleet";
const NEXT: &str = "the-next-secret-of-it";
/// Bytes before a signed record.
const HASH: usize = 48;

fn gateway(secrets: &str) -> Gateway {
    let gateway = Gateway::with(SIGNED)
        .cluster("redis")
        .environment("SECRET", secrets)
        .origin(|_| fresh("content"))
        .start();
    gateway.tick();
    only(calls(&gateway)).respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
    gateway
}

/// The calls in flight, without those about purges and those that probe writes.
fn calls(gateway: &Gateway) -> Vec<Callout> {
    let asked = |call: &Callout| [":purge", ":probe"].iter().all(|key| !call.path().contains(key));
    gateway.callouts().into_iter().filter(asked).collect()
}

fn only(mut calls: Vec<Callout>) -> Callout {
    let call = calls.pop().expect("a call is made");
    assert!(calls.is_empty(), "{} calls more", calls.len());
    call
}

fn waiting(gateway: &Gateway, path: &str) -> Stream {
    let stream = gateway.get(path).open(0);
    stream.request_headers();
    assert!(stream.is_paused());
    stream
}

/// The value that is written after a response of so many bytes has been stored.
fn written(gateway: &Gateway, path: &str, content: &str) -> Vec<u8> {
    let stream = waiting(gateway, path);
    only(calls(gateway)).respond(404, Headers::new(), "");
    let head = [(":status", "200"), ("cache-control", "max-age=60"), ("content-type", "image/png")];
    stream.respond_with_body(Headers::from(head));
    stream.last_body(content);
    gateway.tick();
    let call = only(calls(gateway));
    assert!(call.path().starts_with("/SETEX/selvage:v1:"), "{}", call.path());
    let value = call.body().to_vec();
    call.respond(200, Headers::new(), r#"{"SETEX":[true,"OK"]}"#);
    value
}

#[test]
fn what_is_written_is_signed_and_read_back_by_who_has_the_secret() {
    // The longest record that is sent is one that is read, with the hash before it.
    let beside = written(&gateway(SECRET), "/a", "x").len() - 1 - HASH;
    let content = "x".repeat(1024 - beside);
    let value = written(&gateway(SECRET), "/a", &content);
    assert!(
        value.starts_with(b"SLVG\0\0\0\0\0\0\0\0\x80") && value.len() == 1024 + HASH,
        "{} bytes",
        value.len()
    );
    for (secrets, hit) in [(SECRET, true), (&format!("{NEXT}, {SECRET}"), true), (NEXT, false)] {
        let other = gateway(secrets);
        let stream = waiting(&other, "/a");
        only(calls(&other)).respond(200, Headers::new(), value.clone());
        if hit {
            assert_hit(&stream, &content);
            assert!(cache_status(&stream).contains("detail=remote"), "{}", cache_status(&stream));
            continue;
        }
        assert!(!stream.is_paused());
        stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
        stream.last_body("of the origin");
        assert_forwarded(&stream, "uri-miss");
        other.tick();
        assert_eq!(other.metric("selvage.remote.forged"), Some(1));
        assert!(other.logs().iter().any(|line| line.message.contains("that no secret of remote.secret_env")));
    }
}

#[test]
fn forgeries_are_no_failures_of_the_store() {
    let gateway = gateway(SECRET);
    for nth in 0..30 {
        let stream = waiting(&gateway, &format!("/{nth}"));
        only(calls(&gateway)).respond(200, Headers::new(), "SLVG and no more");
        assert!(!stream.is_paused());
        stream.disconnect();
    }
    gateway.tick();
    assert_eq!(gateway.metric("selvage.remote.forged"), Some(30));
    let lines = gateway.logs().iter().filter(|line| line.message.contains("no secret of remote")).count();
    assert_eq!(lines, 1, "at most one in ten seconds");
}

#[test]
fn a_secret_that_is_missing_or_none_is_refused_and_never_shown() {
    for (name, value, wanted) in [
        ("OTHER", SECRET, "which is empty or not in the environment of the VM"),
        ("SECRET", " \n", "which is empty or not in the environment of the VM"),
        ("SECRET", "hidden-and-short", ""),
        ("SECRET", "hidden-shorter", "whose value is a secret that is too short"),
        ("SECRET", "hidden-and-short,hidden", "whose value is a secret that is too short"),
        (
            "SECRET",
            "hidden-and-short hidden-and-second hidden-and-third-one",
            "whose value is more than two secrets",
        ),
        ("SECRET", &"hidden".repeat(200), "whose value is a secret that is too long"),
    ] {
        let started = Gateway::with(SIGNED).cluster("redis").environment(name, value).try_start();
        if wanted.is_empty() {
            assert!(started.is_ok());
            continue;
        }
        let refused = started.err().unwrap().text();
        let found = "remote.secret_env: found \"SECRET\"";
        assert!(refused.contains(found) && refused.contains(wanted), "{refused}");
        assert!(!refused.contains("hidden") && !refused.contains(SECRET), "{refused}");
    }
}

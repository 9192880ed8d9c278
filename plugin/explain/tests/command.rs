//! The command as one types it: a configuration is tried without any Envoy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // A broken test must stop loudly.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs the command with this as standard input.
fn explain(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvage-explain"));
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // It may refuse its arguments without reading.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the command ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_configuration_can_be_tried_without_an_envoy() {
    let folder = tempfolder("explain");
    let config = folder.join("config.json");
    let rules =
        r#"{ "rules": [ { "name": "api", "match": { "paths": ["/api/*"] }, "ttl": { "default": "5m" } } ] }"#;
    std::fs::write(&config, rules).expect("the folder takes files");
    let config = config.to_str().expect("a path of UTF-8");
    let response = "HTTP/2 200\r\ncontent-type: text/plain\r\n\r\nhello";
    let told = |url: &str| {
        let output = explain(&["--config", config, "--url", url, "--response", "-"], response);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let api = told("https://example.com/api/x");
    assert!(api.contains("stored, fresh for 300 s") && api.contains("ttl.default of the rule"), "{api}");
    let other = told("https://example.com/x");
    assert!(other.contains("not stored: no-freshness"), "{other}");
    let output = explain(
        &["--config", config, "--request", "-", "--json"],
        "POST /api/x HTTP/1.1\nHost: a.test\n\nbody",
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["verdict"][0]["word"], "method");
    std::fs::remove_dir_all(folder).expect("the folder goes");
}

#[test]
fn each_entry_of_an_archive_is_explained_by_itself() {
    let entry = |url: &str, value: &str| {
        serde_json::json!({
            "startedDateTime": "2026-12-01T02:00:00.000Z",
            "request": { "method": "GET", "url": url, "headers": [ { "name": ":authority", "value": "x" } ] },
            "response": { "status": 200, "headers": [ { "name": "cache-control", "value": value } ] }
        })
    };
    let archive = serde_json::json!({ "log": { "entries": [
        entry("https://a.test/x", "max-age=60"),
        entry("https://a.test/x", "no-store"),
    ] } });
    let output = explain(&["--har", "-", "--json"], &archive.to_string());
    let words: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON on each line"))
        .map(|told| format!("{} {}", told["verdict"][0]["word"], told["verdict"][1]["word"]))
        .collect();
    // The second does not find what the first has brought.
    assert_eq!(words, [r#""uri-miss" "stored""#, r#""uri-miss" "no-store""#]);
    let read = text(&explain(&["--har", "-"], &archive.to_string()).stdout);
    assert!(read.starts_with("GET https://a.test/x\nverdict\n"), "{read}");
    let unread = explain(&["--har", "-"], "{}");
    assert_eq!(unread.status.code(), Some(2));
    assert!(text(&unread.stderr).starts_with("selvage: no HAR"), "{}", text(&unread.stderr));
}

#[test]
fn faults_of_a_configuration_read_as_the_filter_prints_them() {
    let refused = explain(&["--config", "-", "--url", "/x"], r#"{"rulez":[]}"#);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).starts_with("configuration refused: rulez: found "),
        "{}",
        text(&refused.stderr)
    );
    let unread = explain(&["--request", "-"], "nonsense");
    assert_eq!((unread.status.code(), text(&unread.stdout).as_str()), (Some(2), ""));
}

fn tempfolder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("selvage-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}

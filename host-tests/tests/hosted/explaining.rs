//! Explanations: of one exchange to whoever shows the token, and of a configuration without any Envoy.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use selvage_host_tests::{Gateway, OriginResponse};

use crate::{cache_status, fresh};

#[test]
fn one_exchange_is_explained_whether_it_hits_or_not() {
    let gateway =
        Gateway::with(r#"{"admin":{"token_env":"TOKEN"}}"#).environment("TOKEN", "secret").workers(2);
    let gateway = gateway
        .origin(|request| match request.path().as_str() {
            "/private" => OriginResponse::ok("yours").header("cache-control", "private"),
            _ => fresh("ours"),
        })
        .start();
    let ask = |path: &str, token: &str| gateway.get(path).header("selvage-explain", token).send(0);
    let explanation = |path: &str| ask(path, "secret").header("selvage-explanation").unwrap_or_default();
    let private = explanation("/private");
    assert!(private.contains("not stored: private: the response is for one user only"), "{private}");
    assert!(private.contains("to change it: public or s-maxage in place of private"), "{private}");
    assert!(explanation("/a").contains("stored, fresh for 60 s"));
    gateway.advance(10);
    let hit = ask("/a", "secret");
    assert!(cache_status(&hit).contains("; hit"), "{}", cache_status(&hit));
    let line = hit.header("selvage-explanation").unwrap_or_default();
    assert!(line.contains("fresh for 50 s = lifetime 60 s - age 10 s"), "{line}");
    for token in ["wrong", ""] {
        assert_eq!(ask("/a", token).header("selvage-explanation"), None);
        assert_eq!(ask("/private", token).header("selvage-explanation"), None);
    }
    assert!(gateway.origin().requests().iter().all(|request| request.header("selvage-explain").is_none()));
}

/// Runs the command with this as standard input.
fn explain(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_explain"));
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

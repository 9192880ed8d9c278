//! The operators' page in a real browser, on what `envoy/run` starts and prints.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use selvage_rig::envoy::{Gateway, Response, repository};
use selvage_rig::scripted::{Answer, Origin};
use serde_json::Value;

use super::becomes;

/// The browser: `CHROMIUM`, or one of the PATH.
fn chromium() -> PathBuf {
    if let Some(named) = env::var_os("CHROMIUM") {
        return named.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| folder.join(name)));
    let found = folders.into_iter().find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("no chromium: ./host-tests/run e2e installs it, or CHROMIUM names it"))
}

/// What `page.mjs` saw.
pub(super) fn browse(url: &str, token: &str, arguments: &[&str]) -> Value {
    let output = Command::new("node")
        .arg(repository().join("host-tests/rig/tests/e2e/page.mjs"))
        .arg(chromium())
        .args([url, token])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("no node ({error}): ./host-tests/run e2e installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_operator_logs_in_sees_the_figures_and_purges() {
    let origin = Origin::start();
    origin.on("/a", |received| Answer::fresh(format!("answer {}", received.before)));
    let gateway = Gateway::by_default().origin(origin.url()).start();
    let only =
        |word: &str| gateway.printed(word).pop().unwrap_or_else(|| panic!("no {word}:\n{}", gateway.log()));
    let (url, token) = (only("page"), only("token"));
    // The browser's host is part of the key.
    let host = gateway.address().to_string();
    let get = || gateway.get("/a").header("host", &host).send();
    get();
    assert_eq!(becomes(get, Response::is_hit).text(), "answer 0");
    // One request in 16 is counted for the top keys, in each worker for itself.
    (0..200).for_each(|_| drop(get()));

    let seen = browse(&url, &token, &["use", "/a"]);

    // Before the login there is a form, nothing else, and the browser was sent to the page's own path.
    assert_eq!(seen["at_login"]["figures"], false, "{seen:#}");
    assert_eq!(seen["at_login"]["address"], url.as_str());
    assert_eq!(
        (&seen["refused"]["figures"], &seen["refused"]["kept"]),
        (&Value::from(false), &Value::from(0))
    );
    assert_eq!(seen["refused"]["said"], "The token is refused.");

    // After it every panel has what its path answers, or says that there is no such path.
    assert_eq!(seen["login_hidden"], true);
    let asked = |path: &str| {
        let bearer = format!("Bearer {token}");
        gateway.get(&format!("/.selvage/{path}")).header("authorization", bearer).send().status
    };
    let report = asked("report") == 200;
    for (panel, text) in seen["panels"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        assert!(!text.is_empty() && (!report || !text.starts_with("The report")), "{panel}: {text}");
    }
    if report {
        let of = |panel: &str| seen["panels"][panel].as_str().unwrap().to_owned();
        assert!(
            of("rate").contains('%') && of("outcomes").contains("hit ") && of("tiers").contains("worker ")
        );
        assert!(of("top").contains("/a"), "{}", of("top"));
        assert!(seen["plots"].as_u64() > Some(2), "{seen:#}");
    }
    assert_eq!(seen["unlabelled"], Value::Array(Vec::new()), "fields without a label");
    assert_eq!(seen["too_wide"], 0, "at the width of a phone");

    // What it purges is gone.
    assert_eq!(seen["purged"], "purged: 1");
    assert!(
        seen["not_purged"].as_str().unwrap().starts_with("refused (400): urls[0]: "),
        "{}",
        seen["not_purged"]
    );
    becomes(get, |answer| answer.is_hit() && answer.text() == "answer 1");
    let explained = seen["explained"].as_str().unwrap();
    assert!(
        !explained.is_empty() && (asked("explain") == 404 || explained != "not available here"),
        "{explained}"
    );

    assert_eq!(seen["left"]["login"], true);
    assert_eq!((&seen["left"]["figures"], &seen["left"]["drawn"]), (&Value::from(false), &Value::from("")));
    assert_eq!(seen["left"]["kept"], 0, "the token stays after the log-out");

    // Nobody else was asked for anything, and the page's policy was never broken.
    assert_eq!(seen["complaints"], Value::Array(Vec::new()));
    let inside = url.trim_end_matches('/');
    for request in seen["requests"].as_array().unwrap() {
        let (_, target) = request.as_str().unwrap().split_once(' ').unwrap();
        assert!(target.starts_with(inside), "{target}");
    }
    assert_eq!(browse(&url, &token, &["everything"])["purged"], "purged: 1");
    becomes(get, |answer| answer.text() == "answer 2");
    assert_eq!(origin.count("/favicon.ico"), 0);
    assert_eq!(origin.count("/.selvage/"), 0);
    gateway.assert_sound();
}

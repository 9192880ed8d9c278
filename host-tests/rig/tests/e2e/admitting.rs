//! Who may come to the operators' endpoints, through the real Envoy.

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Origin};

use super::becomes;

const TOKEN: &str = "a-token-of-some-length";

#[test]
fn without_a_token_operators_requests_come_to_the_machines_own_names() {
    let origin = Origin::start();
    origin.otherwise(|_| Answer::fresh("page"));
    let gateway = Gateway::with(r#"{ "admin": { "open": true } }"#).origin(origin.url()).start();
    // As a page of a name that has come to mean this machine sends it.
    let ask = |method: &str, path: &str, host: &str| {
        let ask = gateway.ask(method, path).header("host", host).header("origin", format!("http://{host}"));
        ask.header("sec-fetch-site", "same-origin")
    };
    for host in ["localhost", "127.0.0.1:10000", "[::1]:10000"] {
        let answer = ask("POST", "/.selvage/purge", host).body(r#"{"all":true}"#).send();
        assert_eq!((answer.status, answer.text().contains(r#""purged":1"#)), (200, true), "{host}");
    }
    for host in ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test:10000"] {
        let purge = ask("POST", "/.selvage/purge", host).body(r#"{"all":true}"#).send();
        let by_method = ask("PURGE", "/a", host).send();
        let told = ask("GET", "/.selvage/config", host).send();
        let statuses = [purge, by_method, told].map(|answer: Response| answer.status);
        assert_eq!(statuses, [421; 3], "{host}");
    }
    let head = gateway.ask("HEAD", "/.selvage/health").header("host", "localhost").send();
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    gateway.assert_sound();
}

#[test]
fn who_guesses_tokens_is_kept_out_for_a_while_and_leaves_a_line() {
    let origin = Origin::start();
    let configuration = r#"{ "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" } }"#;
    let gateway = Gateway::with(configuration).origin(origin.url()).workers(1);
    let gateway = gateway.environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
    let ask = |token: &str| {
        gateway.ask("GET", "/.selvage/stats").header("authorization", format!("Bearer {token}")).send()
    };
    assert_eq!(ask(TOKEN).status, 200);
    for _ in 0..10 {
        assert_eq!(ask("wrong").status, 403);
    }
    for token in ["wrong", TOKEN] {
        let answer = ask(token);
        assert_eq!((answer.status, answer.all("retry-after").len()), (429, 1));
    }
    // What Envoy writes is read from a pipe.
    let log = becomes(|| gateway.log(), |log| log.contains(r#""event":"guessing""#));
    assert_eq!(log.matches(r#""event":"guessing""#).count(), 1, "{log}");
    assert!(log.contains(r#""event":"refused""#) && !log.contains(TOKEN), "{log}");
    gateway.assert_sound();
}

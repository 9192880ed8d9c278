//! Why something is not cached, asked of the real Envoy: by a header for one exchange, and at the operators' path.

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Origin, Received};

use super::{assert_says, becomes};

const TOKEN: &str = "a-token-of-some-length";
const CONFIG: &str = r#"{ "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" }, "worker": { "object_bytes": "64KiB" },
    "node": { "object_bytes": "64KiB" }, "rules": [ { "name": "live", "match": { "paths": ["/live"] }, "bypass": true } ] }"#;

fn start(origin: &Origin) -> Gateway {
    origin.otherwise(|request: &Received| match request.target.as_str() {
        "/no-store" => Answer::ok("x").header("cache-control", "no-store"),
        "/private" => Answer::ok("x").header("cache-control", "private, max-age=60"),
        "/nothing" => Answer::ok("x"),
        "/cookie" => Answer::fresh("x").header("set-cookie", "a=b"),
        "/star" => Answer::fresh("x").header("vary", "*"),
        "/large" => Answer::fresh("x".repeat(100_000)),
        _ => Answer::fresh("x"),
    });
    Gateway::with(CONFIG).origin(origin.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN).start()
}

fn explained(response: &Response) -> String {
    response.header("selvage-explanation").unwrap_or_default()
}

#[test]
fn one_request_finds_out_why_its_response_is_not_stored() {
    let origin = Origin::start();
    let gateway = start(&origin);
    let causes = [
        ("GET", "/no-store", "", "not stored: no-store"),
        ("GET", "/cookie", "", "not stored: set-cookie"),
        ("GET", "/a", "authorization", "not stored: authorization"),
        ("GET", "/star", "", "not stored: vary-star"),
        ("POST", "/a", "", "goes to the origin: method"),
        ("GET", "/large", "", "not stored: too-large"),
        ("GET", "/a", "x-forwarded-host", "unkeyed-header: the field x-forwarded-host"),
        ("GET", "/private", "", "not stored: private"),
        ("GET", "/nothing", "", "not stored: no-freshness"),
        ("GET", "/live", "", "goes to the origin: rule"),
    ];
    for (method, path, field, wanted) in causes {
        let mut ask = gateway.ask(method, path).header("selvage-explain", TOKEN);
        if !field.is_empty() {
            ask = ask.header(field, "Basic eDp5");
        }
        let line = explained(&ask.send());
        assert!(line.contains(wanted) && line.contains("verdict to change it: "), "{method} {path}: {line}");
        assert!(line.len() <= 2048, "{line}");
    }
    let told = |received: &Received| received.header("selvage-explain").is_some();
    assert!(!origin.received("/no-store").iter().any(told));
}

#[test]
fn the_operators_path_tells_what_is_stored_and_the_field_what_was_served() {
    let origin = Origin::start();
    let gateway = start(&origin);
    gateway.get("/a").send();
    let hit = becomes(|| gateway.get("/a").header("selvage-explain", TOKEN).send(), Response::is_hit);
    assert!(explained(&hit).contains("answered from the store"), "{}", explained(&hit));
    assert_says(&hit, "hit");
    assert_eq!(explained(&gateway.get("/a").header("selvage-explain", "a guess").send()), "");
    let bearer = format!("Bearer {TOKEN}");
    let ask = |method: &str, target: &str| gateway.ask(method, target).header("authorization", &bearer);
    let answer = ask("GET", "/.selvage/explain?url=/a").send();
    let json: serde_json::Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(json["verdict"][0]["outcome"], "answered from the store", "{json:#}");
    let question = r#"{"url":"http://example.com/a","method":"POST","headers":{"x-a":"b"}}"#;
    let answer = ask("POST", "/.selvage/explain").body(question).send();
    let json: serde_json::Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(json["verdict"][0]["word"], "method", "{json:#}");
    assert_eq!(gateway.get("/.selvage/explain?url=/a").send().status, 401);
}

//! Exchanges by chance, as a HAR archive, and configurations to judge them by.

use std::time::Duration;

use selvage_engine::time::Timestamp;
use selvage_rig::chance::Dice;
use serde_json::{Value, json};

const RULES: [&str; 10] = [
    r#"{}"#,
    r#"{"defaults":{"cookies":"ignore","set_cookie":"strip"}}"#,
    r#"{"defaults":{"cookies":"bypass","key":{"query":{"order":"sort","except":["utm_*"]}}}}"#,
    r#"{"defaults":{"ttl":{"default":"5m","max":"1h"},"request_directives":"ignore"}}"#,
    r#"{"rules":[{"name":"api","match":{"paths":["/api/*"]},"bypass":true},{"name":"css","match":{"paths":["*.css"]},"ttl":{"override":"1h"}}]}"#,
    r#"{"defaults":{"statuses":[200],"etag":"generate","compression":{"enabled":true}},"rules":[{"name":"host","match":{"hosts":["*.b.test"]},"shadow":true}]}"#,
    r#"{"defaults":{"key":{"headers":["x-forwarded-host","authorization"],"body":{"methods":["POST"]}}}}"#,
    r#"{"remote":{"enabled":true},"defaults":{"refresh":{"cluster":"origin"},"stale":{"if_error":"1h","while_revalidate":"10s"}}}"#,
    r#"{"limits":[{"name":"few","quota":5,"window":"1m","by":["ip"]}],"pools":[{"name":"all","fixed":2}],"defaults":{"limits":["few"],"admission":{"pool":"all"}}}"#,
    r#"{"worker":{"object_bytes":"1KiB"},"node":{"object_bytes":"1KiB"},"defaults":{"ttl":{"heuristic":false,"statuses":{"404":"10s"}},"cache_status":"off"}}"#,
];

/// One of several configurations, the later ones each under another name.
pub(super) fn configuration(nth: usize) -> String {
    let mut config: Value = serde_json::from_str(RULES[nth % RULES.len()]).unwrap();
    if nth >= RULES.len() {
        config["name"] = "another cache".into();
        config["namespace"] = format!("n{nth}").into();
    }
    config.to_string()
}

/// An archive of so many entries.
pub(super) fn archive(entries: usize, dice: &mut Dice) -> String {
    let entries: Vec<Value> = (0..entries).map(|_| entry(dice)).collect();
    json!({ "log": { "version": "1.2", "entries": entries } }).to_string()
}

fn entry(dice: &mut Dice) -> Value {
    let began = Timestamp::from_secs(1_790_000_000 + dice.below(10_000_000));
    let mut entry = json!({ "startedDateTime": began.to_rfc3339(), "request": request(dice) });
    // Some were broken off.
    if !dice.chance(30) {
        entry["response"] = response(began, dice);
    }
    entry
}

fn request(dice: &mut Dice) -> Value {
    let method = dice.of(&["GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "QUERY"]);
    let host = dice.of(&["a.test", "A.test:443", "x.b.test", "b.test:8443", "[2001:db8::1]"]);
    let path = dice
        .of(&["/", "/a", "/api/x", "/x.css", "/a/../b", "/a%2fb", "/%7euser", "/a\\b", "/a%00", "/*", "//a"]);
    let query = dice.of(&["", "", "?b=2&a=1", "?utm_source=x&a=1", "?", "?a=%zz", "?a=1&a=2"]);
    let scheme = dice.of(&["https", "https", "http"]);
    let fields = some(
        dice,
        220,
        &[
            ("Accept-Language", &["de", "en-GB, en;q=0.8", "*"]),
            ("Accept-Encoding", &["gzip", "br, gzip", "identity"]),
            ("Cookie", &["a=1", "session=x; b", ""]),
            ("Authorization", &["Bearer t", "Basic dTpw"]),
            (
                "Cache-Control",
                &[
                    "no-cache",
                    "no-store",
                    "max-age=0",
                    "max-stale=60",
                    "min-fresh=5",
                    "only-if-cached",
                    "max-age=x",
                ],
            ),
            ("Pragma", &["no-cache"]),
            ("Range", &["bytes=0-4", "bytes=-5", "items=1-2"]),
            ("If-None-Match", &["\"v1\"", "W/\"v1\", \"v2\"", "*"]),
            ("If-Match", &["\"v1\""]),
            ("If-Modified-Since", &["Tue, 01 Dec 2026 02:00:00 GMT", "soon"]),
            ("X-Forwarded-Host", &["evil.test"]),
            ("X-Forwarded-Proto", &["http", "https"]),
            ("X-HTTP-Method-Override", &["DELETE"]),
            ("Upgrade", &["websocket"]),
        ],
    );
    let mut request =
        json!({ "method": method, "url": format!("{scheme}://{host}{path}{query}"), "headers": fields });
    if matches!(method, "POST" | "PUT" | "QUERY") || dice.chance(20) {
        request["postData"] = json!({ "text": dice.of(&["", "a=1", "{\"a\":1}"]) });
    }
    request
}

fn response(began: Timestamp, dice: &mut Dice) -> Value {
    let status =
        dice.of(&[200, 200, 200, 200, 200, 203, 204, 206, 301, 302, 304, 404, 410, 416, 500, 503, 599, 0]);
    let mut fields = some(
        dice,
        250,
        &[
            (
                "Cache-Control",
                &[
                    "max-age=60",
                    "public, max-age=60",
                    "private",
                    "private=\"x\", max-age=5",
                    "no-store",
                    "no-cache",
                    "s-maxage=10, max-age=1",
                    "must-revalidate, max-age=60",
                    "max-age=60, stale-while-revalidate=30, stale-if-error=300",
                    "must-understand, no-store",
                    "max-age=99999999999999999999",
                    "max-age=\"60\"",
                    "max-age=60, max-age=5",
                    "proxy-revalidate, max-age=0",
                    "immutable, max-age=31536000",
                ],
            ),
            ("Cache-Control", &["max-age=60", "no-transform"]),
            ("CDN-Cache-Control", &["max-age=300", "no-store", "max-age=a"]),
            ("Vary", &["Accept-Language", "Accept-Encoding", "*", "Cookie, Origin", "a b"]),
            ("ETag", &["\"v1\"", "W/\"v1\"", "v1"]),
            ("Set-Cookie", &["a=1", "a=1; Path=/\nb=2"]),
            ("Age", &["0", "100", "-1", "1, 2"]),
            ("Cache-Tag", &["a, b", "product-1"]),
            ("Content-Type", &["text/html", "text/event-stream", "image/png"]),
            ("Content-Encoding", &["gzip", "br"]),
            ("Content-Length", &["5", "2000", "9999999"]),
            ("Content-Range", &["bytes 0-4/10"]),
        ],
    );
    for (name, spread) in [("Date", 100), ("Expires", 5000), ("Last-Modified", 1_000_000)] {
        if dice.chance(if name == "Date" { 700 } else { 200 }) {
            let moment =
                began.minus(Duration::from_secs(spread / 2)).plus(Duration::from_secs(dice.below(spread)));
            let value = if dice.chance(50) { "0".to_owned() } else { moment.to_http_date() };
            fields.push(json!({ "name": name, "value": value }));
        }
    }
    let mut content = json!({ "size": dice.of(&[0, 5, 1500, 5_000_000]) });
    if dice.chance(500) {
        content["text"] = dice.of(&["hello", "", "ü"]).into();
    }
    json!({ "status": status, "headers": fields, "content": content })
}

/// Each field so many times in a thousand, with one of its values.
fn some(dice: &mut Dice, per_mille: u64, fields: &[(&str, &[&str])]) -> Vec<Value> {
    let mut chosen = Vec::new();
    for (name, values) in fields {
        if dice.chance(per_mille) {
            chosen.push(json!({ "name": name, "value": dice.of(values) }));
        }
    }
    chosen
}

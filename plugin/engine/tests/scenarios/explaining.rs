//! Why something is not stored, and how what is stored is used: the explanation says what the exchange then does.

use serde_json::Value;

use selvage_engine::cache::Moment;
use selvage_engine::explain::{Answer, Explanation, Passage, Subject, explain};
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::request::Request;

use crate::gateway::{Gateway, block, date, fresh_for, moment, origin};

/// A config with a rule for each of the causes that need one.
const CONFIG: &str = r#"{"worker":{"object_bytes":"4KiB"},"node":{"object_bytes":"4KiB"},"defaults":{"ttl":{"heuristic":false}},
    "rules":[{"name":"api","match":{"hosts":["*.example.org"]}},{"name":"live","match":{"paths":["/live/*"]},"bypass":true}]}"#;

type Lines<'a> = &'a [(&'a str, &'a str)];

fn explained(
    gateway: &mut Gateway,
    second: u64,
    asks: (&str, &str, Lines),
    says: Option<(u16, Lines)>,
) -> Explanation {
    let (method, path, fields) = asks;
    let mut head =
        vec![(":method", method), (":scheme", "https"), (":authority", "example.com"), (":path", path)];
    head.extend(fields);
    let head = block(&head);
    let request = Request::read(Fields::parse(&head).unwrap(), false);
    let response: Option<FieldBlock> = says.map(|(status, fields)| {
        let status = status.to_string();
        let status = [(&b":status"[..], status.as_bytes())];
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        status.into_iter().chain(fields).collect()
    });
    let now = moment(second * 1000);
    let answer = response.as_ref().map(|block| Answer {
        head: block.fields(),
        length: None,
        requested: now,
        by_origin: true,
    });
    let subject = Subject { request: &request, body: None, response: answer, passage: Passage::Ahead };
    let mut moment = Moment { now, host: &mut gateway.shared };
    explain(&subject, &mut gateway.workers[0], &mut moment)
}

#[track_caller]
fn says(explanation: &Explanation, part: &str) {
    let text = explanation.to_text();
    assert!(text.contains(part), "no {part:?} in\n{text}");
}

/// The word, the request, the fields of the response, what the text cites, and what it says would change it.
type Cause<'a> = (&'a str, (&'a str, &'a str, Lines<'a>), Lines<'a>, &'a str, &'a str);

#[test]
fn ten_causes_are_told_as_the_exchange_acts_with_what_would_change_them() {
    let cookie: Lines = &[("cache-control", "max-age=60"), ("set-cookie", "a=b")];
    let large: Lines = &[("cache-control", "max-age=60"), ("content-length", "5000")];
    let causes: [Cause; 10] = [
        (
            "no-store",
            ("GET", "/a", &[]),
            &[("cache-control", "no-store")],
            "RFC 9111 §5.2.2.5",
            "max-age in place",
        ),
        ("set-cookie", ("GET", "/a", &[]), cookie, "RFC 9111 §7.3", "set_cookie: \"strip\""),
        (
            "authorization",
            ("GET", "/a", &[("authorization", "Basic eDp5")]),
            &[("cache-control", "max-age=60")],
            "RFC 9111 §3.5",
            "key.headers",
        ),
        (
            "vary-star",
            ("GET", "/a", &[]),
            &[("cache-control", "max-age=60"), ("vary", "*")],
            "RFC 9111 §4.1",
            "Vary at the origin",
        ),
        (
            "method",
            ("POST", "/a", &[]),
            &[("cache-control", "max-age=60")],
            "RFC 9110 §9.2.3",
            "key.body.methods",
        ),
        ("too-large", ("GET", "/a", &[]), large, "4096", "worker.object_bytes"),
        (
            "unkeyed-header",
            ("GET", "/a", &[("x-forwarded-host", "evil.example")]),
            &[("cache-control", "max-age=60")],
            "the field x-forwarded-host",
            "tainting_headers",
        ),
        (
            "private",
            ("GET", "/a", &[]),
            &[("cache-control", "private")],
            "RFC 9111 §5.2.2.7",
            "public or s-maxage",
        ),
        ("no-freshness", ("GET", "/a", &[]), &[], "RFC 9111 §3", "ttl.default"),
        ("rule", ("GET", "/live/a", &[]), &[("cache-control", "max-age=60")], "rules[1]", "bypass: false"),
    ];
    for (word, asks, response, reference, change) in causes {
        let mut gateway = Gateway::with(CONFIG);
        let explanation = explained(&mut gateway, 0, asks, Some((200, response)));
        assert_eq!(explanation.words().last(), Some(&word), "{}", explanation.to_text());
        says(&explanation, "not stored");
        says(&explanation, reference);
        says(&explanation, change);
        // The exchange agrees.
        let mut call = gateway.request(asks.0, asks.1).at(0);
        for (name, value) in asks.2 {
            call = call.header(name, value);
        }
        let lines = response.iter().fold(origin(200), |origin, (name, value)| origin.header(name, value));
        let answer = call.forwarded(lines.body("x".repeat(if word == "too-large" { 5000 } else { 1 })));
        let said = if word == "method" { "fwd=method".into() } else { format!("detail={word}") };
        answer.says(&said).says_nothing_of("stored");
    }
}

#[test]
fn what_is_stored_is_told_with_its_times_as_arithmetic() {
    let config = r#"{"defaults":{"ttl":{"max":"30s"},"key":{"query":{"order":"sort","except":["utm_*"]},"headers":["x-app"]}}}"#;
    let mut gateway = Gateway::with(config);
    let asks: (&str, &str, Lines) = ("GET", "/a?utm_source=x&b=2&a=1", &[("x-app", "one")]);
    let before = explained(&mut gateway, 0, asks, None);
    assert_eq!(before.words(), ["uri-miss"]);
    let response =
        fresh_for(60).header("date", &date(0)).header("age", "5").header("surrogate-key", "p q").body("x");
    gateway.get(asks.1).header("x-app", "one").at(1).miss(response).stored();
    let after = explained(&mut gateway, 11, asks, None);
    assert_eq!(after.words(), ["worker"]);
    for part in [
        "this worker: a response; all workers: a response",
        "30 s: 60 s from max-age=60 of cache-control, cut by ttl.max",
        "15 s = 5 s when it was received + 10 s in the cache",
        "fresh for 15 s = lifetime 30 s - age 15 s",
        "tags          2 kept as hashes",
        "target        /a?a=1&b=2",
        "sorted by name; left out by key.query: utm_source=x",
        "header        x-app: \"one\"",
    ] {
        says(&after, part);
    }
    let stale = explained(&mut gateway, 31, asks, None);
    assert_eq!(stale.words(), ["stale"]);
    says(&stale, "stale for 5 s = age 35 s - lifetime 30 s");
}

#[test]
fn the_explanation_says_what_the_exchange_then_does() {
    let config = r#"{"defaults":{"stale":{"while_revalidate":"10s"}}}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/a").at(0).miss(fresh_for(60).header("vary", "accept-language").body("x"));
    gateway.get("/p").at(0).miss(fresh_for(60).body("x"));
    let table: [(u64, &str, Lines, &str); 7] = [
        (1, "/p", &[], "worker"),
        (1, "/p", &[("cache-control", "no-cache")], "request"),
        (65, "/p", &[], "stale-while-revalidate"),
        (65, "/p", &[("cache-control", "max-age=100")], "stale"),
        (80, "/p", &[("cache-control", "max-stale")], "max-stale"),
        (1, "/a", &[("accept-language", "de")], "vary-miss"),
        (1, "/b", &[("cache-control", "only-if-cached")], "only-if-cached"),
    ];
    for (second, path, fields, word) in table {
        let explanation = explained(&mut gateway, second, ("GET", path, fields), None);
        assert_eq!(explanation.words(), [word], "{path} {fields:?}\n{}", explanation.to_text());
    }
    let explanation = explained(&mut gateway, 1, ("GET", "/a", &[]), None);
    assert_eq!(explanation.words(), ["worker"]);
    says(&explanation, "variants      1, selected by accept-language");
}

#[test]
fn secrets_of_clients_are_not_told() {
    let mut gateway =
        Gateway::with(r#"{"defaults":{"key":{"headers":["authorization"],"cookies":["sid"]}}}"#);
    let fields: Lines = &[("authorization", "Bearer hidden"), ("cookie", "sid=hidden")];
    let explanation = explained(&mut gateway, 0, ("GET", "/a", fields), None);
    says(&explanation, "authorization: there, 13 bytes");
    says(&explanation, "sid: there, 6 bytes");
    assert!(
        !explanation.to_text().contains("hidden") && !explanation.to_json().to_string().contains("hidden")
    );
}

#[test]
fn one_exchange_is_explained_to_whoever_shows_the_token() {
    let mut gateway = Gateway::with("{}");
    gateway.workers[0].set_admin_auth(AdminAuth::Token { name: "T".into(), token: (*b"secret").into() });
    let flight = gateway.get("/a").header("selvage-explain", "secret").at(0).leaves();
    assert!(flight.removes("selvage-explain"));
    let answer = gateway.answers(flight, 0, origin(200).header("cache-control", "private"));
    let line = answer.value("selvage-explanation").unwrap();
    assert!(line.contains("not stored: private") && line.contains("RFC 9111 s.5.2.2.7"), "{line}");
    assert!(line.len() <= 2048 && line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
    // Hits too, and what is stored has nothing of it.
    let asks = gateway.get("/b").header("selvage-explain", "secret").at(0);
    let answer = asks.miss(fresh_for(60).header("selvage-explanation", "of another cache").body("x"));
    assert!(answer.value("selvage-explanation").unwrap().contains("stored, fresh for 60 s"));
    let answer = gateway.get("/b").header("selvage-explain", "secret").at(1).hit();
    assert!(
        answer.value("selvage-explanation").unwrap().contains("fresh for 59 s = lifetime 60 s - age 1 s")
    );
    gateway.get("/b").at(1).hit().lacks("selvage-explanation");
    assert_eq!(gateway.counted(0, "explain", "granted"), 3);
    // Another token changes nothing, and is not for the origin either.
    gateway.get("/b").header("selvage-explain", "guess").at(1).hit().lacks("selvage-explanation");
    let flight = gateway.get("/c").header("selvage-explain", "guess").at(1).leaves();
    assert!(flight.removes("selvage-explain"));
    gateway.answers(flight, 1, fresh_for(60)).lacks("selvage-explanation");
    assert_eq!(gateway.counted(0, "explain", "refused"), 2);
}

#[test]
fn without_a_gate_the_field_is_one_like_any_other() {
    let mut gateway = Gateway::with("{}");
    let flight = gateway.get("/a").header("selvage-explain", "").at(0).leaves();
    assert!(!flight.removes("selvage-explain"));
    gateway.answers(flight, 0, fresh_for(60)).lacks("selvage-explanation");
}

#[test]
fn operators_are_answered_in_json() {
    let mut gateway = Gateway::with("{}");
    gateway.workers[0].set_admin_auth(AdminAuth::Token { name: "T".into(), token: (*b"secret").into() });
    let bearer = "Bearer secret";
    let json = r#"{"url":"https://example.com/a","response":{"headers":{"Cache-Control":"private"}}}"#;
    let asks = gateway.post("/.selvage/explain").header("authorization", bearer).chunk(json);
    let answer = asks.at(0).answered().status(200).has("cache-control", "no-store");
    let answer: Value = serde_json::from_slice(answer.bytes()).unwrap();
    assert_eq!(answer["version"], 1);
    let verdict = answer["verdict"].as_array().unwrap();
    let of = |about: &str| verdict.iter().find(|note| note["about"] == about).unwrap_or(&Value::Null).clone();
    assert_eq!(of("request")["word"], "uri-miss");
    assert_eq!(
        (&of("response")["word"], &of("response")["outcome"]),
        (&"private".into(), &"not stored".into())
    );
    assert!(!of("response")["change"].as_str().unwrap().is_empty());
    // A query takes the host of the request that it comes with.
    gateway.get("/a?b").at(0).miss(fresh_for(60).body("x"));
    let asks = gateway.get("/.selvage/explain?url=/a%3Fb").header("authorization", bearer);
    let answer: Value = serde_json::from_slice(asks.at(1).answered().status(200).bytes()).unwrap();
    assert_eq!(answer["verdict"][0]["word"], "worker");
    for (path, token, status) in
        [("?uri=/a", bearer, 400), ("?url=/a", "", 401), ("?url=/a", "Bearer x", 403)]
    {
        let path = format!("/.selvage/explain{path}");
        gateway.get(&path).header("authorization", token).at(1).answered().status(status);
    }
    gateway.request("PUT", "/.selvage/explain").header("authorization", bearer).at(1).answered().status(405);
}

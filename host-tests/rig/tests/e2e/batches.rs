//! Several GETs in one request, on the real Envoy: each is answered as one of its own would be, whatever happens to the others.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use selvage_rig::batches::{Part, body_of, parts, post};
use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Gate, Origin, Received};
use serde_json::{Value, json};

use super::{assert_hit, assert_says, becomes};

/// The calls go where the route leads as well.
const ON: &str = r#"{ "batch": {}, "rules": [
    { "name": "api", "match": { "paths": ["/api/*"] }, "batch": true, "refresh": { "cluster": "origin" },
      "stale": { "if_error": "1h" } } ] }"#;

pub(super) fn json_of(content: impl AsRef<[u8]>) -> Answer {
    Answer::fresh(content).header("content-type", "application/json")
}

fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request| json_of(format!("{{ \"path\" : \"{}\" }}", request.target)));
    origin
}

pub(super) fn statuses(parts: &[Part]) -> Vec<u64> {
    parts.iter().map(|part| part.status).collect()
}

#[track_caller]
fn says(part: &Part, words: &str) {
    assert!(part.cache_status().contains(words), "no {words:?} in {:?}", part.cache_status());
}

/// What both have to have alike: a part has no fields of the connection, and none that Envoy sets for each response anew.
fn lasting(fields: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let passing = [
        "age",
        "cache-status",
        "connection",
        "content-length",
        "date",
        "server",
        "transfer-encoding",
        "x-envoy-upstream-service-time",
    ];
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in fields.filter(|(name, _)| !passing.contains(&name.as_str())) {
        let lines = joined.entry(name).or_default();
        if !lines.is_empty() {
            lines.push_str(", ");
        }
        lines.push_str(&value);
    }
    joined
}

#[track_caller]
fn assert_same(part: &Part, single: &Response) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let fields = single.fields.iter().map(|(name, value)| (name.clone(), text(value)));
    let of_part = lasting(part.fields.clone().into_iter());
    assert_eq!((part.status, of_part), (u64::from(single.status), lasting(fields)), "{}", part.id);
    assert!(part.body == single.body, "{}: {:?}", part.id, text(&part.body));
}

/// Everything that an origin may say to a GET.
fn tell(origin: &Origin) {
    let on = |path: &str, script: fn(&Received) -> Answer| origin.on(path, script);
    on("/api/json", |_| json_of("{\n  \"n\": 1.50, \"big\": 123456789012345678901234567890\r\n}"));
    on("/api/uncacheable", |_| {
        Answer::ok("[\"no-store\"]")
            .header("content-type", "application/json")
            .header("cache-control", "no-store")
    });
    on("/api/gzip", |_| {
        Answer::fresh([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .header("content-encoding", "gzip")
            .header("content-type", "application/json")
    });
    on("/api/binary", |_| Answer::fresh((0..=255u8).collect::<Vec<_>>()).header("content-type", "image/png"));
    on("/api/gone", |_| Answer::new(404).body("none").header("content-type", "text/plain"));
    on("/api/broken-json", |_| json_of("{\"cut\":"));
    on("/api/empty", |_| Answer::new(204));
    on("/api/moved", |_| Answer::new(302).header("location", "/api/json"));
    on("/api/cookies", |_| Answer::ok("c").header("set-cookie", "a=1").header("set-cookie", "b=\"2\""));
    on("/api/vary", |request| {
        json_of(format!("\"{}\"", request.header("x-kind").unwrap_or_default())).header("vary", "x-kind")
    });
    on("/api/large", |_| Answer::fresh("x".repeat(300_000)).header("content-type", "text/plain"));
    on("/api/chunked", |_| json_of("[1, 2, 3]").chunked(4, &[]));
    on("/api/failing", |_| Answer::new(503).body("{}").header("content-type", "application/json"));
    on("/api/validated", |request| match request.header("if-none-match") {
        Some(_) => Answer::new(304).header("etag", "\"1\"").header("cache-control", "max-age=0"),
        None => Answer::ok("\"same\"")
            .header("etag", "\"1\"")
            .header("cache-control", "max-age=0")
            .header("content-type", "application/json"),
    });
}

const PATHS: [&str; 14] = [
    "/api/json",
    "/api/uncacheable",
    "/api/gzip",
    "/api/binary",
    "/api/gone",
    "/api/broken-json",
    "/api/empty",
    "/api/moved",
    "/api/cookies",
    "/api/vary",
    "/api/large",
    "/api/chunked",
    "/api/failing",
    "/api/validated",
];

#[test]
fn parts_are_what_single_requests_are_and_only_misses_are_asked_for() {
    let origin = origin();
    tell(&origin);
    let gateway = Gateway::with(ON).origin(origin.url()).start();
    let single =
        |path: &str| gateway.get(path).header("accept-encoding", "identity").header("x-kind", "k").send();
    let batch = || parts(&post(&gateway, body_of(&PATHS)).header("x-kind", "k").send());
    // First by the batch, then by both: each is compared as a miss and as a hit.
    let first = batch();
    for (part, path) in first.iter().zip(PATHS) {
        assert_same(part, &single(path));
    }
    let again = batch();
    for (part, path) in again.iter().zip(PATHS) {
        assert_same(part, &single(path));
    }
    for (path, hit) in PATHS.into_iter().zip(&again) {
        // 404 has no lifetime of its own, and the rest is not stored.
        let stored = ![
            "/api/uncacheable",
            "/api/gone",
            "/api/empty",
            "/api/moved",
            "/api/cookies",
            "/api/failing",
            "/api/validated",
        ]
        .contains(&path);
        let asked = origin.count(path);
        assert_eq!((asked == 1, hit.cache_status().contains("; hit")), (stored, stored), "{path}: {asked}");
    }
    says(&again[13], "detail=validated");
    assert_eq!(
        again.iter().map(|part| part.id.clone()).collect::<Vec<_>>(),
        (0..14).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    let call = &origin.received("/api/json")[0];
    assert_eq!((call.method.as_str(), call.header("x-kind").as_deref()), ("GET", Some("k")));
    assert!(
        call.body.is_empty() && call.header("content-type").is_none() && call.header("cdn-loop").is_some()
    );
    assert_eq!(origin.count("/batch"), 0);
    becomes(|| gateway.stat("selvage.batch.answered"), |counted| *counted == 2);
    becomes(|| gateway.stat("selvage.batch_parts.answered"), |counted| *counted == 28);
    gateway.assert_sound();
}

#[test]
fn whatever_becomes_of_a_part_the_others_have_their_answers() {
    let origin = origin();
    origin.on("/api/breaks", |_| json_of("[1,2,3]").breaks_after(3));
    origin.on("/api/resets", |_| json_of("1").breaks_before_the_head());
    origin.on("/api/lies", |_| json_of("[1,2,3]").claiming(100).breaks_after(3));
    let gate = Gate::new();
    let held = gate.clone();
    origin.on("/api/hangs", move |_| json_of("1").waits_for(&held));
    origin.on("/api/old", |request| match request.before {
        0 => Answer::ok("\"old\"")
            .header("content-type", "application/json")
            .header("cache-control", "max-age=60")
            .header("age", "100"),
        _ => Answer::new(503),
    });
    let config =
        ON.replacen("\"batch\": {}", r#""batch": { "part_timeout": "1s", "response_bytes": "64KiB" }"#, 1);
    let gateway = Gateway::with(&config).origin(origin.url()).start();
    gateway.get("/api/old").send();
    origin.on("/api/huge", |_| Answer::fresh("x".repeat(60_000)).header("content-type", "text/plain"));
    let targets = [
        "/api/breaks",
        "/api/resets",
        "/api/lies",
        "/api/hangs",
        "/api/old",
        "/api/huge",
        "/api/well",
        "/private",
        "//evil/",
    ];
    let told = parts(&post(&gateway, body_of(&targets)).send());
    assert_eq!(statuses(&told), [502, 503, 502, 504, 200, 507, 200, 403, 400]);
    gate.open();
    says(&told[0], "detail=part-failed");
    says(&told[3], "fwd-status=504");
    says(&told[4], "detail=stale-if-error");
    says(&told[5], "detail=part-too-large");
    says(&told[7], "detail=batch-refused");
    assert_eq!(told[4].body, b"\"old\"");
    // What did not fit is stored all the same.
    assert!(gateway.get("/api/huge").send().is_hit());
    assert_eq!(origin.count("/private"), 0);
    gateway.assert_sound();
}

#[test]
fn what_is_no_batch_is_refused_and_the_rest_of_the_server_is_as_it_was() {
    let origin = origin();
    let gateway = Gateway::with(ON).origin(origin.url()).start();
    let refused = |response: Response, status: u16| {
        assert_eq!(response.status, status, "{}", response.text());
        assert_eq!(response.all("content-type"), ["application/problem+json"]);
        assert_says(&response, "detail=batch-refused");
        let problem: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(problem["status"], json!(status));
    };
    refused(post(&gateway, "{").send(), 400);
    refused(post(&gateway, body_of(&vec!["/api/a"; 33])).send(), 400);
    refused(post(&gateway, "x".repeat(300 << 10)).send(), 413);
    refused(gateway.ask("POST", "/batch").body("{}").send(), 415);
    refused(gateway.ask("POST", "/batch").header("content-type", "application/json").send(), 400);
    let depends =
        json!({ "requests": [{ "id": "1", "method": "GET", "url": "/api/a", "dependsOn": ["0"] }] });
    refused(post(&gateway, depends.to_string()).send(), 400);
    assert_eq!(origin.count("/batch") + origin.count("/api/a"), 0);
    assert_eq!(gateway.get("/batch").send().status, 200);
    assert_eq!(origin.count("/batch"), 1);
    gateway.assert_sound();
}

#[test]
fn a_batch_is_no_way_around_limits_and_says_where_it_comes_from() {
    let config = r#"{ "batch": {}, "limits": [ { "name": "per-address", "by": ["ip"], "quota": 5, "window": "1h", "burst": 5 } ],
        "rules": [ { "name": "api", "match": { "paths": ["/api/*"] }, "batch": true, "refresh": { "cluster": "origin" },
                     "limits": ["per-address"] } ] }"#;
    let origin = origin();
    let gateway = Gateway::with(config).origin(origin.url()).start();
    let targets: Vec<String> = (0..8).map(|nth| format!("/api/{nth}")).collect();
    let told = parts(&post(&gateway, body_of(&targets)).send());
    assert_eq!(statuses(&told), [200, 200, 200, 200, 200, 429, 429, 429]);
    assert!(told[7].fields.contains_key("retry-after"));
    // The address is the client's, and not nobody's.
    assert_eq!(gateway.get("/api/0").send().status, 429);
    gateway.assert_sound();
}

#[test]
fn batches_requests_and_workers_share_one_fetch() {
    let origin = origin();
    let gate = Gate::new();
    let held = gate.clone();
    origin.on("/api/slow", move |_| json_of("1").waits_for(&held));
    let gateway = Gateway::with(ON).origin(origin.url()).start();
    let told = thread::scope(|scope| {
        let batches: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    parts(&post(&gateway, body_of(&["/api/slow", "/api/slow", "/api/quick"])).send())
                })
            })
            .collect();
        let singles: Vec<_> = (0..4).map(|_| scope.spawn(|| gateway.get("/api/slow").send())).collect();
        becomes(|| origin.count("/api/slow"), |asked| *asked > 0);
        gate.open();
        for single in singles {
            assert_eq!(single.join().unwrap().text(), "1");
        }
        batches.into_iter().map(|batch| batch.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(told.iter().all(|parts| statuses(parts) == [200, 200, 200]));
    assert_eq!((origin.count("/api/slow"), origin.count("/api/quick")), (1, 1));
    gateway.assert_sound();
}

#[test]
fn who_leaves_leaves_the_answers_to_others() {
    let origin = origin();
    let gate = Gate::new();
    let held = gate.clone();
    origin.on("/api/slow", move |_| json_of("1").waits_for(&held));
    let gateway = Gateway::with(ON).origin(origin.url()).start();
    let body = body_of(&["/api/slow"]);
    let head = format!(
        "POST /batch HTTP/1.1\r\nhost: example.test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    gateway.connect().abandon(head.as_bytes()).unwrap();
    becomes(|| origin.count("/api/slow"), |asked| *asked == 1);
    gate.open();
    becomes(|| gateway.get("/api/slow").send(), Response::is_hit);
    assert_eq!(origin.count("/api/slow"), 1);
    becomes(|| gateway.stat("selvage.batch.left"), |counted| *counted == 1);
    gateway.assert_sound();
}

#[test]
fn the_fleets_store_answers_parts_and_its_death_costs_nothing_but_hits() {
    let origin = origin();
    let config = ON.replacen('{', r#"{ "remote": { "enabled": true, "timeout": "2s" },"#, 1);
    let mut bridge = Bridge::start();
    let member = || Gateway::with(&config).origin(origin.url()).bridge(bridge.port()).start();
    let (one, other) = (member(), member());
    let ask = |gateway: &Gateway, targets: &[&str]| {
        let ask = gateway.ask("POST", "/batch").header("host", "fleet.example");
        parts(&ask.header("content-type", "application/json").body(body_of(targets)).send())
    };
    let mut turn = 0;
    let (target, told) = becomes(
        || {
            turn += 1;
            let target = format!("/api/{turn}");
            let before = bridge.keys("selvage:v1:*").len();
            ask(&one, &[&target]);
            for _ in 0..50 {
                if bridge.keys("selvage:v1:*").len() > before {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            let told = ask(&other, &[&target, &target, "/api/x"]);
            (target, told)
        },
        |(_, told)| told[0].cache_status().contains("detail=remote"),
    );
    assert_eq!(statuses(&told), [200, 200, 200]);
    assert_eq!(origin.count(&target), 1);
    bridge.end_redis();
    let told = ask(&other, &[&target, "/api/y", "/api/z"]);
    assert_eq!(statuses(&told), [200, 200, 200]);
    says(&told[0], "; hit");
    for gateway in [&one, &other] {
        gateway.assert_sound();
    }
}

#[test]
fn one_line_for_each_part() {
    let origin = origin();
    let gateway = Gateway::with(ON).origin(origin.url()).start();
    let response =
        post(&gateway, body_of(&["/api/a", "/api/b"])).header("accept", "application/x-ndjson").send();
    assert_eq!(
        (response.status, response.all("content-type")),
        (200, vec!["application/x-ndjson".to_owned()])
    );
    assert_eq!(response.all("cache-control"), ["no-store"]);
    assert_says(&response, "detail=batch");
    let lines: Vec<Value> = response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[1]["body"]["path"]), (2, &json!("/api/b")));
    assert_hit(&gateway.get("/api/b").send(), "{ \"path\" : \"/api/b\" }");
}

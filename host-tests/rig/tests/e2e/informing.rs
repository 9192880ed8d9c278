//! The operators' interface through the real Envoy: everything that `plugin/openapi.json` describes is asked, and answered so.

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::schema::{Method, OpenApi, Operation};
use selvage_rig::scripted::{Answer, Gate, Origin, Received};
use serde_json::Value;

use super::becomes;

const TOKEN: &str = "a-token-of-some-length";

fn start(origin: &Origin, more: &str) -> Gateway {
    let configuration = format!(r#"{{ "admin": {{ "token_env": "SELVAGE_ADMIN_TOKEN" }} {more} }}"#);
    Gateway::with(&configuration).origin(origin.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN).start()
}

fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request: &Received| Answer::fresh(format!("answer {}", request.before)));
    origin
}

fn ask(gateway: &Gateway, method: &str, target: &str, token: Option<&str>, body: Option<String>) -> Response {
    let mut ask = gateway.ask(method, target);
    if let Some(token) = token {
        ask = ask.header("authorization", format!("Bearer {token}"));
    }
    if let Some(body) = body { ask.body(body).send() } else { ask.send() }
}

fn told(gateway: &Gateway, endpoint: &str) -> Value {
    let answer = ask(gateway, "GET", &format!("/.selvage/{endpoint}"), Some(TOKEN), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[track_caller]
fn assert_as_described(operation: &Operation<'_>, status: u16, answer: &Response) {
    let Operation { path, method, .. } = operation;
    let faults = operation.faults(answer.status, answer.header("content-type").as_deref(), &answer.body);
    assert!(faults.is_empty(), "{} {path}: {faults:#?}", method.as_str());
    assert_eq!(answer.status, status, "{} {path}: {}", method.as_str(), answer.text());
}

#[test]
fn every_answer_is_as_the_openapi_document_says() {
    let origin = origin();
    let more = r#", "pools": [ { "name": "api" } ],
        "limits": [ { "name": "all", "by": [], "quota": 60, "window": "1h", "burst": 60 } ],
        "defaults": { "refresh": { "cluster": "origin" }, "admission": { "pool": "api" }, "limits": ["all"] }"#;
    let gateway = start(&origin, more);
    for n in 0..100 {
        gateway.get(&format!("/{}", n % 7)).send();
    }
    let document = OpenApi::of_operators();
    let mut guesses = 0;
    for operation in document.operations() {
        let method = operation.method.as_str();
        let (target, example) = (operation.target(), operation.example().map(Value::to_string));
        let answer = ask(&gateway, method, &target, Some(TOKEN), example.clone());
        // Without Redis there are none: what it says with them is told in `jobs`.
        let good = match operation.path {
            "/.selvage/jobs" => {
                if method == "POST" {
                    400
                } else {
                    404
                }
            }
            _ => operation.statuses().into_iter().find(|status| *status < 400).unwrap(),
        };
        assert_as_described(&operation, good, &answer);
        if !operation.is_guarded() {
            continue;
        }
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
        assert_as_described(&operation, 401, &ask(&gateway, method, &target, None, example.clone()));
        // More wrong tokens than these keep an address out.
        if guesses < 9 {
            guesses += 1;
            let wrong = ask(&gateway, method, &target, Some("another"), example);
            assert_as_described(&operation, 403, &wrong);
        }
        if operation.method == Method::Post {
            let wrong = ask(&gateway, method, &target, Some(TOKEN), Some(r#"{"wrong":1}"#.into()));
            assert_as_described(&operation, 400, &wrong);
            let long = ask(&gateway, method, &target, Some(TOKEN), Some("x".repeat((256 << 10) + 1)));
            assert_eq!(long.status, 413);
        }
        let other = ask(&gateway, "DELETE", &target, Some(TOKEN), None);
        assert_eq!(other.status, 405, "{}", other.text());
        assert!(other.header("allow").unwrap().contains(method));
    }
    assert_eq!(ask(&gateway, "GET", "/.selvage/none", Some(TOKEN), None).status, 404);
    let notes = gateway.log();
    let optimized = notes.lines().filter(|line| line.contains(r#""event":"optimize""#)).count();
    assert_eq!(optimized, 1, "who wanted it is written down");
    assert_eq!(origin.count("/.selvage/report"), 0);
    gateway.assert_sound();
}

#[test]
fn the_figures_are_those_of_both_workers() {
    let origin = origin();
    let gateway = start(&origin, "");
    let before = told(&gateway, "report");
    assert_eq!(before["requests"], 0);
    // Each connection goes to one of the two workers.
    for _ in 0..200 {
        gateway.get("/a").send();
    }
    // The counts are exported at each tick.
    let report = becomes(
        || gateway.get("/b").send(),
        |_| told(&gateway, "report")["outcomes"]["hit"].as_u64() >= Some(199),
    );
    assert_eq!(report.status, 200);
    for _ in 0..10 {
        let report = told(&gateway, "report");
        let all: u64 = ["hit", "miss", "collapsed"]
            .iter()
            .map(|outcome| report["outcomes"][*outcome].as_u64().unwrap())
            .sum();
        assert_eq!(report["requests"], all);
        assert!(report["hit_rate"].as_f64() > Some(0.9));
        assert_eq!(report["tiers"]["worker"]["bound"], 2 * (64 << 20));
    }
    let stats = told(&gateway, "stats");
    assert_eq!(
        stats["counters"]["requests.miss.origin"].as_u64().unwrap(),
        gateway.stat("selvage.requests.miss.origin")
    );
    assert_eq!(told(&gateway, "health")["status"], "ok");
    gateway.assert_sound();
}

#[test]
fn what_is_held_shows_and_goes_away_again() {
    let origin = origin();
    let gate = Gate::new();
    let held = gate.clone();
    origin.on("/slow", move |_| Answer::fresh("slow").waits_for(&held));
    let gateway = start(&origin, "");
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| gateway.get("/slow").send())).collect();
        let shows = |name: &'static str, pointer: &'static str, wanted: fn(u64) -> bool| {
            let figure = |_: &Response| {
                told(&gateway, name).pointer(pointer).and_then(Value::as_u64).is_some_and(wanted)
            };
            becomes(|| gateway.get("/other").send(), figure);
        };
        shows("resources", "/fills/alive", |alive| alive == 1);
        shows("resources", "/fills/oldest_ms", |oldest| oldest > 1000);
        shows("resources", "/waiters/alive", |alive| alive > 0);
        shows("resources", "/contexts/oldest_ms", |oldest| oldest > 500);
        assert!(told(&gateway, "resources")["heap_bytes"].as_u64() > Some(1 << 20));
        gate.open();
        for client in clients {
            assert_eq!(client.join().unwrap().text(), "slow");
        }
        shows("stats", "/gauges/live.fills", |alive| alive == 0);
        shows("stats", "/gauges/live.waiters", |alive| alive == 0);
    });
    assert_eq!(told(&gateway, "resources")["leaks"], Value::Array(Vec::new()));
    gateway.assert_sound();
}

#[test]
fn a_rule_that_is_never_cached_is_recommended_to_have_no_filter() {
    let origin = origin();
    let rules = r#", "rules": [{ "name": "account", "match": { "paths": ["/account"] }, "bypass": true }]"#;
    let gateway = start(&origin, rules);
    // One connection, so one worker.
    let mut connection = gateway.connect();
    let mut recommended = || -> Vec<String> {
        let ask = connection.get("/.selvage/recommendations");
        let answer = connection.send(ask.header("authorization", format!("Bearer {TOKEN}")));
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        let list = told["recommendations"].as_array().unwrap().iter();
        let codes = list.map(|one| one["code"].as_str().unwrap().to_owned()).collect();
        for _ in 0..600 {
            let account = connection.get("/account");
            connection.send(account);
        }
        codes
    };
    let seen: Vec<_> = (0..3).map(|_| recommended()).collect();
    assert_eq!(seen, [vec![], vec![], vec!["never-cached".to_owned()]]);
    gateway.assert_sound();
}

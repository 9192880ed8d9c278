//! What is usual for a real Envoy, and lifetimes by how often its responses change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use selvage_rig::envoy::Gateway;
use selvage_rig::scripted::{Answer, Origin};
use serde_json::Value;

use super::becomes;

const CONFIG: &str = r#"{ "admin": { "open": true }, "foresight": { "forecast": true }, "pools": [ { "name": "api" } ],
  "defaults": { "admission": { "pool": "api" }, "ttl": { "adaptive": { "min": "1s", "max": "1h" } } } }"#;

fn told(gateway: &Gateway, endpoint: &str) -> Value {
    let answer = gateway.get(&format!("/.selvage/{endpoint}")).header("host", "localhost").send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn both_workers_learn_that_a_page_does_not_change_and_failures_teach_them_nothing() {
    let origin = Origin::start();
    let failing = Arc::new(AtomicUsize::new(0));
    let fails = Arc::clone(&failing);
    origin.otherwise(move |_| match fails.load(Ordering::SeqCst) {
        0 => Answer::new(200).header("etag", "W/\"1\"").body("the same"),
        _ => Answer::new(503).body("away"),
    });
    let gateway = Gateway::with(CONFIG).origin(origin.url()).start();
    let figures = || {
        let explained = told(&gateway, "explain?url=http%3A%2F%2Flocalhost%2Fpage").to_string();
        let every =
            explained.split("changes every ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        every.unwrap_or(0_u64)
    };
    let ask = || gateway.get("/page").header("host", "localhost").send();
    assert_eq!(ask().status, 200);
    let first = figures();
    assert!(first > 0, "{}", told(&gateway, "explain?url=http%3A%2F%2Flocalhost%2Fpage"));
    // It is asked for until it was fetched several times, each time the same.
    becomes(
        || {
            ask();
            origin.count("/page")
        },
        |count| *count >= 4,
    );
    let later = figures();
    assert!(later > first, "{first} {later}");
    failing.store(1, Ordering::SeqCst);
    becomes(
        || {
            ask();
            origin.count("/page")
        },
        |count| *count >= 5,
    );
    assert_eq!(figures(), later, "what fails is no look at the page");
    gateway.assert_sound();
}

#[test]
fn what_is_usual_is_in_the_report_and_the_gauges_are_there_before_anything_is_wrong() {
    let origin = Origin::start();
    origin.otherwise(|_| Answer::fresh("a"));
    let gateway = Gateway::with(CONFIG).origin(origin.url()).start();
    (0..120).for_each(|nth| _ = gateway.get(&format!("/{}", nth % 3)).send());
    let report = told(&gateway, "report");
    assert_eq!(report["anomalies"]["series"][0]["name"], "hit-rate");
    assert_eq!(report["anomalies"]["series"][0]["anomaly"], false);
    becomes(|| gateway.stat("anomaly.hit-rate"), |value| *value == 0);
    becomes(|| told(&gateway, "forecast"), |told| told["pools"][0]["since_ms"].is_number());
    assert_eq!(told(&gateway, "health")["status"], "ok");
    gateway.assert_sound();
}

#[test]
fn a_young_node_counts_what_is_asked_for_and_renews_nothing_ahead() {
    let config = r#"{ "admin": { "open": true }, "warm": { "predict": true }, "defaults": { "refresh": { "cluster": "origin" } } }"#;
    let origin = Origin::start();
    origin.otherwise(|_| Answer::new(200).header("cache-control", "max-age=2").body("a"));
    let gateway = Gateway::with(config).origin(origin.url()).start();
    let ask = || gateway.get("/page").header("host", "localhost").send();
    // It has expired several times, with clients that asked for it all the time.
    becomes(
        || {
            assert_eq!(ask().status, 200);
            origin.count("/page")
        },
        |count| *count >= 3,
    );
    let warm = becomes(|| told(&gateway, "forecast")["warm"].clone(), |warm| warm["since_ms"].is_number());
    assert_eq!((&warm["watched"], &warm["hours_known"], &warm["sent"]), (&true.into(), &0.into(), &0.into()));
    assert_eq!(told(&gateway, "report")["forecast"]["warm"]["watched"], true);
    gateway.assert_sound();
}

#[test]
fn a_store_that_is_too_small_is_told_how_much_larger_it_should_be() {
    let config = r#"{ "admin": { "open": true }, "foresight": { "stores": true }, "worker": { "bytes": "1MiB" },
      "node": { "bytes": "1MiB", "buckets": 64 } }"#;
    let origin = Origin::start();
    // They are not to be made smaller.
    origin.otherwise(|request| {
        let seed = request.target.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31) + u32::from(byte));
        let body: Vec<u8> = (1..10_000_u32)
            .map(|at| (seed.wrapping_mul(at).wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        Answer::new(200)
            .header("cache-control", "max-age=3600")
            .header("content-type", "image/png")
            .body(body)
    });
    let gateway = Gateway::with(config).origin(origin.url()).start();
    // What is counted is taken in every ten seconds.
    let deadline = Instant::now() + Duration::from_secs(60);
    let stores = loop {
        (0..260).for_each(|nth| assert_eq!(gateway.get(&format!("/{nth}")).send().status, 200));
        let stores = told(&gateway, "forecast")["stores"].clone();
        if stores["enough"].is_object() {
            break stores;
        }
        assert!(Instant::now() < deadline, "{stores}");
    };
    assert_eq!((&stores["watched"], &stores["of"]), (&true.into(), &"node".into()));
    assert!(stores["enough"]["points"].as_f64().unwrap() >= 1.0, "{stores}");
    assert_eq!(stores["steps"].as_array().unwrap().len(), 4);
    assert_eq!(told(&gateway, "report")["forecast"]["stores"]["of"], "node");
    gateway.assert_sound();
}

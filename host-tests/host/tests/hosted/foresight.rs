//! What the release module tells of what is not usual, and what it learns of lifetimes, by all workers together.

use selvage_host::{Gateway, OriginResponse};
use serde_json::Value;

const OPEN: &str = r#"{"admin":{"open":true,"hosts":["cache.test"]}}"#;

fn told(gateway: &Gateway, endpoint: &str, worker: usize) -> Value {
    let answer = gateway.get(&format!("/.selvage/{endpoint}")).send(worker);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

/// A hundred requests to some workers in ten seconds, of which so many are hits.
fn ten_seconds(gateway: &Gateway, period: usize, hits: usize, workers: std::ops::Range<usize>) {
    for (nth, worker) in (0..100).zip(workers.cycle()) {
        let path = if nth < hits { "/hot".to_owned() } else { format!("/cold/{period}/{nth}") };
        gateway.get(&path).send(worker);
    }
    gateway.tick();
    gateway.advance(10);
    gateway.tick();
}

#[test]
fn hits_that_are_halved_are_told_in_the_log_in_a_gauge_and_in_health() {
    let origin = |_: &_| OriginResponse::ok("a").header("cache-control", "max-age=86400");
    let gateway = Gateway::with(OPEN).workers(2).origin(origin).start();
    let lines = || {
        let lines = gateway.node().logs().into_iter().map(|line| line.message);
        lines.filter(|line| line.contains("anomaly: ")).collect::<Vec<_>>()
    };
    for period in 0..130 {
        ten_seconds(&gateway, period, 90, 0..2);
    }
    assert_eq!(lines(), [""; 0]);
    assert_eq!(gateway.metric("selvage.anomaly.hit-rate"), Some(0));
    // One worker is gone: what is usual is the node's.
    gateway.kill_worker(0);
    for period in 130..136 {
        ten_seconds(&gateway, period, 45, 1..2);
    }
    assert_eq!(lines().len(), 1, "{:?}", lines());
    assert!(lines()[0].contains("hit-rate is not usual: 0.45 of 1, usual is 0.9"), "{:?}", lines());
    gateway.advance(2);
    gateway.tick();
    gateway.tick();
    assert_eq!(gateway.metric("selvage.anomaly.hit-rate"), Some(1));
    let health = told(&gateway, "health", 1);
    assert_eq!((&health["status"], &health["reasons"][0]["code"]), (&"degraded".into(), &"anomaly".into()));
}

#[test]
fn lifetimes_grow_while_nothing_changes_whichever_worker_looks() {
    let adaptive = r#"{"defaults":{"ttl":{"adaptive":{"min":"10s","max":"1d"}}}}"#;
    let gateway = Gateway::with(adaptive).workers(2).origin(|_| OriginResponse::ok("same")).start();
    let mut fetches = 0;
    for nth in 0..600 {
        let answer = gateway.get("/a").send(nth % 2);
        fetches += usize::from(answer.header("cache-status").unwrap_or_default().contains("fwd="));
        gateway.advance(10);
        gateway.tick();
    }
    // With ten seconds for ever there would be 600.
    assert!((5..100).contains(&fetches), "{fetches}");
}

//! The release filter in the real Envoy with two workers, started by `envoy/run`: what clients, origins and operators see.
//!
//! Most tests share one Envoy and one origin, each with paths of its own. Responses that must be stale are sent with an
//! `Age` beyond their lifetime, so that no test waits for the clock.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // A broken test must stop loudly.

mod admitting;
mod batch_jobs;
mod batches;
mod bodies;
mod bridge;
mod browser;
mod budgets;
mod cluster;
mod coalescing;
mod codings;
mod configuration;
mod defences;
mod directives;
mod embeddings;
mod examples;
mod explaining;
mod failing;
mod fleet;
mod fleet_limits;
mod foresight;
mod fuzz;
mod gauges;
mod informing;
mod invalidation;
mod isolation;
mod jobs;
mod keys;
mod limits;
mod llm;
mod llm_fallback;
mod llm_usage;
mod maintenance;
mod memory;
mod metrics;
mod page;
mod partial;
mod passing;
mod playground;
mod pooled;
mod prometheus;
mod purging;
mod refreshing;
mod remote;
mod renewing;
mod reuse;
mod sessions;
mod shadowing;
mod signing;
mod smoke;
mod tiers;
mod uploads;
mod validation;
mod variants;
mod warming;

use std::{
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Origin, Received};

/// The Envoy that most tests share: the default configuration, and rules for some folders.
struct Edge {
    origin: Origin,
    gateway: Gateway,
}

const RULES: &str = r#"{
  "rules": [
    { "name": "sorted", "match": { "paths": ["/sorted/*"] }, "key": { "query": { "order": "sort" } } },
    { "name": "except", "match": { "paths": ["/except/*"] }, "key": { "query": { "except": ["utm_*", "ref"] } } },
    { "name": "keeps-cookies", "match": { "paths": ["/keeps-cookies/*"] }, "set_cookie": "store" },
    { "name": "strips-cookies", "match": { "paths": ["/strips-cookies/*"] }, "set_cookie": "strip" },
    { "name": "ignores-cookies", "match": { "paths": ["/ignores-cookies/*"] }, "cookies": "ignore" },
    { "name": "by-forwarded-host", "match": { "paths": ["/by-forwarded-host/*"] },
      "key": { "headers": ["X-Forwarded-Host"] } },
    { "name": "by-body", "match": { "paths": ["/by-body/*"] },
      "key": { "body": { "methods": ["POST", "QUERY"], "max_bytes": "64KiB" } } },
    { "name": "etag", "match": { "paths": ["/etag/*"] }, "etag": "generate" },
    { "name": "bypass", "match": { "paths": ["/bypass/*"] }, "bypass": true },
    { "name": "override", "match": { "paths": ["/override/*"] }, "ttl": { "override": "1h" } },
    { "name": "ignores-requests", "match": { "paths": ["/ignores-requests/*"] }, "request_directives": "ignore" }
  ]
}"#;

static EDGE: LazyLock<Edge> = LazyLock::new(|| {
    let origin = Origin::start();
    let gateway = Gateway::with(RULES).origin(origin.url()).start();
    Edge { origin, gateway }
});

/// The shared Envoy's origin answers a path with this script from now on.
fn on(path: &str, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
    EDGE.origin.on(path, script);
}

/// A GET through the shared Envoy on a new connection.
fn get(target: &str) -> Response {
    EDGE.gateway.get(target).send()
}

/// How many requests for a path reached the shared origin.
fn fetches(path: &str) -> usize {
    EDGE.origin.count(path)
}

/// A 200 that names the request's place in the order, with a validator, and that is stale by 40 seconds on arrival.
fn stale_on_arrival(received: &Received, directives: &str) -> Answer {
    Answer::ok(format!("answer {}", received.before))
        .header("cache-control", format!("max-age=60{directives}"))
        .header("age", "100")
        .header("etag", "\"v1\"")
}

/// Asks until it is so; fails with the last answer after ten seconds.
#[track_caller]
fn becomes<T: std::fmt::Debug>(mut ask: impl FnMut() -> T, is_so: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let response = ask();
        if is_so(&response) {
            return response;
        }
        assert!(Instant::now() < deadline, "it never became so; the last answer: {response:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn assert_hit(response: &Response, body: &str) {
    assert!(response.is_hit(), "not a hit: {} {:?}", response.status, response.cache_status());
    assert_eq!((response.status, response.text().as_str()), (200, body));
}

/// The request reached the origin for this reason, and the body is the origin's.
#[track_caller]
fn assert_forwarded(response: &Response, reason: &str, body: &str) {
    assert_says(response, &format!("fwd={reason}"));
    assert_eq!(response.text(), body);
}

/// `Cache-Status` has this parameter.
#[track_caller]
fn assert_says(response: &Response, parameter: &str) {
    let said = response.cache_status();
    assert!(said.split("; ").any(|part| part == parameter), "no {parameter:?} in {said:?}");
}

/// `Cache-Status` does not say that the response was stored.
#[track_caller]
fn assert_not_stored(response: &Response, detail: &str) {
    assert_says(response, &format!("detail={detail}"));
    let said = response.cache_status();
    assert!(!said.split("; ").any(|part| part == "stored" || part == "hit"), "{said:?}");
}

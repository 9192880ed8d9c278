//! Limits on the real Envoy: its workers count together, and a client is told what it has left.

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Origin};

use super::{assert_says, becomes};

const LIMITS: &str = r#"{ "limits": [
    { "name": "per-key", "by": ["header:x-key"], "quota": 12, "window": "1h", "burst": 12 },
    { "name": "per-address", "by": ["ip"], "quota": 5, "window": "1h", "burst": 5 } ],
  "rules": [
    { "name": "api", "match": { "paths": ["/api/*"] }, "limits": ["per-key"] },
    { "name": "open", "match": { "paths": ["/open/*"] }, "limits": ["per-address"] } ] }"#;

#[track_caller]
fn assert_limited(answer: &Response, limit: &str) {
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.all("content-type"), ["application/problem+json"]);
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    let seconds: u64 = answer.all("retry-after").concat().parse().unwrap();
    assert!((1..=3_600).contains(&seconds), "{seconds}");
    assert!(answer.all("ratelimit").concat().starts_with(&format!("\"{limit}\";r=0;t=")), "{answer:?}");
    assert_says(answer, "detail=limited");
}

#[test]
fn the_workers_of_an_envoy_count_together_and_hits_count_too() {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("for {}", request.target)));
    let gateway = Gateway::with(LIMITS).origin(origin.url()).start();
    // Each request has a connection of its own, so both workers get some.
    let ask = |key: &str| gateway.get("/api/a").header("x-key", key).send();
    let answers: Vec<Response> = (0..40).map(|_| ask("one")).collect();
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 12);
    assert_limited(answers.last().unwrap(), "per-key");
    assert_eq!(ask("two").status, 200);
    let of_address = || gateway.get("/open/a").send();
    assert_eq!((0..5).filter(|_| of_address().status == 200).count(), 5);
    assert_limited(&of_address(), "per-address");
    becomes(|| gateway.stat("limits.api.refused"), |counted| *counted == 28);
    becomes(|| gateway.stat("detail.limited"), |counted| *counted == 29);
    gateway.assert_sound();
}

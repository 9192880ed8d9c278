//! Five hundred objects of every kind, stored by one Envoy and answered by others.

use std::time::{Duration, Instant};

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Origin, Received};

const OBJECTS: usize = 500;
const TYPES: [&str; 8] = [
    "text/html; charset=utf-8",
    "application/json",
    "image/png",
    "application/javascript",
    "application/octet-stream",
    "text/css",
    "font/woff2",
    "image/svg+xml",
];

/// Larger bounds than by default, so that a body of 1 MiB and its head fit, and room for a busy machine.
const CONFIGURATION: &str = r#"{
  "worker": { "object_bytes": "2MiB" },
  "remote": { "enabled": true, "timeout": "1s", "object_bytes": "4MiB", "queue_bytes": "64MiB" },
  "defaults": { "set_cookie": "store" }
}"#;

/// 1 byte to 1 MiB, some of each power of two.
fn length(index: usize) -> usize {
    let power = 1usize << (index % 21);
    if index.is_multiple_of(3) { power } else { (power + power * (index % 7) / 7).min(1 << 20) }
}

/// Binary for half of the objects, words for the others; different for each.
fn content(index: usize) -> Vec<u8> {
    let mut state = index as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let words = ["cloth ", "edge ", "\"warp\": ", "weft, ", "\n", "shuttle=1; "];
    let mut body = Vec::new();
    while body.len() < length(index) {
        match index.is_multiple_of(2) {
            true => body.push(next() as u8),
            false => body.extend_from_slice(words[next() % words.len()].as_bytes()),
        }
    }
    body.truncate(length(index));
    body
}

fn object(request: &Received) -> Answer {
    let index: usize = request.target.trim_start_matches('/').parse().unwrap();
    let mut answer = Answer::fresh(content(index))
        .header("content-type", TYPES[index % TYPES.len()])
        .header("x-latin", b"caf\xe9")
        .header("link", "</a>; rel=preload")
        .header("link", format!("</{index}>; rel=next"));
    if index.is_multiple_of(5) {
        answer = answer.header("set-cookie", "a=1; Path=/").header("set-cookie", "b=2, c=3");
    }
    if index.is_multiple_of(4) {
        answer = answer.header("etag", format!("\"v{index}\""));
    }
    answer
}

fn get(gateway: &Gateway, index: usize, coding: &str) -> Response {
    let ask = gateway.get(&format!("/{index}")).header("host", "fleet.example");
    ask.header("accept-encoding", coding).send()
}

/// The field lines that every answer from the store must have alike.
fn lasting(response: &Response) -> Vec<(String, Vec<u8>)> {
    let passing = ["age", "cache-status", "x-envoy-upstream-service-time", "connection"];
    let mut lines: Vec<_> =
        response.fields.iter().filter(|(name, _)| !passing.contains(&name.as_str())).cloned().collect();
    lines.sort();
    lines
}

/// Waits until a gateway has written so many records.
fn written(gateway: &Gateway, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while gateway.stat("selvage.remote.written") < count {
        assert!(Instant::now() < deadline, "{:?}", gateway.stats("selvage.remote"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn five_hundred_objects_are_the_same_from_every_envoy_and_after_a_restart() {
    let origin = Origin::start();
    origin.otherwise(object);
    let bridge = Bridge::start();
    let start = || Gateway::with(CONFIGURATION).origin(origin.url()).bridge(bridge.port()).start();
    let (first, second) = (start(), start());
    let mut originals = Vec::new();
    for index in 0..OBJECTS {
        let stored = get(&first, index, "identity");
        assert!(stored.cache_status().contains("stored"), "{index}: {}", stored.cache_status());
        assert_eq!(stored.body, content(index), "{index}");
        originals.push(stored);
        // No more waits than the queue holds.
        if index % 20 == 19 {
            written(&first, index as u64 + 1);
        }
    }
    let same = |gateway: &Gateway, tier: &str| {
        for (index, original) in originals.iter().enumerate() {
            let answer = get(gateway, index, "identity");
            assert!(answer.is_hit(), "{index}: {}", answer.cache_status());
            assert!(tier.is_empty() || answer.cache_status().contains(tier), "{}", answer.cache_status());
            assert!(answer.body == original.body, "{index}: {} bytes", answer.body.len());
            assert_eq!(lasting(&answer), lasting(original), "{index}");
            let age: u64 = answer.header("age").unwrap().parse().unwrap();
            assert!(age < 300, "{index}: Age {age}");
        }
    };
    same(&second, "detail=remote");
    for index in 0..OBJECTS {
        let [one, other] = [&first, &second].map(|gateway| get(gateway, index, "gzip"));
        assert!(one.is_hit() && other.is_hit(), "{index}");
        assert!(one.body == other.body, "{index}: {} and {} bytes", one.body.len(), other.body.len());
        assert_eq!(lasting(&one), lasting(&other), "{index}");
    }
    drop(first);
    drop(second);
    same(&start(), "detail=remote");
    for index in 0..OBJECTS {
        assert_eq!(origin.count(&format!("/{index}")), 1, "{index}");
    }
}

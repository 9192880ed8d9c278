//! Responses that the cache renews by itself, and origins that it leaves alone, in the real Envoy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Gate, Origin};

use crate::{assert_hit, assert_says, becomes, stale_on_arrival};

const CONFIGURED: &str = r#"{ "defaults": { "refresh": { "cluster": "origin" } } }"#;
const LEARNT: &str = r#"{ "defaults": { "refresh": { "clusters": ["origin"] } } }"#;

#[test]
fn stale_is_served_at_once_while_a_slow_origin_is_asked_once() {
    for configuration in [CONFIGURED, LEARNT] {
        let origin = Origin::start();
        let gate = Gate::new();
        let slow = gate.clone();
        origin.on("/swr", move |request| match request.before {
            0 => stale_on_arrival(request, ", stale-while-revalidate=3600"),
            _ => Answer::fresh("new").waits_for(&slow),
        });
        // One worker: the others would have to learn the cluster from responses of their own.
        let gateway = Gateway::with(configuration).workers(1).origin(origin.url()).start();
        assert_eq!(gateway.get("/swr").send().text(), "answer 0");
        for _ in 0..20 {
            let answer = gateway.get("/swr").send();
            assert_hit(&answer, "answer 0");
            assert_says(&answer, "detail=stale-while-revalidate");
        }
        gate.open();
        let renewed = becomes(|| gateway.get("/swr").send(), |answer| answer.text() == "new");
        assert_hit(&renewed, "new");
        assert_eq!(renewed.header("x-envoy-upstream-service-time"), None);
        let received = origin.received("/swr");
        assert_eq!(received.len(), 2, "{configuration}");
        assert_eq!(received[1].header("if-none-match").as_deref(), Some("\"v1\""));
        gateway.assert_sound();
    }
}

#[test]
fn a_304_freshens_and_an_origin_that_breaks_off_does_no_harm() {
    let origin = Origin::start();
    origin.on("/304", |request| match request.before {
        0 => stale_on_arrival(request, ", stale-while-revalidate=3600"),
        1 => Answer::new(200).breaks_before_the_head(),
        _ => Answer::new(304).header("cache-control", "max-age=60"),
    });
    let gateway = Gateway::with(CONFIGURED).origin(origin.url()).start();
    gateway.get("/304").send();
    let fresh = becomes(
        || {
            let answer = gateway.get("/304").send();
            assert_hit(&answer, "answer 0");
            answer
        },
        |answer| !answer.cache_status().contains("stale-while-revalidate"),
    );
    assert!(fresh.cache_status().contains("ttl=59") || fresh.cache_status().contains("ttl=60"));
    assert_eq!(origin.count("/304"), 3);
    gateway.assert_sound();
}

#[test]
fn a_hot_key_is_fetched_once_for_each_expiry_and_no_client_waits() {
    const FETCH: Duration = Duration::from_millis(400);
    let origin = Origin::start();
    origin.on("/hot", |request| {
        if request.before > 0 {
            thread::sleep(FETCH);
        }
        Answer::ok("hot").header("cache-control", "max-age=1, stale-while-revalidate=60")
    });
    let gateway = Gateway::with(CONFIGURED).origin(origin.url()).start();
    gateway.get("/hot").send();
    let begun = Instant::now();
    let slowest = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = gateway.connect();
                    let mut slowest = Duration::ZERO;
                    while begun.elapsed() < Duration::from_secs(6) {
                        let sent = Instant::now();
                        let ask = connection.get("/hot");
                        assert_hit(&connection.send(ask), "hot");
                        slowest = slowest.max(sent.elapsed());
                    }
                    slowest
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).max().unwrap()
    });
    // Each lives for a second and takes four tenths of one to fetch.
    let fetches = origin.count("/hot");
    assert!((4..=7).contains(&fetches), "{fetches} fetches");
    assert!(slowest < FETCH, "{slowest:?}");
    gateway.assert_sound();
}

#[test]
fn a_dead_origin_is_left_alone_until_it_is_back() {
    let origin = Origin::start();
    let dead = Arc::new(AtomicBool::new(false));
    let is_dead = Arc::clone(&dead);
    origin.otherwise(move |request| match is_dead.load(Ordering::Relaxed) {
        true => Answer::new(200).breaks_before_the_head(),
        false => stale_on_arrival(request, ""),
    });
    let configuration = r#"{ "defaults": { "origin_breaker":
        { "enabled": true, "least_calls": 5, "pause": "1s", "longest_pause": "2s" } } }"#;
    let gateway = Gateway::with(configuration).origin(origin.url()).start();
    assert_eq!(gateway.get("/stored").send().text(), "answer 0");
    dead.store(true, Ordering::Relaxed);
    let mut nth = 0;
    let mut new = || {
        nth += 1;
        gateway.get(&format!("/new/{nth}")).send()
    };
    let open = |answer: &Response| answer.cache_status().contains("detail=origin-open");
    let refused = becomes(&mut new, open);
    assert_eq!(refused.status, 503);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&after), "{after}");
    // What is stored is served, whoever finds out that the origin is still dead.
    for _ in 0..50 {
        let answer = gateway.get("/stored").send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "answer 0"), "{}", answer.cache_status());
    }
    let served = becomes(|| gateway.get("/stored").send(), open);
    assert!(served.cache_status().contains("; hit; ttl=-"), "{}", served.cache_status());
    dead.store(false, Ordering::Relaxed);
    becomes(&mut new, |answer| answer.status == 200);
    // All workers hear of it.
    for _ in 0..20 {
        becomes(&mut new, |answer| answer.status == 200);
    }
    gateway.assert_sound();
}

#[test]
fn refreshes_that_are_too_long_for_a_call_are_nothing_against_the_origin() {
    // Longer than Envoy keeps of an answer to a call, in the bootstraps with Redis.
    const LONG: usize = 1_600_000;
    const PAGES: usize = 40;
    let origin = Origin::start();
    origin.otherwise(|request| match request.before {
        0 => stale_on_arrival(request, ", stale-while-revalidate=3600").body(vec![b'x'; LONG]),
        _ => Answer::fresh(vec![b'y'; LONG]),
    });
    let configuration = r#"{ "defaults": { "refresh": { "cluster": "origin" }, "origin_breaker":
        { "enabled": true, "least_calls": 5, "pause": "5s" } } }"#;
    let limit = "layered_runtime: { layers: [ { name: answers, static_layer: \
        { http.async_response_buffer_limit: 1500000 } } ] }\n\nadmin:";
    let builder = Gateway::with(configuration).origin(origin.url());
    let Ok(gateway) = builder.try_start_edited(&[("\nadmin:", &format!("\n{limit}"))]) else {
        panic!("refused")
    };
    for _ in 0..2 {
        for nth in 0..PAGES {
            let answer = gateway.get(&format!("/long/{nth}")).send();
            assert_eq!((answer.status, answer.text().len()), (200, LONG), "{}", answer.cache_status());
        }
    }
    let failed = || gateway.stat("selvage.refresh.failed");
    let deadline = Instant::now() + Duration::from_secs(10);
    while failed() < 20 {
        assert!(Instant::now() < deadline, "{} refreshes were cut off", failed());
        thread::sleep(Duration::from_millis(20));
    }
    for nth in 0..8 {
        let answer = gateway.get(&format!("/cold/{nth}")).send();
        assert_eq!(answer.status, 200, "{}", answer.cache_status());
    }
    assert_eq!(gateway.stat("selvage.origin.opened-by-failures"), 0);
    gateway.assert_sound();
}

#[test]
fn two_envoys_on_one_redis_fetch_once_for_each_expiry() {
    const HOST: &str = "refresh.example";
    let origin = Origin::start();
    origin.on("/fleet", |request| {
        if request.before > 0 {
            thread::sleep(Duration::from_millis(200));
        }
        Answer::ok("hot").header("cache-control", "max-age=2, stale-while-revalidate=60")
    });
    let bridge = Bridge::start();
    let configuration = r#"{ "remote": { "enabled": true, "timeout": "2s" },
        "defaults": { "refresh": { "cluster": "origin" } } }"#;
    let start = || Gateway::with(configuration).origin(origin.url()).bridge(bridge.port()).start();
    let gateways = [start(), start()];
    let get = |gateway: &Gateway| gateway.get("/fleet").header("host", HOST).send();
    get(&gateways[0]);
    becomes(|| get(&gateways[0]), |_| gateways[0].stat("selvage.remote.written") > 0);
    becomes(|| get(&gateways[1]), Response::is_hit);
    let before = origin.count("/fleet");
    let begun = Instant::now();
    thread::scope(|scope| {
        for gateway in gateways.iter().chain(&gateways) {
            scope.spawn(move || {
                let mut connection = gateway.connect();
                while begun.elapsed() < Duration::from_secs(11) {
                    let ask = connection.get("/fleet").header("host", HOST);
                    assert_hit(&connection.send(ask), "hot");
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
    });
    // Each version lives for two seconds and is replaced a little later.
    let fetches = origin.count("/fleet") - before;
    assert!((3..=5).contains(&fetches), "{fetches} fetches");
    let adopted: u64 = gateways.iter().map(|gateway| gateway.stat("selvage.refresh.adopted")).sum();
    assert!(adopted >= 3, "{adopted} adopted");
    gateways.iter().for_each(Gateway::assert_sound);
}

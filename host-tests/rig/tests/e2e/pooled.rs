//! Requests that go to their origin through a pool, on the real Envoy: who waits, who is refused, and what is served instead.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Gate, Origin};

use super::{assert_hit, assert_says, becomes};

const LIMIT: usize = 4;

fn gateway(origin: &Origin, pool: &str, more: &str) -> Gateway {
    let config = format!(
        r#"{{ "pools": [ {{ "name": "api", "fixed": {LIMIT}, {pool} }} ],
             "defaults": {{ "admission": {{ "pool": "api", "priority_header": "x-class" }}{more} }} }}"#
    );
    Gateway::with(&config).origin(origin.url()).start()
}

/// An origin that answers nothing below `/busy/` before the gate is open.
fn origin(gate: &Gate) -> Origin {
    let (origin, waits) = (Origin::start(), gate.clone());
    origin.otherwise(move |request| {
        let answer = Answer::ok(request.target.clone()).header("cache-control", "no-store");
        if request.target.starts_with("/busy/") { answer.waits_for(&waits) } else { answer }
    });
    origin
}

/// So many clients ask for paths of their own; `meanwhile` runs once the origin has as many as it may, and the others wait.
fn crowd(
    gateway: &Gateway,
    gate: &Gate,
    clients: usize,
    class: &str,
    meanwhile: impl FnOnce(),
) -> Vec<Response> {
    thread::scope(|scope| {
        let ask = |nth| gateway.get(&format!("/busy/{nth}")).header("x-class", class).send();
        let clients: Vec<_> = (0..clients).map(|nth| scope.spawn(move || ask(nth))).collect();
        let of_all = clients.len() as u64;
        becomes(
            || {
                let waiting: u64 = ["high", "normal", "low"]
                    .iter()
                    .map(|class| gateway.stat(&format!("pool.api.waiting-{class}")))
                    .sum();
                waiting + gateway.stat("pool.api.in-flight") + gateway.stat("pool_requests.default.full")
            },
            |there| *there >= of_all,
        );
        meanwhile();
        gate.open();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn no_more_than_the_limit_are_at_the_origin_and_the_others_follow() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let gateway = gateway(&origin, r#""queue": { "wait": { "normal": "60s" } }"#, "");
    let answers = crowd(&gateway, &gate, 40, "normal", || {
        let at_origin = (0..40).filter(|nth| origin.count(&format!("/busy/{nth}")) > 0).count();
        assert_eq!(at_origin, LIMIT);
        assert_eq!(gateway.stat("pool.api.limit"), LIMIT as u64);
    });
    for (nth, answer) in answers.iter().enumerate() {
        assert_eq!((answer.status, answer.text()), (200, format!("/busy/{nth}")), "{answer:?}");
    }
    let waited = answers.iter().filter(|answer| answer.header("server-timing").is_some()).count();
    assert_eq!(waited, 40 - LIMIT);
    becomes(|| gateway.stat("pool.api.in-flight"), |left| *left == 0);
    becomes(|| gateway.stat("pool_requests.default.waited"), |counted| *counted == 36);
    gateway.assert_sound();
}

/// More than Envoy holds of a request (1 MiB): it stops reading, and the client goes on sending when its turn has come.
#[test]
fn a_long_body_waits_with_its_request() {
    let gate = Gate::new();
    let origin = origin(&gate);
    origin.on("/long", |request| Answer::ok(request.body.len().to_string()));
    let gateway = gateway(&origin, r#""queue": { "wait": { "normal": "60s", "low": "60s" } }"#, "");
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    let body = vec![b'x'; 50 << 20];
    let mut sent = 0;
    let head = format!(
        "POST /long HTTP/1.1\r\nhost: a.test\r\nx-class: low\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    crowd(&gateway, &gate, LIMIT, "normal", || {
        client.write_all(head.as_bytes()).unwrap();
        becomes(|| gateway.stat("pool.api.waiting-low"), |waiting| *waiting == 1);
        // Until there is no more room on the way.
        client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        while let Ok(count @ 1..) = client.write(&body[sent..]) {
            sent += count;
        }
        assert!(sent > 1 << 20 && sent < body.len(), "{sent} bytes");
    });
    client.set_write_timeout(None).unwrap();
    client.write_all(&body[sent..]).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&body.len().to_string()), "{answer}");
    gateway.assert_sound();
}

#[test]
fn who_is_refused_is_told_when_to_come_again_and_what_is_stored_is_served_instead() {
    let gate = Gate::new();
    let origin = origin(&gate);
    origin.on("/stored", |_| {
        Answer::ok("stored").header("cache-control", "max-age=0, stale-if-error=3600").header("etag", "\"1\"")
    });
    let gateway = gateway(&origin, r#""queue": { "requests": 0 }"#, "");
    assert_eq!(gateway.get("/stored").send().text(), "stored");
    // The other worker knows that its place is free.
    becomes(
        || (gateway.stat("pool_requests.default.went"), gateway.stat("pool.api.in-flight")),
        |(went, left)| (*went, *left) == (1, 0),
    );
    let answers = crowd(&gateway, &gate, 12, "normal", || {
        for method in ["GET", "HEAD"] {
            let answer = gateway.ask(method, "/stored").send();
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_says(&answer, "hit");
            assert_says(&answer, "detail=overload");
        }
        let refused = gateway.ask("POST", "/stored").body("x").send();
        assert_eq!(refused.status, 503, "{refused:?}");
        assert_says(&refused, "detail=overload");
        assert_eq!(refused.all("content-type"), ["application/problem+json"]);
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=38).contains(&seconds), "{seconds}");
        assert!(refused.text().contains("temporary-reduced-capacity"), "{}", refused.text());
    });
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 503).count();
    assert_eq!((served, refused), (LIMIT, 12 - LIMIT));
    becomes(|| gateway.stat("pool.api.in-flight"), |left| *left == 0);
    gateway.assert_sound();
}

#[test]
fn the_highest_class_passes_those_who_wait_and_hits_pass_all() {
    let gate = Gate::new();
    let origin = origin(&gate);
    origin.on("/fresh", |_| Answer::fresh("fresh"));
    let gateway = gateway(&origin, r#""queue": { "wait": { "normal": "60s", "high": "60s" } }"#, "");
    gateway.get("/fresh").send();
    crowd(&gateway, &gate, 30, "normal", || {
        assert_hit(&gateway.get("/fresh").send(), "fresh");
        // One that waits is told apart by its place in the queue: it goes although thirty came before.
        assert_eq!(gateway.stat("pool.api.waiting-high"), 0);
    });
    becomes(|| gateway.stat("pool.api.in-flight"), |left| *left == 0);
    gateway.assert_sound();
}

#[test]
fn clients_that_leave_while_they_wait_leave_nothing_behind() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let gateway = gateway(&origin, r#""queue": { "wait": { "normal": "60s" } }"#, "");
    crowd(&gateway, &gate, LIMIT * 2, "normal", || {
        for nth in 0..6 {
            let head = format!("GET /left/{nth} HTTP/1.1\r\nhost: a.test\r\n\r\n");
            gateway.connect().abandon(head.as_bytes()).unwrap();
        }
        becomes(|| gateway.stat("pool_requests.default.left"), |left| *left >= 1);
    });
    becomes(|| gateway.stat("pool.api.in-flight"), |left| *left == 0);
    becomes(|| gateway.stat("pool.api.waiting-normal"), |left| *left == 0);
    let answer = gateway.get("/after").send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "/after"));
    gateway.assert_sound();
}

#[test]
fn an_origin_that_fails_or_breaks_off_gives_its_places_back() {
    let origin = Origin::start();
    origin.on("/broken", |_| Answer::ok("x").breaks_before_the_head());
    origin.on("/cut", |_| Answer::ok("0123456789").header("cache-control", "max-age=60").breaks_after(80));
    origin.on("/busy", |_| Answer::new(503));
    let gateway = gateway(&origin, r#""queue": { "requests": 0 }"#, "");
    for _ in 0..3 * LIMIT {
        for path in ["/broken", "/cut", "/busy"] {
            if let Ok(answer) = gateway.get(path).try_send() {
                assert!(!answer.cache_status().contains("overload"), "{path}: {answer:?}");
            }
        }
    }
    becomes(|| gateway.stat("pool.api.in-flight"), |left| *left == 0);
    gateway.assert_sound();
}

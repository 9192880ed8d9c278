//! A page that expires in several Envoys at once and may not be served stale.

use std::thread;
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Gate, Origin};

const MEMBERS: usize = 3;
const CLIENTS: usize = 60;
/// A busy machine has time.
const CONFIGURATION: &str = r#"{ "defaults": { "coalesce": { "wait": "30s" } },
    "remote": { "enabled": true, "timeout": "1s" } }"#;

fn fleet(origin: &Origin, bridge: &Bridge) -> [Gateway; MEMBERS] {
    std::array::from_fn(|_| {
        Gateway::with(CONFIGURATION).origin(origin.url()).bridge(bridge.port()).workers(2).start()
    })
}

fn get(member: &Gateway, path: &str) -> Response {
    member.get(path).header("host", "fleet.example").send()
}

/// Clients of all Envoys ask at once, and the origin answers when all of them are there.
fn herd(members: &[Gateway], path: &str, gate: &Gate) -> Vec<Response> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|nth| {
                let member = &members[nth % members.len()];
                scope.spawn(move || get(member, path))
            })
            .collect();
        let active = |member: &Gateway| member.stat("http.selvage.downstream_rq_active");
        while members.iter().map(active).sum::<u64>() < CLIENTS as u64 {
            thread::sleep(Duration::from_millis(10));
        }
        gate.open();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// What every Envoy has, until it expires in all of them.
fn expire(members: &[Gateway], path: &str) {
    for member in members {
        assert_eq!(get(member, path).text(), "0");
    }
    thread::sleep(Duration::from_millis(2100));
}

#[test]
fn one_envoy_asks_the_origin_for_what_has_expired_in_all() {
    let origin = Origin::start();
    let bridge = Bridge::start();
    let gates = [Gate::new(), Gate::new()];
    for (confirms, gate) in [false, true].into_iter().zip(&gates) {
        let waits = gate.clone();
        origin.on(&format!("/{confirms}"), move |request| {
            let brief = if request.before == 0 { "max-age=2" } else { "max-age=60" };
            let answer = match (request.before, confirms) {
                (0, _) => return Answer::ok("0").header("cache-control", brief).header("etag", "\"0\""),
                (_, true) => Answer::new(304).header("etag", "\"0\""),
                (before, false) => Answer::ok(before.to_string()).header("etag", format!("\"{before}\"")),
            };
            answer.header("cache-control", brief).waits_for(&waits)
        });
    }
    let members = fleet(&origin, &bridge);
    for (confirms, gate) in [false, true].into_iter().zip(&gates) {
        let path = format!("/{confirms}");
        expire(&members, &path);
        let answers = herd(&members, &path, gate);
        let content = if confirms { "0" } else { "1" };
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == content));
        assert_eq!(origin.count(&path), 2, "{path}");
        let received = origin.received(&path);
        assert_eq!(received[1].header("if-none-match").as_deref(), Some("\"0\""));
    }
    members.iter().for_each(Gateway::assert_sound);
}

#[test]
fn what_is_not_to_be_stored_any_more_makes_no_envoy_wait() {
    let origin = Origin::start();
    let bridge = Bridge::start();
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/private", move |request| match request.before {
        0 => Answer::ok("0").header("cache-control", "max-age=2").header("etag", "\"0\""),
        1 => Answer::ok("for you").header("cache-control", "private").waits_for(&waits),
        _ => Answer::ok("for you").header("cache-control", "private"),
    });
    let members = fleet(&origin, &bridge);
    expire(&members, "/private");
    let begun = std::time::Instant::now();
    let answers = herd(&members, "/private", &gate);
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "for you"));
    assert_eq!(origin.count("/private"), 1 + CLIENTS);
    assert!(begun.elapsed() < Duration::from_secs(25), "nobody waits for as long as it might");
    members.iter().for_each(Gateway::assert_sound);
}

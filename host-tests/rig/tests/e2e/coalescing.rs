//! Many clients at once for something that is not stored.

use std::thread;

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Gate, Origin};

use crate::becomes;

const CLIENTS: usize = 200;

/// All clients ask for a path at once; the origin answers when all of them are there.
fn herd(gateway: &Gateway, path: &str, gate: &Gate) -> Vec<Response> {
    herd_with(gateway, path, "", gate, || true)
}

/// As [`herd`], with a field of the request; the origin answers when `all_are_there` as well.
fn herd_with(
    gateway: &Gateway,
    path: &str,
    field: &str,
    gate: &Gate,
    all_are_there: impl Fn() -> bool,
) -> Vec<Response> {
    thread::scope(|scope| {
        let ask = || gateway.get(path).header("x-large", field).send();
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        while gateway.stat("http.selvage.downstream_rq_active") < CLIENTS as u64 || !all_are_there() {
            thread::sleep(std::time::Duration::from_millis(10));
        }
        gate.open();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn gateway(origin: &Origin) -> Gateway {
    Gateway::with(r#"{ "defaults": { "coalesce": { "wait": "30s" } } }"#).origin(origin.url()).start()
}

#[test]
fn one_fetch_serves_all_clients_of_all_workers() {
    let origin = Origin::start();
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/hot", move |_| Answer::fresh("hot").waits_for(&waits));
    let gateway = gateway(&origin);
    let answers = herd(&gateway, "/hot", &gate);
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "hot"));
    assert_eq!(origin.count("/hot"), 1);
    let collapsed = answers.iter().filter(|answer| answer.cache_status().contains("; collapsed")).count();
    assert_eq!(
        collapsed,
        CLIENTS - 1,
        "{:?}",
        answers.iter().map(Response::cache_status).collect::<Vec<_>>()
    );
    gateway.assert_sound();
}

#[test]
fn what_turns_out_not_to_be_storable_makes_nobody_wait_in_line() {
    let origin = Origin::start();
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/private", move |request| {
        let answer = Answer::ok("for you").header("cache-control", "private");
        if request.before == 0 { answer.waits_for(&waits) } else { answer }
    });
    let gateway = gateway(&origin);
    let answers = herd(&gateway, "/private", &gate);
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "for you"));
    assert_eq!(origin.count("/private"), CLIENTS);
    gateway.assert_sound();
}

#[test]
fn an_origin_that_breaks_off_is_asked_again_by_one_of_the_others() {
    let origin = Origin::start();
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/broken", move |request| {
        let answer = Answer::fresh("x".repeat(100_000));
        if request.before == 0 { answer.waits_for(&waits).breaks_after(1000) } else { answer }
    });
    let gateway = gateway(&origin);
    let answers = herd(&gateway, "/broken", &gate);
    let whole = answers.iter().filter(|answer| answer.complete && answer.body.len() == 100_000).count();
    assert_eq!(whole, CLIENTS - 1);
    assert_eq!(origin.count("/broken"), 2);
    gateway.assert_sound();
}

#[test]
fn one_fetch_serves_the_clients_of_two_envoys() {
    let origin = Origin::start();
    let gate = Gate::new();
    let waits = gate.clone();
    origin.on("/hot", move |_| Answer::fresh("hot").waits_for(&waits));
    let bridge = Bridge::start();
    let configuration = r#"{ "defaults": { "coalesce": { "wait": "30s" } },
        "remote": { "enabled": true, "timeout": "1s" } }"#;
    let start = || Gateway::with(configuration).origin(origin.url()).bridge(bridge.port()).start();
    let members = [start(), start()];
    let answers: Vec<Response> = thread::scope(|scope| {
        let ask = |nth: usize| {
            let member = &members[nth % 2];
            scope.spawn(move || member.get("/hot").header("host", "fleet.example").send())
        };
        let clients: Vec<_> = (0..CLIENTS).map(ask).collect();
        let active = |member: &Gateway| member.stat("http.selvage.downstream_rq_active");
        while members.iter().map(active).sum::<u64>() < CLIENTS as u64 {
            thread::sleep(std::time::Duration::from_millis(10));
        }
        gate.open();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "hot"));
    assert_eq!(origin.count("/hot"), 1);
    for member in &members {
        member.assert_sound();
    }
}

#[test]
fn large_heads_that_wait_have_a_budget_in_bytes_and_a_second_burst_takes_no_more() {
    let origin = Origin::start();
    let gates = [Gate::new(), Gate::new()];
    for (burst, gate) in gates.iter().enumerate() {
        let waits = gate.clone();
        origin.on(&format!("/large/{burst}"), move |_| Answer::fresh("large").waits_for(&waits));
    }
    let config =
        r#"{ "worker": { "waiting_bytes": "512KiB" }, "defaults": { "coalesce": { "wait": "30s" } } }"#;
    let gateway = Gateway::with(config).origin(origin.url()).start();
    let large = "x".repeat(20_000);
    let mut heap = Vec::new();
    // A request counts as active when its first bytes are there. So it is awaited that all but those
    // who wait have come to the origin: of each of the two workers at most 26 heads fit.
    let wait_at_most = 60;
    for (burst, gate) in gates.iter().enumerate() {
        let path = format!("/large/{burst}");
        let all_are_there = || origin.count(&path) > CLIENTS - wait_at_most;
        let answers = herd_with(&gateway, &path, &large, gate, all_are_there);
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "large"));
        let passed =
            answers.iter().filter(|answer| answer.cache_status().contains("detail=waiting-limit")).count();
        assert!((CLIENTS - wait_at_most..CLIENTS).contains(&passed), "{passed} passed by");
        // The gauges are of the tick that has told of all requests.
        let told = || gateway.stats("selvage.requests.").iter().map(|(_, value)| value).sum::<u64>();
        becomes(told, |told| *told == (CLIENTS * (burst + 1)) as u64);
        assert_eq!(gateway.stat("selvage.live.waiting-bytes"), 0);
        heap.push(gateway.stat("selvage.heap_bytes.used"));
    }
    assert!(heap[1] <= heap[0] + (1 << 20), "{heap:?}");
    gateway.assert_sound();
}

//! Filters one behind the other: no request waits for itself, and both tiers store.

use std::{
    thread,
    time::{Duration, Instant},
};

use selvage_rig::envoy::{Gateway, Response, own_filter};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Origin};

/// A request that waits for itself would wait this long, and be counted.
const PATIENT: &str = r#""defaults": { "coalesce": { "wait": "20s" } }"#;

/// An origin whose every path is fresh for an hour, and says how often it was asked.
fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("answer {}", request.before)));
    origin
}

/// Twenty cold keys, one after the other, and then ten clients at once for another.
fn ask(edge: &Gateway, origin: &Origin) -> Vec<Response> {
    for nth in 0..20 {
        let response = edge.get(&format!("/cold/{nth}")).send();
        assert_eq!((response.status, response.text().as_str()), (200, "answer 0"), "{response:?}");
    }
    let herd = || edge.get("/herd").send();
    let responses = thread::scope(|scope| {
        let clients: Vec<_> = (0..10).map(|_| scope.spawn(herd)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(origin.count("/herd"), 1, "the herd is one fetch");
    responses
}

/// Nobody has waited in vain.
#[track_caller]
fn nobody_waited_enough(gateway: &Gateway) {
    for word in ["waited-enough", "polled-enough"] {
        assert_eq!(gateway.stat(&format!("coalesce.{word}")), 0, "{word}");
    }
    gateway.assert_sound();
}

/// Workers export what they have counted when they tick.
#[track_caller]
fn counts_nested(gateway: &Gateway, least: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while gateway.stat("coalesce.nested") < least {
        assert!(Instant::now() < deadline, "{} nested requests", gateway.stat("coalesce.nested"));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_filter_twice_in_one_chain_waits_for_nobody() {
    let origin = origin();
    let filter = own_filter();
    let builder = Gateway::with(&format!("{{ {PATIENT} }}")).origin(origin.url());
    let gateway = builder
        .try_start_edited(&[(&filter, &filter.repeat(2))])
        .unwrap_or_else(|refused| panic!("{}", refused.output));
    for response in ask(&gateway, &origin) {
        assert_eq!((response.status, response.text().as_str()), (200, "answer 0"));
    }
    nobody_waited_enough(&gateway);
    counts_nested(&gateway, 21);
}

#[test]
fn an_edge_and_an_inner_envoy_on_one_redis_wait_for_nobody() {
    let (origin, bridge) = (origin(), Bridge::start());
    let configuration = format!(r#"{{ "remote": {{ "enabled": true, "timeout": "1s" }}, {PATIENT} }}"#);
    let start = |origin: String| Gateway::with(&configuration).bridge(bridge.port()).origin(origin).start();
    let inner = start(origin.url());
    let edge = start(format!("http://{}", inner.address()));
    for response in ask(&edge, &origin) {
        assert_eq!((response.status, response.text().as_str()), (200, "answer 0"));
    }
    nobody_waited_enough(&edge);
    nobody_waited_enough(&inner);
    counts_nested(&inner, 21);
}

#[test]
fn tiers_with_namespaces_of_their_own_both_store_and_the_inner_one_collapses_its_edges() {
    let (origin, bridge) = (origin(), Bridge::start());
    let start = |namespace: &str, origin: String| {
        let remote = r#""remote": { "enabled": true, "timeout": "1s" }"#;
        let configuration = format!(r#"{{ "namespace": "{namespace}", {remote}, {PATIENT} }}"#);
        Gateway::with(&configuration).bridge(bridge.port()).origin(origin).start()
    };
    let inner = start("inner", origin.url());
    let inner_url = format!("http://{}", inner.address());
    let edges = [start("edge-a", inner_url.clone()), start("edge-b", inner_url)];
    let responses = thread::scope(|scope| {
        let clients: Vec<_> = (0..10)
            .map(|nth| {
                scope.spawn({
                    let edge = &edges[nth % 2];
                    move || edge.get("/herd").send()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    for response in responses {
        assert_eq!((response.status, response.text().as_str()), (200, "answer 0"));
    }
    assert_eq!(origin.count("/herd"), 1, "one fetch for all edges");
    assert!(edges[0].get("/herd").send().is_hit());
    assert!(inner.get("/herd").send().is_hit());
    assert_eq!(inner.stat("coalesce.nested"), 0, "the edges' marks are of other key spaces");
}

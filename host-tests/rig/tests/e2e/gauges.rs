//! Gauges of several plugins in one Envoy, of configurations that follow each other, and what is left when they have gone.

use selvage_rig::envoy::{Gateway, Listener, Listeners, Response};
use selvage_rig::redis::{Bridge, free_port};
use selvage_rig::scripted::{Answer, Origin};
use serde_json::Value;

use crate::{assert_hit, assert_says, becomes};

const MIB: u64 = 1 << 20;

fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(request.target.clone()));
    origin
}

/// An Envoy of one worker that waits for so many seconds for the connections of listeners that have been replaced.
fn start(
    origin: &Origin,
    bridge: Option<&Bridge>,
    drain: u32,
    listeners: &[Listener],
) -> (Gateway, Listeners) {
    let builder = Gateway::with("").origin(origin.url()).workers(1);
    let builder = builder.argument("--drain-time-s").argument(drain.to_string());
    let builder = match bridge {
        Some(bridge) => builder.bridge(bridge.port()),
        None => builder,
    };
    builder.try_start_with_listeners(listeners).unwrap_or_else(|refused| panic!("{}", refused.output))
}

/// The next configuration of the only plugin, which is the `nth` that follows, is there.
fn follow(gateway: &Gateway, listeners: &Listeners, port: u16, next: &str, nth: u64) {
    listeners.push(&[("selvage", port, next)]);
    becomes(|| gateway.stat("listener_manager.listener_modified"), |count| *count == nth);
}

/// The value of a gauge, of all Envoy.
fn gauge(gateway: &Gateway, name: &str) -> u64 {
    gateway.stat(&format!("wasmcustom.selvage.{name}"))
}

#[track_caller]
fn shows(gateway: &Gateway, wanted: &[(&str, u64)]) {
    let wanted: Vec<(String, u64)> =
        wanted.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    becomes(
        || wanted.iter().map(|(name, _)| (name.clone(), gauge(gateway, name))).collect::<Vec<_>>(),
        |found| *found == wanted,
    );
}

/// What Prometheus sees of a family: labels and value.
fn exported(gateway: &Gateway, family: &str) -> Vec<String> {
    let text = gateway.admin("/stats/prometheus?filter=wasmcustom");
    let lines = text.lines().filter(|line| line.starts_with(&format!("{family}{{")));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn each_plugin_has_gauges_of_its_own_and_takes_them_with_it() {
    let (origin, bridge, ports) = (origin(), Bridge::start(), [free_port(), free_port()]);
    let shop = (
        "selvage",
        ports[0],
        r#"{"name":"shop","namespace":"shop","worker":{"bytes":"8MiB"},"node":{"bytes":"64MiB"},"remote":{"enabled":true}}"#,
    );
    let api = (
        "api",
        ports[1],
        r#"{"name":"api.v2","namespace":"api","worker":{"bytes":"2MiB"},"node":{"bytes":"32MiB"},
            "remote":{"enabled":true,"cluster":"nowhere","authority":"nowhere"},"admin":{"open":true,"hosts":["example.test"]}}"#,
    );
    let (gateway, listeners) = start(&origin, Some(&bridge), 1, &[shop, api]);
    let at = |port: u16, path: &str| {
        let ask = selvage_rig::envoy::Ask::new(([127, 0, 0, 1], port).into(), "GET", path);
        ask.send()
    };
    assert_says(&at(ports[0], "/a"), "stored");
    assert_says(&at(ports[1], "/a"), "stored");
    assert_says(&at(ports[1], "/b"), "stored");
    assert_hit(&at(ports[1], "/b"), "/b");
    shows(
        &gateway,
        &[
            ("bytes_limit.shop.worker", 8 * MIB),
            ("bytes_limit.api_v2.worker", 2 * MIB),
            ("bytes_limit.shop.node", 64 * MIB),
            ("bytes_limit.api_v2.node", 64 * MIB),
            ("entries.shop.worker", 1),
            ("entries.api_v2.worker", 2),
            ("remote_state.api_v2.ready", 0),
            ("remote_state.api_v2.not-ready", 1),
            ("remote_state.shop.ready", 1),
            ("remote_state.shop.not-ready", 0),
            ("live.contexts", 0),
        ],
    );
    assert_eq!(
        exported(&gateway, "selvage_bytes_limit"),
        [
            format!(r#"selvage_bytes_limit{{tier="node",plugin="api_v2"}} {}"#, 64 * MIB),
            format!(r#"selvage_bytes_limit{{tier="node",plugin="shop"}} {}"#, 64 * MIB),
            format!(r#"selvage_bytes_limit{{tier="worker",plugin="api_v2"}} {}"#, 2 * MIB),
            format!(r#"selvage_bytes_limit{{tier="worker",plugin="shop"}} {}"#, 8 * MIB),
        ]
    );
    // What an operator is told of is the plugin that is asked.
    let told: Value = serde_json::from_str(&at(ports[1], "/.selvage/stats").text()).unwrap();
    assert_eq!(told["gauges"]["bytes_limit.node"], 64 * MIB, "{told}");
    let health: Value = serde_json::from_str(&at(ports[1], "/.selvage/health").text()).unwrap();
    assert_eq!(health["reasons"][0]["code"], "remote-not-ready", "{health}");

    // Another configuration of the one is none of the other, whose store stays as it is.
    let changed = api.2.replace("2MiB", "3MiB");
    listeners.push(&[shop, ("api", ports[1], &changed)]);
    shows(&gateway, &[("bytes_limit.api_v2.worker", 0), ("entries.shop.worker", 1)]);
    assert_says(&at(ports[0], "/a"), "detail=worker");
    assert_says(&at(ports[1], "/b"), "detail=node");
    shows(&gateway, &[("bytes_limit.api_v2.worker", 3 * MIB), ("bytes_limit.shop.worker", 8 * MIB)]);

    // The second one goes: what it showed is nothing, and what the first one shows stays.
    listeners.push(&[shop]);
    shows(
        &gateway,
        &[
            ("bytes_limit.api_v2.worker", 0),
            ("bytes_limit.api_v2.node", 0),
            ("entries.api_v2.worker", 0),
            ("remote_state.api_v2.not-ready", 0),
            ("heap_bytes.api_v2.budget", 0),
            ("bytes_limit.shop.worker", 8 * MIB),
            ("bytes_limit.shop.node", 64 * MIB),
        ],
    );
    gateway.assert_sound();
}

#[test]
fn a_plugin_with_a_small_node_store_leaves_that_of_a_large_one_alone_until_it_is_the_only_one() {
    let (origin, ports) = (Origin::start(), [free_port(), free_port()]);
    origin.otherwise(|_| Answer::fresh(vec![b'x'; 1 << 20]));
    // Few buckets: each write looks at all of them for something to evict.
    let large =
        r#"{"name":"shop","namespace":"shop","worker":{"bytes":0},"node":{"bytes":"64MiB","buckets":64}}"#;
    let small =
        r#"{"name":"api","namespace":"api","worker":{"bytes":0},"node":{"bytes":"8MiB","buckets":64}}"#;
    let (gateway, listeners) =
        start(&origin, None, 1, &[("selvage", ports[0], large), ("api", ports[1], small)]);
    let at = |port: u16, path: &str| {
        selvage_rig::envoy::Ask::new(([127, 0, 0, 1], port).into(), "GET", path).send()
    };
    let paths: Vec<String> = (0..24).map(|number| format!("/{number}")).collect();
    for path in &paths {
        assert_says(&at(ports[0], path), "stored");
    }
    assert_says(&at(ports[1], "/small"), "stored");
    assert_eq!(gauge(&gateway, "evicted.node"), 0);
    for path in &paths {
        assert_says(&at(ports[0], path), "hit");
    }
    shows(&gateway, &[("bytes_limit.shop.node", 64 * MIB), ("bytes_limit.api.node", 64 * MIB)]);

    listeners.push(&[("api", ports[1], small)]);
    shows(&gateway, &[("bytes_limit.shop.node", 0)]);
    shows(&gateway, &[("bytes_limit.api.node", 8 * MIB)]);
    // The rest follows within a minute.
    becomes(|| gauge(&gateway, "bytes.api.node"), |bytes| *bytes < 24 * MIB);
    gateway.assert_sound();
}

#[test]
fn twenty_configurations_while_the_first_ones_connections_end_leave_the_gauges_right() {
    let (origin, port) = (origin(), free_port());
    let numbered =
        |number: usize| format!(r#"{{"worker":{{"bytes":"8MiB"}},"node":{{"bytes":"{}MiB"}}}}"#, 32 + number);
    let first = numbered(0);
    let (gateway, listeners) = start(&origin, None, 600, &[("selvage", port, &first)]);
    let mut kept = gateway.connect();
    assert_says(&kept.send(kept.get("/a")), "stored");
    for number in 1..=20 {
        follow(&gateway, &listeners, port, &numbered(number), number as u64);
        // A connection that one of them has for as long as it likes.
        becomes(|| gateway.get("/a").send(), |answer| answer.is_hit());
    }
    assert_eq!(gateway.stat("listener_manager.total_filter_chains_draining"), 20);
    shows(
        &gateway,
        &[("bytes_limit.worker", 8 * MIB), ("bytes_limit.node", 52 * MIB), ("entries.worker", 1)],
    );
    // The first one's connection is still there; with its next request that one holds a store again, an eighth of one.
    assert_hit(&kept.send(kept.get("/a")), "/a");
    shows(
        &gateway,
        &[("bytes_limit.worker", 9 * MIB), ("bytes_limit.node", 52 * MIB), ("entries.worker", 2)],
    );
    gateway.assert_sound();
}

#[test]
fn configurations_that_follow_each_other_take_no_more_memory_than_the_first_ones() {
    let (origin, port) = (origin(), free_port());
    let numbered =
        |number: usize| format!(r#"{{"worker":{{"bytes":"8MiB"}},"node":{{"poll":"{}ms"}}}}"#, 50 + number);
    let first = numbered(0);
    let (gateway, listeners) = start(&origin, None, 1, &[("selvage", port, &first)]);
    let mut used = Vec::new();
    for number in 1..=90 {
        follow(&gateway, &listeners, port, &numbered(number), number as u64);
        for path in 0..20 {
            becomes(|| gateway.get(&format!("/{path}")).send(), Response::is_hit);
        }
        if number % 30 == 0 {
            becomes(|| gateway.stat("listener_manager.total_filter_chains_draining"), |count| *count == 0);
            used.push(becomes(|| gauge(&gateway, "heap_bytes.used"), |bytes| *bytes > 0));
        }
    }
    // The heap grows by two pages of 64 KiB at a time, and one such step may be chance. A store for each
    // configuration would be thirty times a mebibyte.
    assert!(used[2] <= used[1] + 4 * 65_536, "{used:?}");
    gateway.assert_sound();
}

#[test]
fn a_configuration_that_comes_back_has_its_whole_store_again() {
    let (origin, port) = (origin(), free_port());
    let (one, other) = (r#"{"worker":{"bytes":"8MiB"}}"#, r#"{"worker":{"bytes":"16MiB"}}"#);
    let (gateway, listeners) = start(&origin, None, 2, &[("selvage", port, one)]);
    assert_says(&gateway.get("/a").send(), "stored");
    for (count, next, bytes) in [(1, other, 16 * MIB), (2, one, 8 * MIB), (3, other, 16 * MIB)] {
        follow(&gateway, &listeners, port, next, count);
        becomes(
            || (gateway.get("/a").send().is_hit(), gauge(&gateway, "bytes_limit.worker")),
            |found| *found == (true, bytes),
        );
    }
    gateway.assert_sound();
}

//! What operators write, and what they can see.

use std::{collections::BTreeMap, fs};

use selvage_rig::envoy::{Gateway, repository};
use selvage_rig::scripted::{Answer, Origin};

use selvage_rig::redis::free_port;
use serde_json::Value;

use crate::{assert_hit, assert_says, becomes};

#[test]
fn each_wrong_file_is_refused_by_envoy_with_all_its_faults() {
    let folder = repository().join("host-tests/fixtures/config");
    let expected = fs::read_to_string(folder.join("expected.txt")).unwrap();
    let mut faults = BTreeMap::<&str, Vec<&str>>::new();
    for line in expected.lines() {
        let (file, fault) = line.split_once('\t').unwrap();
        faults.entry(file).or_default().push(fault);
    }
    assert!(faults.len() >= 10);
    for (file, faults) in faults {
        let configuration = fs::read_to_string(folder.join(file)).unwrap();
        let refused = Gateway::with(&configuration).origin("http://127.0.0.1:9").try_start().err();
        let refused = refused.unwrap_or_else(|| panic!("{file} was accepted"));
        assert!(!refused.status.success(), "{file}: {}", refused.status);
        for fault in faults {
            assert!(refused.output.contains(fault), "{file}: {fault:?} is not in\n{}", refused.output);
        }
    }
}

#[test]
fn the_configuration_may_be_a_protobuf_struct() {
    let origin = Origin::start();
    origin.on("/a", |_| Answer::fresh("a"));
    let gateway = Gateway::with(r#"{name: Edge, worker: {bytes: 32MiB, entries: 1000}, rules: [{name: b, bypass: true, match: {paths: [/b]}}]}"#)
        .origin(origin.url())
        .try_start_with_struct()
        .unwrap_or_else(|refused| panic!("{}", refused.output));
    gateway.get("/a").send();
    let hit = gateway.get("/a").send();
    assert_hit(&hit, "a");
    assert!(hit.cache_status().starts_with("Edge; hit"), "{}", hit.cache_status());
    assert_says(&gateway.get("/b").send(), "fwd=bypass");
}

#[test]
fn a_wrong_protobuf_struct_is_refused_too() {
    let refused =
        Gateway::with("{rulez: []}").origin("http://127.0.0.1:9").try_start_with_struct().err().unwrap();
    assert!(!refused.status.success());
    assert!(refused.output.contains("rulez: found an unknown member \"rulez\""), "{}", refused.output);
}

#[test]
fn why_a_configuration_was_refused_can_be_seen_when_envoy_has_ceased_to_say_it() {
    let (origin, port) = (Origin::start(), free_port());
    origin.on("/a", |_| Answer::fresh("a"));
    let good = r#"{"admin":{"open":true,"hosts":["example.test"]}}"#;
    let builder = Gateway::with("").origin(origin.url());
    let started = builder.try_start_with_listeners(&[("selvage", port, good)]);
    let (gateway, listeners) = started.unwrap_or_else(|refused| panic!("{}", refused.output));
    let shown = || -> Value {
        let told = gateway.get("/.selvage/config").send().text();
        serde_json::from_str::<Value>(&told).unwrap()["refused"].take()
    };
    assert_eq!(shown(), Value::Null);
    for time in 1..=3 {
        listeners.push(&[("selvage", port, r#"{"rulez":[]}"#)]);
        becomes(|| gateway.stat("listener_manager.lds.update_rejected"), |count| *count == time);
        // Envoy remembers what it had refused, and does not ask again.
        assert_eq!(gateway.log().matches(r#"rulez: found an unknown member "rulez""#).count(), 1);
        assert_eq!(gateway.get("/a").send().status, 200);
        let reason = shown()["reasons"][0].as_str().unwrap_or_default().to_owned();
        assert!(reason.starts_with(r#"rulez: found an unknown member "rulez""#), "{reason}");
        listeners.push(&[("selvage", port, good)]);
        becomes(|| gateway.stat("listener_manager.lds.update_success"), |count| *count > time);
    }
}

//! What operators write, and what they can see.

use std::{collections::BTreeMap, fs};

use selvage_host_tests::envoy::{Gateway, repository};
use selvage_host_tests::scripted::{Answer, Origin};

use crate::{assert_hit, assert_says};

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

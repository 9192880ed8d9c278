//! What an operator writes, and how a wrong file is refused.

use std::{fs, path::Path};

use selvage_host::{Gateway, LogLevel};

use crate::{assert_hit, fresh};

#[test]
fn every_wrong_file_is_refused_with_all_its_faults() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config");
    let expected = fs::read_to_string(folder.join("expected.txt")).unwrap();
    assert!(!expected.is_empty());
    for line in expected.lines() {
        let (file, message) = line.split_once('\t').unwrap();
        let configuration = fs::read_to_string(folder.join(file)).unwrap();
        let refused = Gateway::with(&configuration).try_start().err();
        let text = refused.unwrap_or_else(|| panic!("{file} was accepted")).text();
        assert!(text.contains(message), "{file}: {message:?} is not in\n{text}");
    }
}

#[test]
fn a_refused_change_leaves_the_old_configuration_in_force() {
    let gateway = Gateway::with(r#"{"name": "Edge"}"#).origin(|_| fresh("a")).start();
    let refused = gateway.reconfigure(r#"{"nam": 1}"#).unwrap_err();
    assert!(refused.logs.iter().any(|line| line.level >= LogLevel::Error && line.message.contains("nam")));
    gateway.get("/a").send(0);
    assert_hit(&gateway.get("/a").send(0), "a");
    assert!(gateway.get("/a").send(0).header("cache-status").unwrap().starts_with("Edge"));
}

#[test]
fn no_configuration_at_all_is_the_default_one() {
    let gateway = Gateway::with("").origin(|_| fresh("a")).start();
    gateway.get("/a").send(0);
    assert_hit(&gateway.get("/a").send(0), "a");
}

//! `host-tests/overload` for moments, where it makes few connections.

use std::process::Command;

#[test]
fn an_overload_is_measured_beside_others_and_leaves_nothing_behind() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overload"));
    let output = command.args(["a2", "a6", "--seconds", "1", "--seed", "7"]).output().unwrap();
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Whether targets are met in so short a time is another question.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}\n{progress}");
    for row in ["| A2 | 160/s for 5 s", "| A6 |", "| A2, found limit | ", "| A2, `adaptive_concurrency` | "] {
        assert!(said.contains(row), "no {row:?}: {said}\n{progress}");
    }
    assert!(said.contains("after each of 2 runs | 0 | 0 | – | ok |"), "{said}");
    assert!(!said.contains("Envoy is sound"), "{said}");
}

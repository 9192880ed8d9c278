//! `host-tests/limits` for a moment.

use std::process::Command;

#[test]
fn limits_are_measured_beside_what_was_meant() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_limits"));
    let output = command.args(["b1", "--seconds", "2", "--seed", "7"]).output().unwrap();
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Whether targets are met in so short a time is another question.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}\n{progress}");
    for row in ["| B1 | 3000/s at four Envoys, even", "| B1 | scripts run", "| B1, four Envoys, 1:3:9:27 | "]
    {
        assert!(said.contains(row), "no {row:?}: {said}\n{progress}");
    }
    assert!(!said.contains("Envoy is sound"), "{said}");
}

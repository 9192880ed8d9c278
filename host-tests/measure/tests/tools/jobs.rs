//! `host-tests/jobs` for a moment.

use std::process::Command;

#[test]
fn jobs_outlive_envoys_that_are_killed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobs"));
    let output = command.args(["g1", "--seconds", "6", "--seed", "7"]).output().unwrap();
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // How long accepting takes is another question.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}\n{progress}");
    for row in ["| G1 | jobs lost of ", "| G1 | begun again before", "| G1 | a job is accepted, p99 |"] {
        assert!(said.contains(row), "no {row:?}: {said}\n{progress}");
    }
    let lost = said.lines().find(|line| line.contains("jobs lost")).unwrap();
    assert!(lost.contains("| 0 | 0 |"), "{said}\n{progress}");
}

#[test]
fn parts_of_batches_are_what_single_requests_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_jobs")).arg("f1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // How long they take is another question.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    let same = said.lines().find(|line| line.contains("parts of three batches")).unwrap();
    assert!(same.contains("| 96 | 96 |"), "{said}");
}

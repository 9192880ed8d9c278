//! `host-tests/llm` for moments, without LiteLLM. What is seeded there is played in the hosted tests.

use std::process::Command;

#[test]
fn hits_and_forwarded_streams_are_measured_and_hits_are_what_was_stored() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm"));
    command.env_remove("LITELLM_BIN").args(["hits", "forwarded", "--seconds", "1"]);
    let output = command.output().unwrap();
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Whether targets are met in so short a time is another question.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}\n{progress}");
    assert!(said.contains("| the same bytes | – | ok |"), "{said}");
    for row in
        ["| C2 | a hit as JSON", "| C2 | hits as a stream", "| C2 | a stream that is counted and passed"]
    {
        assert!(said.contains(row), "no {row:?}: {said}\n{progress}");
    }
    assert!(said.contains("could not be installed here") && !said.contains("Envoy is sound"), "{said}");
}

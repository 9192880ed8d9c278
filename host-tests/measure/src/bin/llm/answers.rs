//! C1: seeded answers through the module, cut anywhere.

use std::env;
use std::process::{Command, Stdio};

use selvage_measure::targets::Row;
use selvage_rig::envoy::repository;

use crate::Report;

/// Of three answers more than two are streams: of so many more than 10,000.
const ANSWERS: u64 = 14_000;

/// Plays them on the host of our own, which is a program of its own: nothing else here needs to compile the module.
pub fn measure(seed: u64, report: &mut Report) -> Result<(), String> {
    eprintln!("selvage: C1");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let first = (seed - 1.min(seed)) * ANSWERS;
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--package", "selvage-host", "--example", "answers", "--"])
        .args([ANSWERS.to_string(), first.to_string()])
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(format!("the answers were not played: {said}"));
    }
    report.targets.row(Row {
        scenario: "C1",
        what:
            "seeded answers through the module, cut anywhere: again byte for byte, counted to the token and \
               to 10⁻⁹ of the currency, nothing incomplete stored"
                .into(),
        target: "all".into(),
        measured: said,
        peer: "LiteLLM: see the bytes of a stream".into(),
        met: output.status.success(),
    });
    Ok(())
}

//! Programs that play seeds on hosts of their own, where nothing is timed.

use std::env;
use std::process::{Command, Stdio};

use selvage_measure::targets::Row;
use selvage_rig::envoy::repository;

use crate::Report;

/// Runs such a program of ours, which says in its last line what there was, and ends with 1 if a seed was not as it should be.
pub fn measure(what: &str, peer: &str, arguments: &[&str], report: &mut Report) -> Result<(), String> {
    eprintln!("selvage: C1, {what}");
    // Neither the host for the module nor the simulation is compiled for those who measure.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet"]).args(arguments).current_dir(repository()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(format!("{arguments:?}: {last}"));
    }
    report.targets.row(Row {
        scenario: "C1",
        what: what.to_owned(),
        target: "all".to_owned(),
        measured: last.to_owned(),
        peer: peer.to_owned(),
        met: output.status.success(),
    });
    Ok(())
}

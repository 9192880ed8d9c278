//! `check [MODULE]`: fails when Envoy could not load the module, or when it has grown past its size budget.
//!
//! Without a module it builds the filter first and checks that.

use std::path::PathBuf;
use std::process::ExitCode;

use selvage_wasm_target::{Report, SIZE_BUDGET_BYTES, artifact, inspect};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match checked(arguments.next().map(PathBuf::from)) {
        Ok(report) => tell(&report),
        Err(message) => {
            eprintln!("check: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the module, building it when none is given.
fn checked(path: Option<PathBuf>) -> Result<Report, String> {
    let path = path.map_or_else(|| artifact().map_err(|error| error.to_string()), Ok)?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    inspect(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Prints what the module is, then what is wrong with it.
fn tell(report: &Report) -> ExitCode {
    println!("size     {} of {SIZE_BUDGET_BYTES} bytes", report.size_bytes);
    for module in ["env", "wasi_snapshot_preview1"] {
        let names: Vec<&str> = report
            .imports
            .iter()
            .filter(|import| import.module == module)
            .map(|import| import.name.strip_prefix("proxy_").unwrap_or(&import.name))
            .collect();
        println!("imports  {module}: {} ({})", names.len(), names.join(" "));
    }
    let faults = report.faults();
    for fault in &faults {
        eprintln!("check: {fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

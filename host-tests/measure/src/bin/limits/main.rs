//! Limits (`limits[]`) on real Envoy: over a fleet beside what was meant, over one node beside Envoy's own `local_ratelimit`, and
//! while Redis is dead.
//!
//! `./host-tests/limits` starts this. It ends with 1 when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod faults;
mod fleet;
mod node;
mod run;
mod site;

use std::process::ExitCode;

use clap::Parser;
use selvage_measure::measured::{load_average, machine};
use selvage_measure::tables::{Wanted, chosen};
use selvage_measure::targets::Targets;
use selvage_rig::arguments::ended;

/// What the command line calls them.
const NAMES: [&str; 3] = ["b1", "b2", "b3"];

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    /// Only these.
    #[arg(value_parser = NAMES)]
    scenarios: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
}

/// What is measured, and how it is told.
#[derive(Default)]
struct Report {
    targets: Targets,
    /// A line for each run.
    runs: String,
}

fn main() -> ExitCode {
    ended(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let busy = load_average();
    let mut report = Report::default();
    let Wanted { seconds, seed, .. } = arguments.wanted;
    for name in chosen(&NAMES, &arguments.scenarios) {
        match name {
            "b1" => fleet::measure(seconds, seed, &mut report)?,
            "b2" => node::measure(seconds, seed, &mut report)?,
            _ => faults::measure(seconds, seed, &mut report)?,
        }
    }
    let text = format!(
        "# Limits\n\n{}. Load average before: {busy}. Load, Envoys, Redis and webdis share the cores.\n\n\
         Requests come as an open loop (Poisson) for one stored response: nothing but the limit decides. Of a quota of q in a\n\
         second and a burst of b, q·t + b is what t seconds may admit.\n\n{}\n{}{}",
        machine("./host-tests/limits"),
        report.targets.render(),
        run::HEAD,
        report.runs,
    );
    arguments.wanted.publish("limits.md", &text)?;
    Ok(report.targets.all_met())
}

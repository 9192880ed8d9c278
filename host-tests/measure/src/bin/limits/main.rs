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

use std::{fs, process::ExitCode, time::Duration};

use clap::Parser;
use selvage_measure::measured::{load_average, machine};
use selvage_measure::targets::Targets;
use selvage_rig::arguments::{ended, seconds};
use selvage_rig::envoy::repository;

/// What the command line calls them.
const NAMES: [&str; 3] = ["b1", "b2", "b3"];

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    /// Only these.
    #[arg(value_parser = NAMES)]
    scenarios: Vec<String>,
    /// How long each load lasts.
    #[arg(long, default_value = "60", value_parser = seconds(1.0..=600.0))]
    seconds: Duration,
    /// Other arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Whether what came of it replaces the committed file.
    #[arg(long)]
    write: bool,
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
    for name in NAMES {
        if arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|wanted| wanted == name) {
            match name {
                "b1" => fleet::measure(arguments.seconds, arguments.seed, &mut report)?,
                "b2" => node::measure(arguments.seconds, arguments.seed, &mut report)?,
                _ => faults::measure(arguments.seconds, arguments.seed, &mut report)?,
            }
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
    println!("{text}");
    if arguments.write {
        fs::write(repository().join("host-tests/fixtures/limits.md"), text).unwrap();
    }
    Ok(report.targets.all_met())
}

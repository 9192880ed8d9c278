//! Pools (`pools[]`, `rules[].admission`) on real Envoy before an origin that is asked for too much, beside Envoy's own
//! `adaptive_concurrency`.
//!
//! `./host-tests/overload` starts this. It ends with 1 when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod cost;
mod report;
mod run;
mod scenarios;
mod seen;
mod servers;
mod subjects;
mod traffic;

use std::process::ExitCode;

use clap::Parser;
use report::Report;
use selvage_measure::measured::{load_average, machine};
use selvage_measure::tables::{Wanted, chosen};
use selvage_rig::arguments::ended;

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    /// Only these.
    #[arg(value_parser = scenarios::NAMES)]
    scenarios: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
}

fn main() -> ExitCode {
    ended(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let busy = load_average();
    let mut report = Report::default();
    for name in chosen(&scenarios::NAMES, &arguments.scenarios) {
        scenarios::play(name, arguments.wanted.seconds, arguments.wanted.seed, &mut report)?;
    }
    let head = format!("{}. Load average before: {busy}", machine("./host-tests/overload"));
    let text = report.render(&head);
    arguments.wanted.publish("overload.md", &text)?;
    Ok(report.all_met())
}

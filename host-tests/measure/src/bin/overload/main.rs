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

use std::{fs, process::ExitCode, time::Duration};

use clap::Parser;
use report::Report;
use selvage_measure::measured::{load_average, machine};
use selvage_rig::arguments::{ended, seconds};
use selvage_rig::envoy::repository;

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    /// Only these.
    #[arg(value_parser = scenarios::NAMES)]
    scenarios: Vec<String>,
    /// How long the load lasts that counts.
    #[arg(long, default_value = "60", value_parser = seconds(1.0..=600.0))]
    seconds: Duration,
    /// Other arrivals and other times of the origin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Whether what came of it replaces the committed file.
    #[arg(long)]
    write: bool,
}

fn main() -> ExitCode {
    ended(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let busy = load_average();
    let mut report = Report::default();
    for name in scenarios::NAMES {
        if arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|wanted| wanted == name) {
            scenarios::play(name, arguments.seconds, arguments.seed, &mut report)?;
        }
    }
    let head = format!("{}. Load average before: {busy}", machine("./host-tests/overload"));
    let text = report.render(&head);
    println!("{text}");
    if arguments.write {
        fs::write(repository().join("host-tests/fixtures/overload.md"), text).unwrap();
    }
    Ok(report.all_met())
}

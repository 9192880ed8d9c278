//! Has an Envoy look into a remote store that a forger holds, and sees what clients get.
//!
//! `./host-tests/forge` starts this. It ends with 1 when something is not as it should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod table;

use std::{fs, process::ExitCode, time::Duration};

use clap::{Parser, value_parser};
use selvage_measure::forged::{Stage, Tally};
use selvage_measure::measured::machine;
use selvage_rig::arguments::{ended, seconds};
use selvage_rig::envoy::repository;

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    /// Forged answers at least.
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    mutants: u64,
    /// How long at least.
    #[arg(long = "seconds", default_value = "600", value_parser = seconds(1.0..=86_400.0))]
    lasting: Duration,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Whether what came of it replaces the committed file.
    #[arg(long)]
    write: bool,
}

fn main() -> ExitCode {
    ended(Ok(run(&Arguments::parse())))
}

/// Runs it; whether all was as it should be.
fn run(arguments: &Arguments) -> bool {
    let mut stage = Stage::start(arguments.seed);
    let mut shown = 0;
    loop {
        let (forged, lasted) = stage.run(STEP);
        progress(&stage);
        // Each kind of error as soon as there is one.
        if stage.tally().errors.len() > shown {
            shown = stage.tally().errors.len();
            show_errors(stage.tally());
        }
        let done = forged >= arguments.mutants && lasted >= arguments.lasting;
        // Who fails so often has been understood.
        if done || stage.tally().all_errors() > MOST_ERRORS {
            break;
        }
    }
    let outcome = stage.finish();
    show_errors(&outcome.tally);
    let text = table::render(&outcome, &machine("./host-tests/forge"));
    println!("{text}");
    if arguments.write {
        fs::write(repository().join("host-tests/fixtures/forged.md"), text).unwrap();
    }
    outcome.faults.is_empty()
}

fn show_errors(tally: &Tally) {
    for (problem, (count, shown)) in &tally.errors {
        eprintln!("selvage: {count} × {problem}, such as {shown}");
    }
}

fn progress(stage: &Stage) {
    let Some(moment) = stage.moments().last() else { return };
    eprintln!(
        "selvage: {:>4} s, {:>8} forged, {:>8} requests, {:>7} accepted, longest {:>5} ms, {:>5.1} MiB of heap, {} errors",
        moment.at.as_secs(),
        moment.forged,
        moment.requests,
        stage.tally().accepted,
        stage.tally().longest.0.as_millis(),
        moment.heap / f64::from(1 << 20),
        stage.tally().all_errors(),
    );
}

/// Between looks at counters and memory.
const STEP: Duration = Duration::from_secs(5);
const MOST_ERRORS: u64 = 1000;

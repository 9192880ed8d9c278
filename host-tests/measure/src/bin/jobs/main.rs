//! What is accepted now and done later, several GETs in one request, sessions and uploads, on real Envoys. A scenario is a file with `pub fn run`, and a line in
//! [`SCENARIOS`].
//!
//! `./host-tests/jobs` starts this. It ends with 1 when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod batch;
mod g1;
mod sessions;
mod uploads;

use std::process::ExitCode;

use clap::Parser;
use selvage_measure::measured::{load_average, machine};
use selvage_measure::tables::{Wanted, chosen};
use selvage_measure::targets::Targets;
use selvage_rig::arguments::ended;

/// What the command line calls them, and who plays them.
const SCENARIOS: [(&str, Scenario); 4] =
    [("g1", g1::run), ("f1", batch::run), ("e1", sessions::run), ("u1", uploads::run)];

type Scenario = fn(&Wanted, &mut Report) -> Result<(), String>;

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    /// Only these.
    #[arg(value_parser = SCENARIOS.map(|(name, _)| name))]
    scenarios: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
}

/// What is measured, and how it is told.
#[derive(Default)]
pub struct Report {
    /// The targets.
    pub targets: Targets,
    /// What each scenario has to say beside its targets, in Markdown.
    pub told: String,
}

fn main() -> ExitCode {
    ended(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let busy = load_average();
    let mut report = Report::default();
    let names = SCENARIOS.map(|(name, _)| name);
    for name in chosen(&names, &arguments.scenarios) {
        for (_, play) in SCENARIOS.iter().filter(|(known, _)| *known == name) {
            play(&arguments.wanted, &mut report)?;
        }
    }
    let text = format!(
        "# Jobs, batches, sessions and uploads\n\n{}. Load average before: {busy}. Clients, Envoys, origin, Redis and webdis share the cores.\n\n{}\n{}",
        machine("./host-tests/jobs"),
        report.targets.render(),
        report.told,
    );
    arguments.wanted.publish("jobs.md", &text)?;
    Ok(report.targets.all_met())
}

//! Batches of GETs: the scenario F1. It ends with 1 when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

#[path = "jobs/batch.rs"]
mod batch;

use std::process::ExitCode;

use selvage_measure::targets::Targets;
use selvage_rig::arguments::ended;

fn main() -> ExitCode {
    let mut targets = Targets::default();
    let measured = batch::run(&mut targets);
    println!("{}", targets.render());
    ended(measured.map(|()| targets.all_met()))
}

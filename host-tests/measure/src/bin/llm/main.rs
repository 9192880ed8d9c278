//! Answers of language models: whether they come again as they were, what is counted of them, and what that costs, beside Envoy
//! without the filter and beside LiteLLM.
//!
//! `./host-tests/llm` starts this. It ends with 1 when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod answers;
mod budgets;
mod embeddings;
mod forwarded;
mod hits;
mod litellm;
mod seeded;
mod site;
mod stream;
mod tenants;

use std::process::ExitCode;

use clap::Parser;
use litellm::LiteLlm;
use selvage_measure::measured::{load_average, machine};
use selvage_measure::tables::{Wanted, chosen};
use selvage_measure::targets::Targets;
use selvage_rig::arguments::ended;

/// What the command line calls them. Each has a file of its own.
const NAMES: [&str; 9] =
    ["c1", "tenants", "hits", "forwarded", "edge", "killed", "redis", "money", "vectors"];

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
            "c1" => answers::measure(seed, &mut report)?,
            "tenants" => tenants::measure(seed, &mut report)?,
            "hits" => hits::measure(seconds, &mut report)?,
            "forwarded" => forwarded::measure(seconds, &mut report)?,
            "edge" => budgets::at_the_edge(&mut report)?,
            "killed" => budgets::killed(&mut report)?,
            "redis" => budgets::without_redis(&mut report)?,
            "vectors" => embeddings::measure(&mut report)?,
            _ => {
                budgets::money(seed, &mut report)?;
                budgets::forecast(&mut report)?;
            }
        }
    }
    let text = format!(
        "# Language models\n\n{}. Load average before: {busy}. Load, Envoys, provider and LiteLLM share the cores.\n\n\
         LiteLLM: {}. A core is a second of processor time of the process that answers.\n\n{}\n{}{}",
        machine("./host-tests/llm"),
        LiteLlm::about(),
        report.targets.render(),
        stream::HEAD,
        report.runs,
    );
    arguments.wanted.publish("llm.md", &text)?;
    Ok(report.targets.all_met())
}

//! What the cache foretells, against what is known to come: anomalies, the day of saturation, lifetimes.
//!
//! `./host-tests/foresight` starts this. Nothing runs here but the engine's own estimators with a simulated clock, so that a seed
//! gives the same table on every machine. It ends with 1 when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod anomalies;
mod lifetimes;
mod random;
mod saturation;

use std::process::ExitCode;

use clap::Parser;
use selvage_measure::tables::chosen;
use selvage_measure::targets::{Row, Targets};
use selvage_rig::arguments::ended;
use selvage_rig::envoy::repository;

/// What the command line calls them.
const NAMES: [&str; 3] = ["anomalies", "saturation", "lifetimes"];

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    /// Only these.
    #[arg(value_parser = NAMES)]
    scenarios: Vec<String>,
    /// How many seeds each is run with.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// What came of it replaces host-tests/fixtures/foresight.md.
    #[arg(long)]
    write: bool,
}

/// What is measured, and how it is told.
#[derive(Default)]
struct Report {
    targets: Targets,
    /// Tables below the targets.
    tables: String,
}

impl Report {
    /// A target and what came of it.
    fn target(
        &mut self,
        scenario: &'static str,
        what: &str,
        target: &str,
        measured: String,
        peer: &str,
        met: bool,
    ) {
        let (what, target, peer) = (what.into(), target.into(), peer.into());
        self.targets.row(Row { scenario, what, target, measured, peer, met });
    }
}

/// Does something for each, two at a time.
fn each<T: Send + Sync, R: Send>(of: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(one) = of.get(nth) else { return };
                    let result = work(one);
                    done.lock().unwrap().push((nth, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(nth, _)| *nth);
    done.into_iter().map(|(_, result)| result).collect()
}

fn main() -> ExitCode {
    ended(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let mut report = Report::default();
    let seeds = arguments.first_seed..arguments.first_seed + arguments.seeds;
    for name in chosen(&NAMES, &arguments.scenarios) {
        match name {
            "anomalies" => anomalies::measure(seeds.clone(), &mut report),
            "saturation" => saturation::measure(seeds.clone(), &mut report),
            _ => lifetimes::measure(seeds.clone(), &mut report),
        }
    }
    let text = format!(
        "# Foresight\n\n`./host-tests/foresight --seeds {} --first-seed {} --write`: the engine's estimators with a simulated clock; the same on every machine.\n\n{}\n{}",
        arguments.seeds,
        arguments.first_seed,
        report.targets.render(),
        report.tables,
    );
    print!("{text}");
    if arguments.write {
        let path = repository().join("host-tests/fixtures/foresight.md");
        std::fs::write(&path, &text).map_err(|error| format!("foresight.md: {error}"))?;
    }
    Ok(report.targets.all_met())
}

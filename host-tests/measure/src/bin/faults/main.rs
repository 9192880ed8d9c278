//! What faults of the remote store cost clients: real Envoy with two workers, real Redis and webdis, a steady load.
//!
//! `./host-tests/faults` starts this. It ends with 1 when an expectation fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod load;
mod measure;
mod purges;
mod rows;
mod table;

use std::{fs, process::ExitCode, sync::Arc};

use clap::{Parser, builder::PossibleValuesParser};
use load::Mix;
use measure::Measured;
use rows::{Fault, ROWS, Row};
use selvage_measure::measured::{machine, redis_version};
use selvage_rig::arguments::{ended, number};
use selvage_rig::envoy::repository;

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    #[arg(long = "row", value_parser = PossibleValuesParser::new(ROWS.iter().map(|row| row.name)))]
    rows: Vec<String>,
    #[arg(long, default_value = "10", value_parser = number(2.0..=60.0))]
    seconds: f64,
    #[arg(long = "redis-cluster")]
    cluster: bool,
}

fn main() -> ExitCode {
    ended(Ok(run(&Arguments::parse())))
}

/// Runs it; whether all was as it should be.
fn run(arguments: &Arguments) -> bool {
    let mix = Arc::new(Mix::new());
    let mut measured: Vec<Measured> = Vec::new();
    let mut failed = false;
    for row in ROWS.iter().filter(|row| arguments.wants(row)) {
        let result = row.measure(&mix, arguments.seconds / 10.0);
        let baseline =
            table::baseline(if measured.is_empty() { std::slice::from_ref(&result) } else { &measured });
        let faults = table::faults(&result, baseline);
        failed |= !faults.is_empty();
        eprintln!(
            "selvage: {:<15} {:>6} requests, p99 {:>6.1} ms during, {:>6.1} after, {}",
            result.name,
            result.requests,
            result.during.p99,
            result.after.p99,
            if faults.is_empty() { "ok".to_owned() } else { faults.join("; ") }
        );
        measured.push(result);
    }
    let text = table::render(&measured, &facts());
    println!("{text}");
    // Some rows alone are for whoever mends something; the file has all.
    if arguments.rows.is_empty() {
        fs::write(repository().join("host-tests/fixtures/faults.md"), text).unwrap();
    }
    !failed
}

impl Arguments {
    /// The baseline is always measured. The cluster's row needs to be asked for: it takes six more processes.
    fn wants(&self, row: &Row) -> bool {
        match row.fault {
            Fault::NoRemote => true,
            Fault::Failover if self.rows.is_empty() => self.cluster,
            _ => self.rows.is_empty() || self.rows.iter().any(|name| name == row.name),
        }
    }
}

/// What was run and where.
fn facts() -> String {
    format!("{}, {}.", machine("./host-tests/faults"), redis_version())
}

//! The cache's bad minutes on real Envoy: a herd on a cold key, the expiry of a hot key, a dead origin,
//! something that must be gone now.
//!
//! `./host-tests/herd` starts this. It ends with 1 when an expectation fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod expiry;
mod herds;
mod load;
mod outage;
mod peers;
mod promises;
mod purges;
mod scenario;
mod subjects;

use std::{fs, process::ExitCode};

use clap::{Parser, value_parser};
use selvage_measure::measured::{load_average, machine, redis_version};
use selvage_rig::arguments::ended;
use selvage_rig::envoy::repository;
use subjects::Subject;

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    #[arg(long = "part", value_parser = PARTS)]
    parts: Vec<String>,
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u64).range(2..=60))]
    seconds: u64,
    #[arg(long)]
    ours: bool,
    /// More members of the filter's configuration.
    #[arg(long, default_value = "")]
    members: String,
}

const PARTS: [&str; 5] = ["herd", "promises", "expiry", "outage", "purge"];

fn main() -> ExitCode {
    ended(Ok(run(&Arguments::parse())))
}

/// Runs it; whether all was as it should be.
fn run(arguments: &Arguments) -> bool {
    let busy = load_average();
    let mut text = format!(
        "# The bad minutes\n\n{}, {}. Load average before: {busy}.\nClients, origin and caches share the cores.\n",
        machine("./host-tests/herd"),
        redis_version()
    );
    let mut failed = false;
    let members = arguments.members.as_str();
    if arguments.wants("herd") {
        let mut measured = Vec::new();
        for subject in arguments.subjects() {
            for herd in herds::measure(subject, members) {
                failed |= !herd.faults().is_empty();
                eprintln!("selvage: {}", herd.line());
                measured.push(herd);
            }
        }
        text += &format!("\n{}", herds::render(&measured));
    }
    if arguments.wants("promises") {
        let one_each =
            arguments.subjects().filter(|subject| !matches!(subject, Subject::Fleet | Subject::Plain));
        let measured: Vec<_> = one_each.map(|subject| promises::measure(subject, members)).collect();
        for promises in &measured {
            failed |= !promises.faults().is_empty();
            eprintln!("selvage: {}", promises.line());
        }
        text += &format!("\n{}", promises::render(&measured));
    }
    if arguments.wants("expiry") {
        let measured: Vec<_> = [Subject::Selvage, Subject::Fleet]
            .into_iter()
            .flat_map(|subject| [false, true].map(|renews| expiry::measure(subject, renews, members)))
            .collect();
        for expiry in &measured {
            failed |= !expiry.faults().is_empty();
            eprintln!("selvage: {}", expiry.line());
        }
        text += &format!("\n{}", expiry::render(&measured));
    }
    if arguments.wants("outage") {
        let outage = outage::measure(arguments.seconds, members);
        failed |= !outage.faults().is_empty();
        eprintln!("selvage: {}", outage.line());
        text += &format!("\n{}", outage.render());
    }
    if arguments.wants("purge") {
        let purges = purges::measure(members);
        failed |= !purges.faults().is_empty();
        eprintln!("selvage: {}", purges.line());
        text += &format!("\n{}", purges.render());
    }
    println!("{text}");
    // A part alone is for whoever mends something; the file has all.
    if arguments.parts.is_empty() && !arguments.ours && members.is_empty() {
        fs::write(repository().join("host-tests/fixtures/herd.md"), text).unwrap();
    }
    !failed
}

impl Arguments {
    /// Who is compared.
    fn subjects(&self) -> impl Iterator<Item = Subject> + use<> {
        let ours = self.ours;
        let all = [
            Subject::Selvage,
            Subject::Fleet,
            Subject::Native,
            Subject::NativeV2,
            Subject::Nginx,
            Subject::Varnish,
            Subject::TrafficServer,
            Subject::Plain,
        ];
        all.into_iter().filter(move |subject| subject.is_ours() || !ours)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|name| name == part)
    }
}

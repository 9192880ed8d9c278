//! A long load with everything that happens to a cache: does anything grow that should not?
//!
//! `./host-tests/soak` starts this. It ends with 1 when something is not as it should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod arguments;
mod faults;
mod load;
mod report;
mod samples;
mod site;
mod stage;
mod traffic;
mod verdict;

use std::{
    fs,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use selvage_measure::measured::{machine, redis_version, reloaded};
use selvage_rig::arguments::ended;
use selvage_rig::envoy::repository;

use arguments::Arguments;
use faults::{FAULTS, Fault};
use load::{Load, Tally};
use report::Report;
use samples::Sample;
use stage::Stage;
use verdict::Pause;

/// Between samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// How often something that is awaited is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A round's time without load, about: what is not used of it is the next round's.
const PAUSE: Duration = Duration::from_secs(6);
/// How long a pause waits for all to be gone: longer than the longest request.
const PATIENCE: Duration = Duration::from_secs(40);
/// Of the time that a fault and the calm after it have, the fault's part.
const FAULT_PART: f64 = 0.45;

fn main() -> ExitCode {
    ended(soak(&Arguments::parse()))
}

/// Runs it; whether it was well.
fn soak(arguments: &Arguments) -> Result<bool, String> {
    let stage = Stage::start()?;
    let load = Load::start(stage.gateway.address(), arguments.rate, arguments.seed, true);
    // A small store that little is asked of.
    let beside = Load::start(stage.beside(), (arguments.rate / 10).max(1), arguments.seed + 1, false);
    let mut soak = Soak {
        stage,
        loads: [load, beside],
        start: Instant::now(),
        samples: Vec::new(),
        state: "",
        sampled: Duration::ZERO,
        fullest: [0.0; 2],
        push: arguments.push,
        pushed: Duration::ZERO,
    };
    let mut pauses = Vec::new();
    eprint!("{}", report::HEAD);
    for round in 1..=arguments.cycles() {
        pauses.push(soak.round(arguments.cycle() * round));
    }
    let tally = soak.tally();
    let mut faults = verdict::faults(&pauses, &tally, reloaded(&soak.stage.gateway));
    faults.extend(soak.wrong_gauges());
    eprintln!("{} configurations pushed", soak.stage.pushes());
    let facts = format!("{}, {}.", machine("./host-tests/soak"), redis_version());
    let report = Report { facts, samples: &soak.samples, pauses: &pauses, faults: &faults };
    let text = report.render();
    println!("{text}");
    if arguments.write {
        fs::write(repository().join("host-tests/fixtures/soak.md"), text).unwrap();
    }
    Ok(faults.is_empty())
}

struct Soak {
    stage: Stage,
    loads: [Load; 2],
    start: Instant,
    samples: Vec<Sample>,
    /// What is the matter.
    state: &'static str,
    sampled: Duration,
    /// The worker stores and the node store at their fullest in this round, as a part of what they may take.
    fullest: [f64; 2],
    /// Between pushes of configurations.
    push: Duration,
    pushed: Duration,
}

impl Soak {
    /// All faults, each with a calm after it, and a pause. It ends at this time, since the start.
    fn round(&mut self, end: Duration) -> Pause {
        let mut lasting = Vec::new();
        self.fullest = [0.0; 2];
        self.stage.purge_all();
        let faults_end = end.saturating_sub(PAUSE);
        for (left, fault) in (1..=FAULTS.len() as u32).rev().zip(FAULTS) {
            let slot = faults_end.saturating_sub(self.start.elapsed()) / left;
            if !self.fault(fault, slot) {
                lasting.push(fault.name());
            }
        }
        self.pause(lasting)
    }

    /// A fault and a calm; whether all that was left alone was used again before its end.
    fn fault(&mut self, fault: Fault, slot: Duration) -> bool {
        let begun = self.start.elapsed();
        self.loads.iter().for_each(|load| load.excuse(fault.is_of_origin()));
        self.stage.begin(fault);
        self.state = fault.name();
        self.watch(begun + slot.mul_f64(FAULT_PART), |_| false);
        self.stage.end(fault);
        self.state = "";
        let recovered = self.watch(begun + slot, |soak| soak.stage.has_recovered());
        // What was asked before that may still fail: it says so itself.
        self.loads.iter().for_each(|load| load.excuse(false));
        self.watch(begun + slot, |_| false);
        recovered
    }

    /// Lets everything come to an end, and sees whether it does.
    fn pause(&mut self, lasting: Vec<&'static str>) -> Pause {
        self.state = "pause";
        let begun = self.start.elapsed();
        self.loads.iter().for_each(|load| load.pause(true));
        let quiet = self.watch(begun + PATIENCE, |soak| soak.loads.iter().all(Load::is_quiet));
        let mut last = Sample::default();
        self.watch(begun + PATIENCE, |soak| {
            if let Some(sample) = soak.sample() {
                last = sample;
            }
            last.live.contains_key("contexts") && last.leftovers().is_empty()
        });
        let took = (self.start.elapsed() - begun).as_secs_f64();
        let mut leftovers = last.leftovers();
        if !quiet {
            leftovers.push("requests of clients".to_owned());
        }
        if !last.live.contains_key("contexts") {
            leftovers.push("nothing known of contexts".to_owned());
        }
        self.keep(last.clone());
        self.state = "";
        self.loads.iter().for_each(|load| load.pause(false));
        Pause { memory: last.memory, leftovers, took, lasting, full: self.fullest[0].min(self.fullest[1]) }
    }

    /// What has become of requests, of both loads.
    fn tally(&self) -> Tally {
        let [mut all, beside] = [self.loads[0].tally(), self.loads[1].tally()];
        all.add(&beside);
        all
    }

    /// What the gauges say at the end that is not so. A moment is theirs to settle.
    fn wrong_gauges(&mut self) -> Vec<String> {
        self.loads.iter().for_each(|load| load.pause(true));
        let end = self.start.elapsed() + PATIENCE;
        self.watch(end, |soak| soak.loads.iter().all(Load::is_quiet));
        self.state = "pause";
        self.stage.push();
        self.watch(end + PATIENCE, |soak| {
            soak.stage.ask_each();
            soak.stage.wrong_gauges().is_empty()
        });
        self.stage.wrong_gauges()
    }

    /// Waits for something until a time at most, and takes samples meanwhile; whether it came.
    fn watch(&mut self, until: Duration, mut what: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if what(self) {
                return true;
            }
            let now = self.start.elapsed();
            if now >= until {
                return false;
            }
            if self.push > Duration::ZERO && now >= self.pushed + self.push && self.state != "pause" {
                self.pushed = now;
                self.stage.push();
            }
            if now >= self.sampled + SAMPLE_EVERY
                && self.state != "pause"
                && let Some(sample) = self.sample()
            {
                self.keep(sample);
            }
            thread::sleep(LOOK_EVERY.min(until.saturating_sub(self.start.elapsed())));
        }
    }

    fn sample(&self) -> Option<Sample> {
        Sample::take(&self.stage.gateway, self.start.elapsed(), self.state, self.tally())
    }

    /// Keeps it and shows it.
    fn keep(&mut self, sample: Sample) {
        let nothing = Sample::default();
        eprint!("{}", report::row(self.samples.last().unwrap_or(&nothing), &sample));
        self.sampled = sample.at;
        for (fullest, tier) in self.fullest.iter_mut().zip(["worker", "node"]) {
            *fullest = fullest.max(sample.full.get(tier).copied().unwrap_or_default());
        }
        self.samples.push(sample);
    }
}

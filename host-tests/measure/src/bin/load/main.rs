//! A load as of users, on a running Envoy or one of its own: does it keep up, and is it well?
//!
//! `./envoy/load` starts this. It ends with 1 when a target is missed or a figure is worse than in an earlier run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod arguments;
mod instance;
mod targets;
mod traffic;
mod users;

use std::{
    fs,
    path::Path,
    process::{self, ExitCode},
    thread,
    time::Duration,
};

use selvage_measure::measured::load_average;
use selvage_rig::process::{Ticks, processor_time};
use serde_json::Value;

use arguments::{Arguments, Plan};
use instance::Instance;
use targets::{Figures, described};
use users::{Tally, percentile};

fn main() -> ExitCode {
    let outcome = Arguments::read().and_then(|arguments| load(&arguments));
    match outcome {
        Ok(faults) if faults.is_empty() => {
            println!("passed");
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            println!("failed: {}", faults.join("; "));
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("selvage: {problem}");
            ExitCode::from(2)
        }
    }
}

/// Runs it and prints what came of it; gives what is not as it should be.
fn load(arguments: &Arguments) -> Result<Vec<String>, String> {
    let plan = &arguments.plan;
    let baseline = arguments.baseline.as_deref().map(|file| earlier(file, plan)).transpose()?;
    let instance = Instance::new(arguments)?;
    let busy = load_average();
    let (ramp, seconds) = (plan.ramp.as_secs_f64(), plan.lasting.as_secs_f64());
    eprintln!("selvage: {} users within {ramp} s, then {seconds} s that count", plan.connections);
    let ticks = Ticks::now();
    // Processor time is counted by whole seconds after the ramp: what Envoy compiles at first is not of the requests.
    let mut spent = Spent::default();
    let mut memory = instance.resident_kib();
    let mut tally = users::run(plan, instance.address, &instance.traffic, |at, mut second| {
        let resident = instance.resident_kib();
        memory = memory.max(resident);
        spent.after(
            at > plan.ramp,
            second.answers,
            [instance.processor_time(), processor_time(process::id())],
        );
        eprintln!(
            "selvage: {:3} s{} {:6} answers, p95 {:6.1} ms, hits {:5.1} %, faults {}, Envoy {} MiB",
            at.as_secs(),
            if at <= plan.ramp { ", coming:" } else { ":" },
            second.answers,
            percentile(&mut second.latencies, 95.0),
            second.hits as f64 * 100.0 / second.answers.max(1) as f64,
            second.faults,
            resident.map_or_else(|| "?".to_owned(), |kib| (kib / 1024).to_string()),
        );
    });
    let others = ticks.others_since() * 100.0;
    let [envoy, users] = spent.each();
    let memory = memory.max(instance.resident_kib()).map(|kib| kib as f64 / 1024.0);
    let figures = Figures { memory, envoy, users, ..figures(&mut tally, seconds) };
    let cores = thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{} users with a connection each, {} ms to think, {} objects by Zipf {}, {} % uncacheable, seed {}; {} purges.\n\
         {cores} cores for all; load average before: {busy}{}.\n",
        plan.connections,
        plan.think.as_millis(),
        plan.objects,
        plan.skew,
        plan.uncacheable * 100.0,
        plan.seed,
        tally.purges,
        // Processes that this one did not start, among them an Envoy that ran before.
        if arguments.address.is_some() { String::new() } else { format!("; others used {others:.0} %") },
    );
    let (table, mut faults) = arguments.targets.judge(&figures, baseline.as_ref(), arguments.tolerance);
    println!("{table}");
    for (fault, count) in &tally.faults {
        println!("{count} times: {fault}");
    }
    if tally.requests == 0 {
        faults.push("nothing was asked".to_owned());
    }
    faults.extend(instance.unsound());
    if let Some(file) = &arguments.save {
        let text = format!("{:#}\n", arguments.targets.saved(&figures, plan));
        fs::write(file, text).map_err(|problem| format!("--save {}: {problem}", file.display()))?;
    }
    Ok(faults)
}

/// Processor time over some seconds, of Envoy and of this process.
#[derive(Default)]
struct Spent {
    begun: Option<[Option<Duration>; 2]>,
    until: [Option<Duration>; 2],
    answers: u64,
}

impl Spent {
    /// After a second with so many answers, the times are these; the first that counts is where it begins.
    fn after(&mut self, counts: bool, answers: u64, now: [Option<Duration>; 2]) {
        if self.begun.is_some() {
            self.answers += answers;
            self.until = now;
        } else if counts {
            self.begun = Some(now);
        }
    }

    /// For each answer, in microseconds.
    fn each(&self) -> [Option<f64>; 2] {
        [0, 1].map(|which| {
            let spent = self.until[which]?.saturating_sub(self.begun?[which]?);
            Some(spent.as_secs_f64() * 1e6 / self.answers.max(1) as f64)
        })
    }
}

/// What an earlier run saved, of the same load.
fn earlier(file: &Path, plan: &Plan) -> Result<Value, String> {
    let said = |problem: String| format!("--baseline {}: {problem}", file.display());
    let text = fs::read_to_string(file).map_err(|problem| said(problem.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|problem| said(problem.to_string()))?;
    if value.get("selvage_load") != Some(&Value::from(1)) {
        return Err(said("not written by --save of this version".to_owned()));
    }
    if let Some(other) = value.get("plan").filter(|other| **other != described(plan)) {
        return Err(said(format!("another load, which says nothing of this one: {other}")));
    }
    Ok(value)
}

fn figures(tally: &mut Tally, seconds: f64) -> Figures {
    let percent = |part: u64, of: u64| part as f64 * 100.0 / of.max(1) as f64;
    let latencies = &mut tally.latencies;
    Figures {
        rate: tally.answered as f64 / seconds,
        p50: percentile(latencies, 50.0),
        p95: percentile(latencies, 95.0),
        p99: percentile(latencies, 99.0),
        longest: f64::from(latencies.iter().max().copied().unwrap_or_default()) / 1000.0,
        hit_rate: percent(tally.hits, tally.lookups),
        failures: percent(tally.faults.values().sum(), tally.requests),
        memory: None,
        envoy: None,
        users: None,
    }
}

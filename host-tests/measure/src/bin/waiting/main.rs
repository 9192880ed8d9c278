//! Very many HTTP/2 streams with large heads that wait for one page, several times: what the filter's VMs hold before, during and after.
//!
//! `./host-tests/waiting` starts this. It ends with 1 when something is not as it should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod client;

use std::{
    fmt::Write,
    fs,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, value_parser};
use client::{Streams, Tally};
use selvage_measure::crowd::{Origin, Plan};
use selvage_measure::measured::{machine, reloaded, verdict};
use selvage_rig::arguments::ended;
use selvage_rig::envoy::{Gateway, repository};
use serde_json::Value;

/// Streams on a connection: as many as the bootstrap allows.
const BY_CONNECTION: usize = 1000;
/// Whoever fetches for the others gets its answer after so long: by then all have come.
const FETCH: Duration = Duration::from_secs(40);
/// Whoever has passed by gets it after so long.
const PASSED: Duration = Duration::from_secs(5);
const CONFIGURATION: &str = r#"{ "defaults": { "coalesce": { "wait": "60s" } } }"#;
const MIB: f64 = 1_048_576.0;
/// What the memory of the VMs may be beside the budget of the configuration: as the alert `SelvageHeapAboveBudget` has it.
const BRACKET: (f64, f64) = (1.5, 64.0);
/// One after the other.
const BURSTS: usize = 4;
/// How much more the last one may take than the first: chance decides which streams of which connection meet in a worker.
const GROWTH_MIB: f64 = 3.0;
/// How long all of it may take to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is held at a moment, in MiB, and how many streams there are.
#[derive(Clone, Copy, Default)]
struct Held {
    heap: f64,
    waiting: f64,
    allocated: f64,
    resident: f64,
    contexts: u64,
}

struct Burst {
    before: Held,
    /// The most of each.
    during: Held,
    after: Held,
    tally: Tally,
    passed: u64,
}

#[derive(Parser)]
struct Arguments {
    /// How many wait.
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u32).range(100..=50_000))]
    streams: u32,
    /// Bytes of one field of each head.
    #[arg(long, default_value_t = 60_000, value_parser = value_parser!(u32).range(100..=60_000))]
    head: u32,
    /// Whether what came of it replaces the committed file.
    #[arg(long)]
    write: bool,
}

fn main() -> ExitCode {
    ended(run())
}

fn run() -> Result<bool, String> {
    let Arguments { streams, head, write } = Arguments::parse();
    let (streams, head) = (streams as usize, head as usize);
    let origin = Origin::attentive(|request| Plan {
        delay: if request.before == 0 { FETCH } else { PASSED },
        status: 200,
        fields: "cache-control: max-age=600\r\n".to_owned(),
        body: b"large".to_vec(),
        ..Plan::default()
    });
    let gateway = start(&origin)?;
    let bursts: Vec<_> = (1..=BURSTS).map(|nth| burst(&gateway, nth, streams, head)).collect();
    let budget = gateway.stat("selvage.heap_bytes.budget") as f64 / MIB;
    let faults = faults(&bursts, budget, streams, &gateway);
    let text = render(&bursts, budget, &faults, (streams, head));
    println!("{text}");
    if write {
        fs::write(repository().join("host-tests/fixtures/waiting.md"), text).unwrap();
    }
    Ok(faults.is_empty())
}

/// Envoy with our bootstrap, whose own limits do not come before ours.
fn start(origin: &Origin) -> Result<Gateway, String> {
    let edits = [
        (
            "{ max_connections: 8192, max_pending_requests: 8192, max_requests: 8192 }",
            "{ max_connections: 4096, max_pending_requests: 50000, max_requests: 50000 }",
        ),
        // A stream on which nothing happens for so long would be given up by Envoy.
        ("idle_timeout: 15s", "idle_timeout: 180s"),
        ("stream_idle_timeout: 60s", "stream_idle_timeout: 180s"),
        // The heads alone are more than half of what Envoy may have by our bootstrap.
        ("max_heap_size_bytes: 2147483648", "max_heap_size_bytes: 8589934592"),
    ];
    let builder = Gateway::with(CONFIGURATION).origin(origin.url());
    builder.try_start_edited(&edits).map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
}

/// All streams at once, until the last one has its answer.
fn burst(gateway: &Gateway, nth: usize, streams: usize, head: usize) -> Burst {
    let passed = |gateway: &Gateway| gateway.stat("selvage.detail.waiting-limit");
    let (before, passed_before) = (held(gateway), passed(gateway));
    let path = format!("/{nth}");
    let ended = AtomicBool::new(false);
    let (tally, during) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = Held::default();
            while !ended.load(Ordering::SeqCst) {
                most = most.and(held(gateway));
                thread::sleep(Duration::from_millis(250));
            }
            most
        });
        let clients: Vec<_> = (0..streams.div_ceil(BY_CONNECTION))
            .map(|nth| {
                let count = BY_CONNECTION.min(streams - nth * BY_CONNECTION);
                let path = &path;
                scope.spawn(move || match Streams::open(gateway.address(), path, count, head) {
                    Ok(streams) => streams.finish(),
                    Err(_) => Tally { unanswered: count, ..Tally::default() },
                })
            })
            .collect();
        let mut all = Tally::default();
        for client in clients {
            let one = client.join().unwrap();
            all.well += one.well;
            all.otherwise += one.otherwise;
            all.unanswered += one.unanswered;
        }
        ended.store(true, Ordering::SeqCst);
        (all, watch.join().unwrap())
    });
    let end = Instant::now();
    let mut after = held(gateway);
    while (after.contexts > 0 || after.waiting > 0.0) && end.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(250));
        after = held(gateway);
    }
    Burst { before, during, after, tally, passed: passed(gateway) - passed_before }
}

fn held(gateway: &Gateway) -> Held {
    let gauge = |name: &str| gateway.stat(&format!("wasmcustom.selvage.{name}"));
    let memory: Value = serde_json::from_str(&gateway.admin("/memory")).unwrap_or_default();
    let allocated: f64 =
        memory["allocated"].as_str().and_then(|bytes| bytes.parse().ok()).unwrap_or_default();
    Held {
        heap: gauge("heap_bytes.used") as f64 / MIB,
        waiting: gauge("live.waiting-bytes") as f64 / MIB,
        allocated: allocated / MIB,
        resident: gateway.resident_kib() as f64 / 1024.0,
        contexts: gauge("live.contexts"),
    }
}

impl Held {
    fn and(self, other: Self) -> Self {
        Self {
            heap: self.heap.max(other.heap),
            waiting: self.waiting.max(other.waiting),
            allocated: self.allocated.max(other.allocated),
            resident: self.resident.max(other.resident),
            contexts: self.contexts.max(other.contexts),
        }
    }
}

fn faults(bursts: &[Burst], budget: f64, streams: usize, gateway: &Gateway) -> Vec<String> {
    let mut faults: Vec<String> = reloaded(gateway).into_iter().collect();
    for burst in bursts {
        let Tally { well, otherwise, unanswered } = burst.tally;
        if well < streams {
            faults.push(format!("{otherwise} answers were not 200, {unanswered} streams had none"));
        }
        if burst.during.contexts < streams as u64 / 2 {
            faults.push(format!("only {} streams were there at once", burst.during.contexts));
        }
        if burst.during.heap > budget * BRACKET.0 + BRACKET.1 {
            faults.push(format!("the VMs took {:.1} MiB, with a budget of {budget:.1}", burst.during.heap));
        }
        if burst.after.contexts > 0 || burst.after.waiting > 0.0 {
            faults.push(format!(
                "{} streams are left, {:.1} MiB wait",
                burst.after.contexts, burst.after.waiting
            ));
        }
    }
    let (first, last) = (bursts[0].after.heap, bursts[bursts.len() - 1].after.heap);
    if last > first + GROWTH_MIB {
        faults
            .push(format!("from the first burst to the last the VMs grew from {first:.1} to {last:.1} MiB"));
    }
    faults
}

fn render(bursts: &[Burst], budget: f64, faults: &[String], (streams, head): (usize, usize)) -> String {
    let mut text = format!(
        "# Very many requests with large heads that wait\n\n{}.\n\n\
         {streams} HTTP/2 streams, 1000 to a connection, each with a field of {head} bytes, all for one page that the origin takes {} s for;\n\
         whoever passes by has its answer after {} s. {BURSTS} times. The bootstrap is ours, but that Envoy has room for all of them\n\
         (circuit breaker, idle time, heap).\n\
         The budget of the configuration is {budget:.0} MiB for both workers' VMs. The memory of a VM never shrinks.\n\
         Expected: everybody is answered with 200; the VMs stay within {} × the budget + {} MiB; the last time takes at most {GROWTH_MIB} MiB more.\n\n\
         Verdict: {}\n\n\
         | burst | moment | streams | heap of the VMs, MiB | of it heads that wait, MiB | Envoy's own, MiB | resident, MiB |\n|---|---|---|---|---|---|---|\n",
        machine("./host-tests/waiting"),
        FETCH.as_secs(),
        PASSED.as_secs(),
        BRACKET.0,
        BRACKET.1,
        verdict(faults)
    );
    for (nth, burst) in (1..).zip(bursts) {
        for (moment, held) in [("before", burst.before), ("during", burst.during), ("after", burst.after)] {
            let _ = writeln!(
                text,
                "| {nth} | {moment} | {} | {:.1} | {:.1} | {:.1} | {:.1} |",
                held.contexts, held.heap, held.waiting, held.allocated, held.resident
            );
        }
    }
    text.push_str("\n| burst | answered 200 | otherwise | not at all | passed by (`waiting-limit`) |\n|---|---|---|---|---|\n");
    for (nth, burst) in (1..).zip(bursts) {
        let Tally { well, otherwise, unanswered } = burst.tally;
        let _ = writeln!(text, "| {nth} | {well} | {otherwise} | {unanswered} | {} |", burst.passed);
    }
    text
}

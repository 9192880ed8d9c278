//! Deterministic simulation: a fleet of Envoys on one virtual clock, with everything that can go wrong.
//!
//! ```text
//! clients ─► nodes × workers: the driver (plugin/driver) and the engine, both as they are, on a simulated host
//!                ├─► shared data and queues of the node (other threads are sometimes first, calls get lost)
//!                ├─► Redis of the fleet behind webdis (delays, losses, time-outs, late writes, death, garbage)
//!                └─► origin (versions, errors, resets, slow and uncacheable answers)
//! ```
//!
//! `cargo run --release -p selvage-simulate -- --seeds 10000` runs seeds 0 to 9,999; `--from N` begins
//! elsewhere. It ends with 1 at the first seed that fails: the last line says which invariant did not hold (they are in
//! `invariants`, `fetches`, `purges`, `pools`, `limits` and `tenants`), the lines above it what happened before.
//!
//! To read a failing seed: `--seed N --events 1000` replays it with more of the past. Everything random comes from the
//! seed, so it fails again and in the same way, until the code or the order of the dice changes. Streams are numbered in
//! the order in which they began; follow the one that is named (`grep 'stream 17 '`), then the key it shares with others,
//! then what their VM was told. `--requests N` makes the run shorter, which is another run, but often an easier one.
//!
//! `--nodes 2,10,100,1000` simulates fleets of these sizes instead, in which nothing fails, and prints what they ask of Redis
//! (see `fleet`).
//!
//! `./host-tests/planted` shows that it finds bugs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken run must stop loudly.

mod answers;
mod callouts;
mod client;
mod crowd;
mod effects;
mod events;
mod fetches;
mod fleet;
mod host;
mod indices;
mod invariants;
mod limits;
mod node;
mod origin;
mod pools;
mod purges;
mod redis;
mod replaced;
mod runs;
mod setting;
mod shared;
mod slots;
mod streams;
mod tenants;
mod traffic;
mod turns;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, value_parser};

use invariants::Violation;
use runs::{Kind, Options, run_all};

#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long = "seeds", default_value_t = 1000, value_parser = value_parser!(u64).range(0..=MOST))]
    count: u64,
    /// The first of them.
    #[arg(long = "from", default_value_t = 0, value_parser = value_parser!(u64).range(0..=MOST))]
    first: u64,
    /// This one alone.
    #[arg(long, conflicts_with_all = ["count", "first"], value_parser = value_parser!(u64).range(0..=MOST))]
    seed: Option<u64>,
    /// Events shown of a run that fails.
    #[arg(long)]
    events: Option<usize>,
    /// Requests of each run.
    #[arg(long)]
    requests: Option<usize>,
    /// Tenants who ask language models, and nothing else.
    #[arg(long)]
    tenants: bool,
    /// Envoys of a fleet in which nothing fails: prints what it asks of Redis. Several sizes by commas.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["count", "first", "seed", "events", "requests", "tenants"],
        value_parser = value_parser!(u32).range(1..=LARGEST_FLEET))]
    nodes: Vec<u32>,
    /// What came of it replaces host-tests/fixtures/fleet-size.md.
    #[arg(long, requires = "nodes")]
    write: bool,
}

fn main() -> ExitCode {
    let Arguments { count, first, seed, events, requests, tenants, nodes, write } = Arguments::parse();
    if !nodes.is_empty() {
        return fleets(&nodes, write);
    }
    let (first, count) = seed.map_or((first, count), |seed| (seed, 1));
    // The simulation reports a panic itself.
    std::panic::set_hook(Box::new(|_| {}));
    let begun = Instant::now();
    let all =
        match run_all(first, count, Options { requests, events, only: tenants.then_some(Kind::Tenants) }) {
            Ok(all) => all,
            Err(failure) => {
                failure.events.iter().for_each(|event| println!("{event}"));
                println!("\nseed {}: violated: {}", failure.seed, failure.invariant);
                println!("{}", failure.found);
                return ExitCode::FAILURE;
            }
        };
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{count} seeds, {} requests and {} events in {seconds:.1} s, 0 violations",
        all.requests, all.events
    );
    println!(
        "{} began to wait, {} nested, {} full answers in the place of what was stored",
        all.parked, all.nested, all.replaced
    );
    println!(
        "{} waited for a place at the origin, {} refused for want of one, {} by limits, {} waited for a quota of Redis",
        all.queued, all.overloaded, all.limited, all.leased
    );
    println!(
        "{} answered by the cache, {} woken after another's fetch, {} requests at the origin ({} of them the cache's own), \
         {} records from Redis, {} calls to it with several commands, {} clients left early, {} invalidations, {} purges, {} VMs replaced",
        all.answered,
        all.waited,
        all.fetched,
        all.refreshed,
        all.remote,
        all.batched,
        all.left,
        all.invalidated,
        all.purged,
        all.restarted
    );
    println!(
        "{} questions of tenants, {} answered with what was stored or fetched for another",
        all.asked, all.shared
    );
    ExitCode::SUCCESS
}

/// What fleets of these sizes ask of Redis.
fn fleets(sizes: &[u32], write: bool) -> ExitCode {
    let begun = Instant::now();
    let sizes: Vec<usize> = sizes.iter().map(|nodes| *nodes as usize).collect();
    let page = match fleet::measure_all(&sizes) {
        Ok(figures) => fleet::page(&figures),
        Err(Violation { invariant, found }) => {
            println!("violated: {invariant}\n{found}");
            return ExitCode::FAILURE;
        }
    };
    println!("{page}");
    eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
    if write && let Err(error) = std::fs::write(FIXTURE, page) {
        eprintln!("{FIXTURE}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/fleet-size.md");
/// More would not end.
const LARGEST_FLEET: i64 = 5000;
/// Nobody has the time for more.
const MOST: u64 = 1_000_000_000_000;

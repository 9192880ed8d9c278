//! Feeds damaged input to everything that decodes bytes from outside:
//! `cargo run --release -p selvage-engine --example fuzz -- --inputs 10000000`, or of some: `record`,
//! `index`, `purges`, `webdis`, `upstash`, `gzip`, `configuration`.
//!
//! The inputs are valid ones, changed at random but repeatably (`--seed`), with checksums mended so that what lies
//! behind them is reached. A decoder must not panic, must read back what it wrote itself, and must not take more
//! memory than its bound. An input that breaks this is kept in a file; `--replay FILE` feeds it again.
//! `tests/fuzz` does the same with few inputs, and holds the corpus.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken promise is told by panicking"
)]

mod allocator;
mod configuration;
mod decoder;
mod dialects;
#[allow(dead_code, reason = "`./host-tests/forge` uses the rest")]
mod entries;
#[allow(dead_code, reason = "the tests use the rest")]
mod forging;
mod format;
mod gzip;
mod purges;
mod random;
mod record;

use std::process::ExitCode;
use std::time::Instant;

use decoder::Decoder;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn main() -> ExitCode {
    let Some(arguments) = Arguments::read(std::env::args().skip(1)) else {
        eprintln!("usage: fuzz [--inputs N] [--seed N] [--replay FILE] [{}]", NAMES.join("] ["));
        return ExitCode::FAILURE;
    };
    if let Some(file) = &arguments.replay {
        let input = std::fs::read(file).unwrap();
        for decoder in &arguments.decoders {
            let outcome = decoder.check(&input);
            let said = if outcome.accepted { "accepted" } else { "refused" };
            println!("{}: {said}, {} bytes of memory", decoder.name(), outcome.peak);
        }
        return ExitCode::SUCCESS;
    }
    println!(
        "| decoder | inputs | seconds | inputs/s | accepted | ways | most memory, for an input of | slowest | failures |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut sound = true;
    for decoder in &arguments.decoders {
        sound &= fuzz(decoder.as_ref(), arguments.inputs, arguments.seed);
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one decoder and prints its row. True if nothing was found.
fn fuzz(decoder: &dyn Decoder, inputs: u64, seed: u64) -> bool {
    let begun = Instant::now();
    let report = decoder::run(decoder, inputs, seed);
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "| {} | {} | {seconds:.1} | {:.0} | {} ({:.1} %) | {} | {} B, {} B | {:.1} ms | {} |",
        decoder.name(),
        report.inputs,
        report.inputs as f64 / seconds,
        report.accepted,
        report.accepted as f64 / report.inputs as f64 * 100.0,
        report.ways,
        report.peak.0,
        report.peak.1,
        report.slowest.as_secs_f64() * 1e3,
        report.failures.len(),
    );
    for (number, failure) in report.failures.iter().enumerate() {
        let file = std::env::temp_dir().join(format!("selvage-fuzz-{}-{seed}-{number}", decoder.name()));
        std::fs::write(&file, failure).unwrap();
        eprintln!("kept {}", file.display());
    }
    report.failures.is_empty()
}

/// The command line.
struct Arguments {
    inputs: u64,
    seed: u64,
    replay: Option<String>,
    decoders: Vec<Box<dyn Decoder>>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut read = Self { inputs: 100_000, seed: 1, replay: None, decoders: Vec::new() };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--inputs" => read.inputs = words.next()?.parse().ok()?,
                "--seed" => read.seed = words.next()?.parse().ok()?,
                "--replay" => read.replay = Some(words.next()?),
                name => read.decoders.push(by_name(name)?),
            }
        }
        if read.decoders.is_empty() {
            read.decoders = NAMES.into_iter().filter_map(by_name).collect();
        }
        Some(read)
    }
}

fn by_name(name: &str) -> Option<Box<dyn Decoder>> {
    Some(match name {
        "record" => Box::new(record::Record::responses()),
        "index" => Box::new(record::Record::indices()),
        "purges" => Box::new(purges::Log),
        "webdis" => Box::new(dialects::Answers::webdis()),
        "upstash" => Box::new(dialects::Answers::upstash()),
        "gzip" => Box::new(gzip::Gzip),
        "configuration" => Box::new(configuration::Configuration),
        _ => return None,
    })
}

const NAMES: [&str; 7] = ["record", "index", "purges", "webdis", "upstash", "gzip", "configuration"];

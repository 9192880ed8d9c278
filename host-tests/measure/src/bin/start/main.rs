//! How long Envoy takes from its start, and from a new configuration or a new VM, to its first answer, and how long others have to
//! wait meanwhile: with the filter, with one that does nothing, and without any.
//!
//! `./host-tests/start` starts this. It ends with 1 when a request is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken tool must stop loudly.

mod stage;

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, value_parser};
use selvage_measure::crowd::{Origin, Plan};
use selvage_measure::measured::machine;
use selvage_rig::arguments::ended;
use selvage_rig::envoy::{Connection, repository};
use stage::{Stage, Subject, Told};

#[derive(Parser)]
struct Arguments {
    /// How often each is measured, with fresh processes.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Responses of 3 kB that the last subject has stored.
    #[arg(long, default_value_t = 50_000, value_parser = value_parser!(u32).range(1..=400_000))]
    entries: u32,
    /// Whether what came of it replaces its part of envoy/bench-results.md.
    #[arg(long)]
    write: bool,
}

/// What came of one subject in one round; times in milliseconds.
#[derive(Default)]
struct Round {
    start: f64,
    calm: Waits,
    configuration: (f64, Waits),
    vm: (f64, Waits),
}

/// What requests had to wait, in milliseconds, sorted; and how many were lost.
#[derive(Default)]
struct Waits {
    all: Vec<f64>,
    lost: usize,
}

/// The subjects, and whether their stores are filled first.
const SUBJECTS: [(&str, Subject, bool); 4] = [
    ("no filter", Subject::Plain, false),
    ("a wasm filter that does nothing but reply", Subject::Floor, false),
    ("Selvage", Subject::Selvage, false),
    ("Selvage with full stores", Subject::Selvage, true),
];
/// Connections to each of the two listeners, and the pause between two requests of one.
const CONNECTIONS: usize = 4;
const PACE: Duration = Duration::from_millis(4);
/// Others are watched for so long from a push on, and for as long when nothing happens.
const WATCHED: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);
const BODY_BYTES: usize = 3_000;

fn main() -> ExitCode {
    ended(run())
}

fn run() -> Result<bool, String> {
    let Arguments { rounds, entries, write } = Arguments::parse();
    let origin = Origin::forgetful(|_| Plan {
        status: 200,
        fields: "cache-control: max-age=3600\r\n".to_owned(),
        body: vec![b'x'; BODY_BYTES],
        ..Plan::default()
    });
    let mut results: Vec<Vec<Round>> = SUBJECTS.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..SUBJECTS.len() {
            let at = (turn + round as usize) % SUBJECTS.len();
            let (name, subject, full) = SUBJECTS[at];
            eprintln!("selvage: round {} of {rounds}: {name}", round + 1);
            results[at].push(measured(subject, &origin.url(), if full { entries } else { 0 })?);
        }
    }
    let table = render(&results, entries);
    println!("{table}");
    if write {
        keep(&table);
    }
    Ok(results.iter().flatten().all(|round| round.configuration.1.lost + round.vm.1.lost == 0))
}

fn measured(subject: Subject, origin: &str, entries: u32) -> Result<Round, String> {
    let stage = Stage::start(subject, origin)?;
    fill(stage.addresses()[0], entries);
    let mut told = Told::default();
    let (_, calm) = watched(stage.addresses(), || Ok(Duration::ZERO))?;
    told.generation += 1;
    let configuration = watched(stage.addresses(), || stage.push(told))?;
    told.vm += 1;
    let vm = watched(stage.addresses(), || stage.push(told))?;
    Ok(Round { start: millis(stage.took), calm, configuration, vm })
}

/// Has so many responses stored, by connections that both workers have some of.
fn fill(address: SocketAddr, entries: u32) {
    const CLIENTS: u32 = 8;
    thread::scope(|scope| {
        for client in 0..CLIENTS.min(entries) {
            scope.spawn(move || {
                let mut connection = Connection::try_open(address, PATIENCE).unwrap();
                for number in (client..entries).step_by(CLIENTS as usize) {
                    let ask = connection.get(&format!("/1000?number={number}"));
                    assert_eq!(connection.send(ask).status, 200);
                }
            });
        }
    });
}

/// What requests on both listeners have to wait from the moment at which this is done.
fn watched(
    addresses: [SocketAddr; 2],
    what: impl FnOnce() -> Result<Duration, String>,
) -> Result<(f64, Waits), String> {
    let (begun, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = addresses
            .iter()
            .flat_map(|address| [*address; CONNECTIONS])
            .map(|address| {
                scope.spawn({
                    let (begun, ended) = (&begun, &ended);
                    move || client(address, begun, ended)
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        begun.store(true, Ordering::SeqCst);
        let since = Instant::now();
        let took = what();
        thread::sleep(WATCHED.saturating_sub(since.elapsed()));
        ended.store(true, Ordering::SeqCst);
        let mut waits = Waits::default();
        for client in clients {
            let one = client.join().unwrap();
            waits.all.extend(one.all);
            waits.lost += one.lost;
        }
        waits.all.sort_by(f64::total_cmp);
        took.map(|took| (millis(took), waits))
    })
}

/// Asks again and again on one connection, and opens another where Envoy says that it closes this one.
fn client(address: SocketAddr, begun: &AtomicBool, ended: &AtomicBool) -> Waits {
    let mut waits = Waits::default();
    let mut connection = None;
    while !ended.load(Ordering::SeqCst) {
        let counts = begun.load(Ordering::SeqCst);
        let since = Instant::now();
        let answer = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::try_open(address, PATIENCE),
        };
        let answer = answer.and_then(|mut open: Connection| {
            let ask = open.get("/1000");
            open.try_send(ask).map(|answer| (open, answer))
        });
        let waited = millis(since.elapsed());
        match answer {
            Ok((open, answer)) if answer.status == 200 && answer.complete => {
                let closes = answer.header("connection").is_some_and(|value| value == "close");
                connection = (!closes).then_some(open);
                if counts {
                    waits.all.push(waited);
                }
            }
            _ => waits.lost += usize::from(counts),
        }
        thread::sleep(PACE);
    }
    waits
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The median over the rounds and the largest: `12 (15)`.
fn cell(rounds: &[Round], value: impl Fn(&Round) -> f64, digits: usize) -> String {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    format!("{:.digits$} ({:.digits$})", values[values.len() / 2], values[values.len() - 1])
}

fn render(results: &[Vec<Round>], entries: u32) -> String {
    let mut out = format!("# What a start and a reload cost\n\n{}.\n", machine("./host-tests/start"));
    let rounds = results[0].len();
    let _ = writeln!(
        out,
        "{rounds} rounds with fresh processes; the median in milliseconds, and the largest in parentheses. The load and the origin share the cores.\n\n\
         From a push (LDS, a file) counts the time to the first answer by it. Others wait: {CONNECTIONS} connections to the listener that is\n\
         pushed and {CONNECTIONS} to one that has no filter and stays, a request every {} ms each, for {} s from the push; the longest wait of all.\n\
         Full stores: {entries} responses of {BODY_BYTES} bytes, half of them in each worker, all in the node store.\n",
        PACE.as_millis(),
        WATCHED.as_secs()
    );
    out.push_str("| | start to first answer | others wait, nothing happens: p99.9 | longest | new configuration: first answer | others wait | new VM: first answer | others wait | requests | lost |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    for ((name, ..), rounds) in SUBJECTS.iter().zip(results) {
        let longest = |waits: &Waits| waits.all.last().copied().unwrap_or_default();
        let tail = |waits: &Waits| waits.all.get(waits.all.len() * 999 / 1000).copied().unwrap_or_default();
        let requests: usize =
            rounds.iter().map(|round| round.configuration.1.all.len() + round.vm.1.all.len()).sum();
        let lost: usize = rounds.iter().map(|round| round.configuration.1.lost + round.vm.1.lost).sum();
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {requests} | {lost} |",
            cell(rounds, |round| round.start, 0),
            cell(rounds, |round| tail(&round.calm), 1),
            cell(rounds, |round| longest(&round.calm), 1),
            cell(rounds, |round| round.configuration.0, 0),
            cell(rounds, |round| longest(&round.configuration.1), 1),
            cell(rounds, |round| round.vm.0, 0),
            cell(rounds, |round| longest(&round.vm.1), 1),
        );
    }
    out
}

/// Puts the table in the place of the part with the same heading.
fn keep(table: &str) {
    let file = repository().join("envoy/bench-results.md");
    let text = fs::read_to_string(&file).unwrap();
    let heading = table.lines().next().unwrap();
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("# ") || parts.is_empty() {
            parts.push(String::new());
        }
        let part = parts.last_mut().unwrap();
        part.push_str(line);
        part.push('\n');
    }
    parts.retain(|part| !part.starts_with(heading));
    let kept: Vec<&str> = parts.iter().map(|part| part.trim_end()).chain([table.trim_end()]).collect();
    fs::write(file, kept.join("\n\n") + "\n").unwrap();
}

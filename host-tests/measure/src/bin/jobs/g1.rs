//! Jobs that are accepted by two Envoys, each of which is killed and started again in turn as long as they come.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use selvage_measure::measured::{millis, quantile};
use selvage_measure::tables::Wanted;
use selvage_measure::targets::Row;
use selvage_rig::envoy::{Connection, Gateway};
use selvage_rig::redis::{Bridge, signal};
use selvage_rig::scripted::{Answer, Origin};

use crate::Report;

/// Jobs that come in a second: 10,000 in a minute.
const RATE: f64 = 10_000.0 / 60.0;
const CLIENTS: usize = 8;
const LEASE: Duration = Duration::from_secs(4);
/// How long the cluster may take, and how long it does.
const TIMEOUT: Duration = Duration::from_secs(2);
const WORK: Duration = Duration::from_millis(50);
/// From one kill to the next, if starting takes no longer.
const KILLED_EVERY: Duration = Duration::from_secs(4);
/// How much longer than Redis accepting may take, in milliseconds.
const MORE: f64 = 5.0;

/// When a job was begun at the origin, by its ID.
type Begun = Arc<Mutex<HashMap<String, Vec<Instant>>>>;
/// Where the two Envoys listen, while they do.
type Addresses = Mutex<[Option<SocketAddr>; 2]>;

/// A job that was accepted, and how it went.
struct Accepted {
    id: String,
    took: f64,
    /// Nobody had been killed yet.
    quiet: bool,
}

/// Plays it.
///
/// # Errors
/// An Envoy does not start.
pub fn run(wanted: &Wanted, report: &mut Report) -> Result<(), String> {
    let most = ((wanted.seconds.as_secs_f64() * RATE) as usize).min(10_000);
    let (bridge, begun) = (Bridge::start(), Begun::default());
    let origin = origin(&begun);
    let start = || {
        let builder = Gateway::with(&configuration()).origin(origin.url()).bridge(bridge.port());
        builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
    };
    let mut fleet = [start()?, start()?];
    let addresses: Addresses = Mutex::new([Some(fleet[0].address()), Some(fleet[1].address())]);
    let (is_over, quiet) = (AtomicBool::new(false), AtomicBool::new(true));
    let (count, unanswered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (accepted, redis) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let first = Instant::now();
    let mut kills = 0;
    thread::scope(|scope| -> Result<(), String> {
        for number in 0..CLIENTS {
            let (addresses, count, unanswered) = (&addresses, &count, &unanswered);
            let (accepted, quiet) = (&accepted, &quiet);
            let seed = wanted.seed;
            scope.spawn(move || {
                let mut client = Client { number, at: number % 2, connection: None };
                while count.fetch_add(1, Ordering::Relaxed) < most {
                    let due = first + Duration::from_secs_f64(count.load(Ordering::Relaxed) as f64 / RATE);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    // Asked until somebody accepts it.
                    loop {
                        let was_quiet = quiet.load(Ordering::Relaxed);
                        match client.ask(addresses, seed) {
                            Some((id, took)) => {
                                accepted.lock().unwrap().push(Accepted { id, took, quiet: was_quiet });
                                break;
                            }
                            None => unanswered.fetch_add(1, Ordering::Relaxed),
                        };
                    }
                }
            });
        }
        // Redis by itself, by the same bridge.
        let (redis, is_over, quiet) = (&redis, &is_over, &quiet);
        let port = bridge.port();
        scope.spawn(move || {
            let mut connection =
                Connection::try_open(([127, 0, 0, 1], port).into(), Duration::from_secs(5)).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let ask = connection.get("/GET/nothing.bin");
                let _ = connection.try_send(ask).unwrap();
                redis.lock().unwrap().push((millis(sent.elapsed()), quiet.load(Ordering::Relaxed)));
                thread::sleep(Duration::from_millis(10));
            }
        });
        // A sixth of the time nobody is killed: what accepting takes is no matter of starting Envoys.
        let killing = (|| {
            thread::sleep(wanted.seconds / 6);
            let mut next = 0;
            while count.load(Ordering::Relaxed) < most {
                quiet.store(false, Ordering::Relaxed);
                let killed = Instant::now();
                addresses.lock().unwrap()[next] = None;
                signal(fleet[next].pid(), "KILL");
                kills += 1;
                fleet[next] = start()?;
                addresses.lock().unwrap()[next] = Some(fleet[next].address());
                next = 1 - next;
                thread::sleep(KILLED_EVERY.saturating_sub(killed.elapsed()));
            }
            Ok(())
        })();
        is_over.store(true, Ordering::Relaxed);
        killing
    })?;
    let accepted = accepted.into_inner().unwrap();
    let done = await_all(&fleet, &accepted);
    let begun = begun.lock().unwrap();
    judge(&accepted, &redis.into_inner().unwrap(), done, &begun, (kills, unanswered.into_inner()), report);
    for member in &fleet {
        let retried = member.stat("selvage.jobs.retried");
        if retried > 0 {
            report.told.push_str(&format!("An Envoy tried {retried} jobs again after a failure.\n"));
        }
    }
    Ok(())
}

fn configuration() -> String {
    format!(
        r#"{{ "remote": {{ "enabled": true, "timeout": "2s" }},
              "jobs": {{ "cluster": "origin", "by": [], "timeout": "{}s", "lease": "{}s" }},
              "rules": [ {{ "name": "work", "match": {{ "paths": ["/tasks/*"] }}, "jobs": "prefer" }} ] }}"#,
        TIMEOUT.as_secs(),
        LEASE.as_secs()
    )
}

/// Writes down which job it does, and when.
fn origin(begun: &Begun) -> Origin {
    let origin = Origin::start();
    origin.forget();
    let begun = Arc::clone(begun);
    origin.otherwise(move |received| {
        if let Some(id) = received.header("x-selvage-job") {
            begun.lock().unwrap().entry(id).or_default().push(Instant::now());
        }
        thread::sleep(WORK);
        Answer::ok("done")
    });
    origin
}

struct Client {
    number: usize,
    at: usize,
    connection: Option<Connection>,
}

impl Client {
    /// Asks one of the Envoys once. The ID and how long it took, in milliseconds; `None`: nobody has said yes.
    fn ask(&mut self, addresses: &Addresses, seed: u64) -> Option<(String, f64)> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.at = 1 - self.at;
                let address = addresses.lock().unwrap()[self.at];
                match address.map(|address| Connection::try_open(address, Duration::from_secs(5))) {
                    Some(Ok(connection)) => connection,
                    _ => {
                        thread::sleep(Duration::from_millis(5));
                        return None;
                    }
                }
            }
        };
        let ask = connection.ask("POST", "/tasks/g1").header("prefer", "respond-async");
        let ask = ask.body(format!("{} of {seed}", self.number));
        let sent = Instant::now();
        let response = connection.try_send(ask).ok()?;
        let took = millis(sent.elapsed());
        let place = response.header("location");
        self.connection = Some(connection);
        let id = place.filter(|_| response.status == 202)?.strip_prefix("/jobs/")?.to_owned();
        Some((id, took))
    }
}

/// How many of those that were accepted are done, once they are or it has lasted too long.
fn await_all(fleet: &[Gateway; 2], accepted: &[Accepted]) -> usize {
    let deadline = Instant::now() + 3 * LEASE + Duration::from_secs(30);
    let mut open: Vec<&str> = accepted.iter().map(|one| &*one.id).collect();
    let mut connections = fleet.each_ref().map(Gateway::connect);
    while !open.is_empty() && Instant::now() < deadline {
        let connection = &mut connections[open.len() % 2];
        open.retain(|id| {
            let ask = connection.get(&format!("/jobs/{id}"));
            !connection.send(ask).text().contains(r#""state":"done""#)
        });
        thread::sleep(Duration::from_millis(200));
    }
    accepted.len() - open.len()
}

fn judge(
    accepted: &[Accepted],
    redis: &[(f64, bool)],
    done: usize,
    begun: &HashMap<String, Vec<Instant>>,
    (kills, unanswered): (usize, usize),
    report: &mut Report,
) {
    let seen = accepted.iter().filter(|one| begun.contains_key(&one.id)).count();
    let lost = accepted.len() - done.min(seen);
    report.targets.row(Row {
        scenario: "G1",
        what: format!("jobs lost of {} that were accepted, {kills} Envoys killed", accepted.len()),
        target: "0".into(),
        measured: format!("{lost}"),
        peer: "–".into(),
        met: lost == 0,
    });
    let gaps = begun.values().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0]));
    let gaps: Vec<Duration> = gaps.collect();
    let early = gaps.iter().filter(|gap| **gap < LEASE).count();
    let shortest =
        gaps.iter().min().map_or_else(|| "–".to_owned(), |gap| format!("{:.1} s", gap.as_secs_f64()));
    report.targets.row(Row {
        scenario: "G1",
        what: format!("begun again before the lease of {} s had run out", LEASE.as_secs()),
        target: "0".into(),
        measured: format!("{early} of {} (soonest after {shortest})", gaps.len()),
        peer: "–".into(),
        met: early == 0,
    });
    let of = |quiet: bool| -> (Vec<f64>, Vec<f64>) {
        let ours = accepted.iter().filter(|one| one.quiet == quiet).map(|one| one.took);
        (ours.collect(), redis.iter().filter(|one| one.1 == quiet).map(|one| one.0).collect())
    };
    let (mut ours, mut bare) = of(true);
    let (took, alone) = (quantile(&mut ours, 0.99), quantile(&mut bare, 0.99));
    report.targets.row(Row {
        scenario: "G1",
        what: "a job is accepted, p99".into(),
        target: format!("Redis by webdis + {MORE} ms: {:.1} ms", alone + MORE),
        measured: format!("{took:.1} ms"),
        peer: format!("Redis by webdis: {alone:.1} ms"),
        met: took <= alone + MORE,
    });
    let (mut killed, mut meanwhile) = of(false);
    report.told.push_str(&format!(
        "Accepting took {:.1} ms (p50) and {took:.1} ms (p99) before anybody was killed, and {:.1} ms and {:.1} ms while Envoys were killed and \
         started, beside {:.1} ms and {:.1} ms of Redis by webdis. {unanswered} requests had no answer or none that accepts, and were sent \
         again. The origin was asked {} times for {} jobs, of which {} were accepted without the client's knowing.\n",
        quantile(&mut ours, 0.5),
        quantile(&mut killed, 0.5),
        quantile(&mut killed, 0.99),
        quantile(&mut meanwhile, 0.5),
        quantile(&mut meanwhile, 0.99),
        begun.values().map(Vec::len).sum::<usize>(),
        begun.len(),
        begun.len().saturating_sub(seen),
    ));
}

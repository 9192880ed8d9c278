//! A steady load that does not wait for answers: requests leave at their times, whatever became of those before.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use selvage_measure::measured::Sample;
use selvage_rig::chance::{Dice, Zipf};
use selvage_rig::envoy::{Connection, Response};
use selvage_rig::scripted::{Answer, Origin};

/// Requests per second.
pub const RATE: u32 = 500;
/// Connections, and so the most requests under way at once. Each request is on one that is idle.
const CONNECTIONS: usize = 96;
/// Who waits longer for anything goes away.
const PATIENCE: Duration = Duration::from_secs(5);
const KEYS: usize = 3000;
/// The Zipf exponent: flat enough that the tail is asked for all the time.
const SKEW: f64 = 0.7;
const BODY_BYTES: usize = 2048;
/// One request in so many is for something that must not be stored.
const VOLATILE: u64 = 20;
const SEED: u64 = 0x5e1_7a6e;

/// A load under way.
pub struct Load {
    /// Its first request is due now.
    pub start: Instant,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

/// What is asked for, and what must come.
pub struct Mix {
    bodies: Vec<Vec<u8>>,
    zipf: Zipf,
}

impl Mix {
    /// The same mix each time.
    pub fn new() -> Self {
        Self { bodies: (0..KEYS).map(body).collect(), zipf: Zipf::new(KEYS, SKEW) }
    }

    /// Answers everything in the mix, with lifetimes of three to six seconds, and under `/lasting/` of an hour.
    pub fn serve(self: &Arc<Self>, origin: &Origin) {
        let mix = Arc::clone(self);
        origin.forget();
        origin.otherwise(move |request| {
            let mut parts = request.target.rsplit('/');
            let key: Option<usize> = parts.next().and_then(|key| key.parse().ok());
            let Some((key, body)) = key.and_then(|key| Some((key, mix.bodies.get(key)?))) else {
                return Answer::new(404);
            };
            let control = match parts.next() {
                Some("volatile") => "no-store".to_owned(),
                Some("lasting") => "max-age=3600".to_owned(),
                _ => format!("max-age={}", 3 + key % 4),
            };
            Answer::ok(body)
                .header("content-type", "application/octet-stream")
                .header("cache-control", control)
        });
    }

    /// The target and the key of a request: chosen by its number alone.
    fn choose(&self, number: usize) -> (String, usize) {
        let mut dice = Dice::new(number as u64 ^ SEED);
        let key = self.zipf.choose(&mut dice);
        let folder = if dice.below(VOLATILE) == 0 { "volatile" } else { "object" };
        (format!("/{folder}/{key}"), key)
    }
}

impl Load {
    /// Sends for this long.
    pub fn start(address: SocketAddr, mix: &Arc<Mix>, lasting: Duration) -> Self {
        let count = (lasting.as_secs_f64() * f64::from(RATE)) as usize;
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now() + Duration::from_millis(100);
        let clients = (0..CONNECTIONS).map(|_| {
            let (mix, next) = (Arc::clone(mix), Arc::clone(&next));
            thread::spawn(move || client(address, &mix, &next, count, start))
        });
        Self { start, clients: clients.collect() }
    }

    /// Waits for the end; gives what became of all requests.
    pub fn finish(self) -> Vec<Sample> {
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn client(address: SocketAddr, mix: &Mix, next: &AtomicUsize, count: usize, start: Instant) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut connection = Connection::try_open(address, PATIENCE).ok();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return samples;
        }
        let due = Duration::from_secs(1) * number as u32 / RATE;
        let at = start + due;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let late = at.elapsed();
        let (target, key) = mix.choose(number);
        let answer = ask(&mut connection, address, &target);
        let latency = at.elapsed();
        let outcome = match answer {
            Err(problem) => {
                connection = None;
                Err(format!("connection: {:?}", problem.kind()))
            }
            Ok(answer) if answer.status != 200 => Err(format!("status {}", answer.status)),
            Ok(answer) if !answer.complete || answer.body != mix.bodies[key] => Err("wrong body".to_owned()),
            Ok(answer) => Ok(answer.cache_status()),
        };
        samples.push(Sample { due, late, latency, outcome });
    }
}

fn ask(connection: &mut Option<Connection>, address: SocketAddr, target: &str) -> io::Result<Response> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::try_open(address, PATIENCE)?),
    };
    connection.try_send(connection.get(target).header("host", "fleet.example"))
}

/// Two kilobytes that no other key has, not all of them text.
fn body(key: usize) -> Vec<u8> {
    let mut body = format!("of key {key}\n").into_bytes();
    let mut dice = Dice::new(key as u64);
    while body.len() < BODY_BYTES {
        body.extend_from_slice(&dice.number().to_le_bytes());
    }
    body.truncate(BODY_BYTES);
    body
}

//! What a full store costs at the tick, and what waits for it: `cargo bench -p selvage-engine --bench tick`.
//!
//! A worker store of 700 MiB, the most there may be, and a node store, each with so many responses of 3 kB. A request that comes
//! during a tick waits for all of it. The host's shared data is a map in memory here; in Envoy each call to it costs more.

#![allow(clippy::panic)] // A broken bench must stop loudly.

use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use selvage_engine::cache::{Cache, Moment};
use selvage_engine::config::Config;
use selvage_engine::exchange::{Directive, Event, Exchange};
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::host::{CasMismatch, Host, SharedData};
use selvage_engine::policy::Policy;
use selvage_engine::time::Timestamp;

const ENTRIES: usize = 200_000;
const BODY_BYTES: usize = 3_000;
const WORKER: &str =
    r#"{"worker":{"bytes":"700MiB","entries":262144,"filling_bytes":"32MiB"},"node":{"bytes":0}}"#;
const NODE: &str = r#"{"worker":{"bytes":0},"node":{"bytes":"1GiB","buckets":65536}}"#;
/// Between two ticks.
const TICK: Duration = Duration::from_millis(100);

/// Shared data in memory.
#[derive(Default)]
struct Shared(HashMap<String, (Vec<u8>, u32)>);

impl SharedData for Shared {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key).cloned()
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        let held = self.0.entry(key.to_owned()).or_insert((Vec::new(), 0));
        if cas != 0 && held.1 != 0 && held.1 != cas {
            return Err(CasMismatch);
        }
        *held = (value.to_vec(), held.1.wrapping_add(1).max(1));
        Ok(())
    }
}

impl Host for Shared {
    fn origin_answered(&mut self) -> bool {
        true
    }
}

/// How long each of many things took.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn take<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let made = what();
        self.0.push(begun.elapsed());
        made
    }

    /// Adds what there is to say of them to a table, in which the least of several rounds stays: whatever else the machine does takes
    /// its share of a round.
    fn row(mut self, what: &str, table: &mut Table) {
        self.0.sort_unstable();
        let micros = |part: f64| {
            let at = ((self.0.len() as f64 * part) as usize).min(self.0.len().saturating_sub(1));
            self.0.get(at).copied().unwrap_or_default().as_nanos() as f64 / 1000.0
        };
        let own = [micros(0.5), micros(0.999), micros(1.0)];
        match table.iter_mut().find(|(known, _)| known == what) {
            Some((_, least)) => least.iter_mut().zip(own).for_each(|(least, own)| *least = least.min(own)),
            None => table.push((what.to_owned(), own)),
        }
    }
}

/// Rows by name: the median, the 99.9th percentile and the longest.
type Table = Vec<(String, [f64; 3])>;

/// A cache and what surrounds it.
struct Worker {
    cache: Cache,
    shared: Shared,
    now: Timestamp,
}

impl Worker {
    fn new(config: &str) -> Self {
        let policy =
            Config::parse(config.as_bytes()).map(Policy::from).unwrap_or_else(|faults| panic!("{faults:?}"));
        let now = Timestamp::parse_http_date(b"Sat, 21 Nov 2026 11:00:00 GMT").unwrap_or_default();
        Self { cache: Cache::new(Rc::new(policy)), shared: Shared::default(), now }
    }

    /// Asks for a page, and gives it if the cache has not got it.
    fn ask(&mut self, number: usize) -> bool {
        let Self { cache, shared, now } = self;
        let mut moment = Moment { now: *now, host: shared };
        let path = format!("/assets/pictures/{number}.webp");
        let head = block(&[
            (":authority", "www.example.com"),
            (":path", &path),
            (":method", "GET"),
            (":scheme", "https"),
        ]);
        let mut exchange = Exchange::new();
        if let Directive::Respond(reply) =
            exchange.on(Event::Request { head, end_of_stream: true }, cache, &mut moment)
        {
            cache.recycle(black_box(reply).fields);
            return true;
        }
        // Half of them are over long before the others.
        let lifetime = if number.is_multiple_of(2) { "max-age=1000" } else { "max-age=100000" };
        let response =
            block(&[(":status", "200"), ("cache-control", lifetime), ("content-type", "image/webp")]);
        let head = Fields::parse(&response).unwrap_or_default();
        exchange.on(Event::Response { head, end_of_stream: false }, cache, &mut moment);
        exchange.on(Event::Body { chunk: &[b'x'; BODY_BYTES], end_of_stream: true }, cache, &mut moment);
        false
    }

    fn tick(&mut self) {
        let mut moment = Moment { now: self.now, host: &mut self.shared };
        self.cache.look_after_fills(&mut moment);
        self.cache.agree_on_node_budget(false, &mut moment);
        self.cache.sweep(&mut moment);
        self.cache.count_departures();
    }

    /// So many ticks, with nothing between them.
    fn ticks(&mut self, count: usize) -> Times {
        let mut times = Times::default();
        for _ in 0..count {
            self.now = self.now.plus(TICK);
            times.take(|| self.tick());
            self.cache.stats.take();
        }
        times
    }
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: FieldBlock = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let mut block = Vec::new();
    fields.write_with(&[], &mut block);
    block
}

fn main() {
    let mut table = Table::new();
    for _ in 0..ROUNDS {
        for (store, config) in [("worker store", WORKER), ("node store", NODE)] {
            round(store, config, &mut table);
        }
    }
    println!(
        "| {ENTRIES} responses of {BODY_BYTES} bytes | median, µs | p99.9, µs | longest, µs |\n|---|---|---|---|"
    );
    for (what, [median, tail, longest]) in table {
        println!("| {what} | {median:.1} | {tail:.1} | {longest:.1} |");
    }
}

fn round(store: &str, config: &str, table: &mut Table) {
    let mut worker = Worker::new(config);
    let mut times = Times::default();
    for number in 0..ENTRIES {
        times.take(|| worker.ask(number));
    }
    // The node store's map is the bench's own, and is copied as a whole to grow.
    if store == "worker store" {
        times.row(&format!("{store}: a miss that stores, while it fills"), table);
    }
    worker.cache.stats.take();
    let mut times = Times::default();
    for number in 0..ENTRIES {
        let hit = times.take(|| worker.ask(number));
        assert!(hit || number > 0 && store == "node store", "{store}: {number} is not stored");
    }
    times.row(&format!("{store}: a hit"), table);
    worker.ticks(3000).row(&format!("{store}: a tick, nothing is over"), table);
    worker.now = worker.now.plus(Duration::from_secs(1000));
    worker.ticks(3000).row(&format!("{store}: a tick while half of all are over"), table);
    if store == "worker store" {
        worker.cache.rest();
        worker.ticks(20).row(&format!("{store}: a tick after another configuration has followed"), table);
        let mut times = Times::default();
        times.take(|| drop(worker.cache));
        times.row("the other 59,000 of them at once, for comparison", table);
    }
}

const ROUNDS: usize = 3;

//! Compares eviction policies by hit ratio: `cargo run --release -p selvage-engine --example eviction`.
//!
//! The worker store as it ships (W-TinyLFU) against S3-FIFO and plain LRU, which live here only. The output
//! is the table in `benches/runs/eviction.md`; all but the times is the same on every machine.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use selvage_engine::store::table::{Limits, Table, Weigh};

const OBJECTS: u64 = 100_000;
const REQUESTS: u64 = 1_000_000;
const SCAN_EVERY: u64 = 100_000;
const SCAN_LENGTH: u64 = 10_000;
const DRIFT: u64 = 5_000;
/// Keys from here on belong to scans, and are asked for once.
const SCANNED: u64 = 1 << 40;

fn main() {
    let total: u64 = (0..OBJECTS).map(|object| size(object) as u64).sum();
    println!("{OBJECTS} objects, {} MiB; {REQUESTS} requests\n", total >> 20);
    println!("| alpha | trace | cache | LRU | S3-FIFO | W-TinyLFU | LRU | S3-FIFO | W-TinyLFU |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut nanoseconds = [0u128; 3];
    for alpha in [0.8, 0.9, 1.0] {
        for kind in [Kind::Steady, Kind::Scans, Kind::Drift] {
            let trace = trace(alpha, kind);
            for percent in [1, 5, 10] {
                let bytes = (total * percent / 100) as usize;
                let mut policies: [Box<dyn Cache>; 3] =
                    [Box::new(Lru::new(bytes)), Box::new(S3Fifo::new(bytes)), Box::new(Shipped::new(bytes))];
                let mut ratios = Vec::new();
                for (policy, spent) in policies.iter_mut().zip(&mut nanoseconds) {
                    let start = Instant::now();
                    ratios.push(run(policy.as_mut(), &trace));
                    *spent += start.elapsed().as_nanos() / trace.len() as u128;
                }
                let hits: Vec<_> = ratios.iter().map(|(hits, _)| format!("{hits:.1}")).collect();
                let bytes: Vec<_> = ratios.iter().map(|(_, bytes)| format!("{bytes:.1}")).collect();
                println!(
                    "| {alpha} | {kind:?} | {percent} % | {} | {} |",
                    hits.join(" | "),
                    bytes.join(" | ")
                );
            }
        }
    }
    let [lru, s3_fifo, shipped] = nanoseconds.map(|sum| sum / 27);
    println!(
        "\nMean time a request, misses and evictions included: LRU {lru} ns, S3-FIFO {s3_fifo} ns, W-TinyLFU {shipped} ns."
    );
}

/// Percent of requests and of bytes answered from the cache; the scan's own requests are not counted.
fn run(cache: &mut dyn Cache, trace: &[u64]) -> (f64, f64) {
    let (mut requests, mut hits, mut bytes, mut hit_bytes) = (0u64, 0u64, 0u64, 0u64);
    for &key in trace {
        let size = size(key);
        let hit = cache.request(key, size);
        if key < SCANNED {
            requests += 1;
            bytes += size as u64;
            hits += u64::from(hit);
            hit_bytes += if hit { size as u64 } else { 0 };
        }
    }
    (hits as f64 / requests as f64 * 100.0, hit_bytes as f64 / bytes as f64 * 100.0)
}

trait Cache {
    /// Asks for an object and stores it on a miss. Was it a hit?
    fn request(&mut self, key: u64, size: usize) -> bool;
}

/// What the filter ships.
struct Shipped(Table<Object>);

#[derive(Clone)]
struct Object(usize);

impl Weigh for Object {
    fn weight(&self) -> usize {
        self.0
    }
}

impl Shipped {
    fn new(bytes: usize) -> Self {
        Self(Table::new(Limits { bytes, entries: usize::MAX, object_bytes: bytes }))
    }
}

impl Cache for Shipped {
    fn request(&mut self, key: u64, size: usize) -> bool {
        let hash = u128::from(mixed(key)) << 64 | u128::from(mixed(key ^ 0x5E1F));
        let hit = self.0.get(hash).is_some();
        if !hit {
            let _ = self.0.insert(hash, Object(size));
        }
        hit
    }
}

/// Least recently used, by a queue in which only a key's last entry counts.
struct Lru {
    budget: usize,
    bytes: usize,
    stored: HashMap<u64, (usize, u64)>,
    uses: VecDeque<(u64, u64)>,
    clock: u64,
}

impl Lru {
    fn new(budget: usize) -> Self {
        Self { budget, bytes: 0, stored: HashMap::new(), uses: VecDeque::new(), clock: 0 }
    }
}

impl Cache for Lru {
    fn request(&mut self, key: u64, size: usize) -> bool {
        let size = size + Table::<Object>::ENTRY_OVERHEAD;
        self.clock += 1;
        self.uses.push_back((key, self.clock));
        if let Some((_, used)) = self.stored.get_mut(&key) {
            *used = self.clock;
            return true;
        }
        while self.bytes + size > self.budget {
            let Some((oldest, used)) = self.uses.pop_front() else { break };
            if self.stored.get(&oldest).is_some_and(|stored| stored.1 == used) {
                self.bytes -= self.stored.remove(&oldest).map_or(0, |stored| stored.0);
            }
        }
        self.bytes += size;
        self.stored.insert(key, (size, self.clock));
        false
    }
}

/// S3-FIFO (Yang and others, SOSP 2023): a small queue of a tenth of the bytes, a main queue, and the names
/// of what left the small one.
struct S3Fifo {
    budget: usize,
    small: Fifo,
    main: Fifo,
    stored: HashMap<u64, (usize, u8)>,
    ghosts: HashMap<u64, u64>,
    ghosts_made: u64,
}

#[derive(Default)]
struct Fifo {
    bytes: usize,
    keys: VecDeque<u64>,
}

impl S3Fifo {
    fn new(budget: usize) -> Self {
        Self {
            budget,
            small: Fifo::default(),
            main: Fifo::default(),
            stored: HashMap::new(),
            ghosts: HashMap::new(),
            ghosts_made: 0,
        }
    }

    fn evict(&mut self) {
        let from_small = self.small.bytes > self.budget / 10 || self.main.keys.is_empty();
        let queue = if from_small { &mut self.small } else { &mut self.main };
        let Some(key) = queue.keys.pop_front() else { return };
        let Some((size, uses)) = self.stored.get_mut(&key) else { return };
        queue.bytes -= *size;
        if *uses > u8::from(from_small) {
            // Used: from the small queue on to the main one, from the main one round again.
            *uses = if from_small { 0 } else { *uses - 1 };
            self.main.bytes += *size;
            self.main.keys.push_back(key);
            return;
        }
        self.stored.remove(&key);
        if from_small {
            self.ghosts_made += 1;
            self.ghosts.insert(key, self.ghosts_made);
            let oldest = self.ghosts_made.saturating_sub(self.stored.len() as u64);
            if self.ghosts.len() > 2 * self.stored.len() {
                self.ghosts.retain(|_, made| *made >= oldest);
            }
        }
    }
}

impl Cache for S3Fifo {
    fn request(&mut self, key: u64, size: usize) -> bool {
        let size = size + Table::<Object>::ENTRY_OVERHEAD;
        if let Some((_, uses)) = self.stored.get_mut(&key) {
            *uses = (*uses + 1).min(3);
            return true;
        }
        while self.small.bytes + self.main.bytes + size > self.budget {
            self.evict();
        }
        let oldest = self.ghosts_made.saturating_sub(self.stored.len() as u64);
        let known = self.ghosts.remove(&key).is_some_and(|made| made >= oldest);
        let queue = if known { &mut self.main } else { &mut self.small };
        queue.bytes += size;
        queue.keys.push_back(key);
        self.stored.insert(key, (size, 0));
        false
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Popularity never changes.
    Steady,
    /// Steady, and ten times ten thousand objects that are asked for once.
    Scans,
    /// Every tenth of the trace five thousand of the most popular objects give way to the next five thousand.
    Drift,
}

/// A seeded trace in which the n-th most popular object is asked for in proportion to `n^-alpha`.
fn trace(alpha: f64, kind: Kind) -> Vec<u64> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=OBJECTS)
        .map(|rank| {
            sum += (rank as f64).powf(-alpha);
            sum
        })
        .collect();
    let mut trace = Vec::new();
    let mut scanned = SCANNED;
    for request in 0..REQUESTS {
        if matches!(kind, Kind::Scans) && request % SCAN_EVERY == SCAN_EVERY / 2 {
            trace.extend(scanned..scanned + SCAN_LENGTH);
            scanned += SCAN_LENGTH;
        }
        let rank = cumulated.partition_point(|&below| below < unit(mixed(request)) * sum) as u64;
        let shift = if matches!(kind, Kind::Drift) { request / (REQUESTS / 10) * DRIFT } else { 0 };
        trace.push((rank + shift) % OBJECTS);
    }
    trace
}

/// Of the objects 70 % have 0.5 to 4 KiB, 25 % up to 32 KiB and 5 % up to 256 KiB, whatever their popularity.
fn size(key: u64) -> usize {
    let (class, within) = (unit(mixed(key ^ 0xC1A5)), unit(mixed(key ^ 0x517E)));
    let (least, most) = match class {
        ..0.7 => (512.0, 4096.0),
        ..0.95 => (4096.0, 32_768.0),
        _ => (32_768.0, 262_144.0),
    };
    (least + (most - least) * within) as usize
}

/// SplitMix64's output function: the seed of everything here is the number itself.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn unit(number: u64) -> f64 {
    (number >> 11) as f64 / (1u64 << 53) as f64
}

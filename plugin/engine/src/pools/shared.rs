//! What the workers of a node tell each other about a pool, as one value in host shared data.
//!
//! ```text
//! magic "svp1" · the controller
//! for each worker: id u64 · written u64 · held u32 · at the origin u32 · wanted u32 · 0 u32
//! xxh3 of all before u64
//! ```
//!
//! Little endian; times in milliseconds since the epoch. Each worker writes every 50 ms what it wants and takes its part of
//! the limit. It takes no more than the others have let go, so that all parts together are never more than the limit; only
//! where there are more workers than places has each one whose requests wait. A worker that is silent for two seconds has
//! lost its part: its VM has ended.

use std::time::Duration;

use super::controller::{Bounds, Controller, Told};
use crate::host::wire::{framed, take_u32, take_u64, unframed};
use crate::host::{ABSENT, SharedData};
use crate::time::Timestamp;

/// What a worker tells the others.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Its own number, which no other has.
    pub id: u64,
    /// Requests that it has at the origin.
    pub in_flight: u32,
    /// The most that it had there since it last told.
    pub busiest: u32,
    /// Requests that wait.
    pub waiting: u32,
}

/// What it hears.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// So many requests it may have at the origin.
    pub share: u32,
    /// So many more nobody has.
    pub free: u32,
    /// All workers together.
    pub limit: u32,
    /// Requests of all workers at the origin.
    pub in_flight: u32,
    /// What an answer takes when nobody waits, as far as is known.
    pub base: Option<Duration>,
    /// What answers take.
    pub latency: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Worker {
    id: u64,
    written: Timestamp,
    held: u32,
    in_flight: u32,
    wanted: u32,
}

struct Record {
    controller: Controller,
    workers: Vec<Worker>,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        self.controller.encode(&mut out);
        for Worker { id, written, held, in_flight, wanted } in &self.workers {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&written.as_millis().to_le_bytes());
            for number in [*held, *in_flight, *wanted, 0] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        framed(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = &mut unframed(bytes, MAGIC)?;
        let controller = Controller::decode(rest)?;
        let mut workers = Vec::new();
        while !rest.is_empty() && workers.len() < MOST_WORKERS {
            let (id, written) = (take_u64(rest)?, Timestamp::from_millis(take_u64(rest)?));
            let (held, in_flight, wanted) = (take_u32(rest)?, take_u32(rest)?, take_u32(rest)?);
            take_u32(rest)?;
            workers.push(Worker { id, written, held, in_flight, wanted });
        }
        Some(Self { controller, workers })
    }

    /// Takes in what a worker says, and gives it its part.
    fn hear(&mut self, own: Own, told: Told, bounds: &Bounds, now: Timestamp, random: u64) -> Heard {
        self.workers.retain(|worker| worker.id == own.id || now.since(worker.written) < SILENT);
        let others = || self.workers.iter().filter(|worker| worker.id != own.id);
        let of_others = |number: fn(&Worker) -> u32| others().map(number).fold(0, u32::saturating_add);
        let (held, others_in_flight) = (of_others(|other| other.held), of_others(|other| other.in_flight));
        let wanted: Vec<(u64, u32)> = others().map(|other| (other.id, other.wanted)).collect();
        let own_wanted = own.in_flight.saturating_add(own.waiting);
        self.controller.take(told, others_in_flight.saturating_add(own.busiest), bounds, now, random);
        let limit = self.controller.limit(bounds);
        let free = limit.saturating_sub(held);
        // What it does not need, others find free at once. An idle worker has none.
        let needed =
            if own_wanted == 0 { 0 } else { own_wanted.saturating_add(own_wanted / 4).saturating_add(1) };
        let part = part_of((own.id, own_wanted), &wanted, limit).min(free).min(needed);
        // Where there are more workers than places, nobody waits for ever.
        let crowded = wanted.len() >= limit as usize;
        let share = part.max(u32::from(crowded && own.waiting > 0));
        let entry = Worker {
            id: own.id,
            written: now,
            held: share.max(own.in_flight),
            in_flight: own.in_flight,
            wanted: own_wanted,
        };
        let room = self.workers.len() < MOST_WORKERS;
        match self.workers.iter_mut().find(|worker| worker.id == own.id) {
            Some(known) => *known = entry,
            None if room => self.workers.push(entry),
            None => {}
        }
        Heard {
            share,
            free: free.saturating_sub(share),
            limit,
            in_flight: others_in_flight.saturating_add(own.in_flight),
            base: self.controller.base(),
            latency: self.controller.latency(),
        }
    }
}

/// A worker's part of the limit: in proportion to what each wants and one more, so that a first request need not ask. What
/// is left after rounding down goes to those who lose most by that. No two workers reckon differently by the same record.
fn part_of(own: (u64, u32), others: &[(u64, u32)], limit: u32) -> u32 {
    let all = others.iter().chain([&own]);
    let total: u64 = all.clone().map(|(_, wanted)| u64::from(*wanted) + 1).sum();
    let share = |wanted: u32| {
        let exact = u64::from(limit) * (u64::from(wanted) + 1);
        (exact / total.max(1), exact % total.max(1))
    };
    let given: u64 = all.clone().map(|(_, wanted)| share(*wanted).0).sum();
    let left = u64::from(limit).saturating_sub(given);
    let (whole, rest) = share(own.1);
    // Who has nothing comes first.
    let rank = |(id, wanted): (u64, u32), (whole, rest): (u64, u64)| {
        (whole > 0, std::cmp::Reverse(rest), wanted, id)
    };
    let mine = rank(own, (whole, rest));
    let before = others.iter().filter(|other| rank(**other, share(other.1)) < mine).count() as u64;
    u32::try_from(whole + u64::from(before < left)).unwrap_or(u32::MAX)
}

/// Tells the others and hears its part. `None` if others were first again and again: then nothing was told.
pub fn exchange(
    data: &mut dyn SharedData,
    key: &str,
    (own, told): (Own, Told),
    bounds: &Bounds,
    now: Timestamp,
    random: u64,
) -> Option<Heard> {
    for _ in 0..TRIES {
        let found = data.get(key);
        let cas = found.as_ref().map_or(ABSENT, |(_, cas)| *cas);
        let record = found.and_then(|(bytes, _)| Record::decode(&bytes));
        let mut record = record
            .unwrap_or_else(|| Record { controller: Controller::new(bounds, now), workers: Vec::new() });
        let heard = record.hear(own, told, bounds, now, random);
        if data.set(key, &record.encode(), cas).is_ok() {
            return Some(heard);
        }
    }
    None
}

/// What the workers of a pool have found out, for one that is not among them: it has no share.
pub fn look(data: &mut dyn SharedData, key: &str, bounds: &Bounds) -> Option<Heard> {
    let (bytes, _) = data.get(key)?;
    let Record { controller, workers } = Record::decode(&bytes)?;
    let in_flight = workers.iter().map(|worker| worker.in_flight).fold(0, u32::saturating_add);
    let (limit, base, latency) = (controller.limit(bounds), controller.base(), controller.latency());
    Some(Heard { share: 0, free: 1, limit, in_flight, base, latency })
}

/// Takes a worker out that has nothing left to do.
pub fn leave(data: &mut dyn SharedData, key: &str, id: u64) {
    for _ in 0..TRIES {
        let Some((bytes, cas)) = data.get(key) else { return };
        let Some(mut record) = Record::decode(&bytes) else { return };
        record.workers.retain(|worker| worker.id != id);
        if data.set(key, &record.encode(), cas).is_ok() {
            return;
        }
    }
}

const MAGIC: [u8; 4] = *b"svp1";
/// More share the limit with those that are in it, one slot at a time.
const MOST_WORKERS: usize = 256;
const SILENT: Duration = Duration::from_secs(2);
const TRIES: usize = 8;

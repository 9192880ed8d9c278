//! What the workers of a node tell each other about a pool, as one value in host shared data.
//!
//! ```text
//! magic "svp1" · the controller
//! for each worker: id u64 · written u64 · held u32 · at the origin u32 · wanted u32 · 0 u32
//! xxh3 of all before u64
//! ```
//!
//! Little endian; times in milliseconds since the epoch. Each worker writes every 50 ms what it wants and takes its part of
//! the limit. It takes no more than the others have let go, so that all parts together are never more than the limit, but
//! for one slot that a worker takes whose requests would wait for ever. One that is silent for two seconds has lost its
//! part: its VM has ended.

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
        let busiest = |workers: &[Worker]| -> u32 {
            let others = workers.iter().filter(|worker| worker.id != own.id);
            others.map(|worker| worker.in_flight).fold(0, u32::saturating_add)
        };
        let others_in_flight = busiest(&self.workers);
        self.controller.take(told, others_in_flight.saturating_add(own.busiest), bounds, now, random);
        let limit = self.controller.limit(bounds);
        let wanted = own.in_flight.saturating_add(own.waiting);
        let of_others = self.workers.iter().filter(|worker| worker.id != own.id);
        let (mut held, mut all_wanted, mut count) = (0_u32, u64::from(wanted) + 1, 1_usize);
        for other in of_others {
            held = held.saturating_add(other.held);
            // Each has one more than it needs, so that a first request need not ask.
            all_wanted = all_wanted.saturating_add(u64::from(other.wanted)).saturating_add(1);
            count += 1;
        }
        let part = (u64::from(limit) * (u64::from(wanted) + 1)).div_ceil(all_wanted.max(1));
        let part = u32::try_from(part).unwrap_or(u32::MAX).min(limit.saturating_sub(held));
        // Nobody waits for ever because the others hold everything.
        let share = part.max(u32::from(own.waiting > 0));
        let entry = Worker {
            id: own.id,
            written: now,
            held: share.max(own.in_flight),
            in_flight: own.in_flight,
            wanted,
        };
        match self.workers.iter_mut().find(|worker| worker.id == own.id) {
            Some(known) => *known = entry,
            None if count <= MOST_WORKERS => self.workers.push(entry),
            None => {}
        }
        Heard {
            share,
            limit,
            in_flight: others_in_flight.saturating_add(own.in_flight),
            base: self.controller.base(),
            latency: self.controller.latency(),
        }
    }
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

//! The node's last minutes: a point every ten seconds, in shared data. One worker writes each, all can read them.

use crate::host::ABSENT;
use crate::host::Host;
use crate::host::wire::take_u64;
use crate::time::Timestamp;

use super::numbers::Requests;

/// What one worker knows of the history.
#[derive(Debug, Default)]
pub struct History {
    /// The last period that this worker has seen to.
    period: u64,
}

/// What happened in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Its end, in milliseconds since 1970.
    pub at_ms: u64,
    /// Requests.
    pub requests: u64,
    /// Those that a store answered.
    pub hits: u64,
    /// Those that the origin answered.
    pub origin: u64,
    /// Those that the origin failed.
    pub errors: u64,
}

impl History {
    /// By tick: sees to it that there is a point for this period. Costs nothing but a division in between.
    pub fn keep(&mut self, host: &mut dyn Host, now: Timestamp) {
        let period = now.as_millis() / RESOLUTION_MS;
        if period == self.period {
            return;
        }
        self.period = period;
        let (mut sums, cas) = match host.get(KEY) {
            None => (Vec::new(), ABSENT),
            Some((bytes, cas)) => (decode(&bytes), cas),
        };
        let at_ms = period * RESOLUTION_MS;
        match sums.last() {
            Some(last) if last.at_ms == at_ms => return,
            // The clock was set back.
            Some(last) if last.at_ms > at_ms => sums.clear(),
            _ => {}
        }
        let requests = Requests::read(host);
        sums.push(Point {
            at_ms,
            requests: requests.all(),
            hits: requests.from_store(),
            origin: requests.to_origin(),
            errors: requests.errors(),
        });
        let first = sums.len().saturating_sub(POINTS + 1);
        // Where another worker was first, there is a point.
        let _ = host.set(KEY, &encode(sums.get(first..).unwrap_or_default()), cas);
    }
}

/// The points, oldest first, at most [`POINTS`].
pub fn points(host: &mut dyn Host) -> Vec<Point> {
    let sums = host.get(KEY).map(|(bytes, _)| decode(&bytes)).unwrap_or_default();
    let pairs = sums.iter().zip(sums.iter().skip(1));
    pairs.map(|(before, after)| after.since(before)).collect()
}

impl Point {
    fn since(&self, before: &Self) -> Self {
        Self {
            at_ms: self.at_ms,
            requests: self.requests.saturating_sub(before.requests),
            hits: self.hits.saturating_sub(before.hits),
            origin: self.origin.saturating_sub(before.origin),
            errors: self.errors.saturating_sub(before.errors),
        }
    }
}

fn encode(sums: &[Point]) -> Vec<u8> {
    let numbers = sums.iter().flat_map(|sum| [sum.at_ms, sum.requests, sum.hits, sum.origin, sum.errors]);
    numbers.flat_map(u64::to_le_bytes).collect()
}

fn decode(mut bytes: &[u8]) -> Vec<Point> {
    let bytes = &mut bytes;
    let mut next = || {
        let (at_ms, requests, hits) = (take_u64(bytes)?, take_u64(bytes)?, take_u64(bytes)?);
        Some(Point { at_ms, requests, hits, origin: take_u64(bytes)?, errors: take_u64(bytes)? })
    };
    std::iter::from_fn(&mut next).take(POINTS + 1).collect()
}

/// How long a period is.
pub const RESOLUTION_MS: u64 = 10_000;
/// Ten minutes.
pub const POINTS: usize = 60;
const KEY: &str = "sv1/h";

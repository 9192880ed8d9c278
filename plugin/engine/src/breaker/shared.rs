//! What the workers of a node tell each other about a cluster, as one value in host shared data.
//!
//! ```text
//! magic "svb1" · phase u8 · 0 u8 · probes answered u16 · bucket ms u32 · openings u32
//! generation u64 · since u64 · until u64 · probes u64 · written u64 · newest bucket u64
//! 10 × ( successes u32 · failures u32 · timeouts u32 · slow u32 ) · xxh3 of all before u64
//! ```
//!
//! Little endian; times in milliseconds since the epoch. `until` is the end of the pause, or the deadline of the
//! probe, 0 for none. The value of the higher generation is the later one and wins; of two with the same
//! generation the one that was written first. The window is the sum over all workers: each adds what it has counted
//! since it last did.

use super::window::{BUCKETS, Counts, Window};
use super::{Admit, Breaker, CallResult, Phase};
use crate::host::wire::{framed, take, unframed};
use crate::host::{ABSENT, SharedData};
use crate::time::Timestamp;

/// Bytes of the value.
pub const LENGTH: usize = 16 + 6 * 8 + BUCKETS * 16 + 8;

/// The value, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    phase: Phase,
    openings: u32,
    generation: u64,
    since: Timestamp,
    probes: u64,
    written: Timestamp,
    window: Window,
}

impl Shared {
    /// When a worker last wrote it.
    pub const fn written(&self) -> Timestamp {
        self.written
    }

    /// The bytes, always [`LENGTH`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let (until, answered) = match self.phase {
            Phase::Closed => (0, 0),
            Phase::Open { until } => (until.as_millis(), 0),
            Phase::HalfOpen { answered, deadline } => (deadline.map_or(0, Timestamp::as_millis), answered),
        };
        let (bucket_ms, newest, buckets) = self.window.parts();
        let mut out = Vec::with_capacity(LENGTH);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.phase.word(), 0]);
        out.extend_from_slice(&answered.to_le_bytes());
        out.extend_from_slice(&u32::try_from(bucket_ms).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.openings.to_le_bytes());
        let (since, written) = (self.since.as_millis(), self.written.as_millis());
        for number in [self.generation, since, until, self.probes, written, newest] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for counts in buckets {
            for number in [counts.successes, counts.failures, counts.timeouts, counts.slow] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        framed(out)
    }

    /// `None` if these are not the bytes of such a value.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = &mut unframed(bytes, MAGIC).filter(|_| bytes.len() == LENGTH)?;
        let [word, _] = take(rest)?;
        let answered = u16::from_le_bytes(take(rest)?);
        let bucket_ms = u32::from_le_bytes(take(rest)?);
        let openings = u32::from_le_bytes(take(rest)?);
        let mut number = || take(rest).map(u64::from_le_bytes);
        let (generation, since, until) = (number()?, number()?, number()?);
        let (probes, written, newest) = (number()?, number()?, number()?);
        let mut buckets = [Counts::default(); BUCKETS];
        for counts in &mut buckets {
            let mut number = || take(rest).map(u32::from_le_bytes);
            *counts =
                Counts { successes: number()?, failures: number()?, timeouts: number()?, slow: number()? };
        }
        let until = Timestamp::from_millis(until);
        let phase = match word {
            0 => Phase::Closed,
            1 => Phase::Open { until },
            2 => Phase::HalfOpen { answered, deadline: (until.as_millis() != 0).then_some(until) },
            _ => return None,
        };
        Some(Self {
            phase,
            openings,
            generation,
            since: Timestamp::from_millis(since),
            probes,
            written: Timestamp::from_millis(written),
            window: Window::from_parts(u64::from(bucket_ms), newest, buckets),
        })
    }
}

impl Breaker {
    /// Takes in what the other workers found out, and tells them what this one did. `false` if others were first
    /// again and again; nothing is lost then, and the next call tells it.
    ///
    /// To be called by tick, and whenever [`Breaker::needs_sync`]. One get when there is nothing to tell, and a
    /// set more when there is. Opens at once if another worker has opened, or if the calls of all workers together
    /// are reason to.
    pub fn sync(&mut self, data: &mut dyn SharedData, key: &str, now: Timestamp) -> bool {
        for _ in 0..TRIES {
            let (found, cas) = self.look(data, key);
            if self.phase == Phase::Closed {
                self.judge(CallResult::Dropped, now);
            }
            let nothing_new = match found {
                Some(generation) => generation == self.generation,
                None => self.generation == 0,
            };
            if nothing_new && self.own.is_empty() {
                return true;
            }
            if self.tell(data, key, cas, now) {
                return true;
            }
        }
        false
    }

    /// As [`Breaker::admit`], for a breaker that the workers share: of all of them one gets the probe.
    ///
    /// Costs no call to shared data while it is closed, and none in a pause.
    pub fn admit_shared(
        &mut self,
        data: &mut dyn SharedData,
        key: &str,
        now: Timestamp,
        random: u64,
    ) -> Admit {
        self.random = random;
        let admit = if self.phase == Phase::Closed {
            Admit::Pass
        } else if self.probe_is_due(now) {
            self.claim_shared(data, key, now)
        } else {
            Admit::Refused
        };
        self.count(admit)
    }

    /// Whether this worker has changed the state and the others have not been told.
    pub const fn needs_sync(&self) -> bool {
        self.told != self.generation
    }

    fn claim_shared(&mut self, data: &mut dyn SharedData, key: &str, now: Timestamp) -> Admit {
        for _ in 0..TRIES {
            let (_, cas) = self.look(data, key);
            if self.phase == Phase::Closed {
                return Admit::Pass;
            }
            if !self.probe_is_due(now) {
                return Admit::Refused;
            }
            let before = self.clone();
            let probe = self.claim_probe(now);
            if self.tell(data, key, cas, now) {
                return probe;
            }
            *self = before;
        }
        Admit::Refused
    }

    /// Reads the value, and takes it over if it is not older than ours. Its generation, if there is one, and the
    /// CAS to write with.
    fn look(&mut self, data: &mut dyn SharedData, key: &str) -> (Option<u64>, u32) {
        let Some((bytes, cas)) = data.get(key) else { return (None, ABSENT) };
        let Some(theirs) = Shared::decode(&bytes) else { return (None, cas) };
        let generation = theirs.generation;
        if generation >= self.generation {
            self.adopt(theirs);
        }
        (Some(generation), cas)
    }

    fn adopt(&mut self, theirs: Shared) {
        self.counters.adopted += u64::from(theirs.phase.word() != self.phase.word());
        if theirs.phase == Phase::Closed && theirs.generation > self.generation {
            // The fault is over, so what was seen of it is no reason to open again.
            let mut own = self.own.clone();
            own.forget_before(theirs.since);
            self.forget_calls();
            self.own = own;
        }
        self.phase = theirs.phase;
        self.since = theirs.since;
        self.generation = theirs.generation;
        self.told = theirs.generation;
        self.probes = theirs.probes;
        self.openings = theirs.openings;
        if theirs.window.parts().0 == self.own.parts().0 {
            self.node = theirs.window;
        }
    }

    /// Writes ours; `false` if another worker was first.
    fn tell(&mut self, data: &mut dyn SharedData, key: &str, cas: u32, now: Timestamp) -> bool {
        let mut window = self.node.clone();
        window.merge(&self.own, now);
        let ours = Shared {
            phase: self.phase,
            openings: self.openings,
            generation: self.generation,
            since: self.since,
            probes: self.probes,
            written: now,
            window,
        };
        if data.set(key, &ours.encode(), cas).is_err() {
            return false;
        }
        self.node = ours.window;
        self.own.clear();
        self.told = self.generation;
        true
    }
}

const MAGIC: [u8; 4] = *b"svb1";
/// Attempts at one compare-and-swap. Each failure is another worker's success.
const TRIES: usize = 8;

//! Whether the remote store can be used at all, found out once for all workers of a node by one cheap call.
//!
//! ```text
//! magic "svp1" · 0 u8 · outcome u8 · fruitless probes u8 · 0 u8 · asked u64 · next u64 · xxh3 of all before u64
//! ```
//!
//! Little endian; times in milliseconds since the epoch. Whoever writes the value first makes the call. Until it is
//! answered the store is used all the same: what cannot be used only causes misses.

use std::time::Duration;

use super::dialect::{Answer, Capabilities, DialectError};
use crate::host::wire::{framed, unframed};
use crate::host::{ABSENT, SharedData};
use crate::time::Timestamp;

/// What one worker knows of one store.
#[derive(Clone, Debug)]
pub struct Readiness {
    first_pause: Duration,
    /// What was found out before is of another configuration.
    since: Timestamp,
    known: Shared,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The store answers, and gives back what it was given.
    Ready,
    /// There was no answer that says anything.
    Silent,
    /// It wants other credentials.
    Unauthorized,
    /// It does not give values back byte for byte.
    Inexact,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shared {
    outcome: Outcome,
    fruitless: u8,
    asked: Timestamp,
    next: Timestamp,
}

impl Outcome {
    /// What the answer to a probe means.
    pub fn of(answer: &Result<Answer, DialectError>) -> Self {
        match answer {
            Ok(Answer::Ready(Capabilities { binary_reads: true })) => Self::Ready,
            Ok(Answer::Ready(Capabilities { binary_reads: false })) => Self::Inexact,
            Err(DialectError::Unauthorized) => Self::Unauthorized,
            Ok(_) | Err(_) => Self::Silent,
        }
    }

    /// What it means, for operators: what the store does.
    pub const fn told(self) -> &'static str {
        match self {
            Self::Ready => "is ready",
            Self::Unknown | Self::Silent => "has not answered a first call",
            Self::Unauthorized => "refuses the credentials, or wants some",
            Self::Inexact => "does not give values back byte for byte",
        }
    }

    const fn word(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Ready => 1,
            Self::Silent => 2,
            Self::Unauthorized => 3,
            Self::Inexact => 4,
        }
    }

    const fn of_word(word: u8) -> Option<Self> {
        Some(match word {
            0 => Self::Unknown,
            1 => Self::Ready,
            2 => Self::Silent,
            3 => Self::Unauthorized,
            4 => Self::Inexact,
            _ => return None,
        })
    }
}

impl Readiness {
    /// Nothing is known. After a probe without success the next one waits for `first_pause`, then twice as long
    /// each time, up to [`LONGEST_PAUSE`].
    pub fn new(first_pause: Duration, now: Timestamp) -> Self {
        Self { first_pause, since: now, known: Shared::default() }
    }

    /// What has been found out.
    pub const fn outcome(&self) -> Outcome {
        self.known.outcome
    }

    /// Whether this worker should make a probe now. To be asked by tick; costs a get while the store is not ready,
    /// and a set for who makes the probe.
    pub fn claim(&mut self, data: &mut dyn SharedData, key: &str, now: Timestamp) -> bool {
        if self.outcome() == Outcome::Ready {
            return false;
        }
        let cas = self.look(data, key);
        // A moment far off is of a clock that was set back.
        let waits = now < self.known.next && self.known.next.since(now) <= LONGEST_PAUSE;
        if self.outcome() == Outcome::Ready || waits {
            return false;
        }
        let claimed = Shared { asked: now, next: now.plus(self.pause()), ..self.known };
        if data.set(key, &claimed.encode(), cas).is_err() {
            return false;
        }
        self.known = claimed;
        true
    }

    /// Takes in what the probe of this worker found, for all. `true` if that is news.
    pub fn conclude(
        &mut self,
        data: &mut dyn SharedData,
        key: &str,
        outcome: Outcome,
        now: Timestamp,
    ) -> bool {
        let news = outcome != self.outcome();
        let fruitless = if outcome == Outcome::Ready { 0 } else { self.known.fruitless.saturating_add(1) };
        self.known = Shared { outcome, fruitless, ..self.known };
        self.known.next = now.plus(self.pause());
        // Only this worker had the probe; if the value is of another all the same, the next tick reads it.
        let cas = data.get(key).map_or(ABSENT, |(_, cas)| cas);
        let _ = data.set(key, &self.known.encode(), cas);
        news
    }

    /// Reads what others found, if it is not older than the configuration.
    fn look(&mut self, data: &mut dyn SharedData, key: &str) -> u32 {
        let Some((bytes, cas)) = data.get(key) else { return ABSENT };
        // The workers of a node do not take a configuration in at one moment.
        if let Some(found) = Shared::decode(&bytes)
            && found.asked.plus(SAME_START) >= self.since
        {
            self.known = found;
        }
        cas
    }

    fn pause(&self) -> Duration {
        let doubled = 1_u32.checked_shl(u32::from(self.known.fruitless)).unwrap_or(u32::MAX);
        self.first_pause.saturating_mul(doubled).min(LONGEST_PAUSE)
    }
}

impl Shared {
    fn encode(self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[0, self.outcome.word(), self.fruitless, 0]);
        out.extend_from_slice(&self.asked.as_millis().to_le_bytes());
        out.extend_from_slice(&self.next.as_millis().to_le_bytes());
        framed(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = unframed(bytes, MAGIC)?;
        let ([_, word, fruitless, _], rest) = rest.split_first_chunk::<4>()?;
        let (asked, rest) = rest.split_first_chunk::<8>()?;
        let (next, []) = rest.split_first_chunk::<8>()? else { return None };
        Some(Self {
            outcome: Outcome::of_word(*word)?,
            fruitless: *fruitless,
            asked: Timestamp::from_millis(u64::from_le_bytes(*asked)),
            next: Timestamp::from_millis(u64::from_le_bytes(*next)),
        })
    }
}

/// No pause between two probes is longer.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

const MAGIC: [u8; 4] = *b"svp1";
const SAME_START: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::node::fake::Fake;

    const KEY: &str = "sv1/p/redis";
    const PAUSE: Duration = Duration::from_millis(500);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn one_worker_asks_and_all_know() {
        let mut data = Fake::default();
        let [mut a, mut b] = [Readiness::new(PAUSE, at(0)), Readiness::new(PAUSE, at(3))];
        assert!(a.claim(&mut data, KEY, at(10)));
        assert!(!b.claim(&mut data, KEY, at(11)));
        assert_eq!(b.outcome(), Outcome::Unknown);
        assert!(a.conclude(&mut data, KEY, Outcome::Ready, at(12)));
        assert!(!b.claim(&mut data, KEY, at(13)) && !a.claim(&mut data, KEY, at(100_000)));
        assert_eq!(b.outcome(), Outcome::Ready);
    }

    #[test]
    fn probes_without_success_are_repeated_with_longer_pauses_up_to_the_longest() {
        let mut data = Fake::default();
        let mut worker = Readiness::new(PAUSE, at(0));
        let mut now = 0;
        for pause in [1000, 2000, 4000, 8000, 10_000, 10_000] {
            assert!(worker.claim(&mut data, KEY, at(now)), "{now}");
            let news = worker.conclude(&mut data, KEY, Outcome::Unauthorized, at(now));
            assert_eq!(news, now == 0, "told once");
            assert!(!worker.claim(&mut data, KEY, at(now + pause - 1)), "{now}");
            now += pause;
        }
        assert!(worker.claim(&mut data, KEY, at(now)));
        assert!(worker.claim(&mut data, KEY, Timestamp::from_millis(5)), "the clock was set back");
    }

    #[test]
    fn a_probe_whose_worker_died_is_made_by_another() {
        let mut data = Fake::default();
        let [mut a, mut b] = [Readiness::new(PAUSE, at(0)), Readiness::new(PAUSE, at(0))];
        assert!(a.claim(&mut data, KEY, at(0)));
        assert!(!b.claim(&mut data, KEY, at(499)));
        assert!(b.claim(&mut data, KEY, at(500)));
    }

    #[test]
    fn what_was_found_under_an_earlier_configuration_or_is_damaged_is_found_out_anew() {
        let mut data = Fake::default();
        let mut old = Readiness::new(PAUSE, at(0));
        assert!(old.claim(&mut data, KEY, at(0)));
        old.conclude(&mut data, KEY, Outcome::Ready, at(1));
        let mut new = Readiness::new(PAUSE, at(60_000));
        assert!(new.claim(&mut data, KEY, at(60_000)));
        let bytes = data.get(KEY).unwrap().0.clone();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Shared::decode(&damaged), None);
            assert_eq!(Shared::decode(&bytes[..at]), None);
        }
    }
}

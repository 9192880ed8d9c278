//! How the origin has answered: how many times, how often with a failure, and how long it took, in bins.

use std::time::Duration;

use crate::host::wire::{take_u64, unframed};

/// What workers have heard of origins. It only grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Answers.
    pub all: u64,
    /// Those with a status of 5xx, or none.
    pub failed: u64,
    /// How many took how long.
    pub took: [u64; BINS],
}

impl Default for Answers {
    fn default() -> Self {
        Self { all: 0, failed: 0, took: [0; BINS] }
    }
}

impl Answers {
    /// One more.
    pub fn note(&mut self, status: u16, took: Duration) {
        self.all = self.all.saturating_add(1);
        self.failed = self.failed.saturating_add(u64::from(!(100..500).contains(&status)));
        if let Some(bin) = self.took.get_mut(bin(took)) {
            *bin = bin.saturating_add(1);
        }
    }

    /// These too.
    pub fn add(&mut self, other: &Self) {
        self.all = self.all.saturating_add(other.all);
        self.failed = self.failed.saturating_add(other.failed);
        for (own, others) in self.took.iter_mut().zip(other.took) {
            *own = own.saturating_add(others);
        }
    }

    /// Those that have come since. Sums that are smaller than before began anew.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut rest = self.clone();
        if before.all <= self.all {
            rest.all -= before.all;
            rest.failed = rest.failed.saturating_sub(before.failed);
            for (own, earlier) in rest.took.iter_mut().zip(before.took) {
                *own = own.saturating_sub(earlier);
            }
        }
        rest
    }

    /// How many took longer than a bin.
    pub fn slower(&self, than: usize) -> u64 {
        self.took.iter().skip(than.saturating_add(1)).fold(0, |sum, bin| sum.saturating_add(*bin))
    }

    /// The bin that 99 of 100 are not beyond.
    pub fn p99(&self) -> usize {
        let timed = self.took.iter().fold(0_u64, |sum, bin| sum.saturating_add(*bin));
        let beyond = timed / 100;
        (0..BINS).find(|bin| self.slower(*bin) <= beyond).unwrap_or(BINS - 1)
    }

    /// For shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for number in [self.all, self.failed].iter().chain(&self.took) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        crate::host::wire::framed(out)
    }

    /// `None` for bytes of anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut body = unframed(bytes, MAGIC)?;
        let mut answers = Self { all: take_u64(&mut body)?, failed: take_u64(&mut body)?, took: [0; BINS] };
        for bin in &mut answers.took {
            *bin = take_u64(&mut body)?;
        }
        body.is_empty().then_some(answers)
    }
}

/// The bin of a duration: four to each doubling of a millisecond.
fn bin(took: Duration) -> usize {
    let quarters = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).saturating_mul(4);
    let Some(octave) = quarters.checked_ilog2().and_then(|log| log.checked_sub(2)) else { return 0 };
    // The two bits after the leading one.
    let part = (quarters >> octave) & 3;
    (octave as usize * 4 + part as usize).min(BINS - 1)
}

/// Where a bin begins, in milliseconds.
pub fn millis(bin: usize) -> f64 {
    let (octave, part) = (bin / 4, bin % 4);
    (1_u64 << octave.min(40)) as f64 * (1.0 + part as f64 / 4.0)
}

/// Up to 18 hours.
pub const BINS: usize = 104;
const MAGIC: [u8; 4] = *b"sva1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_within_a_fifth_of_where_its_bin_begins() {
        assert_eq!(bin(Duration::ZERO), 0);
        for took in (1..100_000_u64).chain([u64::MAX]) {
            let begins = millis(bin(Duration::from_millis(took)));
            assert!(
                took == u64::MAX || begins <= took as f64 && took as f64 <= begins * 1.251,
                "{took}: {begins}"
            );
        }
    }

    #[test]
    fn the_slowest_of_a_hundred_are_beyond_the_p99() {
        let mut answers = Answers::default();
        for took in 0..1000 {
            answers.note(
                if took % 10 == 0 { 503 } else { 200 },
                Duration::from_millis(if took < 10 { 5000 } else { 40 }),
            );
        }
        assert_eq!((answers.all, answers.failed), (1000, 100));
        assert_eq!(millis(answers.p99()), 40.0);
        assert_eq!(answers.slower(answers.p99()), 10);
        assert_eq!(Answers::decode(&answers.encode()), Some(answers.clone()));
        assert_eq!(Answers::decode(b"sva1"), None);
        let later = {
            let mut later = answers.clone();
            later.note(200, Duration::ZERO);
            later
        };
        assert_eq!(later.since(&answers).all, 1);
        assert_eq!(answers.since(&later), answers, "it began anew");
    }
}

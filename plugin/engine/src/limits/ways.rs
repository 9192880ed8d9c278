//! What workers share of the keys at one place, as one value in host shared data.
//!
//! ```text
//! magic "svl1" · crowded until u64
//! n × ( hash u128 · level i64 · at u64 · full at u64 · lent now u32 · lent before u32 )
//! xxh3 of all before u64
//! ```
//!
//! Little endian; times in milliseconds since the epoch. A key that is not there has a
//! full bucket, so one that is full again, and of which nothing is lent, is as good as a free way.

use super::bucket::{Bucket, Rate};
use crate::host::wire::{framed, take, take_u32, take_u64, take_u128, unframed};

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub hash: u128,
    pub bucket: Bucket,
    /// When it is as good as free, if nothing happens to it.
    pub full_at: u64,
    /// Tokens that workers hold, lent in the epoch of the bucket's time and in the one before. Older ones are forgotten.
    pub lent: [u32; 2],
}

impl Way {
    /// A key that nothing was taken from.
    pub fn full(hash: u128, rate: &Rate, now_ms: u64) -> Self {
        let bucket = Bucket::full(rate, now_ms);
        Self { hash, bucket, full_at: now_ms, lent: [0; 2] }
    }

    /// Brings it to this moment: what was lent long ago is forgotten, and then it fills, so far that what is lent and what is
    /// there are a burst together.
    pub fn advance(&mut self, rate: &Rate, sharers: u64, now_ms: u64) {
        self.forget(now_ms);
        let room = rate.full() / i64::try_from(sharers.max(1)).unwrap_or(1) - rate.units(self.lent());
        self.bucket.fill(rate, room, sharers, now_ms);
    }

    /// The same for one that no time fills.
    pub fn forget(&mut self, now_ms: u64) {
        forget(&mut self.lent, self.bucket.at_ms, now_ms);
    }

    /// Tokens that workers may hold.
    pub fn lent(&self) -> u64 {
        self.lent.iter().map(|tokens| u64::from(*tokens)).sum()
    }

    /// Notes when it will be full again.
    pub fn note_full_at(&mut self, rate: &Rate, sharers: u64) {
        let missing = rate.full().saturating_sub(self.bucket.level);
        let fills_in = rate.time_for(missing).saturating_mul(sharers.max(1));
        // What is lent must be forgotten too.
        let settles_in = if self.lent() > 0 { 2 * EPOCH_MS } else { 0 };
        self.full_at = self.bucket.at_ms.saturating_add(fills_in.max(settles_in));
    }

    /// Some of what was lent in `epoch` was spent, and the rest came back.
    pub fn settle(&mut self, back: Back, rate: &Rate) {
        let tokens = take_back(&mut self.lent, self.bucket.at_ms, back);
        self.bucket.level = self.bucket.level.saturating_add(rate.units(tokens.into()));
    }
}

/// Forgets what was lent too long ago: of the tokens lent in the epoch of `at_ms` and in the one before.
pub(super) fn forget(lent: &mut [u32; 2], at_ms: u64, now_ms: u64) {
    let [now, before] = *lent;
    *lent = match epoch(now_ms).saturating_sub(epoch(at_ms)) {
        0 => [now, before],
        1 => [0, now],
        _ => [0; 2],
    };
}

/// Settles what became of some of them. Gives those that come back unspent.
pub(super) fn take_back(lent: &mut [u32; 2], at_ms: u64, back: Back) -> u32 {
    let age = epoch(at_ms).checked_sub(back.epoch);
    let lent = age.and_then(|age| lent.get_mut(usize::try_from(age).unwrap_or(usize::MAX)));
    // What was forgotten is no longer anybody's to give back.
    let Some(lent) = lent.filter(|lent| **lent >= back.lent) else { return 0 };
    *lent -= back.lent;
    back.left.min(back.lent)
}

/// What becomes of what a worker was lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Back {
    /// Tokens.
    pub lent: u32,
    /// The epoch in which they were.
    pub epoch: u64,
    /// Those of them that it has not spent.
    pub left: u32,
}

/// What is lent is forgotten with the end of the next epoch, by those who hold it and by the node.
pub(super) const EPOCH_MS: u64 = 500;

/// The epoch of a moment.
pub(super) const fn epoch(now_ms: u64) -> u64 {
    now_ms / EPOCH_MS
}

/// All keys at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ways {
    /// Until then keys that found no way here may be short of what they took elsewhere.
    pub crowded_until: u64,
    pub ways: Vec<Way>,
}

impl Ways {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 8 + self.ways.len() * WAY_BYTES + 8);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.crowded_until.to_le_bytes());
        for way in &self.ways {
            out.extend_from_slice(&way.hash.to_le_bytes());
            out.extend_from_slice(&way.bucket.level.to_le_bytes());
            out.extend_from_slice(&way.bucket.at_ms.to_le_bytes());
            out.extend_from_slice(&way.full_at.to_le_bytes());
            for number in way.lent {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        framed(out)
    }

    /// `None` if these are not the bytes of such a value.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = &mut unframed(bytes, MAGIC)?;
        let crowded_until = take_u64(rest)?;
        let mut ways = Vec::with_capacity(rest.len() / WAY_BYTES + 1);
        while !rest.is_empty() {
            ways.push(Way {
                hash: take_u128(rest)?,
                bucket: Bucket { level: i64::from_le_bytes(take(rest)?), at_ms: take_u64(rest)? },
                full_at: take_u64(rest)?,
                lent: [take_u32(rest)?, take_u32(rest)?],
            });
        }
        Some(Self { crowded_until, ways })
    }

    /// Where the key is.
    pub fn find(&self, hash: u128) -> Option<usize> {
        self.ways.iter().position(|way| way.hash == hash)
    }

    /// A way for a new key, of at most so many: one that is not used, or as good as free. `None` if there is none.
    pub fn free(&mut self, way: Way, most: usize, now_ms: u64) -> Option<usize> {
        if self.ways.len() < most {
            self.ways.push(way);
            return Some(self.ways.len() - 1);
        }
        let at = self.ways.iter().position(|other| other.full_at <= now_ms)?;
        *self.ways.get_mut(at)? = way;
        Some(at)
    }
}

const MAGIC: [u8; 4] = *b"svl1";
const WAY_BYTES: usize = 16 + 3 * 8 + 2 * 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_was_written_and_a_damaged_one_not_at_all() {
        let rate = Rate::new(10, 1_000, 5);
        let way = |hash| Way { lent: [1, 2], full_at: 9, ..Way::full(hash, &rate, 7) };
        for count in 0..=8 {
            let ways = Ways { crowded_until: count, ways: (0..u128::from(count)).map(way).collect() };
            let bytes = ways.encode();
            assert_eq!(Ways::decode(&bytes), Some(ways));
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert_eq!(Ways::decode(&damaged), None);
                assert_eq!(Ways::decode(&bytes[..at]), None);
            }
        }
    }

    #[test]
    fn what_is_lent_and_what_is_there_are_a_burst_together_until_it_is_forgotten() {
        let rate = Rate::new(1_000, 1_000, 10);
        let mut way = Way::full(1, &rate, 1_000);
        way.bucket.level -= rate.units(6);
        way.lent = [6, 0];
        way.advance(&rate, 1, 1_499);
        assert_eq!((rate.tokens(way.bucket.level), way.lent()), (4, 6));
        way.advance(&rate, 1, 1_999);
        assert_eq!((rate.tokens(way.bucket.level), way.lent), (4, [0, 6]));
        way.advance(&rate, 1, 2_006);
        assert_eq!((rate.tokens(way.bucket.level), way.lent), (10, [0, 0]));
    }

    #[test]
    fn what_comes_back_in_time_counts_and_what_was_forgotten_does_not() {
        let rate = Rate::new(1, 1_000_000, 10);
        let lent = Way {
            lent: [6, 0],
            bucket: Bucket { level: rate.units(4), at_ms: 1_000 },
            ..Way::full(1, &rate, 0)
        };
        for (now, level) in [(1_100, 6), (1_600, 6), (2_100, 4)] {
            let mut way = lent;
            way.advance(&rate, 1, now);
            way.settle(Back { lent: 6, epoch: epoch(1_000), left: 2 }, &rate);
            assert_eq!((rate.tokens(way.bucket.level), way.lent()), (level, 0), "{now}");
        }
    }
}

//! The last purges of a node, in one value of shared data, from which every worker takes what it has not seen.
//!
//! ```text
//! magic "svr1" · next sequence u64 · floor u64 ms · up to 1024 × ( length u16 · purge ), oldest first
//! ```
//!
//! The floor is the time of the newest purge that fell out. A worker that missed some, and a VM that starts after some
//! have fallen out, takes everything of before the floor for purged.

use super::Purge;
use crate::host::wire::{take, take_u64};
use crate::host::{ABSENT, CasMismatch, SharedData};
use crate::time::Timestamp;

/// How far one worker has read.
#[derive(Debug, Default)]
pub struct Ring {
    cursor: u64,
}

/// What a worker has not seen yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Purges, oldest first.
    pub purges: Vec<Purge>,
    /// Some were missed: everything of this time or before may have been purged.
    pub missed_until: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Value {
    next: u64,
    floor: Timestamp,
    entries: Vec<Purge>,
}

impl Ring {
    /// Tells the other workers of purges. Never fails: if the ring cannot be extended under contention it is broken, and
    /// everything of before now counts as purged in every worker.
    pub fn append(&mut self, data: &mut dyn SharedData, purges: &[Purge], now: Timestamp) {
        for _ in 0..TRIES {
            let (mut value, cas) = self.read(data, now);
            let own = value.next == self.cursor;
            for purge in purges {
                value.push(purge.clone());
            }
            if data.set(KEY, &value.encode(), cas).is_ok() {
                if own {
                    self.cursor = value.next;
                }
                return;
            }
        }
        let (value, _) = self.read(data, now);
        // Two that break it at once must not choose the same number.
        let step = JUMP.saturating_add(now.as_millis() % JUMP);
        let broken = Value { next: value.next.saturating_add(step), floor: now, entries: Vec::new() };
        let _: Result<(), CasMismatch> = data.set(KEY, &broken.encode(), 0);
    }

    /// What was purged since the last call, or ever.
    pub fn poll(&mut self, data: &mut dyn SharedData, now: Timestamp) -> News {
        let Some((bytes, cas)) = data.get(KEY) else { return News::default() };
        if next_of(&bytes) == Some(self.cursor) {
            return News::default();
        }
        let Some(value) = Value::decode(&bytes) else {
            let fresh = Value { next: self.cursor.saturating_add(JUMP), floor: now, entries: Vec::new() };
            if data.set(KEY, &fresh.encode(), cas).is_ok() {
                self.cursor = fresh.next;
            }
            return News { purges: Vec::new(), missed_until: Some(now) };
        };
        let first = value.next.saturating_sub(value.entries.len() as u64);
        let read = std::mem::replace(&mut self.cursor, value.next);
        if read > value.next {
            return News { purges: value.entries, missed_until: Some(now) };
        }
        let skipped = usize::try_from(read.saturating_sub(first)).unwrap_or(usize::MAX);
        News {
            purges: value.entries.into_iter().skip(skipped).collect(),
            missed_until: (read < first).then_some(value.floor),
        }
    }

    fn read(&self, data: &mut dyn SharedData, now: Timestamp) -> (Value, u32) {
        match data.get(KEY) {
            None => (Value::default(), ABSENT),
            Some((bytes, cas)) => {
                let lost =
                    || Value { next: self.cursor.saturating_add(JUMP), floor: now, entries: Vec::new() };
                (Value::decode(&bytes).unwrap_or_else(lost), cas)
            }
        }
    }
}

impl Value {
    fn push(&mut self, purge: Purge) {
        if self.entries.len() >= CAPACITY {
            self.floor = self.floor.max(self.entries.remove(0).at);
        }
        self.entries.push(purge);
        self.next = self.next.saturating_add(1);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len().saturating_mul(38).saturating_add(20));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&self.floor.as_millis().to_le_bytes());
        for purge in &self.entries {
            let purge = purge.encode();
            bytes.extend_from_slice(&u16::try_from(purge.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend_from_slice(&purge);
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if take(&mut bytes)? != MAGIC {
            return None;
        }
        let next = take_u64(&mut bytes)?;
        let floor = Timestamp::from_millis(take_u64(&mut bytes)?);
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from(u16::from_le_bytes(take(&mut bytes)?));
            let (purge, rest) = bytes.split_at_checked(length).filter(|_| entries.len() < CAPACITY)?;
            entries.push(Purge::decode(purge)?);
            bytes = rest;
        }
        (entries.len() as u64 <= next).then_some(Self { next, floor, entries })
    }
}

/// The sequence without the rest: most polls need no more.
fn next_of(mut bytes: &[u8]) -> Option<u64> {
    (take(&mut bytes)? == MAGIC).then(|| take_u64(&mut bytes))?
}

/// Shared-data key of the ring.
const KEY: &str = "sv1/p";
const MAGIC: [u8; 4] = *b"svr1";
/// Purges kept: four requests of the most purges that one may have.
const CAPACITY: usize = 1024;
/// A step that no reader can mistake for a continuation.
const JUMP: u64 = 1 << 20;
const TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::{Mode, What};
    use super::*;
    use crate::store::node::fake::Fake;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn tag(n: u64) -> Purge {
        Purge { what: What::Tag(n), mode: Mode::Hard, at: at(n), namespace: 0, id: n }
    }

    fn some(range: std::ops::Range<u64>) -> News {
        News { purges: range.map(tag).collect(), missed_until: None }
    }

    #[test]
    fn each_worker_reads_what_the_others_purged_once_and_a_new_one_reads_all() {
        let mut data = Fake::default();
        let [mut a, mut b] = [Ring::default(), Ring::default()];
        assert_eq!(b.poll(&mut data, at(0)), News::default());
        a.append(&mut data, &[tag(1), tag(2)], at(2));
        assert_eq!(b.poll(&mut data, at(2)), some(1..3));
        assert_eq!(b.poll(&mut data, at(2)), News::default());
        assert_eq!(a.poll(&mut data, at(2)), News::default());
        b.append(&mut data, &[tag(3)], at(3));
        assert_eq!(a.poll(&mut data, at(3)), some(3..4));
        assert_eq!(Ring::default().poll(&mut data, at(9)), some(1..4));
    }

    #[test]
    fn who_missed_some_takes_all_of_before_the_floor_for_purged() {
        let mut data = Fake::default();
        let [mut a, mut b] = [Ring::default(), Ring::default()];
        let most = CAPACITY as u64;
        a.append(&mut data, &(0..most).map(tag).collect::<Vec<_>>(), at(0));
        assert_eq!(b.poll(&mut data, at(0)), some(0..most));
        a.append(&mut data, &[tag(most)], at(0));
        assert_eq!(b.poll(&mut data, at(0)), some(most..most + 1));
        a.append(&mut data, &(0..most + 5).map(tag).collect::<Vec<_>>(), at(0));
        assert_eq!(b.poll(&mut data, at(0)).missed_until, Some(at(most)));
        let news = Ring::default().poll(&mut data, at(0));
        assert_eq!((news.purges.len(), news.missed_until), (CAPACITY, Some(at(most))));
    }

    #[test]
    fn what_cannot_be_written_or_read_purges_everything() {
        let mut data = Fake::default();
        let [mut a, mut b] = [Ring::default(), Ring::default()];
        a.append(&mut data, &[tag(1)], at(1));
        b.poll(&mut data, at(1));
        data.refuse_cas = true;
        a.append(&mut data, &[tag(2)], at(50));
        data.refuse_cas = false;
        assert_eq!(b.poll(&mut data, at(60)).missed_until, Some(at(50)));
        data.put_raw(KEY, b"something else");
        assert_eq!(b.poll(&mut data, at(70)).missed_until, Some(at(70)));
        assert_eq!(b.poll(&mut data, at(71)), News::default());
        assert!(a.poll(&mut data, at(72)).missed_until.is_some());
    }
}

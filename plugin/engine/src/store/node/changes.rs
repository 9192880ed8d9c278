//! The log of changes: keys whose stored responses were invalidated or freshened, for the other workers' own
//! stores.
//!
//! A ring in one shared-data value. Each worker remembers how far it has read. One that fell behind the ring
//! is told so and must drop all it has: forgetting too much costs a miss, forgetting too little serves what
//! was invalidated.
//!
//! ```text
//! magic "svc1" · next sequence u64 · up to 256 × ( hash u128 · time u64 ms ), oldest first
//! ```

use super::{ABSENT, NodeStore, SharedData, TRIES, names};
use crate::host::wire::{take, take_u64, take_u128};

/// What other workers changed since the last poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Nothing.
    None,
    /// These keys, each with the time of its change in milliseconds; oldest first, a key may occur more than
    /// once.
    Keys(Vec<(u128, u64)>),
    /// Too much to tell: drop every response stored by this worker.
    Lost,
}

/// The decoded ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ring {
    next: u64,
    entries: Vec<(u128, u64)>,
}

const MAGIC: [u8; 4] = *b"svc1";
const CAPACITY: usize = 256;
/// A step that no reader can mistake for a continuation.
const JUMP: u64 = 1 << 20;

impl NodeStore {
    /// Tells the other workers that a key's stored responses have changed. This worker is not told.
    ///
    /// Never fails: if the ring cannot be extended under contention it is broken, and every worker reads
    /// [`Changes::Lost`].
    pub fn append_change(&mut self, data: &mut dyn SharedData, hash: u128, now_ms: u64) {
        self.attach(data);
        for _ in 0..TRIES {
            let (mut ring, cas) = self.ring(data);
            let own = ring.next == self.cursor;
            ring.push((hash, now_ms));
            if data.set(names::CHANGES, &ring.encode(), cas).is_ok() {
                if own {
                    self.cursor = ring.next;
                }
                return;
            }
        }
        self.break_changes(data, now_ms);
    }

    /// Tells every worker, this one too, to drop all it has: for a purge of everything.
    pub fn break_changes(&mut self, data: &mut dyn SharedData, now_ms: u64) {
        self.attach(data);
        let (ring, _) = self.ring(data);
        // Two workers that break the ring at once must not choose the same number, or a third that has seen
        // the one break would not see the other: hence the worker's own place in the buckets.
        let step = JUMP.saturating_add((now_ms ^ u64::from(self.hand.unwrap_or(0)) << 8) % JUMP);
        let broken = Ring { next: ring.next.saturating_add(step), entries: Vec::new() };
        // Unconditional: it cannot lose a change, since everyone is told to drop everything.
        let _ = data.set(names::CHANGES, &broken.encode(), 0);
    }

    /// What other workers changed since the last call, or since [`NodeStore::attach`].
    pub fn poll_changes(&mut self, data: &mut dyn SharedData) -> Changes {
        self.attach(data);
        let (ring, cas) = match data.get(names::CHANGES) {
            None if self.cursor == 0 => return Changes::None,
            None => (None, ABSENT),
            Some((bytes, cas)) => (Ring::decode(&bytes), cas),
        };
        let Some(ring) = ring else {
            let fresh = Ring { next: self.cursor.saturating_add(JUMP), entries: Vec::new() };
            if data.set(names::CHANGES, &fresh.encode(), cas).is_ok() {
                self.cursor = fresh.next;
            }
            return Changes::Lost;
        };
        let first = ring.next.saturating_sub(ring.entries.len() as u64);
        let read = self.cursor;
        self.cursor = ring.next;
        if read == ring.next {
            Changes::None
        } else if read < first || read > ring.next {
            Changes::Lost
        } else {
            Changes::Keys(ring.entries.into_iter().skip(read.saturating_sub(first) as usize).collect())
        }
    }

    /// Starts reading with the oldest change in the ring: what was invalidated lately, before this worker began, may still
    /// be in the remote store.
    pub(super) fn start_changes(&mut self, data: &mut dyn SharedData) {
        let ring = self.ring(data).0;
        self.cursor = ring.next.saturating_sub(ring.entries.len() as u64);
    }

    fn ring(&self, data: &mut dyn SharedData) -> (Ring, u32) {
        match data.get(names::CHANGES) {
            None => (Ring::default(), ABSENT),
            Some((bytes, cas)) => {
                let unreadable = || Ring { next: self.cursor.saturating_add(JUMP), entries: Vec::new() };
                (Ring::decode(&bytes).unwrap_or_else(unreadable), cas)
            }
        }
    }
}

impl Ring {
    fn push(&mut self, change: (u128, u64)) {
        if self.entries.len() >= CAPACITY {
            self.entries.remove(0);
        }
        self.entries.push(change);
        self.next = self.next.saturating_add(1);
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if take(&mut bytes)? != MAGIC {
            return None;
        }
        let next = take_u64(&mut bytes)?;
        if !bytes.len().is_multiple_of(24) || bytes.len() / 24 > CAPACITY {
            return None;
        }
        let mut entries = Vec::with_capacity(bytes.len() / 24);
        while !bytes.is_empty() {
            entries.push((take_u128(&mut bytes)?, take_u64(&mut bytes)?));
        }
        (entries.len() as u64 <= next).then_some(Self { next, entries })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len().saturating_mul(24).saturating_add(12));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.next.to_le_bytes());
        for (hash, time) in &self.entries {
            bytes.extend_from_slice(&hash.to_le_bytes());
            bytes.extend_from_slice(&time.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::{NodeLimits, NodeStore};
    use super::*;

    fn workers(fake: &mut Fake) -> [NodeStore; 2] {
        let limits = NodeLimits { bytes: 1 << 20, object_bytes: 1 << 16, buckets: 16 };
        let mut workers = [NodeStore::new(limits), NodeStore::new(limits)];
        workers.iter_mut().for_each(|worker| worker.attach(fake));
        workers
    }

    #[test]
    fn each_worker_reads_the_changes_of_the_others_once() {
        let mut fake = Fake::default();
        let [mut a, mut b] = workers(&mut fake);
        assert_eq!(b.poll_changes(&mut fake), Changes::None);
        a.append_change(&mut fake, 1, 10);
        a.append_change(&mut fake, 2, 20);
        assert_eq!(b.poll_changes(&mut fake), Changes::Keys(vec![(1, 10), (2, 20)]));
        assert_eq!(b.poll_changes(&mut fake), Changes::None);
        assert_eq!(a.poll_changes(&mut fake), Changes::None);
        a.append_change(&mut fake, 3, 30);
        b.append_change(&mut fake, 4, 40);
        assert_eq!(a.poll_changes(&mut fake), Changes::Keys(vec![(4, 40)]));
    }

    #[test]
    fn a_worker_behind_the_ring_is_told_that_it_lost_changes() {
        let mut fake = Fake::default();
        let [mut a, mut b] = workers(&mut fake);
        for n in 0..CAPACITY as u128 {
            a.append_change(&mut fake, n, 0);
        }
        assert!(matches!(b.poll_changes(&mut fake), Changes::Keys(keys) if keys.len() == CAPACITY));
        for n in 0..=CAPACITY as u128 {
            a.append_change(&mut fake, n, 0);
        }
        assert_eq!(b.poll_changes(&mut fake), Changes::Lost);
        assert_eq!(b.poll_changes(&mut fake), Changes::None);
    }

    #[test]
    fn a_new_worker_is_told_of_what_was_lately_before_it() {
        let mut fake = Fake::default();
        let [mut a, _] = workers(&mut fake);
        a.append_change(&mut fake, 1, 10);
        let [mut late, _] = workers(&mut fake);
        assert_eq!(late.poll_changes(&mut fake), Changes::Keys(vec![(1, 10)]));
        assert_eq!(late.poll_changes(&mut fake), Changes::None);
    }

    #[test]
    fn an_unreadable_ring_makes_every_worker_forget_once() {
        let mut fake = Fake::default();
        let [mut a, mut b] = workers(&mut fake);
        a.append_change(&mut fake, 1, 10);
        fake.put_raw(names::CHANGES, b"something else");
        assert_eq!(a.poll_changes(&mut fake), Changes::Lost);
        assert_eq!(a.poll_changes(&mut fake), Changes::None);
        assert_eq!(b.poll_changes(&mut fake), Changes::Lost);
        a.append_change(&mut fake, 2, 20);
        assert_eq!(b.poll_changes(&mut fake), Changes::Keys(vec![(2, 20)]));
    }

    #[test]
    fn a_change_that_cannot_be_appended_is_never_silently_lost() {
        let mut fake = Fake::default();
        let [mut a, mut b] = workers(&mut fake);
        a.append_change(&mut fake, 0, 5);
        fake.refuse_cas = true;
        a.append_change(&mut fake, 1, 10);
        fake.refuse_cas = false;
        assert_eq!(b.poll_changes(&mut fake), Changes::Lost);
        assert_eq!(a.poll_changes(&mut fake), Changes::Lost);
    }
}

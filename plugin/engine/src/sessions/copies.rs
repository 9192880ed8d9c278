//! What a worker remembers of sessions: within a number and a number of bytes.
//!
//! A table of sets: an id has its place in one of them, and there it takes that of the one that was used longest ago. So whatever
//! ids somebody makes up, looking one up costs the same.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use super::record::Found;
use crate::time::Timestamp;

/// A session as Redis has told it.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    /// `None`: there is none.
    pub found: Option<Rc<Found>>,
    /// When it was asked for: purges of this time or later cover it.
    pub asked_at: Timestamp,
    /// Until when it is gone by.
    pub until: Timestamp,
    /// When Redis was last told to keep it.
    pub touched: Timestamp,
}

/// One of the table.
#[derive(Clone, Debug)]
struct Entry {
    id: Box<str>,
    copy: Copy,
    used: u64,
}

/// They.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// None, before there is one.
    places: Vec<Option<Entry>>,
    sets: usize,
    known: usize,
    bytes: usize,
    most_bytes: usize,
    uses: u64,
    /// From where on room is made.
    hand: usize,
}

impl Copies {
    /// Room for so many, and for so many bytes.
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self { sets: (most / WAYS).max(1), most_bytes, ..Self::default() }
    }

    /// What is known of an id, however old.
    pub(super) fn get(&mut self, id: &str) -> Option<&mut Copy> {
        self.uses += 1;
        let uses = self.uses;
        let entry = self.set_of(id)?.iter_mut().flatten().find(|entry| *entry.id == *id)?;
        entry.used = uses;
        Some(&mut entry.copy)
    }

    /// Remembers it.
    #[inline(never)]
    pub(super) fn put(&mut self, id: &str, copy: Copy) {
        self.remove(id);
        let bytes = bytes_of(id, &copy);
        if bytes > self.most_bytes {
            return;
        }
        if self.places.is_empty() {
            self.places.resize(self.sets * WAYS, None);
        }
        while self.known > 0 && self.bytes.saturating_add(bytes) > self.most_bytes {
            self.hand = (self.hand + 1) % self.places.len();
            let gone = self.places.get_mut(self.hand).and_then(Option::take);
            self.note_gone(gone.as_ref());
        }
        self.uses += 1;
        let entry = Entry { id: id.into(), copy, used: self.uses };
        let Some(set) = self.set_of(id) else { return };
        let oldest = set.iter_mut().min_by_key(|place| place.as_ref().map_or(0, |entry| entry.used));
        let gone = oldest.and_then(|place| place.replace(entry));
        self.note_gone(gone.as_ref());
        self.known += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Forgets it. Whether it was known.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let is_it = |place: &&mut Option<Entry>| place.as_ref().is_some_and(|entry| *entry.id == *id);
        let gone = self.set_of(id).and_then(|set| set.iter_mut().find(is_it)).and_then(Option::take);
        self.note_gone(gone.as_ref());
        gone.is_some()
    }

    /// How many there are, and their bytes.
    pub(super) const fn usage(&self) -> (usize, usize) {
        (self.known, self.bytes)
    }

    fn set_of(&mut self, id: &str) -> Option<&mut [Option<Entry>]> {
        let first = (xxh3_64(id.as_bytes()) % self.sets.max(1) as u64) as usize * WAYS;
        self.places.get_mut(first..first + WAYS)
    }

    fn note_gone(&mut self, gone: Option<&Entry>) {
        if let Some(entry) = gone {
            self.known = self.known.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes_of(&entry.id, &entry.copy));
        }
    }
}

fn bytes_of(id: &str, copy: &Copy) -> usize {
    id.len() + size_of::<Entry>() + copy.found.as_ref().map_or(0, |found| found.bytes())
}

/// Places of a set.
const WAYS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn copy(bytes: usize) -> Copy {
        let value = Some(vec![b'v'; bytes].into());
        Copy {
            found: Some(Rc::new(Found { values: vec![value], lasts: Duration::ZERO })),
            asked_at: Timestamp::default(),
            until: Timestamp::default(),
            touched: Timestamp::default(),
        }
    }

    #[test]
    fn no_more_are_kept_than_may_be_and_those_that_are_used_stay() {
        let mut copies = Copies::new(100, 1 << 20);
        assert!(copies.get("used").is_none() && !copies.remove("used"));
        copies.put("used", copy(1));
        for nth in 0..1000 {
            copies.put(&nth.to_string(), copy(1));
            assert!(copies.get("used").is_some(), "{nth}");
            assert!(copies.usage().0 <= 100);
        }
        assert!(copies.get("999").is_some());
        assert!(copies.usage().0 > 80, "{:?}", copies.usage());
        for nth in 0..1000 {
            copies.remove(&nth.to_string());
        }
        assert!(copies.remove("used"));
        assert_eq!(copies.usage(), (0, 0));
    }

    #[test]
    fn no_more_bytes_are_kept_than_may_be() {
        let mut copies = Copies::new(1000, 10_000);
        for nth in 0..500 {
            copies.put(&(nth % 50).to_string(), copy(nth * 7 % 900));
            assert!(copies.usage().1 <= 10_000);
            assert!(copies.get(&(nth % 50).to_string()).is_some(), "{nth}");
        }
        copies.put("large", copy(10_001));
        assert!(copies.get("large").is_none());
    }
}

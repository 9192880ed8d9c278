//! What is kept for each of many names, such as breakers and metrics, within a bound.
//!
//! Names come from configuration or from requests, so nothing but a bound keeps their number small. Entries that
//! have not been used for a while are swept by tick, a few at a time; when there is no room the one used least
//! lately leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;

/// At most so many entries by name.
#[derive(Clone, Debug)]
pub struct Registry<T> {
    limits: Limits,
    entries: BTreeMap<Arc<str>, Entry<T>>,
    /// The names by their last use, which is counted.
    uses: BTreeMap<u64, Arc<str>>,
    last_use: u64,
    counters: Counters,
}

/// The bounds of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries at most; 0 keeps none. Default 256.
    pub entries: usize,
    /// After this long without use an entry may be swept. Default ten minutes.
    pub idle: Duration,
    /// Bytes of a name at most; nothing is kept for a longer one. Default 256.
    pub name_bytes: usize,
}

/// What is kept for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// The caller's.
    pub value: T,
    created: Timestamp,
    last_activity: Timestamp,
    used: u64,
}

/// What has left a registry, or was not let in. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries made.
    pub created: u64,
    /// Entries that left because nobody had used them for long.
    pub swept: u64,
    /// Entries that left to make room.
    pub evicted: u64,
    /// Uses for which nothing was kept: the name was too long, or no entry is allowed.
    pub refused: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 256, idle: Duration::from_secs(600), name_bytes: 256 }
    }
}

impl<T> Registry<T> {
    /// An empty one.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            uses: BTreeMap::new(),
            last_use: 0,
            counters: Counters { created: 0, swept: 0, evicted: 0, refused: 0 },
        }
    }

    /// The entry of a name, which counts as a use of it; made by `make` if there is none.
    ///
    /// `None` if nothing may be kept for the name. Whatever the caller would have done with the entry is then
    /// to be done without: a breaker passes, a metric is not counted.
    pub fn entry(&mut self, name: &str, now: Timestamp, make: impl FnOnce() -> T) -> Option<&mut Entry<T>> {
        if !self.entries.contains_key(name) {
            if name.len() > self.limits.name_bytes || self.limits.entries == 0 {
                self.counters.refused += 1;
                return None;
            }
            self.make_room(1);
            let name: Arc<str> = name.into();
            self.last_use += 1;
            self.uses.insert(self.last_use, name.clone());
            let entry = Entry { value: make(), created: now, last_activity: now, used: self.last_use };
            self.entries.insert(name, entry);
            self.counters.created += 1;
        }
        let entry = self.entries.get_mut(name)?;
        entry.last_activity = now;
        if entry.used != self.last_use
            && let Some(name) = self.uses.remove(&entry.used)
        {
            self.last_use += 1;
            entry.used = self.last_use;
            self.uses.insert(self.last_use, name);
        }
        Some(entry)
    }

    /// Looks at an entry. This is no use of it.
    pub fn peek(&self, name: &str) -> Option<&Entry<T>> {
        self.entries.get(name)
    }

    /// As [`Registry::peek`], to change what is kept.
    pub fn peek_mut(&mut self, name: &str) -> Option<&mut T> {
        self.entries.get_mut(name).map(|entry| &mut entry.value)
    }

    /// All entries, by name. Going through them is no use of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry<T>)> {
        self.entries.iter().map(|(name, entry)| (&**name, entry))
    }

    /// Removes entries that have been idle for too long, those used least lately first and `steps` at most. How
    /// many there were; if it is `steps` there may be more.
    pub fn sweep(&mut self, now: Timestamp, steps: usize) -> usize {
        for step in 0..steps {
            let oldest = self.uses.first_key_value().and_then(|(_, name)| self.entries.get(name));
            if oldest.is_none_or(|entry| now.since(entry.last_activity) < self.limits.idle) {
                return step;
            }
            self.remove_oldest();
            self.counters.swept += 1;
        }
        steps
    }

    /// Changes the bounds; entries that are too many leave at once.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.make_room(0);
    }

    /// Entries kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What has happened so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn make_room(&mut self, wanted: usize) {
        while self.entries.len().saturating_add(wanted) > self.limits.entries && self.remove_oldest() {
            self.counters.evicted += 1;
        }
    }

    fn remove_oldest(&mut self) -> bool {
        self.uses.pop_first().is_some_and(|(_, name)| self.entries.remove(&name).is_some())
    }
}

impl<T> Entry<T> {
    /// When it was made.
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// When it was last used.
    pub const fn last_activity(&self) -> Timestamp {
        self.last_activity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    fn registry(entries: usize) -> Registry<u64> {
        Registry::new(Limits { entries, idle: Duration::from_secs(60), name_bytes: 8 })
    }

    fn names(registry: &Registry<u64>) -> Vec<&str> {
        registry.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn an_entry_is_made_once_and_knows_its_times() {
        let mut registry = registry(4);
        registry.entry("a", at(0), || 7).unwrap().value += 1;
        let entry = registry.entry("a", at(5), || 0).unwrap();
        assert_eq!((entry.value, entry.created(), entry.last_activity()), (8, at(0), at(5)));
        assert_eq!((registry.len(), registry.counters().created), (1, 1));
    }

    #[test]
    fn the_one_used_least_lately_leaves_when_there_is_no_room() {
        let mut registry = registry(3);
        for name in ["a", "b", "c", "a", "d"] {
            registry.entry(name, at(0), || 0);
        }
        assert_eq!(names(&registry), ["a", "c", "d"]);
        registry.set_limits(Limits { entries: 1, ..Limits::default() });
        assert_eq!(names(&registry), ["d"]);
        assert_eq!(registry.counters().evicted, 3);
    }

    #[test]
    fn idle_entries_are_swept_a_few_at_a_time() {
        let mut registry = registry(10);
        for name in ["a", "b", "c", "d"] {
            registry.entry(name, at(0), || 0);
        }
        registry.entry("a", at(30), || 0);
        assert_eq!(registry.sweep(at(59), 10), 0);
        assert_eq!(registry.sweep(at(60), 2), 2);
        assert_eq!(registry.sweep(at(60), 10), 1);
        assert_eq!((names(&registry), registry.counters().swept), (vec!["a"], 3));
        assert_eq!(registry.sweep(at(0), 10), 0, "a clock set back sweeps nothing");
    }

    #[test]
    fn long_names_and_no_room_at_all_keep_nothing() {
        let mut registry = registry(2);
        assert!(registry.entry("123456789", at(0), || 0).is_none());
        registry.set_limits(Limits { entries: 0, ..Limits::default() });
        assert!(registry.entry("a", at(0), || 0).is_none());
        assert_eq!((registry.len(), registry.counters().refused), (0, 2));
        assert_eq!(registry.sweep(at(1000), 5), 0);
    }

    #[test]
    fn whatever_is_done_it_never_holds_more_than_it_may() {
        let mut seed = 1_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut registry = registry(16);
        let mut clock = 0;
        for _ in 0..50_000 {
            clock += random() % 9;
            match random() % 20 {
                0 => _ = registry.sweep(at(clock), (random() % 4) as usize),
                _ => _ = registry.entry(&(random() % 64).to_string(), at(clock), || 0),
            }
            assert!(registry.len() <= 16);
            assert_eq!(registry.len(), registry.uses.len());
            let counters = registry.counters();
            assert_eq!(counters.created - counters.swept - counters.evicted, registry.len() as u64);
        }
        assert!(registry.counters().swept > 0 && registry.counters().evicted > 0);
    }
}

//! What was invalidated lately: what is on its way from before must not bring it back.

use std::collections::{BTreeMap, VecDeque};

use crate::time::Timestamp;

/// The last invalidations that a worker knows of, and up to which there may be gaps.
#[derive(Debug, Default)]
pub(super) struct Invalidations {
    /// When each key was invalidated last. Never `None`; other maps of the cache are of the same type.
    last: BTreeMap<u128, Option<Timestamp>>,
    /// In the order in which they became known.
    order: VecDeque<(u128, Timestamp)>,
    next: Mark,
    forgotten: Forgotten,
}

#[derive(Debug, Default)]
struct Forgotten {
    /// What was invalidated at this time or before is not all known.
    until: Timestamp,
    /// What became known before this is not all known any more.
    before: Mark,
}

/// How many invalidations were known at a moment. What is found in a store is not one of those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(u64);

impl Invalidations {
    pub(super) const fn mark(&self) -> Mark {
        self.next
    }

    pub(super) fn remember(&mut self, hash: u128, at: Timestamp) {
        if self.order.len() >= MOST
            && let Some((hash, at)) = self.order.pop_front()
            && self.last.get(&hash) == Some(&Some(at))
        {
            self.last.remove(&hash);
            self.forgotten.before = Mark(self.next.0.saturating_sub(self.order.len() as u64));
            self.forgotten.until = self.forgotten.until.max(at);
        }
        if !self.is_known(hash, at) {
            self.last.insert(hash, Some(at));
        }
        self.order.push_back((hash, at));
        self.next.0 = self.next.0.saturating_add(1);
    }

    /// Some have not become known.
    pub(super) fn lost(&mut self, now: Timestamp) {
        self.next.0 = self.next.0.saturating_add(1);
        self.forgotten = Forgotten { until: now, before: self.next };
    }

    /// Whether a key was invalidated at `since` or after; `true` if that is so long ago that it is not known.
    pub(super) fn contains(&self, hash: u128, since: Timestamp) -> bool {
        since <= self.forgotten.until || self.is_known(hash, since)
    }

    /// Whether a response that was received at a time, and found in a store at a mark, was invalidated since. What was
    /// forgotten before it was found has done its work in the stores.
    pub(super) fn contains_since_found(&self, hash: u128, received: Timestamp, found: Mark) -> bool {
        found < self.forgotten.before || self.is_known(hash, received)
    }

    fn is_known(&self, hash: u128, since: Timestamp) -> bool {
        self.last.get(&hash).is_some_and(|at| *at >= Some(since))
    }
}

/// Invalidations that are remembered: what the remote store has of before them is not taken in, for its deletion may still be on
/// its way. About 70 bytes each.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + second * 1000)
    }

    #[test]
    fn what_was_asked_for_before_an_invalidation_is_outdated_and_what_was_asked_for_after_it_is_not() {
        let mut known = Invalidations::default();
        known.remember(1, at(10));
        known.remember(1, at(8));
        assert!(known.contains(1, at(9)) && known.contains(1, at(10)));
        assert!(!known.contains(1, at(11)) && !known.contains(2, at(0)));
    }

    #[test]
    fn what_was_forgotten_counts_for_all_that_was_asked_for_before_and_for_nothing_that_was_found_after() {
        let mut known = Invalidations::default();
        let early = known.mark();
        for key in 0..MOST as u128 + 100 {
            known.remember(key, at(key as u64));
        }
        assert_eq!((known.last.len(), known.order.len()), (MOST, MOST));
        assert!(known.contains(u128::MAX, at(99)) && !known.contains(u128::MAX, at(100)));
        assert!(known.contains_since_found(u128::MAX, at(0), early));
        assert!(!known.contains_since_found(u128::MAX, at(0), known.mark()));
        assert!(known.contains_since_found(200, at(0), known.mark()), "one that is known");
    }

    #[test]
    fn a_key_that_is_invalidated_again_and_again_stays_known() {
        let mut known = Invalidations::default();
        for second in 0..3 * MOST as u64 {
            known.remember(7, at(second));
        }
        assert_eq!((known.last.len(), known.order.len()), (1, MOST));
        assert!(!known.contains(8, at(0)), "nothing else was forgotten");
        assert!(known.contains(7, at(5)));
    }

    #[test]
    fn after_a_loss_all_of_before_is_outdated_and_what_is_found_then_is_not() {
        let mut known = Invalidations::default();
        let before = known.mark();
        known.lost(at(10));
        assert!(known.contains(1, at(10)) && !known.contains(1, at(11)));
        assert!(known.contains_since_found(1, at(0), before));
        assert!(!known.contains_since_found(1, at(0), known.mark()));
    }
}

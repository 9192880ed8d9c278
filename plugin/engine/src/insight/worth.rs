//! Of how much use the cache is to each rule. Of the requests whose key is looked for one in [`ONE_OF`] is counted, for so many.

use std::time::Duration;

use crate::stats::ONE_OF;
use crate::time::Timestamp;

/// The counts of one worker, by the rules' indices: some bytes for each rule that there is.
#[derive(Debug, Default)]
pub struct Worth(Vec<Tally>);

/// What came of a rule's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// When the first came.
    since: Option<Timestamp>,
    /// About how many there were, of late.
    requests: u32,
    /// Those among them that a store answered or another's fetch was to, and responses that were stored.
    of_use: u32,
}

/// A rule for which the cache does next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Its index.
    pub rule: usize,
    /// About how many requests it had.
    pub requests: u32,
    /// For how many of them the cache was of use.
    pub of_use: u32,
    /// How long it has been watched.
    pub watched: Duration,
}

impl Worth {
    /// A request whose key was looked for, one of [`ONE_OF`].
    pub fn note_noted(&mut self, rule: usize, of_use: bool, now: Timestamp) {
        self.count(rule, ONE_OF, if of_use { ONE_OF } else { 0 }, now);
    }

    /// A request that the cache had nothing to do with.
    pub fn note_kept_out(&mut self, rule: usize, now: Timestamp) {
        self.count(rule, 1, 0, now);
    }

    /// A response was stored.
    pub fn note_stored(&mut self, rule: usize, now: Timestamp) {
        self.count(rule, 0, 1, now);
    }

    /// The rules that had enough requests to judge by, hardly one of which the cache was of use for.
    pub fn idle(&self, now: Timestamp) -> impl Iterator<Item = Idle> {
        self.0.iter().enumerate().filter_map(move |(rule, tally)| {
            let Tally { since, requests, of_use } = *tally;
            let idle = requests >= ENOUGH && u64::from(of_use) * 100 < u64::from(requests);
            idle.then(|| Idle { rule, requests, of_use, watched: now.since(since.unwrap_or(now)) })
        })
    }

    fn count(&mut self, rule: usize, requests: u32, of_use: u32, now: Timestamp) {
        if self.0.len() <= rule {
            self.0.resize(rule + 1, Tally::default());
        }
        let Some(tally) = self.0.get_mut(rule) else { return };
        tally.since.get_or_insert(now);
        tally.requests = tally.requests.saturating_add(requests);
        tally.of_use = tally.of_use.saturating_add(of_use);
        // What was long ago counts less and less.
        if tally.requests.max(tally.of_use) >= HALVED_AFTER {
            tally.requests /= 2;
            tally.of_use /= 2;
        }
    }
}

/// Fewer requests say nothing.
const ENOUGH: u32 = 1000;
const HALVED_AFTER: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_idle_if_the_cache_is_of_use_to_less_than_one_request_in_a_hundred() {
        let (mut worth, start) = (Worth::default(), Timestamp::from_secs(100));
        for _ in 0..999 {
            worth.note_kept_out(2, start);
        }
        assert_eq!(worth.idle(start).count(), 0);
        worth.note_kept_out(2, start);
        for _ in 0..9 {
            worth.note_stored(2, start);
        }
        let later = start.plus(Duration::from_secs(7));
        let idle: Vec<Idle> = worth.idle(later).collect();
        assert_eq!(idle, [Idle { rule: 2, requests: 1000, of_use: 9, watched: Duration::from_secs(7) }]);
        worth.note_stored(2, start);
        assert_eq!(worth.idle(later).count(), 0);
    }

    #[test]
    fn a_rule_that_begins_to_be_cached_is_soon_not_idle_any_more() {
        let (mut worth, now) = (Worth::default(), Timestamp::from_secs(100));
        for _ in 0..1_000_000 {
            worth.note_noted(0, false, now);
        }
        assert_eq!(worth.idle(now).count(), 1);
        for _ in 0..60 {
            worth.note_noted(0, true, now);
        }
        assert_eq!(worth.idle(now).count(), 0);
        assert!(worth.0[0].requests < HALVED_AFTER);
    }
}

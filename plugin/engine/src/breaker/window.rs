//! What became of the latest calls, in buckets of time.

use std::time::Duration;

use super::CallResult;
use crate::time::Timestamp;

/// Buckets in a window.
pub const BUCKETS: usize = 10;

/// Counts of calls over the last [`BUCKETS`] buckets of time. Its size is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    bucket_ms: u64,
    /// The number of the newest bucket, counted from the epoch.
    newest: u64,
    /// Bucket *n* is at `n % BUCKETS`.
    buckets: [Counts; BUCKETS],
}

/// How many calls became what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered, slow or not.
    pub successes: u32,
    /// Failed.
    pub failures: u32,
    /// Not answered in time.
    pub timeouts: u32,
    /// Of the answered ones, those that were slow.
    pub slow: u32,
}

impl Window {
    /// An empty one. A length of less than 1 ms is one of 1 ms.
    pub fn new(bucket: Duration) -> Self {
        let bucket_ms = u64::try_from(bucket.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { bucket_ms, newest: 0, buckets: [Counts::default(); BUCKETS] }
    }

    /// As it was written by [`Window::parts`].
    pub fn from_parts(bucket_ms: u64, newest: u64, buckets: [Counts; BUCKETS]) -> Self {
        Self { bucket_ms: bucket_ms.max(1), newest, buckets }
    }

    /// The length of a bucket in milliseconds, the newest bucket's number, and the buckets.
    pub const fn parts(&self) -> (u64, u64, &[Counts; BUCKETS]) {
        (self.bucket_ms, self.newest, &self.buckets)
    }

    /// Counts calls at a moment.
    pub fn add(&mut self, now: Timestamp, counts: Counts) {
        let number = self.number(now);
        self.advance(number);
        self.add_to(number, counts);
    }

    /// All calls that are still in the window.
    pub fn total(&self, now: Timestamp) -> Counts {
        let number = self.number(now);
        if self.newest.saturating_sub(number) >= BUCKETS as u64 {
            return Counts::default();
        }
        (0..BUCKETS as u64)
            .filter_map(|back| number.max(self.newest).checked_sub(back))
            .filter(|number| *number <= self.newest && self.newest - number < BUCKETS as u64)
            .fold(Counts::default(), |sum, number| sum.plus(self.at(number)))
    }

    /// Adds the calls of another window. Nothing happens if its buckets are of another length.
    pub fn merge(&mut self, other: &Self, now: Timestamp) {
        if self.newest.saturating_sub(self.number(now)) >= BUCKETS as u64 {
            // Written before the clock was set back: nothing would ever be newer.
            self.clear();
            self.newest = 0;
        }
        let too_old = self.newest.saturating_sub(other.newest) >= BUCKETS as u64;
        if self.bucket_ms != other.bucket_ms || other.is_empty() || too_old {
            return;
        }
        self.advance(other.newest);
        for back in 0..BUCKETS as u64 {
            let Some(number) = other.newest.checked_sub(back) else { break };
            self.add_to(number, other.at(number));
        }
    }

    /// Whether no call in it was bad. A bad one may count for longer than it is in the window while no other follows.
    pub fn is_good(&self) -> bool {
        self.buckets.iter().all(|counts| counts.failures | counts.timeouts | counts.slow == 0)
    }

    /// Forgets the calls of the buckets before the one `moment` is in.
    pub fn forget_before(&mut self, moment: Timestamp) {
        let first = self.number(moment);
        for back in 0..BUCKETS as u64 {
            let Some(number) = self.newest.checked_sub(back) else { break };
            if number < first
                && let Some(bucket) = self.bucket(number)
            {
                *bucket = Counts::default();
            }
        }
    }

    /// Forgets all calls.
    pub fn clear(&mut self) {
        self.buckets = [Counts::default(); BUCKETS];
    }

    /// Whether it holds no call.
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|counts| *counts == Counts::default())
    }

    fn number(&self, now: Timestamp) -> u64 {
        now.as_millis() / self.bucket_ms
    }

    /// Makes `number` one of the window's buckets, and empties those that become new by it.
    fn advance(&mut self, number: u64) {
        let set_back = self.newest.saturating_sub(number) >= BUCKETS as u64;
        if set_back || number.saturating_sub(self.newest) >= BUCKETS as u64 {
            self.clear();
            self.newest = number;
        }
        while self.newest < number {
            self.newest += 1;
            if let Some(bucket) = self.bucket(self.newest) {
                *bucket = Counts::default();
            }
        }
    }

    fn add_to(&mut self, number: u64, counts: Counts) {
        if number <= self.newest
            && self.newest - number < BUCKETS as u64
            && let Some(bucket) = self.bucket(number)
        {
            *bucket = bucket.plus(counts);
        }
    }

    fn at(&self, number: u64) -> Counts {
        self.buckets.get((number % BUCKETS as u64) as usize).copied().unwrap_or_default()
    }

    fn bucket(&mut self, number: u64) -> Option<&mut Counts> {
        self.buckets.get_mut((number % BUCKETS as u64) as usize)
    }
}

impl Counts {
    /// Of one call; `None` if it says nothing about the cluster.
    pub const fn of(result: CallResult, slow: bool) -> Option<Self> {
        let none = Self { successes: 0, failures: 0, timeouts: 0, slow: 0 };
        match result {
            CallResult::Success { .. } => Some(Self { successes: 1, slow: slow as u32, ..none }),
            CallResult::Failure => Some(Self { failures: 1, ..none }),
            CallResult::Timeout => Some(Self { timeouts: 1, ..none }),
            CallResult::Dropped => None,
        }
    }

    /// Both together.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            successes: self.successes.saturating_add(other.successes),
            failures: self.failures.saturating_add(other.failures),
            timeouts: self.timeouts.saturating_add(other.timeouts),
            slow: self.slow.saturating_add(other.slow),
        }
    }

    /// All calls.
    pub const fn calls(self) -> u64 {
        self.successes as u64 + self.failures as u64 + self.timeouts as u64
    }

    /// Those that brought nothing.
    pub const fn failed(self) -> u64 {
        self.failures as u64 + self.timeouts as u64
    }

    /// Those that were waited for too long: one that timed out is slower than any that was slow.
    pub const fn slow_or_late(self) -> u64 {
        self.slow as u64 + self.timeouts as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Counts = Counts { successes: 1, failures: 0, timeouts: 0, slow: 0 };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn window() -> Window {
        Window::new(Duration::from_secs(1))
    }

    #[test]
    fn a_call_leaves_the_window_with_its_bucket() {
        let mut window = window();
        window.add(at(0), ONE);
        window.add(at(5_500), ONE);
        for (moment, calls) in
            [(0, 2), (5_500, 2), (9_999, 2), (10_000, 1), (14_999, 1), (15_000, 0), (1_000_000, 0)]
        {
            assert_eq!(window.total(at(moment)).calls(), calls, "{moment}");
        }
        window.add(at(12_000), ONE);
        assert_eq!(window.total(at(12_000)).calls(), 2);
    }

    #[test]
    fn a_clock_set_back_a_little_counts_and_one_set_back_far_starts_anew() {
        let mut window = window();
        window.add(at(20_000), ONE);
        window.add(at(18_000), ONE);
        assert_eq!(window.total(at(18_000)).calls(), 2);
        assert_eq!(window.total(Timestamp::from_millis(5)).calls(), 0);
        window.add(Timestamp::from_millis(5), ONE);
        assert_eq!(window.total(Timestamp::from_millis(5)).calls(), 1);
        window.add(Timestamp::from_millis(u64::MAX), ONE);
        assert_eq!(window.total(Timestamp::from_millis(u64::MAX)).calls(), 1);
    }

    #[test]
    fn merging_adds_what_both_still_hold() {
        let (mut ours, mut theirs) = (window(), window());
        ours.add(at(0), ONE);
        theirs.add(at(500), ONE);
        theirs.add(at(11_000), ONE);
        ours.merge(&theirs, at(11_000));
        assert_eq!(ours.total(at(11_000)).calls(), 1);
        theirs.merge(&ours, at(11_000));
        assert_eq!(theirs.total(at(11_000)).calls(), 2);
        let other_length = Window::new(Duration::from_secs(2));
        theirs.merge(&other_length, at(11_000));
        theirs.forget_before(at(12_000));
        assert!(theirs.is_empty());
    }

    #[test]
    fn merging_an_old_window_takes_nothing_away() {
        let (mut ours, mut theirs) = (window(), window());
        ours.add(at(60_000), ONE);
        theirs.add(at(0), ONE);
        ours.merge(&theirs, at(60_000));
        assert_eq!(ours.total(at(60_000)).calls(), 1);
        theirs.add(at(500), ONE);
        ours.merge(&theirs, at(500));
        assert_eq!(ours.total(at(500)).calls(), 2, "after the clock was set back");
    }
}

//! How long calls take, on average over the last few seconds.

use std::time::Duration;

use crate::time::Timestamp;

/// An average of latencies in which a call counts half as much after each half-life.
///
/// The weight of a call depends on its age alone, not on how many came after it, so a burst does not outweigh the
/// time before it by more than its number. Nothing is known before [`Latency::LEAST_CALLS`] calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    half_life_ms: f64,
    /// Seconds, each times its weight.
    sum: f64,
    weight: f64,
    calls: u32,
    last: Timestamp,
}

impl Latency {
    /// Fewer calls than this make no average.
    pub const LEAST_CALLS: u32 = 5;

    /// Of no call yet. A half-life of less than 1 ms is one of 1 ms.
    pub fn new(half_life: Duration) -> Self {
        let half_life_ms = (half_life.as_secs_f64() * 1000.0).max(1.0);
        Self { half_life_ms, sum: 0.0, weight: 0.0, calls: 0, last: Timestamp::default() }
    }

    /// Takes one call in. A `now` before the last one counts as the same moment.
    pub fn record(&mut self, latency: Duration, now: Timestamp) {
        let passed_ms = now.since(self.last).as_millis() as f64;
        let kept = (-passed_ms / self.half_life_ms).exp2();
        // An hour is more than any call takes; without a bound one nonsense would be the average for long.
        self.sum = self.sum * kept + latency.as_secs_f64().min(3600.0);
        self.weight = self.weight * kept + 1.0;
        self.calls = self.calls.saturating_add(1);
        self.last = self.last.max(now);
    }

    /// The average; `None` while too few calls are known.
    pub fn mean(&self) -> Option<Duration> {
        if self.calls < Self::LEAST_CALLS {
            return None;
        }
        Duration::try_from_secs_f64(self.sum / self.weight).ok()
    }

    /// Whether these calls take more than `factor` times as long as the origin's. `false` while either is unknown.
    pub fn worse_than(&self, origin: &Self, factor: f64) -> bool {
        match (self.mean(), origin.mean()) {
            (Some(ours), Some(theirs)) => ours.as_secs_f64() > theirs.as_secs_f64() * factor,
            _ => false,
        }
    }

    /// Forgets all calls.
    pub fn clear(&mut self) {
        *self = Self { sum: 0.0, weight: 0.0, calls: 0, last: Timestamp::default(), ..*self };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn steady(latency: Duration, calls: u64) -> Latency {
        let mut average = Latency::new(Duration::from_secs(5));
        (0..calls).for_each(|call| average.record(latency, at(call * 100)));
        average
    }

    #[test]
    fn equal_calls_average_to_themselves_and_few_to_nothing() {
        assert_eq!(steady(20 * MS, 4).mean(), None);
        let mean = steady(20 * MS, 1000).mean().unwrap();
        assert!(mean.abs_diff(20 * MS) < MS / 100, "{mean:?}");
    }

    #[test]
    fn after_a_half_life_old_and_new_calls_count_the_same() {
        let mut average = Latency::new(Duration::from_secs(5));
        (0..10).for_each(|_| average.record(10 * MS, at(0)));
        (0..5).for_each(|_| average.record(40 * MS, at(5_000)));
        let mean = average.mean().unwrap();
        assert!(mean.abs_diff(25 * MS) < MS / 100, "{mean:?}");
    }

    #[test]
    fn worse_is_told_only_when_both_are_known() {
        let (fast, slow, unknown) = (steady(10 * MS, 10), steady(15 * MS, 10), steady(50 * MS, 1));
        assert!(slow.worse_than(&fast, 1.0));
        assert!(!slow.worse_than(&fast, 2.0));
        assert!(!fast.worse_than(&slow, 1.0));
        assert!(!unknown.worse_than(&fast, 1.0) && !slow.worse_than(&unknown, 1.0));
    }

    #[test]
    fn extremes_do_not_break_the_average() {
        let mut average = Latency::new(Duration::ZERO);
        for now in [0, u64::MAX, 0, 1, u64::MAX, 5] {
            average.record(Duration::MAX, Timestamp::from_millis(now));
        }
        assert_eq!(average.mean(), Some(Duration::from_secs(3600)));
    }
}

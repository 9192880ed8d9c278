//! The settings of a breaker.

use std::time::Duration;

use crate::chance;

/// When a breaker opens, for how long, and what closes it.
///
/// The defaults suit a cache in the same network, called with a deadline of 50 ms: five calls that fail open it,
/// and it is tried again within four seconds for as long as the fault lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The length of one of the window's ten buckets; the window moves by one of them at a time. At least 1 ms.
    /// Default 1 s, a window of 10 s.
    pub bucket: Duration,
    /// Fewer calls than this in the window open nothing. Default 5.
    pub least_calls: u32,
    /// The part of the calls in the window that must have failed or timed out to open it, above 0 to 1; 0 means
    /// that failures do not open it. Default 0.5.
    pub failure_ratio: f64,
    /// A call that takes longer is slow. Default 30 ms.
    pub slow_after: Duration,
    /// The part of the calls in the window that must have been slow or timed out to open it, above 0 to 1; 0
    /// means that slow calls do not open it. Default 0.6.
    pub slow_ratio: f64,
    /// The first pause. At least 1 ms. Default 500 ms.
    pub first_pause: Duration,
    /// How many times longer each pause is than the one before. At least 1. Default 2.
    pub growth: u32,
    /// The longest pause, jitter included. The pause is the first one again when the breaker has been closed for
    /// this long. Default 4 s.
    pub longest_pause: Duration,
    /// The part of a pause that is left to chance, 0 to 1: a pause of 1 s with 0.25 lasts 750 ms to 1 s. So the
    /// nodes of a fleet do not all probe at once. Default 0.25.
    pub jitter: f64,
    /// After this long a probe that was not heard of is given up, and the next call is a probe. It should be
    /// longer than a call's own deadline. At least 1 ms. Default 1 s.
    pub probe_deadline: Duration,
    /// Probes that must be answered, one after the other, to close it. At least 1. Default 3.
    pub probes_to_close: u16,
    /// The cluster is outpaced when its calls take more than this many times as long as the origin's, on
    /// average; 0 means that they are not compared. Default 1.
    pub outpaced_factor: f64,
    /// Calls that take no longer than this on average are never outpaced: below it the difference is noise, and
    /// sparing the origin is worth more. Default 5 ms.
    pub outpaced_least: Duration,
    /// How long that must last before its calls count as slow. Default 5 s.
    pub outpaced_after: Duration,
    /// After this long a call counts half as much in the average of latencies. At least 1 ms. Default 5 s.
    pub half_life: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bucket: Duration::from_secs(1),
            least_calls: 5,
            failure_ratio: 0.5,
            slow_after: Duration::from_millis(30),
            slow_ratio: 0.6,
            first_pause: Duration::from_millis(500),
            growth: 2,
            longest_pause: Duration::from_secs(4),
            jitter: 0.25,
            probe_deadline: Duration::from_secs(1),
            probes_to_close: 3,
            outpaced_factor: 1.0,
            outpaced_least: Duration::from_millis(5),
            outpaced_after: Duration::from_secs(5),
            half_life: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// With every value in its range.
    pub(super) fn bounded(self) -> Self {
        let first_pause = self.first_pause.clamp(LEAST, MOST);
        Self {
            bucket: self.bucket.clamp(LEAST, MOST),
            first_pause,
            growth: self.growth.max(1),
            longest_pause: self.longest_pause.clamp(first_pause, MOST),
            jitter: if self.jitter.is_finite() { self.jitter.clamp(0.0, 1.0) } else { 0.0 },
            probe_deadline: self.probe_deadline.clamp(LEAST, MOST),
            probes_to_close: self.probes_to_close.max(1),
            half_life: self.half_life.clamp(LEAST, MOST),
            ..self
        }
    }

    /// The pause after so many openings in a row, at least 1 ms.
    pub(super) fn pause(&self, openings: u32, random: u64) -> Duration {
        let mut pause = self.first_pause;
        for _ in 1..openings {
            if pause >= self.longest_pause || self.growth <= 1 {
                break;
            }
            pause = pause.saturating_mul(self.growth);
        }
        let pause = pause.min(self.longest_pause);
        // The caller's numbers need not be evenly spread.
        let drawn = chance::fraction(chance::mixed(random.wrapping_add(chance::STEP)));
        pause.mul_f64(1.0 - self.jitter * drawn).max(LEAST)
    }

    /// What no pause exceeds, even one made under settings that have changed a little.
    pub(super) fn longest_wait(&self) -> Duration {
        self.longest_pause.saturating_mul(2)
    }
}

const LEAST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_jitter_only_shortens_them() {
        let config = Config::default();
        for (openings, longest_ms) in [(1, 500), (2, 1000), (3, 2000), (4, 4000), (5, 4000), (u32::MAX, 4000)]
        {
            let pauses: Vec<Duration> = (0..1000).map(|random| config.pause(openings, random)).collect();
            let longest = Duration::from_millis(longest_ms);
            assert!(
                pauses.iter().all(|pause| *pause <= longest && *pause >= longest.mul_f64(0.75)),
                "{openings}"
            );
            let spread = pauses.iter().max().unwrap().abs_diff(*pauses.iter().min().unwrap());
            assert!(spread > longest.mul_f64(0.2), "{openings}: {spread:?}");
        }
    }

    #[test]
    fn settings_out_of_range_do_no_harm() {
        let wild = Config {
            bucket: Duration::ZERO,
            first_pause: Duration::MAX,
            growth: 0,
            longest_pause: Duration::ZERO,
            jitter: f64::NAN,
            half_life: Duration::ZERO,
            ..Config::default()
        };
        let config = wild.bounded();
        assert_eq!(config.pause(u32::MAX, 7), MOST);
        assert_eq!((config.bucket, config.half_life), (LEAST, LEAST));
        let all_chance = Config { jitter: 1.0, ..Config::default() };
        assert!((0..1000).all(|random| all_chance.pause(1, random) >= LEAST));
    }
}

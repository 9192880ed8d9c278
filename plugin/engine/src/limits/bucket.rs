//! A bucket of tokens that fills evenly, in whole numbers.
//!
//! A token is as many *units* as its window has milliseconds, so that a millisecond brings exactly `quota` units: nothing is
//! rounded, and nothing drifts. A bucket holds the burst, hence no window of time admits more than quota and burst together.

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    quota: u64,
    window_ms: u64,
    burst: u64,
}

impl Rate {
    /// So many tokens in a window, and so many at once. What is 0 counts as 1, and what the levels cannot count exactly as the
    /// most that they can; the configuration has refused both.
    pub fn new(quota: u64, window_ms: u64, burst: u64) -> Self {
        let window_ms = window_ms.clamp(1, MOST_UNITS);
        let most = MOST_UNITS / window_ms;
        Self { quota: quota.clamp(1, most), window_ms, burst: burst.clamp(1, most) }
    }

    /// Tokens in a window.
    pub const fn quota(&self) -> u64 {
        self.quota
    }

    /// The window.
    pub const fn window_ms(&self) -> u64 {
        self.window_ms
    }

    /// Tokens at once.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// What so many tokens are.
    pub const fn units(&self, tokens: u64) -> i64 {
        let units = tokens.saturating_mul(self.window_ms);
        if units > MOST_UNITS { MOST_UNITS as i64 } else { units as i64 }
    }

    /// Whole tokens in so many units.
    pub const fn tokens(&self, units: i64) -> u64 {
        if units <= 0 { 0 } else { units as u64 / self.window_ms }
    }

    /// The same, with a part of a token as one.
    pub const fn tokens_up(&self, units: i64) -> u64 {
        if units <= 0 { 0 } else { (units as u64).div_ceil(self.window_ms) }
    }

    /// What a full bucket holds.
    pub const fn full(&self) -> i64 {
        self.units(self.burst)
    }

    /// What comes in so many milliseconds, for one of so many who share it.
    pub const fn filled_in(&self, millis: u64, sharers: u64) -> i64 {
        let sharers = if sharers == 0 { 1 } else { sharers };
        let units = millis.saturating_mul(self.quota) / sharers;
        if units > MOST_UNITS { MOST_UNITS as i64 } else { units as i64 }
    }

    /// After how many milliseconds so many units have come, rounded up.
    pub const fn time_for(&self, units: i64) -> u64 {
        if units <= 0 { 0 } else { (units as u64).div_ceil(self.quota) }
    }
}

/// All levels count exactly up to here; Redis counts in doubles.
pub const MOST_UNITS: u64 = 1 << 53;

/// A bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Units in it. Below 0 something is owed.
    pub level: i64,
    /// When it was last filled, in milliseconds.
    pub at_ms: u64,
}

impl Bucket {
    /// One that nothing was taken from.
    pub const fn full(rate: &Rate, now_ms: u64) -> Self {
        Self { level: rate.full(), at_ms: now_ms }
    }

    /// Fills it up to `room`.
    ///
    /// A clock that was set back brings nothing until it has caught up, or starts from there if it lies far back: what was
    /// taken stays taken.
    pub fn fill(&mut self, rate: &Rate, room: i64, sharers: u64, now_ms: u64) {
        if now_ms < self.at_ms {
            if self.at_ms - now_ms > APART_MS {
                self.at_ms = now_ms;
            }
            return;
        }
        let come = rate.filled_in(now_ms - self.at_ms, sharers);
        // The part of a unit that one of many is due is not lost by looking often.
        if come == 0 {
            return;
        }
        // What lies above the room stays: only that nothing comes on top of it.
        self.level = self.level.max(self.level.saturating_add(come).min(room));
        self.at_ms = now_ms;
    }

    /// After how many milliseconds it holds so much; 0 if it does.
    pub const fn wait_for(&self, rate: &Rate, units: i64) -> u64 {
        rate.time_for(units.saturating_sub(self.level))
    }
}

/// Workers read one clock, each at the moment of its event.
const APART_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts with fractions of any size: a moment's tokens as quota times milliseconds over window, from the beginning on.
    struct Reference {
        rate: (u128, u128, u128),
        /// Numerator over the window.
        level: u128,
        at: u64,
    }

    impl Reference {
        fn take(&mut self, now: u64, tokens: u128) -> bool {
            let (quota, window, burst) = self.rate;
            self.level = (self.level + u128::from(now - self.at) * quota).min(burst * window);
            self.at = now;
            let enough = self.level >= tokens * window;
            if enough {
                self.level -= tokens * window;
            }
            enough
        }
    }

    pub(crate) fn random(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) ^ (*seed << 20 >> 44)
    }

    #[test]
    fn it_admits_what_the_reference_admits_to_the_token_and_no_window_more_than_quota_and_burst() {
        for seed in 1..=60u64 {
            let mut state = seed;
            let quota = 1 + random(&mut state) % 1_000;
            let window = 100 + random(&mut state) % 100_000;
            let burst = 1 + random(&mut state) % 50;
            let rate = Rate::new(quota, window, burst);
            let mut bucket = Bucket::full(&rate, 0);
            let mut reference = Reference {
                rate: (quota.into(), window.into(), burst.into()),
                level: u128::from(burst * window),
                at: 0,
            };
            let (mut now, mut admitted) = (0u64, Vec::new());
            for _ in 0..3_000 {
                now += random(&mut state) % (2 + window / quota);
                let tokens = 1 + random(&mut state) % burst.min(3);
                bucket.fill(&rate, rate.full(), 1, now);
                let enough = bucket.wait_for(&rate, rate.units(tokens)) == 0;
                assert_eq!(enough, reference.take(now, tokens.into()), "seed {seed} at {now}");
                if enough {
                    bucket.level -= rate.units(tokens);
                    admitted.push((now, tokens));
                } else {
                    // The moment that a client is told is the first at which it is admitted.
                    let wait = bucket.wait_for(&rate, rate.units(tokens));
                    let mut early = bucket;
                    early.fill(&rate, rate.full(), 1, now + wait - 1);
                    assert!(early.level < rate.units(tokens), "seed {seed}");
                    early.fill(&rate, rate.full(), 1, now + wait);
                    assert!(early.level >= rate.units(tokens), "seed {seed}");
                }
            }
            for (first, (begin, _)) in admitted.iter().enumerate() {
                let within = admitted[first..].iter().take_while(|(at, _)| *at < begin + window);
                let sum: u64 = within.map(|(_, tokens)| tokens).sum();
                assert!(sum <= quota + burst, "seed {seed}: {sum} within a window of {quota} and {burst}");
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_back_brings_nothing_and_takes_nothing() {
        let rate = Rate::new(10, 1_000, 10);
        let mut bucket = Bucket { level: 0, at_ms: 10_000 };
        bucket.fill(&rate, rate.full(), 1, 9_900);
        assert_eq!(bucket, Bucket { level: 0, at_ms: 10_000 });
        bucket.fill(&rate, rate.full(), 1, 1_000);
        assert_eq!(bucket, Bucket { level: 0, at_ms: 1_000 });
        bucket.fill(&rate, rate.full(), 1, 1_100);
        assert_eq!(rate.tokens(bucket.level), 1);
    }

    #[test]
    fn the_largest_numbers_neither_overflow_nor_come_to_nothing() {
        let rate = Rate::new(u64::MAX, u64::MAX, u64::MAX);
        let mut bucket = Bucket { level: -rate.full(), at_ms: 0 };
        bucket.fill(&rate, rate.full(), 1, u64::MAX);
        assert!(bucket.level >= 0);
        let slow = Rate::new(1, 31 * 86_400_000, 1);
        let mut bucket = Bucket { level: 0, at_ms: 0 };
        (1..=31 * 86_400u64).for_each(|second| bucket.fill(&slow, slow.full(), 1, second * 1_000));
        assert_eq!(slow.tokens(bucket.level), 1);
    }

    #[test]
    fn those_who_share_get_no_more_together_than_one_alone() {
        let rate = Rate::new(7, 1_000, 7);
        let mut buckets = [Bucket { level: 0, at_ms: 0 }; 3];
        for now in 1..=1_000 {
            buckets.iter_mut().for_each(|bucket| bucket.fill(&rate, rate.full(), 3, now));
        }
        let all: i64 = buckets.iter().map(|bucket| bucket.level).sum();
        assert!(all <= rate.units(7) && all > rate.units(5), "{all}");
    }
}

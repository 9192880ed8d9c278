//! Repeatable chance.

use std::time::Duration;

/// A small generator of numbers that look random (xorshift), the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 to just under 1.
    pub fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number under `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.fraction() * end as f64) as usize
    }

    /// A pause as between events that know nothing of each other, `mean` long on average and five times that at most.
    pub fn pause(&mut self, mean: Duration) -> Duration {
        mean.mul_f64((-(1.0 - self.fraction()).ln()).min(5.0))
    }
}

/// Numbers of which each is chosen the more rarely the larger it is: the n-th with a weight of `1 / n ^ skew`.
pub struct Zipf {
    /// The weights up to each, added up.
    sums: Vec<f64>,
}

impl Zipf {
    /// Chooses among so many, of which there is at least one.
    pub fn new(count: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let weight = |number: usize| (number as f64).powf(-skew);
        let sums = (1..=count.max(1)).map(|number| {
            sum += weight(number);
            sum
        });
        Self { sums: sums.collect() }
    }

    /// One of them, from 0 on.
    pub fn choose(&self, random: &mut Random) -> usize {
        let last = self.sums.len() - 1;
        let point = random.fraction() * self.sums[last];
        self.sums.partition_point(|sum| *sum <= point).min(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_choices_and_the_first_are_the_commonest() {
        let zipf = Zipf::new(1000, 1.0);
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..20_000).map(|_| zipf.choose(&mut random)).collect::<Vec<_>>()
        };
        let drawn = draw(7);
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
        assert!(drawn.iter().all(|number| *number < 1000));
        // 1 / (1 + 1/2 + … + 1/1000) of all.
        let first = drawn.iter().filter(|number| **number == 0).count();
        assert!((2400..2950).contains(&first), "{first}");
    }

    #[test]
    fn pauses_have_their_mean() {
        let mut random = Random::new(1);
        let sum: Duration = (0..10_000).map(|_| random.pause(Duration::from_millis(10))).sum();
        assert!((95..105).contains(&sum.as_secs()), "{sum:?}");
    }
}

//! Chance that repeats itself: the same for the same seed, everywhere.

use std::time::Duration;

use selvage_engine::chance;

/// A small generator of numbers that look random: that of the engine, with what tests ask of it.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        chance::next(&mut self.0)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of several, of which there is at least one.
    pub fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len() as u64) as usize]
    }

    /// A number from 0 to just under 1.
    pub fn fraction(&mut self) -> f64 {
        chance::fraction(self.number())
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
    pub fn choose(&self, dice: &mut Dice) -> usize {
        let last = self.sums.len() - 1;
        let point = dice.fraction() * self.sums[last];
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
            let mut dice = Dice::new(seed);
            (0..20_000).map(|_| zipf.choose(&mut dice)).collect::<Vec<_>>()
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
        let mut dice = Dice::new(1);
        let sum: Duration = (0..10_000).map(|_| dice.pause(Duration::from_millis(10))).sum();
        assert!((95..105).contains(&sum.as_secs()), "{sum:?}");
    }
}

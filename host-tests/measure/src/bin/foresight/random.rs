//! Random numbers of the distributions that traffic has, from a seed.

use selvage_engine::chance;

/// A sequence.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// Another for each seed.
    pub fn new(seed: u64) -> Self {
        Self(chance::mixed(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9)))
    }

    /// From 0 to just under 1.
    pub fn fraction(&mut self) -> f64 {
        chance::fraction(chance::next(&mut self.0))
    }

    /// Whether something happens that happens so often.
    pub fn happens(&mut self, share: f64) -> bool {
        self.fraction() < share
    }

    /// Of the normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.fraction(), self.fraction());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// Of the exponential distribution with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.fraction()).ln()
    }

    /// Of the Poisson distribution.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (mut count, mut product, end) = (0, self.fraction(), (-mean).exp());
        while product > end {
            count += 1;
            product *= self.fraction();
        }
        count
    }

    /// Of the binomial distribution.
    pub fn binomial(&mut self, of: u64, share: f64) -> u64 {
        let share = share.clamp(0.0, 1.0);
        let mean = of as f64 * share;
        if of > 200 && mean > 30.0 && of as f64 - mean > 30.0 {
            return (mean + (mean * (1.0 - share)).sqrt() * self.normal()).round().clamp(0.0, of as f64)
                as u64;
        }
        if of > 200 && share < 0.5 {
            return self.poisson(mean).min(of);
        }
        if of > 200 {
            return of - self.poisson(of as f64 - mean).min(of);
        }
        (0..of).filter(|_| self.happens(share)).count() as u64
    }
}

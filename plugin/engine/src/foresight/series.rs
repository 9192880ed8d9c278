//! The series that are watched, and what of a bucket of ten seconds each of them looks at.

use super::answers::{Answers, millis};
use super::usual::{Basis, Usual};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// Requests that a store answered, of those that could have been.
    HitRate,
    /// Answers of origins that are a failure (5xx).
    Errors,
    /// What 99 of 100 answers of origins take at most.
    OriginP99,
    /// Requests.
    Requests,
    /// Requests that were refused.
    Refused,
    /// What language models have cost.
    Spend,
}

/// What happened in ten seconds, or in several such together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Requests.
    pub requests: u64,
    /// Those that a store may answer.
    pub cacheable: u64,
    /// Those that one has answered.
    pub hits: u64,
    /// Those that were refused.
    pub refused: u64,
    /// What origins have answered.
    pub answers: Answers,
    /// Requests to language models that cost something.
    pub charged: u64,
    /// What they cost, in any unit.
    pub spent: u64,
}

impl Bucket {
    /// This one as well.
    pub fn add(&mut self, other: &Self) {
        for (own, others) in [
            (&mut self.requests, other.requests),
            (&mut self.cacheable, other.cacheable),
            (&mut self.hits, other.hits),
            (&mut self.refused, other.refused),
            (&mut self.charged, other.charged),
            (&mut self.spent, other.spent),
        ] {
            *own = own.saturating_add(others);
        }
        self.answers.add(&other.answers);
    }
}

/// What a series is at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The value; a share, or the logarithm of what has none: see [`Series::shown`].
    pub value: f32,
    /// The square of the deviation that chance alone gives it.
    pub chance: f32,
    /// By how many requests.
    pub of: u64,
}

impl Series {
    /// All of them.
    pub const ALL: [Self; SERIES] =
        [Self::HitRate, Self::Errors, Self::OriginP99, Self::Requests, Self::Refused, Self::Spend];

    /// Its name in metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HitRate => "hit-rate",
            Self::Errors => "errors",
            Self::OriginP99 => "origin-latency",
            Self::Requests => "requests",
            Self::Refused => "refused",
            Self::Spend => "spend",
        }
    }

    /// The requests that a bucket has for it.
    pub const fn of(self, bucket: &Bucket) -> u64 {
        match self {
            Self::HitRate => bucket.cacheable,
            Self::Errors | Self::OriginP99 => bucket.answers.all,
            Self::Requests | Self::Refused => bucket.requests,
            Self::Spend => bucket.charged,
        }
    }

    /// How many of them are needed to say what it is. What is counted by time needs none.
    pub const fn needs(self) -> u64 {
        match self {
            Self::HitRate | Self::Errors | Self::OriginP99 | Self::Refused => 100,
            Self::Spend => 20,
            Self::Requests => 0,
        }
    }

    /// What it is, by so many buckets together.
    pub fn read(self, bucket: &Bucket, buckets: u32) -> Reading {
        let of = self.of(bucket);
        let buckets = f64::from(buckets.max(1));
        let (value, chance) = match self {
            Self::HitRate | Self::Errors | Self::Refused => {
                let share = self.counted(bucket) as f64 / of.max(1) as f64;
                (share, share * (1.0 - share) / of.max(1) as f64)
            }
            Self::OriginP99 => (millis(bucket.answers.p99()).ln(), 0.0),
            Self::Requests => {
                let rate = bucket.requests as f64 / buckets;
                ((1.0 + rate).ln(), 1.0 / (1.0 + rate) / buckets)
            }
            Self::Spend => ((1.0 + bucket.spent as f64 / buckets).ln(), 1.0 / of.max(1) as f64),
        };
        Reading { value: value as f32, chance: (chance * MAD * MAD) as f32, of }
    }

    /// A value as people read it: a share, milliseconds, requests or units a second.
    pub fn shown(self, value: f32) -> f64 {
        let value = f64::from(value);
        match self {
            Self::HitRate | Self::Errors | Self::Refused => value,
            Self::OriginP99 => value.exp(),
            Self::Requests | Self::Spend => (value.exp() - 1.0) / 10.0,
        }
    }

    /// What [`Series::shown`] gives.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::HitRate | Self::Errors | Self::Refused => "of 1",
            Self::OriginP99 => "ms",
            Self::Requests => "requests/s",
            Self::Spend => "10⁻⁹ of the currency/s",
        }
    }

    /// Whether it can be too low.
    pub const fn has_low(self) -> bool {
        matches!(self, Self::HitRate | Self::Requests)
    }

    /// Whether it can be too high.
    pub const fn has_high(self) -> bool {
        !matches!(self, Self::HitRate)
    }

    /// How far from what is usual is too far, upwards and downwards; `None`: that way is none. At least six times the spread, and
    /// never a hair.
    pub fn bounds(self, basis: Basis, usual: &Usual) -> (Option<f32>, Option<f32>) {
        let at_least = |floor: f32| Some((SPREADS * usual.spread).max(floor));
        // A day that begins is no anomaly: who knows the last two hours only cannot tell.
        let by_hours = matches!(basis, Basis::Hours(2..) | Basis::WeekAgo);
        match self {
            // However much it varies from day to day, half of it is not usual.
            Self::HitRate => {
                (None, Some((SPREADS * usual.spread).max(0.25 * usual.value).min(0.45 * usual.value)))
            }
            Self::Errors | Self::Refused => (at_least(0.02), None),
            Self::OriginP99 => (at_least(DOUBLED), None),
            Self::Requests if by_hours => (at_least(DOUBLED), at_least(DOUBLED)),
            Self::Requests => (Some(f32::INFINITY), at_least(A_TENTH)),
            Self::Spend if by_hours => (at_least(TRIPLED), None),
            Self::Spend => (Some(f32::INFINITY), None),
        }
    }

    /// For how many buckets it must be so: a burst of requests is none of the cache's faults.
    pub const fn lasts(self, up: bool) -> u32 {
        match (self, up) {
            (Self::Requests, true) | (Self::Spend, _) => 30,
            _ => 3,
        }
    }

    /// How sure it is that a bucket does not come by chance from what is usual, as the natural logarithm of the odds: Chernoff's
    /// bound on the tail of a binomial or a Poisson distribution. What is no count is as sure as it gets.
    pub fn evidence(self, bucket: &Bucket, buckets: u32, usual: &Usual, bound: f32) -> f64 {
        let value = f64::from(usual.value);
        let of = self.of(bucket) as f64;
        match self {
            Self::HitRate | Self::Errors | Self::Refused => {
                of * divergence(self.counted(bucket) as f64 / of.max(1.0), value.clamp(LEAST, 1.0 - LEAST))
            }
            // At most one in a hundred took longer than usual, and fewer still so much longer.
            Self::OriginP99 => {
                let limit = (value + f64::from(bound)).exp();
                let slower: u64 = bucket
                    .answers
                    .took
                    .iter()
                    .enumerate()
                    .filter(|(bin, _)| millis(*bin) > limit / 1.26)
                    .map(|(_, count)| count)
                    .sum();
                let share = slower as f64 / of.max(1.0);
                if share <= 0.01 { 0.0 } else { of * divergence(share, 0.01) }
            }
            Self::Requests => {
                let expected = (value.exp() - 1.0).max(LEAST) * f64::from(buckets);
                let seen = bucket.requests as f64;
                if seen == 0.0 { expected } else { seen * (seen / expected).ln() - seen + expected }
            }
            Self::Spend => f64::from(SURE),
        }
    }

    const fn counted(self, bucket: &Bucket) -> u64 {
        match self {
            Self::HitRate => bucket.hits,
            Self::Errors => bucket.answers.failed,
            Self::Refused => bucket.refused,
            Self::OriginP99 | Self::Requests | Self::Spend => 0,
        }
    }
}

/// The Kullback-Leibler divergence of two coins, in nats.
fn divergence(seen: f64, usual: f64) -> f64 {
    let part = |seen: f64, usual: f64| if seen <= 0.0 { 0.0 } else { seen * (seen / usual).ln() };
    part(seen, usual) + part(1.0 - seen, 1.0 - usual)
}

/// How many series there are.
pub const SERIES: usize = 6;
/// Evidence that is enough: one in a million.
pub const SURE: f32 = 13.8;
/// Median absolute deviations.
const SPREADS: f32 = 6.0;
/// Of a normal distribution, by its standard deviation.
const MAD: f64 = 0.674_49;
/// Nothing is taken for rarer than this.
const LEAST: f64 = 0.001;
/// Logarithms.
const DOUBLED: f32 = std::f32::consts::LN_2;
const TRIPLED: f32 = 1.098_612_3;
const A_TENTH: f32 = std::f32::consts::LN_10;

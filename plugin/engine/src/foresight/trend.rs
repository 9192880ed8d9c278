//! Where daily peaks lead: a line that few strange days do not move, and the day on which it reaches a level.
//!
//! The slope is Theil's and Sen's (Sen, 1968): the median of the slopes between all pairs of days. Its interval comes from the ranks of
//! these slopes, by the variance of Kendall's statistic. The level in the middle is Hodges's and Lehmann's (1963): the median of the means
//! of all pairs. Both say nearly as much as a mean does, and bear strange days. From two weeks on the days of the week are told apart
//! first.

use super::week::{self, WEEK};

/// The peak of a day, told in days since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The day.
    pub day: u32,
    /// What it was, in any unit.
    pub value: f32,
}

/// What the days say of those to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// How much more each day, on a usual day of the week.
    pub slope: f64,
    /// One in ten slopes is lower than this.
    pub low: f64,
    /// One in ten is higher.
    pub high: f64,
    /// Pairs of days that it was told by.
    pub pairs: usize,
    /// Days of the week were told apart.
    pub weekly: bool,
    line: Line,
    /// The standard error of the level in the middle.
    error: f64,
    /// The last day that is known.
    last: u32,
    /// What the day of the week that has most has of the level, and its standard error.
    most: (f64, f64),
}

/// A level that changes with time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    /// In days since 1970.
    middle: f64,
    level: f64,
    slope: f64,
}

/// When a level is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// In so many days; 0: it is reached.
    In(u32),
    /// Not within [`FARTHEST`] days, if at all.
    NotSoon,
}

impl Line {
    pub(super) fn at(&self, day: u32) -> f64 {
        self.level + self.slope * (f64::from(day) - self.middle)
    }

    /// With a slope, through what `level_of` says of each day.
    fn through(peaks: &[Peak], slope: f64, level_of: impl Fn(&Peak) -> f64) -> Self {
        let middle = peaks.iter().map(|peak| f64::from(peak.day)).sum::<f64>() / peaks.len().max(1) as f64;
        let levels: Vec<f64> =
            peaks.iter().map(|peak| level_of(peak) - slope * (f64::from(peak.day) - middle)).collect();
        Self { middle, level: location(&levels), slope }
    }
}

impl Trend {
    /// By at least a week of days, in their order; `None` of fewer.
    pub fn of(peaks: &[Peak]) -> Option<Self> {
        let (first, last) = (peaks.first()?.day, peaks.last()?.day);
        let span = last.saturating_sub(first);
        if peaks.len() < FEWEST || span < 6 {
            return None;
        }
        let weekly = peaks.len() >= 2 * FEWEST && span >= 13;
        let mut parts = week::Parts::NONE;
        let value = |peak: &Peak| f64::from(peak.value);
        let mut line =
            Line::through(peaks, median_of(&slopes(peaks, value, if weekly { WEEK } else { 1 })), value);
        let mut slopes_of_all = Vec::new();
        // Parts of the week need a line, and the line needs them: the second time changes little.
        for _ in 0..if weekly { 2 } else { 1 } {
            if weekly {
                parts = week::parts(peaks, &line);
            }
            let level_of = |peak: &Peak| value(peak) / parts.of(peak.day);
            slopes_of_all = slopes(peaks, level_of, 1);
            line = Line::through(peaks, median_of(&slopes_of_all), level_of);
        }
        let count = peaks.len() as f64;
        let off = TENTH * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
        let pairs = slopes_of_all.len() as f64;
        let at = |rank: f64| slopes_of_all.get(rank.min(pairs - 1.0) as usize).copied().unwrap_or(line.slope);
        let (low, high) = (at((pairs - off) / 2.0), at((pairs + off) / 2.0));
        let residuals = peaks.iter().map(|peak| (value(peak) / parts.of(peak.day) - line.at(peak.day)).abs());
        let error = spread(residuals.collect()) * OF_LOCATION / count.sqrt();
        let (slope, pairs, most) = (line.slope, slopes_of_all.len(), parts.most());
        Some(Self { slope, low, high, pairs, weekly, line, error, last, most })
    }

    /// In how many days after the last one peaks reach a level on the day of the week that has most: as is likely, at the latest and at
    /// the soonest, but for one in ten each. It need not be that day of the week: a level that is missed by a hair would be reached a
    /// week later. `unsure` is the standard error of the level, as a part of it.
    pub fn reaches(&self, level: f64, unsure: f64) -> [Reached; 3] {
        let of_slope = (self.high - self.low) / (2.0 * TENTH);
        let (most, of_most) = self.most;
        [0.0, -TENTH, TENTH].map(|errors| {
            let is_reached = |days: &u32| {
                let day = self.last.saturating_add(*days);
                let expected = self.line.at(day);
                let by_slope = of_slope * (f64::from(day) - self.line.middle);
                let by_part = expected * (of_most / most).hypot(unsure);
                (expected + errors * self.error.hypot(by_slope).hypot(by_part)) * most >= level
            };
            (0..=FARTHEST).find(is_reached).map_or(Reached::NotSoon, Reached::In)
        })
    }
}

/// The slopes between pairs of days that are a number of times `apart` days from each other, in order.
fn slopes(peaks: &[Peak], value: impl Fn(&Peak) -> f64, apart: u32) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(peaks.len() * peaks.len() / 2);
    for (nth, later) in peaks.iter().enumerate() {
        for earlier in peaks.iter().take(nth) {
            let days = later.day.saturating_sub(earlier.day);
            if days > 0 && days.is_multiple_of(apart) {
                slopes.push((value(later) - value(earlier)) / f64::from(days));
            }
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    slopes
}

/// Where numbers lie: the median of the means of all pairs, each with itself too. 0 of none.
pub(super) fn location(numbers: &[f64]) -> f64 {
    let mut means = Vec::with_capacity(numbers.len() * (numbers.len() + 1) / 2);
    for (nth, one) in numbers.iter().enumerate() {
        means.extend(numbers.iter().take(nth + 1).map(|other| f64::midpoint(*one, *other)));
    }
    means.sort_unstable_by(f64::total_cmp);
    median_of(&means)
}

/// The middle of numbers in order; between the two of an even count. 0 of none.
pub(super) fn median_of(sorted: &[f64]) -> f64 {
    let at = |nth: usize| sorted.get(nth).copied().unwrap_or(0.0);
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(half.saturating_sub(1)), at(half))
    } else {
        at(half)
    }
}

/// The standard deviation of a normal distribution, by how far numbers are from its middle.
pub(super) fn spread(mut distances: Vec<f64>) -> f64 {
    distances.sort_unstable_by(f64::total_cmp);
    1.482_602_2 * median_of(&distances)
}

/// Days.
const FEWEST: usize = 7;
/// Nothing is foretold for later: two years.
pub const FARTHEST: u32 = 730;
/// Standard deviations from the middle of a normal distribution to its tenth.
const TENTH: f64 = 1.281_551_6;
/// How much farther off than a mean [`location`] is of a normal distribution: √(π/3).
pub(super) const OF_LOCATION: f64 = 1.023_326_7;

#[cfg(test)]
mod tests {
    use super::*;

    fn peaks(days: std::ops::Range<u32>, value: impl Fn(u32) -> f32) -> Vec<Peak> {
        days.map(|day| Peak { day, value: value(day) }).collect()
    }

    #[test]
    fn a_steady_growth_has_its_slope_and_its_day() {
        let peaks = peaks(20_000..20_010, |day| 100.0 + (day - 20_000) as f32);
        let trend = Trend::of(&peaks).unwrap();
        assert_eq!(
            (trend.slope, trend.low, trend.high, trend.pairs, trend.weekly),
            (1.0, 1.0, 1.0, 45, false)
        );
        assert_eq!(trend.reaches(160.0, 0.0), [Reached::In(51); 3]);
        assert_eq!(trend.reaches(109.0, 0.0), [Reached::In(0); 3]);
        assert_eq!(trend.reaches(2000.0, 0.0), [Reached::NotSoon; 3]);
        // A level that is known to within five percent.
        assert_eq!(trend.reaches(160.0, 0.05), [Reached::In(51), Reached::In(62), Reached::In(42)]);
    }

    #[test]
    fn weekends_and_strange_days_are_no_growth() {
        let peaks = peaks(20_000..20_028, |day| {
            let weekend = if day % 7 < 2 { 0.3 } else { 1.0 };
            if day == 20_013 { 9000.0 } else { 1000.0 * weekend }
        });
        let trend = Trend::of(&peaks).unwrap();
        assert_eq!((trend.slope, trend.weekly, trend.pairs), (0.0, true, 28 * 27 / 2));
        assert!(trend.low <= 0.0 && trend.high >= 0.0);
    }

    #[test]
    fn it_is_reached_by_the_day_of_the_week_that_has_most() {
        let peaks =
            peaks(20_000..20_042, |day| (100 + day - 20_000) as f32 * if day % 7 == 0 { 1.5 } else { 1.0 });
        let trend = Trend::of(&peaks).unwrap();
        assert!((0.98..1.02).contains(&trend.slope), "{trend:?}");
        // 141 on the last day, and 160 are enough.
        assert_eq!(trend.reaches(240.0, 0.0)[0], Reached::In(19));
    }

    #[test]
    fn fewer_than_a_week_say_nothing() {
        assert_eq!(Trend::of(&peaks(20_000..20_006, |_| 1.0)), None);
        assert_eq!(Trend::of(&[]), None);
    }
}

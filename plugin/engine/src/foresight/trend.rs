//! Where daily peaks lead: a slope that few strange days do not move, and the day on which a level is reached.
//!
//! The slope is Theil's and Sen's (Sen, 1968): the median of the slopes between all pairs of days. Its interval comes from the ranks of
//! these slopes, by the variance of Kendall's statistic. From two weeks on the days of the week are told apart first: each has a part of the
//! level, found by a slope of pairs that are whole weeks apart (Hirsch, Slack and Smith, 1982), and peaks are divided by it.

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
    /// What each of them has of the level, by days since 1970.
    parts: [f64; WEEK as usize],
}

/// When a level is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// In so many days; 0: it is reached.
    In(u32),
    /// Not within [`FARTHEST`] days, if at all.
    NotSoon,
}

impl Trend {
    /// By at least a week of days, in their order; `None` of fewer.
    pub fn of(peaks: &[Peak]) -> Option<Self> {
        let (first, last) = (peaks.first()?, peaks.last()?);
        let span = last.day.saturating_sub(first.day);
        if peaks.len() < FEWEST || span < 6 {
            return None;
        }
        let weekly = peaks.len() >= 2 * FEWEST && span >= 13;
        let parts = if weekly { parts(peaks, last.day) } else { [1.0; WEEK as usize] };
        let mut trend = Self { slope: 0.0, low: 0.0, high: 0.0, pairs: 0, weekly, parts };
        let slopes = slopes(peaks, |peak| trend.level_of(peak), 1);
        let count = peaks.len() as f64;
        let off = TENTH * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
        let pairs = slopes.len() as f64;
        let at = |rank: f64| slopes.get(rank.clamp(0.0, pairs - 1.0) as usize).copied().unwrap_or(0.0);
        (trend.slope, trend.low, trend.high) =
            (at((pairs - 1.0) / 2.0), at((pairs - off) / 2.0), at((pairs + off) / 2.0));
        trend.pairs = slopes.len();
        Some(trend)
    }

    /// In how many days after the last of the peaks they reach a level on the day of the week that has most, if they go on with a
    /// slope. It need not be that day of the week: a level that is missed by a hair would be reached a week later.
    pub fn reaches(&self, peaks: &[Peak], slope: f64, level: f64) -> Reached {
        let Some(last) = peaks.last() else { return Reached::NotSoon };
        let of_last =
            |peak: &Peak| self.level_of(peak) + slope * f64::from(last.day.saturating_sub(peak.day));
        let mut now: Vec<f64> = peaks.iter().map(of_last).collect();
        let (now, most) = (median(&mut now), self.parts.iter().copied().fold(0.0, f64::max));
        let reached = (0..=FARTHEST).find(|days| (now + slope * f64::from(*days)) * most >= level);
        reached.map_or(Reached::NotSoon, Reached::In)
    }

    fn part_of(&self, day: u32) -> f64 {
        self.parts.get((day % WEEK) as usize).copied().unwrap_or(1.0)
    }

    fn level_of(&self, peak: &Peak) -> f64 {
        f64::from(peak.value) / self.part_of(peak.day)
    }
}

/// What each day of the week has of the level.
fn parts(peaks: &[Peak], last: u32) -> [f64; WEEK as usize] {
    let slopes = slopes(peaks, |peak| f64::from(peak.value), WEEK);
    let slope = slopes.get(slopes.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    // What each day would be in the middle.
    let middle = f64::from(last) - peaks.len() as f64 / 2.0;
    let mut parts = [0.0; WEEK as usize];
    for (group, part) in (0..WEEK).zip(&mut parts) {
        let of_group = peaks.iter().filter(|peak| peak.day % WEEK == group);
        let mut levels: Vec<f64> =
            of_group.map(|peak| f64::from(peak.value) + slope * (middle - f64::from(peak.day))).collect();
        *part = median(&mut levels).max(0.0);
    }
    let usual = median(&mut parts.to_vec());
    parts.map(|part| if usual > 0.0 && part > 0.0 { (part / usual).clamp(0.01, 100.0) } else { 1.0 })
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

/// The middle; the lower of two. 0 of none.
fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// Days.
const FEWEST: usize = 7;
const WEEK: u32 = 7;
/// Nothing is foretold for later: two years.
pub const FARTHEST: u32 = 730;
/// Standard deviations from the middle of a normal distribution to its tenth.
const TENTH: f64 = 1.281_551_6;

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
        assert_eq!(trend.reaches(&peaks, trend.slope, 160.0), Reached::In(51));
        assert_eq!(trend.reaches(&peaks, trend.slope, 109.0), Reached::In(0));
        assert_eq!(trend.reaches(&peaks, 0.0, 160.0), Reached::NotSoon);
        assert_eq!(trend.reaches(&peaks, trend.slope, 2000.0), Reached::NotSoon);
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
        let Reached::In(days) = trend.reaches(&peaks, trend.slope, 240.0) else { panic!() };
        // 141 on the last day, and 160 are enough.
        assert!((18..=21).contains(&days), "{days}");
    }

    #[test]
    fn fewer_than_a_week_say_nothing() {
        assert_eq!(Trend::of(&peaks(20_000..20_006, |_| 1.0)), None);
        assert_eq!(Trend::of(&[]), None);
    }
}

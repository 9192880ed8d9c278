//! What each day of the week has of the level of its weeks.
//!
//! A part is the middle of what the days had of a line. The largest of seven parts would be too large by chance, and so would what is
//! foretold by it be too soon. So days of the week that chance alone may have set apart have one part together: beginning with the closest
//! two, groups are joined until all lie more than three standard errors apart.

use super::trend::{Line, OF_LOCATION, Peak, location, spread};

/// Days.
pub(super) const WEEK: u32 = 7;

/// What each day of the week has, and the standard error of it, by days since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parts([(f64, f64); WEEK as usize]);

/// Days of the week that are alike.
#[derive(Clone, Debug)]
struct Group {
    part: f64,
    /// Days that it was told by.
    known: f64,
    days_of_week: Vec<usize>,
}

impl Parts {
    /// All days are alike.
    pub(super) const NONE: Self = Self([(1.0, 0.0); WEEK as usize]);

    /// What a day has.
    pub(super) fn of(&self, day: u32) -> f64 {
        self.0.get((day % WEEK) as usize).map_or(1.0, |(part, _)| *part)
    }

    /// The largest, with its standard error.
    pub(super) fn most(&self) -> (f64, f64) {
        self.0.iter().copied().fold((0.0, 0.0), |most, part| if part.0 > most.0 { part } else { most })
    }
}

/// By the peaks of at least two weeks, and the line that they follow on a usual day.
pub(super) fn parts(peaks: &[Peak], line: &Line) -> Parts {
    let mut shares: [Vec<f64>; WEEK as usize] = Default::default();
    for peak in peaks {
        let expected = line.at(peak.day);
        if expected > 0.0
            && let Some(shares) = shares.get_mut((peak.day % WEEK) as usize)
        {
            shares.push(f64::from(peak.value) / expected);
        }
    }
    let mut groups: Vec<Group> = shares
        .iter()
        .enumerate()
        .filter(|(_, shares)| !shares.is_empty())
        .map(|(nth, shares)| Group {
            part: location(shares),
            known: shares.len() as f64,
            days_of_week: vec![nth],
        })
        .collect();
    // Seven parts are near their own days: what is left of the distances is too small for that.
    let known = peaks.len() as f64;
    let freedom = (known / (known - groups.len() as f64).max(1.0)).sqrt();
    let distances = groups
        .iter()
        .flat_map(|group| {
            let of_day = group.days_of_week.iter().filter_map(|nth| shares.get(*nth));
            // Beside its part: noise grows with the level.
            of_day.flatten().map(|share| (share / group.part.max(LEAST) - 1.0).abs())
        })
        .collect();
    let noise = spread(distances) * freedom * OF_LOCATION;
    join_alike(&mut groups, noise);
    let usual = usual_of(&groups);
    let mut parts = Parts::NONE;
    for group in groups {
        let part =
            if usual > 0.0 && group.part > 0.0 { (group.part / usual).clamp(LEAST, MOST) } else { 1.0 };
        for nth in group.days_of_week {
            if let Some(of_day) = parts.0.get_mut(nth) {
                *of_day = (part, part * noise / group.known.sqrt());
            }
        }
    }
    parts
}

/// Joins groups from the closest on, until all are farther apart than chance has them.
fn join_alike(groups: &mut Vec<Group>, noise: f64) {
    loop {
        groups.sort_by(|one, other| one.part.total_cmp(&other.part));
        let errors_apart = |(one, other): (&Group, &Group)| {
            let error =
                noise * f64::midpoint(one.part, other.part) * (1.0 / one.known + 1.0 / other.known).sqrt();
            let apart = other.part - one.part;
            if apart <= 0.0 { 0.0 } else { apart / error.max(f64::MIN_POSITIVE) }
        };
        let closest = groups
            .iter()
            .zip(groups.iter().skip(1))
            .map(errors_apart)
            .enumerate()
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        let Some((nth, apart)) = closest else { return };
        if apart > ALIKE {
            return;
        }
        let other = groups.remove(nth + 1);
        if let Some(one) = groups.get_mut(nth) {
            let known = one.known + other.known;
            one.part = (one.part * one.known + other.part * other.known) / known;
            one.known = known;
            one.days_of_week.extend(other.days_of_week);
        }
    }
}

/// The part of the day of the week in the middle. Groups are in the order of their parts.
fn usual_of(groups: &[Group]) -> f64 {
    let days: usize = groups.iter().map(|group| group.days_of_week.len()).sum();
    let mut parts = groups.iter().flat_map(|group| group.days_of_week.iter().map(|_| group.part));
    parts.nth(days.saturating_sub(1) / 2).unwrap_or(0.0)
}

/// Standard errors within which days of the week are alike.
const ALIKE: f64 = 3.0;
/// The least and the most that a day of the week has.
const LEAST: f64 = 0.01;
const MOST: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::super::trend::{Peak, Trend};

    /// Forty-two days that differ by a percent or two, one after the other.
    fn known(of_day: impl Fn(u32) -> f64) -> Vec<Peak> {
        let noise = |day: u32| 1.0 + 0.01 * f64::from(day * 7919 % 5) - 0.02;
        (20_300..20_342)
            .map(|day| Peak { day, value: (1000.0 * of_day(day % 7) * noise(day)) as f32 })
            .collect()
    }

    /// The day of the week that has most, by when a level is reached that is `above` the middle one.
    fn has_most(peaks: &[Peak], above: f64) -> bool {
        use super::super::trend::Reached;
        Trend::of(peaks).unwrap().reaches(1000.0 * above, 0.0)[0] == Reached::In(0)
    }

    #[test]
    fn days_that_chance_alone_sets_apart_are_alike() {
        let peaks = known(|_| 1.0);
        assert!(has_most(&peaks, 0.995) && !has_most(&peaks, 1.005));
    }

    #[test]
    fn a_busy_day_of_the_week_is_told_apart() {
        let peaks = known(|day_of_week| if day_of_week == 3 { 1.3 } else { 1.0 });
        assert!(has_most(&peaks, 1.28) && !has_most(&peaks, 1.32));
        let peaks = known(|day_of_week| if day_of_week < 2 { 0.4 } else { 1.0 });
        assert!(has_most(&peaks, 0.99) && !has_most(&peaks, 1.01));
    }

    #[test]
    fn a_day_of_the_week_without_anything_divides_nothing() {
        let peaks = known(|day_of_week| if day_of_week < 3 { 0.0 } else { 1.0 });
        let trend = Trend::of(&peaks).unwrap();
        assert!(trend.weekly && trend.slope.is_finite());
        assert!(Trend::of(&known(|_| 0.0)).unwrap().slope.is_finite());
    }
}

//! Where a budget will stand at the end of its window, from what was spent by the hour.

/// How many hours back a history reaches: 35 days.
pub const MAX_HOURS: u64 = 35 * DAY;

/// What was spent in each hour, in any unit, at most [`MAX_HOURS`] back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    first: u64,
    spent: Vec<u64>,
}

impl Hours {
    /// Adds what was spent in an hour, told in hours since 1970. What is too long ago is forgotten, and so is an hour before
    /// all that is kept.
    pub fn add(&mut self, hour: u64, spent: u64) {
        if self.spent.is_empty() {
            self.first = hour;
        }
        if hour < self.first {
            let more = self.first.saturating_sub(hour).saturating_add(length(&self.spent));
            if more > MAX_HOURS {
                return;
            }
            let gap = usize::try_from(self.first.saturating_sub(hour)).unwrap_or(0);
            self.spent.splice(0..0, std::iter::repeat_n(0, gap));
            self.first = hour;
        }
        let keep_from = hour.saturating_sub(MAX_HOURS - 1);
        if keep_from > self.first {
            let old = usize::try_from(keep_from.saturating_sub(self.first)).unwrap_or(usize::MAX);
            self.spent.drain(..old.min(self.spent.len()));
            self.first = keep_from;
        }
        let place = usize::try_from(hour.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if place >= self.spent.len() {
            self.spent.resize(place.saturating_add(1), 0);
        }
        if let Some(sum) = self.spent.get_mut(place) {
            *sum = sum.saturating_add(spent);
        }
    }

    /// What was spent in an hour; nothing where nothing is known.
    pub fn of(&self, hour: u64) -> u64 {
        let place = hour.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.spent.get(place)).copied().unwrap_or(0)
    }

    /// The whole hours before `now`, the oldest first.
    fn before(&self, now: u64) -> Vec<f64> {
        if self.spent.is_empty() {
            return Vec::new();
        }
        let from = self.first.max(now.saturating_sub(MAX_HOURS));
        (from..now).map(|hour| self.of(hour) as f64).collect()
    }
}

impl FromIterator<(u64, u64)> for Hours {
    /// In any order.
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(pairs: I) -> Self {
        let pairs: Vec<(u64, u64)> = pairs.into_iter().collect();
        let hours = || pairs.iter().map(|(hour, _)| *hour);
        let (Some(oldest), Some(newest)) = (hours().min(), hours().max()) else { return Self::default() };
        // The oldest tells how far the history reaches, even if it is too old to be kept.
        let mut all = Self::default();
        all.add(oldest, 0);
        all.add(newest, 0);
        for (hour, spent) in pairs {
            all.add(hour, spent);
        }
        all
    }
}

/// A budget in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the window ends, in seconds since 1970.
    pub end: u64,
    /// What was spent in it so far.
    pub spent: u64,
    /// What may be spent in it, if there is a bound.
    pub amount: Option<u64>,
}

/// Where a budget will stand when its window ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// What will have been spent, as far as can be told.
    pub expected: u64,
    /// One in ten ends below this.
    pub p10: u64,
    /// One in ten ends above this.
    pub p90: u64,
    /// When the amount is spent, in seconds since 1970; `None` if the window ends before.
    pub runs_out: Option<u64>,
    /// By what it was told.
    pub basis: Basis,
}

/// By what a forecast tells the hours to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The mean of the same hour of the week, from 14 days on.
    HourOfWeek,
    /// The mean of the same hour of the day, from one day on.
    HourOfDay,
    /// The mean of all hours.
    Linear,
}

impl Basis {
    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HourOfWeek => "hour-of-week",
            Self::HourOfDay => "hour-of-day",
            Self::Linear => "linear",
        }
    }
}

/// Tells where a budget will stand: what is spent, and for each hour to come what such an hour has cost so far, scaled by how
/// the last days compare with that. The last 24 hours count most, those before them less and less, and all of it only as
/// far as it stands out of the noise from day to day: one dear day is no new level. `now` is in seconds since 1970.
pub fn forecast(hours: &Hours, window: &Window, now: u64) -> Forecast {
    let now_hour = now / HOUR;
    let past = hours.before(now_hour);
    let profile = Profile::of(&past, now_hour);
    let level = Level::of(&past, now_hour, &profile);
    let mut rest = 0.0;
    let mut runs_out = match window.amount {
        Some(amount) if window.spent >= amount => Some(now),
        _ => None,
    };
    let mut at = now;
    let last = window.end.min(now.saturating_add(MAX_WINDOW));
    while at < last {
        let hour = at / HOUR;
        let until = hour.saturating_add(1).saturating_mul(HOUR).min(last);
        let seconds = until.saturating_sub(at) as f64;
        let spent = profile.hour(hour) * level.scale * seconds / HOUR as f64;
        if let (Some(amount), None) = (window.amount, runs_out) {
            let left = amount.saturating_sub(window.spent) as f64 - rest;
            if spent > 0.0 && left <= spent {
                runs_out = Some(at.saturating_add((seconds * (left / spent).clamp(0.0, 1.0)) as u64));
            }
        }
        rest += spent;
        at = until;
    }
    let deviation = level.deviation(rest, &profile);
    let end = |more: f64| window.spent.saturating_add(more.max(0.0).round() as u64);
    Forecast {
        expected: end(rest),
        p10: end(rest - TENTH * deviation),
        p90: end(rest + TENTH * deviation),
        runs_out,
        basis: profile.basis,
    }
}

/// What an hour costs as a rule.
struct Profile {
    basis: Basis,
    /// By slot: the hour of the week, the hour of the day, or one for all.
    means: Vec<f64>,
}

impl Profile {
    /// From the whole hours before `now`.
    fn of(past: &[f64], now: u64) -> Self {
        let count = length(past);
        // Of one to two weeks only the last whole one counts, so that no day of the week counts twice.
        let (basis, slots, used) = match count {
            _ if count >= 14 * DAY => (Basis::HourOfWeek, WEEK, count),
            _ if count >= WEEK => (Basis::HourOfDay, DAY, WEEK),
            _ if count >= DAY => (Basis::HourOfDay, DAY, count),
            _ => (Basis::Linear, 1, count),
        };
        let slots = usize::try_from(slots).unwrap_or(1);
        let mut sums = vec![(0.0, 0.0_f64); slots];
        let first = now.saturating_sub(used);
        let skipped = usize::try_from(count.saturating_sub(used)).unwrap_or(0);
        for (hour, spent) in (first..now).zip(past.iter().skip(skipped)) {
            if let Some((sum, count)) = sums.get_mut(slot(hour, slots)) {
                *sum += spent;
                *count += 1.0;
            }
        }
        Self { basis, means: sums.into_iter().map(|(sum, count)| sum / count.max(1.0)).collect() }
    }

    fn hour(&self, hour: u64) -> f64 {
        self.means.get(slot(hour, self.means.len())).copied().unwrap_or(0.0)
    }

    /// By how much days look too much like a profile that was made of them: each is one of the few that a mean is of.
    fn flattery(&self, past: usize) -> f64 {
        match self.basis {
            Basis::HourOfWeek => {
                let of = past as f64 / WEEK as f64;
                (of / (of - 1.0)).sqrt()
            }
            _ => 1.0,
        }
    }

    /// What a day costs as a rule.
    fn day(&self) -> f64 {
        let count = self.means.len().max(1) as f64;
        self.means.iter().sum::<f64>() / count * DAY as f64
    }
}

/// How the last days compare with the profile.
struct Level {
    scale: f64,
    /// Of a day against the profile, as a part of it.
    noise: f64,
    /// Of the scale itself.
    doubt: f64,
}

impl Level {
    fn of(past: &[f64], now: u64, profile: &Profile) -> Self {
        let ratios = ratios(past, now, profile);
        if ratios.len() < 3 {
            return Self { scale: 1.0, noise: UNKNOWN, doubt: UNKNOWN };
        }
        // From day to day, so that neither a trend nor a step counts as noise.
        let steps = ratios.windows(2).map(|pair| match pair {
            [later, earlier] => (later - earlier) * (later - earlier),
            _ => 0.0,
        });
        let seen = (steps.sum::<f64>() / 2.0 / (ratios.len() - 1) as f64).sqrt();
        let noise = seen * profile.flattery(past.len());
        let mut weights = 0.0;
        let mut squares = 0.0;
        let mut sum = 0.0;
        let mut weight = 1.0;
        for ratio in &ratios {
            sum += weight * ratio;
            weights += weight;
            squares += weight * weight;
            weight *= FADING;
        }
        let recent = sum / weights;
        let error = (noise * squares.sqrt() / weights).max(f64::EPSILON);
        let surprise = (recent - 1.0) / error;
        let trust = surprise * surprise / (surprise * surprise + NOISE_BELIEVED);
        let of_profile = noise / (ratios.len() as f64).sqrt();
        Self {
            scale: (1.0 + trust * (recent - 1.0)).clamp(0.0, MOST),
            noise,
            doubt: (of_profile * of_profile + trust * trust * error * error).sqrt(),
        }
    }

    /// By how much the rest of the window may differ: each day for itself, and all of them together.
    fn deviation(&self, rest: f64, profile: &Profile) -> f64 {
        let day = profile.day() * self.scale;
        (rest * day * self.noise * self.noise + rest * rest * self.doubt * self.doubt).sqrt()
    }
}

/// Each of the last days against the profile, the last first.
fn ratios(past: &[f64], now: u64, profile: &Profile) -> Vec<f64> {
    let days = past.rchunks_exact(usize::try_from(DAY).unwrap_or(1));
    let ends = (0..).map(|day: u64| now.saturating_sub(day.saturating_mul(DAY)));
    let compared = days.zip(ends).map(|(day, end)| {
        let spent: f64 = day.iter().sum();
        let usual: f64 = (end.saturating_sub(DAY)..end).map(|hour| profile.hour(hour)).sum();
        if usual > 0.0 { spent / usual } else { 1.0 }
    });
    compared.collect()
}

fn slot(hour: u64, slots: usize) -> usize {
    let slots = u64::try_from(slots).unwrap_or(1).max(1);
    usize::try_from(hour % slots).unwrap_or(0)
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// Seconds.
const HOUR: u64 = 3600;
/// Hours.
const DAY: u64 = 24;
const WEEK: u64 = 7 * DAY;
/// No window is looked further ahead into than this: 366 days, in seconds.
const MAX_WINDOW: u64 = 366 * DAY * HOUR;
/// How much less a day counts than the one after it.
const FADING: f64 = 0.7;
/// A level that is as many squares of its error away from the usual is half believed.
const NOISE_BELIEVED: f64 = 2.0;
/// The noise of days of which there are too few.
const UNKNOWN: f64 = 0.4;
/// Nothing is taken for more than so many times the usual.
const MOST: f64 = 20.0;
/// Standard deviations from the middle of a normal distribution to its tenth.
const TENTH: f64 = 1.281_551_6;

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;

//! What is usual for a series: its median, and how far from it values lie as a rule, by three kinds of memory.

use super::words::{put_f32, put_u32, take_count, take_f32};
use crate::host::wire::take_u32;

/// A median, and how far from it half of the values are at most (the median absolute deviation), without what chance alone makes
/// of counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    /// The median.
    pub value: f32,
    /// The deviation, not negative.
    pub spread: f32,
}

/// One value, when it was, and the square of the deviation that chance alone gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    period: u32,
    value: f32,
    chance: f32,
}

/// The last two hours of a series, and each hour of its last seven days.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Oldest first.
    recent: Vec<Known>,
    /// Of `recent`, worked out when it was last added to.
    now: Usual,
    /// By hour: the hour since 1970, and what was usual in it. In no order.
    hours: Vec<(u32, Usual)>,
}

/// From where it is known what is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The same hour of the last days, so many of them.
    Hours(u8),
    /// The same hour, a week ago.
    WeekAgo,
    /// The last two hours.
    Recent,
}

impl Basis {
    /// As reports say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hours(_) => "same-hour",
            Self::WeekAgo => "week-ago",
            Self::Recent => "last-two-hours",
        }
    }

    /// By how many days.
    pub const fn days(self) -> Option<u8> {
        match self {
            Self::Hours(days) => Some(days),
            Self::WeekAgo => Some(1),
            Self::Recent => None,
        }
    }
}

impl Memory {
    /// Takes a value in, unless the last one is hardly older. `chance` is the square of the deviation by chance.
    pub fn add(&mut self, period: u32, value: f32, chance: f32) {
        if let Some(last) = self.recent.last() {
            let since = period.saturating_sub(last.period);
            if since < APART {
                return;
            }
            if since > REACH {
                self.recent.clear();
            }
        }
        let from = period.saturating_sub(REACH);
        self.recent.retain(|known| known.period >= from);
        if self.recent.len() >= RECENT {
            self.recent.remove(0);
        }
        self.recent.push(Known { period, value, chance });
        self.now = usual(&self.recent);
    }

    /// An hour is over: what was usual in it is kept.
    pub fn close(&mut self, hour: u32) {
        let within = |known: &&Known| known.period / PERIODS_AN_HOUR == hour;
        let of_hour: Vec<Known> = self.recent.iter().filter(within).copied().collect();
        self.hours.retain(|(kept, _)| *kept < hour && hour - *kept < WEEK);
        if of_hour.len() >= FEWEST_OF_HOUR {
            self.hours.push((hour, usual(&of_hour)));
        }
    }

    /// Forgets the last hours, for the clock has jumped.
    pub fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Forgets all of it: what was not usual is, by now.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is usual at a moment, by each memory that has enough.
    pub fn usual(&self, period: u32) -> impl Iterator<Item = (Basis, Usual)> {
        let hour = period / PERIODS_AN_HOUR;
        let same = |(known, _): &&(u32, Usual)| *known < hour && (hour - *known).is_multiple_of(DAY);
        let mut days: Vec<(u32, Usual)> = self.hours.iter().filter(same).copied().collect();
        days.retain(|(known, _)| hour - known <= WEEK);
        let week_ago =
            days.iter().find(|(known, _)| hour - known == WEEK).map(|(_, usual)| (Basis::WeekAgo, *usual));
        let by_hours = (!days.is_empty()).then(|| {
            let mut values: Vec<f32> = days.iter().map(|(_, usual)| usual.value).collect();
            let mut spreads: Vec<f32> = days.iter().map(|(_, usual)| usual.spread).collect();
            let value = median(&mut values);
            let mut apart: Vec<f32> = values.iter().map(|other| (other - value).abs()).collect();
            let spread = median(&mut spreads).max(median(&mut apart));
            (Basis::Hours(u8::try_from(days.len()).unwrap_or(u8::MAX)), Usual { value, spread })
        });
        let fresh = self.recent.last().is_some_and(|last| period.saturating_sub(last.period) <= REACH);
        let recent = (fresh && self.recent.len() >= FEWEST_RECENT).then_some((Basis::Recent, self.now));
        [by_hours, week_ago, recent].into_iter().flatten()
    }

    /// As bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.recent.len() as u32);
        for known in &self.recent {
            put_u32(out, known.period);
            put_f32(out, known.value);
            put_f32(out, known.chance);
        }
        put_u32(out, self.hours.len() as u32);
        for (hour, usual) in &self.hours {
            put_u32(out, *hour);
            put_f32(out, usual.value);
            put_f32(out, usual.spread);
        }
    }

    /// `None` if these are not the bytes of one.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut memory = Self::default();
        for _ in 0..take_count(bytes, RECENT)? {
            let (period, value) = (take_u32(bytes)?, take_f32(bytes)?);
            memory.recent.push(Known { period, value, chance: take_f32(bytes)? });
        }
        for _ in 0..take_count(bytes, WEEK as usize)? {
            let (hour, value) = (take_u32(bytes)?, take_f32(bytes)?);
            memory.hours.push((hour, Usual { value, spread: take_f32(bytes)? }));
        }
        memory.now = usual(&memory.recent);
        Some(memory)
    }
}

/// The median of some values and their deviation from it. Of its square that part is taken off which chance gives them, for a
/// bucket with few requests is no sign of a series that varies.
fn usual(known: &[Known]) -> Usual {
    let mut values: Vec<f32> = known.iter().map(|known| known.value).collect();
    let value = median(&mut values);
    let mut apart: Vec<f32> = values.iter().map(|other| (other - value).abs()).collect();
    let mut chances: Vec<f32> = known.iter().map(|known| known.chance).collect();
    let (deviation, chance) = (median(&mut apart), median(&mut chances));
    Usual { value, spread: (deviation * deviation - chance).max(0.0).sqrt() }
}

/// The middle of some numbers, which it puts into another order; the lower of two. 0 of none.
fn median(numbers: &mut [f32]) -> f32 {
    let middle = numbers.len().saturating_sub(1) / 2;
    if numbers.is_empty() {
        return 0.0;
    }
    *numbers.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Buckets of ten seconds in an hour.
pub const PERIODS_AN_HOUR: u32 = 360;
/// Hours.
const DAY: u32 = 24;
const WEEK: u32 = 7 * DAY;
/// So many buckets back the last hours reach.
const REACH: u32 = 2 * PERIODS_AN_HOUR;
/// Of three buckets one is remembered.
const APART: u32 = 3;
const RECENT: usize = (REACH / APART) as usize;
/// Twenty minutes.
const FEWEST_RECENT: usize = 40;
const FEWEST_OF_HOUR: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_the_median_and_its_deviation_without_chance() {
        let mut memory = Memory::default();
        for period in 0..120 {
            memory.add(period * 3, if period % 2 == 0 { 0.8 } else { 0.9 }, 0.0);
        }
        let (basis, usual) = memory.usual(360).next().unwrap();
        assert_eq!(basis, Basis::Recent);
        assert!((usual.value - 0.8).abs() < 1e-6 && usual.spread <= 0.1001, "{usual:?}");
        let mut by_chance = Memory::default();
        for period in 0..120 {
            by_chance.add(period * 3, if period % 3 == 0 { 0.8 } else { 0.9 }, 0.02);
        }
        assert_eq!(by_chance.usual(360).next().unwrap().1.spread, 0.0);
    }

    #[test]
    fn the_same_hour_of_other_days_is_known_and_what_is_older_than_a_week_is_not() {
        let mut memory = Memory::default();
        for period in 0..PERIODS_AN_HOUR * 24 * 15 {
            let hour = period / PERIODS_AN_HOUR;
            if period > 0 && period % PERIODS_AN_HOUR == 0 {
                memory.close(hour - 1);
            }
            memory.add(period, (hour % 24) as f32, 0.0);
        }
        assert_eq!(memory.hours.len(), 168 - 1 + 1);
        let at = PERIODS_AN_HOUR * (24 * 15 + 5);
        let bases: Vec<_> = memory.usual(at).collect();
        assert_eq!(bases.first(), Some(&(Basis::Hours(7), Usual { value: 5.0, spread: 0.0 })));
        assert_eq!(bases.get(1), Some(&(Basis::WeekAgo, Usual { value: 5.0, spread: 0.0 })));
        assert_eq!(bases.len(), 2, "the last hours are too long ago");
        let mut bytes = Vec::new();
        memory.encode(&mut bytes);
        assert!(bytes.len() < 6000, "{}", bytes.len());
        assert_eq!(Memory::decode(&mut bytes.as_slice()), Some(memory));
        assert_eq!(Memory::decode(&mut bytes[..100].as_ref()), None);
    }
}

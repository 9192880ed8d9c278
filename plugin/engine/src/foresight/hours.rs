//! For how much of each hour of the day the node has been watched: what counts of that hour are divided by. With each day that passes it
//! loses a quarter, as the counts do.

use super::words::{put_f32, put_u32, take_f32};
use crate::host::wire::{framed, take_u32, unframed};

/// The hours of the day (UTC).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hours {
    /// Since when, in seconds; 0: never.
    begun: u32,
    /// When it was looked at last.
    seen: u32,
    /// Seconds of the present hour that were watched.
    watched: u32,
    /// Hours of earlier days.
    before: [f32; 24],
}

impl Hours {
    /// Since when counts are kept, in seconds since 1970.
    pub const fn begun(&self) -> u32 {
        self.begun
    }

    /// When it was looked at last.
    pub const fn seen(&self) -> u32 {
        self.seen
    }

    /// The day of the last look.
    pub const fn day(&self) -> u32 {
        self.seen / DAY
    }

    /// The hour of the last look.
    pub const fn hour(&self) -> u8 {
        (self.seen / HOUR % 24) as u8
    }

    /// The node is there at this second. Whether that is news.
    pub fn step(&mut self, now: u32) -> bool {
        if self.begun == 0 || now.saturating_add(SET_BACK) < self.seen {
            *self = Self { begun: now, seen: now, ..Self::default() };
            return true;
        }
        if now <= self.seen {
            return false;
        }
        let gap = now - self.seen;
        if now / HOUR == self.seen / HOUR {
            self.watched += gap.min(MOST_GAP);
        } else {
            let rest = (HOUR - self.seen % HOUR).min(MOST_GAP);
            let ended = usize::from(self.hour());
            if let Some(before) = self.before.get_mut(ended) {
                *before += (self.watched + rest) as f32 / HOUR as f32;
            }
            for _ in 0..(now / DAY - self.seen / DAY).min(100) {
                self.before.iter_mut().for_each(|hour| *hour *= KEPT);
            }
            self.watched = (now % HOUR).min(MOST_GAP);
        }
        self.seen = now;
        true
    }

    /// How often a key is asked for in a second of an hour of the day, by its count. `None`: too little is known of the hour.
    pub fn rate(&self, hour: u8, count: u8) -> Option<f64> {
        let before = f64::from(*self.before.get(usize::from(hour))?);
        let today = if hour == self.hour() { f64::from(self.watched) / f64::from(HOUR) } else { 0.0 };
        (before >= ENOUGH).then(|| f64::from(count) / (before + today) / f64::from(HOUR))
    }

    /// How many requests for a key are to be expected within so many seconds from now, by its counts of this hour and of the next one.
    /// They come one by one, at the rate of the hour (Poisson): where 0.69 are expected (ln 2), the chance of one is a half.
    pub fn expected(&self, within: u32, counts: [u8; 2]) -> f64 {
        let rest = (HOUR - self.seen % HOUR).min(within);
        let next = (self.hour() + 1) % 24;
        let [now, then] = counts;
        let rate = |hour, count| self.rate(hour, count).unwrap_or_default();
        rate(self.hour(), now) * f64::from(rest) + rate(next, then) * f64::from(within - rest)
    }

    /// How many hours of the day are known well enough.
    pub fn known(&self) -> usize {
        self.before.iter().filter(|before| f64::from(**before) >= ENOUGH).count()
    }

    /// For shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        [self.begun, self.seen, self.watched].iter().for_each(|number| put_u32(&mut out, *number));
        self.before.iter().for_each(|hour| put_f32(&mut out, *hour));
        framed(out)
    }

    /// `None` for bytes of anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let body = &mut unframed(bytes, MAGIC)?;
        let (begun, seen, watched) = (take_u32(body)?, take_u32(body)?, take_u32(body)?);
        let mut hours = Self { begun, seen, watched, before: [0.0; 24] };
        for hour in &mut hours.before {
            *hour = take_f32(body)?;
        }
        body.is_empty().then_some(hours)
    }
}

const HOUR: u32 = 3600;
const DAY: u32 = 86_400;
/// What is kept of counts from day to day.
const KEPT: f32 = 0.75;
/// Two days: of one alone 0.75 is left on the next.
const ENOUGH: f64 = 1.25;
/// Seconds between two looks: what is longer was not watched.
const MOST_GAP: u32 = 60;
/// A clock that is set back by less stands still for a while; by more, all begins anew.
const SET_BACK: u32 = 600;
const MAGIC: [u8; 4] = *b"svh1";

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight.
    const START: u32 = 20_000 * DAY;

    fn watched(seconds: std::ops::Range<u32>) -> Hours {
        let mut hours = Hours::default();
        seconds.step_by(10).for_each(|second| _ = hours.step(START + second));
        hours
    }

    #[test]
    fn nothing_is_known_of_an_hour_before_it_has_been_there_twice() {
        let day = watched(0..DAY + HOUR / 2);
        assert_eq!((day.known(), day.hour(), day.rate(0, 255)), (0, 0, None));
        let two = watched(0..2 * DAY + 9 * HOUR);
        assert_eq!(two.known(), 24);
        // 0.75 + 0.5625 of hour 20; hour 8 was there once more, today.
        assert!((two.rate(20, 21).unwrap() * 3600.0 - 16.0).abs() < 0.1, "{:?}", two.rate(20, 21));
        assert!((two.rate(8, 37).unwrap() * 3600.0 - 16.0).abs() < 0.1, "{:?}", two.rate(8, 37));
    }

    #[test]
    fn as_many_are_expected_as_came_at_the_hour() {
        let hours = watched(0..2 * DAY + 20 * HOUR);
        // 8.3 an hour.
        let count = (8.3 * 1.3125_f64).round() as u8;
        let expected = hours.expected(300, [count, count]);
        assert!((0.67..0.73).contains(&expected), "{expected}");
        assert!(hours.expected(300, [0, 0]) < 1e-9);
        // The last minute of an hour that is busy, before one that is not.
        let late = watched(0..2 * DAY + 20 * HOUR - 50);
        assert!(late.expected(300, [100, 0]) < 1.4 && late.expected(300, [0, 100]) > 5.0);
    }

    #[test]
    fn what_was_not_watched_does_not_count_and_a_clock_that_jumps_back_begins_anew() {
        let mut hours = watched(0..HOUR / 2);
        hours.step(START + 2 * HOUR);
        assert!((hours.before[0] - 0.5).abs() < 0.03, "{:?}", hours.before);
        assert_eq!(hours.before[1], 0.0);
        assert!(!hours.step(START + 2 * HOUR - 500), "it waits");
        assert!(hours.step(START) && hours.begun() == START && hours.before == [0.0; 24]);
        assert_eq!(Hours::decode(&hours.encode()), Some(hours));
        assert_eq!(Hours::decode(b"svh1"), None);
    }
}

//! What a pool's origin is asked for, day by day, and what it can do: its throughput while most requests had to wait for a place.

use super::trend::{Peak, Reached, Trend, spread};
use super::words::{put_f32, put_u32, take_count, take_f32};
use crate::host::wire::{framed, take_u32, take_u64, unframed};

/// Sums of what became of a pool's requests, since Envoy started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Gone to the origin at once.
    pub went: u64,
    /// Gone after waiting.
    pub waited: u64,
    /// Not let go.
    pub shed: u64,
}

/// What is known of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// The last bucket, in tens of seconds since 1970.
    period: u32,
    /// The first one.
    since: u32,
    tally: Tally,
    /// Requests of the five minutes that are under way, and how many buckets of them have passed.
    busy: (u64, u32),
    /// The five minutes of the last hour, in requests a second, the oldest first.
    hour: Vec<f32>,
    /// Today, with the busiest hour so far.
    today: Option<Peak>,
    /// The days before it, the oldest first.
    days: Vec<Peak>,
    /// Throughput of buckets in which the origin was saturated, the oldest first.
    saturated: Vec<f32>,
    /// The last of them.
    saturated_at: u32,
}

/// What an origin can do, as far as it was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Requests a second: the median of the buckets that it was saturated in.
    pub per_second: f64,
    /// The standard error of that.
    pub error: f64,
    /// By so many buckets.
    pub buckets: usize,
    /// The last of them, in tens of seconds since 1970.
    pub seen: u32,
}

/// Where it leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// What the origin can do; `None`: it was never saturated.
    pub capacity: Option<Capacity>,
    /// How the peaks of days change; `None`: there are fewer than seven.
    pub trend: Option<Trend>,
    /// When [`SHARE`] of the capacity is reached: as is likely, at the latest and at the soonest, but for one in ten each.
    pub reached: Option<[Reached; 3]>,
}

impl Load {
    /// The last bucket that was taken in.
    pub const fn period(&self) -> u32 {
        self.period
    }

    /// The first one.
    pub const fn since(&self) -> u32 {
        self.since
    }

    /// The peaks of whole days in requests a second, the oldest first: the hour that has most, by its median five minutes.
    pub fn days(&self) -> &[Peak] {
        &self.days
    }

    /// Takes in the sums at the end of ten seconds.
    pub fn step(&mut self, period: u32, tally: Tally) {
        let before = std::mem::replace(&mut self.tally, tally);
        let gap = period.saturating_sub(self.period);
        if self.since == 0 {
            self.since = period;
        }
        if self.period == 0 || period <= self.period || gap > MOST_GAP {
            self.period = period;
            self.busy = (0, 0);
            self.hour.clear();
            return;
        }
        self.period = period;
        // Counters that are lower than before began anew.
        let more = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let (went, waited) = (more(tally.went, before.went), more(tally.waited, before.waited));
        let shed = more(tally.shed, before.shed);
        let (through, held_up) = (went.saturating_add(waited), waited.saturating_add(shed));
        let wanted = through.saturating_add(shed);
        if wanted >= FEWEST && held_up.saturating_mul(2) >= wanted {
            if self.saturated.len() >= SATURATED {
                self.saturated.remove(0);
            }
            self.saturated.push(through as f32 / (SECONDS * gap) as f32);
            self.saturated_at = period;
        }
        self.note_busy(wanted, gap, period / (DAY / SECONDS));
    }

    fn note_busy(&mut self, wanted: u64, gap: u32, day: u32) {
        if self.today.is_some_and(|today| today.day != day)
            && let Some(over) = self.today.take()
        {
            self.days.retain(|known| known.day < over.day && over.day - known.day < DAYS);
            self.days.push(over);
            self.busy = (0, 0);
            self.hour.clear();
        }
        let today = self.today.get_or_insert(Peak { day, value: 0.0 });
        self.busy = (self.busy.0.saturating_add(wanted), self.busy.1 + gap);
        let (requests, buckets) = self.busy;
        if buckets < BUSY {
            return;
        }
        self.busy = (0, 0);
        if self.hour.len() >= OF_AN_HOUR {
            self.hour.remove(0);
        }
        self.hour.push(requests as f32 / (SECONDS * buckets) as f32);
        // Half of an hour has more than its median: a crowd that comes for some minutes is no peak.
        if self.hour.len() == OF_AN_HOUR {
            let mut sorted = self.hour.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            today.value = today.value.max(sorted.get(OF_AN_HOUR / 2).copied().unwrap_or(0.0));
        }
    }

    /// What is to come.
    pub fn outlook(&self) -> Outlook {
        let capacity = self.capacity();
        let trend = Trend::of(&self.days);
        let reached = capacity.zip(trend).map(|(capacity, trend)| {
            trend.reaches(
                capacity.per_second * SHARE,
                capacity.error / capacity.per_second.max(f64::MIN_POSITIVE),
            )
        });
        Outlook { capacity, trend, reached }
    }

    fn capacity(&self) -> Option<Capacity> {
        let buckets = self.saturated.len();
        if buckets < FEWEST_SATURATED {
            return None;
        }
        let mut rates = self.saturated.clone();
        rates.sort_unstable_by(f32::total_cmp);
        let per_second = f64::from(*rates.get((buckets - 1) / 2)?);
        let distances = rates.iter().map(|rate| (f64::from(*rate) - per_second).abs()).collect();
        let error = spread(distances) * OF_MEDIAN / (buckets as f64).sqrt();
        Some(Capacity { per_second, error, buckets, seen: self.saturated_at })
    }

    /// For shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let Tally { went, waited, shed } = self.tally;
        for number in [went, waited, shed, self.busy.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let today = self.today.unwrap_or(Peak { day: 0, value: 0.0 });
        for number in [self.period, self.since, self.busy.1, self.saturated_at, today.day] {
            put_u32(&mut out, number);
        }
        put_f32(&mut out, today.value);
        put_u32(&mut out, self.days.len() as u32);
        for Peak { day, value } in &self.days {
            put_u32(&mut out, *day);
            put_f32(&mut out, *value);
        }
        for rates in [&self.saturated, &self.hour] {
            put_u32(&mut out, rates.len() as u32);
            rates.iter().for_each(|rate| put_f32(&mut out, *rate));
        }
        framed(out)
    }

    /// `None` for bytes of anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let body = &mut unframed(bytes, MAGIC)?;
        let mut next = || take_u64(body);
        let (went, waited, shed, busy) = (next()?, next()?, next()?, next()?);
        let mut next = || take_u32(body);
        let (period, since, buckets, saturated_at, day) = (next()?, next()?, next()?, next()?, next()?);
        let value = take_f32(body)?;
        let mut load = Self {
            period,
            since,
            tally: Tally { went, waited, shed },
            busy: (busy, buckets),
            today: (day != 0).then_some(Peak { day, value }),
            saturated_at,
            ..Self::default()
        };
        for _ in 0..take_count(body, DAYS as usize)? {
            let day = take_u32(body)?;
            load.days.push(Peak { day, value: take_f32(body)? });
        }
        for rates in [&mut load.saturated, &mut load.hour] {
            for _ in 0..take_count(body, SATURATED)? {
                rates.push(take_f32(body)?);
            }
        }
        body.is_empty().then_some(load)
    }
}

/// So much of the capacity is too much: beyond, queues grow fast.
pub const SHARE: f64 = 0.8;
/// Days of which the peak is kept.
pub const DAYS: u32 = 60;
/// Of a bucket.
const SECONDS: u32 = 10;
const DAY: u32 = 86_400;
/// Buckets of five minutes.
const BUSY: u32 = 30;
const OF_AN_HOUR: usize = 12;
/// Buckets that may be missed.
const MOST_GAP: u32 = 3;
/// Requests of a bucket that say something.
const FEWEST: u64 = 20;
/// Buckets in which the origin was saturated that are kept, and how many are needed.
const SATURATED: usize = 64;
const FEWEST_SATURATED: usize = 6;
/// How much farther off than a mean the median is of a normal distribution: √(π/2).
const OF_MEDIAN: f64 = 1.253_314_1;
const MAGIC: [u8; 4] = *b"svl2";

#[cfg(test)]
mod tests {
    use super::*;

    /// Days with a peak of some requests a second; of `day` the origin is saturated for ten minutes, at 100 a second.
    fn after(days: u32, saturated: Option<u32>, peak: impl Fn(u32) -> u64) -> Load {
        let (mut load, mut tally) = (Load::default(), Tally::default());
        for period in 1..=days * 8640 + 1 {
            let (day, of_day) = (period / 8640, period % 8640);
            let is_peak = (4000..4600).contains(&of_day);
            tally.went += if is_peak { peak(day) * 10 } else { 50 };
            if saturated == Some(day) && (6000..6060).contains(&of_day) {
                tally.waited += 950;
                tally.shed += 400;
            }
            load.step(170_000 * 100 + period - 17_000_000 % 8640, tally);
        }
        load
    }

    #[test]
    fn the_day_is_foretold_on_which_the_origin_has_too_much_to_do() {
        let load = after(20, Some(3), |day| 30 + u64::from(day));
        assert_eq!(load.days().len(), 20);
        let Outlook { capacity, trend, reached } = load.outlook();
        let capacity = capacity.unwrap();
        assert_eq!((capacity.per_second, capacity.buckets), (100.0, 60));
        let trend = trend.unwrap();
        assert_eq!((trend.slope, trend.weekly), (1.0, true));
        // The last whole day had 49, and 80 is 31 days away.
        assert_eq!(reached.unwrap()[0], Reached::In(31));
        assert_eq!(Load::decode(&load.encode()), Some(load.clone()));
        assert!(load.encode().len() < 1200);
    }

    #[test]
    fn what_was_never_saturated_has_no_capacity_and_no_day() {
        let outlook = after(10, None, |day| 30 + u64::from(day)).outlook();
        assert!(outlook.capacity.is_none() && outlook.reached.is_none());
        assert_eq!(outlook.trend.unwrap().slope, 1.0);
    }

    #[test]
    fn a_pause_and_counters_that_begin_anew_are_no_peak() {
        let mut load = Load::default();
        load.step(8640 * 100, Tally::default());
        load.step(8640 * 100 + 20, Tally { went: 1_000_000, ..Tally::default() });
        for period in 21..100 {
            load.step(8640 * 100 + period, Tally { went: 100, ..Tally::default() });
        }
        load.step(8640 * 101 + 50, Tally { went: 100, ..Tally::default() });
        load.step(8640 * 101 + 51, Tally { went: 100, ..Tally::default() });
        assert!(load.days().iter().all(|peak| peak.value < 2.0), "{:?}", load.days());
        // A clock that is set back.
        load.step(8640 * 99, Tally { went: 200, ..Tally::default() });
        assert_eq!(load.period(), 8640 * 99);
    }
}

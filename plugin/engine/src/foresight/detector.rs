//! Tells when a series is not what is usual for it.
//!
//! Each ten seconds are a bucket. A bucket is beyond what is usual if it differs from the median by more than six times the
//! median absolute deviation (and by more than a floor of the series) from *each* median that is known: that of the same hour on the last
//! seven days, that of the same hour a week ago, and that of the last two hours. Three such buckets in a row are an anomaly,
//! if chance alone would bring them less than once in a million times. Where few requests come, several buckets count as one.
//!
//! What is beyond is not remembered as usual, but for series of which that is no fault. An anomaly ends when six buckets in a row are less than half as far from what
//! is usual, when nothing comes any more, or after a day, when it has become usual.

use super::answers::Answers;
use super::series::{Bucket, Reading, SERIES, SURE, Series};
use super::usual::{Basis, Memory, PERIODS_AN_HOUR, Usual};
use super::words::{put_f32, put_u32, take_f32};
use crate::host::wire::{framed, take_u32, take_u64, unframed};

/// What a node knows of its series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detector {
    /// The last bucket that was taken in, in tens of seconds since 1970.
    period: u32,
    /// Since when it takes any in.
    since: u32,
    watched: [Watched; SERIES],
}

/// One series.
#[derive(Clone, Debug, Default, PartialEq)]
struct Watched {
    memory: Memory,
    /// Buckets that have too few requests each, and how many they are.
    gathered: Bucket,
    gathered_buckets: u32,
    /// What was last read.
    last: Option<(u32, f32)>,
    /// How it compares with what is usual.
    found: Option<Found>,
    run: Run,
    open: Option<Open>,
}

/// Buckets in a row that are beyond what is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Run {
    buckets: u32,
    readings: u32,
    up: bool,
    began: u32,
    evidence: f32,
    of: u32,
}

/// An anomaly that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Open {
    since: u32,
    calm: u32,
    seen: u32,
}

/// How a reading compares with the nearest of what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// What is usual.
    pub usual: Usual,
    /// By what that is known.
    pub basis: Basis,
    /// How far from it is too far.
    pub bound: f32,
    /// How far it is, as a part of that.
    pub part: f32,
    /// It is above.
    pub up: bool,
}

/// Something begins or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct News {
    /// What.
    pub series: Series,
    /// It begins.
    pub begins: bool,
    /// What it is now.
    pub value: f32,
    /// With what it was compared, if that is known any more.
    pub found: Option<Found>,
    /// Since which bucket.
    pub since: u32,
    /// Buckets in a row that were beyond, and the requests in them.
    pub buckets: u32,
    /// Of so many requests.
    pub of: u32,
}

/// What is known of a series now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Which one.
    pub series: Series,
    /// What was last read, and in which bucket.
    pub last: Option<(u32, f32)>,
    /// How that compares.
    pub found: Option<Found>,
    /// Since which bucket it is an anomaly.
    pub open: Option<u32>,
}

impl Detector {
    /// The last bucket that was taken in.
    pub const fn period(&self) -> u32 {
        self.period
    }

    /// The first one.
    pub const fn since(&self) -> u32 {
        self.since
    }

    /// Takes in what happened in the ten seconds that end with `period`. Buckets that are missing are no buckets with nothing.
    /// `None`: what came cannot be told from what came before.
    pub fn step(&mut self, period: u32, bucket: Option<&Bucket>) -> Vec<News> {
        let mut news = Vec::new();
        if self.since == 0 {
            self.since = period;
        }
        let gap = i64::from(period) - i64::from(self.period);
        if self.period != 0 && gap <= 0 && gap > -SMALL_STEP {
            // The clock was set back a little: that time has been seen.
            return news;
        }
        if self.period != 0 && gap != 1 {
            let jumped = gap <= 0 || gap > i64::from(PERIODS_AN_HOUR) * 24;
            self.watched.iter_mut().for_each(|watched| watched.miss(jumped));
        }
        let hour = period / PERIODS_AN_HOUR;
        let before = self.period / PERIODS_AN_HOUR;
        if self.period != 0 && hour > before {
            self.watched.iter_mut().for_each(|watched| watched.memory.close(before));
        }
        self.period = period;
        let Some(bucket) = bucket else { return news };
        for (series, watched) in Series::ALL.into_iter().zip(&mut self.watched) {
            news.extend(watched.step(series, period, bucket));
        }
        news
    }

    /// Each series.
    pub fn figures(&self) -> impl Iterator<Item = Figures> {
        Series::ALL.into_iter().zip(&self.watched).map(|(series, watched)| Figures {
            series,
            last: watched.last,
            found: watched.last.and_then(|(at, value)| nearest(series, &watched.memory, at, value)),
            open: watched.open.map(|open| open.since),
        })
    }

    /// The series that are anomalies, a bit for each in their order.
    pub fn open(&self) -> u32 {
        let bits = self.watched.iter().enumerate();
        bits.fold(0, |bits, (nth, watched)| bits | u32::from(watched.open.is_some()) << nth)
    }

    /// For shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_u32(&mut out, self.period);
        put_u32(&mut out, self.since);
        self.watched.iter().for_each(|watched| watched.encode(&mut out));
        framed(out)
    }

    /// `None` for bytes of anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let body = &mut unframed(bytes, MAGIC)?;
        let (period, since) = (take_u32(body)?, take_u32(body)?);
        let mut detector = Self { period, since, ..Self::default() };
        for watched in &mut detector.watched {
            *watched = Watched::decode(body)?;
        }
        body.is_empty().then_some(detector)
    }
}

impl Watched {
    fn miss(&mut self, jumped: bool) {
        self.gathered = Bucket::default();
        self.gathered_buckets = 0;
        self.run = Run::default();
        if jumped {
            self.memory.forget_recent();
            self.open = None;
        }
    }

    fn step(&mut self, series: Series, period: u32, bucket: &Bucket) -> Option<News> {
        self.gathered.add(bucket);
        self.gathered_buckets += 1;
        let (buckets, of) = (self.gathered_buckets, series.of(&self.gathered));
        if of < series.needs() && buckets < MOST_GATHERED {
            return self.ends_in_silence(series, period);
        }
        let bucket = std::mem::take(&mut self.gathered);
        self.gathered_buckets = 0;
        if of < series.needs() / 5 {
            self.run = Run::default();
            return self.ends_in_silence(series, period);
        }
        let reading = series.read(&bucket, buckets);
        self.last = Some((period, reading.value));
        self.found = nearest(series, &self.memory, period, reading.value);
        let beyond = self.found.filter(|found| found.part >= 1.0);
        match beyond {
            Some(found) => self.lengthen(series, period, (&bucket, buckets), &found),
            None => self.run = Run::default(),
        }
        let news = match self.open {
            None => self.begins(series, reading.value),
            Some(_) => self.ends(series, period, reading.value),
        };
        // That there are more requests than usual is no fault, and next week it may be usual.
        let is_fault = !matches!(series, Series::Requests | Series::Spend);
        if !is_fault || beyond.is_none() && self.open.is_none() {
            self.remember(period, reading);
        }
        news
    }

    fn remember(&mut self, period: u32, Reading { value, chance, .. }: Reading) {
        self.memory.add(period, value, chance);
    }

    fn lengthen(&mut self, series: Series, period: u32, (bucket, buckets): (&Bucket, u32), found: &Found) {
        if self.run.up != found.up || self.run.readings == 0 {
            self.run = Run { up: found.up, began: period.saturating_sub(buckets - 1), ..Run::default() };
        }
        self.run.buckets += buckets;
        self.run.readings += 1;
        self.run.evidence += series.evidence(bucket, buckets, &found.usual, found.bound) as f32;
        self.run.of = self.run.of.saturating_add(u32::try_from(series.of(bucket)).unwrap_or(u32::MAX));
    }

    fn begins(&mut self, series: Series, value: f32) -> Option<News> {
        let Run { buckets, readings, up, began, evidence, of } = self.run;
        // The first of them may have begun anywhere.
        if readings < ENOUGH || buckets < series.lasts(up) || evidence < SURE {
            return None;
        }
        self.open = Some(Open { since: began, calm: 0, seen: began + buckets });
        Some(News { series, begins: true, value, found: self.found, since: began, buckets, of })
    }

    fn ends(&mut self, series: Series, period: u32, value: f32) -> Option<News> {
        let open = self.open.as_mut()?;
        open.seen = period;
        let is_calm = self.found.is_some_and(|found| found.part < CALM);
        open.calm = if is_calm { open.calm + 1 } else { 0 };
        let is_usual_by_now = period.saturating_sub(open.since) >= A_DAY;
        if is_usual_by_now {
            self.memory.forget();
            self.found = None;
        }
        if open.calm < CALM_FOR && !is_usual_by_now {
            return None;
        }
        self.close(series, value)
    }

    /// Where hardly anything comes there is nothing to be an anomaly.
    fn ends_in_silence(&mut self, series: Series, period: u32) -> Option<News> {
        let open = self.open?;
        if period.saturating_sub(open.seen) < SILENCE {
            return None;
        }
        let value = self.last.map_or(0.0, |(_, value)| value);
        self.close(series, value)
    }

    fn close(&mut self, series: Series, value: f32) -> Option<News> {
        let open = self.open.take()?;
        self.run = Run::default();
        let found = self.found;
        Some(News { series, begins: false, value, found, since: open.since, buckets: 0, of: 0 })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.memory.encode(out);
        let Bucket { requests, cacheable, hits, refused, ref answers, charged, spent } = self.gathered;
        for number in [requests, cacheable, hits, refused, charged, spent] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let answers = answers.encode();
        put_u32(out, answers.len() as u32);
        out.extend_from_slice(&answers);
        let Run { buckets, readings, up, began, evidence, of } = self.run;
        let open = self.open.unwrap_or(Open { since: 0, calm: 0, seen: 0 });
        let (at, value) = self.last.unwrap_or_default();
        for number in [
            self.gathered_buckets,
            buckets,
            readings,
            u32::from(up),
            began,
            of,
            open.since,
            open.calm,
            open.seen,
            at,
        ] {
            put_u32(out, number);
        }
        put_f32(out, evidence);
        put_f32(out, value);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let memory = Memory::decode(bytes)?;
        let mut next = || take_u64(bytes);
        let (requests, cacheable, hits) = (next()?, next()?, next()?);
        let (refused, charged, spent) = (next()?, next()?, next()?);
        let length = usize::try_from(take_u32(bytes)?).ok()?;
        let (answers, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        let answers = Answers::decode(answers)?;
        let mut next = || take_u32(bytes);
        let (gathered_buckets, buckets, readings, up) = (next()?, next()?, next()?, next()? != 0);
        let (began, of) = (next()?, next()?);
        let (since, calm, seen, at) = (next()?, next()?, next()?, next()?);
        let (evidence, value) = (take_f32(bytes)?, take_f32(bytes)?);
        let last = (at != 0).then_some((at, value));
        let found = None;
        Some(Self {
            memory,
            gathered: Bucket { requests, cacheable, hits, refused, answers, charged, spent },
            gathered_buckets,
            last,
            found,
            run: Run { buckets, readings, up, began, evidence, of },
            open: (since != 0).then_some(Open { since, calm, seen }),
        })
    }
}

/// How a value compares with the nearest of what is usual; `None` while nothing is.
fn nearest(series: Series, memory: &Memory, period: u32, value: f32) -> Option<Found> {
    let compared = memory.usual(period).map(|(basis, usual)| {
        let (above, below) = series.bounds(basis, &usual);
        let apart = value - usual.value;
        let up = apart > 0.0;
        let bound = if up { above } else { below };
        let part = bound.map_or(0.0, |bound| apart.abs() / bound.max(f32::MIN_POSITIVE));
        Found { usual, basis, bound: bound.or(above).or(below).unwrap_or(f32::INFINITY), part, up }
    });
    compared.min_by(|a, b| a.part.total_cmp(&b.part))
}

/// Readings in a row.
const ENOUGH: u32 = 3;
/// Readings in a row that end one, each so near to what is usual.
const CALM_FOR: u32 = 6;
const CALM: f32 = 0.5;
/// Buckets that are gathered for one reading at most: five minutes.
const MOST_GATHERED: u32 = 30;
/// Half an hour.
const SILENCE: u32 = 180;
const A_DAY: u32 = 24 * PERIODS_AN_HOUR;
/// A clock that is set back by less than ten minutes is corrected.
const SMALL_STEP: i64 = 60;
const MAGIC: [u8; 4] = *b"svd1";

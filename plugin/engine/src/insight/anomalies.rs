//! What of the node is not what is usual for it. A detector looks at every ten seconds; it lies in shared data, so that it
//! outlives configurations and VMs. Whichever worker is the first in a period sees to it for all.
//!
//! ```text
//! sv1/f/t   period u32 · the series that are anomalies now, a bit for each, u32
//! sv1/f/a   what workers have heard of origins: sums
//! sv1/f/s   magic "svf1" · the sums of the last period: six u64 and those answers · the detector · xxh3
//! ```

use std::time::Duration;

use serde_json::Value;

use super::numbers::Requests;
use crate::foresight::answers::Answers;
use crate::foresight::detector::{Detector, Figures, Found, News};
use crate::foresight::series::{Bucket, Series};
use crate::host::wire::{framed, take_u32, take_u64, unframed};
use crate::host::{ABSENT, Host};
use crate::members::members;
use crate::policy::Policy;
use crate::time::Timestamp;

/// What one worker knows of it.
#[derive(Debug, Default)]
pub struct Anomalies {
    /// What it has heard of origins, and not told yet.
    heard: Answers,
    /// When it last looked, in seconds.
    looked: u64,
    /// What it saw then.
    open: u32,
}

/// The sums of counters, and what is usual.
#[derive(Debug, Default)]
struct State {
    sums: Bucket,
    detector: Detector,
}

impl Anomalies {
    /// An origin has answered.
    pub fn note_answer(&mut self, status: u16, took: Duration) {
        self.heard.note(status, took);
    }

    /// Whether a series is an anomaly, as this worker last heard.
    pub fn is_open(&self, series: Series) -> bool {
        self.open & (1 << series as u32) != 0
    }

    /// By tick: sees to it that somebody has looked at this period. A line for each anomaly that begins or ends.
    pub fn keep(&mut self, host: &mut dyn Host, policy: &Policy, now: Timestamp) -> Vec<String> {
        if now.as_secs() == self.looked {
            return Vec::new();
        }
        let period = period_of(now);
        let is_new = u64::from(period) != self.looked / SECONDS;
        self.looked = now.as_secs();
        if is_new && self.heard.all > 0 {
            self.tell_answers(host);
        }
        let (known, cas) = match host.get(TURN) {
            None => (None, ABSENT),
            Some((bytes, cas)) => (decode_turn(&bytes), cas),
        };
        let (last, open) = known.unwrap_or_default();
        self.open = open;
        // A moment long after this one is of a clock that was set back.
        let is_done = last >= period && last - period < PERIODS_BACK;
        if is_done || host.set(TURN, &encode_turn(period, open), cas).is_err() {
            return Vec::new();
        }
        let (open, news) = step(host, policy, period);
        self.open = open;
        // Whoever is first in the next period writes it anew.
        let _ = host.set(TURN, &encode_turn(period, open), 0);
        news.iter().map(line).collect()
    }

    fn tell_answers(&mut self, host: &mut dyn Host) {
        for _ in 0..TRIES {
            let (mut sums, cas) = read_answers(host);
            sums.add(&self.heard);
            if host.set(ANSWERS, &sums.encode(), cas).is_ok() {
                self.heard = Answers::default();
                return;
            }
        }
    }
}

/// Takes in what has happened since the last period. Gives the series that are anomalies.
fn step(host: &mut dyn Host, policy: &Policy, period: u32) -> (u32, Vec<News>) {
    let before = host.get(STATE).and_then(|(bytes, _)| State::decode(&bytes));
    let sums = sums(host, policy);
    let mut state = before.unwrap_or_default();
    let mut news = Vec::new();
    // A first look has nothing to compare with, and after a pause nobody knows when what came has come.
    let follows = state.detector.period() == 0 || state.detector.period().checked_add(1) == Some(period);
    if state.sums != Bucket::default() {
        let bucket = since(&sums, &state.sums);
        news = state.detector.step(period, follows.then_some(&bucket));
    }
    state.sums = sums;
    host.set(STATE, &state.encode(), 0).ok();
    (state.detector.open(), news)
}

fn sums(host: &mut dyn Host, policy: &Policy) -> Bucket {
    let requests = Requests::read(host);
    let (charged, spent) = spent(host, policy);
    Bucket {
        requests: requests.all(),
        cacheable: requests.all() - requests.bypass - requests.refused,
        hits: requests.from_store(),
        refused: requests.refused,
        answers: read_answers(host).0,
        charged,
        spent,
    }
}

#[cfg(feature = "llm")]
fn spent(host: &mut dyn Host, policy: &Policy) -> (u64, u64) {
    if !policy.counts_tokens() {
        return (0, 0);
    }
    (0..=policy.models.len()).fold((0, 0), |(charged, spent): (u64, u64), place| {
        let label = policy.models.label(place);
        let mut of = |family, word| host.metric_of(label, (family, word));
        let requests = of("llm_requests", "told").saturating_add(of("llm_requests", "estimated"));
        (charged.saturating_add(requests), spent.saturating_add(of("llm_cost_nanos", "spent")))
    })
}

#[cfg(not(feature = "llm"))]
fn spent(_host: &mut dyn Host, _policy: &Policy) -> (u64, u64) {
    (0, 0)
}

/// What was counted between two sums. Counters that are lower than before began anew.
fn since(now: &Bucket, before: &Bucket) -> Bucket {
    let more = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
    Bucket {
        requests: more(now.requests, before.requests),
        cacheable: more(now.cacheable, before.cacheable),
        hits: more(now.hits, before.hits),
        refused: more(now.refused, before.refused),
        answers: now.answers.since(&before.answers),
        charged: more(now.charged, before.charged),
        spent: more(now.spent, before.spent),
    }
}

fn read_answers(host: &mut dyn Host) -> (Answers, u32) {
    match host.get(ANSWERS) {
        None => (Answers::default(), ABSENT),
        Some((bytes, cas)) => (Answers::decode(&bytes).unwrap_or_default(), cas),
    }
}

/// Each series that is an anomaly, with a sentence.
pub fn told(host: &mut dyn Host) -> Vec<String> {
    let open = known(host).into_iter().filter(|figures| figures.open.is_some());
    open.map(|Figures { series, last, found, .. }| {
        let value = last.map_or(0.0, |(_, value)| value);
        [series.as_str(), ": ", &compared(series, value, found.as_ref())].concat()
    })
    .collect()
}

/// Every series: what it is, what is usual for it, and from where that is known.
pub fn show(host: &mut dyn Host, policy: &Policy) -> Value {
    let series = known(host).into_iter().map(|Figures { series, last, found, open }| {
        let shown = |value: f32| rounded(series.shown(value));
        let usual = found.map(|found| {
            let (low, high) = (found.usual.value - found.bound, found.usual.value + found.bound);
            members! {
                "basis": found.basis.as_str(),
                "days": found.basis.days(),
                "value": shown(found.usual.value),
                "spread": rounded(f64::from(found.usual.spread)),
                "too_low": (series.has_low() && low.is_finite()).then(|| shown(low)),
                "too_high": (series.has_high() && high.is_finite()).then(|| shown(high)),
            }
        });
        members! {
            "name": series.as_str(),
            "unit": series.unit(),
            "value": last.map(|(_, value)| shown(value)),
            "at_ms": last.map(|(at, _)| millis(at)),
            "since_ms": open.map(millis),
            "anomaly": open.is_some();
            "usual" => usual.unwrap_or_default()
        }
    });
    members! { "watched": policy.foresight.anomalies; "series" => series.collect() }
}

fn known(host: &mut dyn Host) -> Vec<Figures> {
    let state = host.get(STATE).and_then(|(bytes, _)| State::decode(&bytes)).unwrap_or_default();
    state.detector.figures().collect()
}

/// For the log.
fn line(news: &News) -> String {
    let series = news.series.as_str();
    let compared = compared(news.series, news.value, news.found.as_ref());
    if news.begins {
        let seconds = u64::from(news.buckets) * SECONDS;
        format!("anomaly: {series} is not usual: {compared}; for {seconds} s, {} requests", news.of)
    } else {
        format!("anomaly: {series} is usual again: {compared}")
    }
}

fn compared(series: Series, value: f32, found: Option<&Found>) -> String {
    let shown = |value: f32| rounded(series.shown(value));
    let (value, unit) = (shown(value), series.unit());
    let Some(found) = found else { return format!("{value} {unit}") };
    let (low, high) = (found.usual.value - found.bound, found.usual.value + found.bound);
    let (way, limit) = if found.up { ("above", high) } else { ("below", low) };
    let (usual, limit, basis) = (shown(found.usual.value), shown(limit), found.basis.as_str());
    format!("{value} {unit}, usual is {usual} by {basis}, too far is {way} {limit}")
}

fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

fn period_of(now: Timestamp) -> u32 {
    u32::try_from(now.as_secs() / SECONDS).unwrap_or(u32::MAX)
}

fn millis(period: u32) -> u64 {
    u64::from(period) * SECONDS * 1000
}

fn encode_turn(period: u32, open: u32) -> Vec<u8> {
    [period.to_le_bytes(), open.to_le_bytes()].concat()
}

fn decode_turn(mut bytes: &[u8]) -> Option<(u32, u32)> {
    let bytes = &mut bytes;
    Some((take_u32(bytes)?, take_u32(bytes)?))
}

impl State {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let Bucket { requests, cacheable, hits, refused, ref answers, charged, spent } = self.sums;
        for number in [requests, cacheable, hits, refused, charged, spent] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let answers = answers.encode();
        out.extend_from_slice(&(answers.len() as u64).to_le_bytes());
        out.extend_from_slice(&answers);
        out.extend_from_slice(&self.detector.encode());
        framed(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let body = &mut unframed(bytes, MAGIC)?;
        let mut next = || take_u64(body);
        let (requests, cacheable, hits) = (next()?, next()?, next()?);
        let (refused, charged, spent) = (next()?, next()?, next()?);
        let length = usize::try_from(next()?).ok()?;
        let (answers, detector) = body.split_at_checked(length)?;
        let answers = Answers::decode(answers)?;
        let sums = Bucket { requests, cacheable, hits, refused, answers, charged, spent };
        Some(Self { sums, detector: Detector::decode(detector)? })
    }
}

const TURN: &str = "sv1/f/t";
const ANSWERS: &str = "sv1/f/a";
const STATE: &str = "sv1/f/s";
const MAGIC: [u8; 4] = *b"svf1";
/// Of a period.
const SECONDS: u64 = 10;
/// Ten minutes, as the detector has it.
const PERIODS_BACK: u32 = 60;
const TRIES: usize = 4;

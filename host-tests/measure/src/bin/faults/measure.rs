//! Runs one row: warm-up, before, during the fault, after it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use selvage_measure::measured::{Phase, Sample, errors, late, moved, reloaded};

use crate::load::{Load, Mix};
use crate::purges::{self, Purges};
use crate::rows::{Fault, Row, Sign, Stage};

/// What came of a row.
pub struct Measured {
    pub name: &'static str,
    pub title: &'static str,
    pub fault: Fault,
    /// How long the fault lasted.
    pub lasted: Duration,
    /// All requests, warm-up included.
    pub requests: usize,
    /// What was wrong with answers, by how often.
    pub errors: BTreeMap<String, usize>,
    pub before: Phase,
    pub during: Phase,
    pub after: Phase,
    /// Lookups for each request before and during the fault.
    pub asked: (f64, f64),
    /// From the fault's end to the first sign of use; `None` if there was none.
    pub recovery: Option<Duration>,
    /// The counters that moved during the fault.
    pub moved: BTreeMap<String, u64>,
    /// The 99th percentile of how late requests were sent: the load generator's own fault.
    pub late: Duration,
    /// The most memory that Envoy had, in MiB.
    pub resident_mib: u64,
    /// What became of purges, if writes were refused.
    pub purges: Option<Purges>,
    /// What went wrong with Envoy itself.
    pub unsound: Option<String>,
}

/// How long phases last when the fault lasts ten seconds.
const WARM_UP: Duration = Duration::from_millis(2500);
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_millis(6500);

impl Row {
    /// Runs it. `scale` is 1 when the longest faults last ten seconds.
    pub fn measure(&self, mix: &Arc<Mix>, scale: f64) -> Measured {
        let mut stage = Stage::start(self.fault, mix);
        let lasting = (Duration::from_secs(1) * self.tenths).mul_f64(scale);
        let fault_at = (WARM_UP + BEFORE).mul_f64(scale);
        // Long enough to see whether it recovers in time, also in a short run.
        let total = fault_at + lasting + AFTER.mul_f64(scale.max(1.0));
        let refuses = matches!(self.fault, Fault::Refuses(_));
        if refuses {
            purges::prepare(&stage, lasting);
        }
        let load = Load::start(stage.gateway.address(), mix, total);
        let start = load.start;
        sleep_until(start + WARM_UP.mul_f64(scale));
        let first = counters(&stage);
        sleep_until(start + fault_at);
        let begun = counters(&stage);
        let from = start.elapsed();
        stage.begin(self.fault);
        let mut purges = refuses.then(|| purges::during(&stage, lasting, start + fault_at + lasting));
        sleep_until(start + fault_at + lasting);
        let ended = counters(&stage);
        stage.end(self.fault);
        let to = start.elapsed();
        let resident = AtomicU64::new(stage.gateway.resident_kib());
        let arriving = &stage;
        let (purges, seen, samples) = thread::scope(|scope| {
            let arrives = scope.spawn(move || {
                purges.iter_mut().for_each(|purges| purges::after(arriving, purges));
                purges
            });
            let seen = watch(&stage, start, to, total, &resident);
            let samples = load.finish();
            (arrives.join().unwrap(), seen, samples)
        });
        let unsound = reloaded(&stage.gateway);
        let warm = WARM_UP.mul_f64(scale);
        let (before, during) = (Phase::of(&samples, warm, from), Phase::of(&samples, from, to));
        let lookups = |early: &BTreeMap<String, u64>, late: &BTreeMap<String, u64>, phase: &Phase| {
            let count = |map: &BTreeMap<String, u64>| map.get("remote.lookups").copied().unwrap_or_default();
            count(late).saturating_sub(count(early)) as f64 / phase.requests.max(1) as f64
        };
        Measured {
            name: self.name,
            title: self.title,
            fault: self.fault,
            lasted: to - from,
            requests: samples.len(),
            errors: errors(&samples),
            asked: (lookups(&first, &begun, &before), lookups(&begun, &ended, &during)),
            after: Phase::of(&samples, to, total),
            recovery: recovery(self.fault, &samples, to, &seen),
            moved: moved(&begun, &ended),
            late: late(&samples),
            purges,
            resident_mib: resident.into_inner() / 1024,
            unsound,
            before,
            during,
        }
    }
}

fn sleep_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}

/// The filter's counters about the remote store, without what their names have in common.
fn counters(stage: &Stage) -> BTreeMap<String, u64> {
    let named = stage.gateway.stats("selvage").into_iter().filter_map(|(name, value)| {
        let (_, word) = name.split_once("selvage.")?;
        let about = ["remote", "breaker", "event.bad-record"].iter().any(|part| word.starts_with(part));
        about.then(|| (word.to_owned(), value))
    });
    named.collect()
}

/// When counters showed something after the fault, since the load's start.
#[derive(Default)]
struct Seen {
    /// Records were written again.
    written: Option<Duration>,
    /// From here on no call failed for a second.
    quiet: Option<Duration>,
}

/// Looks at counters and memory until the load ends.
fn watch(stage: &Stage, start: Instant, to: Duration, total: Duration, resident: &AtomicU64) -> Seen {
    let count = || {
        let counters = counters(stage);
        let well = ["lookups", "found", "absent", "written", "deleted", "busy"];
        let named = |name: &str| name.strip_prefix("remote.").map(|word| well.contains(&word));
        let failed = counters.iter().filter(|(name, _)| named(name) == Some(false)).map(|(_, value)| value);
        (counters.get("remote.written").copied().unwrap_or_default(), failed.sum::<u64>())
    };
    let (mut seen, (mut written, mut failed), mut last_failed) = (Seen::default(), count(), to);
    while start.elapsed() < total {
        thread::sleep(Duration::from_millis(100));
        resident.fetch_max(stage.gateway.resident_kib(), Ordering::Relaxed);
        let (now, now_failed) = count();
        let at = start.elapsed();
        // What is counted now may have been written just before the fault ended.
        if seen.written.is_none() && now > written && at > to + COUNTERS_LAG {
            seen.written = Some(at);
        }
        if now_failed > failed {
            last_failed = at;
        }
        if seen.quiet.is_none() && at > last_failed + Duration::from_secs(1) {
            seen.quiet = Some(last_failed);
        }
        (written, failed) = (now, now_failed);
    }
    seen
}

/// How much later than an event a counter may move.
const COUNTERS_LAG: Duration = Duration::from_millis(150);

fn recovery(fault: Fault, samples: &[Sample], end: Duration, seen: &Seen) -> Option<Duration> {
    let of_store =
        |sample: &&Sample| sample.outcome.as_ref().is_ok_and(|said| said.contains("detail=remote"));
    let hits = samples.iter().filter(|sample| sample.due >= end).filter(of_store);
    let hit = hits.map(|sample| sample.due + sample.latency).min();
    let sign = match fault.sign() {
        Sign::Hit => hit,
        Sign::Written => seen.written,
        Sign::Quiet => seen.quiet,
        Sign::Either => hit.into_iter().chain(seen.written).min(),
    };
    sign.map(|at| at.saturating_sub(end))
}

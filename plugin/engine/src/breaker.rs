//! Says when calling a cluster is not worth it: a circuit breaker over a sliding window of calls.
//!
//! ```text
//!            too many failures, or too many slow calls, of enough calls
//!   Closed ────────────────────────────────────────────────────────────► Open { until }
//!     ▲                                                                   │      ▲
//!     │ enough probes answered                     the pause is over      ▼      │ a probe fails or is slow
//!     └──────────────────────────────── HalfOpen ◄────────────────────────┘      │
//!                                           └────────────────────────────────────┘
//! ```
//!
//! *Closed* passes every call, *open* refuses every call at no cost, *half-open* lets one probe through at a time.
//! One breaker stands for one cluster, be it a bridge to Redis or an origin. The workers of a node share what they
//! find out: [`Breaker::sync`] and [`Breaker::admit_shared`].

mod config;
mod latency;
mod shared;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

pub use config::Config;
pub use latency::Latency;
pub use shared::{LENGTH, Shared};
use window::{Counts, Window};

use crate::time::Timestamp;

/// One worker's view of one cluster.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: Config,
    phase: Phase,
    /// When the phase began.
    since: Timestamp,
    /// Counts changes of the phase, the probe's included. Of two workers' views the higher one is the later one.
    generation: u64,
    /// Probes so far, which numbers them.
    probes: u64,
    /// Openings in a row, without a calm time between them: the pause grows with it.
    openings: u32,
    /// Calls of the node as last heard of.
    node: Window,
    /// Calls of this worker that the others have not been told of.
    own: Window,
    /// Bad calls of this worker since its last good one.
    in_a_row: u32,
    latency: Latency,
    /// Since when this cluster has been slower than the origin.
    slower_since: Option<Timestamp>,
    /// What a call may take at most to be worth it; set while the cluster has been slower than the origin for long.
    outpaced: Option<Duration>,
    /// The generation that the other workers know.
    told: u64,
    /// The last random number given, for pauses that begin when nobody gives one.
    random: u64,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Timestamp },
    HalfOpen { answered: u16, deadline: Option<Timestamp> },
}

/// Whether a call may be made, to be given back with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admit {
    /// Make the call.
    Pass,
    /// Make the call: what becomes of it decides whether the breaker closes.
    Probe(ProbeId),
    /// Make none.
    Refused,
}

/// Which probe, so that the answer to one that was given up is not taken for that of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeId(u64);

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// It was answered.
    Success {
        /// From the call to the answer.
        latency: Duration,
    },
    /// It was not sent, refused, reset, or answered with something of no use.
    Failure,
    /// It was not answered by its deadline.
    Timeout,
    /// Nobody waited for it any more. It says nothing about the cluster.
    Dropped,
}

/// What a breaker does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Passes every call.
    Closed,
    /// Refuses every call.
    Open {
        /// The end of the pause.
        until: Timestamp,
    },
    /// Lets one probe through at a time.
    HalfOpen,
}

/// What has happened since the worker began. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times this worker opened it because of failures and timeouts.
    pub opened_by_failures: u64,
    /// Times this worker opened it because of slow calls.
    pub opened_by_slowness: u64,
    /// Times a probe of this worker failed, so that it opened again.
    pub reopened: u64,
    /// Times it became half-open by a call of this worker.
    pub half_opened: u64,
    /// Times this worker's probes closed it.
    pub closed: u64,
    /// Changes of state taken over from another worker.
    pub adopted: u64,
    /// Calls refused.
    pub refused: u64,
    /// Probes let through.
    pub probes: u64,
    /// Probes, of any worker, that were not heard of by their deadline and replaced by this worker.
    pub lost_probes: u64,
}

impl Counters {
    /// What has happened since `before`, by the words for metrics.
    pub const fn since(self, before: Self) -> [(&'static str, u64); 9] {
        [
            ("opened-by-failures", self.opened_by_failures - before.opened_by_failures),
            ("opened-by-slowness", self.opened_by_slowness - before.opened_by_slowness),
            ("reopened", self.reopened - before.reopened),
            ("half-opened", self.half_opened - before.half_opened),
            ("recovered", self.closed - before.closed),
            ("adopted", self.adopted - before.adopted),
            ("refused", self.refused - before.refused),
            ("probes", self.probes - before.probes),
            ("lost-probes", self.lost_probes - before.lost_probes),
        ]
    }
}

impl State {
    /// `closed`, `open` or `half-open`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl Breaker {
    /// A closed breaker that has seen nothing.
    pub fn new(config: Config) -> Self {
        let config = config.bounded();
        let window = Window::new(config.bucket);
        Self {
            phase: Phase::Closed,
            since: Timestamp::default(),
            generation: 0,
            probes: 0,
            openings: 0,
            node: window.clone(),
            own: window,
            in_a_row: 0,
            latency: Latency::new(config.half_life),
            slower_since: None,
            outpaced: None,
            told: 0,
            random: 0,
            counters: Counters::default(),
            config,
        }
    }

    /// Changes the settings. The state stays; the window is emptied if its buckets are of another length now.
    pub fn set_config(&mut self, config: Config) {
        let config = config.bounded();
        if config.bucket != self.config.bucket {
            self.node = Window::new(config.bucket);
            self.own = self.node.clone();
        }
        if config.half_life != self.config.half_life {
            self.latency = Latency::new(config.half_life);
        }
        self.config = config;
    }

    /// Closes it, whatever it knows, and forgets that: an operator says so. To be told to the others by [`Breaker::sync`].
    pub fn reset(&mut self, now: Timestamp) {
        self.openings = 0;
        self.close(now);
    }

    /// Whether a call may be made now, for a breaker that no other worker shares.
    ///
    /// `random` is any number; it moves the end of pauses about. What is admitted is answered by one
    /// [`Breaker::record`]; a probe for which there is none is given up after [`Config::probe_deadline`].
    pub fn admit(&mut self, now: Timestamp, random: u64) -> Admit {
        self.random = random;
        let admit = match self.phase {
            Phase::Closed => Admit::Pass,
            _ if self.probe_is_due(now) => self.claim_probe(now),
            _ => Admit::Refused,
        };
        self.count(admit)
    }

    /// Takes in the result of a call that `admitted` let through. `true` if the state changed: shared breakers
    /// should then [`Breaker::sync`].
    ///
    /// Calls from before it opened, and probes that were given up, change nothing.
    pub fn record(&mut self, admitted: Admit, result: CallResult, now: Timestamp, random: u64) -> bool {
        self.random = random;
        if let CallResult::Success { latency } = result {
            self.latency.record(latency, now);
        }
        let before = self.generation;
        match (admitted, self.phase) {
            (Admit::Pass, Phase::Closed) => self.record_call(result, now),
            (Admit::Probe(id), Phase::HalfOpen { answered, deadline: Some(_) }) if id.0 == self.probes => {
                self.record_probe(result, answered, now);
            }
            _ => {}
        }
        self.generation != before
    }

    /// Counts a call whose answer nobody will look at as one that was answered in time. `false`, and nothing is counted, unless
    /// it is closed and no call has failed or been slow lately, as far as is known. One that is read all the same is counted by
    /// [`Breaker::record`].
    pub fn assume(&mut self, is_read: bool, now: Timestamp) -> bool {
        let is_calm = self.phase == Phase::Closed && self.node.is_good() && self.own.is_good();
        if is_calm && !is_read {
            self.own.add(now, Counts { successes: 1, ..Counts::default() });
            self.in_a_row = 0;
        }
        is_calm
    }

    /// Compares this cluster with the origin, whose calls it is to spare. To be called now and then, by tick or
    /// with each result.
    ///
    /// Once it has been slower for [`Config::outpaced_after`], all its calls count as slow, until it is not.
    pub fn compare(&mut self, origin: &Latency, now: Timestamp) {
        let factor = self.config.outpaced_factor;
        if factor <= 0.0 || self.phase != Phase::Closed {
            return;
        }
        let notable = self.latency.mean().is_some_and(|mean| mean > self.config.outpaced_least);
        let limit = origin.mean().filter(|_| notable && self.latency.worse_than(origin, factor));
        let Some(limit) = limit else {
            self.slower_since = None;
            self.outpaced = None;
            return;
        };
        let since = *self.slower_since.get_or_insert(now);
        let sustained = now.since(since) >= self.config.outpaced_after;
        let limit = Duration::try_from_secs_f64(limit.as_secs_f64() * factor).unwrap_or(limit);
        self.outpaced = sustained.then(|| limit.max(self.config.outpaced_least));
    }

    /// What it does at `now`. Open with the pause over is half-open.
    pub fn state(&self, now: Timestamp) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { until } if waits(now, until, self.config.longest_wait()) => State::Open { until },
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How long its calls take.
    pub const fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Whether it has been slower than the origin for long.
    pub const fn is_outpaced(&self) -> bool {
        self.outpaced.is_some()
    }

    /// What has happened so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn record_call(&mut self, result: CallResult, now: Timestamp) {
        let slow =
            self.is_slow(result) || (self.outpaced.is_some() && matches!(result, CallResult::Success { .. }));
        let Some(counts) = Counts::of(result, slow) else { return };
        self.own.add(now, counts);
        // An answer in time is no reason to stop asking, even if it is the one that makes the calls enough.
        if slow || !matches!(result, CallResult::Success { .. }) {
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.judge(result, now);
        } else {
            self.in_a_row = 0;
        }
    }

    fn record_probe(&mut self, result: CallResult, answered: u16, now: Timestamp) {
        let answered = answered.saturating_add(1);
        match result {
            CallResult::Dropped => {
                self.enter(Phase::HalfOpen { answered: answered.saturating_sub(1), deadline: None }, now);
            }
            CallResult::Success { .. } if !self.probe_is_slow(result) => {
                if answered >= self.config.probes_to_close {
                    self.close(now);
                    self.counters.closed += 1;
                } else {
                    self.enter(Phase::HalfOpen { answered, deadline: None }, now);
                }
            }
            CallResult::Success { .. } | CallResult::Failure | CallResult::Timeout => {
                self.open(now);
                self.counters.reopened += 1;
            }
        }
    }

    /// Opens it if the window says so, or so many bad calls in a row that the good ones before them do not matter:
    /// many calls a second would otherwise take half the window to become the smaller part.
    fn judge(&mut self, result: CallResult, now: Timestamp) {
        let seen = self.node.total(now).plus(self.own.total(now));
        if seen.calls() < u64::from(self.config.least_calls.max(1)) {
            return;
        }
        let reaches = |part: u64, ratio: f64| ratio > 0.0 && part as f64 >= ratio * seen.calls() as f64;
        let least = self.config.least_calls.max(1);
        let in_a_row = self.in_a_row >= least.saturating_mul(RUN);
        let slow = matches!(result, CallResult::Success { .. });
        if reaches(seen.failed(), self.config.failure_ratio)
            || in_a_row && !slow && self.config.failure_ratio > 0.0
        {
            self.counters.opened_by_failures += 1;
        } else if reaches(seen.slow_or_late(), self.config.slow_ratio)
            || in_a_row && slow && self.config.slow_ratio > 0.0
        {
            self.counters.opened_by_slowness += 1;
        } else {
            return;
        }
        if now.since(self.since) >= self.config.longest_pause {
            self.openings = 0;
        }
        self.open(now);
    }

    fn open(&mut self, now: Timestamp) {
        self.openings = self.openings.saturating_add(1);
        let pause = self.config.pause(self.openings, self.random ^ self.generation);
        self.enter(Phase::Open { until: now.plus(pause) }, now);
    }

    fn close(&mut self, now: Timestamp) {
        self.forget_calls();
        self.enter(Phase::Closed, now);
    }

    fn forget_calls(&mut self) {
        self.node.clear();
        self.own.clear();
        self.in_a_row = 0;
        self.latency.clear();
        self.slower_since = None;
        self.outpaced = None;
    }

    fn enter(&mut self, phase: Phase, now: Timestamp) {
        if phase.word() != self.phase.word() {
            self.since = now;
        }
        self.phase = phase;
        self.generation = self.generation.saturating_add(1);
    }

    fn probe_is_due(&self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Closed | Phase::HalfOpen { deadline: None, .. } => true,
            Phase::Open { until } => !waits(now, until, self.config.longest_wait()),
            Phase::HalfOpen { deadline: Some(deadline), .. } => {
                !waits(now, deadline, self.config.probe_deadline.saturating_mul(2))
            }
        }
    }

    fn claim_probe(&mut self, now: Timestamp) -> Admit {
        let answered = match self.phase {
            Phase::HalfOpen { answered, deadline } => {
                self.counters.lost_probes += u64::from(deadline.is_some());
                answered
            }
            Phase::Closed | Phase::Open { .. } => {
                self.counters.half_opened += 1;
                0
            }
        };
        self.probes = self.probes.saturating_add(1);
        let deadline = Some(now.plus(self.config.probe_deadline));
        self.enter(Phase::HalfOpen { answered, deadline }, now);
        Admit::Probe(ProbeId(self.probes))
    }

    fn count(&mut self, admit: Admit) -> Admit {
        match admit {
            Admit::Pass => {}
            Admit::Probe(_) => self.counters.probes += 1,
            Admit::Refused => self.counters.refused += 1,
        }
        admit
    }

    fn is_slow(&self, result: CallResult) -> bool {
        matches!(result, CallResult::Success { latency } if latency > self.config.slow_after)
    }

    /// A probe is judged by itself: the average that opened the breaker is of calls from before.
    fn probe_is_slow(&self, result: CallResult) -> bool {
        let too_slow = match (result, self.outpaced) {
            (CallResult::Success { latency }, Some(limit)) => latency > limit,
            _ => false,
        };
        self.config.slow_ratio > 0.0 && (too_slow || self.is_slow(result))
    }
}

impl Phase {
    const fn word(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Open { .. } => 1,
            Self::HalfOpen { .. } => 2,
        }
    }
}

/// So many times the least number of calls decide in a row. Where a third of the calls fail, as while a Redis Cluster
/// replaces one of three masters, twenty in a row happen once in billions.
const RUN: u32 = 2;

/// Whether `until` is still to come. What is further off than anything waits is a clock that was set back.
fn waits(now: Timestamp, until: Timestamp, longest: Duration) -> bool {
    now < until && until.since(now) <= longest
}

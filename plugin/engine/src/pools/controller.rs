//! The limit of a pool, found from what the origin's answers take.
//!
//! After Vegas (Brakmo and Peterson, 1994): of the requests at the origin, `limit × (1 − base / latency)` wait there for a
//! turn, where `base` is what an answer takes when nobody waits. The limit shrinks when more wait than its square root, and
//! grows when nearly nobody does and it is used up. It never grows unused: a limit that nobody fills protects nothing.
//!
//! `base` is learnt in three ways. A faster answer lowers it. Every half minute, while the limit is used up, the limit dips
//! for a moment, so that nobody waits at the origin; the queue before it takes the dip. And when the limit has shrunk and
//! answers are no faster for it, they take that long by themselves.

use std::time::Duration;

use crate::chance;
use crate::host::wire::{take, take_u32, take_u64};
use crate::time::Timestamp;

/// Between what the limit may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// The first.
    pub start: u32,
    /// Always this one, if there is one.
    pub fixed: Option<u32>,
}

/// What requests told in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Answers whose latency counts.
    pub answers: u32,
    /// Sum of the workers' medians in microseconds, each as often as it has answers.
    pub latency: u64,
    /// Answers that say the origin has too much to do, or none at all.
    pub failures: u32,
    /// The most that were at the origin at once.
    pub busiest: u32,
    /// Requests of the highest class waited.
    pub high_waits: bool,
    /// The worker or the origin says that it has too much to do.
    pub strained: bool,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.answers = self.answers.saturating_add(other.answers);
        self.latency = self.latency.saturating_add(other.latency);
        self.failures = self.failures.saturating_add(other.failures);
        self.high_waits |= other.high_waits;
        self.strained |= other.strained;
    }

    /// What an answer took, in microseconds.
    fn mean(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.latency as f64 / f64::from(self.answers))
    }
}

/// The limit, and what it is found from.
#[derive(Clone, Debug, PartialEq)]
pub struct Controller {
    limit: f64,
    /// Microseconds; 0 while it is unknown.
    base: f64,
    /// A moving mean of latencies, in microseconds.
    latency: f64,
    window: Told,
    began: Timestamp,
    dip: Dip,
    next_dip: Timestamp,
    /// When failures last took a part of the limit.
    cut: Timestamp,
    /// The limit and the latency before it began to shrink; 0 while it does not.
    before: (f64, f64),
    /// The same before it began to grow, with answers a second.
    growth: Growth,
    /// A part of the limit that is left while something is strained.
    ease: f64,
    /// The base was guessed from a limit that shrank, and no dip has shown it since.
    guessed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Growth {
    limit: f64,
    rate: f64,
    windows: u32,
    /// No growth before this.
    not_before: Timestamp,
}

/// A moment in which the limit is lower, to see what answers take when nobody waits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Dip {
    #[default]
    None,
    /// What was at the origin before is still there.
    Draining { until: Timestamp, part: f64 },
    /// What answers now has met nobody.
    Measuring { until: Timestamp, part: f64 },
    /// It is over, and the origin fills again.
    Settling { until: Timestamp },
}

impl Controller {
    /// At the beginning.
    pub fn new(bounds: &Bounds, now: Timestamp) -> Self {
        Self {
            limit: f64::from(bounds.start.clamp(bounds.min, bounds.max)),
            base: 0.0,
            latency: 0.0,
            window: Told::default(),
            began: now,
            dip: Dip::None,
            next_dip: Timestamp::default(),
            cut: Timestamp::default(),
            before: (0.0, 0.0),
            growth: Growth::default(),
            ease: 1.0,
            guessed: false,
        }
    }

    /// How many requests may be at the origin now.
    pub fn limit(&self, bounds: &Bounds) -> u32 {
        if let Some(fixed) = bounds.fixed {
            return fixed;
        }
        let part = match self.dip {
            Dip::None | Dip::Settling { .. } => 1.0,
            Dip::Draining { part, .. } | Dip::Measuring { part, .. } => part,
        };
        let limit = (self.limit * part * self.ease).round().clamp(0.0, f64::from(u32::MAX));
        (limit as u32).clamp(bounds.min, bounds.max)
    }

    /// What an answer takes when nobody waits at the origin, as far as is known.
    pub fn base(&self) -> Option<Duration> {
        (self.base > 0.0).then(|| Duration::from_micros(self.base as u64))
    }

    /// What answers take now, as far as is known.
    pub fn latency(&self) -> Option<Duration> {
        (self.latency > 0.0).then(|| Duration::from_micros(self.latency as u64))
    }

    /// Takes in what a worker was told since it last said so. `busiest` is what all workers had at the origin.
    pub fn take(&mut self, told: Told, busiest: u32, bounds: &Bounds, now: Timestamp, random: u64) {
        self.window.add(told);
        self.window.busiest = self.window.busiest.max(busiest);
        if bounds.fixed.is_some() {
            if now.since(self.began) >= WINDOW {
                self.latency = self.window.mean().unwrap_or(self.latency);
                self.restart(now);
            }
            return;
        }
        self.cut_for_failures(bounds, now);
        let age = now.since(self.began);
        match self.dip {
            Dip::Draining { until, part } if now >= until => {
                self.dip = Dip::Measuring { until: now.plus(self.rounds(2)), part };
                return self.restart(now);
            }
            Dip::Measuring { until, .. } if now >= until || self.window.answers >= ENOUGH_IN_DIP => {
                let mut next = BETWEEN_DIPS.mul_f64(0.9 + 0.2 * chance::fraction(random));
                if self.window.answers >= FEWEST_IN_DIP
                    && let Some(latency) = self.window.mean()
                {
                    // Half of a limit that is far too high is too high as well.
                    if latency < LOWER * self.base {
                        next = SOON;
                    }
                    self.base = latency;
                    self.guessed = false;
                    // So many are served at once, and a few may wait.
                    let served = self.limit * (latency / self.latency.max(1.0)).min(1.0);
                    let most = (served + served.sqrt()).max(f64::from(bounds.min));
                    self.limit = self.limit.min(most);
                }
                self.before = (0.0, 0.0);
                // Until as many are at the origin as before, answers are faster than they will be.
                self.dip = Dip::Settling { until: now.plus(self.rounds(1)) };
                self.next_dip = now.plus(next);
                return self.restart(now);
            }
            Dip::Settling { until } if now >= until => {
                self.dip = Dip::None;
                return self.restart(now);
            }
            Dip::Draining { .. } | Dip::Measuring { .. } | Dip::Settling { .. } => return,
            Dip::None => {}
        }
        let enough = self.window.answers >= ENOUGH && age >= self.rounds(2);
        let long = self.window.answers > 0 && age >= self.rounds(4).max(LONG_WINDOW);
        if enough || long {
            self.step(bounds, now);
        }
    }

    /// A few times what an answer takes, and a window at least.
    fn rounds(&self, rounds: u32) -> Duration {
        let latency = Duration::from_micros(self.latency.min(MOST_MICROS) as u64);
        latency.saturating_mul(rounds).max(WINDOW)
    }

    fn restart(&mut self, now: Timestamp) {
        self.window = Told::default();
        self.began = now;
    }

    fn cut_for_failures(&mut self, bounds: &Bounds, now: Timestamp) {
        // Once for all that the same moment has refused.
        if self.window.failures > 0 && now.since(self.cut) >= self.rounds(1) {
            self.window.failures = 0;
            self.cut = now;
            self.limit = (self.limit * CUT).max(f64::from(bounds.min));
            self.growth = Growth { not_before: now.plus(self.rounds(1)), ..Growth::default() };
        }
    }

    /// A window is full.
    fn step(&mut self, bounds: &Bounds, now: Timestamp) {
        let Some(latency) = self.window.mean() else { return };
        let steady = (latency - self.latency).abs() <= STEADY * self.latency;
        let seconds = now.since(self.began).as_secs_f64().max(0.001);
        let rate = f64::from(self.window.answers) / seconds;
        self.latency = latency;
        self.learn_base(latency, steady, now);
        self.ease =
            if self.window.strained { (self.ease * CUT).max(LEAST_EASE) } else { (self.ease / CUT).min(1.0) };
        let queued = self.limit * (1.0 - self.base / latency.max(1.0));
        let root = self.limit.sqrt();
        let used_up = f64::from(self.window.busiest) >= USED_UP * self.limit * self.ease;
        if queued > root {
            if self.before.0 == 0.0 {
                self.before = (self.limit, latency);
            }
            self.limit -= (queued - root) / 2.0;
            self.growth = Growth::default();
        } else if queued < GROW_BELOW * root && used_up && now >= self.growth.not_before {
            self.before = (0.0, 0.0);
            self.grow(rate, root, now);
        }
        self.limit = self.limit.max(f64::from(bounds.min)).min(f64::from(bounds.max));
        if used_up && now >= self.next_dip {
            if self.next_dip == Timestamp::default() {
                // The first base may have been learnt in a crowd.
                self.next_dip = now.plus(FIRST_DIP);
            } else {
                self.dip = Dip::Draining { until: now.plus(self.rounds(1) + HEARD_BY_ALL), part: DIP };
            }
        }
        self.restart(now);
    }

    fn learn_base(&mut self, latency: f64, steady: bool, now: Timestamp) {
        if self.base == 0.0 || latency < FASTER * self.base {
            self.base = latency;
            self.before = (0.0, 0.0);
        } else if latency < self.base {
            self.base += (latency - self.base) / 4.0;
        }
        let (limit, at_limit) = self.before;
        if limit > 0.0 && self.limit <= SHRUNK * limit && steady && !self.guessed {
            // If they waited at the origin, answers are faster by as much as the limit is lower.
            let foreseen = at_limit * (1.0 - self.limit / limit);
            if at_limit - latency < foreseen / 2.0 {
                self.base = latency * NEARLY;
                self.guessed = true;
                self.next_dip = self.next_dip.min(now.plus(SOON));
                self.before = (0.0, 0.0);
            } else {
                self.before = (self.limit, latency);
            }
        }
    }

    /// One step up. Where the rate of answers has not followed the last five, they are taken back.
    fn grow(&mut self, rate: f64, root: f64, now: Timestamp) {
        let growth = &mut self.growth;
        if growth.windows == 0 {
            (growth.limit, growth.rate) = (self.limit, rate);
        }
        growth.rate = growth.rate.max(1e-9);
        growth.windows += 1;
        if growth.windows > GUARDED {
            let (more, faster) = (self.limit / growth.limit - 1.0, rate / growth.rate - 1.0);
            let followed = faster >= FOLLOWS * more;
            let back = growth.limit;
            *growth = Growth::default();
            if !followed && more > 0.0 {
                self.limit = back;
                self.growth.not_before = now.plus(HELD_BACK);
                return;
            }
        }
        self.limit += STEP * root;
    }

    /// As the workers share it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, until, part) = match self.dip {
            Dip::None => (0_u32, Timestamp::default(), 0.0),
            Dip::Draining { until, part } => (1, until, part),
            Dip::Measuring { until, part } => (2, until, part),
            Dip::Settling { until } => (3, until, 0.0),
        };
        let Told { answers, latency, failures, busiest, high_waits, strained } = self.window;
        let flags = u32::from(high_waits) | u32::from(strained) << 1 | u32::from(self.guessed) << 2;
        for number in [answers, failures, busiest, flags, kind, self.growth.windows] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let not_before = self.growth.not_before;
        for number in [latency]
            .into_iter()
            .chain([self.began, until, self.next_dip, self.cut, not_before].map(Timestamp::as_millis))
        {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let Growth { limit, rate, .. } = self.growth;
        for number in
            [self.limit, self.base, self.latency, part, self.before.0, self.before.1, limit, rate, self.ease]
        {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// `None` if these are not the bytes of one.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut small = || take_u32(bytes);
        let (answers, failures, busiest) = (small()?, small()?, small()?);
        let (flags, kind, windows) = (small()?, small()?, small()?);
        let latency = take_u64(bytes)?;
        let mut moment = || take_u64(bytes).map(Timestamp::from_millis);
        let (began, until, next_dip) = (moment()?, moment()?, moment()?);
        let (cut, not_before) = (moment()?, moment()?);
        let mut real =
            || take::<8>(bytes).map(f64::from_le_bytes).filter(|number| number.is_finite() && *number >= 0.0);
        let (limit, base, mean, part) = (real()?, real()?, real()?, real()?);
        let before = (real()?, real()?);
        let (growth_limit, rate, ease) = (real()?, real()?, real()?);
        let dip = match kind {
            0 => Dip::None,
            1 => Dip::Draining { until, part },
            2 => Dip::Measuring { until, part },
            3 => Dip::Settling { until },
            _ => return None,
        };
        Some(Self {
            limit,
            base,
            latency: mean,
            window: Told {
                answers,
                latency,
                failures,
                busiest,
                high_waits: flags & 1 != 0,
                strained: flags & 2 != 0,
            },
            began,
            dip,
            next_dip,
            cut,
            before,
            growth: Growth { limit: growth_limit, rate, windows, not_before },
            ease: ease.clamp(LEAST_EASE, 1.0),
            guessed: flags & 4 != 0,
        })
    }
}

/// A window is no shorter, and has so many answers.
const WINDOW: Duration = Duration::from_millis(100);
const ENOUGH: u32 = 10;
/// Where answers are few, a window with fewer has to do.
const LONG_WINDOW: Duration = Duration::from_secs(1);
/// Of the square root of the limit: it grows while fewer wait, by so much.
const GROW_BELOW: f64 = 0.5;
const STEP: f64 = 0.3;
/// A limit of which this part is in use is used up.
const USED_UP: f64 = 0.9;
const CUT: f64 = 0.9;
/// A strained worker or origin takes no more than this.
const LEAST_EASE: f64 = 0.5;
/// Answers so much faster are not chance.
const FASTER: f64 = 0.7;
/// Two windows that differ by no more tell the same.
const STEADY: f64 = 0.15;
/// A limit that is so much lower should show.
const SHRUNK: f64 = 0.85;
const NEARLY: f64 = 0.95;
/// Windows of growth after which the rate of answers should show it, and how much of it.
const GUARDED: u32 = 5;
const FOLLOWS: f64 = 0.25;
const HELD_BACK: Duration = Duration::from_secs(2);
const BETWEEN_DIPS: Duration = Duration::from_secs(30);
const FIRST_DIP: Duration = Duration::from_millis(500);
/// The next, where the base may still be too high: it was guessed, or the last has found it lower by this part.
const SOON: Duration = Duration::from_secs(1);
const LOWER: f64 = 0.9;
const DIP: f64 = 0.6;
/// The workers hear of a dip one after another.
const HEARD_BY_ALL: Duration = Duration::from_millis(50);
const FEWEST_IN_DIP: u32 = 3;
/// So many end the dip.
const ENOUGH_IN_DIP: u32 = 8;
/// One minute: an answer that takes longer tells no more.
const MOST_MICROS: f64 = 60e6;

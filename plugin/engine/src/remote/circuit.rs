//! Says when asking a remote store is not worth it: a circuit breaker. Closed passes, open refuses, half-open probes.

use std::time::Duration;

use crate::time::Timestamp;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// It was answered in time.
    Answered,
    /// It failed, or took longer than it may.
    Failed,
}

/// Counts failures among the latest calls, and stops asking when there are too many of them.
///
/// Of the last [`WINDOW`] calls a half must have failed, and at least [`LEAST_FAILURES`], to open it. It stays open
/// for [`FIRST_PAUSE`], twice as long after each probe that fails, up to [`LONGEST_PAUSE`]. Then one call is let
/// through; its answer closes it.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    /// The latest calls, a set bit for one that failed, the newest lowest.
    window: u32,
    known: u32,
    state: State,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Timestamp,
    },
    HalfOpen {
        since: Timestamp,
    },
}

impl Breaker {
    /// Whether a call may be made now. An open breaker whose pause is over lets one through.
    pub fn admit(&mut self, now: Timestamp) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } if now < until => false,
            // A probe whose answer is lost must not keep it shut for ever.
            State::HalfOpen { since } if now.since(since) < LONGEST_PAUSE => false,
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { since: now };
                true
            }
        }
    }

    /// Takes the result of a call in. `true` if the breaker has just opened.
    pub fn record(&mut self, result: CallResult, now: Timestamp) -> bool {
        let failed = result == CallResult::Failed;
        match (self.state, failed) {
            (State::Closed, _) => {
                self.window = self.window << 1 | u32::from(failed);
                self.known = (self.known + 1).min(WINDOW);
                let failures = self.window.count_ones();
                if failures < LEAST_FAILURES || failures * 2 < self.known {
                    return false;
                }
                self.open(FIRST_PAUSE, now);
                true
            }
            (State::HalfOpen { .. }, true) => {
                self.open((self.pause * 2).min(LONGEST_PAUSE), now);
                true
            }
            (State::HalfOpen { .. }, false) => {
                *self = Self::default();
                false
            }
            // The answer to a call from before it opened.
            (State::Open { .. }, _) => false,
        }
    }

    /// `closed`, `open` or `half-open`.
    pub const fn as_str(&self) -> &'static str {
        match self.state {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half-open",
        }
    }

    fn open(&mut self, pause: Duration, now: Timestamp) {
        *self = Self { pause, state: State::Open { until: now.plus(pause) }, ..Self::default() };
    }
}

/// Calls that are looked back on.
pub const WINDOW: u32 = 32;
/// Fewer failures than this open nothing.
pub const LEAST_FAILURES: u32 = 5;
/// How long it first stays open.
pub const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How long it stays open at most, so that a store that is back is used again soon.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn it_opens_on_failures_probes_once_and_closes_on_an_answer() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(breaker.admit(at(0)));
            assert!(!breaker.record(CallResult::Failed, at(0)));
        }
        assert!(breaker.record(CallResult::Failed, at(0)));
        assert!(!breaker.admit(at(499)));
        assert!(breaker.admit(at(500)));
        assert!(!breaker.admit(at(501)), "one probe at a time");
        assert!(breaker.record(CallResult::Failed, at(510)));
        assert!(!breaker.admit(at(1400)), "the second pause is longer");
        assert!(breaker.admit(at(1510)));
        assert!(!breaker.record(CallResult::Answered, at(1511)));
        assert_eq!(breaker.as_str(), "closed");
        assert!(breaker.admit(at(1512)));
    }

    #[test]
    fn a_few_failures_among_many_answers_do_not_open_it() {
        let mut breaker = Breaker::default();
        for turn in 0..1000 {
            let result = if turn % 3 == 0 { CallResult::Failed } else { CallResult::Answered };
            assert!(!breaker.record(result, at(turn)), "turn {turn}");
        }
    }

    #[test]
    fn a_lost_probe_does_not_keep_it_shut() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.record(CallResult::Failed, at(0));
        }
        assert!(breaker.admit(at(600)));
        assert!(!breaker.admit(at(4_000)));
        assert!(breaker.admit(at(4_700)));
    }
}

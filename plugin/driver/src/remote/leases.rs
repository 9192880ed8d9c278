//! Calls about limits and budgets that count for the fleet, about sessions, and about jobs.

use std::time::Duration;

use selvage_engine::breaker::{Admit, CallResult, State};
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::fields::Fields;
use selvage_engine::limits::NoAnswer;
use selvage_engine::remote::asked::{Asked, Told};
use selvage_engine::remote::dialect::{Answer, Command, DialectError, Kind, Response, asked_key};
use selvage_engine::time::Timestamp;

use super::Remote;
use crate::breakers::Breakers;
use crate::host::{Calls, Envoy, Level};

/// A call that has not been answered.
pub struct Lease {
    asked: Asked,
    /// It names the script by its digest.
    by_digest: bool,
    admitted: Admit,
    /// Since when requests may wait for it.
    since: Timestamp,
    /// When it was sent.
    pub(super) sent: Timestamp,
}

impl<H: Calls> Remote<H> {
    /// Asks what limits want to know. Called after each event: where there is nothing to ask it costs one comparison.
    #[inline]
    pub fn send_leases(&mut self, breakers: &mut Breakers<H>, cache: &mut Cache, now: Timestamp) {
        while let Some(asked) = cache.next_asked(now) {
            self.send_lease(asked, now, breakers, cache, now);
        }
    }

    #[inline(never)]
    fn send_lease(
        &mut self,
        asked: Asked,
        since: Timestamp,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) {
        let timeout = self.settings.timeout.saturating_sub(now.since(since));
        let of_no_use = !self.settings.enabled || self.dialect.is_ruled_out(self.readiness.outcome());
        if of_no_use || timeout.is_zero() || self.leases.len() >= self.settings.in_flight {
            return end::<H>(&asked, Err(NoAnswer::NotAsked), cache, now);
        }
        let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
        if admitted == Admit::Refused {
            cache.leave_alone(
                &asked,
                match self.state(breakers, now) {
                    State::Open { until } => until,
                    // Another call finds out.
                    _ => now.plus(A_MOMENT),
                },
            );
            return end::<H>(&asked, Err(NoAnswer::NotAsked), cache, now);
        }
        let key = asked_key(&self.settings.prefix, cache.policy().namespace, &asked);
        let by_digest = self.known_scripts.get(asked.nth()).copied().unwrap_or_default();
        let command = Command::Lease { key: &key, asked: &asked, by_digest };
        match self.dispatch(self.dialect.call(&command), timeout) {
            Some(token) => {
                self.leases.insert(token, Lease { asked, by_digest, admitted, since, sent: now });
            }
            None => {
                self.not_called(admitted, breakers, cache, now);
                end::<H>(&asked, Err(NoAnswer::NotAsked), cache, now);
            }
        }
    }

    /// The call that a token stands for, if it is one about limits.
    pub fn take_lease(&mut self, token: u32) -> Option<Lease> {
        if self.leases.is_empty() { None } else { self.leases.remove(&token) }
    }

    /// A call was answered.
    pub fn judge_lease(
        &mut self,
        lease: Lease,
        head: Option<Vec<u8>>,
        body: Vec<u8>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) {
        let Lease { asked, by_digest, admitted, since, sent } = lease;
        let head = head.as_deref().and_then(Fields::parse).unwrap_or_default();
        let may_have_come = has_come(&body);
        let latency = now.since(sent);
        let success = CallResult::Success { latency };
        let answer = match self.dialect.answer(Kind::Lease, Response { head, body }, asked.longest()) {
            Ok(Answer::Value(text)) => asked.read(&text).ok_or(DialectError::Malformed),
            Ok(_) => Err(DialectError::Malformed),
            Err(error) => Err(error),
        };
        let result = match &answer {
            Ok(_) => success,
            Err(error) if error.is_forgotten_script() && by_digest => {
                self.note_script(&asked, false);
                breakers.record(&self.settings.cluster, admitted, success, now);
                return self.send_lease(asked, since, breakers, cache, now);
            }
            Err(error) => error.call_result(Kind::Lease, latency),
        };
        breakers.record(&self.settings.cluster, admitted, result, now);
        let answer = answer.map_err(|error| {
            cache.stats.count("remote", error.as_str());
            match error {
                DialectError::Unreachable if !may_have_come => return NoAnswer::Unreached,
                DialectError::Status(400..=499) => return NoAnswer::Unreached,
                _ if !error.is_refusal() => return NoAnswer::Lost,
                _ => {}
            }
            // It would refuse the next one too.
            cache.leave_alone(&asked, now.plus(REFUSED_FOR));
            if now >= self.tells_of_leases_at {
                self.tells_of_leases_at = now.plus(TOLD_EVERY);
                let why = match &error {
                    DialectError::RedisError(text) => text.as_str(),
                    other => other.as_str(),
                };
                self.tell(
                    Level::Warn,
                    &format!(
                        "refuses what limits, budgets, sessions or jobs ask for ({why:?}); on_failure holds"
                    ),
                );
            }
            NoAnswer::NotAsked
        });
        if answer.is_ok() {
            self.note_script(&asked, true);
        }
        end::<H>(&asked, answer, cache, now);
        // Those who have come meanwhile are in the next question.
        self.send_leases(breakers, cache, now);
    }

    /// Whether Redis is believed to know the script of a question.
    fn note_script(&mut self, asked: &Asked, is_known: bool) {
        if let Some(known) = self.known_scripts.get_mut(asked.nth()) {
            *known = is_known;
        }
    }
}

fn end<H: Calls>(asked: &Asked, answer: Result<Told, NoAnswer>, cache: &mut Cache, now: Timestamp) {
    cache.was_told(asked, answer, &mut Moment { now, host: &mut Envoy::<H>::new() });
}

/// How long another call's answer may take to say whether the store is back.
const A_MOMENT: Duration = Duration::from_millis(20);
/// How long a store that refused is not asked.
const REFUSED_FOR: Duration = Duration::from_secs(1);
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Whether Envoy, which answers in the place of what it calls, says that the call may have got there before the connection broke.
fn has_come(body: &[u8]) -> bool {
    let says = |what: &[u8]| body.windows(what.len()).any(|part| part == what);
    says(b"connection termination") || says(b"remote reset") || says(b"protocol error")
}

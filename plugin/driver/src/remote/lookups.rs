//! Lookups, and what their answers and all others mean.

use std::time::Duration;

use selvage_engine::breaker::{Admit, CallResult, State};
use selvage_engine::cache::{Cache, Moment, Under};
use selvage_engine::exchange::RemoteAnswer;
use selvage_engine::fields::Fields;
use selvage_engine::purge::spread::{LONGEST_WRITTEN, Step};
use selvage_engine::remote::claim::{self, Claim};
use selvage_engine::remote::dialect::{Answer, Command, DialectError, Kind, Response, wire_key};
use selvage_engine::remote::readiness::Outcome;
use selvage_engine::remote::verdict::{Verdict, result_of};
use selvage_engine::time::Timestamp;

use super::{About, Asked, Asker, Pending, Remote};
use crate::breakers::Breakers;
use crate::host::{Calls, Envoy};

impl<H: Calls> Remote<H> {
    /// Asks for the record under `hash`. `false` if no answer will come.
    pub fn look_up(
        &mut self,
        asker: Asker,
        hash: u128,
        claim: Option<Duration>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> bool {
        if self.dialect.is_ruled_out(self.readiness.outcome()) {
            cache.stats.count("remote", "unfit");
            return false;
        }
        let under_way = self.under_way();
        if under_way >= self.settings.in_flight {
            cache.stats.count("remote", "busy");
            return false;
        }
        let asked = Asked { asker, hash, claim, since: now };
        if self.state(breakers, now) == State::Closed && self.gathering.takes::<H>(asked, under_way, now) {
            cache.stats.count("remote", "lookups");
            return true;
        }
        let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
        if admitted == Admit::Refused {
            cache.stats.count("remote", "open");
            return false;
        }
        cache.stats.count("remote", "lookups");
        self.send_lookup(asked, admitted, breakers, cache, now).is_ok()
    }

    /// Sends a lookup alone. It is given back if no answer will come.
    #[inline(never)]
    pub(super) fn send_lookup(
        &mut self,
        asked: Asked,
        admitted: Admit,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> Result<(), Asked> {
        let Asked { asker, hash, claim, since } = asked;
        let key = wire_key(&self.settings.prefix, hash);
        let timeout = self.settings.timeout.saturating_sub(now.since(since));
        let called = match claim.filter(|_| self.takes_claims(now)) {
            Some(lasts) => {
                let (claim, millis) = claim_for(lasts, breakers);
                let command = Command::Claim { key: &key, claim: &claim, millis };
                self.call(asker, hash, &command, admitted, timeout, now)
            }
            None => self.call(asker, hash, &Command::Get { key: &key }, admitted, timeout, now),
        };
        if called {
            return Ok(());
        }
        self.not_called(admitted, breakers, cache, now);
        Err(asked)
    }

    /// Whether claims go with lookups. One that is refused brings no record either.
    pub(super) fn takes_claims(&self, now: Timestamp) -> bool {
        self.claims.may_be_asked_for(now) && self.writes().reason().is_none()
    }

    /// What the answer to a call means for the request that waits for it, if one does.
    pub fn judge(
        &mut self,
        pending: &Pending,
        head: Option<Vec<u8>>,
        body: Vec<u8>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> RemoteAnswer {
        let head = head.as_deref().and_then(Fields::parse).unwrap_or_default();
        let most = if pending.step.is_some() { LONGEST_WRITTEN } else { self.settings.object_bytes };
        let most = most.saturating_add(cache.sealing_bytes());
        let answer = self.dialect.answer(pending.about.kind, Response { head, body }, most);
        if pending.about.kind == Kind::Probe {
            self.conclude(Outcome::of(&answer), now);
            return RemoteAnswer::Nothing;
        }
        self.note_writes(pending.about.kind, pending.sent, &answer, cache, now);
        if pending.probes_writes {
            let result = result_of(pending.about.kind, &answer, now.since(pending.since));
            breakers.record(&self.settings.cluster, pending.admitted, result, now);
            return RemoteAnswer::Nothing;
        }
        match &pending.step {
            Some(step) => {
                self.end_step(pending, step, answer, breakers, cache, now);
                RemoteAnswer::Nothing
            }
            None => {
                note_duration::<H>(pending.about.kind.writes(), pending.sent, cache);
                let latency = now.since(pending.since);
                let (result, found) = self.settle(pending.about, answer, latency, cache, now);
                breakers.record(&self.settings.cluster, pending.admitted, result, now);
                found
            }
        }
    }

    /// A call about purges was answered.
    fn end_step(
        &self,
        pending: &Pending,
        step: &Step,
        answer: Result<Answer, DialectError>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) {
        let result = result_of(pending.about.kind, &answer, now.since(pending.since));
        if let Err(error) = &answer {
            cache.stats.count("remote", error.as_str());
        }
        breakers.record(&self.settings.cluster, pending.admitted, result, now);
        cache.purge_step_ended(step, answer, &mut Moment { now, host: &mut Envoy::<H>::new() });
    }

    /// A lookup or a task was answered: what the breaker makes of it, and what it means for the request that waits for it.
    #[inline(never)]
    pub(super) fn settle(
        &mut self,
        about: About,
        answer: Result<Answer, DialectError>,
        latency: Duration,
        cache: &mut Cache,
        now: Timestamp,
    ) -> (CallResult, RemoteAnswer) {
        let About { kind, hash, claim, .. } = about;
        let failed = answer.is_err();
        let (verdict, found) = match answer {
            Ok(Answer::Value(value)) => {
                self.gathering.found(value.len());
                read::<H>(hash, value, latency, cache, now)
            }
            answer => {
                if let Err(error) = &answer {
                    self.claims.note(kind, error, now);
                }
                let verdict = Verdict::of(kind, &answer, latency);
                let claimed = claim.filter(|_| verdict.leaves_claim && !kind.writes());
                let found = claimed.map(|until| RemoteAnswer::Claimed { until });
                (verdict, found.unwrap_or(RemoteAnswer::Nothing))
            }
        };
        if kind.writes() {
            self.window.note(verdict.is_well(self.breaker.slow_after));
        }
        cache.stats.count("remote", verdict.word);
        let again =
            if kind == Kind::Delete { verdict.repeats_deletion(self.holds_deletions()) } else { failed };
        if let Some(task) = about.deletion().filter(|_| again) {
            cache.requeue_remote_task(task);
        }
        (verdict.result, found)
    }
}

/// A claim that no other Envoy leaves, and for how many milliseconds.
pub(super) fn claim_for<H: Calls>(lasts: Duration, breakers: &mut Breakers<H>) -> (String, u64) {
    (claim::claim(breakers.random()), u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX))
}

/// How long a call took that was sent at this microsecond.
pub(super) fn note_duration<H: Calls>(writes: bool, sent: u64, cache: &mut Cache) {
    let step = if writes { "remote-write" } else { "remote-lookup" };
    cache.stats.sample("duration_us", step, H::micros().saturating_sub(sent));
}

/// What lies in a value.
fn read<H: Calls>(
    hash: u128,
    value: Vec<u8>,
    latency: Duration,
    cache: &mut Cache,
    now: Timestamp,
) -> (Verdict, RemoteAnswer) {
    let (read, found) =
        match cache.read_remote(hash, value, &mut Moment { now, host: &mut Envoy::<H>::new() }) {
            Ok(Under::Record(slot)) => (Ok(None), RemoteAnswer::Found(slot)),
            Ok(Under::Claim(claim @ Claim::Fetching)) => (Ok(Some(claim)), RemoteAnswer::Fetching),
            Ok(Under::Claim(claim @ Claim::NotStorable)) => (Ok(Some(claim)), RemoteAnswer::NotStorable),
            Err(error) => (Err(error), RemoteAnswer::Nothing),
        };
    (Verdict::of_value(read, latency), found)
}

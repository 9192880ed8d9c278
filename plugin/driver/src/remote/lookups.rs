//! Lookups, and what their answers and all others mean.

use std::time::Duration;

use selvage_engine::breaker::Admit;
use selvage_engine::cache::{Cache, Moment, Under};
use selvage_engine::exchange::RemoteAnswer;
use selvage_engine::fields::Fields;
use selvage_engine::purge::spread::{LONGEST_WRITTEN, Step};
use selvage_engine::remote::claim::{self, Claim};
use selvage_engine::remote::dialect::{Answer, Command, DialectError, Kind, Response, wire_key};
use selvage_engine::remote::queue::Task;
use selvage_engine::remote::readiness::Outcome;
use selvage_engine::remote::verdict::{Verdict, result_of};
use selvage_engine::time::Timestamp;

use super::{Pending, Remote};
use crate::breakers::Breakers;
use crate::host::{Calls, Envoy};

impl<H: Calls> Remote<H> {
    /// Asks for the record under `hash` on behalf of a stream, or of a refresh. The call's token; `None` if no answer will
    /// come.
    pub fn look_up(
        &mut self,
        context: Option<u32>,
        hash: u128,
        claim: Option<Duration>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> Option<u32> {
        if self.dialect.is_ruled_out(self.readiness.outcome()) {
            cache.stats.count("remote", "unfit");
            return None;
        }
        if self.under_way() >= self.settings.in_flight {
            cache.stats.count("remote", "busy");
            return None;
        }
        let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
        if admitted == Admit::Refused {
            cache.stats.count("remote", "open");
            return None;
        }
        cache.stats.count("remote", "lookups");
        let key = wire_key(&self.settings.prefix, hash);
        // A claim that is refused brings no record either.
        let claims = self.claims.may_be_asked_for(now) && self.writes().reason().is_none();
        let called = match claim.filter(|_| claims) {
            Some(lasts) => {
                let millis = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
                let claim = claim::claim(breakers.random());
                let command = Command::Claim { key: &key, claim: &claim, millis };
                self.call(context, hash, &command, admitted, now)
            }
            None => self.call(context, hash, &Command::Get { key: &key }, admitted, now),
        };
        if called.is_none() {
            self.not_called(admitted, breakers, cache, now);
        }
        called
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
        let answer = self.dialect.answer(pending.kind, Response { head, body }, most);
        if pending.kind == Kind::Probe {
            self.conclude(Outcome::of(&answer), now);
            return RemoteAnswer::Nothing;
        }
        self.note_writes(pending, &answer, cache, now);
        if pending.probes_writes {
            let result = result_of(pending.kind, &answer, now.since(pending.since));
            breakers.record(&self.settings.cluster, pending.admitted, result, now);
            return RemoteAnswer::Nothing;
        }
        match &pending.step {
            Some(step) => {
                self.end_step(pending, step, answer, breakers, cache, now);
                RemoteAnswer::Nothing
            }
            None => self.settle(pending, answer, breakers, cache, now),
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
        let result = result_of(pending.kind, &answer, now.since(pending.since));
        if let Err(error) = &answer {
            cache.stats.count("remote", error.as_str());
        }
        breakers.record(&self.settings.cluster, pending.admitted, result, now);
        cache.purge_step_ended(step, answer, &mut Moment { now, host: &mut Envoy::<H>::new() });
    }

    /// A lookup or a task was answered.
    fn settle(
        &mut self,
        pending: &Pending,
        answer: Result<Answer, DialectError>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> RemoteAnswer {
        let took = H::micros().saturating_sub(pending.sent);
        let step = if pending.kind.writes() { "remote-write" } else { "remote-lookup" };
        cache.stats.sample("duration_us", step, took);
        let latency = now.since(pending.since);
        let (verdict, found) = match answer {
            Ok(Answer::Value(value)) => read::<H>(pending.hash, value, latency, cache, now),
            answer => {
                if let Err(error) = &answer {
                    self.claims.note(pending.kind, error, now);
                }
                let verdict = Verdict::of(pending.kind, &answer, latency);
                let claimed = pending.claim.filter(|_| verdict.leaves_claim);
                let found = claimed.map(|until| RemoteAnswer::Claimed { until });
                (verdict, found.unwrap_or(RemoteAnswer::Nothing))
            }
        };
        if pending.kind.writes() {
            self.window.note(verdict.is_well(self.breaker.slow_after));
        }
        breakers.record(&self.settings.cluster, pending.admitted, verdict.result, now);
        cache.stats.count("remote", verdict.word);
        if pending.kind == Kind::Delete && verdict.repeats_deletion(self.holds_deletions()) {
            cache.requeue_remote_task(Task::Delete { hash: pending.hash });
        }
        found
    }
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

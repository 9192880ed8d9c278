//! The response to a request that was sent on: which of the paths it takes.

use std::rc::Rc;

use super::refetching::Refetching;
use super::shadowing::{Comparing, Would};
use super::validating::Validated;
use super::{Directive, Plan, Purpose, Role, State};
use crate::breaker::CallResult;
use crate::cache::{AnsweredBy, Cache, Extent, FillEnd, Moment};
use crate::cache_status::{Outcome, Ttl};
use crate::fields::{Fields, content_length, status_of};
use crate::freshness::Freshness;
use crate::policy::{Policy, Rule};
use crate::storability;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

impl Plan {
    /// The head of the response has come.
    pub(super) fn on_response(
        mut self: Box<Self>,
        head: Fields<'_>,
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let policy = Rc::clone(cache.policy());
        let rule = policy.rule(self.rule);
        let status = status_of(head);
        self.tell_of_origin(status, rule, cache, moment);
        cache.note_answer(status, moment.now.since(self.requested));
        if self.role == Role::Fill && self.would.is_none() {
            cache.note_origin_latency(status, moment.now.since(self.requested), moment.now);
        }
        let mut outcome = Outcome {
            forward: Some(self.forward),
            // One that stands for others says what they say.
            forward_status: (self.weight == 1).then_some(status),
            detail: self.detail,
            own: self.purpose == Purpose::Store,
            ..Outcome::under(rule)
        };
        match self.would.take() {
            Some(Would::Answer(would)) => {
                outcome.ttl = Some(would.ttl);
                if matches!(would.ttl, Ttl::Fresh(_)) {
                    self.count_relayed(status, head, cache);
                    let directive = relay(&outcome, rule, head, cache);
                    let state = Comparing::begin(self, would, status, head, end_of_stream, cache, moment);
                    return (state, directive);
                }
            }
            Some(Would::Wait) => {
                let directives = storability::directives_of(head, rule);
                let judged = self.judge(status, head, &directives, rule, cache, moment);
                outcome.detail = judged.err();
                let word = if outcome.detail.is_none() { "collapsed" } else { "miss" };
                cache.stats.add_for_rule(self.rule, ("shadow_requests", word), 1);
            }
            None => {}
        }
        // Under a rule that only watches the client gets what the origin sends.
        let serves = !rule.shadow || self.purpose == Purpose::Store;
        if let Some(candidate) = self.stale.take_if(|candidate| serves || candidate.conditional) {
            match self.use_candidate(&candidate, status, head, rule, &mut outcome, cache, moment) {
                Validated::Answer(directive, end) => {
                    self.end_fill(end, cache, moment);
                    return (State::Finished, directive);
                }
                // That a client has the new one already says nothing about those who wait: they ask for it.
                Validated::Relay => {
                    self.end_fill(FillEnd::Abandoned, cache, moment);
                    return (State::Relaying, relay(&outcome, rule, head, cache));
                }
                Validated::Absent => {
                    return Refetching::begin(self, candidate, outcome, rule, cache, moment);
                }
                Validated::Nothing => self.stale = Some(candidate),
            }
        }
        // The client's own condition has been answered, and what confirms its copy confirms what is stored, if that is the
        // same (RFC 9111 §4.3.4).
        if !serves
            && status == 304
            && let Some(candidate) = &self.stale
            && candidate.stored.status == 200
            && head.get(b"etag").is_some_and(|told| candidate.stored.etag() == Some(told))
        {
            let fresh = self.freshened(candidate, head, rule, cache, moment);
            let kept = self.keep_freshened(candidate, &fresh, head, rule, cache, moment);
            let end = if kept == Ok(true) { FillEnd::Stored } else { FillEnd::NotShared(Extent::One) };
            self.end_fill(end, cache, moment);
            return (State::Relaying, relay(&outcome, rule, head, cache));
        }
        match self.role {
            Role::Fill => return self.fill(status, head, end_of_stream, rule, outcome, cache, moment),
            Role::Head => {
                self.compare_head(status, head, rule, cache, moment);
                self.abandon(FillEnd::Abandoned, cache, moment);
            }
            // What another filter or Envoy itself answers is no success of the origin's (RFC 9111 §4.4).
            Role::Invalidate if (200..400).contains(&status) && moment.host.origin_answered() => {
                self.invalidate(head, cache, moment);
                if status == 200 && self.becomes_get(head, cache, moment) {
                    let rule = policy.rule(self.rule);
                    return self.fill(status, head, end_of_stream, rule, outcome, cache, moment);
                }
            }
            Role::Invalidate | Role::Bystander => {}
        }
        self.count_relayed(status, head, cache);
        (State::Relaying, relay(&outcome, rule, head, cache))
    }

    /// Tells those who keep count of it how the origin has answered, and learns where it is.
    pub(super) fn tell_of_origin(
        &mut self,
        status: u16,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        if matches!(self.role, Role::Fill | Role::Head) && self.purpose == Purpose::Client {
            cache.learn_cluster(self.rule, rule, moment);
        }
        if self.leads.is_some() && status < 500 {
            cache.forget_failure(self.turn);
        }
        let Some(admitted) = self.admitted.take() else { return };
        let result = result_of(status, self.requested, moment);
        cache.record_origin(&admitted, result, moment);
    }

    /// Whether what was asked for has been invalidated since: then its answer may be from before.
    pub(super) fn is_outdated(&self, cache: &Cache) -> bool {
        cache.invalidated_since(self.hash, self.valid_from)
            || self.turn != self.hash && cache.invalidated_since(self.turn, self.valid_from)
    }

    /// Counts the body of a response that passes by, as far as its length is told.
    pub(super) fn count_relayed(&self, status: u16, head: Fields<'_>, cache: &mut Cache) {
        if self.role != Role::Head && self.purpose == Purpose::Client && status != 304 {
            let length = content_length(head).unwrap_or(0) as u64;
            cache.stats.add("served_bytes", "origin", length.saturating_mul(self.weight));
        }
    }

    /// Counts the body of a response that was copied on its way.
    pub(super) fn count_copied(&self, bytes: usize, cache: &mut Cache) {
        if self.purpose == Purpose::Client {
            cache.stats.add("served_bytes", "origin", bytes as u64);
        }
    }

    /// Those who wait for what this request fetches need not do so any more.
    pub(super) fn end_fill(&self, end: FillEnd, cache: &mut Cache, moment: &mut Moment<'_>) {
        if let Some(id) = self.leads {
            cache.end_fill(id, end, moment);
        }
        if let Some(claim) = self.claim {
            cache.end_claim(claim, end, moment.now);
        }
    }

    /// No response will be stored for this request.
    pub(super) fn abandon(&self, end: FillEnd, cache: &mut Cache, moment: &mut Moment<'_>) {
        // The client has left before the origin answered.
        if let Some(admitted) = &self.admitted {
            cache.record_origin(admitted, CallResult::Dropped, moment);
        }
        if matches!(self.would, Some(Would::Wait)) {
            cache.stats.add_for_rule(self.rule, ("shadow_requests", "miss"), 1);
        }
        self.end_fill(end, cache, moment);
        if let Some(candidate) = &self.stale {
            cache.revalidation_failed(candidate.hash);
        }
    }
}

/// What the origin's breaker hears of a response to a request that went at this moment.
pub(super) fn result_of(status: u16, requested: Timestamp, moment: &mut Moment<'_>) -> CallResult {
    match status {
        504 if answered_by(moment) == AnsweredBy::Host => CallResult::Timeout,
        0 | 500.. => CallResult::Failure,
        // What another filter refuses says nothing about the origin.
        400.. if answered_by(moment) == AnsweredBy::Host => CallResult::Dropped,
        _ => CallResult::Success { latency: moment.now.since(requested) },
    }
}

/// Whether a status is a full answer of the origin about the resource, and no failure to give one: what it says takes the place
/// of what is stored (RFC 9111 §4.3.3), by itself if it may be stored and by nothing if not.
pub(super) fn is_full_answer(status: u16, rule: &Rule) -> bool {
    let failure = rule.stale.error_statuses.contains(&status) || matches!(status, 0..200 | 408 | 425 | 429);
    // A part, "not modified" and "no such part" are about what one client has or wants.
    let partial = matches!(status, 206 | 304 | 416);
    !(failure || partial)
}

pub(super) fn answered_by(moment: &mut Moment<'_>) -> AnsweredBy {
    if moment.host.origin_answered() { AnsweredBy::Origin } else { AnsweredBy::Host }
}

/// Lets the response pass, saying what happened, without what names its tags.
pub(super) fn relay(outcome: &Outcome, rule: &Rule, head: Fields<'_>, cache: &mut Cache) -> Directive {
    cache.stats.record(outcome);
    let cache_status = said(outcome, cache.policy());
    let mut strip = Vec::new();
    if rule.hides_tags() {
        strip.extend(rule.tags.headers.iter().filter(|name| head.get(name).is_some()).cloned());
    }
    Directive::Relay { cache_status, vary: false, strip, add: Vec::new(), recast: None }
}

/// The value of `Cache-Status`, unless the rule is silent.
pub(super) fn said(outcome: &Outcome, policy: &Policy) -> Option<Vec<u8>> {
    (!outcome.silent).then(|| {
        let mut line = Vec::with_capacity(64);
        outcome.write(policy.cache_status_name.as_bytes(), &mut line);
        line
    })
}

pub(super) fn ttl(stored: &StoredResponse, moment: &Moment<'_>) -> Ttl {
    match stored.freshness(moment.now) {
        Freshness::Fresh { remaining } => Ttl::Fresh(remaining),
        Freshness::Stale { by } => Ttl::Stale(by),
    }
}

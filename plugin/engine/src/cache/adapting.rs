//! Lifetimes by how often each response changes (`ttl.adaptive` of a rule).

use std::rc::Rc;
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3Default;

use super::{Cache, Moment};
use crate::cache_control::ResponseDirectives;
use crate::fields::Fields;
use crate::foresight::lifetimes::{self, Known, Look};
use crate::freshness::{self, Schedule};
use crate::policy::Rule;
use crate::store::response::StoredResponse;

/// How the lifetime of a response that is about to be stored is found: by its rule, and whether the one before it was purged.
/// `None`: it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Adapting {
    rule: usize,
    purged: bool,
}

impl Cache {
    /// Whether the lifetime of a response is found by how often it changes.
    pub(crate) fn adapts(
        &self,
        rule_index: usize,
        purged: bool,
        status: u16,
        head: Fields<'_>,
        directives: &ResponseDirectives,
        moment: &Moment<'_>,
    ) -> Option<Adapting> {
        let rule = self.policy.rule(rule_index);
        rule.ttl.adaptive.as_ref()?;
        let source = freshness::lifetime(status, head, directives, rule, moment.now).source;
        // An error says nothing of how often what it stands for changes, nor what is not there of when it will be.
        (rule.adapts(source) && status < 400).then_some(Adapting { rule: rule_index, purged })
    }

    /// The schedule of a response whose content is still to come: by what is known before it.
    pub(crate) fn schedule_adapted(
        &self,
        adapting: Option<Adapting>,
        schedule: Schedule,
        hash: u128,
        moment: &mut Moment<'_>,
    ) -> Schedule {
        let Some(Adapting { rule, .. }) = adapting else { return schedule };
        let known = self.change_known(rule, hash, moment);
        let rule = self.policy.rule(rule);
        scheduled(schedule, &known, rule, hash)
    }

    /// What is known of how often a response changes.
    pub(crate) fn change_known(&self, rule: usize, hash: u128, moment: &mut Moment<'_>) -> Known {
        lifetimes::known(moment.host, &self.rule_name(rule), hash)
    }

    /// The next response that is stored is of this kind.
    pub(crate) fn adapt_next(&mut self, adapting: Option<Adapting>) {
        self.foresight.adapting = adapting;
    }

    pub(super) fn take_adapting(&mut self) -> Option<Adapting> {
        self.foresight.adapting.take()
    }

    /// Gives a response that is stored under a hash its lifetime, after its content was compared with what was seen before.
    pub(super) fn adapted(
        &self,
        adapting: Option<Adapting>,
        hash: u128,
        response: &mut StoredResponse,
        moment: &mut Moment<'_>,
    ) {
        let Some(Adapting { rule, purged }) = adapting else { return };
        let content = content_of(response);
        let look = if purged { Look::AfterPurge(content) } else { Look::Content(content) };
        self.looked(rule, hash, look, response, moment);
    }

    /// Gives a response that was freshened its lifetime: what is stored has been confirmed.
    pub(crate) fn freshened(
        &self,
        rule: usize,
        hash: u128,
        old: &StoredResponse,
        fresh: Rc<StoredResponse>,
        moment: &mut Moment<'_>,
    ) -> Rc<StoredResponse> {
        if self.policy.rule(rule).ttl.adaptive.is_none() {
            return fresh;
        }
        let fields = fresh.fields.fields();
        let directives = ResponseDirectives::read(fields, &self.policy.rule(rule).targeted);
        if self.adapts(rule, false, fresh.status, fields, &directives, moment).is_none() {
            return fresh;
        }
        let mut adapted = StoredResponse::clone(&fresh);
        let since = old.schedule.born.as_millis();
        self.looked(rule, hash, Look::Same(content_of(old), since), &mut adapted, moment);
        Rc::new(adapted)
    }

    fn looked(
        &self,
        rule_index: usize,
        hash: u128,
        look: Look,
        response: &mut StoredResponse,
        moment: &mut Moment<'_>,
    ) {
        let rule = self.policy.rule(rule_index);
        let Some(wanted) = rule.ttl.adaptive.as_ref().map(crate::policy::Adaptive::wanted) else { return };
        // What a cache on the way has kept is as old as it says.
        let at = response.schedule.born.as_millis();
        let name = self.rule_name(rule_index);
        let known = lifetimes::note(moment.host, &name, hash, look, at, &wanted);
        response.schedule = scheduled(response.schedule, &known, rule, hash);
    }

    fn rule_name(&self, rule: usize) -> String {
        format!("{:016x}/{}", self.policy.namespace, self.policy.rule(rule).name)
    }
}

fn scheduled(schedule: Schedule, known: &Known, rule: &Rule, hash: u128) -> Schedule {
    let Some(wanted) = rule.ttl.adaptive.as_ref().map(crate::policy::Adaptive::wanted) else {
        return schedule;
    };
    let seconds = wanted.lifetime(&known.own, &known.rule);
    let lifetime = Duration::from_millis((seconds * 1000.0) as u64);
    let lifetime = rule.ttl.max.map_or(lifetime, |max| lifetime.min(max));
    Schedule { lifetime, ..schedule }.shortened(rule.ttl.jitter, hash)
}

/// A digest of what clients get, but for fields that change with each answer.
fn content_of(response: &StoredResponse) -> u16 {
    let mut hash = Xxh3Default::new();
    hash.update(&response.status.to_le_bytes());
    let fields = response.fields.fields();
    for name in [&b"content-type"[..], b"content-encoding", b"location"] {
        hash.update(fields.get(name).unwrap_or_default());
        hash.update(&[0]);
    }
    hash.update(response.body.as_slice());
    (hash.digest() >> 48) as u16
}

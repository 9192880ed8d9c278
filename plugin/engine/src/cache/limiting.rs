//! The limits of this worker: which requests they admit, and what they say to clients.

use super::{Cache, Moment};
use crate::callers::Asking;
use crate::limits::lease::{LeaseAnswer, LeaseRequest};
use crate::limits::{Admitted, Denied, Limits, NoAnswer, Patience, Refused, Reserve, keys_of, told};
use crate::policy::{LimitCounts, Policy, Rule};
use crate::request::Request;

/// Room for the keys that the policy lets there be; none is taken before it is used.
pub(super) fn limits(policy: &Policy) -> Limits {
    #[cfg(feature = "limits")]
    {
        let mut limits = Limits::new(policy.worker.limit_keys, policy.node.limit_keys);
        limits.begin_leasing(0, policy.remote.timeout);
        limits
    }
    #[cfg(not(feature = "limits"))]
    Limits::new(0, 0)
}

impl Cache {
    /// Asks the limits of a rule that count such requests. `reserve` is what this one may use of a language model.
    ///
    /// # Errors
    /// The limit that refuses, or what is to be waited for.
    #[inline(never)]
    pub(crate) fn ask_limits(
        &mut self,
        request: &Request<'_>,
        (rule_index, rule): (usize, &Rule),
        (counts, reserve, patience): (LimitCounts, Option<&Reserve>, Patience),
        admitted: &mut Admitted,
        moment: &mut Moment<'_>,
    ) -> Result<(), Denied> {
        let limits = &self.policy.limits;
        let mut peer = || moment.host.peer();
        let mut asking = Asking { request, rule: &rule.name, peer: &mut peer };
        let keys = keys_of(limits, &rule.limited, counts, reserve, &mut asking);
        if keys.is_empty() {
            return Ok(());
        }
        let asked =
            self.limits.admit(limits, (rule_index, &keys), patience, admitted, moment.now, moment.host);
        #[cfg(feature = "operators")]
        if let Err(Denied::Refused(refused)) = &asked
            && let Some((_, keyed)) = keys.iter().find(|(at, _)| *at == refused.limit)
        {
            self.insight.note_refused(refused.limit, keyed);
        }
        asked
    }

    /// Settles what a request has cost with the response that says so.
    pub(crate) fn settle_limits(
        &mut self,
        admitted: &mut Admitted,
        cost_in: &mut dyn FnMut(&[u8]) -> Option<u64>,
        moment: &mut Moment<'_>,
    ) {
        self.limits.settle(&self.policy.limits, admitted, cost_in, moment.now, moment.host);
    }

    /// Settles the tokens that a request has used of a language model.
    #[cfg(feature = "llm")]
    pub(crate) fn settle_tokens(
        &mut self,
        reserved: crate::limits::Reserved,
        used: u64,
        moment: &mut Moment<'_>,
    ) {
        self.limits.settle_tokens(reserved, used, moment.now, moment.host);
    }

    /// The fields that tell a client of its quota.
    pub(crate) fn told_of_quota(&self, admitted: &Admitted) -> Vec<told::Line> {
        let standing = admitted.standing.as_ref();
        standing.map_or_else(Vec::new, |standing| told::of_standing(&self.policy.limits, standing))
    }

    /// The status of a response that refuses, its fields and its content.
    pub(crate) fn told_of_refusal(&self, refused: &Refused) -> (u16, Vec<told::Line>, Vec<u8>) {
        let (status, content) = told::problem(&self.policy.limits, refused);
        (status, told::of_refusal(&self.policy.limits, refused), content)
    }

    /// What is to be asked of Redis next. To be given back with [`Cache::lease_answered`].
    #[inline]
    pub fn next_lease(&mut self) -> Option<LeaseRequest> {
        if cfg!(feature = "limits") && self.limits.has_questions() {
            self.limits.next_question()
        } else {
            None
        }
    }

    /// Redis has answered, or has not.
    pub fn lease_answered(
        &mut self,
        request: &LeaseRequest,
        answer: Result<LeaseAnswer, NoAnswer>,
        moment: &mut Moment<'_>,
    ) {
        // Workers that wait for it are called as for a change.
        self.changes_to_tell |= self.limits.answered(request, answer, moment.now, moment.host);
    }

    /// Keys of limits that this worker remembers, and the bytes that it takes.
    pub const fn limit_usage(&self) -> (usize, usize) {
        self.limits.usage()
    }

    /// Bytes that it may take.
    pub(super) fn limit_budget(&self) -> usize {
        if self.policy.limits.is_empty() { 0 } else { self.limits.budget() }
    }

    /// Gives tokens back that are not spent.
    pub(super) fn tidy_limits(&mut self, moment: &mut Moment<'_>) {
        if !self.policy.limits.is_empty() {
            self.limits.tidy(moment.now, moment.host);
        }
    }

    /// Counts what the limits did since the last time.
    pub(super) fn count_limits(&mut self) {
        if self.policy.limits.is_empty() {
            return;
        }
        let (counts, tallies) = self.limits.take_counts();
        for (rule, tally) in tallies {
            self.stats.add_for_rule(rule, ("limits", "admitted"), tally.admitted);
            self.stats.add_for_rule(rule, ("limits", "refused"), tally.refused);
            self.stats.add_for_rule(rule, ("limits", "shadow"), tally.shadowed);
        }
        for (limit, tally) in self.limits.take_by_limit() {
            self.stats.add_for_owner(limit, ("limit_requests", "admitted"), tally.admitted);
            self.stats.add_for_owner(limit, ("limit_requests", "refused"), tally.refused);
            self.stats.add_for_owner(limit, ("limit_requests", "shadow"), tally.shadowed);
        }
        self.stats.add("limit_events", "asked", counts.asked);
        self.stats.add("limit_events", "returned", counts.returned);
        self.stats.add("limit_events", "crowded", counts.crowded);
        self.stats.add("limit_events", "contended", counts.contended);
        self.stats.add("limit_events", "fleet-asked", counts.fleet_asked);
        self.stats.add("limit_events", "fleet-granted", counts.fleet_granted);
        self.stats.add("limit_events", "fleet-failed", counts.fleet_failed);
        self.stats.add("limit_events", "fleet-waited", counts.fleet_waited);
    }
}

//! A request that waits for what Redis says of a quota: before the cache has seen it, or on its way to the origin.

use super::aside::{Aside, Counted};
use super::entering;
use super::{Directive, RequestEdit, State};
use crate::cache::{Cache, FillEnd, Moment};
use crate::stages::{BodyUse, limits};
use crate::time::Timestamp;

/// What is known while it waits.
pub(super) struct Leasing {
    before: Before,
    ticket: u64,
    /// When it has waited enough, over all times.
    until: Timestamp,
}

/// Where it goes on.
enum Before {
    /// At its beginning.
    Cache { head: Vec<u8>, end_of_stream: bool, body_use: BodyUse },
    /// On its way to the origin.
    Origin { next: State, edits: Vec<RequestEdit>, counted: Box<Counted> },
}

impl Leasing {
    /// The state of a request that limits before the cache let wait.
    pub(super) fn before_cache(
        head: Vec<u8>,
        (end_of_stream, body_use): (bool, BodyUse),
        ticket: u64,
        until: Timestamp,
    ) -> (State, Directive) {
        Self { before: Before::Cache { head, end_of_stream, body_use }, ticket, until }.begin()
    }

    /// The same of one that was to go to the origin.
    pub(super) fn before_origin(
        (next, edits): (State, Vec<RequestEdit>),
        counted: Box<Counted>,
        ticket: u64,
        until: Timestamp,
    ) -> (State, Directive) {
        Self { before: Before::Origin { next, edits, counted }, ticket, until }.begin()
    }

    fn begin(self) -> (State, Directive) {
        let ticket = self.ticket;
        (State::Leasing(Box::new(self)), Directive::AwaitSlot { ticket })
    }

    /// Whether it has been through the cache.
    pub(super) const fn is_past_cache(&self) -> bool {
        matches!(self.before, Before::Origin { .. })
    }

    /// What may become of its body.
    pub(super) const fn body_use(&self) -> BodyUse {
        match self.before {
            Before::Cache { body_use, .. } => body_use,
            Before::Origin { .. } => BodyUse::Passes,
        }
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        match &self.before {
            Before::Cache { head, .. } => head.capacity(),
            Before::Origin { next, counted, .. } => next.kept_bytes().saturating_add(counted.head.capacity()),
        }
    }

    /// Its ticket has been decided: it asks the limits again.
    pub(super) fn on_wake(
        self,
        aside: &mut Aside,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        match self.before {
            Before::Cache { head, end_of_stream, .. } => {
                // Whatever has woken it: a ticket is good for once.
                cache.leave_lease(self.ticket);
                limits::has_waited(self.until, cache);
                let step = entering::begin(head, end_of_stream, aside, cache, moment);
                // Under another configuration it may not have been asked.
                cache.scratch.patience = None;
                step
            }
            Before::Origin { mut next, edits, counted } => {
                if let State::Forwarding(plan) = &mut next {
                    // Its answer is not older than its leaving.
                    plan.requested = moment.now;
                }
                // What Redis has said of a budget is asked for with its ticket.
                if counted.ticket.is_none() {
                    cache.leave_lease(self.ticket);
                }
                aside.count_again(counted, self.until);
                (next, Directive::Forward(edits))
            }
        }
    }

    /// Its stream is gone.
    pub(super) fn abandon(self, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.leave_lease(self.ticket);
        if let Before::Origin { next: State::Forwarding(plan), .. } = self.before {
            plan.abandon(FillEnd::Abandoned, cache, moment);
        }
    }
}

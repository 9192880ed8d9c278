//! A request for embeddings with one input, which waits a moment for others that are to be asked together with it.

use super::aside::Aside;
use super::calling::{answered, fall_back, head_of, judged};
use super::{Directive, Fetched, Plan, RequestEdit, State};
use crate::cache::{Cache, FillEnd, Joined, Moment};
use crate::cache_status::Detail;
use crate::fields::Fields;

/// A client that waits for it.
pub(super) struct Joining {
    plan: Box<Plan>,
    /// How the request goes on if nothing comes of it.
    edits: Vec<RequestEdit>,
    ticket: u64,
}

impl Joining {
    pub(super) fn begin(
        plan: Box<Plan>,
        edits: Vec<RequestEdit>,
        cache: &mut Cache,
        moment: &Moment<'_>,
    ) -> (State, Directive) {
        let inputs = plan.inputs.as_ref().filter(|_| cache.has_room_to_wait(plan.kept_bytes()));
        let ticket = inputs.and_then(|inputs| {
            let head = || head_of(&plan, &edits);
            cache.join(plan.rule, inputs, head, moment.now)
        });
        match ticket {
            Some(ticket) => {
                let joining = Self { plan, edits, ticket };
                (State::Joining(Box::new(joining)), Directive::AwaitSlot { ticket })
            }
            None => (State::Forwarding(plan), Directive::Forward(edits)),
        }
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.plan.kept_bytes()
    }

    /// Its ticket has been decided, or nothing is known of it any more.
    pub(super) fn on_wake(
        self,
        aside: &mut Aside,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let Self { mut plan, edits, ticket } = self;
        match cache.take_joined(ticket) {
            Some(Joined::Answered { head, body }) => {
                let fetched = Fields::parse(&head).map(|head| Fetched::Answer { head, body: &body });
                match judged(fetched.unwrap_or(Fetched::Nothing)) {
                    Ok(answer) => answered(plan, answer, body.clone(), Detail::Merged, aside, cache, moment),
                    Err(word) => fall_back(plan, edits, word, cache, moment),
                }
            }
            Some(Joined::Alone) | None => {
                plan.requested = moment.now;
                (State::Forwarding(plan), Directive::Forward(edits))
            }
        }
    }

    /// The client is gone.
    pub(super) fn abandon(&self, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.leave_joined(self.ticket);
        self.plan.abandon(FillEnd::Abandoned, cache, moment);
    }
}

//! The origin has confirmed what is not there any more, or something else than what is stored: the client's answer is asked for
//! in full, by a call of the cache's own (RFC 9111 §4.3.4).

use std::rc::Rc;
use std::time::Duration;

use super::forwarding::is_full_answer;
use super::refreshing;
use super::{ContentTypeFix, Directive, Plan, Recast, Reply, Role, StaleResponse, State};
use crate::cache::{Cache, FillEnd, Moment};
use crate::cache_status::Outcome;
use crate::coding::head::ACCEPT_ENCODING;
use crate::fields::{FieldBlock, Fields};
use crate::fields::{content_length, status_of};
use crate::policy::Rule;
use crate::storability::{is_bodiless, is_kept_out, is_of_a_quota};
use crate::store::response::Body;

/// A client that waits for it.
pub(super) struct Refetching {
    plan: Box<Plan>,
    /// What was to be confirmed.
    candidate: StaleResponse,
    outcome: Outcome,
}

/// What came of the call.
#[derive(Clone, Copy)]
pub enum Fetched<'a> {
    /// The origin has answered.
    Answer {
        /// Its head.
        head: Fields<'a>,
        /// Its content.
        body: &'a [u8],
    },
    /// No answer has come, or not a whole one.
    Nothing,
}

impl Refetching {
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Asks for it, if it is known whom to call.
    pub(super) fn begin(
        mut plan: Box<Plan>,
        candidate: StaleResponse,
        outcome: Outcome,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        // What was just invalidated is older than the answer that is asked for now.
        (plan.requested, plan.valid_from) = (moment.now, moment.now.plus(Duration::from_millis(1)));
        let call =
            if plan.role == Role::Fill { refreshing::call_for_all(&plan, rule, cache, moment) } else { None };
        let waiting = |plan| Self { plan, candidate, outcome };
        let Some((cluster, request)) = call else {
            return waiting(plan).give_up(rule, cache, moment);
        };
        // Where it is left alone otherwise, it has just answered this very request.
        plan.admitted = cache.admit_origin(plan.rule, rule, moment).ok().flatten();
        plan.unasked = true;
        let timeout = rule.refresh.timeout;
        let fetch = Directive::Fetch { cluster, request, body: Vec::new(), timeout };
        (State::Refetching(Box::new(waiting(plan))), fetch)
    }

    /// The call has ended. `moment` belongs to the client's stream.
    pub(super) fn on_answer(
        self,
        fetched: Fetched<'_>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let policy = Rc::clone(cache.policy());
        let rule = policy.rule(self.plan.rule);
        let Fetched::Answer { head, body } = fetched else { return self.give_up(rule, cache, moment) };
        let status = status_of(head);
        let whole = content_length(head).is_none_or(|told| told <= body.len()) || is_bodiless(status);
        if !whole || !is_full_answer(status, rule) {
            return self.give_up(rule, cache, moment);
        }
        let Self { mut plan, outcome, .. } = self;
        plan.tell_of_origin(status, rule, cache, moment);
        let outcome = Outcome { forward_status: Some(status), ..outcome };
        let (state, directive) = plan.fill(status, head, body.is_empty(), rule, outcome, cache, moment);
        if let State::Storing(storing) = state {
            storing.on_chunk(body, true, cache, moment);
        }
        (State::Finished, Directive::Respond(reply(status, head, body.to_vec(), directive)))
    }

    /// The client gets the old content where stale use is allowed, and has to ask again where it is not.
    fn give_up(self, rule: &Rule, cache: &mut Cache, moment: &mut Moment<'_>) -> (State, Directive) {
        let Self { plan, candidate, mut outcome } = self;
        let directive = plan.without_content(&candidate, rule, &mut outcome, cache, moment);
        plan.abandon(FillEnd::Abandoned, cache, moment);
        (State::Finished, directive)
    }

    /// The client is gone.
    pub(super) fn abandon(&self, cache: &mut Cache, moment: &mut Moment<'_>) {
        self.plan.abandon(FillEnd::Abandoned, cache, moment);
    }
}

/// What no other client may be told, and this one is.
fn is_of_this_client(name: &[u8]) -> bool {
    is_of_a_quota(name) || name == b"retry-after"
}

/// A response of the origin as a reply, in the form that a client would get which it passes.
pub(super) fn reply(status: u16, head: Fields<'_>, body: Vec<u8>, directive: Directive) -> Reply {
    let Directive::Relay { cache_status, vary, strip, recast, .. } = directive else {
        return Reply::made(status, Vec::new(), Vec::new());
    };
    let whole = || Recast { status, remove: &[], set: Vec::new(), window: 0..body.len() };
    let Recast { status, remove, set, window } = recast.map_or_else(whole, |recast| *recast);
    let goes = |name: &[u8]| {
        name == b"content-length"
            || is_kept_out(name, head) && name != b"age" && !is_of_this_client(name)
            || remove.iter().any(|gone| gone.as_bytes() == name)
            || strip.iter().any(|gone| **gone == *name)
    };
    let mut block: FieldBlock = head.iter().filter(|(name, _)| !goes(name)).collect();
    for (name, value) in set.iter().filter(|(name, _)| *name != "content-length") {
        block.push(name.as_bytes(), value);
    }
    if vary {
        block.push(b"vary", ACCEPT_ENCODING);
    }
    if let Some(line) = cache_status {
        block.push(b"cache-status", &line);
    }
    let typeless = block.fields().get(b"content-type").is_none() && !window.is_empty();
    let mut fields = Vec::new();
    block.write_with(&[], &mut fields);
    let mend = typeless.then_some(ContentTypeFix::RemoveContentType);
    Reply { status, fields, body: Body::new(body), range: window, mend }
}

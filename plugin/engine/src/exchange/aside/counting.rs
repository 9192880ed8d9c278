//! What limits and budgets count on the way to the origin, and what they are told of the answer.

use super::Kept;
use crate::cache::{Cache, FillEnd, Moment};
use crate::exchange::leasing::Leasing;
use crate::exchange::{Directive, RequestEdit, State};
use crate::fields::Fields;
#[cfg(feature = "llm")]
use crate::host::IN_BROWSER;
use crate::limits::{Denied, Patience};
use crate::policy::{LimitCounts, Policy, Rule};
use crate::request::Request;
use crate::stages::{Then, limits};
use crate::time::Timestamp;
#[cfg(feature = "llm")]
use crate::{budgets::Reserved as OfBudget, cache::Used, policy::FallbackOn};

/// A request that limits count if it goes to the origin.
pub(in crate::exchange) struct Counted {
    rule: usize,
    pub(in crate::exchange) head: Vec<u8>,
    /// How long it may yet wait for Redis, if it has waited.
    pub(super) until: Option<Timestamp>,
    /// The limits have admitted it.
    is_past_limits: bool,
    /// It has waited for what Redis says of a budget.
    pub(in crate::exchange) ticket: Option<u64>,
    /// So many of the budgets that it is on have been asked.
    budgets_asked: usize,
}

impl Counted {
    pub(super) const fn new(rule: usize, head: Vec<u8>) -> Self {
        Self { rule, head, until: None, is_past_limits: false, ticket: None, budgets_asked: 0 }
    }
}

/// Why a request is refused on its way to the origin.
#[derive(Clone, Copy)]
enum Why {
    /// A limit has said so.
    Limit,
    /// A budget has.
    #[cfg(feature = "llm")]
    Budget,
}

impl Kept {
    /// Settles what is reserved once no more of the answer is to come. `unread`: the request has not gone.
    #[cfg(feature = "llm")]
    pub(super) fn settle_if_known(&mut self, unread: bool, cache: &mut Cache, moment: &mut Moment<'_>) {
        let answering = self.answering.as_ref();
        if self.owes() && answering.is_none_or(|answering| !answering.is_open()) {
            let nothing = Some(Used::default());
            let used = answering.filter(|_| !unread).map_or(nothing, |answering| answering.used());
            self.settle_tokens(used, cache, moment);
        }
    }

    /// The answer has ended, or none comes: what it has used is known, or else it is what was taken for it.
    #[cfg(feature = "llm")]
    pub(super) fn settle_tokens(&mut self, used: Option<Used>, cache: &mut Cache, moment: &mut Moment<'_>) {
        if let (Some(reserved), Some(used)) = (self.reserved.take(), used) {
            cache.settle_tokens(reserved, used.tokens, moment);
        }
        if !IN_BROWSER && !self.budgeted.is_empty() {
            cache.settle_budgets(std::mem::take(&mut self.budgeted), used, moment);
        }
    }

    /// Whether something is reserved for it.
    #[cfg(feature = "llm")]
    pub(super) const fn owes(&self) -> bool {
        self.reserved.is_some() || !self.budgeted.is_empty()
    }

    /// Whether it waits for a place at the origin.
    #[cfg(feature = "llm")]
    pub(super) fn waits_for_a_place(&self) -> bool {
        #[cfg(feature = "pools")]
        return self.admitting.as_ref().is_some_and(|admitting| admitting.is_queued());
        #[cfg(not(feature = "pools"))]
        false
    }

    /// Asks the limits that count what goes to the origin.
    pub(super) fn count(
        &mut self,
        state: State,
        mut directive: Directive,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        if self.counted.is_none() || !matches!(directive, Directive::Forward(_)) {
            return (state, directive);
        }
        let Some(mut counted) = self.counted.take() else { return (state, directive) };
        #[cfg(feature = "llm")]
        {
            self.waits_for_redis = false;
        }
        let patience = match counted.until {
            Some(until) => Patience::Until(until),
            None if cache.has_room_to_wait(state.kept_bytes() + counted.head.len()) => Patience::New,
            None => Patience::None,
        };
        let Some(fields) = Fields::parse(&counted.head) else { return (state, directive) };
        let policy = std::rc::Rc::clone(cache.policy());
        let (request, rule) = (Request::read(fields, false), policy.rule(counted.rule));
        let asked = (counted.rule, rule);
        #[cfg(feature = "llm")]
        let reserve = self.answering.as_ref().map(|answering| answering.reserve());
        #[cfg(not(feature = "llm"))]
        let reserve = None;
        let ways = (reserve.as_ref(), patience);
        let Directive::Forward(edits) = &mut directive else { return (state, directive) };
        let mut state = state;
        if !counted.is_past_limits {
            match limits::after_cache(&request, asked, ways, &mut self.limited, cache, moment) {
                None => {}
                Some(Denied::Waits { ticket, until }) => {
                    let edits = std::mem::take(edits);
                    #[cfg(feature = "llm")]
                    {
                        self.waits_for_redis = true;
                    }
                    return Leasing::before_origin((state, edits), counted, ticket, until);
                }
                Some(Denied::Refused(refused)) => {
                    state = match self.gives_way(Why::Limit, state, edits, cache, moment) {
                        Ok(state) => state,
                        Err(state) => {
                            return self.refuse(state, limits::refuse(&refused, rule, cache), cache, moment);
                        }
                    };
                }
            }
            counted.is_past_limits = true;
            #[cfg(feature = "llm")]
            {
                self.reserved = self.limited.as_mut().and_then(|limited| limited.take_reserved());
            }
        }
        #[cfg(feature = "llm")]
        let waited = (&mut counted.ticket, &mut counted.budgets_asked);
        #[cfg(feature = "llm")]
        match self.spend((&request, rule), waited, patience, cache, moment) {
            Some(OfBudget::Waits { ticket, until }) => {
                let edits = std::mem::take(edits);
                self.waits_for_redis = true;
                return Leasing::before_origin((state, edits), counted, ticket, until);
            }
            Some(OfBudget::No(refused)) => {
                state = match self.gives_way(Why::Budget, state, edits, cache, moment) {
                    Ok(state) => state,
                    Err(state) => {
                        let refusal = limits::over_budget(&refused, rule, cache);
                        return self.refuse(state, refusal, cache, moment);
                    }
                };
            }
            _ => {}
        }
        (state, directive)
    }

    /// It is refused: the refusal says all there is to say.
    fn refuse(
        &mut self,
        state: State,
        refusal: Then,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        self.limited = None;
        if let State::Forwarding(plan) = state {
            plan.abandon(FillEnd::Abandoned, cache, moment);
        }
        crate::exchange::then(refusal)
    }

    /// What becomes of a request that is refused for this reason: it goes to another model, or else it is as it was.
    #[cfg_attr(
        not(feature = "llm"),
        expect(
            unused_variables,
            clippy::ptr_arg,
            clippy::unused_self,
            clippy::needless_pass_by_ref_mut,
            reason = "there is no other model"
        )
    )]
    fn gives_way(
        &mut self,
        why: Why,
        state: State,
        edits: &mut Vec<RequestEdit>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Result<State, State> {
        #[cfg(feature = "llm")]
        if let Some(falling_back) = &mut self.falling_back {
            let why = match why {
                Why::Limit => FallbackOn::Limit,
                Why::Budget => FallbackOn::Budget,
            };
            if falling_back.may_go(why, cache.policy()) {
                let state = falling_back.go(why, state, edits, cache, moment);
                self.limited = None;
                self.note_gone(cache);
                return Ok(state);
            }
        }
        Err(state)
    }

    /// Reserves what the request may cost of the budgets that it is on. `Some`: it has to wait, or is refused.
    #[cfg(feature = "llm")]
    fn spend(
        &mut self,
        (request, rule): (&Request<'_>, &Rule),
        (waited, asked): (&mut Option<u64>, &mut usize),
        patience: Patience,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<OfBudget> {
        // The playground is small, and spends nothing.
        if IN_BROWSER {
            return None;
        }
        let answering = self.answering.as_ref()?;
        let (reserve, model) = (answering.reserve(), answering.model());
        loop {
            let ways = (waited.take(), patience);
            let wanted = (request, rule, *asked);
            match cache.reserve_of_budget(wanted, (&reserve, model), ways, moment)? {
                OfBudget::Yes(reservation) => self.budgeted.push(reservation),
                OfBudget::Unkept => {}
                refused @ OfBudget::No(_) => return Some(refused),
                OfBudget::Waits { ticket, until } => {
                    *waited = Some(ticket);
                    return Some(OfBudget::Waits { ticket, until });
                }
            }
            *asked += 1;
        }
    }

    /// Adds what the client is told of its quota.
    pub(super) fn tell(&mut self, mut directive: Directive, cache: &Cache) -> Directive {
        if !matches!(directive, Directive::Relay { .. } | Directive::Respond(_)) {
            return directive;
        }
        let Some(limited) = self.limited.take() else { return directive };
        let lines = limits::fields(&limited, cache);
        match &mut directive {
            Directive::Relay { add, .. } => add.extend(lines.into_iter().filter_map(named)),
            Directive::Respond(reply) => lines.iter().for_each(|(name, value)| reply.add(name, value)),
            _ => {}
        }
        directive
    }
}

/// Whether limits or budgets count the requests of a rule that go to the origin.
pub(super) fn is_counted(rule: &Rule, policy: &Policy) -> bool {
    #[cfg(feature = "llm")]
    if !rule.budgeted.is_empty() {
        return true;
    }
    let counts =
        |index: &usize| policy.limits.get(*index).is_some_and(|limit| limit.counts == LimitCounts::Forwarded);
    rule.limited.iter().any(counts)
}

pub(super) fn named((name, value): (&'static [u8], Vec<u8>)) -> Option<(&'static str, Vec<u8>)> {
    Some((std::str::from_utf8(name).ok()?, value))
}

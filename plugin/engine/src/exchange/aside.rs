//! What goes with a request through all its states: what capabilities have to do with it after the stages before the cache.
//!
//! On the way to the origin, limits that count what goes there are asked, and a pool's place is taken. On the way to the
//! client, fields are added. A request of which nothing is configured has nothing here.

#[cfg(feature = "pools")]
use super::admitting::Admitting;
#[cfg(feature = "operators")]
use super::explaining::Explaining;
use super::passing::Passing;
use super::{Directive, Event, State};
#[cfg(feature = "limits")]
use crate::cache::FillEnd;
use crate::cache::{Cache, Moment};
use crate::fields::Fields;
use crate::policy::{Policy, Rule};
use crate::request::Request;
#[cfg(feature = "limits")]
use crate::{policy::LimitCounts, stages::limits};

/// What is kept of a request in every state.
#[derive(Default)]
pub(super) struct Aside {
    /// Somebody wants this one to be explained.
    #[cfg(feature = "operators")]
    pub(super) explaining: Option<Box<Explaining>>,
    /// It goes through a pool.
    #[cfg(feature = "pools")]
    pub(super) admitting: Option<Box<Admitting>>,
    /// What its client is to be told of its quota, and what is to be settled.
    #[cfg(feature = "limits")]
    limited: Option<Box<limits::Limited>>,
    /// Limits count it if it goes to the origin.
    #[cfg(feature = "limits")]
    counted: Option<Box<Counted>>,
}

/// A request that limits count if it goes to the origin.
#[cfg(feature = "limits")]
struct Counted {
    rule: usize,
    head: Vec<u8>,
}

impl Aside {
    /// The stages before the cache have let it go on.
    #[inline]
    pub(super) fn begin(&mut self, cache: &mut Cache) {
        #[cfg(feature = "limits")]
        {
            self.limited = limits::take(cache);
        }
    }

    /// The request may have to go to its origin. One that is answered from a store never comes here.
    #[inline]
    pub(super) fn may_go(
        &mut self,
        request: &Request<'_>,
        (rule_index, rule): (usize, &Rule),
        head: &[u8],
        policy: &Policy,
        moment: &mut Moment<'_>,
    ) {
        #[cfg(feature = "pools")]
        {
            self.admitting = Admitting::of(request, rule_index, rule, moment);
        }
        #[cfg(feature = "limits")]
        if !rule.limited.is_empty() {
            let forwarded = |index: &usize| {
                policy.limits.get(*index).is_some_and(|limit| limit.counts == LimitCounts::Forwarded)
            };
            let counts = rule.limited.iter().any(forwarded);
            self.counted = counts.then(|| Box::new(Counted { rule: rule_index, head: head.to_vec() }));
        }
    }

    /// Something has happened to the stream.
    #[inline]
    pub(super) fn hear(&mut self, event: &Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        #[cfg(feature = "limits")]
        if let Some(limited) = &mut self.limited {
            match event {
                Event::Response { head, .. } => limits::settle(limited, *head, cache, moment),
                Event::Ended => self.limited = None,
                _ => {}
            }
        }
        #[cfg(feature = "pools")]
        if let Some(admitting) = &mut self.admitting {
            match event {
                Event::Response { head, .. } => admitting.head_came(*head, cache, moment),
                Event::Ended => admitting.end(cache, moment),
                _ => {}
            }
        }
    }

    /// What becomes of a step of the exchange: one to the origin may have to wait, and one to the client has more to say.
    #[inline]
    pub(super) fn send(
        &mut self,
        state: State,
        directive: Directive,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        #[cfg(feature = "limits")]
        let (state, directive) = self.count(state, directive, cache, moment);
        #[cfg(feature = "pools")]
        let (state, mut directive) = match &mut self.admitting {
            Some(admitting) => admitting.pass(state, directive, cache, moment),
            None => (state, directive),
        };
        #[cfg(feature = "limits")]
        if self.limited.is_some() && matches!(directive, Directive::Relay { .. } | Directive::Respond(_)) {
            self.tell(&mut directive, cache);
        }
        (state, directive)
    }

    /// Asks the limits that count what goes to the origin.
    #[cfg(feature = "limits")]
    fn count(
        &mut self,
        state: State,
        directive: Directive,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        if self.counted.is_none() || !matches!(directive, Directive::Forward(_)) {
            return (state, directive);
        }
        let Some(counted) = self.counted.take() else { return (state, directive) };
        let Some(fields) = Fields::parse(&counted.head) else { return (state, directive) };
        let policy = std::rc::Rc::clone(cache.policy());
        let (request, rule) = (Request::read(fields, false), policy.rule(counted.rule));
        let asked = (counted.rule, rule);
        let Some(then) = limits::after_cache(&request, asked, &mut self.limited, cache, moment) else {
            return (state, directive);
        };
        // The refusal says all there is to say.
        self.limited = None;
        if let State::Forwarding(plan) = state {
            plan.abandon(FillEnd::Abandoned, cache, moment);
        }
        super::then(then)
    }

    /// Adds what the client is told of its quota.
    #[cfg(feature = "limits")]
    fn tell(&mut self, directive: &mut Directive, cache: &Cache) {
        let Some(limited) = self.limited.take() else { return };
        let lines = limits::fields(&limited, cache);
        match directive {
            Directive::Relay { add, .. } => add.extend(lines.into_iter().filter_map(named)),
            Directive::Respond(reply) => {
                lines.iter().for_each(|(name, value)| reply.add(name, value));
            }
            _ => {}
        }
    }

    /// Whether it has a slot of a pool, which is free again when the stream ends.
    pub(super) fn holds_slot(&self) -> bool {
        #[cfg(feature = "pools")]
        return self.admitting.as_ref().is_some_and(|admitting| admitting.has_slot());
        #[cfg(not(feature = "pools"))]
        false
    }

    /// Whether the client is to be told something with the head of a response.
    pub(super) fn has_more_to_say(&self) -> bool {
        #[cfg(feature = "limits")]
        return self.limited.is_some();
        #[cfg(not(feature = "limits"))]
        false
    }

    /// The head of a response has come of which the cache reads nothing. `head` has the fields that are needed here. Gives
    /// those that the client gets.
    pub(super) fn see_passing(
        &mut self,
        passing: &mut Passing,
        head: Fields<'_>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        #[cfg(feature = "pools")]
        if let Some(admitting) = &mut self.admitting {
            admitting.head_came(head, cache, moment);
            passing.add.extend(admitting.fields());
        }
        #[cfg(feature = "limits")]
        if let Some(mut limited) = self.limited.take() {
            limits::settle(&mut limited, head, cache, moment);
            passing.add.extend(limits::fields(&limited, cache).into_iter().filter_map(named));
        }
    }
}

#[cfg(feature = "limits")]
fn named((name, value): (&'static [u8], Vec<u8>)) -> Option<(&'static str, Vec<u8>)> {
    Some((std::str::from_utf8(name).ok()?, value))
}

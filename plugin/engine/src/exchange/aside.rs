//! What goes with a request through all its states: what capabilities have to do with it after the stages before the cache.
//!
//! On the way to the origin, limits that count what goes there are asked, and a pool's place is taken. On the way to the
//! client, fields are added. A request of which nothing is configured has nothing here.
//!
//! - `models`: requests to language models
//! - `counting`: limits and budgets
//! - `guards`: what checks its body

#[cfg(feature = "limits")]
mod counting;
#[cfg(feature = "uploads")]
mod guards;
mod models;

#[cfg(feature = "pools")]
use super::admitting::{Admitting, Queued};
#[cfg(feature = "llm")]
use super::answering::Answering;
#[cfg(feature = "operators")]
use super::explaining::Explaining;
#[cfg(feature = "llm")]
use super::falling_back::FallingBack;
#[cfg(feature = "llm")]
use super::gateway_only::GatewayOnly;
#[cfg(feature = "sessions")]
use super::identifying::Identity;
#[cfg(feature = "llm")]
use super::injecting::Injecting;
use super::{Added, Directive, Event, State};
#[cfg(all(feature = "llm", feature = "limits"))]
use crate::budgets::Reservation;
#[cfg(all(feature = "llm", feature = "limits"))]
use crate::cache::Used;
use crate::cache::{Cache, Moment};
use crate::fields::Fields;
#[cfg(all(feature = "llm", feature = "limits"))]
use crate::limits::Reserved;
use crate::policy::{Policy, Rule};
use crate::request::Request;
#[cfg(feature = "uploads")]
use crate::uploads::Guard;
#[cfg(feature = "llm")]
use crate::{fields::content_length, llm};
#[cfg(feature = "limits")]
use crate::{stages::limits, time::Timestamp};
#[cfg(feature = "limits")]
pub(super) use counting::Counted;
#[cfg(feature = "limits")]
use counting::{is_counted, named};

/// What is kept of a request in every state: nothing, for most.
#[derive(Default)]
pub(super) struct Aside {
    /// Somebody wants this one to be explained.
    #[cfg(feature = "operators")]
    pub(super) explaining: Option<Box<Explaining>>,
    /// What sessions have made of it.
    #[cfg(feature = "sessions")]
    pub(super) identity: Option<Box<Identity>>,
    /// No client waits for it: it is of the lowest class of its pool.
    #[cfg(feature = "pools")]
    pub(super) is_for_later: bool,
    /// What capabilities keep of it. One test for all of them, since every event comes by here.
    kept: Option<Box<Kept>>,
}

/// What capabilities keep of a request.
#[derive(Default)]
struct Kept {
    /// It goes through a pool.
    #[cfg(feature = "pools")]
    admitting: Option<Box<Admitting>>,
    /// What its client is to be told of its quota, and what is to be settled.
    #[cfg(feature = "limits")]
    limited: Option<Box<limits::Limited>>,
    /// Limits count it if it goes to the origin.
    #[cfg(feature = "limits")]
    counted: Option<Box<Counted>>,
    /// It asks a language model, and the answer may be stored, or is counted.
    #[cfg(feature = "llm")]
    answering: Option<Box<Answering>>,
    /// It is made to ask for the usage of its stream.
    #[cfg(feature = "llm")]
    injecting: Option<GatewayOnly<Injecting>>,
    /// Another model may be asked for it.
    #[cfg(feature = "llm")]
    falling_back: Option<GatewayOnly<FallingBack>>,
    /// A call to another model has just ended.
    #[cfg(feature = "llm")]
    has_fetched: bool,
    /// The status of a response whose head has just come, if one of the two wants to see it.
    #[cfg(feature = "llm")]
    status: Option<u16>,
    /// Tokens that limits have taken for it, until its answer says what it has used.
    #[cfg(all(feature = "llm", feature = "limits"))]
    reserved: Option<Reserved>,
    /// What is reserved for it of budgets, until its answer says what it has cost.
    #[cfg(all(feature = "llm", feature = "limits"))]
    budgeted: Vec<Reservation>,
    /// What checks its body.
    #[cfg(feature = "uploads")]
    guard: Option<Box<Guard>>,
    /// It has been through the stages before the cache, and is not to go through them again.
    #[cfg(feature = "uploads")]
    is_past_stages: bool,
    /// It waits for what Redis says of a limit or a budget.
    #[cfg(all(feature = "llm", feature = "limits"))]
    waits_for_redis: bool,
}

impl Aside {
    /// The stages before the cache have let it go on.
    #[inline]
    pub(super) fn begin(&mut self, cache: &mut Cache) {
        #[cfg(feature = "limits")]
        if let Some(limited) = limits::take(cache) {
            self.kept.get_or_insert_default().limited = Some(limited);
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
        #[cfg(feature = "llm")]
        if let Some(api) = llm::counted(request, rule) {
            let bytes = content_length(request.fields).unwrap_or_default() as u64;
            let answering = Box::new(Answering::counting(api, bytes));
            self.kept.get_or_insert_default().answering = Some(answering);
        }
        #[cfg(feature = "llm")]
        if let Some(falling_back) = FallingBack::of(request, rule_index, rule) {
            self.kept.get_or_insert_default().falling_back = GatewayOnly::of(falling_back);
        }
        #[cfg(feature = "pools")]
        if let Some(admitting) = Admitting::of(request, (rule_index, rule), self.is_for_later, moment) {
            self.kept.get_or_insert_default().admitting = Some(admitting);
        }
        #[cfg(feature = "limits")]
        if is_counted(rule, policy) {
            let counted = Counted::new(rule_index, head.to_vec());
            self.kept.get_or_insert_default().counted = Some(Box::new(counted));
        }
    }

    /// What becomes of the state of a request whose answer has ended.
    #[inline]
    pub(super) fn judge(&mut self, state: State, cache: &mut Cache, moment: &mut Moment<'_>) -> State {
        #[cfg(feature = "llm")]
        if let Some(answering) = self.kept.as_mut().and_then(|kept| kept.answering.as_mut()) {
            return answering.judge(state, cache, moment);
        }
        state
    }

    /// It has waited on its way to the origin: the limits are asked again.
    #[cfg(feature = "limits")]
    pub(super) fn count_again(&mut self, mut counted: Box<Counted>, until: Timestamp) {
        counted.until = Some(until);
        self.kept.get_or_insert_default().counted = Some(counted);
    }

    /// Whether its body has been checked, so that it has been through the stages before the cache.
    #[inline]
    pub(super) fn is_past_stages(&self) -> bool {
        #[cfg(feature = "uploads")]
        return self.kept.as_ref().is_some_and(|kept| kept.is_past_stages);
        #[cfg(not(feature = "uploads"))]
        false
    }

    /// Whether its body is checked.
    #[inline]
    pub(super) fn is_guarded(&self) -> bool {
        #[cfg(feature = "uploads")]
        return self.kept.as_ref().is_some_and(|kept| kept.guard.is_some());
        #[cfg(not(feature = "uploads"))]
        false
    }

    /// Whether its session has been found out.
    #[cfg(feature = "sessions")]
    pub(super) fn is_identified(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.is_known)
    }

    /// Whether it goes on without its session because nobody could say what that is.
    #[cfg(feature = "jobs")]
    pub(super) fn is_of_unknown_session(&self) -> bool {
        #[cfg(feature = "sessions")]
        return self.identity.as_ref().is_some_and(|identity| identity.is_unknown);
        #[cfg(not(feature = "sessions"))]
        false
    }

    /// Whether capabilities keep anything of it.
    #[inline]
    pub(super) const fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Something has happened to the stream.
    #[inline]
    pub(super) fn hear(&mut self, event: &Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        #[cfg(feature = "sessions")]
        if let Some(identity) = &mut self.identity {
            match event {
                Event::Response { head, .. } => identity.head_came(*head, cache),
                Event::Ended => identity.ended(cache),
                _ => {}
            }
        }
        if let Some(kept) = &mut self.kept {
            kept.hear(event, cache, moment);
        }
    }

    /// What becomes of a step of the exchange: one to the origin may have to wait, and one to the client has more to say.
    #[inline]
    pub(super) fn send(
        &mut self,
        step: (State, Directive),
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        match &mut self.kept {
            Some(kept) => kept.send(step, cache, moment),
            None => step,
        }
    }

    /// What becomes of a request whose ticket has been decided, or whose stream has ended.
    #[cfg(feature = "pools")]
    pub(super) fn wake(
        &mut self,
        queued: Queued,
        is_over: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let admitting = self.kept.as_mut().and_then(|kept| kept.admitting.as_mut());
        match admitting {
            Some(admitting) if !is_over => return admitting.woken(queued, cache, moment),
            Some(admitting) => admitting.abandon(queued, cache, moment),
            None => {}
        }
        (State::Finished, Directive::Pass)
    }

    /// Whether it has a slot of a pool, which is free again when the stream ends.
    #[inline]
    pub(super) fn holds_slot(&self) -> bool {
        // What has changed a session is known to have ended with its stream.
        #[cfg(feature = "sessions")]
        if self.identity.as_ref().is_some_and(|identity| identity.awaits_end()) {
            return true;
        }
        #[cfg(feature = "pools")]
        return self.kept.as_ref().and_then(|kept| kept.admitting.as_ref()).is_some_and(|one| one.has_slot());
        #[cfg(not(feature = "pools"))]
        false
    }

    /// Whether the client is to be told something with the head of a response.
    #[inline]
    pub(super) fn has_more_to_say(&self) -> bool {
        #[cfg(feature = "sessions")]
        if self.identity.as_ref().is_some_and(|identity| identity.awaits_head()) {
            return true;
        }
        #[cfg(feature = "limits")]
        return self.kept.as_ref().is_some_and(|kept| kept.limited.is_some());
        #[cfg(not(feature = "limits"))]
        false
    }

    /// The head of a response has come of which the cache reads nothing. `head` has the fields that are needed here. Gives
    /// those that the client gets.
    pub(super) fn see_passing(
        &mut self,
        head: Fields<'_>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Added {
        #[cfg(feature = "sessions")]
        if let Some(identity) = &mut self.identity {
            identity.head_came(head, cache);
        }
        self.kept.as_mut().map_or_else(Vec::new, |kept| kept.see_passing(head, cache, moment))
    }
}

impl Kept {
    #[inline(never)]
    fn hear(&mut self, event: &Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        // Nobody has read what has waited until now.
        #[cfg(all(feature = "llm", feature = "limits"))]
        let unread = matches!(event, Event::Ended) && (self.waits_for_redis || self.waits_for_a_place());
        #[cfg(feature = "llm")]
        self.hear_of_model(event, cache, moment);
        #[cfg(all(feature = "llm", feature = "limits"))]
        self.settle_if_known(unread, cache, moment);
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

    #[inline(never)]
    fn send(
        &mut self,
        (state, directive): (State, Directive),
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        // What has come of a call is all there is to say.
        #[cfg(feature = "llm")]
        if std::mem::take(&mut self.has_fetched) {
            return (state, directive);
        }
        #[cfg(feature = "llm")]
        let (state, directive) = {
            let mut directive = self.seen(directive);
            directive = self.ask(directive, cache, moment);
            (self.fall_back(state, &mut directive, cache, moment), directive)
        };
        #[cfg(feature = "limits")]
        let (state, directive) = self.count(state, directive, cache, moment);
        #[cfg(feature = "pools")]
        let (state, directive) = match &mut self.admitting {
            Some(admitting) => admitting.pass(state, directive, cache, moment),
            None => (state, directive),
        };
        #[cfg(feature = "limits")]
        let (state, directive) = (state, self.tell(directive, cache));
        #[cfg(feature = "llm")]
        let directive = self.call(directive, cache, moment);
        // It is answered by nobody who counts.
        #[cfg(all(feature = "llm", feature = "limits"))]
        if self.owes() && matches!(directive, Directive::Respond(_)) {
            self.settle_tokens(Some(Used::default()), cache, moment);
        }
        (state, directive)
    }

    #[inline(never)]
    fn see_passing(&mut self, head: Fields<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Added {
        #[cfg_attr(
            not(any(feature = "pools", feature = "limits")),
            expect(unused_mut, reason = "nothing is added")
        )]
        let mut add = Vec::new();
        #[cfg(feature = "llm")]
        if let Some(answering) = &mut self.answering {
            answering.begin(head, false, cache);
        }
        #[cfg(all(feature = "llm", feature = "limits"))]
        self.settle_if_known(false, cache, moment);
        #[cfg(feature = "pools")]
        if let Some(admitting) = &mut self.admitting {
            admitting.head_came(head, cache, moment);
            add.extend(admitting.fields());
        }
        #[cfg(feature = "limits")]
        if let Some(mut limited) = self.limited.take() {
            limits::settle(&mut limited, head, cache, moment);
            add.extend(limits::fields(&limited, cache).into_iter().filter_map(named));
        }
        add
    }
}

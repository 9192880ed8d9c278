//! What goes with a request through all its states: what capabilities have to do with it after the stages before the cache.
//!
//! On the way to the origin, limits that count what goes there are asked, and a pool's place is taken. On the way to the
//! client, fields are added. A request of which nothing is configured has nothing here.

#[cfg(feature = "llm")]
use super::Fetched;
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
#[cfg(feature = "llm")]
use super::injecting::Injecting;
#[cfg(feature = "limits")]
use super::leasing::Leasing;
use super::{Added, Directive, Event, RequestEdit, State};
#[cfg(feature = "limits")]
use crate::cache::FillEnd;
use crate::cache::{Cache, Moment};
use crate::fields::Fields;
#[cfg(all(feature = "llm", feature = "limits"))]
use crate::host::IN_BROWSER;
use crate::policy::{Policy, Rule};
use crate::request::Request;
#[cfg(all(feature = "llm", feature = "limits"))]
use crate::{
    budgets::{Reservation, Reserved as OfBudget},
    cache::Used,
    limits::Reserved,
    policy::FallbackOn,
};
#[cfg(feature = "llm")]
use crate::{fields::content_length, fields::status_of, llm, llm::Facts, llm::Question};
#[cfg(feature = "limits")]
use crate::{
    limits::Denied, limits::Patience, policy::LimitCounts, stages::Then, stages::limits, time::Timestamp,
};

/// What is kept of a request in every state: nothing, for most.
#[derive(Default)]
pub(super) struct Aside {
    /// Somebody wants this one to be explained.
    #[cfg(feature = "operators")]
    pub(super) explaining: Option<Box<Explaining>>,
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
    /// It waits for what Redis says of a limit or a budget.
    #[cfg(all(feature = "llm", feature = "limits"))]
    waits_for_redis: bool,
}

/// A request that limits count if it goes to the origin.
#[cfg(feature = "limits")]
pub(super) struct Counted {
    rule: usize,
    pub(super) head: Vec<u8>,
    /// How long it may yet wait for Redis, if it has waited.
    until: Option<Timestamp>,
    /// The limits have admitted it.
    is_past_limits: bool,
    /// It has waited for what Redis says of a budget.
    pub(super) ticket: Option<u64>,
    /// So many of the budgets that it is on have been asked.
    budgets_asked: usize,
}

#[cfg(feature = "limits")]
impl Counted {
    const fn new(rule: usize, head: Vec<u8>) -> Self {
        Self { rule, head, until: None, is_past_limits: false, ticket: None, budgets_asked: 0 }
    }
}

/// Why a request is refused on its way to the origin.
#[cfg(feature = "limits")]
#[derive(Clone, Copy)]
enum Why {
    /// A limit has said so.
    Limit,
    /// A budget has.
    #[cfg(feature = "llm")]
    Budget,
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
        if let Some(admitting) = Admitting::of(request, rule_index, rule, moment) {
            self.kept.get_or_insert_default().admitting = Some(admitting);
        }
        #[cfg(feature = "limits")]
        if is_counted(rule, policy) {
            let counted = Counted::new(rule_index, head.to_vec());
            self.kept.get_or_insert_default().counted = Some(Box::new(counted));
        }
    }

    /// The body of a request to a language model has been read. Its answer may be stored if it is a question.
    #[cfg(feature = "llm")]
    pub(super) fn asks(&mut self, question: Option<Question>, facts: Facts, rule: &Rule) {
        if let Some(question) = question {
            let answering = Box::new(Answering::of(question, rule.counts_tokens()));
            self.kept.get_or_insert_default().answering = Some(answering);
        }
        if let Some(answering) = self.kept.as_mut().and_then(|kept| kept.answering.as_mut()) {
            answering.knows(facts);
        }
    }

    /// The body of a request to a language model has come, and may be changed.
    #[cfg(feature = "llm")]
    pub(super) fn may_change(
        &mut self,
        body: Vec<u8>,
        request: &Request<'_>,
        rule: &Rule,
        head: &[u8],
        cache: &Cache,
    ) {
        if let Some(splice) = llm::made_to_ask(&body, request, rule) {
            self.kept.get_or_insert_default().injecting = GatewayOnly::of(Box::new(Injecting::by(splice)));
        }
        if let Some(falling_back) = self.kept.as_mut().and_then(|kept| kept.falling_back.as_mut()) {
            falling_back.knows(body, head, cache);
        }
    }

    /// Whether the head of the response is wanted for more than to be counted.
    #[inline]
    pub(super) fn wants_head(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.injecting().is_some() || self.awaits_head();
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Whether the head of the response is wanted because another model may be asked then.
    #[inline]
    pub(super) fn awaits_head(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.falling_back().is_some_and(FallingBack::awaits_head);
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Whether the response is held for the answer of another model.
    #[inline]
    pub(super) fn awaits_answer(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.falling_back().is_some_and(FallingBack::awaits_answer);
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Bytes of the request that are kept for another model.
    #[inline]
    pub(super) fn kept_bytes(&self) -> usize {
        #[cfg(feature = "llm")]
        return self.falling_back().map_or(0, FallingBack::kept_bytes);
        #[cfg(not(feature = "llm"))]
        0
    }

    /// What is done to the request if nothing is known of its body.
    pub(super) fn lets_go(&self) -> Vec<RequestEdit> {
        #[cfg(feature = "llm")]
        if let Some(falling_back) = self.falling_back() {
            let mut edits = Vec::new();
            falling_back.strip(&mut edits);
            return edits;
        }
        Vec::new()
    }

    /// What has come of the call to another model.
    #[cfg(feature = "llm")]
    pub(super) fn fetched(
        &mut self,
        fetched: Fetched<'_>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Directive {
        self.kept.as_mut().map_or(Directive::Pass, |kept| kept.fetched(fetched, cache, moment))
    }

    #[cfg(feature = "llm")]
    fn falling_back(&self) -> Option<&FallingBack> {
        self.kept.as_ref()?.falling_back.as_deref()
    }

    /// The head of the response that has just come, as the client gets it.
    #[inline]
    pub(super) fn head_for_client<'h>(&'h self, head: Fields<'h>) -> Fields<'h> {
        #[cfg(feature = "llm")]
        if let Some(injecting) = self.injecting() {
            return injecting.head(head);
        }
        head
    }

    /// The part of the response's body that has just come, as the client gets it.
    #[inline]
    pub(super) fn part_for_client<'p>(&'p self, chunk: &'p [u8]) -> &'p [u8] {
        #[cfg(feature = "llm")]
        if let Some(injecting) = self.injecting() {
            return injecting.part(chunk);
        }
        chunk
    }

    #[cfg(feature = "llm")]
    fn injecting(&self) -> Option<&Injecting> {
        self.kept.as_ref()?.injecting.as_deref()
    }

    /// A call has brought its answer, or its part of one.
    #[cfg(feature = "llm")]
    pub(super) fn is_answered(
        &mut self,
        head: Fields<'_>,
        body: &[u8],
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        let Some(kept) = &mut self.kept else { return };
        if let Some(answering) = &mut kept.answering {
            answering.is_answered(head, body, cache, moment);
        }
        #[cfg(feature = "limits")]
        kept.settle_if_known(false, cache, moment);
    }

    /// Parts of its answer come from a store.
    #[cfg(feature = "llm")]
    pub(super) fn is_spared<'a>(&self, parts: impl Iterator<Item = &'a [u8]>, cache: &mut Cache) {
        if let Some(answering) = self.answering() {
            answering.is_spared(parts, cache);
        }
    }

    /// Whether more of the answer is to come that is counted, whatever else becomes of it.
    #[inline]
    pub(super) fn is_counting(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.answering().is_some_and(Answering::is_open);
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Whether the parts of the answer's body are counted.
    #[inline]
    pub(super) fn reads_body(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.answering().is_some_and(Answering::reads_body);
        #[cfg(not(feature = "llm"))]
        false
    }

    #[cfg(feature = "llm")]
    fn answering(&self) -> Option<&Answering> {
        self.kept.as_ref()?.answering.as_deref()
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

    /// Whether capabilities keep anything of it.
    #[inline]
    pub(super) const fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Something has happened to the stream.
    #[inline]
    pub(super) fn hear(&mut self, event: &Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
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
        #[cfg(feature = "pools")]
        return self.kept.as_ref().and_then(|kept| kept.admitting.as_ref()).is_some_and(|one| one.has_slot());
        #[cfg(not(feature = "pools"))]
        false
    }

    /// Whether the client is to be told something with the head of a response.
    #[inline]
    pub(super) fn has_more_to_say(&self) -> bool {
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

    /// Something has happened to the stream of a request to a language model.
    #[cfg(feature = "llm")]
    fn hear_of_model(&mut self, event: &Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        if let Event::Response { head, .. } = event
            && (self.injecting.is_some() || self.falling_back.is_some())
        {
            self.status = Some(status_of(*head));
        }
        // A failure that another model is called for costs nothing, and is no answer yet.
        let waits = self.falling_back.as_ref().is_some_and(|falling_back| {
            falling_back.awaits_answer() && !matches!(event, Event::Ended)
                || falling_back.calls_for(event, cache.policy())
        });
        if let (Some(answering), false) = (&mut self.answering, waits) {
            answering.hear(event, cache, moment);
        }
        if let Some(injecting) = &mut self.injecting {
            injecting.hear(event);
        }
        if let Some(falling_back) = &mut self.falling_back {
            falling_back.hear(event, cache, moment);
        }
    }

    /// What has come of the call to another model.
    #[cfg(feature = "llm")]
    fn fetched(&mut self, fetched: Fetched<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Directive {
        self.has_fetched = true;
        let Some(falling_back) = &mut self.falling_back else { return Directive::Pass };
        let directive = match falling_back.fetched(fetched, cache) {
            Ok((reply, head, body)) => {
                if let Some(answering) = &mut self.answering {
                    answering.asks_another(falling_back.model(cache.policy()));
                    answering.whole(head, body, cache, moment);
                }
                Directive::Respond(reply)
            }
            Err(held) => {
                if let Some(answering) = &mut self.answering {
                    answering.fails();
                }
                held
            }
        };
        #[cfg(feature = "limits")]
        self.settle_if_known(false, cache, moment);
        directive
    }

    /// A request to a language model that is about to go may have to go to another one.
    #[cfg(feature = "llm")]
    fn fall_back(
        &mut self,
        state: State,
        directive: &mut Directive,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> State {
        let (Some(falling_back), Directive::Forward(edits)) = (&mut self.falling_back, directive) else {
            return state;
        };
        falling_back.strip(edits);
        let state = falling_back.leave(state, edits, cache, moment);
        self.note_gone(cache);
        state
    }

    /// It may have gone to another model: neither the price nor the pool of the first counts then.
    #[cfg(feature = "llm")]
    fn note_gone(&mut self, cache: &Cache) {
        let Some(falling_back) = self.falling_back.as_ref().filter(|falling_back| falling_back.has_gone())
        else {
            return;
        };
        if let Some(answering) = &mut self.answering {
            answering.asks_another(falling_back.model(cache.policy()));
        }
        #[cfg(feature = "pools")]
        if self.admitting.as_ref().is_some_and(|admitting| !admitting.is_queued()) {
            self.admitting = None;
        }
    }

    /// What becomes of the head of a response that has just come.
    #[cfg(feature = "llm")]
    fn seen(&mut self, directive: Directive) -> Directive {
        if self.status.is_none() || directive != Directive::Pass {
            return directive;
        }
        let (strip, add) = (Vec::new(), Vec::new());
        Directive::Relay { cache_status: None, vary: false, strip, add, recast: None }
    }

    /// A response that has failed may be held for a call to another model.
    #[cfg(feature = "llm")]
    fn call(&mut self, directive: Directive, cache: &mut Cache, moment: &mut Moment<'_>) -> Directive {
        match (self.status.take(), &mut self.falling_back) {
            (Some(status), Some(falling_back)) => falling_back.head_came(status, directive, cache, moment),
            _ => directive,
        }
    }

    /// What a request to a language model is on its way there, and what its answer from a store has saved.
    #[cfg(feature = "llm")]
    fn ask(&mut self, mut directive: Directive, cache: &mut Cache, moment: &Moment<'_>) -> Directive {
        if let Some(injecting) = &mut self.injecting {
            directive = injecting.pass(directive);
        }
        let Some(answering) = &mut self.answering else { return directive };
        if matches!(directive, Directive::Forward(_)) {
            answering.sent(moment.now);
        }
        match &mut directive {
            Directive::Forward(edits) if !edits.contains(&Answering::EDIT) => edits.push(Answering::EDIT),
            Directive::Respond(reply) => answering.answered(reply, cache),
            _ => {}
        }
        directive
    }

    /// Settles what is reserved once no more of the answer is to come. `unread`: the request has not gone.
    #[cfg(all(feature = "llm", feature = "limits"))]
    fn settle_if_known(&mut self, unread: bool, cache: &mut Cache, moment: &mut Moment<'_>) {
        let answering = self.answering.as_ref();
        if self.owes() && answering.is_none_or(|answering| !answering.is_open()) {
            let nothing = Some(Used::default());
            let used = answering.filter(|_| !unread).map_or(nothing, |answering| answering.used());
            self.settle_tokens(used, cache, moment);
        }
    }

    /// The answer has ended, or none comes: what it has used is known, or else it is what was taken for it.
    #[cfg(all(feature = "llm", feature = "limits"))]
    fn settle_tokens(&mut self, used: Option<Used>, cache: &mut Cache, moment: &mut Moment<'_>) {
        if let (Some(reserved), Some(used)) = (self.reserved.take(), used) {
            cache.settle_tokens(reserved, used.tokens, moment);
        }
        if !IN_BROWSER && !self.budgeted.is_empty() {
            cache.settle_budgets(std::mem::take(&mut self.budgeted), used, moment);
        }
    }

    /// Whether something is reserved for it.
    #[cfg(all(feature = "llm", feature = "limits"))]
    const fn owes(&self) -> bool {
        self.reserved.is_some() || !self.budgeted.is_empty()
    }

    /// Whether it waits for a place at the origin.
    #[cfg(all(feature = "llm", feature = "limits"))]
    fn waits_for_a_place(&self) -> bool {
        #[cfg(feature = "pools")]
        return self.admitting.as_ref().is_some_and(|admitting| admitting.is_queued());
        #[cfg(not(feature = "pools"))]
        false
    }

    /// Asks the limits that count what goes to the origin.
    #[cfg(feature = "limits")]
    fn count(
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
    #[cfg(feature = "limits")]
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
        super::then(refusal)
    }

    /// What becomes of a request that is refused for this reason: it goes to another model, or else it is as it was.
    #[cfg(feature = "limits")]
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
    #[cfg(all(feature = "llm", feature = "limits"))]
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
    #[cfg(feature = "limits")]
    fn tell(&mut self, mut directive: Directive, cache: &Cache) -> Directive {
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

/// Whether limits or budgets count the requests of a rule that go to the origin.
#[cfg(feature = "limits")]
fn is_counted(rule: &Rule, policy: &Policy) -> bool {
    #[cfg(feature = "llm")]
    if !rule.budgeted.is_empty() {
        return true;
    }
    let counts =
        |index: &usize| policy.limits.get(*index).is_some_and(|limit| limit.counts == LimitCounts::Forwarded);
    rule.limited.iter().any(counts)
}

#[cfg(feature = "limits")]
fn named((name, value): (&'static [u8], Vec<u8>)) -> Option<(&'static str, Vec<u8>)> {
    Some((std::str::from_utf8(name).ok()?, value))
}

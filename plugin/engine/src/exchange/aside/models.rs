//! What goes with a request to a language model: its answer that is read, what is changed of it, another model in its place.

use super::Aside;
#[cfg(feature = "llm")]
use super::Kept;
#[cfg(feature = "llm")]
use crate::cache::{Cache, Moment};
use crate::exchange::RequestEdit;
#[cfg(feature = "llm")]
use crate::exchange::answering::Answering;
#[cfg(feature = "llm")]
use crate::exchange::falling_back::FallingBack;
#[cfg(feature = "llm")]
use crate::exchange::gateway_only::GatewayOnly;
#[cfg(feature = "llm")]
use crate::exchange::injecting::Injecting;
#[cfg(feature = "llm")]
use crate::exchange::{Directive, Event, Fetched, State};
use crate::fields::Fields;
#[cfg(feature = "llm")]
use crate::policy::Rule;
#[cfg(feature = "llm")]
use crate::request::Request;
#[cfg(feature = "uploads")]
use crate::uploads::Guard;
#[cfg(feature = "llm")]
use crate::{fields::status_of, llm, llm::Facts, llm::Question};

impl Aside {
    /// The body of a request to a language model has been read. Its answer may be stored if it is a question.
    #[cfg(feature = "llm")]
    pub(in crate::exchange) fn asks(&mut self, question: Option<Question>, facts: Facts, rule: &Rule) {
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
    pub(in crate::exchange) fn may_change(
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
    pub(in crate::exchange) fn wants_head(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.injecting().is_some() || self.awaits_head();
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Whether the head of the response is wanted because another model may be asked then.
    #[inline]
    pub(in crate::exchange) fn awaits_head(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.falling_back().is_some_and(FallingBack::awaits_head);
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Whether the response is held for the answer of another model.
    #[inline]
    pub(in crate::exchange) fn awaits_answer(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.falling_back().is_some_and(FallingBack::awaits_answer);
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Bytes of the request that are kept for another model, and to check it.
    #[inline]
    pub(in crate::exchange) fn kept_bytes(&self) -> usize {
        #[cfg(feature = "uploads")]
        let guarded = self.guard().map_or(0, Guard::kept_bytes);
        #[cfg(not(feature = "uploads"))]
        let guarded = 0;
        #[cfg(feature = "llm")]
        return guarded + self.falling_back().map_or(0, FallingBack::kept_bytes);
        #[cfg(not(feature = "llm"))]
        guarded
    }

    /// What is done to the request if nothing is known of its body.
    pub(in crate::exchange) fn lets_go(&self) -> Vec<RequestEdit> {
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
    pub(in crate::exchange) fn fetched(
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
    pub(in crate::exchange) fn head_for_client<'h>(&'h self, head: Fields<'h>) -> Fields<'h> {
        #[cfg(feature = "llm")]
        if let Some(injecting) = self.injecting() {
            return injecting.head(head);
        }
        head
    }

    /// The part of the response's body that has just come, as the client gets it.
    #[inline]
    pub(in crate::exchange) fn part_for_client<'p>(&'p self, chunk: &'p [u8]) -> &'p [u8] {
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
    pub(in crate::exchange) fn is_answered(
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
    pub(in crate::exchange) fn is_spared<'a>(
        &self,
        parts: impl Iterator<Item = &'a [u8]>,
        cache: &mut Cache,
    ) {
        if let Some(answering) = self.answering() {
            answering.is_spared(parts, cache);
        }
    }

    /// Whether more of the answer is to come that is counted, whatever else becomes of it.
    #[inline]
    pub(in crate::exchange) fn is_counting(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.answering().is_some_and(Answering::is_open);
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Whether the parts of the answer's body are counted.
    #[inline]
    pub(in crate::exchange) fn reads_body(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.answering().is_some_and(Answering::reads_body);
        #[cfg(not(feature = "llm"))]
        false
    }

    #[cfg(feature = "llm")]
    pub(super) fn answering(&self) -> Option<&Answering> {
        self.kept.as_ref()?.answering.as_deref()
    }
}

#[cfg(feature = "llm")]
impl Kept {
    /// Something has happened to the stream of a request to a language model.
    #[cfg(feature = "llm")]
    pub(super) fn hear_of_model(&mut self, event: &Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
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
    pub(super) fn fetched(
        &mut self,
        fetched: Fetched<'_>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Directive {
        self.has_fetched = true;
        let Some(falling_back) = &mut self.falling_back else { return Directive::Pass };
        let directive = match falling_back.fetched(fetched, cache) {
            Ok((reply, head, body)) => {
                if let Some(answering) = &mut self.answering {
                    answering.asks_another(falling_back.model(cache.policy()));
                    answering.is_answered(head, body, cache, moment);
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
    pub(super) fn fall_back(
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
    pub(super) fn note_gone(&mut self, cache: &Cache) {
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
    pub(super) fn seen(&mut self, directive: Directive) -> Directive {
        if self.status.is_none() || directive != Directive::Pass {
            return directive;
        }
        let (strip, add) = (Vec::new(), Vec::new());
        Directive::Relay { cache_status: None, vary: false, strip, add, recast: None }
    }

    /// A response that has failed may be held for a call to another model.
    #[cfg(feature = "llm")]
    pub(super) fn call(
        &mut self,
        directive: Directive,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Directive {
        match (self.status.take(), &mut self.falling_back) {
            (Some(status), Some(falling_back)) => falling_back.head_came(status, directive, cache, moment),
            _ => directive,
        }
    }

    /// What a request to a language model is on its way there, and what its answer from a store has saved.
    #[cfg(feature = "llm")]
    pub(super) fn ask(
        &mut self,
        mut directive: Directive,
        cache: &mut Cache,
        moment: &Moment<'_>,
    ) -> Directive {
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
}

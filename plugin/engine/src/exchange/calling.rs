//! A request for embeddings of which some inputs are stored: the others are asked for by a call, and the answer is made of both.
//!
//! Whatever goes wrong with the call, the request goes to the origin as its client has sent it.

use std::rc::Rc;

use super::aside::Aside;
use super::joining::Joining;
use super::lookup::LookupRequest;
use super::pieces::{Pieces, without_digests};
use super::refetching::reply;
use super::refreshing::own_request;
use super::{Call, Directive, Fetched, Plan, RequestEdit, State};
use crate::cache::{Cache, FillEnd, Moment};
use crate::cache_status::{Detail, Forward, Outcome};
use crate::fields::{FieldBlock, Fields, content_length, status_of};
use crate::llm::{self, Inputs};
use crate::policy::Rule;
use crate::request::Request;
use crate::storability::answers::is_json;

/// A client that waits for it.
pub(super) struct Calling {
    plan: Box<Plan>,
    pieces: Pieces,
    /// What is asked for, and at which places it is.
    asked: Inputs,
    places: Vec<usize>,
    /// How the request goes on if the call comes to nothing.
    edits: Vec<RequestEdit>,
}

/// How a request that is to be forwarded is asked for, if there is another way.
pub(super) fn way_of(
    keyed: &LookupRequest<'_>,
    forward: Forward,
    pieces: Option<Pieces>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Option<Box<Call>> {
    let (inputs, settings) = (keyed.inputs?, llm::embeddings_of(keyed.rule)?);
    // It may be the very call that this would make.
    let possible = settings.cluster.is_some()
        && !cache.calls_rest(keyed.rule_index, moment.now)
        && llm::may_change(keyed.request.fields)
        && !cache.is_nested(keyed.request, moment);
    match pieces {
        _ if !possible => None,
        Some(pieces) if forward == Forward::Partial => Some(Box::new(Call::Missing(pieces))),
        None if settings.merge.is_some() && !inputs.are_several() => {
            let absent = matches!(forward, Forward::UriMiss | Forward::Stale);
            absent.then(|| Box::new(Call::Together))
        }
        _ => None,
    }
}

/// What becomes of a request that is to go to the origin, all things considered, if it is asked for in another way.
pub(super) fn instead(
    state: State,
    directive: Directive,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let (mut plan, edits) = match (state, directive) {
        (State::Forwarding(plan), Directive::Forward(edits)) if plan.inputs.is_some() => (plan, edits),
        other => return other,
    };
    // What goes to the origin is asked for by nobody else: its body is not kept.
    if plan.call.is_none() {
        plan.inputs = plan.inputs.take().map(Inputs::let_go_of_body);
    }
    match plan.call.take().map(|call| *call) {
        Some(Call::Missing(pieces)) => Calling::begin(plan, pieces, edits, cache),
        Some(Call::Together) => Joining::begin(plan, edits, cache, moment),
        None => (State::Forwarding(plan), Directive::Forward(edits)),
    }
}

impl Calling {
    fn begin(
        plan: Box<Plan>,
        pieces: Pieces,
        edits: Vec<RequestEdit>,
        cache: &mut Cache,
    ) -> (State, Directive) {
        let policy = Rc::clone(cache.policy());
        let settings = llm::embeddings_of(policy.rule(plan.rule));
        let made = || {
            let (inputs, settings) = (plan.inputs.as_ref()?, settings?);
            let places = pieces.missing(inputs);
            let (request, body) = (head_of(&plan, &edits)?, inputs.asking_for(&places)?);
            Some((inputs.some(&places), places, settings, request, body))
        };
        let Some((asked, places, settings, request, body)) = made() else {
            return (State::Forwarding(plan), Directive::Forward(edits));
        };
        let cluster = settings.cluster.as_deref().unwrap_or_default().into();
        cache.stats.count("llm_calls", "partial");
        cache.stats.add("llm_inputs", "asked", places.len() as u64);
        cache.stats.add("llm_inputs", "stored", pieces.count() as u64);
        let calling = Self { plan, pieces, asked, places, edits };
        let fetch = Directive::Fetch { cluster, request, body, timeout: settings.timeout };
        (State::Calling(Box::new(calling)), fetch)
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.plan.kept_bytes().saturating_add(self.asked.kept_bytes())
    }

    /// The call has ended.
    pub(super) fn on_answer(
        mut self,
        fetched: Fetched<'_>,
        aside: &mut Aside,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let answer = match judged(fetched) {
            Ok(answer) => answer,
            Err(word) => return self.give_up(word, cache, moment),
        };
        let whole = self
            .asked
            .split(answer.body)
            .ok()
            .and_then(|fresh| self.pieces.with(self.plan.inputs.as_ref()?, &self.places, &fresh));
        let Some(whole) = whole else { return self.give_up("unusable", cache, moment) };
        cache.call_has_ended(self.plan.rule, true, moment.now);
        self.plan.inputs = Some(Rc::new(self.asked));
        aside.is_spared(self.pieces.stored().map(|stored| stored.body.as_slice()), cache);
        let age = self.pieces.age(moment.now).to_string();
        let (state, mut directive) =
            answered(self.plan, answer, whole, Detail::ByInput, aside, cache, moment);
        if let Directive::Respond(reply) = &mut directive {
            reply.add(b"age", age.as_bytes());
        }
        (state, directive)
    }

    fn give_up(self, word: &'static str, cache: &mut Cache, moment: &Moment<'_>) -> (State, Directive) {
        let Self { plan, edits, .. } = self;
        fall_back(plan, edits, word, cache, moment)
    }

    /// The client is gone.
    pub(super) fn abandon(&self, cache: &mut Cache, moment: &mut Moment<'_>) {
        self.plan.abandon(FillEnd::Abandoned, cache, moment);
    }
}

/// The request goes to the origin, after a call that came to nothing.
pub(super) fn fall_back(
    mut plan: Box<Plan>,
    edits: Vec<RequestEdit>,
    word: &'static str,
    cache: &mut Cache,
    moment: &Moment<'_>,
) -> (State, Directive) {
    cache.stats.count("llm_calls", word);
    // What the provider refuses says nothing about the way there.
    if word != "refused" {
        cache.call_has_ended(plan.rule, false, moment.now);
    }
    // Its answer is not older than its leaving.
    plan.requested = moment.now;
    (State::Forwarding(plan), Directive::Forward(edits))
}

/// An answer that can be read.
#[derive(Clone, Copy)]
pub(super) struct Usable<'a> {
    pub(super) head: Fields<'a>,
    pub(super) body: &'a [u8],
}

/// What a call has brought, or why that is of no use.
pub(super) fn judged(fetched: Fetched<'_>) -> Result<Usable<'_>, &'static str> {
    let Fetched::Answer { head, body } = fetched else { return Err("failed") };
    match status_of(head) {
        200 => {}
        400..500 => return Err("refused"),
        _ => return Err("failed"),
    }
    let whole = content_length(head).is_none_or(|told| told == body.len());
    if whole && is_json(head) { Ok(Usable { head, body }) } else { Err("unusable") }
}

/// What was asked for has come: it is stored, counted, and the client gets `content`.
pub(super) fn answered(
    mut plan: Box<Plan>,
    answer: Usable<'_>,
    content: Vec<u8>,
    detail: Detail,
    aside: &mut Aside,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let policy = Rc::clone(cache.policy());
    let rule: &Rule = policy.rule(plan.rule);
    let Usable { head, body } = answer;
    let mut block = Vec::new();
    without_digests(head).write_with(&[], &mut block);
    let head = Fields::parse(&block).unwrap_or(head);
    aside.is_answered(head, body, cache, moment);
    plan.tell_of_origin(200, rule, cache, moment);
    let outcome = Outcome {
        forward: Some(plan.forward),
        forward_status: Some(200),
        detail: Some(detail),
        ..Outcome::under(rule)
    };
    let (state, directive) = plan.fill(200, head, false, rule, outcome, cache, moment);
    if let State::Storing(storing) = aside.judge(state, cache, moment) {
        storing.on_chunk(body, true, cache, moment);
    }
    (State::Finished, Directive::Respond(reply(200, head, content, directive)))
}

/// The head of a call for inputs of a request, with what is changed in that on its way to the origin.
pub(super) fn head_of(plan: &Plan, edits: &[RequestEdit]) -> Option<Vec<u8>> {
    // What asks for another model goes as it is.
    if edits.iter().any(|edit| matches!(edit, RequestEdit::Splice(..) | RequestEdit::Field(_, Some(_)))) {
        return None;
    }
    let request = Request::read(Fields::parse(&plan.head)?, true);
    let own = own_request(&request, b"POST", &plan.key);
    let edited = |name: &[u8]| {
        edits.iter().any(|edit| match edit {
            RequestEdit::Set(known, _) | RequestEdit::Remove(known) => known.as_bytes() == name,
            RequestEdit::Field(known, _) => **known == *name,
            RequestEdit::Splice(..) => false,
        })
    };
    // It is another request than the client's, so that the same answer would be wrong for both.
    let goes = |name: &[u8]| name.first() != Some(&b':') && (edited(name) || name == b"idempotency-key");
    let mut block: FieldBlock = own.fields().iter().filter(|(name, _)| !goes(name)).collect();
    for edit in edits {
        if let RequestEdit::Set(name, value) = edit
            && !name.starts_with(':')
        {
            block.push(name.as_bytes(), value);
        }
    }
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    Some(head)
}

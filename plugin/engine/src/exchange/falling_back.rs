//! Another model is asked in the place of one that cannot be asked, or has failed.
//!
//! What is known before the request goes is a matter of its route: the request gets a field by which Envoy chooses another. What
//! has failed already is asked again by a call of our own, while the head of the failure is held; only requests for JSON are,
//! whose answers are whole at once. Nothing that comes of it is stored.

use std::rc::Rc;

use selvage_llm::injection::{Splice, ask_model, asks_for_stream};

use super::forwarding::result_of;
use super::{ContentTypeFix, Directive, Event, Fetched, Plan, RequestEdit, Role, State};
use crate::breaker::CallResult;
use crate::cache::{Admitted, Cache, Moment};
use crate::cache_status::{Detail, Forward, Outcome};
use crate::fields::{FieldBlock, Fields, content_length, status_of};
use crate::policy::{Fallback, FallbackOn, FieldName, Policy, Rule};
use crate::reply::Reply;
use crate::request::Request;
use crate::storability::is_kept_out;
use crate::store::response::Body;
use crate::time::Timestamp;

/// What is kept of a request that may be answered by another model.
pub(super) struct FallingBack {
    rule: usize,
    /// The field, if its client has set it by itself.
    strips: Option<FieldName>,
    /// Its body has been read.
    ready: Option<Ready>,
    /// What the origin's breaker is to hear of.
    admitted: Option<Admitted>,
    requested: Timestamp,
    /// Why the cache did not answer.
    forward: Forward,
    stage: Stage,
}

struct Ready {
    /// How it is made to ask the other model.
    splice: Option<Splice>,
    /// Its head and body, if it may be asked again.
    whole: Option<(Vec<u8>, Vec<u8>)>,
}

enum Stage {
    /// It has not gone.
    Begun,
    /// It has gone to the model that it asks, whose head has not come.
    Asked,
    /// It has gone to the other model.
    Gone,
    /// The head has come, and is held for the answer to a call; this is what it would be passed on with.
    Calling(Box<Directive>),
    /// Nothing more is to be done.
    Over,
}

impl FallingBack {
    /// For each request under a rule with a fallback that may go to its origin.
    pub(super) fn of(request: &Request<'_>, index: usize, rule: &Rule) -> Option<Box<Self>> {
        let header = &rule.fallback()?.header;
        let strips = request.fields.get(header).is_some().then(|| header.clone());
        let (ready, admitted, stage) = (None, None, Stage::Begun);
        let requested = Timestamp::default();
        Some(Box::new(Self {
            rule: index,
            strips,
            ready,
            admitted,
            requested,
            forward: Forward::Bypass,
            stage,
        }))
    }

    /// Its body has been read. It is kept if it is for JSON and there is room.
    pub(super) fn knows(&mut self, body: Vec<u8>, head: &[u8], cache: &Cache) {
        let policy = Rc::clone(cache.policy());
        let Some(fallback) = policy.rule(self.rule).fallback() else { return };
        let splice = match &fallback.model {
            Some(model) => match ask_model(&body, model) {
                Ok(Some(splice)) => Some(splice),
                _ => return,
            },
            None => None,
        };
        let fits = fallback.cluster.is_some() && asks_for_stream(&body) == Ok(false);
        let whole = (fits && cache.has_room_to_wait(body.len().saturating_add(head.len())))
            .then(|| (head.to_vec(), body));
        self.ready = Some(Ready { splice, whole });
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        let whole = self.ready.as_ref().and_then(|ready| ready.whole.as_ref());
        whole.map_or(0, |(head, body)| head.capacity().saturating_add(body.capacity()))
    }

    /// The model that is asked instead.
    pub(super) fn model(&self, policy: &Policy) -> Option<Box<str>> {
        policy.rule(self.rule).fallback()?.model.clone()
    }

    /// Whether the head of the response is wanted.
    pub(super) const fn awaits_head(&self) -> bool {
        matches!(self.stage, Stage::Asked)
    }

    /// Whether the head of the response is held for the answer to a call.
    pub(super) const fn awaits_answer(&self) -> bool {
        matches!(self.stage, Stage::Calling(_))
    }

    /// Whether its origin is another one than that of its rule.
    pub(super) const fn has_gone(&self) -> bool {
        matches!(self.stage, Stage::Gone)
    }

    /// Takes the field off that its client has set.
    pub(super) fn strip(&self, edits: &mut Vec<RequestEdit>) {
        if let Some(header) = &self.strips {
            let edit = RequestEdit::Field(header.clone(), None);
            if !matches!(self.stage, Stage::Gone) && !edits.contains(&edit) {
                edits.push(edit);
            }
        }
    }

    /// It is about to go: to the other model if the origin of its rule is left alone.
    pub(super) fn leave(
        &mut self,
        state: State,
        edits: &mut Vec<RequestEdit>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> State {
        // The cache has found that the origin is left alone.
        let is_sent_away = matches!(&state, State::Forwarding(plan) if plan.detail == Some(Detail::Fallback));
        if !matches!(self.stage, Stage::Begun) || self.ready.is_none() && !is_sent_away {
            return state;
        }
        self.requested = moment.now;
        self.stage = Stage::Asked;
        let is_refused = match &state {
            _ if is_sent_away => true,
            State::Forwarding(plan) => {
                self.forward = plan.forward;
                plan.admitted.is_none() && self.is_refused(cache, moment)
            }
            _ => self.is_refused(cache, moment),
        };
        if is_refused { self.go(FallbackOn::Open, state, edits, cache, moment) } else { state }
    }

    /// Asks the breaker for a request that has come past the cache.
    fn is_refused(&mut self, cache: &mut Cache, moment: &mut Moment<'_>) -> bool {
        let policy = Rc::clone(cache.policy());
        let rule = policy.rule(self.rule);
        if rule.fallback().is_none_or(|fallback| !fallback.on.contains(&FallbackOn::Open)) {
            return false;
        }
        match cache.admit_origin(self.rule, rule, moment) {
            Ok(admitted) => {
                self.admitted = admitted;
                false
            }
            Err(_) => true,
        }
    }

    /// Whether another model is asked for this reason, before the request goes.
    pub(super) fn may_go(&self, why: FallbackOn, policy: &Policy) -> bool {
        let knows = self.ready.is_some() && matches!(self.stage, Stage::Begun | Stage::Asked);
        (knows || self.has_gone())
            && policy.rule(self.rule).fallback().is_some_and(|fallback| fallback.on.contains(&why))
    }

    /// It goes to the other model, for this reason.
    pub(super) fn go(
        &mut self,
        why: FallbackOn,
        state: State,
        edits: &mut Vec<RequestEdit>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> State {
        if self.has_gone() {
            return state;
        }
        if let Some(admitted) = self.admitted.take() {
            cache.record_origin(&admitted, CallResult::Dropped, moment);
        }
        let policy = Rc::clone(cache.policy());
        let Some(fallback) = policy.rule(self.rule).fallback() else { return state };
        cache.stats.count("llm_fallbacks", why.counted_as());
        self.stage = Stage::Gone;
        edits.push(RequestEdit::Field(fallback.header.clone(), Some(fallback.value.as_bytes().to_vec())));
        if let Some(Splice { range, with }) = self.ready.take().and_then(|ready| ready.splice) {
            edits.push(RequestEdit::Splice(range, with));
        }
        let forward = match state {
            State::Forwarding(plan) => {
                plan.abandon(crate::cache::FillEnd::Abandoned, cache, moment);
                plan.forward
            }
            _ => self.forward,
        };
        // What another model says is no answer to what was asked: it is not stored.
        let (detail, role) = (Some(Detail::Fallback), Role::Bystander);
        let plan = Plan { forward, detail, ..Plan::unkeyed(self.rule, role, moment.now) };
        State::Forwarding(Box::new(plan))
    }

    /// Whether another model is called for a response that has come.
    pub(super) fn calls_for(&self, event: &Event<'_>, policy: &Policy) -> bool {
        match event {
            Event::Response { head, .. } => self.call_after(status_of(*head), policy).is_some(),
            _ => false,
        }
    }

    fn call_after<'p>(&self, status: u16, policy: &'p Policy) -> Option<(&'p Fallback, FallbackOn)> {
        let rule = policy.rule(self.rule);
        let fallback = rule.fallback().filter(|_| !rule.shadow)?;
        let asks = matches!(self.stage, Stage::Asked) && self.ready.as_ref()?.whole.is_some();
        Some((fallback, fallback.after(status).filter(|_| asks)?))
    }

    /// Something has happened to the stream.
    pub(super) fn hear(&mut self, event: &Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        let result = match event {
            Event::Response { head, .. } => {
                let requested = self.requested;
                self.admitted.is_some().then(|| result_of(status_of(*head), requested, moment))
            }
            Event::Ended => Some(CallResult::Dropped),
            _ => return,
        };
        if let (Some(admitted), Some(result)) = (self.admitted.take_if(|_| result.is_some()), result) {
            cache.record_origin(&admitted, result, moment);
        }
        if matches!(event, Event::Ended) {
            self.stage = Stage::Over;
        }
    }

    /// What becomes of a response with this status that would be passed on so.
    pub(super) fn head_came(
        &mut self,
        status: u16,
        directive: Directive,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Directive {
        let policy = Rc::clone(cache.policy());
        let called = self.call_after(status, &policy);
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let whole = self.ready.take().and_then(|ready| Some((ready.splice, ready.whole?)));
        let (Some((fallback, why)), Some((splice, (head, body))), Stage::Asked) = (called, whole, stage)
        else {
            return directive;
        };
        let (Directive::Relay { .. }, Some(cluster)) = (&directive, &fallback.cluster) else {
            return directive;
        };
        let Some(request) = request_of(&head, fallback, cache, moment) else { return directive };
        let body = splice.map_or_else(|| body.clone(), |splice| splice.apply(&body));
        cache.stats.count("llm_fallbacks", why.counted_as());
        self.stage = Stage::Calling(Box::new(directive));
        Directive::Fetch { cluster: Rc::from(&**cluster), request, body, timeout: fallback.timeout }
    }

    /// The answer to the call, if it is one that the client gets, or else what its response is passed on with.
    pub(super) fn fetched<'a>(
        &mut self,
        fetched: Fetched<'a>,
        cache: &mut Cache,
    ) -> Result<(Reply, Fields<'a>, &'a [u8]), Directive> {
        let held = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Calling(held) => *held,
            _ => Directive::Pass,
        };
        let Fetched::Answer { head, body } = fetched else { return Err(self.failed(held, cache)) };
        let status = status_of(head);
        let whole = content_length(head).is_none_or(|told| told == body.len());
        if !whole || !(200..600).contains(&status) || status == 429 || status >= 500 {
            return Err(self.failed(held, cache));
        }
        cache.stats.count("detail", Detail::Fallback.as_str());
        Ok((self.reply(status, head, body, held, cache), head, body))
    }

    fn failed(&self, held: Directive, cache: &mut Cache) -> Directive {
        cache.stats.count("llm_fallbacks", "failed");
        held
    }

    fn reply(&self, status: u16, head: Fields<'_>, body: &[u8], held: Directive, cache: &Cache) -> Reply {
        let policy = cache.policy();
        let goes = |name: &[u8]| name == b"content-length" || is_kept_out(name, head);
        let mut block: FieldBlock = head.iter().filter(|(name, _)| !goes(name)).collect();
        let outcome = Outcome {
            forward: Some(self.forward),
            forward_status: Some(status),
            detail: Some(Detail::Fallback),
            ..Outcome::under(policy.rule(self.rule))
        };
        if let Some(line) = super::forwarding::said(&outcome, policy) {
            block.push(b"cache-status", &line);
        }
        if let Directive::Relay { add, .. } = held {
            add.iter().for_each(|(name, value)| block.push(name.as_bytes(), value));
        }
        let typeless = block.fields().get(b"content-type").is_none() && !body.is_empty();
        let mut fields = Vec::new();
        block.write_with(&[], &mut fields);
        let mend = typeless.then_some(ContentTypeFix::RemoveContentType);
        Reply { status, fields, body: Body::new(body.to_vec()), range: 0..body.len(), mend }
    }
}

/// The head of the call: the client's, without what belongs to its connection or to the length of its body.
fn request_of(
    head: &[u8],
    fallback: &Fallback,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Option<Vec<u8>> {
    let fields = Fields::parse(head)?;
    let request = Request::read(fields, true);
    let looped = cache.looped(&request, moment);
    let goes = |name: &[u8]| {
        let is_ours = name == &*fallback.header || name == b"cdn-loop";
        let is_pseudo = name.starts_with(b":");
        is_ours
            || name.starts_with(b"x-envoy-")
            || OF_THE_REQUEST.contains(&name)
            || !is_pseudo && is_kept_out(name, fields) && name != b"authorization"
    };
    let kept: FieldBlock = fields.iter().filter(|(name, _)| !goes(name)).collect();
    let mut block = Vec::new();
    kept.write_with(&[(b"cdn-loop", &looped), (&fallback.header, fallback.value.as_bytes())], &mut block);
    Some(block)
}

/// Fields that say how this one request is sent. An answer is to be read, so nobody is to compress it.
const OF_THE_REQUEST: [&[u8]; 6] =
    [b"content-length", b"transfer-encoding", b"te", b"expect", b"accept-encoding", b"host"];

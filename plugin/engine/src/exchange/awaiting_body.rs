//! A request that its body keys: held until the body has come, or has grown past the rule's bound.

use std::rc::Rc;

use super::Inputs;
use super::aside::Aside;
use super::lookup::Fetch;
use super::{Directive, Plan, Role, State, entering, lookup};
use crate::admission;
use crate::cache::{Cache, Moment};
use crate::cache_status::{Detail, Forward};
use crate::fields::Fields;
use crate::key::BodyPart;
use crate::key::body::BodyKey;
#[cfg(feature = "llm")]
use crate::llm;
use crate::policy::Rule;
use crate::request::Request;
use crate::time::Timestamp;

/// What has come so far.
pub(super) struct AwaitingBody {
    head: Vec<u8>,
    rule: usize,
    key: Reading,
    /// The body, if it may be changed.
    body: Option<Vec<u8>>,
    requested: Timestamp,
}

/// What is made of a body.
pub(super) enum Reading {
    /// A part of the key.
    Key(BodyKey),
    /// What it asks a language model.
    #[cfg(feature = "llm")]
    Question(Box<llm::Reading>),
    /// What it may cost. The cache stays out of it, for this reason.
    #[cfg(feature = "llm")]
    Facts(Box<llm::Reading>, (Forward, Option<Detail>)),
}

impl Reading {
    /// For a request whose rule has the body in the key.
    pub(super) fn of(request: &Request<'_>, rule: &Rule) -> Option<Self> {
        #[cfg(feature = "llm")]
        if let Some(question) = llm::Reading::begin(request, rule) {
            return Some(Self::Question(Box::new(question)));
        }
        let bounds = rule.key.body.as_ref()?;
        Some(Self::Key(BodyKey::of(bounds)))
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), Detail> {
        match self {
            Self::Key(key) => key.push(chunk).map_err(|_| Detail::RequestBodyTooLarge),
            #[cfg(feature = "llm")]
            Self::Question(question) | Self::Facts(question, _) => question.push(chunk),
        }
    }

    /// Why the cache stays out of it, if it does so whatever is read.
    const fn reason(&self) -> Option<(Forward, Option<Detail>)> {
        match self {
            Self::Key(_) => None,
            #[cfg(feature = "llm")]
            Self::Question(_) => None,
            #[cfg(feature = "llm")]
            Self::Facts(_, reason) => Some(*reason),
        }
    }

    /// What the key has of it, whether others may wait for the response, and what its inputs are.
    fn finish(
        self,
        request: &Request<'_>,
        (rule, scope): (&Rule, u64),
        aside: &mut Aside,
    ) -> Result<(BodyPart, Fetch, Option<Rc<Inputs>>), Detail> {
        let undecided = Fetch::Undecided { waited: 0, since: None };
        match self {
            Self::Key(key) => Ok((key.finish(), undecided, None)),
            #[cfg(feature = "llm")]
            Self::Question(question) => {
                let (facts, asked) = question.finish(request, rule);
                let fetch = match &asked {
                    Ok(asked) if asked.question.is_shared => undecided,
                    _ => Fetch::Alone { waited: None },
                };
                aside.asks(asked.as_ref().ok().map(|asked| asked.question.clone()), facts, rule);
                let llm::Asked { part, apart, .. } = asked?;
                let inputs = apart.map(|apart| Rc::new(apart.keyed(request, rule, scope)));
                Ok((part, fetch, inputs))
            }
            #[cfg(feature = "llm")]
            Self::Facts(reading, _) => {
                aside.asks(None, reading.finish(request, rule).0, rule);
                Err(Detail::OtherApi)
            }
        }
    }
}

impl AwaitingBody {
    pub(super) const fn new(head: Vec<u8>, rule: usize, key: Reading, requested: Timestamp) -> Self {
        Self { head, rule, key, body: None, requested }
    }

    /// Its body may be changed.
    pub(super) fn may_change(mut self, may_change: bool) -> Self {
        self.body = may_change.then(Vec::new);
        self
    }

    /// Of a request of which the cache stays out, for this reason, if its body may be changed.
    #[cfg(feature = "llm")]
    pub(super) fn past_cache(
        request: &Request<'_>,
        head: &[u8],
        (index, rule): (usize, &Rule),
        reason: (Forward, Option<Detail>),
        cache: &Cache,
        requested: Timestamp,
    ) -> Option<Self> {
        if !llm::may_be_changed(request, rule) || !cache.has_room_to_wait(head.len()) {
            return None;
        }
        let reading = Reading::Facts(Box::new(llm::Reading::of_facts(request, rule)?), reason);
        Some(Self::new(head.to_vec(), index, reading, requested).may_change(true))
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.head.capacity()
            + self.body.as_ref().map_or(0, Vec::capacity)
            + match &self.key {
                Reading::Key(key) => key.kept_bytes(),
                #[cfg(feature = "llm")]
                Reading::Question(question) | Reading::Facts(question, _) => question.kept_bytes(),
            }
    }

    pub(super) fn on_chunk(
        mut self: Box<Self>,
        chunk: &[u8],
        end_of_stream: bool,
        aside: &mut Aside,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        // What it has kept so far is counted.
        let counted = self.kept_bytes();
        if let Err(detail) = self.key.push(chunk) {
            return self.pass(detail, cache, moment);
        }
        if let Some(body) = &mut self.body {
            body.extend_from_slice(chunk);
        }
        if !cache.has_room_to_wait(self.kept_bytes().saturating_sub(counted)) {
            return self.pass(Detail::WaitingLimit, cache, moment);
        }
        if !end_of_stream {
            return (State::AwaitingBody(self), Directive::AwaitBody);
        }
        let Self { head, rule, key, body: sent, requested } = *self;
        let policy = Rc::clone(cache.policy());
        let Some(fields) = Fields::parse(&head) else { return (State::Relaying, Directive::Pass) };
        let request = admission::marked(Request::read(fields, true), policy.rule(rule));
        #[cfg(feature = "llm")]
        if let Some(sent) = sent {
            aside.may_change(sent, &request, policy.rule(rule), &head, cache);
        }
        let reason = key.reason();
        let terms = (policy.rule(rule), policy.scope(rule));
        let (body, fetch, inputs) = match (key.finish(&request, terms, aside), reason) {
            (Ok(read), _) => read,
            (Err(detail), None) => return pass(rule, detail, requested),
            (Err(_), Some(reason)) => {
                let passed = entering::past_cache(&request, (rule, policy.rule(rule)), reason, cache, moment);
                return lookup::with_head(passed, head);
            }
        };
        let body = (Some(&body), inputs.as_ref());
        let keyed = entering::keyed(&request, (rule, policy.rule(rule)), body, fetch, cache, moment);
        lookup::with_head(keyed, head)
    }
}

impl AwaitingBody {
    /// The request goes on without the cache.
    fn pass(self, detail: Detail, cache: &mut Cache, moment: &mut Moment<'_>) -> (State, Directive) {
        let policy = Rc::clone(cache.policy());
        let (Some(reason), Some(fields)) = (self.key.reason(), Fields::parse(&self.head)) else {
            return pass(self.rule, detail, self.requested);
        };
        let rule = policy.rule(self.rule);
        let request = admission::marked(Request::read(fields, true), rule);
        let passed = entering::past_cache(&request, (self.rule, rule), reason, cache, moment);
        lookup::with_head(passed, self.head)
    }
}

/// The request goes on without the cache.
fn pass(rule: usize, detail: Detail, requested: Timestamp) -> (State, Directive) {
    let (forward, detail) = (Forward::Bypass, Some(detail));
    let plan = Plan { forward, detail, ..Plan::unkeyed(rule, Role::Bystander, requested) };
    (State::Forwarding(Box::new(plan)), Directive::Forward(Vec::new()))
}

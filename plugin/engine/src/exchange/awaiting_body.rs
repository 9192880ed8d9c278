//! A request that its body keys: held until the body has come, or has grown past the rule's bound.

use std::rc::Rc;

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
    requested: Timestamp,
}

/// What is made of a body.
pub(super) enum Reading {
    /// A part of the key.
    Key(BodyKey),
    /// What it asks a language model.
    #[cfg(feature = "llm")]
    Question(Box<llm::Reading>),
}

impl Reading {
    /// For a request whose rule has the body in the key.
    pub(super) fn of(request: &Request<'_>, rule: &Rule) -> Option<Self> {
        #[cfg(feature = "llm")]
        if let Some(question) = llm::Reading::begin(request, rule) {
            return Some(Self::Question(Box::new(question)));
        }
        let bounds = rule.key.body.as_ref()?;
        Some(Self::Key(BodyKey::new(bounds.inline_bytes, bounds.max_bytes)))
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), Detail> {
        match self {
            Self::Key(key) => key.push(chunk).map_err(|_| Detail::RequestBodyTooLarge),
            #[cfg(feature = "llm")]
            Self::Question(question) => question.push(chunk),
        }
    }

    /// What the key has of it, and whether others may wait for the response.
    fn finish(
        self,
        request: &Request<'_>,
        rule: &Rule,
        aside: &mut Aside,
    ) -> Result<(BodyPart, Fetch), Detail> {
        let undecided = Fetch::Undecided { waited: 0, since: None };
        match self {
            Self::Key(key) => Ok((key.finish(), undecided)),
            #[cfg(feature = "llm")]
            Self::Question(question) => {
                let (facts, asked) = question.finish(request, rule);
                let fetch = match &asked {
                    Ok((question, _)) if question.is_shared => undecided,
                    _ => Fetch::Alone { waited: None },
                };
                let (question, part) =
                    asked.map_or_else(|detail| (None, Err(detail)), |(asked, part)| (Some(asked), Ok(part)));
                aside.asks(question, facts, rule);
                Ok((part?, fetch))
            }
        }
    }
}

impl AwaitingBody {
    pub(super) const fn new(head: Vec<u8>, rule: usize, key: Reading, requested: Timestamp) -> Self {
        Self { head, rule, key, requested }
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.head.capacity()
            + match &self.key {
                Reading::Key(key) => key.kept_bytes(),
                #[cfg(feature = "llm")]
                Reading::Question(question) => question.kept_bytes(),
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
            return pass(self.rule, detail, self.requested);
        }
        if !cache.has_room_to_wait(self.kept_bytes().saturating_sub(counted)) {
            return pass(self.rule, Detail::WaitingLimit, self.requested);
        }
        if !end_of_stream {
            return (State::AwaitingBody(self), Directive::AwaitBody);
        }
        let Self { head, rule, key, requested } = *self;
        let policy = Rc::clone(cache.policy());
        let Some(fields) = Fields::parse(&head) else { return (State::Relaying, Directive::Pass) };
        let request = admission::marked(Request::read(fields, true), policy.rule(rule));
        let (body, fetch) = match key.finish(&request, policy.rule(rule), aside) {
            Ok(read) => read,
            Err(detail) => return pass(rule, detail, requested),
        };
        let keyed = entering::keyed(&request, (rule, policy.rule(rule)), Some(&body), fetch, cache, moment);
        lookup::with_head(keyed, head)
    }
}

/// The request goes on without the cache.
fn pass(rule: usize, detail: Detail, requested: Timestamp) -> (State, Directive) {
    let (forward, detail) = (Forward::Bypass, Some(detail));
    let plan = Plan { forward, detail, ..Plan::unkeyed(rule, Role::Bystander, requested) };
    (State::Forwarding(Box::new(plan)), Directive::Forward(Vec::new()))
}

//! A request that its body keys: held until the body has come, or has grown past the rule's bound.

use std::rc::Rc;

use super::{Directive, Plan, Role, State, entering, lookup};
use crate::admission;
use crate::cache::{Cache, Moment};
use crate::cache_status::{Detail, Forward};
use crate::fields::Fields;
use crate::key::body::BodyKey;
use crate::policy;
use crate::request::Request;
use crate::time::Timestamp;

/// What has come so far.
pub(super) struct AwaitingBody {
    head: Vec<u8>,
    rule: usize,
    key: BodyKey,
    requested: Timestamp,
}

impl AwaitingBody {
    pub(super) fn new(head: Vec<u8>, rule: usize, bounds: &policy::BodyKey, requested: Timestamp) -> Self {
        Self { head, rule, key: BodyKey::new(bounds.inline_bytes, bounds.max_bytes), requested }
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.head.capacity() + self.key.kept_bytes()
    }

    pub(super) fn on_chunk(
        mut self: Box<Self>,
        chunk: &[u8],
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        if self.key.push(chunk).is_err() {
            let detail = Some(Detail::RequestBodyTooLarge);
            let plan = Plan {
                forward: Forward::Bypass,
                detail,
                ..Plan::unkeyed(self.rule, Role::Bystander, self.requested)
            };
            return (State::Forwarding(Box::new(plan)), Directive::Forward(Vec::new()));
        }
        if !end_of_stream {
            return (State::AwaitingBody(self), Directive::AwaitBody);
        }
        let Self { head, rule, key, .. } = *self;
        let policy = Rc::clone(cache.policy());
        let Some(fields) = Fields::parse(&head) else { return (State::Relaying, Directive::Pass) };
        let request = admission::marked(Request::read(fields, true), policy.rule(rule));
        let body = key.finish();
        let keyed = entering::keyed(&request, rule, policy.rule(rule), Some(&body), cache, moment);
        lookup::with_head(keyed, head)
    }
}

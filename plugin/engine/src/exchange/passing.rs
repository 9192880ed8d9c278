//! Responses of which nothing need be read: what of them counts is settled when the request goes on.
//!
//! Every answer that the host gives costs more than all that is decided here, so the head of such a response is not asked for:
//! where the cache stays out, and where the key is known, from an answer a moment ago, to be one of those that are not stored.
//! One response in [`SAMPLED_OF`] is read all the same, for its length, except where a rule has nothing said of it.

use std::rc::Rc;

use super::forwarding::said;
use super::lookup::LookupRequest;
use super::{Directive, Plan, RequestEdit, Role, State};
use crate::cache::{Admitted, Cache, Moment};
use crate::cache_status::{Detail, Forward, Outcome};
use crate::policy::{FieldName, Policy};
use crate::request::Request;
use crate::stats::SAMPLED_OF;
use crate::time::Timestamp;

/// What is done to a response of which nothing is read.
#[derive(Debug)]
pub struct Passing {
    /// The value of `Cache-Status`; `None` adds none.
    pub cache_status: Option<Vec<u8>>,
    rule: usize,
}

impl Passing {
    /// Fields that the client does not get. They may be absent.
    pub fn strip<'p>(&self, policy: &'p Policy) -> &'p [FieldName] {
        let rule = policy.rule(self.rule);
        if rule.hides_tags() { &rule.tags.headers } else { &[] }
    }

    pub(super) fn relay(self, policy: &Policy) -> Directive {
        Directive::Relay {
            strip: self.strip(policy).to_vec(),
            cache_status: self.cache_status,
            vary: false,
            add: Vec::new(),
            recast: None,
        }
    }
}

/// Lets a request go on whose response the cache has no part in, for this reason.
#[inline(never)]
pub(super) fn stay_out(
    request: &Request<'_>,
    rule: usize,
    (forward, detail): (Forward, Option<Detail>),
    edits: Vec<RequestEdit>,
    cache: &mut Cache,
    moment: &Moment<'_>,
) -> (State, Directive) {
    // What is explained is explained by what the origin says.
    let explains = request.explain.is_some();
    #[cfg(feature = "llm")]
    let falls_back = cache.policy().rule(rule).fallback().is_some();
    #[cfg(not(feature = "llm"))]
    let falls_back = false;
    if !explains && !falls_back && (cache.policy().rule(rule).is_unseen() || !cache.stats.is_sampled()) {
        return (pass(rule, (forward, detail), cache), Directive::Forward(edits));
    }
    let weight = if explains || falls_back { 1 } else { SAMPLED_OF.into() };
    let plan = Plan { forward, detail, weight, ..Plan::unkeyed(rule, Role::Bystander, moment.now) };
    (State::Forwarding(Box::new(plan)), Directive::Forward(edits))
}

/// Why nothing need be read of the response to a request that nothing was found for, and that fetches for nobody else: its key
/// is known to be one of those that are not stored. The origin counts as having answered, as it did a moment ago.
#[inline(never)]
pub(super) fn unstorable(
    keyed: &LookupRequest<'_>,
    admitted: Option<&Admitted>,
    cache: &mut Cache,
    now: Timestamp,
) -> Option<Detail> {
    let LookupRequest { request, hash, .. } = *keyed;
    let refusal = cache.known_unstorable(hash, now)?;
    let spared = !request.is_head()
        && request.explain.is_none()
        && admitted.is_none_or(|admitted| cache.assume_answered(admitted, keyed.sampled, now));
    spared.then_some(Detail::NotStored(refusal))
}

/// Nothing more comes of such a request.
#[inline(never)]
pub(super) fn pass(
    rule_index: usize,
    (forward, detail): (Forward, Option<Detail>),
    cache: &mut Cache,
) -> State {
    let policy = Rc::clone(cache.policy());
    let rule = policy.rule(rule_index);
    let outcome = Outcome { forward: Some(forward), detail, ..Outcome::under(rule) };
    cache.stats.record(&outcome);
    match said(&outcome, &policy) {
        None if !rule.hides_tags() => State::Relaying,
        cache_status => State::Passing(Box::new(Passing { cache_status, rule: rule_index })),
    }
}

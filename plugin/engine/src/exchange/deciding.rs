//! What is done about what was found: whether it may be used, fresh or stale, and what to ask the origin for.

use std::rc::Rc;
use std::time::Duration;

use super::conditions::can_be_confirmed;
use super::lookup::LookupRequest;
use super::{StaleResponse, refreshing};
use crate::admission::asks_of;
use crate::cache::{AnsweredBy, Cache, Failure, Found, Moment, Revalidation, Tier, Usable, usable, within};
use crate::cache_control::ResponseDirectives;
use crate::cache_status::{Detail, Forward, Outcome, Ttl};
use crate::freshness::Freshness;
#[cfg(feature = "llm")]
use crate::llm;
use crate::policy::Rule;
use crate::store::response::{StoredResponse, Terms};
use crate::time::Timestamp;

/// What to do about what was found.
pub(super) enum Decision {
    /// Answer from the store.
    Use {
        stored: Rc<StoredResponse>,
        tier: Tier,
        outcome: Outcome,
        /// The hash of what the cache is to renew by itself.
        renew: Option<u128>,
    },
    /// Ask the origin.
    Forward { forward: Forward, detail: Option<Detail>, stale: Option<StaleResponse> },
    /// 504: the client wants no forwarding (RFC 9111 §5.2.1.7).
    GatewayTimeout,
}

pub(super) fn decide(
    found: Found,
    keyed: &LookupRequest<'_>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Decision {
    let LookupRequest { request, rule_index, rule, .. } = *keyed;
    let asks = asks_of(request, rule);
    let (stored, tier, hash) = match found {
        Found::Response { stored, tier, hash } => (stored, tier, hash),
        _ if asks.only_if_cached => return Decision::GatewayTimeout,
        Found::OtherVariants { .. } => {
            return Decision::Forward { forward: Forward::VaryMiss, detail: None, stale: None };
        }
        Found::Nothing => {
            return Decision::Forward { forward: Forward::UriMiss, detail: None, stale: None };
        }
        Found::Purged { .. } => {
            let detail = Some(Detail::Purged);
            return Decision::Forward { forward: Forward::UriMiss, detail, stale: None };
        }
    };
    // Of a stream of which a client has the beginning nobody can send the rest but who knows where that ended.
    #[cfg(feature = "llm")]
    if llm::last_event_id(request, rule).is_some_and(|id| llm::rest_of(stored.body.as_slice(), id).is_none())
    {
        if asks.only_if_cached {
            return Decision::GatewayTimeout;
        }
        return Decision::Forward { forward: Forward::Request, detail: None, stale: None };
    }
    let use_it = |ttl, detail, renew| {
        let outcome = Outcome { hit: true, ttl: Some(ttl), detail, ..Outcome::default() };
        Decision::Use { stored: Rc::clone(&stored), tier, outcome, renew }
    };
    let forward = match usable(&stored, &asks, moment.now) {
        Usable::Fresh { remaining } => {
            let early = rule.refresh.early > 0
                && tier == Tier::Worker
                && cache.is_due_early(&stored, remaining, rule.refresh.early, moment.now)
                && refreshing::is_possible(keyed, cache, moment.now);
            return use_it(Ttl::Fresh(remaining), None, early.then_some(hash));
        }
        Usable::MaxStale { by } => return use_it(Ttl::Stale(by), Some(Detail::MaxStale), None),
        // It may be the very request that renews it.
        Usable::WhileRevalidate { .. } if cache.is_nested(request, moment) => Forward::Stale,
        Usable::WhileRevalidate { by } => {
            let renew = !asks.only_if_cached && refreshing::is_possible(keyed, cache, moment.now);
            // Where the cache cannot call the origin by itself, one of the clients has to wait for it.
            if asks.only_if_cached
                || renew
                || cache.origin_open(rule_index, rule, moment.now).is_some()
                || cache.revalidation(hash, moment.now) == Revalidation::Later
            {
                return use_it(Ttl::Stale(by), Some(Detail::StaleWhileRevalidate), renew.then_some(hash));
            }
            Forward::Stale
        }
        Usable::Not(forward) => forward,
    };
    if asks.only_if_cached {
        return Decision::GatewayTimeout;
    }
    let conditional = can_be_confirmed(&stored, request);
    let (detail, found) = (None, cache.known_invalidations());
    Decision::Forward { forward, detail, stale: Some(StaleResponse { stored, hash, found, conditional }) }
}

/// For how long a stored response has been stale and what to say, if it may stand in for a failure of the origin
/// (RFC 5861 §4, RFC 9111 §4.2.4).
pub(super) fn stands_in(
    stored: &StoredResponse,
    failure: Failure,
    rule: &Rule,
    now: Timestamp,
) -> Option<(Duration, Detail)> {
    let Failure { status, answered_by } = failure;
    let schedule = &stored.schedule;
    let Freshness::Stale { by } = schedule.freshness(now) else { return None };
    let error = rule.stale.error_statuses.contains(&status);
    // An old error is no better than the new one.
    if stored.status >= 500 || rule.stale.error_statuses.contains(&stored.status) {
        return None;
    }
    if !(error || (500..=504).contains(&status)) || stored.terms.contains(Terms::ALWAYS_VALIDATE) {
        return None;
    }
    if error && within(by, schedule.if_error) {
        return Some((by, Detail::StaleIfError));
    }
    let unreachable = answered_by == AnsweredBy::Host;
    (unreachable && within(by, schedule.disconnected)).then_some((by, Detail::Disconnected))
}

/// The answer to a request that has waited for a fetch in which the origin failed, if something stale may stand in.
pub(super) fn after_failure(
    found: &Found,
    turn: u128,
    keyed: &LookupRequest<'_>,
    cache: &Cache,
    now: Timestamp,
) -> Option<Decision> {
    let Found::Response { stored, tier, .. } = found else { return None };
    let failure = cache.failure_of(turn, now)?;
    let (by, detail) = stands_in(stored, failure, keyed.rule, now)?;
    let (ttl, detail, forward) = (Some(Ttl::Stale(by)), Some(detail), Some(Forward::Stale));
    let outcome = Outcome { forward, ttl, detail, ..Outcome::default() };
    Some(Decision::Use { stored: Rc::clone(stored), tier: *tier, outcome, renew: None })
}

/// The answer to a request that has waited since a moment, if one has come meanwhile that is stale already: of several
/// requests that are answered by one response none is its reuse (RFC 9111 §4).
pub(super) fn shared_answer(
    found: &Found,
    rule: &Rule,
    since: Timestamp,
    now: Timestamp,
) -> Option<Decision> {
    let Found::Response { stored, tier, .. } = found else { return None };
    let Freshness::Stale { by } = stored.freshness(now) else { return None };
    if stored.schedule.received < since || !is_shared_at_once(stored, rule) {
        return None;
    }
    let outcome = Outcome { ttl: Some(Ttl::Stale(by)), ..Outcome::default() };
    Some(Decision::Use { stored: Rc::clone(stored), tier: *tier, outcome, renew: None })
}

/// Whether those who waited for a response may share it although its lifetime has ended on the way. Not where the origin wants
/// to be asked each time.
pub(super) fn is_shared_at_once(stored: &StoredResponse, rule: &Rule) -> bool {
    let directives = ResponseDirectives::read(stored.fields.fields(), &rule.targeted);
    let each_time = stored.terms.contains(Terms::ALWAYS_VALIDATE)
        || directives.must_revalidate
        || directives.proxy_revalidate;
    !each_time && !stored.schedule.lifetime.is_zero()
}

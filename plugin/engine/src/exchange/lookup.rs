//! The request: whether the cache takes part, what is stored for it, and whether that may be used.

use std::rc::Rc;
use std::time::Duration;

use super::awaiting_body::AwaitingBody;
use super::explaining::Explaining;
use super::keying::canonical;
use super::looking_up::{Held, LookingUp};
use super::operating;
use super::polling::Claim;
use super::refreshing;
use super::reply::{self, Shape};
use super::shadowing;
use super::waiting::Waiting;
use super::{Candidate, Directive, Plan, RequestEdit, Role, State};
use crate::cache::{
    AnsweredBy, Cache, Failure, FillEnd, FillId, Found, Moment, OriginOpen, Revalidation, Tier, Turn,
};
use crate::cache_control::RequestDirectives;
use crate::cache_status::{Detail, Forward, Outcome, Source, Ttl};
use crate::coding::etag;
use crate::fields::Fields;
use crate::firewall::{self, RequestView, Vector};
use crate::freshness::Freshness;
use crate::key::{self, BodyPart, Changed, uri};
use crate::policy::{Cookies, Policy, RequestDirectives as Obey, Rule};
use crate::request::{MethodKind, Request};
use crate::storability::Asked;
use crate::store::response::{StoredResponse, Terms};
use crate::time::Timestamp;

/// The first event of every exchange.
pub(super) fn begin(
    head: Vec<u8>,
    end_of_stream: bool,
    explaining: &mut Option<Box<Explaining>>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let policy = Rc::clone(cache.policy());
    let Some(fields) = Fields::parse(&head) else {
        return (State::Relaying, Directive::Pass);
    };
    let request = Request::read(fields, !end_of_stream);
    if let Some(answered) = operating::begin(&request, end_of_stream, cache, moment) {
        return answered;
    }
    if let Some(token) = request.explain {
        *explaining = Explaining::begin(token, &head, request.has_body, cache, moment);
    }
    let (rule_index, rule) = rule_of(&policy, &request);
    let edits = preconditions(&request, rule);
    let now = moment.now;
    let forward = move |forward, detail, role, head: Vec<u8>| {
        // Only an invalidation needs to know later what was asked for.
        let head = if role == Role::Invalidate { head } else { Vec::new() };
        let plan = Plan { head, forward, detail, ..Plan::unkeyed(rule_index, role, now) };
        (State::Forwarding(Box::new(plan)), Directive::Forward(edits))
    };
    let body_keyed = match stays_out(&request, rule) {
        Ok(body_keyed) => body_keyed,
        Err((reason, detail)) => {
            let method = request.method_kind();
            let role = match detail {
                Some(Detail::Rule) => bystander_or_invalidate(method),
                None => Role::of(method),
                Some(_) => Role::Bystander,
            };
            return forward(reason, detail, role, head);
        }
    };
    match &rule.key.body {
        Some(body) if body_keyed && request.has_body => {
            let waiting = AwaitingBody::new(head, rule_index, body, moment.now);
            (State::AwaitingBody(Box::new(waiting)), Directive::AwaitBody)
        }
        _ => {
            let empty = BodyPart::Inline(Vec::new());
            let keyed = keyed(&request, rule_index, rule, body_keyed.then_some(&empty), cache, moment);
            with_head(keyed, head)
        }
    }
}

/// Why the cache stays out of a request from the first; if it does not, whether the request's body is in its key.
#[inline]
pub(crate) fn stays_out(request: &Request<'_>, rule: &Rule) -> Result<bool, (Forward, Option<Detail>)> {
    let bypass = |detail| Err((Forward::Bypass, Some(detail)));
    if rule.bypass {
        return bypass(Detail::Rule);
    }
    let body_keyed =
        rule.key.body.as_ref().is_some_and(|body| body.methods.iter().any(|m| **m == *request.method));
    if !body_keyed && !matches!(request.method_kind(), MethodKind::Get | MethodKind::Head) {
        return Err((Forward::Method, None));
    }
    if let Some(vector) = refusal(request, rule) {
        return bypass(Detail::Firewall(vector));
    }
    if request.upgrade {
        return bypass(Detail::Upgrade);
    }
    if request.origin_precondition {
        return bypass(Detail::Precondition);
    }
    if rule.cookies == Cookies::Bypass && request.cookie {
        return bypass(Detail::Cookie);
    }
    Ok(body_keyed)
}

/// Gives a request that goes on its head back: the plan needs it for a `Vary` still to come.
pub(super) fn with_head((state, directive): (State, Directive), head: Vec<u8>) -> (State, Directive) {
    match state {
        State::Forwarding(mut plan) => {
            plan.head = head;
            (State::Forwarding(plan), directive)
        }
        State::LookingUp(mut waiting) => {
            waiting.held.head = head;
            (State::LookingUp(waiting), directive)
        }
        State::Waiting(mut waiting) => {
            waiting.held.head = head;
            (State::Waiting(waiting), directive)
        }
        other => (other, directive),
    }
}

/// A request whose key is complete. Its plan lacks the head.
pub(super) fn keyed(
    request: &Request<'_>,
    rule_index: usize,
    rule: &Rule,
    body: Option<&BodyPart>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let mut key = std::mem::take(&mut cache.scratch.key);
    let scope = cache.policy().scope(rule_index);
    let sampled = cache.stats.is_sampled();
    let begun = if sampled { moment.host.micros() } else { 0 };
    let changed = canonical(request, request.target, &rule.key, scope, body, &mut key);
    let hash = key::hash(&key);
    if sampled {
        let took = moment.host.micros().saturating_sub(begun);
        cache.stats.sample("duration_us", "key", took);
    }
    let keyed = Keyed { request, rule_index, rule, key: &key, hash, changed, sampled };
    let result =
        settle(&keyed, RemoteUse::Possible, Fetch::Undecided { waited: 0, until: None }, cache, moment);
    if cache.stats.is_noted() {
        let answered = match &result.0 {
            State::Forwarding(plan) => plan.would.is_some(),
            state => matches!(state, State::Finished),
        };
        cache.note_asked(hash, request, answered);
    }
    cache.scratch.key = key;
    result
}

/// A request and its key.
pub(super) struct Keyed<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) rule_index: usize,
    pub(super) rule: &'a Rule,
    pub(super) key: &'a [u8],
    pub(super) hash: u128,
    pub(super) changed: Changed,
    /// It is one of the few for which the clock is asked.
    pub(super) sampled: bool,
}

/// Where a request stands with the remote store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteUse {
    /// It has not been asked.
    Possible,
    /// It had something, which may be an index that leads to one more question.
    FoundFirst,
    /// It had something.
    Found,
    /// It had nothing, or did not answer.
    Done,
}

/// Where a request stands with the others for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetch {
    /// It may wait, lead, or go alone.
    Undecided {
        /// How often it has waited.
        waited: u8,
        /// When it has waited enough; `None` before it has begun to.
        until: Option<Timestamp>,
    },
    /// Others may wait for it.
    Leads {
        /// Which fill.
        id: FillId,
        /// When it has asked the remote store enough; `None` before it has begun to ask again.
        polls_until: Option<Timestamp>,
        /// It fetches for the other Envoys too.
        claim: Option<Claim>,
    },
    /// Nobody waits for it, nor does it wait any more.
    Alone {
        /// Whether it has waited.
        waited: bool,
    },
}

impl Fetch {
    /// Whether it has waited for another request's fetch in this Envoy.
    const fn has_waited(self) -> bool {
        matches!(self, Self::Undecided { waited: 1.., .. } | Self::Alone { waited: true })
    }
}

impl Keyed<'_> {
    pub(super) fn held(&self) -> Held {
        let Self { rule_index, key, hash, changed, .. } = *self;
        Held { head: Vec::new(), rule: rule_index, key: key.to_vec(), hash, changed }
    }
}

/// Whether a request leads, waits or goes alone, now that it needs more than what this Envoy has.
pub(super) fn take_turn(
    keyed: &Keyed<'_>,
    fetch: Fetch,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Result<Fetch, Box<Waiting>> {
    let Fetch::Undecided { waited, until } = fetch else { return Ok(fetch) };
    let Keyed { request, rule, hash, .. } = *keyed;
    let asked = asked(request, rule);
    // What these fetch is for themselves.
    let asks = request.directives;
    let anew = rule.request_directives == Obey::Honour
        && (asks.no_cache || asks.only_if_cached || asks.max_age.is_some_and(|limit| limit.is_zero()));
    if request.is_head() || anew || asked.authorization || asked.no_store || asked.special {
        return Ok(Fetch::Alone { waited: waited > 0 });
    }
    match cache.turn(hash, &rule.coalesce, moment) {
        Turn::Lead(id) => Ok(Fetch::Leads { id, polls_until: None, claim: None }),
        Turn::Alone => Ok(Fetch::Alone { waited: waited > 0 }),
        Turn::Wait(fill) => {
            let times = waited.saturating_add(1);
            let until = until.unwrap_or_else(|| moment.now.plus(rule.coalesce.wait));
            Err(Box::new(Waiting { held: keyed.held(), fill, times, until }))
        }
    }
}

/// Answers from what is stored, waits for another's fetch, asks the remote store, or goes to the origin.
pub(super) fn settle(
    keyed: &Keyed<'_>,
    remote: RemoteUse,
    fetch: Fetch,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let Keyed { request, rule_index, rule, key, hash, changed, .. } = *keyed;
    if rule.shadow {
        return shadowing::settle(keyed, remote, fetch, cache, moment);
    }
    let begun = if keyed.sampled { moment.host.micros() } else { 0 };
    let found = cache.find(key, hash, request, rule, moment);
    if keyed.sampled {
        let took = moment.host.micros().saturating_sub(begun);
        cache.stats.sample("duration_us", "lookup", took);
    }
    let (found, form) = cache.in_a_form(found, request, moment);
    let nothing = matches!(found, Found::Nothing);
    let waited = fetch.has_waited();
    let failed = if waited { after_failure(&found, keyed, cache, moment.now) } else { None };
    if failed.is_none()
        && let Some(asked) =
            cache.worth_asking_remote(&found, hash, request, rule, remote == RemoteUse::Possible, moment)
        && matches!(remote, RemoteUse::Possible | RemoteUse::FoundFirst)
    {
        let fetch = match take_turn(keyed, fetch, cache, moment) {
            Ok(fetch) => fetch,
            Err(waiting) => return waiting.begin(),
        };
        let may_ask_again = remote == RemoteUse::Possible;
        // With the question goes the claim to fetch what is not there, for the whole fleet.
        let leads = matches!(fetch, Fetch::Leads { .. });
        let claims = leads && rule.coalesce.fleet && nothing;
        let claim = claims.then(|| rule.coalesce.wait.saturating_add(CLAIM_LONGER));
        let (held, since, adopted) = (keyed.held(), moment.now, Vec::new());
        let waiting = LookingUp { held, asked, since, may_ask_again, adopted, fetch, claims };
        return (State::LookingUp(Box::new(waiting)), Directive::AskRemote { hash: asked, claim });
    }
    let waited = waited || matches!(fetch, Fetch::Leads { polls_until: Some(_), .. });
    let decision = failed.unwrap_or_else(|| decide(found, keyed, cache, moment));
    if let Fetch::Leads { id, claim, .. } = fetch
        && !matches!(decision, Decision::Forward { .. })
    {
        // The remote store had it, or another worker has it meanwhile.
        cache.end_fill(hash, id, FillEnd::Stored, moment);
        if let Some(claim) = claim {
            cache.end_claim(claim.hash, FillEnd::Died, moment.now < claim.until);
        }
    }
    match decision {
        Decision::Use { stored, tier, mut outcome, kind, renew } => {
            if let Some(stored_hash) = renew {
                refreshing::queue(keyed, &stored, stored_hash, cache, moment);
            }
            if waited {
                // Not a hit by RFC 9211 §2.1: it went forward, together with others.
                let forward = outcome.forward.or(Some(Forward::UriMiss));
                outcome = Outcome { hit: false, forward, collapsed: true, ..outcome };
            }
            let detail = outcome.detail.or(Some(match tier {
                _ if matches!(remote, RemoteUse::FoundFirst | RemoteUse::Found) => Detail::Remote,
                Tier::Worker => Detail::Worker,
                Tier::Node => Detail::Node,
            }));
            let source = Some(match tier {
                _ if matches!(remote, RemoteUse::FoundFirst | RemoteUse::Found) => Source::Remote,
                Tier::Worker => Source::Worker,
                Tier::Node => Source::Node,
            });
            let outcome = Outcome { detail, source, ..outcome };
            let shape = Shape::for_request(request, &stored, &form, kind);
            let reply = reply::from_store(&stored, &form, shape, &outcome, &[], cache, moment.now);
            cache.stats.record_reply(&outcome, reply::sent(&reply, request));
            (State::Finished, Directive::Respond(reply))
        }
        Decision::GatewayTimeout => {
            let outcome = Outcome { detail: Some(Detail::OnlyIfCached), ..Outcome::default() };
            cache.stats.record(&outcome);
            (State::Finished, Directive::Respond(reply::gateway_timeout(&outcome, cache)))
        }
        Decision::Forward { forward, detail, stale } => {
            if let Some(open) = cache.origin_open(rule_index, rule, moment.now) {
                return refuse(keyed, stale.as_ref(), fetch, open, cache, moment);
            }
            let fetch = match forward {
                Forward::UriMiss | Forward::VaryMiss | Forward::Stale => {
                    match take_turn(keyed, fetch, cache, moment) {
                        Ok(fetch) => fetch,
                        Err(waiting) => return waiting.begin(),
                    }
                }
                _ => fetch,
            };
            let admitted = match cache.admit_origin(rule_index, rule, moment) {
                Ok(admitted) => admitted,
                Err(open) => return refuse(keyed, stale.as_ref(), fetch, open, cache, moment),
            };
            let (leads, claim) = match fetch {
                Fetch::Leads { id, claim, .. } => (Some(id), claim),
                _ => (None, None),
            };
            let mut edits = conditions(stale.as_ref());
            // The origin is asked for what is keyed, so that no other spelling of it can be stored under the key.
            if changed == Changed::Yes
                && let Some(target) = key::target_of(key)
            {
                edits.push(RequestEdit::Set(":path", target.to_vec()));
            }
            if let Some(authority) = key::authority_of(key).filter(|keyed| *keyed != request.authority) {
                edits.push(RequestEdit::Set(":authority", authority.to_vec()));
            }
            let plan = Plan { forward, detail, stale, leads, claim, admitted, ..Plan::of(keyed, moment.now) };
            (State::Forwarding(Box::new(plan)), Directive::Forward(edits))
        }
    }
}

/// The origin is left alone: stale if that is allowed when it fails, else 503.
fn refuse(
    keyed: &Keyed<'_>,
    stale: Option<&Candidate>,
    fetch: Fetch,
    open: OriginOpen,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    if let Fetch::Leads { id, claim, .. } = fetch {
        cache.end_fill(keyed.hash, id, FillEnd::Died, moment);
        if let Some(claim) = claim {
            cache.end_claim(claim.hash, FillEnd::Died, moment.now < claim.until);
        }
    }
    cache.stats.count("origin", "refused");
    let failure = Failure { status: 503, answered_by: AnsweredBy::Host };
    let detail = Some(Detail::OriginOpen);
    if let Some(Candidate { stored, .. }) = stale
        && let Some((by, _)) = stands_in(stored, failure, keyed.rule, moment.now)
        && let Some(form) = cache.form_of(stored, keyed.request)
    {
        let outcome = Outcome { hit: true, ttl: Some(Ttl::Stale(by)), detail, ..Outcome::default() };
        let shape = Shape::for_request(keyed.request, stored, &form, reply::Kind::Whole);
        let reply = reply::from_store(stored, &form, shape, &outcome, &[], cache, moment.now);
        cache.stats.record_reply(&outcome, reply::sent(&reply, keyed.request));
        return (State::Finished, Directive::Respond(reply));
    }
    let outcome = Outcome { detail, ..Outcome::default() };
    cache.stats.record(&outcome);
    (State::Finished, Directive::Respond(reply::origin_open(&outcome, open.retry_after, cache)))
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
fn after_failure(found: &Found, keyed: &Keyed<'_>, cache: &Cache, now: Timestamp) -> Option<Decision> {
    let Found::Response { stored, tier, .. } = found else { return None };
    let failure = cache.failure_of(keyed.hash, now)?;
    let (by, detail) = stands_in(stored, failure, keyed.rule, now)?;
    let (ttl, detail, forward) = (Some(Ttl::Stale(by)), Some(detail), Some(Forward::Stale));
    let outcome = Outcome { forward, ttl, detail, ..Outcome::default() };
    let kind = reply::Kind::Whole;
    Some(Decision::Use { stored: Rc::clone(stored), tier: *tier, outcome, kind, renew: None })
}

/// Why the firewall keeps a request away from the cache.
pub(super) fn refusal(request: &Request<'_>, rule: &Rule) -> Option<Vector> {
    firewall::inspect(&view_of(request, rule)).vector()
}

/// What the firewall sees of a request.
#[inline]
pub(crate) fn view_of<'a>(request: &Request<'a>, rule: &'a Rule) -> RequestView<'a> {
    RequestView {
        method: request.method,
        target: request.target,
        authority: request.authority,
        has_body: request.has_body,
        fields: request.fields,
        tainting: &rule.tainting_headers,
        keyed_headers: &rule.key.headers,
    }
}

/// What storability depends on about a request.
pub(crate) fn asked(request: &Request<'_>, rule: &Rule) -> Asked {
    let credentials_keyed = rule.key.headers.iter().any(|name| **name == *b"authorization");
    Asked {
        authorization: request.authorization && !credentials_keyed,
        no_store: request.directives.no_store && rule.request_directives == Obey::Honour,
        special: request.range.is_some() || request.expect,
    }
}

/// The rule for a request and its index.
pub(crate) fn rule_of<'p>(policy: &'p Policy, request: &Request<'_>) -> (usize, &'p Rule) {
    if !policy.has_rules() {
        return policy.rule_for(b"", b"", b"");
    }
    matched(request, |host, path, method| policy.rule_for(host, path, method))
}

/// Asks with what rules are matched with: host, path and method of a request.
#[inline]
pub(crate) fn matched<R>(request: &Request<'_>, ask: impl FnOnce(&[u8], &[u8], &[u8]) -> R) -> R {
    let host = uri::host_of(request.authority);
    let path = request.path();
    // The path that is keyed and forwarded chooses the rule, not another spelling of it.
    let mut normal = Vec::new();
    let path = if path.contains(&b'%') || path.windows(2).any(|pair| pair == b"/.") {
        uri::normalize_path(path, &mut normal);
        normal.as_slice()
    } else {
        path
    };
    // GET and HEAD share a stored response, so they share a rule.
    let method = if request.is_head() { b"GET" } else { request.method };
    if host.iter().any(u8::is_ascii_uppercase) {
        return ask(&host.to_ascii_lowercase(), path, method);
    }
    ask(host, path, method)
}

/// What a request asks of caches, as far as its rule obeys it.
#[inline]
pub(crate) fn asks_of(request: &Request<'_>, rule: &Rule) -> RequestDirectives {
    if rule.request_directives == Obey::Honour { request.directives } else { RequestDirectives::default() }
}

/// What to do about what was found.
enum Decision {
    /// Answer from the store.
    Use {
        stored: Rc<StoredResponse>,
        tier: Tier,
        outcome: Outcome,
        kind: reply::Kind,
        /// The hash of what the cache is to renew by itself.
        renew: Option<u128>,
    },
    /// Ask the origin.
    Forward { forward: Forward, detail: Option<Detail>, stale: Option<Candidate> },
    /// 504: the client wants no forwarding (RFC 9111 §5.2.1.7).
    GatewayTimeout,
}

fn decide(found: Found, keyed: &Keyed<'_>, cache: &mut Cache, moment: &Moment<'_>) -> Decision {
    let Keyed { request, rule_index, rule, .. } = *keyed;
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
    let use_it = |ttl, detail, renew| {
        let outcome = Outcome { hit: true, ttl: Some(ttl), detail, ..Outcome::default() };
        Decision::Use { stored: Rc::clone(&stored), tier, outcome, kind: reply::Kind::Negotiable, renew }
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
    let conditional = stored.has_validator() && !asks.no_store;
    let detail = None;
    Decision::Forward { forward, detail, stale: Some(Candidate { stored, hash, conditional }) }
}

/// What a request may do with the stored response that it selects.
pub(crate) enum Usable {
    /// It is fresh enough.
    Fresh {
        /// Freshness that is left.
        remaining: Duration,
    },
    /// It is stale, which the client accepts (RFC 9111 §5.2.1.2).
    MaxStale {
        /// For how long.
        by: Duration,
    },
    /// It is stale, and may be served while it is being revalidated (RFC 5861 §3).
    WhileRevalidate {
        /// For how long.
        by: Duration,
    },
    /// The origin has to be asked.
    Not(Forward),
}

/// Judges a stored response by its freshness and by what the request asks of caches, as far as that is obeyed.
#[inline]
pub(crate) fn usable(stored: &StoredResponse, asks: &RequestDirectives, now: Timestamp) -> Usable {
    let age = stored.schedule.age(now);
    let too_old = asks.max_age.is_some_and(|limit| age > limit || limit.is_zero());
    let may = !asks.no_cache && !asks.no_store && !too_old;
    match stored.freshness(now) {
        Freshness::Fresh { remaining } => {
            let enough = asks.min_fresh.is_none_or(|wanted| remaining >= wanted);
            if may && enough { Usable::Fresh { remaining } } else { Usable::Not(Forward::Request) }
        }
        Freshness::Stale { by } => {
            // max-age without max-stale asks for fresh responses only (§5.2.1.1).
            let unasked = asks.max_age.is_none() && asks.min_fresh.is_none();
            let forbidden = stored.terms.contains(Terms::FORBIDS_STALE);
            if may && !forbidden && asks.max_stale.is_some_and(|accepted| by <= accepted) {
                Usable::MaxStale { by }
            } else if may && unasked && within(by, stored.schedule.while_revalidate) {
                Usable::WhileRevalidate { by }
            } else {
                Usable::Not(Forward::Stale)
            }
        }
    }
}

/// Whether a response that is stale by `by` is within a window of stale use.
pub(super) fn within(by: Duration, window: Duration) -> bool {
    !window.is_zero() && by <= window
}

/// Replaces the client's conditions by those that validate the stored response (RFC 9111 §4.3.1).
fn conditions(stale: Option<&Candidate>) -> Vec<RequestEdit> {
    let Some(Candidate { stored, conditional: true, .. }) = stale else { return Vec::new() };
    let edit = |name, value: Option<&[u8]>| match value {
        Some(value) => RequestEdit::Set(name, value.to_vec()),
        None => RequestEdit::Remove(name),
    };
    vec![edit("if-none-match", stored.etag()), edit("if-modified-since", stored.last_modified())]
}

/// `If-Match` names the form that the client was given: the origin is told its own entity-tag beside ours, or it would
/// refuse a change that it would accept from a client without a cache between.
fn preconditions(request: &Request<'_>, rule: &Rule) -> Vec<RequestEdit> {
    if !request.origin_precondition || !rule.compression.enabled {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = request.fields.all(b"if-match").collect();
    let joined = lines.join(&b", "[..]);
    let told = etag::with_origins_tags(&joined);
    if told == joined { Vec::new() } else { vec![RequestEdit::Set("if-match", told)] }
}

/// How much longer a claim lasts than anybody waits for it.
const CLAIM_LONGER: Duration = Duration::from_secs(1);

/// A request that the rule bypasses still invalidates if it is unsafe.
fn bystander_or_invalidate(method: MethodKind) -> Role {
    if method == MethodKind::Unsafe { Role::Invalidate } else { Role::Bystander }
}

//! What is stored for a request, and what becomes of it: an answer, a wait, a question to the remote store, the origin.

use std::rc::Rc;
use std::time::Duration;

#[cfg(feature = "llm")]
use super::calling;
use super::conditions::{self, asks_for_the_whole, validating};
use super::deciding::{Decision, after_failure, decide, shared_answer, stands_in};
use super::looking_up::{Asks, Held, LookingUp};
use super::passing::{self, stay_out};
#[cfg(feature = "llm")]
use super::pieces;
use super::refreshing;
use super::reply::{self, Shape};
use super::shadowing;
use super::waiting::Waiting;
use super::{Directive, Inputs, Plan, RequestEdit, Role, StaleResponse, State};
use crate::admission::{self, asked};
use crate::cache::Claim;
use crate::cache::{
    AnsweredBy, Asker, Cache, Failure, FillEnd, FillId, Found, Moment, OriginOpen, Tier, Turn, Usable,
    Version, usable,
};
use crate::cache_status::{Detail, Forward, Outcome, Source, Ttl};
use crate::key::{self, Changed};
use crate::policy::{RequestDirectives as Obey, Rule};
use crate::precondition;
use crate::reply::Reply;
use crate::request::Request;
use crate::stats::SAMPLED_OF;
use crate::store::form::{Form, View};
use crate::store::response::StoredResponse;
use crate::store::response::Terms;
use crate::time::Timestamp;

/// Gives a request that goes on its head back: the plan needs it for a `Vary` still to come.
pub(super) fn with_head((state, directive): (State, Directive), head: Vec<u8>) -> (State, Directive) {
    match state {
        // Who only passes by is not asked again.
        State::Forwarding(plan) if plan.role == Role::Bystander => (State::Forwarding(plan), directive),
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

/// A request and its key.
pub(super) struct LookupRequest<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) rule_index: usize,
    pub(super) rule: &'a Rule,
    pub(super) key: &'a [u8],
    pub(super) hash: u128,
    pub(super) changed: Changed,
    /// It is one of the few for which the clock is asked.
    pub(super) sampled: bool,
    /// What it asks for, where that is looked up input by input.
    pub(super) inputs: Option<&'a Rc<Inputs>>,
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
    /// It had nothing better than what is here.
    Known,
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
        /// When it began to; `None` before that.
        since: Option<Timestamp>,
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
        /// Since when it has waited, if it has.
        waited: Option<Timestamp>,
    },
}

impl Fetch {
    /// The fill that others may wait for.
    pub(super) const fn leads(self) -> Option<FillId> {
        if let Self::Leads { id, .. } = self { Some(id) } else { None }
    }

    /// Since when it has waited for another request's fetch in this Envoy, if it has.
    const fn waited(self) -> Option<Timestamp> {
        match self {
            Self::Undecided { since, .. } | Self::Alone { waited: since } => since,
            Self::Leads { .. } => None,
        }
    }

    /// Since when it has waited for a fetch in this Envoy or in another, if it has. `wait` is how long it may.
    fn waited_at_all(self, wait: Duration) -> Option<Timestamp> {
        match self {
            Self::Leads { polls_until: Some(until), .. } => Some(until.minus(wait)),
            other => other.waited(),
        }
    }
}

impl LookupRequest<'_> {
    pub(super) fn held(&self) -> Held {
        let Self { request, rule_index, key, hash, changed, inputs, .. } = *self;
        let (marks, inputs) = (request.marks(), inputs.cloned());
        Held { head: Vec::new(), rule: rule_index, key: key.to_vec(), hash, changed, marks, inputs }
    }

    /// Whether it is looked up by several keys, so that there is no record of the whole of it.
    fn is_several(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.inputs.is_some_and(|inputs| inputs.are_several());
        #[cfg(not(feature = "llm"))]
        false
    }
}

/// Whether a request leads, waits or goes alone, now that it needs more than what this Envoy has. `turn` is the hash of what
/// it would bring; `whole` says that it asks for that in the place of a part.
pub(super) fn take_turn(
    keyed: &LookupRequest<'_>,
    (turn, whole): (u128, bool),
    fetch: Fetch,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Result<Fetch, Box<Waiting>> {
    let Fetch::Undecided { waited, since } = fetch else { return Ok(fetch) };
    let LookupRequest { request, rule, .. } = *keyed;
    let asked = asked(request, rule);
    // What these fetch is for themselves.
    let asks = request.directives;
    let anew = rule.request_directives == Obey::Honour
        && (asks.no_cache || asks.only_if_cached || asks.max_age.is_some_and(|limit| limit.is_zero()));
    // What a switch brings is for others only where it is known to select.
    let special = asked.special && !whole || asked.switches && turn == keyed.hash;
    // A condition on another method forbids what the origin would do: it is not taken off (RFC 9110 §13.1.2).
    let forbids = request.conditional && !matches!(request.method, b"GET" | b"QUERY");
    if request.is_head() || anew || asked.authorization || asked.no_store || special || forbids {
        return Ok(Fetch::Alone { waited: since });
    }
    // It may be the very fetch that it would wait for.
    if cache.is_nested(request, moment) {
        cache.stats.count("coalesce", "nested");
        return Ok(Fetch::Alone { waited: since });
    }
    match cache.turn(turn, Asker::of(request, rule), &rule.coalesce, moment) {
        Turn::Lead(id) => Ok(Fetch::Leads { id, polls_until: None, claim: None }),
        Turn::Alone => Ok(Fetch::Alone { waited: since }),
        Turn::Wait(fill) => {
            let times = waited.saturating_add(1);
            let since = since.unwrap_or(moment.now);
            let until = since.plus(rule.coalesce.wait);
            Err(Box::new(Waiting { held: keyed.held(), fill, times, since, until }))
        }
    }
}

/// Answers from what is stored, waits for another's fetch, asks the remote store, or goes to the origin.
pub(super) fn settle(
    keyed: &LookupRequest<'_>,
    remote: RemoteUse,
    fetch: Fetch,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let LookupRequest { request, rule_index, rule, key, hash, changed, .. } = *keyed;
    if rule.shadow {
        if !may_wait(keyed, remote, fetch, cache) {
            return pass_by(keyed, Detail::WaitingLimit, cache, moment);
        }
        return shadowing::settle(keyed, remote, fetch, cache, moment);
    }
    let begun = if keyed.sampled { moment.host.micros() } else { 0 };
    // Nothing of it is moved for those who have none, which are nearly all.
    #[cfg(feature = "llm")]
    let mut pieces = None;
    #[cfg(feature = "llm")]
    let found = match keyed.inputs {
        Some(inputs) if inputs.are_several() => {
            let (found, some) = pieces::find(keyed, inputs, cache, moment);
            pieces = some;
            found
        }
        _ => cache.find(key, hash, request, rule, moment),
    };
    #[cfg(not(feature = "llm"))]
    let found = cache.find(key, hash, request, rule, moment);
    if keyed.sampled {
        let took = moment.host.micros().saturating_sub(begun);
        cache.stats.sample("duration_us", "lookup", took);
    }
    if cache.foretells()
        && remote == RemoteUse::Possible
        && matches!(fetch, Fetch::Undecided { waited: 0, .. })
        // What is only asked for with credentials is not renewed without them.
        && admission::is_anonymous(request, rule)
    {
        cache.note_sought(hash, &found, moment.now);
    }
    let (found, form) = cache.in_a_form(found, request, moment);
    if request.origin_precondition {
        return settle_precondition(keyed, found, &form, cache, moment);
    }
    let nothing = matches!(found, Found::Nothing);
    let turn = found.turn(hash);
    let fetch = follow(fetch, turn, rule.coalesce.wait, cache, moment);
    // Both have come while it waited: an answer for it, or news of a failure.
    let waited_at_all = fetch.waited_at_all(rule.coalesce.wait);
    let brought = waited_at_all.and_then(|since| shared_answer(&found, rule, since, moment.now));
    let failed = match fetch.waited() {
        Some(_) if brought.is_none() => after_failure(&found, turn, keyed, cache, moment.now),
        _ => None,
    };
    let settled = brought.or(failed);
    let whole = request.range.is_some() && {
        let stored = match &found {
            Found::Response { stored, .. } => Some(&**stored),
            _ => None,
        };
        asks_for_the_whole(request, stored, rule, !cache.is_unfillable(hash, moment.now))
    };
    let first = remote == RemoteUse::Possible;
    let room = may_wait(keyed, remote, fetch, cache);
    if settled.is_none()
        && room
        && !keyed.is_several()
        && matches!(remote, RemoteUse::Possible | RemoteUse::FoundFirst)
        && let Some(asked) = cache.worth_asking_remote(&found, hash, request, rule, first, moment)
    {
        let fetch = match take_turn(keyed, (turn, whole), fetch, cache, moment) {
            Ok(fetch) => fetch,
            Err(waiting) => return waiting.begin(),
        };
        let may_ask_again = remote == RemoteUse::Possible;
        // With the question goes the claim to fetch what is not there, for the whole fleet.
        let leads = matches!(fetch, Fetch::Leads { .. });
        let claims = leads && rule.coalesce.fleet && nothing;
        let claim = claims.then(|| claim_lasts(rule));
        let asks = if claims { Asks::Record } else { Asks::Better };
        let (held, since, adopted) = (keyed.held(), moment.now, Vec::new());
        let waiting = LookingUp { held, asked, since, may_ask_again, adopted, fetch, asks };
        return (State::LookingUp(Box::new(waiting)), Directive::AskRemote { hash: asked, claim });
    }
    let waited = waited_at_all.is_some();
    let decision = settled.unwrap_or_else(|| decide(found, keyed, cache, moment));
    if !matches!(decision, Decision::Forward { .. }) {
        // The remote store had it, or another worker has it meanwhile.
        give_up_lead(fetch, FillEnd::Stored, cache, moment);
    }
    match decision {
        Decision::Use { stored, tier, mut outcome, renew } => {
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
            let outcome = Outcome { detail, source, silent: !rule.cache_status, ..outcome };
            let shape = Shape::for_request(request, &stored, &form);
            let reply = reply::from_store(&stored, &form, shape, &outcome, &[], cache, moment.now);
            cache.stats.record_reply(&outcome, reply::sent(&reply, request));
            (State::Finished, Directive::Respond(reply))
        }
        Decision::GatewayTimeout => gateway_timeout(rule, cache),
        Decision::Forward { .. } if !room => pass_by(keyed, Detail::WaitingLimit, cache, moment),
        Decision::Forward { forward, detail, stale } => {
            #[cfg(feature = "llm")]
            let forward = match (&pieces, forward) {
                (Some(pieces), Forward::UriMiss | Forward::Stale | Forward::Request) if pieces.are_some() => {
                    Forward::Partial
                }
                _ => forward,
            };
            if let Some(open) = cache.origin_open(rule_index, rule, moment.now) {
                return refuse(keyed, stale.as_ref(), fetch, open, cache, moment);
            }
            let fetch = match forward {
                Forward::UriMiss | Forward::VaryMiss | Forward::Stale | Forward::Partial => {
                    match take_turn(keyed, (turn, whole), fetch, cache, moment) {
                        Ok(fetch) => fetch,
                        Err(waiting) => return waiting.begin(),
                    }
                }
                _ => fetch,
            };
            if let Some(asked) = renewal_to_claim(remote, fetch, stale.as_ref(), rule, cache) {
                let (held, since, adopted) = (keyed.held(), moment.now, Vec::new());
                let (may_ask_again, asks) = (false, Asks::Renewal);
                let waiting = LookingUp { held, asked, since, may_ask_again, adopted, fetch, asks };
                let claim = Some(claim_lasts(rule));
                return (State::LookingUp(Box::new(waiting)), Directive::AskRemote { hash: asked, claim });
            }
            let admitted = match cache.admit_origin(rule_index, rule, moment) {
                Ok(admitted) => admitted,
                Err(open) => return refuse(keyed, stale.as_ref(), fetch, open, cache, moment),
            };
            let (leads, claim) = match fetch {
                Fetch::Leads { id, claim, .. } => (Some(id), claim),
                _ => (None, None),
            };
            let mut edits = stale.as_ref().map_or_else(Vec::new, |stale| validating(stale, request));
            let tags_added = stale.as_ref().is_some_and(|stale| {
                edits.iter().any(|edit| {
                    matches!(edit, RequestEdit::Set("if-none-match", tags) if stale.stored.etag() != Some(tags))
                })
            });
            // What others wait for must not come out as 304 to this client alone.
            let unconditional = leads.is_some() && request.conditional && edits.is_empty();
            if unconditional {
                edits.extend(conditions::unconditional());
            }
            if whole {
                edits.extend(conditions::whole());
            }
            let conditional = stale.as_ref().is_some_and(|stale| stale.conditional);
            let unasked = unconditional || whole || conditional && request.conditional;
            edits.push(RequestEdit::Set("cdn-loop", cache.looped(request, moment)));
            // The origin is asked for what is keyed, so that no other spelling of it can be stored under the key.
            if changed == Changed::Yes
                && let Some(target) = key::target_of(key)
            {
                edits.push(RequestEdit::Set(":path", target.to_vec()));
            }
            if let Some(authority) = key::authority_of(key).filter(|keyed| *keyed != request.authority) {
                edits.push(RequestEdit::Set(":authority", authority.to_vec()));
            }
            let mut weight = 1;
            if let (Forward::UriMiss, None, None) = (forward, detail, &stale)
                && leads.is_none()
                && !unasked
                && let Some(detail) = passing::unstorable(keyed, admitted.as_ref(), cache, moment.now)
            {
                if !keyed.sampled {
                    let state = passing::pass(rule_index, (forward, Some(detail)), cache);
                    return (state, Directive::Forward(edits));
                }
                weight = SAMPLED_OF.into();
            }
            let mut plan = Plan {
                turn,
                weight,
                forward,
                detail,
                stale,
                leads,
                claim,
                admitted,
                unasked,
                tags_added,
                ..Plan::of(keyed, moment.now)
            };
            plan.asked.special &= !whole;
            #[cfg(feature = "llm")]
            {
                plan.call = calling::way_of(keyed, forward, pieces, cache, moment);
            }
            (State::Forwarding(Box::new(plan)), Directive::Forward(edits))
        }
    }
}

/// Where to claim the renewal of what has expired, for the whole fleet; `None` if nobody is to wait for it.
///
/// Only after the remote store has just given a record: one that fails is not waited for twice.
fn renewal_to_claim(
    remote: RemoteUse,
    fetch: Fetch,
    stale: Option<&StaleResponse>,
    rule: &Rule,
    cache: &Cache,
) -> Option<u128> {
    let asked = matches!(remote, RemoteUse::FoundFirst | RemoteUse::Found | RemoteUse::Known);
    let (true, Fetch::Leads { claim: None, .. }) = (asked, fetch) else { return None };
    let StaleResponse { stored, hash, .. } = stale?;
    // Of what is confirmed before each use, or is over at once, an answer is for one alone: the Envoys would take turns.
    if stored.terms.contains(Terms::ALWAYS_VALIDATE) || stored.schedule.lifetime.is_zero() {
        return None;
    }
    // It has waited for a renewal, and that is of no use to it. It does not wait for the next one.
    let waited = fetch.waited_at_all(rule.coalesce.wait);
    if waited.is_some_and(|since| stored.schedule.received >= since) {
        return None;
    }
    Version::to_claim(stored, rule, cache.policy()).map(|version| version.claim(*hash))
}

/// Longer than anybody waits for it.
fn claim_lasts(rule: &Rule) -> Duration {
    rule.coalesce.wait.saturating_add(CLAIM_LONGER)
}

/// Whether there is room for what the request would keep. What has waited before is counted already.
fn may_wait(keyed: &LookupRequest<'_>, remote: RemoteUse, fetch: Fetch, cache: &Cache) -> bool {
    let is_new = remote == RemoteUse::Possible && matches!(fetch, Fetch::Undecided { since: None, .. });
    !is_new || cache.has_room_to_wait(keyed.request.fields.block_bytes().saturating_add(keyed.key.len()))
}

/// The origin is left alone: stale if that is allowed when it fails, else 503.
fn refuse(
    keyed: &LookupRequest<'_>,
    stale: Option<&StaleResponse>,
    fetch: Fetch,
    open: OriginOpen,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    give_up_lead(fetch, FillEnd::Abandoned, cache, moment);
    cache.stats.count("origin", "refused");
    let failure = Failure { status: 503, answered_by: AnsweredBy::Host };
    let detail = Some(Detail::OriginOpen);
    let reply = stale.and_then(|stale| {
        stand_in(&stale.stored, failure, Detail::OriginOpen, (keyed.request, keyed.rule), cache, moment.now)
    });
    if let Some(reply) = reply {
        return (State::Finished, Directive::Respond(reply));
    }
    #[cfg(feature = "llm")]
    if crate::llm::goes_elsewhere(keyed.request, keyed.rule) {
        let (detail, role) = (Some(Detail::Fallback), Role::Bystander);
        let forward = if stale.is_some() { Forward::Stale } else { Forward::UriMiss };
        let plan = Plan { forward, detail, ..Plan::unkeyed(keyed.rule_index, role, moment.now) };
        let edits = vec![RequestEdit::Set("cdn-loop", cache.looped(keyed.request, moment))];
        return (State::Forwarding(Box::new(plan)), Directive::Forward(edits));
    }
    let outcome = Outcome { detail, ..Outcome::under(keyed.rule) };
    cache.stats.record(&outcome);
    (State::Finished, Directive::Respond(reply::origin_open(&outcome, open.retry_after, cache)))
}

/// What is stored, stale, in the place of a refusal, if it may stand in for a failure; `detail` says why the origin is not
/// asked.
pub(super) fn stand_in(
    stored: &StoredResponse,
    failure: Failure,
    detail: Detail,
    (request, rule): (&Request<'_>, &Rule),
    cache: &mut Cache,
    now: Timestamp,
) -> Option<Reply> {
    let (by, _) = stands_in(stored, failure, rule, now)?;
    let form = cache.form_of(stored, request)?;
    let (ttl, detail) = (Some(Ttl::Stale(by)), Some(detail));
    let outcome = Outcome { hit: true, ttl, detail, ..Outcome::under(rule) };
    let shape = Shape::for_request(request, stored, &form);
    let reply = reply::from_store(stored, &form, shape, &outcome, &[], cache, now);
    cache.stats.record_reply(&outcome, reply::sent(&reply, request));
    Some(reply)
}

/// A leader stays one for what it will bring. Once it is known to be another variant than was thought, those who wait are
/// for others, and it takes its turn anew.
fn follow(fetch: Fetch, turn: u128, wait: Duration, cache: &mut Cache, moment: &mut Moment<'_>) -> Fetch {
    match fetch {
        Fetch::Leads { id, polls_until, .. } if id.hash() != turn => {
            give_up_lead(fetch, FillEnd::Abandoned, cache, moment);
            Fetch::Undecided { waited: 0, since: polls_until.map(|until| until.minus(wait)) }
        }
        other => other,
    }
}

/// Others need not wait for this request any more, in this Envoy and in the others.
fn give_up_lead(fetch: Fetch, end: FillEnd, cache: &mut Cache, moment: &mut Moment<'_>) {
    let Fetch::Leads { id, claim, .. } = fetch else { return };
    cache.end_fill(id, end, moment);
    if let Some(claim) = claim {
        cache.end_claim(claim, FillEnd::Abandoned, moment.now);
    }
}

/// 504: the client wants only what is stored.
pub(super) fn gateway_timeout(rule: &Rule, cache: &mut Cache) -> (State, Directive) {
    let outcome = Outcome { detail: Some(Detail::OnlyIfCached), ..Outcome::under(rule) };
    cache.stats.record(&outcome);
    (State::Finished, Directive::Respond(reply::gateway_timeout(&outcome, cache)))
}

/// `If-Match` and `If-Unmodified-Since`: what is fresh and meets them is served; all else is for the origin to judge.
fn settle_precondition(
    keyed: &LookupRequest<'_>,
    found: Found,
    form: &Form,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let LookupRequest { request, rule, .. } = *keyed;
    let asks = admission::asks_of(request, rule);
    if let Found::Response { stored, tier, .. } = &found
        && let Usable::Fresh { remaining } = usable(stored, &asks, moment.now)
        && stored.status == 200
    {
        let etags = [stored.etag(), View::new(stored, form).etag()];
        if precondition::holds(request.fields, etags, stored.last_modified()) {
            let detail = Some(if *tier == Tier::Worker { Detail::Worker } else { Detail::Node });
            let source = Some(if *tier == Tier::Worker { Source::Worker } else { Source::Node });
            let ttl = Some(Ttl::Fresh(remaining));
            let outcome = Outcome { hit: true, ttl, detail, source, ..Outcome::under(rule) };
            let shape = Shape::for_request(request, stored, form);
            let reply = reply::from_store(stored, form, shape, &outcome, &[], cache, moment.now);
            cache.stats.record_reply(&outcome, reply::sent(&reply, request));
            return (State::Finished, Directive::Respond(reply));
        }
    }
    if asks.only_if_cached {
        return gateway_timeout(rule, cache);
    }
    pass_by(keyed, Detail::Precondition, cache, moment)
}

/// The origin answers, and nothing is kept of the request.
pub(super) fn pass_by(
    keyed: &LookupRequest<'_>,
    detail: Detail,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let LookupRequest { request, rule_index, rule, .. } = *keyed;
    let mut edits = super::entering::preconditions(request, rule);
    edits.push(RequestEdit::Set("cdn-loop", cache.looped(request, moment)));
    stay_out(request, rule_index, (Forward::Bypass, Some(detail)), edits, cache, moment)
}

/// How much longer a claim lasts than anybody waits for it.
const CLAIM_LONGER: Duration = Duration::from_secs(1);

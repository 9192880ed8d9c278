//! What is stored for a request, and what becomes of it: an answer, a wait, a question to the remote store, the origin.

use std::time::Duration;

use super::deciding::{Decision, after_failure, decide, stands_in};
use super::entering::asked;
use super::looking_up::{Held, LookingUp};
use super::polling::Claim;
use super::refreshing;
use super::reply::{self, Shape};
use super::shadowing;
use super::waiting::Waiting;
use super::{Candidate, Directive, Plan, RequestEdit, State};
use crate::cache::{AnsweredBy, Cache, Failure, FillEnd, FillId, Found, Moment, OriginOpen, Tier, Turn};
use crate::cache_status::{Detail, Forward, Outcome, Source, Ttl};
use crate::key::{self, Changed};
use crate::policy::{RequestDirectives as Obey, Rule};
use crate::request::Request;
use crate::time::Timestamp;

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
    /// The fill that others may wait for.
    pub(super) const fn leads(self) -> Option<FillId> {
        if let Self::Leads { id, .. } = self { Some(id) } else { None }
    }

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

/// Replaces the client's conditions by those that validate the stored response (RFC 9111 §4.3.1).
fn conditions(stale: Option<&Candidate>) -> Vec<RequestEdit> {
    let Some(Candidate { stored, conditional: true, .. }) = stale else { return Vec::new() };
    let edit = |name, value: Option<&[u8]>| match value {
        Some(value) => RequestEdit::Set(name, value.to_vec()),
        None => RequestEdit::Remove(name),
    };
    vec![edit("if-none-match", stored.etag()), edit("if-modified-since", stored.last_modified())]
}

/// How much longer a claim lasts than anybody waits for it.
const CLAIM_LONGER: Duration = Duration::from_secs(1);

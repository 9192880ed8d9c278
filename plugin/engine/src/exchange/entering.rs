//! The request comes in: its rule, whether the cache takes part, and its key.

use std::rc::Rc;

use super::aside::Aside;
use super::awaiting_body::{AwaitingBody, Reading};
#[cfg(feature = "operators")]
use super::explaining::Explaining;
#[cfg(feature = "uploads")]
use super::guarding::Guarding;
#[cfg(feature = "sessions")]
use super::identifying::{self, Identifying};
#[cfg(feature = "limits")]
use super::leasing::Leasing;
use super::lookup::{self, Fetch, LookupRequest, RemoteUse, settle, with_head};
use super::passing::stay_out;
use super::shadowing::Would;
use super::{Directive, Inputs, Plan, RequestEdit, Role, State, then};
#[cfg(feature = "uploads")]
use crate::admission::reads_body;
use crate::admission::{asks_of, rule_of, stays_out};
use crate::cache::{Cache, Moment};
use crate::cache_status::{Detail, Forward};
use crate::coding::etag;
use crate::fields::Fields;
use crate::host::IN_BROWSER;
use crate::key::canonical;
use crate::key::{self, BodyPart};
#[cfg(feature = "llm")]
use crate::llm;
use crate::policy::Rule;
use crate::request::{MethodKind, Request};
#[cfg(feature = "uploads")]
use crate::stages::uploads::Entered;
use crate::stages::{self, Seen};

/// The first event of every exchange.
pub(super) fn begin(
    head: Vec<u8>,
    end_of_stream: bool,
    aside: &mut Aside,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    enter((head, end_of_stream), false, aside, cache, moment)
}

/// A request goes on that a stage has let wait.
#[cfg(feature = "jobs")]
pub(super) fn go_on(
    mut onward: stages::jobs::Onward,
    aside: &mut Aside,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    onward.goes(cache);
    enter((onward.head, onward.end_of_stream), true, aside, cache, moment)
}

fn enter(
    (head, end_of_stream): (Vec<u8>, bool),
    has_passed: bool,
    aside: &mut Aside,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let policy = Rc::clone(cache.policy());
    #[cfg(feature = "sessions")]
    let head = identifying::stripped(head, aside, &policy, cache);
    let Some(fields) = Fields::parse(&head) else {
        return (State::Relaying, Directive::Pass);
    };
    let mut request = Request::read(fields, !end_of_stream);
    let (rule_index, rule) = rule_of(&policy, &request);
    // What is there is another's.
    #[cfg(feature = "operators")]
    if request.explain.is_some() {
        cache.scratch.refused = None;
    }
    let seen = Seen {
        request: &request,
        end_of_stream,
        rule,
        rule_index,
        #[cfg(feature = "sessions")]
        is_identified: aside.is_identified(),
        #[cfg(feature = "jobs")]
        is_of_unknown_session: aside.is_of_unknown_session(),
    };
    // One whose body has been checked has been through the stages.
    if !has_passed
        && !aside.is_past_stages()
        && let Some(said) = stages::enter(&seen, cache, moment)
    {
        #[cfg(feature = "sessions")]
        let said = match said {
            stages::Then::Identify { ticket, until } => {
                let body = (end_of_stream, stages::BodyUse::of(&seen, &policy));
                return Identifying::begin(head, body, ticket, until);
            }
            stages::Then::Identified(found) => {
                let head = identifying::identified(&head, found, aside);
                return begin(head, end_of_stream, aside, cache, moment);
            }
            said => said,
        };
        #[cfg(feature = "limits")]
        if let stages::Then::Wait { ticket, until } = said {
            let body = (end_of_stream, stages::BodyUse::of(&seen, &policy));
            return Leasing::before_cache(head, body, ticket, until);
        }
        // What limits have said of it goes with a request that goes on, and this one does not.
        #[cfg(feature = "limits")]
        stages::limits::take(cache);
        #[cfg(feature = "operators")]
        if let Some(token) = request.explain
            && cache.scratch.refused.is_some()
        {
            aside.explaining = Explaining::begin(token, &request, &head, cache, moment);
        }
        return then(said);
    }
    aside.begin(cache);
    #[cfg(feature = "uploads")]
    if let Some(upload) = &rule.upload
        && !aside.is_past_stages()
    {
        match stages::uploads::enter(upload, &seen, cache) {
            Entered::Goes => {}
            Entered::Guarded(guard) => {
                let holds = guard.may_hold && cache.has_room_to_wait(head.len());
                aside.is_guarded_by(guard);
                if holds {
                    let reads_body = reads_body(&request, rule);
                    return Guarding::begin(head, reads_body);
                }
            }
            Entered::Refused(said) => {
                #[cfg(feature = "operators")]
                if let Some(token) = request.explain {
                    aside.explaining = Explaining::begin(token, &request, &head, cache, moment);
                }
                return then(said);
            }
        }
    }
    #[cfg(feature = "operators")]
    if let Some(token) = request.explain {
        aside.explaining = Explaining::begin(token, &request, &head, cache, moment);
    }
    let body_keyed = match stays_out(&mut request, rule) {
        Ok(body_keyed) => body_keyed,
        // A client that wants no forwarding gets none, whatever keeps the cache from looking (RFC 9111 §5.2.1.7).
        Err(_) if wants_only_what_is_stored(&request, rule) => return lookup::gateway_timeout(rule, cache),
        Err((reason, detail)) => {
            aside.may_go(&request, (rule_index, rule), &head, &policy, moment);
            #[cfg(feature = "llm")]
            if rule.llm.is_some()
                && let Some(waiting) = AwaitingBody::past_cache(
                    &request,
                    &head,
                    (rule_index, rule),
                    (reason, detail),
                    cache,
                    moment.now,
                )
            {
                return (State::AwaitingBody(Box::new(waiting)), Directive::AwaitBody);
            }
            let asked = past_cache(&request, (rule_index, rule), (reason, detail), cache, moment);
            return with_head(asked, head);
        }
    };
    if request.has_body && rule.key.body.is_some() {
        aside.may_go(&request, (rule_index, rule), &head, &policy, moment);
    }
    match &rule.key.body {
        Some(_) if body_keyed && request.has_body && !cache.has_room_to_wait(head.len()) => {
            let why = (Forward::Bypass, Some(Detail::WaitingLimit));
            stay_out(&request, rule_index, why, preconditions(&request, rule), cache, moment)
        }
        Some(_) if body_keyed && request.has_body => {
            let Some(reading) = Reading::of(&request, rule) else {
                return (State::Relaying, Directive::Pass);
            };
            #[cfg(feature = "llm")]
            let may_change = llm::may_be_changed(&request, rule);
            #[cfg(not(feature = "llm"))]
            let may_change = false;
            let waiting = AwaitingBody::new(head, rule_index, reading, moment.now).may_change(may_change);
            (State::AwaitingBody(Box::new(waiting)), Directive::AwaitBody)
        }
        _ => {
            let empty = BodyPart::Inline(Vec::new());
            let fetch = Fetch::Undecided { waited: 0, since: None };
            let body = body_keyed.then_some(&empty);
            let keyed = keyed(&request, (rule_index, rule), (body, None), fetch, cache, moment);
            if !matches!(keyed.1, Directive::Respond(_)) {
                aside.may_go(&request, (rule_index, rule), &head, &policy, moment);
            }
            with_head(keyed, head)
        }
    }
}

/// A request of which the cache stays out, for this reason. Its plan lacks the head.
pub(super) fn past_cache(
    request: &Request<'_>,
    (rule_index, rule): (usize, &Rule),
    (reason, detail): (Forward, Option<Detail>),
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let method = request.method_kind();
    // Others invalidate, so the cache is of use to them.
    if matches!(method, MethodKind::Get | MethodKind::Head) {
        cache.worth().note_kept_out(rule_index, moment.now);
    }
    let role = match detail {
        Some(Detail::Rule) => bystander_or_invalidate(method),
        None => Role::of(method),
        Some(_) => Role::Bystander,
    };
    let mut edits = preconditions(request, rule);
    if !rule.bypass && !rule.shadow {
        edits.push(RequestEdit::Set("cdn-loop", cache.looped(request, moment)));
    }
    if role == Role::Bystander {
        return stay_out(request, rule_index, (reason, detail), edits, cache, moment);
    }
    let plan = Plan { forward: reason, detail, ..Plan::unkeyed(rule_index, role, moment.now) };
    (State::Forwarding(Box::new(plan)), Directive::Forward(edits))
}

/// A request whose key is complete. Its plan lacks the head.
pub(super) fn keyed(
    request: &Request<'_>,
    (rule_index, rule): (usize, &Rule),
    (body, inputs): (Option<&BodyPart>, Option<&Rc<Inputs>>),
    fetch: Fetch,
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
    let keyed = LookupRequest { request, rule_index, rule, key: &key, hash, changed, sampled, inputs };
    let result = settle(&keyed, RemoteUse::Possible, fetch, cache, moment);
    if cache.stats.is_noted() {
        let answered = match &result.0 {
            State::Forwarding(plan) => matches!(plan.would, Some(Would::Answer(_))),
            state => matches!(state, State::Finished),
        };
        cache.note_asked(hash, request, answered);
        let of_use = match &result.0 {
            State::Forwarding(plan) => plan.stale.is_some(),
            State::Passing(_) => false,
            _ => true,
        };
        cache.worth().note_noted(rule_index, of_use, moment.now);
    }
    cache.scratch.key = key;
    result
}

/// `If-Match` names the form that the client was given: the origin is told its own entity-tag beside ours, or it would
/// refuse a change that it would accept from a client without a cache between.
pub(super) fn preconditions(request: &Request<'_>, rule: &Rule) -> Vec<RequestEdit> {
    let minifies = !IN_BROWSER && rule.compression.minify_json;
    if !request.origin_precondition || !rule.compression.enabled && !minifies {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = request.fields.all(b"if-match").collect();
    let joined = lines.join(&b", "[..]);
    let told = etag::with_origins_tags(&joined, minifies);
    if told == joined { Vec::new() } else { vec![RequestEdit::Set("if-match", told)] }
}

/// Whether a GET or HEAD under a rule that caches says `only-if-cached`.
fn wants_only_what_is_stored(request: &Request<'_>, rule: &Rule) -> bool {
    let answered = matches!(request.method_kind(), MethodKind::Get | MethodKind::Head);
    answered && !rule.bypass && !rule.shadow && asks_of(request, rule).only_if_cached
}

/// A request that the rule bypasses still invalidates if it is unsafe.
fn bystander_or_invalidate(method: MethodKind) -> Role {
    if method == MethodKind::Unsafe { Role::Invalidate } else { Role::Bystander }
}

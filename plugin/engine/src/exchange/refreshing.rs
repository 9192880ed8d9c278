//! A request of the cache's own: it renews a stored response, while clients are served the one that is there, or fetches
//! what a client may ask for ([`warm`](crate::warm)).

use std::rc::Rc;
use std::time::Duration;

use super::forwarding::is_full_answer;
use super::lookup::LookupRequest;
use super::{Directive, Event, Exchange, Plan, Purpose, Role, StaleResponse, State};
use crate::admission;
use crate::breaker::CallResult;
#[cfg(feature = "pools")]
use crate::cache::Entry;
use crate::cache::{
    Admitted, AnsweredBy, Awaited, Cache, Errand, Failure, FillEnd, FillId, Fleet, Moment, Refresh, Warmed,
};
use crate::cache_status::{Detail, Forward};
use crate::credentials::identity_of;
use crate::fields::{FieldBlock, Fields};
use crate::key::{self, Changed};
use crate::policy::Rule;
#[cfg(feature = "pools")]
use crate::pools::queue::Class;
use crate::request::{MethodKind, Request};
use crate::storability::is_bodiless;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;
use crate::validation;

/// What came of a request of the cache's own.
pub(super) enum End {
    Stored,
    Freshened,
    /// Another Envoy has fetched it.
    Adopted,
    /// Why, in the words of `Cache-Status`.
    NotStorable(String),
    Failed,
    /// The answer has not come whole.
    CutOff,
    UnknownCluster,
    /// It had no place at the origin in time.
    Late,
}

impl Errand {
    /// Whether something is renewed that nobody has asked for yet.
    const fn is_ahead(&self) -> bool {
        matches!(self, Self::Warm { item, .. } if item.ahead.is_some())
    }

    pub(super) fn end(self, end: End, cache: &mut Cache, moment: &mut Moment<'_>) {
        match self {
            Self::Renew => {
                let word = match end {
                    End::Stored => "stored",
                    End::Freshened => "freshened",
                    End::Adopted => "adopted",
                    End::NotStorable(_) => "not-storable",
                    End::Failed | End::CutOff => "failed",
                    End::UnknownCluster => "unknown-cluster",
                    End::Late => "busy",
                };
                cache.stats.count("refresh", word);
            }
            Self::Warm { item, key } => {
                let hash = key::hash(&key);
                let warmed = match end {
                    End::Stored | End::Freshened if cache.holds(hash, &key, moment) => Warmed::Stored,
                    End::Stored | End::Freshened => Warmed::NotKept,
                    End::Adopted => Warmed::Fresh,
                    End::NotStorable(reason) => Warmed::Unstored(reason),
                    // That says nothing against the origin, and there is no time to try again.
                    End::CutOff | End::Late if item.ahead.is_some() => Warmed::Refused("not-fetched"),
                    End::Failed | End::CutOff | End::Late => Warmed::Failed,
                    End::UnknownCluster => Warmed::Refused("unknown-cluster"),
                };
                cache.warmed(item, warmed, moment.now);
            }
        }
    }
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// There is no such cluster.
    UnknownCluster,
    /// The cluster has no host that could be called.
    Unreachable,
}

/// Whether stored responses of the rule can be renewed by a request of the cache's own that is like this one.
pub(super) fn is_possible(keyed: &LookupRequest<'_>, cache: &Cache, now: Timestamp) -> bool {
    let LookupRequest { request, rule_index, rule, .. } = *keyed;
    rule.refresh.is_possible()
        && !request.has_body
        && matches!(request.method_kind(), MethodKind::Get | MethodKind::Head)
        // One client's credentials are not for a request that no client asked for.
        && !admission::asked(request, rule).authorization
        && cache.refresh_cluster(rule_index, rule, now).is_some()
}

/// Queues a refresh of what is stored, unless one is under way in this Envoy or has just failed.
pub(super) fn queue(
    keyed: &LookupRequest<'_>,
    stored: &Rc<StoredResponse>,
    stored_hash: u128,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) {
    let LookupRequest { rule_index, rule, .. } = *keyed;
    // Each variant is renewed by itself.
    let hash = stored_hash;
    let now = moment.now;
    let Some(cluster) = cache.refresh_cluster(rule_index, rule, now) else { return };
    if cache.rests(hash, now) || cache.origin_open(rule_index, rule, now).is_some() {
        cache.stats.count("refresh", "paused");
        return;
    }
    let renewed = cache.is_refreshing(hash) || cache.is_renewed_elsewhere(hash, now);
    if cache.has_enough_refreshes() || renewed {
        cache.stats.count("refresh", "busy");
        return;
    }
    let fleet = Fleet::of(stored, rule, cache.policy());
    // Nobody is to wait for what was not storable lately; what is stored all the same is renewed.
    let Some(leads) = cache.turn_to_renew(hash, fleet.lasts(rule.refresh.timeout), moment) else {
        cache.note_renewed_elsewhere(hash, now);
        cache.stats.count("refresh", "busy");
        return;
    };
    let Ok(admitted) = cache.admit_origin(rule_index, rule, moment) else {
        if let Some(id) = leads {
            cache.end_fill(id, FillEnd::Abandoned, moment);
        }
        cache.stats.count("refresh", "paused");
        return;
    };
    cache.stats.count("refresh", "queued");
    let stale = Some((Rc::clone(stored), stored_hash));
    let mut refresh = fetch(keyed, stale, leads, admitted, cluster, Errand::Renew, cache, moment);
    refresh.fleet = fleet;
    cache.queue_refresh(refresh);
}

/// The cluster to call and the request for all of what a client's request was to confirm; `None` where nobody can be called.
pub(super) fn call_for_all(
    plan: &Plan,
    rule: &Rule,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Option<(Rc<str>, Vec<u8>)> {
    let request = admission::marked(Request::read(Fields::parse(&plan.head)?, false), rule);
    let (key, hash, rule_index) = (plan.key.as_slice(), plan.hash, plan.rule);
    let keyed = LookupRequest {
        request: &request,
        rule_index,
        rule,
        key,
        hash,
        changed: Changed::No,
        sampled: false,
        inputs: None,
    };
    if !is_possible(&keyed, cache, moment.now) {
        return None;
    }
    let cluster = cache.refresh_cluster(rule_index, rule, moment.now)?;
    let looped = cache.looped(&request, moment);
    let mut block = Vec::new();
    own_request(&request, b"GET", key).write_with(&[(b"cdn-loop", &looped)], &mut block);
    Some((cluster, block))
}

/// The request for a key, with the validators of what is stored under a hash.
#[expect(clippy::too_many_arguments, reason = "a request has this many sides")]
pub(super) fn fetch(
    keyed: &LookupRequest<'_>,
    stale: Option<(Rc<StoredResponse>, u128)>,
    leads: Option<FillId>,
    admitted: Option<Admitted>,
    cluster: Rc<str>,
    errand: Errand,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Refresh {
    let LookupRequest { request, rule_index, rule, key, hash, .. } = *keyed;
    let now = moment.now;
    let timeout = rule.refresh.timeout;
    let block = own_request(request, b"GET", key);
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    let mut conditions: Vec<(&[u8], &[u8])> = Vec::new();
    let looped = cache.looped(request, moment);
    conditions.push((b"cdn-loop", &looped));
    let confirmable = stale.as_ref().filter(|(stored, _)| stored.status == 200);
    if let Some((stored, _)) = confirmable {
        conditions.extend(stored.etag().map(|etag| (&b"if-none-match"[..], etag)));
        conditions.extend(stored.last_modified().map(|date| (&b"if-modified-since"[..], date)));
    }
    let conditional = conditions.len() > 1;
    let mut sent = Vec::new();
    block.write_with(&conditions, &mut sent);
    let stored = stale.as_ref().map(|(_, hash)| *hash);
    let turn = stored.unwrap_or(hash);
    let asks = Fields::parse(&head).map(|fields| admission::marked(Request::read(fields, false), rule));
    let awaited = Awaited {
        key: key.to_vec(),
        asked: asks.map(|request| admission::asked(&request, rule)).unwrap_or_default(),
        identity: asks.and_then(|request| identity_of(&request, rule)),
        forward: if stale.is_some() { Forward::Stale } else { Forward::UriMiss },
        stale: stale.map(|(stored, hash)| StaleResponse {
            stored,
            hash,
            found: cache.known_invalidations(),
            conditional,
        }),
        leads,
        admitted,
        head,
        requested: now,
        valid_from: now,
    };
    Refresh {
        awaited: Box::new(awaited),
        rule: rule_index,
        hash: turn,
        key_hash: hash,
        stored,
        conditional,
        until: now.plus(timeout),
        errand,
        fleet: Fleet::Settled,
        cluster,
        request: sent,
        timeout,
        #[cfg(feature = "pools")]
        slot: None,
    }
}

impl Refresh {
    /// It was sent.
    pub fn sent(&self, cache: &mut Cache) {
        let family = match self.errand {
            Errand::Renew => "refresh",
            #[cfg(feature = "foresight")]
            Errand::Warm { ref item, .. } if item.ahead.is_some() => "foretold",
            Errand::Warm { .. } => "warm",
        };
        cache.stats.count(family, "sent");
    }

    /// The origin has answered. `moment` belongs to this answer.
    pub fn answered(mut self, head: Fields<'_>, body: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) {
        self.leave_origin(false, cache, moment);
        let status = crate::fields::status_of(head);
        let told = head.get(b"content-length").and_then(|told| std::str::from_utf8(told).ok()?.parse().ok());
        if told.is_some_and(|told: u64| told > body.len() as u64) && !is_bodiless(status) {
            return self.cut_off(cache, moment);
        }
        let policy = Rc::clone(cache.policy());
        cache.end_refresh(self.hash);
        if status == 304 && self.conditional && !self.confirms(head, cache) {
            return self.ask_in_full(cache, moment);
        }
        if is_failure(status, policy.rule(self.rule)) || (status == 304 && !self.conditional) {
            // A response that can be used goes on being used until there is a better one.
            let result = if status >= 500 { CallResult::Failure } else { CallResult::Dropped };
            let failure = Failure { status, answered_by: AnsweredBy::Origin };
            return self.fail(failure, result, End::Failed, cache, moment);
        }
        let (mut plan, errand) = self.into_plan();
        if errand.is_ahead()
            && status != 304
            && let Err(why) = plan.has_successor(status, head, policy.rule(plan.rule), cache, moment)
        {
            plan.tell_of_origin(status, policy.rule(plan.rule), cache, moment);
            plan.abandon(FillEnd::Abandoned, cache, moment);
            return errand.end(End::NotStorable(why.as_str().to_owned()), cache, moment);
        }
        let mut exchange = Exchange { state: State::Forwarding(plan), ..Exchange::default() };
        let end = match exchange.on(Event::Response { head, end_of_stream: false }, cache, moment) {
            Directive::Respond(reply) => {
                cache.recycle(reply.fields);
                End::Freshened
            }
            _ if exchange.wants_body() => {
                exchange.on(Event::Body { chunk: body, end_of_stream: true }, cache, moment);
                match exchange.state {
                    State::Relaying => End::NotStorable(Detail::TooLarge.as_str().to_owned()),
                    _ => End::Stored,
                }
            }
            // The origin has something else now, which is not for the store; nor is what was stored any more.
            directive => End::NotStorable(reason(&directive)),
        };
        exchange.on(Event::Ended, cache, moment);
        errand.end(end, cache, moment);
    }

    /// What is known of it when the response comes, and what it is for.
    pub(super) fn into_plan(self) -> (Box<Plan>, Errand) {
        let claim = self.claim();
        let Awaited { head, key, identity, asked, forward, stale, leads, admitted, requested, valid_from } =
            *self.awaited;
        let plan = Plan {
            head,
            key,
            hash: self.key_hash,
            turn: self.hash,
            identity,
            asked,
            forward,
            stale,
            leads,
            claim,
            purpose: Purpose::Store,
            admitted,
            valid_from,
            ..Plan::unkeyed(self.rule, Role::Fill, requested)
        };
        (Box::new(plan), self.errand)
    }

    /// Whether a 304 is about what is renewed, and that is still there.
    fn confirms(&self, head: Fields<'_>, cache: &mut Cache) -> bool {
        self.awaited.stale.as_ref().is_some_and(|candidate| {
            validation::confirms(&candidate.stored, head) && !candidate.is_gone(self.key_hash, cache)
        })
    }

    /// The origin has confirmed something else than what is stored, or what is not stored any more: it is asked once more,
    /// without conditions.
    fn ask_in_full(mut self, cache: &mut Cache, moment: &mut Moment<'_>) {
        let Awaited { head, key, identity, stale, requested, valid_from, .. } = &mut *self.awaited;
        if let Some(candidate) = stale.take() {
            let key = (self.key_hash, key.as_slice());
            candidate.remove_replaced(key, head, identity.is_none(), *requested, cache, moment);
        }
        // What was just invalidated is older than the answer that is asked for now.
        (*requested, *valid_from) = (moment.now, moment.now.plus(Duration::from_millis(1)));
        let sent = Fields::parse(&self.request).unwrap_or_default();
        let looped = sent.get(b"cdn-loop").unwrap_or_default().to_vec();
        let block = FieldBlock::copy_of(Fields::parse(head).unwrap_or_default());
        self.request.clear();
        block.write_with(&[(b"cdn-loop", &looped)], &mut self.request);
        (self.conditional, self.stored, self.fleet) = (false, None, Fleet::Settled);
        self.until = moment.now.plus(self.timeout);
        cache.queue_refresh(self);
    }

    /// The answer has not come whole: the connection broke, or it is longer than the host keeps for a call.
    ///
    /// Which of the two is not known, so it is nothing against the origin; what never answers at all is told by
    /// [`Refresh::unanswered`]. The next refresh of the key waits for a while, as after a failure.
    pub fn cut_off(mut self, cache: &mut Cache, moment: &mut Moment<'_>) {
        self.leave_origin(false, cache, moment);
        // No status of a failure: nothing stale is to stand in for an origin that may be well.
        let failure = Failure { status: 0, answered_by: AnsweredBy::Host };
        self.fail(failure, CallResult::Dropped, End::CutOff, cache, moment);
    }

    /// No answer has come, or one that the host made.
    pub fn unanswered(mut self, status: u16, cache: &mut Cache, moment: &mut Moment<'_>) {
        self.leave_origin(true, cache, moment);
        let result = if status == 504 { CallResult::Timeout } else { CallResult::Failure };
        self.fail(Failure { status, answered_by: AnsweredBy::Host }, result, End::Failed, cache, moment);
    }

    /// The call could not be made.
    pub fn not_sent(mut self, why: NotSent, cache: &mut Cache, moment: &mut Moment<'_>) {
        self.leave_origin(false, cache, moment);
        let (result, end) = match why {
            NotSent::UnknownCluster => {
                cache.note_unknown_cluster(self.rule, moment.now);
                (CallResult::Dropped, End::UnknownCluster)
            }
            NotSent::Unreachable => (CallResult::Failure, End::Failed),
        };
        self.fail(Failure { status: 503, answered_by: AnsweredBy::Host }, result, end, cache, moment);
    }

    /// Whether it has its place at the origin, where the rule names a pool. It waits for none: others go first.
    pub(super) fn may_go(&mut self, cache: &mut Cache, moment: &mut Moment<'_>) -> bool {
        #[cfg(feature = "pools")]
        if self.slot.is_none()
            && let Some(pool) = cache.policy().rule(self.rule).pool
        {
            let entry = Entry { pool, class: Class::Low, lane: 0, shadow: false };
            self.slot = cache.try_admit(entry, moment);
            return self.slot.is_some();
        }
        true
    }

    /// It is done there.
    fn leave_origin(&mut self, failed: bool, cache: &mut Cache, moment: &mut Moment<'_>) {
        #[cfg(feature = "pools")]
        if let Some(mut slot) = self.slot.take() {
            if failed {
                cache.note_origin_failure(&mut slot);
            }
            cache.free_slot(&slot, moment.now);
        }
    }

    /// It has waited too long for others to end.
    pub(crate) fn drop_late(self, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.end_refresh(self.hash);
        let (plan, errand) = self.into_plan();
        plan.abandon(FillEnd::Abandoned, cache, moment);
        errand.end(End::Late, cache, moment);
    }

    fn fail(
        self,
        failure: Failure,
        result: CallResult,
        end: End,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        cache.end_refresh(self.hash);
        let (mut plan, errand) = self.into_plan();
        cache.note_failure(plan.turn, failure, moment.now);
        if let Some(admitted) = plan.admitted.take() {
            cache.record_origin(&admitted, result, moment);
        }
        plan.abandon(FillEnd::Abandoned, cache, moment);
        errand.end(end, cache, moment);
    }
}

/// Why a response is not stored, from what its client would be told.
fn reason(directive: &Directive) -> String {
    let Directive::Relay { cache_status: Some(line), .. } = directive else { return String::from("unknown") };
    let line = String::from_utf8_lossy(line);
    line.rsplit_once("detail=").map_or("unknown", |(_, reason)| reason).to_owned()
}

/// Whether an answer says nothing about what is stored.
fn is_failure(status: u16, rule: &Rule) -> bool {
    status != 304 && !is_full_answer(status, rule)
}

/// The request without what is the client's own: conditions, ranges, wishes about caches, and what is meant for the
/// connection or for Envoy.
pub(super) fn own_request(request: &Request<'_>, method: &[u8], key: &[u8]) -> FieldBlock {
    let mut block = FieldBlock::new();
    block.push(b":method", method);
    block.push(b":scheme", request.scheme);
    block.push(b":authority", key::authority_of(key).unwrap_or(request.authority));
    block.push(b":path", key::target_of(key).unwrap_or(request.target));
    let fields = request.fields;
    let connection =
        |name: &[u8]| fields.members(b"connection").any(|named| named.eq_ignore_ascii_case(name));
    for (name, value) in fields.iter().filter(|(name, _)| !is_clients_own(name) && !connection(name)) {
        block.push(name, value);
    }
    block
}

fn is_clients_own(name: &[u8]) -> bool {
    name.first() == Some(&b':')
        || name.starts_with(b"x-envoy-")
        || matches!(
            name,
            b"host"
                | b"if-none-match"
                | b"if-modified-since"
                | b"if-match"
                | b"if-unmodified-since"
                | b"if-range"
                | b"range"
                | b"cache-control"
                | b"pragma"
                | b"expect"
                | b"connection"
                | b"keep-alive"
                | b"proxy-connection"
                | b"proxy-authorization"
                | b"te"
                | b"trailer"
                | b"transfer-encoding"
                | b"content-length"
                | b"upgrade"
                | b"x-request-id"
                | b"selvage-explain"
                | b"cdn-loop"
        )
}

//! A request of the cache's own that renews a stored response, while clients are served the one that is there.

use std::rc::Rc;
use std::time::Duration;

use super::lookup::{self, Keyed};
use super::{Candidate, Directive, Event, Exchange, Plan, Purpose, Role, State};
use crate::cache::{AnsweredBy, Cache, Failure, FillEnd, Moment, Turn};
use crate::cache_status::Forward;
use crate::fields::{FieldBlock, Fields};
use crate::key;
use crate::policy::{Coalesce, Rule};
use crate::remote::breaker::CallResult;
use crate::request::{MethodKind, Request};
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

/// A refresh that is to be sent, or under way. It is ended by one of [`Refresh::answered`], [`Refresh::unanswered`]
/// and [`Refresh::not_sent`].
pub struct Refresh {
    exchange: Exchange,
    rule: usize,
    /// The key's hash.
    pub(crate) hash: u128,
    /// The stored response that it renews.
    stored: u128,
    conditional: bool,
    /// Past this it is not sent any more.
    until: Timestamp,
    /// The cluster to call.
    pub cluster: Rc<str>,
    /// The request's head, as a field block with its pseudo-headers. It has no body.
    pub request: Vec<u8>,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// Why a refresh was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// There is no such cluster.
    UnknownCluster,
    /// The cluster has no host that could be called.
    Unreachable,
}

/// Whether stored responses of the rule can be renewed by a request of the cache's own that is like this one.
pub(super) fn is_possible(keyed: &Keyed<'_>, cache: &Cache, now: Timestamp) -> bool {
    let Keyed { request, rule_index, rule, .. } = *keyed;
    rule.refresh.is_possible()
        && !request.has_body
        && matches!(request.method_kind(), MethodKind::Get | MethodKind::Head)
        // One client's credentials are not for a request that no client asked for.
        && !lookup::asked(request, rule).authorization
        && cache.refresh_cluster(rule_index, rule, now).is_some()
}

/// Queues a refresh of what is stored, unless one is under way in this Envoy or has just failed.
pub(super) fn queue(
    keyed: &Keyed<'_>,
    stored: &Rc<StoredResponse>,
    stored_hash: u128,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) {
    let Keyed { request, rule_index, rule, key, hash, .. } = *keyed;
    let now = moment.now;
    let Some(cluster) = cache.refresh_cluster(rule_index, rule, now) else { return };
    if cache.rests(hash, now) || cache.origin_open(rule_index, rule, now).is_some() {
        cache.stats.count("refresh", "paused");
        return;
    }
    if cache.refreshes_queued() >= MOST_QUEUED || cache.is_refreshing(hash) {
        cache.stats.count("refresh", "busy");
        return;
    }
    let timeout = rule.refresh.timeout;
    let bounds = Coalesce { enabled: true, wait: timeout, waiters: usize::MAX, fleet: false };
    let leads = match cache.turn(hash, &bounds, moment) {
        Turn::Lead(id) => Some(id),
        Turn::Wait(fill) => {
            cache.end_wait(hash, fill);
            cache.stats.count("refresh", "busy");
            return;
        }
        // Nobody is to wait for what was not storable lately; what is stored all the same is renewed.
        Turn::Alone => None,
    };
    let Ok(admitted) = cache.admit_origin(rule_index, rule, moment) else {
        if let Some(id) = leads {
            cache.end_fill(hash, id, FillEnd::Died, moment);
        }
        cache.stats.count("refresh", "paused");
        return;
    };
    let block = own_request(request, key);
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    let mut conditions: Vec<(&[u8], &[u8])> = Vec::new();
    conditions.extend(stored.etag().map(|etag| (&b"if-none-match"[..], etag)));
    conditions.extend(stored.last_modified().map(|date| (&b"if-modified-since"[..], date)));
    let conditional = !conditions.is_empty();
    let mut sent = Vec::new();
    block.write_with(&conditions, &mut sent);
    let plan = Plan {
        rule: rule_index,
        role: Role::Fill,
        key: key.to_vec(),
        hash,
        requested: now,
        valid_from: now,
        asked: Fields::parse(&head)
            .map(|fields| lookup::asked(&Request::read(fields, false), rule))
            .unwrap_or_default(),
        forward: Forward::Stale,
        detail: None,
        stale: Some(Candidate { stored: Rc::clone(stored), hash: stored_hash, conditional }),
        leads,
        claim: None,
        purpose: Purpose::Refresh,
        admitted,
        head,
    };
    let exchange = Exchange { state: State::Forwarding(Box::new(plan)) };
    let until = now.plus(timeout);
    cache.stats.count("refresh", "queued");
    cache.queue_refresh(Refresh {
        exchange,
        rule: rule_index,
        hash,
        stored: stored_hash,
        conditional,
        until,
        cluster,
        request: sent,
        timeout,
    });
}

impl Refresh {
    /// Whether it has waited so long that it is not worth sending any more.
    pub fn is_late(&self, now: Timestamp) -> bool {
        now >= self.until
    }

    /// The origin has answered. `moment` belongs to this answer.
    pub fn answered(mut self, head: Fields<'_>, body: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) {
        let status = super::forwarding::status_of(head);
        let policy = Rc::clone(cache.policy());
        cache.end_refresh(self.hash);
        if is_failure(status, policy.rule(self.rule)) || (status == 304 && !self.conditional) {
            // A response that can be used goes on being used until there is a better one.
            let result = if status >= 500 { CallResult::Failure } else { CallResult::Dropped };
            self.fail(Failure { status, answered_by: AnsweredBy::Origin }, result, cache, moment);
            cache.stats.count("refresh", "failed");
            return;
        }
        let word = match self.exchange.on(Event::Response { head, end_of_stream: false }, cache, moment) {
            Directive::Respond(reply) => {
                cache.recycle(reply.fields);
                "freshened"
            }
            _ if self.exchange.wants_body() => {
                self.exchange.on(Event::Body { chunk: body, end_of_stream: true }, cache, moment);
                "stored"
            }
            _ => {
                // The origin has something else now, which is not for the store; nor is what was stored any more.
                if status < 400 || matches!(status, 404 | 410) {
                    cache.invalidate(self.stored, moment);
                }
                "not-storable"
            }
        };
        self.exchange.on(Event::Ended, cache, moment);
        cache.stats.count("refresh", word);
    }

    /// No answer has come, or one that the host made.
    pub fn unanswered(mut self, status: u16, cache: &mut Cache, moment: &mut Moment<'_>) {
        let result = if status == 504 { CallResult::Timeout } else { CallResult::Failure };
        self.fail(Failure { status, answered_by: AnsweredBy::Host }, result, cache, moment);
        cache.stats.count("refresh", "failed");
    }

    /// The call could not be made.
    pub fn not_sent(mut self, why: NotSent, cache: &mut Cache, moment: &mut Moment<'_>) {
        let (result, word) = match why {
            NotSent::UnknownCluster => {
                cache.note_unknown_cluster(self.rule, moment.now);
                (CallResult::Dropped, "unknown-cluster")
            }
            NotSent::Unreachable => (CallResult::Failure, "failed"),
        };
        self.fail(Failure { status: 503, answered_by: AnsweredBy::Host }, result, cache, moment);
        cache.stats.count("refresh", word);
    }

    /// It has waited too long for others to end.
    pub(crate) fn drop_late(mut self, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.end_refresh(self.hash);
        self.exchange.on(Event::Ended, cache, moment);
        cache.stats.count("refresh", "busy");
    }

    fn fail(&mut self, failure: Failure, result: CallResult, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.end_refresh(self.hash);
        if let State::Forwarding(mut plan) = std::mem::replace(&mut self.exchange.state, State::Finished) {
            cache.note_failure(plan.hash, failure, moment.now);
            if let Some(admitted) = plan.admitted.take() {
                cache.record_origin(&admitted, result, moment);
            }
            plan.abandon(FillEnd::Died, cache, moment);
        }
    }
}

/// Whether an answer says nothing about what is stored.
fn is_failure(status: u16, rule: &Rule) -> bool {
    status >= 500 || matches!(status, 0 | 408 | 429) || rule.stale.error_statuses.contains(&status)
}

/// The request without what is the client's own: conditions, ranges, wishes about caches, and what is meant for the
/// connection or for Envoy.
fn own_request(request: &Request<'_>, key: &[u8]) -> FieldBlock {
    let mut block = FieldBlock::new();
    block.push(b":method", b"GET");
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
        )
}

/// Refreshes of a worker that wait to be sent.
const MOST_QUEUED: usize = 256;

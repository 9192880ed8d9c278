//! A response on its way to the client, copied for the store as it passes.

use std::rc::Rc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::deciding::is_shared_at_once;
#[cfg(feature = "llm")]
use super::pieces;
use super::{Directive, Plan, State};
use crate::cache::{Adapting, Cache, Extent, FillEnd, GrowingBody, Moment, Pace};
use crate::cache_status::Detail;
use crate::coding::eligible::eligible;
use crate::coding::head::says_accept_encoding;
use crate::fields::Fields;
use crate::freshness::{Schedule, is_stream};
use crate::key;
use crate::policy::{Etag, Rule};
use crate::storability::is_bodiless;
use crate::store::response::{Body, Outlives, StoredResponse, Terms, storable_fields};
use crate::tags::tags_of;
use crate::time::Timestamp;

/// A response of which the head is here and the body is still coming.
pub(super) struct Storing {
    plan: Box<Plan>,
    /// All but the body.
    pub(super) response: StoredResponse,
    body: GrowingBody,
    /// The length that the head promised.
    expected: Option<usize>,
    /// Fields that select it.
    names: Vec<Box<[u8]>>,
    generate_etag: bool,
    /// It is not known yet to be complete, whatever its framing says.
    unjudged: bool,
    /// How its lifetime is found.
    pub(super) adapting: Option<Adapting>,
}

impl Storing {
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes room for the body. Gives the plan back with the reason if there is none.
    #[expect(clippy::too_many_arguments, reason = "a response has this many parts")]
    pub(super) fn begin(
        plan: Box<Plan>,
        status: u16,
        head: Fields<'_>,
        schedule: Schedule,
        terms: Terms,
        names: Vec<Box<[u8]>>,
        expected: Option<usize>,
        rule: &Rule,
        cache: &mut Cache,
        now: Timestamp,
    ) -> Result<Box<Self>, (Box<Plan>, Detail)> {
        // Room is taken as the body comes: a slow one must not keep others from being stored.
        let first = expected.unwrap_or(0).min(FIRST_RESERVATION);
        let Some(body) = cache.begin_body_of(first, now) else { return Err((plan, Detail::FillingLimit)) };
        let fields = storable_fields(head, now, rule);
        // Later clients may be sent another form of it, which this one must be told already.
        let length = expected.unwrap_or(rule.compression.min_bytes);
        let codable = eligible(status, fields.fields(), length, &rule.compression);
        let mut terms = terms;
        terms.set(Terms::ADDS_VARY, codable && !says_accept_encoding(fields.fields()));
        let response = StoredResponse {
            key: Rc::from(plan.key.as_slice()),
            status,
            terms,
            schedule,
            fields,
            body: Body::default(),
            gzip: None,
            minified: None,
            took_millis: 0,
            generation: plan.valid_from,
            tags: tags_of(head, &rule.tags.headers, key::authority_of(&plan.key).unwrap_or_default()),
            outlives: Outlives::default(),
        };
        let generate_etag = rule.etag == Etag::Generate && status == 200 && !response.has_validator();
        let unjudged = rule.stores_answers();
        Ok(Box::new(Self { plan, response, body, expected, names, generate_etag, unjudged, adapting: None }))
    }

    /// It is complete by what it says, and has these tags too.
    #[cfg(feature = "llm")]
    pub(super) fn complete(&mut self, tags: &[u64]) {
        self.unjudged = false;
        self.response.tags = crate::tags::union(&self.response.tags, tags);
    }

    /// The head has come, and others wait for the body, here and in other Envoys.
    pub(super) fn begin_body(
        &self,
        head: Fields<'_>,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        let Some(id) = self.plan.leads else { return };
        let waits = !is_stream(head) || rule.stores_answers();
        let bound = if !waits { Duration::ZERO } else { rule.coalesce.body_wait };
        let pace = Pace { since: moment.now, expected: self.expected, got: 0, bound };
        cache.body_begins(id, pace, self.plan.claim, moment);
    }

    /// A part of the body has come.
    pub(super) fn on_chunk(
        self: Box<Self>,
        chunk: &[u8],
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let length = self.body.len().saturating_add(chunk.len());
        if let Some(id) = self.plan.leads {
            cache.body_grows(id, length, moment);
        }
        let too_much =
            length > self.plan.largest_of(cache) || self.expected.is_some_and(|told| length > told);
        if too_much || !cache.grow_body(&self.body, chunk, moment.now) {
            if too_much || !self.body.has_ended() {
                cache.stats.count("event", if too_much { "outgrown" } else { "filling-limit" });
            }
            // It is a full answer all the same: what it replaces must not come back.
            if let Some(candidate) = &self.plan.stale {
                self.plan.remove_replaced(candidate, cache, moment);
            }
            let extent = if too_much { Extent::Everybody } else { Extent::One };
            self.abandon(FillEnd::NotShared(extent), cache, moment);
            return (State::Relaying, Directive::Pass);
        }
        if end_of_stream { self.finish(cache, moment) } else { (State::Storing(self), Directive::Pass) }
    }

    /// The response is complete: store it, unless it is shorter than it said (RFC 9111 §3.3).
    pub(super) fn finish(self, cache: &mut Cache, moment: &mut Moment<'_>) -> (State, Directive) {
        if self.body.has_ended() {
            self.abandon(FillEnd::Abandoned, cache, moment);
            return (State::Finished, Directive::Pass);
        }
        let right = match is_bodiless(self.response.status) {
            // HTTP/2 can carry one all the same. Sent from here it would be the beginning of the next response.
            true => self.body.is_empty(),
            false => self.expected.is_none_or(|told| told == self.body.len()),
        };
        let right = right && !self.unjudged;
        if !right {
            cache.stats.count("event", "incomplete");
            self.abandon(FillEnd::Abandoned, cache, moment);
            return (State::Finished, Directive::Pass);
        }
        self.plan.count_copied(self.body.len(), cache);
        // What others have invalidated while this was on its way must be known before it is stored.
        cache.learn(moment);
        if self.plan.is_outdated(cache) || cache.is_purged(&self.response) {
            self.plan.abandon(FillEnd::Abandoned, cache, moment);
            return (State::Finished, Directive::Pass);
        }
        let Self { plan, mut response, body, names, generate_etag, adapting, .. } = self;
        let mut body = body.finish();
        body.shrink_to_fit();
        if generate_etag {
            let etag = format!("\"sv-{:016x}\"", xxh3_64(&body));
            response.fields.push(b"etag", etag.as_bytes());
        }
        response.body = Body::new(body);
        response.took_millis = moment.now.millis_since(plan.requested);
        #[cfg(feature = "llm")]
        if let Some(inputs) = &plan.inputs {
            let fresh = !response.freshness(moment.now).is_stale();
            let end = match pieces::store(&response, inputs, &names, &plan.head, cache, moment) {
                true if fresh => FillEnd::Stored,
                true => FillEnd::NotShared(Extent::Everybody),
                false => {
                    cache.stats.count("event", "incomplete");
                    FillEnd::Abandoned
                }
            };
            if end == FillEnd::Stored {
                cache.worth().note_stored(plan.rule, moment.now);
                cache.note_shared(plan.turn);
            }
            plan.end_fill(end, cache, moment);
            return (State::Finished, Directive::Pass);
        }
        let request = Fields::parse(&plan.head).unwrap_or_default();
        let policy = Rc::clone(cache.policy());
        let response = cache.coded(response, &names, request, policy.rule(plan.rule), moment);
        // One that has to be validated before every use serves nobody who waits.
        let rule = policy.rule(plan.rule);
        let shared = !response.freshness(moment.now).is_stale() || is_shared_at_once(&response, rule);
        let begun = moment.host.micros();
        cache.worth().note_stored(plan.rule, moment.now);
        cache.adapt_next(adapting);
        cache.store(plan.hash, response, names, request, moment);
        let took = moment.host.micros().saturating_sub(begun);
        cache.stats.sample("duration_us", "store", took);
        if shared {
            // Those who did not wait for a body that took long may have found otherwise.
            cache.note_shared(plan.turn);
        }
        let end = if shared { FillEnd::Stored } else { FillEnd::NotShared(Extent::Everybody) };
        plan.end_fill(end, cache, moment);
        // What the new response replaces under another variant's key is found stale there in its own time.
        if let Some(candidate) = &plan.stale {
            cache.revalidation_failed(candidate.hash);
        }
        (State::Finished, Directive::Pass)
    }

    /// The response will not be complete.
    pub(super) fn abandon(&self, end: FillEnd, cache: &mut Cache, moment: &mut Moment<'_>) {
        self.plan.count_copied(self.body.len(), cache);
        self.plan.abandon(end, cache, moment);
    }
}

/// Bytes reserved for a body before its first part has come.
const FIRST_RESERVATION: usize = 256 * 1024;

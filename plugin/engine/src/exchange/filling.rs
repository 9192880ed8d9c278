//! A response of its own to a request that was sent on: it is stored, or takes the place of what is stored by nothing.

use std::time::Duration;

use super::forwarding::{is_full_answer, relay};
use super::storing::Storing;
use super::{Directive, Plan, Purpose, StaleResponse, State};
use crate::cache::{Cache, Extent, FillEnd, Moment};
use crate::cache_control::ResponseDirectives;
use crate::cache_status::{Detail, Outcome, Ttl};
use crate::fields::Fields;
use crate::fields::content_length;
use crate::firewall;
use crate::freshness::{self, Freshness, Schedule};
use crate::policy::{RequestDirectives, Rule};
use crate::request::Request;
use crate::storability::{self, Asked, Refusal};
use crate::store::response::{StoredResponse, Terms};
use crate::tags::ANY;
use crate::time::Timestamp;
use crate::vary::Vary;

impl Plan {
    /// Begins to store the response, if it may be stored.
    #[expect(clippy::too_many_arguments, reason = "the whole situation is needed to decide")]
    pub(super) fn fill(
        self: Box<Self>,
        status: u16,
        head: Fields<'_>,
        end_of_stream: bool,
        rule: &Rule,
        mut outcome: Outcome,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let recast = match self.purpose {
            Purpose::Client if self.unasked => self.recast(status, head, content_length(head), moment.now),
            Purpose::Client | Purpose::Store => None,
        };
        self.note_unfillable(status, head, rule, cache, moment);
        match self.try_fill(status, head, rule, cache, moment) {
            Ok(storing) => {
                outcome.stored = true;
                if storing.response.tags.first() == Some(&ANY) {
                    outcome.detail = Some(Detail::ManyTags);
                }
                outcome.ttl = Some(match storing.response.freshness(moment.now) {
                    Freshness::Fresh { remaining } => Ttl::Fresh(remaining),
                    Freshness::Stale { .. } => Ttl::Stale(Duration::ZERO),
                });
                let mut directive = relay(&outcome, rule, head, cache);
                if let Directive::Relay { vary, recast: form, .. } = &mut directive
                    && !rule.shadow
                {
                    *vary = storing.response.terms.contains(Terms::ADDS_VARY);
                    *form = recast;
                }
                if end_of_stream {
                    return (storing.finish(cache, moment).0, directive);
                }
                storing.begin_body(head, rule, cache, moment);
                (State::Storing(storing), directive)
            }
            Err((plan, detail)) => {
                plan.take_the_place(status, head, detail, rule, cache, moment);
                let vary = Vary::parse(head);
                let end = plan.end_of(status, matches!(vary, Vary::Fields(_)), detail);
                if let (FillEnd::NotShared(Extent::Selected), Vary::Fields(names)) = (end, vary) {
                    let request = Fields::parse(&plan.head).unwrap_or_default();
                    cache.note_unshared_for(plan.turn, names, request, moment.now);
                }
                // What the remote store may have, and did not tell in time, must not come back either.
                let unasked = plan.leads.is_some() && plan.claim.is_none();
                let unheard = || plan.stale.is_none() && (unasked || plan.is_anew(rule));
                if rule.remote
                    && cache.policy().remote.enabled
                    && end == FillEnd::NotShared(Extent::Everybody)
                    && unheard()
                    && is_full_answer(status, rule)
                {
                    cache.refuse_in_remote(plan.turn);
                }
                plan.abandon(end, cache, moment);
                // These say something about the resource, not only about this one response or client.
                if end == FillEnd::NotShared(Extent::Everybody)
                    && let Detail::NotStored(refusal @ (Refusal::NoStore | Refusal::Private)) = detail
                {
                    cache.note_unstorable(plan.hash, refusal, moment.now);
                }
                outcome.detail = Some(detail);
                plan.count_relayed(status, head, cache);
                let mut directive = relay(&outcome, rule, head, cache);
                if let Directive::Relay { recast: form, .. } = &mut directive {
                    *form = recast;
                }
                (State::Relaying, directive)
            }
        }
    }

    /// Whether the request has asked past what is stored, so that it is not known what the remote store has.
    fn is_anew(&self, rule: &Rule) -> bool {
        let request = Fields::parse(&self.head).map(|fields| Request::read(fields, false));
        rule.request_directives == RequestDirectives::Honour
            && request.is_some_and(|request| request.directives.no_cache)
    }

    /// Whom a response that is not stored speaks for.
    fn end_of(&self, status: u16, varies: bool, detail: Detail) -> FillEnd {
        // An error says nothing about the next answer, and all at once are no help to an origin in trouble. Nor does what one
        // request has provoked.
        if status >= 400 && !matches!(status, 404 | 410) {
            return FillEnd::Abandoned;
        }
        let one = matches!(
            detail,
            Detail::FillingLimit
                | Detail::Firewall(_)
                | Detail::NotStored(
                    Refusal::RequestNoStore | Refusal::Authorization | Refusal::Partial | Refusal::Status
                )
        );
        FillEnd::NotShared(match (self.identity, detail) {
            _ if one => Extent::One,
            (Some(identity), _) => Extent::Identity(identity),
            // A visitor that comes for the first time is given a cookie, the next one may have it.
            (None, Detail::NotStored(Refusal::SetCookie)) => Extent::One,
            (None, _) if varies => Extent::Selected,
            (None, _) => Extent::Everybody,
        })
    }

    /// A full answer of the origin that is not stored takes the place of what is stored by nothing (RFC 9111 §4.3.3): what is
    /// gone must not come back when the origin fails next.
    fn take_the_place(
        &self,
        status: u16,
        head: Fields<'_>,
        detail: Detail,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        let Some(candidate) = &self.stale else { return };
        if !is_full_answer(status, rule) || !moment.host.origin_answered() {
            return;
        }
        let stored = &candidate.stored;
        let keeps = match detail {
            // The client forbids to store the answer, not to keep what the answer is not about.
            Detail::NotStored(Refusal::RequestNoStore) => {
                status == stored.status
                    && is_same_version(stored, head)
                    && !self.forbids(status, head, rule, moment.now)
            }
            // What a field of the request may have provoked removes nothing that is fresh.
            Detail::NotStored(Refusal::Status) if firewall::is_provoked(status) => {
                !stored.freshness(moment.now).is_stale()
            }
            _ => !self.speaks_for_all(candidate, moment),
        };
        if !keeps {
            self.remove_replaced(candidate, cache, moment);
        }
    }

    /// Whether a response may be stored in the place of the one that it is to renew, and is of the same kind. Nobody has asked
    /// for it yet: a login page or an error is no reason to give up what is fresh.
    pub(super) fn has_successor(
        &self,
        status: u16,
        head: Fields<'_>,
        rule: &Rule,
        cache: &Cache,
        moment: &mut Moment<'_>,
    ) -> Result<(), Detail> {
        if self.stale.as_ref().is_some_and(|candidate| candidate.stored.status / 100 != status / 100) {
            return Err(Detail::NotStored(Refusal::Status));
        }
        let directives = storability::directives_of(head, rule);
        self.judge(status, head, &directives, rule, cache, moment).map(|_| ())
    }

    /// Whether a response forbids to be stored by what the origin says, whatever the request says.
    fn forbids(&self, status: u16, head: Fields<'_>, rule: &Rule, now: Timestamp) -> bool {
        let directives = storability::directives_of(head, rule);
        let lifetime = || freshness::lifetime(status, head, &directives, rule, now);
        let asked = Asked { no_store: false, ..self.asked };
        storability::judge(asked, status, head, &directives, rule, lifetime).is_err()
    }

    /// Removes what a full answer has replaced by nothing.
    pub(super) fn remove_replaced(
        &self,
        candidate: &StaleResponse,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        let key = (self.hash, self.key.as_slice());
        candidate.remove_replaced(key, &self.head, self.identity.is_none(), self.requested, cache, moment);
    }

    /// A response that is too long to be filled for a part is not asked for in whole again soon.
    fn note_unfillable(
        &self,
        status: u16,
        head: Fields<'_>,
        rule: &Rule,
        cache: &mut Cache,
        moment: &Moment<'_>,
    ) {
        let longer = || content_length(head).is_none_or(|length| length > rule.range.max_bytes);
        if rule.range.fill && self.unasked && self.stale.is_none() && status == 200 && longer() {
            let ranged = Fields::parse(&self.head).is_some_and(|fields| fields.get(b"range").is_some());
            if ranged {
                cache.note_unfillable(self.hash, moment.now);
            }
        }
    }

    fn try_fill(
        self: Box<Self>,
        status: u16,
        head: Fields<'_>,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Result<Box<Storing>, (Box<Self>, Detail)> {
        let now = moment.now;
        let directives = storability::directives_of(head, rule);
        let vary = match self.judge(status, head, &directives, rule, cache, moment) {
            Ok(names) => names,
            Err(detail) => return Err((self, detail)),
        };
        let Some(request) = Fields::parse(&self.head).map(|fields| Request::read(fields, false)) else {
            return Err((self, Detail::NotStored(Refusal::Status)));
        };
        let mut terms = Terms::of(&directives);
        terms.set(Terms::LOCAL, !rule.remote);
        let names = cache.selecting_names(self.hash, &self.key, vary, &request, &mut terms, rule, moment);
        let schedule = Schedule::new(status, head, &directives, rule, self.requested, now)
            .shortened(rule.ttl.jitter, self.hash);
        let purged = self.detail == Some(Detail::Purged);
        let adapting = cache.adapts(self.rule, purged, status, head, &directives, moment);
        let known_as = self.stale.as_ref().map_or(self.hash, |candidate| candidate.hash);
        let schedule = cache.schedule_adapted(adapting, schedule, known_as, moment);
        let mut storing = Storing::begin(
            self,
            status,
            head,
            schedule,
            terms,
            names,
            content_length(head),
            rule,
            cache,
            now,
        )?;
        storing.adapting = adapting;
        Ok(storing)
    }

    /// Whether a response may be stored; if so, the fields in its `Vary`.
    pub(super) fn judge(
        &self,
        status: u16,
        head: Fields<'_>,
        directives: &ResponseDirectives,
        rule: &Rule,
        cache: &Cache,
        moment: &mut Moment<'_>,
    ) -> Result<Vec<Box<[u8]>>, Detail> {
        let now = moment.now;
        let lifetime = || freshness::lifetime(status, head, directives, rule, now);
        let by_origin = || moment.host.origin_answered();
        let request = Fields::parse(&self.head).unwrap_or_default();
        let lengths = (content_length(head), self.largest_of(cache));
        storability::judge_head(
            self.asked, status, head, directives, rule, lifetime, by_origin, request, lengths,
        )
        .map_err(Detail::from)
    }
}

/// Whether a response has the validator of the stored one. Without any it is not known to be another.
fn is_same_version(stored: &StoredResponse, head: Fields<'_>) -> bool {
    match (stored.etag(), stored.last_modified()) {
        (None, None) => true,
        (None, modified) => head.get(b"last-modified") == modified,
        (etag, _) => head.get(b"etag") == etag,
    }
}

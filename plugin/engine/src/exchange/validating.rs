//! A stored response that the origin was asked about: confirmed, refused, or standing in for an error (RFC 9111 §4.3).

use std::rc::Rc;
use std::time::Duration;

use super::deciding::{is_shared_at_once, stands_in};
use super::forwarding::{answered_by, is_full_answer, ttl};
use super::reply::{self, Shape};
use super::{Directive, Plan, StaleResponse};
use crate::cache::{Cache, Extent, Failure, FillEnd, Moment};
use crate::cache_control::ResponseDirectives;
use crate::cache_status::{Detail, Outcome, Ttl};
use crate::fields::Fields;
use crate::firewall;
use crate::freshness::{self, Freshness};
use crate::policy::{Cookies, Rule, SetCookie};
use crate::precondition::weakly_equal;
use crate::request::Request;
use crate::storability::{self, Asked, Refusal};
use crate::store::response::{StoredResponse, Terms};
use crate::time::Timestamp;
use crate::validation::{self, HeadVerdict};
use crate::vary::Vary;

/// What became of a response about a stored one.
pub(super) enum Validated {
    /// The client gets this, and so ends the fill.
    Answer(Directive, FillEnd),
    /// The origin's 304 is about what the client has, and not about what is stored.
    Relay,
    /// The origin has confirmed what is not there: it is to be asked for in full.
    Absent,
    /// It is an answer of its own.
    Nothing,
}

impl Plan {
    /// Answers from the stored response, if this one confirms it or is an error that it may stand in for.
    #[expect(clippy::too_many_arguments, reason = "the whole situation is needed to decide")]
    pub(super) fn use_candidate(
        &self,
        candidate: &StaleResponse,
        status: u16,
        head: Fields<'_>,
        rule: &Rule,
        outcome: &mut Outcome,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Validated {
        let now = moment.now;
        if status == 304 && candidate.conditional && moment.host.origin_answered() {
            return self.confirmed(candidate, head, rule, outcome, cache, moment);
        }
        if status < 500 && !rule.stale.error_statuses.contains(&status) {
            return Validated::Nothing;
        }
        let failure = Failure { status, answered_by: answered_by(moment) };
        let Some((candidate, is_new)) = self.still_served(candidate, cache, moment) else {
            return Validated::Nothing;
        };
        let (use_of, detail) = match stands_in(&candidate.stored, failure, rule, now) {
            Some((by, detail)) => (Ttl::Stale(by), Some(detail)),
            None if is_new && !candidate.stored.freshness(now).is_stale() => {
                (ttl(&candidate.stored, moment), None)
            }
            None => return Validated::Nothing,
        };
        if self.leads.is_some() {
            cache.note_failure(self.turn, failure, now);
        }
        cache.revalidation_failed(candidate.hash);
        outcome.ttl = Some(use_of);
        outcome.detail = detail;
        // Those who wait get the same; the next ones may try again.
        match self.respond(&candidate.stored, outcome, &[], cache, moment) {
            Some(directive) => Validated::Answer(directive, FillEnd::Abandoned),
            None => Validated::Nothing,
        }
    }

    /// A stored response as it is served a while after it was found, and whether it is a newer one. `None` if it was
    /// invalidated or replaced meanwhile, here or by another worker: nobody is served it any more.
    pub(super) fn still_served(
        &self,
        candidate: &StaleResponse,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<(StaleResponse, bool)> {
        cache.learn(moment);
        let now_stored = cache.still_stored(candidate.hash, &candidate.stored, moment);
        let received = candidate.stored.schedule.received;
        let is_new = now_stored.as_ref().is_some_and(|stored| stored.schedule.received > received);
        let candidate = StaleResponse {
            found: if now_stored.is_some() { cache.known_invalidations() } else { candidate.found },
            stored: now_stored.unwrap_or_else(|| Rc::clone(&candidate.stored)),
            hash: candidate.hash,
            conditional: candidate.conditional,
        };
        let request = Fields::parse(&self.head).unwrap_or_default();
        let key = (self.hash, self.key.as_slice());
        let is_gone = self.is_gone(&candidate, cache)
            || cache.is_displaced(key, request, candidate.hash, &candidate.stored, moment);
        (!is_gone).then_some((candidate, is_new))
    }

    /// Whether a stored response was invalidated or purged since it was received.
    pub(super) fn is_gone(&self, candidate: &StaleResponse, cache: &mut Cache) -> bool {
        candidate.is_gone(self.hash, cache)
    }

    /// A 304 to our conditions.
    fn confirmed(
        &self,
        candidate: &StaleResponse,
        head: Fields<'_>,
        rule: &Rule,
        outcome: &mut Outcome,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Validated {
        let now = moment.now;
        // What others have invalidated while this was on its way must be known before it is used or stored.
        cache.learn(moment);
        if !self.is_confirmation(candidate, head) {
            // The origin has something else, which this answer does not bring (RFC 9111 §4.3.4). One that could be about the
            // client's own tags alone does not take away what is fresh.
            let certain = !validation::confirms(&candidate.stored, head)
                || candidate.stored.freshness(moment.now).is_stale();
            if certain && self.speaks_for_all(candidate, moment) {
                self.remove_replaced(candidate, cache, moment);
            }
            if self.client_has(head) {
                return Validated::Relay;
            }
            outcome.detail = Some(Detail::OtherValidator);
            return Validated::Absent;
        }
        if cache.is_purged(&candidate.stored) {
            outcome.detail = Some(Detail::Purged);
            return Validated::Absent;
        }
        let fresh = self.freshened(candidate, head, rule, cache, moment);
        outcome.ttl = Some(ttl(&fresh, moment));
        outcome.detail = Some(Detail::Validated);
        match self.keep_freshened(candidate, &fresh, head, rule, cache, moment) {
            Ok(kept) => outcome.stored = kept,
            Err(refusal) => outcome.detail = Some(Detail::NotStored(refusal)),
        }
        let end = match (outcome.stored, outcome.detail) {
            (true, _) if !fresh.freshness(now).is_stale() || is_shared_at_once(&fresh, rule) => {
                FillEnd::Stored
            }
            // It has to be confirmed before each use.
            (true, _) => FillEnd::NotShared(Extent::Everybody),
            // Replaced meanwhile, or for this client alone: they may look again.
            (false, Some(Detail::Validated)) => FillEnd::Abandoned,
            (false, _) => FillEnd::NotShared(self.identity.map_or(Extent::Everybody, Extent::Identity)),
        };
        // Cookies that are not for the store are still for this client.
        let cookies: Vec<(&[u8], &[u8])> = if rule.set_cookie == SetCookie::Store {
            Vec::new()
        } else {
            head.all(b"set-cookie").map(|value| (&b"set-cookie"[..], value)).collect()
        };
        match self.respond(&fresh, outcome, &cookies, cache, moment) {
            Some(directive) => Validated::Answer(directive, end),
            None => Validated::Nothing,
        }
    }

    /// Whether a 304 is about the stored response. If the origin was told the client's entity-tags too, one that names none
    /// could be about either.
    fn is_confirmation(&self, candidate: &StaleResponse, head: Fields<'_>) -> bool {
        let stored = &candidate.stored;
        let named = head.get(b"etag").is_some()
            || head.get(b"last-modified").is_some_and(|told| stored.last_modified() == Some(told));
        validation::confirms(stored, head) && (named || !self.tags_added)
    }

    /// Whether one of the entity-tags that the client named is the one of this 304.
    fn client_has(&self, head: Fields<'_>) -> bool {
        let Some(told) = head.get(b"etag") else { return false };
        let fields = Fields::parse(&self.head).unwrap_or_default();
        fields.members(b"if-none-match").any(|tag| weakly_equal(tag, told))
    }

    /// What the origin has confirmed is not there, and cannot be had: the client gets the old content where stale use is
    /// allowed. The next request asks for it in full.
    pub(super) fn without_content(
        &self,
        candidate: &StaleResponse,
        rule: &Rule,
        outcome: &mut Outcome,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Directive {
        let stored = &candidate.stored;
        // Invalidated or purged while the origin was asked, by others than this exchange itself.
        cache.learn(moment);
        let gone =
            outcome.detail == Some(Detail::Purged) || cache.is_purged(stored) || self.is_outdated(cache);
        let too_old = matches!(stored.freshness(moment.now), Freshness::Stale { by } if by > stored.schedule.disconnected);
        let forbidden = stored.terms.contains(Terms::ALWAYS_VALIDATE)
            || stored.terms.contains(Terms::FORBIDS_STALE)
            || rule.stale.disconnected.is_zero();
        if !gone && !too_old && !forbidden {
            outcome.ttl = Some(ttl(stored, moment));
            if let Some(directive) = self.respond(stored, outcome, &[], cache, moment) {
                return directive;
            }
        }
        cache.stats.record(outcome);
        Directive::Respond(reply::nothing_to_send(outcome, cache))
    }

    /// What is stored, as the origin has confirmed it.
    pub(super) fn freshened(
        &self,
        candidate: &StaleResponse,
        head: Fields<'_>,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Rc<StoredResponse> {
        let old = &candidate.stored;
        let fresh = Rc::new(validation::freshen(old, head, rule, self.requested, moment.now));
        cache.freshened(self.rule, candidate.hash, old, fresh, moment)
    }

    /// Puts a freshened response into the place of the one it came from, unless that was invalidated meanwhile or is not this
    /// client's to change. If the origin's new fields forbid it to be stored, what was stored goes.
    pub(super) fn keep_freshened(
        &self,
        candidate: &StaleResponse,
        fresh: &Rc<StoredResponse>,
        update: Fields<'_>,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Result<bool, Refusal> {
        // What others have invalidated while this was on its way must be known before it is stored.
        cache.learn(moment);
        let fields = fresh.fields.fields();
        let directives = ResponseDirectives::read(fields, &rule.targeted);
        let received = moment.now;
        let lifetime = || freshness::lifetime(fresh.status, fields, &directives, rule, received);
        // What the origin forbids now, it forbids whatever the request says.
        let asked = Asked { no_store: false, ..self.asked };
        match storability::judge(asked, fresh.status, fields, &directives, rule, lifetime) {
            Err(refusal) if storability::is_of_the_request(refusal) => return Ok(false),
            Ok(()) if self.asked.no_store => return Ok(false),
            Err(refusal) => {
                self.remove_replaced(candidate, cache, moment);
                return Err(refusal);
            }
            Ok(()) => {}
        }
        let vary = Vary::parse(update);
        if vary != Vary::None && vary != Vary::parse(candidate.stored.fields.fields()) {
            // What selects the response has changed: the next request stores it anew under the right fields.
            cache.invalidate(self.hash, moment);
            return Ok(false);
        }
        if self.is_for_cookie(candidate, fresh, rule) {
            // It was for all, and the origin shares it no more.
            cache.invalidate(candidate.hash, moment);
            return Ok(false);
        }
        if self.is_outdated(cache) || self.is_gone(candidate, cache) {
            return Ok(false);
        }
        if self.is_for_all_now(candidate, fresh, rule) {
            cache.share(self.hash, &self.key, fresh, moment);
            return Ok(true);
        }
        Ok(cache.replace(candidate.hash, &candidate.stored, Rc::clone(fresh), moment))
    }

    /// Whether a freshened response is for clients with this cookie alone, and the stored one was for all.
    fn is_for_cookie(&self, candidate: &StaleResponse, fresh: &StoredResponse, rule: &Rule) -> bool {
        let cookie = Fields::parse(&self.head).is_some_and(|fields| Request::read(fields, false).cookie);
        cookie
            && rule.cookies == Cookies::Isolate
            && !fresh.terms.contains(Terms::SHARED)
            && !candidate.stored.terms.contains(Terms::SELECTED_BY_COOKIE)
            && !rule.key.headers.iter().any(|name| **name == *b"cookie")
    }

    /// Whether a freshened response is for everybody, and the stored one was kept for one cookie by the cache's own choice.
    fn is_for_all_now(&self, candidate: &StaleResponse, fresh: &StoredResponse, rule: &Rule) -> bool {
        candidate.hash != self.hash
            && fresh.terms.contains(Terms::SHARED)
            && candidate.stored.terms.contains(Terms::SELECTED_BY_COOKIE)
            && Vary::parse(fresh.fields.fields()) == Vary::None
            && rule.vary.add.is_empty()
    }

    pub(super) fn respond(
        &self,
        stored: &StoredResponse,
        outcome: &Outcome,
        extra: &[(&[u8], &[u8])],
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<Directive> {
        let request = Request::read(Fields::parse(&self.head)?, false);
        let form = cache.form_of(stored, &request)?;
        let shape = Shape::for_request(&request, stored, &form);
        let reply = reply::from_store(stored, &form, shape, outcome, extra, cache, moment.now);
        cache.stats.record_reply(outcome, reply::sent(&reply, &request));
        Some(Directive::Respond(reply))
    }

    /// A response to HEAD describes what GET would give (RFC 9111 §4.3.5).
    pub(super) fn compare_head(
        &self,
        status: u16,
        head: Fields<'_>,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        let Some(candidate) = &self.stale else { return };
        if !moment.host.origin_answered() {
            return;
        }
        let stored = &candidate.stored;
        if status != stored.status {
            // What is moved, missing or gone for HEAD is most likely that for GET, and must not come back. That HEAD itself
            // is refused says nothing.
            if is_full_answer(status, rule) && !firewall::is_provoked(status) {
                self.ask_before_use(candidate, false, cache, moment);
            }
            return;
        }
        if status != 200 {
            return;
        }
        match validation::compare_head(stored, head) {
            HeadVerdict::Same => {
                let fresh = self.freshened(candidate, head, rule, cache, moment);
                // What the new fields forbid is gone from the store by then; there is nothing to tell the client.
                let _ = self.keep_freshened(candidate, &fresh, head, rule, cache, moment);
            }
            HeadVerdict::Changed => self.ask_before_use(candidate, true, cache, moment),
            HeadVerdict::Unknown => {}
        }
    }

    /// A stored response has to be confirmed before it is used again; whether it may still stand in for an error.
    fn ask_before_use(
        &self,
        candidate: &StaleResponse,
        stands_in: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        // What was invalidated while this was on its way must not be put back.
        cache.learn(moment);
        if !self.speaks_for_all(candidate, moment) || self.is_gone(candidate, cache) {
            return;
        }
        let mut stale = StoredResponse::clone(&candidate.stored);
        let schedule = &mut stale.schedule;
        schedule.lifetime = schedule.lifetime.min(schedule.age(moment.now));
        schedule.while_revalidate = Duration::ZERO;
        if !stands_in {
            (schedule.if_error, schedule.disconnected) = (Duration::ZERO, Duration::ZERO);
        }
        cache.replace(candidate.hash, &candidate.stored, Rc::new(stale), moment);
    }

    /// Whether an answer to this request says something about what others are given. A client with credentials may get
    /// something of its own, and must not remove by it what is fresh for all.
    pub(super) fn speaks_for_all(&self, candidate: &StaleResponse, moment: &Moment<'_>) -> bool {
        self.identity.is_none() || candidate.stored.freshness(moment.now).is_stale()
    }
}

impl StaleResponse {
    /// Whether it was invalidated or purged since it was found for a key.
    pub(super) fn is_gone(&self, key: u128, cache: &mut Cache) -> bool {
        let (received, found) = (self.stored.schedule.received, self.found);
        cache.invalidated_since_found(key, received, found)
            || self.hash != key && cache.invalidated_since_found(self.hash, received, found)
            || cache.is_purged(&self.stored)
    }

    /// Removes what a full answer has replaced by nothing: what the request had found, and whatever older it could find
    /// next, by other fields.
    pub(super) fn remove_replaced(
        &self,
        (hash, key): (u128, &[u8]),
        head: &[u8],
        is_anonymous: bool,
        requested: Timestamp,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        cache.learn(moment);
        cache.invalidate(self.hash, moment);
        // Credentials take nothing away that is fresh for others.
        if is_anonymous {
            let request = Fields::parse(head).unwrap_or_default();
            cache.invalidate_older((hash, key), request, requested, moment);
        }
        if self.hash != hash {
            cache.refuse_older_of_others(hash, moment);
        }
    }
}

//! The response to a request that was sent on: validate, store, invalidate, or let it pass.

use std::rc::Rc;
use std::time::Duration;

use super::deciding::stands_in;
use super::entering::{self, rule_of};
use super::keying::canonical;
use super::reply::{self, Kind, Shape};
use super::shadowing::{Comparing, Would};
use super::storing::Storing;
use super::{Candidate, Directive, Plan, Purpose, Role, State};
use crate::cache::{AnsweredBy, Cache, Failure, FillEnd, Moment};
use crate::cache_control::ResponseDirectives;
use crate::cache_status::{Detail, Outcome, Ttl};
use crate::fields::Fields;
use crate::freshness::{self, Freshness, Schedule};
use crate::key::{Changed, uri};
use crate::policy::{Cookies, Rule, SetCookie};
use crate::purge::tags::{self, group_hash, groups_of};
use crate::purge::{Mode, What};
use crate::remote::breaker::CallResult;
use crate::request::Request;
use crate::storability::{self, Refusal};
use crate::store::response::{StoredResponse, Terms};
use crate::validation::{self, HeadVerdict};
use crate::vary::Vary;
use crate::{invalidation, key};

impl Plan {
    /// The head of the response has come.
    pub(super) fn on_response(
        mut self: Box<Self>,
        head: Fields<'_>,
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let policy = Rc::clone(cache.policy());
        let rule = policy.rule(self.rule);
        let status = status_of(head);
        self.tell_of_origin(status, rule, cache, moment);
        if self.role == Role::Fill && self.would.is_none() {
            cache.note_origin_latency(status, moment.now.since(self.requested), moment.now);
        }
        let mut outcome = Outcome {
            forward: Some(self.forward),
            forward_status: Some(status),
            detail: self.detail,
            own: self.purpose == Purpose::Store,
            ..Outcome::default()
        };
        match self.would.take() {
            Some(Would::Answer(would)) => {
                outcome.ttl = Some(would.ttl);
                if matches!(would.ttl, Ttl::Fresh(_)) {
                    self.count_relayed(status, head, cache);
                    let directive = relay(&outcome, rule, head, cache);
                    let state = Comparing::begin(self, would, status, head, end_of_stream, cache, moment);
                    return (state, directive);
                }
            }
            Some(Would::Wait) => {
                let directives = ResponseDirectives::read(head, &rule.targeted);
                let judged = self.judge(status, head, &directives, rule, cache, moment);
                outcome.detail = judged.err();
                let word = if outcome.detail.is_none() { "collapsed" } else { "miss" };
                cache.stats.add_for_rule(self.rule, ("shadow_requests", word), 1);
            }
            None => {}
        }
        // Under a rule that only watches the client gets what the origin sends.
        let serves = !rule.shadow || self.purpose == Purpose::Store;
        if let Some(candidate) = self.stale.take_if(|candidate| serves || candidate.conditional) {
            match self.use_candidate(&candidate, status, head, rule, &mut outcome, cache, moment) {
                Some(directive) => {
                    let usable = outcome.stored && matches!(outcome.ttl, Some(Ttl::Fresh(_)));
                    let end = match outcome.detail {
                        _ if usable => FillEnd::Stored,
                        // Those who wait get the same; the next ones may try again.
                        Some(Detail::StaleIfError | Detail::Disconnected) => FillEnd::Died,
                        // Invalidated, purged or replaced meanwhile: they may look again.
                        Some(Detail::Validated) if !outcome.stored => FillEnd::Died,
                        _ => FillEnd::NotStorable,
                    };
                    self.end_fill(end, cache, moment);
                    return (State::Finished, directive);
                }
                None => self.stale = Some(candidate),
            }
        }
        // The client's own condition has been answered, and what confirms its copy confirms what is stored, if that is the
        // same (RFC 9111 §4.3.4).
        if !serves
            && status == 304
            && let Some(candidate) = &self.stale
            && head.get(b"etag").is_some_and(|told| candidate.stored.etag() == Some(told))
        {
            let fresh =
                Rc::new(validation::freshen(&candidate.stored, head, rule, self.requested, moment.now));
            let kept = self.keep_freshened(candidate, &fresh, head, rule, cache, moment);
            let end = if kept == Ok(true) { FillEnd::Stored } else { FillEnd::NotStorable };
            self.end_fill(end, cache, moment);
            return (State::Relaying, relay(&outcome, rule, head, cache));
        }
        match self.role {
            Role::Fill => return self.fill(status, head, end_of_stream, rule, outcome, cache, moment),
            Role::Head => {
                self.compare_head(status, head, rule, cache, moment);
                self.abandon(FillEnd::NotStorable, cache, moment);
            }
            Role::Invalidate if (200..400).contains(&status) => {
                self.invalidate(head, cache, moment);
                if status == 200 && self.becomes_get(head, cache, moment) {
                    let rule = policy.rule(self.rule);
                    return self.fill(status, head, end_of_stream, rule, outcome, cache, moment);
                }
            }
            Role::Invalidate | Role::Bystander => {}
        }
        self.count_relayed(status, head, cache);
        (State::Relaying, relay(&outcome, rule, head, cache))
    }

    /// Answers from the stored response, if this one confirms it or is an error that it may stand in for.
    #[expect(clippy::too_many_arguments, reason = "the whole situation is needed to decide")]
    fn use_candidate(
        &self,
        candidate: &Candidate,
        status: u16,
        head: Fields<'_>,
        rule: &Rule,
        outcome: &mut Outcome,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<Directive> {
        let now = moment.now;
        if status == 304 && candidate.conditional {
            let fresh = Rc::new(validation::freshen(&candidate.stored, head, rule, self.requested, now));
            outcome.ttl = Some(ttl(&fresh, moment));
            outcome.detail = Some(Detail::Validated);
            match self.keep_freshened(candidate, &fresh, head, rule, cache, moment) {
                Ok(kept) => outcome.stored = kept,
                Err(refusal) => outcome.detail = Some(Detail::NotStored(refusal)),
            }
            // Cookies that are not for the store are still for this client.
            let cookies: Vec<(&[u8], &[u8])> = if rule.set_cookie == SetCookie::Store {
                Vec::new()
            } else {
                head.all(b"set-cookie").map(|value| (&b"set-cookie"[..], value)).collect()
            };
            return self.respond(&fresh, Kind::Negotiable, outcome, &cookies, cache, moment);
        }
        if status < 500 && !rule.stale.error_statuses.contains(&status) {
            return None;
        }
        let failure = Failure { status, answered_by: answered_by(moment) };
        let (by, detail) = stands_in(&candidate.stored, failure, rule, now)?;
        // Invalidated while the origin was asked, here or by another worker: nobody is served it any more.
        cache.learn(moment);
        if cache.invalidated_since(self.hash, candidate.stored.schedule.received) {
            return None;
        }
        if cache.is_purged(&candidate.stored) {
            return None;
        }
        if self.leads.is_some() {
            cache.note_failure(self.hash, failure, now);
        }
        cache.revalidation_failed(candidate.hash);
        outcome.ttl = Some(Ttl::Stale(by));
        outcome.detail = Some(detail);
        self.respond(&candidate.stored, Kind::Whole, outcome, &[], cache, moment)
    }

    /// Tells those who keep count of it how the origin has answered, and learns where it is.
    fn tell_of_origin(&mut self, status: u16, rule: &Rule, cache: &mut Cache, moment: &mut Moment<'_>) {
        if matches!(self.role, Role::Fill | Role::Head) && self.purpose == Purpose::Client {
            cache.learn_cluster(self.rule, rule, moment);
        }
        if self.leads.is_some() && status < 500 {
            cache.forget_failure(self.hash);
        }
        let Some(admitted) = self.admitted.take() else { return };
        let result = match status {
            504 if answered_by(moment) == AnsweredBy::Host => CallResult::Timeout,
            0 | 500.. => CallResult::Failure,
            // What another filter refuses says nothing about the origin.
            400.. if answered_by(moment) == AnsweredBy::Host => CallResult::Dropped,
            _ => CallResult::Success { latency: moment.now.since(self.requested) },
        };
        cache.record_origin(&admitted, result, moment);
    }

    /// Puts a freshened response into the place of the one it came from, unless that was invalidated meanwhile.
    /// If its new fields forbid it to be stored, what was stored goes.
    fn keep_freshened(
        &self,
        candidate: &Candidate,
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
        if let Err(refusal) =
            storability::judge(self.asked, fresh.status, fields, &directives, rule, lifetime)
        {
            cache.invalidate(candidate.hash, moment);
            return Err(refusal);
        }
        if Vary::parse(update) != Vary::None
            && Vary::parse(update) != Vary::parse(candidate.stored.fields.fields())
        {
            // What selects the response has changed: the next request stores it anew under the right fields.
            cache.invalidate(self.hash, moment);
            return Ok(false);
        }
        Ok(!cache.invalidated_since(self.hash, self.valid_from)
            && cache.replace(candidate.hash, &candidate.stored, Rc::clone(fresh), moment))
    }

    fn respond(
        &self,
        stored: &StoredResponse,
        kind: Kind,
        outcome: &Outcome,
        extra: &[(&[u8], &[u8])],
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<Directive> {
        let request = Request::read(Fields::parse(&self.head)?, false);
        let form = cache.form_of(stored, &request)?;
        let shape = Shape::for_request(&request, stored, &form, kind);
        let reply = reply::from_store(stored, &form, shape, outcome, extra, cache, moment.now);
        cache.stats.record_reply(outcome, reply::sent(&reply, &request));
        Some(Directive::Respond(reply))
    }

    /// Begins to store the response, if it may be stored.
    #[expect(clippy::too_many_arguments, reason = "the whole situation is needed to decide")]
    fn fill(
        self: Box<Self>,
        status: u16,
        head: Fields<'_>,
        end_of_stream: bool,
        rule: &Rule,
        mut outcome: Outcome,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        match self.try_fill(status, head, rule, cache, moment) {
            Ok(storing) => {
                outcome.stored = true;
                outcome.ttl = Some(match storing.response.freshness(moment.now) {
                    Freshness::Fresh { remaining } => Ttl::Fresh(remaining),
                    Freshness::Stale { .. } => Ttl::Stale(Duration::ZERO),
                });
                let mut directive = relay(&outcome, rule, head, cache);
                if let Directive::Relay { vary, .. } = &mut directive
                    && !rule.shadow
                {
                    *vary = storing.response.terms.contains(Terms::ADDS_VARY);
                }
                if end_of_stream {
                    return (storing.finish(cache, moment).0, directive);
                }
                (State::Storing(storing), directive)
            }
            Err((plan, detail)) => {
                // An error says nothing about the next answer, and all at once are no help to an origin in trouble.
                let end = if status >= 500 { FillEnd::Died } else { FillEnd::NotStorable };
                plan.abandon(end, cache, moment);
                // These say something about the resource, not only about this one response.
                if let Detail::NotStored(Refusal::NoStore | Refusal::Private | Refusal::SetCookie) = detail {
                    cache.note_unstorable(plan.hash, moment.now);
                }
                outcome.detail = Some(detail);
                plan.count_relayed(status, head, cache);
                (State::Relaying, relay(&outcome, rule, head, cache))
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
        let directives = ResponseDirectives::read(head, &rule.targeted);
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
        Storing::begin(self, status, head, schedule, terms, names, content_length(head), rule, cache, now)
    }

    /// Whether a response may be stored; if so, the fields in its `Vary`.
    fn judge(
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
        let lengths = (content_length(head), cache.largest_object());
        storability::judge_head(self.asked, status, head, directives, rule, lifetime, by_origin, lengths)
    }

    /// A response to HEAD describes what GET would give (RFC 9111 §4.3.5).
    fn compare_head(
        &self,
        status: u16,
        head: Fields<'_>,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        let Some(candidate) = &self.stale else { return };
        if status != 200 || candidate.stored.status != 200 {
            return;
        }
        match validation::compare_head(&candidate.stored, head) {
            HeadVerdict::Same => {
                let fresh = validation::freshen(&candidate.stored, head, rule, self.requested, moment.now);
                // What the new fields forbid is gone from the store by then; there is nothing to tell the client.
                let _ = self.keep_freshened(candidate, &Rc::new(fresh), head, rule, cache, moment);
            }
            HeadVerdict::Changed => cache.invalidate(candidate.hash, moment),
            HeadVerdict::Unknown => {}
        }
    }

    /// A successful unsafe request invalidates its target and those the response names (§4.4), and the groups that it
    /// names (RFC 9875 §3).
    fn invalidate(&self, head: Fields<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        let policy = Rc::clone(cache.policy());
        let Some(fields) = Fields::parse(&self.head) else { return };
        let request = Request::read(fields, false);
        let mut targets = invalidation::targets(request.scheme, request.authority, request.target, head);
        targets.push(request.target.to_vec());
        let mut key = Vec::new();
        for target in &targets {
            let as_get = Request { method: b"GET", target, ..request };
            let (index, rule) = rule_of(&policy, &as_get);
            canonical(&as_get, target, &rule.key, policy.scope(index), None, &mut key);
            cache.invalidate(key::hash(&key), moment);
        }
        let groups = groups_of(head, b"cache-group-invalidation");
        if !groups.is_empty() {
            let mut authority = Vec::new();
            uri::normalize_authority(request.authority, request.scheme, &mut authority);
            let hash = |group: &String| What::Tag(group_hash(&authority, group.as_bytes()));
            let groups = groups.iter().take(tags::MOST_TAGS).map(hash).collect();
            cache.purge(groups, Mode::Hard, moment);
        }
    }

    /// Whether the response to this POST may be stored as the response to GET: the origin says with
    /// `Content-Location` that it is that, and gives it a lifetime (RFC 9110 §9.3.3). If so, the plan is for
    /// the key of that GET from here on.
    fn becomes_get(&mut self, head: Fields<'_>, cache: &Cache, moment: &Moment<'_>) -> bool {
        let Some(fields) = Fields::parse(&self.head) else { return false };
        let request = Request::read(fields, false);
        let Some(location) = head.get(b"content-location").filter(|_| request.method == b"POST") else {
            return false;
        };
        let named = invalidation::resolve(request.scheme, request.authority, request.target, location);
        if named.as_deref() != Some(request.target) || self.detail.is_some() {
            return false;
        }
        let policy = Rc::clone(cache.policy());
        let as_get = Request { method: b"GET", ..request };
        let (index, rule) = rule_of(&policy, &as_get);
        let directives = ResponseDirectives::read(head, &rule.targeted);
        let lifetime = freshness::lifetime(200, head, &directives, rule, moment.now);
        if rule.bypass
            || rule.shadow != policy.rule(self.rule).shadow
            || !lifetime.source.is_origin()
            || entering::refusal(&request, rule).is_some()
            || rule.cookies == Cookies::Bypass && request.cookie
        {
            return false;
        }
        let mut key = Vec::new();
        let scope = policy.scope(index);
        // The origin saw the request as it came: if that is not what is keyed, its answer is not for the key.
        if canonical(&as_get, request.target, &rule.key, scope, None, &mut key) == Changed::Yes {
            return false;
        }
        self.asked = entering::asked(&request, rule);
        self.hash = key::hash(&key);
        self.key = key;
        self.rule = index;
        // This very response has just invalidated what was there before.
        self.valid_from = moment.now.plus(Duration::from_millis(1));
        true
    }

    /// Counts the body of a response that passes by, as far as its length is told.
    fn count_relayed(&self, status: u16, head: Fields<'_>, cache: &mut Cache) {
        if self.role != Role::Head && self.purpose == Purpose::Client && status != 304 {
            cache.stats.add("served_bytes", "origin", content_length(head).unwrap_or(0) as u64);
        }
    }

    /// Counts the body of a response that was copied on its way.
    pub(super) fn count_copied(&self, bytes: usize, cache: &mut Cache) {
        if self.purpose == Purpose::Client {
            cache.stats.add("served_bytes", "origin", bytes as u64);
        }
    }

    /// Those who wait for what this request fetches need not do so any more.
    pub(super) fn end_fill(&self, end: FillEnd, cache: &mut Cache, moment: &mut Moment<'_>) {
        if let Some(id) = self.leads {
            cache.end_fill(self.hash, id, end, moment);
        }
        if let Some(claim) = self.claim {
            cache.end_claim(claim.hash, end, moment.now.plus(CLAIM_MARGIN) < claim.until);
        }
    }

    /// No response will be stored for this request.
    pub(super) fn abandon(&self, end: FillEnd, cache: &mut Cache, moment: &mut Moment<'_>) {
        // The client has left before the origin answered.
        if let Some(admitted) = &self.admitted {
            cache.record_origin(admitted, CallResult::Dropped, moment);
        }
        if matches!(self.would, Some(Would::Wait)) {
            cache.stats.add_for_rule(self.rule, ("shadow_requests", "miss"), 1);
        }
        self.end_fill(end, cache, moment);
        if let Some(candidate) = &self.stale {
            cache.revalidation_failed(candidate.hash);
        }
    }
}

/// What a write may take to arrive: later it might meet another Envoy's claim, or what that has stored.
const CLAIM_MARGIN: Duration = Duration::from_millis(100);

fn answered_by(moment: &mut Moment<'_>) -> AnsweredBy {
    if moment.host.origin_answered() { AnsweredBy::Origin } else { AnsweredBy::Host }
}

/// Lets the response pass, saying what happened, without what names its tags.
pub(super) fn relay(outcome: &Outcome, rule: &Rule, head: Fields<'_>, cache: &mut Cache) -> Directive {
    cache.stats.record(outcome);
    let mut line = Vec::with_capacity(64);
    outcome.write(cache.policy().cache_status_name.as_bytes(), &mut line);
    let mut strip = Vec::new();
    if rule.tags.strip && !rule.bypass && !rule.shadow {
        strip.extend(rule.tags.headers.iter().filter(|name| head.get(name).is_some()).cloned());
    }
    Directive::Relay { cache_status: Some(line), vary: false, strip, explanation: None }
}

fn ttl(stored: &StoredResponse, moment: &Moment<'_>) -> Ttl {
    match stored.freshness(moment.now) {
        Freshness::Fresh { remaining } => Ttl::Fresh(remaining),
        Freshness::Stale { by } => Ttl::Stale(by),
    }
}

/// The status code; 0 if there is none, which nothing stores.
pub(crate) fn status_of(head: Fields<'_>) -> u16 {
    head.get(b":status").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
}

/// The length the response promises.
pub(crate) fn content_length(head: Fields<'_>) -> Option<usize> {
    std::str::from_utf8(head.get(b"content-length")?).ok()?.parse().ok()
}

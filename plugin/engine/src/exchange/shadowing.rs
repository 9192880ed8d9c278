//! A rule that only watches (`shadow`): everything runs except serving. What a store could have answered goes to the
//! origin all the same, unchanged, and what that sends is compared with what the client would have been given.
//!
//! A request that could have been answered stores nothing, so that lifetimes end as they would; one that could have been
//! answered stale stores what the origin sends, as the refresh does that a rule that serves would have sent.

use std::rc::Rc;

use super::deciding::{Usable, usable};
use super::entering;
use super::looking_up::LookingUp;
use super::lookup::{self, Fetch, Keyed, RemoteUse};
use super::reply::{self, Kind, Shape};
use super::{Candidate, Directive, Plan, State};
use crate::cache::{Cache, Found, Moment};
use crate::cache_status::{Detail, Forward, Ttl};
use crate::fields::Fields;
use crate::insight::mismatches::Mismatch;
use crate::key;
use crate::request::Request;
use crate::store::response::{Body, StoredResponse};

/// What a request could have been answered with.
pub(super) struct Would {
    pub(super) stored: Rc<StoredResponse>,
    shape: Shape,
    pub(super) ttl: Ttl,
}

/// Looks up what a rule that serves would look up, and goes to the origin.
pub(super) fn settle(
    keyed: &Keyed<'_>,
    remote: RemoteUse,
    fetch: Fetch,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let Keyed { request, rule_index, rule, key, hash, .. } = *keyed;
    let found = cache.find(key, hash, request, rule, moment);
    let (found, form) = cache.in_a_form(found, request, moment);
    let first = remote == RemoteUse::Possible;
    if let Some(asked) = cache.worth_asking_remote(&found, hash, request, rule, first, moment)
        && matches!(remote, RemoteUse::Possible | RemoteUse::FoundFirst)
    {
        // Without a claim: no other Envoy is to wait for what this one does not serve.
        let (held, since, adopted) = (keyed.held(), moment.now, Vec::new());
        let waiting = LookingUp { held, asked, since, may_ask_again: first, adopted, fetch, claims: false };
        return (State::LookingUp(Box::new(waiting)), Directive::AskRemote { hash: asked, claim: None });
    }
    let mut plan = Plan::of(keyed, moment.now);
    let asks = entering::asks_of(request, rule);
    match found {
        Found::Response { stored, hash, .. } => {
            let ttl = match usable(&stored, &asks, moment.now) {
                Usable::Fresh { remaining } => Ok(Ttl::Fresh(remaining)),
                Usable::MaxStale { by } | Usable::WhileRevalidate { by } => Ok(Ttl::Stale(by)),
                Usable::Not(forward) => Err(forward),
            };
            match ttl {
                Ok(ttl) => {
                    let shape = Shape::for_request(request, &stored, &form, Kind::Negotiable);
                    let bytes = if request.is_head() { 0 } else { reply::length(&stored, &form, shape) };
                    let word = if matches!(ttl, Ttl::Fresh(_)) { "hit" } else { "stale" };
                    cache.stats.add_for_rule(rule_index, ("shadow_requests", word), 1);
                    cache.stats.add_for_rule(rule_index, ("shadow_bytes", word), bytes as u64);
                    (plan.forward, plan.detail) = (Forward::Bypass, Some(Detail::Shadow));
                    plan.would = Some(Box::new(Would { stored, shape, ttl }));
                    return (State::Forwarding(Box::new(plan)), Directive::Forward(Vec::new()));
                }
                Err(forward) => {
                    plan.forward = forward;
                    plan.stale = Some(Candidate { stored, hash, conditional: false });
                }
            }
        }
        Found::OtherVariants { .. } => plan.forward = Forward::VaryMiss,
        Found::Purged { .. } => plan.detail = Some(Detail::Purged),
        Found::Nothing => {}
    }
    let word = match lookup::take_turn(keyed, fetch, cache, moment) {
        Ok(Fetch::Leads { id, .. }) => {
            plan.leads = Some(id);
            "miss"
        }
        Ok(_) => "miss",
        Err(waiting) => {
            waiting.abandon(cache);
            "collapsed"
        }
    };
    cache.stats.add_for_rule(rule_index, ("shadow_requests", word), 1);
    (State::Forwarding(Box::new(plan)), Directive::Forward(Vec::new()))
}

/// What the origin sends, on its way past what the client would have been given.
pub(super) struct Comparing {
    plan: Box<Plan>,
    would: Box<Would>,
    /// What is still compared with; `None` once the verdict is certain.
    rest: Option<Expected>,
    verdict: Verdict,
}

/// The content that is still expected.
struct Expected {
    body: Body,
    /// What of it has not come yet.
    range: std::ops::Range<usize>,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Mismatch(&'static str),
    /// There was nothing that could be compared.
    Unknown,
}

impl Comparing {
    /// The head has come.
    pub(super) fn begin(
        plan: Box<Plan>,
        would: Box<Would>,
        status: u16,
        head: Fields<'_>,
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> State {
        let by_origin = moment.host.origin_answered();
        let (mut verdict, range) = would.judge_head(&plan, status, head, by_origin);
        let mut rest = None;
        if let Some(range) = range {
            match cache.identity_of(&would.stored) {
                Some(body) => rest = Some(Expected { range: range.unwrap_or(0..body.len()), body }),
                None => verdict = Verdict::Unknown,
            }
        }
        let comparing = Box::new(Self { plan, would, rest, verdict });
        if end_of_stream || comparing.rest.is_none() {
            return comparing.finish(cache, moment).0;
        }
        State::Comparing(comparing)
    }

    /// A part of the body has come.
    pub(super) fn on_chunk(
        mut self: Box<Self>,
        chunk: &[u8],
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &Moment<'_>,
    ) -> (State, Directive) {
        if let Some(Expected { body, range }) = &mut self.rest {
            let end = range.start.saturating_add(chunk.len());
            if end <= range.end && body.as_slice().get(range.start..end) == Some(chunk) {
                range.start = end;
            } else {
                self.verdict = Verdict::Mismatch("body");
                self.rest = None;
            }
        }
        if end_of_stream || self.rest.is_none() {
            return self.finish(cache, moment);
        }
        (State::Comparing(self), Directive::Pass)
    }

    /// The response is complete, or no more of it is needed.
    pub(super) fn finish(mut self, cache: &mut Cache, moment: &Moment<'_>) -> (State, Directive) {
        if self.rest.take().is_some_and(|expected| !expected.range.is_empty()) {
            self.verdict = Verdict::Mismatch("body");
        }
        self.tell(cache, moment);
        (State::Finished, Directive::Pass)
    }

    /// The response will not be complete.
    pub(super) fn abandon(mut self, cache: &mut Cache, moment: &Moment<'_>) {
        if self.verdict == Verdict::Same {
            self.verdict = Verdict::Unknown;
        }
        self.tell(cache, moment);
    }

    fn tell(&self, cache: &mut Cache, moment: &Moment<'_>) {
        let word = match self.verdict {
            Verdict::Same => "same",
            Verdict::Mismatch(_) => "mismatch",
            Verdict::Unknown => "unknown",
        };
        let Self { plan, would, .. } = self;
        cache.stats.add_for_rule(plan.rule, ("shadow_compared", word), 1);
        if let Verdict::Mismatch(what) = self.verdict
            && let Some(fields) = Fields::parse(&plan.head)
        {
            let keyed = key::target_of(&plan.key).unwrap_or_default();
            let age = would.stored.schedule.age(moment.now);
            let request = Request::read(fields, false);
            cache.note_mismatch(Mismatch::new(plan.rule, &request, keyed, what, age));
        }
    }
}

impl Would {
    /// What the head tells, and which part of the content is to be compared, if any: `Some(None)` is all of it.
    fn judge_head(
        &self,
        plan: &Plan,
        status: u16,
        head: Fields<'_>,
        by_origin: bool,
    ) -> (Verdict, Option<Option<std::ops::Range<usize>>>) {
        let Self { stored, shape, .. } = self;
        let is_head = Fields::parse(&plan.head).is_some_and(|fields| Request::read(fields, false).is_head());
        match (status, *shape) {
            // An origin in trouble, or Envoy in its place, says nothing about the key.
            (0 | 429 | 500.., _) => return (Verdict::Unknown, None),
            _ if !by_origin => return (Verdict::Unknown, None),
            (304, Shape::NotModified) => return (Verdict::Same, None),
            // The origin knows the client's copy as the present one; the cache would have sent another.
            (304, _) if stored.has_validator() => return (Verdict::Mismatch("status"), None),
            (304, _) => return (Verdict::Unknown, None),
            (206, _) if stored.status == 200 => {}
            _ if status != stored.status => return (Verdict::Mismatch("status"), None),
            _ => {}
        }
        if let Some(field) = differing(head, stored.fields.fields()) {
            return (Verdict::Mismatch(field), None);
        }
        match (status, *shape) {
            _ if is_head => (Verdict::Unknown, None),
            (206, Shape::Part(first, last)) => (Verdict::Same, Some(Some(first..last.saturating_add(1)))),
            (206, _) => (Verdict::Unknown, None),
            _ => (Verdict::Same, Some(None)),
        }
    }
}

/// The first of the fields that matter to a client as much as the content and differ.
fn differing(sent: Fields<'_>, stored: Fields<'_>) -> Option<&'static str> {
    COMPARED.into_iter().find(|name| sent.get(name.as_bytes()) != stored.get(name.as_bytes()))
}

/// The fields that are compared.
const COMPARED: [&str; 4] = ["content-type", "content-encoding", "content-language", "location"];

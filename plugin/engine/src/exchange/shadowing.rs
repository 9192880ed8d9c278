//! A rule that only watches (`shadow`): everything runs except serving. What a store could have answered goes to the
//! origin all the same, unchanged, and what that sends is compared with what the client would have been given.
//!
//! A request that could have been answered stores nothing, so that lifetimes end as they would; one that could have been
//! answered stale stores what the origin sends, as the refresh does that a rule that serves would have sent.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::looking_up::{Asks, LookingUp};
use super::lookup::{self, Fetch, LookupRequest, RemoteUse};
use super::reply::{self, Shape};
use super::{Directive, Plan, Role, StaleResponse, State};
use crate::admission;
use crate::cache::{Cache, FillEnd, Found, Moment};
use crate::cache::{Usable, usable};
use crate::cache_status::{Detail, Forward, Ttl};
use crate::fields::{FieldBlock, Fields};
use crate::freshness::Schedule;
use crate::insight::mismatches::Mismatch;
use crate::key;
use crate::range;
use crate::request::Request;
use crate::store::form::Form;
use crate::store::response::{Body, StoredResponse};

/// What would have become of a request whose rule only watches.
pub(super) enum Would {
    /// It would have been answered from a store.
    Answer(Box<WouldBe>),
    /// It would have waited for another's fetch, and so for nothing if that is not to be stored.
    Wait,
}

/// What a request could have been answered with. Of the response only what tells it from others is kept: many may be under
/// way, and each may be slow.
pub(super) struct WouldBe {
    status: u16,
    has_validator: bool,
    schedule: Schedule,
    /// The fields that are compared.
    fields: FieldBlock,
    /// The content as the origin sent it; `None` if that is not known.
    whole: Option<Digest>,
    /// What of it the client would be sent in part.
    part: Option<Digest>,
    total: usize,
    shape: Shape,
    pub(super) ttl: Ttl,
}

/// A length and a hash.
#[derive(Clone, Copy)]
struct Digest {
    length: usize,
    hash: u128,
}

impl Digest {
    fn of(content: &[u8]) -> Self {
        Self { length: content.len(), hash: xxh3_128(content) }
    }
}

impl WouldBe {
    fn new(stored: &StoredResponse, shape: Shape, ttl: Ttl, is_head: bool, cache: &mut Cache) -> Self {
        let body = if is_head || matches!(ttl, Ttl::Stale(_)) { None } else { cache.identity_of(stored) };
        let content = body.as_ref().map(Body::as_slice);
        let part = match shape {
            Shape::Part(first, last) => content.and_then(|content| content.get(first..=last)),
            _ => None,
        };
        let fields = stored.fields.fields();
        Self {
            status: stored.status,
            has_validator: stored.has_validator(),
            schedule: stored.schedule,
            fields: fields
                .iter()
                .filter(|(name, _)| COMPARED.iter().any(|one| one.as_bytes() == *name))
                .collect(),
            whole: content.map(Digest::of),
            part: part.map(Digest::of),
            total: stored.content_length(),
            shape,
            ttl,
        }
    }
}

/// Looks up what a rule that serves would look up, and goes to the origin.
pub(super) fn settle(
    keyed: &LookupRequest<'_>,
    remote: RemoteUse,
    fetch: Fetch,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (State, Directive) {
    let LookupRequest { request, rule_index, rule, key, hash, .. } = *keyed;
    let found = cache.find(key, hash, request, rule, moment);
    let (found, form) = cache.in_a_form(found, request, moment);
    if request.origin_precondition {
        let (forward, detail) = (Forward::Bypass, Some(Detail::Precondition));
        let plan = Plan { forward, detail, ..Plan::unkeyed(rule_index, Role::Bystander, moment.now) };
        let edits = super::entering::preconditions(request, rule);
        return (State::Forwarding(Box::new(plan)), Directive::Forward(edits));
    }
    let turn = found.turn(hash);
    let first = remote == RemoteUse::Possible;
    if let Some(asked) = cache.worth_asking_remote(&found, hash, request, rule, first, moment)
        && matches!(remote, RemoteUse::Possible | RemoteUse::FoundFirst)
    {
        let Some(fetch) = take_turn(keyed, turn, fetch, cache, moment) else {
            return collapsed(keyed, moment);
        };
        // Without a claim: no other Envoy is to wait for what this one does not serve.
        let (held, since, adopted) = (keyed.held(), moment.now, Vec::new());
        let waiting =
            LookingUp { held, asked, since, may_ask_again: first, adopted, fetch, asks: Asks::Better };
        return (State::LookingUp(Box::new(waiting)), Directive::AskRemote { hash: asked, claim: None });
    }
    let mut plan = Plan { turn, ..Plan::of(keyed, moment.now) };
    let asks = admission::asks_of(request, rule);
    match found {
        Found::Response { stored, hash, .. } => {
            let ttl = match usable(&stored, &asks, moment.now) {
                Usable::Fresh { remaining } => Ok(Ttl::Fresh(remaining)),
                Usable::MaxStale { by } | Usable::WhileRevalidate { by } => Ok(Ttl::Stale(by)),
                Usable::Not(forward) => Err(forward),
            };
            match ttl {
                Ok(ttl) => {
                    // The client has been given the origin's entity-tags, and asks with them whatever form is stored.
                    let own = Shape::for_request(request, &stored, &Form::AsStored);
                    let shape = match own {
                        Shape::NotModified => own,
                        _ => Shape::for_request(request, &stored, &form),
                    };
                    let bytes = if request.is_head() { 0 } else { reply::length(&stored, &form, shape) };
                    let word = if matches!(ttl, Ttl::Fresh(_)) { "hit" } else { "stale" };
                    cache.stats.add_for_rule(rule_index, ("shadow_requests", word), 1);
                    cache.stats.add_for_rule(rule_index, ("shadow_bytes", word), bytes as u64);
                    (plan.forward, plan.detail) = (Forward::Bypass, Some(Detail::Shadow));
                    match (ttl, fetch) {
                        (Ttl::Fresh(_), Fetch::Leads { id, .. }) => {
                            cache.end_fill(id, FillEnd::Stored, moment);
                        }
                        (Ttl::Fresh(_), _) => {}
                        (Ttl::Stale(_), fetch) => match take_turn(keyed, turn, fetch, cache, moment) {
                            Some(fetch) => plan.leads = fetch.leads(),
                            None => plan.role = Role::Bystander,
                        },
                    }
                    let answer = WouldBe::new(&stored, shape, ttl, request.is_head(), cache);
                    plan.would = Some(Would::Answer(Box::new(answer)));
                    return (State::Forwarding(Box::new(plan)), Directive::Forward(Vec::new()));
                }
                Err(forward) => {
                    plan.forward = forward;
                    plan.stale = Some(StaleResponse {
                        stored,
                        hash,
                        found: cache.known_invalidations(),
                        conditional: false,
                    });
                }
            }
        }
        Found::OtherVariants { .. } => plan.forward = Forward::VaryMiss,
        Found::Purged { .. } => plan.detail = Some(Detail::Purged),
        Found::Nothing => {}
    }
    let Some(fetch) = take_turn(keyed, turn, fetch, cache, moment) else { return collapsed(keyed, moment) };
    plan.leads = fetch.leads();
    cache.stats.add_for_rule(rule_index, ("shadow_requests", "miss"), 1);
    (State::Forwarding(Box::new(plan)), Directive::Forward(Vec::new()))
}

/// One that would wait for another's fetch goes on at once, and stores nothing.
fn collapsed(keyed: &LookupRequest<'_>, moment: &Moment<'_>) -> (State, Directive) {
    let would = Some(Would::Wait);
    let plan = Plan { role: Role::Bystander, would, ..Plan::of(keyed, moment.now) };
    (State::Forwarding(Box::new(plan)), Directive::Forward(Vec::new()))
}

/// How a request would fetch, for itself or for others too; `None` if it would wait for another's fetch.
fn take_turn(
    keyed: &LookupRequest<'_>,
    turn: u128,
    fetch: Fetch,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Option<Fetch> {
    match lookup::take_turn(keyed, (turn, false), fetch, cache, moment) {
        Ok(fetch) => Some(fetch),
        Err(waiting) => {
            waiting.abandon(cache);
            None
        }
    }
}

/// What the origin sends, on its way past what the client would have been given.
pub(super) struct Comparing {
    plan: Box<Plan>,
    would: Box<WouldBe>,
    /// What is still compared with; `None` once the verdict is certain.
    rest: Option<Expected>,
    verdict: Verdict,
}

/// The content that is still expected.
struct Expected {
    hasher: Xxh3,
    /// How much has not come yet.
    left: usize,
    hash: u128,
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
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The head has come.
    pub(super) fn begin(
        plan: Box<Plan>,
        would: Box<WouldBe>,
        status: u16,
        head: Fields<'_>,
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> State {
        let by_origin = moment.host.origin_answered();
        let (verdict, expected) = would.judge_head(&plan, status, head, by_origin);
        let rest =
            expected.map(|Digest { length, hash }| Expected { hasher: Xxh3::new(), left: length, hash });
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
        if let Some(Expected { hasher, left, .. }) = &mut self.rest {
            if let Some(still) = left.checked_sub(chunk.len()) {
                hasher.update(chunk);
                *left = still;
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
        if self.rest.take().is_some_and(|one| one.left > 0 || one.hasher.digest128() != one.hash) {
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

    fn tell(&mut self, cache: &mut Cache, moment: &Moment<'_>) {
        // What was invalidated on the way is no fault of the key.
        if matches!(self.verdict, Verdict::Mismatch(_))
            && cache.invalidated_since(self.plan.hash, self.plan.valid_from)
        {
            self.verdict = Verdict::Unknown;
        }
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
            let age = would.schedule.age(moment.now);
            let request = Request::read(fields, false);
            cache.note_mismatch(Mismatch::new(plan.rule, &request, keyed, what, age));
        }
    }
}

impl WouldBe {
    /// What the head tells, and which content is expected, if any.
    fn judge_head(
        &self,
        plan: &Plan,
        status: u16,
        head: Fields<'_>,
        by_origin: bool,
    ) -> (Verdict, Option<Digest>) {
        let Self { shape, total, .. } = self;
        let is_head = Fields::parse(&plan.head).is_some_and(|fields| Request::read(fields, false).is_head());
        match (status, *shape) {
            // An origin in trouble, or Envoy in its place, says nothing about the key.
            (0 | 429 | 500.., _) => return (Verdict::Unknown, None),
            _ if !by_origin => return (Verdict::Unknown, None),
            (304, Shape::NotModified) | (416, Shape::Unsatisfiable) => return (Verdict::Same, None),
            // The origin knows the client's copy as the present one; the cache would have sent another.
            (304, _) if self.has_validator => return (Verdict::Mismatch("status"), None),
            (304, _) => return (Verdict::Unknown, None),
            // An origin need not say of HEAD what it says of GET.
            _ if is_head => return (Verdict::Unknown, None),
            (206, _) if self.status == 200 => {
                let Some(range) = head.get(b"content-range") else { return (Verdict::Unknown, None) };
                if range::total_of(range).is_some_and(|told| told != *total) {
                    return (Verdict::Mismatch("content-range"), None);
                }
                return match *shape {
                    Shape::Part(first, last) if range == range::content_range(first, last, *total) => {
                        compared(self.part)
                    }
                    _ => (Verdict::Unknown, None),
                };
            }
            _ if status != self.status => return (Verdict::Mismatch("status"), None),
            _ => {}
        }
        match differing(head, self.fields.fields()) {
            Some(field) => (Verdict::Mismatch(field), None),
            None => compared(self.whole),
        }
    }
}

/// The same as far as the head tells, if there is content to go on with.
fn compared(content: Option<Digest>) -> (Verdict, Option<Digest>) {
    (if content.is_some() { Verdict::Same } else { Verdict::Unknown }, content)
}

/// The first of the fields that matter to a client as much as the content and differ.
fn differing(sent: Fields<'_>, stored: Fields<'_>) -> Option<&'static str> {
    COMPARED.into_iter().find(|name| sent.get(name.as_bytes()) != stored.get(name.as_bytes()))
}

/// The fields that are compared.
const COMPARED: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "location",
    "access-control-allow-origin",
];

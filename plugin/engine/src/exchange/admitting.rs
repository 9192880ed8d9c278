//! The way to the origin: where a rule names a pool, a request has to have a slot there. One for which there is none waits,
//! and is refused when it has waited enough: with what is stored, if stale use is allowed when the origin fails, else with
//! 503.

use std::rc::Rc;
use std::time::Duration;

use super::forwarding::ttl;
use super::lookup;
use super::{Directive, LOAD, Plan, Purpose, RequestEdit, State};
use crate::admission::marked;
use crate::cache::{self, Admit, AnsweredBy, Cache, Entry, Failure, FillEnd, Moment, Shed, StaleResponse};
use crate::cache_status::{Detail, Outcome};
use crate::fields::{Fields, status_of};
use crate::policy::{Policy, Rule, Until};
use crate::pools::queue::Class;
use crate::reply::Reply;
use crate::request::Request;
use crate::time::Timestamp;

/// What a request has to do with its rule's pool.
pub(super) struct Admitting {
    rule: usize,
    entry: Entry,
    /// It has been let go, or refused.
    decided: bool,
    /// It waits for a place.
    queued: bool,
    slot: Option<cache::OriginSlot>,
    /// How long it has waited.
    waited: Option<Duration>,
}

/// A request that waits for a slot.
pub(super) struct Queued {
    /// What it becomes when it goes.
    next: State,
    edits: Vec<RequestEdit>,
    ticket: u64,
    since: Timestamp,
}

impl Queued {
    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.next.kept_bytes().saturating_add(bytes_of(&self.edits))
    }

    /// Its client is gone.
    fn abandon(self, cache: &mut Cache, moment: &mut Moment<'_>) {
        if let State::Forwarding(plan) = self.next {
            plan.abandon(FillEnd::Abandoned, cache, moment);
        }
    }
}

fn bytes_of(edits: &[RequestEdit]) -> usize {
    let of = |edit: &RequestEdit| if let RequestEdit::Set(_, value) = edit { value.capacity() } else { 0 };
    edits.iter().map(of).sum::<usize>().saturating_add(size_of_val(edits))
}

impl Admitting {
    /// For a request that may go to its origin, if its rule names a pool. One that is for later is of the lowest class.
    #[inline]
    pub(super) fn of(
        request: &Request<'_>,
        (rule_index, rule): (usize, &Rule),
        is_for_later: bool,
        moment: &mut Moment<'_>,
    ) -> Option<Box<Self>> {
        // All that a rule without it costs.
        let admission = rule.admission.as_ref()?;
        let mut entry = cache::entry_of(request, rule, admission, moment)?;
        if is_for_later {
            entry.class = Class::Low;
        }
        Some(Box::new(Self {
            rule: rule_index,
            entry,
            decided: false,
            queued: false,
            slot: None,
            waited: None,
        }))
    }

    /// Looks at what is to become of the request: one that is to go to the origin needs a slot.
    pub(super) fn pass(
        &mut self,
        state: State,
        directive: Directive,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        match directive {
            Directive::Forward(edits) if !self.decided => self.enter(state, edits, cache, moment),
            mut directive => {
                if let Some(waited) = self.waited {
                    add_to(&mut directive, waited);
                }
                (state, directive)
            }
        }
    }

    fn enter(
        &mut self,
        state: State,
        edits: Vec<RequestEdit>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        self.decided = true;
        if self.entry.shadow {
            self.slot = cache.try_admit(self.entry, moment);
            self.count(if self.slot.is_some() { "went" } else { "shadow" }, cache);
            return (state, Directive::Forward(edits));
        }
        let bytes = state.kept_bytes().saturating_add(bytes_of(&edits));
        match cache.admit(self.entry, moment) {
            Some(Admit::Goes(slot)) => {
                self.slot = Some(slot);
                self.count("went", cache);
            }
            Some(Admit::Waits(ticket)) if cache.has_room_to_wait(bytes) => {
                self.queued = true;
                let queued = Queued { next: state, edits, ticket, since: moment.now };
                return (State::Queued(Box::new(queued)), Directive::AwaitSlot { ticket });
            }
            Some(Admit::Waits(ticket)) => {
                cache.give_ticket_back(self.entry.pool, ticket, moment.now);
                return self.refuse(state, Shed::Memory, 1, cache, moment);
            }
            Some(Admit::Full(retry_after)) => {
                return self.refuse(state, Shed::Full, retry_after, cache, moment);
            }
            None => {}
        }
        (state, Directive::Forward(edits))
    }

    /// What became of its ticket.
    pub(super) fn woken(
        &mut self,
        queued: Queued,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let Queued { mut next, edits, ticket, since } = queued;
        let waited = moment.now.since(since);
        (self.waited, self.queued) = (Some(waited), false);
        match cache.settle_ticket(self.entry.pool, ticket, moment) {
            Ok(slot) => {
                self.slot = slot;
                self.count("waited", cache);
                cache.stats.sample(
                    "duration_us",
                    "pool",
                    u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
                );
                if let State::Forwarding(plan) = &mut next {
                    // Its answer is not older than its leaving.
                    plan.requested = moment.now;
                }
                (next, Directive::Forward(edits))
            }
            Err((why, retry_after)) => self.refuse(next, why, retry_after, cache, moment),
        }
    }

    /// The stream of a request that waits is gone.
    pub(super) fn abandon(&mut self, queued: Queued, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.give_ticket_back(self.entry.pool, queued.ticket, moment.now);
        self.count("left", cache);
        queued.abandon(cache, moment);
    }

    fn count(&self, word: &'static str, cache: &mut Cache) {
        cache.stats.add_for_rule(self.rule, ("pool_requests", word), 1);
    }

    fn refuse(
        &self,
        state: State,
        why: Shed,
        retry_after: u64,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let policy = Rc::clone(cache.policy());
        let rule = policy.rule(self.rule);
        let stale = match state {
            State::Forwarding(plan) => plan.give_way(rule, cache, moment),
            _ => None,
        };
        let word = match why {
            _ if stale.is_some() => "stale",
            Shed::Full | Shed::Memory => "full",
            Shed::Waited | Shed::Displaced => "refused",
        };
        self.count(word, cache);
        cache.count_shed(self.entry, why);
        let status = if stale.is_some() { 200 } else { 503 };
        cache.scratch.refused = Some((Detail::Overload, status));
        let reply = stale.unwrap_or_else(|| {
            let outcome = Outcome { detail: Some(Detail::Overload), ..Outcome::under(rule) };
            cache.stats.record(&outcome);
            overload(&outcome, retry_after, &policy)
        });
        (State::Finished, Directive::Respond(reply))
    }

    /// The head of the response has come: of it the status counts, and what the origin says of its load.
    pub(super) fn head_came(&mut self, head: Fields<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        let Some(mut slot) = self.slot.take() else { return };
        let (status, load) = (status_of(head), head.get(LOAD.as_bytes()));
        let made_here = status >= 500 && !moment.host.origin_answered();
        let Some((sample, release, utilization)) =
            cache.pool_of(&slot).map(|pool| (pool.sample, pool.release, pool.utilization_percent))
        else {
            return;
        };
        if matches!(status, 503 | 504) || made_here && status >= 500 {
            cache.note_origin_failure(&mut slot);
        } else if sample == Until::Head && !made_here {
            let micros = moment.host.micros();
            cache.time_answer(&mut slot, micros);
        }
        if let (Some(most), Some(load)) = (utilization, load)
            && used_more_than(load, most)
        {
            cache.note_origin_strain(&slot);
        }
        match release {
            Until::Head => cache.free_slot(&slot, moment.now),
            Until::End => self.slot = Some(slot),
        }
    }

    /// Whether its request waits for a place.
    #[cfg(all(feature = "llm", feature = "limits"))]
    pub(super) const fn is_queued(&self) -> bool {
        self.queued
    }

    /// Whether a slot is to be given back at the end of the stream.
    pub(super) const fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// The stream has ended.
    pub(super) fn end(&mut self, cache: &mut Cache, moment: &mut Moment<'_>) {
        let Some(mut slot) = self.slot.take() else { return };
        if cache.pool_of(&slot).is_some_and(|pool| pool.sample == Until::End) {
            let micros = moment.host.micros();
            cache.time_answer(&mut slot, micros);
        }
        cache.free_slot(&slot, moment.now);
    }

    /// Fields for the client.
    pub(super) fn fields(&self) -> Option<(&'static str, Vec<u8>)> {
        self.waited.map(|waited| ("server-timing", timing(waited)))
    }
}

fn timing(waited: Duration) -> Vec<u8> {
    format!("queue;dur={}", waited.as_millis()).into_bytes()
}

fn add_to(directive: &mut Directive, waited: Duration) {
    match directive {
        Directive::Relay { add, .. } => add.push(("server-timing", timing(waited))),
        Directive::Respond(reply) => reply.add(b"server-timing", &timing(waited)),
        _ => {}
    }
}

impl Plan {
    /// It is not sent. Gives the stale response that stands in, if one may.
    fn give_way(self: Box<Self>, rule: &Rule, cache: &mut Cache, moment: &mut Moment<'_>) -> Option<Reply> {
        let failure = Failure { status: 503, answered_by: AnsweredBy::Host };
        // Those who wait for it may have the same.
        if self.leads.is_some() {
            cache.note_failure(self.turn, failure, moment.now);
        }
        let reply = self.stale.as_ref().and_then(|stale| self.stand_in(stale, failure, rule, cache, moment));
        self.abandon(FillEnd::Abandoned, cache, moment);
        reply
    }

    fn stand_in(
        &self,
        stale: &StaleResponse,
        failure: Failure,
        rule: &Rule,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<Reply> {
        if self.purpose != Purpose::Client || rule.shadow {
            return None;
        }
        // It may have waited for long.
        let (StaleResponse { stored, .. }, is_new) = self.still_served(stale, cache, moment)?;
        if is_new && !stored.freshness(moment.now).is_stale() {
            let (ttl, detail) = (Some(ttl(&stored, moment)), Some(Detail::Overload));
            let outcome = Outcome { hit: true, ttl, detail, ..Outcome::under(rule) };
            return match self.respond(&stored, &outcome, &[], cache, moment)? {
                Directive::Respond(reply) => Some(reply),
                _ => None,
            };
        }
        let request = marked(Request::read(Fields::parse(&self.head)?, false), rule);
        lookup::stand_in(&stored, failure, Detail::Overload, (&request, rule), cache, moment.now)
    }
}

/// 503 of a pool: too many requests for its origin (RFC 9457 for the content).
fn overload(outcome: &Outcome, retry_after: u64, policy: &Policy) -> Reply {
    let seconds = retry_after.to_string();
    let fields: [(&[u8], &[u8]); 3] = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"retry-after", seconds.as_bytes()),
    ];
    Reply::saying(503, outcome, policy.cache_status_name.as_bytes(), &fields, PROBLEM)
}

const PROBLEM: &[u8] = b"{\"type\":\"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity\",\"title\":\"Too many requests are at the origin\",\"status\":503}\n";

/// Whether a load report (`endpoint-load-metrics`, as text or JSON) says that the processor or the memory is used more than
/// this, in percent. What cannot be read says nothing.
fn used_more_than(report: &[u8], percent: u32) -> bool {
    let text = std::str::from_utf8(report).unwrap_or_default().trim();
    let text = text.strip_prefix("TEXT").or_else(|| text.strip_prefix("JSON")).unwrap_or(text);
    let parts = text.split([',', '{', '}', ';']);
    parts
        .filter_map(|part| part.split_once(['=', ':']))
        .filter(|(name, _)| {
            matches!(
                name.trim().trim_matches('"'),
                "cpu_utilization" | "mem_utilization" | "application_utilization"
            )
        })
        .filter_map(|(_, value)| thousandths(value.trim().trim_matches('"')))
        .any(|used| used > percent.saturating_mul(10))
}

/// A part of one, as a number without exponent: in thousandths, rounded down.
fn thousandths(number: &str) -> Option<u32> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    let part = part.bytes().chain(std::iter::repeat(b'0')).take(3);
    let part = part.fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(whole.parse::<u32>().unwrap_or(u32::MAX).saturating_mul(1000).saturating_add(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_reports_are_read_as_text_and_as_json() {
        for (report, more) in [
            (&b"TEXT cpu_utilization=0.95,mem_utilization=0.1"[..], true),
            (b"cpu_utilization=0.5, mem_utilization=0.91", true),
            (b"cpu_utilization=0.5,rps_fractional=900", false),
            (b"JSON {\"cpu_utilization\": 0.97, \"named_metrics\": {\"cpu_utilization\": 2}}", true),
            (b"JSON {\"mem_utilization\":0.9}", false),
            (b"cpu_utilization=much", false),
            (b"\xff\xfe", false),
        ] {
            assert_eq!(used_more_than(report, 90), more, "{}", String::from_utf8_lossy(report));
        }
    }
}

//! What the stores hold for a request, and what it gets.

use std::rc::Rc;
use std::time::Duration;

use super::reasons::{self, Reason};
use super::{Case, Explanation, Fact, Part, show, times};
use crate::admission::asks_of;
use crate::cache::{Cache, Found, Holdings, Moment, Tier};
use crate::cache::{Usable, usable};
use crate::cache_control::ResponseDirectives;
use crate::cache_status::{Detail, Forward};
use crate::freshness::{self, Schedule};
use crate::key;
use crate::policy::Rule;
use crate::store::Slot;
use crate::store::response::{StoredResponse, Terms};
use crate::store::variants::VariantIndex;
use crate::tags::ANY;
use crate::time::Timestamp;

/// Notes what is stored under a key, and the verdict on the request.
pub(super) fn note(
    case: &Case<'_>,
    key: &[u8],
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) {
    let request = case.subject.request;
    let hash = key::hash(key);
    let holdings = cache.holdings(key, hash, moment);
    let found = cache.find(key, hash, request, case.rule, moment);
    note_places(&holdings, explanation);
    if let Some(Slot::Index(index)) = holdings.worker.as_ref().or(holdings.node.as_ref()) {
        note_variants(index, explanation);
    }
    note_remote(case, &found, hash, cache, moment, explanation);
    if let Found::Response { stored, tier, .. } = &found {
        let place = if *tier == Tier::Worker { "worker" } else { "node" };
        note_response(stored, place, case.rule, cache, moment.now, explanation);
        #[cfg(feature = "foresight")]
        super::adaptive::note(case, &found, cache, moment, explanation);
    }
    verdict(case, &found, cache, moment, explanation);
}

/// The same of a request that is looked up by its inputs: how many of them are stored.
pub(super) fn note_inputs(
    case: &Case<'_>,
    inputs: &[(u128, Rc<[u8]>)],
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) {
    let asks = asks_of(case.subject.request, case.rule);
    let mut there = 0_usize;
    let mut last = Found::Nothing;
    for (hash, key) in inputs {
        let found = cache.find(key, *hash, case.subject.request, case.rule, moment);
        let Found::Response { stored, .. } = &found else { continue };
        if matches!(usable(stored, &asks, moment.now), Usable::Fresh { .. } | Usable::MaxStale { .. }) {
            there = there.saturating_add(1);
            last = found;
        }
    }
    let text = format!("{there} of {} are stored, each by itself", inputs.len());
    let note = explanation.note(Part::Store, "inputs", text);
    note.number("stored", there).number("count", inputs.len());
    if there == inputs.len() || there == 0 {
        return verdict(case, &last, cache, moment, explanation);
    }
    explanation.verdict("request", "goes to the origin", &reasons::of_forward(Forward::Partial));
}

fn note_places(holdings: &Holdings, explanation: &mut Explanation) {
    let Holdings { worker, node, unstorable } = holdings;
    let held = |slot: &Option<Slot>| match slot {
        None => "nothing",
        Some(Slot::Response(_)) => "a response",
        Some(Slot::Index(_)) => "an index of variants",
    };
    let (here, shared) = (held(worker), held(node));
    let mut text = format!("this worker: {here}; all workers: {shared}");
    if *unstorable {
        text.push_str("; responses for the key were not storable a moment ago");
    }
    let note = explanation.note(Part::Store, "place", text);
    note.flag("worker", worker.is_some()).flag("node", node.is_some()).flag("unstorable", *unstorable);
}

fn note_variants(index: &VariantIndex, explanation: &mut Explanation) {
    let mut lists: Vec<String> = index.variants().iter().map(|variant| names(&variant.names)).collect();
    lists.dedup();
    let count = index.variants().len();
    let text = format!("{count}, selected by {}", lists.join(" or "));
    explanation
        .note(Part::Store, "variants", text)
        .number("count", count)
        .with("selected_by", Fact::Texts(lists));
}

pub(super) fn names(names: &[Box<[u8]>]) -> String {
    names.iter().map(|name| show(name)).collect::<Vec<_>>().join(", ")
}

fn note_remote(
    case: &Case<'_>,
    found: &Found,
    hash: u128,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) {
    if !cache.policy().remote.enabled {
        return;
    }
    let asked = cache.worth_asking_remote(found, hash, case.subject.request, case.rule, true, moment);
    let text = match (case.rule.remote, asked) {
        (false, _) => "left out by the rule (remote: false)",
        (true, None) => "not asked by this request",
        (true, Some(_)) => "a request asks it before the origin; what it has is not looked up here",
    };
    explanation.note(Part::Store, "remote", text.into()).flag("asked", asked.is_some());
}

/// Everything about a stored response.
fn note_response(
    stored: &StoredResponse,
    place: &'static str,
    rule: &Rule,
    cache: &Cache,
    now: Timestamp,
    it: &mut Explanation,
) {
    let (schedule, fields) = (&stored.schedule, stored.fields.fields());
    let length = stored.content_length();
    let text = format!("{} with {length} bytes, from the {place} store", stored.status);
    it.note(Part::Store, "response", text)
        .number("status", stored.status.into())
        .number("bytes", length)
        .word("tier", place);
    let directives = ResponseDirectives::read(fields, &rule.targeted);
    let said = freshness::lifetime(stored.status, fields, &directives, rule, schedule.received);
    let (mut text, source) = times::lifetime(&said, stored.status, fields, rule);
    if let Some(since) = cache.softly_purged(stored) {
        text = format!(
            "{}: ended by a soft purge at {}",
            times::seconds(schedule.lifetime),
            since.to_http_date()
        );
    } else if source == "ttl.adaptive" {
        let lifetime = times::seconds(schedule.lifetime);
        text = format!("{lifetime} by how often it changes (ttl.adaptive of the rule)");
    } else if said.length != schedule.lifetime {
        let why =
            if rule.ttl.jitter > 0 { "shortened by ttl.jitter" } else { "as it was when it was stored" };
        text = format!("{} ({why}; {text})", times::seconds(schedule.lifetime));
    }
    it.note(Part::Store, "lifetime", text).with("ms", millis(schedule.lifetime)).word("source", source);
    it.note(Part::Store, "age", times::age(schedule, now)).with("ms", millis(schedule.age(now)));
    let stale = stored.freshness(now).is_stale();
    it.note(Part::Store, "freshness", times::freshness(stored, now)).flag("stale", stale);
    note_stale_windows(Part::Store, schedule, it);
    if stored.terms.contains(Terms::FORBIDS_STALE) {
        it.note(
            Part::Store,
            "stale use",
            "not for clients that accept stale ones: the origin forbids it".into(),
        );
    }
    let coding = match &stored.gzip {
        Some(_) => format!("gzip, {} bytes; inflated for clients that do not take it", stored.body.len()),
        None if stored.is_minified() => "none; JSON without its white space".into(),
        None => "as the origin sent it".into(),
    };
    it.note(Part::Store, "coding", coding).flag("gzip", stored.gzip.is_some());
    let validator =
        if stored.has_validator() { "yes: can be validated" } else { "no: is fetched again when stale" };
    it.note(Part::Store, "validator", validator.into()).flag("there", stored.has_validator());
    if !stored.tags.is_empty() {
        let many = if stored.tags.first() == Some(&ANY) {
            ", too many to tell apart: any purge by tag covers it"
        } else {
            ""
        };
        let text = format!("{} kept as hashes{many}", stored.tags.len());
        it.note(Part::Store, "tags", text).number("hashes", stored.tags.len());
    }
}

/// Notes for how long it may be used past its lifetime.
pub(super) fn note_stale_windows(part: Part, schedule: &Schedule, explanation: &mut Explanation) {
    let note = explanation.note(part, "stale use", times::stale_windows(schedule));
    note.with("while_revalidate_ms", millis(schedule.while_revalidate));
    note.with("if_error_ms", millis(schedule.if_error));
    note.with("disconnected_ms", millis(schedule.disconnected));
}

pub(super) fn millis(time: Duration) -> Fact {
    Fact::Number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// What the request gets.
fn verdict(
    case: &Case<'_>,
    found: &Found,
    cache: &Cache,
    moment: &Moment<'_>,
    explanation: &mut Explanation,
) {
    let asks = asks_of(case.subject.request, case.rule);
    let forwarded = |forward: Forward| ("goes to the origin", reasons::of_forward(forward));
    let served = |detail: Detail| ("answered from the store", reasons::of_detail(detail));
    let (mut outcome, mut reason): (&'static str, Reason) = match found {
        Found::Nothing => forwarded(Forward::UriMiss),
        Found::Purged { .. } => ("goes to the origin", reasons::of_detail(Detail::Purged)),
        Found::OtherVariants { .. } => forwarded(Forward::VaryMiss),
        Found::Response { stored, tier, hash } => match usable(stored, &asks, moment.now) {
            Usable::Fresh { .. } if *tier == Tier::Worker => served(Detail::Worker),
            Usable::Fresh { .. } => served(Detail::Node),
            Usable::MaxStale { .. } => served(Detail::MaxStale),
            // One that no call can renew is renewed by the client that asks second.
            Usable::WhileRevalidate { .. } if cache.awaits_revalidation(*hash, moment.now) => {
                forwarded(Forward::Stale)
            }
            Usable::WhileRevalidate { .. } => served(Detail::StaleWhileRevalidate),
            Usable::Not(forward) => forwarded(forward),
        },
    };
    if case.rule.shadow {
        if outcome != "goes to the origin" {
            let text = format!("would be {outcome}: {}: {}", reason.word, reason.why);
            explanation.note(Part::Store, "shadow", text).word("word", reason.word);
            reason = reasons::of_detail(Detail::Shadow);
        }
        explanation.verdict("request", "goes to the origin", &reason);
        return;
    }
    if outcome == "goes to the origin" {
        if asks.only_if_cached {
            (outcome, reason) = ("answered with 504", reasons::of_detail(Detail::OnlyIfCached));
        } else if cache.origin_open(case.rule_index, case.rule, moment.now).is_some() {
            (outcome, reason) = ("kept from the origin", reasons::of_detail(Detail::OriginOpen));
        }
    }
    explanation.verdict("request", outcome, &reason);
}

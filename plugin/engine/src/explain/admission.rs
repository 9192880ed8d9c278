//! What a request has to pass beside the cache: the limits that count it, and the pool of its origin.

#[cfg(feature = "pools")]
use super::Passage;
use super::reasons;
use super::{Case, Explanation, Fact, Part, show, times};
use crate::cache::{Cache, Moment};
use crate::cache_status::Detail;
use crate::callers::{Asking, value_of};
use crate::policy::By;
#[cfg(feature = "limits")]
use crate::policy::{Limit, LimitCounts, LimitScope};
#[cfg(feature = "pools")]
use crate::{cache::Entry, policy::Admission, pools::gate::Outlook, pools::queue::Class};

/// The rooms that a request comes through before the cache, and those before its origin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    BeforeCache,
    BeforeOrigin,
}

/// Notes the limits that count the request there. Whether one refuses it.
#[cfg(feature = "limits")]
pub(super) fn note_limits(
    case: &Case<'_>,
    place: Place,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) -> bool {
    let (request, rule) = (case.subject.request, case.rule);
    if rule.limited.is_empty() {
        return false;
    }
    let counts = if place == Place::BeforeCache { LimitCounts::Requests } else { LimitCounts::Forwarded };
    let policy = std::rc::Rc::clone(cache.policy());
    let mut refuses = false;
    for (at, keyed, peeked) in cache.peek_limits(request, rule, counts, moment) {
        let Some(limit) = policy.limits.get(at) else { continue };
        let key = format!("{:016x}", keyed.hash >> 64);
        let (parts, tier) = (parts(case, &limit.by, moment), tier_of(case, limit, moment));
        let mut text =
            format!("\"{}\": {} in {}, ", limit.name, keyed.rate.quota(), times::seconds(limit.window));
        text.push_str(&format!("{} at once, {}, for ", keyed.rate.burst(), counted(limit)));
        text.push_str(&if parts.is_empty() { "all together".to_owned() } else { parts.join(", ") });
        if let Some(tier) = &tier {
            text.push_str(&format!(", tier {tier}"));
        }
        text.push_str(&format!("; key {key}; "));
        let is_known = limit.scope == LimitScope::Node || peeked.wait > 0;
        let would = is_known && peeked.wait > 0;
        text.push_str(&match (is_known, would) {
            (false, _) => "what the fleet has left is not looked up here".to_owned(),
            (true, false) => format!("{} left", peeked.left),
            (true, true) => format!("refused for {} ms", peeked.wait),
        });
        if limit.shadow {
            text.push_str("; it only watches (shadow)");
        }
        refuses |= would && !limit.shadow;
        let note = explanation.note(Part::Request, "limit", text);
        note.with("name", Fact::Text((*limit.name).into()))
            .with("by", Fact::Texts(parts))
            .with("key", Fact::Text(key));
        note.with("quota", Fact::Number(keyed.rate.quota())).with("burst", Fact::Number(keyed.rate.burst()));
        note.flag("shadow", limit.shadow).flag("refuses", would);
        if is_known {
            note.with("left", Fact::Number(peeked.left)).with("wait_ms", Fact::Number(peeked.wait));
        }
    }
    refuses
}

#[cfg(feature = "limits")]
const fn counted(limit: &Limit) -> &'static str {
    match limit.counts {
        LimitCounts::Requests => "counting every request",
        LimitCounts::Forwarded => "counting what goes to the origin",
    }
}

#[cfg(feature = "limits")]
fn tier_of(case: &Case<'_>, limit: &Limit, moment: &mut Moment<'_>) -> Option<String> {
    let tiers = limit.tiers.as_ref()?;
    let (mut value, mut peer) = (Vec::new(), || moment.host.peer());
    let mut asking = Asking { request: case.subject.request, rule: &case.rule.name, peer: &mut peer };
    value_of(&tiers.by, &mut asking, &mut None, &mut value);
    let known = tiers.quota.iter().find(|(name, _)| name.as_bytes() == value);
    Some(known.map_or_else(|| "none".to_owned(), |(name, _)| format!("\"{name}\"")))
}

/// Says that a limit refuses the request, or has refused it.
#[cfg(feature = "limits")]
pub(super) fn refused(about: &'static str, status: u16, explanation: &mut Explanation) {
    let outcome = if status == 503 { "answered with 503" } else { "answered with 429" };
    explanation.verdict(about, outcome, &reasons::of_detail(Detail::Limited));
}

/// Notes the pool that the request goes through if it goes to its origin, and what would become of it there.
#[cfg(feature = "pools")]
pub(super) fn note_pool(
    case: &Case<'_>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) {
    let (request, rule) = (case.subject.request, case.rule);
    let Some(admission) = &rule.admission else { return };
    let Some(entry) = crate::cache::entry_of(request, rule, admission, moment) else { return };
    let Some(pool) = cache.pool_figures().into_iter().nth(entry.pool) else { return };
    let (from, why) = class_from(case, admission);
    let parts = parts(case, &admission.fair_by, moment);
    let [high, normal, low] = pool.waiting;
    let mut text = format!("\"{}\": class {}, {why}", pool.name, entry.class.word());
    if !parts.is_empty() {
        text.push_str(&format!("; lane {} of {}", entry.lane, parts.join(", ")));
    }
    text.push_str(&format!(
        "; limit {}, of which this worker has {} and uses {}; here wait {high} high, {normal} normal, {low} low",
        pool.limit, pool.share, pool.in_flight
    ));
    if entry.shadow {
        text.push_str("; it only watches (admission.shadow)");
    }
    let note = explanation.note(Part::Request, "pool", text);
    note.with("name", Fact::Text((*pool.name).into())).word("class", entry.class.word()).word("from", from);
    note.with("fair_by", Fact::Texts(parts)).number("lane", entry.lane.into());
    note.number("limit", pool.limit as usize).number("in_flight", pool.in_flight as usize);
    note.number("waiting", pool.waiting.iter().sum()).flag("shadow", entry.shadow);
    verdict(case, entry, cache, moment, explanation);
}

/// Where the class comes from, as a word and as a sentence.
#[cfg(feature = "pools")]
fn class_from(case: &Case<'_>, admission: &Admission) -> (&'static str, String) {
    let Some(name) = &admission.priority_header else {
        return ("rule", "by admission.priority".into());
    };
    let shown = show(name);
    match case.subject.request.fields.get(name) {
        Some(said) if Class::of_word(said.trim_ascii()).is_some() => {
            ("header", format!("by {shown}: \"{}\"", show(said)))
        }
        Some(said) => {
            ("rule", format!("by admission.priority, since {shown}: \"{}\" names none", show(said)))
        }
        None => ("rule", format!("by admission.priority, since there is no {shown}")),
    }
}

#[cfg(feature = "pools")]
fn verdict(case: &Case<'_>, entry: Entry, cache: &Cache, moment: &Moment<'_>, explanation: &mut Explanation) {
    let overload = reasons::of_detail(Detail::Overload);
    let outlook = match case.subject.passage {
        Passage::Behind => return,
        Passage::Refused(Detail::Overload, 503) => {
            return explanation.verdict("pool", "answered with 503", &overload);
        }
        Passage::Refused(Detail::Overload, _) => {
            return explanation.verdict("pool", "answered from the store", &overload);
        }
        Passage::Refused(..) => return,
        Passage::Ahead => cache.outlook(entry, moment.now),
    };
    let (outcome, text) = match outlook {
        _ if entry.shadow => return,
        Some(Outlook::Goes) => ("goes", "goes at once".to_owned()),
        Some(Outlook::Waits) => {
            let most = cache.policy().pools.get(entry.pool).map(|pool| {
                let wait = &pool.queue.wait;
                match entry.class {
                    Class::High => wait.high,
                    Class::Normal => wait.normal,
                    Class::Low => wait.low,
                }
            });
            let most = times::seconds(most.unwrap_or_default());
            (
                "waits",
                format!("waits for a place, {most} at most, and is then served what is stored or refused"),
            )
        }
        Some(Outlook::Full) => return explanation.verdict("pool", "refused, the queue is full", &overload),
        None => return,
    };
    explanation.note(Part::Verdict, "pool", text).word("outcome", outcome);
}

/// What tells those who ask apart, each with what the request has of it. A field or cookie may be a secret.
pub(super) fn parts(case: &Case<'_>, by: &[By], moment: &mut Moment<'_>) -> Vec<String> {
    let mut peer = || moment.host.peer();
    let mut asking = Asking { request: case.subject.request, rule: &case.rule.name, peer: &mut peer };
    let mut address = None;
    let part = |by: &By| {
        let mut value = Vec::new();
        let there = value_of(by, &mut asking, &mut address, &mut value);
        let name = match by {
            By::Ip => "ip".to_owned(),
            By::Header(name) => format!("header:{}", show(name)),
            By::Cookie(name) => format!("cookie:{}", show(name)),
            By::Session(name) => format!("session:{}", show(name)),
            By::Host => "host".to_owned(),
            By::Path => "path".to_owned(),
            By::Rule => "rule".to_owned(),
        };
        match by {
            _ if !there => format!("{name} (absent: shares with all who have none)"),
            By::Header(_) | By::Cookie(_) | By::Session(_) => {
                format!("{name} (there, {} bytes)", value.len())
            }
            // The network of an address of IPv6 is eight bytes, which may be no text.
            By::Ip if value.len() == 8 && !value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.')) => {
                let groups: Vec<String> = value
                    .chunks(2)
                    .map(|pair| {
                        let number = pair.iter().fold(0_u16, |sum, byte| (sum << 8) | u16::from(*byte));
                        format!("{number:x}")
                    })
                    .collect();
                format!("{name} ({}::/64)", groups.join(":"))
            }
            _ => format!("{name} ({})", show(&value)),
        }
    };
    by.iter().map(part).collect()
}

//! Answers 429 to a client that has asked for too much, before the cache or after it, and tells the others what they have left.

use super::{Seen, Then, answer};
use crate::cache::{Cache, Moment};
use crate::cache_status::Detail;
use crate::fields::Fields;
use crate::limits::{Admitted, Denied, Patience, Refused, Reserve, told};
use crate::policy::{LimitCounts, Rule};
use crate::request::Request;
use crate::time::Timestamp;

/// What is kept of a request for its response: hand it to [`fields`] and [`settle`].
pub(crate) type Limited = Admitted;

/// Asks the limits that count every request. What they say is left for [`take`].
#[inline]
pub(super) fn enter(seen: &Seen<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Option<Then> {
    // All that a rule without it costs.
    if seen.rule.limited.is_empty() {
        return None;
    }
    let mut limited = Limited::default();
    let asked = (seen.rule_index, seen.rule);
    let patience = match cache.scratch.patience.take() {
        Some(until) => Patience::Until(until),
        None if cache.has_room_to_wait(seen.request.fields.block_bytes()) => Patience::New,
        None => Patience::None,
    };
    match cache.ask_limits(seen.request, asked, (LimitCounts::Requests, None, patience), &mut limited, moment)
    {
        Ok(()) => {
            cache.scratch.limited = (!limited.is_over()).then(|| Box::new(limited));
            None
        }
        Err(Denied::Refused(refused)) => Some(refuse(&refused, seen.rule, cache)),
        Err(Denied::Waits { ticket, until }) => Some(Then::Wait { ticket, until }),
    }
}

/// The request at hand has waited, and may do so until then; for [`enter`].
pub(crate) const fn has_waited(until: Timestamp, cache: &mut Cache) {
    cache.scratch.patience = Some(until);
}

/// What the limits have said of the request that has just passed the stages; `None` for most. An exchange keeps it.
pub(crate) const fn take(cache: &mut Cache) -> Option<Box<Limited>> {
    cache.scratch.limited.take()
}

/// Asks the limits that count what a store cannot answer, before the request goes to the origin. Adds what they say to what the
/// exchange keeps. `reserve` is what the request may use of a language model. `Some` is why it does not go.
#[inline]
pub(crate) fn after_cache(
    request: &Request<'_>,
    (rule_index, rule): (usize, &Rule),
    (reserve, patience): (Option<&Reserve>, Patience),
    limited: &mut Option<Box<Limited>>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Option<Denied> {
    if rule.limited.is_empty() {
        return None;
    }
    let mut kept = limited.take().unwrap_or_default();
    let asked = (rule_index, rule);
    let counts = (LimitCounts::Forwarded, reserve, patience);
    let denied = cache.ask_limits(request, asked, counts, &mut kept, moment).err();
    *limited = (!kept.is_over()).then_some(kept);
    denied
}

/// The fields that the head of a response gets on its way to the client, whoever made it. No call of the host.
pub(crate) fn fields(limited: &Limited, cache: &Cache) -> Vec<told::Line> {
    cache.told_of_quota(limited)
}

/// The response says what its request has cost. To be called once, with the head that the origin or a store gives.
pub(crate) fn settle(
    limited: &mut Limited,
    response: Fields<'_>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) {
    let mut cost_in = |name: &[u8]| std::str::from_utf8(response.get(name)?.trim_ascii()).ok()?.parse().ok();
    cache.settle_limits(limited, &mut cost_in, moment);
}

/// The answer in the origin's place.
#[cold]
pub(crate) fn refuse(refused: &Refused, rule: &Rule, cache: &mut Cache) -> Then {
    let (status, lines, content) = cache.told_of_refusal(refused);
    #[cfg(feature = "llm")]
    let (lines, content) = match &rule.llm {
        Some(llm) => in_the_words_of(llm.api, status, lines),
        None => (lines, content),
    };
    let lines: Vec<(&[u8], &[u8])> = lines.iter().map(|(name, value)| (*name, &**value)).collect();
    answer(status, Detail::Limited, &lines, &content, rule, cache)
}

/// The answer where a budget refuses.
#[cfg(feature = "llm")]
#[cold]
pub(crate) fn over_budget(refused: &crate::budgets::Refused, rule: &Rule, cache: &mut Cache) -> Then {
    use crate::budgets::Why;
    use selvage_llm::formats::{Provider, Refusal, refusal};

    let (why, again) = match refused.why {
        Why::Spent => (Refusal::Quota, &b"false"[..]),
        Why::Reserved => (Refusal::RateLimit, &b"true"[..]),
        Why::Unavailable => (Refusal::Overload, &b"true"[..]),
    };
    let api = rule.llm.as_ref().map_or(Provider::OpenAi, |llm| llm.api);
    let content = refusal(api, why, &cache.told_of_budget(refused));
    let seconds = refused.wait_ms.div_ceil(1000).max(1).to_string();
    let lines = [
        (&b"content-type"[..], &b"application/json"[..]),
        (b"cache-control", b"no-store"),
        (b"retry-after", seconds.as_bytes()),
        // Clients of both providers obey it: they try again by themselves, and an hour later is no use to them.
        (b"x-should-retry", again),
    ];
    answer(why.status(), Detail::Budget, &lines, &content, rule, cache)
}

/// A refusal as clients of a language model's API understand it.
#[cfg(feature = "llm")]
fn in_the_words_of(
    provider: selvage_llm::formats::Provider,
    status: u16,
    mut lines: Vec<told::Line>,
) -> (Vec<told::Line>, Vec<u8>) {
    use selvage_llm::formats::{Refusal, refusal};

    let (why, message) = match status {
        429 => (Refusal::RateLimit, "Rate limit reached. Try again after the time in Retry-After."),
        _ => (Refusal::Overload, "The rate limit cannot be checked now. Try again later."),
    };
    for (name, value) in &mut lines {
        if *name == b"content-type" {
            *value = b"application/json".to_vec();
        }
    }
    (lines, refusal(provider, why, message))
}

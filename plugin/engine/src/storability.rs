//! Whether a response may be stored under a rule, and which of its fields.

pub use selvage_http::storability::{
    Asked, Refusal, is_bodiless, is_of_the_request, is_stored, is_understood, judge,
};

#[cfg(feature = "llm")]
pub(crate) mod answers;

use selvage_http::storability;

use crate::cache_control::ResponseDirectives;
use crate::fields::{Fields, same_name, status_of};
use crate::firewall::Vector;
use crate::freshness::Lifetime;
use crate::policy::Rule;
use crate::vary::Vary;

/// The directives that a response has for its rule.
pub fn directives_of(response: Fields<'_>, rule: &Rule) -> ResponseDirectives {
    #[cfg(feature = "llm")]
    if let Some(directives) = answers::directives(rule) {
        return directives;
    }
    ResponseDirectives::read(response, &rule.targeted)
}

/// Why the head of a response keeps it from the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It may not be stored.
    Refused(Refusal),
    /// The request that brought it could have switched a framework, and its `Vary` does not say so.
    Firewall(Vector),
    /// It is larger than any store takes.
    TooLarge,
    /// The rule stores answers of language models, and it is none.
    #[cfg(feature = "llm")]
    NoAnswer,
}

/// As [`judge`], and by what else decides when the head of a response has come: whether the origin made it, what it varies
/// on, and the length that it promises against the largest that any store takes. Gives the fields of its `Vary`.
///
/// # Errors
/// The first reason not to store it.
#[expect(clippy::too_many_arguments, reason = "the whole situation is needed to decide")]
pub fn judge_head(
    asked: Asked,
    status: u16,
    response: Fields<'_>,
    directives: &ResponseDirectives,
    rule: &Rule,
    lifetime: impl FnOnce() -> Lifetime,
    by_origin: impl FnOnce() -> bool,
    request: Fields<'_>,
    (length, largest): (Option<usize>, usize),
) -> Result<Vec<Box<[u8]>>, Unfit> {
    judge(asked, status, response, directives, rule, lifetime).map_err(Unfit::Refused)?;
    // What another filter or Envoy itself made, be it a redirect, says nothing about the origin's resource.
    if !by_origin() {
        return Err(Unfit::Refused(Refusal::Status));
    }
    #[cfg(feature = "llm")]
    if rule.stores_answers() && !answers::is_answer(response) {
        return Err(Unfit::NoAnswer);
    }
    let names = match Vary::parse(response) {
        Vary::None => Vec::new(),
        Vary::Fields(names) => names,
        Vary::Star => return Err(Unfit::Refused(Refusal::VaryStar)),
    };
    if asked.switches && !names_switches(request, &names, rule) {
        return Err(Unfit::Firewall(Vector::UnkeyedHeader));
    }
    if length.is_some_and(|length| length > largest) || !are_few(response) {
        return Err(Unfit::TooLarge);
    }
    Ok(names)
}

/// Whether every field of a request that switches a framework is among the names that select a response.
pub fn names_switches(request: Fields<'_>, names: &[Box<[u8]>], rule: &Rule) -> bool {
    request.iter().all(|(name, _)| {
        !rule.vary.require.iter().any(|listed| same_name(listed, name))
            || names.iter().any(|named| same_name(named, name))
    })
}

/// Whether a field of a response stays out of the store: those [of the RFC](storability::is_kept_out), what only described
/// this one exchange, and what the client that asked has left of a quota.
pub fn is_kept_out(name: &[u8], response: Fields<'_>) -> bool {
    is_of_the_exchange(name)
        || is_of_a_quota(name)
        || name == b"retry-after" && status_of(response) == TOO_MANY_REQUESTS
        || storability::is_kept_out(name, response)
}

/// Whether a field says what one client has left of a quota: `RateLimit`, `RateLimit-Policy` and their elder kin. Another client
/// that is told so would slow down, or would not, for somebody else's sake.
pub fn is_of_a_quota(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"x-").unwrap_or(name);
    name.starts_with(b"ratelimit") || name.starts_with(b"rate-limit")
}

/// The status whose `Retry-After` is one client's (RFC 6585 §4).
pub const TOO_MANY_REQUESTS: u16 = 429;

/// Whether a stored response may have this field: one that is [sound](storability::is_sound), and not of one exchange.
pub fn is_sound((name, value): (&[u8], &[u8])) -> bool {
    storability::is_sound((name, value)) && !is_of_the_exchange(name)
}

/// Fields of Envoy's and of ours that are about one exchange.
fn is_of_the_exchange(name: &[u8]) -> bool {
    OF_THE_EXCHANGE.contains(&name)
}

const OF_THE_EXCHANGE: [&[u8]; 2] = [b"x-envoy-upstream-service-time", b"selvage-explanation"];

/// Whether fields are so few that Envoy takes them back with a few lines more: past a bound of its own it takes a block for no
/// fields at all.
pub fn are_few(fields: Fields<'_>) -> bool {
    fields.len() <= MOST_LINES && fields.block_bytes() <= MOST_BYTES
}

/// Envoy takes 1024 lines and 1 MiB; the rest is for what is added when a response is sent.
const MOST_LINES: usize = 768;
const MOST_BYTES: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    #[test]
    fn what_envoy_would_take_for_no_fields_is_told() {
        let block = |count: usize, length: usize| {
            let value = vec![b'v'; length];
            (0..count).map(|_| (&b"name"[..], &value[..])).collect::<FieldBlock>()
        };
        assert!(are_few(block(768, 10).fields()));
        assert!(!are_few(block(769, 10).fields()));
        assert!(!are_few(block(2, 300_000).fields()));
    }
}

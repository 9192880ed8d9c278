//! Whether a response may be stored: RFC 9111 §3, as a shared cache that would rather not.

use crate::cache_control::ResponseDirectives;
use crate::fields::Fields;
use crate::firewall;
use crate::freshness::{Lifetime, LifetimeSource, Overrides};
use crate::vary::is_token_byte;

/// What storability depends on about the request that brought the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// It carried credentials that are not part of its key.
    pub authorization: bool,
    /// It said `no-store`.
    pub no_store: bool,
    /// It had a `Range` or an `Expect`, which are not in its key: only what does not depend on them answers others too.
    pub special: bool,
    /// It had a field that switches a framework, which the response's `Vary` has to name.
    pub switches: bool,
}

/// Why a response is not stored. A closed set: these are words of `Cache-Status` and of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request said `no-store` (§5.2.1.5).
    RequestNoStore,
    /// The response says `no-store` (§5.2.2.5).
    NoStore,
    /// The response says `private` (§5.2.2.7).
    Private,
    /// The request carried `Authorization` and the response does not allow sharing (§3.5).
    Authorization,
    /// The response sets a cookie, and the operator has not said that it may be stored.
    SetCookie,
    /// `Vary: *`, or more fields than we keep (§4.1).
    VaryStar,
    /// A part (206), a 304 that nothing here can complete (§3.3), or a 416.
    Partial,
    /// The operator does not list the status, the status is not final, or the error was not made by the origin.
    Status,
    /// `must-understand` with a status this cache does not know (§5.2.2.3).
    MustUnderstand,
    /// No freshness and nothing to validate with: storing it could never help.
    NoFreshness,
    /// `no-cache` without a validator: every use would fetch it again.
    NoCache,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::RequestNoStore,
        Self::NoStore,
        Self::Private,
        Self::Authorization,
        Self::SetCookie,
        Self::VaryStar,
        Self::Partial,
        Self::Status,
        Self::MustUnderstand,
        Self::NoFreshness,
        Self::NoCache,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryStar => "vary-star",
            Self::Partial => "partial",
            Self::Status => "status",
            Self::MustUnderstand => "must-understand",
            Self::NoFreshness => "no-freshness",
            Self::NoCache => "no-cache",
        }
    }
}

/// Whether a refusal is about the request that brought the response: of what is stored it says nothing, and no client is to
/// remove by its own fields what others may have (RFC 9111 §5.2.1.5 forbids to store, not to keep).
pub const fn is_of_the_request(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::RequestNoStore | Refusal::Status)
}

/// Judges a final response to a request whose method is cacheable. `Vary` is judged where variants are known.
/// The `lifetime` is asked for last: most responses that are not storable say so outright.
///
/// # Errors
/// The first reason not to store it.
pub fn judge(
    asked: Asked,
    status: u16,
    response: Fields<'_>,
    directives: &ResponseDirectives,
    overrides: &impl Overrides,
    lifetime: impl FnOnce() -> Lifetime,
) -> Result<(), Refusal> {
    let understood = is_understood(status);
    if asked.no_store {
        return Err(Refusal::RequestNoStore);
    }
    if is_partial(status) {
        return Err(Refusal::Partial);
    }
    // What is moved, missing or gone is that whole (RFC 9110 §14.2 is about 200 alone).
    if asked.special && !matches!(status, 200 | 301 | 308 | 404 | 410) {
        return Err(Refusal::Status);
    }
    let listed = overrides.statuses().map(|listed| listed.contains(&status));
    if status < 200 || listed == Some(false) {
        return Err(Refusal::Status);
    }
    let named = listed == Some(true) || overrides.by_status().iter().any(|(named, _)| *named == status);
    if firewall::is_provoked(status) && !named {
        return Err(Refusal::Status);
    }
    if directives.must_understand && !understood {
        return Err(Refusal::MustUnderstand);
    }
    // §5.2.2.3: who understands the status ignores the no-store that protects from those who do not.
    if directives.no_store && !directives.must_understand {
        return Err(Refusal::NoStore);
    }
    if directives.private {
        return Err(Refusal::Private);
    }
    if asked.authorization && !directives.despite_authorization() {
        return Err(Refusal::Authorization);
    }
    if !overrides.stores_cookies() && response.get(b"set-cookie").is_some() {
        return Err(Refusal::SetCookie);
    }
    let validator = response.get(b"etag").is_some() || response.get(b"last-modified").is_some();
    if directives.no_cache && !validator {
        return Err(Refusal::NoCache);
    }
    let lifetime = lifetime();
    // §3: without explicit freshness only some statuses may be stored at all.
    let silent = lifetime.source == LifetimeSource::None;
    if silent && !directives.public && !firewall::heuristically_storable_status(status) {
        return Err(Refusal::NoFreshness);
    }
    // Stale use may still be allowed (RFC 5861).
    let never_stale = directives.stale_while_revalidate.is_none() && directives.stale_if_error.is_none();
    if lifetime.length.is_zero() && !validator && never_stale {
        return Err(Refusal::NoFreshness);
    }
    Ok(())
}

/// Whether a status answers a range or a condition, and so means nothing to who asked without.
const fn is_partial(status: u16) -> bool {
    matches!(status, 206 | 304 | 416)
}

/// Whether there are stored responses of this status at all.
pub const fn is_stored(status: u16) -> bool {
    matches!(status, 200..=599) && !is_partial(status)
}

/// Statuses whose responses have no content whatever their fields say (RFC 9110 §6.4.1).
pub const fn is_bodiless(status: u16) -> bool {
    status == 204 || status == 304
}

/// The final statuses of RFC 9110 §15, whose meaning for caches this one implements.
pub fn is_understood(status: u16) -> bool {
    matches!(status, 200..=206 | 300..=305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505)
}

/// Whether a field of a response stays out of the store (RFC 9111 §3.1): hop-by-hop fields, those that
/// `connection` nominates, those for a proxy, `Age`, which is worked out anew, and what only described this
/// one exchange.
pub fn is_kept_out(name: &[u8], response: Fields<'_>) -> bool {
    is_of_the_connection(name)
        || response.members(b"connection").any(|nominated| nominated.eq_ignore_ascii_case(name))
}

/// Whether a stored response may have this field: a token in lower case (RFC 9110 §5.6.2) that is not the connection's own,
/// and a value that ends no line (§5.5). A proxy may write what it is given to clients of HTTP/1 as it is.
pub fn is_sound((name, value): (&[u8], &[u8])) -> bool {
    let is_name = |byte: &u8| is_token_byte(*byte) && !byte.is_ascii_uppercase();
    !name.is_empty()
        && name.iter().all(is_name)
        && !is_of_the_connection(name)
        && !value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'))
}

/// Whether no stored response has a field of this name, whatever its `Connection` says.
fn is_of_the_connection(name: &[u8]) -> bool {
    name.first() == Some(&b':')
        || matches!(
            name,
            b"connection"
                | b"keep-alive"
                | b"proxy-connection"
                | b"proxy-authenticate"
                | b"proxy-authentication-info"
                | b"proxy-authorization"
                | b"te"
                | b"trailer"
                | b"transfer-encoding"
                | b"upgrade"
                | b"age"
        )
}

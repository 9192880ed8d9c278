//! Says what became of a request: the `Cache-Status` field of RFC 9211.

use std::time::Duration;

/// Why a request went to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was told to stay out of it.
    Bypass,
    /// The method is not one the cache answers.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is stored for the URI, but not for these selecting fields.
    VaryMiss,
    /// The request's own directives.
    Request,
    /// What is stored is stale.
    Stale,
    /// A part of what is asked for is stored.
    Partial,
}

impl Forward {
    /// The token of RFC 9211 §2.2.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// A member of `Cache-Status`: what one cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// The answer came from the store without asking anyone (§2.1).
    pub hit: bool,
    /// Why the request was forwarded (§2.2).
    pub forward: Option<Forward>,
    /// The status that the origin answered with (§2.3).
    pub forward_status: Option<u16>,
    /// Freshness that is left (§2.4).
    pub ttl: Option<Ttl>,
    /// The response is being stored (§2.5).
    pub stored: bool,
    /// The request waited for another one's answer (§2.6).
    pub collapsed: bool,
    /// What else there is to say, as a token (§2.8).
    pub detail: Option<&'a str>,
}

/// Remaining freshness; negative when the response is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Fresh for this long.
    Fresh(Duration),
    /// Stale for this long.
    Stale(Duration),
}

impl CacheStatus<'_> {
    /// Appends the member of `Cache-Status` for the cache called `name` (a serialised token or string) to `out`.
    #[inline]
    pub fn write(&self, name: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(name);
        if self.hit {
            out.extend_from_slice(b"; hit");
        }
        if let Some(forward) = self.forward {
            out.extend_from_slice(b"; fwd=");
            out.extend_from_slice(forward.as_str().as_bytes());
        }
        let mut digits = itoa::Buffer::new();
        if let Some(status) = self.forward_status {
            out.extend_from_slice(b"; fwd-status=");
            out.extend_from_slice(digits.format(status).as_bytes());
        }
        if self.stored {
            out.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            out.extend_from_slice(b"; collapsed");
        }
        if let Some(ttl) = self.ttl {
            let (sign, length) = match ttl {
                Ttl::Fresh(left) => (&b"; ttl="[..], left),
                Ttl::Stale(by) if by.as_secs() > 0 => (&b"; ttl=-"[..], by),
                Ttl::Stale(by) => (&b"; ttl="[..], by),
            };
            out.extend_from_slice(sign);
            out.extend_from_slice(digits.format(length.as_secs()).as_bytes());
        }
        if let Some(detail) = self.detail {
            out.extend_from_slice(b"; detail=");
            out.extend_from_slice(detail.as_bytes());
        }
    }
}

//! Answers of the gateway's own, in the shape that the API's clients understand.

use super::Provider;
use crate::json::write_text;

/// Why a gateway does not let a request through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The budget is spent. 429, and not to be tried again before `Retry-After`.
    Quota,
    /// Too much at once. 429.
    RateLimit,
    /// There is no room now. 503.
    Overload,
}

impl Refusal {
    /// The status to go with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::Quota | Self::RateLimit => 429,
            Self::Overload => 503,
        }
    }
}

/// The body of an error, as JSON. `message` is for people.
///
/// ```
/// use selvage_llm::formats::{Provider, Refusal, refusal};
///
/// assert_eq!(
///     refusal(Provider::Anthropic, Refusal::Overload, "Come back \"soon\"."),
///     br#"{"type":"error","error":{"type":"overloaded_error","message":"Come back \"soon\"."}}"#
/// );
/// ```
pub fn refusal(provider: Provider, why: Refusal, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match provider {
        Provider::OpenAi => {
            let (kind, code) = match why {
                Refusal::Quota => ("insufficient_quota", "insufficient_quota"),
                Refusal::RateLimit => ("rate_limit_error", "rate_limit_exceeded"),
                Refusal::Overload => ("service_unavailable_error", "server_is_overloaded"),
            };
            out.extend_from_slice(b"{\"error\":{\"message\":");
            write_text(message, &mut out);
            out.extend_from_slice(b",\"type\":");
            write_text(kind, &mut out);
            out.extend_from_slice(b",\"param\":null,\"code\":");
            write_text(code, &mut out);
        }
        Provider::Anthropic => {
            let kind = match why {
                Refusal::Quota | Refusal::RateLimit => "rate_limit_error",
                Refusal::Overload => "overloaded_error",
            };
            out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":");
            write_text(kind, &mut out);
            out.extend_from_slice(b",\"message\":");
            write_text(message, &mut out);
        }
    }
    out.extend_from_slice(b"}}");
    out
}

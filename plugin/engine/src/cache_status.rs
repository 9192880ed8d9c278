//! Says what happened to a request: the `Cache-Status` field of RFC 9211 with our words for `detail`, and the same words for
//! metrics.

pub use selvage_http::cache_status::{Forward, Ttl};

use selvage_http::cache_status::CacheStatus;

use crate::firewall::Vector;
use crate::policy::Rule;
use crate::storability::{Refusal, Unfit};
#[cfg(feature = "uploads")]
use crate::uploads::Objection;

/// The closed set of `detail` words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Answered from this worker's own store.
    Worker,
    /// Answered from the store that all workers of this Envoy share.
    Node,
    /// Answered from the store that the fleet shares.
    Remote,
    /// Freshened by a 304 and answered from the store.
    Validated,
    /// Served stale while it is being revalidated (RFC 5861 §3).
    StaleWhileRevalidate,
    /// Served stale because the origin answered with an error (RFC 5861 §4).
    StaleIfError,
    /// Served stale because the origin could not be reached (RFC 9111 §4.2.4).
    Disconnected,
    /// Served stale because the client accepts it (`max-stale`).
    MaxStale,
    /// The client wanted only what is stored, and nothing is.
    OnlyIfCached,
    /// Served stale, or refused, because the origin is left alone for a while.
    OriginOpen,
    /// The rule says bypass.
    Rule,
    /// A store could have answered, but the rule only watches.
    Shadow,
    /// The rule bypasses requests with cookies.
    Cookie,
    /// `If-Match` or `If-Unmodified-Since`: only the origin can judge those.
    Precondition,
    /// The client wants to change the protocol.
    Upgrade,
    /// A defence refused to take part.
    Firewall(Vector),
    /// The response is not stored.
    NotStored(Refusal),
    /// The response is larger than an object may be.
    TooLarge,
    /// Too many bodies are being stored at this moment.
    FillingLimit,
    /// Requests that wait keep as many bytes as they may.
    WaitingLimit,
    /// The body that keys the request is larger than the rule allows.
    RequestBodyTooLarge,
    /// What was stored has been purged.
    Purged,
    /// The origin has confirmed another response than the stored one.
    OtherValidator,
    /// The response has more tags than are kept: every purge by tag covers it.
    ManyTags,
    /// Too many requests are at the origin: served stale, or refused.
    #[cfg(feature = "pools")]
    Overload,
    /// The client has asked for too much.
    #[cfg(feature = "limits")]
    Limited,
    /// The budget is spent, or reserved for others.
    #[cfg(all(feature = "limits", feature = "llm"))]
    Budget,
    /// The rule stores answers of language models, and the request is for none of their APIs.
    #[cfg(feature = "llm")]
    OtherApi,
    /// The request's body could be read in two ways, or is no JSON.
    #[cfg(feature = "llm")]
    AmbiguousJson,
    /// The same question need not have the same answer.
    #[cfg(feature = "llm")]
    NotDeterministic,
    /// The request takes part in what the provider keeps.
    #[cfg(feature = "llm")]
    Stateful,
    /// The response is no answer of a language model that can be read.
    #[cfg(feature = "llm")]
    NoAnswer,
    /// Another model has been asked.
    #[cfg(feature = "llm")]
    Fallback,
    /// Some of the inputs were stored, and only the others were asked for.
    #[cfg(feature = "llm")]
    ByInput,
    /// It was asked for together with others.
    #[cfg(feature = "llm")]
    Merged,
    /// Several GETs have been asked for by one request.
    #[cfg(feature = "batch")]
    Batch,
    /// That, or a part of it, is not what may be asked for.
    #[cfg(feature = "batch")]
    BatchRefused,
    /// A part has brought no answer that is whole.
    #[cfg(feature = "batch")]
    PartFailed,
    /// A part has no answer in time.
    #[cfg(feature = "batch")]
    PartLate,
    /// A part does not fit into the answer any more.
    #[cfg(feature = "batch")]
    PartTooLarge,
    /// The rule wants a session, and the request shows none.
    #[cfg(feature = "sessions")]
    NoSession,
    /// The session is not known, since Redis cannot be asked.
    #[cfg(feature = "sessions")]
    SessionUnknown,
    /// It is about a job: the request has become one, or asks for one.
    #[cfg(feature = "jobs")]
    Job,
    /// The rule answers 503 for a while.
    #[cfg(feature = "maintenance")]
    Maintenance,
    /// The request brings what its rule does not take.
    #[cfg(feature = "uploads")]
    Upload(Objection),
    /// A teapot has answered.
    #[cfg(feature = "teapot")]
    Teapot,
}

impl From<Unfit> for Detail {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Refused(refusal) => Self::NotStored(refusal),
            Unfit::Firewall(vector) => Self::Firewall(vector),
            Unfit::TooLarge => Self::TooLarge,
            #[cfg(feature = "llm")]
            Unfit::NoAnswer => Self::NoAnswer,
        }
    }
}

impl Detail {
    /// Every one of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Worker,
            Self::Node,
            Self::Remote,
            Self::Validated,
            Self::StaleWhileRevalidate,
            Self::StaleIfError,
            Self::Disconnected,
            Self::MaxStale,
            Self::OnlyIfCached,
            Self::OriginOpen,
            Self::Rule,
            Self::Shadow,
            Self::Cookie,
            Self::Precondition,
            Self::Upgrade,
            Self::TooLarge,
            Self::FillingLimit,
            Self::WaitingLimit,
            Self::RequestBodyTooLarge,
            Self::Purged,
            Self::OtherValidator,
            Self::ManyTags,
            #[cfg(feature = "pools")]
            Self::Overload,
            #[cfg(feature = "limits")]
            Self::Limited,
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Budget,
            #[cfg(feature = "llm")]
            Self::OtherApi,
            #[cfg(feature = "llm")]
            Self::AmbiguousJson,
            #[cfg(feature = "llm")]
            Self::NotDeterministic,
            #[cfg(feature = "llm")]
            Self::Stateful,
            #[cfg(feature = "llm")]
            Self::NoAnswer,
            #[cfg(feature = "llm")]
            Self::Fallback,
            #[cfg(feature = "llm")]
            Self::ByInput,
            #[cfg(feature = "llm")]
            Self::Merged,
            #[cfg(feature = "batch")]
            Self::Batch,
            #[cfg(feature = "batch")]
            Self::BatchRefused,
            #[cfg(feature = "batch")]
            Self::PartFailed,
            #[cfg(feature = "batch")]
            Self::PartLate,
            #[cfg(feature = "batch")]
            Self::PartTooLarge,
            #[cfg(feature = "sessions")]
            Self::NoSession,
            #[cfg(feature = "sessions")]
            Self::SessionUnknown,
            #[cfg(feature = "jobs")]
            Self::Job,
            #[cfg(feature = "maintenance")]
            Self::Maintenance,
            #[cfg(feature = "uploads")]
            Self::Upload(Objection::TooLarge),
            #[cfg(feature = "uploads")]
            Self::Upload(Objection::Type),
            #[cfg(feature = "uploads")]
            Self::Upload(Objection::Content),
            #[cfg(feature = "uploads")]
            Self::Upload(Objection::Coding),
            #[cfg(feature = "uploads")]
            Self::Upload(Objection::Form),
            #[cfg(feature = "teapot")]
            Self::Teapot,
        ];
        let vectors = Vector::ALL.into_iter().map(Self::Firewall);
        plain.into_iter().chain(vectors).chain(Refusal::ALL.into_iter().map(Self::NotStored))
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Node => "node",
            Self::Remote => "remote",
            Self::Validated => "validated",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::Disconnected => "disconnected",
            Self::MaxStale => "max-stale",
            Self::OnlyIfCached => "only-if-cached",
            Self::OriginOpen => "origin-open",
            Self::Rule => "rule",
            Self::Shadow => "shadow",
            Self::Cookie => "cookie",
            Self::Precondition => "precondition",
            Self::Upgrade => "upgrade",
            Self::Firewall(vector) => vector.as_str(),
            Self::NotStored(refusal) => refusal.as_str(),
            Self::TooLarge => "too-large",
            Self::FillingLimit => "filling-limit",
            Self::WaitingLimit => "waiting-limit",
            Self::RequestBodyTooLarge => "request-body-too-large",
            Self::Purged => "purged",
            Self::OtherValidator => "other-validator",
            Self::ManyTags => "many-tags",
            #[cfg(feature = "pools")]
            Self::Overload => "overload",
            #[cfg(feature = "limits")]
            Self::Limited => "limited",
            #[cfg(all(feature = "limits", feature = "llm"))]
            Self::Budget => "budget",
            #[cfg(feature = "llm")]
            Self::OtherApi => "other-api",
            #[cfg(feature = "llm")]
            Self::AmbiguousJson => "ambiguous-json",
            #[cfg(feature = "llm")]
            Self::NotDeterministic => "not-deterministic",
            #[cfg(feature = "llm")]
            Self::Stateful => "stateful",
            #[cfg(feature = "llm")]
            Self::NoAnswer => "no-answer",
            #[cfg(feature = "llm")]
            Self::Fallback => "fallback",
            #[cfg(feature = "llm")]
            Self::ByInput => "by-input",
            #[cfg(feature = "llm")]
            Self::Merged => "merged",
            #[cfg(feature = "batch")]
            Self::Batch => "batch",
            #[cfg(feature = "batch")]
            Self::BatchRefused => "batch-refused",
            #[cfg(feature = "batch")]
            Self::PartFailed => "part-failed",
            #[cfg(feature = "batch")]
            Self::PartLate => "part-late",
            #[cfg(feature = "batch")]
            Self::PartTooLarge => "part-too-large",
            #[cfg(feature = "sessions")]
            Self::NoSession => "no-session",
            #[cfg(feature = "sessions")]
            Self::SessionUnknown => "session-unknown",
            #[cfg(feature = "jobs")]
            Self::Job => "job",
            #[cfg(feature = "maintenance")]
            Self::Maintenance => "maintenance",
            #[cfg(feature = "uploads")]
            Self::Upload(objection) => objection.as_str(),
            #[cfg(feature = "teapot")]
            Self::Teapot => "teapot",
        }
    }
}

/// The store that an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// This worker's own.
    Worker,
    /// The one that all workers of this Envoy share.
    Node,
    /// The one that the fleet shares.
    Remote,
}

/// What happened, worked out once; the header, the metrics and the log all read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why it was forwarded; `None` is a hit, or an answer of our own.
    pub forward: Option<Forward>,
    /// The answer came from the store without asking anyone.
    pub hit: bool,
    /// The status the origin answered with.
    pub forward_status: Option<u16>,
    /// The response is being stored.
    pub stored: bool,
    /// The request waited for another one's answer.
    pub collapsed: bool,
    /// Where a stored response was found, for the metrics.
    pub source: Option<Source>,
    /// The cache made the request for itself: it is not counted among those of clients.
    pub own: bool,
    /// The rule says nothing of it to clients.
    pub silent: bool,
    /// Freshness that is left.
    pub ttl: Option<Ttl>,
    /// What else there is to say.
    pub detail: Option<Detail>,
}

impl Outcome {
    /// Nothing yet, for a request under a rule.
    pub(crate) fn under(rule: &Rule) -> Self {
        Self { silent: !rule.cache_status, ..Self::default() }
    }

    /// Appends the member of `Cache-Status` for the cache called `name` (a serialised token or string) to `out`.
    #[inline]
    pub fn write(&self, name: &[u8], out: &mut Vec<u8>) {
        let Self { hit, forward, forward_status, stored, collapsed, ttl, .. } = *self;
        let detail = self.detail.map(Detail::as_str);
        CacheStatus { hit, forward, forward_status, stored, collapsed, ttl, detail }.write(name, out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(outcome: Outcome) -> String {
        let mut out = Vec::new();
        outcome.write(b"Selvage", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_hit_names_its_tier_and_what_is_left() {
        let outcome = Outcome {
            hit: true,
            ttl: Some(Ttl::Fresh(Duration::from_millis(59_900))),
            detail: Some(Detail::Worker),
            ..Outcome::default()
        };
        assert_eq!(line(outcome), "Selvage; hit; ttl=59; detail=worker");
    }

    #[test]
    fn a_forward_says_why_and_what_came_of_it() {
        let outcome = Outcome {
            forward: Some(Forward::Stale),
            forward_status: Some(503),
            ttl: Some(Ttl::Stale(Duration::from_secs(30))),
            detail: Some(Detail::StaleIfError),
            ..Outcome::default()
        };
        assert_eq!(line(outcome), "Selvage; fwd=stale; fwd-status=503; ttl=-30; detail=stale-if-error");
    }
}

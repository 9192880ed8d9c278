//! How long a stored response is fresh, and when a stale one may be served.

use std::time::Duration;

#[cfg(feature = "foresight")]
use super::foresight::Adaptive;
use super::kinds::{duration, switch, whole};
#[cfg(feature = "foresight")]
use super::nested::object;
use super::nested::{ascending, by_status, list, nullable};
use super::section;
use crate::config::limits::{LIFETIME, PERCENT};
use crate::config::reference::Least::Empty;

/// How long a stored response is fresh (RFC 9111 §4.2.1). None of these makes a response storable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ttl {
    /// Replaces what the origin says. Default: none.
    pub r#override: Option<Duration>,
    /// Used instead of a heuristic when the origin gives no explicit freshness. Default: none.
    pub default: Option<Duration>,
    /// No response is fresh for longer. Default: none.
    pub max: Option<Duration>,
    /// Whether heuristic freshness (RFC 9111 §4.2.2) is used. Default: true.
    pub heuristic: bool,
    /// Heuristic lifetime in percent of the time since `Last-Modified`, 0 to 100. Default: 10.
    pub heuristic_percent: u8,
    /// No heuristic lifetime is longer. Default: one day.
    pub heuristic_max: Duration,
    /// A stored response's lifetime is shorter by up to this share of it, in percent, 0 to 50, so that what was stored
    /// together does not expire together. Default: 0.
    pub jitter: u8,
    /// Lifetime by status when the origin gives no explicit freshness, in ascending order of status; comes before
    /// `default`. Default: empty.
    pub statuses: Vec<(u16, Duration)>,
    /// Used instead of a default or a heuristic: by how often each response changes. Default: none.
    #[cfg(feature = "foresight")]
    pub adaptive: Option<Adaptive>,
}

section! {
    Ttl {
        r#override = None, nullable(duration(LIFETIME)),
            "Replaces what the origin says. Never makes a `no-store` or `private` response storable.";
        default = None, nullable(duration(LIFETIME)),
            "Used instead of a heuristic when the origin gives no explicit freshness.";
        max = None, nullable(duration(LIFETIME)), "No response is fresh for longer.";
        heuristic = true, switch(), "Whether heuristic freshness (RFC 9111 §4.2.2) is used.";
        heuristic_percent = 10, whole(PERCENT), "Heuristic lifetime in percent of the time since `Last-Modified`.";
        heuristic_max = Duration::from_hours(24), duration(LIFETIME), "No heuristic lifetime is longer.";
        jitter = 0, whole(0..=50),
            "Lifetimes are shorter by up to this many percent, so that what was stored together does not expire so.";
        statuses = Vec::new(), by_status(duration(LIFETIME)),
            "Lifetime by status when the origin gives no explicit freshness, such as `{\"404\":\"10s\"}`.";
        #[cfg(feature = "foresight")]
        adaptive = None, nullable(object()),
            "Used instead of `default` and a heuristic: lifetimes by how often each response was seen to change; `null`: off.";
    }
}

/// When a stale response may be served (RFC 9111 §4.2.4, RFC 5861).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// `stale-while-revalidate` when the origin says nothing. Default: none.
    pub while_revalidate: Option<Duration>,
    /// `stale-if-error` when the origin says nothing. Default: none.
    pub if_error: Option<Duration>,
    /// How long past freshness a response is served when the origin cannot be reached. Zero: never.
    /// Default: ten minutes.
    pub disconnected: Duration,
    /// Statuses that count as an error for `if_error`, in ascending order. Default: 500, 502, 503, 504.
    pub error_statuses: Vec<u16>,
}

section! {
    Stale {
        while_revalidate = None, nullable(duration(LIFETIME)),
            "`stale-while-revalidate` (RFC 5861) when the origin says nothing.";
        if_error = None, nullable(duration(LIFETIME)), "`stale-if-error` (RFC 5861) when the origin says nothing.";
        disconnected = Duration::from_mins(10), duration(LIFETIME),
            "How long past freshness a response is served when the origin cannot be reached (RFC 9111 §4.2.4); `0s` never.";
        error_statuses = vec![500, 502, 503, 504], ascending(list(Empty, whole(400..=599))),
            "Statuses that count as an error for `if_error`.";
    }
}

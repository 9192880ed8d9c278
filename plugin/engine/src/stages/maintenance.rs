//! Answers 503 with `Retry-After` to all requests under a rule with `maintenance`, within its window of time.

use super::{Seen, Then, answer};
use crate::cache::Cache;
use crate::cache_status::Detail;
use crate::config::Maintenance;
use crate::policy::Rule;
use crate::time::Timestamp;

/// Answers the request if its rule says so at this moment.
#[inline]
pub(super) fn enter(seen: &Seen<'_>, cache: &mut Cache, now: Timestamp) -> Option<Then> {
    // All that a rule without it costs.
    let maintenance = seen.rule.maintenance.as_ref()?;
    closed(maintenance, seen.rule, cache, now)
}

#[cold]
fn closed(maintenance: &Maintenance, rule: &Rule, cache: &mut Cache, now: Timestamp) -> Option<Then> {
    let seconds = maintenance.retry_after_at(now)?.to_string();
    let fields: [(&[u8], &[u8]); 3] = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"retry-after", seconds.as_bytes()),
    ];
    // To HEAD too: the host leaves the content off (RFC 9110 §9.3.2).
    Some(answer(503, Detail::Maintenance, &fields, PROBLEM, rule, cache))
}

/// RFC 9457: the type `about:blank`, of which the title is that of the status.
const PROBLEM: &[u8] = b"{\"status\":503,\"title\":\"Service Unavailable\"}\n";

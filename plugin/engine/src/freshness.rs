//! How old a response is and how long it may be used, under a rule.

pub use selvage_http::freshness::{
    Freshness, Heuristic, InitialAge, Lifetime, LifetimeSource, Overrides, Schedule, date_of, is_stream,
};

use xxhash_rust::xxh3::xxh3_64;

use crate::cache_control::ResponseDirectives;
use crate::fields::Fields;
use crate::policy::{Rule, SetCookie};
use crate::time::Timestamp;

/// What a rule wants where it is not what the origin says.
pub(crate) fn overrides(rule: &Rule) -> Overrides<'_> {
    let heuristic = Heuristic { percent: rule.ttl.heuristic_percent, max: rule.ttl.heuristic_max };
    Overrides {
        replace: rule.ttl.r#override,
        by_status: &rule.ttl.statuses,
        default: rule.ttl.default,
        heuristic: rule.ttl.heuristic.then_some(heuristic),
        max: rule.ttl.max,
        statuses: rule.statuses.as_deref(),
        set_cookie: rule.set_cookie == SetCookie::Store,
        while_revalidate: rule.stale.while_revalidate,
        if_error: rule.stale.if_error,
        disconnected: rule.stale.disconnected,
    }
}

/// The [lifetime](selvage_http::freshness::lifetime) of a response under a rule.
pub fn lifetime(
    status: u16,
    response: Fields<'_>,
    directives: &ResponseDirectives,
    rule: &Rule,
    received: Timestamp,
) -> Lifetime {
    selvage_http::freshness::lifetime(status, response, directives, &overrides(rule), received)
}

/// The times of a response whose request left at `requested` and whose head came at `received`. Its lifetime is shorter by up
/// to the rule's `ttl.jitter`: by how much depends on the `seed` and on when it was received, so that all who compute it agree
/// and those that were received together do not end together.
pub fn schedule(
    status: u16,
    response: Fields<'_>,
    directives: &ResponseDirectives,
    rule: &Rule,
    (requested, received): (Timestamp, Timestamp),
    seed: u128,
) -> Schedule {
    let schedule = Schedule::new(status, response, directives, &overrides(rule), requested, received);
    if rule.ttl.jitter == 0 {
        return schedule;
    }
    let mut bytes = [0; 24];
    let (key, time) = bytes.split_at_mut(16);
    key.copy_from_slice(&seed.to_le_bytes());
    time.copy_from_slice(&received.as_millis().to_le_bytes());
    let part = u32::try_from(xxh3_64(&bytes) % 1001).unwrap_or_default();
    schedule.shortened(rule.ttl.jitter, part)
}

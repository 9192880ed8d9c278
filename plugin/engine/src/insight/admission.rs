//! What pools and limits do, for operators: the node's figures, and whom the limits of this worker refuse most.

use std::time::Duration;

use serde_json::Value;

use super::refusals::Refusals;
use crate::host::Host;
use crate::members::members;
use crate::policy::Policy;

/// What one worker knows of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFigures {
    /// Its name.
    pub name: Box<str>,
    /// Requests that all workers together may have at the origin.
    pub limit: u32,
    /// This worker's part of that.
    pub share: u32,
    /// Requests that this worker has there.
    pub in_flight: u32,
    /// Those of all workers, when it last heard of them.
    pub in_flight_of_all: u32,
    /// Requests that wait in this worker: high, normal and low.
    pub waiting: [usize; 3],
    /// What an answer takes when nobody waits at the origin, as far as that is known.
    pub base: Option<Duration>,
    /// What answers took lately.
    pub latency: Option<Duration>,
}

/// Each pool, of all workers together: how many are at the origin and wait, and how many were shed for what.
pub fn pools(host: &mut dyn Host, figures: &[PoolFigures]) -> Value {
    let pools = figures.iter().map(|pool| {
        let mut of = |family, word| host.metric_of(&pool.name, (family, word));
        members! {
            "name": pool.name,
            "limit": pool.limit,
            "in_flight": of("pool", "in-flight"),
            "base_us": pool.base.map(micros),
            "latency_us": pool.latency.map(micros);
            "waiting" => by_class([of("pool", "waiting-high"), of("pool", "waiting-normal"), of("pool", "waiting-low")]),
            "shed" => members! {
                "full": of("pool_shed_for", "full"),
                "memory": of("pool_shed_for", "memory"),
                "waited": of("pool_shed_for", "waited"),
                "displaced": of("pool_shed_for", "displaced"),
            },
            "shed_by_class" => by_class([of("pool_shed", "high"), of("pool_shed", "normal"), of("pool_shed", "low")])
        }
    });
    pools.collect()
}

/// What this worker has of each pool.
pub fn pools_here(figures: &[PoolFigures]) -> Value {
    let pools = figures.iter().map(|pool| {
        members! { "name": pool.name, "share": pool.share, "in_flight": pool.in_flight;
        "waiting" => by_class(pool.waiting.map(|waiting| waiting as u64)) }
    });
    pools.collect()
}

fn by_class([high, normal, low]: [u64; 3]) -> Value {
    members! { "high": high, "normal": normal, "low": low }
}

/// Each limit, of all workers together, with the keys that this one refused most.
pub fn limits(host: &mut dyn Host, policy: &Policy, refusals: &Refusals) -> Value {
    let crowded = if policy.limits.is_empty() { 0 } else { host.metric(("limit_events", "crowded")) };
    let limits = policy.limits.iter().enumerate().map(|(nth, limit)| {
        let mut of = |word| host.metric_of(&limit.name, ("limit_requests", word));
        let keys = refusals.most(nth, KEYS).into_iter().map(|key| {
            let hash = format!("{:016x}", key.hash);
            members! { "key": hash, "refused": key.refused, "at_least": key.at_least }
        });
        members! { "name": limit.name, "admitted": of("admitted"), "refused": of("refused"), "shadowed": of("shadow");
        "refused_keys" => keys.collect() }
    });
    let limits = limits.collect();
    members! { "refused_keys_of": "worker", "crowded": crowded; "limits" => limits }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Keys of a limit in a report.
const KEYS: usize = 10;

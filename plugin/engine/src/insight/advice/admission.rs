//! What the figures of pools and limits give reason to change.

use serde_json::Value;

#[cfg(feature = "pools")]
use super::Seen;
use super::say;
use crate::config::limits::doubled;
#[cfg(feature = "limits")]
use crate::config::{Limit, limits::NODE_LIMIT_KEYS};
use crate::host::Host;
use crate::members::members;
use crate::policy::Policy;
#[cfg(feature = "pools")]
use crate::{config::limits::POOL_SLOTS, policy::Pool};

/// What became of the requests of a pool, of all its rules.
#[cfg(feature = "pools")]
struct Tally {
    went: u64,
    waited: u64,
    refused: u64,
    stale: u64,
    shadow: u64,
}

#[cfg(feature = "pools")]
impl Tally {
    fn of(pool: usize, host: &mut dyn Host, policy: &Policy) -> Self {
        let mut sum = |words: &[&'static str]| -> u64 {
            let rules = policy.rules().filter(|rule| rule.pool == Some(pool));
            let of_rule = |name: &str, host: &mut dyn Host| -> u64 {
                words.iter().map(|word| host.metric_of(name, ("pool_requests", word))).sum()
            };
            rules.map(|rule| of_rule(&rule.name, host)).sum()
        };
        Self {
            went: sum(&["went"]),
            waited: sum(&["waited"]),
            refused: sum(&["full", "refused"]),
            stale: sum(&["stale"]),
            shadow: sum(&["shadow"]),
        }
    }

    /// Those that found no place free.
    const fn held_up(&self) -> u64 {
        self.waited + self.refused + self.stale + self.shadow
    }

    fn figures(&self, pool: &Pool, limit: u32) -> Value {
        members! { "pool": pool.name, "limit": limit, "went": self.went, "waited": self.waited, "refused": self.refused,
        "stale": self.stale, "shadow": self.shadow }
    }
}

/// Pools that hold up most of what comes, or nothing.
#[cfg(feature = "pools")]
pub(super) fn pools(host: &mut dyn Host, policy: &Policy, seen: &Seen, list: &mut Vec<Value>) {
    for (nth, pool) in policy.pools.iter().enumerate() {
        let tally = Tally::of(nth, host, policy);
        let found = seen.pools.get(nth).map_or(pool.start, |figures| figures.limit);
        let limit = pool.fixed.unwrap_or(found);
        if tally.held_up() >= ENOUGH_HELD_UP && tally.held_up() >= tally.went {
            saturated(pool, limit, &tally, list);
        } else if tally.held_up() == 0 && tally.went >= ENOUGH {
            unused(pool, limit, &tally, list);
        }
    }
}

#[cfg(feature = "pools")]
fn saturated(pool: &Pool, limit: u32, tally: &Tally, list: &mut Vec<Value>) {
    let member = if pool.fixed.is_some() { "fixed" } else { "max" };
    let (text, change) = if pool.fixed.is_some() || limit >= pool.max {
        let Some(twice) = doubled(limit.into(), &POOL_SLOTS) else { return };
        let text = "Most requests of this pool find no place free, and its limit may not grow. If the origin can do more, raise \
                    the limit; what answers take shows whether it can.";
        (text, format!(r#""pools": [ {{ "name": "{}", "{member}": {twice} }} ]"#, pool.name))
    } else if tally.refused >= ENOUGH_HELD_UP {
        let text = "Most requests of this pool find no place free, though its limit could grow: the origin can do no more. Give \
                    it more to run on. Until then what is stored may be served in the place of a refusal.";
        (text, r#""stale": { "if_error": "1h" }"#.to_owned())
    } else {
        return;
    };
    say(list, "pool-saturated", text, tally.figures(pool, limit), change);
}

#[cfg(feature = "pools")]
fn unused(pool: &Pool, limit: u32, tally: &Tally, list: &mut Vec<Value>) {
    let half = limit / 2;
    let (member, least) = if pool.fixed.is_some() { ("fixed", 1) } else { ("max", pool.min) };
    if half < least {
        return;
    }
    let text = "No request of this pool has ever waited: it bounds nothing. If it is to keep the origin from more than it does \
                well, lower the limit; else it can stay for the day on which more come.";
    let change = format!(r#""pools": [ {{ "name": "{}", "{member}": {half} }} ]"#, pool.name);
    say(list, "pool-queue-unused", text, tally.figures(pool, limit), change);
}

/// Limits that nobody comes to, and too little room for the keys of all.
#[cfg(feature = "limits")]
pub(super) fn limits(host: &mut dyn Host, policy: &Policy, list: &mut Vec<Value>) {
    let mut all: u64 = 0;
    for limit in &policy.limits {
        let mut of = |word| host.metric_of(&limit.name, ("limit_requests", word));
        let (admitted, refused, shadowed) = (of("admitted"), of("refused"), of("shadow"));
        all = all.saturating_add(admitted).saturating_add(refused);
        if admitted >= ENOUGH && refused == 0 && shadowed == 0 {
            never_reached(limit, admitted, list);
        }
    }
    if all == 0 {
        return;
    }
    let crowded = host.metric(("limit_events", "crowded"));
    let keys = policy.node.limit_keys as u64;
    if crowded >= ENOUGH_CROWDED
        && crowded.saturating_mul(100) >= all
        && let Some(more) = doubled(keys, &NODE_LIMIT_KEYS)
    {
        let figures = members! { "crowded": crowded, "requests": all, "limit_keys": keys };
        let text = "Many requests have a key for which there is no room, so that tenants share a quota and refuse each other. Make \
                    more room, or count by less: by the address alone, or by a field that few values are possible of.";
        say(list, "limits-crowded", text, figures, format!(r#""node": {{ "limit_keys": {more} }}"#));
    }
}

#[cfg(feature = "limits")]
fn never_reached(limit: &Limit, admitted: u64, list: &mut Vec<Value>) {
    let quota = limit.quota / 2;
    // A burst that is written stays; one that is not goes down with the quota.
    if quota == 0 || limit.burst.unwrap_or_else(|| Limit::burst_of(quota)) < limit.cost.into() {
        return;
    }
    let figures = members! { "limit": limit.name, "admitted": admitted, "refused": 0_u64 };
    let text = "Nobody has ever come to this limit. If it is to hold back those who ask for most, lower it; else it can stay for the \
                day on which somebody does.";
    let (name, window) = (&limit.name, limit.window.as_millis());
    let change = format!(r#""limits": [ {{ "name": "{name}", "quota": {quota}, "window": "{window}ms" }} ]"#);
    say(list, "limit-never-reached", text, figures, change);
}

/// Fewer requests say nothing.
const ENOUGH: u64 = 10_000;
const ENOUGH_HELD_UP: u64 = 100;
const ENOUGH_CROWDED: u64 = 100;

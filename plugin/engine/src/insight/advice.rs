//! What an operator should change, each with the figures behind it and the member of the configuration.
//!
//! A rule says something only where there is enough to judge by; counters are those since Envoy started.

#[cfg(any(feature = "limits", feature = "pools"))]
mod admission;

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::admission::PoolFigures;
use super::busiest::Wide;
use super::numbers::{Requests, Tier, share};
use super::shadow::Shadow;
use super::worth::Idle;
use crate::config::limits::{
    COALESCE_WAITERS, NODE_BUCKETS, NODE_BYTES, NODE_OBJECT_BYTES, REMOTE_QUEUE_BYTES, REMOTE_TIMEOUT,
    WORKER_BYTES, WORKER_FILLING_BYTES, WORKER_OBJECT_BYTES, doubled, doubled_size, room_in_vm,
};
use crate::host::Host;
use crate::members::members;
use crate::policy::Policy;
use crate::stats::Word;
use crate::store::node::{NodeLimits, WAYS};

/// What the rules look at beside the metrics.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Paths that fall apart into many keys, of this worker.
    pub wide: Vec<Wide>,
    /// Rules to which the cache of this worker is of hardly any use.
    pub idle: Vec<Idle>,
    /// What this worker knows of each pool.
    pub pools: Vec<PoolFigures>,
    /// How long the origin takes on average, in microseconds, of this worker.
    pub origin_us: Option<u64>,
    /// The same of the remote store.
    pub remote_us: Option<u64>,
}

/// A rule that needs no more than a counter: often enough, and enough of all requests.
struct Often {
    code: &'static str,
    /// Their sum.
    words: &'static [Word],
    least: u64,
    percent: u64,
    text: &'static str,
    /// `None` where there is nothing more to write.
    change: fn(&Policy) -> Option<String>,
}

/// All recommendations that there is reason for.
pub fn recommendations(host: &mut dyn Host, policy: &Policy, seen: &Seen) -> Vec<Value> {
    let requests = Requests::read(host);
    let mut list = Vec::new();
    lifetimes(host, &requests, &mut list);
    for wide in &seen.wide {
        key_too_wide(wide, &mut list);
    }
    for idle in &seen.idle {
        never_cached(idle, policy, &mut list);
    }
    for rule in &OFTEN {
        often(rule, host, policy, &requests, &mut list);
    }
    compression(host, &mut list);
    remote(host, policy, seen, &mut list);
    budget(host, policy, &mut list);
    shadows(host, policy, &mut list);
    #[cfg(feature = "pools")]
    admission::pools(host, policy, seen, &mut list);
    #[cfg(feature = "limits")]
    admission::limits(host, policy, &mut list);
    list
}

/// Most of what expires is confirmed by the origin: it could have been kept for longer.
fn lifetimes(host: &mut dyn Host, requests: &Requests, list: &mut Vec<Value>) {
    let confirmed = requests.validated + host.metric(("refresh", "freshened"));
    let expired = host.metric(("fwd", "stale")) + host.metric(("refresh", "sent"));
    if confirmed >= 100 && confirmed * 2 >= expired && confirmed * 10 >= requests.all() {
        let figures = members! { "confirmed": confirmed, "expired": expired, "requests": requests.all() };
        let text = "Most stored responses that expire have not changed: the origin answers 304. A longer lifetime would spare \
                    it these requests; purge what changes.";
        say(list, "ttl-too-short", text, figures, r#""ttl": { "override": "10m" }"#.into());
    }
}

fn key_too_wide(wide: &Wide, list: &mut Vec<Value>) {
    let figures = members! { "path": wide.path, "requests_counted": wide.spread.requests, "keys": wide.spread.keys,
    "answered_from_store": wide.spread.answered };
    let text = "Nearly every request of this path has a query of its own, and hardly any is answered from a store. Leave the \
                parameters that do not change the response out of the key.";
    let change = r#""key": { "query": { "except": ["utm_*", "the parameters that change nothing"] } }"#;
    say(list, "key-too-wide", text, figures, change.into());
}

/// What a rule takes from the store, or puts into it, is not worth what the filter costs. Of one that only watches nothing is
/// answered, and a rule with maintenance needs the filter.
fn never_cached(idle: &Idle, policy: &Policy, list: &mut Vec<Value>) {
    let rule = policy.rule(idle.rule);
    #[cfg(feature = "maintenance")]
    if rule.maintenance.is_some() {
        return;
    }
    // An origin that fails for a while stores nothing either. That a rule bypasses is certain at once.
    if !rule.bypass && (rule.shadow || idle.watched < WATCHED_FOR) {
        return;
    }
    let figures = members! { "rule": rule.name, "bypass": rule.bypass, "requests_counted": idle.requests,
    "of_use": idle.of_use };
    let text = "Hardly a response of this rule is stored. On a route of Envoy of their own its requests are cheaper without the \
                filter; unsafe ones then invalidate nothing.";
    let change = r#""typed_per_filter_config": { "selvage": { "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true } }"#;
    say(list, "never-cached", text, figures, change.into());
}

fn often(rule: &Often, host: &mut dyn Host, policy: &Policy, requests: &Requests, list: &mut Vec<Value>) {
    let mut figures = Map::new();
    let mut sum = 0u64;
    for word in rule.words {
        let value = host.metric(*word);
        sum = sum.saturating_add(value);
        figures.insert([word.0, ".", word.1].concat(), value.into());
    }
    if sum >= rule.least
        && sum.saturating_mul(100) >= requests.all().saturating_mul(rule.percent)
        && let Some(change) = (rule.change)(policy)
    {
        figures.insert("requests".into(), requests.all().into());
        say(list, rule.code, rule.text, Value::Object(figures), change);
    }
}

fn compression(host: &mut dyn Host, list: &mut Vec<Value>) {
    let (kept, useless) =
        (host.metric(("compression", "kept")), host.metric(("compression", "not-worth-it")));
    if useless >= 100 && useless > kept {
        let figures = members! { "kept": kept, "not_worth_it": useless };
        let text = "Most responses are compressed in vain: they hardly become smaller. Name only the types that do, or compress \
                    only longer ones.";
        say(list, "compression-useless", text, figures, r#""compression": { "min_bytes": "8KiB" }"#.into());
    }
}

fn remote(host: &mut dyn Host, policy: &Policy, seen: &Seen, list: &mut Vec<Value>) {
    if !policy.remote.enabled {
        return;
    }
    let lookups = host.metric(("remote", "lookups"));
    let found = host.metric(("remote", "found"));
    let opened = host.metric(("breaker", "opened-by-slowness"));
    let slower = matches!((seen.remote_us, seen.origin_us), (Some(remote), Some(origin)) if remote > origin);
    if lookups >= 100 && (slower || opened > 0) {
        let figures = members! { "remote_us": seen.remote_us, "origin_us": seen.origin_us,
        "opened_by_slowness": opened, "lookups": lookups, "found": share(found, lookups) };
        let text = "The remote store takes longer than the origin it is to spare, or than remote.breaker.slow_after. Bring it \
                    nearer, or do without it where the origin is quick.";
        say(list, "remote-slower-than-origin", text, figures, r#""defaults": { "remote": false }"#.into());
    }
    let late = host.metric(("remote", "timeout"));
    let timeout = u64::try_from(policy.remote.timeout.as_millis()).unwrap_or(u64::MAX);
    if late >= 20
        && late * 20 >= lookups
        && let Some(twice) = doubled(timeout, &REMOTE_TIMEOUT)
    {
        let figures = members! { "timeouts": late, "lookups": lookups };
        let text = "Many questions to the remote store are given up before it answers.";
        say(list, "remote-timeouts", text, figures, format!(r#""remote": {{ "timeout": "{twice}ms" }}"#));
    }
}

/// The test of the age at eviction: more leaves while it could still be used than because its time is over. It is the bytes
/// that are too few, or, in the node's store of small responses, the buckets.
fn budget(host: &mut dyn Host, policy: &Policy, list: &mut Vec<Value>) {
    let tier = if policy.node.bytes > 0 { "node" } else { "worker" };
    let (evicted, expired) = (host.metric(("evicted", tier)), host.metric(("expired", tier)));
    let Tier { entries, bytes, bound } = Tier::read(host, &policy.label, tier);
    if evicted < 100 || evicted <= expired {
        return;
    }
    if bytes.saturating_mul(10) >= bound.saturating_mul(7) {
        let (own, bounds, room) = match tier {
            "node" => (policy.node.bytes, NODE_BYTES, u64::MAX),
            _ => (policy.worker.bytes as u64, WORKER_BYTES, room_in_vm(&policy.worker, &policy.remote)),
        };
        let Some(twice) = doubled_size(own, &bounds, room) else { return };
        let figures = members! { "evicted": evicted, "expired": expired, "bytes": bytes, "bound": bound };
        let text = "More responses leave the store for want of room than because their lifetime is over: it is too small for \
                    what is asked for.";
        say(list, "budget-too-small", text, figures, format!(r#""{tier}": {{ "bytes": "{twice}" }}"#));
    } else if tier == "node" {
        let buckets = buckets(policy, policy.node.buckets as u64);
        let most = buckets.saturating_mul(WAYS as u64);
        // Of a small budget no more goes into buckets, whatever is written.
        let more = doubled(buckets, &NODE_BUCKETS).map(|twice| self::buckets(policy, twice));
        if let Some(more) = more.filter(|more| *more > buckets)
            && entries.saturating_mul(10) >= most.saturating_mul(7)
        {
            let figures = members! { "evicted": evicted, "expired": expired, "entries": entries, "most": most,
            "bytes": bytes, "bound": bound };
            let text = "Responses leave the node's store to make room while much of its budget is free: they are so small that \
                        there are too few places. More buckets, of eight responses each, count from the next start of Envoy.";
            say(list, "buckets-too-few", text, figures, format!(r#""node": {{ "buckets": {more} }}"#));
        }
    }
}

/// How many buckets the node's store makes if so many are asked for.
fn buckets(policy: &Policy, asked: u64) -> u64 {
    let asked = u32::try_from(asked).unwrap_or(u32::MAX);
    u64::from(NodeLimits::within(policy.node.bytes, policy.node.object_bytes, asked).buckets)
}

/// What a rule that only watches has shown.
fn shadows(host: &mut dyn Host, policy: &Policy, list: &mut Vec<Value>) {
    for rule in policy.shadows() {
        let seen = Shadow::read(host, &rule.name);
        let compared = seen.same + seen.mismatch;
        let figures = || {
            members! { "rule": rule.name, "requests": seen.requests(), "hit_rate": seen.hit_rate(), "compared": compared,
            "mismatches": seen.mismatch }
        };
        if seen.mismatch >= 10 {
            let text = "Under a rule that only watches the origin sends other responses than the store would: the key lacks what \
                        they depend on, or the lifetime is too long. The report has the last of them.";
            let change = r#""key": { "headers": ["x-what-it-depends-on"] }"#;
            say(list, "shadow-mismatches", text, figures(), change.into());
        } else if compared >= 1000 && seen.mismatch == 0 {
            let text = "A rule that only watches has compared many responses, and each was what the store would have answered \
                        with. It can serve.";
            say(list, "shadow-agrees", text, figures(), r#""shadow": false"#.into());
        }
    }
}

fn say(list: &mut Vec<Value>, code: &str, text: &str, figures: Value, change: String) {
    list.push(members! { "code": *code, "text": *text, "change": change; "figures" => figures });
}

/// A larger bound of one response, in the store that takes the largest there is.
fn larger_objects(policy: &Policy) -> Option<String> {
    let (node, worker) = (&policy.node, &policy.worker);
    let (store, size, bounds, bytes) = match node.bytes {
        0 => ("worker", worker.object_bytes, WORKER_OBJECT_BYTES, worker.bytes as u64),
        bytes => ("node", node.object_bytes.max(worker.object_bytes), NODE_OBJECT_BYTES, bytes),
    };
    // No response is larger than the store.
    let twice = doubled_size(size as u64, &bounds, bytes.saturating_sub(size as u64))?;
    Some(format!(r#""{store}": {{ "object_bytes": "{twice}" }}"#))
}

/// A larger bound of those who wait: for one key, if that is the lower one.
fn more_waiters(policy: &Policy) -> Option<String> {
    let of_all = policy.worker.waiters as u64;
    let enabled = policy.rules().map(|rule| &rule.coalesce).filter(|coalesce| coalesce.enabled);
    let of_a_key = enabled.map(|coalesce| coalesce.waiters as u64).filter(|waiters| *waiters > 0).min();
    match of_a_key.filter(|waiters| *waiters < of_all) {
        Some(waiters) => {
            let twice = doubled(waiters, &COALESCE_WAITERS)?.min(of_all);
            Some(format!(r#""coalesce": {{ "waiters": {twice} }}"#))
        }
        None => Some(format!(r#""worker": {{ "waiters": {} }}"#, doubled(of_all, &COALESCE_WAITERS)?)),
    }
}

/// Twice a member that is held in the worker's VM.
fn more_in_vm(
    section: &str,
    member: &str,
    size: usize,
    bounds: &RangeInclusive<u64>,
    policy: &Policy,
) -> Option<String> {
    let twice = doubled_size(size as u64, bounds, room_in_vm(&policy.worker, &policy.remote))?;
    Some(format!(r#""{section}": {{ "{member}": "{twice}" }}"#))
}

/// A rule that might be cached is watched for so long before it is said that it never is.
const WATCHED_FOR: Duration = Duration::from_secs(600);

const OFTEN: [Often; 7] = [
    Often {
        code: "object-bound-too-small",
        words: &[("detail", "too-large"), ("event", "outgrown")],
        least: 20,
        percent: 1,
        text: "Many responses are not stored because they are larger than a store takes.",
        change: larger_objects,
    },
    Often {
        code: "filling-bound-too-small",
        words: &[("detail", "filling-limit"), ("event", "filling-limit")],
        least: 20,
        percent: 1,
        text: "Many responses are not stored because too many others are being stored at that moment.",
        change: |policy| {
            let size = policy.worker.filling_bytes;
            more_in_vm("worker", "filling_bytes", size, &WORKER_FILLING_BYTES, policy)
        },
    },
    Often {
        code: "no-lifetime",
        words: &[("detail", "no-freshness")],
        least: 100,
        percent: 20,
        text: "Many responses are not stored because the origin says nothing of how long they are fresh. Let it send \
               Cache-Control, or give them a lifetime here.",
        change: |_| Some(r#""ttl": { "default": "1m" }"#.into()),
    },
    Often {
        code: "set-cookie",
        words: &[("detail", "set-cookie")],
        least: 100,
        percent: 10,
        text: "Many responses are not stored because they set a cookie. Where the cookie is of no use, store them without it.",
        change: |_| Some(r#""set_cookie": "strip""#.into()),
    },
    Often {
        code: "unkeyed-headers",
        words: &[("firewall", "unkeyed-header")],
        least: 100,
        percent: 5,
        text: "Many requests are kept from the store because they have a field that the origin might answer differently for. \
               Put it into the key, take it away before the cache, or say that it plays no part.",
        change: |_| Some(r#""key": { "headers": ["x-forwarded-host"] }"#.into()),
    },
    Often {
        code: "queue-too-small",
        words: &[("remote", "dropped")],
        least: 20,
        percent: 0,
        text: "Responses on their way to the remote store were dropped because too many waited.",
        change: |policy| {
            more_in_vm("remote", "queue_bytes", policy.remote.queue_bytes, &REMOTE_QUEUE_BYTES, policy)
        },
    },
    Often {
        code: "waiters-bound-too-small",
        // That too many keys are fetched at once is another bound, which is fixed.
        words: &[("coalesce", "too-many-waiters")],
        least: 20,
        percent: 1,
        text: "Many requests went to the origin by themselves because too many waited for another's fetch already.",
        change: more_waiters,
    },
];

#[cfg(test)]
mod tests;

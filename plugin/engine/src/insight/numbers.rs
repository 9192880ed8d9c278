//! The node's figures. Metrics are named here, and in the table of [`advice`](super::advice).

use crate::host::Host;
use crate::stats::{Word, list};

/// Requests of clients by what came of them, since Envoy started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Answered from a store, fresh.
    pub hit: u64,
    /// Answered from a store, stale.
    pub stale: u64,
    /// Answered from a store after waiting for another request's fetch.
    pub collapsed: u64,
    /// Answered from a store after the origin confirmed it.
    pub validated: u64,
    /// Answered by the origin.
    pub miss: u64,
    /// Answered by the origin, and not for the cache.
    pub bypass: u64,
    /// Answered by nobody.
    pub refused: u64,
    /// Of the stale ones those for which the origin was asked in vain.
    pub stale_for_errors: u64,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    /// Responses and indexes of variants.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
    /// The budget in bytes.
    pub bound: u64,
}

impl Requests {
    /// Reads them.
    pub fn read(host: &mut dyn Host) -> Self {
        let mut of = |result: &str| sum(host, "requests", result);
        Self {
            hit: of("hit."),
            stale: of("stale."),
            collapsed: of("collapsed."),
            validated: of("validated."),
            miss: of("miss."),
            bypass: of("bypass."),
            refused: of("refused."),
            stale_for_errors: of("stale.origin"),
        }
    }

    /// All of them.
    pub const fn all(&self) -> u64 {
        self.from_store() + self.to_origin() + self.refused
    }

    /// Those that the origin had nothing to do with, or could not help with.
    pub const fn from_store(&self) -> u64 {
        self.hit + self.stale + self.collapsed
    }

    /// Those that the origin answered.
    pub const fn to_origin(&self) -> u64 {
        self.validated + self.miss + self.bypass
    }

    /// Those that the origin failed.
    pub const fn errors(&self) -> u64 {
        self.stale_for_errors + self.refused
    }
}

impl Tier {
    /// What `worker` or `node` holds for a plugin.
    pub fn read(host: &mut dyn Host, plugin: &str, tier: &'static str) -> Self {
        Self {
            entries: gauge(host, plugin, ("entries", tier)),
            bytes: gauge(host, plugin, ("bytes", tier)),
            bound: gauge(host, plugin, ("bytes_limit", tier)),
        }
    }
}

/// Bytes of bodies from the stores, and from anywhere.
pub fn served_bytes(host: &mut dyn Host) -> (u64, u64) {
    let origin = host.metric(("served_bytes", "origin"));
    let all = sum(host, "served_bytes", "");
    (all.saturating_sub(origin), all)
}

/// Calls to the remote store, and those among them that came to nothing.
pub fn remote_calls(host: &mut dyn Host) -> (u64, u64) {
    let mut of =
        |words: &[&'static str]| -> u64 { words.iter().map(|word| host.metric(("remote", word))).sum() };
    (of(&["lookups", "written", "deleted"]), of(&REMOTE_FAILURES))
}

/// Whether the remote store of a plugin can be used, as far as is known.
pub fn is_remote_ready(host: &mut dyn Host, plugin: &str) -> bool {
    gauge(host, plugin, ("remote_state", "not-ready")) == 0
}

/// What the remote store's breaker does in the worker that trusts it least.
pub fn remote_breaker(host: &mut dyn Host, plugin: &str) -> &'static str {
    let mut states = ["open", "half-open"].into_iter();
    let worst = states.find(|state| gauge(host, plugin, ("breaker_state", *state)) > 0);
    worst.unwrap_or("closed")
}

/// Origins that are left alone, the numbers of all workers together.
pub fn origins_open(host: &mut dyn Host, plugin: &str) -> u64 {
    gauge(host, plugin, ("origin_state", "open"))
}

/// A gauge of a plugin, or of the VMs.
fn gauge(host: &mut dyn Host, plugin: &str, word: Word) -> u64 {
    if list::is_of_the_vm(word) { host.metric(word) } else { host.metric_of(plugin, word) }
}

/// The sum of those words of a family that begin so.
fn sum(host: &mut dyn Host, family: &'static str, beginning: &str) -> u64 {
    let words = list::family(family).map(|family| family.words).unwrap_or_default();
    let values =
        words.iter().filter(|word| word.starts_with(beginning)).map(|word| host.metric((family, word)));
    values.fold(0, u64::saturating_add)
}

/// A part of a whole, rounded to four digits; 0 of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0
}

const REMOTE_FAILURES: [&str; 8] =
    ["dispatch", "timeout", "unreachable", "reset", "status", "redis-error", "malformed", "unauthorized"];

/// Every counter that is of no rule, with its value.
pub fn counters(host: &mut dyn Host) -> impl Iterator<Item = (Word, u64)> {
    words(list::Kind::Counter).map(|word| (word, host.metric(word)))
}

/// Every gauge of a plugin, and those of the VMs.
pub fn gauges(host: &mut dyn Host, plugin: &str) -> impl Iterator<Item = (Word, u64)> {
    words(list::Kind::Gauge).map(|word| (word, gauge(host, plugin, word)))
}

fn words(kind: list::Kind) -> impl Iterator<Item = Word> {
    let families = list::FAMILIES.iter().filter(move |family| family.kind == kind && !family.is_owned());
    families.flat_map(|family| family.words.iter().map(|word| (family.name, *word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failures_of_the_remote_store_are_in_the_list() {
        for word in REMOTE_FAILURES {
            assert!(list::has(list::Kind::Counter, "remote", word), "{word}");
        }
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!((share(1, 0), share(1, 3), share(2, 2)), (0.0, 0.3333, 1.0));
    }
}

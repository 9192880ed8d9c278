//! What rules that only watch (`shadow`) have seen.

use serde_json::Value;

use super::mismatches::{Mismatch, Mismatches};
use super::numbers::share;
use crate::host::Host;
use crate::members::members;
use crate::policy::Policy;
use crate::stats::list;

/// The counters of one rule, of all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shadow {
    /// Requests that would have been answered from a store, fresh.
    pub hit: u64,
    /// The same, stale.
    pub stale: u64,
    /// Those that would have waited for another's fetch.
    pub collapsed: u64,
    /// Those that would have gone to the origin.
    pub miss: u64,
    /// Bytes that a store would have sent.
    pub bytes: u64,
    /// Responses that were what the store would have answered with.
    pub same: u64,
    /// Those that were not.
    pub mismatch: u64,
    /// Those that could not be compared.
    pub unknown: u64,
}

impl Shadow {
    /// What a rule has seen.
    pub fn read(host: &mut dyn Host, rule: &str) -> Self {
        let mut of = |family, word| host.metric_of(rule, (family, word));
        Self {
            hit: of("shadow_requests", "hit"),
            stale: of("shadow_requests", "stale"),
            collapsed: of("shadow_requests", "collapsed"),
            miss: of("shadow_requests", "miss"),
            bytes: of("shadow_bytes", "hit").saturating_add(of("shadow_bytes", "stale")),
            same: of("shadow_compared", "same"),
            mismatch: of("shadow_compared", "mismatch"),
            unknown: of("shadow_compared", "unknown"),
        }
    }

    /// All requests that looked into the stores.
    pub const fn requests(&self) -> u64 {
        self.hit + self.stale + self.collapsed + self.miss
    }

    /// The share of them that a store would have answered.
    pub fn hit_rate(&self) -> f64 {
        share(self.requests() - self.miss, self.requests())
    }
}

/// For each rule that only watches what it has seen, and the last mismatches of this worker, the last first.
pub fn show(host: &mut dyn Host, policy: &Policy, mismatches: &Mismatches) -> Value {
    let rules = policy.shadows().map(|rule| {
        let seen = Shadow::read(host, &rule.name);
        members! {
            "rule": rule.name,
            "hit_rate": seen.hit_rate(),
            "hit": seen.hit,
            "stale": seen.stale,
            "collapsed": seen.collapsed,
            "miss": seen.miss,
            "bytes": seen.bytes,
            "same": seen.same,
            "mismatch": seen.mismatch,
            "unknown": seen.unknown,
        }
    });
    let rules = rules.collect();
    let last = mismatches.last_first().map(|mismatch| {
        let Mismatch { rule, url, keyed, differs, age } = mismatch;
        let rule = &policy.rule(*rule).name;
        members! { "rule": *rule, "url": *url, "keyed": *keyed, "differs": *differs, "age_s": *age }
    });
    members! { "mismatches_of": "worker"; "rules" => rules, "mismatches" => last.collect() }
}

/// The counters of those rules by name.
pub fn counters(host: &mut dyn Host, policy: &Policy) -> Vec<(String, u64)> {
    let mut counters = Vec::new();
    for rule in policy.shadows() {
        for family in list::FAMILIES.iter().filter(|family| family.by_rule()) {
            for word in family.words {
                let value = host.metric_of(&rule.name, (family.name, word));
                counters.push(([family.name, ".", &*rule.name, ".", word].concat(), value));
            }
        }
    }
    counters
}

//! What an Envoy looks like at one moment.

use std::{collections::BTreeMap, time::Duration};

use selvage_rig::envoy::Gateway;
use selvage_rig::scrape::Scrape;
use serde_json::Value;

use crate::load::Tally;

/// One moment.
#[derive(Clone, Default)]
pub struct Sample {
    /// Since the load began.
    pub at: Duration,
    /// What was the matter.
    pub state: String,
    /// What has become of requests so far.
    pub tally: Tally,
    /// Memory.
    pub memory: Memory,
    /// `selvage_live`, by what.
    pub live: BTreeMap<String, f64>,
    /// `selvage_queue`, by queue.
    pub queues: BTreeMap<String, f64>,
    /// `selvage_entries`, by tier.
    pub entries: BTreeMap<String, f64>,
    /// Part of the budget that is taken, by tier.
    pub full: BTreeMap<String, f64>,
    /// Breakers that do not let everything through: of the remote store, and of origins.
    pub open: [f64; 2],
    /// Responses that went for want of room, so far.
    pub evicted: f64,
}

/// Memory in bytes.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    /// Of the workers' VMs.
    pub heap: f64,
    /// Of the process, resident.
    pub resident: f64,
    /// What Envoy itself has allocated.
    pub allocated: f64,
}

impl Sample {
    /// Takes one; `None` if Envoy does not answer.
    pub fn take(gateway: &Gateway, at: Duration, state: &str, tally: Tally) -> Option<Self> {
        let scrape = Scrape::of(gateway)?;
        let memory: Value = serde_json::from_str(&gateway.admin("/memory")).unwrap_or_default();
        let allocated = memory["allocated"].as_str().and_then(|bytes| bytes.parse().ok()).unwrap_or_default();
        let by = |name: &str, label: &str| scrape.by(name, label);
        let limits = by("selvage_bytes_limit", "tier");
        let full = by("selvage_bytes", "tier").into_iter().map(|(tier, bytes)| {
            let limit = limits.get(&tier).copied().unwrap_or(f64::INFINITY);
            (tier, bytes / limit)
        });
        let open =
            ["open", "half-open"].map(|state| scrape.sum("selvage_breaker_state", &[("state", state)]));
        Some(Self {
            at,
            state: state.to_owned(),
            tally,
            memory: Memory {
                heap: scrape.sum("selvage_heap_bytes", &[("kind", "used")]),
                resident: gateway.resident_kib() as f64 * 1024.0,
                allocated,
            },
            live: by("selvage_live", "what"),
            queues: by("selvage_queue", "queue"),
            entries: by("selvage_entries", "tier"),
            full: full.collect(),
            open: [open.iter().sum(), scrape.sum("selvage_origin_state", &[("state", "open")])],
            evicted: scrape.sum("selvage_evicted", &[]),
        })
    }

    /// What should be gone when nothing is under way, and is not.
    pub fn leftovers(&self) -> Vec<String> {
        let all = self.live.iter().chain(&self.queues);
        all.filter(|(_, count)| **count != 0.0).map(|(what, count)| format!("{count} {what}")).collect()
    }
}

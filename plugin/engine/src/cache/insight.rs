//! What this worker knows for operators, and what they may have it do.

use std::time::Duration;

use super::{Cache, Moment};
use crate::insight::advice::Seen;
use crate::insight::busiest::{Busiest, Key};
use crate::insight::held::{AdapterUsage, EngineUsage, Held};
use crate::insight::history::History;
use crate::insight::mismatches::{Mismatch, Mismatches};
use crate::insight::refusals::Refusals;
use crate::insight::worth::Worth;
use crate::limits::Keyed;
use crate::request::Request;
use crate::stats::{Word, list};
use crate::time::Timestamp;

/// See [`crate::insight`].
#[derive(Debug, Default)]
pub(super) struct Insight {
    busiest: Busiest,
    worth: Worth,
    history: History,
    outside: AdapterUsage,
    mismatches: Mismatches,
    refusals: Refusals,
    /// The same for budgets.
    over_budget: Refusals,
    /// The remote store's breaker is to be reset.
    reset_wanted: bool,
}

impl Insight {
    /// A limit has refused a key.
    pub(super) fn note_refused(&mut self, limit: usize, keyed: &Keyed) {
        self.refusals.note(limit, (keyed.hash >> 64) as u64);
    }

    /// A budget has refused a key.
    #[cfg(all(feature = "limits", feature = "llm"))]
    pub(super) fn note_over_budget(&mut self, refused: &crate::budgets::Refused) {
        self.over_budget.note(refused.budget, refused.who);
    }
}

impl Cache {
    /// The name of what a counter is of: a rule, a pool or a limit with this index, whichever the family is by.
    pub fn owner_of(&self, index: usize, (family, _): Word) -> &str {
        let policy = &self.policy;
        match list::family(family).and_then(|family| family.labels.first().copied()) {
            #[cfg(feature = "pools")]
            Some("pool") => policy.pools.get(index).map_or("", |pool| &pool.name),
            #[cfg(feature = "llm")]
            Some("model") => policy.models.label(index),
            #[cfg(all(feature = "limits", feature = "llm"))]
            Some("budget") => policy.budgets.get(index).map_or("", |budget| &budget.name),
            Some("limit") => policy.limits.get(index).map_or("", |limit| &limit.name),
            _ => &policy.rule(index).name,
        }
    }

    #[cfg(all(feature = "limits", feature = "llm"))]
    pub(crate) const fn refused_by_budgets(&self) -> &Refusals {
        &self.insight.over_budget
    }

    pub(crate) const fn refusals(&self) -> &Refusals {
        &self.insight.refusals
    }

    /// By tick: sees to the node's history.
    pub fn keep_history(&mut self, moment: &mut Moment<'_>) {
        self.insight.history.keep(moment.host, moment.now);
        self.watch(moment);
    }

    /// What the adapter holds.
    pub fn note_held(&mut self, outside: AdapterUsage) {
        self.insight.outside = outside;
    }

    /// Whether the breaker of the remote store is to be reset, since the last call.
    pub fn take_breaker_reset(&mut self) -> bool {
        std::mem::take(&mut self.insight.reset_wanted)
    }

    /// Counts a request for its key; `answered` from a store.
    pub(crate) fn note_asked(&mut self, hash: u128, request: &Request<'_>, answered: bool) {
        self.insight.busiest.note(hash, request, answered);
    }

    /// Of how much use the cache is to each rule.
    pub(crate) const fn worth(&mut self) -> &mut Worth {
        &mut self.insight.worth
    }

    pub(crate) fn busiest(&self, most: usize) -> Vec<Key> {
        self.insight.busiest.keys(most)
    }

    /// What the origin sent was not what a rule that only watches would have answered with.
    pub(crate) fn note_mismatch(&mut self, mismatch: Mismatch) {
        self.insight.mismatches.note(mismatch);
    }

    pub(crate) const fn mismatches(&self) -> &Mismatches {
        &self.insight.mismatches
    }

    pub(crate) const fn held_outside(&self) -> &AdapterUsage {
        &self.insight.outside
    }

    /// What this worker itself holds.
    pub(crate) fn held_here(&self, moment: &Moment<'_>) -> EngineUsage {
        let load = self.load();
        EngineUsage {
            fills: Held::since(load.fills, self.oldest_fill(), moment.now),
            filling_bytes: load.filling_bytes,
            remote_queue: load.remote_queue,
            purges_queue: self.spread.waiting(),
            refresh_queue: self.refreshes.len(),
            warm_queue: self.warms_left(),
            budget_bytes: self.worker_budget(),
        }
    }

    /// What this worker has seen beside the metrics.
    pub(crate) fn seen(&self, now: Timestamp) -> Seen {
        Seen {
            wide: self.insight.busiest.wide().collect(),
            idle: self.insight.worth.idle(now).collect(),
            pools: self.pool_figures(),
            origin_us: self.origin_latency.mean().map(micros),
            remote_us: self.insight.outside.remote_latency.map(micros),
        }
    }

    /// Drops everything that is of no more use from the worker store, and has the node store checked. Returns how many
    /// responses went from this worker.
    pub(crate) fn sweep_all(&mut self, moment: &mut Moment<'_>) -> usize {
        let now = moment.now;
        let swept = self.sweep_worker(usize::MAX, now);
        self.node.audit(moment.host, now.as_millis(), PARTS_AUDITED);
        swept
    }

    /// Gives up what this worker could make anew. Returns the bytes.
    pub(crate) fn shrink(&mut self) -> usize {
        let scratch = std::mem::take(&mut self.scratch);
        let buffers = [&scratch.key, &scratch.variant, &scratch.status, &scratch.reply];
        let buffers: usize = buffers.into_iter().map(Vec::capacity).sum();
        self.inflated.clear().saturating_add(buffers)
    }

    /// No breaker leaves anything alone any more. Returns how many origins were; the remote store's is reset at the next tick.
    pub(crate) fn reset_breakers(&mut self, moment: &mut Moment<'_>) -> usize {
        self.insight.reset_wanted = self.policy.remote.enabled;
        self.reset_origins(moment)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Steps of an audit at once: a store of up to 32768 buckets is looked at as a whole.
const PARTS_AUDITED: usize = 32;

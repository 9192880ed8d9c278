//! The room that the stores and what is under way may take and do take, and the little that is done now and then to keep
//! to it.

use std::time::Duration;

use super::{Cache, Moment};
use crate::policy::Worker;
use crate::store::Slot;
use crate::store::table::{Limits, Table};
use crate::time::Timestamp;

/// What is under way or waits at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tasks that wait for the remote store.
    pub remote_queue: usize,
    /// Purges of which the fleet has not been told.
    pub purge_queue: usize,
    /// Fetches under way that others may wait for.
    pub fills: usize,
    /// Requests that wait for one.
    pub waiters: usize,
    /// Bytes of bodies that are being stored.
    pub filling_bytes: usize,
    /// Bytes of requests that wait.
    pub waiting_bytes: usize,
    /// Streams of language models that are passing and counted; `None` where none are counted.
    pub llm_streams: Option<usize>,
}

impl Cache {
    /// Entries and bytes in the worker store.
    pub fn worker_usage(&self) -> (usize, usize) {
        (self.table.len(), self.table.bytes())
    }

    /// Entries of the node store, as this worker's audits have counted them, and its bytes. Both are 0 before the first use.
    pub fn node_usage(&mut self, moment: &mut Moment<'_>) -> (u64, u64) {
        self.node.usage(moment.host)
    }

    /// What is under way or waits, for gauges.
    pub fn load(&self) -> Load {
        let (fills, waiters) = self.fills_under_way();
        let (remote_queue, purge_queue) = (self.remote_queue.len(), self.spread.waiting());
        Load {
            remote_queue,
            purge_queue,
            fills,
            waiters,
            filling_bytes: self.filling_bytes(),
            waiting_bytes: self.waiting_bytes(),
            #[cfg(feature = "llm")]
            llm_streams: self.policy.counts_tokens().then_some(self.streams_open),
            #[cfg(not(feature = "llm"))]
            llm_streams: None,
        }
    }

    /// Bytes that the policy lets the stores and queues of this worker take.
    pub fn worker_budget(&self) -> usize {
        let worker = &self.policy.worker;
        let remote = &self.policy.remote;
        let queue = if remote.enabled { remote.queue_bytes } else { 0 };
        let limits = self.limit_budget();
        [worker.filling_bytes, worker.inflated_bytes, worker.waiting_bytes, queue, limits]
            .into_iter()
            .fold(self.worker_limit(), usize::saturating_add)
    }

    /// Gives up this worker's store, for another configuration has followed, and makes do with an eighth of it for the
    /// connections that are left: of several that follow each other while they end, each would else fill one of its own.
    pub fn rest(&mut self) {
        self.inflated.clear();
        self.begin_table(self.policy.worker.bytes / 8);
    }

    /// The configuration that had followed is gone, and this one is the present one again.
    pub fn resume(&mut self) {
        if self.is_resting() {
            self.begin_table(self.policy.worker.bytes);
        }
    }

    /// Whether another configuration has followed.
    pub(super) fn is_resting(&self) -> bool {
        self.table.limits().bytes != self.policy.worker.bytes
    }

    /// What this worker's store may hold, in bytes.
    pub fn worker_limit(&self) -> usize {
        self.table.limits().bytes
    }

    fn begin_table(&mut self, bytes: usize) {
        self.count_departures();
        self.evictions_counted = 0;
        let before = std::mem::replace(&mut self.table, table(&self.policy.worker, bytes));
        self.watch_departures();
        // To free hundreds of thousands of responses takes longer than anybody is to wait.
        self.leaving.get_or_insert(before);
    }

    /// Frees some of what [`rest`](Self::rest) gave up: more at a tick than can be stored between two.
    fn let_leave(&mut self) {
        if let Some(leaving) = &mut self.leaving {
            leaving.sweep(LEAVE_STEPS, &mut |_| true);
            if leaving.is_empty() {
                self.leaving = None;
            }
        }
    }

    /// Counts what has left the stores since the last time.
    pub fn count_departures(&mut self) {
        let evictions = self.table.evictions();
        self.stats.add("evicted", "worker", evictions.saturating_sub(self.evictions_counted));
        self.evictions_counted = evictions;
        let left = self.node.take_departures();
        self.stats.add("evicted", "node", left.evicted);
        self.stats.add("expired", "node", left.expired);
        self.count_limits();
        #[cfg(all(feature = "limits", feature = "llm"))]
        self.count_budgets();
    }

    /// The largest response any store takes, in bytes.
    pub fn largest_object(&self) -> usize {
        let remote = &self.policy.remote;
        let remote = if remote.enabled { remote.object_bytes } else { 0 };
        self.policy.worker.object_bytes.max(self.policy.node.object_bytes).max(remote)
    }

    /// What the node store may hold in bytes, fixed cost included: the most that one of the plugins which share it asks for. 0
    /// if this one does not use it.
    pub fn node_budget(&self) -> u64 {
        let own = self.policy.node.bytes;
        if own == 0 { 0 } else { self.node.budget().configured.max(own) }
    }

    /// Learns what the node store may hold. One that `rests`, since another configuration has followed, no longer has a say.
    pub fn agree_on_node_budget(&mut self, rests: bool, moment: &mut Moment<'_>) {
        self.node.agree(moment.host, !rests, self.policy.node.bytes, moment.now);
    }

    /// Drops what is of no more use among so many slots of the worker store. Returns how many responses.
    pub(super) fn sweep_worker(&mut self, steps: usize, now: Timestamp) -> usize {
        let swept = self.table.sweep(steps, &mut |slot| match slot {
            Slot::Response(stored) => stored.dead_at() < now,
            Slot::Index(_) => false,
        });
        self.stats.add("expired", "worker", swept as u64);
        swept
    }

    /// A little housekeeping: drops dead entries and lets the node store check its account.
    pub fn sweep(&mut self, moment: &mut Moment<'_>) {
        self.let_leave();
        self.tidy_limits(moment);
        #[cfg(all(feature = "limits", feature = "llm"))]
        self.tidy_budgets(moment);
        let now = moment.now;
        self.sweep_worker(SWEEP_STEPS, now);
        if now >= self.next_audit {
            // What was counted of a region is worth nothing once somebody has stored there: the rest follows tick by tick.
            if self.node.audit(moment.host, now.as_millis(), 1) {
                return;
            }
            // A region grows with the number of buckets; the audit's share of the time does not.
            let regions = self.node.buckets().unwrap_or(0) / BUCKETS_AUDITED_A_SECOND + 1;
            self.next_audit = now.plus(Duration::from_secs(u64::from(regions.div_ceil(32))));
        }
    }
}

/// An empty worker store of so many bytes.
pub(super) fn table(worker: &Worker, bytes: usize) -> Table<Slot> {
    Table::new(Limits { bytes, entries: worker.entries, object_bytes: worker.object_bytes })
}

/// Responses that leave at a tick.
const LEAVE_STEPS: usize = 2048;
/// Table slots looked at in one sweep.
const SWEEP_STEPS: usize = 256;
/// Buckets of the node store whose account is checked in a second, about.
const BUCKETS_AUDITED_A_SECOND: u32 = 128;

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::host::NullHost;
    use crate::policy::Policy;
    use crate::store::variants::VariantIndex;

    #[test]
    fn a_store_that_is_given_up_is_freed_in_bounded_steps() {
        let mut cache = Cache::new(Rc::new(Policy::default()));
        let now = Timestamp::from_secs(1_000_000);
        for number in 0..5000u128 {
            let key: Rc<[u8]> = Rc::from(&number.to_le_bytes()[..]);
            let slot = Slot::Index(Rc::new(VariantIndex::new(key, now)));
            cache.table.insert(number << 64 | number, slot).unwrap();
        }
        cache.rest();
        let left = |cache: &Cache| cache.leaving.as_ref().map(Table::len);
        let mut seen = vec![left(&cache)];
        while left(&cache).is_some() {
            cache.sweep(&mut Moment { now, host: &mut NullHost });
            seen.push(left(&cache));
        }
        assert_eq!(seen, [Some(5000), Some(5000 - LEAVE_STEPS), Some(5000 - 2 * LEAVE_STEPS), None]);
        assert_eq!(cache.worker_usage(), (0, 0));
    }
}

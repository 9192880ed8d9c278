//! What a worker holds at a moment: stores, queues, and the things that must go away again.

use std::time::Duration;

use selvage_engine::cache::Moment;
use selvage_engine::insight::held::{Held, Outside};
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::host::{self, Envoy};
use crate::root::Root;

/// What the VM holds beside its roots.
#[derive(Clone, Copy)]
pub struct InVm {
    /// Streams that Envoy has told of and not ended.
    pub contexts: usize,
    /// Streams with something still to come.
    pub streams: Held,
    /// Streams held for their request's body.
    pub bodies: usize,
}

/// When a root shows next what takes a look into shared data.
#[derive(Default)]
pub struct Gauges {
    next_look: Timestamp,
}

/// Shows what a root holds, and what the VM holds if the root is to say it: one has to.
pub fn export(root: &mut Root, held: Option<InVm>, breakers: &Breakers, now: Timestamp) {
    let metrics = &mut root.metrics;
    let policy = root.cache.policy();
    // Envoy's main thread has a VM too, which serves nobody and stores nothing.
    let serves = root.wake.has_joined();
    metrics.gauge(("bytes_limit", "worker"), if serves { policy.worker.bytes } else { 0 });
    metrics.gauge(("heap_bytes", "budget"), if serves { root.cache.worker_budget() } else { 0 });
    metrics.set(("bytes_limit", "node"), policy.node.bytes);
    let (entries, bytes) = root.cache.worker_usage();
    metrics.gauge(("entries", "worker"), entries);
    metrics.gauge(("bytes", "worker"), bytes);
    let load = root.cache.load();
    metrics.gauge(("live", "fills"), load.fills);
    metrics.gauge(("live", "waiters"), load.waiters.saturating_add(root.waiters.polling()));
    metrics.gauge(("live", "filling-bytes"), load.filling_bytes);
    metrics.gauge(("live", "waiting-bytes"), load.waiting_bytes);
    metrics.gauge(("live", "remote-calls"), root.remote.calls());
    metrics.gauge(("live", "refresh-calls"), root.refreshes.calls());
    metrics.gauge(("queue", "remote"), load.remote_queue);
    metrics.gauge(("queue", "purge"), load.purge_queue);
    metrics.gauge(("queue", "refresh"), root.cache.refreshes_queued());
    if let Some(held) = held {
        metrics.gauge(("heap_bytes", "used"), if serves { host::memory_bytes() } else { 0 });
        metrics.gauge(("live", "contexts"), held.contexts);
        metrics.gauge(("live", "streams"), held.streams.count);
        metrics.gauge(("live", "held"), held.bodies);
    }
    if serves && now >= root.gauges.next_look {
        root.cache.note_held(Outside {
            at: now,
            heap_bytes: host::memory_bytes() as u64,
            contexts: Held { count: held.map_or(0, |held| held.contexts), ..Held::default() },
            streams: held.map(|held| held.streams).unwrap_or_default(),
            waiters: root.waiters.held(now),
            remote_calls: root.remote.held(now),
            refresh_calls: root.refreshes.held(now),
            remote_latency: root.remote.latency(breakers),
        });
        root.gauges.next_look = now.plus(LOOK_EVERY);
        let (entries, bytes) = root.cache.node_usage(&mut Moment { now, host: &mut Envoy });
        // Each worker has counted at another time; the numbers are near each other.
        metrics.set(("entries", "node"), entries);
        metrics.set(("bytes", "node"), bytes);
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

//! What a worker holds at a moment: stores, queues, and the things that must go away again.

use std::time::Duration;

use selvage_engine::cache::Moment;
use selvage_engine::insight::held::{AdapterUsage, Held};
use selvage_engine::insight::speaker::Speaker;
use selvage_engine::policy::Policy;
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::host::{Calls, Envoy};
use crate::root::Root;

/// What the VM holds beside its roots.
#[derive(Clone, Copy)]
pub struct InVm {
    /// One of the roots serves requests. Envoy's main thread has a VM too, which serves nobody and stores nothing.
    pub serves: bool,
    /// Streams that Envoy has told of and not ended.
    pub contexts: usize,
    /// Streams with something still to come.
    pub streams: Held,
    /// Streams held for their request's body.
    pub bodies: usize,
}

/// What a root keeps to show what all workers know alike, and what takes a look into shared data.
pub struct Gauges {
    speaker: Speaker,
    next_look: Timestamp,
    /// Responses and bytes in the node store, when it last looked.
    in_node: (u64, u64),
}

impl Gauges {
    /// Nothing is shown yet. `who` is a number that no other root has.
    pub fn new(policy: &Policy, who: u64, now: Timestamp) -> Self {
        Self { speaker: Speaker::new(policy, who, now), next_look: Timestamp::default(), in_node: (0, 0) }
    }

    /// Its root goes.
    pub fn leave<H: Calls>(&mut self) {
        self.speaker.leave(&mut Envoy::<H>::new());
    }
}

/// Shows what a root holds, and what the VM holds if the root is to say it: one has to.
pub fn export<H: Calls>(root: &mut Root<H>, held: Option<InVm>, breakers: &Breakers<H>, now: Timestamp) {
    let metrics = &mut root.metrics;
    let serves = root.wake.serves();
    let speaks = root.gauges.speaker.speaks(&mut Envoy::<H>::new(), serves, now);
    metrics.gauge(("bytes_limit", "worker"), if serves { root.cache.worker_limit() } else { 0 });
    metrics.gauge(("heap_bytes", "budget"), if serves { root.cache.worker_budget() } else { 0 });
    metrics.say(("bytes_limit", "node"), root.cache.node_budget(), speaks);
    let (entries, bytes) = root.cache.worker_usage();
    metrics.gauge(("entries", "worker"), entries);
    metrics.gauge(("bytes", "worker"), bytes);
    let load = root.cache.load();
    metrics.gauge(("live", "fills"), load.fills);
    metrics.gauge(("live", "waiters"), load.waiters.saturating_add(root.waiters.polling()));
    metrics.gauge(("live", "filling-bytes"), load.filling_bytes);
    metrics.gauge(("live", "waiting-bytes"), load.waiting_bytes);
    if let Some(streams) = load.llm_streams {
        metrics.gauge(("live", "llm-streams"), streams);
    }
    let (keys, bytes) = root.cache.limit_usage();
    metrics.gauge(("limit_keys", "known"), keys);
    metrics.gauge(("limit_keys", "bytes"), bytes);
    metrics.gauge(("live", "remote-calls"), root.remote.calls());
    metrics.gauge(("live", "refresh-calls"), root.refreshes.calls());
    metrics.gauge(("queue", "remote"), load.remote_queue);
    metrics.gauge(("queue", "purge"), load.purge_queue);
    for pool in root.cache.pool_figures() {
        let [high, normal, low] = pool.waiting;
        let limit = if speaks { pool.limit as usize } else { 0 };
        metrics.gauge_of_pool(&pool.name, ("pool", "limit"), limit);
        metrics.gauge_of_pool(&pool.name, ("pool", "in-flight"), pool.in_flight as usize);
        metrics.gauge_of_pool(&pool.name, ("pool", "waiting-high"), high);
        metrics.gauge_of_pool(&pool.name, ("pool", "waiting-normal"), normal);
        metrics.gauge_of_pool(&pool.name, ("pool", "waiting-low"), low);
    }
    metrics.gauge(("queue", "refresh"), root.cache.refreshes_queued());
    if let Some(held) = held {
        metrics.gauge(("heap_bytes", "used"), if held.serves { H::memory_bytes() } else { 0 });
        metrics.gauge(("live", "contexts"), held.contexts);
        metrics.gauge(("live", "streams"), held.streams.count);
        metrics.gauge(("live", "held"), held.bodies);
    }
    if root.wake.has_joined() && now >= root.gauges.next_look {
        root.cache.note_held(AdapterUsage {
            at: now,
            heap_bytes: H::memory_bytes() as u64,
            contexts: Held { count: held.map_or(0, |held| held.contexts), ..Held::default() },
            streams: held.map(|held| held.streams).unwrap_or_default(),
            waiters: root.waiters.held(now),
            remote_calls: root.remote.held(now),
            refresh_calls: root.refreshes.held(now),
            remote_latency: root.remote.latency(breakers),
        });
        root.gauges.next_look = now.plus(LOOK_EVERY);
        root.gauges.in_node = root.cache.node_usage(&mut Moment { now, host: &mut Envoy::<H>::new() });
    }
    let (entries, bytes) = root.gauges.in_node;
    metrics.say(("entries", "node"), entries, speaks);
    metrics.say(("bytes", "node"), bytes, speaks);
    for (word, is_open) in root.cache.anomalies() {
        metrics.say(word, u64::from(is_open), speaks);
    }
    let known = root.cache.jobs_of_fleet();
    let (jobs, knows) = (known.unwrap_or_default(), known.is_some());
    for (state, count) in
        [("due", jobs.due), ("leased", jobs.leased), ("dead", jobs.dead), ("done", jobs.done)]
    {
        metrics.say(("jobs_kept", state), count, knows);
    }
    metrics.gauge(("live", "jobs"), root.cache.jobs_running());
    if root.remote.is_enabled() {
        metrics.export_breaker(root.remote.state(breakers, now));
        let ready = root.remote.is_ready();
        metrics.say(("remote_state", "ready"), u64::from(ready), speaks);
        metrics.say(("remote_state", "not-ready"), u64::from(!ready), speaks);
        let writes = root.remote.writes().as_str();
        for state in ["ok", "refusing", "silent"] {
            metrics.say(("remote_writes", state), u64::from(state == writes), speaks);
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

//! The circuit breakers of a VM, one for each cluster that it calls. The workers share what they find out.

use std::marker::PhantomData;
use std::time::Duration;

use selvage_engine::breaker::{Admit, Breaker, CallResult, Config, Counters, Latency, State};
use selvage_engine::chance;
use selvage_engine::registry::{self, Limits, Registry};
use selvage_engine::stats::Stats;
use selvage_engine::time::Timestamp;

use crate::host::{Calls, Envoy, Level};

/// The breakers by the names of their clusters. They outlive a change of the configuration.
pub struct Breakers<H> {
    registry: Registry<Shared>,
    random: u64,
    counted: registry::Counters,
    host: PhantomData<H>,
}

/// A breaker and where the workers share it.
struct Shared {
    breaker: Breaker,
    key: String,
    counted: Counters,
}

impl<H: Calls> Default for Breakers<H> {
    fn default() -> Self {
        Self {
            registry: Registry::new(LIMITS),
            random: H::random(),
            counted: registry::Counters::default(),
            host: PhantomData,
        }
    }
}

impl<H: Calls> Breakers<H> {
    /// Gives the breaker of a cluster these settings. What it knows stays.
    pub fn configure(&mut self, cluster: &str, config: Config, now: Timestamp) {
        if let Some(entry) = self.entry(cluster, config, now) {
            entry.breaker.set_config(config);
        }
    }

    /// Whether a call to the cluster may be made. Where no breaker can be kept all may.
    pub fn admit(&mut self, cluster: &str, config: Config, now: Timestamp) -> Admit {
        let random = self.random();
        let Some(Shared { breaker, key, .. }) = self.entry(cluster, config, now) else { return Admit::Pass };
        breaker.admit_shared(&mut Envoy::<H>::new(), key, now, random)
    }

    /// Takes the result of a call in that was admitted, and tells the other workers if it changes the state.
    pub fn record(&mut self, cluster: &str, admitted: Admit, result: CallResult, now: Timestamp) {
        let random = self.random();
        let Some(shared) = self.registry.peek_mut(cluster) else { return };
        let before = shared.breaker.counters();
        let changed = shared.breaker.record(admitted, result, now, random);
        if changed || shared.breaker.needs_sync() {
            shared.breaker.sync(&mut Envoy::<H>::new(), &shared.key, now);
        }
        shared.tell::<H>(cluster, before);
    }

    /// Hears of the other workers, and compares the cluster with the origin that it is to spare.
    pub fn tick(&mut self, cluster: &str, origin: &Latency, now: Timestamp) {
        if let Some(shared) = self.registry.peek_mut(cluster) {
            let before = shared.breaker.counters();
            shared.breaker.sync(&mut Envoy::<H>::new(), &shared.key, now);
            shared.breaker.compare(origin, now);
            shared.tell::<H>(cluster, before);
        }
        self.registry.sweep(now, SWEEP_STEPS);
    }

    /// A cluster is called again, whatever is known of it. The other workers are told.
    pub fn reset(&mut self, cluster: &str, now: Timestamp) {
        if let Some(shared) = self.registry.peek_mut(cluster) {
            shared.breaker.reset(now);
            shared.breaker.sync(&mut Envoy::<H>::new(), &shared.key, now);
        }
    }

    /// How long a cluster takes to answer, on average.
    pub fn latency(&self, cluster: &str) -> Option<Duration> {
        self.registry.peek(cluster)?.value.breaker.latency().mean()
    }

    /// What a cluster's breaker does.
    pub fn state(&self, cluster: &str, now: Timestamp) -> State {
        self.registry.peek(cluster).map_or(State::Closed, |entry| entry.value.breaker.state(now))
    }

    /// Counts what has happened since the last time.
    pub fn count(&mut self, cluster: &str, stats: &mut Stats) {
        if let Some(shared) = self.registry.peek_mut(cluster) {
            let (now, old) = (shared.breaker.counters(), shared.counted);
            for (word, events) in now.since(old) {
                stats.add("breaker", word, events);
            }
            shared.counted = now;
        }
        let (now, old) = (self.registry.counters(), self.counted);
        stats.add("breaker", "swept", now.swept - old.swept);
        stats.add("breaker", "evicted", now.evicted - old.evicted);
        self.counted = now;
    }

    fn entry(&mut self, cluster: &str, config: Config, now: Timestamp) -> Option<&mut Shared> {
        let make = || Shared {
            breaker: Breaker::new(config),
            key: format!("sv1/k/{cluster}"),
            counted: Counters::default(),
        };
        self.registry.entry(cluster, now, make).map(|entry| &mut entry.value)
    }

    /// The next number of a sequence that no two workers have in common.
    pub const fn random(&mut self) -> u64 {
        chance::next(&mut self.random)
    }
}

impl Shared {
    /// Tells the operator what this worker has just found out.
    fn tell<H: Calls>(&self, cluster: &str, before: Counters) {
        let now = self.breaker.counters();
        let why = if now.opened_by_failures > before.opened_by_failures {
            "fails"
        } else if now.opened_by_slowness > before.opened_by_slowness {
            "is too slow"
        } else {
            if now.closed > before.closed {
                H::log(Level::Info, &format!("the cluster {cluster:?} answers again and is used again"));
            }
            return;
        };
        H::log(Level::Warn, &format!("the cluster {cluster:?} {why}; requests go on without it"));
    }
}

/// A configuration names one cluster, so there are more only after changes.
const LIMITS: Limits = Limits { entries: 64, idle: Duration::from_secs(600), name_bytes: 128 };
const SWEEP_STEPS: usize = 2;

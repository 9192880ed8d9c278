//! Brings the engine's counts into Envoy's stats, at every tick rather than at every request.

use std::collections::BTreeMap;

use selvage_engine::cache::Cache;
use selvage_engine::remote::breaker::State;
use selvage_engine::stats::Word;

use crate::host::{self, Metric};

/// The metrics defined so far; each is defined when it is first needed, once.
#[derive(Default)]
pub struct Metrics {
    counters: BTreeMap<Word, u32>,
    gauges: BTreeMap<&'static str, Gauge>,
    ready: Option<(u32, bool)>,
}

struct Gauge {
    id: u32,
    /// What this worker has put into the sum of all workers.
    share: i64,
}

impl Metrics {
    /// Exports what was counted since the last time, and this worker's share of the gauges.
    pub fn export(&mut self, cache: &mut Cache) {
        let (entries, bytes) = cache.worker_usage();
        self.gauge("worker.entries", entries);
        self.gauge("worker.bytes", bytes);
        let stats = cache.stats.take();
        self.add(("requests", "hit"), stats.worker_hits);
        self.add(("detail", "worker"), stats.worker_hits);
        for (word, count) in stats.words {
            self.add(word, count);
        }
    }

    /// Exports in how many workers the breaker for the remote store is in each state.
    pub fn export_breaker(&mut self, state: State) {
        self.gauge("breaker.closed", usize::from(state == State::Closed));
        self.gauge("breaker.half-open", usize::from(state == State::HalfOpen));
        self.gauge("breaker.open", usize::from(matches!(state, State::Open { .. })));
    }

    /// Exports how many origins this worker leaves alone, all workers' numbers summed up.
    pub fn export_origins(&mut self, left_alone: usize) {
        self.gauge("origin.open", left_alone);
    }

    /// Exports whether the remote store has shown that it can be used. All workers know the same, so the last one
    /// that says it is right.
    pub fn export_ready(&mut self, ready: bool) {
        let id = match self.ready {
            Some((_, told)) if told == ready => return,
            Some((id, _)) => Some(id),
            None => host::define_metric(Metric::Gauge, "selvage.remote.ready"),
        };
        let Some(id) = id else { return };
        host::record(id, u64::from(ready));
        self.ready = Some((id, ready));
    }

    fn add(&mut self, word: Word, count: u64) {
        if count == 0 {
            return;
        }
        let id = match self.counters.get(&word) {
            Some(id) => *id,
            None => {
                let (family, word_itself) = word;
                let name = format!("selvage.{family}.{word_itself}");
                let Some(id) = host::define_metric(Metric::Counter, &name) else { return };
                self.counters.insert(word, id);
                id
            }
        };
        host::increment(id, i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn gauge(&mut self, name: &'static str, value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let gauge = match self.gauges.get_mut(name) {
            Some(gauge) => gauge,
            None => {
                if value == 0 {
                    return;
                }
                let Some(id) = host::define_metric(Metric::Gauge, &format!("selvage.{name}")) else {
                    return;
                };
                self.gauges.entry(name).or_insert(Gauge { id, share: 0 })
            }
        };
        if value != gauge.share {
            host::increment(gauge.id, value - gauge.share);
            gauge.share = value;
        }
    }
}

impl Drop for Metrics {
    /// A root that goes takes its share of the sums with it.
    fn drop(&mut self) {
        for gauge in self.gauges.values().filter(|gauge| gauge.share != 0) {
            host::increment(gauge.id, -gauge.share);
        }
    }
}

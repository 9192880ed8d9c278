//! Brings the engine's counts into Envoy's stats, at every tick rather than at every request.

use std::collections::BTreeMap;

use selvage_engine::cache::Cache;
use selvage_engine::stats::Word;

use crate::host::{self, Metric};

/// The metrics defined so far; each is defined when it is first needed, once.
#[derive(Default)]
pub struct Metrics {
    counters: BTreeMap<Word, u32>,
    gauges: BTreeMap<&'static str, Gauge>,
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
        self.gauge("entries", entries);
        self.gauge("bytes", bytes);
        let stats = cache.stats.take();
        self.add(("requests", "hit"), stats.worker_hits);
        self.add(("detail", "worker"), stats.worker_hits);
        for (word, count) in stats.words {
            self.add(word, count);
        }
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
                let full_name = format!("selvage.worker.{name}");
                let Some(id) = host::define_metric(Metric::Gauge, &full_name) else { return };
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

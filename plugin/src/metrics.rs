//! Brings the engine's counts into Envoy's stats, at every tick rather than at every request.

use std::cell::RefCell;
use std::collections::{BTreeMap, btree_map::Entry};

use selvage_engine::cache::Cache;
use selvage_engine::remote::breaker::State;
use selvage_engine::stats::Word;
use selvage_engine::stats::list::{self, Kind};

use crate::host::{self, Metric};

/// The metrics of one plugin; each is defined when it is first needed, once. What there may be is listed in
/// [`selvage_engine::stats::list`].
#[derive(Default)]
pub struct Metrics {
    known: BTreeMap<Word, Known>,
}

/// A metric that has been defined.
#[derive(Clone, Copy)]
struct Known {
    id: u32,
    /// What a gauge was told last: of one that is a sum, this worker's share.
    told: Option<i64>,
    is_sum: bool,
}

impl Metrics {
    /// Exports what was counted and measured since the last time.
    pub fn export(&mut self, cache: &mut Cache) {
        if !self.known.contains_key(&FROM_THE_START[0]) {
            for word in FROM_THE_START {
                self.known(Metric::Counter, word);
            }
        }
        cache.count_departures();
        let stats = cache.stats.take();
        self.add(("requests", "hit.worker"), stats.worker_hits);
        self.add(("detail", "worker"), stats.worker_hits);
        self.add(("served_bytes", "worker"), stats.worker_bytes);
        for (word, count) in stats.words {
            self.add(word, count);
        }
        for ((rule, word), count) in stats.by_rule {
            if let Some(id) = of_rule(&cache.policy().rule(rule).name, word) {
                host::increment(id, i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        for (word, value) in stats.samples {
            if let Some(histogram) = self.known(Metric::Histogram, word) {
                host::record(histogram.id, value);
            }
        }
    }

    /// Exports in how many workers the breaker for the remote store is in each state.
    pub fn export_breaker(&mut self, state: State) {
        self.gauge(("breaker_state", "closed"), usize::from(state == State::Closed));
        self.gauge(("breaker_state", "half-open"), usize::from(state == State::HalfOpen));
        self.gauge(("breaker_state", "open"), usize::from(matches!(state, State::Open { .. })));
    }

    /// Exports this worker's share of a gauge. One that has always been 0 is not defined.
    pub fn gauge(&mut self, word: Word, value: usize) {
        if value == 0 && !self.known.contains_key(&word) {
            return;
        }
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let Some(gauge) = self.known(Metric::Gauge, word) else { return };
        gauge.is_sum = true;
        let told = gauge.told.unwrap_or(0);
        if value != told {
            host::increment(gauge.id, value - told);
            gauge.told = Some(value);
        }
    }

    /// Exports a gauge of which all workers know the same, so that the last one that says it is right.
    pub fn set(&mut self, word: Word, value: u64) {
        let Some(gauge) = self.known(Metric::Gauge, word) else { return };
        // What a root of before has said may still be there, so the first 0 is said too.
        let told = i64::try_from(value).ok();
        if told != gauge.told {
            host::record(gauge.id, value);
            gauge.told = told;
        }
    }

    fn add(&mut self, word: Word, count: u64) {
        if count > 0
            && let Some(counter) = self.known(Metric::Counter, word)
        {
            host::increment(counter.id, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn known(&mut self, kind: Metric, word: Word) -> Option<&mut Known> {
        match self.known.entry(word) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(place) => {
                let id = define(kind, word)?;
                Some(place.insert(Known { id, told: None, is_sum: false }))
            }
        }
    }
}

/// Counters that alerts watch for their first event: one that begins with it shows no increase.
const FROM_THE_START: [Word; 2] = [("remote", "dropped"), ("purge", "dropped")];

fn define(kind: Metric, (family, word): Word) -> Option<u32> {
    host::define_metric(kind, &format!("selvage.{family}.{word}"))
}

/// The id of a rule's counter.
fn of_rule(rule: &str, word: Word) -> Option<u32> {
    OF_RULES.with_borrow_mut(|ids| {
        id_of(ids, (rule.into(), word), || {
            let (family, word) = word;
            host::define_metric(Metric::Counter, &format!("selvage.{family}.{rule}.{word}"))
        })
    })
}

/// What is known under a key, defined when it is first needed.
fn id_of<K: Ord>(ids: &mut BTreeMap<K, u32>, key: K, define: impl FnOnce() -> Option<u32>) -> Option<u32> {
    match ids.entry(key) {
        Entry::Occupied(known) => Some(*known.get()),
        Entry::Vacant(place) => define().map(|id| *place.insert(id)),
    }
}

/// The value of a rule's counter, of all workers together.
pub fn read_for(rule: &str, word: Word) -> u64 {
    of_rule(rule, word).and_then(host::metric).unwrap_or_default()
}

/// The value of a counter or gauge, of all workers together; 0 for what is neither. One that is read shows in Envoy's stats
/// from then on.
pub fn read(word: Word) -> u64 {
    let kind = match list::family(word.0).map(|family| family.kind) {
        Some(Kind::Counter) => Metric::Counter,
        Some(Kind::Gauge) => Metric::Gauge,
        Some(Kind::Histogram) | None => return 0,
    };
    let id = READ.with_borrow_mut(|ids| id_of(ids, word, || define(kind, word)));
    id.and_then(host::metric).unwrap_or_default()
}

thread_local! {
    /// The ids of what this VM has read. Envoy gives every definition an id of its own.
    static READ: RefCell<BTreeMap<Word, u32>> = const { RefCell::new(BTreeMap::new()) };
    /// The ids of counters that each rule has its own of, by its name.
    static OF_RULES: RefCell<BTreeMap<(Box<str>, Word), u32>> = const { RefCell::new(BTreeMap::new()) };
}

impl Drop for Metrics {
    /// A root that goes takes its share of the sums with it.
    fn drop(&mut self) {
        for gauge in self.known.values().filter(|known| known.is_sum) {
            if let Some(share) = gauge.told.filter(|share| *share != 0) {
                host::increment(gauge.id, -share);
            }
        }
    }
}

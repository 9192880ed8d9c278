//! Brings the engine's counts into Envoy's stats, at every tick rather than at every request.

use std::cell::RefCell;
use std::collections::{BTreeMap, btree_map::Entry};
use std::marker::PhantomData;

use selvage_engine::breaker::State;
use selvage_engine::cache::Cache;
use selvage_engine::stats::Word;
use selvage_engine::stats::list::{self, Kind};

use crate::host::{Calls, Metric};

/// The metrics of one plugin; each is defined when it is first needed, once. What there may be is listed in
/// [`selvage_engine::stats::list`].
pub struct Metrics<H: Calls> {
    /// The label `plugin` of its gauges.
    label: Box<str>,
    known: BTreeMap<Word, Known>,
    /// Those that each pool has its own of.
    of_pools: Vec<(Box<str>, Word, Known)>,
    host: PhantomData<H>,
}

/// A metric that has been defined.
#[derive(Clone, Copy)]
struct Known {
    id: u32,
    /// This worker's share of a gauge.
    told: i64,
}

impl<H: Calls> Metrics<H> {
    /// None is defined yet.
    pub fn new(label: &str) -> Self {
        Self { label: label.into(), known: BTreeMap::new(), of_pools: Vec::new(), host: PhantomData }
    }

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
        for ((owner, word), count) in stats.by_owner {
            if let Some(id) = of_owner::<H>(cache.owner_of(owner, word), word) {
                H::increment(id, i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        for (word, value) in stats.samples {
            if let Some(histogram) = self.known(Metric::Histogram, word) {
                H::record(histogram.id, value);
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
        self.share(word, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Exports this worker's share of a gauge of a pool. One that has always been 0 is not defined.
    pub fn gauge_of_pool(&mut self, pool: &str, word: Word, value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        if !self.of_pools.iter().any(|(name, known, _)| **name == *pool && *known == word) && value != 0 {
            let (family, figure) = word;
            let name = format!("selvage.{family}.{pool}.{figure}");
            let Some(id) = H::define_metric(Metric::Gauge, &name) else { return };
            self.of_pools.push((pool.into(), word, Known { id, told: 0 }));
        }
        let mut known = self.of_pools.iter_mut().filter(|(name, known, _)| **name == *pool && *known == word);
        let Some((_, _, known)) = known.next() else { return };
        if value != known.told {
            H::increment(known.id, value - known.told);
            known.told = value;
        }
    }

    /// Exports a gauge of which all workers know the same: one of them says it, also that it is 0.
    pub fn say(&mut self, word: Word, value: u64, speaks: bool) {
        if speaks {
            self.share(word, i64::try_from(value).unwrap_or(i64::MAX));
        } else {
            self.gauge(word, 0);
        }
    }

    fn share(&mut self, word: Word, value: i64) {
        let Some(gauge) = self.known(Metric::Gauge, word) else { return };
        if value != gauge.told {
            H::increment(gauge.id, value - gauge.told);
            gauge.told = value;
        }
    }

    fn add(&mut self, word: Word, count: u64) {
        if count > 0
            && let Some(counter) = self.known(Metric::Counter, word)
        {
            H::increment(counter.id, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn known(&mut self, kind: Metric, word: Word) -> Option<&mut Known> {
        match self.known.entry(word) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(place) => {
                let id = match kind {
                    Metric::Gauge => define_of::<H>(&self.label, word)?,
                    Metric::Counter | Metric::Histogram => define::<H>(kind, word)?,
                };
                Some(place.insert(Known { id, told: 0 }))
            }
        }
    }
}

/// Counters that alerts watch for their first event: one that begins with it shows no increase.
const FROM_THE_START: [Word; 2] = [("remote", "dropped"), ("purge", "dropped")];

fn define<H: Calls>(kind: Metric, (family, word): Word) -> Option<u32> {
    H::define_metric(kind, &format!("selvage.{family}.{word}"))
}

/// Defines a gauge of a plugin, or of the VMs.
fn define_of<H: Calls>(plugin: &str, word: Word) -> Option<u32> {
    if plugin.is_empty() || list::is_of_the_vm(word) {
        return define::<H>(Metric::Gauge, word);
    }
    let (family, word) = word;
    H::define_metric(Metric::Gauge, &format!("selvage.{family}.{plugin}.{word}"))
}

/// The id of what a rule, a pool or a limit has its own of.
fn of_owner<H: Calls>(owner: &str, word: Word) -> Option<u32> {
    let is_gauge = list::family(word.0).is_some_and(|family| family.kind == Kind::Gauge);
    let kind = if is_gauge { Metric::Gauge } else { Metric::Counter };
    OWNED.with_borrow_mut(|ids| {
        id_of(ids, (owner.into(), word), || {
            let (family, word) = word;
            H::define_metric(kind, &format!("selvage.{family}.{owner}.{word}"))
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

/// The value of what a rule, a pool, a limit or a plugin has its own of, of all workers together.
pub fn read_of<H: Calls>(owner: &str, word: Word) -> u64 {
    let is_plugins = list::family(word.0).is_some_and(list::Family::by_plugin);
    let id = match is_plugins {
        true => OWNED.with_borrow_mut(|ids| id_of(ids, (owner.into(), word), || define_of::<H>(owner, word))),
        false => of_owner::<H>(owner, word),
    };
    id.and_then(H::metric).unwrap_or_default()
}

/// The value of a counter or gauge, of all workers together; 0 for what is neither. One that is read shows in Envoy's stats
/// from then on.
pub fn read<H: Calls>(word: Word) -> u64 {
    let kind = match list::family(word.0).map(|family| family.kind) {
        Some(Kind::Counter) => Metric::Counter,
        Some(Kind::Gauge) => Metric::Gauge,
        Some(Kind::Histogram) | None => return 0,
    };
    let id = READ.with_borrow_mut(|ids| id_of(ids, word, || define::<H>(kind, word)));
    id.and_then(H::metric).unwrap_or_default()
}

thread_local! {
    /// The ids of what this VM has read. Envoy gives every definition an id of its own.
    static READ: RefCell<BTreeMap<Word, u32>> = const { RefCell::new(BTreeMap::new()) };
    /// The ids of what each rule, pool, limit or plugin has its own of, by its name.
    static OWNED: RefCell<BTreeMap<(Box<str>, Word), u32>> = const { RefCell::new(BTreeMap::new()) };
}

impl<H: Calls> Drop for Metrics<H> {
    /// A root that goes takes its share of the sums with it.
    fn drop(&mut self) {
        let gauges = self.known.values().chain(self.of_pools.iter().map(|(_, _, known)| known));
        for gauge in gauges.filter(|known| known.told != 0) {
            H::increment(gauge.id, -gauge.told);
        }
    }
}

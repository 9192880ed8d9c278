//! What this worker sees for what the node foretells.

use std::time::Duration;

use serde_json::Value;

use super::predicting::Predicting;
use super::{Alert, Cache, Moment};
use crate::foresight::series::Series;
use crate::host::Host;
use crate::insight::anomalies::Anomalies;
use crate::insight::stores::{self, Stores};
use crate::members::members;
use crate::policy::Policy;
use crate::stats::Word;
use crate::store::Slot;

/// What it has seen and not told yet.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    anomalies: Anomalies,
    #[cfg(feature = "pools")]
    forecasts: crate::insight::forecast::Forecasts,
    /// Lines for the log.
    lines: Vec<String>,
    /// How the lifetime of the response is found that is stored next.
    pub(super) adapting: Option<super::Adapting>,
    /// What is renewed before it expires; `None` where nothing is.
    pub(super) predicting: Option<Box<Predicting>>,
    /// Of how much use a larger store would be; `None` where nobody wants to know.
    stores: Option<Stores>,
}

impl Foresight {
    pub(super) fn new(policy: &Policy) -> Self {
        let predicting = policy.warm.predict.then(|| Box::new(Predicting::new(policy.namespace)));
        let own = policy.node.bytes == 0;
        let stores = policy.foresight.stores.then(|| Stores::new(policy.namespace, own));
        Self { predicting, stores, ..Self::default() }
    }
}

impl Cache {
    /// An origin has answered a request that took so long.
    pub(crate) fn note_answer(&mut self, status: u16, took: Duration) {
        if self.policy.foresight.anomalies {
            self.foresight.anomalies.note_answer(status, took);
        }
    }

    /// By tick: sees to it that the node knows what is not usual.
    pub(super) fn watch(&mut self, moment: &mut Moment<'_>) {
        if self.policy.foresight.anomalies {
            let lines = self.foresight.anomalies.keep(moment.host, &self.policy, moment.now);
            self.foresight.lines.extend(lines);
        }
        self.predict(moment);
        self.watch_stores(moment);
        #[cfg(feature = "pools")]
        if self.policy.foresight.forecast {
            self.foresight.forecasts.keep(moment.host, &self.policy, moment.now);
        }
    }

    /// Has the store noted what leaves it.
    pub(super) fn watch_departures(&mut self) {
        match self.watched_stores().map(|stores| stores.is_own()) {
            Some(true) => self.table.departed.watch(),
            Some(false) => self.node.departed.watch(),
            None => {}
        }
    }

    /// Of how much use a larger store would be, where that is looked at: what another configuration has followed has an eighth of its
    /// own store.
    fn watched_stores(&mut self) -> Option<&mut Stores> {
        let is_own = self.foresight.stores.as_ref()?.is_own();
        if is_own && self.is_resting() { None } else { self.foresight.stores.as_mut() }
    }

    fn watch_stores(&mut self, moment: &mut Moment<'_>) {
        let Some(is_own) = self.watched_stores().map(|stores| stores.is_own()) else { return };
        let departed = if is_own { self.table.departed.take() } else { self.node.departed.take() };
        let Some(stores) = self.watched_stores() else { return };
        stores.note_departed(&departed, moment.host);
        stores.keep(moment.host, moment.now);
    }

    /// A response is stored that was fetched. If it has left to make room, it is known how much larger the store would have had to be.
    pub(super) fn note_fetched(&mut self, hash: u128, key_hash: u128, slot: &Slot, moment: &mut Moment<'_>) {
        let Slot::Response(stored) = slot else { return };
        // What is here was fetched for another reason.
        if self.foresight.stores.is_none() || self.table.peek(hash).is_some() {
            return;
        }
        let Some(stores) = self.watched_stores() else { return };
        let lasts = super::predicting::lasts(stored).as_secs();
        let Some((more, since)) = stores.note_stored(hash, lasts, moment.now, moment.host) else { return };
        // A larger store would not have had what was purged or made invalid since.
        let is_gone = self.purges.covers(since, &stored.key, &stored.tags)
            || [hash, key_hash].iter().any(|hash| self.invalidated_since(*hash, since));
        if !is_gone {
            let word = stores::word_of(more, self.store_bytes());
            self.stats.count("ghost", word);
        }
    }

    /// What the store holds that is looked at.
    fn store_bytes(&self) -> u64 {
        let is_own = self.foresight.stores.as_ref().is_some_and(Stores::is_own);
        if is_own { self.policy.worker.bytes as u64 } else { self.node.budget().data }
    }

    /// Of how much use a larger store would be.
    pub(crate) fn show_stores(&self, host: &mut dyn Host) -> Value {
        match &self.foresight.stores {
            Some(stores) => stores.show(self.store_bytes(), host),
            None => members! { "watched": false },
        }
    }

    /// What is told in the log.
    pub(super) fn foretold(&mut self) -> Vec<Alert> {
        let lines = std::mem::take(&mut self.foresight.lines).into_iter();
        lines.map(|line| Alert { line, call: None }).collect()
    }

    /// Which series are not usual, as gauges; none where that is not watched.
    pub fn anomalies(&self) -> impl Iterator<Item = (Word, bool)> {
        let watched = Series::ALL.into_iter().filter(|_| self.policy.foresight.anomalies);
        watched.map(|series| (("anomaly", series.as_str()), self.foresight.anomalies.is_open(series)))
    }
}

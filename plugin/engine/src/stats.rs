//! Counts what happened, in the words of `Cache-Status`. The adapter exports the counts.

use std::collections::BTreeMap;

use crate::cache_status::{Detail, Outcome};

/// Counters since they were last taken. Gauges are read from the stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Hits from the worker store.
    pub worker_hits: u64,
    /// All other requests and events, by their word: `fwd.<reason>`, `detail.<word>`, `stored`, `event.<word>`.
    pub words: BTreeMap<Word, u64>,
}

/// What is counted: a family and a word of its closed set.
pub type Word = (&'static str, &'static str);

impl Stats {
    /// Counts one request.
    #[inline]
    pub fn record(&mut self, outcome: &Outcome) {
        // The hot path first: one addition.
        if outcome.hit && outcome.detail == Some(Detail::Worker) {
            self.worker_hits += 1;
            return;
        }
        if outcome.own {
            return;
        }
        if outcome.hit {
            self.count("requests", "hit");
        }
        if let Some(forward) = outcome.forward {
            self.count("fwd", forward.as_str());
        }
        if outcome.collapsed {
            self.count("requests", "collapsed");
        }
        if outcome.stored {
            self.count("requests", "stored");
        }
        if let Some(detail) = outcome.detail {
            self.count("detail", detail.as_str());
        }
    }

    /// Counts one event that is not a request's outcome.
    pub fn count(&mut self, family: &'static str, word: &'static str) {
        self.add(family, word, 1);
    }

    /// Adds to a counter: several events, or bytes. Nothing leaves no trace.
    pub fn add(&mut self, family: &'static str, word: &'static str, amount: u64) {
        if amount > 0 {
            let counter = self.words.entry((family, word)).or_default();
            *counter = counter.saturating_add(amount);
        }
    }

    /// The counts since the last call.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

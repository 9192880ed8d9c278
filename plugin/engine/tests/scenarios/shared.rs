//! Host shared data in memory, with the compare-and-swap of proxy-wasm: a missing key is inserted whatever the
//! CAS, and a CAS of 0 is unconditional.

use std::collections::BTreeMap;

use selvage_engine::host::Host;
use selvage_engine::host::{CasMismatch, SharedData};
use selvage_engine::stats::Word;

/// What all workers of one Envoy share, and what the host knows of the response at hand.
#[derive(Default)]
pub struct Shared {
    values: BTreeMap<String, (Vec<u8>, u32)>,
    last_cas: u32,
    /// Others are always first: nothing can be written.
    pub refuses: bool,
    /// How often a value was asked for.
    pub gets: usize,
    /// The response at hand was made by the host, since the origin could not be reached.
    pub unreachable: bool,
    /// The cluster that requests go to; empty if the host does not say.
    pub cluster: &'static str,
    /// How often it was asked for.
    pub clusters_asked: usize,
    /// What its clock for durations shows.
    pub micros: u64,
    /// The address that the request at hand came from, if it is not always the same.
    pub peer: Option<Vec<u8>>,
    /// Lines for operators.
    pub notes: Vec<String>,
    /// What all workers have counted, and gauges that a test sets.
    pub metrics: BTreeMap<Word, u64>,
    /// What all workers have counted for each rule, pool or limit, by its name.
    pub rule_metrics: BTreeMap<(Box<str>, Word), u64>,
}

impl Shared {
    /// Overwrites every byte of the records that are kept.
    pub fn spoil_records(&mut self) {
        for (_, (value, _)) in self.values.iter_mut().filter(|(key, _)| key.starts_with("sv1/d/")) {
            // The last 24 bytes say whose the record is: without them it would not even be read.
            let record = value.len().saturating_sub(24);
            value[..record].fill(0x5a);
        }
    }

    /// Overwrites the values whose names begin so.
    pub fn spoil(&mut self, beginning: &str) {
        let named = self.values.iter_mut().filter(|(key, _)| key.starts_with(beginning));
        named.for_each(|(_, (value, _))| value.fill(0x5a));
    }

    /// Bytes that all values hold.
    pub fn bytes(&self) -> usize {
        self.values.values().map(|(value, _)| value.len()).sum()
    }
}

impl SharedData for Shared {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.gets += 1;
        self.values.get(key).cloned()
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        if self.refuses || self.values.get(key).is_some_and(|(_, now)| cas != 0 && cas != *now) {
            return Err(CasMismatch);
        }
        self.last_cas += 1;
        self.values.insert(key.to_owned(), (value.to_vec(), self.last_cas));
        Ok(())
    }
}

impl Host for Shared {
    fn origin_answered(&mut self) -> bool {
        !self.unreachable
    }

    fn cluster_name(&mut self) -> Option<Vec<u8>> {
        self.clusters_asked += 1;
        (!self.cluster.is_empty()).then(|| self.cluster.as_bytes().to_vec())
    }

    fn micros(&mut self) -> u64 {
        self.micros += 7;
        self.micros
    }

    fn peer(&mut self) -> Option<Vec<u8>> {
        Some(self.peer.clone().unwrap_or_else(|| b"192.0.2.1:5".to_vec()))
    }

    fn metric(&mut self, word: Word) -> u64 {
        self.metrics.get(&word).copied().unwrap_or_default()
    }

    fn metric_of(&mut self, owner: &str, word: Word) -> u64 {
        if owner.is_empty() {
            return self.metric(word);
        }
        self.rule_metrics.get(&(owner.into(), word)).copied().unwrap_or_default()
    }

    fn note(&mut self, line: &str) {
        self.notes.push(line.to_owned());
    }
}

//! Metrics of a node: one value by name, however many workers define it.

use std::collections::BTreeMap;

use selvage_engine::stats::list::{self, Kind};

use crate::Status;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Metrics by name. Each definition gives a new id for the same value, as in Envoy.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    ids: Vec<(String, MetricKind)>,
    values: BTreeMap<String, i64>,
    samples: BTreeMap<String, Vec<u64>>,
}

impl Metrics {
    /// # Panics
    /// The filter defines one that is not in its list.
    pub(crate) fn define(&mut self, kind: u32, name: &str) -> Option<u32> {
        let (kind, listed) = match kind {
            0 => (MetricKind::Counter, Kind::Counter),
            1 => (MetricKind::Gauge, Kind::Gauge),
            2 => (MetricKind::Histogram, Kind::Histogram),
            _ => return None,
        };
        if let Some(own) = name.strip_prefix("selvage.") {
            assert!(list::has_name(listed, own), "{name} is not in the filter's list of metrics");
        }
        self.ids.push((name.to_owned(), kind));
        self.values.entry(name.to_owned()).or_default();
        Some(self.ids.len() as u32 - 1)
    }

    pub(crate) fn increment(&mut self, id: u32, by: i64) -> Status {
        let Some((name, kind)) = self.ids.get(id as usize) else { return Status::NotFound };
        match kind {
            MetricKind::Counter if by <= 0 => Status::BadArgument,
            MetricKind::Counter | MetricKind::Gauge => {
                *self.values.get_mut(name).unwrap() += by;
                Status::Ok
            }
            MetricKind::Histogram => Status::BadArgument,
        }
    }

    pub(crate) fn record(&mut self, id: u32, value: u64) -> Status {
        let Some((name, kind)) = self.ids.get(id as usize) else { return Status::NotFound };
        match kind {
            MetricKind::Counter => *self.values.get_mut(name).unwrap() += value as i64,
            MetricKind::Gauge => *self.values.get_mut(name).unwrap() = value as i64,
            MetricKind::Histogram => self.samples.entry(name.clone()).or_default().push(value),
        }
        Status::Ok
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<i64> {
        let (name, kind) = self.ids.get(id as usize)?;
        (*kind != MetricKind::Histogram).then(|| self.values[name])
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<i64> {
        self.values.get(name).copied()
    }

    pub(crate) fn samples(&self, name: &str) -> Vec<u64> {
        self.samples.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> BTreeMap<String, i64> {
        self.values.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_definitions_of_a_name_count_into_one_value() {
        let mut metrics = Metrics::default();
        let (first, second) = (metrics.define(0, "hits").unwrap(), metrics.define(0, "hits").unwrap());
        assert_ne!(first, second);
        assert_eq!(metrics.increment(first, 2), Status::Ok);
        assert_eq!(metrics.increment(second, 3), Status::Ok);
        assert_eq!(metrics.increment(second, 0), Status::BadArgument);
        assert_eq!(metrics.by_name("hits"), Some(5));
    }
}

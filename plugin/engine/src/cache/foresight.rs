//! What this worker sees for what the node foretells.

use std::time::Duration;

use super::predicting::Predicting;
use super::{Alert, Cache, Moment};
use crate::foresight::series::Series;
use crate::insight::anomalies::Anomalies;
use crate::policy::Policy;
use crate::stats::Word;

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
}

impl Foresight {
    pub(super) fn new(policy: &Policy) -> Self {
        let predicting = policy.warm.predict.then(|| Box::new(Predicting::new(policy.namespace)));
        Self { predicting, ..Self::default() }
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
        #[cfg(feature = "pools")]
        if self.policy.foresight.forecast {
            self.foresight.forecasts.keep(moment.host, &self.policy, moment.now);
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

//! What somebody is to be told at once.

use super::Cache;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// For the log.
    pub line: String,
    /// The call: its cluster, its head as a block, its body. `None`: the log alone is told.
    pub call: Option<(Box<str>, Vec<u8>, Vec<u8>)>,
}

impl Cache {
    /// What there is to tell since this was last asked.
    pub fn take_alerts(&mut self) -> Vec<Alert> {
        let alerts = self.foretold();
        #[cfg(all(feature = "limits", feature = "llm"))]
        if self.budgets.has_crossed() {
            return alerts.into_iter().chain(self.alerts_of_budgets()).collect();
        }
        alerts
    }
}

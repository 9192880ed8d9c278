//! Tells of budgets that are nearly spent: in the log, and to whom the configuration names.

use std::time::Duration;

use selvage_engine::cache::{Alert, Cache};

use crate::host::{Calls, Level};

/// Tells of the thresholds that were passed. What is answered to a call does not matter, so nothing is kept of it.
pub fn tell<H: Calls>(cache: &mut Cache) {
    for Alert { line, call } in cache.take_alerts() {
        H::log(Level::Warn, &line);
        if let Some((cluster, head, body)) = call
            && H::http_call(&cluster, &head, &body, TIMEOUT).is_err()
        {
            H::log(Level::Warn, &format!("the cluster {cluster:?} cannot be called to tell of a budget"));
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);

//! Which requests validate a response that may be served stale meanwhile (RFC 5861 §3), where the cache has no cluster
//! to renew it from by itself.

use std::time::Duration;

use super::Cache;
use crate::time::Timestamp;

/// What to do with a response in its stale-while-revalidate window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revalidation {
    /// Serve it stale.
    Later,
    /// This request validates it, while others go on serving it stale.
    Now,
}

impl Cache {
    /// What a request does with a response in its stale-while-revalidate window: the first one is answered
    /// stale, the next one validates, and as long as it does so all others are answered stale.
    pub fn revalidation(&mut self, hash: u128, now: Timestamp) -> Revalidation {
        if self.revalidations.len() >= MOST_REVALIDATIONS {
            self.revalidations.clear();
        }
        match self.revalidations.get_mut(&hash) {
            None => {
                self.revalidations.insert(hash, None);
                Revalidation::Later
            }
            Some(Some(since)) if now.since(*since) < REVALIDATION_TIMEOUT => Revalidation::Later,
            Some(since) => {
                *since = Some(now);
                Revalidation::Now
            }
        }
    }

    /// Whether the next request for a response in that window validates it. Changes nothing.
    pub fn awaits_revalidation(&self, hash: u128, now: Timestamp) -> bool {
        let known = self.revalidations.get(&hash);
        known.is_some_and(|since| since.is_none_or(|since| now.since(since) >= REVALIDATION_TIMEOUT))
    }

    /// The validation of `hash` ended without a new response: the next request tries again.
    pub fn revalidation_failed(&mut self, hash: u128) {
        if let Some(since) = self.revalidations.get_mut(&hash) {
            *since = None;
        }
    }
}

/// Validations known to be under way; past it all are forgotten, and at worst one more request validates.
const MOST_REVALIDATIONS: usize = 1024;
/// A validation that takes longer than this is taken for lost.
const REVALIDATION_TIMEOUT: Duration = Duration::from_secs(30);

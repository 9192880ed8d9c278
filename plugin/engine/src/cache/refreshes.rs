//! Refreshes that wait to be sent, and which responses are renewed before they expire.

use std::time::Duration;

use super::{Cache, Moment};
use crate::exchange::Refresh;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

impl Cache {
    pub(crate) fn queue_refresh(&mut self, refresh: Refresh) {
        self.refreshing.insert(refresh.hash);
        self.refreshes.push_back(refresh);
    }

    /// Whether this worker renews what is stored for `hash`.
    pub(crate) fn is_refreshing(&self, hash: u128) -> bool {
        self.refreshing.contains(&hash)
    }

    pub(crate) fn end_refresh(&mut self, hash: u128) {
        self.refreshing.remove(&hash);
    }

    /// Refreshes that wait to be sent.
    pub fn refreshes_queued(&self) -> usize {
        self.refreshes.len()
    }

    /// The next refresh to send.
    pub fn next_refresh(&mut self, moment: &mut Moment<'_>) -> Option<Refresh> {
        while let Some(refresh) = self.refreshes.pop_front() {
            if !refresh.is_late(moment.now) {
                return Some(refresh);
            }
            refresh.drop_late(self, moment);
        }
        None
    }

    /// Whether a response that is fresh for `remaining` is to be renewed already: the more likely the nearer its end is
    /// and the longer it took to fetch (optimal probabilistic early expiration, XFetch).
    pub(crate) fn is_due_early(
        &mut self,
        stored: &StoredResponse,
        remaining: Duration,
        beta: u8,
        now: Timestamp,
    ) -> bool {
        let scale = f64::from(stored.took_millis) * f64::from(beta);
        let remaining = remaining.as_secs_f64() * 1000.0;
        if remaining >= scale * FARTHEST {
            return false;
        }
        // Any number will do that differs from request to request.
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ now.as_millis();
        let mut z = self.draws;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let chance = ((z >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        -scale * chance.ln() >= remaining
    }
}

/// Farther from its end than so many times what a fetch takes, one response in 22,000 requests would be renewed: there the
/// hit does without the question.
const FARTHEST: f64 = 10.0;

//! Requests of the cache's own that wait to be sent, and which responses are renewed before they expire.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Cache, Refresh};
use crate::chance;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

impl Cache {
    pub(crate) fn queue_refresh(&mut self, refresh: Refresh) {
        self.begin_refresh(refresh.hash);
        match refresh.question() {
            Some(_) => self.questions.push_back(refresh),
            None => self.refreshes.push_back(refresh),
        }
    }

    /// This worker fetches for `hash` by itself, until [`Cache::end_refresh`].
    pub(crate) fn begin_refresh(&mut self, hash: u128) {
        self.refreshing.insert(hash);
    }

    /// Whether this worker renews what is stored for `hash`.
    pub(crate) fn is_refreshing(&self, hash: u128) -> bool {
        self.refreshing.contains(&hash)
    }

    /// Another worker of this Envoy renews what is stored for `hash`, as was just seen.
    pub(crate) fn note_renewed_elsewhere(&mut self, hash: u128, now: Timestamp) {
        self.renewed_elsewhere.note(hash, now.plus(BELIEVED_FOR));
    }

    /// Whether another worker was seen to renew it a moment ago. It may have ended since: whoever would renew it looks into
    /// the node store first.
    pub(crate) fn is_renewed_elsewhere(&self, hash: u128, now: Timestamp) -> bool {
        self.renewed_elsewhere.knows(hash, now)
    }

    pub(crate) fn end_refresh(&mut self, hash: u128) {
        self.refreshing.remove(&hash);
    }

    /// Refreshes that wait to be sent.
    pub fn refreshes_queued(&self) -> usize {
        self.refreshes.len()
    }

    /// Those that wait to be sent.
    pub(crate) const fn refresh_queue(&mut self) -> &mut VecDeque<Refresh> {
        &mut self.refreshes
    }

    /// Those about which the remote store is to be asked.
    pub(crate) const fn question_queue(&mut self) -> &mut VecDeque<Refresh> {
        &mut self.questions
    }

    /// Whether so many refreshes wait, to be sent or for the fleet, that no more are taken.
    pub(crate) fn has_enough_refreshes(&self) -> bool {
        self.refreshes.len().saturating_add(self.questions.len()) >= MOST_QUEUED
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
        self.draws ^= now.as_millis();
        // Above 0, of which there is no logarithm.
        let drawn = 1.0 - chance::fraction(chance::next(&mut self.draws));
        -scale * drawn.ln() >= remaining
    }
}

/// Farther from its end than so many times what a fetch takes, one response in 22,000 requests would be renewed: there the
/// hit does without the question.
const FARTHEST: f64 = 10.0;
/// How long the node store is not asked for what another worker renews.
const BELIEVED_FOR: Duration = Duration::from_millis(20);
/// Refreshes of a worker that wait.
const MOST_QUEUED: usize = 256;

//! Origins that have just failed for a key, so that those who waited for the answer do not each find out again.

use std::time::Duration;

use super::Cache;
use crate::time::Timestamp;

/// How an origin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status that the client would get.
    pub status: u16,
    /// Who made the answer.
    pub answered_by: AnsweredBy,
}

/// Who made an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The origin.
    Origin,
    /// The host, since the origin could not be reached.
    Host,
}

impl Cache {
    /// The origin has failed for `hash`.
    pub(crate) fn note_failure(&mut self, hash: u128, failure: Failure, now: Timestamp) {
        if self.failures.is_empty() {
            let none = Failure { status: 0, answered_by: AnsweredBy::Origin };
            self.failures = vec![(0, Timestamp::default(), none); REMEMBERED];
        }
        if let Some(place) = self.failures.get_mut(hash as usize % REMEMBERED) {
            *place = (hash, now, failure);
        }
    }

    /// The origin has not failed for `hash`.
    pub(crate) fn forget_failure(&mut self, hash: u128) {
        if let Some(place) = self.failures.get_mut(hash as usize % REMEMBERED)
            && place.0 == hash
        {
            place.1 = Timestamp::default();
        }
    }

    /// How the origin has failed for `hash` within the last few seconds.
    pub(crate) fn failure_of(&self, hash: u128, now: Timestamp) -> Option<Failure> {
        self.failure_within(hash, FAILED_FOR, now)
    }

    /// Whether the last refresh of `hash` failed so lately that the next one has to wait.
    pub(crate) fn rests(&self, hash: u128, now: Timestamp) -> bool {
        self.failure_within(hash, REFRESH_RESTS, now).is_some()
    }

    fn failure_within(&self, hash: u128, limit: Duration, now: Timestamp) -> Option<Failure> {
        let (known, at, failure) = self.failures.get(hash as usize % REMEMBERED)?;
        (*known == hash && *at > Timestamp::default() && now.since(*at) < limit).then_some(*failure)
    }
}

/// Keys remembered, 48 bytes each.
const REMEMBERED: usize = 1024;
/// Only those who waited for the failed fetch go by it, and all of them are woken within this time.
const FAILED_FOR: Duration = Duration::from_secs(5);
/// A refresh that failed is tried again after this.
const REFRESH_RESTS: Duration = Duration::from_secs(1);

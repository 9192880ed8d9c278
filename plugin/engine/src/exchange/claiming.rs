//! One refresh for a key in the whole fleet: before it is sent, it is claimed in the remote store.
//!
//! ```text
//! claim ─┬ got it ────────► look at the record ─┬ renewed before ► take it
//!        │                                      └ not ───────────► send
//!        ├ another has it ► look now and then ──┬ renewed ───────► take it
//!        │                                      └ not in time ───► leave it: the next request asks for a refresh again
//!        └ no answer ─────► send
//! ```
//!
//! What is only warmed is not claimed: it looks for the record, once, before it is sent.
//!
//! A claim is for the renewal of one version of a response: it lies under a key of its own, made of the record's hash and of
//! when the response was received. So it need not be given back when there is a new version, and ends by itself after the
//! time that a refresh may take; only one whose fetch comes to nothing is deleted.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use super::polling::pause;
use super::refreshing::{End, Refresh};
use super::{Event, RemoteAnswer, State};
use crate::cache::{Cache, FillEnd, Moment};
use crate::policy::{Policy, Rule};
use crate::store::Slot;
use crate::store::response::{StoredResponse, Terms};
use crate::time::Timestamp;

/// Where a refresh stands with the other Envoys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fleet {
    /// It is sent without asking them, or has asked.
    Settled,
    /// Nothing usable is stored here, and it is to look whether the others have something.
    LooksFirst,
    /// It is to claim.
    Claims(Version),
    /// It has the claim, and is to look whether it came too late.
    LooksOnce(Version),
    /// Another has the claim: it looks whether that one is done.
    Looks {
        /// What is renewed.
        version: Version,
        /// When it looks next.
        at: Timestamp,
    },
    /// It has the claim, and is sent.
    Holds(Version),
}

/// One version of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    received: Timestamp,
}

impl Fleet {
    /// Whether a URL is looked for before it is fetched.
    pub(super) fn of_warmed(rule: &Rule, policy: &Policy) -> Self {
        if policy.remote.enabled && rule.remote { Self::LooksFirst } else { Self::Settled }
    }

    /// How long it may take in all where a call to the origin takes so long: before it, another Envoy's may be waited for.
    pub(super) fn lasts(&self, timeout: Duration) -> Duration {
        match self {
            Self::Settled => timeout,
            _ => timeout.saturating_mul(2).saturating_add(ASKING),
        }
    }

    /// Whether a refresh of what is stored asks the others.
    pub(super) fn of(stored: &StoredResponse, rule: &Rule, policy: &Policy) -> Self {
        let shared = policy.remote.enabled && rule.remote && !stored.terms.contains(Terms::LOCAL);
        match shared && rule.coalesce.enabled && rule.coalesce.fleet {
            true => Self::Claims(Version { received: stored.schedule.received }),
            false => Self::Settled,
        }
    }
}

impl Version {
    /// The hash under which its claim lies.
    fn claim(self, record: u128) -> u128 {
        let mut bytes = b"refresh".to_vec();
        bytes.extend_from_slice(&record.to_le_bytes());
        bytes.extend_from_slice(&self.received.as_millis().to_le_bytes());
        xxh3_128(&bytes)
    }
}

impl Refresh {
    /// What the remote store is to be asked before it is sent: for the record or claim under a hash, and for how long the
    /// claim is left if nothing is there.
    pub fn question(&self) -> Option<(u128, Option<Duration>)> {
        let record = self.record();
        match self.fleet {
            Fleet::Claims(version) => Some((version.claim(record), Some(self.timeout))),
            Fleet::LooksFirst | Fleet::LooksOnce(_) | Fleet::Looks { .. } => Some((record, None)),
            Fleet::Settled | Fleet::Holds(_) => None,
        }
    }

    /// The hash of the record that it brings, as far as that is known.
    fn record(&self) -> u128 {
        self.stored.unwrap_or(self.hash)
    }

    /// When it is to be asked.
    pub(crate) fn asks_at(&self) -> Timestamp {
        match self.fleet {
            Fleet::Looks { at, .. } => at,
            _ => Timestamp::default(),
        }
    }

    /// The remote store has answered, or cannot be asked.
    pub fn told(mut self, answer: RemoteAnswer, cache: &mut Cache, moment: &mut Moment<'_>) {
        let now = moment.now;
        let again = now.plus(pause(self.hash, now));
        self.fleet = match (self.fleet, answer) {
            (Fleet::Claims(version), RemoteAnswer::Claimed { .. }) => Fleet::LooksOnce(version),
            (Fleet::Claims(version), RemoteAnswer::Fetching) => {
                cache.stats.count("refresh", "elsewhere");
                Fleet::Looks { version, at: again }
            }
            (
                fleet @ (Fleet::LooksFirst | Fleet::LooksOnce(_) | Fleet::Looks { .. }),
                RemoteAnswer::Found(slot),
            ) => {
                if self.takes(slot, cache, moment) {
                    return self.end_as_adopted(cache, moment);
                }
                match fleet {
                    Fleet::LooksOnce(version) => Fleet::Holds(version),
                    Fleet::Looks { version, .. } => Fleet::Looks { version, at: again },
                    _ => Fleet::Settled,
                }
            }
            (Fleet::LooksOnce(version), _) => Fleet::Holds(version),
            (Fleet::Looks { version, .. }, RemoteAnswer::Fetching) => Fleet::Looks { version, at: again },
            _ => Fleet::Settled,
        };
        if self.question().is_none()
            && let State::Forwarding(plan) = &mut self.exchange.state
        {
            plan.requested = now;
        }
        cache.queue_refresh(self);
    }

    /// Takes a record in, if it is newer than what is renewed and can be used.
    fn takes(&self, slot: Slot, cache: &mut Cache, moment: &mut Moment<'_>) -> bool {
        let Slot::Response(found) = &slot else { return false };
        let renewed = match self.fleet {
            Fleet::LooksOnce(version) | Fleet::Looks { version, .. } => {
                found.schedule.received > version.received
            }
            _ => true,
        };
        if !renewed || found.freshness(moment.now).is_stale() {
            return false;
        }
        let (record, key) = (self.record(), found.key.clone());
        let taken = cache.adopt(self.key_hash, record, slot, moment) && cache.holds(record, &key, moment);
        cache.swap_adopted(Vec::new());
        taken
    }

    /// Another Envoy has fetched it.
    fn end_as_adopted(mut self, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.end_refresh(self.hash);
        if let State::Forwarding(plan) = std::mem::take(&mut self.exchange.state) {
            plan.abandon(FillEnd::Stored, cache, moment);
        }
        self.exchange.on(Event::Ended, cache, moment);
        self.errand.end(End::Adopted, cache, moment);
    }

    /// Nothing has come of it: another may try.
    pub(super) fn let_claim_go(&mut self, cache: &mut Cache) {
        if let Fleet::LooksOnce(version) | Fleet::Holds(version) = self.fleet {
            cache.drop_claim(version.claim(self.record()));
        }
    }
}

/// What the questions to the remote store before a refresh may take.
const ASKING: Duration = Duration::from_millis(500);

//! A request of the cache's own, while it waits or is under way: what is known of it. What is done about it is of
//! [`exchange`](crate::exchange).

use std::rc::Rc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use super::{Admitted, FillId, Mark};
use crate::cache_status::Forward;
use crate::policy::{Policy, Rule};
use crate::storability::Asked;
use crate::store::response::{StoredResponse, Terms};
use crate::time::Timestamp;
use crate::warm::Item;

/// A request that is to be sent, or under way. It is ended by one of [`Refresh::answered`], [`Refresh::cut_off`],
/// [`Refresh::unanswered`] and [`Refresh::not_sent`].
pub struct Refresh {
    /// What its answer is judged by.
    pub(crate) awaited: Box<Awaited>,
    pub(crate) rule: usize,
    /// The hash of what it brings: the key's, or the variant's that it renews.
    pub(crate) hash: u128,
    /// The key's hash.
    pub(crate) key_hash: u128,
    /// The stored response that it renews, if there is one.
    pub(crate) stored: Option<u128>,
    pub(crate) conditional: bool,
    /// Past this it is not sent any more.
    pub(crate) until: Timestamp,
    pub(crate) errand: Errand,
    /// Where it stands with the other Envoys.
    pub(crate) fleet: Fleet,
    /// The cluster to call.
    pub cluster: Rc<str>,
    /// The request's head, as a field block with its pseudo-headers. It has no body.
    pub request: Vec<u8>,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Its place at the origin, where the rule names a pool.
    #[cfg(feature = "pools")]
    pub(crate) slot: Option<super::OriginSlot>,
}

/// What a request of the cache's own is for, and so who is told what came of it.
pub(crate) enum Errand {
    /// A stored response that clients are served meanwhile.
    Renew,
    /// A URL that is to be there when clients come.
    Warm {
        /// The URL.
        item: Item,
        /// Its canonical key.
        key: Vec<u8>,
    },
}

/// What the answer to a request of the cache's own is judged by.
pub(crate) struct Awaited {
    /// The head as a client would have sent it, for the selecting fields of a `Vary` still to come.
    pub(crate) head: Vec<u8>,
    /// The canonical key.
    pub(crate) key: Vec<u8>,
    /// A hash of the credentials that it shows.
    pub(crate) identity: Option<u64>,
    pub(crate) asked: Asked,
    pub(crate) forward: Forward,
    /// The stale response it would freshen or replace.
    pub(crate) stale: Option<StaleResponse>,
    /// Others may wait for what it fetches.
    pub(crate) leads: Option<FillId>,
    /// What the origin's breaker is to hear of.
    pub(crate) admitted: Option<Admitted>,
    pub(crate) requested: Timestamp,
    /// The response is not stored if its key was invalidated at or after this moment.
    pub(crate) valid_from: Timestamp,
}

/// A stored response that a forwarded request may bring back to life.
pub(crate) struct StaleResponse {
    pub(crate) stored: Rc<StoredResponse>,
    pub(crate) hash: u128,
    /// Up to where invalidations were known when it was found.
    pub(crate) found: Mark,
    /// The request was sent with this response's validators.
    pub(crate) conditional: bool,
}

/// Where a refresh stands with the other Envoys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fleet {
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
pub(crate) struct Version {
    pub(crate) received: Timestamp,
}

impl Fleet {
    /// Whether a URL is looked for before it is fetched.
    pub(crate) fn of_warmed(rule: &Rule, policy: &Policy) -> Self {
        if policy.remote.enabled && rule.remote { Self::LooksFirst } else { Self::Settled }
    }

    /// How long it may take in all where a call to the origin takes so long: before it, another Envoy's may be waited for.
    pub(crate) fn lasts(&self, timeout: Duration) -> Duration {
        match self {
            Self::Settled => timeout,
            _ => timeout.saturating_mul(2).saturating_add(ASKING),
        }
    }

    /// Whether a refresh of what is stored asks the others.
    pub(crate) fn of(stored: &StoredResponse, rule: &Rule, policy: &Policy) -> Self {
        Version::to_claim(stored, rule, policy).map_or(Self::Settled, Self::Claims)
    }
}

impl Version {
    /// What is stored, if the Envoys of a fleet agree on who renews it.
    pub(crate) fn to_claim(stored: &StoredResponse, rule: &Rule, policy: &Policy) -> Option<Self> {
        let shared = policy.remote.enabled && rule.remote && !stored.terms.contains(Terms::LOCAL);
        (shared && rule.coalesce.enabled && rule.coalesce.fleet)
            .then_some(Self { received: stored.schedule.received })
    }

    /// The hash under which its claim lies.
    pub(crate) fn claim(self, record: u128) -> u128 {
        let mut bytes = b"refresh".to_vec();
        bytes.extend_from_slice(&record.to_le_bytes());
        bytes.extend_from_slice(&self.received.as_millis().to_le_bytes());
        xxh3_128(&bytes)
    }
}

impl Refresh {
    /// The hash of what it brings.
    pub const fn brings(&self) -> u128 {
        self.hash
    }

    /// Whether it has waited so long that it is not worth sending any more.
    pub fn is_late(&self, now: Timestamp) -> bool {
        now >= self.until
    }

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
    pub(crate) fn record(&self) -> u128 {
        self.stored.unwrap_or(self.hash)
    }

    /// When it is to be asked.
    pub(crate) fn asks_at(&self) -> Timestamp {
        match self.fleet {
            Fleet::Looks { at, .. } => at,
            _ => Timestamp::default(),
        }
    }
}

/// What the questions to the remote store before a refresh may take.
const ASKING: Duration = Duration::from_millis(500);

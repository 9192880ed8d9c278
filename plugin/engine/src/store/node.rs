//! The node store: what all workers of one Envoy share, in host shared data.
//!
//! Host shared data is a process-wide map from key to bytes with compare-and-swap; nothing can be deleted
//! from it. So the store uses a fixed set of keys and empties values instead of deleting them:
//!
//! | key | value |
//! |---|---|
//! | `sv1/b/<n>` | the index of bucket *n*: eight ways |
//! | `sv1/d/<n>/<way>` | the data of one way: a record with a trailer that says whose it is |
//! | `sv1/a` | the account of bytes, and the number of buckets |
//! | `sv1/n` | how much the store may hold, as those who share it ask |
//! | `sv1/c` | the log of changes |
//! | `sv1/l/<n>` | a place for a lease: who fetches for a key |
//! | `sv1/p` | the last purges, see [`purge::ring`](crate::purge::ring) |
//!
//! **Reading** takes two gets, one of a 328-byte index and one of the data, or one when the key is absent.
//!
//! **The budget is hard.** The data values present never sum to more than [`NodeStore::budget`]: a writer
//! first claims a way, then reserves its bytes on the account, then writes the data, then publishes the way;
//! freeing goes the other way round (data emptied, way emptied, account reduced). Whichever step a VM dies
//! at, the account says too much, never too little. [`NodeStore::audit`] puts it right and takes back ways
//! whose writer has been silent for ten seconds. The data is written only if nobody has touched the data key
//! since the way was claimed, so a writer that was merely asleep does no harm either.
//!
//! **Beside the budget** the host pays, on 64 bits, about 96 bytes a key (map node and name) and 350 for an
//! index: [`NodeLimits::FIXED_BYTES_PER_BUCKET`] for a bucket whose eight ways have all been used, plus its
//! allocator's rounding of the data (up to an eighth). No memory is taken for a bucket before it is used.
//!
//! **A removal that races with a put** of the same key ends with the record of the put or with none, never
//! with what was there before: a removal takes away complete records and claims alike.
//!
//! **Eviction** is a clock over the buckets: expired records go, then those not read since the hand last
//! passed, oldest first. A read leaves a mark only if there is none yet, so a popular record is written to
//! once per round of the hand.

mod account;
mod audit;
mod bucket;
mod budget;
mod changes;
#[cfg(test)]
pub(crate) mod fake;
mod leases;
mod names;
#[cfg(test)]
mod tests;
mod writing;

use std::fmt;

use account::{Account, REGIONS, Release};
pub(crate) use bucket::WAYS;
use bucket::{Bucket, State, Way};
pub use budget::Budget;
pub use changes::Changes;
pub use leases::Lease;
use names::Names;

use crate::host::{ABSENT, CasMismatch, SharedData};
use crate::time::Timestamp;

/// How much the node store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Bytes of data, trailers included. Of those who share the store the largest counts. 0 disables the store for this one.
    pub bytes: u64,
    /// The largest single record.
    pub object_bytes: usize,
    /// Buckets of eight records, 1 to [`NodeLimits::MAX_BUCKETS`]. The first worker to come decides for the
    /// life of the process, so that no worker looks for a record, or removes it, in the wrong place.
    pub buckets: u32,
}

/// One worker's view of the store.
pub struct NodeStore {
    limits: NodeLimits,
    /// What the store may hold, whoever asks for it.
    budget: Budget,
    /// When this worker looks for it next.
    agrees_at: Timestamp,
    /// As the account says; `None` before the first use.
    buckets: Option<u32>,
    names: Names,
    /// The bucket where this worker's next eviction looks; `None` before the first use.
    hand: Option<u32>,
    /// The region that this worker's next audit counts, and one that it has begun to count.
    audit_at: u32,
    recount: Option<audit::Recount>,
    /// How far this worker has read the changes.
    cursor: u64,
    departures: Departures,
    /// What this worker has put out to make room.
    pub departed: super::DepartedList,
    /// Records that this worker's last audit counted in each region.
    counted: [u32; REGIONS as usize],
}

/// Records that left to make room for others, or because they were of no more use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departures {
    /// To make room.
    pub evicted: u64,
    /// Of no more use.
    pub expired: u64,
}

/// Why a record was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// The store has no budget.
    Disabled,
    /// Larger than a single record may be.
    TooLarge,
    /// Of no more use already.
    Expired,
    /// Too little could be evicted within the bound of work.
    Full,
    /// Other workers were first again and again.
    Contended,
    /// The key was removed, or the way reclaimed, while the record was being written.
    Overtaken,
}

/// Attempts at one compare-and-swap. Each failure is another worker's success.
const TRIES: usize = 16;

impl NodeLimits {
    /// More buckets than this are not made: eight million records.
    pub const MAX_BUCKETS: u32 = 1 << 20;

    /// Bytes that the host pays for a bucket in full use beside the data: nine keys and an index.
    pub const FIXED_BYTES_PER_BUCKET: u64 = 9 * 96 + 352;

    /// Limits under which data and fixed cost together stay within `bytes`: at most an eighth of it goes into
    /// buckets, of which there are fewer than asked for if need be, and the data gets the rest.
    pub const fn within(bytes: u64, object_bytes: usize, buckets: u32) -> Self {
        let most = bytes / 8 / Self::FIXED_BYTES_PER_BUCKET;
        let wanted = buckets as u64;
        let affordable = if wanted < most { wanted } else { most };
        let affordable = if affordable == 0 { 1 } else { affordable };
        let data = bytes.saturating_sub(affordable * Self::FIXED_BYTES_PER_BUCKET);
        // `affordable` is at most `buckets`, or 1.
        Self { bytes: data, object_bytes, buckets: affordable as u32 }
    }
}

impl NodeStore {
    /// A number that all workers of this Envoy agree on: the first one's proposal.
    pub fn instance(&mut self, data: &mut dyn SharedData, proposed: u64) -> u64 {
        for _ in 0..TRIES {
            if let Some((bytes, _)) = data.get(names::INSTANCE) {
                return bytes.try_into().map(u64::from_le_bytes).unwrap_or(proposed);
            }
            if data.set(names::INSTANCE, &proposed.to_le_bytes(), ABSENT).is_ok() {
                return proposed;
            }
        }
        proposed
    }

    /// Touches no shared data yet.
    pub fn new(limits: NodeLimits) -> Self {
        let buckets = limits.buckets.clamp(1, NodeLimits::MAX_BUCKETS);
        Self {
            limits: NodeLimits { buckets, ..limits },
            budget: Budget { data: limits.bytes, configured: 0 },
            agrees_at: Timestamp::default(),
            buckets: None,
            names: Names::default(),
            hand: None,
            audit_at: 0,
            recount: None,
            cursor: 0,
            departures: Departures::default(),
            departed: super::DepartedList::default(),
            counted: [0; REGIONS as usize],
        }
    }

    /// What this worker has put out since the last call.
    pub fn take_departures(&mut self) -> Departures {
        std::mem::take(&mut self.departures)
    }

    /// Records, as this worker's audits have counted them, and bytes. Both are 0 before the first use.
    pub fn usage(&mut self, data: &mut dyn SharedData) -> (u64, u64) {
        if self.buckets.is_none() || self.limits.bytes == 0 {
            return (0, 0);
        }
        (self.counted.iter().map(|count| u64::from(*count)).sum(), self.bytes_used(data))
    }

    /// Changes the limits; the number of buckets stays as it is.
    pub fn set_limits(&mut self, limits: NodeLimits) {
        let Self { limits, budget, .. } = Self::new(limits);
        (self.limits, self.budget) = (limits, budget);
    }

    /// Learns the number of buckets, or decides it, and starts to read the log of changes.
    ///
    /// Every other call does this first when it has not been done; it costs two or three calls to shared
    /// data, once.
    pub fn attach(&mut self, data: &mut dyn SharedData) {
        if self.buckets.is_some() {
            return;
        }
        for _ in 0..TRIES {
            let (fresh, cas) = match data.get(names::ACCOUNT) {
                Some((bytes, cas)) => match Account::decode(&bytes) {
                    Some(account) => {
                        self.buckets = Some(account.buckets.min(NodeLimits::MAX_BUCKETS));
                        break;
                    }
                    None => (Account::unknown(self.limits.buckets), cas),
                },
                None if self.limits.bytes == 0 => break,
                None => (Account::new(self.limits.buckets), ABSENT),
            };
            if data.set(names::ACCOUNT, &fresh.encode(), cas).is_ok() {
                self.buckets = Some(fresh.buckets);
                break;
            }
        }
        if self.buckets.is_some() {
            self.learn_budget(data);
            self.start_changes(data);
        }
    }

    /// The record of a key: two calls to shared data, or one when there is none; a third on the first read of
    /// a record since it was stored or since the eviction hand passed.
    pub fn get(&mut self, data: &mut dyn SharedData, hash: u128, now_ms: u64) -> Option<Vec<u8>> {
        if self.limits.bytes == 0 {
            return None;
        }
        let n = self.bucket_of(data, hash)?;
        let (mut index, cas) = data.get(self.names.bucket(n))?;
        let (at, way) = bucket::find(&index, hash)?;
        if way.expired(now_ms) {
            return None;
        }
        let (mut value, _) = data.get(self.names.data(n, at))?;
        let length = bucket::sealed_length(&value, &way)?;
        if !way.used {
            bucket::mark_used(&mut index, at);
            // Not repeated when another worker was first: the mark is a hint.
            let _ = data.set(self.names.bucket(n), &index, cas);
        }
        value.truncate(length);
        Some(value)
    }

    /// Removes a key's record and stops those that are being written. Was there one of use?
    pub fn remove(&mut self, data: &mut dyn SharedData, hash: u128, now_ms: u64) -> bool {
        let Some(n) = self.bucket_of(data, hash) else { return false };
        let mut removed = false;
        // More patience than elsewhere, since a removal may not fail. Should it run out, the data is empty
        // all the same.
        for _ in 0..TRIES.saturating_mul(4) {
            let Some((bytes, cas)) = data.get(self.names.bucket(n)) else { return removed };
            let Some(mut index) = Bucket::decode(&bytes) else { return removed };
            let of_key = |way: &Way| way.state != State::Empty && way.hash == hash;
            if !index.ways.iter().any(of_key) {
                return removed;
            }
            // Read before anything is freed: see `Release`.
            let account = self.account(data).map(|(account, _)| account);
            let mut releases = Vec::new();
            for (at, way) in index.ways.iter_mut().enumerate().filter(|(_, way)| of_key(way)) {
                let _ = data.set(self.names.data(n, at), &[], 0);
                removed |= way.state == State::Ready && way.expires_ms > now_ms;
                // Whether a writer has reserved its bytes yet is not known: these are left to the audit.
                if let (State::Ready, Some(account)) = (way.state, &account) {
                    releases.push(release(account, n, way));
                }
                *way = Way::EMPTY;
            }
            if data.set(self.names.bucket(n), &index.encode(), cas).is_ok() {
                self.settle(data, releases);
                return removed;
            }
        }
        removed
    }

    /// The bytes on the account: what the data values hold, or more for a while after a VM has died.
    pub fn bytes_used(&mut self, data: &mut dyn SharedData) -> u64 {
        self.account(data).map_or(0, |(account, _)| account.total())
    }

    /// The number of buckets in use; `None` before the store was attached.
    pub fn buckets(&self) -> Option<u32> {
        self.buckets
    }

    fn bucket_of(&mut self, data: &mut dyn SharedData, hash: u128) -> Option<u32> {
        self.attach(data);
        let buckets = self.buckets?;
        // The worker store's index takes the low half of the hash; this takes the high half.
        let n = ((hash >> 64) as u64).checked_rem(u64::from(buckets))? as u32;
        // Workers start at different places, so that they do not all evict from the same buckets.
        self.hand.get_or_insert(n);
        Some(n)
    }

    fn account(&self, data: &mut dyn SharedData) -> Option<(Account, u32)> {
        let (bytes, cas) = data.get(names::ACCOUNT)?;
        match Account::decode(&bytes) {
            Some(account) => Some((account, cas)),
            // Something else has written over it. Full until audited.
            None => Some((Account::unknown(self.buckets.unwrap_or(self.limits.buckets)), cas)),
        }
    }

    /// The index of a bucket for a change to it. One that cannot be read is emptied with its data first.
    fn load(&mut self, data: &mut dyn SharedData, n: u32) -> Option<(Bucket, u32)> {
        for _ in 0..TRIES {
            let Some((bytes, cas)) = data.get(self.names.bucket(n)) else {
                return Some((Bucket::EMPTY, ABSENT));
            };
            if let Some(index) = Bucket::decode(&bytes) {
                return Some((index, cas));
            }
            for at in 0..WAYS {
                let name = self.names.data(n, at);
                if data.get(name).is_some_and(|(value, _)| !value.is_empty()) {
                    let _ = data.set(name, &[], 0);
                }
            }
            let _ = data.set(self.names.bucket(n), &Bucket::EMPTY.encode(), cas);
        }
        None
    }

    fn store(
        &mut self,
        data: &mut dyn SharedData,
        n: u32,
        index: &Bucket,
        cas: u32,
    ) -> Result<(), CasMismatch> {
        data.set(self.names.bucket(n), &index.encode(), cas)
    }

    /// Takes freed bytes off the account. If that fails the audit will do it.
    fn settle(&mut self, data: &mut dyn SharedData, releases: Vec<Release>) {
        if releases.is_empty() {
            return;
        }
        for _ in 0..TRIES {
            let Some((mut account, cas)) = self.account(data) else { return };
            releases.iter().for_each(|&release| account.release(release));
            if data.set(names::ACCOUNT, &account.encode(), cas).is_ok() {
                return;
            }
        }
    }
}

/// What freeing a way will take off the account, given an account read before.
fn release(account: &Account, n: u32, way: &Way) -> Release {
    let region = n % REGIONS;
    Release { region, audits: account.region(region).audits, bytes: u64::from(way.bytes) }
}

/// Times in an index are whole seconds.
fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "the node store has no budget",
            Self::TooLarge => "larger than a single record may be",
            Self::Expired => "of no more use already",
            Self::Full => "too little could be evicted",
            Self::Contended => "other workers were first",
            Self::Overtaken => "removed while it was being written",
        })
    }
}

impl std::error::Error for PutError {}

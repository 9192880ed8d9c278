//! The account: how many bytes of data the node store holds, in one shared-data value.
//!
//! The sum is kept by region so that an audit can recount a part of the buckets and correct just that part.
//!
//! ```text
//! magic "sva1" · buckets u32 · 32 × ( bytes u64 · changes u32 · audits u32 )
//! ```

use crate::host::wire::{take, take_u32, take_u64};

/// Regions of the account; bucket `n` belongs to region `n % REGIONS`.
pub const REGIONS: u32 = 32;

const MAGIC: [u8; 4] = *b"sva1";
const LENGTH: usize = 8 + REGIONS as usize * 16;

/// The decoded account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Buckets of the store: set by whoever came first, so that all workers look in the same place.
    pub buckets: u32,
    regions: [Region; REGIONS as usize],
}

/// The account of some buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Never less than what the data keys of the region hold.
    pub bytes: u64,
    /// Counts every change of `bytes`, so that an audit notices one that happened while it was counting.
    pub changes: u32,
    /// Counts the audits, so that bytes freed before one are not subtracted again after it.
    pub audits: u32,
}

/// Bytes that were freed and are still on the account.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Which region.
    pub region: u32,
    /// The region's audits, read before the bytes were freed.
    pub audits: u32,
    /// How many.
    pub bytes: u64,
}

impl Account {
    /// For an empty store.
    pub fn new(buckets: u32) -> Self {
        Self { buckets, regions: [Region::default(); REGIONS as usize] }
    }

    /// For a store of which nothing is known: full, until audits have counted it.
    pub fn unknown(buckets: u32) -> Self {
        let region = Region { bytes: u64::MAX / u64::from(REGIONS), changes: 0, audits: 0 };
        Self { buckets, regions: [region; REGIONS as usize] }
    }

    /// All bytes.
    pub fn total(&self) -> u64 {
        self.regions.iter().fold(0, |sum, region| sum.saturating_add(region.bytes))
    }

    /// The region of a number, which is taken modulo [`REGIONS`].
    pub fn region(&self, region: u32) -> Region {
        self.regions.get((region % REGIONS) as usize).copied().unwrap_or_default()
    }

    /// Adds bytes that are about to be written.
    pub fn reserve(&mut self, region: u32, bytes: u64) {
        self.change(region, |held| held.saturating_add(bytes));
    }

    /// Subtracts bytes that were freed, unless an audit has recounted the region since.
    ///
    /// If it has, the audit may have counted the bytes as gone already. Not subtracting errs on the safe
    /// side, and the next audit puts it right.
    pub fn release(&mut self, release: Release) {
        if self.region(release.region).audits == release.audits {
            self.change(release.region, |held| held.saturating_sub(release.bytes));
        }
    }

    /// Enters the result of a recount.
    pub fn audited(&mut self, region: u32, bytes: u64) {
        self.change(region, |_| bytes);
        if let Some(region) = self.regions.get_mut((region % REGIONS) as usize) {
            region.audits = region.audits.wrapping_add(1);
        }
    }

    /// `None` when the bytes are not an account of this version.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != LENGTH || take(&mut bytes)? != MAGIC {
            return None;
        }
        let mut account = Self::new(take_u32(&mut bytes)?);
        if account.buckets == 0 {
            return None;
        }
        for region in &mut account.regions {
            *region = Region {
                bytes: take_u64(&mut bytes)?,
                changes: take_u32(&mut bytes)?,
                audits: take_u32(&mut bytes)?,
            };
        }
        Some(account)
    }

    /// The bytes to put into shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.buckets.to_le_bytes());
        for region in &self.regions {
            bytes.extend_from_slice(&region.bytes.to_le_bytes());
            bytes.extend_from_slice(&region.changes.to_le_bytes());
            bytes.extend_from_slice(&region.audits.to_le_bytes());
        }
        bytes
    }

    fn change(&mut self, region: u32, bytes: impl FnOnce(u64) -> u64) {
        if let Some(region) = self.regions.get_mut((region % REGIONS) as usize) {
            region.bytes = bytes(region.bytes);
            region.changes = region.changes.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_reads_back_as_written() {
        let mut account = Account::new(64);
        account.reserve(3, 100);
        account.reserve(35, 10);
        account.audited(4, 7);
        assert_eq!((account.total(), account.region(3).changes), (117, 2));
        let bytes = account.encode();
        assert_eq!(Account::decode(&bytes), Some(account));
        assert!((0..bytes.len()).all(|cut| Account::decode(&bytes[..cut]).is_none()));
    }

    #[test]
    fn bytes_freed_before_an_audit_are_not_subtracted_after_it() {
        let mut account = Account::new(64);
        account.reserve(1, 100);
        let release = Release { region: 1, audits: account.region(1).audits, bytes: 40 };
        let mut before = account.clone();
        before.release(release);
        assert_eq!(before.total(), 60);
        account.audited(1, 60);
        account.release(release);
        assert_eq!(account.total(), 60);
    }
}

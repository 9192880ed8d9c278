//! The audit: a recount that heals the account after a VM died half way through an update.

use super::account::{REGIONS, Region, Release};
use super::bucket::State;
use super::{NodeStore, SharedData, TRIES, names};

/// A region that is being counted.
#[derive(Clone, Copy)]
pub(super) struct Recount {
    region: u32,
    /// The next bucket.
    next: u32,
    /// The region on the account, as it must still be at the end.
    account: Region,
    /// Bytes so far; `None` if the region cannot be counted.
    counted: Option<u64>,
    /// Records so far.
    records: u32,
}

impl NodeStore {
    /// Recounts the next `steps` parts of the 32 regions: called by tick, with 1. Whether a region is left half counted, which
    /// is to be gone on with soon.
    ///
    /// A region is one in 32 buckets, and a step looks at 1,024 of them at most, so that nobody waits long for it. It frees
    /// what has expired or was abandoned there. At its end the region's bytes are set to what was counted, if nothing in the
    /// region has changed meanwhile; else the next round will do it. While the store holds more than its budget, because the
    /// budget was lowered, a step evicts as well.
    pub fn audit(&mut self, data: &mut dyn SharedData, now_ms: u64, steps: usize) -> bool {
        self.attach(data);
        let Some(buckets) = self.buckets else { return false };
        let parts = buckets.div_ceil(REGIONS).div_ceil(PART).saturating_mul(REGIONS);
        for _ in 0..steps.min(parts as usize) {
            self.audit_part(data, buckets, now_ms);
        }
        self.recount.is_some()
    }

    fn audit_part(&mut self, data: &mut dyn SharedData, buckets: u32, now_ms: u64) {
        let Some((before, _)) = self.account(data) else { return };
        let mut recount = self.recount.take().unwrap_or_else(|| {
            let region = self.audit_at;
            self.audit_at = region.saturating_add(1) % REGIONS;
            Recount { region, next: region, account: before.region(region), counted: Some(0), records: 0 }
        });
        let over = before.total().saturating_sub(self.budget.data);
        let mut releases = Vec::new();
        let (mut freed, mut looked) = (0u64, 0u32);
        while recount.next < buckets && looked < PART && releases.len() < MOST_FREED {
            let others = releases.len();
            let wanted = over.saturating_sub(freed);
            let index = self.evict_from(data, recount.next, wanted, now_ms, &before, &mut releases);
            let own = releases.iter().skip(others).map(|release: &Release| release.bytes);
            freed = own.fold(freed, u64::saturating_add);
            let ready = index.iter().flat_map(|index| &index.ways).filter(|way| way.state == State::Ready);
            recount.records =
                recount.records.saturating_add(u32::try_from(ready.count()).unwrap_or(u32::MAX));
            recount.counted =
                recount.counted.zip(index).map(|(sum, index)| sum.saturating_add(index.data_bytes()));
            recount.next = recount.next.saturating_add(REGIONS);
            looked = looked.saturating_add(1);
        }
        if recount.next < buckets {
            self.settle_part(data, releases, &mut recount);
            self.recount = Some(recount);
            return;
        }
        if let Some(last) = self.counted.get_mut(recount.region as usize) {
            *last = recount.records;
        }
        for _ in 0..TRIES {
            let Some((mut account, cas)) = self.account(data) else { return };
            let unchanged = account.region(recount.region) == recount.account;
            let Some(bytes) = recount.counted.filter(|_| unchanged) else { break };
            if bytes == recount.account.bytes {
                return;
            }
            account.audited(recount.region, bytes);
            if data.set(names::ACCOUNT, &account.encode(), cas).is_ok() {
                return;
            }
        }
        self.settle(data, releases);
    }

    /// Takes what a part has freed off the account, where the recount has not ended yet: that is no change that it minds.
    fn settle_part(&self, data: &mut dyn SharedData, releases: Vec<Release>, recount: &mut Recount) {
        if releases.is_empty() {
            return;
        }
        for _ in 0..TRIES {
            let Some((mut account, cas)) = self.account(data) else { break };
            let was = account.region(recount.region);
            releases.iter().for_each(|&release| account.release(release));
            if data.set(names::ACCOUNT, &account.encode(), cas).is_ok() {
                if was == recount.account {
                    recount.account = account.region(recount.region);
                } else {
                    recount.counted = None;
                }
                return;
            }
        }
        recount.counted = None;
    }
}

/// Buckets that a step looks at.
pub(super) const PART: u32 = 1024;
/// Records after which a step looks at no more buckets: freeing one takes as long as looking at several.
const MOST_FREED: usize = 256;

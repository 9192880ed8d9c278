//! The audit: a recount that heals the account after a VM died half way through an update.

use super::account::REGIONS;
use super::bucket::State;
use super::{NodeStore, SharedData, TRIES, names};

impl NodeStore {
    /// Recounts the next `steps` of the 32 regions: called by tick, with 1 or 2.
    ///
    /// A step reads one in 32 buckets, frees what has expired or was abandoned there, and sets the region's
    /// bytes to what it counted, if nothing in the region has changed meanwhile; else the next round will do
    /// it. While the store holds more than its budget, because the budget was lowered, a step evicts as well.
    pub fn audit(&mut self, data: &mut dyn SharedData, now_ms: u64, steps: usize) {
        self.attach(data);
        let Some(buckets) = self.buckets else { return };
        for _ in 0..steps.min(REGIONS as usize) {
            let region = self.audit_at;
            self.audit_at = region.saturating_add(1) % REGIONS;
            self.audit_region(data, region, buckets, now_ms);
        }
    }

    fn audit_region(&mut self, data: &mut dyn SharedData, region: u32, buckets: u32, now_ms: u64) {
        let Some((before, _)) = self.account(data) else { return };
        let over = before.total().saturating_sub(self.budget.data);
        let mut releases = Vec::new();
        let mut counted = Some(0u64);
        let mut records = 0u32;
        for n in (region..buckets).step_by(REGIONS as usize) {
            let freed = releases
                .iter()
                .fold(0u64, |sum: u64, release: &super::Release| sum.saturating_add(release.bytes));
            let wanted = over.saturating_sub(freed);
            let index = self.evict_from(data, n, wanted, now_ms, &before, &mut releases);
            let ready = index.iter().flat_map(|index| &index.ways).filter(|way| way.state == State::Ready);
            records = records.saturating_add(u32::try_from(ready.count()).unwrap_or(u32::MAX));
            counted = counted.zip(index).map(|(sum, index)| sum.saturating_add(index.data_bytes()));
        }
        if let Some(last) = self.counted.get_mut(region as usize) {
            *last = records;
        }
        let unchanged = before.region(region);
        for _ in 0..TRIES {
            let Some((mut account, cas)) = self.account(data) else { return };
            let Some(bytes) = counted.filter(|_| account.region(region) == unchanged) else { break };
            if bytes == unchanged.bytes {
                return;
            }
            account.audited(region, bytes);
            if data.set(names::ACCOUNT, &account.encode(), cas).is_ok() {
                return;
            }
        }
        self.settle(data, releases);
    }
}

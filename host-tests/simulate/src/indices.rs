//! The index by which the workers of a node select among the responses of a page. Of two that workers have begun, the later one
//! stays: what was stored under it would be fetched again, or something older be served in its place.

use selvage_engine::host::{CasMismatch, SharedData};
use selvage_engine::store::Slot;
use selvage_engine::store::node::NodeStore;
use selvage_engine::store::record::{self, Verify};

use crate::host;
use crate::shared::Shared;
use crate::world::World;

/// Shared data that is only looked at.
struct Unchanged<'a>(&'a mut Shared);

impl SharedData for Unchanged<'_> {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key)
    }

    fn set(&mut self, _key: &str, _value: &[u8], _cas: u32) -> Result<(), CasMismatch> {
        Err(CasMismatch)
    }
}

impl World {
    /// Does what may store something for these pages.
    pub fn storing<R>(&mut self, node: usize, pages: &[usize], does: impl FnOnce(&mut Self) -> R) -> R {
        let pages = if self.tenants.is_some() { &[] } else { pages };
        let before: Vec<_> = pages.iter().map(|page| self.index_begun(node, *page)).collect();
        let result = does(self);
        for (page, before) in pages.iter().zip(before) {
            let now = self.index_begun(node, *page);
            if let (Some(before), Some(now)) = (before, now)
                && now < before
            {
                let text =
                    format!("node {node} has the index of page {page} of {now} in the place of {before}");
                self.violate(LATEST, text);
            }
        }
        result
    }

    /// When the index of a page was begun that the node store has.
    fn index_begun(&mut self, node: usize, page: usize) -> Option<u64> {
        let (key, hash) = self.key_of(page);
        let limits = self.setting.node_limits();
        let reader = self.nodes[node].reader.get_or_insert_with(|| NodeStore::new(limits));
        let bytes = host::with(|hosts| {
            let now = hosts.now;
            reader.get(&mut Unchanged(&mut hosts.shared[node]), hash, now)
        })?;
        match record::decode(bytes, Verify::Head) {
            Ok(Slot::Index(index)) if *index.key == *key => Some(index.generation),
            _ => None,
        }
    }
}

const LATEST: &str = "a node selects by the index that was begun last";

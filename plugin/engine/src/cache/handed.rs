//! What the remote store gave to a request that others wait for, where no store of this Envoy keeps it: it is larger than they
//! take. They are given the same, so that each of them need not ask for it again.

use super::Cache;
use super::fills::FillId;
use crate::store::Slot;
use crate::store::table::Weigh;
use crate::time::Timestamp;

/// What those who wait are given, by fill.
#[derive(Default)]
pub(super) struct Handed {
    fills: Vec<Fill>,
    bytes: usize,
}

#[derive(Clone)]
struct Fill {
    id: FillId,
    /// The hash of the key of all who wait for it.
    key: u128,
    /// When the remote store was asked.
    since: Timestamp,
    /// Those who have not taken it yet.
    left: usize,
    slots: Vec<(u128, Slot)>,
    bytes: usize,
}

impl Handed {
    /// One who waited for a fill is woken, or gone.
    fn take(&mut self, id: FillId) -> Option<Fill> {
        let at = self.fills.iter().position(|fill| fill.id == id)?;
        let fill = self.fills.get_mut(at)?;
        fill.left = fill.left.saturating_sub(1);
        if fill.left > 0 {
            return Some(fill.clone());
        }
        let last = self.fills.swap_remove(at);
        self.bytes = self.bytes.saturating_sub(last.bytes);
        Some(last)
    }
}

impl Cache {
    /// The remote store gave this to the leader of a fill for a key, which `waiting` others waited for.
    pub(crate) fn hand_over(
        &mut self,
        (id, waiting): (FillId, usize),
        (key, since): (u128, Timestamp),
        slots: &[(u128, Slot)],
    ) {
        let is_kept =
            |(hash, slot): &(u128, Slot)| self.table.peek(*hash).is_some_and(|kept| kept.key() == slot.key());
        if waiting == 0 || slots.iter().all(is_kept) {
            return;
        }
        let bytes = slots.iter().map(|(_, slot)| slot.weight()).sum();
        let handed = &mut self.handed;
        if handed.fills.len() < MOST_FILLS && handed.bytes.saturating_add(bytes) <= MOST_BYTES {
            handed.bytes = handed.bytes.saturating_add(bytes);
            handed.fills.push(Fill { id, key, since, left: waiting, slots: slots.to_vec(), bytes });
        }
    }

    /// Whether anything is held for those who wait.
    pub(crate) const fn has_handed(&self) -> bool {
        !self.handed.fills.is_empty()
    }

    /// One who waited for a fill is woken, or gone. What it is given is not what was invalidated meanwhile, as far as this worker
    /// has heard.
    pub(super) fn handed(&mut self, id: FillId) -> Vec<(u128, Slot)> {
        let Some(Fill { key, since, mut slots, .. }) = self.handed.take(id) else { return Vec::new() };
        if self.invalidated_since(key, since) {
            return Vec::new();
        }
        slots.retain(|(hash, slot)| !self.is_outdated(key, *hash, slot.made()));
        slots
    }
}

/// Most fills whose waiters are being woken.
const MOST_FILLS: usize = 64;
/// Most that is held for them, in bytes. Who waits for more asks the remote store by himself.
const MOST_BYTES: usize = 8 << 20;

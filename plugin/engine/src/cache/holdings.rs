//! What the stores hold under a key, for operators.

use super::{Cache, Moment};
use crate::store::Slot;
use crate::store::record::{self, Verify};

/// What lies under one key. Peeking does not count as a use.
pub struct Holdings {
    /// In this worker's table.
    pub worker: Option<Slot>,
    /// In the node store.
    pub node: Option<Slot>,
    /// Responses for the key were found not storable a moment ago.
    pub unstorable: bool,
}

impl Cache {
    /// Looks under a key without the lookup of a request: nothing is copied from one store to another, purged, or counted.
    pub fn holdings(&mut self, key: &[u8], hash: u128, moment: &mut Moment<'_>) -> Holdings {
        let worker = self.table.peek(hash).filter(|slot| slot.key() == key).cloned();
        let record = self.node.get(moment.host, hash, moment.now.as_millis());
        let node = record.and_then(|bytes| record::decode(bytes, Verify::Head).ok());
        let node = node.filter(|slot| slot.key() == key);
        Holdings { worker, node, unstorable: self.is_known_unstorable(hash, moment.now) }
    }
}

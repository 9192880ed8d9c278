//! The shared data and the queues of one simulated Envoy. Now and then another thread is first.

use std::collections::BTreeMap;

use selvage_engine::host::{CasMismatch, SharedData};
use selvage_rig::chance::Dice;

/// What all workers of one Envoy share.
pub struct Shared {
    values: BTreeMap<String, (Vec<u8>, u32)>,
    last_cas: u32,
    /// Bytes of all values under `sv1/d/`.
    data_bytes: usize,
    queues: Vec<Queue>,
    pub dice: Dice,
    /// Compare-and-swaps of a thousand that another thread is faster than.
    contention: u64,
}

struct Queue {
    name: String,
    /// The worker that registered it last.
    owner: usize,
    items: usize,
}

impl Shared {
    pub fn new(seed: u64, contention: u64) -> Self {
        let (values, queues) = (BTreeMap::new(), Vec::new());
        Self { values, last_cas: 0, data_bytes: 0, queues, dice: Dice::new(seed), contention }
    }

    /// Bytes that the records of the node store hold.
    pub const fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// Values there are. None is ever deleted.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Leases that somebody holds, or held when its VM died: the hash, and until when in milliseconds.
    pub fn leases(&self) -> Vec<(u128, u64)> {
        let places = self.values.iter().filter(|(key, _)| key.starts_with("sv1/l/"));
        places.filter_map(|(_, (value, _))| held(value)).collect()
    }

    pub fn register_queue(&mut self, name: &str, owner: usize) -> u32 {
        let at = self.queues.iter().position(|queue| queue.name == name).unwrap_or_else(|| {
            self.queues.push(Queue { name: name.to_owned(), owner, items: 0 });
            self.queues.len() - 1
        });
        self.queues[at].owner = owner;
        at as u32 + 1
    }

    pub fn enqueue(&mut self, queue: u32) {
        self.queues[queue as usize - 1].items += 1;
    }

    /// Takes an item out. `false` if there is none.
    pub fn dequeue(&mut self, queue: u32) -> bool {
        let queue = &mut self.queues[queue as usize - 1];
        let any = queue.items > 0;
        queue.items = queue.items.saturating_sub(1);
        any
    }

    /// The worker that is called when something enters a queue.
    pub fn owner(&self, queue: u32) -> usize {
        self.queues[queue as usize - 1].owner
    }
}

/// See `store/node/leases.rs` of the engine for the form.
fn held(value: &[u8]) -> Option<(u128, u64)> {
    let hash = u128::from_le_bytes(*value.get(4..)?.first_chunk()?);
    let until = u64::from_le_bytes(*value.get(20..)?.first_chunk()?);
    matches!(value.last(), Some(1 | 2)).then_some((hash, until))
}

impl SharedData for Shared {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.values.get(key).cloned()
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        self.last_cas += 1;
        let last_cas = self.last_cas;
        if let Some((_, now)) = self.values.get_mut(key)
            && cas != 0
        {
            // Who asks for purges is written by that worker alone, as long as it does.
            let contended = self.contention > 0 && !key.starts_with("sv1/f/");
            if cas == *now && contended && self.dice.chance(self.contention) {
                // Another thread has written the same value again.
                *now = last_cas;
                return Err(CasMismatch);
            }
            if cas != *now {
                return Err(CasMismatch);
            }
        }
        let is_data = key.starts_with("sv1/d/");
        let before = self.values.insert(key.to_owned(), (value.to_vec(), last_cas));
        if is_data {
            self.data_bytes += value.len();
            self.data_bytes -= before.map_or(0, |(value, _)| value.len());
        }
        Ok(())
    }
}

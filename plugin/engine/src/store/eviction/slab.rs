//! The slots of a table and the three queues that run through them.

/// Which queue a slot stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// New entries, in order of use.
    Window,
    /// Admitted entries that have not been used since.
    Probation,
    /// Admitted entries that have.
    Protected,
}

/// Entries in chunks that never move, linked into queues by index.
///
/// A chunk is allocated when the first of its slots is needed and kept until [`Slab::clear`], so memory
/// follows the highest number of entries and is never copied to grow.
pub struct Slab<V> {
    chunks: Vec<Vec<Slot<V>>>,
    queues: [Ends; 3],
    first_free: u32,
    len: usize,
}

/// One entry and its links.
pub struct Slot<V> {
    hash: u128,
    value: Option<V>,
    weight: u32,
    newer: u32,
    older: u32,
    queue: Queue,
}

#[derive(Clone, Copy)]
struct Ends {
    newest: u32,
    oldest: u32,
    bytes: usize,
}

/// No slot.
const NONE: u32 = u32::MAX;
const CHUNK: usize = 256;
const EMPTY: Ends = Ends { newest: NONE, oldest: NONE, bytes: 0 };

impl<V> Slab<V> {
    /// Without slots; allocates nothing.
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), queues: [EMPTY; 3], first_free: NONE, len: 0 }
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is nothing held?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots ever used since the last clear: indexes run from 0 to this.
    pub fn slots(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1).saturating_mul(CHUNK);
        full.saturating_add(self.chunks.last().map_or(0, Vec::len)).try_into().unwrap_or(NONE)
    }

    /// The weights in one queue.
    pub fn bytes(&self, queue: Queue) -> usize {
        self.ends(queue).bytes
    }

    /// The weights in all queues.
    pub fn total_bytes(&self) -> usize {
        self.queues.iter().fold(0, |sum, ends| sum.saturating_add(ends.bytes))
    }

    /// The value in a slot, if the slot holds one.
    pub fn value(&self, index: u32) -> Option<&V> {
        self.slot(index)?.value.as_ref()
    }

    /// The key of a slot that holds a value.
    pub fn hash(&self, index: u32) -> Option<u128> {
        self.slot(index).filter(|slot| slot.value.is_some()).map(|slot| slot.hash)
    }

    /// The weight of a slot; 0 when it holds nothing.
    pub fn weight(&self, index: u32) -> usize {
        self.slot(index).filter(|slot| slot.value.is_some()).map_or(0, |slot| slot.weight as usize)
    }

    /// The queue in which a slot stands.
    pub fn queue(&self, index: u32) -> Option<Queue> {
        self.slot(index).filter(|slot| slot.value.is_some()).map(|slot| slot.queue)
    }

    /// The slot at a queue's end: the one used longest ago.
    pub fn oldest(&self, queue: Queue) -> Option<u32> {
        some(self.ends(queue).oldest)
    }

    /// The next younger slot in the same queue.
    pub fn newer(&self, index: u32) -> Option<u32> {
        some(self.slot(index)?.newer)
    }

    /// Takes a value in at the young end of a queue. `None` when slot numbers have run out.
    pub fn insert(&mut self, hash: u128, value: V, weight: usize, queue: Queue) -> Option<u32> {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let slot = Slot { hash, value: Some(value), weight, newer: NONE, older: NONE, queue };
        let index = if let Some(index) = some(self.first_free) {
            let free = self.slot_mut(index)?;
            let next = free.older;
            *free = slot;
            self.first_free = next;
            index
        } else {
            let index = self.slots();
            if index == NONE {
                return None;
            }
            match self.chunks.last_mut() {
                Some(chunk) if chunk.len() < CHUNK => chunk.push(slot),
                _ => {
                    let mut chunk = Vec::with_capacity(CHUNK);
                    chunk.push(slot);
                    self.chunks.push(chunk);
                }
            }
            index
        };
        self.len = self.len.saturating_add(1);
        self.link(index, queue);
        Some(index)
    }

    /// Exchanges the value and weight of a slot; its place in the queue stays.
    pub fn replace(&mut self, index: u32, value: V, weight: usize) -> Option<V> {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let slot = self.slot_mut(index)?;
        let (was, queue) = (slot.weight, slot.queue);
        slot.weight = weight;
        let old = slot.value.replace(value);
        let bytes = &mut self.ends_mut(queue).bytes;
        *bytes = bytes.saturating_sub(was as usize).saturating_add(weight as usize);
        old
    }

    /// Gives a slot back.
    pub fn remove(&mut self, index: u32) -> Option<V> {
        self.queue(index)?;
        self.unlink(index);
        let free = self.first_free;
        let slot = self.slot_mut(index)?;
        slot.older = free;
        let value = slot.value.take();
        self.first_free = index;
        self.len = self.len.saturating_sub(1);
        value
    }

    /// Moves a slot to the young end of a queue.
    pub fn move_to(&mut self, index: u32, queue: Queue) {
        if self.ends(queue).newest != index && self.queue(index).is_some() {
            self.unlink(index);
            self.link(index, queue);
        }
    }

    /// Drops every value and all slots.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    fn slot(&self, index: u32) -> Option<&Slot<V>> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<V>> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }

    fn ends(&self, queue: Queue) -> &Ends {
        let [window, probation, protected] = &self.queues;
        match queue {
            Queue::Window => window,
            Queue::Probation => probation,
            Queue::Protected => protected,
        }
    }

    fn ends_mut(&mut self, queue: Queue) -> &mut Ends {
        let [window, probation, protected] = &mut self.queues;
        match queue {
            Queue::Window => window,
            Queue::Probation => probation,
            Queue::Protected => protected,
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slot(index) else { return };
        let (newer, older, queue, weight) = (slot.newer, slot.older, slot.queue, slot.weight as usize);
        match self.slot_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.ends_mut(queue).newest = older,
        }
        match self.slot_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.ends_mut(queue).oldest = newer,
        }
        let ends = self.ends_mut(queue);
        ends.bytes = ends.bytes.saturating_sub(weight);
    }

    fn link(&mut self, index: u32, queue: Queue) {
        let newest = self.ends(queue).newest;
        let Some(slot) = self.slot_mut(index) else { return };
        slot.newer = NONE;
        slot.older = newest;
        slot.queue = queue;
        let weight = slot.weight as usize;
        if let Some(slot) = self.slot_mut(newest) {
            slot.newer = index;
        }
        let ends = self.ends_mut(queue);
        ends.newest = index;
        if ends.oldest == NONE {
            ends.oldest = index;
        }
        ends.bytes = ends.bytes.saturating_add(weight);
    }
}

impl<V> Default for Slab<V> {
    fn default() -> Self {
        Self::new()
    }
}

fn some(index: u32) -> Option<u32> {
    (index != NONE).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(slab: &Slab<&'static str>, queue: Queue) -> Vec<&'static str> {
        std::iter::successors(slab.oldest(queue), |&index| slab.newer(index))
            .map(|index| *slab.value(index).unwrap())
            .collect()
    }

    #[test]
    fn a_queue_keeps_the_order_of_use_through_moves_and_removals() {
        let mut slab = Slab::new();
        let a = slab.insert(1, "a", 10, Queue::Window).unwrap();
        let b = slab.insert(2, "b", 20, Queue::Window).unwrap();
        let c = slab.insert(3, "c", 30, Queue::Window).unwrap();
        slab.move_to(a, Queue::Window);
        assert_eq!(order(&slab, Queue::Window), ["b", "c", "a"]);
        slab.move_to(c, Queue::Protected);
        assert_eq!(order(&slab, Queue::Window), ["b", "a"]);
        assert_eq!((slab.bytes(Queue::Window), slab.bytes(Queue::Protected)), (30, 30));
        assert_eq!(slab.remove(b), Some("b"));
        assert_eq!(slab.remove(b), None);
        assert_eq!(slab.insert(4, "d", 1, Queue::Window), Some(b), "the freed slot is used again");
        assert_eq!(order(&slab, Queue::Window), ["a", "d"]);
        assert_eq!(slab.len(), 3);
    }

    #[test]
    fn replacing_a_value_changes_the_weight_of_its_queue() {
        let mut slab = Slab::new();
        let a = slab.insert(1, "a", 10, Queue::Probation).unwrap();
        assert_eq!(slab.replace(a, "A", 70), Some("a"));
        assert_eq!((slab.bytes(Queue::Probation), slab.total_bytes()), (70, 70));
    }
}

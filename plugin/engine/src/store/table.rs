//! The worker store: what one VM keeps in its own memory.

use std::fmt;

use hashbrown::HashTable;

use super::eviction::{Admission, Queue, Slab, TinyLfu};
use super::{Departed, DepartedList};

/// How many bytes a value costs the budget.
pub trait Weigh {
    /// Bytes of memory that are freed when the value is dropped, headers and body alike.
    ///
    /// The table's own cost per entry, [`Table::ENTRY_OVERHEAD`], is added by the table.
    fn weight(&self) -> usize;

    /// When it was stored, in seconds; 0 where nobody wants to know.
    fn since(&self) -> u32 {
        0
    }
}

/// What a table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory for everything: values, the table's overhead and its frequency sketch. 0 disables the table.
    pub bytes: usize,
    /// Entries at most.
    pub entries: usize,
    /// The largest single value, as it weighs itself.
    pub object_bytes: usize,
}

/// Why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// The table has no budget.
    Disabled,
    /// The value is larger than a single value may be.
    TooLarge,
    /// The table is full of entries that are asked for more often.
    Full,
}

/// A bounded map from the 128-bit hash of a key to a value, which keeps what is asked for most.
///
/// A hit writes a few counters and links and allocates nothing. Memory is bounded by [`Limits::bytes`], but
/// for the allocator's own rounding of the values.
pub struct Table<V> {
    /// From the low half of the hash to a slot.
    index: HashTable<u32>,
    slab: Slab<V>,
    policy: TinyLfu,
    limits: Limits,
    sweep_at: u32,
    evictions: u64,
    /// What had to leave.
    pub departed: DepartedList,
}

/// The index pays 4 bytes and a control byte a bucket, and has 16 buckets for 7 entries when it has just
/// grown.
const INDEX_BYTES: usize = 12;

impl<V: Weigh + Clone> Table<V> {
    /// Bytes that an entry costs beside the weight of its value.
    pub const ENTRY_OVERHEAD: usize = size_of::<super::eviction::Slot<V>>() + INDEX_BYTES;

    /// An empty table. With a budget of 0 bytes or entries it refuses every insert and misses every get.
    pub fn new(limits: Limits) -> Self {
        let enabled = limits.bytes > 0 && limits.entries > 0;
        let limits = if enabled { limits } else { Limits { bytes: 0, ..limits } };
        Self {
            index: HashTable::new(),
            slab: Slab::new(),
            policy: TinyLfu::new(limits.bytes, limits.entries),
            limits,
            sweep_at: 0,
            evictions: 0,
            departed: DepartedList::default(),
        }
    }

    /// The value of a key, counted as a use. A miss is counted too: it is what makes the key worth storing.
    pub fn get(&mut self, hash: u128) -> Option<&V> {
        if self.limits.bytes == 0 {
            return None;
        }
        self.policy.count(&self.slab, hash);
        let index = self.find(hash)?;
        self.policy.used(&mut self.slab, index);
        self.slab.value(index)
    }

    /// The value of a key, not counted as a use.
    pub fn peek(&self, hash: u128) -> Option<&V> {
        self.slab.value(self.find(hash)?)
    }

    /// Stores a value, in place of the key's earlier one.
    ///
    /// # Errors
    /// The earlier value is gone in any case: it was to be replaced.
    pub fn insert(&mut self, hash: u128, value: V) -> Result<(), InsertError> {
        if self.limits.bytes == 0 {
            return Err(InsertError::Disabled);
        }
        let own = value.weight();
        let weight = own.saturating_add(Self::ENTRY_OVERHEAD);
        if own > self.limits.object_bytes || weight > self.policy.heaviest() {
            self.remove(hash);
            return Err(InsertError::TooLarge);
        }
        let index = match self.find(hash) {
            Some(index) => {
                self.slab.replace(index, value, weight);
                index
            }
            None => {
                self.policy.count_first(&self.slab, hash);
                let inserted = self.slab.insert(hash, value, weight, Queue::Window);
                let index = inserted.ok_or(InsertError::Full)?;
                let slab = &self.slab;
                self.index.insert_unique(low(hash), index, |&other| slab.hash(other).map_or(0, low));
                index
            }
        };
        let mut stays = Ok(());
        let mut admission = Admission::default();
        while let Some(victim) = self.policy.next_victim(&mut self.slab, &mut admission) {
            if victim == index {
                stays = Err(InsertError::Full);
            }
            self.evictions = self.evictions.saturating_add(1);
            let (hash, weight) = (self.slab.hash(victim), self.slab.weight(victim));
            let Some(value) = self.remove_slot(victim) else { break };
            let (hash, bytes) = (hash.unwrap_or_default(), u32::try_from(weight).unwrap_or(u32::MAX));
            self.departed.note(Departed { hash, bytes, since: value.since() });
        }
        stays
    }

    /// Drops a key's value.
    pub fn remove(&mut self, hash: u128) -> Option<V> {
        self.find(hash).and_then(|index| self.remove_slot(index))
    }

    /// What it may hold.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Drops everything and gives the memory back; what is known of the keys' popularity stays.
    pub fn clear(&mut self) {
        self.index = HashTable::new();
        self.slab.clear();
        self.sweep_at = 0;
    }

    /// Looks at the next `steps` slots, round and round, and drops the values that are `dead`. Returns how
    /// many.
    ///
    /// For expiry by tick: the work of one call is bounded however large the table is.
    pub fn sweep(&mut self, steps: usize, dead: &mut dyn FnMut(&V) -> bool) -> usize {
        let slots = self.slab.slots();
        let mut dropped = 0usize;
        for _ in 0..steps.min(slots as usize) {
            let at = if self.sweep_at < slots { self.sweep_at } else { 0 };
            self.sweep_at = at.saturating_add(1);
            if self.slab.value(at).is_some_and(&mut *dead) && self.remove_slot(at).is_some() {
                dropped = dropped.saturating_add(1);
            }
        }
        dropped
    }

    /// Shows `to` the values of the next `steps` slots from one on, round and round, until it has seen enough. Gives the slot to go on
    /// with.
    pub fn look(&self, from: u32, steps: usize, mut to: impl FnMut(u128, &V) -> bool) -> u32 {
        let slots = self.slab.slots();
        let mut at = from;
        for _ in 0..steps.min(slots as usize) {
            at = if at < slots { at } else { 0 };
            let value = self.slab.hash(at).zip(self.slab.value(at));
            at = at.saturating_add(1);
            if value.is_some_and(|(hash, value)| !to(hash, value)) {
                break;
            }
        }
        at
    }

    /// What `of` makes of the values that are asked for most, at most so many, the hottest first. Looks at every value.
    pub fn hottest<T>(&self, most: usize, mut of: impl FnMut(&V) -> Option<T>) -> Vec<T> {
        // An empty slot is colder than any other.
        let heat = |index| self.policy.heat(&self.slab, index).map_or(0, |heat| heat.saturating_add(1));
        let heats: Vec<u8> = (0..self.slab.slots()).map(heat).collect();
        let mut found = Vec::new();
        for heat in (1..=heats.iter().copied().max().unwrap_or_default()).rev() {
            let those = (0..).zip(&heats).filter(|(_, known)| **known == heat);
            let rest = most.saturating_sub(found.len());
            found.extend(those.filter_map(|(index, _)| of(self.slab.value(index)?)).take(rest));
            if found.len() >= most {
                break;
            }
        }
        found
    }

    /// How often a key was asked for of late, as far as is known: 0 to 16.
    pub fn heat(&self, hash: u128) -> u8 {
        self.find(hash).and_then(|index| self.policy.heat(&self.slab, index)).unwrap_or_default()
    }

    /// Values stored.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Is nothing stored?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the values cost the budget now, overhead included; the frequency sketch is not.
    pub fn bytes(&self) -> usize {
        self.slab.total_bytes()
    }

    /// Values that had to leave, or were not let in, since the table was made.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    fn find(&self, hash: u128) -> Option<u32> {
        self.index.find(low(hash), |&index| self.slab.hash(index) == Some(hash)).copied()
    }

    fn remove_slot(&mut self, index: u32) -> Option<V> {
        let hash = self.slab.hash(index)?;
        if let Ok(entry) = self.index.find_entry(low(hash), |&other| other == index) {
            entry.remove();
        }
        self.slab.remove(index)
    }
}

/// The half of the hash by which the index is ordered; the whole is compared.
fn low(hash: u128) -> u64 {
    hash as u64
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "the store has no budget",
            Self::TooLarge => "larger than a single stored response may be",
            Self::Full => "the store is full of responses that are asked for more often",
        })
    }
}

impl std::error::Error for InsertError {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::rc::Rc;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Body(Rc<[u8]>);

    impl Weigh for Body {
        fn weight(&self) -> usize {
            self.0.len()
        }
    }

    fn body(len: usize, fill: u8) -> Body {
        Body(vec![fill; len].into())
    }

    fn hash(n: u64) -> u128 {
        let mut mixed = u128::from(n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        mixed ^= mixed >> 61;
        mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93_D6E8_FEB8_6659_FD93)
    }

    fn table(bytes: usize, entries: usize) -> Table<Body> {
        Table::new(Limits { bytes, entries, object_bytes: bytes })
    }

    #[test]
    fn a_stored_value_is_found_until_it_is_removed() {
        let mut table = table(1 << 20, 100);
        assert_eq!(table.insert(hash(1), body(10, 1)), Ok(()));
        assert_eq!(table.get(hash(1)), Some(&body(10, 1)));
        assert_eq!(table.peek(hash(2)), None);
        assert_eq!(table.insert(hash(1), body(20, 2)), Ok(()));
        assert_eq!((table.len(), table.peek(hash(1))), (1, Some(&body(20, 2))));
        assert_eq!(table.bytes(), 20 + Table::<Body>::ENTRY_OVERHEAD);
        assert_eq!(table.remove(hash(1)), Some(body(20, 2)));
        assert!(table.get(hash(1)).is_none() && table.bytes() == 0);
    }

    #[test]
    fn without_a_budget_nothing_is_stored() {
        for (bytes, entries) in [(0, 10), (10, 0)] {
            let mut table = table(bytes, entries);
            assert_eq!(table.insert(hash(1), body(1, 1)), Err(InsertError::Disabled));
            assert_eq!(table.get(hash(1)), None);
        }
    }

    #[test]
    fn a_value_above_the_object_bound_is_refused_and_its_predecessor_gone() {
        let mut table = Table::new(Limits { bytes: 1 << 20, entries: 10, object_bytes: 100 });
        assert_eq!(table.insert(hash(1), body(100, 1)), Ok(()));
        assert_eq!(table.insert(hash(1), body(101, 2)), Err(InsertError::TooLarge));
        assert!(table.get(hash(1)).is_none() && table.is_empty());
    }

    #[test]
    fn bytes_and_entries_stay_within_their_bounds_and_values_stay_right() {
        let mut table = table(256 << 10, 150);
        let mut shadow = HashMap::new();
        let mut random = 7u64;
        for n in 0..50_000u64 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = (random >> 33) % 400;
            if let Some(found) = table.get(hash(key)) {
                assert_eq!(Some(found), shadow.get(&key));
                if n % 11 == 0 {
                    table.remove(hash(key));
                    assert_eq!(table.peek(hash(key)), None);
                }
            }
            let value = body(((random >> 20) % 6000) as usize, key as u8);
            shadow.insert(key, value.clone());
            match table.insert(hash(key), value) {
                Ok(()) => assert!(table.peek(hash(key)).is_some()),
                Err(error) => {
                    assert_eq!(error, InsertError::Full);
                    assert_eq!(table.peek(hash(key)), None);
                }
            }
            assert!(table.bytes() <= 256 << 10 && table.len() <= 150);
        }
        assert!(table.evictions() > 1000 && table.len() > 50);
    }

    #[test]
    fn a_scan_does_not_displace_what_is_used() {
        let mut table = table(1 << 20, 10_000);
        for _ in 0..5 {
            for n in 0..300 {
                if table.get(hash(n)).is_none() {
                    let _ = table.insert(hash(n), body(2000, 1));
                }
            }
        }
        for n in 1_000..5_000 {
            assert_eq!(table.get(hash(n)), None);
            let _ = table.insert(hash(n), body(2000, 2));
        }
        let kept = (0..300).filter(|&n| table.peek(hash(n)).is_some()).count();
        assert!(kept >= 290, "{kept} of 300 kept");
    }

    #[test]
    fn a_newcomer_that_is_asked_for_again_gets_in() {
        let mut table = table(1 << 20, 10_000);
        for n in 0..1_000 {
            let _ = table.insert(hash(n), body(2000, 1));
        }
        let newcomer = hash(1_000_000);
        let mut misses = 0;
        while table.get(newcomer).is_none() {
            let _ = table.insert(newcomer, body(2000, 2));
            for n in 0..100 {
                let _ = table.insert(hash(2_000 + misses * 100 + n), body(2000, 3));
            }
            misses += 1;
            assert!(misses < 10);
        }
    }

    #[test]
    fn a_sweep_sees_every_entry_in_bounded_steps() {
        let mut table = table(1 << 20, 1000);
        for n in 0..100 {
            table.insert(hash(n), body(10, (n % 2) as u8)).unwrap();
        }
        let mut dropped = 0;
        for _ in 0..10 {
            dropped += table.sweep(10, &mut |body| body.0[0] == 1);
        }
        assert_eq!((dropped, table.len()), (50, 50));
        assert!((0..100).all(|n| table.peek(hash(n)).is_some() == (n % 2 == 0)));
    }

    #[test]
    fn the_hottest_are_those_that_are_asked_for_most() {
        let mut table = table(1 << 20, 1000);
        for n in 0..100 {
            table.insert(hash(n), body(10, n as u8)).unwrap();
        }
        for n in [7, 42, 42, 9, 9, 9] {
            table.get(hash(n));
        }
        assert_eq!(table.hottest(3, |body| Some(body.0[0])), [9, 42, 7]);
        assert_eq!(table.hottest(1, |body| (body.0[0] == 42).then_some(())).len(), 1);
        assert!(table.hottest(0, |_| Some(())).is_empty());
    }

    #[test]
    fn a_cleared_table_is_empty_and_usable() {
        let mut table = table(1 << 20, 1000);
        for n in 0..100 {
            table.insert(hash(n), body(10, 0)).unwrap();
        }
        table.clear();
        assert!(table.is_empty() && table.bytes() == 0 && table.get(hash(1)).is_none());
        assert_eq!(table.insert(hash(1), body(10, 0)), Ok(()));
        assert_eq!(table.len(), 1);
    }
}

//! Which stored response leaves when room is needed: W-TinyLFU.
//!
//! A newcomer enters a small *window*. What falls out of the window is admitted to the main part only if it
//! was asked for more often, lately, than everything that would have to leave for it taken together; so a
//! scan of responses that are asked for once passes through the window and displaces nothing, and one large
//! response does not push out many small popular ones. The main part is two queues in order of use:
//! *probation*, where entries arrive and from which they leave, and *protected*, for those that were used
//! again.
//!
//! Compared with S3-FIFO and LRU by `examples/eviction.rs`; the figures are in `benches/runs/eviction.md`.

mod frequency;
mod slab;

pub use frequency::Frequencies;
pub use slab::{Queue, Slab, Slot};

/// The policy: what a use does to the queues, and who leaves next.
pub struct TinyLfu {
    frequencies: Frequencies,
    limits: Shares,
}

/// How the budget is divided. Bytes, but for `entries`.
struct Shares {
    window: usize,
    main: usize,
    protected: usize,
    entries: usize,
}

/// An admission decided but not yet finished: victims leave one at a time.
#[derive(Default)]
pub struct Admission {
    candidate: Option<u32>,
}

/// One part in this many of the budget is the window.
const WINDOW_PART: usize = 20;

impl TinyLfu {
    /// For a store of at most this many bytes and entries.
    ///
    /// The frequency sketch is paid from the bytes.
    pub fn new(bytes: usize, entries: usize) -> Self {
        // More entries than one per KiB is possible but rare; their counts would merely be less exact.
        let frequencies = Frequencies::for_entries(entries.min(bytes / 1024));
        let bytes = bytes.saturating_sub(frequencies.bytes());
        let window = bytes / WINDOW_PART;
        let main = bytes.saturating_sub(window);
        Self { frequencies, limits: Shares { window, main, protected: main / 5 * 4, entries } }
    }

    /// The heaviest entry that can stay, in bytes.
    pub fn heaviest(&self) -> usize {
        self.limits.main
    }

    /// Counts a request for a key, stored or not.
    pub fn count<V>(&mut self, slab: &Slab<V>, hash: u128) {
        self.frequencies.count(hash, slab.len());
    }

    /// Makes sure that a key about to be stored counts as used once.
    pub fn count_first<V>(&mut self, slab: &Slab<V>, hash: u128) {
        if self.frequencies.estimate(hash) == 0 {
            self.frequencies.count(hash, slab.len());
        }
    }

    /// How much a stored entry is asked for; among those that were asked for equally often, whether in the long run.
    pub fn heat<V>(&self, slab: &Slab<V>, index: u32) -> Option<u8> {
        let lasts = u8::from(slab.queue(index)? == Queue::Protected);
        let uses = u8::try_from(self.frequencies.estimate(slab.hash(index)?)).unwrap_or(u8::MAX);
        Some(uses.saturating_mul(2).saturating_add(lasts))
    }

    /// A stored entry was used.
    pub fn used<V>(&mut self, slab: &mut Slab<V>, index: u32) {
        match slab.queue(index) {
            Some(Queue::Window) => slab.move_to(index, Queue::Window),
            Some(_) => {
                slab.move_to(index, Queue::Protected);
                self.bound_protected(slab);
            }
            None => {}
        }
    }

    /// The entry to remove next so that the store is within its limits; `None` when it is.
    ///
    /// Call it with the same [`Admission`] and remove what it names until it answers `None`.
    pub fn next_victim<V>(&self, slab: &mut Slab<V>, admission: &mut Admission) -> Option<u32> {
        self.bound_protected(slab);
        loop {
            let main = slab.bytes(Queue::Probation).saturating_add(slab.bytes(Queue::Protected));
            if main > self.limits.main {
                // A replaced value grew.
                return oldest_of_main(slab);
            }
            let crowded = slab.len() > self.limits.entries;
            if !crowded && slab.bytes(Queue::Window) <= self.limits.window {
                return None;
            }
            let Some(candidate) = slab.oldest(Queue::Window) else { return oldest_of_main(slab) };
            let weight = slab.weight(candidate);
            let needed = main.saturating_add(weight).saturating_sub(self.limits.main);
            if needed == 0 && !crowded {
                slab.move_to(candidate, Queue::Probation);
                continue;
            }
            if admission.candidate != Some(candidate) && !self.admits(slab, candidate, needed) {
                // The entry that was spared goes to the back, or the next candidate would be measured against
                // it again.
                if let Some(spared) = slab.oldest(Queue::Probation) {
                    slab.move_to(spared, Queue::Probation);
                }
                return Some(candidate);
            }
            admission.candidate = Some(candidate);
            match oldest_of_main(slab) {
                Some(victim) => return Some(victim),
                None => return Some(candidate),
            }
        }
    }

    /// Was the candidate used more than all that must leave for it together?
    fn admits<V>(&self, slab: &Slab<V>, candidate: u32, mut needed: usize) -> bool {
        let wanted = slab.hash(candidate).map_or(0, |hash| self.frequencies.estimate(hash));
        let mut lost = 0u32;
        let mut queue = Queue::Probation;
        let mut next = slab.oldest(queue);
        loop {
            let Some(victim) = next else {
                if queue == Queue::Protected {
                    return needed == 0;
                }
                queue = Queue::Protected;
                next = slab.oldest(queue);
                continue;
            };
            lost = lost.saturating_add(slab.hash(victim).map_or(0, |hash| self.frequencies.estimate(hash)));
            if wanted <= lost {
                return false;
            }
            needed = needed.saturating_sub(slab.weight(victim));
            if needed == 0 {
                return true;
            }
            next = slab.newer(victim);
        }
    }

    fn bound_protected<V>(&self, slab: &mut Slab<V>) {
        while slab.bytes(Queue::Protected) > self.limits.protected {
            let Some(oldest) = slab.oldest(Queue::Protected) else { return };
            slab.move_to(oldest, Queue::Probation);
        }
    }
}

fn oldest_of_main<V>(slab: &Slab<V>) -> Option<u32> {
    slab.oldest(Queue::Probation).or_else(|| slab.oldest(Queue::Protected))
}

//! Calls the other workers of this Envoy when something has changed.
//!
//! Each worker that serves requests has a queue of its own and a place in a directory in shared data, where it
//! shows every other second that it lives. What changed is written down elsewhere, by the engine; a call only
//! says "look", and a worker that misses it looks at its next tick.

use std::marker::PhantomData;
use std::time::Duration;

use selvage_engine::cache::Cache;
use selvage_engine::time::Timestamp;

use crate::host::Calls;

/// One worker's place among the others.
pub struct Wake<H> {
    place: Option<Place>,
    serves: bool,
    rests: bool,
    host: PhantomData<H>,
}

struct Place {
    index: usize,
    queue: u32,
    shown: Timestamp,
}

/// One entry of the directory.
#[derive(Clone, Copy, Default)]
struct Entry {
    queue: u32,
    shown: Timestamp,
}

impl<H: Calls> Wake<H> {
    /// Not among the others yet.
    pub const fn new() -> Self {
        Self { place: None, serves: false, rests: false, host: PhantomData }
    }

    /// Takes a place at the first request: VMs that serve none (Envoy's main thread has one) need no calls.
    #[inline]
    pub fn join(&mut self, now: Timestamp) {
        if !self.serves {
            self.place = self.place.take().or_else(|| take_place::<H>(now));
            self.serves = self.place.is_some();
            self.rests = false;
        }
    }

    /// Another configuration has followed: until the next request it counts as one that serves nobody.
    pub const fn rest(&mut self) {
        self.serves = false;
        self.rests = true;
    }

    /// Whether another configuration has followed, with no request since.
    pub const fn rests(&self) -> bool {
        self.rests
    }

    /// Whether this worker serves requests, as far as is known.
    pub const fn serves(&self) -> bool {
        self.serves
    }

    /// Whether this worker has served a request.
    pub const fn has_joined(&self) -> bool {
        self.place.is_some()
    }

    /// Shows that this worker lives.
    pub fn tick(&mut self, now: Timestamp) {
        if let Some(place) = &mut self.place
            && now.since(place.shown) >= SHOW_EVERY
        {
            place.shown = now;
            let entry = Entry { queue: place.queue, shown: now };
            let index = place.index;
            update::<H, _>(|entries| {
                *entries.get_mut(index)? = entry;
                Some(())
            });
        }
    }

    /// Asks for another call of this worker, from which it goes on. `false` if it has no place: its next tick has to do.
    pub fn call_self(&self) -> bool {
        self.place.as_ref().map(|place| H::ring(place.queue)).is_some()
    }

    /// A queue that only this worker rings, for what is to be done after the events at hand. `None` if it has no place.
    pub fn bell(&self) -> Option<u32> {
        let index = self.place.as_ref()?.index;
        let queue = H::register_queue(&format!("sv1/b/{index}"))?;
        while H::answer(queue) {}
        Some(queue)
    }

    /// Calls every other worker if the cache has changes to tell.
    pub fn tell_others(&self, cache: &mut Cache) {
        if !cache.take_changes_to_tell() {
            return;
        }
        let own = self.place.as_ref().map(|place| place.queue);
        let now = H::now();
        let (bytes, _) = H::shared_data(DIRECTORY).unwrap_or_default();
        for entry in read(&bytes) {
            if Some(entry.queue) != own && now.since(entry.shown) < DEAD_AFTER {
                H::ring(entry.queue);
            }
        }
    }
}

/// Takes the place of a worker that is dead, or a new one.
fn take_place<H: Calls>(now: Timestamp) -> Option<Place> {
    let index = update::<H, _>(|entries| {
        let dead = entries.iter().position(|entry| now.since(entry.shown) >= DEAD_AFTER);
        let index = dead.unwrap_or(entries.len());
        if index == entries.len() {
            if index >= MOST_WORKERS {
                return None;
            }
            entries.push(Entry::default());
        }
        let place = entries.get_mut(index)?;
        place.shown = now;
        Some(index)
    })?;
    let queue = H::register_queue(&format!("sv1/q/{index}"))?;
    // What was meant for the dead one is of no use to its heir, whose store is empty.
    while H::answer(queue) {}
    update::<H, _>(|entries| {
        *entries.get_mut(index)? = Entry { queue, shown: now };
        Some(())
    })?;
    Some(Place { index, queue, shown: now })
}

/// Changes the directory, again if another worker was first. `None` if `change` does not want to, or if others
/// are first too often.
fn update<H: Calls, R>(mut change: impl FnMut(&mut Vec<Entry>) -> Option<R>) -> Option<R> {
    for _ in 0..TRIES {
        let (bytes, cas) = H::shared_data(DIRECTORY).unwrap_or((Vec::new(), ABSENT));
        let mut entries: Vec<Entry> = read(&bytes).collect();
        let result = change(&mut entries)?;
        let written: Vec<u8> = entries
            .iter()
            .flat_map(|entry| {
                let shown = entry.shown.as_millis().to_le_bytes();
                entry.queue.to_le_bytes().into_iter().chain(shown)
            })
            .collect();
        if H::set_shared_data(DIRECTORY, &written, cas).is_ok() {
            return Some(result);
        }
    }
    None
}

fn read(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    bytes.chunks_exact(ENTRY_BYTES).filter_map(|entry| {
        let (queue, shown) = entry.split_first_chunk::<4>()?;
        let shown = Timestamp::from_millis(u64::from_le_bytes(*shown.first_chunk()?));
        Some(Entry { queue: u32::from_le_bytes(*queue), shown })
    })
}

/// Shared-data key of the directory.
const DIRECTORY: &str = "sv1/w";
const ENTRY_BYTES: usize = 12;
/// More workers than this share the node store without being called.
const MOST_WORKERS: usize = 1024;
const SHOW_EVERY: Duration = Duration::from_secs(2);
/// A worker that has not shown itself for so long is not called any more, and its place is free.
const DEAD_AFTER: Duration = Duration::from_secs(20);
const TRIES: usize = 16;
/// A compare-and-swap value that no directory has: the first writer makes it, and the second is told.
const ABSENT: u32 = u32::MAX;

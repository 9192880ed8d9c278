//! Streams that wait for another's fetch, and their waking.
//!
//! Answering many streams in one call of the VM nests as many calls of Envoy, until the stack ends. So few are woken at
//! once, and the next ones from a call of their own: the worker calls itself through its queue.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use selvage_engine::exchange::Wake;
use selvage_engine::insight::held::Held;
use selvage_engine::time::Timestamp;

use crate::stream::BuildIdHasher;

/// The waiting streams of one plugin.
#[derive(Default)]
pub struct Waiters {
    by_hash: BTreeMap<u128, Vec<Waiter>>,
    /// Those that ask the remote store again, and when.
    polling: Vec<(u32, Timestamp)>,
    /// The tickets of those that wait for a place in a pool.
    queued: HashMap<u32, u64, BuildIdHasher>,
    /// To be woken, in the order in which they came.
    awake: VecDeque<(u32, Wake)>,
}

/// A stream that waits.
struct Waiter {
    context: u32,
    since: Timestamp,
    until: Timestamp,
}

impl Waiters {
    /// A stream waits for the fetch of a hash, until a moment.
    pub fn add(&mut self, hash: u128, context: u32, until: Timestamp, now: Timestamp) {
        self.by_hash.entry(hash).or_default().push(Waiter { context, since: now, until });
    }

    /// How many streams wait for a fetch, or to ask the remote store again, and since when the oldest of the first does.
    pub fn held(&self, now: Timestamp) -> Held {
        let waiters = self.by_hash.values().flatten();
        let oldest = waiters.clone().map(|waiter| waiter.since).min();
        Held::since(waiters.count().saturating_add(self.polling.len()), oldest, now)
    }

    /// A stream asks the remote store again at a moment.
    pub fn poll(&mut self, context: u32, at: Timestamp) {
        self.polling.push((context, at));
    }

    /// A stream waits for a ticket to be decided.
    pub fn queue(&mut self, ticket: u64, context: u32) {
        self.queued.insert(context, ticket);
    }

    /// A ticket has been decided.
    pub fn wake_queued(&mut self, ticket: u64) {
        let found = self.queued.iter().find(|(_, known)| **known == ticket).map(|(context, _)| *context);
        if let Some(context) = found {
            self.queued.remove(&context);
            self.awake.push_back((context, Wake::Slot));
        }
    }

    /// The streams that wait for a place in a pool.
    pub fn queued(&self) -> impl Iterator<Item = u32> {
        self.queued.keys().copied()
    }

    /// The streams that need not wait for a place any more, and are not yet told.
    pub fn placed(&self) -> impl Iterator<Item = u32> {
        self.awake.iter().filter(|(_, wake)| matches!(wake, Wake::Slot)).map(|(context, _)| *context)
    }

    /// Whether a stream is to ask the remote store again.
    pub fn any_polling(&self) -> bool {
        !self.polling.is_empty()
    }

    /// Streams that are to ask the remote store again.
    pub fn polling(&self) -> usize {
        self.polling.len()
    }

    /// The fetch that a stream waits for; `Some(None)` if it waits to ask the remote store again.
    pub fn awaits(&self, context: u32) -> Option<Option<u128>> {
        let mut waiting = self.by_hash.iter();
        let fill = waiting.find(|(_, waiting)| waiting.iter().any(|waiter| waiter.context == context));
        let polls = || self.polling.iter().any(|(known, _)| *known == context).then_some(None);
        let queued = || self.queued.contains_key(&context).then_some(None);
        fill.map(|(hash, _)| Some(*hash)).or_else(polls).or_else(queued)
    }

    /// The fetch of a hash has ended.
    pub fn wake(&mut self, hash: u128) {
        let waiting = self.by_hash.remove(&hash).unwrap_or_default();
        self.awake.extend(waiting.into_iter().map(|waiter| (waiter.context, Wake::Ended)));
    }

    /// A stream has ended.
    pub fn forget(&mut self, context: u32) {
        for waiting in self.by_hash.values_mut() {
            waiting.retain(|waiter| waiter.context != context);
        }
        self.polling.retain(|(known, _)| *known != context);
        self.queued.remove(&context);
    }

    /// Nothing is known any more of the fetches.
    pub fn wake_all(&mut self) {
        let hashes: Vec<u128> = self.by_hash.keys().copied().collect();
        hashes.into_iter().for_each(|hash| self.wake(hash));
        self.awake.extend(self.polling.drain(..).map(|(context, _)| (context, Wake::Poll)));
        let queued = std::mem::take(&mut self.queued);
        self.awake.extend(queued.into_keys().map(|context| (context, Wake::Slot)));
    }

    /// Wakes those that are to ask the remote store again.
    pub fn poll_due(&mut self, now: Timestamp) {
        let awake = &mut self.awake;
        self.polling.retain(|(context, at)| {
            let due = now >= *at;
            if due {
                awake.push_back((*context, Wake::Poll));
            }
            !due
        });
    }

    /// Wakes those that have waited enough.
    pub fn expire(&mut self, now: Timestamp) {
        let awake = &mut self.awake;
        self.by_hash.retain(|_, waiting| {
            waiting.retain(|waiter| {
                let enough = now >= waiter.until;
                if enough {
                    awake.push_back((waiter.context, Wake::Enough));
                }
                !enough
            });
            !waiting.is_empty()
        });
    }

    /// The next streams to wake, few enough for one call of the VM. Streams may have ended since they began to wait.
    pub fn batch(&mut self) -> Vec<(u32, Wake)> {
        let few = self.awake.len().min(BATCH);
        self.awake.drain(..few).collect()
    }

    /// Streams that wait, ask again or are to be woken.
    pub fn len(&self) -> usize {
        self.by_hash.values().map(Vec::len).sum::<usize>()
            + self.polling.len()
            + self.queued.len()
            + self.awake.len()
    }

    /// Whether there are streams to wake.
    pub fn any_awake(&self) -> bool {
        !self.awake.is_empty()
    }
}

/// 256 held on Envoy 1.40 and 1,000 did not; a host with a smaller stack is to hold too.
const BATCH: usize = 16;

//! All state of one VM: its roots, each with a cache, and the streams that have something to wait for.
//!
//! Here is what happens to the VM as a whole. What happens to its streams is in `requests` and `responses`, what comes of
//! the calls that it makes by itself in `answers`.

mod answers;
mod held;
mod requests;
mod responses;
mod uploads;

use hashbrown::HashMap;
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::config::refusal;
use selvage_engine::exchange::Event;
use selvage_engine::insight::held::Held;
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::gauges::InVm;
use crate::host::{Buffer, Calls, Envoy, Level};
use crate::pace::Needed;
use crate::rewritten::Rewritten;
use crate::root::Root;
use crate::stream::{BuildIdHasher, Stream};
use held::HeldBodies;
use uploads::Watched;

/// One VM.
pub struct Vm<H: Calls> {
    roots: Vec<Root<H>>,
    streams: HashMap<u32, Stream, BuildIdHasher>,
    /// Which root a stream belongs to, while there are several.
    parents: HashMap<u32, u32, BuildIdHasher>,
    /// Whose the streams are that `parents` does not know.
    uncounted_root: Option<u32>,
    /// Streams whose clients get another body than the one that comes.
    rewritten: HashMap<u32, Rewritten, BuildIdHasher>,
    /// Streams held for their request's body.
    held: HeldBodies,
    /// Streams whose request's body is watched.
    watched: Watched,
    /// Streams that have begun and not ended.
    contexts: usize,
    /// The newest of them.
    newest: u32,
    /// The oldest stream with something still to come, and when it was first seen to be that.
    oldest: Option<(u32, Timestamp)>,
    breakers: Breakers<H>,
}

impl<H: Calls> Default for Vm<H> {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            streams: HashMap::default(),
            parents: HashMap::default(),
            uncounted_root: None,
            rewritten: HashMap::default(),
            held: HeldBodies::default(),
            watched: Watched::default(),
            contexts: 0,
            newest: 0,
            oldest: None,
            breakers: Breakers::default(),
        }
    }
}

impl<H: Calls> Vm<H> {
    /// A context begins. Roots are made when their configuration comes.
    pub fn create(&mut self, context: u32, parent: u32) {
        self.contexts += usize::from(parent != 0);
        self.newest = context;
        if parent != 0 && self.roots.len() > 1 {
            self.parents.insert(context, parent);
        }
    }

    /// Reads the configuration. `false` refuses it, after every fault has been logged.
    pub fn configure(&mut self, id: u32, size: usize) -> bool {
        let json = H::buffer(Buffer::PluginConfiguration, 0, size).unwrap_or_default();
        let mut root = match Root::new(id, &json, &mut self.breakers) {
            Ok(root) => root,
            Err(errors) => {
                refusal::note(&errors, &mut Envoy::<H>::new(), H::now());
                for error in errors {
                    H::log(Level::Error, &format!("configuration refused: {error}"));
                }
                return false;
            }
        };
        if let Some(at) = self.roots.iter().position(|known| known.id == id) {
            root.take_over(self.roots.swap_remove(at));
        }
        // Streams that began while there was one root were not counted: they are that root's.
        if let [only] = self.roots.as_slice() {
            self.uncounted_root = Some(only.id);
        }
        for other in self.roots.iter_mut().filter(|other| other.is_followed_by(&root)) {
            other.rest();
        }
        self.roots.push(root);
        true
    }

    /// Does what is due now and then.
    pub fn tick(&mut self, id: u32) {
        let now = H::now();
        self.held.release::<H>(&mut self.streams, now);
        self.release_watched(id, now);
        if root_of(&mut self.roots, id).is_some_and(|root| root.remote.has_gathered()) {
            self.send_gathered(id, now);
            if let Some(root) = root_of(&mut self.roots, id) {
                root.remote.note_missed_ring();
            }
        }
        let Some(root) = root_of(&mut self.roots, id) else { return };
        root.waiters.poll_due(now);
        let quick = root.waiters.any_polling()
            || root.cache.has_bodies_coming()
            || root.cache.has_active_pools()
            || root.cache.has_waiting_leases()
            || root.cache.has_open_batches();
        root.cache.look_after_batches(now);
        root.look_after_pools(now);
        root.cache.look_after_leases(now);
        root.look_after_joins(now);
        let pace = match (root.cache.has_open_joins(), quick) {
            (true, _) => Needed::Hasty,
            (false, true) => Needed::Quick,
            (false, false) => Needed::Ordinary,
        };
        if !root.pace.is_ordinary(pace, now) {
            root.cache.look_after_bodies(&mut Moment { now, host: &mut Envoy::<H>::new() });
            self.wake_some(id, now);
            return;
        }
        // What belongs to the whole VM is shown by one root.
        let shows_all = self.roots.first().is_some_and(|first| first.id == id);
        let held = InVm {
            serves: self.roots.iter().any(|root| root.wake.serves()),
            contexts: self.contexts,
            streams: Held::since(self.streams.len(), self.note_oldest(now), now),
            bodies: self.held.len(),
        };
        let Some(root) = root_of(&mut self.roots, id) else { return };
        root.tick(shows_all.then_some(held), &mut self.breakers, now);
        self.wake_some(id, now);
    }

    /// Since when the oldest stream with something still to come is known to be that. Ids are given out in order.
    fn note_oldest(&mut self, now: Timestamp) -> Option<Timestamp> {
        let oldest = self.streams.keys().min().copied();
        self.oldest = oldest.map(|id| match self.oldest {
            Some((known, since)) if known == id => (id, since),
            _ => (id, now),
        });
        self.oldest.map(|(_, since)| since)
    }

    /// Another worker has written down a change.
    pub fn called(&mut self, id: u32, queue: u32) {
        while H::answer(queue) {}
        let now = H::now();
        if root_of(&mut self.roots, id).is_some_and(|root| root.remote.is_bell(queue)) {
            return self.send_gathered(id, now);
        }
        if let Some(root) = root_of(&mut self.roots, id) {
            root.learn(now);
            root.cache.look_after_leases(now);
            self.wake_some(id, now);
        }
    }

    /// A context is gone, however it ended.
    pub fn delete(&mut self, context: u32) {
        if !self.rewritten.is_empty() {
            self.rewritten.remove(&context);
        }
        self.end(context, Event::Ended);
        if self.parents.remove(&context).is_none() && self.roots.iter().any(|root| root.id == context) {
            if let Some(root) = root_of(&mut self.roots, context) {
                root.gauges.leave::<H>();
                // What its last requests have cost.
                root.remote.send_leases(&mut self.breakers, &mut root.cache, H::now());
            }
            self.roots.retain(|root| root.id != context);
            self.resume_last_ones();
        } else {
            self.contexts = self.contexts.saturating_sub(1);
        }
    }

    /// Envoy goes back to an earlier configuration without a word, if that has connections left.
    fn resume_last_ones(&mut self) {
        for at in 0..self.roots.len() {
            if let Some((root, later)) = self.roots.get_mut(at..).and_then(<[Root<H>]>::split_first_mut)
                && !later.iter().any(|other| root.is_followed_by(other))
            {
                root.resume();
            }
        }
    }

    /// The last event of a stream: nothing of it is kept.
    fn end(&mut self, context: u32, event: Event<'_>) {
        self.held.forget(context);
        self.held.note_gathering(context, false);
        self.watched.forget(context);
        if let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context)
            && let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context)
        {
            if exchange.awaits_fill() {
                root.waiters.forget(context);
            }
            exchange.on(event, &mut root.cache, &mut Moment { now: H::now(), host: &mut Envoy::<H>::new() });
            root.after_event();
            root.tell_what_it_cost(&mut self.breakers);
            // What has ended by its trailers may have a place at the origin until its stream ends.
            if exchange.holds_slot() {
                self.streams.insert(context, Stream::Exchange(exchange));
            }
        }
    }
}

/// For leak watches: the simulation of the host tests asks.
impl<H: Calls> Vm<H> {
    /// Whether anything is kept of a stream, but for its place at the origin.
    pub fn keeps(&self, context: u32) -> bool {
        match self.streams.get(&context) {
            Some(Stream::Exchange(exchange)) => !exchange.is_settled(),
            kept => kept.is_some(),
        }
    }

    /// The fetch that a stream waits for; `Some(None)` if it waits to ask the remote store again.
    pub fn awaits(&self, context: u32) -> Option<Option<u128>> {
        self.roots.iter().find_map(|root| root.waiters.awaits(context))
    }

    /// The streams that wait for a place in a pool, in order.
    pub fn queued(&self) -> Vec<u32> {
        let queued = self.roots.iter().flat_map(|root| root.waiters.queued());
        let mut queued: Vec<u32> = queued.filter(|context| self.leases(*context).is_none()).collect();
        queued.sort_unstable();
        queued
    }

    /// Whether a stream waits for what Redis says of a quota, and has been through the cache by then.
    pub fn leases(&self, context: u32) -> Option<bool> {
        match self.streams.get(&context) {
            Some(Stream::Exchange(exchange)) => exchange.leases_past_cache(),
            _ => None,
        }
    }

    /// The streams that need not wait for a place any more, and are not yet told.
    pub fn placed(&self) -> Vec<u32> {
        let placed = self.roots.iter().flat_map(|root| root.waiters.placed());
        placed.filter(|context| self.leases(*context).is_none()).collect()
    }

    /// The hash of what a stream fetches for all that wait for it.
    pub fn leads(&self, context: u32) -> Option<u128> {
        match self.streams.get(&context)? {
            Stream::Exchange(exchange) => exchange.leads(),
            _ => None,
        }
    }

    /// The streams whose lookups wait to be sent.
    pub fn gathered(&self) -> Vec<u32> {
        self.roots.iter().flat_map(|root| root.remote.gathered()).collect()
    }

    /// The streams for which the commands of a call are.
    pub fn asked(&self, token: u32) -> Vec<Option<u32>> {
        self.roots.iter().find_map(|root| root.remote.asked(token)).unwrap_or_default()
    }

    /// The stream whose response is held for a call to the origin.
    pub fn held_for(&self, token: u32) -> Option<u32> {
        self.roots.iter().find_map(|root| root.fetches.get(&token).copied())
    }

    /// The hash of what a call of the cache's own to the origin brings.
    pub fn brings(&self, token: u32) -> Option<u128> {
        self.roots.iter().find_map(|root| root.refreshes.brings(token))
    }

    /// The caches of the roots.
    pub fn caches(&mut self) -> impl Iterator<Item = &mut Cache> {
        self.roots.iter_mut().map(|root| &mut root.cache)
    }

    /// What is kept of streams and calls that have not ended, by a word for it.
    pub fn kept(&self) -> [(&'static str, usize); 9] {
        let sum = |count: fn(&Root<H>) -> usize| self.roots.iter().map(count).sum();
        [
            ("streams", self.streams.len()),
            ("held bodies", self.held.len()),
            ("rewritten bodies", self.rewritten.len()),
            ("waiters", sum(|root| root.waiters.len())),
            ("calls to the remote store", sum(|root| root.remote.calls())),
            ("refreshes", sum(|root| root.refreshes.calls() + root.cache.refreshes_queued())),
            ("joined calls", sum(|root| root.joins.calls())),
            ("parts of batches", sum(|root| root.parts.len())),
            ("jobs", sum(|root| root.jobs.calls().max(root.cache.jobs_running()))),
        ]
    }
}

fn root_of<H: Calls>(roots: &mut [Root<H>], id: u32) -> Option<&mut Root<H>> {
    roots.iter_mut().find(|root| root.id == id)
}

/// The root of a stream. While there is only one, nobody keeps count.
fn stream_root<'r, H: Calls>(
    roots: &'r mut [Root<H>],
    parents: &HashMap<u32, u32, BuildIdHasher>,
    uncounted: Option<u32>,
    context: u32,
) -> Option<&'r mut Root<H>> {
    match roots {
        [only] => Some(only),
        several => root_of(several, parents.get(&context).copied().or(uncounted)?),
    }
}

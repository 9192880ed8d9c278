//! Fills under way: the first request for a key that nothing is stored for fetches it, the others wait for that.
//!
//! ```text
//! first request ─ lead ─► origin ─┬ stored ──────────► the others are answered from the store
//!                                 ├ not storable ────► the others go to the origin at once, and so do the next ones for a while
//!                                 └ gone, or an error ► one of the others leads
//! ```
//!
//! A fill is known by its key's hash. Between the workers of an Envoy it is a lease in shared data, one in a fixed number
//! of places, so that memory is bounded although shared data cannot be deleted; it ends by itself if its holder dies.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::coherence::Change;
use super::remembered::Remembered;
use super::{Cache, Moment};
use crate::policy::Coalesce;
use crate::store::node::Lease;
use crate::time::Timestamp;

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillEnd {
    /// There is a response in the store.
    Stored,
    /// The origin's answer is not to be stored: nobody should wait for the next one.
    NotStorable,
    /// The client or the origin has gone before the end, or the origin has failed.
    Died,
}

/// What a request does that would fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It fetches, and others wait for it. To be ended with [`Cache::end_fill`].
    Lead(FillId),
    /// It waits for another. To be ended with [`Cache::end_wait`].
    Wait(FillId),
    /// It fetches for itself alone.
    Alone,
}

/// Tells a fill from others of the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillId(u64);

/// The fills that this worker knows of.
#[derive(Debug, Default)]
pub(super) struct Fills {
    /// By hash.
    under_way: BTreeMap<u128, Fill>,
    /// Requests that wait, over all keys.
    waiting: usize,
    /// Fills so far.
    count: u64,
    /// Keys whose waiters may be woken.
    ended: Vec<u128>,
    /// Keys whose responses were not storable lately.
    not_storable: Remembered,
    /// Fills of other workers, in the order in which they are to be looked at again.
    foreign: VecDeque<u128>,
}

#[derive(Clone, Copy, Debug)]
struct Fill {
    id: FillId,
    /// A request of this worker leads it.
    own: bool,
    /// The token of the lease that is held for it.
    lease: Option<u32>,
    /// Nobody waits for longer.
    until: Timestamp,
    waiting: usize,
    since: Timestamp,
}

impl Fills {
    fn add(
        &mut self,
        hash: u128,
        own: bool,
        lease: Option<u32>,
        until: Timestamp,
        since: Timestamp,
    ) -> FillId {
        self.count += 1;
        let id = FillId(self.count);
        self.under_way.insert(hash, Fill { id, own, lease, until, waiting: 0, since });
        id
    }

    /// Adds a waiter, if there is room among `most` for this fill and `in_all`.
    fn wait(&mut self, hash: u128, most: usize, in_all: usize) -> Option<FillId> {
        let fill = self.under_way.get_mut(&hash)?;
        if fill.waiting >= most || self.waiting >= in_all {
            return None;
        }
        fill.waiting += 1;
        self.waiting += 1;
        Some(fill.id)
    }

    /// Takes a fill away. Its waiters are to be woken.
    fn remove(&mut self, hash: u128) -> Option<Fill> {
        let fill = self.under_way.remove(&hash)?;
        self.waiting = self.waiting.saturating_sub(fill.waiting);
        if fill.waiting > 0 {
            self.ended.push(hash);
        }
        Some(fill)
    }

    pub(super) fn is_not_storable(&self, hash: u128, now: Timestamp) -> bool {
        self.not_storable.knows(hash, now)
    }

    fn note_not_storable(&mut self, hash: u128, now: Timestamp) {
        self.not_storable.note(hash, now.plus(NOT_STORABLE_FOR));
    }
}

impl Cache {
    /// What a request for `hash` does that found nothing to answer with.
    pub fn turn(&mut self, hash: u128, bounds: &Coalesce, moment: &mut Moment<'_>) -> Turn {
        self.turn_among(hash, bounds, self.policy.worker.waiters, moment)
    }

    /// As [`Cache::turn`], for a request of the cache's own that lasts so long. It need not wait, however many do: `None` if
    /// another fetches. `Some(None)` if nobody is to wait for it.
    pub(crate) fn turn_to_renew(
        &mut self,
        hash: u128,
        wait: Duration,
        moment: &mut Moment<'_>,
    ) -> Option<Option<FillId>> {
        let bounds = Coalesce { enabled: true, wait, waiters: usize::MAX, fleet: false };
        match self.turn_among(hash, &bounds, usize::MAX, moment) {
            Turn::Lead(id) => Some(Some(id)),
            Turn::Alone => Some(None),
            Turn::Wait(fill) => {
                self.end_wait(hash, fill);
                None
            }
        }
    }

    /// `in_all`: most requests of this worker that wait.
    fn turn_among(&mut self, hash: u128, bounds: &Coalesce, in_all: usize, moment: &mut Moment<'_>) -> Turn {
        let now = moment.now;
        if !bounds.enabled || self.fills.is_not_storable(hash, now) {
            return Turn::Alone;
        }
        if let Some(fill) = self.fills.under_way.get(&hash) {
            if now < fill.until {
                return self.wait_for(hash, bounds.waiters, in_all);
            }
            // Its leader is lost, or slower than anybody waits.
            let id = fill.id;
            self.end_fill(hash, id, FillEnd::Died, moment);
        }
        if self.fills.under_way.len() >= MOST_FILLS {
            self.stats.count("coalesce", "too-many-fills");
            return Turn::Alone;
        }
        let until = now.plus(bounds.wait);
        // Where the workers share no store, the other ones have nothing from waiting.
        let lease = match self.policy.node.bytes {
            0 => Lease::Unavailable,
            _ => self.node.lease(moment.host, hash, now.as_millis(), until.as_millis()),
        };
        let lease = match lease {
            Lease::Taken { token } => Some(token),
            Lease::Unavailable => None,
            Lease::Held => {
                self.fills.add(hash, false, None, until, now);
                // Without a place in the list it is woken by the call alone, or has waited enough.
                if self.fills.foreign.len() < MOST_FILLS {
                    self.fills.foreign.push_back(hash);
                }
                return self.wait_for(hash, bounds.waiters, in_all);
            }
            Lease::NotStorable => {
                self.fills.note_not_storable(hash, now);
                return Turn::Alone;
            }
        };
        Turn::Lead(self.fills.add(hash, true, lease, until, now))
    }

    fn wait_for(&mut self, hash: u128, most: usize, in_all: usize) -> Turn {
        match self.fills.wait(hash, most, in_all) {
            Some(id) => Turn::Wait(id),
            None => {
                self.stats.count("coalesce", "too-many-waiters");
                Turn::Alone
            }
        }
    }

    /// The fill that a request of this worker leads has ended. One that was given up before changes nothing.
    pub fn end_fill(&mut self, hash: u128, id: FillId, end: FillEnd, moment: &mut Moment<'_>) {
        if self.fills.under_way.get(&hash).is_none_or(|fill| fill.id != id) {
            return;
        }
        let Some(fill) = self.fills.remove(hash) else { return };
        let not_storable = end == FillEnd::NotStorable;
        if not_storable {
            self.fills.note_not_storable(hash, moment.now);
        }
        if let Some(token) = fill.lease {
            let until = not_storable.then(|| moment.now.plus(NOT_STORABLE_FOR).as_millis());
            // The other workers are told only if one of them waits.
            if self.node.release(moment.host, hash, token, until) {
                self.tell(hash, Change::Replaced, moment);
            }
        }
    }

    /// A request waits no longer for `hash`. Only if the fill is still under way does that make a difference.
    pub fn end_wait(&mut self, hash: u128, id: FillId) {
        if let Some(fill) = self.fills.under_way.get_mut(&hash).filter(|fill| fill.id == id) {
            fill.waiting = fill.waiting.saturating_sub(1);
            self.fills.waiting = self.fills.waiting.saturating_sub(1);
            if !fill.own && fill.waiting == 0 {
                self.fills.under_way.remove(&hash);
                // One that only looked leaves its place in the list at once.
                if self.fills.foreign.back() == Some(&hash) {
                    self.fills.foreign.pop_back();
                }
            }
        }
    }

    /// Another worker has changed what is stored for `hash`: whoever waits for it may look.
    pub(super) fn wake_for(&mut self, hash: u128) {
        if self.fills.under_way.get(&hash).is_some_and(|fill| !fill.own) {
            self.fills.remove(hash);
        }
    }

    /// What other workers did is not known: whoever waits for one may look.
    pub(super) fn wake_all_foreign(&mut self) {
        for hash in std::mem::take(&mut self.fills.foreign) {
            self.wake_for(hash);
        }
    }

    /// Looks after the fills of other workers, in case their end was not heard of.
    pub fn look_after_fills(&mut self, moment: &mut Moment<'_>) {
        let now = moment.now;
        for _ in 0..self.fills.foreign.len().min(LOOKED_AT) {
            let Some(hash) = self.fills.foreign.pop_front() else { break };
            let Some(fill) = self.fills.under_way.get(&hash).filter(|fill| !fill.own) else { continue };
            if now < fill.until && self.node.is_leased(moment.host, hash, now.as_millis()) {
                // Without a place in the list it is woken by the call alone, or has waited enough.
                if self.fills.foreign.len() < MOST_FILLS {
                    self.fills.foreign.push_back(hash);
                }
            } else {
                self.wake_for(hash);
            }
        }
    }

    /// The keys whose waiters may be woken since the last call.
    pub fn take_ended_fills(&mut self) -> Vec<u128> {
        std::mem::take(&mut self.fills.ended)
    }

    /// Whether there are keys whose waiters may be woken.
    pub fn has_ended_fills(&self) -> bool {
        !self.fills.ended.is_empty()
    }

    /// When the oldest fill under way began.
    pub(super) fn oldest_fill(&self) -> Option<Timestamp> {
        self.fills.under_way.values().map(|fill| fill.since).min()
    }

    /// Fills under way and requests that wait, for leak watches.
    pub fn fills_under_way(&self) -> (usize, usize) {
        (self.fills.under_way.len(), self.fills.waiting)
    }
}

/// Fills known at once; past it requests fetch for themselves.
const MOST_FILLS: usize = 16_384;
/// How long nobody waits for a key whose response was not storable.
pub(super) const NOT_STORABLE_FOR: Duration = Duration::from_secs(10);
/// Fills of other workers looked at in one tick.
const LOOKED_AT: usize = 256;

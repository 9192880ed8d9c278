//! Fills under way: the first request for a key that nothing is stored for fetches it, the others wait for that.
//!
//! ```text
//! first request ─ lead ─► origin ─┬ stored ────────────► the others are answered from the store
//!                                 ├ not to be shared ──► the others go to the origin at once, and so do the next ones for a while
//!                                 ├ body takes long ───► the same, while the first request's response is still stored
//!                                 └ gone, or an error ─► one of the others leads
//! ```
//!
//! A fill is known by the hash of what will be shared: the key's, or the variant's as soon as it is known what selects
//! among the key's responses. So nobody waits for a response that is for others. Between the workers of an Envoy it is a lease
//! in shared data, one in a fixed number of places, so that memory is bounded although shared data cannot be deleted; it
//! ends by itself if its holder dies.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Claim;
use super::coherence::Change;
use super::remembered::Remembered;
use super::unshared::{Asker, Extent, UNSHARED_FOR, Unshared};
use super::{Cache, Moment};
use crate::fields::Fields;
use crate::policy::Coalesce;
use crate::store::Slot;
use crate::store::node::Lease;
use crate::time::Timestamp;

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillEnd {
    /// There is a response in the store.
    Stored,
    /// The origin's answer is not to be shared, and this is whom that speaks for.
    NotShared(Extent),
    /// The head has come, and the body will take longer than anybody should wait.
    TakesLong,
    /// The client or the origin has gone before the end, or the origin has failed.
    Abandoned,
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

/// Tells a fill from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillId {
    hash: u128,
    nth: u64,
}

impl FillId {
    /// The hash of what it brings, for those who wait.
    pub const fn hash(self) -> u128 {
        self.hash
    }
}

/// How the body of a response comes along whose head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// When the head came.
    pub since: Timestamp,
    /// The length that it promised.
    pub expected: Option<usize>,
    /// How much has come.
    pub got: usize,
    /// How long those who wait go on waiting.
    pub bound: Duration,
}

impl Pace {
    /// Whether the end of the body is not to be expected soon.
    fn is_slow(&self, now: Timestamp) -> bool {
        let elapsed = now.since(self.since);
        let soon = match self.expected {
            Some(expected) if self.got > 0 => {
                // At the pace so far.
                let left = expected.saturating_sub(self.got) as u128;
                let micros = elapsed.as_micros().saturating_mul(left) / self.got as u128;
                Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
            }
            _ => None,
        };
        match soon {
            Some(left) if left <= self.bound => false,
            // Long before the bound it can be clear that it will not do.
            Some(left) => elapsed >= self.bound || elapsed >= self.bound / 4 && left > self.bound * HOPELESS,
            None => elapsed >= self.bound,
        }
    }
}

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
    /// Keys whose answers were not to be shared lately.
    unshared: Unshared,
    /// Fills that brought nothing to those who waited, by their number and whether that was for some alone.
    parted: Remembered,
    /// Fills of this worker whose bodies are still coming.
    bodies: Vec<FillId>,
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
    /// There once the head has come.
    pace: Option<Pace>,
    /// What other Envoys wait by.
    claim: Option<Claim>,
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
        let id = FillId { hash, nth: self.count };
        let fill = Fill { id, own, lease, until, waiting: 0, since, pace: None, claim: None };
        self.under_way.insert(hash, fill);
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

    /// A fill brings nothing to those who wait: to nobody, or `for_some`, to those alone who show credentials.
    fn part(&mut self, id: FillId, for_some: bool, now: Timestamp) {
        self.parted.note(parted_as(id, for_some), now.plus(PARTED_FOR));
    }
}

fn parted_as(id: FillId, for_some: bool) -> u128 {
    u128::from(id.nth) << 1 | u128::from(for_some)
}

impl Cache {
    /// What a request for `hash` does that found nothing to answer with, and that shows these credentials.
    pub fn turn(&mut self, hash: u128, asker: Asker<'_>, bounds: &Coalesce, moment: &mut Moment<'_>) -> Turn {
        self.turn_among(hash, asker, bounds, self.policy.worker.waiters, moment)
    }

    /// Whether nothing that could be shared is to be expected for such a request.
    pub fn is_unshared(&self, hash: u128, asker: &Asker<'_>, now: Timestamp) -> bool {
        self.fills.unshared.applies(hash, asker, now)
    }

    /// An answer that was not to be shared has a `Vary`: it speaks for requests with the same values in the fields named.
    pub(crate) fn note_unshared_for(
        &mut self,
        hash: u128,
        names: Vec<Box<[u8]>>,
        request: Fields<'_>,
        now: Timestamp,
    ) {
        self.fills.unshared.note_selected(hash, names, request, now);
    }

    /// Whether the fill that a request with these credentials waited for has ended without anything for it, so that it need
    /// not wait for another one.
    pub fn has_parted(&self, id: FillId, identity: Option<u64>, now: Timestamp) -> bool {
        self.fills.parted.knows(parted_as(id, false), now)
            || identity.is_some() && self.fills.parted.knows(parted_as(id, true), now)
    }

    /// The head of what a fill brings has come. `claim` is what other Envoys wait by.
    pub(crate) fn body_begins(
        &mut self,
        id: FillId,
        pace: Pace,
        claim: Option<Claim>,
        moment: &mut Moment<'_>,
    ) {
        let Some(fill) = self.fills.under_way.get_mut(&id.hash).filter(|fill| fill.id == id) else { return };
        (fill.pace, fill.claim) = (Some(pace), claim);
        self.fills.bodies.push(id);
        self.look_after_body(id, moment);
    }

    /// More of the body has come: so much in all.
    #[inline]
    pub fn body_grows(&mut self, id: FillId, got: usize, moment: &mut Moment<'_>) {
        if let Some(fill) = self.fills.under_way.get_mut(&id.hash).filter(|fill| fill.id == id)
            && let Some(pace) = &mut fill.pace
        {
            pace.got = got;
            self.look_after_body(id, moment);
        }
    }

    /// Whether bodies are coming that others wait for, or may.
    pub fn has_bodies_coming(&self) -> bool {
        !self.fills.bodies.is_empty()
    }

    /// Lets those go who wait for bodies that take long.
    pub fn look_after_bodies(&mut self, moment: &mut Moment<'_>) {
        for id in std::mem::take(&mut self.fills.bodies) {
            let comes = |fill: &Fill| fill.id == id;
            if self.fills.under_way.get(&id.hash).is_some_and(comes) {
                self.fills.bodies.push(id);
                self.look_after_body(id, moment);
            }
        }
    }

    fn look_after_body(&mut self, id: FillId, moment: &mut Moment<'_>) {
        let Some(fill) = self.fills.under_way.get(&id.hash).filter(|fill| fill.id == id) else { return };
        let (pace, claim) = (fill.pace, fill.claim);
        if !pace.is_some_and(|pace| pace.is_slow(moment.now)) {
            return;
        }
        self.stats.count("coalesce", "slow-body");
        self.end_fill(id, FillEnd::TakesLong, moment);
        if let Some(claim) = claim {
            self.end_claim(claim, FillEnd::TakesLong, moment.now);
        }
    }

    /// What is fetched for a hash can be shared after all.
    pub(crate) fn note_shared(&mut self, hash: u128) {
        self.fills.unshared.clear(hash);
    }

    /// As [`Cache::turn`], for a request of the cache's own that lasts so long. It need not wait, however many do: `None` if
    /// another fetches. `Some(None)` if nobody is to wait for it.
    pub(crate) fn turn_to_renew(
        &mut self,
        hash: u128,
        wait: Duration,
        moment: &mut Moment<'_>,
    ) -> Option<Option<FillId>> {
        let bounds =
            Coalesce { enabled: true, wait, waiters: usize::MAX, fleet: false, ..Coalesce::default() };
        match self.turn_among(hash, Asker::default(), &bounds, usize::MAX, moment) {
            Turn::Lead(id) => Some(Some(id)),
            Turn::Alone => Some(None),
            Turn::Wait(fill) => {
                self.end_wait(fill);
                None
            }
        }
    }

    /// `in_all`: most requests of this worker that wait.
    fn turn_among(
        &mut self,
        hash: u128,
        asker: Asker<'_>,
        bounds: &Coalesce,
        in_all: usize,
        moment: &mut Moment<'_>,
    ) -> Turn {
        let now = moment.now;
        if !bounds.enabled || self.is_unshared(hash, &asker, now) {
            return Turn::Alone;
        }
        if let Some(fill) = self.fills.under_way.get(&hash) {
            if now < fill.until {
                return self.wait_for(hash, bounds.waiters, in_all);
            }
            // Its leader is lost, or slower than anybody waits.
            let id = fill.id;
            self.end_fill(id, FillEnd::Abandoned, moment);
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
                self.fills.unshared.note(hash, Extent::Everybody, now);
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
    pub fn end_fill(&mut self, id: FillId, end: FillEnd, moment: &mut Moment<'_>) {
        let hash = id.hash;
        if self.fills.under_way.get(&hash).is_none_or(|fill| fill.id != id) {
            return;
        }
        let Some(fill) = self.fills.remove(hash) else { return };
        if fill.pace.is_some() {
            self.fills.bodies.retain(|other| *other != id);
        }
        let extent = match end {
            FillEnd::NotShared(extent) => Some(extent),
            FillEnd::TakesLong => Some(Extent::Everybody),
            FillEnd::Stored => {
                self.fills.unshared.clear(hash);
                None
            }
            FillEnd::Abandoned => None,
        };
        let nobody_waits = extent.is_some_and(|extent| {
            // Those with other values look again.
            if extent != Extent::Selected {
                self.fills.part(id, matches!(extent, Extent::Identity(_)), moment.now);
            }
            self.fills.unshared.note(hash, extent, moment.now)
        });
        if let Some(token) = fill.lease {
            let until = nobody_waits.then(|| moment.now.plus(UNSHARED_FOR).as_millis());
            // The other workers are told only if one of them waits.
            if self.node.release(moment.host, hash, token, until) {
                self.tell(hash, Change::Replaced, moment);
            }
        }
    }

    /// Whether a fill has not ended.
    pub(crate) fn is_under_way(&self, id: FillId) -> bool {
        self.fills.under_way.get(&id.hash).is_some_and(|fill| fill.id == id)
    }

    /// How many wait for a fill that is under way.
    pub(crate) fn waiting_for(&self, id: FillId) -> usize {
        self.fills.under_way.get(&id.hash).filter(|fill| fill.id == id).map_or(0, |fill| fill.waiting)
    }

    /// A request waits no longer. What the fill has brought is for it, if no store has that.
    pub fn end_wait(&mut self, id: FillId) -> Vec<(u128, Slot)> {
        let hash = id.hash;
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
            return Vec::new();
        }
        self.handed(id)
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
        self.look_after_bodies(moment);
        self.look_after_filling(moment);
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
/// Nobody waits any more for a body that would take so many times longer than the bound, at the pace so far.
const HOPELESS: u32 = 4;
/// Those who waited for a fill are all woken within this time.
const PARTED_FOR: Duration = Duration::from_secs(5);
/// Fills of other workers looked at in one tick.
const LOOKED_AT: usize = 256;

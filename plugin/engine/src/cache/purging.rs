//! What was purged, for this worker's lookups and for the other workers and nodes.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use super::{Cache, Moment};
use crate::insight::numbers;
use crate::purge::log::Verdict;
use crate::purge::spread::{FORGED, Heard, Step, purges_of};
use crate::purge::{EVERY_NAMESPACE, Mode, Purge, What};
use crate::remote::dialect::{Answer, DialectError};
use crate::remote::writes;
use crate::store::Slot;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

/// Purges on their way to the other nodes.
#[derive(Debug)]
pub struct Telling {
    last: Vec<u8>,
    /// Purges that had been dropped before.
    dropped: u64,
}

impl Telling {
    /// Bytes that it keeps.
    pub fn bytes(&self) -> usize {
        self.last.capacity()
    }
}

/// A slot after the purges have had their say.
pub(super) enum Judged {
    /// It may be used, perhaps as a stale one.
    Stands(Slot),
    /// It was purged.
    Gone,
}

impl Cache {
    /// Purges, in every worker and node. By what is returned one sees whether the other nodes have been told; `None` if there
    /// are none.
    pub fn purge(&mut self, what: Vec<What>, mode: Mode, moment: &mut Moment<'_>) -> Option<Telling> {
        let (at, namespace) = (moment.now, self.policy.namespace);
        let purges: Vec<Purge> = what
            .into_iter()
            .map(|what| Purge { what, mode, at, namespace, id: self.purge_ids.next(at) })
            .collect();
        for purge in &purges {
            self.stats.count("purge", purge.what.as_str());
            if mode == Mode::Soft {
                self.stats.count("purge", "soft");
            }
            self.purges.hear(purge.id);
            if self.policy.remote.enabled {
                self.spread.push(purge.encode());
            }
        }
        self.take_in(&purges, moment);
        let last = purges.last().filter(|_| self.policy.remote.enabled)?.encode();
        Some(Telling { last, dropped: self.spread.dropped_ever() })
    }

    /// Whether the other nodes can read these purges now.
    pub fn is_told(&self, telling: &Telling) -> bool {
        // One that was dropped no node will hear of. They are told in the order in which they came.
        self.policy.remote.enabled
            && self.spread.dropped_ever() == telling.dropped
            && self.spread.pending().all(|purge| purge != telling.last)
    }

    /// Whether telling the other nodes is worth waiting for: nothing says that it is in vain.
    pub fn tells_soon(&self, moment: &mut Moment<'_>) -> bool {
        let remote = &self.policy.remote;
        remote.enabled
            && numbers::remote_breaker(moment.host, &self.policy.label) == "closed"
            && writes::read(moment.host, remote) == writes::State::Ok
    }

    /// How many purges of this worker the other nodes have not been told of, and the first of them, at most so many.
    pub fn pending_purges(&self, most: usize) -> (usize, Vec<Purge>) {
        let first = self.spread.pending().take(most).filter_map(|purge| Purge::decode(&purge));
        (self.spread.waiting(), first.collect())
    }

    /// Takes in an entry of purges of another node. What cannot be read may be of anything.
    ///
    /// Whatever clock the other node has, what was asked for before now may be older than the purge. Only a node that
    /// reads old purges at its start takes their own time, and the slack for the clock.
    fn receive_purges(&mut self, entry: &[u8], since: Since, moment: &mut Moment<'_>) {
        if entry == FORGED {
            return;
        }
        let purges: Option<Vec<Purge>> =
            purges_of(entry).and_then(|purges| purges.iter().map(|purge| Purge::decode(purge)).collect());
        let Some(mut purges) = purges else {
            self.stats.count("event", "bad-purge");
            self.purge_unknown(moment.now, moment);
            return;
        };
        // Another worker of this node may have made it, or heard of it, a moment ago.
        self.learn_purges(moment);
        purges.retain(|purge| !self.purges.hear(purge.id));
        for purge in &mut purges {
            if since == Since::Now {
                let took = moment.now.millis_since(purge.at);
                self.stats.sample("propagation_ms", "node", took.into());
            }
            purge.at = match since {
                Since::Now => moment.now,
                Since::Then => purge.at.plus(self.policy.purge.skew).min(moment.now),
            };
        }
        if !purges.is_empty() {
            self.stats.add("purge", "received", purges.len() as u64);
            self.take_in(&purges, moment);
        }
    }

    /// What other nodes purged up to this time is not known: everything of before counts as purged.
    pub fn purge_unknown(&mut self, until: Timestamp, moment: &mut Moment<'_>) {
        self.stats.count("event", "purges-lost");
        let all = Purge { what: What::All, mode: Mode::Hard, at: until, namespace: EVERY_NAMESPACE, id: 0 };
        self.take_in(&[all], moment);
    }

    fn take_in(&mut self, purges: &[Purge], moment: &mut Moment<'_>) {
        for purge in purges {
            self.note_hottest(purge, moment.now);
            self.purges.add(purge);
        }
        self.purge_ring.append(moment.host, purges, moment.now);
        self.changes_to_tell = true;
    }

    /// Takes in what other workers purged. Called when one of them calls, and by tick in case the call was lost.
    pub fn learn_purges(&mut self, moment: &mut Moment<'_>) {
        let news = self.purge_ring.poll(moment.host, moment.now);
        for purge in &news.purges {
            self.stats.sample("propagation_ms", "worker", moment.now.millis_since(purge.at).into());
            self.note_hottest(purge, moment.now);
            self.purges.add(purge);
            self.purges.hear(purge.id);
        }
        if let Some(until) = news.missed_until.filter(|until| *until > Timestamp::default()) {
            self.stats.count("event", "purges-lost");
            self.warm_hottest(moment.now);
            self.purges.raise_floor(until);
        }
    }

    /// What the purges make of a slot found under `hash`.
    #[inline]
    pub(super) fn judged(&mut self, hash: u128, slot: Slot) -> Judged {
        let Slot::Response(stored) = &slot else { return Judged::Stands(slot) };
        match self.purges.judge(stored) {
            Verdict::Stands => Judged::Stands(slot),
            Verdict::Gone => {
                self.table.remove(hash);
                Judged::Gone
            }
            Verdict::Stale { since } => match stale_since(stored, since) {
                None => Judged::Stands(slot),
                Some(stale) => {
                    // Kept, so that the next lookup need not make it again.
                    let slot = Slot::Response(Rc::new(stale));
                    let _ = self.table.insert(hash, slot.clone());
                    Judged::Stands(slot)
                }
            },
        }
    }

    /// Whether a response was purged since it was asked for.
    pub(crate) fn is_purged(&self, stored: &StoredResponse) -> bool {
        self.purges.judge(stored) == Verdict::Gone
    }

    /// Since when a response counts as stale because it was purged softly.
    pub(crate) fn softly_purged(&self, stored: &StoredResponse) -> Option<Timestamp> {
        match self.purges.judge(stored) {
            Verdict::Stale { since } => Some(since),
            Verdict::Stands | Verdict::Gone => None,
        }
    }

    /// Whether a slot holds a response that was purged.
    pub(super) fn holds_purged(&self, slot: &Slot) -> bool {
        matches!(slot, Slot::Response(stored) if self.is_purged(stored))
    }
}

impl Cache {
    /// By tick: whether this worker asks for the purges of other nodes, for which `key` is the place in shared data.
    pub fn tick_purges(&mut self, key: &str, moment: &mut Moment<'_>) {
        self.spread.set_pace(self.policy.node.poll);
        self.spread.tick(moment.host, key, moment.now);
        let dropped = self.spread.take_dropped();
        self.stats.add("purge", "dropped", dropped);
    }

    /// The next call to the remote store for purges.
    pub fn next_purge_step(&mut self, now: Timestamp) -> Option<Step> {
        if self.policy.remote.enabled { self.spread.next(now) } else { None }
    }

    /// A call for purges was answered, or failed.
    pub fn purge_step_ended(
        &mut self,
        step: &Step,
        answer: Result<Answer, DialectError>,
        moment: &mut Moment<'_>,
    ) {
        let (now, skew) = (moment.now, self.policy.purge.skew);
        let answer = self.verified_answer(step, answer, moment);
        let time_of = |entry: &[u8]| {
            let purges = purges_of(entry).unwrap_or_default();
            let newest = purges.iter().filter_map(|purge| Some(Purge::decode(purge)?.at)).max();
            // What another release wrote may mean anything.
            newest.map_or(now, |at| at.plus(skew))
        };
        for heard in self.spread.ended(step, answer, &time_of, now) {
            match heard {
                Heard::New(entry) => self.receive_purges(&entry, Since::Now, moment),
                Heard::Old(entry) => self.receive_purges(&entry, Since::Then, moment),
                Heard::Unknown(until) => self.purge_unknown(until, moment),
                Heard::Told(purges) => self.stats.add("purge", "spread", purges),
            }
        }
    }

    /// Purges that still wait to be told to other nodes, under a configuration that this one replaces.
    pub fn take_over_purges(&mut self, before: &mut Self) {
        if self.policy.remote.enabled {
            self.spread.take_over(std::mem::take(&mut before.spread));
        }
    }

    /// Where the ids of this worker's purges begin: any number that no other worker of the fleet has.
    pub fn seed_purges(&mut self, random: u64) {
        self.purge_ids.last = random;
    }
}

/// Ids of purges.
#[derive(Debug, Default)]
pub(super) struct Ids {
    last: u64,
}

impl Ids {
    /// The next one, which is not 0.
    fn next(&mut self, now: Timestamp) -> u64 {
        self.last = self.last.wrapping_add(1);
        let [last, now] = [self.last, now.as_millis()].map(u64::to_le_bytes);
        xxh3_64(&[last, now].concat()).max(1)
    }
}

/// When a purge of another node counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// From now: it has only just been made.
    Now,
    /// From its own time, by a clock that may differ.
    Then,
}

/// The response as one whose lifetime ended with a purge. `None` if it had ended before.
fn stale_since(stored: &StoredResponse, since: Timestamp) -> Option<StoredResponse> {
    let lifetime = since.since(stored.schedule.born);
    (stored.schedule.lifetime > lifetime).then(|| {
        let mut stale = stored.clone();
        stale.schedule.lifetime = lifetime;
        stale
    })
}

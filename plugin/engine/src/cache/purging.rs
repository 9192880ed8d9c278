//! What was purged, for this worker's lookups and for the other workers and nodes.

use std::rc::Rc;

use super::{Cache, Moment};
use crate::purge::log::Verdict;
use crate::purge::spread::{Heard, Step};
use crate::purge::{EVERY_NAMESPACE, Mode, Purge, What};
use crate::remote::dialect::{Answer, DialectError};
use crate::store::Slot;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

/// A slot after the purges have had their say.
pub(super) enum Judged {
    /// It may be used, perhaps as a stale one.
    Stands(Slot),
    /// It was purged.
    Gone,
}

impl Cache {
    /// Purges, in every worker and node.
    pub fn purge(&mut self, what: Vec<What>, mode: Mode, moment: &mut Moment<'_>) {
        let at = moment.now;
        let namespace = self.policy.namespace;
        let purges: Vec<Purge> = what.into_iter().map(|what| Purge { what, mode, at, namespace }).collect();
        for purge in &purges {
            self.stats.count("purge", purge.what.as_str());
            if mode == Mode::Soft {
                self.stats.count("purge", "soft");
            }
            let bytes = purge.encode();
            self.purges.hear(&bytes);
            if self.policy.remote.enabled {
                self.spread.push(bytes);
            }
        }
        self.take_in(&purges, moment);
    }

    /// Takes in a purge of another node, as it came. One that cannot be read may be of anything.
    ///
    /// Whatever clock the other node has, what was asked for before now may be older than the purge. Only a node that
    /// reads old purges at its start takes their own time, and the slack for the clock.
    pub fn receive_purge(&mut self, bytes: &[u8], since: Since, moment: &mut Moment<'_>) {
        let Some(purge) = Purge::decode(bytes) else {
            self.stats.count("event", "bad-purge");
            self.purge_unknown(moment.now, moment);
            return;
        };
        if self.purges.hear(bytes) {
            return;
        }
        let at = match since {
            Since::Now => moment.now,
            Since::Then => purge.at.plus(self.policy.purge.skew).min(moment.now),
        };
        self.stats.count("purge", "received");
        self.take_in(&[Purge { at, ..purge }], moment);
    }

    /// What other nodes purged up to this time is not known: everything of before counts as purged.
    pub fn purge_unknown(&mut self, until: Timestamp, moment: &mut Moment<'_>) {
        self.stats.count("event", "purges-lost");
        let all = Purge { what: What::All, mode: Mode::Hard, at: until, namespace: EVERY_NAMESPACE };
        self.take_in(&[all], moment);
    }

    fn take_in(&mut self, purges: &[Purge], moment: &mut Moment<'_>) {
        for purge in purges {
            self.purges.add(purge);
        }
        self.purge_ring.append(moment.host, purges, moment.now);
        self.changes_to_tell = true;
    }

    /// Takes in what other workers purged. Called when one of them calls, and by tick in case the call was lost.
    pub fn learn_purges(&mut self, moment: &mut Moment<'_>) {
        let news = self.purge_ring.poll(moment.host, moment.now);
        for purge in &news.purges {
            self.purges.add(purge);
            self.purges.hear(&purge.encode());
        }
        if let Some(until) = news.missed_until.filter(|until| *until > Timestamp::default()) {
            self.stats.count("event", "purges-lost");
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

    /// Whether a slot holds a response that was purged.
    pub(super) fn holds_purged(&self, slot: &Slot) -> bool {
        matches!(slot, Slot::Response(stored) if self.is_purged(stored))
    }
}

impl Cache {
    /// By tick: whether this worker asks for the purges of other nodes, for which `key` is the place in shared data.
    pub fn tick_purges(&mut self, key: &str, moment: &mut Moment<'_>) {
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
        let now = moment.now;
        match (step, answer) {
            (Step::Draw { id }, Ok(Answer::Number(number))) => self.spread.drawn(*id, number),
            (Step::Write { id, .. }, Ok(Answer::Done)) => {
                self.stats.count("purge", "spread");
                self.spread.written(*id);
            }
            (Step::Count, Ok(answer @ (Answer::Value(_) | Answer::Absent))) => {
                let count = match answer {
                    Answer::Value(digits) => {
                        std::str::from_utf8(&digits).ok().and_then(|text| text.parse().ok())
                    }
                    _ => Some(0),
                };
                match count {
                    Some(count) => {
                        let heard = self.spread.counted(count, now);
                        self.hear(heard, moment);
                    }
                    None => self.spread.failed(step, now),
                }
            }
            (Step::Fetch { number }, Ok(Answer::Value(bytes))) => {
                // What another release wrote may mean anything.
                let at = Purge::decode(&bytes).map_or(now, |purge| purge.at.plus(self.policy.purge.skew));
                for heard in self.spread.fetched(*number, Some((bytes, at)), now) {
                    self.hear(heard, moment);
                }
            }
            (Step::Fetch { number }, Ok(Answer::Absent)) => {
                for heard in self.spread.fetched(*number, None, now) {
                    self.hear(heard, moment);
                }
            }
            _ => self.spread.failed(step, now),
        }
    }

    fn hear(&mut self, heard: Heard, moment: &mut Moment<'_>) {
        match heard {
            Heard::Nothing => {}
            Heard::New(bytes) => self.receive_purge(&bytes, Since::Now, moment),
            Heard::Old(bytes) => self.receive_purge(&bytes, Since::Then, moment),
            Heard::Unknown(until) => self.purge_unknown(until, moment),
        }
    }
}

/// When a purge of another node counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
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

//! What this worker fetches before a client asks for it: which URLs wait, what comes of them, and who is told.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Cache, Moment};
use crate::host::IN_BROWSER;
use crate::policy::Policy;
use crate::purge::log::Verdict;
use crate::purge::{EVERY_NAMESPACE, Purge, What};
use crate::store::Slot;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;
use crate::url::Url;
use crate::warm::progress::{self, Left, Progress};
use crate::warm::turn::{Do, Turn};
use crate::warm::{Added, Item, Queue, pace};

/// A worker's warming.
#[derive(Debug)]
pub(super) struct Warming {
    queue: Queue,
    turn: Turn,
    progress: Progress,
    /// What came of the configuration's list.
    of_list: OfList,
    pace_key: String,
    progress_key: String,
}

impl Warming {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            queue: Queue::default(),
            turn: Turn::new(&policy.warm.urls, policy.namespace),
            progress: Progress::default(),
            of_list: OfList::default(),
            pace_key: pace::key(policy.namespace),
            progress_key: progress::key(policy.namespace),
        }
    }
}

/// How often what came of the URLs of the configuration's list.
#[derive(Clone, Copy, Debug, Default)]
struct OfList {
    stored: u64,
    fresh: u64,
    unstored: u64,
    failed: u64,
    refused: u64,
}

/// What came of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warmed {
    /// It was fetched, and is stored.
    Stored,
    /// A fresh response was there.
    Fresh,
    /// It was fetched and not stored, for a reason in the words of `Cache-Status`.
    Unstored(String),
    /// It was fetched and stored, and is not there any more: purged meanwhile, or there is no room.
    NotKept,
    /// The origin failed.
    Failed,
    /// It was to be renewed before it expires, and is renewed already, or gone.
    Overtaken,
    /// It is not fetched at all.
    Refused(&'static str),
}

impl Cache {
    /// By tick: begins with the configuration's list if it is this worker's turn, and shows how far it has come.
    pub fn tick_warming(&mut self, moment: &mut Moment<'_>) {
        let now = moment.now;
        let held = self.warming.turn.holds();
        let finished = held && self.warming.queue.listed() == 0;
        if self.warming.turn.tick(moment.host, finished, now) == Do::Begin {
            let policy = Rc::clone(&self.policy);
            for url in &policy.warm.urls {
                // What a client or an operator has asked for meanwhile is on its way.
                if self.warm(url.clone(), true, now) == Added::Full {
                    self.note_warmed(true, Warmed::Refused("queue-full"));
                }
            }
        }
        if finished && !self.warming.turn.holds() {
            let done = std::mem::take(&mut self.warming.of_list);
            let note = json!({ "event": "warmed", "at_ms": now.as_millis(), "stored": done.stored,
                "fresh": done.fresh, "unstored": done.unstored, "failed": done.failed, "refused": done.refused });
            moment.host.note(&note.to_string());
        }
        self.show_warming(moment);
    }

    /// Queues a URL, to be fetched no earlier than this.
    pub(crate) fn warm(&mut self, url: Url, listed: bool, not_before: Timestamp) -> Added {
        let added = self.warming.queue.add(url, listed, not_before);
        if added == Added::Queued {
            self.stats.count("warm", "queued");
        }
        added
    }

    /// A URL is not taken.
    pub(crate) fn refuse_to_warm(&mut self, why: &'static str) {
        self.note_warmed(false, Warmed::Refused(why));
    }

    /// The URLs of this worker.
    pub(crate) const fn warm_queue(&mut self) -> &mut Queue {
        &mut self.warming.queue
    }

    /// URLs that wait or are under way.
    pub fn warms_left(&self) -> usize {
        self.warming.queue.waiting().saturating_add(self.warming.queue.under_way())
    }

    /// Whether the pace of the node allows one more fetch now. If so, it is counted.
    pub(crate) fn may_warm(&mut self, moment: &mut Moment<'_>) -> bool {
        let per_second = self.policy.warm.per_second;
        pace::may_send(moment.host, &self.warming.pace_key, per_second, moment.now)
    }

    /// A URL is done with, or was fetched in vain.
    pub(crate) fn warmed(&mut self, item: Item, end: Warmed, now: Timestamp) {
        if let Some(ahead) = item.ahead {
            self.warming.queue.end(&item);
            return self.renewed_ahead(&item.url, ahead, &end, now);
        }
        let item = match end {
            Warmed::Failed | Warmed::NotKept => match self.warming.queue.again(item, now) {
                Some(item) => item,
                None => {
                    self.stats.count("warm", "retried");
                    return;
                }
            },
            _ => item,
        };
        self.warming.queue.end(&item);
        self.note_warmed(item.listed, end);
    }

    fn note_warmed(&mut self, listed: bool, end: Warmed) {
        let of_list = &mut self.warming.of_list;
        let (word, reason, counter) = match &end {
            Warmed::Stored => ("stored", "", &mut of_list.stored),
            Warmed::Fresh => ("fresh", "", &mut of_list.fresh),
            Warmed::Unstored(reason) => ("unstored", &**reason, &mut of_list.unstored),
            Warmed::NotKept => ("unstored", "not-kept", &mut of_list.unstored),
            // Nothing of the list is.
            Warmed::Overtaken => ("fresh", "", &mut of_list.fresh),
            Warmed::Failed => ("failed", "", &mut of_list.failed),
            Warmed::Refused(reason) => ("refused", *reason, &mut of_list.refused),
        };
        *counter += u64::from(listed);
        self.stats.count("warm", word);
        self.warming.progress.count(word, reason);
    }

    /// Whether something is stored under a key, in this worker or in the node.
    pub(crate) fn holds(&mut self, hash: u128, key: &[u8], moment: &mut Moment<'_>) -> bool {
        let slot = self.local(hash, key).or_else(|| self.shared(hash, key, moment));
        slot.is_some_and(|slot| !self.holds_purged(&slot))
    }

    /// Whether the node store has something newer than what this worker has under a hash. If so, this worker has it now.
    pub(crate) fn is_renewed_in_node(
        &mut self,
        hash: u128,
        own: &StoredResponse,
        moment: &mut Moment<'_>,
    ) -> bool {
        matches!(self.shared(hash, &own.key, moment), Some(Slot::Response(theirs)) if theirs.schedule.received > own.schedule.received)
    }

    /// How far the workers of this node have come.
    pub(crate) fn warming_progress(&mut self, moment: &mut Moment<'_>) -> Value {
        self.show_warming(moment);
        Progress::tell(moment.host, &self.warming.progress_key, moment.now)
    }

    fn show_warming(&mut self, moment: &mut Moment<'_>) {
        let Warming { queue, progress, progress_key, .. } = &mut self.warming;
        let left = Left { queued: queue.waiting(), under_way: queue.under_way() };
        progress.show(moment.host, progress_key, left, moment.now);
    }

    /// Before a purge counts: if it is of everything, the hottest of what it covers is to be fetched anew.
    pub(super) fn note_hottest(&mut self, purge: &Purge, now: Timestamp) {
        let ours = purge.namespace == self.policy.namespace || purge.namespace == EVERY_NAMESPACE;
        if purge.what == What::All && ours {
            self.warm_hottest(now);
        }
    }

    /// Queues the hottest keys of this worker.
    pub(super) fn warm_hottest(&mut self, now: Timestamp) {
        let most = self.policy.warm.after_purge_all;
        if IN_BROWSER || most == 0 {
            return;
        }
        let purges = &self.purges;
        let hottest = self.table.hottest(most, |slot| {
            let gone = matches!(slot, Slot::Response(stored) if purges.judge(stored) == Verdict::Gone);
            if gone { None } else { Url::of_key(slot.key()) }
        });
        for url in hottest {
            // What is asked for in the millisecond of a purge is covered by it.
            if self.warm(url, false, now.plus(AFTER_PURGE)) == Added::Full {
                self.note_warmed(false, Warmed::Refused("queue-full"));
            }
        }
    }
}

/// Why what has expired meanwhile is not renewed before it does.
pub(crate) const LATE: &str = "late";
const AFTER_PURGE: Duration = Duration::from_millis(1);

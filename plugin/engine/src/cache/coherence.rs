//! Keeps the workers of one Envoy of one mind: what one of them invalidates or replaces, the others must not go on
//! using, and a response that is still on its way must not bring back what was invalidated meanwhile.

use super::{Cache, Mark, Moment};
use crate::remote::queue::Task;
use crate::store::node::Changes;
use crate::time::Timestamp;

/// What a worker tells the others about a key. The log of changes has room for a hash only, so its lowest bit says
/// which it is, and both hashes that differ in that bit alone are meant: an innocent one is at worst fetched again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// What is stored must not be used any more.
    Invalidated,
    /// The node store has something newer.
    Replaced,
}

impl Change {
    pub(super) const fn mark(self, hash: u128) -> u128 {
        match self {
            Self::Invalidated => hash | 1,
            Self::Replaced => hash & !1,
        }
    }

    const fn of(marked: u128) -> Self {
        if marked & 1 == 1 { Self::Invalidated } else { Self::Replaced }
    }

    const fn hashes(marked: u128) -> [u128; 2] {
        [marked | 1, marked & !1]
    }
}

impl Cache {
    /// Makes what is stored under `hash` unusable, variants included, in every worker (RFC 9111 §4.4).
    pub fn invalidate(&mut self, hash: u128, moment: &mut Moment<'_>) {
        self.forget(hash, moment);
        self.invalidations.remember(hash, moment.now);
        if self.policy.remote.enabled {
            self.remote_queue.push(Task::invalidate(hash));
        }
        self.stats.count("event", "invalidated");
        self.tell(hash, Change::Invalidated, moment);
    }

    /// A variant of a key is gone. Others may know it by another index, and so under another hash: the workers look at the
    /// node's again, and what other Envoys have stored is from now on too old to be taken in.
    pub fn refuse_older_of_others(&mut self, key: u128, moment: &mut Moment<'_>) {
        self.tell(key, Change::Replaced, moment);
        if self.policy.remote.enabled {
            self.invalidations.remember(key ^ OF_OTHERS, moment.now);
            self.tell(key ^ OF_OTHERS, Change::Invalidated, moment);
        }
    }

    /// Whether what was asked for at `requested` is too old to be taken in from other Envoys.
    pub(super) fn refuses_of_others(&self, key: u128, requested: Timestamp) -> bool {
        self.invalidated_since(key, requested) || self.invalidated_since(key ^ OF_OTHERS, requested)
    }

    /// Whether the key was invalidated after `requested`: a response to a request of before must not be stored.
    pub fn invalidated_since(&self, hash: u128, requested: Timestamp) -> bool {
        self.invalidations.contains(hash, requested)
    }

    /// Up to where invalidations are known: for what is found in a store now.
    pub(crate) const fn known_invalidations(&self) -> Mark {
        self.invalidations.mark()
    }

    /// Whether a response that was received at a time, and found in a store at a mark, was invalidated since.
    pub(crate) fn invalidated_since_found(&self, hash: u128, received: Timestamp, found: Mark) -> bool {
        self.invalidations.contains_since_found(hash, received, found)
    }

    /// Writes a change down for the other workers.
    pub(super) fn tell(&mut self, hash: u128, change: Change, moment: &mut Moment<'_>) {
        self.node.append_change(moment.host, change.mark(hash), moment.now.as_millis());
        self.changes_to_tell = true;
    }

    /// Whether the other workers should be woken to read what changed. Asking clears it.
    pub fn take_changes_to_tell(&mut self) -> bool {
        std::mem::take(&mut self.changes_to_tell)
    }

    /// Applies what other workers changed. Called when one of them calls, and now and then in case the call was lost.
    pub fn learn(&mut self, moment: &mut Moment<'_>) {
        let put = std::mem::take(&mut self.put_since_learning);
        match self.node.poll_changes(moment.host) {
            Changes::None => {}
            Changes::Keys(keys) => {
                for (marked, at) in keys {
                    for hash in Change::hashes(marked) {
                        self.table.remove(hash);
                        self.wake_for(hash);
                        if Change::of(marked) == Change::Replaced {
                            continue;
                        }
                        // What this worker put after it last looked may be older than the invalidation.
                        if put.contains(&hash) {
                            self.node.remove(moment.host, hash, moment.now.as_millis());
                        }
                        self.invalidations.remember(hash, Timestamp::from_millis(at));
                    }
                }
            }
            Changes::Lost => {
                self.stats.count("event", "changes-lost");
                self.table.clear();
                self.wake_all_foreign();
                self.invalidations.lost(moment.now);
                for hash in put {
                    self.node.remove(moment.host, hash, moment.now.as_millis());
                }
            }
        }
    }
}

/// Makes of a key's hash the one that stands for what other Envoys have of it. The lowest bit is the mark's.
const OF_OTHERS: u128 = 0x6f66_206f_7468_6572_732c_206f_6c64_6572;

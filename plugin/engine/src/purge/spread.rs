//! Tells the other nodes of purges, through the remote store: a log of entries under the numbers 1, 2, 3 and so on, each
//! kept for a day, and a hint that says which number is the last.
//!
//! **Writing.** Whoever accepts purges adds an entry under the number after the last that it knows of, unless there is
//! one. If there is, it is read: its own, so an earlier try came through and its answer was lost; or another's, which is
//! news, and the next number is tried. A number is tried until it is answered, and no other before that, so the log has
//! no holes, however many answers are lost. Purges that wait meanwhile travel together.
//!
//! **Reading.** One worker of each node asks at every tick, or as often as `node.poll` says if that is less often, for the entry
//! after the last that it has read. If it is there, it takes it in and asks for the next; if not, there is nothing new. Nothing
//! is skipped, so nothing is unknown.
//!
//! **The hint** is for nodes that start, and for those that were left behind. Each writer sets it, and the reader of every
//! node looks at it each second (where it reads at every tick, in the place of one reading), and sets it where it is behind: after the store was emptied, after it was evicted, and
//! where two writers overtook each other. It may be behind, never ahead: what it names was written. A node that starts
//! reads the last [`MOST_AT_ONCE`] entries up to the hint; if there were more before, what is older than the oldest that
//! it could read counts as purged.
//!
//! **A store that mixes up.** webdis may give an answer to the wrong call. So an entry has its number in it, and what is no entry
//! of the number that was asked for is asked for again: only who gets the same twice believes that it is there.
//!
//! **A store that forgets.** Each worker looks for a minute after what it wrote or read, and adds it again where it is
//! gone (`keeping`). If the hint is ahead and the next entry is missing for [`PATIENCE`] all the same, or the hint is
//! further ahead than a node can read, the node goes on at the hint, and everything of before counts as purged. What was
//! written lately under the numbers that it skipped is written again: who starts while the store is empty may have begun
//! at 1. Who has not been answered for [`FORGOTTEN_AFTER`] starts anew.

mod entry;
mod keeping;
mod outgoing;
mod place;
mod reading;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use entry::{FORGED, LONGEST_WRITTEN, purges_of};
pub(crate) use entry::{numbered, of_number};
use keeping::Keeping;
use outgoing::Outgoing;
use place::Place;
use reading::Reading;

use xxhash_rust::xxh3::xxh3_64;

use crate::host::SharedData;
use crate::remote::dialect::{Answer, last_purge_key, purge_key};
use crate::time::Timestamp;

/// What one worker has to tell and to ask.
#[derive(Debug, Default)]
pub struct Spread {
    outgoing: Outgoing,
    reading: Reading,
    keeping: Keeping,
    /// How often it reads at most.
    pace: Duration,
    /// What the hint is to say.
    hint: Option<u64>,
    /// The number whose answer was no entry of it, and a hash of that answer.
    doubted: Option<(u64, u64)>,
}

/// A call to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write an entry under a number, unless there is one.
    Add {
        /// The number.
        number: u64,
        /// The entry: letters and digits.
        text: String,
        /// For whom.
        by: By,
    },
    /// Ask for the entry of a number.
    Read {
        /// The number.
        number: u64,
        /// For whom.
        by: By,
    },
    /// Ask for the hint.
    Last {
        /// For whom.
        by: By,
    },
    /// Set the hint.
    Hint {
        /// The last number.
        number: u64,
    },
}

impl Step {
    /// The Redis key that it is about.
    pub fn key(&self, prefix: &str) -> String {
        match self {
            Self::Add { number, .. } | Self::Read { number, .. } => purge_key(prefix, *number),
            Self::Last { .. } | Self::Hint { .. } => last_purge_key(prefix),
        }
    }
}

/// The part of a worker that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The one that writes this worker's purges.
    Writer,
    /// The one that reads for its node.
    Reader,
    /// The one that looks after what is there.
    Keeper,
}

/// What is to be done about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Take this entry in; it was only just made.
    New(Vec<u8>),
    /// Take this entry in; it may be old.
    Old(Vec<u8>),
    /// Everything of this time or before may have been purged.
    Unknown(Timestamp),
    /// So many purges of this worker are there for the others now.
    Told(u64),
}

impl Spread {
    /// Whether what is under a number is to be asked for once more, since the answer is no entry of it: unless that has come
    /// twice.
    pub fn doubts(&mut self, number: u64, answer: &[u8]) -> bool {
        let this = Some((number, xxh3_64(answer)));
        let first = self.doubted != this;
        self.doubted = this.filter(|_| first);
        first
    }

    /// Tells the other nodes of a purge. When too many wait the oldest is dropped, and counted.
    pub fn push(&mut self, purge: Vec<u8>) {
        self.outgoing.push(purge);
    }

    /// Takes over the purges that still wait under a configuration that is replaced.
    pub fn take_over(&mut self, before: Self) {
        self.outgoing.take_over(before.outgoing);
    }

    /// Purges that were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        self.outgoing.take_dropped()
    }

    /// Purges that the other nodes have not been told of.
    pub fn waiting(&self) -> usize {
        self.outgoing.waiting()
    }

    /// The same, the first that will be told first.
    pub fn pending(&self) -> impl Iterator<Item = Vec<u8>> {
        self.outgoing.pending()
    }

    /// Purges that were dropped so far.
    pub const fn dropped_ever(&self) -> u64 {
        self.outgoing.dropped_ever()
    }

    /// How often it reads at most; at every tick if that is less often.
    pub fn set_pace(&mut self, every: Duration) {
        self.pace = every;
    }

    /// By tick: whether this worker is the one that reads for its node is looked after in shared data.
    pub fn tick(&mut self, data: &mut dyn SharedData, key: &str, now: Timestamp) {
        let place = self.reading.tick(data, key, self.pace, now);
        self.learn(&place);
        self.keeping.tick(now);
    }

    fn learn(&mut self, place: &Place) {
        if self.outgoing.learn(place) {
            for entry in self.keeping.take_skipped(place.skipped).iter().rev() {
                self.outgoing.again(entry);
            }
        }
    }

    /// The next call to make. Costs next to nothing when there is none.
    pub fn next(&mut self, now: Timestamp) -> Option<Step> {
        if let Some(step) = self.outgoing.next(now) {
            return Some(step);
        }
        if let Some(number) = self.hint.take() {
            return Some(Step::Hint { number });
        }
        self.reading.next(now).or_else(|| self.keeping.next(now))
    }

    /// A call was answered, or failed: then it is made again a little later.
    ///
    /// `time_of` says when the newest purge of an entry was made.
    pub fn ended(
        &mut self,
        step: &Step,
        answer: Option<Answer>,
        time_of: &dyn Fn(&[u8]) -> Timestamp,
        now: Timestamp,
    ) -> Vec<Heard> {
        match step {
            // Whoever reads sets it again.
            Step::Hint { .. } => Vec::new(),
            Step::Add { by: By::Writer, .. }
            | Step::Read { by: By::Writer, .. }
            | Step::Last { by: By::Writer } => {
                let kept = match (step, &answer) {
                    (Step::Add { number, text, .. }, _) => self.keeping.holds(*number, text.as_bytes()),
                    (Step::Read { number, .. }, Some(Answer::Value(text))) => {
                        self.keeping.holds(*number, text)
                    }
                    _ => false,
                };
                let outcome = self.outgoing.ended(step, answer, kept, now);
                if let Some((number, text)) = outcome.passed {
                    self.reading.passed(number);
                    self.keeping.note(number, &text, now);
                }
                if let Some(Heard::Told(_)) = outcome.heard {
                    self.hint = self.outgoing.last();
                }
                outcome.heard.into_iter().collect()
            }
            Step::Add { .. } | Step::Read { by: By::Keeper, .. } => {
                let outcome = self.keeping.ended(step, answer, now);
                if let Some(entry) = outcome.again {
                    self.outgoing.again(&entry);
                }
                outcome.heard.into_iter().collect()
            }
            Step::Read { .. } | Step::Last { .. } => {
                let heard = self.reading.ended(step, answer, time_of, now);
                if let (Step::Read { number, .. }, [Heard::New(text)]) = (step, &heard[..]) {
                    self.keeping.note(*number, text, now);
                }
                self.hint = self.hint.max(self.reading.take_hint());
                if let Some(place) = self.reading.place() {
                    self.learn(&place);
                }
                heard
            }
        }
    }
}

/// The number in a hint; 0 for anything else, which is set right like a hint that is missing.
fn number_of(hint: Option<Vec<u8>>) -> u64 {
    let digits = hint.and_then(|bytes| String::from_utf8(bytes).ok());
    digits.and_then(|text| text.parse().ok()).filter(|number| *number <= LARGEST).unwrap_or(0)
}

/// How long an entry, and the hint, are kept in the remote store.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Entries that a node reads at its start, and that a writer walks over before it asks for the hint.
pub const MOST_AT_ONCE: u64 = 64;
/// How long the next entry may be missing while the hint is ahead.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Who has not been answered for so long knows nothing any more. Far less than a day: what it would ask for must be there.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// The longest entry, in bytes: of the longest purge.
pub const LONGEST_ENTRY: usize = 8192;
/// No log gets so far.
const LARGEST: u64 = 1 << 62;
const RETRY: Duration = Duration::from_millis(50);

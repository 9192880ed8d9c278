//! Purges of this worker on their way into the log, one entry after the other.

use std::collections::VecDeque;

use super::entry::{purges_of, take_entry};
use super::place::Place;
use super::{By, FORGOTTEN_AFTER, Heard, MOST_AT_ONCE, RETRY, Step, number_of};
use crate::remote::dialect::Answer;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Vec<u8>>,
    dropped: u64,
    dropped_ever: u64,
    entry: Option<Entry>,
    /// The last number that is known to be taken, and when that was so.
    last: Option<u64>,
    known_at: Timestamp,
    /// Numbers up to this one may have been skipped by this node, and so by others.
    skipped: u64,
}

/// The entry that is being written.
#[derive(Debug)]
struct Entry {
    text: String,
    purges: u64,
    next: Next,
    /// The number that was tried: it may hold this entry, whatever was answered.
    tried: Option<u64>,
    /// Numbers that were taken.
    walked: u64,
    under_way: bool,
    not_before: Timestamp,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Add it under the number, or the one after the last.
    Add,
    /// See what is there.
    Read,
    /// Ask which number is the last.
    Last,
}

/// What an answer means for the rest of the worker.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub heard: Option<Heard>,
    /// What is under this number is known now.
    pub passed: Option<(u64, Vec<u8>)>,
}

impl Outgoing {
    pub(super) fn push(&mut self, purge: Vec<u8>) {
        if self.waiting.len() >= MOST_OUTGOING {
            self.waiting.pop_front();
            self.dropped += 1;
            self.dropped_ever += 1;
        }
        self.waiting.push_back(purge);
    }

    /// Purges that are not known to be written.
    pub(super) fn waiting(&self) -> usize {
        let purges = self.entry.as_ref().map_or(0, |entry| entry.purges);
        self.waiting.len().saturating_add(usize::try_from(purges).unwrap_or(usize::MAX))
    }

    /// The same, the first that will be written first.
    pub(super) fn pending(&self) -> impl Iterator<Item = Vec<u8>> {
        let entry = self.entry.as_ref().and_then(|entry| purges_of(entry.text.as_bytes()));
        entry.unwrap_or_default().into_iter().chain(self.waiting.iter().cloned())
    }

    /// Purges that were dropped so far.
    pub(super) const fn dropped_ever(&self) -> u64 {
        self.dropped_ever
    }

    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    pub(super) const fn last(&self) -> Option<u64> {
        self.last
    }

    /// Takes in how far this node has read. Whether it has skipped some since the last time.
    pub(super) fn learn(&mut self, place: &Place) -> bool {
        if place.cursor.is_some() {
            self.last = self.last.max(place.cursor);
            self.known_at = self.known_at.max(place.read_at);
        }
        let skipped = place.skipped > self.skipped;
        self.skipped = self.skipped.max(place.skipped);
        skipped
    }

    /// An entry that others may have skipped is written again, before what waits.
    pub(super) fn again(&mut self, entry: &[u8]) {
        for purge in purges_of(entry).unwrap_or_default().into_iter().rev() {
            self.waiting.push_front(purge);
        }
    }

    /// Takes over what waits for another configuration, whose log may be another.
    pub(super) fn take_over(&mut self, mut before: Self) {
        if let Some(entry) = before.entry.take() {
            before.again(entry.text.as_bytes());
        }
        before.waiting.into_iter().for_each(|purge| self.push(purge));
    }

    pub(super) fn next(&mut self, now: Timestamp) -> Option<Step> {
        if self.entry.is_none() {
            let (text, purges) = take_entry(&mut self.waiting)?;
            let next = Next::Add;
            self.entry = Some(Entry {
                text,
                purges,
                next,
                tried: None,
                walked: 0,
                under_way: false,
                not_before: Timestamp::default(),
                failures: 0,
            });
        }
        let known = self.last.filter(|_| now.since(self.known_at) <= FORGOTTEN_AFTER);
        let entry = self.entry.as_mut().filter(|entry| !entry.under_way && entry.not_before <= now)?;
        entry.under_way = true;
        let number = match (entry.next, entry.tried, known) {
            (Next::Add | Next::Read, Some(tried), _) => tried,
            (Next::Add | Next::Read, None, Some(last)) => last.saturating_add(1),
            _ => return Some(Step::Last { by: By::Writer }),
        };
        entry.tried = Some(number);
        Some(match entry.next {
            Next::Read => Step::Read { number, by: By::Writer },
            _ => Step::Add { number, text: entry.text.clone(), by: By::Writer },
        })
    }

    /// `kept`: this worker has seen the entry that the step or the answer holds under its number.
    pub(super) fn ended(
        &mut self,
        step: &Step,
        answer: Option<Answer>,
        kept: bool,
        now: Timestamp,
    ) -> Outcome {
        // Another one may be of a configuration before.
        let Some(entry) = self.entry.as_mut().filter(|entry| entry.awaits(step)) else {
            return Outcome::default();
        };
        entry.under_way = false;
        match (step, answer) {
            (Step::Last { .. }, Some(answer @ (Answer::Value(_) | Answer::Absent))) => {
                let number = match answer {
                    Answer::Value(hint) => number_of(Some(hint)),
                    _ => 0,
                };
                entry.next = Next::Add;
                self.know(number, now);
                Outcome::default()
            }
            (Step::Add { number, .. }, Some(Answer::Done)) => self.is_written(*number, kept, now),
            (Step::Add { .. }, Some(Answer::Absent)) => {
                entry.next = Next::Read;
                Outcome::default()
            }
            (Step::Read { number, .. }, Some(Answer::Value(text))) if text == entry.text.as_bytes() => {
                self.is_written(*number, kept, now)
            }
            (Step::Read { number, .. }, Some(Answer::Value(text))) => {
                entry.tried = None;
                entry.failures = 0;
                entry.walked += 1;
                let far = entry.walked.is_multiple_of(MOST_AT_ONCE);
                entry.next = if far { Next::Last } else { Next::Add };
                self.know(*number, now);
                Outcome { heard: Some(Heard::New(text.clone())), passed: Some((*number, text)) }
            }
            (Step::Read { .. }, Some(Answer::Absent)) => {
                // It has gone since, or a replica does not have it yet.
                entry.next = Next::Add;
                entry.fail(now);
                Outcome::default()
            }
            _ => {
                entry.fail(now);
                Outcome::default()
            }
        }
    }

    fn know(&mut self, number: u64, now: Timestamp) {
        self.last = self.last.max(Some(number));
        self.known_at = self.known_at.max(now);
    }

    fn is_written(&mut self, number: u64, kept: bool, now: Timestamp) -> Outcome {
        let Some(Entry { text, purges, .. }) = self.entry.take() else { return Outcome::default() };
        if !kept && self.last.is_some_and(|last| number <= last) {
            // Perhaps the store has forgotten what others read there, and they do not look there again.
            self.again(text.as_bytes());
            return Outcome::default();
        }
        self.know(number, now);
        Outcome { heard: Some(Heard::Told(purges)), passed: Some((number, text.into_bytes())) }
    }
}

impl Entry {
    fn awaits(&self, step: &Step) -> bool {
        self.under_way
            && match step {
                Step::Add { text, .. } => self.next == Next::Add && *text == self.text,
                Step::Read { number, .. } => self.next == Next::Read && self.tried == Some(*number),
                _ => self.tried.is_none(),
            }
    }

    fn fail(&mut self, now: Timestamp) {
        // Up to three seconds: a store that is away must not be swamped when it comes back.
        self.not_before = now.plus(RETRY.saturating_mul(1 << self.failures.min(6)));
        self.failures = self.failures.saturating_add(1);
    }
}

/// Purges of a worker that wait to be told.
const MOST_OUTGOING: usize = 4096;

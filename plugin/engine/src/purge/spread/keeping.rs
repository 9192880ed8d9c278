//! What this worker wrote or read lately stays in the log, also where the store forgets it.
//!
//! While there is such an entry, each second the last one that was found to be there is looked at, and then those that
//! are newer. If one is gone, or another is in its place, the store was emptied, or has failed over to a copy that was
//! behind: then each is added again under its number, and where another has taken the number, that is news, and ours goes
//! to the end of the log.

use std::collections::VecDeque;
use std::time::Duration;

use super::{By, Heard, RETRY, Step};
use crate::remote::dialect::Answer;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// In the order of their numbers.
    recent: VecDeque<Recent>,
    /// The next number to look at, and the one that is being looked at.
    look: Option<u64>,
    looking: Option<u64>,
    look_at: Timestamp,
    /// When the last look round began, and the last entry that was found to be there.
    looked_at: Timestamp,
    found: u64,
    /// Numbers to add again.
    queue: VecDeque<u64>,
    /// Whether the first of them is taken, and to be read.
    taken: bool,
    under_way: bool,
    not_before: Timestamp,
}

#[derive(Debug)]
struct Recent {
    number: u64,
    at: Timestamp,
    text: Vec<u8>,
}

/// What an answer means for the rest of the worker.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub heard: Option<Heard>,
    /// An entry to write again at the end of the log.
    pub again: Option<Vec<u8>>,
}

impl Keeping {
    /// This is under a number of the log. What is no entry, whoever has put it there, is not written again.
    pub(super) fn note(&mut self, number: u64, text: &[u8], now: Timestamp) {
        if !text.iter().all(u8::is_ascii_alphanumeric) {
            return;
        }
        if self.recent.is_empty() {
            self.look_at = now.plus(LOOK_EVERY);
        }
        let place = self.recent.partition_point(|recent| recent.number < number);
        if self.recent.get(place).is_some_and(|recent| recent.number == number) {
            return;
        }
        self.recent.insert(place, Recent { number, at: now, text: text.to_vec() });
        if self.recent.len() > MOST {
            self.recent.pop_front();
        }
    }

    /// Whether this is known to be under a number.
    pub(super) fn holds(&self, number: u64, text: &[u8]) -> bool {
        self.recent.iter().any(|recent| recent.number == number && recent.text == text)
    }

    /// Takes out what others may have skipped: entries up to this number.
    pub(super) fn take_skipped(&mut self, number: u64) -> Vec<Vec<u8>> {
        let (skipped, stay) = self.recent.drain(..).partition(|recent: &Recent| recent.number <= number);
        self.recent = stay;
        let skipped: VecDeque<Recent> = skipped;
        skipped.into_iter().map(|recent| recent.text).collect()
    }

    pub(super) fn tick(&mut self, now: Timestamp) {
        while self.recent.front().is_some_and(|first| now.since(first.at) > REMEMBERED_FOR) {
            self.recent.pop_front();
        }
        if now >= self.look_at && self.queue.is_empty() && self.looking.is_none() {
            self.look_at = now.plus(LOOK_EVERY);
            self.looked_at = now;
            self.look = self.to_look_at(self.found);
        }
    }

    /// The first entry from this number on, unless it has only just come.
    fn to_look_at(&self, from: u64) -> Option<u64> {
        let next = self.recent.iter().find(|recent| recent.number >= from);
        next.filter(|next| next.at < self.looked_at).map(|next| next.number)
    }

    pub(super) fn next(&mut self, now: Timestamp) -> Option<Step> {
        if let Some(number) = self.look.take() {
            self.looking = Some(number);
            return Some(Step::Read { number, by: By::Keeper });
        }
        if self.under_way || self.not_before > now {
            return None;
        }
        while let Some(number) = self.queue.front().copied() {
            if let Some(recent) = self.recent.iter().find(|recent| recent.number == number) {
                self.under_way = true;
                return Some(if self.taken {
                    Step::Read { number, by: By::Keeper }
                } else {
                    let text = String::from_utf8_lossy(&recent.text).into_owned();
                    Step::Add { number, text, by: By::Keeper }
                });
            }
            self.done();
        }
        None
    }

    /// Goes on with the next number.
    fn done(&mut self) {
        self.queue.pop_front();
        self.taken = false;
    }

    pub(super) fn ended(&mut self, step: &Step, answer: Option<Answer>, now: Timestamp) -> Outcome {
        let (Step::Add { number, .. } | Step::Read { number, .. }) = step else { return Outcome::default() };
        if self.looking == Some(*number) {
            self.looking = None;
            return Outcome { heard: self.looked(*number, answer), again: None };
        }
        if !self.under_way || self.queue.front() != Some(number) {
            return Outcome::default();
        }
        self.under_way = false;
        match (answer, self.taken) {
            (Some(Answer::Done), false) => self.done(),
            (Some(Answer::Absent), taken) => self.taken = !taken,
            (Some(Answer::Value(text)), true) => {
                self.done();
                let own = self.recent.iter().find(|recent| recent.number == *number);
                let own = own.filter(|recent| recent.text != text).map(|recent| recent.text.clone());
                let heard = own.is_some().then_some(Heard::New(text));
                if own.is_some() {
                    // It gets another number, and is looked after there.
                    self.recent.retain(|recent| recent.number != *number);
                }
                return Outcome { heard, again: own };
            }
            _ => self.not_before = now.plus(RETRY),
        }
        Outcome::default()
    }

    /// What is under a number that was looked at.
    fn looked(&mut self, number: u64, answer: Option<Answer>) -> Option<Heard> {
        let recent = self.recent.iter().find(|recent| recent.number == number)?;
        let heard = match answer {
            Some(Answer::Value(text)) if text == recent.text => {
                self.found = number;
                self.look = self.to_look_at(number.saturating_add(1));
                return None;
            }
            Some(Answer::Value(text)) => Some(Heard::New(text)),
            Some(Answer::Absent) => None,
            _ => return None,
        };
        self.queue = self.recent.iter().map(|recent| recent.number).collect();
        self.taken = false;
        heard
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long, and how many, entries are remembered: longer than anybody is behind who was not cut off.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
const MOST: usize = 128;

//! The part of a worker that reads the log for its node.

use std::collections::BTreeMap;
use std::time::Duration;

use super::place::Place;
use super::{By, FORGOTTEN_AFTER, Heard, KEPT_FOR, MOST_AT_ONCE, PATIENCE, RETRY, Step, number_of};
use crate::host::leadership::{Leadership, Whose};
use crate::host::{ABSENT, SharedData};
use crate::remote::dialect::Answer;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Whether it is this worker that reads.
    leadership: Leadership,
    /// What the others know of its cursor.
    shown: Option<u64>,
    /// Entries up to this one are done or wanted; `None` at the start of a node.
    cursor: Option<u64>,
    skipped: u64,
    read_at: Timestamp,
    start: Option<Start>,
    /// Whether the entry after the cursor is to be asked for, and which one is.
    due: bool,
    under_way: Option<u64>,
    /// When one was last to be asked for by tick, and when the next one is.
    due_at: Timestamp,
    next_at: Timestamp,
    /// Entries that may still be asked for before the next tick.
    left: u32,
    look: Asking,
    look_at: Timestamp,
    /// The last number as the hint had it.
    hint: u64,
    /// Since when the hint is ahead and the next entry is missing.
    stuck_since: Option<Timestamp>,
    /// What the hint is to be.
    to_tell: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asking {
    #[default]
    No,
    Due,
    UnderWay,
}

/// What the first reading of a node has found.
#[derive(Debug, Default)]
struct Start {
    wanted: BTreeMap<u64, Wanted>,
    more_before: bool,
    last_absent: Option<u64>,
    times: BTreeMap<u64, Timestamp>,
}

#[derive(Debug, Default)]
struct Wanted {
    not_before: Timestamp,
    under_way: bool,
}

impl Reading {
    /// Looks after who reads, and returns how far that is. It reads at every tick, but no more often than `every`.
    pub(super) fn tick(
        &mut self,
        data: &mut dyn SharedData,
        key: &str,
        every: Duration,
        now: Timestamp,
    ) -> Place {
        if let Some(place) = self.hold(data, key, now) {
            return place;
        }
        if self.cursor.is_some() && now.since(self.read_at) > FORGOTTEN_AFTER {
            // What it read before stays known.
            *self = Self {
                leadership: std::mem::take(&mut self.leadership),
                skipped: self.skipped,
                ..Self::default()
            };
        }
        self.left = MOST_BY_TICK;
        let looks = self.look == Asking::No && now >= self.look_at;
        if looks {
            self.look = Asking::Due;
            self.look_at = now.plus(LOOK_EVERY);
        }
        // A moment far off is of a clock that was set back.
        let reads = now >= self.next_at || self.next_at.since(now) > every;
        // An idle fleet asks for little else: a hint says as well whether there is news, if it is not behind, and the next
        // tick reads whatever it says.
        let just_read = now.since(self.due_at) <= JUST_NOW;
        if reads && !(looks && just_read && self.start.is_none()) {
            self.due = true;
            self.due_at = now;
            self.next_at = now.plus(every.saturating_sub(TICK));
        }
        self.shown()
    }

    /// How far it has read, if it is the one that does.
    pub(super) fn place(&self) -> Option<Place> {
        self.leadership.is_own().then(|| self.shown())
    }

    fn shown(&self) -> Place {
        let Self { cursor, skipped, read_at, .. } = *self;
        // Who takes over a start begins it anew.
        let cursor = cursor.filter(|_| self.start.is_none());
        Place { cursor, skipped, read_at, ..Place::default() }
    }

    /// The place, if another holds it.
    fn hold(&mut self, data: &mut dyn SharedData, key: &str, now: Timestamp) -> Option<Place> {
        let shown = self.shown();
        if self.leadership.is_own() && !self.leadership.is_to_be_shown(now) && shown.cursor == self.shown {
            return None;
        }
        let (place, cas) = match data.get(key) {
            None => (Place::default(), ABSENT),
            Some((bytes, cas)) => (Place::decode(&bytes).unwrap_or_default(), cas),
        };
        match self.leadership.whose(place.holder, now) {
            Whose::Own => {}
            Whose::Anothers => {
                *self = Self::default();
                return Some(place);
            }
            Whose::Nobodys => {
                let Place { cursor, skipped, read_at, .. } = place;
                *self = Self { cursor, skipped, read_at, ..Self::default() };
            }
        }
        let shown = self.shown();
        self.shown = shown.cursor;
        if self.leadership.take(data, key, cas, |holder| Place { holder, ..shown }.encode(), now) {
            return None;
        }
        *self = Self::default();
        Some(place)
    }

    pub(super) fn next(&mut self, now: Timestamp) -> Option<Step> {
        if self.look == Asking::Due {
            self.look = Asking::UnderWay;
            return Some(Step::Last { by: By::Reader });
        }
        let cursor = self.cursor?;
        let read = |number| Some(Step::Read { number, by: By::Reader });
        if let Some(start) = &mut self.start {
            let due = |(_, wanted): &(&u64, &mut Wanted)| !wanted.under_way && wanted.not_before <= now;
            let (number, wanted) = start.wanted.iter_mut().find(due)?;
            wanted.under_way = true;
            return read(*number);
        }
        if !self.due || self.under_way.is_some() {
            return None;
        }
        self.due = false;
        self.under_way = Some(cursor.saturating_add(1));
        read(cursor.saturating_add(1))
    }

    /// What the hint is to be, if that is not what it is.
    pub(super) fn take_hint(&mut self) -> Option<u64> {
        self.to_tell.take()
    }

    /// Another part of the worker knows what is under this number.
    pub(super) fn passed(&mut self, number: u64) {
        if self.start.is_none() && self.cursor.is_some_and(|cursor| cursor.saturating_add(1) == number) {
            self.advance(number);
        }
    }

    fn advance(&mut self, number: u64) {
        self.cursor = Some(number);
        self.stuck_since = None;
    }

    pub(super) fn ended(
        &mut self,
        step: &Step,
        answer: Option<Answer>,
        time_of: &dyn Fn(&[u8]) -> Timestamp,
        now: Timestamp,
    ) -> Vec<Heard> {
        if !self.leadership.is_own() {
            return Vec::new();
        }
        let value = match answer {
            Some(Answer::Value(value)) => Some(value),
            Some(Answer::Absent) => None,
            _ => {
                self.failed(step, now);
                return Vec::new();
            }
        };
        self.read_at = self.read_at.max(now);
        match step {
            Step::Read { number, .. } if self.start.is_some() => self.found(*number, value, time_of, now),
            Step::Read { number, .. } => self.read(*number, value, now).into_iter().collect(),
            _ => {
                self.look = Asking::No;
                self.looked(number_of(value), now).into_iter().collect()
            }
        }
    }

    fn failed(&mut self, step: &Step, now: Timestamp) {
        match (step, &mut self.start) {
            (Step::Read { number, .. }, Some(start)) => {
                if let Some(wanted) = start.wanted.get_mut(number) {
                    *wanted = Wanted { under_way: false, not_before: now.plus(RETRY) };
                }
            }
            (Step::Read { number, .. }, None) if self.under_way == Some(*number) => self.under_way = None,
            (Step::Read { .. }, None) => {}
            _ => {
                self.look = Asking::No;
                if self.cursor.is_none() {
                    self.look_at = now;
                }
            }
        }
    }

    /// The hint says that this is the last number; 0 if there is none.
    fn looked(&mut self, hint: u64, now: Timestamp) -> Option<Heard> {
        self.hint = hint;
        let Some(cursor) = self.cursor else {
            let before = hint.saturating_sub(MOST_AT_ONCE);
            let wanted: BTreeMap<u64, Wanted> =
                (before.saturating_add(1)..=hint).map(|number| (number, Wanted::default())).collect();
            let start = Start { wanted, more_before: before > 0, ..Start::default() };
            self.start = (!start.wanted.is_empty()).then_some(start);
            self.cursor = Some(hint);
            self.skipped = self.skipped.max(hint);
            return None;
        };
        if hint <= cursor {
            self.stuck_since = None;
            self.to_tell = (hint < cursor).then_some(cursor);
            return None;
        }
        self.due = self.left > 0;
        (hint.saturating_sub(cursor) > MOST_BEHIND && self.start.is_none()).then(|| self.skip(now))
    }

    /// Goes on at the hint.
    fn skip(&mut self, now: Timestamp) -> Heard {
        self.cursor = Some(self.hint);
        self.skipped = self.skipped.max(self.hint);
        self.stuck_since = None;
        self.due = self.left > 0;
        Heard::Unknown(now)
    }

    /// What is under the number after the cursor.
    fn read(&mut self, number: u64, value: Option<Vec<u8>>, now: Timestamp) -> Option<Heard> {
        let cursor = self.cursor?;
        if self.under_way != Some(number) {
            return None;
        }
        self.under_way = None;
        if number != cursor.saturating_add(1) {
            // Another part of the worker was faster.
            self.due = self.left > 0;
            return None;
        }
        if let Some(text) = value {
            self.advance(number);
            self.left = self.left.saturating_sub(1);
            self.due = self.left > 0;
            return Some(Heard::New(text));
        }
        if self.hint <= cursor {
            return None;
        }
        let since = *self.stuck_since.get_or_insert(now);
        (now.since(since) >= PATIENCE).then(|| self.skip(now))
    }

    /// What is under a number that was wanted at the start.
    fn found(
        &mut self,
        number: u64,
        value: Option<Vec<u8>>,
        time_of: &dyn Fn(&[u8]) -> Timestamp,
        now: Timestamp,
    ) -> Vec<Heard> {
        let Some(start) = &mut self.start else { return Vec::new() };
        if start.wanted.remove(&number).is_none() {
            return Vec::new();
        }
        let mut heard = Vec::new();
        match value {
            Some(text) => {
                start.times.insert(number, time_of(&text));
                heard.push(Heard::Old(text));
            }
            None => start.last_absent = start.last_absent.max(Some(number)),
        }
        if start.wanted.is_empty() {
            heard.extend(start.unknown_until(now).map(Heard::Unknown));
            self.start = None;
            self.due = true;
        }
        heard
    }
}

impl Start {
    /// Purges of before this moment may not have been read.
    fn unknown_until(&self, now: Timestamp) -> Option<Timestamp> {
        let after = match self.last_absent {
            Some(absent) => absent,
            None if self.more_before => 0,
            None => return None,
        };
        let oldest = self.times.range(after..).map(|(_, at)| *at).min();
        // What is gone has been there for a day.
        let day_ago = now.as_millis().saturating_sub(KEPT_FOR.as_secs().saturating_mul(1000));
        Some(oldest.unwrap_or(Timestamp::from_millis(day_ago)).min(now))
    }
}

/// Entries read one after the other in a tick.
const MOST_BY_TICK: u32 = 256;
/// How far the hint may be ahead before it is quicker to begin there.
const MOST_BEHIND: u64 = 1024;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The slowest tick: what is due within one need not wait for the next.
const TICK: Duration = Duration::from_millis(100);
/// A little more than a tick.
const JUST_NOW: Duration = Duration::from_millis(150);

//! Who waits for a slot, and who is next.
//!
//! There are three classes. The highest goes first, but for a small part of the slots that the others have for sure; of the
//! other two, four of the middle one go for each of the lowest. Within a class the lanes take turns, so that who asks most
//! fills a lane of its own and no other's. Within a lane the first comes first, until it has waited long: then those who
//! came last go first, for the old ones have mostly been given up by then.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;

/// How much a request matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Goes first.
    High,
    /// Most requests.
    Normal,
    /// Can wait, and be refused first.
    Low,
}

impl Class {
    /// All, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// As configuration and metrics call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The class of a word.
    pub fn of_word(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|class| word.eq_ignore_ascii_case(class.word().as_bytes()))
    }
}

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Names it.
    pub ticket: u64,
    /// When it began to wait.
    pub since: Timestamp,
    /// When it has waited enough.
    pub until: Timestamp,
}

/// How long a queue may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Requests of each class.
    pub requests: usize,
    /// Of a hundred slots that the others wait for too, the highest class leaves so many.
    pub low_share: u32,
}

/// The lanes of a class, with those who wait in them.
#[derive(Debug, Default)]
struct Lanes {
    /// In the order in which they have their turns. None is empty.
    lanes: VecDeque<(u8, VecDeque<Waiter>)>,
    waiting: usize,
}

impl Lanes {
    fn push(&mut self, lane: u8, waiter: Waiter) {
        self.waiting += 1;
        match self.lanes.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, waiting)) => waiting.push_back(waiter),
            None => self.lanes.push_back((lane, VecDeque::from([waiter]))),
        }
    }

    fn pop(&mut self, now: Timestamp) -> Option<Waiter> {
        let (lane, mut waiting) = self.lanes.pop_front()?;
        let stands = waiting.front().is_some_and(|oldest| now.since(oldest.since) > STANDS);
        let next = if stands { waiting.pop_back() } else { waiting.pop_front() };
        if !waiting.is_empty() {
            self.lanes.push_back((lane, waiting));
        }
        self.waiting = self.waiting.saturating_sub(usize::from(next.is_some()));
        next
    }

    /// Takes the one out that came last.
    fn pop_newest(&mut self) -> Option<Waiter> {
        let newest = self.lanes.iter().filter_map(|(lane, waiting)| Some((waiting.back()?.ticket, *lane)));
        let (ticket, _) = newest.max()?;
        self.remove(ticket)
    }

    /// Takes the newest of the lane out that has most, if that is more than this lane would have.
    fn pop_for(&mut self, lane: u8) -> Option<Waiter> {
        let own = self.lanes.iter().find(|(known, _)| *known == lane).map_or(0, |(_, waiting)| waiting.len());
        let (_, longest) = self.lanes.iter().max_by_key(|(_, waiting)| waiting.len())?;
        let newest = longest.back().filter(|_| longest.len() > own + 1)?.ticket;
        self.remove(newest)
    }

    fn remove(&mut self, ticket: u64) -> Option<Waiter> {
        let mut found = None;
        for (_, waiting) in &mut self.lanes {
            if let Some(at) = waiting.iter().position(|waiter| waiter.ticket == ticket) {
                found = waiting.remove(at);
                break;
            }
        }
        self.forget_empty();
        self.waiting = self.waiting.saturating_sub(usize::from(found.is_some()));
        found
    }

    fn forget_empty(&mut self) {
        self.lanes.retain(|(_, waiting)| !waiting.is_empty());
    }

    fn expire(&mut self, now: Timestamp, expired: &mut Vec<u64>) {
        let before = expired.len();
        for (_, waiting) in &mut self.lanes {
            waiting.retain(|waiter| {
                let over = now >= waiter.until;
                if over {
                    expired.push(waiter.ticket);
                }
                !over
            });
        }
        self.waiting = self.waiting.saturating_sub(expired.len() - before);
        self.forget_empty();
    }
}

/// Those who wait in one worker.
#[derive(Debug, Default)]
pub struct Queue {
    high: Lanes,
    normal: Lanes,
    low: Lanes,
    /// What the highest class owes the others, in hundredths of a slot.
    owed: u32,
    /// Slots that the middle class has had since the lowest had one.
    normal_turns: u32,
}

/// What became of a request that wants to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It waits.
    Waits,
    /// It waits, and this one of the lowest class, or of a lane that has more, does not any more.
    InPlaceOf(u64),
    /// There is no room.
    Full,
}

impl Queue {
    fn lanes(&mut self, class: Class) -> &mut Lanes {
        match class {
            Class::High => &mut self.high,
            Class::Normal => &mut self.normal,
            Class::Low => &mut self.low,
        }
    }

    /// How many of a class wait.
    pub const fn waiting(&self, class: Class) -> usize {
        match class {
            Class::High => self.high.waiting,
            Class::Normal => self.normal.waiting,
            Class::Low => self.low.waiting,
        }
    }

    /// How many wait.
    pub const fn len(&self) -> usize {
        self.high.waiting + self.normal.waiting + self.low.waiting
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets a request wait, if there is room. A full queue lets the newest of the lowest class go for one of the highest, and
    /// else the newest of the class's longest lane for one of a lane that has fewer: who asks most fills it for himself only.
    pub fn enter(&mut self, class: Class, lane: u8, waiter: Waiter, room: Room) -> Entered {
        let mut left = None;
        if self.waiting(class) >= room.requests {
            let low = if class == Class::High { self.low.pop_newest() } else { None };
            left = low.or_else(|| self.lanes(class).pop_for(lane));
            if left.is_none() {
                return Entered::Full;
            }
        }
        self.lanes(class).push(lane, waiter);
        left.map_or(Entered::Waits, |left| Entered::InPlaceOf(left.ticket))
    }

    /// Who has the next slot.
    pub fn next(&mut self, now: Timestamp, room: Room) -> Option<Waiter> {
        let others = self.normal.waiting + self.low.waiting > 0;
        if self.high.waiting > 0 {
            if !others {
                return self.high.pop(now);
            }
            self.owed = self.owed.saturating_add(room.low_share);
            if self.owed < 100 {
                return self.high.pop(now);
            }
            self.owed -= 100;
        }
        if self.low.waiting > 0 && (self.normal.waiting == 0 || self.normal_turns >= NORMAL_TO_LOW) {
            self.normal_turns = 0;
            return self.low.pop(now);
        }
        self.normal_turns = if self.low.waiting > 0 { self.normal_turns.saturating_add(1) } else { 0 };
        self.normal.pop(now)
    }

    /// A request is gone. Whether it waited.
    pub fn remove(&mut self, ticket: u64) -> bool {
        Class::ALL.into_iter().any(|class| self.lanes(class).remove(ticket).is_some())
    }

    /// Takes out those who have waited enough.
    pub fn expire(&mut self, now: Timestamp) -> Vec<u64> {
        let mut expired = Vec::new();
        for class in Class::ALL {
            self.lanes(class).expire(now, &mut expired);
        }
        expired
    }
}

/// So many lanes has a class.
pub const LANES: u8 = 64;
/// When the oldest has waited longer, the newest goes first.
const STANDS: Duration = Duration::from_millis(100);
const NORMAL_TO_LOW: u32 = 4;

//! One worker's side of a pool: the slots that it has, and who waits for one.
//!
//! A slot is taken when a request goes to the origin and freed when it is done there. A freed slot goes to the next who
//! waits, by ticket; the caller wakes the one whose ticket was [decided](Gate::take_decided).

use std::time::Duration;

use super::controller::{Bounds, Told};
use super::queue::{Class, Entered, Queue, Room, Waiter};
use super::shared::{self, Heard, Own};
use crate::chance;
use crate::host::SharedData;
use crate::time::Timestamp;

/// How a pool is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Of its limit.
    pub bounds: Bounds,
    /// Of its queue.
    pub room: Room,
    /// How long a request of each class may wait.
    pub wait: [Duration; 3],
}

impl Terms {
    const fn wait(&self, class: Class) -> Duration {
        let [high, normal, low] = self.wait;
        match class {
            Class::High => high,
            Class::Normal => normal,
            Class::Low => low,
        }
    }
}

/// Whether a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enter {
    /// It has a slot.
    Goes,
    /// It waits.
    Waits(u64),
    /// The queue is full.
    Full,
}

/// What would become of a request that came now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It would go at once.
    Goes,
    /// It would wait.
    Waits,
    /// It would be refused.
    Full,
}

/// What became of one who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It has a slot.
    Goes,
    /// It has waited as long as it may.
    WaitedEnough,
    /// One of a higher class, or of a lane that has fewer, has its place.
    GaveWay,
}

/// One worker's side of a pool.
#[derive(Debug)]
pub struct Gate {
    terms: Terms,
    /// Where the workers share it.
    key: String,
    id: u64,
    heard: Heard,
    in_flight: u32,
    queue: Queue,
    /// What has become of tickets whose holders have not been told.
    decided: Vec<(u64, Decision)>,
    to_wake: Vec<u64>,
    next_ticket: u64,
    random: u64,
    untold: Untold,
    told_at: Timestamp,
    /// When it last looked what the others have found, having nothing to do itself.
    looked_at: Timestamp,
    /// When it last had something to do.
    used_at: Timestamp,
    /// When a request of the highest class last came.
    high_at: Timestamp,
    /// Slots that are freed in a second, as of late.
    pace: f64,
    freed: u32,
}

/// What the others have not been told.
#[derive(Debug, Default)]
struct Untold {
    latencies: Vec<u32>,
    answers: u32,
    failures: u32,
    busiest: u32,
    strained: bool,
}

impl Untold {
    fn answer(&mut self, latency: u32) {
        self.answers = self.answers.saturating_add(1);
        if self.latencies.len() < SAMPLES {
            self.latencies.push(latency);
        } else if let Some(old) = self.latencies.get_mut(self.answers as usize % SAMPLES) {
            *old = latency;
        }
    }

    fn told(&mut self, high_waits: bool) -> Told {
        // Few: by insertion.
        for end in 1..self.latencies.len() {
            let mut at = end;
            while at > 0 && self.latencies.get(at - 1) > self.latencies.get(at) {
                self.latencies.swap(at - 1, at);
                at -= 1;
            }
        }
        let median = self.latencies.get(self.latencies.len() / 2).copied().unwrap_or(0);
        Told {
            answers: self.answers,
            latency: u64::from(median) * u64::from(self.answers),
            failures: self.failures,
            busiest: self.busiest,
            high_waits,
            strained: self.strained,
        }
    }
}

impl Gate {
    /// Nothing goes through it yet. `seed` makes it another than the other workers' for the same `key`.
    pub fn new(terms: Terms, key: String, seed: u64) -> Self {
        let id = chance::mixed(seed);
        let heard =
            Heard { share: 0, free: 1, limit: terms.bounds.start, in_flight: 0, base: None, latency: None };
        Self {
            terms,
            key,
            id,
            heard,
            in_flight: 0,
            queue: Queue::default(),
            decided: Vec::new(),
            to_wake: Vec::new(),
            next_ticket: chance::mixed(id) >> 8,
            random: id,
            untold: Untold::default(),
            told_at: Timestamp::default(),
            looked_at: Timestamp::default(),
            used_at: Timestamp::default(),
            high_at: Timestamp::default(),
            pace: 0.0,
            freed: 0,
        }
    }

    /// A request wants to go to the origin.
    pub fn enter(&mut self, class: Class, lane: u8, data: &mut dyn SharedData, now: Timestamp) -> Enter {
        self.used_at = now;
        if class == Class::High {
            self.high_at = now;
        }
        if self.take(class, data, now) {
            return Enter::Goes;
        }
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let ticket = self.next_ticket;
        let waiter = Waiter { ticket, since: now, until: now.plus(self.terms.wait(class)) };
        match self.queue.enter(class, lane, waiter, self.terms.room) {
            Entered::Waits => {}
            Entered::InPlaceOf(other) => self.decide(other, Decision::GaveWay),
            Entered::Full => return Enter::Full,
        }
        // Whoever waits is worth a slot, if all others are taken.
        if self.heard.share == 0 {
            self.tell(data, now, 0);
            self.hand_on(now);
            if self.settle(ticket).is_some() {
                self.to_wake.retain(|waking| *waking != ticket);
                return Enter::Goes;
            }
        }
        Enter::Waits(ticket)
    }

    /// Takes a slot, if there is one for this class and nobody waits who goes first.
    pub fn take(&mut self, class: Class, data: &mut dyn SharedData, now: Timestamp) -> bool {
        if Class::ALL.iter().any(|other| *other <= class && self.queue.waiting(*other) > 0) {
            return false;
        }
        let full = |gate: &Self| gate.in_flight >= gate.slots_for(class, now);
        if full(self) && self.queue.is_empty() && (self.heard.free > 0 || now.since(self.told_at) >= RUSH) {
            self.tell(data, now, 1);
        }
        let goes = !full(self);
        if goes {
            self.begin();
        }
        goes
    }

    /// What would become of a request of this class, as far as this worker knows. Nothing is taken.
    pub fn outlook(&self, class: Class, now: Timestamp) -> Outlook {
        let first = !Class::ALL.iter().any(|other| *other <= class && self.queue.waiting(*other) > 0);
        let room = self.in_flight < self.slots_for(class, now);
        // Where nobody waits, a slot that no worker has is taken in that moment.
        if first && (room || self.queue.is_empty() && self.heard.free > 0) {
            Outlook::Goes
        } else if self.queue.waiting(class) >= self.terms.room.requests {
            Outlook::Full
        } else {
            Outlook::Waits
        }
    }

    /// The slots that a class may fill. One is kept for the highest class while its requests come.
    fn slots_for(&self, class: Class, now: Timestamp) -> u32 {
        let share = self.heard.share;
        let kept = class != Class::High && share >= KEEPS_ONE && now.since(self.high_at) < HIGH_COMES;
        share.saturating_sub(u32::from(kept))
    }

    fn begin(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
        self.untold.busiest = self.untold.busiest.max(self.in_flight);
    }

    /// A request is done at the origin, however that ended.
    pub fn free(&mut self, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.freed = self.freed.saturating_add(1);
        self.used_at = now;
        self.hand_on(now);
    }

    /// The origin has begun to answer, so many microseconds after it was asked.
    pub fn note_answer(&mut self, micros: u64) {
        self.untold.answer(u32::try_from(micros).unwrap_or(u32::MAX));
    }

    /// The origin has too much to do, or has not answered.
    pub fn note_failure(&mut self) {
        self.untold.failures = self.untold.failures.saturating_add(1);
    }

    /// This worker, or the origin by its own words, has too much to do.
    pub const fn note_strain(&mut self) {
        self.untold.strained = true;
    }

    /// What became of a ticket, for its holder. `None`: it still waits, or nothing is known of it.
    pub fn settle(&mut self, ticket: u64) -> Option<Decision> {
        let at = self.decided.iter().position(|(known, _)| *known == ticket)?;
        Some(self.decided.swap_remove(at).1)
    }

    /// Whether a ticket still waits.
    pub fn give_back(&mut self, ticket: u64, now: Timestamp) -> bool {
        if self.settle(ticket) == Some(Decision::Goes) {
            self.free(now);
        }
        self.queue.remove(ticket)
    }

    /// Tickets that were decided since this was last asked.
    pub fn take_decided(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.to_wake)
    }

    /// Whether tickets were decided.
    pub const fn has_decided(&self) -> bool {
        !self.to_wake.is_empty()
    }

    /// Whether the tick is to come often: somebody waits, or the others want to know.
    pub fn is_active(&self) -> bool {
        self.in_flight > 0 || !self.queue.is_empty()
    }

    /// Does what is due now and then.
    pub fn tick(&mut self, data: &mut dyn SharedData, now: Timestamp) {
        for ticket in self.queue.expire(now) {
            self.decide(ticket, Decision::WaitedEnough);
        }
        let since = now.since(self.told_at);
        let tells = self.is_active() || self.untold.answers > 0 || self.heard.share > 0;
        let due = if tells { TELL_EVERY } else { SHOW_EVERY };
        if since >= due && self.told_at > Timestamp::default() {
            if self.is_active() || now.since(self.used_at) < IDLE {
                self.tell(data, now, 0);
            } else {
                shared::leave(data, &self.key, self.id);
                (self.heard.share, self.heard.free) = (0, 1);
                self.told_at = Timestamp::default();
            }
        }
        if self.told_at == Timestamp::default() && now.since(self.looked_at) >= SHOW_EVERY {
            self.looked_at = now;
            if let Some(seen) = shared::look(data, &self.key, &self.terms.bounds) {
                let Heard { share, free, .. } = self.heard;
                self.heard = Heard { share, free, ..seen };
            }
        }
        self.hand_on(now);
    }

    /// Tells the others and hears this worker's share. `more` requests neither wait nor have gone yet.
    fn tell(&mut self, data: &mut dyn SharedData, now: Timestamp, more: usize) {
        let random = chance::next(&mut self.random);
        let own = Own {
            id: self.id,
            in_flight: self.in_flight,
            busiest: self.untold.busiest.max(self.in_flight),
            waiting: u32::try_from(self.queue.len().saturating_add(more)).unwrap_or(u32::MAX),
        };
        let told = self.untold.told(self.queue.waiting(Class::High) > 0);
        let since = now.since(self.told_at).as_secs_f64();
        if let Some(heard) = shared::exchange(data, &self.key, (own, told), &self.terms.bounds, now, random) {
            self.heard = heard;
            self.untold = Untold::default();
            if self.told_at > Timestamp::default() && since > 0.0 {
                let weight = since.min(1.0);
                self.pace += (f64::from(self.freed) / since - self.pace) * weight;
            }
            self.freed = 0;
            self.told_at = now;
        }
    }

    /// Gives free slots to those who wait.
    fn hand_on(&mut self, now: Timestamp) {
        loop {
            // The one that is kept for the highest class goes to no other.
            let room = if self.in_flight < self.slots_for(Class::Low, now) {
                self.terms.room
            } else if self.in_flight < self.heard.share && self.queue.waiting(Class::High) > 0 {
                Room { low_share: 0, ..self.terms.room }
            } else {
                return;
            };
            let Some(next) = self.queue.next(now, room) else { return };
            if now >= next.until {
                self.decide(next.ticket, Decision::WaitedEnough);
            } else {
                self.begin();
                self.decide(next.ticket, Decision::Goes);
            }
        }
    }

    fn decide(&mut self, ticket: u64, decision: Decision) {
        self.decided.push((ticket, decision));
        self.to_wake.push(ticket);
    }

    /// After how many seconds a client that was refused may come again: when those who wait now have gone, give or take a
    /// quarter, so that not all come back at once.
    pub fn retry_after(&mut self) -> u64 {
        let seconds = self.queue.len() as f64 / self.pace.max(1.0);
        let spread = 0.75 + 0.5 * chance::fraction(chance::next(&mut self.random));
        (seconds.clamp(1.0, 30.0) * spread).ceil().clamp(1.0, 38.0) as u64
    }

    /// Requests that this worker has at the origin.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Those who wait.
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What was last heard of the others.
    pub const fn heard(&self) -> &Heard {
        &self.heard
    }
}

/// Latencies that are kept for a median.
const SAMPLES: usize = 64;
/// The others are told so often while there is something to tell, and else so often that this worker lives.
const TELL_EVERY: Duration = Duration::from_millis(50);
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// Who needs a slot at once asks no more often.
const RUSH: Duration = Duration::from_millis(5);
/// A slot of so many is kept for the highest class, for so long after its last request.
const KEEPS_ONE: u32 = 4;
const HIGH_COMES: Duration = Duration::from_secs(1);
/// A worker without requests for so long leaves the pool.
const IDLE: Duration = Duration::from_secs(10);

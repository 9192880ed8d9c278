//! Sessions: a cookie names a record that an application has written to Redis, and a request is given fields of it.
//!
//! A worker asks Redis once for a session that it does not know or knows from too long ago, however many requests wait for it
//! ([`question`]), and goes by the answer for a while (`copies`). What was asked for before the session was purged, or before
//! a request of it that may have changed it, is not gone by. [`cookie`] reads the cookie, [`signature`] verifies it and
//! [`record`] takes the fields out of what lies in Redis.

pub mod cookie;
mod copies;
pub mod question;
pub mod record;
pub mod signature;

use std::rc::Rc;
use std::time::Duration;

use crate::chance;
use crate::config::Session;
use crate::request::Request;
use crate::tags::tag_hash;
use crate::time::Timestamp;
use copies::{Copies, Copy};
use question::{SessionAnswer, SessionRequest};
use record::{Found, Unusable};
use signature::Secrets;

/// What is known of the session that a request names.
#[derive(Clone, Debug)]
pub enum Known {
    /// This; `None`: there is none.
    Session(Option<Rc<Found>>),
    /// Redis cannot be asked.
    Unknown,
}

/// What is to be done to know it.
#[derive(Clone, Debug)]
pub enum Look {
    /// Nothing.
    Known(Known),
    /// To wait until the ticket is decided.
    Wait {
        /// The ticket.
        ticket: u64,
        /// When it has waited enough.
        until: Timestamp,
    },
}

/// The sessions of one worker.
#[derive(Default)]
pub struct Sessions {
    kinds: Vec<Kind>,
    /// What is being asked, in the order in which it came up.
    asking: Vec<Asking>,
    /// How many of them have not been sent, and how many are under way, and may be.
    unsent: usize,
    under_way: usize,
    most_under_way: usize,
    waiting: usize,
    last_ticket: u64,
    last_number: u64,
    /// What has come of tickets whose holders have not asked.
    outcomes: Vec<(u64, Known)>,
    decided: Vec<u64>,
    timeout: Duration,
    /// Redis is not to be asked before this.
    alone_until: Timestamp,
}

/// Those of one application.
struct Kind {
    secrets: Option<Secrets>,
    members: Rc<[Box<str>]>,
    copies: Copies,
}

/// A question, and who waits for its answer.
struct Asking {
    kind: usize,
    id: Box<str>,
    /// Its number, once it was sent.
    sent: Option<u64>,
    /// What it brings is older than what has become of the session.
    is_void: bool,
    keep: u64,
    tickets: Vec<(u64, Timestamp)>,
}

impl Sessions {
    /// Nothing is known yet of these.
    pub fn new(sessions: &[Session], timeout: Duration, in_flight: usize) -> Self {
        let kind = |session: &Session| Kind {
            // Until its secrets are known, nothing is signed.
            secrets: session.signed.then(Secrets::default),
            members: question::members(session),
            copies: Copies::new(session.copies, session.copy_bytes),
        };
        Self {
            kinds: sessions.iter().map(kind).collect(),
            // The other half is for limits and budgets.
            most_under_way: in_flight.div_ceil(2),
            timeout,
            ..Self::default()
        }
    }

    /// Makes the numbers of its questions others than those of other workers, and of the configuration before.
    pub fn seed(&mut self, random: u64) {
        self.last_number = random;
        self.last_ticket = chance::mixed(random);
    }

    /// The secrets that the cookies of one are signed with.
    pub fn set_secrets(&mut self, kind: usize, secrets: Secrets) {
        if let Some(kind) = self.kinds.get_mut(kind) {
            kind.secrets = Some(secrets);
        }
    }

    /// The secrets of one; `None` if its cookies are not signed.
    pub fn secrets(&self, kind: usize) -> Option<&Secrets> {
        self.kinds.get(kind)?.secrets.as_ref()
    }

    /// What is known of a session, or whom to wait for. `is_purged` says it of what was asked for at a moment.
    pub fn look_up(
        &mut self,
        (kind, id): (usize, &str),
        session: &Session,
        is_purged: &dyn Fn(Timestamp) -> bool,
        may_wait: bool,
        now: Timestamp,
    ) -> Look {
        let is_alone = now < self.alone_until;
        let Some(copies) = self.kinds.get_mut(kind).map(|kind| &mut kind.copies) else {
            return Look::Known(Known::Unknown);
        };
        let (mut keep, mut fresh) = (0, None);
        match copies.get(id) {
            Some(copy) if is_purged(copy.asked_at) => {
                copies.remove(id);
            }
            Some(copy) => {
                keep = if is_alone { 0 } else { due(copy, session, now) };
                fresh = (now < copy.until).then(|| copy.found.clone());
                if keep > 0 {
                    copy.touched = now;
                }
            }
            None => {}
        }
        if let Some(found) = fresh {
            if keep > 0 {
                self.ask((kind, id), keep);
            }
            return Look::Known(Known::Session(found));
        }
        if is_alone || !may_wait || self.waiting >= MOST_WAITING {
            return Look::Known(Known::Unknown);
        }
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let (ticket, until) = (self.last_ticket & !OF_OTHERS | OF_SESSIONS, now.plus(self.timeout));
        let Some(asking) = self.ask((kind, id), keep) else { return Look::Known(Known::Unknown) };
        asking.tickets.push((ticket, until));
        self.waiting += 1;
        Look::Wait { ticket, until }
    }

    /// Whether there is such a session, as far as a worker knows without asking, and when it had asked; `None` if it does not know.
    pub fn peek(&mut self, (kind, id): (usize, &str), now: Timestamp) -> Option<(bool, Timestamp)> {
        let copy = self.kinds.get_mut(kind)?.copies.get(id)?;
        (now < copy.until).then(|| (copy.found.is_some(), copy.asked_at))
    }

    /// Puts a question, unless it is being asked. `None` if too many are.
    fn ask(&mut self, (kind, id): (usize, &str), keep: u64) -> Option<&mut Asking> {
        let known = self.place_of(kind, id);
        let at = match known {
            Some(at) => at,
            None if self.asking.len() >= MOST_ASKED => return None,
            None => {
                self.unsent += 1;
                let (sent, is_void, tickets) = (None, false, Vec::new());
                self.asking.push(Asking { kind, id: id.into(), sent, is_void, keep: 0, tickets });
                self.asking.len().saturating_sub(1)
            }
        };
        let asking = self.asking.get_mut(at)?;
        asking.keep = asking.keep.max(keep);
        Some(asking)
    }

    fn place_of(&self, kind: usize, id: &str) -> Option<usize> {
        self.asking.iter().position(|asking| asking.kind == kind && *asking.id == *id)
    }

    /// Whether there is a question that may be sent.
    #[inline]
    pub const fn has_questions(&self) -> bool {
        self.unsent > 0 && self.under_way < self.most_under_way
    }

    /// The next question. To be given back with [`Sessions::answered`].
    pub fn next_question(&mut self, sessions: &[Session], now: Timestamp) -> Option<SessionRequest> {
        if !self.has_questions() {
            return None;
        }
        let asking = self.asking.iter_mut().find(|asking| asking.sent.is_none())?;
        let (session, kind) = (sessions.get(asking.kind)?, self.kinds.get(asking.kind)?);
        let number = chance::next(&mut self.last_number);
        asking.sent = Some(number);
        asking.is_void = false;
        self.unsent = self.unsent.saturating_sub(1);
        self.under_way += 1;
        Some(SessionRequest {
            kind: asking.kind,
            id: asking.id.clone(),
            key: format!("{}{}", session.prefix, asking.id),
            format: session.format,
            most: session.record_bytes,
            keep: std::mem::take(&mut asking.keep),
            members: Rc::clone(&kind.members),
            number,
            asked_at: now,
        })
    }

    /// Redis has answered, or has not. What it was, in a word for metrics; `None` if nobody had asked.
    pub fn answered(
        &mut self,
        request: &SessionRequest,
        answer: Option<&SessionAnswer>,
        session: &Session,
        is_purged: bool,
        now: Timestamp,
    ) -> Option<&'static str> {
        let at = self.asking.iter().position(|asking| asking.sent == Some(request.number))?;
        self.under_way = self.under_way.saturating_sub(1);
        let asking = self.asking.get_mut(at)?;
        let is_void = asking.is_void || is_purged;
        if answer.is_some() && is_void && !asking.tickets.is_empty() {
            asking.sent = None;
            self.unsent += 1;
            return Some("overtaken");
        }
        let asking = self.asking.remove(at);
        let Some(answer) = answer else {
            self.decide(asking, &Known::Unknown);
            return Some("failed");
        };
        let (word, found, lives) = judged(answer, session, now);
        let found = found.map(Rc::new);
        let mut keep = 0;
        if let Some(kind) = self.kinds.get_mut(request.kind).filter(|_| !is_void) {
            let touched = match (request.keep, kind.copies.get(&request.id)) {
                (0, Some(known)) => known.touched,
                (0, None) => Timestamp::default(),
                _ => request.asked_at,
            };
            let most = if found.is_some() { session.copy } else { session.absent_copy };
            let until = now.plus(lives.map_or(most, |lives| most.min(lives)));
            let mut copy = Copy { found: found.clone(), asked_at: request.asked_at, until, touched };
            // How long it lasts is known only now.
            if request.keep == 0 {
                keep = due(&copy, session, now);
            }
            if keep > 0 {
                copy.touched = now;
            }
            kind.copies.put(&request.id, copy);
        }
        self.decide(asking, &Known::Session(found));
        if keep > 0 {
            self.ask((request.kind, &request.id), keep);
        }
        Some(word)
    }

    /// Something has happened to a session: what was asked for until now is not gone by. Whether anything was known.
    pub fn drop_copy(&mut self, kind: usize, id: &str) -> bool {
        if let Some(asking) = self.place_of(kind, id).and_then(|at| self.asking.get_mut(at)) {
            asking.is_void = asking.sent.is_some();
        }
        self.kinds.get_mut(kind).is_some_and(|kind| kind.copies.remove(id))
    }

    /// What has come of a ticket. `None`: nothing yet, or it is not of these sessions.
    pub fn take(&mut self, ticket: u64) -> Option<Known> {
        let at = self.outcomes.iter().position(|(known, _)| *known == ticket)?;
        Some(self.outcomes.swap_remove(at).1)
    }

    /// Its client is gone, or it waits no longer.
    pub fn leave(&mut self, ticket: u64) {
        self.outcomes.retain(|(known, _)| *known != ticket);
        self.leave_if(&mut |known, _| known == ticket);
    }

    /// Who has waited enough goes on.
    pub fn look_again(&mut self, now: Timestamp) {
        let mut late = Vec::new();
        self.leave_if(&mut |ticket, until| {
            let is_late = now >= until;
            if is_late {
                late.push(ticket);
            }
            is_late
        });
        for ticket in late {
            self.tell(ticket, Known::Unknown);
        }
    }

    fn leave_if(&mut self, leaves: &mut dyn FnMut(u64, Timestamp) -> bool) {
        for asking in &mut self.asking {
            let before = asking.tickets.len();
            asking.tickets.retain(|(ticket, until)| !leaves(*ticket, *until));
            self.waiting = self.waiting.saturating_sub(before - asking.tickets.len());
        }
    }

    /// Redis is not to be asked before this moment.
    pub fn leave_redis_alone(&mut self, until: Timestamp) {
        self.alone_until = self.alone_until.max(until);
    }

    /// Requests that wait.
    #[inline]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Tickets that were decided since this was last asked.
    pub fn take_decided(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.decided)
    }

    /// Whether there are any.
    #[inline]
    pub const fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// Of one kind, how many sessions are remembered, and their bytes.
    pub fn usage(&self, kind: usize) -> (usize, usize) {
        self.kinds.get(kind).map_or((0, 0), |kind| kind.copies.usage())
    }

    fn decide(&mut self, asking: Asking, known: &Known) {
        self.waiting = self.waiting.saturating_sub(asking.tickets.len());
        for (ticket, _) in asking.tickets {
            self.tell(ticket, known.clone());
        }
    }

    fn tell(&mut self, ticket: u64, known: Known) {
        self.outcomes.push((ticket, known));
        self.decided.push(ticket);
    }
}

/// Whether a browser asks if it may send a request (Fetch §3.3.3): it sends no cookies with the question.
pub fn is_preflight(request: &Request<'_>) -> bool {
    request.method == b"OPTIONS" && request.fields.get(b"access-control-request-method").is_some()
}

/// The tag by which a session is purged, as [`tags`](crate::tags) has it.
pub fn tag_of(id: &str) -> u64 {
    tag_hash(format!("session:{id}").as_bytes())
}

/// For how many seconds Redis is to keep a session from now on; 0: not now.
fn due(copy: &Copy, session: &Session, now: Timestamp) -> u64 {
    match (&copy.found, session.touch) {
        (Some(found), Some(touch)) if now.since(copy.touched) >= touch => {
            found.lasts.as_millis().div_ceil(1000).try_into().unwrap_or(0)
        }
        _ => 0,
    }
}

/// What an answer says: in a word, the session, and how long that lives on.
fn judged(
    answer: &SessionAnswer,
    session: &Session,
    now: Timestamp,
) -> (&'static str, Option<Found>, Option<Duration>) {
    match answer {
        SessionAnswer::Absent => ("absent", None, None),
        SessionAnswer::TooLarge => ("too-large", None, None),
        SessionAnswer::OtherKind => ("malformed", None, None),
        SessionAnswer::Record { lives, record, .. } => {
            match record::read(record, lives.is_some(), session, now) {
                Ok(found) => ("found", Some(found), lives.map(Duration::from_millis)),
                Err(Unusable::Expired) => ("expired", None, None),
                Err(Unusable::Malformed) => ("malformed", None, None),
            }
        }
    }
}

/// Sets its tickets apart from those of limits (1 << 63), joins (1 << 62), budgets (both), jobs (1 << 61) and batches (1 << 59), and of
/// pools, which count from 1.
const OF_SESSIONS: u64 = 1 << 60;
const OF_OTHERS: u64 = 0b11111 << 59;
/// Requests that wait at once; further ones go by what holds without Redis.
const MOST_WAITING: usize = 4096;
/// Sessions that are asked for at once.
const MOST_ASKED: usize = 2048;

#[cfg(test)]
mod tests;

//! What counts for the fleet: tokens are taken of what the node has leased, and Redis is asked for more before there are none.
//!
//! Nobody here talks to Redis. What is to be asked comes out of [`Limits::next_question`], and the answer, or that there is none, goes
//! into [`Limits::answered`].

use super::drawing::{Given, Want};
use super::lease::{LeaseAnswer, LeaseRequest};
use super::node::pause_ms;
use super::{Denied, Keyed, Lent, Limits, Not, Refused, Standing, Took};
use crate::config::{Limit, LimitOnFailure, LimitScope};
use crate::host::SharedData;
use crate::time::Timestamp;

/// How long a request may yet wait for Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// As long as an answer may take.
    New,
    /// It has waited, and may do so until then.
    Until(Timestamp),
}

/// Why there is no answer that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The call was not made, or refused.
    NotAsked,
    /// It came to nobody: no Redis, or no way to it.
    Unreached,
    /// It was made: Redis may have lent what was asked for all the same.
    Lost,
}

impl Limits {
    /// What random numbers begin with, and how long an answer of Redis may take.
    pub fn begin_leasing(&mut self, random: u64, timeout: std::time::Duration) {
        self.fleet.begin(random, u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    }

    /// Takes the tokens of one request of what counts for the fleet.
    pub(super) fn take_of_fleet(
        &mut self,
        (at, limit, keyed): (usize, &Limit, &Keyed),
        patience: Patience,
        now: Timestamp,
        data: &mut dyn SharedData,
    ) -> Result<(Standing, Took), Not> {
        let now_ms = now.as_millis();
        let standing = |left| Standing::of(at, keyed.rate, left);
        let (mut wish, mut back, mut demand) = (0, None, keyed.cost);
        if let Some(slice) = self.slices.entry(keyed.hash, now_ms) {
            if slice.refused_until > now_ms {
                return Err(Refused::new(at, keyed, slice.refused_until - now_ms).into());
            }
            if slice.spend(keyed.cost, now_ms) {
                return Ok((standing(u64::from(slice.left) + u64::from(slice.held)), Took::Slice));
            }
            (wish, back) = (slice.wish(now_ms), slice.give_back(now_ms));
            demand = slice.take_demand(now_ms);
        }
        self.counts.asked += 1;
        let may_wait = match patience {
            Patience::None => false,
            Patience::New => self.tickets.has_room(),
            Patience::Until(until) => now < until,
        };
        let want = Want {
            need: keyed.cost,
            wish,
            // Who has waited has been counted.
            demand: if matches!(patience, Patience::Until(_)) { 0 } else { demand },
            beside: self.fleet.unserved(keyed.hash).saturating_sub(keyed.cost),
            back,
            may_ask: now >= self.unreachable_until,
            // What only watches holds nobody up.
            may_wait: may_wait && !limit.shadow,
            shares: limit.on_failure == LimitOnFailure::Share,
            settles: limit.counts_tokens(),
        };
        let given = self.fleet.take(keyed, &want, now_ms, data);
        let slice = self.slices.get(keyed.hash);
        match given {
            Given::Lent { held, until, left } => {
                if let Some(slice) = slice {
                    slice.take_until(held, left, until, now_ms);
                    self.note_lent(Lent { keyed: *keyed, scope: LimitScope::Fleet }, held);
                }
                let took = if until > 0 { Took::Stock } else { Took::Share };
                Ok((standing(left.saturating_add(held.into())), took))
            }
            Given::Empty { wait } => {
                if let Some(slice) = slice.filter(|_| !limit.counts_tokens()) {
                    slice.refused_until = now_ms.saturating_add(wait);
                }
                Err(Refused::new(at, keyed, wait).into())
            }
            Given::Waits(key) => Err(Not::Yet(key)),
            Given::Contended => {
                self.counts.contended += 1;
                Err(Refused::new(at, keyed, pause_ms(&keyed.rate).max(1)).into())
            }
            Given::Failed if limit.on_failure == LimitOnFailure::Open => {
                Ok((standing(keyed.rate.burst()), Took::Nothing))
            }
            Given::Failed => {
                let refused = Refused::new(at, keyed, UNAVAILABLE_MS);
                Err(Refused { unavailable: true, ..refused }.into())
            }
        }
    }

    /// A request waits for what Redis says of some keys.
    pub(super) fn wait(&mut self, waits: Vec<(u128, u32)>, patience: Patience, now: Timestamp) -> Denied {
        let until = match patience {
            Patience::Until(until) => until,
            _ => {
                self.counts.fleet_waited += 1;
                now.plus(std::time::Duration::from_millis(self.fleet.timeout))
            }
        };
        Denied::Waits { ticket: self.tickets.add(waits, until), until }
    }

    /// What is to be asked of Redis next. To be given back with the answer.
    pub fn next_question(&mut self) -> Option<LeaseRequest> {
        let question = self.fleet.questions.pop();
        self.counts.fleet_asked += u64::from(question.is_some());
        question
    }

    /// Whether there is something to ask.
    pub const fn has_questions(&self) -> bool {
        !self.fleet.questions.is_empty()
    }

    /// Redis has answered, or has not. Gives whether other workers wait for that.
    pub fn answered(
        &mut self,
        request: &LeaseRequest,
        answer: Result<LeaseAnswer, NoAnswer>,
        now: Timestamp,
        data: &mut dyn SharedData,
    ) -> bool {
        let now_ms = now.as_millis();
        let others_wait = match answer {
            Ok(answer) => {
                self.counts.fleet_granted += u64::from(answer.granted > 0);
                let awaited = self.tickets.awaited(request.key);
                if let Some(slice) = self.slices.get(request.key) {
                    slice.refused_until = 0;
                }
                if request.settles {
                    self.note_returned(request.key, request.limit, request.rate);
                }
                self.fleet.answered(request, &answer, awaited, now_ms, data)
            }
            Err(why) => {
                self.counts.fleet_failed += 1;
                if request.settles {
                    self.note_returned(request.key, request.limit, request.rate);
                }
                self.fleet.failed(request, why != NoAnswer::NotAsked, now_ms, data)
            }
        };
        self.tickets.decide(request.key);
        others_wait
    }

    /// Redis is not to be asked before this moment.
    pub fn leave_redis_alone(&mut self, until: Timestamp) {
        self.unreachable_until = self.unreachable_until.max(until);
    }

    /// A request that waited is gone.
    pub fn leave(&mut self, ticket: u64) {
        self.tickets.leave(ticket);
    }

    /// Those who wait for the answers of other workers look whether these have come; who has waited enough goes on.
    pub fn look_again(&mut self, now: Timestamp) {
        self.tickets.look_again(&self.fleet.asking, now);
    }

    /// Requests that wait for Redis.
    pub const fn waiting(&self) -> usize {
        self.tickets.len()
    }

    /// Tickets that were decided since this was last asked.
    pub fn take_decided(&mut self) -> Vec<u64> {
        self.tickets.take_decided()
    }

    /// Whether there are any.
    pub const fn has_decided(&self) -> bool {
        self.tickets.has_decided()
    }
}

/// When to come again where nothing is known.
const UNAVAILABLE_MS: u64 = 1_000;

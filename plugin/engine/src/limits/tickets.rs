//! Requests of one worker that wait for what Redis says of their keys.

use crate::time::Timestamp;

/// They.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    waiting: Vec<Ticket>,
    decided: Vec<u64>,
    last: u64,
}

/// One of them.
#[derive(Debug)]
struct Ticket {
    number: u64,
    /// The keys in Redis that it waits for, and how many tokens of each it needs.
    keys: Vec<(u128, u32)>,
    until: Timestamp,
}

impl Tickets {
    /// Whether one more may wait.
    pub const fn has_room(&self) -> bool {
        self.waiting.len() < MOST
    }

    /// One more waits.
    pub fn add(&mut self, keys: Vec<(u128, u32)>, until: Timestamp) -> u64 {
        self.last = self.last.wrapping_add(1);
        let number = self.last | OF_LIMITS;
        self.waiting.push(Ticket { number, keys, until });
        number
    }

    /// Its client is gone, or it waits no longer.
    pub fn leave(&mut self, number: u64) {
        self.waiting.retain(|ticket| ticket.number != number);
    }

    /// Tokens of a key that are waited for.
    pub fn awaited(&self, key: u128) -> u32 {
        let of_key = self.waiting.iter().flat_map(|ticket| &ticket.keys).filter(|(known, _)| *known == key);
        of_key.fold(0, |sum, (_, need)| sum.saturating_add(*need))
    }

    /// There is an answer about a key, or none will come.
    pub fn decide(&mut self, key: u128) {
        self.decide_if(|ticket| ticket.keys.iter().any(|(known, _)| *known == key));
    }

    /// Those look again that wait for what others have asked, or have waited enough.
    pub fn look_again(&mut self, asked_here: &[u128], now: Timestamp) {
        let is_others = |ticket: &Ticket| !ticket.keys.iter().any(|(key, _)| asked_here.contains(key));
        self.decide_if(|ticket| now >= ticket.until || is_others(ticket));
    }

    fn decide_if(&mut self, mut is_decided: impl FnMut(&Ticket) -> bool) {
        let decided = &mut self.decided;
        self.waiting.retain(|ticket| {
            let is_over = is_decided(ticket);
            if is_over {
                decided.push(ticket.number);
            }
            !is_over
        });
    }

    /// Those that were decided since this was last asked.
    pub fn take_decided(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.decided)
    }

    /// Whether there are any.
    pub const fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// Requests that wait.
    pub const fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Sets them apart from the tickets of pools, which count from 1.
const OF_LIMITS: u64 = 1 << 63;
/// Requests that wait at once; further ones go by what holds without Redis.
const MOST: usize = 1024;

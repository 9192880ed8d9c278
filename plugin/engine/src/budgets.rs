//! How much language models may cost within a window of the calendar: whether a request is admitted, and what it has cost.
//!
//! Before a request goes to the model what it may cost is *reserved*; after it what it has cost is *spent*. Each worker has an
//! account for each key that it sees. The account is entered into a ledger that knows all of them: in Redis for a fleet, in shared
//! data for a node. What is reserved is gone there at once, so those who ask at the same time never spend more together than
//! there is, as far as the requests bound their answers.
//!
//! - [`calendar`]: the windows
//! - [`ledger`]: the arithmetic; `book`: the node's ledgers; [`question`]: those in Redis
//! - `account`: what a worker knows of one; `asking`: what it asks and tells; `keys`: whose it is
//! - [`board`]: what operators see of all workers' accounts

mod account;
mod asking;
pub mod board;
mod book;
pub mod calendar;
mod keys;
pub mod ledger;
pub mod question;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use selvage_llm::formats::Usage;

use account::Account;
use calendar::Window;
use keys::need;
pub use keys::{Keyed, keyed};
use ledger::{Balance, Need};

use crate::chance;
use crate::config::{Budget, LimitOnFailure, LimitScope};
use crate::host::SharedData;
use crate::limits::{Patience, Reserve};
use crate::time::Timestamp;

/// What one worker knows of the budgets.
#[derive(Debug, Default)]
pub struct Budgets {
    accounts: BTreeMap<u128, Account>,
    /// Accounts that are to be told of or asked about.
    to_ask: VecDeque<u128>,
    /// Accounts of which the hours are to be told.
    to_tell_hours: VecDeque<u128>,
    tickets: Vec<Ticket>,
    verdicts: Vec<(u64, Verdict)>,
    decided: Vec<u64>,
    last_ticket: u64,
    /// What requests that bound nothing have cost lately, by budget.
    typical: Vec<u64>,
    /// The last of the random numbers.
    random: u64,
    /// Milliseconds for which an answer is waited for.
    timeout_ms: u64,
    /// Tellers that Redis last reported, of whatever key.
    tellers: u32,
    /// Redis is not asked before.
    unreachable_until: Timestamp,
    looked_at: u64,
    shown_at: u64,
    crossed: Vec<Crossed>,
    counts: Counts,
}

/// A request that waits for what Redis says.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    number: u64,
    account: u128,
    until: Timestamp,
}

/// What Redis has said of a request that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Granted(Reservation),
    /// Of this account.
    Refused(u128),
    /// Nothing.
    Failed,
}

/// What is reserved for a request, until its answer says what it has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    keyed: Keyed,
    life: u64,
    amount: u64,
    is_guess: bool,
}

impl Reservation {
    /// Which budget of the policy it was.
    pub const fn budget(&self) -> usize {
        self.keyed.budget
    }

    /// Which budget it is, in whatever policy.
    pub const fn identity(&self) -> u64 {
        self.keyed.identity
    }

    /// What is reserved.
    pub const fn amount(&self) -> u64 {
        self.amount
    }
}

/// What a request may cost, and of whose budget.
pub struct Wanted<'a> {
    /// Whose.
    pub keyed: &'a Keyed,
    /// What it may use.
    pub reserve: &'a Reserve,
    /// What a usage costs in money, if the model has a price.
    pub cost: &'a dyn Fn(&Usage) -> Option<u64>,
}

/// What is known of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Spent by all.
    pub spent: u64,
    /// Reserved by all.
    pub reserved: u64,
}

/// What becomes of a request at a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It may go.
    Yes(Reservation),
    /// It is on none that could be kept.
    Unkept,
    /// It is refused.
    No(Refused),
    /// Redis will say: it is to ask again once its ticket has been decided.
    Waits {
        /// The ticket.
        ticket: u64,
        /// When it has waited enough.
        until: Timestamp,
    },
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which budget of the policy.
    pub budget: usize,
    /// The first half of the hash of whose it is.
    pub who: u64,
    /// Milliseconds until it may be admitted.
    pub wait_ms: u64,
    /// For what reason.
    pub why: Why,
}

/// For what reason a budget refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is spent until the window ends.
    Spent,
    /// What is left is reserved for others.
    Reserved,
    /// Redis cannot be asked.
    Unavailable,
}

/// A threshold that has just been passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// Which budget of the policy.
    pub budget: usize,
    /// The first half of the hash of whose it is.
    pub who: u64,
    /// The threshold.
    pub percent: u32,
    /// Spent by all.
    pub spent: u64,
    /// What may be spent.
    pub amount: u64,
    /// Within this.
    pub window: Window,
}

/// What happened since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions to Redis.
    pub asked: u64,
    /// Those that it did not answer, or with something else.
    pub failed: u64,
    /// Requests that waited for Redis.
    pub waited: u64,
    /// Requests for whose account there was no room.
    pub crowded: u64,
    /// By budget.
    pub by_budget: Vec<Tally>,
}

/// Requests on a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Admitted.
    pub admitted: u64,
    /// Refused.
    pub refused: u64,
    /// Admitted beyond a budget that refuses nothing.
    pub beyond: u64,
    /// What they have cost.
    pub spent: u64,
    /// So much of it was more than was reserved.
    pub overrun: u64,
    /// Thresholds that were passed.
    pub thresholds: u64,
}

impl Budgets {
    /// What random numbers begin with, and how long an answer of Redis may take.
    pub fn begin(&mut self, random: u64, timeout: std::time::Duration) {
        self.random = random;
        // Tickets of a cache that was there before are none of this one's.
        self.last_ticket = chance::mixed(random);
        self.timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    }

    /// Reserves what a request may cost. `ticket` is that for which it has waited.
    pub fn reserve(
        &mut self,
        budget: &Budget,
        wanted: &Wanted<'_>,
        (ticket, patience): (Option<u64>, Patience),
        now: Timestamp,
        data: &mut dyn SharedData,
    ) -> Reserved {
        let (now_ms, keyed) = (now.as_millis(), wanted.keyed);
        let verdict = match ticket.map(|ticket| self.take_verdict(ticket)) {
            Some(Verdict::Granted(reservation)) => {
                self.tally(keyed.budget, |tally| tally.admitted += 1);
                return Reserved::Yes(reservation);
            }
            // The window has ended while it waited.
            Some(Verdict::Refused(account)) if account != keyed.account => None,
            verdict => verdict,
        };
        let is_reachable = now >= self.unreachable_until;
        let other = chance::next(&mut self.random).max(1);
        let Some(account) = self.open(keyed, now_ms) else {
            self.counts.crowded += 1;
            return match budget.on_failure {
                LimitOnFailure::Open => Reserved::Unkept,
                LimitOnFailure::Share => self.refuse(keyed, budget, Why::Reserved, 0, now_ms),
                LimitOnFailure::Closed => self.refuse(keyed, budget, Why::Unavailable, 0, now_ms),
            };
        };
        let need = need(budget, wanted.reserve, account.largest, wanted.cost);
        match budget.scope {
            _ if need.amount == 0 => self.admit(keyed, need),
            LimitScope::Node => {
                let entry = account.entry(vec![need], &budget.soft, other, now_ms);
                let entered = book::enter((keyed.account, keyed.window.until_ms), &entry, now_ms, data);
                let Some(balance) = entered else {
                    self.counts.crowded += 1;
                    return self.go_without(keyed, budget, need, now_ms);
                };
                account.learn(&balance, &entry, now_ms);
                account.is_untold = false;
                self.tellers = balance.tellers;
                self.note_crossed(keyed.account, &balance);
                match balance.granted.first() {
                    Some(true) => self.admit(keyed, Need { amount: need.at_least(balance.largest), ..need }),
                    _ => self.refuse(keyed, budget, self.why(keyed, need), need.amount, now_ms),
                }
            }
            LimitScope::Fleet => match verdict {
                Some(Verdict::Refused(_) | Verdict::Granted(_)) => {
                    self.refuse(keyed, budget, self.why(keyed, need), need.amount, now_ms)
                }
                Some(Verdict::Failed) => self.go_without(keyed, budget, need, now_ms),
                None if is_reachable && account.is_known_spent(now_ms) => {
                    self.refuse(keyed, budget, Why::Spent, need.amount, now_ms)
                }
                None => match self.wait(keyed, need, patience, now) {
                    Some(waits) => waits,
                    None => self.go_without(keyed, budget, need, now_ms),
                },
            },
        }
    }

    /// Settles what a request has cost.
    pub fn settle(
        &mut self,
        budget: &Budget,
        reservation: &Reservation,
        used: u64,
        now: Timestamp,
        data: &mut dyn SharedData,
    ) {
        let (keyed, now_ms) = (reservation.keyed, now.as_millis());
        let used = used.min(ledger::MOST);
        if reservation.is_guess {
            self.note_typical(keyed.budget, used);
        }
        self.tally(keyed.budget, |tally| {
            tally.spent = tally.spent.saturating_add(used);
            tally.overrun = tally.overrun.saturating_add(used.saturating_sub(reservation.amount));
        });
        let Some(account) = self.open(&keyed, now_ms) else { return };
        if account.life == reservation.life {
            account.reserved = account.reserved.saturating_sub(reservation.amount);
        }
        account.spent = account.spent.saturating_add(used).min(ledger::MOST);
        account.note_hour(now_ms / HOUR_MS, used);
        if reservation.is_guess {
            account.largest = account.largest.max(used);
        }
        (account.is_untold, account.is_unshown) = (true, true);
        self.tell(keyed.account, budget, now_ms, data);
    }

    /// Tells the ledger of an account, or sees to it that it is told.
    fn tell(&mut self, key: u128, budget: &Budget, now_ms: u64, data: &mut dyn SharedData) {
        let other = chance::next(&mut self.random).max(1);
        let Some(account) = self.accounts.get_mut(&key) else { return };
        if budget.scope == LimitScope::Fleet {
            self.will_ask(key);
            return;
        }
        let entry = account.entry(Vec::new(), &budget.soft, other, now_ms);
        if let Some(balance) = book::enter((key, account.window.until_ms), &entry, now_ms, data) {
            account.learn(&balance, &entry, now_ms);
            account.is_untold = false;
            self.note_crossed(key, &balance);
        }
    }

    /// The account of a key. `None`: there is no room for it.
    fn open(&mut self, keyed: &Keyed, now_ms: u64) -> Option<&mut Account> {
        if !self.accounts.contains_key(&keyed.account) {
            if self.accounts.len() >= MOST_ACCOUNTS {
                self.accounts.retain(|_, account| !account.is_idle(now_ms));
                if self.accounts.len() >= MOST_ACCOUNTS {
                    return None;
                }
            }
            let [life, teller] = [(); 2].map(|()| chance::next(&mut self.random).max(1));
            let Keyed { budget, identity, who, window, amount, account } = *keyed;
            let largest = self.typical.get(budget).copied().unwrap_or_default();
            let new = Account {
                budget,
                identity,
                who,
                window,
                amount,
                life,
                teller,
                largest,
                ..Account::default()
            };
            self.accounts.insert(account, Account { told_at: now_ms, ..new });
        }
        let account = self.accounts.get_mut(&keyed.account)?;
        account.seen_at = now_ms;
        Some(account)
    }

    /// A request goes, and what it may cost is reserved here.
    fn admit(&mut self, keyed: &Keyed, need: Need) -> Reserved {
        self.tally(keyed.budget, |tally| tally.admitted += 1);
        let Some(account) = self.accounts.get_mut(&keyed.account) else { return Reserved::Unkept };
        account.reserved = account.reserved.saturating_add(need.amount).min(ledger::MOST);
        account.is_unshown = true;
        let life = account.life;
        Reserved::Yes(Reservation { keyed: *keyed, life, amount: need.amount, is_guess: need.is_guess })
    }

    /// A request goes by what holds without the ledger.
    fn go_without(&mut self, keyed: &Keyed, budget: &Budget, need: Need, now_ms: u64) -> Reserved {
        let tellers = self.tellers;
        let Some(account) = self.accounts.get_mut(&keyed.account) else { return Reserved::Unkept };
        let admits = match budget.on_failure {
            LimitOnFailure::Open => true,
            LimitOnFailure::Share => account.share_admits(need.amount, tellers),
            LimitOnFailure::Closed => false,
        };
        if admits {
            account.is_untold = true;
            return self.admit(keyed, need);
        }
        let why = if budget.on_failure == LimitOnFailure::Share { Why::Reserved } else { Why::Unavailable };
        self.refuse(keyed, budget, why, need.amount, now_ms)
    }

    /// A request is refused, or goes all the same where the budget refuses nothing.
    fn refuse(&mut self, keyed: &Keyed, budget: &Budget, why: Why, need: u64, now_ms: u64) -> Reserved {
        if !budget.hard {
            self.tally(keyed.budget, |tally| tally.beyond += 1);
            return self.admit(keyed, Need { amount: need, is_guess: false });
        }
        self.tally(keyed.budget, |tally| tally.refused += 1);
        let wait_ms = match why {
            Why::Spent => keyed.window.until_ms.saturating_sub(now_ms).max(1),
            Why::Reserved | Why::Unavailable => SOON_MS,
        };
        Reserved::No(Refused { budget: keyed.budget, who: (keyed.who >> 64) as u64, wait_ms, why })
    }

    /// Why the ledger has not granted what a request needs.
    fn why(&self, keyed: &Keyed, need: Need) -> Why {
        let spent = self.accounts.get(&keyed.account).map_or(0, Account::spent_by_all);
        if spent.saturating_add(need.amount) > keyed.amount { Why::Spent } else { Why::Reserved }
    }

    /// A request that bounded nothing has cost so much: what the next ones are thought to cost, on whatever key.
    fn note_typical(&mut self, budget: usize, used: u64) {
        if self.typical.len() <= budget {
            self.typical.resize(budget.saturating_add(1), 0);
        }
        if let Some(typical) = self.typical.get_mut(budget) {
            *typical = used.max(*typical - *typical / 16);
        }
    }

    fn note_crossed(&mut self, key: u128, balance: &Balance) {
        let Some(account) = self.accounts.get(&key).filter(|_| balance.crossed > 0) else { return };
        let Account { budget, who, amount, window, .. } = *account;
        let (percent, spent) = (balance.crossed, balance.spent);
        if self.crossed.len() < MOST_CROSSED {
            self.crossed.push(Crossed { budget, who: (who >> 64) as u64, percent, spent, amount, window });
        }
        self.tally(budget, |tally| tally.thresholds += 1);
    }

    /// Thresholds that were passed since this was last asked.
    pub fn take_crossed(&mut self) -> Vec<Crossed> {
        std::mem::take(&mut self.crossed)
    }

    /// Whether there are any.
    pub const fn has_crossed(&self) -> bool {
        !self.crossed.is_empty()
    }

    /// What is known here of a key's account. `None`: nothing.
    pub fn peek(
        &self,
        budget: &Budget,
        keyed: &Keyed,
        now: Timestamp,
        data: &mut dyn SharedData,
    ) -> Option<Standing> {
        match budget.scope {
            LimitScope::Node => {
                let (spent, reserved) = book::peek(keyed.account, now.as_millis(), data);
                Some(Standing { spent, reserved })
            }
            LimitScope::Fleet => {
                let account = self.accounts.get(&keyed.account)?;
                let reserved = account.known?.reserved;
                Some(Standing { spent: account.spent_by_all(), reserved })
            }
        }
    }

    /// Accounts of this worker, and the bytes that they take.
    pub fn usage(&self) -> (usize, usize) {
        (self.accounts.len(), self.accounts.len() * (size_of::<Account>() + size_of::<u128>()))
    }

    /// What happened since the last time.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn tally(&mut self, budget: usize, how: impl FnOnce(&mut Tally)) {
        let tallies = &mut self.counts.by_budget;
        if tallies.len() <= budget {
            tallies.resize(budget.saturating_add(1), Tally::default());
        }
        tallies.get_mut(budget).map(how);
    }
}

/// Accounts of a worker.
const MOST_ACCOUNTS: usize = 4_096;
/// Thresholds that are to be told.
const MOST_CROSSED: usize = 64;
/// When to come again for what others may give back.
const SOON_MS: u64 = 2_000;
const HOUR_MS: u64 = 3_600_000;

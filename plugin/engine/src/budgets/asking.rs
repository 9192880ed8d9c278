//! What a worker asks Redis about its accounts and tells it of them: one question at a time for each account, with what all who
//! wait for it need.

use selvage_llm::forecast::{Basis, Forecast, Hours, Window as Ahead, forecast};

use super::account::Account;
use super::ledger::{Balance, Need};
use super::question::{HoursRequest, LedgerRequest};
use super::{Budgets, HOUR_MS, Keyed, Reservation, Reserved, Ticket, Verdict, board};
use crate::chance;
use crate::config::{Budget, LimitScope};
use crate::host::SharedData;
use crate::limits::Patience;
use crate::time::Timestamp;

impl Budgets {
    /// A request waits for what Redis says. `None`: it cannot.
    pub(super) fn wait(
        &mut self,
        keyed: &Keyed,
        need: Need,
        patience: Patience,
        now: Timestamp,
    ) -> Option<Reserved> {
        let until = match patience {
            Patience::New => now.plus(std::time::Duration::from_millis(self.timeout_ms)),
            Patience::Until(until) if now < until => until,
            _ => return None,
        };
        if now < self.unreachable_until || self.tickets.len() >= MOST_TICKETS {
            return None;
        }
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let (number, account) = (self.last_ticket | OF_BUDGETS, keyed.account);
        self.accounts.get_mut(&account)?.waiting.push((number, need));
        self.tickets.push(Ticket { number, account, until });
        self.counts.waited += 1;
        self.will_ask(account);
        Some(Reserved::Waits { ticket: number, until })
    }

    /// An account is to be asked about, unless a question is under way: then it is when that is answered.
    pub(super) fn will_ask(&mut self, key: u128) {
        let is_asked = self.accounts.get(&key).is_none_or(|account| account.asking.is_some());
        if !is_asked && !self.to_ask.contains(&key) {
            self.to_ask.push_back(key);
        }
    }

    /// What is to be asked of Redis next. To be given back with the answer.
    pub fn next_question(&mut self, budgets: &[Budget], now: Timestamp) -> Option<LedgerRequest> {
        while let Some(key) = self.to_ask.pop_front() {
            let question = chance::next(&mut self.random);
            let Some(account) = self.accounts.get_mut(&key) else { continue };
            let Some(budget) = budgets.get(account.budget) else { continue };
            let first = account.waiting.len().min(MOST_NEEDS);
            let asked: Vec<(u64, Need)> = account.waiting.drain(..first).collect();
            let needs = asked.iter().map(|(_, need)| *need).collect();
            let entry = account.entry(needs, &budget.soft, chance::mixed(question).max(1), now.as_millis());
            account.asking = Some((question, asked));
            account.is_untold = false;
            self.counts.asked += 1;
            let rest_ms = account.window.until_ms.saturating_sub(now.as_millis());
            return Some(LedgerRequest { key, entry, rest_ms, question });
        }
        None
    }

    /// Which hours Redis is to be told of next.
    pub fn next_hours(&mut self) -> Option<HoursRequest> {
        while let Some(key) = self.to_tell_hours.pop_front() {
            let question = chance::next(&mut self.random);
            let Some(account) = self.accounts.get_mut(&key) else { continue };
            let spent = std::mem::take(&mut account.hours);
            return Some(HoursRequest { key: account.who, spent, question });
        }
        None
    }

    /// Whether there is something to ask or to tell.
    pub fn has_questions(&self) -> bool {
        !self.to_ask.is_empty() || !self.to_tell_hours.is_empty()
    }

    /// Redis has answered, or has not.
    pub fn answered(&mut self, request: &LedgerRequest, answer: Option<&Balance>, now: Timestamp) {
        let key = request.key;
        let Some(account) = self.accounts.get_mut(&key) else { return };
        // The answer to a question of an account that was there before it.
        if account.asking.as_ref().is_none_or(|(question, _)| *question != request.question) {
            return;
        }
        let Some((_, asked)) = account.asking.take() else { return };
        let Some(balance) = answer else {
            self.counts.failed += 1;
            account.is_untold = true;
            let waiting = std::mem::take(&mut account.waiting);
            for (ticket, _) in asked.into_iter().chain(waiting) {
                self.decide(ticket, Verdict::Failed);
            }
            return;
        };
        account.learn(balance, &request.entry, now.as_millis());
        self.tellers = balance.tellers;
        let keyed = account.keyed(key);
        let life = account.life;
        for ((ticket, need), granted) in asked.into_iter().zip(&balance.granted) {
            let is_waiting = self.tickets.iter().any(|waiting| waiting.number == ticket);
            let Some(account) = self.accounts.get_mut(&key) else { return };
            match (granted, is_waiting) {
                (true, true) => {
                    let (amount, is_guess) = (need.at_least(balance.largest), need.is_guess);
                    account.reserved = account.reserved.saturating_add(amount);
                    let reservation = Reservation { keyed, life, amount, is_guess };
                    self.decide(ticket, Verdict::Granted(reservation));
                }
                // Nobody is there any more for whom it is reserved.
                (true, false) => account.is_untold = true,
                (false, _) => self.decide(ticket, Verdict::Refused(key)),
            }
        }
        self.note_crossed(key, balance);
        let more =
            self.accounts.get(&key).is_some_and(|account| account.is_untold || !account.waiting.is_empty());
        if more {
            self.will_ask(key);
        }
    }

    /// Redis has told what was spent by the hour.
    pub fn told_hours(&mut self, request: &HoursRequest, hours: &Hours, now: Timestamp) {
        let now_s = now.as_millis() / 1_000;
        for account in self.accounts.values_mut().filter(|account| account.who == request.key) {
            account.look_ahead(hours, now_s);
        }
    }

    /// Redis is not to be asked before this moment.
    pub fn leave_redis_alone(&mut self, until: Timestamp) {
        self.unreachable_until = self.unreachable_until.max(until);
    }

    fn decide(&mut self, ticket: u64, verdict: Verdict) {
        if let Some(place) = self.tickets.iter().position(|waiting| waiting.number == ticket) {
            self.tickets.swap_remove(place);
            self.verdicts.push((ticket, verdict));
            self.decided.push(ticket);
        }
    }

    /// What was said of a request that waited; where nothing was it waits no longer.
    pub(super) fn take_verdict(&mut self, ticket: u64) -> Verdict {
        self.decided.retain(|decided| *decided != ticket);
        if let Some(place) = self.verdicts.iter().position(|(decided, _)| *decided == ticket) {
            return self.verdicts.swap_remove(place).1;
        }
        self.stop_waiting(ticket);
        Verdict::Failed
    }

    fn stop_waiting(&mut self, ticket: u64) {
        let Some(place) = self.tickets.iter().position(|waiting| waiting.number == ticket) else { return };
        let gone = self.tickets.swap_remove(place);
        if let Some(account) = self.accounts.get_mut(&gone.account) {
            account.waiting.retain(|(waiting, _)| *waiting != ticket);
        }
    }

    /// A request that waited is gone: what was reserved for it is free.
    pub fn leave(&mut self, ticket: u64) {
        self.decided.retain(|decided| *decided != ticket);
        let Some(place) = self.verdicts.iter().position(|(decided, _)| *decided == ticket) else {
            return self.stop_waiting(ticket);
        };
        if let (_, Verdict::Granted(reservation)) = self.verdicts.swap_remove(place) {
            let key = reservation.keyed.account;
            if let Some(account) = self.accounts.get_mut(&key) {
                account.reserved = account.reserved.saturating_sub(reservation.amount);
                account.is_untold = true;
            }
            self.will_ask(key);
        }
    }

    /// Who has waited enough goes on.
    pub fn look_again(&mut self, now: Timestamp) {
        let late = self.tickets.iter().filter(|ticket| now >= ticket.until);
        let late: Vec<u64> = late.map(|ticket| ticket.number).collect();
        for ticket in late {
            self.stop_waiting(ticket);
            self.verdicts.push((ticket, Verdict::Failed));
            self.decided.push(ticket);
        }
    }

    /// Requests that wait.
    pub const fn waiting(&self) -> usize {
        self.tickets.len()
    }

    /// Tickets that were decided since this was last asked.
    pub fn take_decided(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.decided)
    }

    /// Whether there are any.
    pub const fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// Sees to it that what is reserved stays so, that what is spent is told, and that operators see it. To be called by tick.
    pub fn tidy(&mut self, budgets: &[Budget], now: Timestamp, data: &mut dyn SharedData) {
        let now_ms = now.as_millis();
        if self.accounts.is_empty() || now_ms.saturating_sub(self.looked_at) < LOOKS_EVERY_MS {
            return;
        }
        self.looked_at = now_ms;
        let is_reachable = now >= self.unreachable_until;
        let mut to_tell = Vec::new();
        for (key, account) in &mut self.accounts {
            let silent_ms = now_ms.saturating_sub(account.told_at);
            let is_due = account.is_untold
                || account.reserved > 0 && silent_ms >= RENEWED_EVERY_MS
                || account.spent > 0 && silent_ms >= RETOLD_EVERY_MS
                || silent_ms >= ASKED_EVERY_MS && now_ms.saturating_sub(account.seen_at) < ACTIVE_MS;
            if is_due && to_tell.len() < MOST_TOLD {
                to_tell.push(*key);
            }
            let is_told = now_ms.saturating_sub(account.hours_told_at) < HOURS_EVERY_MS;
            if account.hours.is_empty() || is_told {
                continue;
            }
            account.hours_told_at = now_ms;
            match budgets.get(account.budget).map(|budget| budget.scope) {
                Some(LimitScope::Fleet) if is_reachable => self.to_tell_hours.push_back(*key),
                Some(LimitScope::Fleet) => {}
                _ => {
                    account.hours.clear();
                    let even = account.evenly(now_ms);
                    account.look_ahead(&even, now_ms / 1_000);
                    if let Some(ahead) = &mut account.forecast {
                        ahead.basis = Basis::Linear;
                    }
                }
            }
        }
        for key in to_tell {
            let budget = self.accounts.get(&key).and_then(|account| budgets.get(account.budget));
            match budget {
                Some(budget) if is_reachable || budget.scope == LimitScope::Node => {
                    self.tell(key, budget, now_ms, data);
                }
                _ => {}
            }
        }
        if now_ms.saturating_sub(self.shown_at) >= SHOWN_EVERY_MS {
            self.shown_at = now_ms;
            let unshown = self.accounts.values_mut().filter(|account| account.is_unshown);
            board::show(unshown, budgets, now_ms, data);
        }
        self.accounts.retain(|_, account| account.window.until_ms > now_ms || !account.is_idle(now_ms));
    }
}

impl Account {
    fn keyed(&self, account: u128) -> Keyed {
        let Self { budget, identity, who, window, amount, .. } = *self;
        Keyed { budget, identity, who, account, window, amount }
    }

    /// What is known of the hours to come, from those that were.
    fn look_ahead(&mut self, hours: &Hours, now_s: u64) {
        let window = Ahead {
            end: self.window.until_ms / 1_000,
            spent: self.spent_by_all(),
            amount: Some(self.amount),
        };
        let ahead: Forecast = forecast(hours, &window, now_s);
        (self.forecast, self.is_unshown) = (Some(ahead), true);
    }

    /// What was spent in the window, as if it had been so evenly: where nobody has kept the hours.
    fn evenly(&self, now_ms: u64) -> Hours {
        let (first, now) = (self.window.from_ms / HOUR_MS, now_ms / HOUR_MS);
        let each = self.spent_by_all() / (now.saturating_sub(first) + 1);
        (first..=now).map(|hour| (hour, each)).collect()
    }
}

/// Sets them apart from the tickets of limits and pools.
const OF_BUDGETS: u64 = 1 << 63 | 1 << 62;
/// Requests that wait at once; further ones go by what holds without Redis.
const MOST_TICKETS: usize = 1_024;
/// Needs in one question.
const MOST_NEEDS: usize = 32;
/// Accounts that are told of at one tick.
const MOST_TOLD: usize = 16;
const LOOKS_EVERY_MS: u64 = 100;
/// What is reserved is told again so often: sooner than the ledger takes a worker for dead.
const RENEWED_EVERY_MS: u64 = 10_000;
/// What is spent is told again so often, in case the ledger was lost.
const RETOLD_EVERY_MS: u64 = 300_000;
/// What others have done is asked so often, for operators and for when Redis cannot be asked, as long as requests come.
const ASKED_EVERY_MS: u64 = 5_000;
const ACTIVE_MS: u64 = 60_000;
const HOURS_EVERY_MS: u64 = 60_000;
const SHOWN_EVERY_MS: u64 = 1_000;

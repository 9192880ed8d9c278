//! What was spent of a budget, and what is reserved, by everybody who spends of it: the arithmetic that the
//! [script](super::question::LEDGER) does in Redis, for the node and for tests.
//!
//! Each *teller* (a worker's account) says how much it has spent in all, and how much it has reserved. So whatever is said twice counts
//! once, and what Redis has lost is there again when all have told it. Who has said nothing for [`SILENT_MS`] has nothing reserved
//! any more: nothing that a dead worker has reserved stays.

use crate::host::wire::{take_u32, take_u64};

/// The ledger of one key in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Spent by those that are forgotten.
    base: u64,
    /// The last threshold that was told.
    told: u32,
    /// The most that a request which bounded nothing has cost.
    largest: u64,
    /// Who has said something last is the last.
    tellers: Vec<Teller>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Teller {
    id: u64,
    spent: u64,
    reserved: u64,
    seen_ms: u64,
    /// Of what it has said last.
    turn: u64,
}

/// What a request would reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// So much.
    pub amount: u64,
    /// It may cost more: nothing bounds its answer.
    pub is_guess: bool,
}

impl Need {
    /// What is reserved for it where others that bounded nothing have cost so much.
    pub fn at_least(&self, largest: u64) -> u64 {
        if self.is_guess { self.amount.max(largest) } else { self.amount }
    }
}

/// What a teller says and wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What may be spent in the window.
    pub amount: u64,
    /// Who says it.
    pub teller: u64,
    /// How often it has said something: what comes late, or twice, reserves nothing.
    pub turn: u64,
    /// What it has spent in all.
    pub spent: u64,
    /// What it has reserved, and not settled.
    pub reserved: u64,
    /// The most that a request which bounded nothing has cost, as far as it knows.
    pub largest: u64,
    /// What is to be reserved further, each for itself.
    pub needs: Vec<Need>,
    /// Percents of the amount that are told when they are spent, ascending.
    pub soft: Box<[u8]>,
}

/// What it is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Which of the needs are reserved, each with what it is [at least](Need::at_least).
    pub granted: Vec<bool>,
    /// Spent by all.
    pub spent: u64,
    /// Reserved by all.
    pub reserved: u64,
    /// Tellers who have said something of late.
    pub tellers: u32,
    /// The threshold that has just been passed; 0: none.
    pub crossed: u32,
    /// The most that a request which bounded nothing has cost, as far as anybody knows.
    pub largest: u64,
}

impl Ledger {
    /// A teller says something.
    pub fn enter(&mut self, entry: &Entry, now_ms: u64) -> Balance {
        let (mut own, mut held) = (entry.spent.min(MOST), entry.reserved.min(MOST));
        let (mut turn, mut is_late) = (entry.turn, false);
        let (mut spent, mut reserved, mut tellers) = (0u64, 0u64, 1u32);
        let known = std::mem::take(&mut self.tellers);
        let surplus = known.len().saturating_sub(MOST_TELLERS - 1);
        for (place, mut teller) in known.into_iter().enumerate() {
            let silent_ms = now_ms.saturating_sub(teller.seen_ms);
            if teller.id == entry.teller {
                own = own.max(teller.spent);
                if entry.turn <= teller.turn {
                    (is_late, held, turn) = (true, teller.reserved, teller.turn);
                }
                continue;
            }
            if silent_ms > SILENT_MS {
                teller.reserved = 0;
            } else {
                tellers = tellers.saturating_add(1);
            }
            if place < surplus || silent_ms > FORGOTTEN_MS {
                self.base = self.base.saturating_add(teller.spent);
                continue;
            }
            spent = spent.saturating_add(teller.spent);
            reserved = reserved.saturating_add(teller.reserved);
            self.tellers.push(teller);
        }
        spent = spent.saturating_add(self.base).saturating_add(own);
        self.largest = self.largest.max(entry.largest.min(MOST));
        let largest = self.largest;
        let granted = entry.needs.iter().map(|need| {
            let left = entry.amount.saturating_sub(spent).saturating_sub(reserved).saturating_sub(held);
            let amount = need.at_least(largest);
            // Close to the end those that may cost more go one by one.
            let waits = need.is_guess && left / EDGE < amount && held > 0;
            let is_granted = amount <= left && !waits && !is_late;
            if is_granted {
                held = held.saturating_add(amount);
            }
            is_granted
        });
        let granted = granted.collect();
        held = held.min(MOST);
        self.tellers.push(Teller { id: entry.teller, spent: own, reserved: held, seen_ms: now_ms, turn });
        let is_passed = |percent: &&u8| {
            u32::from(**percent) > self.told
                && u128::from(spent) * 100 >= u128::from(entry.amount) * u128::from(**percent)
        };
        let crossed = entry.soft.iter().rev().find(is_passed).map_or(0, |percent| u32::from(*percent));
        self.told = self.told.max(crossed);
        let reserved = reserved.saturating_add(held);
        Balance { granted, spent, reserved, tellers, crossed, largest }
    }

    /// Spent and reserved at a moment.
    pub fn at(&self, now_ms: u64) -> (u64, u64) {
        let spent = self.tellers.iter().fold(self.base, |sum, teller| sum.saturating_add(teller.spent));
        let heard = self.tellers.iter().filter(|teller| now_ms.saturating_sub(teller.seen_ms) <= SILENT_MS);
        (spent, heard.fold(0, |sum: u64, teller| sum.saturating_add(teller.reserved)))
    }

    /// Appends its bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(&self.largest.to_le_bytes());
        out.extend_from_slice(&self.told.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.tellers.len()).unwrap_or(u32::MAX).to_le_bytes());
        for Teller { id, spent, reserved, seen_ms, turn } in &self.tellers {
            for number in [id, spent, reserved, seen_ms, turn] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    /// From such bytes, which are taken off the front. `None` if they are damaged.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (base, largest) = (take_u64(bytes)?, take_u64(bytes)?);
        let (told, count) = (take_u32(bytes)?, take_u32(bytes)?);
        let mut ledger = Self { base, told, largest, tellers: Vec::new() };
        for _ in 0..count {
            let (id, spent, reserved) = (take_u64(bytes)?, take_u64(bytes)?, take_u64(bytes)?);
            let (seen_ms, turn) = (take_u64(bytes)?, take_u64(bytes)?);
            ledger.tellers.push(Teller { id, spent, reserved, seen_ms, turn });
        }
        Some(ledger)
    }
}

/// What a teller has reserved counts for so long after it has last said something.
pub const SILENT_MS: u64 = 30_000;
/// After so long what it has spent is added to that of those who are forgotten: a worker that was not heard for nearly as long
/// comes back as another teller, with what it has not told.
pub const FORGOTTEN_MS: u64 = 600_000;
/// Tellers that are known at a time.
pub const MOST_TELLERS: usize = 2_048;
/// No sum is more, nor anything in it: Redis counts in doubles, which are exact up to here.
pub const MOST: u64 = 1 << 52;
/// So many reservations from the end on, those that may cost more go one by one for each teller.
const EDGE: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each says something later than the one before.
    pub(crate) fn entry(teller: u64, spent: u64, reserved: u64, needs: &[u64]) -> Entry {
        static TURN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let needs = needs.iter().map(|amount| Need { amount: *amount, is_guess: false }).collect();
        Entry { amount: 1_000, teller, turn, spent, reserved, largest: 0, needs, soft: [50, 80].into() }
    }

    #[test]
    fn what_is_said_twice_counts_once_and_what_was_lost_is_there_again_once_all_have_said_it() {
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            ledger.enter(&entry(1, 100, 0, &[]), 0);
            assert_eq!(ledger.enter(&entry(2, 40, 5, &[]), 0).spent, 140);
        }
        // What comes late says less than what is known.
        assert_eq!(ledger.enter(&entry(1, 90, 0, &[]), 0).spent, 140);
        let mut emptied = Ledger::default();
        emptied.enter(&entry(2, 40, 5, &[]), 0);
        let balance = emptied.enter(&entry(1, 100, 0, &[]), 0);
        assert_eq!((balance.spent, balance.reserved, balance.tellers), (140, 5, 2));
    }

    #[test]
    fn what_comes_late_or_twice_neither_reserves_nor_frees() {
        let mut ledger = Ledger::default();
        let (late, first, again) = (entry(1, 0, 0, &[]), entry(1, 0, 0, &[600]), entry(1, 0, 600, &[]));
        assert_eq!(ledger.enter(&first, 0).granted, [true]);
        assert_eq!(ledger.enter(&late, 0).reserved, 600);
        let balance = ledger.enter(&first, 0);
        assert_eq!((balance.granted, balance.reserved), (vec![false], 600));
        assert_eq!(ledger.enter(&again, 0).reserved, 600);
    }

    #[test]
    fn never_is_more_reserved_than_is_left_and_each_need_is_judged_for_itself() {
        let mut ledger = Ledger::default();
        let balance = ledger.enter(&entry(1, 500, 100, &[300, 200, 100]), 0);
        assert_eq!((balance.granted, balance.reserved), (vec![true, false, true], 500));
        assert_eq!(ledger.enter(&entry(2, 0, 0, &[1]), 0).granted, [false]);
        // One has cost less than was reserved for it.
        ledger.enter(&entry(1, 600, 100, &[]), 0);
        assert_eq!(ledger.enter(&entry(2, 0, 0, &[300]), 0).granted, [true]);
    }

    #[test]
    fn what_the_dead_have_reserved_is_free_after_half_a_minute_and_what_they_have_spent_stays_spent() {
        let mut ledger = Ledger::default();
        ledger.enter(&entry(1, 100, 900, &[]), 0);
        assert_eq!(ledger.enter(&entry(2, 0, 0, &[1]), SILENT_MS).granted, [false]);
        assert_eq!(ledger.at(SILENT_MS + 1), (100, 0));
        let balance = ledger.enter(&entry(2, 0, 0, &[900]), SILENT_MS + 1);
        assert_eq!((balance.granted, balance.spent, balance.tellers), (vec![true], 100, 1));
        let balance = ledger.enter(&entry(2, 0, 0, &[]), FORGOTTEN_MS + 1);
        assert_eq!((balance.spent, ledger.tellers.len()), (100, 1));
        for teller in 0..4_000 {
            ledger.enter(&entry(10 + teller, 1, 0, &[]), FORGOTTEN_MS + 1);
        }
        assert_eq!((ledger.at(FORGOTTEN_MS + 1).0, ledger.tellers.len()), (4_100, MOST_TELLERS));
    }

    #[test]
    fn close_to_the_end_what_may_cost_more_goes_one_by_one() {
        let guess = |teller, held, spent| {
            let needs = vec![Need { amount: 100, is_guess: true }; 3];
            Entry { needs, ..entry(teller, spent, held, &[]) }
        };
        assert_eq!(Ledger::default().enter(&guess(1, 0, 0), 0).granted, [true; 3]);
        let mut ledger = Ledger::default();
        assert_eq!(ledger.enter(&guess(1, 0, 601), 0).granted, [true, false, false]);
        assert_eq!(ledger.enter(&guess(2, 0, 0), 0).granted, [true, false, false]);
        // What one has cost is known to all.
        let mut ledger = Ledger::default();
        ledger.enter(&Entry { largest: 300, ..entry(1, 0, 0, &[]) }, 0);
        let balance = ledger.enter(&guess(2, 0, 0), 0);
        assert_eq!((balance.granted.as_slice(), balance.largest), (&[true, false, false][..], 300));
    }

    #[test]
    fn a_threshold_is_told_once_and_of_several_the_highest() {
        let mut ledger = Ledger::default();
        let mut crossed = |teller, spent| ledger.enter(&entry(teller, spent, 0, &[]), 0).crossed;
        assert_eq!([crossed(1, 499), crossed(2, 1), crossed(1, 499), crossed(1, 900)], [0, 50, 0, 80]);
        assert_eq!([crossed(2, 5_000), crossed(3, 0)], [0, 0]);
        assert_eq!(Ledger::default().enter(&entry(1, 1_000, 0, &[]), 0).crossed, 80);
    }

    #[test]
    fn its_bytes_are_read_as_they_were_written() {
        let mut ledger = Ledger::default();
        (1..=3).for_each(|teller| drop(ledger.enter(&entry(teller, 300, 7, &[1]), teller)));
        let mut bytes = Vec::new();
        ledger.write(&mut bytes);
        assert_eq!(Ledger::read(&mut &*bytes), Some(ledger));
        (0..bytes.len()).for_each(|at| assert_eq!(Ledger::read(&mut &bytes[..at]), None));
    }
}

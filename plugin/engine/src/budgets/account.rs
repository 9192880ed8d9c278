//! What one worker knows of a key's budget in a window.

use selvage_llm::forecast::Forecast;

use super::calendar::Window;
use super::ledger::{Balance, Entry, Need};

/// The account of a key in a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// Which budget of the policy.
    pub budget: usize,
    /// See [`Budget::identity`](crate::config::Budget::identity).
    pub identity: u64,
    /// Whose it is, in whatever window.
    pub who: u128,
    pub window: Window,
    /// What may be spent.
    pub amount: u64,
    /// By which what is reserved on it is known, as long as it lives.
    pub life: u64,
    /// By which this worker is known in the ledger.
    pub teller: u64,
    /// How often it has told the ledger something.
    pub turn: u64,
    /// What this worker has spent in all.
    pub spent: u64,
    /// What it has reserved, and not settled.
    pub reserved: u64,
    /// The most that a request which bounds nothing has cost.
    pub largest: u64,
    /// Something of it is not told.
    pub is_untold: bool,
    /// When it was last told.
    pub told_at: u64,
    /// When a request was last on it.
    pub seen_at: u64,
    /// What the ledger said then.
    pub known: Option<Known>,
    /// A question is under way, with this number and the needs of these tickets.
    pub asking: Option<(u64, Vec<(u64, Need)>)>,
    /// Those who are to be in the next question.
    pub waiting: Vec<(u64, Need)>,
    /// What was spent by the hour, and not told.
    pub hours: Vec<(u64, u64)>,
    /// When that was last told.
    pub hours_told_at: u64,
    /// Where it will stand at the end of the window, as far as it is known.
    pub forecast: Option<Forecast>,
    /// The board does not know it as it is.
    pub is_unshown: bool,
}

/// What the ledger said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Spent by all.
    pub spent: u64,
    /// Reserved by all.
    pub reserved: u64,
    /// Reserved by others.
    pub reserved_by_others: u64,
    pub tellers: u32,
    /// Of what this worker had spent then.
    pub own: u64,
}

impl Account {
    /// What is entered into the ledger, with further needs. `other` is a number for a teller.
    pub fn entry(&mut self, needs: Vec<Need>, soft: &[u8], other: u64, now_ms: u64) -> Entry {
        // Before the ledger forgets who has said nothing for long, this worker is somebody else, with what it has not told.
        if let Some(known) = &mut self.known
            && now_ms.saturating_sub(self.told_at) > ANOTHER_AFTER_MS
        {
            self.teller = other;
            self.spent = self.spent.saturating_sub(known.own);
            known.own = 0;
        }
        self.turn = self.turn.saturating_add(1);
        let Self { amount, teller, turn, spent, reserved, largest, .. } = *self;
        Entry { amount, teller, turn, spent, reserved, largest, needs, soft: soft.into() }
    }

    /// The ledger has answered to an entry.
    pub fn learn(&mut self, balance: &Balance, entry: &Entry, now_ms: u64) {
        let Balance { spent, reserved, tellers, .. } = *balance;
        let granted = entry.needs.iter().zip(&balance.granted).filter(|(_, granted)| **granted);
        let own =
            granted.fold(entry.reserved, |sum, (need, _)| sum.saturating_add(need.at_least(balance.largest)));
        let reserved_by_others = reserved.saturating_sub(own);
        self.known = Some(Known { spent, reserved, reserved_by_others, tellers, own: entry.spent });
        self.told_at = now_ms;
        self.largest = self.largest.max(balance.largest);
        self.is_unshown = true;
    }

    /// Spent by all, as far as it is known here.
    pub fn spent_by_all(&self) -> u64 {
        self.known
            .map_or(self.spent, |known| known.spent.saturating_add(self.spent.saturating_sub(known.own)))
    }

    /// Whether the ledger has just said that all of it is spent.
    pub fn is_known_spent(&self, now_ms: u64) -> bool {
        self.spent_by_all() >= self.amount && now_ms.saturating_sub(self.told_at) < REMEMBERED_MS
    }

    /// What this worker may spend of what is left, where the ledger cannot be asked and so many others may spend as well.
    pub fn share_admits(&self, need: u64, tellers: u32) -> bool {
        let known = self.known.unwrap_or_default();
        let tellers = if self.known.is_some() { known.tellers } else { tellers };
        let left = self.amount.saturating_sub(known.spent).saturating_sub(known.reserved_by_others);
        let share = left / u64::from(tellers.max(1));
        let own = self.spent.saturating_sub(known.own);
        own.saturating_add(self.reserved).saturating_add(need) <= share
    }

    /// So much was spent in this hour.
    pub fn note_hour(&mut self, hour: u64, spent: u64) {
        if let Some((_, sum)) = self.hours.iter_mut().find(|(known, _)| *known == hour) {
            *sum = sum.saturating_add(spent);
        } else if self.hours.len() < MOST_HOURS {
            self.hours.push((hour, spent));
        }
    }

    /// Whether it can be forgotten without anything being lost.
    pub fn is_idle(&self, now_ms: u64) -> bool {
        let is_told = self.reserved == 0 && !self.is_untold;
        is_told
            && self.asking.is_none()
            && self.waiting.is_empty()
            && now_ms.saturating_sub(self.told_at) > IDLE_MS
    }
}

/// Hours of which is known what was spent, and which are not told.
const MOST_HOURS: usize = 48;
/// Sooner than the ledger [forgets](super::ledger::FORGOTTEN_MS), and later than it is told anyway.
const ANOTHER_AFTER_MS: u64 = 540_000;
/// So long the ledger is not asked again for what it has said is spent.
const REMEMBERED_MS: u64 = 1_000;
/// An account of which nothing was heard for so long may make room.
const IDLE_MS: u64 = 60_000;

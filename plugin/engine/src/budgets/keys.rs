//! Whose budget a request is on, and what it may cost.

use selvage_llm::formats::Usage;
use xxhash_rust::xxh3::xxh3_128;

use super::calendar::{Window, window_of};
use super::ledger::Need;
use crate::callers::{Asking, write_values};
use crate::config::{Budget, BudgetUnit};
use crate::limits::Reserve;

/// A budget's key for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Which budget of the policy.
    pub budget: usize,
    /// See [`Budget::identity`].
    pub identity: u64,
    /// Of the budget and whoever it is.
    pub who: u128,
    /// The same in this window.
    pub account: u128,
    /// The window.
    pub window: Window,
    /// What may be spent in it.
    pub amount: u64,
}

/// What is reserved for a request: what it may use at most, or more where others like it have used more. `cost` tells what a usage
/// costs in money, if the model has a price.
pub(super) fn need(
    budget: &Budget,
    reserve: &Reserve,
    largest: u64,
    cost: impl Fn(&Usage) -> Option<u64>,
) -> Need {
    let output = reserve.output.unwrap_or(budget.reserve_output);
    let usage = Usage { input: reserve.input, output, ..Usage::default() };
    let (amount, is_guess) = match budget.unit() {
        BudgetUnit::Tokens => (usage.input.saturating_add(usage.output), reserve.output.is_none()),
        // Its input may be put into the provider's cache, which may be dearer.
        BudgetUnit::Money => match (cost(&usage), cost(&Usage { cache_write: usage.input, ..usage })) {
            (Some(plain), Some(written)) => (plain.max(written), reserve.output.is_none()),
            // Which model answers, and what that costs, is not known.
            _ => (1, true),
        },
    };
    let amount = if is_guess { amount.max(largest) } else { amount };
    // What is beyond all of it is refused, however much that is.
    Need { amount: amount.min(budget.amount().saturating_add(1)), is_guess }
}

/// The key of a request. `address` keeps the client's for the next budget.
pub fn keyed(
    (place, budget): (usize, &Budget),
    asking: &mut Asking<'_>,
    address: &mut Option<Vec<u8>>,
    now_ms: u64,
) -> Keyed {
    let identity = budget.identity;
    let mut text = identity.to_le_bytes().to_vec();
    write_values(&budget.by, asking, address, &mut text);
    let who = xxh3_128(&text).max(1);
    let window = window_of(budget.window, now_ms);
    text.extend_from_slice(&window.from_ms.to_le_bytes());
    Keyed { budget: place, identity, who, account: xxh3_128(&text).max(1), window, amount: budget.amount() }
}

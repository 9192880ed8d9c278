//! Whose budget a request is on, and what it may cost.

use selvage_llm::formats::Usage;
use xxhash_rust::xxh3::xxh3_128;

use super::calendar::{Window, window_of};
use super::ledger::Need;
use crate::callers::{Asking, value_of};
use crate::config::{Budget, BudgetUnit};
use crate::limits::Reserve;
use crate::sized::write_sized;

/// A budget's key for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Which budget of the policy.
    pub budget: usize,
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
/// costs in money.
pub(super) fn need(budget: &Budget, reserve: &Reserve, largest: u64, cost: impl Fn(&Usage) -> u64) -> Need {
    let output = reserve.output.unwrap_or(budget.reserve_output);
    let usage = Usage { input: reserve.input, output, ..Usage::default() };
    let amount = match budget.unit() {
        BudgetUnit::Tokens => usage.input.saturating_add(usage.output),
        BudgetUnit::Money => cost(&usage),
    };
    let is_guess = reserve.output.is_none();
    Need { amount: if is_guess { amount.max(largest) } else { amount }, is_guess }
}

/// The key of a request. `address` keeps the client's for the next budget.
pub fn keyed(
    (place, budget): (usize, &Budget),
    asking: &mut Asking<'_>,
    address: &mut Option<Vec<u8>>,
    now_ms: u64,
) -> Keyed {
    let mut text = Vec::with_capacity(64);
    write_sized(budget.name.as_bytes(), &mut text);
    // Sums in another unit or of another kind of window are others.
    text.extend_from_slice(format!("{} {}", budget.unit().as_str(), budget.window.as_str()).as_bytes());
    for by in &budget.by {
        let mut value = Vec::new();
        text.push(u8::from(value_of(by, asking, address, &mut value)));
        write_sized(&value, &mut text);
    }
    let who = xxh3_128(&text).max(1);
    let window = window_of(budget.window, now_ms);
    text.extend_from_slice(&window.from_ms.to_le_bytes());
    Keyed { budget: place, who, account: xxh3_128(&text).max(1), window, amount: budget.amount() }
}

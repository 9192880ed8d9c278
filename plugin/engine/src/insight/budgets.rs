//! What is spent of budgets, for operators: the accounts of all workers, and whom this one refuses most.

use serde_json::Value;

#[cfg(all(feature = "limits", feature = "llm"))]
use {
    super::refusals::Refusals,
    crate::budgets::board::{self, Line},
    crate::host::Host,
    crate::members::members,
    crate::policy::{Budget, Policy},
};

/// Each budget, with the accounts that have spent most.
#[cfg(all(feature = "limits", feature = "llm"))]
pub fn budgets(
    host: &mut dyn Host,
    policy: &Policy,
    (refusals, shown): (&Refusals, fn(&Budget, u64) -> Value),
    now_ms: u64,
) -> Value {
    let budgets = policy.budgets.iter().enumerate().map(|(nth, budget)| {
        let lines = board::read(budget, now_ms, host);
        let mut of = |family, word| host.metric_of(&budget.name, (family, word));
        let [admitted, refused, beyond] =
            ["admitted", "refused", "beyond"].map(|word| of("budget_requests", word));
        let overrun = of("budget_units", "overrun");
        let most = refusals.most(nth, KEYS).into_iter().map(|key| {
            let hash = format!("{:016x}", key.hash);
            members! { "key": hash, "refused": key.refused, "at_least": key.at_least }
        });
        members! {
            "name": budget.name,
            "unit": budget.unit().as_str(),
            "window": budget.window.as_str(),
            "hard": budget.hard,
            "admitted": admitted,
            "refused": refused,
            "beyond": beyond;
            "amount" => shown(budget, budget.amount()),
            "overrun" => shown(budget, overrun),
            "accounts" => lines.iter().map(|line| account(line, |units| shown(budget, units))).collect(),
            "refused_keys" => most.collect()
        }
    });
    budgets.collect()
}

#[cfg(all(feature = "limits", feature = "llm"))]
fn account(line: &Line, shown: impl Fn(u64) -> Value) -> Value {
    let left = line.amount.saturating_sub(line.spent).saturating_sub(line.reserved);
    let ahead = line.forecast.map(|ahead| {
        members! {
            "basis": ahead.basis.as_str(),
            "runs_out_ms": ahead.runs_out.map(|seconds| seconds.saturating_mul(1_000));
            "expected" => shown(ahead.expected.max(line.spent)),
            "p10" => shown(ahead.p10.max(line.spent)),
            "p90" => shown(ahead.p90.max(line.spent))
        }
    });
    members! {
        "key": format!("{:016x}", line.who),
        "from_ms": line.window.from_ms,
        "until_ms": line.window.until_ms,
        "at_ms": line.at_ms;
        "spent" => shown(line.spent),
        "reserved" => shown(line.reserved),
        "left" => shown(left),
        "forecast" => ahead.unwrap_or_default()
    }
}

/// There are none.
#[cfg(not(all(feature = "limits", feature = "llm")))]
pub fn none() -> Value {
    Value::Array(Vec::new())
}

/// Keys of a budget that are refused most.
#[cfg(all(feature = "limits", feature = "llm"))]
const KEYS: usize = 10;

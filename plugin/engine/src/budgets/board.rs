//! What operators see of budgets: a value in host shared data for each, which all workers write.
//!
//! ```text
//! svb/board/<identity of the budget>: magic "svbb" · n × ( key u64 · eleven u64 ) · xxh3 of all before u64
//! ```

use selvage_llm::forecast::{Basis, Forecast};

use super::account::Account;
use super::calendar::Window;
use crate::config::Budget;
use crate::host::wire::{framed, take_u64, unframed};
use crate::host::{ABSENT, SharedData};

/// The account of a key, as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The first half of the hash of whose it is.
    pub who: u64,
    /// The window.
    pub window: Window,
    /// What may be spent.
    pub amount: u64,
    /// Spent by all.
    pub spent: u64,
    /// Reserved by all.
    pub reserved: u64,
    /// As of this moment, in milliseconds since 1970.
    pub at_ms: u64,
    /// Where it will stand at the end of the window, as far as it is known.
    pub forecast: Option<Forecast>,
}

/// Shows accounts.
pub(super) fn show<'a>(
    accounts: impl Iterator<Item = &'a mut Account>,
    budgets: &[Budget],
    now_ms: u64,
    data: &mut dyn SharedData,
) {
    let mut of: Vec<Vec<Line>> = vec![Vec::new(); budgets.len()];
    for account in accounts {
        account.is_unshown = false;
        // One of a window that has ended would stand in the place of the one that follows.
        if account.window.until_ms <= now_ms {
            continue;
        }
        if let Some(lines) = of.get_mut(account.budget) {
            lines.push(Line {
                who: (account.who >> 64) as u64,
                window: account.window,
                amount: account.amount,
                spent: account.spent_by_all(),
                reserved: account.known.map_or(account.reserved, |known| known.reserved),
                at_ms: now_ms,
                forecast: account.forecast,
            });
        }
    }
    for (budget, lines) in budgets.iter().zip(of).filter(|(_, lines)| !lines.is_empty()) {
        let name = name_of(budget);
        for _ in 0..TRIES {
            let found = data.get(&name);
            let cas = found.as_ref().map_or(ABSENT, |(_, cas)| *cas);
            let known = found.and_then(|(bytes, _)| decode(&bytes)).unwrap_or_default();
            if data.set(&name, &encode(&merged(known, &lines, now_ms)), cas).is_ok() {
                break;
            }
        }
    }
}

/// The accounts of a budget that is shown, those that have spent most first; only those of windows that have not ended.
pub fn read(budget: &Budget, now_ms: u64, data: &mut dyn SharedData) -> Vec<Line> {
    let found = data.get(&name_of(budget)).and_then(|(bytes, _)| decode(&bytes)).unwrap_or_default();
    merged(found, &[], now_ms)
}

/// Of each key the last that was told; those that have spent most.
fn merged(mut known: Vec<Line>, lines: &[Line], now_ms: u64) -> Vec<Line> {
    for line in lines {
        match known.iter_mut().find(|other| other.who == line.who) {
            Some(other) => {
                // Who has told nothing of the hours leaves what another has.
                let forecast = line.forecast.or(other.forecast.filter(|_| other.window == line.window));
                *other = Line { forecast, ..*line };
            }
            None => known.push(*line),
        }
    }
    known.retain(|line| line.window.until_ms > now_ms);
    known.sort_by_key(|line| (std::cmp::Reverse(line.spent), line.who));
    known.truncate(MOST);
    known
}

fn name_of(budget: &Budget) -> String {
    format!("svb/board/{:016x}", budget.identity)
}

fn encode(lines: &[Line]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for Line { who, window, amount, spent, reserved, at_ms, forecast } in lines {
        let ahead = forecast.map_or([0; 5], |ahead| {
            let basis = match ahead.basis {
                Basis::HourOfWeek => 3,
                Basis::HourOfDay => 2,
                Basis::Linear => 1,
            };
            [ahead.expected, ahead.p10, ahead.p90, ahead.runs_out.unwrap_or(u64::MAX), basis]
        });
        let numbers = [*who, window.from_ms, window.until_ms, *amount, *spent, *reserved, *at_ms];
        for number in numbers.into_iter().chain(ahead) {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    framed(out)
}

fn decode(bytes: &[u8]) -> Option<Vec<Line>> {
    let rest = &mut unframed(bytes, MAGIC)?;
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let mut next = || take_u64(rest);
        let (who, window) = (next()?, Window { from_ms: next()?, until_ms: next()? });
        let (amount, spent, reserved, at_ms) = (next()?, next()?, next()?, next()?);
        let (expected, p10, p90, runs_out, basis) = (next()?, next()?, next()?, next()?, next()?);
        let runs_out = (runs_out != u64::MAX).then_some(runs_out);
        let basis = match basis {
            3 => Some(Basis::HourOfWeek),
            2 => Some(Basis::HourOfDay),
            1 => Some(Basis::Linear),
            _ => None,
        };
        let forecast = basis.map(|basis| Forecast { expected, p10, p90, runs_out, basis });
        lines.push(Line { who, window, amount, spent, reserved, at_ms, forecast });
    }
    Some(lines)
}

const MAGIC: [u8; 4] = *b"svbb";
/// Accounts of a budget that are shown.
const MOST: usize = 100;
const TRIES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_each_key_is_shown_and_those_that_have_spent_most() {
        let window = Window { from_ms: 0, until_ms: 100 };
        let line = |who, spent| Line { who, window, amount: 9, spent, at_ms: 5, ..Line::default() };
        let ahead = Forecast { expected: 4, p10: 3, p90: 5, runs_out: Some(7), basis: Basis::HourOfDay };
        let known = vec![Line { forecast: Some(ahead), ..line(1, 2) }, line(2, 3)];
        let shown = merged(known.clone(), &[line(1, 4), line(3, 1)], 50);
        assert_eq!(
            shown.iter().map(|line| (line.who, line.spent)).collect::<Vec<_>>(),
            [(1, 4), (2, 3), (3, 1)]
        );
        assert_eq!(shown[0].forecast, Some(ahead));
        assert_eq!(decode(&encode(&shown)), Some(shown));
        assert!(merged(known, &[], 100).is_empty());
        let many: Vec<Line> = (0..300).map(|who| line(who, who)).collect();
        let most = merged(Vec::new(), &many, 0);
        assert_eq!((most.len(), most[0].spent, most[99].spent), (100, 299, 200));
    }
}

//! The ledgers of a node, in host shared data: those of budgets that count for one Envoy.
//!
//! ```text
//! svb/<n>: magic "svb1" · m × ( account u128 · ends u64 · ledger ) · xxh3 of all before u64
//! ```
//!
//! Shared data forgets nothing, so there is a bounded number of places, and a ledger whose window has ended makes room.

use super::ledger::{Balance, Entry, Ledger};
use crate::host::wire::{framed, take_u64, take_u128, unframed};
use crate::host::{ABSENT, SharedData};

/// Enters something. `None`: there is no room, or others were first again and again.
pub(super) fn enter(
    (account, until_ms): (u128, u64),
    entry: &Entry,
    now_ms: u64,
    data: &mut dyn SharedData,
) -> Option<Balance> {
    let name = format!("svb/{}", account as u64 % PLACES);
    for _ in 0..TRIES {
        let (mut ledgers, cas) = match data.get(&name) {
            // What is damaged is begun anew.
            Some((bytes, cas)) => (decode(&bytes).unwrap_or_default(), cas),
            None => (Vec::new(), ABSENT),
        };
        ledgers.retain(|kept| kept.account == account || kept.until_ms.saturating_add(GRACE_MS) > now_ms);
        if !ledgers.iter().any(|kept| kept.account == account) {
            if ledgers.len() >= MOST {
                ledgers.retain(|kept| kept.until_ms > now_ms);
            }
            if ledgers.len() >= MOST {
                return None;
            }
            ledgers.push(Kept { account, until_ms, ledger: Ledger::default() });
        }
        let kept = ledgers.iter_mut().find(|kept| kept.account == account)?;
        let balance = kept.ledger.enter(entry, now_ms);
        if data.set(&name, &encode(&ledgers), cas).is_ok() {
            return Some(balance);
        }
    }
    None
}

/// Spent and reserved on an account.
pub(super) fn peek(account: u128, now_ms: u64, data: &mut dyn SharedData) -> (u64, u64) {
    let found = data.get(&format!("svb/{}", account as u64 % PLACES));
    let ledgers = found.and_then(|(bytes, _)| decode(&bytes)).unwrap_or_default();
    let kept = ledgers.iter().find(|kept| kept.account == account);
    kept.map_or((0, 0), |kept| kept.ledger.at(now_ms))
}

#[derive(Debug, PartialEq, Eq)]
struct Kept {
    account: u128,
    until_ms: u64,
    ledger: Ledger,
}

fn encode(ledgers: &[Kept]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for Kept { account, until_ms, ledger } in ledgers {
        out.extend_from_slice(&account.to_le_bytes());
        out.extend_from_slice(&until_ms.to_le_bytes());
        ledger.write(&mut out);
    }
    framed(out)
}

fn decode(bytes: &[u8]) -> Option<Vec<Kept>> {
    let rest = &mut unframed(bytes, MAGIC)?;
    let mut ledgers = Vec::new();
    while !rest.is_empty() {
        let (account, until_ms) = (take_u128(rest)?, take_u64(rest)?);
        ledgers.push(Kept { account, until_ms, ledger: Ledger::read(rest)? });
    }
    Some(ledgers)
}

const MAGIC: [u8; 4] = *b"svb1";
/// Places, and ledgers at each.
const PLACES: u64 = 1_024;
const MOST: usize = 16;
const TRIES: usize = 16;
/// A request may settle so long after its window has ended.
const GRACE_MS: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::super::ledger::Need;
    use super::*;
    use crate::store::node::fake::Fake;

    fn entry(teller: u64, spent: u64, needs: &[u64]) -> Entry {
        let needs = needs.iter().map(|amount| Need { amount: *amount, is_guess: false }).collect();
        Entry { amount: 100, teller, turn: 1, spent, reserved: 0, largest: 0, needs, soft: [].into() }
    }

    #[test]
    fn workers_spend_of_one_ledger_and_windows_that_have_ended_make_room() {
        let mut host = Fake::default();
        assert_eq!(enter((1, 9), &entry(1, 60, &[]), 0, &mut host).unwrap().spent, 60);
        assert_eq!(enter((1, 9), &entry(2, 0, &[50, 40]), 0, &mut host).unwrap().granted, [false, true]);
        assert_eq!((peek(1, 0, &mut host), peek(2, 0, &mut host)), ((60, 40), (0, 0)));
        let same_place = |n: u64| (u128::from(1 + n * PLACES), 9);
        for n in 1..MOST as u64 {
            assert!(enter(same_place(n), &entry(1, 1, &[]), 0, &mut host).is_some());
        }
        assert_eq!(enter(same_place(MOST as u64), &entry(1, 1, &[]), 0, &mut host), None);
        assert!(enter(same_place(MOST as u64), &entry(1, 1, &[]), 9, &mut host).is_some());
        let (bytes, _) = host.get("svb/1").unwrap();
        assert_eq!(decode(&bytes).unwrap().len(), 1);
        (0..bytes.len()).for_each(|at| assert_eq!(decode(&bytes[..at]), None));
    }
}

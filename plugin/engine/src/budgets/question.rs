//! What a worker asks Redis about its budgets, and what it is answered: one [`Entry`] of a ledger, or what was spent by the hour.
//!
//! Each is a script on one key, which a cluster takes as well. Redis counts in doubles, which are exact up to 2⁵³.

use selvage_llm::forecast::Hours;

use super::ledger::{Balance, Entry};
use crate::limits::lease::Script;

/// Enters something into a ledger.
pub const LEDGER: Script =
    Script { text: include_str!("ledger.lua"), digest: "409af9fbcbccbb2893436852f900b40a1eb7e8f8" };
/// Adds what was spent by the hour, and tells all of it.
pub const HOURS: Script =
    Script { text: include_str!("hours.lua"), digest: "54a6e62b8fbdf0911ba19889794cab4cf40074bf" };

/// What is entered into a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRequest {
    /// The key of the account, with its window.
    pub key: u128,
    /// What is said, and wanted.
    pub entry: Entry,
    /// Milliseconds until the window ends.
    pub rest_ms: u64,
    /// A number for the question, which the answer repeats: webdis gives some answers to the wrong caller.
    pub question: u64,
}

impl LedgerRequest {
    /// The arguments of the script: letters, digits and commas.
    pub fn arguments(&self) -> Vec<String> {
        let Entry { amount, teller, turn, spent, reserved, largest, needs, soft } = &self.entry;
        let needs =
            needs.iter().map(|need| format!("{}{}", if need.is_guess { "g" } else { "" }, need.amount));
        vec![
            amount.to_string(),
            self.rest_ms.to_string(),
            format!("{teller:x}"),
            spent.to_string(),
            reserved.to_string(),
            listed(needs),
            listed(soft.iter().map(u8::to_string)),
            largest.to_string(),
            turn.to_string(),
            format!("{:x}", self.question),
        ]
    }

    /// From the script's answer; `None` if it is no answer to this question.
    pub fn read(&self, text: &[u8]) -> Option<Balance> {
        let mut words = std::str::from_utf8(text).ok()?.trim_ascii_end().split(' ');
        let granted = words.next()?.strip_prefix('.')?;
        let granted: Option<Vec<bool>> = granted
            .bytes()
            .map(|byte| match byte {
                b'0' => Some(false),
                b'1' => Some(true),
                _ => None,
            })
            .collect();
        let granted = granted?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let (spent, reserved) = (number()?, number()?);
        let [tellers, crossed] = [u32::try_from(number()?).ok()?, u32::try_from(number()?).ok()?];
        let largest = number()?;
        let question = u64::from_str_radix(words.next()?, 16).ok()?;
        let fits = words.next().is_none()
            && question == self.question
            && granted.len() == self.entry.needs.len()
            && spent >= self.entry.spent
            && tellers > 0
            && crossed <= 100;
        fits.then_some(Balance { granted, spent, reserved, tellers, crossed, largest })
    }
}

/// What was spent in the last hours, for Redis to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoursRequest {
    /// The key of the account, without its window.
    pub key: u128,
    /// Hours since 1970, and what was spent in each.
    pub spent: Vec<(u64, u64)>,
    /// A number for the question, which the answer repeats.
    pub question: u64,
}

impl HoursRequest {
    /// The arguments of the script.
    pub fn arguments(&self) -> Vec<String> {
        let hours = self.spent.iter().map(|(hour, spent)| format!("{hour}={spent}"));
        vec![listed(hours), format!("{:x}", self.question)]
    }

    /// From the script's answer: what was spent in each hour of the last 35 days. `None` if it is no answer to this question.
    pub fn read(&self, text: &[u8]) -> Option<Hours> {
        let text = std::str::from_utf8(text).ok()?.trim_ascii_end();
        let (list, question) = text.rsplit_once(' ')?;
        if u64::from_str_radix(question, 16).ok()? != self.question {
            return None;
        }
        let pair = |pair: &str| {
            let (hour, spent) = pair.split_once('=')?;
            Some((hour.parse().ok()?, spent.parse().ok()?))
        };
        list.split(',').filter(|pair| !pair.is_empty()).map(pair).collect()
    }
}

/// With commas between; one that is empty would be no argument.
fn listed(items: impl Iterator<Item = String>) -> String {
    let list = items.collect::<Vec<_>>().join(",");
    if list.is_empty() { "-".into() } else { list }
}

/// The key in Redis of a ledger, below what all keys of the fleet begin with.
pub fn ledger_key(prefix: &str, namespace: u64, hash: u128) -> String {
    format!("{prefix}:budget:{namespace:016x}:{hash:032x}")
}

/// The key in Redis of what was spent by the hour.
pub fn hours_key(prefix: &str, namespace: u64, hash: u128) -> String {
    format!("{prefix}:spent:{namespace:016x}:{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Need;
    use super::*;

    fn request() -> LedgerRequest {
        let need = |amount, is_guess| Need { amount, is_guess };
        let entry = Entry {
            amount: 1_000,
            teller: 0xa,
            turn: 3,
            spent: 5,
            reserved: 6,
            largest: 4,
            needs: vec![need(7, false), need(8, true)],
            soft: [50, 80].into(),
        };
        LedgerRequest { key: 1, entry, rest_ms: 9, question: 0xdef }
    }

    #[test]
    fn scripts_are_asked_with_plain_words_about_one_key() {
        use sha1::{Digest, Sha1};
        assert_eq!(request().arguments().join(" "), "1000 9 a 5 6 7,g8 50,80 4 3 def");
        let empty = Entry { needs: Vec::new(), soft: [].into(), ..request().entry };
        assert_eq!(
            LedgerRequest { entry: empty, ..request() }.arguments().join(" "),
            "1000 9 a 5 6 - - 4 3 def"
        );
        let hours = HoursRequest { key: 1, spent: vec![(3, 4), (5, 6)], question: 0xdef };
        assert_eq!(hours.arguments().join(" "), "3=4,5=6 def");
        for script in [LEDGER, HOURS] {
            assert!(script.text.is_ascii() && !script.text.contains("KEYS[2]"));
            let digest: String = Sha1::digest(script.text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, script.digest);
        }
    }

    #[test]
    fn an_answer_to_another_question_or_about_other_needs_is_none() {
        let read = |text: &str| request().read(text.as_bytes());
        let balance = Balance {
            granted: vec![true, false],
            spent: 5,
            reserved: 13,
            tellers: 2,
            crossed: 50,
            largest: 9,
        };
        assert_eq!(read(".10 5 13 2 50 9 def"), Some(balance.clone()));
        assert_eq!(read(".10 5 13 2 50 9 def\r\n"), Some(balance));
        for bad in [
            ".1 5 13 2 50 9 def",
            ".12 5 13 2 50 9 def",
            "10 5 13 2 50 9 def",
            ".10 4 13 2 50 9 def",
            ".10 5 13 0 50 9 def",
            ".10 5 13 2 101 9 def",
            ".10 5 13 2 50 9 dee",
            ".10 5 13 2 50 9",
            ".10 5 13 2 50 9 def 1",
            "",
            "\u{e4}",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let hours = HoursRequest { key: 1, spent: Vec::new(), question: 0xdef };
        assert_eq!(
            hours.read(b"3=4,5=6 def").map(|hours| (hours.of(3), hours.of(4), hours.of(5))),
            Some((4, 0, 6))
        );
        assert_eq!(hours.read(b" def"), Some(Hours::default()));
        for bad in [&b"3=4 dee"[..], b"3 def", b"def", b"3=x def"] {
            assert_eq!(hours.read(bad), None);
        }
    }
}

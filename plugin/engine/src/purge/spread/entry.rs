//! An entry of the log: a few purges as a text that every bridge takes in a path.
//!
//! ```text
//! hex of: 1 to many × ( length u16 · purge )
//! ```
//!
//! In the remote store `n` and its number in 16 hex digits stand before it. A bridge may give the answer to one call to
//! another, as webdis does where a caller has given up meanwhile: what has another number is not what was asked for.

use std::collections::VecDeque;
use std::fmt::Write;

use super::LONGEST_ENTRY;
use crate::host::wire::take;

/// Takes the next purges, at least one, as an entry; and how many they are. `None` if there are none.
pub(super) fn take_entry(waiting: &mut VecDeque<Vec<u8>>) -> Option<(String, u64)> {
    let (mut text, mut purges) = (String::new(), 0);
    while let Some(purge) = waiting.front() {
        let digits = purge.len().saturating_add(2).saturating_mul(2);
        if purges > 0 && text.len().saturating_add(digits) > FULL {
            break;
        }
        let length = u16::try_from(purge.len()).unwrap_or(u16::MAX).to_le_bytes();
        for byte in length.iter().chain(purge) {
            let _: std::fmt::Result = write!(text, "{byte:02x}");
        }
        purges += 1;
        waiting.pop_front();
    }
    (purges > 0).then_some((text, purges))
}

/// The purges of an entry. `None` if it is none of this release: also if it is longer than one may be, or has more purges than
/// that could hold.
pub fn purges_of(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    if text.len() > LONGEST_ENTRY {
        return None;
    }
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    let (bytes, mut purges) = (bytes?, Vec::new());
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let (purge, after) = rest.split_at_checked(length).filter(|_| purges.len() < MOST)?;
        purges.push(purge.to_vec());
        rest = after;
    }
    (!purges.is_empty()).then_some(purges)
}

/// An entry as it is written under a number.
pub(crate) fn numbered(number: u64, text: &str) -> String {
    format!("n{number:016x}{text}")
}

/// The entry that was written under this number. `None` if it was written under another, or is none.
pub(crate) fn of_number(number: u64, written: &[u8]) -> Option<&[u8]> {
    written.strip_prefix(numbered(number, "").as_bytes())
}

/// What stands for an entry that is there and that no member of the fleet has signed: it has no purges.
pub const FORGED: &[u8] = b"-";

/// The longest entry as it is written, in bytes.
pub const LONGEST_WRITTEN: usize = LONGEST_ENTRY + 1 + 16;
/// Purges of the longest entry, if they are of 28 bytes, the fewest that one has.
const MOST: usize = LONGEST_ENTRY / (2 * (2 + 28));
/// Characters after which no further purge joins: a path of so many passes everywhere.
const FULL: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purges_travel_together_and_read_back() {
        let all: Vec<Vec<u8>> = (0..100).map(|n| vec![n; 36]).collect();
        let (mut waiting, mut back) = (VecDeque::from(all.clone()), Vec::new());
        let mut entries = 0;
        while let Some((text, purges)) = take_entry(&mut waiting) {
            assert!(text.len() <= FULL && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            let read = purges_of(text.as_bytes()).unwrap();
            assert_eq!(read.len() as u64, purges);
            back.extend(read);
            entries += 1;
        }
        assert_eq!((back, entries), (all, 2));
        let (text, _) = take_entry(&mut VecDeque::from([vec![7; 3000]])).unwrap();
        assert_eq!(purges_of(text.as_bytes()), Some(vec![vec![7; 3000]]), "a long one goes alone");
    }

    #[test]
    fn an_entry_belongs_to_one_number() {
        let written = numbered(u64::MAX, "0200ffff");
        assert_eq!(of_number(u64::MAX, written.as_bytes()), Some(&b"0200ffff"[..]));
        assert_eq!(written.len() + LONGEST_ENTRY, LONGEST_WRITTEN + 8);
        for other in ["0200ffff", "", "n", "n0000000000000001", &numbered(1, "0200ffff")] {
            assert_eq!(of_number(2, other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [&b""[..], b"0", b"zz", b"01", b"0100", b"0200ff", b"0100ff00", b"\xff\xff"] {
            assert_eq!(purges_of(text), None, "{text:?}");
        }
        assert_eq!(purges_of(&b"0000".repeat(1000)), None, "purges of nothing");
        let longest = [&b"1c00"[..], &b"00".repeat(28)].concat();
        assert_eq!(purges_of(&longest.repeat(LONGEST_ENTRY / longest.len())).map(|all| all.len()), Some(136));
        assert_eq!(purges_of(&longest.repeat(137)), None, "too long");
    }
}

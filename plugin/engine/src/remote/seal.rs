//! Signs what is written to the remote store, so that who can write there but has no secret of the fleet can make up nothing.
//!
//! ```text
//! under a record's key:  "SLVG" 0:u64 | 128:u8 0:u8 0:u8 0:u8 | hash: 32 bytes | value
//! an entry, the hint:    "s" milliseconds: 16 hex digits · hash: 64 hex digits · text
//! hash: BLAKE3 keyed with the secret, of  "selvage" kind:u8 | key:u32 | milliseconds:u64 (a record: 0) | key | value
//! ```
//!
//! The hash is of the Redis key too, so a value is of no use under another one, and of its kind. It does not tell an older
//! value of the same key from the latest: a record ends by its own times, and an entry or hint [`MOST_AGE`] after it was
//! signed. Claims are not signed: all they say is that one is to wait a moment, and who reads them bounds that.
//!
//! To members without a secret, and to releases that know of none, a signed record is one of a version that they do not
//! read. Such members take the purges of signed entries, as they take those of any other.

use std::time::Duration;

use blake3::{Hash, Hasher};

use crate::host::wire::take;
use crate::time::Timestamp;

/// The secrets of a fleet: the first signs, any verifies. Not `Debug`.
pub struct Seal {
    keys: Vec<[u8; 32]>,
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What lies under a record's key: a response, an index, or that nothing is to be stored. Its own bytes say which.
    Record = 1,
    /// An entry of the log of purges.
    Entry = 2,
    /// The hint at the last entry.
    Hint = 3,
}

/// An entry, or the hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// An entry of the log of purges.
    Entry,
    /// The hint at the last entry.
    Hint,
}

impl Seal {
    /// By one secret, or by two with a comma or white space between them.
    ///
    /// # Errors
    /// In words what is wrong with them, and nothing of what they are.
    pub fn new(secrets: &str) -> Result<Self, &'static str> {
        let mut keys = Vec::new();
        for secret in secrets.split([',', ' ', '\t', '\r', '\n']).filter(|secret| !secret.is_empty()) {
            if keys.len() == MOST_SECRETS {
                return Err("more than two secrets");
            }
            match secret.len() {
                ..SHORTEST => return Err("a secret that is too short"),
                SHORTEST..=LONGEST => keys.push(blake3::derive_key(CONTEXT, secret.as_bytes())),
                _ => return Err("a secret that is too long"),
            }
        }
        if keys.is_empty() { Err("no secret") } else { Ok(Self { keys }) }
    }

    /// A number that other secrets have others of, and that tells nothing of them.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Hasher::new_derive_key(FINGERPRINT);
        for key in &self.keys {
            hasher.update(key);
        }
        hasher.finalize().as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
    }

    /// What is to lie under a record's key.
    pub fn sign(&self, key: &str, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len().saturating_add(RECORD_OVERHEAD));
        out.extend_from_slice(&RECORD_FRONT);
        out.extend_from_slice(self.first(Kind::Record, key, 0, value).as_bytes());
        out.extend_from_slice(value);
        out
    }

    /// What was signed to lie under this key. `None` for anything else.
    pub fn open(&self, key: &str, mut signed: Vec<u8>) -> Option<Vec<u8>> {
        let mut rest = signed.strip_prefix(&RECORD_FRONT[..])?;
        let hash = Hash::from_bytes(take(&mut rest)?);
        if !self.verify(hash, Kind::Record, key, 0, rest) {
            return None;
        }
        signed.drain(..RECORD_OVERHEAD);
        Some(signed)
    }

    /// An entry or the hint as it is to be written, of letters and digits.
    pub fn sign_text(&self, what: Text, key: &str, text: &str, now: Timestamp) -> String {
        let millis = now.as_millis();
        let hash = self.first(what.kind(), key, millis, text.as_bytes()).to_hex();
        format!("{TEXT_FRONT}{millis:016x}{hash}{text}")
    }

    /// The entry or hint that was signed for this key. `None` for anything else, and for what is older than it may be.
    pub fn open_text<'a>(&self, what: Text, key: &str, signed: &'a [u8], now: Timestamp) -> Option<&'a [u8]> {
        let (front, text) = split(signed)?;
        let millis = u64::from_str_radix(std::str::from_utf8(front.get(..16)?).ok()?, 16).ok()?;
        let hash = Hash::from_hex(front.get(16..)?).ok()?;
        let good = self.verify(hash, what.kind(), key, millis, text);
        (good && now.since(Timestamp::from_millis(millis)) <= MOST_AGE).then_some(text)
    }

    fn first(&self, kind: Kind, key: &str, millis: u64, value: &[u8]) -> Hash {
        // There is one.
        hash(self.keys.first().unwrap_or(&[0; 32]), kind, key, millis, value)
    }

    /// Takes as long wherever the difference is: [`struct@Hash`] is compared so.
    fn verify(&self, given: Hash, kind: Kind, key: &str, millis: u64, value: &[u8]) -> bool {
        self.keys.iter().any(|secret| hash(secret, kind, key, millis, value) == given)
    }
}

impl Text {
    const fn kind(self) -> Kind {
        match self {
            Self::Entry => Kind::Entry,
            Self::Hint => Kind::Hint,
        }
    }
}

/// The text of an entry or hint, signed or not, for members that cannot tell who signed it.
pub fn unverified(text: &[u8]) -> &[u8] {
    split(text).map_or(text, |(_, text)| text)
}

/// What stands before the text of a signed entry or hint, and the text.
fn split(signed: &[u8]) -> Option<(&[u8], &[u8])> {
    signed.strip_prefix(TEXT_FRONT.as_bytes())?.split_at_checked(TEXT_OVERHEAD - TEXT_FRONT.len())
}

fn hash(secret: &[u8; 32], kind: Kind, key: &str, millis: u64, value: &[u8]) -> Hash {
    let mut hasher = Hasher::new_keyed(secret);
    hasher.update(b"selvage").update(&[kind as u8]);
    hasher.update(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.update(&millis.to_le_bytes()).update(key.as_bytes()).update(value);
    hasher.finalize()
}

/// Bytes that a signed record has before the record.
pub const RECORD_OVERHEAD: usize = RECORD_FRONT.len() + blake3::OUT_LEN;
/// The same of an entry or hint.
pub const TEXT_OVERHEAD: usize = TEXT_FRONT.len() + 16 + 2 * blake3::OUT_LEN;
/// How long after it was signed an entry, or a hint, is believed: as long as it is kept, and what clocks may differ.
pub const MOST_AGE: Duration = Duration::from_secs(25 * 3600);

/// How a record of a version that nobody reads begins.
const RECORD_FRONT: [u8; 16] = *b"SLVG\0\0\0\0\0\0\0\0\x80\0\0\0";
/// No entry begins so: those are hexadecimal.
const TEXT_FRONT: &str = "s";
const SHORTEST: usize = 16;
const LONGEST: usize = 1024;
const MOST_SECRETS: usize = 2;
const CONTEXT: &str = "selvage remote.secret_env v1";
const FINGERPRINT: &str = "selvage remote.secret_env v1 fingerprint";

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old secret of the fleet";
    const NEW: &str = "a-new-secret-of-the-fleet";

    fn seal(secrets: &str) -> Seal {
        Seal::new(&secrets.replace(' ', "_")).ok().unwrap()
    }

    #[test]
    fn what_was_signed_for_a_key_reads_back_there_and_nowhere_else() {
        let seal = seal(NEW);
        for value in [&b""[..], b"claim:!", &[7; 3000]] {
            let signed = seal.sign("p:v1:a", value);
            assert_eq!(signed.len(), value.len() + RECORD_OVERHEAD);
            assert_eq!(seal.open("p:v1:a", signed.clone()).as_deref(), Some(value));
            for key in ["p:v1:b", "p:v1:", "p:v1:aa", ""] {
                assert_eq!(seal.open(key, signed.clone()), None, "copied to {key:?}");
            }
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused() {
        let seal = seal(NEW);
        let signed = seal.sign("k", b"value");
        assert_eq!(seal.open("k", [&signed[..], b"x"].concat()), None);
        let text = seal.sign_text(Text::Entry, "k", "0100ff", Timestamp::from_secs(9)).into_bytes();
        let opens = |text: &[u8]| seal.open_text(Text::Entry, "k", text, Timestamp::from_secs(9)).is_some();
        assert!(opens(&text) && text.iter().all(u8::is_ascii_alphanumeric));
        for cut in 0..signed.len() {
            assert_eq!(seal.open("k", signed[..cut].to_vec()), None, "cut at {cut}");
        }
        for cut in 0..text.len() {
            assert!(!opens(&text[..cut]), "cut at {cut}");
        }
        for bit in 0..8 * signed.len() {
            let mut changed = signed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open("k", changed), None, "bit {bit}");
        }
        // An upper-case digit is the same digit: what it says is what was signed.
        let lower = |text: &[u8]| text.to_ascii_lowercase();
        for bit in 0..8 * text.len() {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&changed) || lower(&changed) == lower(&text), "bit {bit} of the text");
        }
    }

    #[test]
    fn kinds_are_apart() {
        let (seal, now) = (seal(NEW), Timestamp::from_secs(9));
        let hint = seal.sign_text(Text::Hint, "k", "12", now);
        assert_eq!(seal.open_text(Text::Hint, "k", hint.as_bytes(), now), Some(&b"12"[..]));
        assert_eq!(seal.open_text(Text::Entry, "k", hint.as_bytes(), now), None);
        assert_eq!(seal.open("k", hint.clone().into_bytes()), None);
        // The same hash behind the front of a record.
        let (front, text) = split(hint.as_bytes()).unwrap();
        let hash = Hash::from_hex(&front[16..]).unwrap();
        assert_eq!(seal.open("k", [&RECORD_FRONT[..], hash.as_bytes(), text].concat()), None);
    }

    #[test]
    fn texts_end_a_day_after_they_were_signed() {
        let (seal, then) = (seal(NEW), Timestamp::from_secs(1_000_000));
        let entry = seal.sign_text(Text::Entry, "k", "0100ff", then);
        let opens = |now| seal.open_text(Text::Entry, "k", entry.as_bytes(), now).is_some();
        assert!(opens(then) && opens(then.plus(MOST_AGE)), "as long as it may");
        assert!(opens(Timestamp::from_secs(1)), "by a clock that is behind");
        assert!(!opens(then.plus(MOST_AGE + Duration::from_millis(1))));
    }

    #[test]
    fn the_first_secret_signs_and_all_verify() {
        let (old, new) = (seal(OLD), seal(NEW));
        let (before, after) = (seal(&format!("{OLD},{NEW}")), seal(&format!("{NEW},{OLD}")));
        let now = Timestamp::from_secs(9);
        for (signs, reads) in [(&old, [true, false, true, true]), (&before, [true, false, true, true])]
            .into_iter()
            .chain([(&after, [false, true, true, true]), (&new, [false, true, true, true])])
        {
            let record = signs.sign("k", b"value");
            let entry = signs.sign_text(Text::Entry, "k", "0100ff", now);
            for (seal, reads) in [&old, &new, &before, &after].into_iter().zip(reads) {
                assert_eq!(seal.open("k", record.clone()).is_some(), reads);
                assert_eq!(seal.open_text(Text::Entry, "k", entry.as_bytes(), now).is_some(), reads);
            }
        }
        let prints: std::collections::BTreeSet<u64> =
            [&old, &new, &before, &after].map(Seal::fingerprint).into();
        assert_eq!(prints.len(), 4);
    }

    #[test]
    fn secrets_are_one_or_two_and_of_some_length() {
        let long = "x".repeat(LONGEST);
        for good in [NEW, &format!("{NEW},{NEW}2"), &format!(" {NEW}\n{long}\n"), &"é".repeat(8)] {
            assert!(Seal::new(good).is_ok(), "{good:?}");
        }
        for (bad, why) in [
            ("", "no secret"),
            (" , \n", "no secret"),
            ("fifteen_bytes__", "a secret that is too short"),
            (&format!("{NEW},short"), "a secret that is too short"),
            (&format!("{long}x"), "a secret that is too long"),
            (&format!("{NEW},{NEW},{NEW}"), "more than two secrets"),
        ] {
            assert_eq!(Seal::new(bad).err(), Some(why), "{bad:?}");
        }
    }

    #[test]
    fn members_without_a_secret_read_the_text() {
        let signed = seal(NEW).sign_text(Text::Entry, "k", "0100ff", Timestamp::from_secs(9));
        for (given, text) in
            [(&signed[..], "0100ff"), ("0100ff", "0100ff"), ("12", "12"), ("s", "s"), ("", "")]
        {
            assert_eq!(unverified(given.as_bytes()), text.as_bytes());
        }
    }
}

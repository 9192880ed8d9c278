//! What a worker asks Redis about a session, and what it answers.
//!
//! One script on one key does it, so that a cluster takes it too. Its answer is one flat string: `NUMBER n`, there is none;
//! `NUMBER w`, something of another kind lies there; `NUMBER l`, it is too large; or `NUMBER vMILLIS K RECORD`, with how long it
//! lives on, -1 for ever, and whether it was asked to be kept: `-` no, `+` it was, `!` Redis refused. The number is that of the
//! question: webdis gives some answers to the wrong caller, and this is the one place where that must not be.

use std::rc::Rc;

use crate::config::{Session, SessionFormat};
use crate::limits::lease::Script;
use crate::time::Timestamp;

/// The script.
pub const LOOK_UP: Script = Script { text: include_str!("lookup.lua"), digest: DIGEST };

const DIGEST: &str = "7cc066c6dcbee7a8abc31107fed53e03a9bd5860";

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// Which of the policy's sessions.
    pub(crate) kind: usize,
    /// The id.
    pub(crate) id: Box<str>,
    /// The key in Redis.
    pub(crate) key: String,
    /// The form of what lies there.
    pub(crate) format: SessionFormat,
    /// Bytes of a record at most.
    pub(crate) most: usize,
    /// Seconds to keep it from now on, if it would end sooner; 0: as it is.
    pub(crate) keep: u64,
    /// The members of a hash.
    pub(crate) members: Rc<[Box<str>]>,
    /// A number that no other question has.
    pub(crate) number: u64,
    /// When it was asked.
    pub(crate) asked_at: Timestamp,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAnswer {
    /// There is no such session.
    Absent,
    /// Something else lies there.
    OtherKind,
    /// It is larger than it may be.
    TooLarge,
    /// It is there.
    Record {
        /// How long it lives on, in milliseconds; `None`: for ever.
        lives: Option<u64>,
        /// Whether Redis keeps it anew, if that was asked for.
        kept: Option<bool>,
        /// What lies there.
        record: Vec<u8>,
    },
}

impl SessionRequest {
    /// The arguments of the script, with any bytes.
    pub fn arguments(&self) -> Vec<String> {
        let form = match self.format {
            SessionFormat::Json => "string",
            SessionFormat::Hash => "hash",
        };
        let mut words = vec![form.to_owned(), self.most.to_string(), self.keep.to_string()];
        words.extend(self.members.iter().map(|member| String::from(&**member)));
        words.push(format!("{:x}", self.number));
        words
    }

    /// The key in Redis, with any bytes.
    pub fn key(&self) -> String {
        self.key.clone()
    }

    /// From the script's answer; `None` if it is no answer to this.
    pub fn read(&self, text: &[u8]) -> Option<SessionAnswer> {
        let rest = text.strip_prefix(format!("{:x} ", self.number).as_bytes())?;
        match rest {
            b"n" => return Some(SessionAnswer::Absent),
            b"w" => return Some(SessionAnswer::OtherKind),
            b"l" => return Some(SessionAnswer::TooLarge),
            _ => {}
        }
        let rest = rest.strip_prefix(b"v")?;
        let at = rest.iter().position(|byte| *byte == b' ')?;
        let (lives, rest) = rest.split_at_checked(at)?;
        let lives: i64 = std::str::from_utf8(lives).ok()?.parse().ok()?;
        let (kept, record) = match rest {
            [b' ', b'-', b' ', record @ ..] => (None, record),
            [b' ', b'+', b' ', record @ ..] => (Some(true), record),
            [b' ', b'!', b' ', record @ ..] => (Some(false), record),
            _ => return None,
        };
        // Lengths stand before the members of a hash.
        if record.len() > self.most.saturating_add(self.members.len() * 8) {
            return Some(SessionAnswer::TooLarge);
        }
        Some(SessionAnswer::Record { lives: u64::try_from(lives).ok(), kept, record: record.to_vec() })
    }

    /// Bytes of an answer at most, in JSON too, where one byte may be written as six.
    pub const fn longest(&self) -> usize {
        self.most.saturating_mul(6).saturating_add(1024)
    }
}

/// The members of a hash that a session's fields need.
pub(super) fn members(session: &Session) -> Rc<[Box<str>]> {
    match session.format {
        SessionFormat::Json => Rc::default(),
        SessionFormat::Hash => session.fields.iter().map(|(_, source)| source.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> SessionRequest {
        SessionRequest {
            kind: 0,
            id: "a".into(),
            key: "sess:a".into(),
            format: SessionFormat::Json,
            most: 10,
            keep: 0,
            members: Rc::default(),
            number: 255,
            asked_at: Timestamp::default(),
        }
    }

    #[test]
    fn answers_are_of_their_question() {
        let record =
            |lives, kept, record: &[u8]| Some(SessionAnswer::Record { lives, kept, record: record.to_vec() });
        for (text, answer) in [
            (&b"ff n"[..], Some(SessionAnswer::Absent)),
            (b"ff w", Some(SessionAnswer::OtherKind)),
            (b"ff l", Some(SessionAnswer::TooLarge)),
            (b"ff v-1 - {}", record(None, None, b"{}")),
            (b"ff v500 + { }", record(Some(500), Some(true), b"{ }")),
            (b"ff v500 ! ", record(Some(500), Some(false), b"")),
            (b"ff v-1 - 12345678901", Some(SessionAnswer::TooLarge)),
            (b"fe n", None),
            (b"ff", None),
            (b"ff x", None),
            (b"ff v", None),
            (b"ff v1 ? {}", None),
            (b"ff nn", None),
        ] {
            assert_eq!(request().read(text), answer, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn the_digest_is_the_scripts() {
        use sha1::{Digest, Sha1};
        let digest: String = Sha1::digest(LOOK_UP.text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, LOOK_UP.digest);
    }
}

//! The webdis dialect: a Redis command is the path of an HTTP request, the value of `SETEX` its body.
//!
//! webdis takes an ending such as `.js` off the last argument, reads `+` as a space, and answers some errors with
//! 200 and a text. So keys are plain names and hexadecimal digits, and every answer is looked at.

use crate::fields::Fields;

/// What is asked of the remote store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read a record.
    Get,
    /// Store a record for so many seconds.
    Set {
        /// The seconds, at least 1.
        ttl_seconds: u64,
    },
    /// Delete a record.
    Delete,
}

/// One HTTP request: the adapter adds scheme and authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: String,
}

/// What the store said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The record.
    Record(Vec<u8>),
    /// It has none.
    Absent,
    /// It is done.
    Done,
}

/// Why there is no answer. Always a miss for the request, counted under its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer came at all: refused, reset in the middle, or longer than Envoy takes.
    Reset,
    /// Envoy answered in the bridge's place: it cannot be reached, or was too slow.
    Unreachable,
    /// The bridge refused, or could not reach Redis.
    Refused,
    /// The answer is not one of this dialect.
    Malformed,
    /// The record is larger than it may be.
    TooLarge,
}

impl Failure {
    /// The word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
        }
    }
}

/// The key of a hash on the wire: `prefix:schema:hash`, of characters that no bridge changes.
pub fn wire_key(prefix: &str, hash: u128) -> String {
    format!("{prefix}:{SCHEMA}:{hash:032x}")
}

impl Command {
    /// The call for this command.
    pub fn call(self, prefix: &str, hash: u128) -> Call {
        let key = wire_key(prefix, hash);
        match self {
            // `.bin` asks for the bytes as they are.
            Self::Get => Call { method: "GET", path: format!("/GET/{key}.bin") },
            Self::Set { ttl_seconds } => {
                Call { method: "PUT", path: format!("/SETEX/{key}/{}", ttl_seconds.max(1)) }
            }
            Self::Delete => Call { method: "GET", path: format!("/DEL/{key}") },
        }
    }

    /// What the bridge's response means. `head` is `None` if there is none.
    ///
    /// # Errors
    /// [`Failure`] says what went wrong.
    pub fn answer(self, head: Option<Fields<'_>>, body: Vec<u8>, most: usize) -> Result<Answer, Failure> {
        let head = head.ok_or(Failure::Reset)?;
        let status = head.get(b":status").ok_or(Failure::Reset)?;
        if matches!(status, b"503" | b"504") && head.get(b"x-envoy-upstream-service-time").is_none() {
            return Err(Failure::Unreachable);
        }
        match (self, status) {
            (Self::Get, b"200") if body.len() > most => Err(Failure::TooLarge),
            // Errors of Redis come as they are on the wire, and no record begins so.
            (Self::Get, b"200") if body.starts_with(b"-") => Err(Failure::Refused),
            (Self::Get, b"200") => Ok(Answer::Record(body)),
            (Self::Get, b"404") => Ok(Answer::Absent),
            // {"SETEX":[true,"OK"]} and {"DEL":1}; an error of Redis is [false,"ERR …"].
            (Self::Set { .. }, b"200") if contains(&body, b"[true,") => Ok(Answer::Done),
            (Self::Delete, b"200") if body.starts_with(b"{\"DEL\":") && !contains(&body, b"[false") => {
                Ok(Answer::Done)
            }
            (_, b"200") if contains(&body, b"[false") => Err(Failure::Refused),
            (_, b"200") => Err(Failure::Malformed),
            _ => Err(Failure::Refused),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    // Answers to writes are short; a long one is none.
    text.len() <= 1024 && text.windows(part.len()).any(|window| window == part)
}

/// Part of every key: releases whose records cannot read each other's have different schemas.
const SCHEMA: &str = "v1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    fn answer(command: Command, status: &str, upstream: bool, body: &str) -> Result<Answer, Failure> {
        let mut block = FieldBlock::new();
        block.push(b":status", status.as_bytes());
        if upstream {
            block.push(b"x-envoy-upstream-service-time", b"0");
        }
        command.answer(Some(block.fields()), body.as_bytes().to_vec(), 100)
    }

    #[test]
    fn commands_become_paths() {
        assert_eq!(Command::Get.call("p", 1).path, "/GET/p:v1:00000000000000000000000000000001.bin");
        let set = Command::Set { ttl_seconds: 0 }.call("p", u128::MAX);
        assert_eq!((set.method, &*set.path), ("PUT", "/SETEX/p:v1:ffffffffffffffffffffffffffffffff/1"));
    }

    #[test]
    fn answers_are_told_from_failures() {
        let set = Command::Set { ttl_seconds: 5 };
        for (command, status, upstream, body, expected) in [
            (Command::Get, "200", true, "x", Ok(Answer::Record(b"x".to_vec()))),
            (Command::Get, "404", true, "", Ok(Answer::Absent)),
            (Command::Get, "200", true, "-NOAUTH Authentication required.", Err(Failure::Refused)),
            (Command::Get, "200", true, &"x".repeat(101), Err(Failure::TooLarge)),
            (Command::Get, "503", true, "", Err(Failure::Refused)),
            (Command::Get, "503", false, "no healthy upstream", Err(Failure::Unreachable)),
            (Command::Get, "504", false, "upstream request timeout", Err(Failure::Unreachable)),
            (Command::Get, "403", true, "", Err(Failure::Refused)),
            (set, "200", true, r#"{"SETEX":[true,"OK"]}"#, Ok(Answer::Done)),
            (set, "200", true, r#"{"SETEX":[false,"OOM command not allowed"]}"#, Err(Failure::Refused)),
            (set, "200", true, "", Err(Failure::Malformed)),
            (Command::Delete, "200", true, r#"{"DEL":0}"#, Ok(Answer::Done)),
            (Command::Delete, "200", true, "<html>", Err(Failure::Malformed)),
        ] {
            assert_eq!(answer(command, status, upstream, body), expected, "{command:?} {status} {body}");
        }
        assert_eq!(Command::Get.answer(None, Vec::new(), 100), Err(Failure::Reset));
    }
}

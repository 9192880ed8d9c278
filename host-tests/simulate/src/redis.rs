//! The store that the simulated fleet shares, behind webdis, and its moods.

use std::collections::BTreeMap;

use selvage_rig::chance::Dice;

use crate::events::Reply;

/// How it is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Answers come about when nobody waits for them any more.
    Slow,
    /// Nothing comes back, at once or never.
    Dead,
    /// What comes back is something else.
    Garbled,
}

pub struct Redis {
    values: BTreeMap<String, (Vec<u8>, u64)>,
    pub mood: Mood,
    /// It is older than 7.0 and knows no claims.
    pub old: bool,
}

/// One call as it reaches the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Get(String),
    Claim {
        key: String,
        claim: String,
        millis: u64,
    },
    Set {
        key: String,
        value: Vec<u8>,
        seconds: u64,
    },
    Delete(String),
    /// Set, unless there is something.
    Add {
        key: String,
        text: String,
        seconds: u64,
    },
    Ping,
}

impl Command {
    /// Reads a call as webdis does.
    pub fn read(path: &str, body: &[u8]) -> Option<Self> {
        let path = path.strip_suffix(".bin").unwrap_or(path);
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        Some(match words[..] {
            ["GET", key] => Self::Get(key.to_owned()),
            ["SET", key, claim, "NX", "GET", "PX", millis] => {
                Self::Claim { key: key.to_owned(), claim: claim.to_owned(), millis: millis.parse().ok()? }
            }
            ["SETEX", key, seconds] => {
                Self::Set { key: key.to_owned(), value: body.to_vec(), seconds: seconds.parse().ok()? }
            }
            ["DEL", key] => Self::Delete(key.to_owned()),
            ["SET", key, text, "NX", "EX", seconds] => {
                Self::Add { key: key.to_owned(), text: text.to_owned(), seconds: seconds.parse().ok()? }
            }
            ["PING"] => Self::Ping,
            _ => return None,
        })
    }

    /// A stream may wait for its answer.
    pub fn is_lookup(&self) -> bool {
        match self {
            Self::Get(key) => !key.contains(":purge"),
            other => matches!(other, Self::Claim { .. }),
        }
    }
}

impl Redis {
    pub const fn new(old: bool) -> Self {
        Self { values: BTreeMap::new(), mood: Mood::Well, old }
    }

    pub fn flush(&mut self) {
        self.values.clear();
    }

    fn value(&self, key: &str, now: u64) -> Option<&Vec<u8>> {
        self.values.get(key).filter(|(_, until)| now < *until).map(|(value, _)| value)
    }

    /// The claim that lies under a key.
    pub fn claim(&self, key: &str, now: u64) -> Option<String> {
        let value = String::from_utf8(self.value(key, now)?.clone()).ok()?;
        (value.starts_with("claim:") && value != "claim:!").then_some(value)
    }

    /// Does what it is told, whatever its mood.
    pub fn apply(&mut self, command: &Command, now: u64) -> Reply {
        match command {
            Command::Get(key) => self.found(key, now),
            Command::Claim { .. } if self.old => Reply::came(200, b"-ERR syntax error"),
            Command::Claim { key, claim, millis } => {
                let found = self.found(key, now);
                if self.value(key, now).is_none() {
                    self.values.insert(key.clone(), (claim.clone().into_bytes(), now + millis));
                }
                found
            }
            Command::Set { key, value, seconds } => {
                self.values.insert(key.clone(), (value.clone(), now + seconds * 1000));
                Reply::came(200, br#"{"SETEX":[true,"OK"]}"#)
            }
            Command::Delete(key) => {
                self.values.remove(key);
                Reply::came(200, br#"{"DEL":1}"#)
            }
            Command::Add { key, text, seconds } => {
                if self.value(key, now).is_some() {
                    return Reply::came(200, br#"{"SET":null}"#);
                }
                self.values.insert(key.clone(), (text.clone().into_bytes(), now + seconds * 1000));
                Reply::came(200, br#"{"SET":[true,"OK"]}"#)
            }
            Command::Ping => Reply::came(200, br#"{"PING":[true,"PONG"]}"#),
        }
    }

    fn found(&self, key: &str, now: u64) -> Reply {
        match self.value(key, now) {
            Some(value) => Reply::came(200, value),
            None => Reply::came(404, b""),
        }
    }

    /// Something else than the reply that was made.
    pub fn garble(&self, reply: Reply, dice: &mut Dice) -> Reply {
        let Reply { fields, mut body } = reply;
        match dice.below(6) {
            0 => Reply::came(200, &[0x5a; 100]),
            1 => Reply::came(500, b"oops"),
            2 => Reply::came(200, b"-LOADING Redis is loading the dataset in memory"),
            // Of another key.
            3 => Reply::came(200, self.values.values().next_back().map_or(&b""[..], |(value, _)| value)),
            4 => {
                body.truncate(body.len() / 2);
                Reply { fields, body }
            }
            _ => {
                if !body.is_empty() {
                    let at = dice.below(body.len() as u64) as usize;
                    body[at] ^= 1 << dice.below(8);
                }
                Reply { fields, body }
            }
        }
    }
}

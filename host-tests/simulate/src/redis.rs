//! The store that the simulated fleet shares, behind webdis, and its moods.

use std::collections::BTreeMap;

use selvage_engine::limits::reference;
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
    /// It is a Redis Cluster, whose scripts must not have keys of several slots.
    pub sharded: bool,
    /// It knows the script that looks up by its digest.
    knows_script: bool,
    /// It knows the one that leases.
    knows_leases: bool,
    quotas: BTreeMap<String, reference::Bucket>,
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
    /// Tokens of a limit for a node, by a script or its digest.
    Lease {
        key: String,
        arguments: Vec<String>,
        by_digest: bool,
    },
    /// Several lookups or writes, by a script or its digest.
    Many {
        commands: Vec<Command>,
        by_digest: bool,
    },
}

impl Command {
    /// Reads a call as webdis does.
    pub fn read(path: &str, body: &[u8]) -> Option<Self> {
        let path = path.strip_suffix(".bin").or(path.strip_suffix(".raw")).unwrap_or(path);
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
            [word @ ("EVAL" | "EVALSHA"), _, "1", key, ref rest @ ..] if key.contains(":limit:") => {
                let arguments = rest.iter().map(|word| (*word).to_owned()).collect();
                Self::Lease { key: key.to_owned(), arguments, by_digest: word == "EVALSHA" }
            }
            [word @ ("EVAL" | "EVALSHA"), _, count, ref rest @ ..] => {
                let commands = Self::many(count.parse().ok()?, rest, body)?;
                Self::Many { commands, by_digest: word == "EVALSHA" }
            }
            _ => return None,
        })
    }

    /// What a script does: with a body it writes.
    fn many(count: usize, words: &[&str], body: &[u8]) -> Option<Vec<Self>> {
        let (keys, arguments) = words.split_at_checked(count)?;
        let mut values = body.get(1..).unwrap_or_default();
        let pairs = arguments.chunks_exact(2);
        let commands = keys.iter().zip(pairs).map(|(key, pair)| {
            let key = (*key).to_owned();
            Some(match *pair {
                ["-", "0"] => Self::Get(key),
                ["0", "0"] => Self::Delete(key),
                [seconds, length] if !body.is_empty() => {
                    let (value, rest) = values.split_at_checked(length.parse().ok()?)?;
                    values = rest;
                    Self::Set { key, value: value.to_vec(), seconds: seconds.parse().ok()? }
                }
                [claim, millis] => Self::Claim { key, claim: claim.to_owned(), millis: millis.parse().ok()? },
                _ => return None,
            })
        });
        let commands: Vec<Self> = commands.collect::<Option<_>>()?;
        (commands.len() == count && arguments.len() == 2 * count && values.is_empty()).then_some(commands)
    }

    /// The commands of a call, each by itself.
    pub fn each(&self) -> &[Self] {
        match self {
            Self::Many { commands, .. } => commands,
            one => std::slice::from_ref(one),
        }
    }

    /// What it is about; nothing for `PING`, and for several.
    pub fn key(&self) -> &str {
        match self {
            Self::Get(key) | Self::Delete(key) => key,
            Self::Claim { key, .. }
            | Self::Set { key, .. }
            | Self::Add { key, .. }
            | Self::Lease { key, .. } => key,
            Self::Ping | Self::Many { .. } => "",
        }
    }

    /// A stream may wait for its answer.
    pub fn is_lookup(&self) -> bool {
        match self {
            Self::Many { commands, .. } => commands.iter().all(Self::is_lookup),
            Self::Get(key) => !key.contains(":purge"),
            other => matches!(other, Self::Claim { .. }),
        }
    }
}

impl Redis {
    pub const fn new(old: bool, sharded: bool) -> Self {
        Self {
            values: BTreeMap::new(),
            mood: Mood::Well,
            old,
            sharded,
            knows_script: false,
            knows_leases: false,
            quotas: BTreeMap::new(),
        }
    }

    /// As after a start.
    pub fn flush(&mut self) {
        (self.knows_script, self.knows_leases) = (false, false);
        self.values.clear();
        self.quotas.clear();
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
            Command::Lease { by_digest: true, .. } if !self.knows_leases => {
                Reply::came(200, b"-NOSCRIPT No matching script. Please use EVAL.\r\n")
            }
            Command::Lease { key, arguments, .. } => {
                self.knows_leases = true;
                let quota = self.quotas.entry(key.clone()).or_default();
                Reply::came(200, quota.lease(arguments, now + BEGUN).as_bytes())
            }
            Command::Many { .. } if self.sharded => {
                Reply::came(200, b"-CROSSSLOT Keys in request don't hash to the same slot\r\n")
            }
            Command::Many { by_digest: true, .. } if !self.knows_script => {
                Reply::came(200, b"-NOSCRIPT No matching script. Please use EVAL.\r\n")
            }
            Command::Many { commands, .. } => {
                self.knows_script = true;
                let mut body = format!("*{}\r\n", commands.len()).into_bytes();
                for command in commands {
                    let done = matches!(command, Command::Set { .. } | Command::Delete(_));
                    let told = self.apply(command, now).body;
                    let told = if done { b"+".to_vec() } else { told };
                    body.extend_from_slice(format!("${}\r\n", told.len()).as_bytes());
                    body.extend_from_slice(&told);
                    body.extend_from_slice(b"\r\n");
                }
                Reply::came(200, &body)
            }
        }
    }

    /// What each command of a call was answered; nothing if it is not an answer to each.
    pub fn told(command: &Command, body: &[u8]) -> Vec<Vec<u8>> {
        let Command::Many { commands, .. } = command else { return vec![body.to_vec()] };
        Self::elements(commands.len(), body).unwrap_or_else(|| vec![Vec::new(); commands.len()])
    }

    fn elements(count: usize, mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
        let line = |rest: &mut &[u8], kind: u8| -> Option<usize> {
            let end = rest.windows(2).position(|two| two == b"\r\n")?;
            let digits = rest.get(1..end).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
            let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
            let is_so = rest.first() == Some(&kind);
            *rest = &rest[end + 2..];
            is_so.then_some(number)
        };
        line(&mut rest, b'*').filter(|told| *told == count)?;
        let mut elements = Vec::new();
        for _ in 0..count {
            let length = line(&mut rest, b'$')?;
            let (element, after) = rest.split_at_checked(length)?;
            rest = after.strip_prefix(b"\r\n")?;
            elements.push(element.to_vec());
        }
        rest.is_empty().then_some(elements)
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

/// The clock of Redis as a run begins: its first epochs are not 0, which stands for none.
const BEGUN: u64 = 5_000;

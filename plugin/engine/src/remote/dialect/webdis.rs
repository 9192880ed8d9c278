//! webdis: the command is the path, the value of `SETEX` the body. It takes a body only for the last argument.
//!
//! It takes an ending such as `.js` off the last argument and reads `+` as a space; [`super::wire_key`] has neither.

use serde::Deserialize;

use super::batch::{LOOK_UP, WRITE, escape, packed, script_path, script_words};
use super::{Answer, Call, Capabilities, Command, DialectError, Kind, MAX_REPLY, present};
use crate::base64;

/// Options of webdis. Not `Debug`: they hold a password.
#[derive(Clone, Default)]
pub struct WebdisOptions {
    /// `user:password` for its access list; `None` sends none. An unknown user is not refused but has the
    /// rights of nobody.
    pub user_password: Option<String>,
}

impl WebdisOptions {
    pub(super) fn call(&self, command: &Command<'_>) -> Call {
        let (method, path, body) = match command {
            // `.bin` asks for the bytes as they are.
            Command::Get { key } => ("GET", format!("/GET/{key}.bin"), Vec::new()),
            Command::Claim { key, claim, millis } => {
                ("GET", format!("/SET/{key}/{claim}/NX/GET/PX/{}.bin", (*millis).max(1)), Vec::new())
            }
            Command::Set { key, value, ttl_seconds } => {
                ("PUT", format!("/SETEX/{key}/{}", (*ttl_seconds).max(1)), value.to_vec())
            }
            Command::Delete { key } => ("GET", format!("/DEL/{key}"), Vec::new()),
            Command::Add { key, text, ttl_seconds } => {
                ("GET", format!("/SET/{key}/{text}/NX/EX/{}", (*ttl_seconds).max(1)), Vec::new())
            }
            // A script's string comes as bytes, as a value does.
            Command::Lease { key, asked, by_digest } => {
                let mut path = script_words(&asked.script(), *by_digest);
                path.push_str("/1");
                // The tag of a cluster's key.
                let tagged = key.replace('{', "%7B").replace('}', "%7D");
                for (nth, word) in std::iter::once((*key).to_owned()).chain(asked.arguments()).enumerate() {
                    path.push('/');
                    if asked.is_of_others() {
                        escape(&word, &mut path);
                    } else {
                        path.push_str(if nth == 0 { &tagged } else { &word });
                    }
                }
                path.push_str(".bin");
                match asked.content() {
                    Some(content) => ("PUT", path, content.to_vec()),
                    None => ("GET", path, Vec::new()),
                }
            }
            Command::Probe => ("GET", "/PING".to_owned(), Vec::new()),
        };
        Call { method, path, headers: self.headers(), body }
    }

    pub(super) fn call_all(&self, commands: &[Command<'_>], is_known: bool) -> Call {
        let (method, script, body) = match commands.first() {
            Some(Command::Set { .. } | Command::Delete { .. }) => ("PUT", &WRITE, packed(commands)),
            _ => ("GET", &LOOK_UP, Vec::new()),
        };
        Call { method, path: script_path(script, is_known, commands), headers: self.headers(), body }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let basic = |pair: &String| ("authorization", format!("Basic {}", base64::encode(pair.as_bytes())));
        self.user_password.iter().map(basic).collect()
    }
}

pub(super) fn answer(
    kind: Kind,
    status: u16,
    body: Vec<u8>,
    max_bytes: usize,
) -> Result<Answer, DialectError> {
    match (kind, status) {
        (Kind::Get | Kind::Claim, 404) => Ok(Answer::Absent),
        (Kind::Get | Kind::Claim, 200) => match error_text(&body) {
            Some(text) => Err(DialectError::of_redis(text)),
            None if body.len() > max_bytes => Err(DialectError::TooLarge),
            None => Ok(Answer::Value(body)),
        },
        (Kind::Lease, 200) => match error_text(&body) {
            Some(text) => Err(DialectError::of_redis(text.trim_end())),
            None if body.len() > max_bytes.max(MAX_REPLY) => Err(DialectError::Malformed),
            None => Ok(Answer::Value(body)),
        },
        (_, 200) if body.len() > MAX_REPLY => Err(DialectError::Malformed),
        (_, 200) => match (kind, serde_json::from_slice(&body).map_err(|_| DialectError::Malformed)?) {
            (
                _,
                Reply { set: Some((false, text)), .. }
                | Reply { add: Some(Some((false, text))), .. }
                | Reply { del: Some(Counted::Refused(false, text)), .. }
                | Reply { ping: Some((false, text)), .. },
            ) => Err(DialectError::of_redis(&text)),
            (Kind::Set, Reply { set: Some((true, text)), .. }) if text == "OK" => Ok(Answer::Done),
            (Kind::Add, Reply { add: Some(Some((true, text))), .. }) if text == "OK" => Ok(Answer::Done),
            (Kind::Add, Reply { add: Some(None), .. }) => Ok(Answer::Absent),
            (Kind::Delete, Reply { del: Some(Counted::Count(..)), .. }) => Ok(Answer::Done),
            (Kind::Probe, Reply { ping: Some((true, text)), .. }) if text == "PONG" => {
                Ok(Answer::Ready(Capabilities { binary_reads: true }))
            }
            _ => Err(DialectError::Malformed),
        },
        (_, other) => Err(DialectError::Status(other)),
    }
}

/// The text of an error in an answer as bytes, such as `-WRONGTYPE Operation …`. No value begins so.
pub(super) fn error_text(body: &[u8]) -> Option<&str> {
    let text = body.strip_prefix(b"-").filter(|text| text.len() <= MAX_REPLY)?;
    Some(std::str::from_utf8(text).unwrap_or("unreadable"))
}

#[derive(Deserialize)]
struct Reply {
    #[serde(rename = "SETEX")]
    set: Option<(bool, String)>,
    #[serde(rename = "DEL")]
    del: Option<Counted>,
    /// `Some(None)` if it is null: nothing was set.
    #[serde(rename = "SET", default, deserialize_with = "present")]
    add: Option<Option<(bool, String)>>,
    #[serde(rename = "PING")]
    ping: Option<(bool, String)>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counted {
    Count(#[allow(dead_code, reason = "that it is a number is all")] u64),
    Refused(bool, String),
}

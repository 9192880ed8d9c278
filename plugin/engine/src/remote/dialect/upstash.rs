//! Upstash's REST interface: the command is the path, a posted body its last argument, the answer JSON.
//!
//! Values are asked for in base64, as JSON holds no bytes. Compatible servers differ in what of this they do.

use serde::Deserialize;

use super::{Answer, Call, Capabilities, Command, DialectError, Kind, MAX_REPLY, present};
use crate::base64;
use crate::remote::asked::Asked;

/// Options of Upstash. Not `Debug`: they hold a token.
#[derive(Clone, Default)]
pub struct UpstashOptions {
    /// The bearer token; `None` sends none.
    pub token: Option<String>,
}

impl UpstashOptions {
    pub(super) fn call(&self, command: &Command<'_>) -> Call {
        let (method, path, body) = match command {
            Command::Get { key } => ("GET", format!("/get/{key}"), Vec::new()),
            Command::Claim { key, claim, millis } => {
                ("POST", format!("/set/{key}/{claim}/NX/GET/PX/{}", (*millis).max(1)), Vec::new())
            }
            Command::Set { key, value, ttl_seconds } => {
                ("POST", format!("/set/{key}?EX={}", (*ttl_seconds).max(1)), value.to_vec())
            }
            Command::Delete { key } => ("POST", format!("/del/{key}"), Vec::new()),
            Command::Add { key, text, ttl_seconds } => {
                ("POST", format!("/set/{key}/{text}/NX/EX/{}", (*ttl_seconds).max(1)), Vec::new())
            }
            Command::Lease { key, asked, by_digest } => {
                ("POST", "/".to_owned(), script_call(key, asked, *by_digest))
            }
            // With an argument the answer is a string like any value, not a status that some leave as it is.
            Command::Probe => ("GET", format!("/ping/{PROBE}"), Vec::new()),
        };
        let mut headers = self.headers();
        if matches!(command, Command::Get { .. } | Command::Claim { .. } | Command::Probe) {
            headers.push(("upstash-encoding", "base64".to_owned()));
        }
        if matches!(command, Command::Lease { .. }) {
            headers.push(("content-type", "application/json".to_owned()));
        }
        Call { method, path, headers, body }
    }

    /// A pipeline of lookups. Its commands are JSON, which has no bytes: what is written is sent alone. Keys and claims have
    /// nothing that JSON would escape.
    #[inline(never)]
    pub(super) fn call_all(&self, commands: &[Command<'_>]) -> Option<Call> {
        let mut text = String::new();
        for command in commands {
            text.push_str(if text.is_empty() { "[[\"" } else { ",[\"" });
            match command {
                Command::Get { key } => {
                    text.push_str("GET\",\"");
                    text.push_str(key);
                }
                Command::Claim { key, claim, millis } => {
                    let millis = (*millis).max(1).to_string();
                    for (at, word) in ["SET", key, claim, "NX", "GET", "PX", &millis].into_iter().enumerate()
                    {
                        text.push_str(if at == 0 { "" } else { "\",\"" });
                        text.push_str(word);
                    }
                }
                _ => return None,
            }
            text.push_str("\"]");
        }
        text.push(']');
        let mut headers = self.headers();
        headers.push(("upstash-encoding", "base64".to_owned()));
        headers.push(("content-type", "application/json".to_owned()));
        Some(Call { method: "POST", path: "/pipeline".to_owned(), headers, body: text.into_bytes() })
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let bearer = |token: &String| ("authorization", format!("Bearer {token}"));
        self.token.iter().map(bearer).collect()
    }
}

#[inline(never)]
pub(super) fn answers(
    kinds: &[Kind],
    body: &[u8],
    max_bytes: usize,
) -> Result<Vec<Result<Answer, DialectError>>, DialectError> {
    let one = max_bytes.div_ceil(3).saturating_mul(4).saturating_add(MAX_REPLY);
    if body.len() > one.saturating_mul(kinds.len()) {
        return Err(DialectError::TooLarge);
    }
    let all: Vec<Reply<String>> =
        serde_json::from_slice(body).map_err(|_| error(body).unwrap_or(DialectError::Malformed))?;
    if all.len() != kinds.len() {
        return Err(DialectError::Malformed);
    }
    let told = all.into_iter().zip(kinds);
    Ok(told.map(|(reply, kind)| reply.refused_or(|result| read(*kind, result, max_bytes))).collect())
}

pub(super) fn answer(kind: Kind, status: u16, body: &[u8], max_bytes: usize) -> Result<Answer, DialectError> {
    let is_get = matches!(kind, Kind::Get | Kind::Claim);
    let most = match kind {
        Kind::Get | Kind::Claim => max_bytes.div_ceil(3).saturating_mul(4).saturating_add(MAX_REPLY),
        Kind::Lease => max_bytes.saturating_add(MAX_REPLY),
        _ => MAX_REPLY,
    };
    match status {
        200 | 400 if body.len() > most => {
            return Err(if is_get { DialectError::TooLarge } else { DialectError::Malformed });
        }
        200 => {}
        400 => return Err(error(body).unwrap_or(DialectError::Status(400))),
        other => return Err(DialectError::Status(other)),
    }
    let malformed = || error(body).unwrap_or(DialectError::Malformed);
    if kind == Kind::Delete {
        parse(body).ok_or_else(malformed)?.refused_or(deleted)
    } else {
        parse(body).ok_or_else(malformed)?.refused_or(|result| read(kind, result, max_bytes))
    }
}

/// The command that runs the script of leases, as JSON.
fn script_call(key: &str, asked: &Asked, by_digest: bool) -> Vec<u8> {
    let script = asked.script();
    let (command, script) = if by_digest { ("EVALSHA", script.digest) } else { ("EVAL", script.text) };
    let arguments = asked.arguments();
    let content = asked.content().and_then(|content| std::str::from_utf8(content).ok());
    let words = [command, script, "1", key].into_iter().chain(arguments.iter().map(String::as_str));
    let words = words.chain(content);
    serde_json::to_vec(&words.collect::<Vec<&str>>()).unwrap_or_default()
}

/// What the answer to a deletion says.
fn deleted(result: Option<u64>) -> Result<Answer, DialectError> {
    result.map(|_| Answer::Done).ok_or(DialectError::Malformed)
}

/// What the answer to anything else says.
fn read(kind: Kind, result: Option<String>, max_bytes: usize) -> Result<Answer, DialectError> {
    match (kind, result.as_deref()) {
        (Kind::Get | Kind::Claim | Kind::Add, None) => Ok(Answer::Absent),
        (Kind::Get | Kind::Claim, Some(text)) => match base64::decode(text.as_bytes()) {
            None => Err(DialectError::Malformed),
            Some(value) if value.len() > max_bytes => Err(DialectError::TooLarge),
            Some(value) => Ok(Answer::Value(value)),
        },
        (Kind::Lease, Some(text)) => Ok(Answer::Value(text.as_bytes().to_vec())),
        // Some compatible servers encode the status too.
        (Kind::Set | Kind::Add, Some("OK" | "T0s=")) => Ok(Answer::Done),
        (Kind::Probe, Some(PROBE)) => Ok(Answer::Ready(Capabilities { binary_reads: false })),
        (Kind::Probe, Some(text)) if base64::decode(text.as_bytes()).as_deref() == Some(PROBE.as_bytes()) => {
            Ok(Answer::Ready(Capabilities { binary_reads: true }))
        }
        _ => Err(DialectError::Malformed),
    }
}

/// The error that `body` tells, if it tells one.
fn error(body: &[u8]) -> Option<DialectError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    serde_json::from_slice::<Refusal>(body).ok().map(|refusal| DialectError::of_redis(&refusal.error))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<Reply<T>> {
    serde_json::from_slice(body).ok()
}

/// `result` is `None` if it is missing, `Some(None)` if it is null.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Reply<T> {
    #[serde(default, deserialize_with = "present")]
    result: Option<Option<T>>,
    error: Option<String>,
}

impl<T> Reply<T> {
    /// The error that it tells, or what `read` makes of its result.
    fn refused_or(
        self,
        read: impl FnOnce(Option<T>) -> Result<Answer, DialectError>,
    ) -> Result<Answer, DialectError> {
        match self {
            Self { error: Some(text), .. } => Err(DialectError::of_redis(&text)),
            Self { result: Some(result), error: None } => read(result),
            Self { result: None, error: None } => Err(DialectError::Malformed),
        }
    }
}

const PROBE: &str = "selvage";

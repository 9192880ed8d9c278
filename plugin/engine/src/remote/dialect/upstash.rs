//! Upstash's REST interface: the command is the path, a posted body its last argument, the answer JSON.
//!
//! Values are asked for in base64, as JSON holds no bytes. Compatible servers differ in what of this they do.

use serde::Deserialize;

use super::{Answer, Call, Capabilities, Command, DialectError, Kind, MAX_REPLY, base64, present};

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
            // With an argument the answer is a string like any value, not a status that some leave as it is.
            Command::Probe => ("GET", format!("/ping/{PROBE}"), Vec::new()),
        };
        let bearer = |token: &String| ("authorization", format!("Bearer {token}"));
        let mut headers: Vec<_> = self.token.iter().map(bearer).collect();
        if matches!(command, Command::Get { .. } | Command::Claim { .. } | Command::Probe) {
            headers.push(("upstash-encoding", "base64".to_owned()));
        }
        Call { method, path, headers, body }
    }
}

pub(super) fn answer(kind: Kind, status: u16, body: &[u8], max_bytes: usize) -> Result<Answer, DialectError> {
    let is_get = matches!(kind, Kind::Get | Kind::Claim);
    let most =
        if is_get { max_bytes.div_ceil(3).saturating_mul(4).saturating_add(MAX_REPLY) } else { MAX_REPLY };
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
        let Reply { result, error: None } = parse::<u64>(body).ok_or_else(malformed)? else {
            return Err(malformed());
        };
        return result.flatten().map(|_| Answer::Done).ok_or(DialectError::Malformed);
    }
    let Reply { result: Some(result), error: None } = parse::<String>(body).ok_or_else(malformed)? else {
        return Err(malformed());
    };
    match (kind, result.as_deref()) {
        (Kind::Get | Kind::Claim | Kind::Add, None) => Ok(Answer::Absent),
        (Kind::Get | Kind::Claim, Some(text)) => match base64::decode(text.as_bytes()) {
            None => Err(DialectError::Malformed),
            Some(value) if value.len() > max_bytes => Err(DialectError::TooLarge),
            Some(value) => Ok(Answer::Value(value)),
        },
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

const PROBE: &str = "selvage";

//! How a Redis command travels over HTTP: command in, call out, response in, [`Answer`] out.
//!
//! Nothing here is believed without a look: bridges answer errors with 200, and Envoy answers in their place.

mod batch;
mod upstash;
mod webdis;

use std::time::Duration;

use serde::{Deserialize, Deserializer};
pub use upstash::UpstashOptions;
pub use webdis::WebdisOptions;

use crate::breaker::CallResult;
use crate::fields::Fields;
use crate::policy;
use crate::remote::asked::Asked;
use crate::remote::readiness::Outcome;

/// What is asked of the remote store. Keys come from [`wire_key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Read a value.
    Get {
        /// The key.
        key: &'a str,
    },
    /// Store a value. It must not be empty (webdis drops an empty argument) nor begin with `-` (see [`Answer`]).
    Set {
        /// The key.
        key: &'a str,
        /// The bytes.
        value: &'a [u8],
        /// Seconds to keep it; 0 counts as 1, which is the least Redis takes.
        ttl_seconds: u64,
    },
    /// Read a value, or leave a claim if there is none (Redis 7.0 or newer).
    Claim {
        /// The key.
        key: &'a str,
        /// What to leave: letters, digits and `:`.
        claim: &'a str,
        /// Milliseconds to keep it, at least 1.
        millis: u64,
    },
    /// Delete a value.
    Delete {
        /// The key.
        key: &'a str,
    },
    /// Store a value if there is none: [`Answer::Done`], or [`Answer::Absent`] if there is one.
    Add {
        /// The key.
        key: &'a str,
        /// What to store: letters and digits.
        text: &'a str,
        /// Seconds to keep it; 0 counts as 1.
        ttl_seconds: u64,
    },
    /// Ask what limits and budgets want to know: [`Answer::Value`], for [`Asked::read`].
    Lease {
        /// The key, see [`asked_key`].
        key: &'a str,
        /// What is asked.
        asked: &'a Asked,
        /// The script is named by its digest: Redis is believed to know it.
        by_digest: bool,
    },
    /// Ask whether the store is there and what it can do.
    Probe,
}

/// A command without what it is about: enough to read its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of [`Command::Get`].
    Get,
    /// Of [`Command::Claim`].
    Claim,
    /// Of [`Command::Set`].
    Set,
    /// Of [`Command::Delete`].
    Delete,
    /// Of [`Command::Add`].
    Add,
    /// Of [`Command::Lease`].
    Lease,
    /// Of [`Command::Probe`].
    Probe,
}

impl Kind {
    /// Whether it changes what is stored.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Set | Self::Delete)
    }
}

impl Command<'_> {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Get { .. } => Kind::Get,
            Self::Claim { .. } => Kind::Claim,
            Self::Set { .. } => Kind::Set,
            Self::Delete { .. } => Kind::Delete,
            Self::Add { .. } => Kind::Add,
            Self::Lease { .. } => Kind::Lease,
            Self::Probe => Kind::Probe,
        }
    }
}

/// One HTTP request; the adapter adds `:authority` and `:scheme`. Not `Debug`: the fields may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
}

/// What the store said.
///
/// webdis marks an error of a `GET` only by a leading `-` and an upper-case word, so such a value reads as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The value.
    Value(Vec<u8>),
    /// There is no value; or nothing was added.
    Absent,
    /// It is done.
    Done,
    /// The answer to a probe.
    Ready(Capabilities),
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether values come back byte for byte. If not, the store must not be used.
    pub binary_reads: bool,
}

/// Why there is no answer. Always a miss for the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialectError {
    /// A status that is none of the dialect's.
    Status(u16),
    /// 504 from Envoy itself: no answer by the deadline.
    Timeout,
    /// 503 from Envoy itself: no host, refused, or broken off before the head.
    Unreachable,
    /// No header at all: broken off in the middle, or larger than Envoy takes.
    Reset,
    /// Redis refused; its text, at most 200 characters.
    RedisError(String),
    /// The response is not one of this dialect.
    Malformed,
    /// The value is larger than it may be.
    TooLarge,
    /// 401 or 403, or Redis wants a (different) password or right.
    Unauthorized,
}

impl DialectError {
    /// The word for metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::RedisError(_) => "redis-error",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Unauthorized => "unauthorized",
        }
    }

    /// Whether the store has answered, and has done nothing.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::RedisError(_) | Self::Unauthorized)
    }

    /// What it says about the store as the answer to a command of this kind that came after `latency`.
    pub const fn call_result(&self, kind: Kind, latency: Duration) -> CallResult {
        match (self, kind) {
            (Self::Timeout, _) => CallResult::Timeout,
            // The record is at fault.
            (Self::TooLarge, _) => CallResult::Success { latency },
            // A Redis that is full or read-only still answers lookups.
            (Self::RedisError(_), Kind::Set | Kind::Delete | Kind::Add) => CallResult::Dropped,
            // Who may not write may still look up.
            (Self::Unauthorized, Kind::Set | Kind::Delete | Kind::Add) => CallResult::Dropped,
            // A plain question will tell.
            (Self::RedisError(_) | Self::Unauthorized, Kind::Claim | Kind::Lease) => CallResult::Dropped,
            _ => CallResult::Failure,
        }
    }

    /// The error for a text of Redis.
    fn of_redis(text: &str) -> Self {
        let forbidden = ["NOAUTH", "WRONGPASS", "NOPERM"].iter().any(|word| text.starts_with(word));
        if forbidden || text.starts_with(NOT_IN_SCRIPTS) {
            return Self::Unauthorized;
        }
        Self::RedisError(text.chars().filter(|c| !c.is_control()).take(MAX_ERROR_CHARS).collect())
    }
}

/// What came back from a [`Call`].
pub struct Response<'a> {
    /// The header fields with `:status`; none at all if the call failed.
    pub head: Fields<'a>,
    /// The body.
    pub body: Vec<u8>,
}

/// A way to reach Redis. Not `Debug`: it holds credentials.
#[derive(Clone)]
pub enum Dialect {
    /// The webdis server.
    Webdis(WebdisOptions),
    /// Upstash's REST interface, and what is compatible with it.
    Upstash(UpstashOptions),
}

impl Dialect {
    /// The dialect that the operator chose, with the credentials for the bridge.
    ///
    /// # Errors
    /// The credentials cannot be sent; in words what they must be.
    pub fn new(chosen: policy::Dialect, credentials: Option<String>) -> Result<Self, &'static str> {
        let would_fit = |fits: fn(&str) -> bool| credentials.as_deref().is_none_or(fits);
        match chosen {
            policy::Dialect::Webdis if would_fit(|pair| pair.contains(':')) => {
                Ok(Self::Webdis(WebdisOptions { user_password: credentials }))
            }
            policy::Dialect::Webdis => Err("user:password"),
            policy::Dialect::Upstash
                if would_fit(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) =>
            {
                Ok(Self::Upstash(UpstashOptions { token: credentials }))
            }
            policy::Dialect::Upstash => Err("a token of visible ASCII characters"),
        }
    }

    /// Whether it must not be used once a probe found this. Where values can only come back as they are, a probe
    /// that fails may merely have been forbidden.
    pub const fn is_ruled_out(&self, outcome: Outcome) -> bool {
        matches!((self, outcome), (Self::Upstash(_), Outcome::Unauthorized | Outcome::Inexact))
    }

    /// The call for `command`.
    pub fn call(&self, command: &Command<'_>) -> Call {
        match self {
            Self::Webdis(options) => options.call(command),
            Self::Upstash(options) => options.call(command),
        }
    }

    /// Whether records can be sent together. Deletions and lookups always can.
    pub const fn writes_together(&self) -> bool {
        matches!(self, Self::Webdis(_))
    }

    /// The call for several lookups, or several writes; `None` if these cannot be sent together. Where a script does them,
    /// Redis `is_known` to know it.
    pub fn call_all(&self, commands: &[Command<'_>], is_known: bool) -> Option<Call> {
        match self {
            Self::Webdis(options) => Some(options.call_all(commands, is_known)),
            Self::Upstash(options) => options.call_all(commands),
        }
    }

    /// What `response` means as the answer to such a call, for each command in order; a value may have `max_bytes`.
    ///
    /// # Errors
    /// [`DialectError`] says why there is no answer to any of them.
    pub fn answers(
        &self,
        kinds: &[Kind],
        response: Response<'_>,
        max_bytes: usize,
    ) -> Result<Vec<Result<Answer, DialectError>>, DialectError> {
        match (self, status(response.head)?) {
            (Self::Webdis(_), 200) => batch::answers(kinds, &response.body, max_bytes),
            (Self::Upstash(_), 200) => upstash::answers(kinds, &response.body, max_bytes),
            (_, other) => Err(DialectError::Status(other)),
        }
    }

    /// What `response` means as the answer to a command of this kind; a value may have `max_bytes`.
    ///
    /// # Errors
    /// [`DialectError`] says why there is no answer.
    pub fn answer(
        &self,
        kind: Kind,
        response: Response<'_>,
        max_bytes: usize,
    ) -> Result<Answer, DialectError> {
        let status = status(response.head)?;
        match self {
            Self::Webdis(_) => webdis::answer(kind, status, response.body, max_bytes),
            Self::Upstash(_) => upstash::answer(kind, status, &response.body, max_bytes),
        }
    }
}

/// The key of a hash: `prefix:schema:32 hex digits`. Characters that a bridge would read as its own syntax
/// (anything but letters, digits, `-`, `_`, `:`) become `_` in the prefix.
pub fn wire_key(prefix: &str, hash: u128) -> String {
    format!("{}:{SCHEMA}:{hash:032x}", safe(prefix))
}

/// The key of the hint at the last purge.
pub fn last_purge_key(prefix: &str) -> String {
    format!("{}:{SCHEMA}:purges", safe(prefix))
}

/// The key of the entry of purges of a number.
pub fn purge_key(prefix: &str, number: u64) -> String {
    format!("{}:{SCHEMA}:purge:{number}", safe(prefix))
}

/// The key of what is asked about.
pub fn asked_key(prefix: &str, namespace: u64, asked: &Asked) -> String {
    asked.key(&format!("{}:{SCHEMA}", safe(prefix)), namespace)
}

/// The key of what is written to see whether writes are taken.
pub fn probe_key(prefix: &str) -> String {
    format!("{}:{SCHEMA}:probe", safe(prefix))
}

fn safe(prefix: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':') { c } else { '_' };
    prefix.chars().map(safe).collect()
}

/// The status, or the errors that both dialects share.
fn status(head: Fields<'_>) -> Result<u16, DialectError> {
    if head.is_empty() {
        return Err(DialectError::Reset);
    }
    let text =
        head.get(b":status").filter(|digits| digits.len() == 3 && digits.iter().all(u8::is_ascii_digit));
    let status = text.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match status.ok_or(DialectError::Malformed)? {
        503 if made_by_envoy(head) => Err(DialectError::Unreachable),
        504 if made_by_envoy(head) => Err(DialectError::Timeout),
        401 | 403 => Err(DialectError::Unauthorized),
        status => Ok(status),
    }
}

/// What comes from a bridge has the time that it took.
fn made_by_envoy(head: Fields<'_>) -> bool {
    head.get(b"x-envoy-upstream-service-time").is_none()
}

/// Tells a member that is null, `Some(None)`, from one that is not there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Releases whose records cannot read each other's have different schemas.
const SCHEMA: &str = "v1";

/// How Redis says in a script that the user may not do what is in it.
const NOT_IN_SCRIPTS: &str = "ERR The user executing the script can't run";

/// Characters kept of an error text.
const MAX_ERROR_CHARS: usize = 200;

/// Bytes of an answer that carries no value.
const MAX_REPLY: usize = 4096;

#[cfg(test)]
mod tests;

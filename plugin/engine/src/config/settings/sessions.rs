//! How a cookie becomes request fields: by the record in Redis that an application's session middleware has written.

use std::time::Duration;

use super::kinds::{Words, duration, size, switch, text, whole, word};
use super::nested::{by_name, list_of, nullable, refuse_known_name, refuse_unknown_name, required};
use super::texts::{Cluster, Cookie, LimitName, Member, Variable};
use super::{Section, section};
use crate::config::limits::{SESSION_COPY, SESSION_TTL};
use crate::config::names;
use crate::config::reader::{Object, Place};
use crate::config::written::{Written, quote};
use crate::fields::same_name;

/// Sessions of one application: where they are, and what of them a request is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Unique.
    pub name: Box<str>,
    /// The cookie that names the session. Default: `connect.sid`.
    pub cookie: Box<[u8]>,
    /// What its key in Redis begins with. Default: `sess:`.
    pub prefix: Box<str>,
    /// In which form its record lies there. Default: [`SessionFormat::Json`].
    pub format: SessionFormat,
    /// Whether the cookie is signed, so that what is not is no session. Default: true.
    pub signed: bool,
    /// Names of the environment variables of the VM that hold a secret each. Any of them verifies. Default: none.
    pub secret_env: Vec<Box<str>>,
    /// Request fields and what they are given: a JSON pointer (RFC 6901), or a member of the hash. Names are in lower case.
    pub fields: Vec<(Box<str>, Box<str>)>,
    /// What becomes of a request without a session. Default: [`SessionMissing::Pass`].
    pub missing: SessionMissing,
    /// What becomes of it while Redis cannot be asked. Default: [`SessionOnFailure::Pass`].
    pub on_failure: SessionOnFailure,
    /// How long a worker goes by what Redis has said. Default: 5 s.
    pub copy: Duration,
    /// The same where there was no such session. Default: 1 s.
    pub absent_copy: Duration,
    /// Most sessions that a worker remembers. Default: 10,000.
    pub copies: usize,
    /// Most bytes of them. Default: 4 MiB.
    pub copy_bytes: usize,
    /// A session that is used lives longer: how often each worker says so to Redis. Default `None`: it does not.
    pub touch: Option<Duration>,
    /// How much longer, where the record has no `cookie.originalMaxAge`. Default: a day.
    pub ttl: Duration,
    /// The largest record that is read, in bytes. Default: 64 KiB.
    pub record_bytes: usize,
    /// The longest value that a field is given, in bytes. Default: 1 KiB.
    pub value_bytes: usize,
}

section! {
    Session check fields_and_secrets {
        name = Box::default(), required(text::<LimitName>(), names::NAMESPACE), "Required and unique.";
        cookie = (*b"connect.sid").into(), text::<Cookie>(), "The cookie that names the session.";
        prefix = "sess:".into(), text::<Cluster>(), "What its key in Redis begins with; the session's id follows.";
        format = SessionFormat::Json, word(SESSION_FORMAT),
            "What lies there: `json`, a string with JSON as connect-redis writes it; `hash`, a Redis hash.";
        signed = true, switch(),
            "The cookie is `s:ID.SIGNATURE` as express-session writes it, and without a right signature there is no session. `false`: its value is the id, whoever made it up.";
        secret_env = Vec::new(), list_of(8, text::<Variable>()),
            "Names of the VM's environment variables with a secret of 8 to 1024 bytes each, which any verifies. Required unless `signed` is `false`.";
        fields = Vec::new(), required(by_name(text::<Member>()), FIELDS),
            "Required. Request fields, 16 at most, and what they are given: a JSON pointer into the record such as `/user/id`, or the name of a member of the hash. No client can send these fields, under any rule.";
        missing = SessionMissing::Pass, word(SESSION_MISSING),
            "A request without a session goes on without the fields, or is answered 401.";
        on_failure = SessionOnFailure::Pass, word(SESSION_ON_FAILURE),
            "While Redis cannot be asked a request goes on without the fields, or is answered 503.";
        copy = Duration::from_secs(5), duration(SESSION_COPY), "How long a worker goes by what Redis has said; `0s`: each request asks.";
        absent_copy = Duration::from_secs(1), duration(SESSION_COPY), "The same where Redis had no such session.";
        copies = 10_000, whole(16..=1 << 18), "Most sessions that a worker remembers.";
        copy_bytes = 4 << 20, size(64 << 10..=16 << 20), "Most bytes that they take in a worker.";
        touch = None, nullable(duration(SESSION_TTL)),
            "A session that is used lives longer: each worker has Redis keep it anew, this often at most; `null`: never.";
        ttl = Duration::from_secs(86_400), duration(SESSION_TTL),
            "How long it is kept then, where the record has no `cookie.originalMaxAge`.";
        record_bytes = 64 << 10, size(1 << 10..=1 << 20), "Largest record that is read; a larger one is no session.";
        value_bytes = 1 << 10, size(1..=8 << 10), "Longest value that a field is given; a longer one is not given.";
    }
}

fn fields_and_secrets(session: &mut Session, object: &mut Object<'_, '_>) {
    let place = object.place_of("secret_env");
    match (session.signed, session.secret_env.is_empty()) {
        (true, true) => {
            place.refuse::<()>(
                "nothing",
                "the names of environment variables that hold the secrets, or `\"signed\": false`",
            );
        }
        (false, false) => {
            place.refuse::<()>("secrets beside `\"signed\": false`", "one of the two");
        }
        _ => {}
    }
    let place = || object.place_of("fields");
    let count = session.fields.len();
    if object.is_empty_object("fields") || count > MOST_FIELDS {
        place().refuse::<()>(format!("{count} fields"), FIELDS);
    }
    let mut known: Vec<Box<str>> = Vec::new();
    for (name, source) in &mut session.fields {
        let lower = names::field(name).and_then(|name| String::from_utf8(name.into()).ok());
        match lower.filter(|lower| !is_anothers(lower)) {
            None => {
                place().member(name).refuse::<()>(format!("a member {}", quote(name)), FIELD);
            }
            Some(lower) if known.iter().any(|known| same_name(known.as_bytes(), lower.as_bytes())) => {
                place().member(name).refuse::<()>("the field again", "each field once, in one spelling");
            }
            Some(lower) => {
                known.push(lower.as_str().into());
                let place = place().member(name);
                if session.format == SessionFormat::Json && !is_pointer(source) {
                    place.refuse::<()>(quote(source), "a JSON pointer (RFC 6901) such as \"/user/id\"");
                }
                *name = lower.into();
            }
        }
    }
}

/// Whether a text is a JSON pointer, not to the whole.
fn is_pointer(text: &str) -> bool {
    let escapes = |part: &str| part.starts_with('0') || part.starts_with('1');
    text.starts_with('/') && text.split('~').skip(1).all(escapes)
}

/// Whether a field is read or written by the cache or by Envoy, so that no session may set it.
fn is_anothers(name: &str) -> bool {
    name.starts_with("x-envoy-") || name.starts_with("selvage-") || ANOTHERS.contains(&name)
}

const ANOTHERS: [&str; 22] = [
    "accept-encoding",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "range",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

const FIELDS: &str = "an object of 1 to 16 request fields and where their values are in the record";
const FIELD: &str = "a request field of the application's own such as \"x-user-id\"";
/// Most fields of a session.
const MOST_FIELDS: usize = 16;

/// In which form a record lies in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionFormat {
    /// A string with JSON.
    Json,
    /// A hash.
    Hash,
}

const SESSION_FORMAT: Words<SessionFormat> = &[("json", SessionFormat::Json), ("hash", SessionFormat::Hash)];

/// What becomes of a request without a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionMissing {
    /// It goes on without the fields.
    Pass,
    /// It is answered 401.
    Refuse,
}

const SESSION_MISSING: Words<SessionMissing> =
    &[("pass", SessionMissing::Pass), ("401", SessionMissing::Refuse)];

/// What becomes of a request while Redis cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOnFailure {
    /// It goes on without the fields.
    Pass,
    /// It is answered 503.
    Refuse,
}

const SESSION_ON_FAILURE: Words<SessionOnFailure> =
    &[("pass", SessionOnFailure::Pass), ("503", SessionOnFailure::Refuse)];

/// Most of `sessions`.
pub(crate) const SESSIONS: usize = 8;

/// Reads one of `sessions` and adds it to those before it.
pub(crate) fn named_session(
    place: Place<'_>,
    written: &Written,
    remote: &super::remote::Remote,
    sessions: &mut Vec<Session>,
) {
    let session = Object::walk(place, written, |object| {
        let mut session = Session::default();
        session.fill(object);
        let earlier = sessions.iter().map(|earlier| &*earlier.name);
        refuse_known_name(object, &session.name, earlier, "a name that no other of `sessions` has");
        if !remote.enabled {
            object
                .place()
                .refuse::<()>("a session without `remote`", "`remote.enabled`: sessions are in Redis");
        }
        session
    });
    sessions.extend(session);
}

/// Refuses a name of sessions that there are not.
pub(crate) fn refuse_unknown_session(session: Option<&str>, sessions: &[Session], place: Place<'_>) {
    if let Some(name) = session.filter(|name| !name.is_empty()) {
        refuse_unknown_name(place, name, sessions.iter().map(|session| &*session.name), "sessions");
    }
}

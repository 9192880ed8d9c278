//! The record of a session: what fields it gives a request, and how long it may be kept.

use std::time::Duration;

use serde_json::Value;

use crate::config::{Session, SessionFormat};
use crate::time::Timestamp;

/// A session as a worker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The values, in the order of the fields of its configuration. `None`: the request is not given that one.
    pub values: Vec<Option<Box<[u8]>>>,
    /// How long it lives on when it is used.
    pub lasts: Duration,
}

impl Found {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let values = self.values.iter().flatten().map(|value| value.len());
        values.sum::<usize>().saturating_add(size_of::<Self>()).saturating_add(self.values.len() * 16)
    }
}

/// Why there is nothing in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It has ended.
    Expired,
    /// It is none that can be read.
    Malformed,
}

/// Reads a record. `lives`: Redis ends it by itself.
///
/// # Errors
/// Why it is no session.
pub fn read(record: &[u8], lives: bool, session: &Session, now: Timestamp) -> Result<Found, Unusable> {
    match session.format {
        SessionFormat::Json => of_json(record, lives, session, now),
        SessionFormat::Hash => of_hash(record, session).ok_or(Unusable::Malformed),
    }
}

fn of_json(record: &[u8], lives: bool, session: &Session, now: Timestamp) -> Result<Found, Unusable> {
    let parsed =
        serde_json::from_slice(record).or_else(|_| serde_json::from_slice(&whole_characters(record)));
    let Ok(record @ Value::Object(_)) = parsed else { return Err(Unusable::Malformed) };
    let cookie = record.get("cookie");
    // Whoever touches a session has Redis keep it longer, and leaves this time as it is: what Redis ends by itself goes by that.
    let expires = cookie.and_then(|cookie| cookie.get("expires")).and_then(Value::as_str);
    if !lives && expires.and_then(moment_of).is_some_and(|at| at <= now) {
        return Err(Unusable::Expired);
    }
    let age = cookie.and_then(|cookie| cookie.get("originalMaxAge")).and_then(Value::as_f64);
    let lasts = match age {
        Some(millis) if millis >= 1.0 => Duration::from_millis(millis.min(LONGEST_AGE) as u64),
        _ => session.ttl,
    };
    let text = |pointer: &str| match record.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    };
    let values = session.fields.iter().map(|(_, source)| usable(text(source), session)).collect();
    Ok(Found { values, lasts })
}

/// Members of a hash in the order of the fields: `LENGTH:BYTES`, or `-`.
fn of_hash(mut record: &[u8], session: &Session) -> Option<Found> {
    let mut values = Vec::with_capacity(session.fields.len());
    for _ in &session.fields {
        if let Some(rest) = record.strip_prefix(b"-") {
            record = rest;
            values.push(None);
            continue;
        }
        let at = record.iter().position(|byte| *byte == b':')?;
        let (length, rest) = record.split_at_checked(at)?;
        let length = std::str::from_utf8(length).ok()?.parse().ok()?;
        let (value, rest) = rest.get(1..)?.split_at_checked(length)?;
        values.push(usable(Some(value.to_vec()), session));
        record = rest;
    }
    record.is_empty().then_some(Found { values, lasts: session.ttl })
}

/// A value that a field can have as it is: nothing that ends a line, and no white space at its ends, which the origin would
/// not see.
fn usable(value: Option<Vec<u8>>, session: &Session) -> Option<Box<[u8]>> {
    let value = value?;
    let is_plain =
        value.iter().all(|byte| !byte.is_ascii_control()) && value.trim_ascii().len() == value.len();
    (is_plain && (1..=session.value_bytes).contains(&value.len())).then(|| value.into())
}

/// `2026-12-01T02:00:00.000Z`, as `Date` writes it.
fn moment_of(text: &str) -> Option<Timestamp> {
    let seconds = text.get(..19)?;
    Timestamp::parse_rfc3339(format!("{seconds}Z").as_bytes())
}

/// JSON in which half a character, `\ud800` without its other half, is U+FFFD: JavaScript writes such halves, and readers
/// that want whole characters would refuse all of it for one.
fn whole_characters(json: &[u8]) -> Vec<u8> {
    let half = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let unit = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        (0xd800..=0xdfff).contains(&unit).then_some(unit >= 0xdc00)
    };
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        let taken = match (*byte, half(at)) {
            (b'\\', Some(false)) if half(at + 6) == Some(true) => 12,
            (b'\\', Some(_)) => {
                out.extend_from_slice(b"\\ufffd");
                at += 6;
                continue;
            }
            (b'\\', None) => 2,
            _ => 1,
        };
        out.extend_from_slice(json.get(at..at + taken).unwrap_or(json.get(at..).unwrap_or_default()));
        at += taken;
    }
    out
}

/// Ten years, in milliseconds.
const LONGEST_AGE: f64 = 3650.0 * 86_400_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn session(format: SessionFormat) -> Session {
        let field = |name: &str, source: &str| (name.into(), source.into());
        Session {
            format,
            fields: vec![field("x-a", "/user/id"), field("x-b", "/plan"), field("x-c", "/a~1b/0")],
            value_bytes: 20,
            ..Session::default()
        }
    }

    fn values(found: &Found) -> Vec<&str> {
        let text = |value: &Option<Box<[u8]>>| value.as_ref().map_or(&b"none"[..], |value| value).to_vec();
        found.values.iter().map(|value| String::from_utf8(text(value)).unwrap().leak() as &str).collect()
    }

    #[test]
    fn fields_are_what_their_pointers_point_to_as_text() {
        let of =
            |json: &str| read(json.as_bytes(), true, &session(SessionFormat::Json), Timestamp::from_secs(5));
        let cookie = r#""cookie":{"originalMaxAge":60000,"expires":"1970-01-01T00:00:01.000Z"}"#;
        for (rest, expected) in [
            (r#""user":{"id":7},"plan":"gold","a/b":["x"]"#, ["7", "gold", "x"]),
            (r#""user":{"id":"\u00fc"},"plan":true,"a/b":[[1,"2"]]"#, ["\u{fc}", "true", "[1,\"2\"]"]),
            (r#""user":{"id":null},"plan":"","a/b":{}"#, ["none"; 3]),
            (r#""user":7,"plan":"a\nb","a/b":[" x"]"#, ["none"; 3]),
            (r#""user":{"id":"123456789012345678901"},"plan":"p","plan":"q""#, ["none", "q", "none"]),
            (
                r#""user":{"id":"a\ud800"},"plan":"\ud83d\ude00","x":"\\ud800""#,
                ["a\u{fffd}", "\u{1f600}", "none"],
            ),
        ] {
            let found = of(&format!("{{{cookie},{rest}}}")).unwrap();
            assert_eq!(values(&found), expected, "{rest}");
            assert_eq!(found.lasts, Duration::from_secs(60));
        }
        for malformed in ["", "[]", "7", "\"a\"", "null", "{", r#"{"a":"\ud800}"#] {
            assert_eq!(of(malformed), Err(Unusable::Malformed), "{malformed}");
        }
        assert_eq!(of("{}").unwrap().lasts, Duration::from_secs(86_400));
    }

    #[test]
    fn what_redis_does_not_end_has_ended_when_its_cookie_has() {
        let of = |expires: &str, lives: bool| {
            let json = format!(r#"{{"cookie":{{"expires":{expires}}}}}"#);
            read(json.as_bytes(), lives, &session(SessionFormat::Json), Timestamp::from_secs(1_796_026_581))
        };
        for ended in [r#""2026-11-30T08:16:21.999Z""#, r#""1970-01-01T00:00:00.000Z""#] {
            assert_eq!(of(ended, false), Err(Unusable::Expired), "{ended}");
            assert!(of(ended, true).is_ok(), "{ended}");
        }
        for lives in
            [r#""2026-11-30T08:16:22.000Z""#, "null", "false", "7", r#""+012026-11-30T08:16:22.000Z""#]
        {
            assert!(of(lives, false).is_ok(), "{lives}");
        }
    }

    #[test]
    fn members_of_a_hash_are_read_by_their_lengths() {
        let of =
            |text: &str| read(text.as_bytes(), true, &session(SessionFormat::Hash), Timestamp::from_secs(5));
        assert_eq!(values(&of("1:a-3:b:-").unwrap()), ["a", "none", "b:-"]);
        assert_eq!(values(&of("---").unwrap()), ["none"; 3]);
        for malformed in ["", "--", "----", "1:a1:b2:c", "x:a--", "9:a--"] {
            assert_eq!(of(malformed), Err(Unusable::Malformed), "{malformed}");
        }
    }
}

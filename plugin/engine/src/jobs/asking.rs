//! What a client says about its job: `Prefer` (RFC 7240) and `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).

use super::head::JOB;
use crate::fields::Fields;
use crate::policy::{Rule, RuleJobs};
use crate::request::Request;

/// Whether a request becomes a job: its rule takes it, and it makes sense without its client. One that does a job already is none.
pub fn would_accept(request: &Request<'_>, rule: &Rule) -> bool {
    if rule.shadow {
        return false;
    }
    let is_wanted = match rule.jobs {
        RuleJobs::Off => return false,
        RuleJobs::Prefer => prefers_async(request.fields),
        RuleJobs::Always => true,
    };
    let needs_client = matches!(request.method, b"HEAD" | b"OPTIONS" | b"TRACE" | b"CONNECT");
    is_wanted && !needs_client && !request.upgrade && request.fields.get(JOB).is_none()
}

/// Whether the client would rather have its request done later: `respond-async`, in any line of `Prefer`. A value makes it another
/// preference; an empty one is none (§2). What else it prefers, `wait` for one, is left aside.
pub fn prefers_async(fields: Fields<'_>) -> bool {
    fields.members(b"prefer").any(|preference| {
        let token = preference.split(|byte| *byte == b';').next().unwrap_or_default();
        let mut halves = token.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        let value = halves.next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"respond-async") && matches!(value, b"" | b"\"\"")
    })
}

/// The key by which a client says that it asks for the same once more; `None`: it says nothing. With quotation marks, as the draft has
/// it, or without, as clients have long sent it: both are the same key.
///
/// # Errors
/// It is empty, longer than 255 bytes, comes in several lines, or is no text.
pub fn idempotency_key<'a>(fields: Fields<'a>) -> Result<Option<&'a [u8]>, BadKey> {
    let mut lines = fields.all(b"idempotency-key");
    let Some(line) = lines.next() else { return Ok(None) };
    let line = line.trim_ascii();
    let inner = line.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let key = inner.unwrap_or(line);
    let plain = key.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    if lines.next().is_some() || !plain || !(1..=LONGEST_KEY).contains(&key.len()) {
        return Err(BadKey);
    }
    Ok(Some(key))
}

/// A key that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKey;

const LONGEST_KEY: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    fn block(name: &str, lines: &[&str]) -> FieldBlock {
        lines.iter().map(|line| (name.as_bytes(), line.as_bytes())).collect()
    }

    #[test]
    fn a_preference_is_found_wherever_it_stands() {
        for lines in [
            &["respond-async"][..],
            &["Respond-Async , wait=10"],
            &["return=minimal; foo=\"a, b\", respond-async"],
            &["handling=lenient", "wait=5, respond-async; x"],
            &["respond-async=\"\""],
            &["respond-async = "],
            &["a=\"\\\"\", respond-async"],
        ] {
            assert!(prefers_async(block("prefer", lines).fields()), "{lines:?}");
        }
        for lines in [
            &[][..],
            &["wait=10"],
            &["respond-asynchronously"],
            &["x=\"respond-async, wait\""],
            &["foo; respond-async"],
            &["respond-async=no"],
        ] {
            assert!(!prefers_async(block("prefer", lines).fields()), "{lines:?}");
        }
    }

    #[test]
    fn a_key_is_the_same_with_quotation_marks_and_without() {
        let long = "x".repeat(255);
        for (lines, key) in [
            (&["\"a-1\""][..], Ok(Some(&b"a-1"[..]))),
            (&[" a-1 "], Ok(Some(b"a-1"))),
            (&[long.as_str()], Ok(Some(long.as_bytes()))),
            (&[], Ok(None)),
            (&[""], Err(BadKey)),
            (&["\"\""], Err(BadKey)),
            (&["a", "a"], Err(BadKey)),
            (&["\"a"], Err(BadKey)),
            (&["\u{e9}"], Err(BadKey)),
        ] {
            assert_eq!(idempotency_key(block("idempotency-key", lines).fields()), key, "{lines:?}");
        }
        assert_eq!(idempotency_key(block("idempotency-key", &[&"x".repeat(256)]).fields()), Err(BadKey));
    }
}

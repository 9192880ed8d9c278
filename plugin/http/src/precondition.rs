//! Answers a client's conditional request from a stored response: RFC 9111 §4.3.2, RFC 9110 §13.

use crate::fields::Fields;
use crate::time::Timestamp;

/// The validators of a stored response.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// `ETag` as stored.
    pub etag: Option<&'a [u8]>,
    /// `Last-Modified` as stored.
    pub last_modified: Option<&'a [u8]>,
    /// When the response was made: its `Date`, else when it was received.
    pub date: Option<Timestamp>,
}

/// What a conditional request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stored response: the condition holds, or there is none.
    Proceed,
    /// 304.
    NotModified,
}

/// Evaluates `If-None-Match` and, in its absence only, `If-Modified-Since` of a GET or HEAD (RFC 9110
/// §13.2.2).
///
/// Meant for a stored 200: of other statuses conditions are not evaluated (§13.2.1).
pub fn evaluate(request: Fields<'_>, stored: Validators<'_>) -> Outcome {
    let mut lines = request.all(b"if-none-match").peekable();
    let unchanged = if lines.peek().is_some() {
        lines
            .flat_map(entity_tags)
            .any(|tag| tag == b"*" || stored.etag.is_some_and(|etag| weakly_equal(tag, etag)))
    } else {
        is_unmodified_since(request, stored)
    };
    if unchanged { Outcome::NotModified } else { Outcome::Proceed }
}

/// Whether `If-Match` and, in its absence only, `If-Unmodified-Since` of a request hold for what is stored (RFC 9110
/// §13.1.1, §13.1.4), which has one of these entity-tags. Where they do not, or cannot be judged, the origin has to.
#[inline(never)]
pub fn holds(request: Fields<'_>, etags: [Option<&[u8]>; 2], last_modified: Option<&[u8]>) -> bool {
    let mut lines = request.all(b"if-match").peekable();
    if lines.peek().is_some() {
        let is_one = |tag: &[u8]| etags.iter().flatten().any(|etag| !tag.starts_with(b"W/") && *etag == tag);
        return lines.flat_map(entity_tags).any(|tag| tag == b"*" || is_one(tag));
    }
    let mut lines = request.all(b"if-unmodified-since");
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let since = Timestamp::parse_http_date(line.trim_ascii());
    let modified = last_modified.and_then(Timestamp::parse_http_date);
    since.zip(modified).is_some_and(|(since, modified)| modified.as_secs() <= since.as_secs())
}

/// Weak comparison of two entity-tags (RFC 9110 §8.8.3.2). A text that is no entity-tag equals only itself.
pub fn weakly_equal(one: &[u8], other: &[u8]) -> bool {
    opaque(one.trim_ascii()) == opaque(other.trim_ascii())
}

/// `If-Modified-Since` that is no date, or that comes twice, is ignored (RFC 9110 §13.1.3).
fn is_unmodified_since(request: Fields<'_>, stored: Validators<'_>) -> bool {
    let mut lines = request.all(b"if-modified-since");
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let Some(since) = Timestamp::parse_http_date(line.trim_ascii()) else { return false };
    // A response is no newer than the moment it was made.
    let modified = stored.last_modified.and_then(Timestamp::parse_http_date).or(stored.date);
    modified.is_some_and(|modified| modified.as_secs() <= since.as_secs())
}

/// The members of one line of `If-None-Match`, without the empty ones. Unlike a quoted string, an entity-tag
/// has no escapes: a backslash in it is an ordinary character (RFC 9110 §8.8.3).
pub fn entity_tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let list = rest.get(start..)?;
        let mut quoted = false;
        let end = list.iter().position(|byte| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        });
        let (tag, tail) = list.split_at_checked(end.unwrap_or(list.len()))?;
        rest = tail;
        Some(tag.trim_ascii())
    })
}

/// The tag without the mark of weakness; what is not a tag stays whole.
fn opaque(tag: &[u8]) -> &[u8] {
    match tag {
        [b'W', b'/', rest @ ..] if rest.first() == Some(&b'"') => rest,
        _ => tag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AT: u64 = 784_111_777;

    fn outcome(
        fields: &[(&str, &str)],
        etag: Option<&str>,
        modified: Option<&str>,
        date: Option<u64>,
    ) -> Outcome {
        let block: FieldBlock = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let stored = Validators {
            etag: etag.map(str::as_bytes),
            last_modified: modified.map(str::as_bytes),
            date: date.map(Timestamp::from_secs),
        };
        evaluate(block.fields(), stored)
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (lines, etag, wanted) in [
            (&["\"a\""][..], Some("\"a\""), Outcome::NotModified),
            (&["W/\"a\""], Some("\"a\""), Outcome::NotModified),
            (&["\"a\""], Some("W/\"a\""), Outcome::NotModified),
            (&["\"b\", \"a\""], Some("\"a\""), Outcome::NotModified),
            (&["\"b\"", ", ,W/\"a\" ,"], Some("\"a\""), Outcome::NotModified),
            (&["\"b,\", \"a,c\""], Some("\"a,c\""), Outcome::NotModified),
            (&["\"b\\\", \"a\""], Some("\"a\""), Outcome::NotModified),
            (&["*"], Some("\"a\""), Outcome::NotModified),
            (&["*"], None, Outcome::NotModified),
            (&["a"], Some("a"), Outcome::NotModified),
            (&["b, a"], Some("a"), Outcome::NotModified),
            (&["a"], Some("\"a\""), Outcome::Proceed),
            (&["\"a\""], Some("a"), Outcome::Proceed),
            (&["W/a"], Some("a"), Outcome::Proceed),
            (&["\"A\""], Some("\"a\""), Outcome::Proceed),
            (&["w/\"a\""], Some("\"a\""), Outcome::Proceed),
            (&["\"*\""], Some("\"a\""), Outcome::Proceed),
            (&["\"a,c\""], Some("\"a\""), Outcome::Proceed),
            (&["\"a"], Some("\"a\""), Outcome::Proceed),
            (&["\"a\""], None, Outcome::Proceed),
            (&[""], Some("\"a\""), Outcome::Proceed),
            (&[""], Some(""), Outcome::Proceed),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("if-none-match", *line)).collect();
            assert_eq!(outcome(&fields, etag, None, None), wanted, "{lines:?} {etag:?}");
        }
    }

    #[test]
    fn if_modified_since_compares_with_last_modified_or_else_with_date() {
        let (before, after) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun Nov  6 08:49:38 1994");
        for (since, modified, date, wanted) in [
            (MODIFIED, Some(MODIFIED), None, Outcome::NotModified),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(MODIFIED), None, Outcome::NotModified),
            (after, Some(MODIFIED), None, Outcome::NotModified),
            (before, Some(MODIFIED), None, Outcome::Proceed),
            (before, Some(MODIFIED), Some(AT - 9), Outcome::Proceed),
            (MODIFIED, None, Some(AT), Outcome::NotModified),
            (before, None, Some(AT), Outcome::Proceed),
            (MODIFIED, Some("yesterday"), Some(AT), Outcome::NotModified),
            (MODIFIED, None, None, Outcome::Proceed),
            ("yesterday", Some("yesterday"), Some(AT), Outcome::Proceed),
            ("", Some(MODIFIED), None, Outcome::Proceed),
        ] {
            let fields = [("if-modified-since", since)];
            assert_eq!(outcome(&fields, None, modified, date), wanted, "{since} {modified:?} {date:?}");
        }
        let twice = [("if-modified-since", MODIFIED), ("if-modified-since", MODIFIED)];
        assert_eq!(outcome(&twice, None, Some(MODIFIED), None), Outcome::Proceed);
    }

    #[test]
    fn if_none_match_comes_before_if_modified_since() {
        let fields = [("if-none-match", "\"b\""), ("if-modified-since", MODIFIED)];
        assert_eq!(outcome(&fields, Some("\"a\""), Some(MODIFIED), None), Outcome::Proceed);
        assert_eq!(outcome(&fields, None, Some(MODIFIED), None), Outcome::Proceed);
        let old = [("if-none-match", "\"a\""), ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")];
        assert_eq!(outcome(&old, Some("\"a\""), Some(MODIFIED), None), Outcome::NotModified);
    }

    #[test]
    fn an_unconditional_request_proceeds() {
        assert_eq!(outcome(&[], Some("\"a\""), Some(MODIFIED), Some(AT)), Outcome::Proceed);
    }
}

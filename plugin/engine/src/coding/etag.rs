//! Keeps the entity-tags of a response's two codings apart, and understands them when clients send them back
//! (RFC 9110 §8.8.3.3).
//!
//! A strong tag names bytes, so the gzip form must not have that of the identity form: `"x"` becomes `"x-gz"`.
//! A weak tag names what the bytes mean, which both forms share.
//!
//! **What stays ambiguous.** `"x-gz"` from a client is our tag for `"x"` or the origin's own; nothing in it tells.
//! So `If-Match` on its way to the origin keeps the tag as it came and gets the other beside it: an origin with tags of
//! its own on `-gz` sees them unharmed. The two are mistaken for each other only where one resource has had both `"x"`
//! and `"x-gz"` from its origin.
//!
//! `If-None-Match` is judged here, against the tag of the form that the client gets. Where nothing is stored it goes to
//! the origin as it came: that answers a tag of ours with the whole response, while a 304 for `"x"` would tell the client
//! nothing about its `"x-gz"`.
//!
//! `If-Range` is left as it came: ranges are those of the identity form, so that `"x-gz"` there has to fail and the
//! client gets the whole.

use std::borrow::Cow;

/// The tag of the gzip form of a response whose tag is `etag`. Weak tags, and what is no tag, stay as they are.
pub fn for_gzip(etag: &[u8]) -> Cow<'_, [u8]> {
    suffixed(etag, SUFFIX)
}

fn suffixed<'e>(etag: &'e [u8], suffix: &[u8]) -> Cow<'e, [u8]> {
    let etag = etag.trim_ascii();
    match etag {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'"') => {
            Cow::Owned([b"\"", inner, suffix, b"\""].concat())
        }
        _ => Cow::Borrowed(etag),
    }
}

/// The tag of the form without white space of a response whose tag is `etag`.
pub fn for_minified(etag: &[u8]) -> Cow<'_, [u8]> {
    suffixed(etag, MINIFIED)
}

/// The members of `If-Match`, with the origin's tag put behind each tag that may be ours: `"a", "x-gz"` becomes
/// `"a", "x-gz", "x"`. Everything else stays byte by byte as it came. At most triples the length. `minifies`: ours may be of JSON
/// without white space too.
pub fn with_origins_tags(value: &[u8], minifies: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    // An entity-tag has no escapes: it reaches from one quote to the next.
    while let Some((before, inner, after)) = next_tag(rest) {
        out.extend_from_slice(before);
        out.extend_from_slice(b"\"");
        out.extend_from_slice(inner);
        out.extend_from_slice(b"\"");
        let mut add = |inner: &[u8]| {
            out.extend_from_slice(if before.ends_with(b"W/") { b", W/\"" } else { b", \"" });
            out.extend_from_slice(inner);
            out.extend_from_slice(b"\"");
        };
        let uncoded = inner.strip_suffix(SUFFIX);
        uncoded.into_iter().for_each(&mut add);
        let spaced = uncoded.unwrap_or(inner).strip_suffix(MINIFIED).filter(|_| minifies);
        spaced.into_iter().for_each(&mut add);
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}

/// What stands before the first quoted text, the text, and what stands behind it.
fn next_tag(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (before, quoted) = split_at_quote(line)?;
    let (inner, after) = split_at_quote(quoted)?;
    Some((before, inner, after))
}

/// What stands before the first quote and what stands behind it.
fn split_at_quote(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'"')?;
    Some((line.get(..at)?, line.get(at.checked_add(1)?..)?))
}

/// Ends the opaque part of the gzip form's strong tag.
const SUFFIX: &[u8] = b"-gz";
/// The same of JSON without white space. That of its gzip form comes behind.
const MINIFIED: &[u8] = b"-min";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gzip_form_has_a_strong_tag_of_its_own() {
        for (etag, coded) in [
            (r#""x""#, r#""x-gz""#),
            (r#""""#, r#""-gz""#),
            (r#""x-gz""#, r#""x-gz-gz""#),
            (r#" "x" "#, r#""x-gz""#),
            (r#""a,b\""#, r#""a,b\-gz""#),
            (r#"W/"x""#, r#"W/"x""#),
            ("x", "x"),
            ("", ""),
            (r#"""#, r#"""#),
            (r#""a"b""#, r#""a"b""#),
            (r#"w/"x""#, r#"w/"x""#),
        ] {
            assert_eq!(&*for_gzip(etag.as_bytes()), coded.as_bytes(), "{etag}");
        }
    }

    #[test]
    fn conditions_get_the_origins_tag_beside_ours() {
        for (sent, wanted) in [
            (r#""x-gz""#, r#""x-gz", "x""#),
            (r#""a", "x-gz" , "b""#, r#""a", "x-gz", "x" , "b""#),
            (r#""x-gz","y-gz""#, r#""x-gz", "x","y-gz", "y""#),
            (r#"W/"x-gz""#, r#"W/"x-gz", W/"x""#),
            (r#""a, -gz", "b""#, r#""a, -gz", "a, ", "b""#),
            (r#""a,-gz""#, r#""a,-gz", "a,""#),
            (r#""a\", "x-gz""#, r#""a\", "x-gz", "x""#),
        ] {
            assert_eq!(
                String::from_utf8(with_origins_tags(sent.as_bytes(), false)).unwrap(),
                wanted,
                "{sent}"
            );
        }
    }

    #[test]
    fn json_without_white_space_has_a_tag_of_its_own_in_both_codings() {
        assert_eq!(&*for_minified(b"\"x\""), b"\"x-min\"");
        assert_eq!(&*for_gzip(&for_minified(b"\"x\"")), b"\"x-min-gz\"");
        assert_eq!(&*for_minified(b"W/\"x\""), b"W/\"x\"");
        for (sent, wanted) in [
            (r#""x-min""#, r#""x-min", "x""#),
            (r#""x-min-gz", "y""#, r#""x-min-gz", "x-min", "x", "y""#),
            (r#"W/"x-gz""#, r#"W/"x-gz", W/"x""#),
        ] {
            assert_eq!(
                String::from_utf8(with_origins_tags(sent.as_bytes(), true)).unwrap(),
                wanted,
                "{sent}"
            );
        }
        assert_eq!(with_origins_tags(b"\"x-min\"", false), b"\"x-min\"");
    }

    #[test]
    fn conditions_without_a_tag_of_ours_stay_byte_by_byte() {
        for line in
            ["", "*", r#""a""#, r#"  "a" ,, W/"b","c-gzip""#, "x-gz", r#""x-gz"#, r#"""#, r#""""#, "x-gz, y"]
        {
            assert_eq!(with_origins_tags(line.as_bytes(), true), line.as_bytes(), "{line}");
        }
    }
}

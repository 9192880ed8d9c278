//! Which stored responses a successful unsafe request makes invalid: RFC 9111 §4.4.

use crate::fields::Fields;
use crate::uri;

/// The request targets (path and query) that a response to an unsafe request invalidates beside the request's
/// own: those of `Location` and `Content-Location`, if they have the request's origin. At most
/// [`MOST_TARGETS`]; a reference that cannot be understood names nothing.
pub fn targets(scheme: &[u8], authority: &[u8], target: &[u8], response: Fields<'_>) -> Vec<Vec<u8>> {
    [&b"location"[..], b"content-location"]
        .iter()
        .flat_map(|name| response.all(name))
        .filter_map(|reference| resolve(scheme, authority, target, reference))
        .take(MOST_TARGETS)
        .collect()
}

/// Resolves a URI reference against the request's URI (RFC 3986 §5.2). `None` if it has another origin, where
/// this response has no say.
pub fn resolve(scheme: &[u8], authority: &[u8], target: &[u8], reference: &[u8]) -> Option<Vec<u8>> {
    let reference = reference.trim_ascii();
    // An empty reference is the request's own URI (§4.4); whoever sends an empty field means nothing by it.
    if reference.is_empty() {
        return None;
    }
    let reference = reference.split(|byte| *byte == b'#').next().unwrap_or_default();
    if let Some((found, rest)) = split_scheme(reference) {
        if !found.eq_ignore_ascii_case(scheme) {
            return None;
        }
        return at_authority(scheme, authority, rest.strip_prefix(b"//")?);
    }
    if let Some(rest) = reference.strip_prefix(b"//") {
        return at_authority(scheme, authority, rest);
    }
    let (path, _) = uri::split_path(target);
    match reference.first() {
        None => Some(target.to_vec()),
        Some(b'/') => Some(reference.to_vec()),
        Some(b'?') => Some([path, reference].concat()),
        Some(_) => {
            let base = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            Some([path.get(..base).unwrap_or_default(), reference].concat())
        }
    }
}

/// The target behind `authority/…`, if the authority is the request's.
fn at_authority(scheme: &[u8], authority: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (found, target) = rest.split_at_checked(end)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    uri::normalize_authority(authority, scheme, &mut ours);
    uri::normalize_authority(found, scheme, &mut theirs);
    if ours != theirs {
        return None;
    }
    Some(if target.first() == Some(&b'/') { target.to_vec() } else { [b"/", target].concat() })
}

/// `scheme` and what follows its colon, if the reference has one (RFC 3986 §3.1).
fn split_scheme(reference: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = reference.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte))?;
    let (scheme, rest) = reference.split_at_checked(at)?;
    let rest = rest.strip_prefix(b":")?;
    scheme.first().is_some_and(u8::is_ascii_alphabetic).then_some((scheme, rest))
}

/// More references than this in one response are not followed.
pub const MOST_TARGETS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_the_same_origin_resolve_and_others_do_not() {
        for (reference, expected) in [
            ("http://Example.com:80/x?y", Some("/x?y")),
            ("http://example.com", Some("/")),
            ("//example.com/x", Some("/x")),
            ("/x#frag", Some("/x")),
            ("x", Some("/a/x")),
            ("?q=2", Some("/a/b?q=2")),
            ("", None),
            ("https://example.com/x", None),
            ("http://other.example/x", None),
            ("//user@example.com/x", None),
            ("mailto:someone", None),
        ] {
            let found = resolve(b"http", b"example.com", b"/a/b?q=1", reference.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{reference}");
        }
    }
}

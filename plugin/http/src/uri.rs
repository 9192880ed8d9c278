//! Brings request targets and authorities to one spelling each: RFC 3986 §6.2.2, RFC 9110 §4.2.3.
//!
//! Only what the RFCs declare equivalent becomes equal. An encoded reserved octet (`%2F`) stays encoded, for
//! an origin may tell it from the plain one.

use std::net::Ipv6Addr;

/// Splits a request target at its first `?`. `None`: there is no `?`; an empty query is `Some(b"")`.
#[inline]
pub fn split_path(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|byte| *byte == b'?').and_then(|at| target.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..)),
        None => (target, None),
    }
}

/// Appends the normal form of `path`, which has no query, to `out`.
///
/// Escapes of unreserved characters are decoded, the other escapes get upper-case digits (RFC 3986
/// §6.2.2.1-2), then dot segments are removed (§5.2.4), so that `%2e%2e` counts as one. An empty path becomes
/// `/` (RFC 9110 §4.2.3). A path with a broken escape is copied as it is, since nobody can say what it means.
#[inline]
pub fn normalize_path(path: &[u8], out: &mut Vec<u8>) {
    match Work::of(path) {
        Work::None if path.is_empty() => out.push(b'/'),
        Work::None => out.extend_from_slice(path),
        Work::Some => normalize_path_slowly(path, out),
    }
}

/// Appends `text` to `out` with needless escapes decoded and the others in upper case. A text with a broken
/// escape is copied as it is. Parts that a caller tells apart by reserved characters stay apart.
#[inline]
pub fn normalize_escapes(text: &[u8], out: &mut Vec<u8>) {
    if text.contains(&b'%') {
        let start = out.len();
        if !decode_needless(text, out) {
            out.truncate(start);
            out.extend_from_slice(text);
        }
    } else {
        out.extend_from_slice(text);
    }
}

/// Appends the normal form of `authority` to `out`: lower case, without an empty port or the scheme's default
/// one (RFC 9110 §4.2.3; RFC 3986 §3.2.2-3).
///
/// Nothing else is taken to be equal: a host with a trailing dot, a port with leading zeros and an IPv6
/// address in another spelling stay distinct, because origins and name resolution may tell them apart.
pub fn normalize_authority(authority: &[u8], scheme: &[u8], out: &mut Vec<u8>) {
    let (host, port) = split_port(authority);
    let kept = match port {
        None | Some(b"") => host,
        Some(b"80") if scheme.eq_ignore_ascii_case(b"http") => host,
        Some(b"443") if scheme.eq_ignore_ascii_case(b"https") => host,
        Some(_) => authority,
    };
    extend_lowercase(kept, out);
}

/// Appends `text` in lower case.
#[inline]
pub fn extend_lowercase(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(text);
    if let Some(written) = out.get_mut(start..) {
        written.make_ascii_lowercase();
    }
}

/// The host of `authority` in its own spelling, without the port. The brackets of an IPv6 address stay.
#[inline]
pub fn host_of(authority: &[u8]) -> &[u8] {
    split_port(authority).0
}

/// Host and port of an authority; an empty port is `Some(b"")`. A colon inside brackets starts no port.
#[inline]
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = authority.iter().rposition(|byte| matches!(byte, b':' | b']'));
    match colon.and_then(|at| authority.split_at_checked(at)) {
        Some((host, [b':', port @ ..])) => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The octet that two hexadecimal digits stand for; `None` if one of them is not such a digit.
#[inline]
pub fn octet(high: u8, low: u8) -> Option<u8> {
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

/// Whether a path may differ from its normal form.
#[derive(PartialEq, Eq)]
enum Work {
    None,
    Some,
}

impl Work {
    #[inline]
    fn of(path: &[u8]) -> Self {
        // Folding instead of stopping at the first finding: this way the loop is vectorised.
        let marked = path.iter().fold(false, |marked, byte| marked | matches!(byte, b'%' | b'.'));
        if marked && (path.contains(&b'%') || has_dot_segment(path)) { Self::Some } else { Self::None }
    }
}

#[cold]
fn normalize_path_slowly(path: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if !decode_needless(path, out) {
        out.truncate(start);
        out.extend_from_slice(path);
        return;
    }
    let decoded = out.get(start..).unwrap_or_default();
    if decoded.first() == Some(&b'/') && has_dot_segment(decoded) {
        let decoded = decoded.to_vec();
        out.truncate(start);
        without_dot_segments(&decoded, out);
    }
}

/// `false` if an escape is broken; `out` then holds what came before it.
fn decode_needless(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = text;
    while let Some((plain, escape)) =
        rest.iter().position(|byte| *byte == b'%').and_then(|at| rest.split_at_checked(at))
    {
        out.extend_from_slice(plain);
        let [_, high, low, tail @ ..] = escape else { return false };
        match octet(*high, *low) {
            Some(byte) if is_unreserved(byte) => out.push(byte),
            Some(_) => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
            None => return false,
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    true
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b".."))
}

/// RFC 3986 §5.2.4 for a path that starts with `/`.
fn without_dot_segments(path: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            b"." => {}
            b".." => {
                let parent = out.get(start..).unwrap_or_default().iter().rposition(|byte| *byte == b'/');
                out.truncate(start.saturating_add(parent.unwrap_or(0)));
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                continue;
            }
        }
        // A final dot segment names a folder.
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A URL as an operator writes it, taken apart: authority in its normal form, and what follows.
pub fn split_url(url: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (schemes, rest): (&[&[u8]], &[u8]) = match url.windows(3).position(|window| window == b"://") {
        Some(5) if begins_with(url, b"https") => (&[b"https"], url.get(8..)?),
        Some(4) if begins_with(url, b"http") => (&[b"http"], url.get(7..)?),
        Some(at) if !url.get(..at)?.contains(&b'/') => return None,
        // Which port is the usual one depends on the scheme, and both are meant.
        _ => (&[b"http", b"https"], url),
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    if authority.is_empty() || authority.contains(&b'@') || !url.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let mut normal = authority.to_vec();
    for scheme in schemes {
        let mut out = Vec::new();
        normalize_authority(&normal, scheme, &mut out);
        normal = out;
    }
    Some((normal, rest))
}

/// Schemes are the same in either case (RFC 3986 §3.1).
fn begins_with(url: &[u8], scheme: &[u8]) -> bool {
    url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
}

/// The address in brackets.
pub fn ipv6(host: &[u8]) -> Option<Ipv6Addr> {
    let inner = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inner).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> String {
        let mut out = b"before".to_vec();
        normalize_path(path.as_bytes(), &mut out);
        String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    fn authority(authority: &str, scheme: &str) -> String {
        let mut out = Vec::new();
        normalize_authority(authority.as_bytes(), scheme.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_reach_their_normal_form() {
        for (given, normal) in [
            ("", "/"),
            ("/", "/"),
            ("/a/b.html", "/a/b.html"),
            ("//a//b/", "//a//b/"),
            ("/%7Euser/%41%2d%5f%2E", "/~user/A-_."),
            ("/a%2fb", "/a%2Fb"),
            ("/a%3fb%c3%a9", "/a%3Fb%C3%A9"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a//..", "/a/"),
            ("/a//../b", "/a/b"),
            ("/..", "/"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/%2e%2E/b", "/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/a..b/..c/d..", "/a..b/..c/d.."),
            ("/a/..%2fb", "/a/..%2Fb"),
            ("*", "*"),
        ] {
            assert_eq!(path(given), normal, "{given}");
            assert_eq!(path(normal), normal, "{normal} is normal already");
        }
    }

    #[test]
    fn a_path_with_a_broken_escape_is_left_alone() {
        for broken in ["/%", "/%4", "/%4g", "/%%41", "/%%32e/%41", "/%41/../%zz"] {
            assert_eq!(path(broken), broken);
        }
    }

    #[test]
    fn an_encoded_percent_sign_is_not_decoded_twice() {
        assert_eq!(path("/%2541"), "/%2541");
        assert_eq!(path("/%25%34%31"), "/%2541");
    }

    #[test]
    fn the_query_starts_at_the_first_question_mark() {
        assert_eq!(split_path(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split_path(b"/a?"), (&b"/a"[..], Some(&b""[..])));
        assert_eq!(split_path(b"/a"), (&b"/a"[..], None));
        assert_eq!(split_path(b""), (&b""[..], None));
    }

    #[test]
    fn authorities_reach_their_normal_form() {
        for (given, scheme, normal) in [
            ("Example.COM", "http", "example.com"),
            ("example.com:80", "http", "example.com"),
            ("example.com:443", "HTTPS", "example.com"),
            ("example.com:443", "http", "example.com:443"),
            ("example.com:080", "http", "example.com:080"),
            ("example.com:", "https", "example.com"),
            ("example.com.", "http", "example.com."),
            ("[2001:DB8::1]:80", "http", "[2001:db8::1]"),
            ("[2001:db8::80]", "http", "[2001:db8::80]"),
            ("", "http", ""),
        ] {
            assert_eq!(authority(given, scheme), normal, "{scheme} {given}");
        }
    }

    #[test]
    fn the_host_is_what_is_left_without_the_port() {
        for (authority, host) in [
            ("a.b:80", "a.b"),
            ("a.b", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            (":80", ""),
            ("", ""),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }
}

//! Keeps requests that could poison the cache away from it, before they are keyed.
//!
//! A request is refused when the origin may read it in another way than the cache does, or may let something
//! decide that is not in the key. Refused means: it passes through to the origin, is not answered from the
//! cache and its response is not stored. The origin still judges it.

use crate::fields::{Fields, same_name};
use crate::uri::{octet, split_path, split_port};

/// What the firewall looks at.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Method, in its own case.
    pub method: &'a [u8],
    /// `:path`: path and query as received.
    pub target: &'a [u8],
    /// `:scheme`.
    pub scheme: &'a [u8],
    /// `:authority` as received.
    pub authority: &'a [u8],
    /// Whether content follows the head.
    pub has_body: bool,
    /// The header fields; pseudo-header fields among them are passed over.
    pub fields: Fields<'a>,
    /// Names of fields, in lower case, that may change the response without being in the key.
    pub tainting: &'a [Box<[u8]>],
    /// Names of fields that are in the key: they taint nothing.
    pub keyed_headers: &'a [Box<[u8]>],
    /// Names of fields that say who asks.
    pub credentials: &'a [Box<[u8]>],
    /// Names of fields that switch a framework to another response.
    pub switches: &'a [Box<[u8]>],
    /// The names in these lists.
    pub watched: &'a Watched,
}

/// A set of field names that says quickly of most others that they are not in it: a bit for each that is, by its length and
/// its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    bits: [u64; 32],
    /// One of those that are [read here](READ_HERE) is among them.
    has_read_here: bool,
}

impl Watched {
    /// These names, and those that are read here: of them other spellings are looked for.
    pub fn of<'n>(names: impl Iterator<Item = &'n Box<[u8]>>) -> Self {
        let mut watched = Self::default();
        let mut has_read_here = false;
        let names = names.map(|name| &**name).inspect(|name| has_read_here |= READ_HERE.contains(name));
        for name in names.chain(READ_HERE) {
            let is_plain = |end: Option<&u8>| end.is_some_and(u8::is_ascii_alphanumeric);
            if !is_plain(name.first()) || !is_plain(name.last()) {
                // A sign may stand for any other one: this set cannot tell.
                return Self { bits: [u64::MAX; 32], has_read_here: true };
            }
            let (word, bit) = Self::place(name);
            if let Some(word) = watched.bits.get_mut(word) {
                *word |= bit;
            }
        }
        watched.has_read_here = has_read_here;
        watched
    }

    /// Whether a name may be in it, as the most careless origin would read it.
    #[inline]
    pub fn may_have(&self, name: &[u8]) -> bool {
        let (word, bit) = Self::place(name);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The five low bits of a letter are the same in both cases.
    #[inline]
    fn place(name: &[u8]) -> (usize, u64) {
        let [first, .., last] = name else { return (0, 1) };
        let mixed =
            usize::from(first & 31) << 6 ^ usize::from(last & 31) << 1 ^ name.len().wrapping_mul(0x95);
        (mixed >> 6 & 31, 1 << (mixed & 63))
    }
}

/// What the fields of a request say beside what the firewall objects to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// One of them is a listed credential.
    pub credentials: bool,
    /// One of them switches a framework.
    pub switches: bool,
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with it.
    Pass,
    /// It is malformed or ambiguous: it passes by the cache, which neither answers it nor stores the
    /// response.
    Bypass(Vector),
    /// It is well-formed, but has a field that may change the response without being in the key. It passes by
    /// the cache too: not stored, because others would get the response, and not answered with a stored
    /// response, because that is not what the origin would give.
    Taint(Vector),
}

impl Verdict {
    /// Why the request stays away from the cache; `None` if it does not.
    pub fn vector(self) -> Option<Vector> {
        match self {
            Self::Pass => None,
            Self::Bypass(vector) | Self::Taint(vector) => Some(vector),
        }
    }
}

/// The ways of attack that the firewall knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vector {
    /// GET or HEAD with content, which an origin may heed (RFC 9110 §9.3.1).
    GetWithBody,
    /// A path that origins read differently: backslashes, broken escapes, fragments, disguised dot segments.
    AmbiguousPath,
    /// Bytes in the target that no URI has, or encoded control characters in its path.
    ControlBytes,
    /// An authority that is not one plain host with at most one port, or that `Host` contradicts.
    AmbiguousAuthority,
    /// `Content-Length` twice, not a number, or together with `Transfer-Encoding` (RFC 9112 §6.3).
    AmbiguousLength,
    /// A tainting field that is not in the key.
    UnkeyedHeader,
    /// A field that tells the origin to treat the request as another method.
    MethodOverride,
    /// `X-Forwarded-Proto` and `:scheme` disagree: the origin may go by either, and the key has one.
    SchemeMismatch,
}

impl Vector {
    /// All of them, for counters.
    pub const ALL: [Self; 8] = [
        Self::GetWithBody,
        Self::AmbiguousPath,
        Self::ControlBytes,
        Self::AmbiguousAuthority,
        Self::AmbiguousLength,
        Self::UnkeyedHeader,
        Self::MethodOverride,
        Self::SchemeMismatch,
    ];

    /// The word for `Cache-Status` details and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GetWithBody => "get-with-body",
            Self::AmbiguousPath => "ambiguous-path",
            Self::ControlBytes => "control-bytes",
            Self::AmbiguousAuthority => "ambiguous-authority",
            Self::AmbiguousLength => "ambiguous-length",
            Self::UnkeyedHeader => "unkeyed-header",
            Self::MethodOverride => "method-override",
            Self::SchemeMismatch => "scheme-mismatch",
        }
    }
}

/// Judges a request. Of several findings a [`Verdict::Bypass`] comes before a [`Verdict::Taint`].
pub fn inspect(request: &RequestView<'_>) -> Verdict {
    inspect_and_mark(request).0
}

/// As [`inspect`], and what else the fields say. Of a request that is refused the marks may be incomplete.
pub fn inspect_and_mark(request: &RequestView<'_>) -> (Verdict, Marks) {
    let mut marks = Marks::default();
    let finding = inspect_target(request.method, request.target)
        .or_else(|| (!is_plain_authority(request.authority)).then_some(Vector::AmbiguousAuthority));
    let verdict = match finding {
        Some(vector) => Verdict::Bypass(vector),
        None => inspect_fields(request, &mut marks),
    };
    (verdict, marks)
}

/// Whether a response of this status may get a heuristic lifetime: the statuses of RFC 9110 §15.1 without those that a
/// request can [provoke](is_provoked).
pub const fn heuristically_storable_status(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 410)
}

/// Whether a field or method of one request can provoke this status at an origin that is well, so that storing it would
/// hand one client's mistake, or attack, to all others.
pub const fn is_provoked(status: u16) -> bool {
    matches!(status, 400 | 405 | 406 | 408 | 411..=417 | 421 | 422 | 425 | 426 | 428 | 429 | 431 | 501)
}

fn inspect_fields(request: &RequestView<'_>, marks: &mut Marks) -> Verdict {
    let (mut content_length, mut transfer_encoding, mut host) = (None, false, None);
    let mut taint = None;
    for (name, value) in request.fields.iter() {
        match name {
            b"content-length" if content_length.is_some() || !is_number(value) => {
                return Verdict::Bypass(Vector::AmbiguousLength);
            }
            b"content-length" => content_length = Some(value),
            b"transfer-encoding" => transfer_encoding = true,
            b"host" if host.is_some() || !value.eq_ignore_ascii_case(request.authority) => {
                return Verdict::Bypass(Vector::AmbiguousAuthority);
            }
            b"host" => host = Some(value),
            // Read for what they are.
            b"x-forwarded-proto"
            | b"if-none-match"
            | b"if-modified-since"
            | b"if-match"
            | b"if-unmodified-since"
            | b"if-range"
            | b"cache-control"
                if !request.watched.has_read_here => {}
            // Most names are in no list.
            _ if !request.watched.may_have(name) => {}
            _ => {
                taint = taint.or_else(|| taint_of(name, value, request));
                taint = taint.or_else(|| is_respelt(name).then_some(Vector::UnkeyedHeader));
                marks.credentials |= lists(request.credentials, name);
                marks.switches |= lists(request.switches, name);
            }
        }
    }
    if content_length.is_some() && transfer_encoding {
        return Verdict::Bypass(Vector::AmbiguousLength);
    }
    let announced = transfer_encoding || content_length.is_some_and(|value| value.iter().any(|b| *b != b'0'));
    if (request.has_body || announced) && matches!(request.method, b"GET" | b"HEAD") {
        return Verdict::Bypass(Vector::GetWithBody);
    }
    taint.map_or(Verdict::Pass, Verdict::Taint)
}

/// The field for which a request is refused with this vector: a tainting one, or what the others are about. `None` if it
/// is the target or the request as a whole.
pub fn culprit<'a>(vector: Vector, request: &RequestView<'a>) -> Option<&'a [u8]> {
    let about: &[&[u8]] = match vector {
        Vector::UnkeyedHeader | Vector::MethodOverride => {
            let mut fields = request.fields.iter();
            return fields
                .find(|(name, value)| taint_of(name, value, request) == Some(vector) || is_respelt(name))
                .map(|(name, _)| name);
        }
        Vector::AmbiguousLength | Vector::GetWithBody => &[b"transfer-encoding", b"content-length"],
        Vector::AmbiguousAuthority => &[b"host"],
        Vector::SchemeMismatch => &[b"x-forwarded-proto"],
        Vector::AmbiguousPath | Vector::ControlBytes => &[],
    };
    request.fields.iter().map(|(name, _)| name).find(|name| about.contains(name))
}

fn taint_of(name: &[u8], value: &[u8], request: &RequestView<'_>) -> Option<Vector> {
    // Another spelling of a keyed field is not what is keyed.
    let keyed = request.keyed_headers.iter().any(|listed| **listed == *name);
    if !lists(request.tainting, name) || keyed || says_nothing_new(name, value, request) {
        return None;
    }
    let overrides = METHOD_OVERRIDES.iter().any(|listed| same_name(listed, name));
    Some(if overrides { Vector::MethodOverride } else { Vector::UnkeyedHeader })
}

/// Whether a name is another spelling of one that is read here, so that the origin may heed what the cache does not see.
fn is_respelt(name: &[u8]) -> bool {
    !READ_HERE.contains(&name) && READ_HERE.iter().any(|read| same_name(read, name))
}

/// The fields that decide here what becomes of a request, and are in none of the lists.
const READ_HERE: [&[u8]; 9] = [
    b"x-forwarded-proto",
    b"if-none-match",
    b"if-modified-since",
    b"if-match",
    b"if-unmodified-since",
    b"if-range",
    b"cache-control",
    b"content-length",
    b"transfer-encoding",
];

/// Whether a name is in the list as the most careless origin would read it.
fn lists(names: &[Box<[u8]>], name: &[u8]) -> bool {
    names.iter().any(|listed| same_name(listed, name))
}

/// Whether a field only repeats what the key says already: proxies in front add such fields to every request.
fn says_nothing_new(name: &[u8], value: &[u8], request: &RequestView<'_>) -> bool {
    let value = value.trim_ascii();
    let secure = request.scheme.eq_ignore_ascii_case(b"https");
    match name {
        b"x-forwarded-host" | b"x-host" | b"x-original-host" => value.eq_ignore_ascii_case(request.authority),
        b"x-forwarded-scheme" | b"x-scheme" | b"x-url-scheme" => value.eq_ignore_ascii_case(request.scheme),
        b"x-forwarded-port" => match split_port(request.authority).1.filter(|port| !port.is_empty()) {
            Some(port) => value == port,
            None => value == if secure { &b"443"[..] } else { b"80" },
        },
        b"x-forwarded-ssl" | b"front-end-https" => {
            value.eq_ignore_ascii_case(if secure { b"on" } else { b"off" })
        }
        b"forwarded" => forwarded_says_nothing_new(value, request),
        _ => false,
    }
}

/// The same for `Forwarded` (RFC 7239): who asks and who passed it on is in no key and is nobody's business; what was
/// asked for has to be what is keyed.
fn forwarded_says_nothing_new(value: &[u8], request: &RequestView<'_>) -> bool {
    value.split(|byte| matches!(byte, b',' | b';')).all(|pair| {
        let pair = pair.trim_ascii();
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else { return pair.is_empty() };
        let (name, told) = pair.split_at_checked(at).unwrap_or((pair, b""));
        let told = told.get(1..).unwrap_or_default();
        let told = told.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(told);
        match name.to_ascii_lowercase().as_slice() {
            b"for" | b"by" => true,
            b"host" => told.eq_ignore_ascii_case(request.authority),
            b"proto" => told.eq_ignore_ascii_case(request.scheme),
            _ => false,
        }
    })
}

/// `None`: the target means one thing only.
#[inline]
fn inspect_target(method: &[u8], target: &[u8]) -> Option<Vector> {
    // Folding instead of stopping at the first finding: this way the loop is vectorised.
    let marked = target.iter().fold(false, |marked, byte| {
        marked | (*byte < b'!') | (*byte > b'~') | matches!(byte, b'%' | b';' | b'#' | b'\\')
    });
    match target.first() {
        Some(b'/') if !marked => None,
        Some(b'/') => inspect_marked(target),
        // OPTIONS asks about the whole server with `*`, CONNECT has no path (RFC 9110 §7.1).
        _ if target == b"*" && method == b"OPTIONS" => None,
        _ if target.is_empty() && method == b"CONNECT" => None,
        _ => Some(Vector::AmbiguousPath),
    }
}

/// The escapes `%5C` and `%00` to `%1F` count in the path alone: in a query they are ordinary text that stays
/// encoded.
#[cold]
fn inspect_marked(target: &[u8]) -> Option<Vector> {
    if target.iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
        return Some(Vector::ControlBytes);
    }
    if target.iter().any(|byte| matches!(byte, b'#' | b'\\')) {
        return Some(Vector::AmbiguousPath);
    }
    let (path, query) = split_path(target);
    for octet in escapes(path) {
        match octet {
            None | Some(b'\\') => return Some(Vector::AmbiguousPath),
            Some(0..=0x1f | 0x7f) => return Some(Vector::ControlBytes),
            Some(_) => {}
        }
    }
    let broken = escapes(query.unwrap_or_default()).any(|octet| octet.is_none());
    (broken || has_disguised_dot_segment(path)).then_some(Vector::AmbiguousPath)
}

/// The octets of all escapes in `text`, `None` for a broken one.
fn escapes(text: &[u8]) -> impl Iterator<Item = Option<u8>> {
    text.split(|byte| *byte == b'%').skip(1).map(|after| match after {
        [high, low, ..] => octet(*high, *low),
        _ => None,
    })
}

/// Whether there is a segment `.` or `..` that is one only for those who decode `%2F` first, or who cut
/// parameters off segments (`/..;x/`).
fn has_disguised_dot_segment(path: &[u8]) -> bool {
    let mut disguised = false;
    let mut segment = Segment::default();
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let (byte, encoded, tail) = match (rest, tail) {
            ([b'%', high, low, tail @ ..], _) => (octet(*high, *low).unwrap_or(b'%'), true, tail),
            _ => (*first, false, tail),
        };
        rest = tail;
        match byte {
            b'/' => {
                disguised |= segment.is_dots() && (segment.odd || encoded);
                segment = Segment { odd: encoded, ..Segment::default() };
            }
            b';' => {
                segment.odd |= segment.is_dots();
                segment.cut = true;
            }
            _ if segment.cut => {}
            b'.' => segment.dots = segment.dots.saturating_add(1),
            _ => segment.other = true,
        }
    }
    disguised || (segment.is_dots() && segment.odd)
}

/// One segment of a path on the way through it.
#[derive(Default)]
struct Segment {
    /// Dots so far.
    dots: usize,
    /// It has something beside dots.
    other: bool,
    /// A `;` was seen; what follows is a parameter to some.
    cut: bool,
    /// It began after an encoded slash, or has a parameter after nothing but dots.
    odd: bool,
}

impl Segment {
    fn is_dots(&self) -> bool {
        !self.other && matches!(self.dots, 1 | 2)
    }
}

/// Whether this is one host (a name, an IPv4 address or an IPv6 address in brackets) with at most one port.
fn is_plain_authority(authority: &[u8]) -> bool {
    let (host, port) = split_port(authority);
    let plain_host = match host {
        [b'[', address @ .., b']'] => {
            !address.is_empty()
                && address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        name => {
            !name.is_empty()
                && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
        }
    };
    plain_host && port.is_none_or(|port| port.iter().all(u8::is_ascii_digit))
}

fn is_number(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

/// Fields by which frameworks let a request name another method than its own.
const METHOD_OVERRIDES: [&[u8]; 3] = [b"x-http-method-override", b"x-http-method", b"x-method-override"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    fn names(names: &[&str]) -> Vec<Box<[u8]>> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    fn verdict(method: &str, target: &[u8], authority: &[u8], fields: &[(&str, &str)]) -> Verdict {
        let block: FieldBlock =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        inspect(&RequestView {
            method: method.as_bytes(),
            target,
            scheme: b"http",
            authority,
            has_body: false,
            fields: block.fields(),
            tainting: &names(&[
                "x-forwarded-host",
                "x-original-url",
                "x-http-method-override",
                "x-forwarded-port",
                "x-forwarded-ssl",
                "forwarded",
            ]),
            keyed_headers: &names(&["x-original-url"]),
            credentials: &[],
            switches: &[],
            watched: &Watched { bits: [u64::MAX; 32], has_read_here: true },
        })
    }

    #[test]
    fn plain_targets_pass() {
        for target in [
            "/",
            "//a//b",
            "/a/../b/./c",
            "/a%2Fb",
            "/%2e%2e/a",
            "/a;v=1/b;v=2",
            "/a..;b/c",
            "/.well-known/x",
            "/a?b=%5C%00%0a&c=..%2f",
            "/a?b=/..;/",
            "/caf%C3%A9",
            "/%252e%252e%252f",
            "/a%2f...%2fb",
        ] {
            assert_eq!(verdict("GET", target.as_bytes(), b"a", &[]), Verdict::Pass, "{target}");
        }
        assert_eq!(verdict("OPTIONS", b"*", b"a", &[]), Verdict::Pass);
        assert_eq!(verdict("CONNECT", b"", b"a:443", &[]), Verdict::Pass);
    }

    #[test]
    fn targets_that_can_be_read_in_two_ways_bypass() {
        for target in [
            "",
            "*",
            "a",
            "http://a/",
            "?a",
            "/a#b",
            "/a?b#c",
            "/a\\b",
            "/a%5cb",
            "/a?b\\c",
            "/%",
            "/%4",
            "/%zz",
            "/a?b=100%",
            "/a?b=%%41",
            "/a/..%2fb",
            "/a%2f..",
            "/a%2F../b",
            "/a%2f%2e%2e%2fb",
            "/a/.%2Fb",
            "/a/%2e%2E%2fb",
            "/static/..;/account",
            "/a/..;x=1/b",
            "/a/.;",
            "/a/..%3b/b",
        ] {
            let wanted = Verdict::Bypass(Vector::AmbiguousPath);
            assert_eq!(verdict("GET", target.as_bytes(), b"a", &[]), wanted, "{target}");
        }
    }

    #[test]
    fn bytes_that_no_uri_has_bypass() {
        for target in [
            &b"/a b"[..],
            b"/a\tb",
            b"/a\0",
            b"/a\x7f",
            b"/caf\xc3\xa9",
            b"/a?b c",
            b"/a%00",
            b"/a%0d%0ab",
            b"/a%1F",
            b"/a%7f",
        ] {
            let wanted = Verdict::Bypass(Vector::ControlBytes);
            assert_eq!(verdict("GET", target, b"a", &[]), wanted, "{}", target.escape_ascii());
        }
    }

    #[test]
    fn only_a_plain_host_with_a_port_is_an_authority() {
        for plain in ["a", "a.b:80", "a:", "A-b_c.d.", "127.0.0.1:8080", "[::1]", "[2001:DB8::1]:443"] {
            assert_eq!(verdict("GET", b"/", plain.as_bytes(), &[]), Verdict::Pass, "{plain}");
        }
        for odd in [
            "", ":80", "u@a", "u:p@a", "a b", "a/b", "a\\b", "a?b", "a#b", "a:80:80", "::1", "a:8x", "a,b",
            "[::1", "[]", "[::1]x", "a[::1]", "a%2eb", "a\0", "\u{e9}", "[g::1]",
        ] {
            let wanted = Verdict::Bypass(Vector::AmbiguousAuthority);
            assert_eq!(verdict("GET", b"/", odd.as_bytes(), &[]), wanted, "{odd}");
        }
    }

    #[test]
    fn fields_are_judged() {
        use Vector::{AmbiguousAuthority, AmbiguousLength, GetWithBody, MethodOverride, UnkeyedHeader};
        for (method, fields, wanted) in [
            ("GET", &[("accept", "*/*"), ("host", "A")][..], Verdict::Pass),
            ("GET", &[("host", "b")], Verdict::Bypass(AmbiguousAuthority)),
            ("GET", &[("host", "a"), ("host", "a")], Verdict::Bypass(AmbiguousAuthority)),
            ("GET", &[("content-length", "0")], Verdict::Pass),
            ("GET", &[("content-length", "5")], Verdict::Bypass(GetWithBody)),
            ("HEAD", &[("transfer-encoding", "chunked")], Verdict::Bypass(GetWithBody)),
            ("POST", &[("content-length", "5")], Verdict::Pass),
            ("POST", &[("content-length", "5"), ("content-length", "5")], Verdict::Bypass(AmbiguousLength)),
            ("POST", &[("content-length", "5, 5")], Verdict::Bypass(AmbiguousLength)),
            ("POST", &[("content-length", "+5")], Verdict::Bypass(AmbiguousLength)),
            (
                "POST",
                &[("transfer-encoding", "chunked"), ("content-length", "5")],
                Verdict::Bypass(AmbiguousLength),
            ),
            ("GET", &[("x-forwarded-host", "")], Verdict::Taint(UnkeyedHeader)),
            ("GET", &[("x-original-url", "/x")], Verdict::Pass),
            ("GET", &[("x-forwarded-hos", "x"), ("x-rewrite-url", "/")], Verdict::Pass),
            ("GET", &[("x-http-method-override", "DELETE")], Verdict::Taint(MethodOverride)),
            ("GET", &[("x-forwarded-host", "x"), ("host", "b")], Verdict::Bypass(AmbiguousAuthority)),
        ] {
            assert_eq!(verdict(method, b"/", b"a", fields), wanted, "{method} {fields:?}");
        }
    }

    #[test]
    fn a_body_on_get_bypasses_even_without_a_length() {
        let watched = Watched::default();
        let view = |method, has_body| RequestView {
            method,
            target: b"/",
            scheme: b"http",
            authority: b"a",
            has_body,
            fields: Fields::default(),
            tainting: &[],
            keyed_headers: &[],
            credentials: &[],
            switches: &[],
            watched: &watched,
        };
        assert_eq!(inspect(&view(b"GET", true)), Verdict::Bypass(Vector::GetWithBody));
        assert_eq!(inspect(&view(b"HEAD", true)), Verdict::Bypass(Vector::GetWithBody));
        assert_eq!(inspect(&view(b"POST", true)), Verdict::Pass);
        assert_eq!(inspect(&view(b"GET", false)).vector(), None);
    }

    #[test]
    fn statuses_that_a_bad_request_provokes_get_no_heuristic_lifetime() {
        for status in [200, 203, 204, 206, 300, 301, 308, 404, 410] {
            assert!(heuristically_storable_status(status), "{status}");
        }
        for status in [100, 201, 302, 304, 307, 400, 403, 405, 413, 414, 431, 500, 501, 503] {
            assert!(!heuristically_storable_status(status), "{status}");
        }
    }

    #[test]
    fn a_name_is_read_as_the_most_careless_origin_would() {
        use Vector::UnkeyedHeader;
        for name in ["x_forwarded_host", "x.forwarded.host", "x_original_url", "x-forwarded_host"] {
            assert_eq!(verdict("GET", b"/", b"a", &[(name, "b")]), Verdict::Taint(UnkeyedHeader), "{name}");
        }
        assert_eq!(verdict("GET", b"/", b"a", &[("xxforwardedxhost", "b")]), Verdict::Pass);
        assert_eq!(
            verdict("GET", b"/", b"a", &[("x_http_method_override", "PUT")]),
            Verdict::Taint(Vector::MethodOverride)
        );
    }

    #[test]
    fn a_field_that_repeats_the_key_taints_nothing() {
        for (name, same, other) in [
            ("x-forwarded-host", "A", "b"),
            ("x-forwarded-port", "80", "443"),
            ("x-forwarded-ssl", "off", "on"),
            ("forwarded", "for=192.0.2.1;host=a;proto=http, for=\"[2001:db8::1]\"", "for=192.0.2.1;host=b"),
            ("forwarded", "proto=\"http\"", "proto=https"),
            ("forwarded", "by=_x", "path=/other"),
            ("x_forwarded_host", "", "a"),
        ] {
            let said = |value| verdict("GET", b"/", b"a", &[(name, value)]);
            if !same.is_empty() {
                assert_eq!(said(same), Verdict::Pass, "{name}: {same}");
            }
            assert_eq!(said(other), Verdict::Taint(Vector::UnkeyedHeader), "{name}: {other}");
        }
        let port = |value| verdict("GET", b"/", b"a:8080", &[("x-forwarded-port", value)]);
        assert_eq!((port("8080"), port("80")), (Verdict::Pass, Verdict::Taint(Vector::UnkeyedHeader)));
    }
}

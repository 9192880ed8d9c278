//! What makes two requests the same: the canonical key and its hash.
//!
//! ```text
//! part = tag: u8 | length: u32 little-endian | bytes
//! key  = scheme part | authority part | target part | parts that the rule names
//! ```
//!
//! Every part has its length in front and its kind in the tag, so no two requests run together whatever bytes
//! they hold. The hash only finds an entry; whoever looks up compares the whole key, and a collision is a
//! miss.

use xxhash_rust::xxh3::xxh3_128;

use crate::config::Query;
use crate::fields::{Fields, same_name};
use crate::sized::{measured, write_sized};
use crate::uri;
use crate::url::Url;

pub mod body;
mod canonical;
pub mod query;

pub(crate) use canonical::canonical;

pub use body::{BodyKey, BodyPart, TooLarge};

/// Whether a canonical form differs from what the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// They are the same bytes.
    No,
    /// They differ: the origin must be sent the canonical form, since that is what is keyed.
    Yes,
}

/// Appends the canonical form of a request target (`:path`, RFC 9113 §8.3.1) to `out`: for the key, and for
/// the request that goes to the origin.
#[inline]
pub fn canonical_target(target: &[u8], rule: &Query, out: &mut Vec<u8>) -> Changed {
    let (path, query) = uri::split_path(target);
    let start = out.len();
    uri::normalize_path(path, out);
    let same_path = out.get(start..) == Some(path);
    match query::write_query(query, rule, out) {
        Changed::No if same_path => Changed::No,
        _ => Changed::Yes,
    }
}

/// Writes a canonical key. The parts may come in any order that is the same for all requests of a rule.
#[derive(Debug)]
pub struct KeyBuilder<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> KeyBuilder<'a> {
    /// Starts a key in `out`, whose content is dropped and whose space is used again.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        Self { out }
    }

    /// The parts that every key has: scheme, authority (both in their normal form) and canonical target. Says
    /// whether the target differs from the one given; [`target_of`] has it.
    #[inline]
    pub fn resource(&mut self, scheme: &[u8], authority: &[u8], target: &[u8], rule: &Query) -> Changed {
        self.out.reserve(
            scheme.len().saturating_add(authority.len()).saturating_add(target.len()).saturating_add(16),
        );
        self.part(Tag::Scheme, |out| uri::extend_lowercase(scheme, out));
        self.part(Tag::Authority, |out| uri::normalize_authority(authority, scheme, out));
        self.part(Tag::Target, |out| canonical_target(target, rule, out))
    }

    /// The terms under which the response is stored; see [`Policy::scope`](crate::policy::Policy::scope).
    #[inline]
    pub fn scope(&mut self, scope: u64) {
        self.part(Tag::Scope, |out| out.extend_from_slice(&scope.to_le_bytes()));
    }

    /// The method. GET and HEAD share a key, so they write nothing (RFC 9111 §4).
    #[inline]
    pub fn method(&mut self, method: &[u8]) {
        if !matches!(method, b"GET" | b"HEAD") {
            self.part(Tag::Method, |out| out.extend_from_slice(method));
        }
    }

    /// The value of the request field `name`, which is lower-case. Several lines count as one that joins them
    /// (RFC 9110 §5.3; `Cookie` as in RFC 9113 §8.2.3). An absent field differs from an empty one.
    pub fn header(&mut self, name: &[u8], request: Fields<'_>) {
        let separator: &[u8] = if name == b"cookie" { b"; " } else { b", " };
        self.part(Tag::Header, |out| {
            write_sized(name, out);
            let mut respelt =
                request.iter().filter(|(known, _)| *known != name && same_name(known, name)).peekable();
            if respelt.peek().is_some() {
                // An origin may read another spelling as the field.
                for (known, line) in respelt {
                    out.push(RESPELT);
                    write_sized(known, out);
                    write_sized(line, out);
                }
            }
            let mut lines = request.all(name);
            let Some(first) = lines.next() else { return };
            out.push(PRESENT);
            out.extend_from_slice(first.trim_ascii());
            for line in lines {
                out.extend_from_slice(separator);
                out.extend_from_slice(line.trim_ascii());
            }
        });
    }

    /// The cookie `name` of the request, whose case counts. An absent cookie differs from an empty one and
    /// from one without `=`. Of a cookie that comes several times every value counts, for origins differ in
    /// which one they take (RFC 6265 §5.4).
    pub fn cookie(&mut self, name: &[u8], request: Fields<'_>) {
        self.part(Tag::Cookie, |out| {
            write_sized(name, out);
            let pairs = request.all(b"cookie").flat_map(|line| line.split(|byte| *byte == b';'));
            for pair in pairs {
                let mut halves = pair.splitn(2, |byte| *byte == b'=');
                if halves.next().map(<[u8]>::trim_ascii) != Some(name) {
                    continue;
                }
                match halves.next() {
                    Some(value) => {
                        out.push(PRESENT);
                        write_sized(value.trim_ascii(), out);
                    }
                    None => out.push(BARE),
                }
            }
        });
    }

    /// The request's body.
    pub fn body(&mut self, body: &BodyPart) {
        match body {
            BodyPart::Inline(bytes) => self.part(Tag::BodyInline, |out| out.extend_from_slice(bytes)),
            BodyPart::Json(digest) => self.part(Tag::BodyJson, |out| out.extend_from_slice(digest)),
            BodyPart::Question(digest) => {
                self.part(Tag::Question, |out| out.extend_from_slice(digest));
            }
            BodyPart::Digest { sha256, length } => self.part(Tag::BodyDigest, |out| {
                out.extend_from_slice(sha256);
                out.extend_from_slice(&length.to_le_bytes());
            }),
        }
    }

    #[inline]
    fn part<R>(&mut self, tag: Tag, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        write_part(tag, self.out, write)
    }
}

/// The hash under which a canonical key is found: xxh3 with 128 bits.
#[inline]
pub fn hash(canonical: &[u8]) -> u128 {
    xxh3_128(canonical)
}

/// Puts the key of one variant of `primary` into `out`, whose content is dropped: the primary key and what
/// [`selecting`](crate::vary::selecting) wrote (RFC 9111 §4.1).
pub fn variant_key(primary: &[u8], selecting: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(primary);
    write_part(Tag::Variant, out, |out| out.extend_from_slice(selecting));
}

/// The canonical target of a key, to be sent to the origin; `None` if `canonical` is not a key.
pub fn target_of(canonical: &[u8]) -> Option<&[u8]> {
    parts(canonical).find(|(tag, _)| *tag == Tag::Target).map(|(_, bytes)| bytes)
}

/// The canonical authority of a key; `None` if `canonical` is not a key.
pub fn authority_of(canonical: &[u8]) -> Option<&[u8]> {
    parts(canonical).find(|(tag, _)| *tag == Tag::Authority).map(|(_, bytes)| bytes)
}

/// The parts of a canonical key in their order. Ends at the first byte that is not of a key.
pub fn parts(canonical: &[u8]) -> impl Iterator<Item = (Tag, &[u8])> {
    let mut rest = canonical;
    std::iter::from_fn(move || {
        let ([tag, length @ ..], tail) = rest.split_first_chunk::<5>()?;
        let tag = Tag::ALL.into_iter().find(|known| *known as u8 == *tag)?;
        let (bytes, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        rest = tail;
        Some((tag, bytes))
    })
}

/// What a part of a canonical key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// Scheme in lower case.
    Scheme = 1,
    /// Authority in its normal form.
    Authority = 2,
    /// Canonical path and query.
    Target = 3,
    /// Method other than GET and HEAD.
    Method = 4,
    /// A request field that the rule names, and its value.
    Header = 5,
    /// A cookie that the rule names, and its values.
    Cookie = 6,
    /// A short request body.
    BodyInline = 7,
    /// SHA-256 and length of a longer one.
    BodyDigest = 8,
    /// The selecting fields of a variant.
    Variant = 9,
    /// The terms under which it is stored.
    Scope = 10,
    /// The digest of what a language model is asked, and of who asks.
    Question = 11,
    /// The digest of a body that is JSON.
    BodyJson = 12,
}

impl Tag {
    const ALL: [Self; 12] = [
        Self::Scheme,
        Self::Authority,
        Self::Target,
        Self::Method,
        Self::Header,
        Self::Cookie,
        Self::BodyInline,
        Self::BodyDigest,
        Self::Variant,
        Self::Scope,
        Self::Question,
        Self::BodyJson,
    ];
}

#[inline]
fn write_part<R>(tag: Tag, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    out.push(tag as u8);
    measured(out, write)
}

impl Url {
    /// The URL of a canonical key. `None` if a request needs more than a URL to have this key.
    pub fn of_key(canonical: &[u8]) -> Option<Self> {
        let (mut scheme, mut authority, mut target) = (None, None, None);
        for (tag, part) in parts(canonical) {
            match tag {
                Tag::Scheme => scheme = ["http", "https"].into_iter().find(|s| s.as_bytes() == part),
                Tag::Authority => authority = Some(part),
                Tag::Target => target = Some(part),
                Tag::Scope => {}
                _ => return None,
            }
        }
        Some(Self { scheme: scheme?, authority: authority?.into(), target: target?.into() })
    }
}

/// Stands before the name and value of a field that is spelt in another way.
const RESPELT: u8 = 3;

/// Stands before the value of a field or cookie that is present.
const PRESENT: u8 = 1;

/// Stands for a cookie without `=`.
const BARE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{QueryChoice, QueryName};
    use crate::fields::FieldBlock;

    fn key_of(scheme: &str, authority: &str, target: &str) -> Vec<u8> {
        let mut out = b"left over".to_vec();
        KeyBuilder::new(&mut out).resource(
            scheme.as_bytes(),
            authority.as_bytes(),
            target.as_bytes(),
            &Query::default(),
        );
        out
    }

    fn block(fields: &[(&str, &str)]) -> FieldBlock {
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }

    fn with(fields: &[(&str, &str)], add: impl FnOnce(&mut KeyBuilder<'_>, Fields<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        add(&mut KeyBuilder::new(&mut out), block(fields).fields());
        out
    }

    #[test]
    fn equivalent_requests_share_a_key() {
        let key = key_of("http", "example.com", "/a/b?x=1");
        for (scheme, authority, target) in [
            ("HTTP", "EXAMPLE.com:80", "/a/b?x=1"),
            ("http", "example.com:", "/a/./%62?x=1"),
            ("http", "example.com", "/c/../a/b?%78=%31"),
        ] {
            assert_eq!(key_of(scheme, authority, target), key, "{scheme} {authority} {target}");
        }
    }

    #[test]
    fn different_requests_never_run_together() {
        let requests = [
            ("http", "a", "/b"),
            ("https", "a", "/b"),
            ("http", "a/", "b"),
            ("http", "a", "/b?"),
            ("http", "a", "/b%3F"),
            ("http", "a", "/B"),
            ("http", "a", "/b/"),
            ("http", "a", "//b"),
            ("http", "a:81", "/b"),
            ("http", "a.", "/b"),
            ("http", "a", "/b?x&y"),
            ("http", "a", "/b?y&x"),
            ("http", "a", "/b?x=&y"),
        ];
        for (nth, (s, a, t)) in requests.iter().enumerate() {
            for (other_s, other_a, other_t) in requests.iter().skip(nth + 1) {
                assert_ne!(key_of(s, a, t), key_of(other_s, other_a, other_t), "{t} {other_t}");
            }
        }
    }

    #[test]
    fn the_canonical_target_is_read_back_for_the_origin() {
        let mut out = Vec::new();
        let unwanted = QueryName::Prefix(b"utm_"[..].into());
        let rule = Query { choice: QueryChoice::Except(vec![unwanted]), ..Query::default() };
        let mut builder = KeyBuilder::new(&mut out);
        assert_eq!(builder.resource(b"https", b"a", b"/x/../y?utm_a=1&b", &rule), Changed::Yes);
        assert_eq!(target_of(&out), Some(&b"/y?b"[..]));
        let mut builder = KeyBuilder::new(&mut out);
        assert_eq!(builder.resource(b"https", b"a", b"/y?b", &rule), Changed::No);
        assert_eq!(target_of(&out), Some(&b"/y?b"[..]));
        assert_eq!(target_of(b"not a key"), None);
        assert_eq!(target_of(&[]), None);
    }

    #[test]
    fn an_empty_path_is_changed_into_a_slash() {
        let mut out = Vec::new();
        assert_eq!(canonical_target(b"", &Query::default(), &mut out), Changed::Yes);
        assert_eq!(out, b"/");
    }

    #[test]
    fn get_and_head_share_a_key_and_other_methods_have_their_own() {
        let method = |name: &[u8]| with(&[], |key, _| key.method(name));
        assert_eq!(method(b"GET"), method(b"HEAD"));
        assert_ne!(method(b"GET"), method(b"POST"));
        assert_ne!(method(b"POST"), method(b"QUERY"));
    }

    #[test]
    fn header_parts_join_lines_and_tell_absent_from_empty() {
        let key = |fields: &[(&str, &str)]| with(fields, |key, fields| key.header(b"x", fields));
        assert_eq!(key(&[("x", "a"), ("x", " b ")]), key(&[("x", "a, b")]));
        let values = [key(&[]), key(&[("x", "")]), key(&[("x", ""), ("x", "")]), key(&[("x", "a")])];
        for (nth, one) in values.iter().enumerate() {
            assert!(values.iter().skip(nth + 1).all(|other| other != one));
        }
        let cookies = |fields: &[(&str, &str)]| with(fields, |key, fields| key.header(b"cookie", fields));
        assert_eq!(cookies(&[("cookie", "a=1"), ("cookie", "b=2")]), cookies(&[("cookie", "a=1; b=2")]));
    }

    #[test]
    fn a_cookie_is_found_on_any_line_and_every_value_counts() {
        let key = |lines: &[&str]| {
            let fields: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            with(&fields, |key, fields| key.cookie(b"lang", fields))
        };
        assert_eq!(key(&["id=1; lang=de"]), key(&["lang=de; id=2"]));
        assert_eq!(key(&["id=1", "lang=de"]), key(&["lang=de"]));
        assert_eq!(key(&["id=1"]), key(&[]));
        let distinct = [
            key(&[]),
            key(&["lang"]),
            key(&["lang="]),
            key(&["lang=de"]),
            key(&["lang=DE"]),
            key(&["lang=de=de"]),
            key(&["lang=de; lang=fr"]),
            key(&["lang=fr; lang=de"]),
        ];
        for (nth, one) in distinct.iter().enumerate() {
            assert!(distinct.iter().skip(nth + 1).all(|other| other != one), "{nth}");
        }
        assert_eq!(key(&["xlang=de; Lang=de; lang2=de"]), key(&[]));
    }

    #[test]
    fn a_digest_sent_as_a_body_is_not_the_body_of_that_digest() {
        let digest = BodyPart::Digest { sha256: [7; 32], length: 300 };
        let mut bytes = vec![7; 32];
        bytes.extend_from_slice(&300u64.to_le_bytes());
        let key = |body: &BodyPart| with(&[], |key, _| key.body(body));
        assert_ne!(key(&digest), key(&BodyPart::Inline(bytes)));
        assert_ne!(key(&digest), key(&BodyPart::Digest { sha256: [7; 32], length: 301 }));
    }

    #[test]
    fn variants_of_one_key_have_their_own_keys() {
        let primary = key_of("http", "a", "/");
        let (mut gzip, mut br) = (Vec::new(), b"left over".to_vec());
        variant_key(&primary, b"gzip", &mut gzip);
        variant_key(&primary, b"br", &mut br);
        assert_ne!(gzip, br);
        assert_ne!(hash(&gzip), hash(&br));
        assert_ne!(gzip, primary);
        assert_eq!(parts(&gzip).last(), Some((Tag::Variant, &b"gzip"[..])));
    }
}

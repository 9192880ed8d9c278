//! The header of the gzip form, made from the fields as the origin sent them.
//!
//! Both forms say `Vary: Accept-Encoding`: a cache behind us must not give one to a client that takes only the other
//! (RFC 9110 §12.5.5). The identity form gets it as a line of its own when it is sent.

use crate::coding::etag;
use crate::fields::{FieldBlock, Fields};

/// What `Vary` is given for a response that is sent in more than one coding. Spelt so: Envoy's compressor compares as it stands, and
/// would add it once more.
pub const ACCEPT_ENCODING: &[u8] = b"Accept-Encoding";

/// The fields of the gzip form: with `Content-Encoding: gzip`, a strong `ETag` of its own, and without what is true
/// of the identity form's bytes only: its length, its digests (RFC 9530), and the offer of ranges.
pub fn gzip_head(fields: Fields<'_>) -> FieldBlock {
    let mut head = FieldBlock::new();
    let mut vary = VaryEdit::new(fields);
    for (name, value) in fields.iter() {
        match name {
            b"content-encoding" | b"content-length" | b"content-md5" | b"digest" | b"content-digest"
            | b"repr-digest" | b"accept-ranges" => {}
            b"etag" => head.push(name, &etag::for_gzip(value)),
            _ => vary.push(name, value, &mut head),
        }
    }
    head.push(b"content-encoding", b"gzip");
    vary.finish(&mut head);
    head
}

/// Whether `Vary` names `Accept-Encoding`, or everything.
pub fn says_accept_encoding(fields: Fields<'_>) -> bool {
    fields.members(b"vary").any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
}

/// Sees to it that `Vary` names `Accept-Encoding`: in the first line, or in a new one if there is none.
struct VaryEdit {
    missing: bool,
}

impl VaryEdit {
    fn new(fields: Fields<'_>) -> Self {
        Self { missing: !says_accept_encoding(fields) }
    }

    fn push(&mut self, name: &[u8], value: &[u8], head: &mut FieldBlock) {
        if self.missing && name == b"vary" && !value.trim_ascii().is_empty() {
            head.push(name, &[value.trim_ascii_end(), b", Accept-Encoding"].concat());
            self.missing = false;
        } else {
            head.push(name, value);
        }
    }

    fn finish(self, head: &mut FieldBlock) {
        if self.missing {
            head.push(b"vary", ACCEPT_ENCODING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    fn block(lines: Lines<'_>) -> FieldBlock {
        lines.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect()
    }

    const ORIGIN: Lines<'static> = &[
        (":status", "200"),
        ("content-type", "application/json"),
        ("content-length", "5000"),
        ("etag", "\"x\""),
        ("content-md5", "a"),
        ("digest", "b"),
        ("content-digest", "c"),
        ("repr-digest", "d"),
        ("accept-ranges", "bytes"),
        ("content-encoding", "identity"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ];

    #[test]
    fn the_gzip_form_says_only_what_is_true_of_it() {
        let wanted = block(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("etag", "\"x-gz\""),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("content-encoding", "gzip"),
            ("vary", "Accept-Encoding"),
        ]);
        assert_eq!(gzip_head(block(ORIGIN).fields()), wanted);
        let weak = block(&[("etag", "W/\"x\"")]);
        assert_eq!(gzip_head(weak.fields()).fields().get(b"etag"), Some(&b"W/\"x\""[..]));
    }

    #[test]
    fn vary_is_completed_once() {
        for (before, after) in [
            (&[][..], &["Accept-Encoding"][..]),
            (&[""], &["", "Accept-Encoding"]),
            (&["origin"], &["origin, Accept-Encoding"]),
            (&["origin", "cookie"], &["origin, Accept-Encoding", "cookie"]),
            (&["origin, Accept-Encoding"], &["origin, Accept-Encoding"]),
            (&["origin", "accept-encoding"], &["origin", "accept-encoding"]),
            (&["*"], &["*"]),
            (&["x-accept-encoding"], &["x-accept-encoding, Accept-Encoding"]),
        ] {
            let lines: Vec<_> = before.iter().map(|value| ("vary", *value)).collect();
            let head = gzip_head(block(&lines).fields());
            let read: Vec<_> = head.fields().all(b"vary").map(String::from_utf8_lossy).collect();
            assert_eq!(read, after, "{before:?}");
        }
    }
}

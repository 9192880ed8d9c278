//! How several GETs are asked for by one request.

use std::time::Duration;

use super::kinds::{duration, size, text, whole};
use super::lists::all;
use super::nested::list;
use super::section;
use super::texts::{Field, TextForm};
use crate::config::limits::PATH_CHARS;
use crate::config::reader::Object;
use crate::config::reference::Least::Empty;
use crate::config::reference::Pattern;
use crate::config::written::quote;
use crate::config::{FieldName, names};

/// Where batches are asked for, and their bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The path, without a query. Default: `/batch`.
    pub path: Box<[u8]>,
    /// Most parts. Default: 32.
    pub parts: usize,
    /// Most bytes of the request's body. Default: 256 KiB.
    pub request_bytes: usize,
    /// Most bytes of the answer. Default: 4 MiB.
    pub response_bytes: usize,
    /// How long the call for a part may take. Default: 5 s.
    pub part_timeout: Duration,
    /// How long a batch may take, from the end of its body on. Default: 10 s.
    pub timeout: Duration,
    /// The fields that a part may bring of its own; others are those of the batch. Default: what says which form is wanted, and what the client has.
    pub part_headers: Vec<FieldName>,
}

section! {
    Batch check parts_and_path {
        path = b"/batch"[..].into(), text::<Path>(), "Where a `POST` asks for a batch.";
        parts = 32, whole(1..=64), "Most parts of a batch.";
        request_bytes = 256 << 10, size(1 << 10..=1 << 20), "Most bytes of the body that asks for a batch.";
        response_bytes = 4 << 20, size(64 << 10..=32 << 20),
            "Most bytes of the answers to all parts together; a part that does not fit any more is answered with 507.";
        part_timeout = Duration::from_secs(5), duration(1..=300_000),
            "How long the call for a part that is not stored may take. After it the part is answered with 504, or stale.";
        timeout = Duration::from_secs(10), duration(1..=300_000),
            "How long a batch may take once its body has come. Parts that have no answer by then are answered with 504.";
        part_headers = all(&OWN), list(Empty, text::<Field>()),
            "The fields that a part may bring of its own; all others are those of the batch. None that says who asks may be among them.";
    }
}

impl Batch {
    /// Whether a request asks for a batch: its method and its path.
    pub(crate) fn is_asked_for(&self, method: &[u8], path: &[u8]) -> bool {
        method == b"POST" && path == &*self.path
    }
}

/// What is the part's own affair: which form of the response is wanted, and what the client has already.
pub const OWN: [&str; 9] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "pragma",
    "range",
];

fn parts_and_path(batch: &mut Batch, object: &mut Object<'_, '_>) {
    let of_operators = |path: &[u8]| path == b"/.selvage" || path.starts_with(b"/.selvage/");
    if of_operators(&batch.path) {
        let found = quote(&String::from_utf8_lossy(&batch.path));
        object.place_of("path").refuse::<()>(found, "a path that is not below \"/.selvage/\"");
    }
    for (nth, name) in batch.part_headers.iter().enumerate() {
        if !may_be_own(name) {
            let found = quote(&String::from_utf8_lossy(name));
            let allowed = "a field that says neither who asks nor where or how the request goes";
            object.place_of("part_headers").item(nth).refuse::<()>(found, allowed);
        }
    }
}

/// A path without a query.
struct Path;

impl TextForm for Path {
    type Value = Box<[u8]>;
    const ALLOWED: &'static str = r#"a path without a query, such as "/batch""#;
    const PATTERN: Pattern =
        Pattern { expression: r##"^/[!"$->@-~]*$"##, chars: PATH_CHARS, words: "path without a query" };

    fn parse(text: &str) -> Option<Box<[u8]>> {
        names::target(text).filter(|path| !path.contains(&b'?'))
    }
}

/// Whether a part may ever bring the field: the authorisation that stands before the cache has judged those of the batch.
fn may_be_own(name: &[u8]) -> bool {
    let prefixes: [&[u8]; 6] =
        [b"x-envoy-", b"x-forwarded-", b"proxy-", b"content-", b"selvage-", b"transfer-"];
    !prefixes.iter().any(|prefix| name.starts_with(prefix))
        && !crate::config::CREDENTIALS.iter().any(|known| known.as_bytes() == name)
        && !crate::config::TAINTING.iter().any(|known| known.as_bytes() == name)
        && !matches!(
            name,
            b"authorization"
                | b"cdn-loop"
                | b"connection"
                | b"cookie"
                | b"expect"
                | b"host"
                | b"keep-alive"
                | b"te"
                | b"trailer"
                | b"upgrade"
                | b"x-real-ip"
        )
}

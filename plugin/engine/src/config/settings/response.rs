//! What becomes of a response: its `Vary`, its tags, its coding, and requests for a part of it.

use super::kinds::{size, switch, text, whole};
use super::lists::{COMPRESSIBLE, SWITCHES, TAGGING, all};
use super::nested::list;
use super::rule::FieldName;
use super::section;
use super::texts::{Field, MediaType};
use crate::config::reference::Least::Empty;

/// What the rule changes in the origin's `Vary` (RFC 9111 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vary {
    /// Fields that select nothing although `Vary` names them. Default: empty.
    pub ignore: Vec<FieldName>,
    /// Fields that select although `Vary` does not name them. Default: empty.
    pub add: Vec<FieldName>,
    /// Fields by which a framework sends something else for the same URL: a response to a request with one of them is
    /// stored, and answers such a request, only if its `Vary` or the key names the field. Default: [`SWITCHES`].
    pub require: Vec<FieldName>,
}

section! {
    Vary {
        ignore = Vec::new(), list(Empty, text::<Field>()),
            "Request fields that select nothing although `Vary` names them.";
        add = Vec::new(), list(Empty, text::<Field>()),
            "Request fields that select although `Vary` does not name them.";
        require = all(&SWITCHES), list(Empty, text::<Field>()),
            "Request fields that switch a framework to another response: with one of them, only a response is stored or used whose `Vary` names it.";
    }
}

/// The fields with which the origin names the tags that a response is purged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    /// Their names. Default: [`TAGGING`].
    pub headers: Vec<FieldName>,
    /// Whether clients do not get them. Default: true.
    pub strip: bool,
}

section! {
    Tags {
        headers = all(&TAGGING), list(Empty, text::<Field>()), "Their names.";
        strip = true, switch(), "Clients do not get these fields.";
    }
}

impl Tags {
    /// Whether a field is kept from clients.
    pub fn strips(&self, name: &[u8]) -> bool {
        self.strip && self.headers.iter().any(|listed| **listed == *name)
    }
}

/// Which responses are stored compressed, to be sent so to the clients that take gzip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// Whether any are. Default: true.
    pub enabled: bool,
    /// Which media types are, in lower case: `type/subtype`, `type/*`, or a suffix such as `+json` (RFC 6839).
    /// Default: [`COMPRESSIBLE`].
    pub types: Vec<Box<[u8]>>,
    /// The length in bytes from which a body is worth the work. Default: 1 KiB.
    pub min_bytes: usize,
    /// A longer body, in bytes, is stored as it came: compressing it would keep the worker from other requests.
    /// Default: 1 MiB.
    pub max_bytes: usize,
    /// Level of zlib, 1 (fast) to 9 (small). Default: 3.
    pub level: u8,
    /// Whether JSON of at most `max_bytes` is stored without white space between its tokens, whatever `enabled` says.
    /// Default: false.
    pub minify_json: bool,
}

section! {
    Compression {
        enabled = true, switch(), "Whether any are.";
        types = all(&COMPRESSIBLE), list(Empty, text::<MediaType>()),
            "Media types, all subtypes of a type, or a suffix.";
        min_bytes = 1 << 10, size(1..=16 << 20), "A shorter body is stored as it came.";
        max_bytes = 1 << 20, size(1 << 10..=16 << 20),
            "A longer body is stored as it came: compressing it would hold up the worker.";
        level = 3, whole(1..=9), "Level of zlib: 1 is fast, 9 is small.";
        minify_json = false, switch(),
            "JSON is stored without the white space between its tokens, with an `ETag` of its own. Of `max_bytes` at most; `enabled` does not matter.";
    }
}

/// A request for a part (RFC 9110 §14) of what is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeFill {
    /// The whole is fetched in its place, stored, and the part cut out of it. Default: false.
    pub fill: bool,
    /// Parts that begin past this many bytes are asked for as they are, and so are, for ten minutes, those of a response
    /// that was found to be longer. Default: 8 MiB.
    pub max_bytes: usize,
}

section! {
    RangeFill {
        fill = false, switch(), "The whole is fetched in the part's place, stored, and the part cut out of it.";
        max_bytes = 8 << 20, size(1..=64 << 20),
            "A part that begins past this is asked for as it is, and so are those of a longer response once that is known.";
    }
}

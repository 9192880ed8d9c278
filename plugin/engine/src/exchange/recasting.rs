//! The origin has sent the whole, and the client asked for a part of it, or has it already: it gets 206 or 304 while the
//! whole is stored (RFC 9110 §14, §13).

use std::ops::Range;

use super::Plan;
use crate::fields::Fields;
use crate::freshness::date_of;
use crate::precondition::{self, Outcome as Precondition, Validators};
use crate::range::{self, RangeOutcome};
use crate::request::Request;
use crate::time::Timestamp;

/// Another form of a response on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recast {
    /// Its status.
    pub status: u16,
    /// Fields that it does not have.
    pub remove: &'static [&'static str],
    /// Fields that it gets.
    pub set: Vec<(&'static str, Vec<u8>)>,
    /// The part of the content that is sent.
    pub window: Range<usize>,
}

impl Plan {
    /// What the client gets in the place of a whole response that it did not ask for. `None`: the response as it is, which
    /// is never wrong. So it is without a length: of a 304 no client could tell the end.
    pub(super) fn recast(
        &self,
        status: u16,
        head: Fields<'_>,
        total: Option<usize>,
        now: Timestamp,
    ) -> Option<Box<Recast>> {
        let total = total.filter(|_| self.unasked && status == 200)?;
        let request = Request::read(Fields::parse(&self.head)?, false);
        if !matches!(request.method, b"GET" | b"QUERY") {
            return None;
        }
        let (etag, last_modified) = (head.get(b"etag"), head.get(b"last-modified"));
        let date = date_of(head).or(Some(now));
        let validators = Validators { etag, last_modified, date };
        if request.conditional
            && (etag.is_some() || last_modified.is_some())
            && precondition::evaluate(request.fields, validators) == Precondition::NotModified
        {
            return Some(Box::new(Recast {
                status: 304,
                remove: &NOT_OF_A_304,
                set: Vec::new(),
                window: 0..0,
            }));
        }
        let wanted = request.range?;
        if request.if_range.is_some_and(|tag| !range::if_range_matches(tag, etag, last_modified, date)) {
            return None;
        }
        let (status, content_range, window) = match range::Range::parse(wanted, total) {
            RangeOutcome::Ignore => return None,
            RangeOutcome::Satisfiable { first, last } => {
                (206, range::content_range(first, last, total), first..last.saturating_add(1))
            }
            RangeOutcome::Unsatisfiable => (416, range::unsatisfied_range(total), 0..0),
        };
        let length = window.len().to_string().into_bytes();
        let set = vec![("content-length", length), ("content-range", content_range)];
        let remove: &'static [&'static str] = if status == 206 { &NOT_OF_A_PART } else { &NOT_OF_A_416 };
        Some(Box::new(Recast { status, remove, set, window }))
    }
}

/// Fields about the whole content, in a part of it.
const NOT_OF_A_PART: [&str; 2] = ["content-md5", "content-digest"];
/// Fields about what is not sent, and which must not be taken for those of the error.
const NOT_OF_A_416: [&str; 10] = [
    "age",
    "cache-control",
    "content-type",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-digest",
    "etag",
    "expires",
    "last-modified",
];
/// Fields about content that is not sent.
const NOT_OF_A_304: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-range",
    "content-md5",
    "content-digest",
];

//! Answers a request for a part of a stored response: RFC 9110 §14 and §13.1.5.

use std::time::Duration;

use crate::time::Timestamp;

/// A `Range` header field, seen against a stored representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range;

/// What to answer to a `Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOutcome {
    /// The whole representation, as if there were no `Range` (RFC 9110 §14.2 allows it always).
    Ignore,
    /// 206 with these bytes.
    Satisfiable {
        /// Position of the first byte.
        first: usize,
        /// Position of the last byte; at least `first`, less than the length.
        last: usize,
    },
    /// 416.
    Unsatisfiable,
}

impl Range {
    /// Reads `value` for a representation of `total_len` bytes.
    ///
    /// Other units, several ranges and broken syntax are ignored. So is a suffix of an empty representation:
    /// it is satisfiable (§14.1.2), but no `Content-Range` can express it.
    pub fn parse(value: &[u8], total_len: usize) -> RangeOutcome {
        let Some((first, last)) = single_range(value) else { return RangeOutcome::Ignore };
        let end = total_len.saturating_sub(1);
        match (first, last) {
            (None, Some(0)) => RangeOutcome::Unsatisfiable,
            (None, Some(_)) if total_len == 0 => RangeOutcome::Ignore,
            (None, Some(suffix)) => {
                RangeOutcome::Satisfiable { first: total_len.saturating_sub(suffix), last: end }
            }
            (Some(first), Some(last)) if last < first => RangeOutcome::Ignore,
            (Some(first), _) if first >= total_len => RangeOutcome::Unsatisfiable,
            (Some(first), last) => RangeOutcome::Satisfiable { first, last: last.unwrap_or(end).min(end) },
            (None, None) => RangeOutcome::Ignore,
        }
    }
}

/// Whether the only range of `value` begins before a position, as far as that can be told, so that not much comes in vain
/// before it.
pub fn begins_before(value: &[u8], position: usize) -> bool {
    single_range(value).is_some_and(|(first, _)| first.is_none_or(|first| first < position))
}

/// `Content-Range` of a 206 (RFC 9110 §14.4).
pub fn content_range(first: usize, last: usize, total: usize) -> Vec<u8> {
    format!("bytes {first}-{last}/{total}").into_bytes()
}

/// `Content-Range` of a 416 (RFC 9110 §14.4).
pub fn unsatisfied_range(total: usize) -> Vec<u8> {
    format!("bytes */{total}").into_bytes()
}

/// The length of the whole that a `Content-Range` tells.
pub fn total_of(content_range: &[u8]) -> Option<usize> {
    let total = content_range.rsplit(|byte| *byte == b'/').next()?;
    std::str::from_utf8(total).ok()?.parse().ok()
}

/// Whether `If-Range` allows a `Range` to be heeded (RFC 9110 §13.1.5): its entity-tag is strong and equal to
/// the stored `etag`, or its date equals the stored `last_modified`, which lies at least one second before
/// `date` and is therefore strong (§8.8.2.2).
pub fn if_range_matches(
    if_range: &[u8],
    etag: Option<&[u8]>,
    last_modified: Option<&[u8]>,
    date: Option<Timestamp>,
) -> bool {
    let wanted = if_range.trim_ascii();
    if wanted.contains(&b'"') {
        return is_strong(wanted) && etag.map(<[u8]>::trim_ascii) == Some(wanted);
    }
    let (Some(wanted), Some(modified), Some(date)) =
        (Timestamp::parse_http_date(wanted), last_modified.and_then(Timestamp::parse_http_date), date)
    else {
        return false;
    };
    wanted == modified && date >= modified.plus(Duration::from_secs(1))
}

/// An entity-tag without `W/`, with its quotes.
fn is_strong(tag: &[u8]) -> bool {
    matches!(tag, [b'"', opaque @ .., b'"'] if !opaque.contains(&b'"'))
}

/// The only range of `value` as (first, last); a suffix has no first. `None` if there is not exactly one.
fn single_range(value: &[u8]) -> Option<(Option<usize>, Option<usize>)> {
    let (unit, set) = value.trim_ascii().split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut ranges =
        set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|range| !range.is_empty());
    let (range, None) = (ranges.next()?, ranges.next()) else { return None };
    let (first, last) = range.split_at_checked(range.iter().position(|byte| *byte == b'-')?)?;
    let last = last.get(1..)?;
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some((None, Some(position(last)?))),
        (false, true) => Some((Some(position(first)?), None)),
        (false, false) => Some((Some(position(first)?), Some(position(last)?))),
    }
}

/// A position of any number of digits; one that does not fit lies behind every representation.
fn position(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0usize, |number, digit| {
        digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        use RangeOutcome::{Ignore, Satisfiable, Unsatisfiable};
        let part = |first, last| Satisfiable { first, last };
        for (value, wanted) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-5", part(2, 5)),
            ("BYTES=2-5", part(2, 5)),
            ("bytes=2-", part(2, 9)),
            ("bytes=0-99", part(0, 9)),
            ("bytes=9-99999999999999999999999999", part(9, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-30", part(0, 9)),
            ("bytes=-99999999999999999999999999", part(0, 9)),
            ("bytes= 1-2 ,", part(1, 2)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=99999999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-1,3-4", Ignore),
            ("bytes=5-2", Ignore),
            ("bytes=", Ignore),
            ("bytes=-", Ignore),
            ("bytes=a-b", Ignore),
            ("bytes=1", Ignore),
            ("bytes=1-2-3", Ignore),
            ("bytes=+1-2", Ignore),
            ("bytes=--1", Ignore),
            ("bytes =1-2", Ignore),
            ("items=1-2", Ignore),
            ("1-2", Ignore),
            ("", Ignore),
        ] {
            assert_eq!(Range::parse(value.as_bytes(), 10), wanted, "{value}");
        }
    }

    #[test]
    fn an_empty_representation_has_no_part() {
        assert_eq!(Range::parse(b"bytes=0-", 0), RangeOutcome::Unsatisfiable);
        assert_eq!(Range::parse(b"bytes=-5", 0), RangeOutcome::Ignore);
    }

    #[test]
    fn content_ranges_are_written() {
        assert_eq!(content_range(2, 5, 10), b"bytes 2-5/10");
        assert_eq!(unsatisfied_range(10), b"bytes */10");
    }

    #[test]
    fn if_range_needs_a_strong_match() {
        let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
        let secs = 784_111_777;
        for (if_range, etag, last_modified, date, wanted) in [
            ("\"a\"", Some("\"a\""), None, None, true),
            ("\"a\"", Some("\"b\""), None, None, false),
            ("\"a\"", Some("W/\"a\""), None, None, false),
            ("W/\"a\"", Some("W/\"a\""), None, None, false),
            ("\"a\", \"b\"", Some("\"a\", \"b\""), None, None, false),
            ("\"a\"", None, Some(modified), Some(secs + 9), false),
            ("a", Some("a"), None, None, false),
            (modified, None, Some(modified), Some(secs + 1), true),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None, Some(modified), Some(secs + 9), true),
            (modified, None, Some(modified), Some(secs), false),
            (modified, None, Some(modified), None, false),
            (modified, None, None, Some(secs + 9), false),
            ("Sun, 06 Nov 1994 08:49:38 GMT", None, Some(modified), Some(secs + 9), false),
            ("", None, None, None, false),
        ] {
            let matches = if_range_matches(
                if_range.as_bytes(),
                etag.map(str::as_bytes),
                last_modified.map(str::as_bytes),
                date.map(Timestamp::from_secs),
            );
            assert_eq!(matches, wanted, "{if_range} {etag:?} {last_modified:?} {date:?}");
        }
    }
}

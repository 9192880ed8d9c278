//! Writes a query the way it is keyed and forwarded: in order, sorted, or with parameters left out.
//!
//! What is written here goes to the origin too. A parameter that is not keyed is one that the origin never
//! sees, so a parser that reads the query in another way (`;` as a separator, say) has nothing to be fooled
//! by.

use std::ops::Range;

use super::Changed;
use crate::config::{Query, QueryChoice, QueryOrder};
use crate::uri::normalize_escapes;

/// Appends the canonical form of `query` to `out`, with its `?`; nothing if there is no query.
///
/// Parameters are separated by `&` alone. Needless escapes are decoded (RFC 3986 §6.2.2.2), also before names
/// are compared. An empty query keeps its `?`, but a query of which no parameter stays loses it. Says whether
/// what was written differs from what came.
#[inline]
pub fn write_query(query: Option<&[u8]>, rule: &Query, out: &mut Vec<u8>) -> Changed {
    let Some(query) = query else { return Changed::No };
    let start = out.len();
    if keeps_all(rule) {
        out.push(b'?');
        normalize_escapes(query, out);
    } else if rule.choice != QueryChoice::Drop {
        write_chosen(query, rule, out);
    }
    match out.get(start..) {
        Some([b'?', written @ ..]) if written == query => Changed::No,
        _ => Changed::Yes,
    }
}

fn write_chosen(query: &[u8], rule: &Query, out: &mut Vec<u8>) {
    let start = out.len();
    let mut places = Vec::new();
    for parameter in query.split(|byte| *byte == b'&') {
        let separator = out.len();
        out.push(if separator == start { b'?' } else { b'&' });
        let begin = out.len();
        if !write_kept(parameter, &rule.choice, out) {
            out.truncate(separator);
        } else if rule.order == QueryOrder::Sort {
            places.push(begin..out.len());
        }
    }
    if rule.order == QueryOrder::Sort {
        sort(&mut places, start, out);
    }
}

/// Appends a parameter in its normal form. Says whether it stays.
fn write_kept(parameter: &[u8], choice: &QueryChoice, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    normalize_escapes(parameter, out);
    choice.keeps(name(out.get(begin..).unwrap_or_default()))
}

/// The parameters that [`write_query`] leaves out.
pub fn dropped<'a>(query: &'a [u8], rule: &'a Query) -> impl Iterator<Item = &'a [u8]> {
    let parameters = query.split(|byte| *byte == b'&');
    parameters.filter(|parameter| !write_kept(parameter, &rule.choice, &mut Vec::new()))
}

/// Puts the parameters at `places` into order; they begin at `start` of `out` and reach to its end.
fn sort(places: &mut [Range<usize>], start: usize, out: &mut Vec<u8>) {
    let unsorted = out.split_off(start);
    let text = |at: &Range<usize>| unsorted.get(at.start - start..at.end - start).unwrap_or_default();
    places.sort_by(|a, b| name(text(a)).cmp(name(text(b))));
    for (nth, place) in places.iter().enumerate() {
        out.push(if nth == 0 { b'?' } else { b'&' });
        out.extend_from_slice(text(place));
    }
}

fn name(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// Whether every parameter stays in its place.
fn keeps_all(rule: &Query) -> bool {
    matches!((rule.order, &rule.choice), (QueryOrder::Keep, QueryChoice::All))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QueryName;

    fn names(exact: &[&str], prefixes: &[&str]) -> Vec<QueryName> {
        let exact = exact.iter().map(|name| QueryName::Exact(name.as_bytes().into()));
        exact.chain(prefixes.iter().map(|name| QueryName::Prefix(name.as_bytes().into()))).collect()
    }

    fn write(query: Option<&str>, rule: &Query) -> (String, Changed) {
        let mut out = b"/p".to_vec();
        let changed = write_query(query.map(str::as_bytes), rule, &mut out);
        (String::from_utf8(out).unwrap(), changed)
    }

    #[track_caller]
    fn check(rule: &Query, rows: &[(&str, &str)]) {
        for (given, wanted) in rows {
            let (written, changed) = write(Some(given), rule);
            assert_eq!(written, format!("/p{wanted}"), "{given}");
            let same = *wanted == format!("?{given}");
            assert_eq!(changed, if same { Changed::No } else { Changed::Yes }, "{given}");
        }
    }

    #[test]
    fn by_default_only_needless_escapes_change() {
        let rows = [
            ("", "?"),
            ("b=2&a=1", "?b=2&a=1"),
            ("a=1&&b", "?a=1&&b"),
            ("%61=%7e%2f", "?a=~%2F"),
            ("a=1%26b=2", "?a=1%26b=2"),
            ("a=%zz&%61", "?a=%zz&%61"),
        ];
        check(&Query::default(), &rows);
        assert_eq!(write(None, &Query::default()), ("/p".to_owned(), Changed::No));
    }

    #[test]
    fn sorting_is_by_name_and_leaves_repeated_names_in_order() {
        let rule = Query { order: QueryOrder::Sort, ..Query::default() };
        let rows = [
            ("b=1&a=2&b=0&a=1", "?a=2&a=1&b=1&b=0"),
            ("a=1&b=2", "?a=1&b=2"),
            ("a-b=1&a=2", "?a=2&a-b=1"),
            ("%62=1&a", "?a&b=1"),
            ("", "?"),
        ];
        check(&rule, &rows);
    }

    #[test]
    fn parameters_are_left_out_by_name_and_by_beginning() {
        let rule = Query { choice: QueryChoice::Except(names(&["fbclid"], &["utm_"])), ..Query::default() };
        let rows = [
            ("id=1&utm_source=x&fbclid=y", "?id=1"),
            ("utm_source=x", ""),
            ("%75tm%5Fsource=x&id=1", "?id=1"),
            ("utm=1&fbclid2=2&UTM_x=3", "?utm=1&fbclid2=2&UTM_x=3"),
            ("utm_a=1;id=2&id=3", "?id=3"),
            ("", "?"),
        ];
        check(&rule, &rows);
    }

    #[test]
    fn an_allow_list_keeps_what_it_names() {
        let rule = Query { order: QueryOrder::Sort, choice: QueryChoice::Only(names(&["id"], &["page"])) };
        let rows = [("page=2&x=1&id=7", "?id=7&page=2"), ("x&y", ""), ("id", "?id"), ("", "")];
        check(&rule, &rows);
    }

    #[test]
    fn a_dropped_query_leaves_nothing() {
        let rule = Query { choice: QueryChoice::Drop, ..Query::default() };
        check(&rule, &[("a=1", ""), ("", "")]);
        assert_eq!(write(None, &rule), ("/p".to_owned(), Changed::No));
    }
}

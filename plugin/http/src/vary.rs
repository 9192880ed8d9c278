//! Which stored response of a key a request selects: `Vary`, RFC 9110 §12.5.5 and RFC 9111 §4.1.

use std::cmp::Reverse;

use crate::fields::{Fields, list_members, same_name};
use crate::sized::{measured, write_sized};

/// What a response's `Vary` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vary {
    /// Every request with the key selects the response.
    #[default]
    None,
    /// No other request selects it. Also when a member is no field name or longer than
    /// [`LONGEST_NAME`], or when there are more than [`MAX_NAMES`].
    Star,
    /// Requests select it that have the same values in these fields: lower-case, sorted, each once, never
    /// empty.
    Fields(Vec<Box<[u8]>>),
}

impl Vary {
    /// Reads all lines of `Vary`.
    pub fn parse(response: Fields<'_>) -> Self {
        let mut names = Vec::new();
        for member in response.members(b"vary") {
            let name =
                (1..=LONGEST_NAME).contains(&member.len()) && member.iter().all(|byte| is_token_byte(*byte));
            if member == b"*" || !name {
                return Self::Star;
            }
            names.push(member.to_ascii_lowercase().into_boxed_slice());
            // Repetitions do not count, and a list of them must not grow without bound either.
            if names.len() > MAX_NAMES {
                names.sort_unstable();
                names.dedup();
                if names.len() > MAX_NAMES {
                    return Self::Star;
                }
            }
        }
        Self::of(names)
    }

    fn of(mut names: Vec<Box<[u8]>>) -> Self {
        names.sort_unstable();
        names.dedup();
        match names.len() {
            0 => Self::None,
            1..=MAX_NAMES => Self::Fields(names),
            _ => Self::Star,
        }
    }
}

/// Appends the values of the request's fields `names` to `out` in a form that is equal for requests that
/// select the same response (RFC 9111 §4.1). An absent field differs from an empty one.
///
/// Lines are joined and white space around commas goes. In `Accept`, `Accept-Charset`, `Accept-Encoding` and
/// `Accept-Language` letters lose their case (save in parameter values), white space around members goes, weights are
/// compared as numbers, and members stand in the order of their weights (RFC 9110 §12.4.2). Among equal
/// weights the order counts in `Accept` and `Accept-Language`, since many origins take the first (§12.5.4).
pub fn selecting(names: &[Box<[u8]>], request: Fields<'_>, out: &mut Vec<u8>) {
    for name in names {
        write_sized(name, out);
        measured(out, |out| write_value(name, request, out));
    }
}

/// Appends nothing if the field is absent, else a byte for the kind of value, and the value.
fn write_value(name: &[u8], request: Fields<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    // An origin may read another spelling as the field, so it tells requests apart; it never passes for the field.
    if request.iter().any(|(known, _)| known != name && same_name(known, name)) {
        for (known, line) in request.iter().filter(|(known, _)| same_name(known, name)) {
            out.push(if known == name { TEXT } else { RESPELT });
            write_sized(line, out);
        }
        return;
    }
    if is_weighted(name) && write_weighted(name, request, out) {
        return;
    }
    out.truncate(start);
    for (nth, line) in request.all(name).enumerate() {
        out.push(if nth == 0 { TEXT } else { b',' });
        write_line(line, out);
    }
}

/// Appends one line without the white space around commas. A line with a quoted string stays as it is.
fn write_line(line: &[u8], out: &mut Vec<u8>) {
    if line.contains(&b'"') {
        out.extend_from_slice(line.trim_ascii());
        return;
    }
    for (nth, member) in line.split(|byte| *byte == b',').enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        out.extend_from_slice(member.trim_ascii());
    }
}

/// Appends the members of a weighted list in their order of preference. `false` if there is no line, or more
/// members than [`MAX_MEMBERS`]: such a list is then compared as text.
fn write_weighted(name: &[u8], request: Fields<'_>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let codings = name == b"accept-encoding";
    let mut places = [const { (Reverse(0), Text { start: 0, end: 0 }) }; MAX_MEMBERS];
    let (mut count, mut lines) = (0, 0);
    for line in request.all(name) {
        lines += 1;
        for member in list_members(line) {
            let begin = out.len();
            let weight = write_member(member, out);
            if codings && !keep_coding(out, begin) {
                out.truncate(begin);
                continue;
            }
            let Some(place) = places.get_mut(count) else { return false };
            *place = (Reverse(weight), Text { start: begin, end: out.len() });
            count += 1;
        }
    }
    if lines == 0 {
        return false;
    }
    if codings
        && count > 0
        && places.iter().take(count).all(|(_, text)| text.of(out) == b"identity")
        && places.iter().take(count).all(|(Reverse(weight), _)| *weight > 0)
    {
        // What takes nothing but the content as it is says no more than what names no coding at all.
        count = 0;
    }
    // The members stand at the end of `out` as they came; they are copied in order, then dropped.
    let unsorted = start..out.len();
    let members = places.get_mut(..count).unwrap_or_default();
    if matches!(name, b"accept" | b"accept-language") {
        members.sort_by_key(|(weight, _)| *weight);
    } else {
        members.sort_unstable_by(|(a, at), (b, bt)| a.cmp(b).then_with(|| at.of(out).cmp(bt.of(out))));
    }
    out.push(WEIGHTED);
    let mut before: Option<(u16, Text)> = None;
    let mut rank = 0u16;
    for (Reverse(weight), text) in members {
        if before.is_some_and(|(w, t)| w == *weight && t.of(out) == text.of(out)) {
            continue;
        }
        rank += u16::from(before.is_none_or(|(w, _)| w != *weight));
        before = Some((*weight, *text));
        // Of codings the order alone counts, and which are refused: the weights could be any of a thousand numbers.
        let written = if codings && *weight > 0 { rank } else { *weight };
        out.extend_from_slice(&written.to_le_bytes());
        measured(out, |out| out.extend_from_within(text.start..text.end));
    }
    out.drain(unsorted);
    true
}

/// Reduces the member of `Accept-Encoding` that was written last to its coding. `false` if no origin could know that.
fn keep_coding(out: &mut Vec<u8>, begin: usize) -> bool {
    let member = out.get(begin..).unwrap_or_default();
    let end = member.iter().position(|byte| *byte == b';').unwrap_or(member.len());
    let known = CODINGS.iter().any(|coding| member.get(..end) == Some(*coding));
    out.truncate(begin + end);
    known
}

/// Where a member stands in the buffer.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    end: usize,
}

impl Text {
    fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start..self.end).unwrap_or_default()
    }
}

/// Appends one member without its weight, and returns the weight in thousandths: 1000 if it has none, or one
/// that cannot be read, which then stays in the text.
fn write_member(member: &[u8], out: &mut Vec<u8>) -> u16 {
    let mut weight = None;
    for (nth, part) in member.split(|byte| *byte == b';').enumerate() {
        let part = part.trim_ascii();
        if let (1.., None, Some(found)) = (nth, weight, weight_of(part)) {
            weight = Some(found);
            continue;
        }
        if nth > 0 {
            out.push(b';');
        }
        write_folded(part, out);
    }
    weight.unwrap_or(1000)
}

/// Appends a value or parameter in lower case, save what follows `=`, whose case may count. White space within it means
/// that it is no such value, and stays.
fn write_folded(part: &[u8], out: &mut Vec<u8>) {
    let (name, value) = match part.iter().position(|byte| *byte == b'=') {
        Some(at) => part.split_at_checked(at).unwrap_or((part, b"")),
        None => (part, &b""[..]),
    };
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.extend_from_slice(value);
}

/// The weight in thousandths if `parameter` is one (RFC 9110 §12.4.2).
pub fn weight_of(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', weight @ ..] = parameter else { return None };
    let (whole, fraction) = match weight {
        [whole] => (*whole, &b""[..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    let mut unit = 100;
    for digit in fraction {
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths += u16::from(digit - b'0') * unit;
        unit /= 10;
    }
    (thousandths <= 1000).then_some(thousandths)
}

fn is_weighted(name: &[u8]) -> bool {
    matches!(name, b"accept" | b"accept-charset" | b"accept-encoding" | b"accept-language")
}

/// Whether a token may have this byte (RFC 9110 §5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// So many names may `Vary` have; a response with more is as good as unselectable.
pub const MAX_NAMES: usize = 16;

/// The longest name that may select, in bytes: no field that anybody uses comes near.
pub const LONGEST_NAME: usize = 256;

/// So many members of a weighted list are put into order.
const MAX_MEMBERS: usize = 32;

/// The content codings of IANA's registry that are in use, and what stands for any.
const CODINGS: [&[u8]; 11] = [
    b"gzip",
    b"br",
    b"zstd",
    b"deflate",
    b"identity",
    b"*",
    b"compress",
    b"x-gzip",
    b"x-compress",
    b"dcb",
    b"dcz",
];

/// What stands before a value whose field name is spelt in another way.
const RESPELT: u8 = 3;
/// What stands before a value that is text.
const TEXT: u8 = 1;
/// What stands before a weighted list in order.
const WEIGHTED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    fn names(names: &[&str]) -> Vec<Box<[u8]>> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    fn parse(lines: &[&str]) -> Vary {
        let block: FieldBlock = lines.iter().map(|line| (&b"vary"[..], line.as_bytes())).collect();
        Vary::parse(block.fields())
    }

    fn select(name: &str, lines: &[&str]) -> Vec<u8> {
        let block: FieldBlock = lines.iter().map(|line| (name.as_bytes(), line.as_bytes())).collect();
        let mut out = Vec::new();
        selecting(&names(&[name]), block.fields(), &mut out);
        out
    }

    #[test]
    fn vary_lines_become_one_sorted_set() {
        for (lines, wanted) in [
            (&[][..], Vary::None),
            (&[""], Vary::None),
            (&[" , ,"], Vary::None),
            (&["Accept-Encoding"], Vary::Fields(names(&["accept-encoding"]))),
            (&["b, A,,a ", "C"], Vary::Fields(names(&["a", "b", "c"]))),
            (&["*"], Vary::Star),
            (&["a", "b, *"], Vary::Star),
            (&["a b"], Vary::Star),
            (&["\"a\""], Vary::Star),
        ] {
            assert_eq!(parse(lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn too_many_names_are_unselectable_but_repeated_ones_are_not() {
        let list = |count| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",");
        assert!(matches!(parse(&[&list(16)]), Vary::Fields(_)));
        assert_eq!(parse(&[&list(17)]), Vary::Star);
        assert_eq!(parse(&[&"a,".repeat(1000)]), Vary::Fields(names(&["a"])));
    }

    #[test]
    fn values_that_mean_the_same_select_the_same() {
        for (name, one, other) in [
            ("x", &["a, b"][..], &["a", "b"][..]),
            ("x", &["a ,\tb "], &["a,b"]),
            ("accept-language", &["en, de"], &["EN,de"]),
            ("accept-language", &["en;q=0.5, de"], &["de;q=1.000 , en; q=0.50"]),
            ("accept-encoding", &["gzip, br"], &["BR", "gzip"]),
            ("accept-encoding", &["gzip,gzip"], &["gzip"]),
            ("accept-encoding", &["gzip, x-junk-1, br;q=0.5"], &["gzip;q=0.9, br;q=0.123, junk;q=0.2"]),
            ("accept-encoding", &["gzip;level=9"], &["gzip"]),
            ("accept-encoding", &["identity"], &["junk"]),
            ("accept-encoding", &["identity;q=0.5"], &[""]),
            ("accept", &["text/html;level=1;q=0.3"], &["TEXT/html; q=0.3; LEVEL=1"]),
            ("accept-charset", &["utf-8, , latin1"], &["latin1,UTF-8"]),
        ] {
            assert_eq!(select(name, one), select(name, other), "{name}: {one:?} {other:?}");
        }
    }

    #[test]
    fn values_that_may_mean_something_else_select_apart() {
        for (name, one, other) in [
            ("x", &[][..], &[""][..]),
            ("x", &["a, b"], &["b, a"]),
            ("x", &["a"], &["A"]),
            ("x", &["a b"], &["ab"]),
            ("x", &["a,,b"], &["a,b"]),
            ("x", &["\"a, b\""], &["\"a,b\""]),
            ("accept-language", &[], &[""]),
            ("accept-language", &["en, de;q=0.5"], &["de, en;q=0.5"]),
            ("accept-language", &["en, de"], &["de, en"]),
            ("accept-language", &["d e"], &["de"]),
            ("accept", &["text /html"], &["text/html"]),
            ("accept-language", &["en;q=0"], &["en"]),
            ("accept-encoding", &["gzip"], &["gzip;q=0"]),
            ("accept-encoding", &["gzip, br;q=0.5"], &["gzip;q=0.5, br"]),
            ("accept-encoding", &["gzip, br;q=0.5"], &["gzip, br"]),
            ("accept-encoding", &[], &["junk"]),
            ("accept-encoding", &["identity;q=0"], &["junk"]),
            ("accept-encoding", &["*;q=0"], &["junk"]),
            ("accept", &["a/b;p=X"], &["a/b;p=x"]),
            ("accept", &["a/b;q=2"], &["a/b"]),
            ("accept", &["a/b;q=0.5"], &["a/b;q=0.5001"]),
        ] {
            assert_ne!(select(name, one), select(name, other), "{name}: {one:?} {other:?}");
        }
    }

    #[test]
    fn another_spelling_of_a_field_selects_for_itself() {
        let select = |fields: &[(&str, &str)]| {
            let block: FieldBlock = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            let mut out = Vec::new();
            selecting(&names(&["x-lang"]), block.fields(), &mut out);
            out
        };
        let all = [
            select(&[]),
            select(&[("x-lang", "a")]),
            select(&[("x_lang", "a")]),
            select(&[("x.lang", "b")]),
            select(&[("x-lang", "a"), ("x_lang", "b")]),
            select(&[("x-lang", "a, b")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| one != other), "{at}");
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let pick = |fields: &[(&str, &str)]| {
            let block: FieldBlock = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            let mut out = Vec::new();
            selecting(&names(&["a", "b"]), block.fields(), &mut out);
            out
        };
        assert_ne!(pick(&[("a", "1"), ("b", "23")]), pick(&[("a", "12"), ("b", "3")]));
        assert_ne!(pick(&[("a", "1")]), pick(&[("b", "1")]));
    }

    #[test]
    fn a_very_long_list_is_compared_as_text() {
        let long = (0..40).map(|n| format!("l{n}")).collect::<Vec<_>>().join(", ");
        assert_eq!(select("accept-language", &[&long]), select("accept-language", &[&long.replace(' ', "")]));
        assert_ne!(select("accept-language", &[&long]), select("accept-language", &["l0"]));
    }
}

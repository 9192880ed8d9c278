//! Takes the white space out of JSON that says nothing, once, when a response is stored.
//!
//! Only what is JSON to the letter (RFC 8259) is touched, and of that only the white space between tokens: numbers, texts, the
//! order of members and members that stand there twice stay byte for byte. The content gets a form of its own in the sense of
//! RFC 9110 §8.8.3, so it has its own entity-tag, and nothing that is true of the origin's bytes only.

use super::eligible::{self, essence_of_whole};
use super::etag;
use crate::fields::{FieldBlock, Fields};

/// Whether a response may be stored without white space: a 200 of JSON, whole, in no coding, whose sender does not forbid it.
///
/// With a date as its only validator it stays: a client could join a part of the one form to a part of the other by it
/// (RFC 9110 §13.1.5).
pub fn may_be_minified(status: u16, response: Fields<'_>) -> bool {
    let Some(essence) = essence_of_whole(status, response) else { return false };
    eligible::is_json(essence)
        && (response.get(b"etag").is_some() || response.get(b"last-modified").is_none())
}

/// The fields of the form without white space: with an entity-tag of its own, and without the origin's length, digests
/// (RFC 9530) and offer of ranges.
pub fn minified_head(fields: Fields<'_>) -> FieldBlock {
    let mut head = FieldBlock::new();
    for (name, value) in fields.iter() {
        match name {
            b"content-length" | b"content-md5" | b"digest" | b"content-digest" | b"repr-digest"
            | b"accept-ranges" => {}
            b"etag" => head.push(name, &etag::for_minified(value)),
            _ => head.push(name, value),
        }
    }
    head.shrink_to_fit();
    head
}

/// The same JSON without white space between its tokens, in the same memory. `Err` gives back what is no JSON, or has none.
pub fn minify(mut json: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
    if std::str::from_utf8(&json).is_err() || !is_json(&json) {
        return Err(json);
    }
    let (mut in_text, mut escaped) = (false, false);
    let before = json.len();
    json.retain(|byte| {
        if in_text {
            in_text = escaped || *byte != b'"';
            escaped = *byte == b'\\' && !escaped;
            return true;
        }
        in_text = *byte == b'"';
        !is_space(*byte)
    });
    if json.len() == before { Err(json) } else { Ok(json) }
}

/// What may come next outside of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A value.
    Value,
    /// A value, or the end of an array that has none.
    First,
    /// The name of a member, or the end of an object that has none.
    Name,
    /// The name of a member.
    OtherName,
    /// What follows a value.
    After,
}

/// Whether it is JSON, at most [`DEEPEST`] levels deep. A pass without memory of its own: a bit for each level, 1 for an object.
fn is_json(json: &[u8]) -> bool {
    let (mut rest, mut levels, mut depth, mut next) = (json, 0_u64, 0_u32, Next::Value);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if is_space(*byte) {
            continue;
        }
        let in_object = levels & 1 == 1;
        next = match (next, *byte) {
            (Next::Value | Next::First, b'{' | b'[') => {
                if depth == DEEPEST {
                    return false;
                }
                depth += 1;
                levels = levels << 1 | u64::from(*byte == b'{');
                if *byte == b'{' { Next::Name } else { Next::First }
            }
            (Next::First, b']') | (Next::Name, b'}') => Next::After,
            (Next::After, b'}') if depth > 0 && in_object => Next::After,
            (Next::After, b']') if depth > 0 && !in_object => Next::After,
            (Next::After, b',') if depth > 0 => {
                if in_object {
                    Next::OtherName
                } else {
                    Next::Value
                }
            }
            (Next::Name | Next::OtherName, b'"') => {
                let Some(behind) = text(rest).and_then(|rest| rest.trim_ascii_start().strip_prefix(b":"))
                else {
                    return false;
                };
                rest = behind;
                Next::Value
            }
            (Next::Value | Next::First, byte) => {
                let scanned = match byte {
                    b'"' => text(rest),
                    b't' => rest.strip_prefix(b"rue"),
                    b'f' => rest.strip_prefix(b"alse"),
                    b'n' => rest.strip_prefix(b"ull"),
                    b'-' => rest.split_first().and_then(|(first, rest)| number(*first, rest)),
                    digit => number(digit, rest),
                };
                let Some(behind) = scanned else { return false };
                rest = behind;
                Next::After
            }
            _ => return false,
        };
        if matches!(byte, b'}' | b']') && next == Next::After {
            depth -= 1;
            levels >>= 1;
        }
    }
    depth == 0 && next == Next::After
}

/// What follows a text whose first quotation mark has been read.
fn text(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=31))?;
        match rest.get(end..)? {
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', after @ ..] => rest = after,
            [b'\\', b'u', after @ ..] => {
                let (hex, after) = after.split_at_checked(4)?;
                if !hex.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                rest = after;
            }
            _ => return None,
        }
    }
}

/// What follows a number that begins with this byte, after its sign.
fn number(first: u8, rest: &[u8]) -> Option<&[u8]> {
    let mut rest = match first {
        b'0' => rest,
        b'1'..=b'9' => without_digits(rest),
        _ => return None,
    };
    if let [b'.', after @ ..] = rest {
        rest = digits(after)?;
    }
    if let [b'e' | b'E', after @ ..] = rest {
        rest = digits(match after {
            [b'+' | b'-', after @ ..] => after,
            after => after,
        })?;
    }
    Some(rest)
}

fn digits(text: &[u8]) -> Option<&[u8]> {
    text.first().filter(|byte| byte.is_ascii_digit()).map(|_| without_digits(text))
}

fn without_digits(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.get(end..).unwrap_or_default()
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// What is nested deeper stays as it came.
const DEEPEST: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn small(json: &str) -> Result<String, String> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        minify(json.as_bytes().to_vec()).map(text).map_err(text)
    }

    #[test]
    fn white_space_between_tokens_goes_and_nothing_else_does() {
        for (json, wanted) in [
            ("{ }", "{}"),
            (" [ ]\r\n", "[]"),
            (" 1.50 ", "1.50"),
            (
                "{ \"b\" : 1e+05 ,\n\t\"a\" : [ -0.0 , 1E5, true,false , null ],\"a\":\" x \\\" } \" }",
                "{\"b\":1e+05,\"a\":[-0.0,1E5,true,false,null],\"a\":\" x \\\" } \"}",
            ),
            ("[ \"\\u00e9\\\\\" , \"é\u{1f600} \" ]", "[\"\\u00e9\\\\\",\"é\u{1f600} \"]"),
        ] {
            assert_eq!(small(json).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn what_is_no_json_to_the_letter_stays() {
        let deep = format!(" {}{}", "[".repeat(65), "]".repeat(65));
        for json in [
            "",
            " ",
            "{ \"a\": 1, }",
            "[ 1, ]",
            "[ , ]",
            "{ a: 1 }",
            "[ 01 ]",
            "[ 1. ]",
            "[ .5 ]",
            "[ +1 ]",
            "[ - ]",
            "[ 1e ]",
            "[ NaN ]",
            "[ 1 2 ]",
            "[ \"a\" \"b\" ]",
            "{ \"a\" 1 }",
            "{ \"a\": }",
            "[ \"\t\" ]",
            "[ \"\\x\" ]",
            "[ \"\\u12g4\" ]",
            "[ \"a ]",
            "[ 1",
            "1 ]",
            "[ 1 }",
            "{ \"a\": 1 ]",
            "[ 1 ] x",
            "[ 1 ] [ 2 ]",
            "// a\n[ 1 ]",
            "\u{feff} [ 1 ]",
            "[ tru ]",
            "\u{b}[ 1]",
            "{ \"a\":\u{b}1 }",
            &deep,
        ] {
            assert_eq!(small(json), Err(json.to_owned()), "{json:?}");
        }
        assert_eq!(minify(b"[ \"\xff\" ]".to_vec()), Err(b"[ \"\xff\" ]".to_vec()));
        for json in ["[]", "{\"a\":1}", "0", "\" \""] {
            assert_eq!(small(json), Err(json.to_owned()), "nothing to take out");
        }
    }

    #[test]
    fn what_parses_still_means_the_same_and_what_does_not_parse_stays() {
        let alphabet = br#"{}[]:,"\ a1-0.eEtruefalsn u09 "#;
        let mut seed = 1_u64;
        let mut roll = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut read = 0;
        for _ in 0..300_000 {
            let length = roll(12) + 1;
            let json: Vec<u8> = (0..length).map(|_| alphabet[roll(alphabet.len())]).collect();
            let theirs: Result<serde_json::Value, _> = serde_json::from_slice(&json);
            let huge = json.iter().any(|byte| matches!(byte, b'e' | b'E'));
            assert!(theirs.is_ok() == is_json(&json) || huge, "{:?}", String::from_utf8_lossy(&json));
            if let (Ok(before), Ok(small)) = (theirs, minify(json)) {
                let after: serde_json::Value = serde_json::from_slice(&small).unwrap();
                assert_eq!(before, after);
                assert_eq!(minify(small.clone()), Err(small), "once is enough");
                read += 1;
            }
        }
        assert!(read > 500, "{read}");
    }

    #[test]
    fn only_json_that_may_be_changed_is_changed() {
        let may = |status, fields: &[(&str, &str)]| {
            let block: FieldBlock = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            may_be_minified(status, block.fields())
        };
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "application/vnd.oai.openapi+JSON",
        ] {
            assert!(may(200, &[("content-type", kind)]), "{kind}");
        }
        for kind in
            ["text/json", "application/x-ndjson", "application/json-seq", "+json", "text/plain; a=+json"]
        {
            assert!(!may(200, &[("content-type", kind)]), "{kind}");
        }
        let json = ("content-type", "application/json");
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-range", "bytes 0-1/2"),
            ("cache-control", "no-transform"),
            ("content-type", "application/json"),
            ("last-modified", "Mon, 30 Nov 2026 00:00:00 GMT"),
        ] {
            assert!(!may(200, &[json, (name, value)]), "{name}");
        }
        assert!(may(200, &[json, ("last-modified", "Mon, 30 Nov 2026 00:00:00 GMT"), ("etag", "W/\"a\"")]));
        assert!(!may(206, &[json]) && !may(404, &[json]) && !may(200, &[]));
    }
}

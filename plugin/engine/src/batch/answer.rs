//! What a batch is answered with: the answer to each part as JSON, and all of them as one.

use crate::base64;
use crate::coding::eligible;
use crate::config::written::Written;
use crate::fields::Fields;
use selvage_http::storability::is_kept_out;

/// How the answers stand in the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As members of one object.
    Json,
    /// One on each line (`application/x-ndjson`).
    Lines,
}

impl Form {
    /// Its media type.
    pub(crate) const fn media_type(self) -> &'static [u8] {
        match self {
            Self::Json => b"application/json",
            Self::Lines => LINES,
        }
    }

    /// The one that a client wants. Whoever does not name the second gets the first.
    pub(crate) fn wanted(request: Fields<'_>) -> Self {
        let is_lines = |range: &[u8]| {
            let name = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let refused = range.windows(4).any(|part| part == b"q=0;") || range.ends_with(b"q=0");
            name.eq_ignore_ascii_case(LINES) && !refused
        };
        if request.members(b"accept").any(is_lines) { Self::Lines } else { Self::Json }
    }
}

const LINES: &[u8] = b"application/x-ndjson";

/// The answer to one part as JSON. Content that is JSON stands in it as it is, other content as base64.
pub(crate) fn piece(id: &str, status: u16, fields: Fields<'_>, content: &[u8], form: Form) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len().saturating_add(fields.block_bytes()).saturating_add(64));
    out.extend_from_slice(b"{\"id\":");
    write_text(id, &mut out);
    out.extend_from_slice(b",\"status\":");
    out.extend_from_slice(status.to_string().as_bytes());
    out.extend_from_slice(b",\"headers\":{");
    write_fields(fields, &mut out);
    out.push(b'}');
    if !content.is_empty() {
        if is_json(fields, content) {
            out.extend_from_slice(b",\"body\":");
            let from = out.len();
            out.extend_from_slice(content);
            // In JSON a line ends only between tokens: a space means the same.
            if form == Form::Lines {
                let added = out.get_mut(from..).unwrap_or_default();
                added.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
            }
        } else {
            out.extend_from_slice(b",\"encoding\":\"base64\",\"body\":\"");
            out.extend_from_slice(base64::encode(content).as_bytes());
            out.push(b'"');
        }
    }
    out.push(b'}');
    out
}

/// All of them as one, in their order.
pub(crate) fn whole<'p>(pieces: impl Iterator<Item = &'p [u8]>, bytes: usize, form: Form) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.saturating_add(256));
    let (open, between, close): (&[u8], &[u8], &[u8]) = match form {
        Form::Json => (b"{\"responses\":[", b",", b"]}\n"),
        Form::Lines => (b"", b"\n", b"\n"),
    };
    out.extend_from_slice(open);
    for (nth, piece) in pieces.enumerate() {
        if nth > 0 {
            out.extend_from_slice(between);
        }
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(close);
    out
}

/// Each name once, with its lines joined (RFC 9110 §5.3); the lines of `Set-Cookie`, which cannot be joined, as a list.
fn write_fields(fields: Fields<'_>, out: &mut Vec<u8>) {
    let mut names: Vec<&[u8]> = Vec::new();
    for (name, _) in fields.iter() {
        let of_this_answer =
            name.first() == Some(&b':') || name == b"content-length" || name.starts_with(b"x-envoy-");
        if of_this_answer || is_kept_out(name, fields) && name != b"age" || names.contains(&name) {
            continue;
        }
        if !names.is_empty() {
            out.push(b',');
        }
        names.push(name);
        write_text(&String::from_utf8_lossy(name), out);
        out.push(b':');
        if name == b"set-cookie" {
            out.push(b'[');
            for (nth, line) in fields.all(name).enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                write_text(&text_of(line), out);
            }
            out.push(b']');
        } else {
            let lines: Vec<&[u8]> = fields.all(name).collect();
            write_text(&text_of(&lines.join(&b", "[..])), out);
        }
    }
}

/// A field's value as text: what is not UTF-8 is Latin-1.
fn text_of(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().copied().map(char::from).collect(),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Whether content is JSON by its type, is not coded, and can be read as that.
fn is_json(fields: Fields<'_>, content: &[u8]) -> bool {
    let coded = fields.members(b"content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    let kind = fields.get(b"content-type").is_some_and(is_json_type);
    !coded
        && kind
        && std::str::from_utf8(content).is_ok()
        // As strictly as readers do: half a character, a number beyond bounds or 128 levels would spoil all other parts.
        && serde_json::from_slice::<Written>(content).is_ok()
}

/// Whether a media type is that of JSON: `application/json`, or one that ends with `+json`.
pub(crate) fn is_json_type(value: &[u8]) -> bool {
    eligible::is_json(value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
}

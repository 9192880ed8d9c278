//! Strings of JSON, in and out.

use super::{Ambiguous, Kind, Lexer, Sink, Token};

/// Appends `text` as a string of JSON.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                for digit in [byte >> 4, byte & 15] {
                    out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
                }
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// What a string of JSON says, if `json` is one of at most `max` bytes.
pub fn unescaped(json: &[u8], max: usize) -> Option<String> {
    let mut text = Text { bytes: Vec::new(), max, is: false };
    let mut lexer = Lexer::default();
    lexer.push(json, &mut text).ok()?;
    lexer.finish(&mut text).ok()?;
    text.is.then(|| String::from_utf8(text.bytes).ok()).flatten()
}

/// Appends as much of `piece` as leaves no more than `max` bytes in `kept`.
pub(crate) fn append(kept: &mut Vec<u8>, piece: &[u8], max: usize) {
    let room = max.saturating_sub(kept.len());
    kept.extend_from_slice(piece.get(..room).unwrap_or(piece));
}

struct Text {
    bytes: Vec<u8>,
    max: usize,
    is: bool,
}

impl Sink for Text {
    fn take(&mut self, token: Token<'_>, _: u64) -> Result<(), Ambiguous> {
        match token {
            Token::Piece(Kind::Text, piece) => {
                if self.bytes.len().saturating_add(piece.len()) > self.max {
                    return Err(Ambiguous::Members);
                }
                self.bytes.extend_from_slice(piece);
            }
            Token::Begin(kind) if kind != Kind::Text => return Err(Ambiguous::Syntax),
            _ => self.is = true,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["", "plain", "\"\\/", "line\nfeed\ttab\u{1}\u{1f}", "ä€😀"] {
            let mut json = Vec::new();
            write_text(text, &mut json);
            assert_eq!(unescaped(&json, 100).as_deref(), Some(text));
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
        assert_eq!(unescaped(b"\"abcd\"", 3), None);
        assert_eq!(unescaped(b"[\"a\"]", 3), None);
        assert_eq!(unescaped(b"1", 3), None);
    }
}

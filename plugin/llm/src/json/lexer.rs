//! The lexer: RFC 8259 to the letter, a byte at a time where it must and a run at a time where it can.

use super::scan::text_end;
use super::{Ambiguous, Kind, Sink, Token};

/// How deeply arrays and objects may nest.
pub const MAX_DEPTH: u8 = 64;

/// Reads a body that comes in chunks, cut anywhere, and tells a [`Sink`] what is in it. Keeps a few dozen bytes, whatever comes.
#[derive(Clone, Debug)]
pub struct Lexer {
    at: u64,
    state: State,
    depth: u8,
    /// A bit for each level, the innermost lowest: 1 is an object.
    objects: u64,
    /// The level in which the sink does not look, 0 if it looks everywhere.
    quiet: u8,
    /// A character of a text of which some bytes are still to come.
    partial: [u8; 4],
    partial_len: usize,
    /// The first half of a surrogate pair, 0 if none.
    high: u16,
}

impl Default for Lexer {
    fn default() -> Self {
        Self {
            at: 0,
            state: State::Value,
            depth: 0,
            objects: 0,
            quiet: 0,
            partial: [0; 4],
            partial_len: 0,
            high: 0,
        }
    }
}

impl Lexer {
    /// Takes in the next bytes.
    ///
    /// # Errors
    /// The body is ambiguous, or `sink` found it so. Every later call says the same.
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        if let State::Broken(why) = self.state {
            return Err(why);
        }
        self.run(chunk, sink).inspect_err(|why| self.state = State::Broken(*why))
    }

    /// The body has ended.
    ///
    /// # Errors
    /// It is ambiguous, or ends in the middle.
    pub fn finish(&mut self, sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        match self.state {
            State::Broken(why) => return Err(why),
            State::Number(digits) if digits.may_end() && self.depth == 0 => {
                self.tell(sink, Token::End(Kind::Number), self.at)?;
                self.state = State::End;
            }
            _ => {}
        }
        if matches!(self.state, State::End) { Ok(()) } else { Err(Ambiguous::Cut) }
    }

    /// How many arrays and objects are open.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    fn run(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        let end = self.at.saturating_add(length(chunk));
        let mut rest = chunk;
        while let Some((&byte, after)) = rest.split_first() {
            self.at = end.saturating_sub(length(rest));
            rest = match self.state {
                State::Text(kind) => self.text(kind, rest, sink)?,
                State::Number(digits) => self.number(digits, rest, sink)?,
                State::Escape(kind) => {
                    self.escape(kind, byte, sink)?;
                    after
                }
                State::Unicode { kind, seen, value } => {
                    self.unicode(kind, seen, value, byte, sink)?;
                    after
                }
                State::Literal(kind, letters) => self.literal(kind, letters, rest, sink)?,
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => after,
                State::Value | State::FirstElement if matches!(byte, b'-' | b'0'..=b'9') => {
                    self.tell(sink, Token::Begin(Kind::Number), self.at)?;
                    self.state = State::Number(Digits::Start);
                    rest
                }
                _ => {
                    self.structure(byte, sink)?;
                    after
                }
            };
        }
        self.at = end;
        Ok(())
    }

    /// A byte between names and scalars.
    fn structure(&mut self, byte: u8, sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        match self.state {
            State::FirstElement if byte == b']' => self.close(Kind::Array, sink),
            State::FirstName if byte == b'}' => self.close(Kind::Object, sink),
            State::FirstName | State::Name if byte == b'"' => {
                self.begin(Kind::Name, State::Text(Kind::Name), sink)
            }
            State::Colon if byte == b':' => self.go(State::Value),
            State::Value | State::FirstElement => self.value(byte, sink),
            State::After => match (byte, self.in_object()) {
                (b',', true) => self.go(State::Name),
                (b',', false) => self.go(State::Value),
                (b'}', true) => self.close(Kind::Object, sink),
                (b']', false) => self.close(Kind::Array, sink),
                _ => Err(Ambiguous::Syntax),
            },
            State::End => Err(Ambiguous::Trailing),
            _ => Err(Ambiguous::Syntax),
        }
    }

    /// The first byte of a value that is no number.
    fn value(&mut self, byte: u8, sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        match byte {
            b'"' => self.begin(Kind::Text, State::Text(Kind::Text), sink),
            b'{' => self.open(Kind::Object, State::FirstName, sink),
            b'[' => self.open(Kind::Array, State::FirstElement, sink),
            b't' => self.begin(Kind::True, State::Literal(Kind::True, b"rue"), sink),
            b'f' => self.begin(Kind::False, State::Literal(Kind::False, b"alse"), sink),
            b'n' => self.begin(Kind::Null, State::Literal(Kind::Null, b"ull"), sink),
            _ => Err(Ambiguous::Syntax),
        }
    }

    fn go(&mut self, state: State) -> Result<(), Ambiguous> {
        self.state = state;
        Ok(())
    }

    fn begin(&mut self, kind: Kind, state: State, sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        self.state = state;
        self.tell(sink, Token::Begin(kind), self.at)
    }

    fn open(&mut self, kind: Kind, state: State, sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        if self.depth >= MAX_DEPTH {
            return Err(Ambiguous::Depth);
        }
        self.begin(kind, state, sink)?;
        self.depth = self.depth.saturating_add(1);
        self.objects = self.objects << 1 | u64::from(kind == Kind::Object);
        if self.quiet == 0 && !sink.looks_inside() {
            self.quiet = self.depth;
        }
        Ok(())
    }

    fn tell(&self, sink: &mut dyn Sink, token: Token<'_>, at: u64) -> Result<(), Ambiguous> {
        if self.quiet == 0 { sink.take(token, at) } else { Ok(()) }
    }

    fn close(&mut self, kind: Kind, sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        if self.quiet == self.depth {
            self.quiet = 0;
        }
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
        self.end(kind, self.at.saturating_add(1), sink)
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// A value or name has ended before `at`.
    fn end(&mut self, kind: Kind, at: u64, sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        self.state = match (kind, self.depth) {
            (Kind::Name, _) => State::Colon,
            (_, 0) => State::End,
            _ => State::After,
        };
        self.tell(sink, Token::End(kind), at)
    }

    /// As much of `true`, `false` or `null` as there is.
    fn literal<'a>(
        &mut self,
        kind: Kind,
        letters: &'static [u8],
        rest: &'a [u8],
        sink: &mut dyn Sink,
    ) -> Result<&'a [u8], Ambiguous> {
        let count = letters.len().min(rest.len());
        let (seen, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        let more = letters.strip_prefix(seen).ok_or(Ambiguous::Syntax)?;
        if more.is_empty() {
            self.end(kind, self.at.saturating_add(length(seen)), sink)?;
        } else {
            self.state = State::Literal(kind, more);
        }
        Ok(after)
    }

    /// As much of a number as there is.
    fn number<'a>(
        &mut self,
        mut digits: Digits,
        rest: &'a [u8],
        sink: &mut dyn Sink,
    ) -> Result<&'a [u8], Ambiguous> {
        let mut used = 0_usize;
        for byte in rest {
            // Most bytes are digits after digits.
            if !(byte.is_ascii_digit() && digits.goes_on()) {
                let Some(next) = digits.then(*byte) else { break };
                digits = next;
            }
            used = used.saturating_add(1);
        }
        let (piece, after) = rest.split_at_checked(used).unwrap_or((rest, &[]));
        if !piece.is_empty() {
            self.tell(sink, Token::Piece(Kind::Number, piece), self.at)?;
        }
        if after.is_empty() {
            self.state = State::Number(digits);
            return Ok(after);
        }
        if !digits.may_end() {
            return Err(Ambiguous::Syntax);
        }
        self.end(Kind::Number, self.at.saturating_add(length(piece)), sink)?;
        Ok(after)
    }

    /// As much of a text as there is before its end or an escape.
    fn text<'a>(&mut self, kind: Kind, rest: &'a [u8], sink: &mut dyn Sink) -> Result<&'a [u8], Ambiguous> {
        if self.partial_len > 0 {
            return self.complete(kind, rest, sink);
        }
        let (end, ascii) = text_end(rest);
        let (plain, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        if ascii && self.high == 0 && !plain.is_empty() {
            self.tell(sink, Token::Piece(kind, plain), self.at)?;
        } else if !plain.is_empty() {
            self.plain(kind, plain, tail.is_empty(), sink)?;
        }
        let Some((&byte, after)) = tail.split_first() else { return Ok(tail) };
        match byte {
            b'"' if self.high != 0 => return Err(Ambiguous::Surrogate),
            b'"' => {
                let at = self.at.saturating_add(length(plain)).saturating_add(1);
                self.end(kind, at, sink)?;
            }
            b'\\' => self.state = State::Escape(kind),
            _ => return Err(Ambiguous::Syntax),
        }
        Ok(after)
    }

    /// Bytes of a text that mean themselves. If no more are there yet, the last character may be cut.
    fn plain(
        &mut self,
        kind: Kind,
        plain: &[u8],
        may_be_cut: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), Ambiguous> {
        if self.high != 0 {
            return Err(Ambiguous::Surrogate);
        }
        let whole = match std::str::from_utf8(plain) {
            Ok(_) => plain,
            Err(error) if may_be_cut && error.error_len().is_none() => {
                let (whole, cut) = plain.split_at_checked(error.valid_up_to()).unwrap_or((plain, &[]));
                for (place, byte) in self.partial.iter_mut().zip(cut) {
                    *place = *byte;
                }
                self.partial_len = cut.len();
                whole
            }
            Err(_) => return Err(Ambiguous::Utf8),
        };
        if whole.is_empty() { Ok(()) } else { self.tell(sink, Token::Piece(kind, whole), self.at) }
    }

    /// One more byte of a character that was cut.
    fn complete<'a>(
        &mut self,
        kind: Kind,
        rest: &'a [u8],
        sink: &mut dyn Sink,
    ) -> Result<&'a [u8], Ambiguous> {
        let Some((&byte, after)) = rest.split_first() else { return Ok(rest) };
        let place = self.partial.get_mut(self.partial_len).ok_or(Ambiguous::Utf8)?;
        *place = byte;
        self.partial_len = self.partial_len.saturating_add(1);
        let character = self.partial;
        let character = character.get(..self.partial_len).unwrap_or_default();
        match std::str::from_utf8(character) {
            Ok(_) => {
                self.partial_len = 0;
                self.tell(sink, Token::Piece(kind, character), self.at)?;
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => return Err(Ambiguous::Utf8),
        }
        Ok(after)
    }

    fn escape(&mut self, kind: Kind, byte: u8, sink: &mut dyn Sink) -> Result<(), Ambiguous> {
        let meant = match byte {
            b'u' => return self.go(State::Unicode { kind, seen: 0, value: 0 }),
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return Err(Ambiguous::Syntax),
        };
        if self.high != 0 {
            return Err(Ambiguous::Surrogate);
        }
        self.state = State::Text(kind);
        self.tell(sink, Token::Piece(kind, &[meant]), self.at)
    }

    /// One of the four digits of `\uXXXX`.
    fn unicode(
        &mut self,
        kind: Kind,
        seen: u8,
        value: u16,
        byte: u8,
        sink: &mut dyn Sink,
    ) -> Result<(), Ambiguous> {
        let digit = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok());
        let value = value << 4 | digit.ok_or(Ambiguous::Syntax)?;
        if seen < 3 {
            return self.go(State::Unicode { kind, seen: seen.saturating_add(1), value });
        }
        self.state = State::Text(kind);
        let high = std::mem::take(&mut self.high);
        let character = match (high, value) {
            (0, 0xd800..=0xdbff) => {
                self.high = value;
                return Ok(());
            }
            (0, _) => char::from_u32(u32::from(value)),
            (_, 0xdc00..=0xdfff) => {
                char::from_u32(0x1_0000 + ((u32::from(high) & 0x3ff) << 10 | u32::from(value) & 0x3ff))
            }
            _ => None,
        };
        let mut bytes = [0; 4];
        let piece = character.ok_or(Ambiguous::Surrogate)?.encode_utf8(&mut bytes);
        self.tell(sink, Token::Piece(kind, piece.as_bytes()), self.at)
    }
}

/// What may come next.
#[derive(Clone, Copy, Debug)]
enum State {
    Value,
    /// A value or `]`.
    FirstElement,
    /// A name or `}`.
    FirstName,
    Name,
    Colon,
    /// `,` or the end of what is open.
    After,
    Text(Kind),
    /// After a `\`.
    Escape(Kind),
    Unicode {
        kind: Kind,
        seen: u8,
        value: u16,
    },
    Number(Digits),
    /// The letters that are still to come.
    Literal(Kind, &'static [u8]),
    /// White space.
    End,
    Broken(Ambiguous),
}

/// How far a number has come.
#[derive(Clone, Copy, Debug)]
enum Digits {
    Start,
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Power,
}

impl Digits {
    /// After one more byte; `None` if it is no part of the number.
    fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Start, b'-') => Self::Minus,
            (Self::Start | Self::Minus, b'0') => Self::Zero,
            (Self::Start | Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
            _ => return None,
        })
    }

    /// Whether a digit changes nothing.
    fn goes_on(self) -> bool {
        matches!(self, Self::Whole | Self::Fraction | Self::Power)
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Power)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "lexer_tests.rs"]
mod tests;

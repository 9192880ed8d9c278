//! The scanner: lines, fields, events.

use super::Frame;
use crate::json::{append, line_end};

/// Hears of a stream what the [`Scanner`] sees.
pub trait Listener {
    /// More data of the event that is being read. Its lines are joined by LF.
    fn data(&mut self, _piece: &[u8]) {}

    /// The event is whole.
    fn event(&mut self, frame: &Frame<'_>);
}

/// Finds the events of a stream. Keeps its `id` and the name of the event that is being read, both bounded, and no data.
///
/// A CR counts as the end of a line when the next byte is known, so that a CRLF is never taken for two. Whoever relays the
/// stream does not wait for that.
#[derive(Clone, Debug)]
pub struct Scanner {
    at: u64,
    line: Line,
    /// A CR has ended the line, and an LF may follow.
    cr: bool,
    /// Where the event begins that is being read.
    begin: Option<u64>,
    field: [u8; FIELD],
    field_len: usize,
    name: Kept,
    id: Kept,
    /// The `id` of the event that is being read, while its line lasts.
    next_id: Kept,
    /// It has a NUL and does not count.
    nul: bool,
    has_id: bool,
    retry: Option<u64>,
    /// The digits of a `retry` so far; `None` if it is no number.
    digits: Option<u64>,
    has_data: bool,
    data_bytes: u64,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            at: 0,
            line: Line::Mark(0),
            cr: false,
            begin: None,
            field: [0; FIELD],
            field_len: 0,
            name: Kept::default(),
            id: Kept::default(),
            next_id: Kept::default(),
            nul: false,
            has_id: false,
            retry: None,
            digits: None,
            has_data: false,
            data_bytes: 0,
        }
    }
}

impl Scanner {
    /// Takes in the next bytes of the stream.
    pub fn push(&mut self, chunk: &[u8], listener: &mut dyn Listener) {
        let end = self.at.saturating_add(length(chunk));
        let mut rest = chunk;
        while let Some((&byte, after)) = rest.split_first() {
            self.at = end.saturating_sub(length(rest));
            if self.cr {
                self.cr = false;
                if byte == b'\n' {
                    self.at = self.at.saturating_add(1);
                    rest = after;
                }
                self.end_line(listener);
                continue;
            }
            rest = match self.line {
                Line::Mark(seen) => self.mark(seen, byte, rest, after),
                _ if byte == b'\n' => {
                    self.at = self.at.saturating_add(1);
                    self.end_line(listener);
                    after
                }
                _ if byte == b'\r' => {
                    self.cr = true;
                    after
                }
                Line::Start if byte == b':' => {
                    self.line = Line::Skip;
                    after
                }
                Line::Start => {
                    self.begin_field();
                    rest
                }
                Line::Field if byte == b':' => {
                    self.begin_value(listener);
                    after
                }
                Line::Field => {
                    self.keep_field(byte);
                    after
                }
                Line::Colon(field) => {
                    self.line = Line::Value(field);
                    if byte == b' ' { after } else { rest }
                }
                Line::Value(field) => {
                    let (piece, after) = rest.split_at_checked(line_end(rest)).unwrap_or((rest, &[]));
                    self.value(field, piece, listener);
                    after
                }
                Line::Skip => rest.get(line_end(rest)..).unwrap_or_default(),
            };
        }
        self.at = end;
    }

    /// The stream has ended, by its end or by trailers. What has begun is an event too.
    pub fn finish(&mut self, listener: &mut dyn Listener) {
        if std::mem::take(&mut self.cr) || !matches!(self.line, Line::Start | Line::Mark(_)) {
            self.end_line(listener);
        }
        self.dispatch(Closed::No, listener);
    }

    /// Where the event begins that is being read, or may begin with the byte that has come last.
    pub fn begin(&self) -> Option<u64> {
        self.begin
    }

    /// How many bytes have come.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// A byte that belongs to the byte order mark, or is the first that does not.
    fn mark<'a>(&mut self, seen: u8, byte: u8, rest: &'a [u8], after: &'a [u8]) -> &'a [u8] {
        match (seen, byte) {
            (0, 0xef) => self.line = Line::Mark(1),
            (1, 0xbb) => self.line = Line::Mark(2),
            (2, 0xbf) => self.line = Line::Start,
            (0, _) => {
                self.line = Line::Start;
                return rest;
            }
            // No field begins so: a line that means nothing.
            _ => {
                self.begin = Some(0);
                self.line = Line::Skip;
                return rest;
            }
        }
        after
    }

    fn begin_field(&mut self) {
        self.begin = self.begin.or(Some(self.at));
        self.field_len = 0;
        self.line = Line::Field;
    }

    fn keep_field(&mut self, byte: u8) {
        match self.field.get_mut(self.field_len) {
            Some(place) => {
                *place = byte;
                self.field_len = self.field_len.saturating_add(1);
            }
            None => self.line = Line::Skip,
        }
    }

    /// The name of the field is whole.
    fn begin_value(&mut self, listener: &mut dyn Listener) {
        let field = match self.field.get(..self.field_len) {
            Some(b"data") => Field::Data,
            Some(b"event") => Field::Event,
            Some(b"id") => Field::Id,
            Some(b"retry") => Field::Retry,
            _ => {
                self.line = Line::Skip;
                return;
            }
        };
        match field {
            Field::Data if self.has_data => {
                self.data_bytes = self.data_bytes.saturating_add(1);
                listener.data(b"\n");
            }
            Field::Data => self.has_data = true,
            Field::Event => self.name.clear(),
            Field::Id => {
                self.next_id.clear();
                self.nul = false;
            }
            Field::Retry => self.digits = Some(0),
        }
        self.line = Line::Colon(field);
    }

    fn value(&mut self, field: Field, piece: &[u8], listener: &mut dyn Listener) {
        match field {
            Field::Data => {
                self.data_bytes = self.data_bytes.saturating_add(length(piece));
                listener.data(piece);
            }
            Field::Event => self.name.append(piece),
            Field::Id => {
                self.nul |= piece.contains(&0);
                self.next_id.append(piece);
            }
            Field::Retry => {
                self.digits = piece.iter().fold(self.digits, |digits, byte| match byte {
                    b'0'..=b'9' => {
                        digits.map(|sum| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
                    }
                    _ => None,
                });
            }
        }
    }

    fn end_line(&mut self, listener: &mut dyn Listener) {
        if matches!(self.line, Line::Field) {
            self.begin_value(listener);
        }
        match std::mem::replace(&mut self.line, Line::Start) {
            Line::Start => self.dispatch(Closed::Yes, listener),
            Line::Value(Field::Id) | Line::Colon(Field::Id) if !self.nul => {
                std::mem::swap(&mut self.id, &mut self.next_id);
                self.has_id = true;
            }
            Line::Value(Field::Retry) => self.retry = self.digits.or(self.retry),
            _ => {}
        }
    }

    /// The event is whole. Without data it is none.
    fn dispatch(&mut self, closed: Closed, listener: &mut dyn Listener) {
        let begin = self.begin.take();
        if let (Some(begin), true) = (begin, self.has_data) {
            listener.event(&Frame {
                name: &self.name.bytes,
                id: &self.id.bytes,
                has_id: self.has_id,
                retry: self.retry,
                range: begin..self.at,
                data_bytes: self.data_bytes,
                closed: matches!(closed, Closed::Yes),
                truncated: self.name.cut || self.id.cut,
            });
        }
        self.name.clear();
        self.has_id = false;
        self.retry = None;
        self.has_data = false;
        self.data_bytes = 0;
    }
}

/// Where in a line the next byte is.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// Before everything, after so many bytes of a byte order mark.
    Mark(u8),
    Start,
    /// In the name of a field.
    Field,
    /// Behind its colon, where a space does not count.
    Colon(Field),
    Value(Field),
    /// In a comment, or in a field that means nothing.
    Skip,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
}

enum Closed {
    Yes,
    No,
}

/// A text, bounded.
#[derive(Clone, Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    cut: bool,
}

impl Kept {
    fn clear(&mut self) {
        self.bytes.clear();
        self.cut = false;
    }

    fn append(&mut self, piece: &[u8]) {
        let room = MAX_KEPT.saturating_sub(self.bytes.len());
        self.cut |= piece.len() > room;
        append(&mut self.bytes, piece, MAX_KEPT);
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The longest name of a field that means something.
const FIELD: usize = 5;
/// Bytes kept of a name and of an `id`.
const MAX_KEPT: usize = 512;

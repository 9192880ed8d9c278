//! Server-sent events (WHATWG HTML §9.2), read from chunks cut anywhere.
//!
//! [`Scanner`] keeps nothing of what the events carry and tells a [`Listener`] as it goes. [`Events`] keeps the data of
//! each event until it is whole, if it is not too long.

mod scanner;

use std::ops::Range;

use crate::json::append;
pub use scanner::{Listener, Scanner};

/// An event that is whole. An event without data is none: the standard says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What `event` says; empty if nothing.
    pub name: &'a [u8],
    /// The last `id` that the stream has told so far, by this event or one before it.
    pub id: &'a [u8],
    /// Whether this event has told an `id` itself.
    pub has_id: bool,
    /// Milliseconds of `retry`, if this event has told any.
    pub retry: Option<u64>,
    /// Its place in the stream: from its first field to behind its blank line. Comments before its first field are outside.
    pub range: Range<u64>,
    /// Length of its data.
    pub data_bytes: u64,
    /// Whether its blank line was there. The stream has ended if not.
    pub closed: bool,
    /// Whether its name or `id` was longer than what is kept; both are cut then.
    pub truncated: bool,
}

/// An event with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// All but its data.
    pub frame: Frame<'a>,
    /// Its data, lines joined by LF.
    pub data: &'a [u8],
}

/// Reads a stream event by event.
///
/// ```
/// use selvage_llm::events::Events;
///
/// let mut events = Events::default();
/// let mut seen = Vec::new();
/// for chunk in [&b"event: greet\r\nda"[..], b"ta: hello\r", b"\n\r\n: ping\n\ndata"] {
///     events.push(chunk, &mut |event| seen.push(event.data.to_vec()));
/// }
/// events.finish(&mut |event| seen.push(event.data.to_vec()));
/// assert_eq!(seen, [&b"hello"[..], b""]);
/// ```
#[derive(Clone, Debug)]
pub struct Events {
    scanner: Scanner,
    kept: Kept,
}

impl Events {
    /// Keeps up to `max` bytes of an event's data. Longer ones are counted and left out.
    pub fn new(max: usize) -> Self {
        Self { scanner: Scanner::default(), kept: Kept { data: Vec::new(), max, skipped: 0 } }
    }

    /// Takes in the next bytes of the stream.
    pub fn push(&mut self, chunk: &[u8], tell: &mut dyn FnMut(&Event<'_>)) {
        self.scanner.push(chunk, &mut Telling { kept: &mut self.kept, tell });
    }

    /// The stream has ended, by its end or by trailers. What has begun is an event too.
    pub fn finish(&mut self, tell: &mut dyn FnMut(&Event<'_>)) {
        self.scanner.finish(&mut Telling { kept: &mut self.kept, tell });
    }

    /// How many events were too long.
    pub fn skipped(&self) -> u64 {
        self.kept.skipped
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new(MAX_EVENT)
    }
}

/// Where in a stream the replay for a `Last-Event-ID` begins: behind the last event that told that `id`. `None` if none did.
///
/// Events without an `id` of their own may have been seen already. They come again: to miss one would be worse.
pub fn replay_from(stream: &[u8], last_event_id: &[u8]) -> Option<usize> {
    struct Find<'a> {
        id: &'a [u8],
        from: Option<u64>,
    }
    impl Listener for Find<'_> {
        fn event(&mut self, frame: &Frame<'_>) {
            if frame.has_id && frame.id == self.id && !frame.truncated {
                self.from = Some(frame.range.end);
            }
        }
    }
    if last_event_id.is_empty() {
        return None;
    }
    let mut find = Find { id: last_event_id, from: None };
    let mut scanner = Scanner::default();
    scanner.push(stream, &mut find);
    scanner.finish(&mut find);
    find.from.and_then(|from| usize::try_from(from).ok())
}

#[derive(Clone, Debug)]
struct Kept {
    data: Vec<u8>,
    max: usize,
    skipped: u64,
}

struct Telling<'a> {
    kept: &'a mut Kept,
    tell: &'a mut dyn FnMut(&Event<'_>),
}

impl Listener for Telling<'_> {
    fn data(&mut self, piece: &[u8]) {
        append(&mut self.kept.data, piece, self.kept.max);
    }

    fn event(&mut self, frame: &Frame<'_>) {
        if usize::try_from(frame.data_bytes) == Ok(self.kept.data.len()) && !frame.truncated {
            (self.tell)(&Event { frame: frame.clone(), data: &self.kept.data });
        } else {
            self.kept.skipped = self.kept.skipped.saturating_add(1);
        }
        self.kept.data.clear();
    }
}

/// Of an event's data, in bytes.
pub const MAX_EVENT: usize = 64 * 1024;

#[cfg(test)]
#[path = "events/tests.rs"]
mod tests;

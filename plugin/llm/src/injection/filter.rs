//! Takes the usage out of a stream whose client has not asked for it.

use std::borrow::Cow;
use std::mem;
use std::ops::Range;

use crate::events::{Frame, Listener, MAX_EVENT, Scanner};
use crate::formats::{Choices, Facts};
use crate::json::{Ambiguous, Lexer, Sink, Token};

/// Lets a stream through, chunk by chunk, without the events that tell a usage and have no choice: what `include_usage` adds
/// to a stream of chat completions or completions. All other bytes pass as they are and in their order.
///
/// An event is held only while it can still be such a one: until its `choices` have an element, as a rule 100 bytes. One of
/// more than [`MAX_EVENT`] bytes passes.
///
/// ```
/// use selvage_llm::injection::UsageFilter;
///
/// let mut filter = UsageFilter::default();
/// let mut out = Vec::new();
/// for chunk in ["data: {\"choices\":[{}]}\n\ndata: {\"choi", "ces\":[],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n"] {
///     out.extend_from_slice(&filter.push(chunk.as_bytes()));
/// }
/// out.extend_from_slice(&filter.finish());
/// assert_eq!(out, b"data: {\"choices\":[{}]}\n\ndata: [DONE]\n\n");
/// ```
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    scanner: Scanner,
    lexer: Lexer,
    watch: Watch,
    /// The bytes that wait for a decision, which are the last that have come.
    held: Vec<u8>,
}

impl UsageFilter {
    /// Takes in the next bytes and gives those that may go on: the chunk itself if nothing is held or taken out.
    pub fn push<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        self.scanner.push(chunk, &mut Watching { lexer: &mut self.lexer, watch: &mut self.watch });
        self.release(chunk)
    }

    /// The stream has ended: gives what is left.
    pub fn finish(&mut self) -> Vec<u8> {
        self.scanner.finish(&mut Watching { lexer: &mut self.lexer, watch: &mut self.watch });
        self.release(&[]).into_owned()
    }

    /// How many events were taken out.
    pub fn taken(&self) -> u64 {
        self.watch.taken
    }

    /// How many bytes wait for a decision.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    fn release<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        let end = self.scanner.position();
        let chunk_begin = end.saturating_sub(length(chunk));
        let begin = chunk_begin.saturating_sub(length(&self.held));
        // What is being read is held while it is undecided.
        let mut hold = match self.scanner.begin() {
            Some(at) if !self.watch.decided => at.clamp(begin, end),
            Some(_) => end,
            None => {
                // One without data has no end that is told.
                self.watch.decided = false;
                end
            }
        };
        if end.saturating_sub(hold) > MAX_EVENT as u64 {
            self.watch.decided = true;
            hold = end;
        }
        let out = mem::take(&mut self.watch.out);
        if out.is_empty() && self.held.is_empty() && hold == end {
            return Cow::Borrowed(chunk);
        }
        if out.is_empty() && hold == begin {
            self.held.extend_from_slice(chunk);
            return Cow::Borrowed(&[]);
        }
        let held = mem::take(&mut self.held);
        let mut passing = Vec::with_capacity(held.len().saturating_add(chunk.len()));
        let copy = |range: Range<u64>, to: &mut Vec<u8>| {
            to.extend_from_slice(part(&held, begin, &range));
            to.extend_from_slice(part(chunk, chunk_begin, &range));
        };
        let mut from = begin;
        for event in out {
            copy(from..event.start.max(from), &mut passing);
            from = event.end.max(from);
        }
        copy(from..hold, &mut passing);
        copy(hold.max(from)..end, &mut self.held);
        Cow::Owned(passing)
    }
}

/// The bytes of a range of the stream that are in `bytes`, which begin at `begin`.
fn part<'a>(bytes: &'a [u8], begin: u64, range: &Range<u64>) -> &'a [u8] {
    let place = |at: u64| usize::try_from(at.saturating_sub(begin)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(place(range.start)..place(range.end)).unwrap_or_default()
}

/// What is known of the event that is being read.
#[derive(Clone, Debug, Default)]
struct Watch {
    facts: Facts,
    /// It is not one to take out, whatever comes.
    decided: bool,
    /// The events to take out of the bytes that have just come.
    out: Vec<Range<u64>>,
    taken: u64,
}

/// Reads until there is a choice: what comes then decides nothing.
struct Deciding<'a>(&'a mut Facts);

impl Sink for Deciding<'_> {
    fn take(&mut self, token: Token<'_>, at: u64) -> Result<(), Ambiguous> {
        self.0.take(token, at)?;
        if self.0.choices() == Choices::Some { Err(Ambiguous::Members) } else { Ok(()) }
    }

    fn looks_inside(&self) -> bool {
        self.0.looks_inside()
    }
}

struct Watching<'a> {
    lexer: &'a mut Lexer,
    watch: &'a mut Watch,
}

impl Listener for Watching<'_> {
    fn data(&mut self, piece: &[u8]) {
        if self.watch.decided {
            return;
        }
        self.watch.decided = self.lexer.push(piece, &mut Deciding(&mut self.watch.facts)).is_err();
    }

    fn event(&mut self, frame: &Frame<'_>) {
        let watch = &mut *self.watch;
        let mut lexer = mem::take(self.lexer);
        if !mem::take(&mut watch.decided)
            && lexer.finish(&mut ()).is_ok()
            && watch.facts.choices() == Choices::Empty
            && watch.facts.counts().is_some()
        {
            watch.out.push(frame.range.clone());
            watch.taken = watch.taken.saturating_add(1);
        }
        watch.facts.clear();
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

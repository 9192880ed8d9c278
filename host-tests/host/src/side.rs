//! One direction of a stream: what arrived, what the filter may touch, what is held back, what went on.

use std::collections::VecDeque;

use crate::Headers;

/// What left the filter on one side: to the origin, or to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The headers; `None` until they are let through.
    pub headers: Option<Headers>,
    /// The body so far.
    pub body: Vec<u8>,
    /// The trailers, if any.
    pub trailers: Option<Headers>,
    /// Whether the message is complete.
    pub ended: bool,
}

/// What the filter can reach at this moment. Envoy takes a map away as soon as the filter lets it pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) headers: bool,
    pub(crate) body: bool,
    pub(crate) trailers: bool,
}

/// Whether the message flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gate {
    #[default]
    Open,
    /// Headers were paused: nothing more is shown to the filter until it resumes.
    Stopped,
    /// Headers were paused: the body is shown all the same, and gathers (`allow_on_headers_stop_iteration`).
    Shown,
    /// A body chunk was paused: chunks gather, and each arrival shows the whole.
    Gathering,
    /// Trailers were paused.
    AtTrailers,
}

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Body { bytes: Vec<u8>, end: bool },
    Trailers(Headers),
}

#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) headers: Option<Headers>,
    pub(crate) headers_end: bool,
    pub(crate) trailers: Option<Headers>,
    /// The body as the filter sees it now: one chunk, or all that gathered.
    pub(crate) chunk: Vec<u8>,
    pub(crate) chunk_end: bool,
    /// Parts of the body that are held and not shown again.
    pub(crate) hidden: Vec<u8>,
    /// The last part was paused: the next call shows it again.
    pub(crate) gathers: bool,
    pub(crate) reach: Reach,
    pub(crate) gate: Gate,
    pub(crate) held: VecDeque<Piece>,
    pub(crate) passed: Passed,
}

impl Side {
    /// Everything that waited for a resume, its body chunks joined as Envoy's buffer joins them.
    pub(crate) fn take_held(&mut self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in self.held.drain(..) {
            match (pieces.last_mut(), piece) {
                (Some(Piece::Body { bytes, end }), Piece::Body { bytes: more, end: last }) => {
                    bytes.extend_from_slice(&more);
                    *end |= last;
                }
                (_, piece) => pieces.push(piece),
            }
        }
        pieces
    }

    pub(crate) fn pass_headers(&mut self) {
        self.reach.headers = false;
        self.passed.headers = self.headers.clone();
        self.passed.ended |= self.headers_end;
    }

    pub(crate) fn pass_chunk(&mut self) {
        self.reach.body = false;
        self.gathers = false;
        let hidden = std::mem::take(&mut self.hidden);
        let chunk = std::mem::take(&mut self.chunk);
        self.passed.body.extend_from_slice(&hidden);
        self.passed.body.extend_from_slice(&chunk);
        self.passed.ended |= self.chunk_end;
    }

    /// The part that was shown is held, and not shown again.
    pub(crate) fn hide_chunk(&mut self) {
        self.reach.body = false;
        self.gathers = false;
        self.hidden.append(&mut self.chunk);
    }

    /// The part that was shown gathers: it is shown again, and so is what was hidden.
    pub(crate) fn gather_chunk(&mut self) {
        self.gathers = true;
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk = std::mem::take(&mut self.hidden);
        self.chunk.extend_from_slice(&chunk);
    }

    /// Whether nothing more is shown to the filter until it resumes: Envoy has ceased to read where it holds as much as it may.
    pub(crate) fn is_stopped(&self) -> bool {
        self.gate == Gate::Stopped || self.gate != Gate::Open && self.hidden.len() > BUFFER_LIMIT
    }

    /// Whether more gathers than Envoy takes (`per_connection_buffer_limit_bytes`).
    pub(crate) fn is_full(&self) -> bool {
        self.gathers && self.hidden.len() + self.chunk.len() > BUFFER_LIMIT
    }

    pub(crate) fn pass_trailers(&mut self) {
        self.reach.trailers = false;
        self.passed.trailers = self.trailers.clone();
        self.passed.ended = true;
    }
}

const BUFFER_LIMIT: usize = 1 << 20;

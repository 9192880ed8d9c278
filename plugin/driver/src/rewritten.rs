//! Bodies that are sent on in another form than they come.

use std::ops::Range;

use crate::host::{Buffer, Calls, Map};

/// Puts bytes in the place of a part of the request's body, which is held, and tells its length anew. The host changes the
/// beginning of a body only: what is before the part is put there again.
pub fn splice<H: Calls>(part: &Range<usize>, with: &[u8]) {
    let mut begin = match part.start {
        0 => Vec::new(),
        length => match H::buffer(Buffer::RequestBody, 0, length) {
            Some(begin) if begin.len() == length => begin,
            _ => return,
        },
    };
    begin.extend_from_slice(with);
    if !H::set_buffer(Buffer::RequestBody, part.end, &begin) {
        return;
    }
    let told =
        H::header(Map::Request, LENGTH).and_then(|told| String::from_utf8(told).ok()?.parse::<usize>().ok());
    if let Some(told) = told {
        let length = told.saturating_add(with.len()).saturating_sub(part.len());
        H::set_header(Map::Request, LENGTH, length.to_string().as_bytes());
    }
}

const LENGTH: &str = "content-length";

/// What is sent in the place of a body that is on its way.
pub enum Rewritten {
    /// This part of it.
    Window {
        /// The part.
        part: Range<usize>,
        /// How much has come.
        at: usize,
    },
    /// Something else, once.
    Instead(Vec<u8>),
}

impl Rewritten {
    /// A part of the body.
    pub const fn window(part: Range<usize>) -> Self {
        Self::Window { part, at: 0 }
    }

    /// Some of the body is at hand: so many bytes.
    pub fn apply<H: Calls>(&mut self, size: usize) {
        match self {
            Self::Instead(content) => {
                H::set_buffer(Buffer::ResponseBody, size, &std::mem::take(content));
            }
            Self::Window { part, at } => {
                let begin = *at;
                *at = at.saturating_add(size);
                let first = part.start.clamp(begin, *at).saturating_sub(begin);
                let last = part.end.clamp(begin, *at).saturating_sub(begin);
                let kept = last.saturating_sub(first);
                if kept == size {
                    return;
                }
                let bytes = if kept == 0 { None } else { H::buffer(Buffer::ResponseBody, first, kept) };
                H::set_buffer(Buffer::ResponseBody, size, &bytes.unwrap_or_default());
            }
        }
    }
}

//! Bodies of responses that clients get in another form than they come.

use std::ops::Range;

use crate::host::{Buffer, Calls};

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
            Self::Instead(content) => H::set_buffer(Buffer::ResponseBody, size, &std::mem::take(content)),
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

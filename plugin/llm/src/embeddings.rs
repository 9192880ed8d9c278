//! Requests for embeddings, input by input: which are known already, what to ask for, and the answer made of both.
//!
//! Everything is sliced, nothing parsed: a vector keeps its bytes. An answer to one input is a whole answer, so it can be
//! stored and served by itself; [`merge`] makes one of several, [`split`] several of one.

mod answer;
mod request;

pub use answer::{Unusable, join, merge, split};
pub use request::{Request, Unsplit, combine};

#[cfg(test)]
#[path = "embeddings/tests.rs"]
mod tests;

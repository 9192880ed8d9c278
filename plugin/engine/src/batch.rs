//! Several GETs in one request, and their answers in one response: the JSON of both.
//!
//! The form is the one that Microsoft Graph has made known. Nothing is decided here of what becomes of a part.

pub(crate) mod answer;
pub(crate) mod requests;
pub(crate) mod target;

#[cfg(test)]
mod tests;

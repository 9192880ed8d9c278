//! Asks for what the client has not asked for, and takes it out of the answer again.
//!
//! Bodies are changed by splicing: what is not meant to change keeps its bytes.

mod filter;

use std::ops::Range;

use crate::json::{Ambiguous, Member, members, write_text};
pub use filter::UsageFilter;

/// A change of a body: the bytes of a range, and what takes their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// What goes. Empty where something is put in.
    pub range: Range<usize>,
    /// What comes.
    pub with: Vec<u8>,
}

impl Splice {
    /// The body with the change.
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len().saturating_add(self.with.len()));
        out.extend_from_slice(body.get(..self.range.start).unwrap_or(body));
        out.extend_from_slice(&self.with);
        out.extend_from_slice(body.get(self.range.end..).unwrap_or_default());
        out
    }
}

/// How to make a request for a stream ask for its usage: `stream_options.include_usage`. `None` if it asks for no stream, or
/// for the usage already, or has something else in that place.
///
/// The answer then goes through a [`UsageFilter`].
///
/// # Errors
/// The body is ambiguous.
pub fn ask_for_usage(body: &[u8]) -> Result<Option<Splice>, Ambiguous> {
    let Some(top) = members(body, MAX_MEMBERS)? else { return Ok(None) };
    if value(body, find(&top, b"stream")) != Some(b"true") {
        return Ok(None);
    }
    let Some(options) = find(&top, b"stream_options") else {
        return Ok(Some(first_member(body, b"\"stream_options\":{\"include_usage\":true}")));
    };
    let whole = options.value.clone();
    let json = body.get(whole.clone()).unwrap_or_default();
    if json == b"null" {
        return Ok(Some(Splice { range: whole, with: b"{\"include_usage\":true}".to_vec() }));
    }
    let Some(inner) = members(json, MAX_MEMBERS)? else { return Ok(None) };
    Ok(match find(&inner, b"include_usage") {
        Some(asked) if matches!(value(json, Some(asked)), Some(b"false" | b"null")) => {
            let range =
                whole.start.saturating_add(asked.value.start)..whole.start.saturating_add(asked.value.end);
            Some(Splice { range, with: b"true".to_vec() })
        }
        Some(_) => None,
        None => {
            let mut splice = first_member(json, b"\"include_usage\":true");
            let at = whole.start.saturating_add(splice.range.start);
            splice.range = at..at;
            Some(splice)
        }
    })
}

/// Whether a request asks for a stream.
///
/// # Errors
/// The body is ambiguous.
pub fn asks_for_stream(body: &[u8]) -> Result<bool, Ambiguous> {
    let Some(top) = members(body, MAX_MEMBERS)? else { return Ok(false) };
    Ok(!matches!(value(body, find(&top, b"stream")), None | Some(b"false" | b"null")))
}

/// How to make a request ask another model. `None` if the body is no object.
///
/// # Errors
/// The body is ambiguous.
pub fn ask_model(body: &[u8], model: &str) -> Result<Option<Splice>, Ambiguous> {
    let Some(top) = members(body, MAX_MEMBERS)? else { return Ok(None) };
    let mut with = Vec::new();
    Ok(Some(match find(&top, b"model") {
        Some(member) => {
            write_text(model, &mut with);
            Splice { range: member.value.clone(), with }
        }
        None => {
            with.extend_from_slice(b"\"model\":");
            write_text(model, &mut with);
            first_member(body, &with)
        }
    }))
}

fn find<'a>(members: &'a [Member], name: &[u8]) -> Option<&'a Member> {
    members.iter().find(|member| member.name == name)
}

fn value<'a>(json: &'a [u8], member: Option<&Member>) -> Option<&'a [u8]> {
    member.and_then(|member| json.get(member.value.clone()))
}

/// Puts a member at the beginning of an object.
fn first_member(object: &[u8], member: &[u8]) -> Splice {
    let at = object.iter().position(|byte| *byte == b'{').map_or(0, |at| at.saturating_add(1));
    let mut with = member.to_vec();
    let rest = object.get(at..).unwrap_or_default();
    if !rest.trim_ascii_start().starts_with(b"}") {
        with.push(b',');
    }
    Splice { range: at..at, with }
}

/// More than any request has at one level.
const MAX_MEMBERS: usize = 1024;

#[cfg(test)]
#[path = "injection/tests.rs"]
mod tests;

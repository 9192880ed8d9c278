//! What is asked for.

use std::ops::Range;
use std::rc::Rc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::canonical::{Input, Read, canonical, digest};
use crate::json::{Ambiguous, elements, members};

/// A request for embeddings, by its inputs.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    body: &'a [u8],
    /// Where the value of `input` is.
    place: Range<usize>,
    /// Where each input is in the body.
    inputs: Vec<Range<usize>>,
    /// Of all members but `input`.
    common: [u8; 32],
}

/// Why a request can not be taken apart. It can still be passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsplit {
    /// Its body is ambiguous.
    #[error("the body is ambiguous: {0}")]
    Ambiguous(#[from] Ambiguous),
    /// It has no `input`, or one that is none of the four shapes.
    #[error("`input` is no text, no tokens, and no array of either")]
    Shape,
    /// It has more inputs than anybody may ask for.
    #[error("it has too many inputs")]
    TooMany,
}

impl<'a> Request<'a> {
    /// Reads a request of up to `max` inputs: a text, an array of texts, an array of tokens (one input), or an array of those.
    ///
    /// # Errors
    /// It can not be taken apart.
    pub fn read(body: &'a [u8], max: usize) -> Result<Self, Unsplit> {
        let Read { digest: common, summary } = canonical(body, Rc::new(["input".into()]))?;
        let top = members(body, MAX_MEMBERS)?.ok_or(Unsplit::Shape)?;
        let place = top.into_iter().find(|member| member.name == b"input").ok_or(Unsplit::Shape)?.value;
        let inputs = match summary.input {
            Input::Text | Input::Tokens(_) => vec![place.clone()],
            Input::Texts(_) | Input::Lists(_) => {
                let array = body.get(place.clone()).unwrap_or_default();
                let offset = |at: usize| place.start.saturating_add(at);
                let elements = elements(array, max).map_err(|_| Unsplit::TooMany)?.ok_or(Unsplit::Shape)?;
                elements.into_iter().map(|range| offset(range.start)..offset(range.end)).collect()
            }
            Input::Absent | Input::Other => return Err(Unsplit::Shape),
        };
        Ok(Self { body, place, inputs, common })
    }

    /// How many inputs it has, at least one.
    pub fn count(&self) -> usize {
        self.inputs.len()
    }

    /// The digest of all members but `input`: requests that have the same may be [combined](combine).
    pub const fn common(&self) -> [u8; 32] {
        self.common
    }

    /// An input as it stands in the body, a text or an array of tokens.
    pub fn input(&self, index: usize) -> Option<&'a [u8]> {
        self.inputs.get(index).and_then(|range| self.body.get(range.clone()))
    }

    /// The length of each input, by which a usage is shared out.
    pub fn weights(&self) -> Vec<usize> {
        self.inputs.iter().map(ExactSizeIterator::len).collect()
    }

    /// The key of each input: the same wherever it stands, alone or among others, however it is spelt. All members of the
    /// request count, but for `input` and those in `ignore`.
    ///
    /// # Errors
    /// An input is ambiguous.
    pub fn keys(&self, ignore: &[Box<str>]) -> Result<Vec<[u8; 32]>, Ambiguous> {
        let ignore = ignore.iter().cloned().chain(["input".into()]).collect();
        let common = canonical(self.body, ignore)?.digest;
        let keys = self.inputs.iter().map(|range| {
            let input = digest(self.body.get(range.clone()).unwrap_or_default())?;
            Ok(Sha256::new_with_prefix(DOMAIN).chain_update(common).chain_update(input).finalize().into())
        });
        keys.collect()
    }

    /// The request for some of the inputs, in the order of `wanted`; all else keeps its bytes. `None` if none is wanted, or
    /// one that is not there.
    pub fn asking_for(&self, wanted: &[usize]) -> Option<Vec<u8>> {
        let inputs: Option<Vec<_>> = wanted.iter().map(|index| self.input(*index)).collect();
        let inputs = inputs.filter(|inputs| !inputs.is_empty())?;
        Some(self.with_inputs(&inputs))
    }

    fn with_inputs(&self, inputs: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len());
        out.extend_from_slice(self.body.get(..self.place.start).unwrap_or_default());
        let mut before = b'[';
        for input in inputs {
            out.push(before);
            out.extend_from_slice(input);
            before = b',';
        }
        out.push(b']');
        out.extend_from_slice(self.body.get(self.place.end..).unwrap_or_default());
        out
    }
}

/// One request for the inputs of several, in their order. `None` if there are fewer than two, if they differ in anything but
/// their inputs, or if they are more than `max_inputs` inputs or `max_bytes` bytes together.
pub fn combine(requests: &[Request<'_>], max_inputs: usize, max_bytes: usize) -> Option<Vec<u8>> {
    let (first, others) = requests.split_first()?;
    if others.is_empty() || others.iter().any(|other| other.common != first.common) {
        return None;
    }
    let inputs: Vec<&[u8]> = requests
        .iter()
        .flat_map(|request| (0..request.count()).filter_map(|index| request.input(index)))
        .collect();
    if inputs.len() > max_inputs {
        return None;
    }
    let body = first.with_inputs(&inputs);
    (body.len() <= max_bytes).then_some(body)
}

/// Part of every key.
const DOMAIN: &[u8] = b"selvage-llm embedding 1\0";
/// More than any request has.
const MAX_MEMBERS: usize = 256;

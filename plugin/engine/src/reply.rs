//! A response that is made here, in the origin's place.

use crate::cache_status::Outcome;
use crate::fields::{FieldBlock, Fields};
use crate::store::response::Body;

/// A response that the cache makes.
#[derive(Debug, PartialEq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Its fields as a block, without `:status`. Given back with [`Cache::recycle`](crate::cache::Cache::recycle) once sent.
    pub fields: Vec<u8>,
    /// Where its content is.
    pub body: Body,
    /// The part of the content that is sent.
    pub range: std::ops::Range<usize>,
    /// What the host's own idea of a reply would get wrong.
    pub mend: Option<ContentTypeFix>,
}

impl Reply {
    /// A reply that is made here and not from the store, all of its content sent.
    pub(crate) fn made(status: u16, fields: Vec<u8>, content: Vec<u8>) -> Self {
        let range = 0..content.len();
        Self { status, fields, body: Body::new(content), range, mend: None }
    }

    /// The same, whose last field, unless the rule is silent, is the `Cache-Status` of the cache called `name` (a serialised token or string).
    pub(crate) fn saying(
        status: u16,
        outcome: &Outcome,
        name: &[u8],
        fields: &[(&[u8], &[u8])],
        content: &[u8],
    ) -> Self {
        let mut line = Vec::new();
        outcome.write(name, &mut line);
        let mut block = FieldBlock::new();
        for (field, value) in fields {
            block.push(field, value);
        }
        let mut head = Vec::new();
        if !outcome.silent {
            block.push(b"cache-status", &line);
        }
        block.write_with(&[], &mut head);
        Self::made(status, head, content.to_vec())
    }

    /// Adds a field.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        if let Some(fields) = Fields::parse(&self.fields) {
            let block = FieldBlock::copy_of(fields);
            self.fields.clear();
            block.write_with(&[(name, value)], &mut self.fields);
        }
    }

    /// The content to send.
    pub fn content(&self) -> &[u8] {
        self.body.as_slice().get(self.range.clone()).unwrap_or_default()
    }
}

/// Envoy gives a reply with content the type `text/plain` where none is named, and takes the type off a reply
/// without content. The adapter undoes either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentTypeFix {
    /// The stored response has no `Content-Type`.
    RemoveContentType,
    /// The stored response has one, and no content.
    AddContentType(Vec<u8>),
    /// It has no content, which HEAD is to say, and perhaps a type.
    AddLength(Option<Vec<u8>>),
}

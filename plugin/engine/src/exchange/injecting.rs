//! A request that is made to ask for the usage of its stream, and the event that comes of it, which the client does not get.

use selvage_llm::formats::Body;
use selvage_llm::injection::{Splice, UsageFilter};

use super::{Directive, Event, RequestEdit};
use crate::fields::{FieldBlock, Fields, status_of};
use crate::storability::answers::form_of;

/// What is kept of such a request.
pub(super) struct Injecting {
    edit: RequestEdit,
    /// The stream is coming.
    filter: Option<UsageFilter>,
    /// What the client gets in the place of the part that has just come; `None`: that part.
    part: Option<Vec<u8>>,
    /// The head without its length, which is not that of what the client gets.
    head: Option<Vec<u8>>,
}

impl Injecting {
    /// Of a request whose body is to be changed so.
    pub(super) fn by(splice: Splice) -> Self {
        let Splice { range, with } = splice;
        let edit = RequestEdit::Splice(range, with);
        Self { edit, filter: None, part: None, head: None }
    }

    /// Something has happened to the stream.
    pub(super) fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::Response { head, end_of_stream } => self.begin(*head, *end_of_stream),
            Event::Body { chunk, end_of_stream } => {
                let Some(filter) = &mut self.filter else { return };
                let mut left = filter.push(chunk);
                if *end_of_stream {
                    left.to_mut().extend_from_slice(&filter.finish());
                    self.filter = None;
                }
                self.part = (*left != **chunk).then(|| left.into_owned());
            }
            Event::Trailers | Event::Ended => self.filter = None,
            _ => {}
        }
    }

    fn begin(&mut self, head: Fields<'_>, end_of_stream: bool) {
        if status_of(head) != 200 || end_of_stream || form_of(head) != Some(Body::Events) {
            return;
        }
        self.filter = Some(UsageFilter::default());
        if head.get(LENGTH).is_some() {
            let kept: FieldBlock = head.iter().filter(|(name, _)| *name != LENGTH).collect();
            let mut block = Vec::new();
            kept.write_with(&[], &mut block);
            self.head = Some(block);
        }
    }

    /// The head that has just come, as the client gets it.
    pub(super) fn head<'h>(&'h self, head: Fields<'h>) -> Fields<'h> {
        self.head.as_deref().and_then(Fields::parse).unwrap_or(head)
    }

    /// The part of the body that has just come, as the client gets it.
    pub(super) fn part<'p>(&'p self, chunk: &'p [u8]) -> &'p [u8] {
        self.part.as_deref().unwrap_or(chunk)
    }

    /// What becomes of a step of the exchange.
    pub(super) fn pass(&mut self, mut directive: Directive) -> Directive {
        if let Directive::Forward(edits) = &mut directive {
            if !edits.contains(&self.edit) {
                edits.push(self.edit.clone());
            }
            return directive;
        }
        if let Some(part) = self.part.take() {
            return Directive::Replace(part);
        }
        if let (Directive::Relay { strip, .. }, true) = (&mut directive, self.head.is_some()) {
            strip.push(LENGTH.into());
        }
        directive
    }
}

const LENGTH: &[u8] = b"content-length";

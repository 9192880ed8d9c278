//! The upstream: a script of answers, and a record of what reached it.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use crate::Headers;

/// What the upstream saw: the request as the filter left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRequest {
    /// All headers with the pseudo ones.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
}

impl OriginRequest {
    /// The `:method`.
    pub fn method(&self) -> String {
        self.headers.get(":method").unwrap_or_default()
    }

    /// The `:path` with its query.
    pub fn path(&self) -> String {
        self.headers.get(":path").unwrap_or_default()
    }

    /// The first value of that header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)
    }
}

/// How far the upstream gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    Never,
    BeforeHeaders,
    AfterChunks(usize),
}

/// One answer of the upstream.
#[derive(Clone, Debug)]
pub struct OriginResponse {
    pub(crate) headers: Headers,
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) trailers: Option<Headers>,
    pub(crate) reset: Reset,
}

impl OriginResponse {
    /// A response of that status without headers or body.
    pub fn status(status: u16) -> Self {
        let headers = Headers::new().with(":status", &status.to_string());
        Self { headers, chunks: Vec::new(), trailers: None, reset: Reset::Never }
    }

    /// A 200 with that body and its `content-length`.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::status(200).header("content-length", &body.as_ref().len().to_string()).chunk(body)
    }

    /// The connection breaks before any header.
    pub fn reset() -> Self {
        Self { reset: Reset::BeforeHeaders, ..Self::status(0) }
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.add(name, value);
        self
    }

    /// Adds a body chunk; the last one ends the stream unless trailers follow.
    #[must_use]
    pub fn chunk(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.chunks.push(bytes.as_ref().to_vec());
        self
    }

    /// Ends with this trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.get_or_insert_default().add(name, value);
        self
    }

    /// The connection breaks after that many of the chunks.
    #[must_use]
    pub fn reset_after(mut self, chunks: usize) -> Self {
        self.reset = Reset::AfterChunks(chunks);
        self
    }
}

/// The upstream of a node; clones are the same one.
#[derive(Clone, Default)]
pub struct Origin {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    #[allow(clippy::type_complexity)] // Named only here.
    script: RefCell<Option<Box<dyn FnMut(&OriginRequest) -> OriginResponse>>>,
    queue: RefCell<VecDeque<OriginResponse>>,
    seen: RefCell<Vec<OriginRequest>>,
}

impl Origin {
    /// Answers every request for which nothing is queued.
    pub fn answer_with(&self, script: impl FnMut(&OriginRequest) -> OriginResponse + 'static) {
        *self.inner.script.borrow_mut() = Some(Box::new(script));
    }

    /// Answers the next request that has no earlier answer queued.
    pub fn next(&self, response: OriginResponse) {
        self.inner.queue.borrow_mut().push_back(response);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<OriginRequest> {
        self.inner.seen.borrow().clone()
    }

    /// How many requests reached the upstream.
    pub fn fetches(&self) -> usize {
        self.inner.seen.borrow().len()
    }

    pub(crate) fn answer(&self, request: OriginRequest) -> OriginResponse {
        self.inner.seen.borrow_mut().push(request.clone());
        if let Some(queued) = self.inner.queue.borrow_mut().pop_front() {
            return queued;
        }
        let Some(mut script) = self.inner.script.borrow_mut().take() else {
            panic!("{} {} reached the origin, which has no answer for it", request.method(), request.path());
        };
        let response = script(&request);
        self.inner.script.borrow_mut().get_or_insert(script);
        response
    }
}

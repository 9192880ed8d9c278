//! One client request and its response, step by step.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::{
    Headers, Node, OriginResponse, Passed, Request, abi::Direction, origin::Reset, side::Side, vm::Vm,
};

/// How a stream ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The whole response arrived.
    Complete,
    /// The response broke off, or the connection was reset before it.
    Reset,
    /// The client went away.
    Disconnected,
    /// The VM died while the stream was paused; Envoy lets it hang until a timeout.
    Stranded,
}

/// The hostcalls of one callback, in order. Assert on counts, not on the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackTrace {
    /// The export, such as `proxy_on_request_headers`.
    pub callback: &'static str,
    /// The imports it called.
    pub hostcalls: Vec<&'static str>,
}

/// Whose response the filter sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Upstream,
    /// A local reply on its way through the encoder filters.
    Local,
    /// A local reply that went straight to the codec.
    Direct,
}

#[derive(Debug)]
pub(crate) struct StreamState {
    pub(crate) id: u32,
    pub(crate) request: Side,
    /// Parts of the request's body that were delivered.
    pub(crate) sent: usize,
    pub(crate) response: Side,
    pub(crate) source: Source,
    /// The filter asked for a local reply; a second one is a fault.
    pub(crate) reply_asked: bool,
    /// A local reply took over the stream.
    pub(crate) replied: bool,
    pub(crate) logging: bool,
    pub(crate) ending: Option<Ending>,
    pub(crate) code_details: String,
    pub(crate) properties: BTreeMap<String, Vec<u8>>,
    pub(crate) trace: Vec<CallbackTrace>,
    /// Whether the node's origin answers, or the test does it step by step.
    pub(crate) scripted: bool,
    method: String,
}

impl StreamState {
    pub(crate) fn new(id: u32, request: &Request, scripted: bool) -> Self {
        Self {
            id,
            request: Side::default(),
            sent: 0,
            response: Side::default(),
            source: Source::Upstream,
            reply_asked: false,
            replied: false,
            logging: false,
            ending: None,
            code_details: String::new(),
            properties: request.properties.iter().cloned().collect(),
            trace: Vec::new(),
            scripted,
            method: request.headers.get(":method").unwrap_or_default(),
        }
    }

    pub(crate) fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(crate) fn side_mut(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.logging = true;
        self.request.reach = Default::default();
        self.response.reach = Default::default();
    }

    /// The VM died: the stream in the callback gets Envoy's 503 if nothing was sent, the others hang.
    pub(crate) fn fail(&mut self, in_callback: bool) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(match (in_callback, self.response.passed.headers.is_some()) {
            (false, _) => Ending::Stranded,
            (true, true) => Ending::Reset,
            (true, false) => {
                self.code_details = "wasm_fail_stream".to_owned();
                self.response.passed.headers = Some(Headers::from([(":status", "503")]));
                self.response.passed.ended = true;
                Ending::Complete
            }
        });
    }
}

/// A stream in a worker. It lives on as a record when it has ended.
#[derive(Clone)]
pub struct Stream {
    pub(crate) node: Node,
    pub(crate) vm: Rc<RefCell<Vm>>,
    pub(crate) state: Rc<RefCell<StreamState>>,
    pub(crate) outgoing: Request,
}

impl Stream {
    /// Delivers the request's headers; they end the request if it has no body and no trailers.
    pub fn request_headers(&self) -> &Self {
        let end = self.outgoing.chunks.is_empty() && self.outgoing.trailers.is_none();
        self.deliver(|vm, id| vm.deliver_headers(id, Direction::Request, self.outgoing.headers.clone(), end))
    }

    /// Delivers the next part of the request's body, if there is one.
    pub fn request_piece(&self) -> &Self {
        let index = self.state.borrow().sent;
        let Some(chunk) = self.outgoing.chunks.get(index) else { return self };
        self.state.borrow_mut().sent += 1;
        let end = index + 1 == self.outgoing.chunks.len() && self.outgoing.trailers.is_none();
        self.deliver(|vm, id| vm.deliver_body(id, Direction::Request, chunk.clone(), end))
    }

    /// Delivers the rest of the request's body, and its trailers.
    pub fn request_rest(&self) -> &Self {
        while self.state.borrow().sent < self.outgoing.chunks.len() {
            self.request_piece();
        }
        match &self.outgoing.trailers {
            Some(trailers) => {
                self.deliver(|vm, id| vm.deliver_trailers(id, Direction::Request, trailers.clone()))
            }
            None => self,
        }
    }

    /// The upstream answers with headers only.
    pub fn respond(&self, headers: Headers) -> &Self {
        self.upstream_headers(headers, true)
    }

    /// The upstream answers with headers; a body or trailers follow.
    pub fn respond_with_body(&self, headers: Headers) -> &Self {
        self.upstream_headers(headers, false)
    }

    /// A chunk of the upstream's body that is not the last.
    pub fn body(&self, chunk: impl AsRef<[u8]>) -> &Self {
        let bytes = chunk.as_ref().to_vec();
        self.upstream_piece(|vm, id| vm.deliver_body(id, Direction::Response, bytes, false))
    }

    /// The last chunk of the upstream's body.
    pub fn last_body(&self, chunk: impl AsRef<[u8]>) -> &Self {
        let bytes = chunk.as_ref().to_vec();
        self.upstream_piece(|vm, id| vm.deliver_body(id, Direction::Response, bytes, true))
    }

    /// The upstream ends with trailers.
    pub fn trailers(&self, trailers: Headers) -> &Self {
        self.upstream_piece(|vm, id| vm.deliver_trailers(id, Direction::Response, trailers))
    }

    /// The upstream connection breaks.
    pub fn upstream_reset(&self) -> &Self {
        self.deliver(Vm::upstream_reset)
    }

    /// The client goes away.
    pub fn disconnect(&self) -> &Self {
        self.deliver(|vm, id| vm.finish(id, Ending::Disconnected))
    }

    /// What reached the upstream so far.
    pub fn upstream(&self) -> Passed {
        self.state.borrow().request.passed.clone()
    }

    /// What reached the client so far.
    pub fn client(&self) -> Passed {
        self.state.borrow().response.passed.clone()
    }

    /// The status that the client got; 0 if it has none yet.
    pub fn status(&self) -> u16 {
        self.state.borrow().response.passed.headers.as_ref().map_or(0, Headers::status)
    }

    /// The first value of a header that the client got.
    pub fn header(&self, name: &str) -> Option<String> {
        self.state.borrow().response.passed.headers.as_ref().and_then(|headers| headers.get(name))
    }

    /// The headers that the client got; empty before them.
    pub fn headers(&self) -> Headers {
        self.client().headers.unwrap_or_default()
    }

    /// The body that the client got so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.client().body).into_owned()
    }

    /// How it ended; `None` while it runs or is paused.
    pub fn ending(&self) -> Option<Ending> {
        self.state.borrow().ending
    }

    /// Whether the filter holds the request or the response back.
    pub fn is_paused(&self) -> bool {
        let state = self.state.borrow();
        let open = |side: &Side| side.gate == crate::side::Gate::Open;
        state.ending.is_none() && !(open(&state.request) && open(&state.response))
    }

    /// `response.code_details`: `via_upstream`, or what the local reply said.
    pub fn code_details(&self) -> String {
        self.state.borrow().code_details.clone()
    }

    /// A value that the filter set with `proxy_set_property`, or that the request came with.
    pub fn property(&self, path: &str) -> Option<Vec<u8>> {
        self.state.borrow().properties.get(path).cloned()
    }

    /// Every callback so far with its hostcalls.
    pub fn trace(&self) -> Vec<CallbackTrace> {
        self.state.borrow().trace.clone()
    }

    /// All hostcalls of the stream so far.
    pub fn hostcalls(&self) -> Vec<&'static str> {
        self.state.borrow().trace.iter().flat_map(|trace| trace.hostcalls.iter().copied()).collect()
    }

    /// The context id in the VM.
    pub fn context_id(&self) -> u32 {
        self.state.borrow().id
    }

    /// Plays a whole answer of the upstream.
    pub(crate) fn play(&self, response: OriginResponse) {
        if response.reset == Reset::BeforeHeaders {
            self.upstream_reset();
            return;
        }
        let chunks = if self.state.borrow().is_head() { 0 } else { response.chunks.len() };
        let sent = match response.reset {
            Reset::AfterChunks(count) => count.min(chunks),
            Reset::Never | Reset::BeforeHeaders => chunks,
        };
        let whole = response.reset == Reset::Never;
        self.upstream_headers(response.headers, whole && chunks == 0 && response.trailers.is_none());
        for (index, chunk) in response.chunks.iter().take(sent).enumerate() {
            let end = whole && index + 1 == chunks && response.trailers.is_none();
            self.upstream_piece(|vm, id| vm.deliver_body(id, Direction::Response, chunk.clone(), end));
        }
        match response.trailers {
            _ if !whole => self.upstream_reset(),
            Some(trailers) => self.trailers(trailers),
            None => self,
        };
    }

    fn upstream_headers(&self, headers: Headers, end: bool) -> &Self {
        {
            let mut state = self.state.borrow_mut();
            if state.ending.is_some() || state.replied {
                return self;
            }
            assert!(
                state.request.passed.headers.is_some(),
                "the upstream answers a request that it never got"
            );
            state.code_details = "via_upstream".to_owned();
        }
        // The codec of an upstream ends a HEAD response at its headers.
        let end = end || self.state.borrow().is_head();
        self.deliver(|vm, id| vm.deliver_headers(id, Direction::Response, headers, end))
    }

    // Envoy drops the upstream of a stream that a local reply took over.
    fn upstream_piece(&self, step: impl FnOnce(&mut Vm, u32)) -> &Self {
        let replied = self.state.borrow().replied;
        if replied { self } else { self.deliver(step) }
    }

    fn deliver(&self, step: impl FnOnce(&mut Vm, u32)) -> &Self {
        let id = self.state.borrow().id;
        if self.state.borrow().ending.is_none() {
            step(&mut self.vm.borrow_mut(), id);
        }
        self.node.settle();
        self
    }
}

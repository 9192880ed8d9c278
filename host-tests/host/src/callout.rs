//! HTTP callouts that wait for the test's answer.

use crate::{Headers, Node, vm::CalloutAnswer};

/// What the module asked of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct PendingCallout {
    pub(crate) token: u32,
    pub(crate) instance: u64,
    pub(crate) root: u32,
    pub(crate) cluster: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout_milliseconds: u32,
}

/// A callout in flight. It stays so until it is answered or its VM ends.
pub struct Callout {
    pub(crate) node: Node,
    pub(crate) pending: PendingCallout,
}

impl Callout {
    /// The cluster that was called.
    pub fn cluster(&self) -> &str {
        &self.pending.cluster
    }

    /// The request's headers with the pseudo ones.
    pub fn headers(&self) -> &Headers {
        &self.pending.headers
    }

    /// The `:path`.
    pub fn path(&self) -> String {
        self.pending.headers.get(":path").unwrap_or_default()
    }

    /// The request's body.
    pub fn body(&self) -> &[u8] {
        &self.pending.body
    }

    /// Milliseconds; 0 means that Envoy waits for ever.
    pub fn timeout_milliseconds(&self) -> u32 {
        self.pending.timeout_milliseconds
    }

    /// The endpoint answers.
    pub fn respond(self, status: u16, headers: Headers, body: impl AsRef<[u8]>) {
        let mut all = Headers::new().with(":status", &status.to_string());
        for (name, value) in headers.raw() {
            all.push_raw(name.to_vec(), value.to_vec());
        }
        // Only a real endpoint's answer carries it, so a module can tell Envoy's own 503.
        if !all.contains("x-envoy-upstream-service-time") {
            all.add("x-envoy-upstream-service-time", "0");
        }
        let answer = CalloutAnswer { headers: all, body: body.as_ref().to_vec(), trailers: Headers::new() };
        self.deliver(Some(answer));
    }

    /// The endpoint refused or timed out: Envoy makes a 503 or 504 of its own.
    pub fn synthesise(self, status: u16) {
        let headers = Headers::new().with(":status", &status.to_string()).with("content-type", "text/plain");
        let body = b"upstream connect error".to_vec();
        self.deliver(Some(CalloutAnswer { headers, body, trailers: Headers::new() }));
    }

    /// The connection broke in mid-answer: the callback comes with nothing to read.
    pub fn fail(self) {
        self.deliver(None);
    }

    fn deliver(self, answer: Option<CalloutAnswer>) {
        if !self.node.state().take_callout(self.pending.token) {
            return;
        }
        let Some(vm) = self.node.vm_by_instance(self.pending.instance) else { return };
        let mut vm = vm.borrow_mut();
        let sizes = answer.as_ref().map_or([0; 3], |answer| {
            [answer.headers.len() as u32, answer.body.len() as u32, answer.trailers.len() as u32]
        });
        vm.store.data_mut().callout = answer;
        let root = self.pending.root;
        let [headers, body, trailers] = sizes;
        vm.call(
            "proxy_on_http_call_response",
            root,
            &[root, self.pending.token, headers, body, trailers],
            None,
        );
        vm.store.data_mut().callout = None;
        drop(vm);
        self.node.settle();
    }
}

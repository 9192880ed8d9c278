//! The short way to a node with an origin: what most tests begin with.

use std::{ops::Deref, time::Duration};

use crate::{
    ConfigRefused, Module, Node, NodeBuilder, Origin, OriginRequest, OriginResponse, Request, Stream,
};

/// A node under test with its origin.
///
/// ```no_run
/// use selvage_host::{Gateway, OriginResponse};
///
/// let gateway = Gateway::with("{}")
///     .workers(2)
///     .origin(|_| OriginResponse::ok("hello").header("cache-control", "max-age=60"))
///     .start();
/// assert_eq!(gateway.get("/a").send(0).text(), "hello");
/// assert_eq!(gateway.get("/a").send(1).text(), "hello");
/// assert_eq!(gateway.origin().fetches(), 1);
/// ```
pub struct Gateway {
    node: Node,
}

impl Gateway {
    /// The release module with this plugin configuration.
    pub fn with(configuration: &str) -> GatewayBuilder {
        Self::module(Module::selvage(), configuration)
    }

    /// Another module, for the host's own tests.
    pub fn module(module: Module, configuration: &str) -> GatewayBuilder {
        GatewayBuilder(NodeBuilder {
            module,
            configuration: configuration.to_owned(),
            workers: 1,
            clusters: Vec::new(),
            environment: Vec::new(),
            shows_bodies: false,
            origin: Origin::default(),
        })
    }

    /// The node itself.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// A GET to be completed and sent.
    pub fn get(&self, path: &str) -> Sending<'_> {
        self.request("GET", path)
    }

    /// A HEAD to be completed and sent.
    pub fn head(&self, path: &str) -> Sending<'_> {
        self.request("HEAD", path)
    }

    /// A POST to be completed and sent.
    pub fn post(&self, path: &str) -> Sending<'_> {
        self.request("POST", path)
    }

    /// Any other method.
    pub fn request(&self, method: &str, path: &str) -> Sending<'_> {
        Sending { node: &self.node, request: Request::new(method, path) }
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: u64) {
        self.node.clock().advance(Duration::from_secs(seconds));
    }
}

impl Deref for Gateway {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// A gateway before it starts: one worker and an origin without answers unless told otherwise.
pub struct GatewayBuilder(NodeBuilder);

impl GatewayBuilder {
    /// Number of workers.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.0.workers = count;
        self
    }

    /// Makes a cluster known to callouts.
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Self {
        self.0.clusters.push(name.to_owned());
        self
    }

    /// Gives the VMs an environment variable, as `vm_config.environment_variables` does.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.0.environment.push(format!("{name}={value}"));
        self
    }

    /// Shows the filter the body of a request whose headers it has paused, as `allow_on_headers_stop_iteration` does.
    #[must_use]
    pub fn shows_bodies(mut self) -> Self {
        self.0.shows_bodies = true;
        self
    }

    /// What the origin answers.
    #[must_use]
    pub fn origin(self, script: impl FnMut(&OriginRequest) -> OriginResponse + 'static) -> Self {
        self.0.origin.answer_with(script);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// If the module refuses the configuration; the message holds what it logged.
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|refused| panic!("configuration refused: {}", refused.text()))
    }

    /// Starts it, or says why not.
    ///
    /// # Errors
    /// [`ConfigRefused`] with the module's log lines.
    pub fn try_start(self) -> Result<Gateway, ConfigRefused> {
        self.0.start().map(|node| Gateway { node })
    }
}

/// A request on its way to a worker.
#[must_use]
pub struct Sending<'a> {
    node: &'a Node,
    request: Request,
}

impl Sending<'_> {
    /// Adds a header line; a pseudo header is replaced.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Adds a body chunk.
    pub fn body(mut self, chunk: impl AsRef<[u8]>) -> Self {
        self.request = self.request.body(chunk);
        self
    }

    /// Ends with this trailer.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.trailer(name, value);
        self
    }

    /// Sends it to a worker and plays it to its end, or until the filter pauses it.
    pub fn send(self, worker: usize) -> Stream {
        self.node.worker(worker).send(self.request)
    }

    /// Opens it in a worker, to be driven step by step.
    pub fn open(self, worker: usize) -> Stream {
        self.node.worker(worker).open(self.request)
    }
}

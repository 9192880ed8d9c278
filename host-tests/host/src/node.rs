//! One Envoy process: its workers and all they share.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use crate::{
    Callout, Clock, Headers, Module, Origin, Stream, Worker,
    callout::PendingCallout,
    metrics::Metrics,
    shared::{Queues, SharedData},
    vm::Vm,
};

/// Severity of a log line, by its proxy-wasm number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// 0
    Trace,
    /// 1
    Debug,
    /// 2; also standard output
    Info,
    /// 3
    Warn,
    /// 4; also standard error
    Error,
    /// 5
    Critical,
}

impl LogLevel {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical]
            .get(number as usize)
            .copied()
    }
}

/// What the module logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// `worker 0`, `main` or `canary`.
    pub source: String,
    /// How severe.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// The module refused its configuration, as Envoy would refuse the whole bootstrap.
#[derive(Clone, Debug)]
pub struct ConfigRefused {
    /// What it logged meanwhile.
    pub logs: Vec<LogLine>,
}

impl ConfigRefused {
    /// All log lines as one text.
    pub fn text(&self) -> String {
        self.logs.iter().map(|line| line.message.as_str()).collect::<Vec<_>>().join("\n")
    }
}

/// The part of a node that hostcalls reach.
#[derive(Default)]
pub(crate) struct NodeState {
    pub(crate) clock: Clock,
    pub(crate) shared: RefCell<SharedData>,
    pub(crate) queues: RefCell<Queues>,
    pub(crate) metrics: RefCell<Metrics>,
    pub(crate) logs: RefCell<Vec<LogLine>>,
    pub(crate) clusters: RefCell<BTreeSet<String>>,
    /// `NAME=value` lines that each VM sees.
    pub(crate) environment: RefCell<Vec<String>>,
    pub(crate) refuses_callouts: Cell<bool>,
    /// The body of a request whose headers are paused is shown to the filter (`allow_on_headers_stop_iteration`).
    pub(crate) shows_bodies: Cell<bool>,
    pub(crate) unavailable: Cell<usize>,
    callouts: RefCell<Vec<PendingCallout>>,
    instances: Cell<u64>,
    last_token: Cell<u32>,
}

impl NodeState {
    pub(crate) fn next_instance(&self) -> u64 {
        self.instances.replace(self.instances.get() + 1)
    }

    pub(crate) fn add_callout(
        &self,
        instance: u64,
        root: u32,
        cluster: String,
        headers: Headers,
        body: Vec<u8>,
        timeout_milliseconds: u32,
    ) -> u32 {
        let token = self.last_token.get() + 1;
        self.last_token.set(token);
        let pending = PendingCallout { token, instance, root, cluster, headers, body, timeout_milliseconds };
        self.callouts.borrow_mut().push(pending);
        token
    }

    /// Whether the callout was still in flight.
    pub(crate) fn take_callout(&self, token: u32) -> bool {
        let mut callouts = self.callouts.borrow_mut();
        let before = callouts.len();
        callouts.retain(|pending| pending.token != token);
        callouts.len() < before
    }

    pub(crate) fn forget_callouts(&self, instance: u64) {
        self.callouts.borrow_mut().retain(|pending| pending.instance != instance);
    }

    pub(crate) fn log_tail(&self) -> String {
        let logs = self.logs.borrow();
        let tail = logs.iter().skip(logs.len().saturating_sub(10));
        tail.map(|line| format!("{} {:?}: {}\n", line.source, line.level, line.message)).collect()
    }
}

/// How a node starts.
pub struct NodeBuilder {
    pub(crate) module: Module,
    pub(crate) configuration: String,
    pub(crate) workers: usize,
    pub(crate) clusters: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) shows_bodies: bool,
    pub(crate) origin: Origin,
}

impl NodeBuilder {
    /// Starts as Envoy does: a canary VM tries the configuration and is dropped, then the main thread and the workers start.
    ///
    /// # Errors
    /// [`ConfigRefused`] if the canary says no.
    pub fn start(self) -> Result<Node, ConfigRefused> {
        let state = Rc::new(NodeState::default());
        state.clusters.borrow_mut().extend(self.clusters);
        state.environment.borrow_mut().extend(self.environment);
        state.shows_bodies.set(self.shows_bodies);
        let refused = |state: &NodeState| ConfigRefused { logs: state.logs.borrow().clone() };
        let start = |name: String| {
            let mut vm = Vm::new(&state, &self.module, name);
            let accepted = vm.start_root(self.configuration.as_bytes());
            accepted.then(|| Rc::new(RefCell::new(vm))).ok_or_else(|| refused(&state))
        };
        start("canary".to_owned())?;
        let main = start("main".to_owned())?;
        let workers = (0..self.workers).map(|index| start(worker_name(index))).collect::<Result<_, _>>()?;
        let inner = NodeInner {
            state: Rc::clone(&state),
            module: self.module.clone(),
            configuration: RefCell::new(self.configuration.clone()),
            main,
            workers: RefCell::new(workers),
            origin: self.origin.clone(),
        };
        Ok(Node { inner: Rc::new(inner) })
    }
}

struct NodeInner {
    state: Rc<NodeState>,
    module: Module,
    configuration: RefCell<String>,
    main: Rc<RefCell<Vm>>,
    workers: RefCell<Vec<Rc<RefCell<Vm>>>>,
    origin: Origin,
}

/// One Envoy process; clones are the same one.
#[derive(Clone)]
pub struct Node {
    inner: Rc<NodeInner>,
}

impl Node {
    /// The clock that all its workers read.
    pub fn clock(&self) -> Clock {
        self.inner.state.clock.clone()
    }

    /// The upstream.
    pub fn origin(&self) -> Origin {
        self.inner.origin.clone()
    }

    /// A worker by its index.
    pub fn worker(&self, index: usize) -> Worker {
        Worker { node: self.clone(), index, vm: Rc::clone(&self.inner.workers.borrow()[index]) }
    }

    /// Delivers queue notifications until there are none, those that arise meanwhile too.
    ///
    /// # Panics
    /// If notifications beget notifications without end.
    pub fn run(&self) {
        for _ in 0..MAX_NOTIFICATIONS {
            let Some((owner, token)) = self.inner.state.queues.borrow_mut().next_notification() else {
                return;
            };
            if let Some(vm) = self.vm_by_instance(owner.vm) {
                let context = owner.context;
                vm.borrow_mut().call("proxy_on_queue_ready", context, &[context, token], None);
            }
            self.settle();
        }
        panic!(
            "more than {MAX_NOTIFICATIONS} queue notifications in one run: the module wakes itself for ever"
        );
    }

    /// One tick in every VM that asked for ticks, then [`run`](Self::run).
    pub fn tick(&self) {
        for vm in self.vms() {
            let mut vm = vm.borrow_mut();
            let root = vm.root;
            if vm.store.data().tick_period.is_some_and(|period| period > 0) {
                vm.call("proxy_on_tick", root, &[root], None);
            }
        }
        self.settle();
        self.run();
    }

    /// Gives every VM a new root context with this configuration and ends the old one; memory stays.
    ///
    /// # Errors
    /// [`ConfigRefused`] if a VM says no; the old configuration stays in force.
    pub fn reconfigure(&self, configuration: &str) -> Result<(), ConfigRefused> {
        let first = self.inner.state.logs.borrow().len();
        for vm in self.vms() {
            let mut vm = vm.borrow_mut();
            let old = vm.root;
            if !vm.start_root(configuration.as_bytes()) {
                return Err(ConfigRefused { logs: self.inner.state.logs.borrow()[first..].to_vec() });
            }
            vm.end_root(old);
        }
        *self.inner.configuration.borrow_mut() = configuration.to_owned();
        Ok(())
    }

    /// Drops a worker's VM as a trap does. Its streams hang; shared data and queues stay.
    pub fn kill_worker(&self, index: usize) {
        self.inner.workers.borrow()[index].borrow_mut().die(None);
    }

    /// Gives a worker a new VM, as Envoy does at the next stream after a trap.
    ///
    /// # Panics
    /// If the module refuses the configuration that it took before.
    pub fn restart_worker(&self, index: usize) {
        let mut vm = Vm::new(&self.inner.state, &self.inner.module, worker_name(index));
        let configuration = self.inner.configuration.borrow().clone();
        assert!(
            vm.start_root(configuration.as_bytes()),
            "worker {index} refuses its configuration after a restart"
        );
        self.inner.workers.borrow_mut()[index] = Rc::new(RefCell::new(vm));
    }

    /// Makes a cluster known to callouts.
    pub fn add_cluster(&self, name: &str) {
        self.inner.state.clusters.borrow_mut().insert(name.to_owned());
    }

    /// From now on (or no longer) no callout finds a healthy host: the hostcall fails at once.
    pub fn refuse_callouts(&self, refuse: bool) {
        self.inner.state.refuses_callouts.set(refuse);
    }

    /// The callouts in flight, oldest first.
    pub fn callouts(&self) -> Vec<Callout> {
        let pending = self.inner.state.callouts.borrow().clone();
        pending.into_iter().map(|pending| Callout { node: self.clone(), pending }).collect()
    }

    /// Everything the module logged so far.
    pub fn logs(&self) -> Vec<LogLine> {
        self.inner.state.logs.borrow().clone()
    }

    /// A counter's or gauge's value; `None` if it was never defined.
    pub fn metric(&self, name: &str) -> Option<i64> {
        self.inner.state.metrics.borrow().by_name(name)
    }

    /// All counters and gauges.
    pub fn metrics(&self) -> BTreeMap<String, i64> {
        self.inner.state.metrics.borrow().all()
    }

    /// What a histogram recorded.
    pub fn samples(&self, name: &str) -> Vec<u64> {
        self.inner.state.metrics.borrow().samples(name)
    }

    /// The shared value of a key.
    pub fn shared_data(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.inner.state.shared.borrow().get(key.as_ref()).map(|(value, _)| value.clone())
    }

    /// Overwrites a shared value, as a foreign or torn write would.
    pub fn set_shared_data(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.inner.state.shared.borrow_mut().set(key.as_ref().to_vec(), value.as_ref().to_vec(), 0);
    }

    /// All keys of the shared data, sorted.
    pub fn shared_keys(&self) -> Vec<Vec<u8>> {
        self.inner.state.shared.borrow().keys()
    }

    /// Bytes of the shared data, keys included.
    pub fn shared_bytes(&self) -> usize {
        self.inner.state.shared.borrow().bytes()
    }

    /// Items waiting by queue name.
    pub fn queues(&self) -> Vec<(String, usize)> {
        self.inner.state.queues.borrow().lengths()
    }

    /// How often the module asked for a map or buffer that the phase does not offer.
    pub fn unavailable_reads(&self) -> usize {
        self.inner.state.unavailable.get()
    }

    pub(crate) fn state(&self) -> &NodeState {
        &self.inner.state
    }

    pub(crate) fn vm_by_instance(&self, instance: u64) -> Option<Rc<RefCell<Vm>>> {
        self.vms()
            .into_iter()
            .find(|vm| vm.try_borrow().is_ok_and(|vm| vm.store.data().instance == instance && !vm.dead))
    }

    /// Lets the origin answer every request that went through meanwhile.
    pub(crate) fn settle(&self) {
        for vm in self.vms() {
            loop {
                let (id, state) = {
                    // A worker that is in the middle of a step is settled when the step ends.
                    let Ok(mut vm) = vm.try_borrow_mut() else { break };
                    let Some(id) = vm.upstream_ready.pop_front() else { break };
                    (id, vm.stream(id))
                };
                let Some(state) = state else { continue };
                debug_assert_eq!(state.borrow().id, id);
                let outgoing = crate::Request::get("/");
                let stream = Stream { node: self.clone(), vm: Rc::clone(&vm), state, outgoing };
                let passed = stream.upstream();
                let request =
                    crate::OriginRequest { headers: passed.headers.unwrap_or_default(), body: passed.body };
                stream.play(self.inner.origin.answer(request));
            }
        }
    }

    fn vms(&self) -> Vec<Rc<RefCell<Vm>>> {
        let mut vms = vec![Rc::clone(&self.inner.main)];
        vms.extend(self.inner.workers.borrow().iter().cloned());
        vms
    }
}

fn worker_name(index: usize) -> String {
    format!("worker {index}")
}

const MAX_NOTIFICATIONS: usize = 10_000;

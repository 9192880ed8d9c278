//! One wasm instance: entering it, and what has to happen when it returns.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use wasmtime::{Instance, Linker, Memory, Store, TypedFunc, Val};

use crate::{
    Headers, Module,
    abi::Direction,
    imports,
    node::NodeState,
    reply::LocalReply,
    stream::{CallbackTrace, StreamState},
};

/// What the host keeps beside an instance and the hostcalls work on.
pub(crate) struct VmData {
    pub(crate) node: Rc<NodeState>,
    /// Unique among all instances of the node, dead ones included.
    pub(crate) instance: u64,
    /// As written in logs: `worker 0`, `main`, `canary`.
    pub(crate) name: String,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    /// Configuration by root context.
    pub(crate) roots: BTreeMap<u32, Vec<u8>>,
    pub(crate) streams: BTreeMap<u32, Rc<RefCell<StreamState>>>,
    pub(crate) entry: Option<Entry>,
    pub(crate) effective: Option<u32>,
    /// Raised by a local reply: whatever the running callback returns counts as a pause.
    pub(crate) stop: bool,
    pub(crate) after: VecDeque<After>,
    pub(crate) callout: Option<CalloutAnswer>,
    /// Milliseconds; `None` until the module sets it.
    pub(crate) tick_period: Option<u32>,
    pub(crate) root_trace: Vec<CallbackTrace>,
    pub(crate) death: Option<Death>,
    pub(crate) random: u64,
    /// In `_initialize` and while allocating, Envoy offers a few hostcalls only.
    pub(crate) restricted: bool,
}

/// The running callback.
pub(crate) struct Entry {
    pub(crate) export: &'static str,
    pub(crate) context: u32,
    pub(crate) hostcalls: Vec<&'static str>,
    pub(crate) replies: usize,
}

/// What Envoy puts off until the VM call has ended.
pub(crate) enum After {
    Reply(u32, LocalReply),
    Resume(u32, Direction),
    Close(u32),
}

/// What the root context reads in `proxy_on_http_call_response`.
pub(crate) struct CalloutAnswer {
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
}

/// A trap that the test ordered.
pub(crate) struct Death {
    pub(crate) hostcall: String,
    pub(crate) calls_before: usize,
    pub(crate) fired: bool,
}

/// How a callback ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The module does not export it; Envoy goes on.
    Missing,
    Returned {
        value: u32,
        stopped: bool,
    },
    /// The ordered trap, or the VM was dead already.
    Died,
}

/// A live or dead VM of a node.
pub(crate) struct Vm {
    pub(crate) store: Store<VmData>,
    instance: Instance,
    pub(crate) dead: bool,
    pub(crate) root: u32,
    next_context: u32,
    /// Streams whose request went through to the upstream and that an origin answers.
    pub(crate) upstream_ready: VecDeque<u32>,
}

impl Vm {
    /// Instantiates the module and runs `_initialize`; no root context exists yet.
    pub(crate) fn new(node: &Rc<NodeState>, module: &Module, name: String) -> Self {
        let instance_number = node.next_instance();
        let data = VmData {
            node: Rc::clone(node),
            instance: instance_number,
            name,
            memory: None,
            allocate: None,
            roots: BTreeMap::new(),
            streams: BTreeMap::new(),
            entry: None,
            effective: None,
            stop: false,
            after: VecDeque::new(),
            callout: None,
            tick_period: None,
            root_trace: Vec::new(),
            death: None,
            random: 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(instance_number + 1),
            restricted: false,
        };
        let mut store = Store::new(&module.engine, data);
        let mut linker = Linker::new(&module.engine);
        imports::link(&mut linker).unwrap();
        let instance = linker
            .instantiate(&mut store, &module.code)
            .unwrap_or_else(|problem| panic!("the module does not link to proxy-wasm 0.2.1: {problem:?}"));
        assert!(
            instance.get_export(&mut store, "proxy_abi_version_0_2_1").is_some(),
            "the module does not export proxy_abi_version_0_2_1"
        );
        let allocate = ["proxy_on_memory_allocate", "malloc"]
            .into_iter()
            .find_map(|name| instance.get_typed_func::<u32, u32>(&mut store, name).ok())
            .expect("the module exports neither proxy_on_memory_allocate nor malloc");
        store.data_mut().allocate = Some(allocate);
        store.data_mut().memory =
            Some(instance.get_memory(&mut store, "memory").expect("the module exports no memory"));
        let mut vm =
            Self { store, instance, dead: false, root: 0, next_context: 1, upstream_ready: VecDeque::new() };
        vm.store.data_mut().restricted = true;
        if vm.call("_initialize", 0, &[], None) == Outcome::Missing {
            vm.call("_start", 0, &[], None);
        }
        vm.store.data_mut().restricted = false;
        vm
    }

    /// Gives the plugin a root context with this configuration; `false` if the module refuses it.
    pub(crate) fn start_root(&mut self, configuration: &[u8]) -> bool {
        let root = self.take_context_id();
        self.store.data_mut().roots.insert(root, configuration.to_vec());
        self.call("proxy_on_context_create", root, &[root, 0], None);
        let accepted = |outcome| !matches!(outcome, Outcome::Returned { value: 0, .. } | Outcome::Died);
        let size = u32::try_from(configuration.len()).unwrap();
        let up = accepted(self.call("proxy_on_vm_start", root, &[root, 0], None))
            && accepted(self.call("proxy_on_configure", root, &[root, size], None));
        if up {
            self.root = root;
        }
        up
    }

    /// Ends a root context whose configuration was replaced.
    pub(crate) fn end_root(&mut self, root: u32) {
        self.call("proxy_on_done", root, &[root], None);
        self.call("proxy_on_delete", root, &[root], None);
        self.store.data_mut().roots.remove(&root);
    }

    pub(crate) fn take_context_id(&mut self) -> u32 {
        self.next_context += 1;
        self.next_context - 1
    }

    pub(crate) fn stream(&self, id: u32) -> Option<Rc<RefCell<StreamState>>> {
        self.store.data().streams.get(&id).cloned()
    }

    /// Enters the VM, then does what the callback put off.
    ///
    /// # Panics
    /// On a trap that the test did not order, and on a misuse.
    pub(crate) fn call(
        &mut self,
        export: &'static str,
        context: u32,
        args: &[u32],
        direction: Option<Direction>,
    ) -> Outcome {
        if self.dead {
            return Outcome::Died;
        }
        let Some(function) = self.instance.get_func(&mut self.store, export) else { return Outcome::Missing };
        let data = self.store.data_mut();
        data.entry = Some(Entry { export, context, hostcalls: Vec::new(), replies: 0 });
        data.effective = None;
        let args: Vec<Val> = args.iter().map(|arg| Val::I32(arg.cast_signed())).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let ended = function.call(&mut self.store, &args, &mut results);
        let data = self.store.data_mut();
        data.effective = None;
        let entry = data.entry.take().unwrap();
        let trace = CallbackTrace { callback: export, hostcalls: entry.hostcalls };
        match data.streams.get(&context) {
            Some(stream) => stream.borrow_mut().trace.push(trace),
            None => data.root_trace.push(trace),
        }
        if let Err(problem) = ended {
            if data.death.as_ref().is_some_and(|death| death.fired) {
                self.die(Some(context));
                return Outcome::Died;
            }
            let node = Rc::clone(&data.node);
            panic!("{}: {export} (context {context}) failed: {problem:?}\n{}", data.name, node.log_tail());
        }
        let stopped = std::mem::take(&mut data.stop);
        let value = results.first().and_then(Val::i32).unwrap_or(0).cast_unsigned();
        if value == 1
            && !stopped
            && let Some(direction) = direction
        {
            let resumed = |after: &After| matches!(after, After::Resume(id, way) if *id == context && *way == direction);
            assert!(
                !data.after.iter().any(resumed),
                "{}: {export} resumed its own stream and returned Pause: Envoy resumes first, then pauses for ever",
                data.name
            );
        }
        self.do_after();
        Outcome::Returned { value, stopped }
    }

    /// The VM is lost. The stream in whose callback it happened fails, the others hang as they do in Envoy.
    pub(crate) fn die(&mut self, context: Option<u32>) {
        self.dead = true;
        let streams = std::mem::take(&mut self.store.data_mut().streams);
        for (id, stream) in streams {
            stream.borrow_mut().fail(context == Some(id));
        }
        let data = self.store.data_mut();
        data.after.clear();
        data.node.forget_callouts(data.instance);
    }

    // Envoy drains one queue for the whole VM, and a reply re-enters the VM, whose exit drains the rest inside it.
    fn do_after(&mut self) {
        while let Some(after) = self.store.data_mut().after.pop_front() {
            match after {
                After::Reply(id, reply) => self.reply(id, reply),
                After::Resume(id, direction) => self.resume(id, direction),
                After::Close(id) => self.close(id),
            }
        }
    }
}

impl VmData {
    /// The context that hostcalls work on.
    pub(crate) fn context(&self) -> u32 {
        self.effective.or(self.entry.as_ref().map(|entry| entry.context)).unwrap_or(0)
    }

    /// The stream that hostcalls work on; `None` in a root context.
    pub(crate) fn context_stream(&self) -> Option<Rc<RefCell<StreamState>>> {
        self.streams.get(&self.context()).cloned()
    }

    pub(crate) fn export(&self) -> &'static str {
        self.entry.as_ref().map_or("", |entry| entry.export)
    }
}

//! A worker thread of a node: one VM and its streams.

use std::{cell::RefCell, rc::Rc};

use crate::{
    CallbackTrace, Node, Request, Stream,
    stream::StreamState,
    vm::{Death, Vm},
};

/// A worker as it is now; after a restart ask the node for the new one.
#[derive(Clone)]
pub struct Worker {
    pub(crate) node: Node,
    pub(crate) index: usize,
    pub(crate) vm: Rc<RefCell<Vm>>,
}

impl Worker {
    /// Its number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Sends a whole request; the node's origin answers if the filter lets it through.
    pub fn send(&self, request: Request) -> Stream {
        let stream = self.create(request, true);
        stream.request_headers();
        stream.request_rest();
        stream
    }

    /// Creates a stream that the test drives step by step, the upstream included.
    pub fn open(&self, request: Request) -> Stream {
        self.create(request, false)
    }

    /// The VM traps at that hostcall, after this many more calls of it went well.
    pub fn die_at(&self, hostcall: &str, calls_before: usize) {
        let death = Death { hostcall: hostcall.to_owned(), calls_before, fired: false };
        self.vm.borrow_mut().store.data_mut().death = Some(death);
    }

    /// Takes back an ordered death that has not come.
    pub fn spare(&self) {
        self.vm.borrow_mut().store.data_mut().death = None;
    }

    /// Whether its VM is lost.
    pub fn is_dead(&self) -> bool {
        self.vm.borrow().dead
    }

    /// Bytes of the VM's linear memory.
    pub fn memory_bytes(&self) -> usize {
        let vm = self.vm.borrow();
        vm.store.data().memory.map_or(0, |memory| memory.data_size(&vm.store))
    }

    /// Number of streams that have not ended.
    pub fn open_streams(&self) -> usize {
        self.vm.borrow().store.data().streams.len()
    }

    /// The callbacks of its root contexts so far.
    pub fn root_trace(&self) -> Vec<CallbackTrace> {
        self.vm.borrow().store.data().root_trace.clone()
    }

    fn create(&self, request: Request, scripted: bool) -> Stream {
        let mut vm = self.vm.borrow_mut();
        assert!(!vm.dead, "worker {} is dead, restart it first", self.index);
        let id = vm.take_context_id();
        let state = Rc::new(RefCell::new(StreamState::new(id, &request, scripted)));
        vm.store.data_mut().streams.insert(id, Rc::clone(&state));
        let root = vm.root;
        vm.call("proxy_on_context_create", id, &[id, root], None);
        drop(vm);
        Stream { node: self.node.clone(), vm: Rc::clone(&self.vm), state, outgoing: request }
    }
}

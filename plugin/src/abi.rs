//! What Envoy calls: proxy-wasm ABI 0.2.1. Each export only passes on to the one [`Vm`].
//!
//! A callback that we do not need is not exported: each one would cost every request an entry into the VM.

use std::cell::RefCell;

use selvage_driver::{Action, Vm};

use crate::host::{self, Real};

thread_local! {
    static VM: RefCell<Vm<Real>> = RefCell::default();
}

/// Runs `call` with the VM. `None` if the host calls us while we call it, which it does only to get memory.
fn with<R>(call: impl FnOnce(&mut Vm<Real>) -> R) -> Option<R> {
    VM.with(|vm| vm.try_borrow_mut().ok().map(|mut vm| call(&mut vm)))
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs before everything else.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    // SAFETY: the linker makes this function, and the host calls `_initialize` once.
    unsafe { __wasm_call_ctors() };
}

/// Names the ABI by being there.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// Memory for what the host gives us.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    host::allocate(size)
}

/// A root context (without parent), or a stream.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    with(|vm| vm.create(context, parent));
}

/// The VM starts. Its configuration is not used.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> u32 {
    1
}

/// The plugin's configuration has come. 0 refuses it.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(root: u32, size: usize) -> u32 {
    with(|vm| vm.configure(root, size)).unwrap_or_default().into()
}

/// Time passes.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_tick(root: u32) {
    with(|vm| vm.tick(root));
}

/// Another worker calls.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_queue_ready(root: u32, queue: u32) {
    with(|vm| vm.called(root, queue));
}

/// A request.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(context: u32, _count: u32, end_of_stream: u32) -> Action {
    with(|vm| vm.request_headers(context, end_of_stream != 0)).unwrap_or(Action::Continue)
}

/// A part of a request's body.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_body(context: u32, size: usize, end_of_stream: u32) -> Action {
    with(|vm| vm.request_body(context, size, end_of_stream != 0)).unwrap_or(Action::Continue)
}

/// The trailers of a request.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_trailers(context: u32, _count: u32) -> Action {
    with(|vm| vm.request_trailers(context)).unwrap_or(Action::Continue)
}

/// The head of a response, the origin's or our own.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(context: u32, _count: u32, end_of_stream: u32) -> Action {
    with(|vm| vm.response_headers(context, end_of_stream != 0)).unwrap_or(Action::Continue)
}

/// A part of a response's body.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_body(context: u32, size: usize, end_of_stream: u32) -> Action {
    with(|vm| vm.response_body(context, size, end_of_stream != 0)).unwrap_or(Action::Continue)
}

/// The answer to a call of ours.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_http_call_response(
    _root: u32,
    token: u32,
    headers: u32,
    body_size: usize,
    _trailers: u32,
) {
    with(|vm| vm.answered(token, headers, body_size));
}

/// The trailers of a response.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_trailers(context: u32, _count: u32) -> Action {
    with(|vm| vm.response_trailers(context)).unwrap_or(Action::Continue)
}

/// A context is gone.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(context: u32) {
    with(|vm| vm.delete(context));
}

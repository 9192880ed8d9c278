//! A proxy-wasm 0.2.1 host on wasmtime that runs the *release* module as Envoy does, with a clock that the test turns.
//!
//! ```text
//! Gateway ── Node (one Envoy process) ─┬─ Worker 0 (a VM) ── Stream, Stream …
//!                                      ├─ Worker 1 (a VM) ── Stream …
//!                                      ├─ shared data, queues, metrics, logs, callouts
//!                                      └─ Clock
//! Origin answers what the filter let pass
//! ```
//!
//! The fakes are stateful, so a test asserts what a client, an origin or an operator would see and not the order of hostcalls.
//! Nothing happens behind the test's back: queue notifications wait for [`Node::run`], ticks for [`Node::tick`], time for
//! [`Clock::advance`]. A misuse that Envoy would punish (a second reply to a stream, a trap, an unreadable header block)
//! fails the test at once and names the callback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken test must stop loudly.

mod abi;
pub mod answers;
mod callout;
mod chain;
mod clock;
mod gateway;
mod headers;
mod imports;
mod metrics;
mod module;
mod node;
mod origin;
mod reply;
mod request;
mod shared;
mod side;
mod stream;
mod vm;
mod worker;

pub use abi::{Action, Status};
pub use callout::Callout;
pub use clock::Clock;
pub use gateway::{Gateway, GatewayBuilder, Sending};
pub use headers::Headers;
pub use module::Module;
pub use node::{ConfigRefused, LogLevel, LogLine, Node, NodeBuilder};
pub use origin::{Origin, OriginRequest, OriginResponse};
pub use request::Request;
pub use side::Passed;
pub use stream::{CallbackTrace, Ending, Stream};
pub use worker::Worker;

#[cfg(test)]
mod tests;

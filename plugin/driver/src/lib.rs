//! What each callback of a proxy-wasm host does: the engine's events are made of it, and its directives become host calls.
//!
//! [`Vm`] holds all state: a `root` for each configured plugin, and the streams, for which `apply` does what the engine says.
//! Everything is generic over [`Calls`], what a host offers. The module has that of a real Envoy, the simulation of the host
//! tests one of its own; nothing is looked up at run time. A line here that mentions freshness is in the wrong crate.

mod alerts;
mod apply;
mod breakers;
mod environment;
mod gauges;
mod host;
mod jobs;
mod joins;
mod metrics;
mod pace;
#[cfg(feature = "batch")]
mod parts;
mod refreshes;
mod remote;
mod rewritten;
mod root;
mod stream;
mod vm;
mod waiters;
mod wake;
mod warm_up;
#[cfg(not(feature = "batch"))]
mod without_parts;

pub use host::{Action, Buffer, Calls, Envoy, Level, Map, Metric, NotCalled};
pub use vm::Vm;

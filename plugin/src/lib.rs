//! The proxy-wasm adapter: turns Envoy's callbacks into the engine's events, and its directives into host calls.
//!
//! `abi` is what Envoy calls, `host` what we call; nothing else crosses the border of the module. `vm` holds
//! all state: a `root` for each configured plugin, and the streams, for which `obey` does what the engine says.
//! A line here that mentions freshness is in the wrong crate.
//!
//! The proxy-wasm SDK is not used. Its dispatcher panics on contexts and tokens it does not know, its getters on
//! header names that are not UTF-8, and it copies every field into vectors of its own; here a panic would take the
//! cache and every paused request with it, and a hit has a budget of three host calls. The ABI is small enough to
//! be written down: `abi` and `host` are all of it.

mod abi;
mod breakers;
mod environment;
mod gauges;
mod host;
mod metrics;
mod obey;
mod pace;
mod refreshes;
mod remote;
mod rewritten;
mod root;
mod stream;
mod vm;
mod waiters;
mod wake;
mod warm_up;

//! The module: a thin border around [`selvage_driver`], which decides.
//!
//! `abi` is what Envoy calls, `host` what we call; nothing else crosses the border of the module.
//!
//! The proxy-wasm SDK is not used. Its dispatcher panics on contexts and tokens it does not know, its getters on
//! header names that are not UTF-8, and it copies every field into vectors of its own; here a panic would take the
//! cache and every paused request with it, and a hit has a budget of three host calls. The ABI is small enough to
//! be written down: `abi` and `host` are all of it.

mod abi;
mod host;

//! What tests and tools stand on that run the real programs: an Envoy with the release module, Redis and webdis, Prometheus, TLS,
//! origins and bridges that do as they are told, and chance that repeats itself.
//!
//! ```text
//! client (envoy::Ask) ── envoy::Gateway ──┬── scripted::Origin
//!                                         └── redis::Redis ── webdis, relay::Relay or upstash::Upstash in front of it
//! ```
//!
//! Each program listens on a free loopback port, is waited for until it is ready, and ends with the value that stands for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken test must stop loudly.

pub mod arguments;
pub mod batches;
pub mod chance;
pub mod envoy;
pub mod http1;
pub mod process;
pub mod prometheus;
pub mod provider;
pub mod redis;
pub mod relay;
pub mod schema;
pub mod scrape;
pub mod scripted;
pub mod sessions;
pub mod tls;
pub mod uploads;
pub mod upstash;

//! The cache itself: keys, RFC 9111, stores, policy. It does no I/O and reads no clock; the adapter in `plugin/`
//! turns Envoy's callbacks into [`exchange::Event`]s and [`exchange::Directive`]s into host calls.
//!
//! ```text
//! request ─ firewall ─ policy ─ key ─ worker store ─ node store ─┬ fresh ──────────────────────────────► respond
//!                                                                ├ stale, serving it allowed ──────────► respond
//!                                                                ├ stale ─► validate ─┬ 304 ► freshen ─► respond
//!                                                                │                    └ other ► storability
//!                                                                └ absent ────────────────────────────► forward
//! response ─ storability ─┬ storable ► relay while storing ► worker store + node store
//!                         └ not ─────► relay
//! ```
//!
//! The modules stand in the order of that path. *If an answer exists before the callback returns it is an
//! argument; if it arrives in a later callback it is an event.*

pub mod exchange;

mod admission;
pub mod config;
pub mod credentials;
pub mod firewall;
pub mod key;
pub mod policy;
pub mod request;
pub mod vary;

pub mod cache;
pub mod purge;
pub mod remote;
pub mod store;
pub mod warm;

pub mod coding;

pub mod cache_control;
pub mod freshness;
pub mod precondition;
pub mod range;

pub mod invalidation;
pub mod storability;
pub mod validation;

pub mod cache_status;
pub mod explain;
pub mod insight;
pub mod registry;
pub mod stats;

pub mod breaker;
pub mod host;

pub mod fields;
mod members;
mod sized;
pub mod tags;
pub mod time;
pub mod uri;
pub mod url;

//! The cache itself: keys, RFC 9111, stores, policy. It does no I/O and reads no clock; the driver in `plugin/driver`
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
//! The modules stand in layers, from the top down: `plugin/docs/architecture.md` says what each holds, and a test that no
//! import runs upwards. *If an answer exists before the callback returns it is an
//! argument; if it arrives in a later callback it is an event.*

// What only a capability uses stays unused where that was not built.
#![cfg_attr(
    not(all(
        feature = "operators",
        feature = "maintenance",
        feature = "limits",
        feature = "pools",
        feature = "llm",
        feature = "uploads",
        feature = "sessions",
        feature = "jobs",
        feature = "batch",
        feature = "foresight"
    )),
    allow(dead_code, unused_variables)
)]

pub mod exchange;

pub mod stages;

pub mod explain;

pub mod cache;

mod reply;

pub mod insight;
pub mod stats;
pub mod warm;

#[cfg(feature = "batch")]
mod batch;
#[cfg(all(feature = "limits", feature = "llm"))]
pub mod budgets;
#[cfg(feature = "jobs")]
pub mod jobs;
pub mod limits;
pub mod purge;
pub mod remote;
#[cfg(feature = "sessions")]
pub mod sessions;
pub mod store;
pub mod validation;

mod admission;
pub mod cache_status;
pub mod callers;
pub mod coding;
pub mod credentials;
pub mod freshness;
pub mod key;
#[cfg(feature = "llm")]
pub mod llm;
pub mod storability;
pub mod tags;
#[cfg(feature = "uploads")]
mod uploads;

pub mod config;
pub mod policy;

pub(crate) mod base64;
pub mod breaker;
pub mod chance;
#[cfg(feature = "foresight")]
pub mod foresight;
mod lines;
mod members;
#[cfg(feature = "pools")]
pub mod pools;
pub mod registry;
pub mod url;

pub mod host;

// The layer of the RFCs, a crate of its own.
use selvage_http::sized;
pub use selvage_http::{
    cache_control, fields, firewall, invalidation, precondition, range, request, time, uri, vary,
};

//! Journeys through the engine: whole requests with a literal clock and a scripted origin, a file for each room
//! of the RFCs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the harness tells a failed expectation by panicking"
)]

mod gateway;
mod redis;
mod shadow_comparisons;
mod shadowing;
mod shared;
mod silent;

mod adaptive;
mod admitting;
#[cfg(all(
    feature = "batch",
    feature = "jobs",
    feature = "limits",
    feature = "pools",
    feature = "maintenance"
))]
mod batch_jobs;
#[cfg(all(feature = "batch", feature = "limits", feature = "pools", feature = "maintenance"))]
mod batches;
mod bodies;
mod bounds;
mod breaking;
mod coalescing;
mod codings;
mod coherence;
mod credentials;
mod directives;
#[cfg(feature = "llm")]
mod embeddings;
mod explaining;
#[cfg(all(feature = "limits", feature = "pools"))]
mod explaining_admission;
mod firewall;
mod fleet;
mod foresight;
mod freshness;
mod informing;
#[cfg(all(feature = "limits", feature = "pools"))]
mod informing_admission;
mod invalidating;
mod jobs;
mod keys;
#[cfg(feature = "limits")]
mod larger_stores;
mod leasing;
mod lessons;
#[cfg(feature = "limits")]
mod limits;
#[cfg(feature = "llm")]
mod llm;
#[cfg(all(feature = "limits", feature = "llm", feature = "pools"))]
mod llm_budgets;
#[cfg(all(feature = "limits", feature = "llm"))]
mod llm_fallback;
mod llm_limits;
#[cfg(feature = "llm")]
mod llm_tokens;
#[cfg(feature = "llm")]
mod llm_usage;
#[cfg(feature = "maintenance")]
mod maintenance;
mod metrics;
mod minifying;
mod order;
mod page;
mod partial;
mod passing;
#[cfg(feature = "pools")]
mod pooled;
mod predicting;
mod purging;
mod quotas;
mod refreshing;
mod remote;
mod renewing;
mod replacing;
mod selecting;
#[cfg(feature = "sessions")]
mod sessions;
mod signing;
mod stale;
mod storing;
#[cfg(feature = "teapot")]
mod teapot;
mod transitions;
#[cfg(feature = "uploads")]
mod uploads;
mod validating;
mod walked;
mod warming;
mod workers;

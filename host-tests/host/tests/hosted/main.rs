//! The release module on the host of this crate: what clients, origins and operators see, with a clock that the test turns.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A broken test must stop loudly.

mod answers;
mod batches;
mod batching;
mod budget;
mod budgets;
mod coalescing;
mod configuration;
mod embeddings;
mod explaining;
mod failing;
mod foresight;
mod hostile;
mod informing;
mod jobs;
mod leasing;
mod llm;
mod llm_fallback;
mod llm_usage;
mod pooled;
mod purging;
mod recasting;
mod refreshing;
mod reloading;
mod remote;
mod sdk;
mod sessions;
mod shadowing;
mod sharing;
mod signing;
mod storing;
mod uploads;
mod validating;
mod warming;

use selvage_host::{Gateway, OriginRequest, OriginResponse, Stream};

/// Two workers with the default configuration.
fn gateway(origin: impl FnMut(&OriginRequest) -> OriginResponse + 'static) -> Gateway {
    Gateway::with("{}").workers(2).origin(origin).start()
}

/// A 200 that is fresh for a minute.
fn fresh(body: &str) -> OriginResponse {
    OriginResponse::ok(body).header("cache-control", "max-age=60")
}

/// What the cache says it did.
fn cache_status(stream: &Stream) -> String {
    stream.header("cache-status").unwrap_or_default()
}

#[track_caller]
fn assert_hit(stream: &Stream, body: &str) {
    assert!(cache_status(stream).contains("; hit"), "not a hit: {:?}", stream.headers().lines());
    assert_eq!((stream.status(), stream.text().as_str()), (200, body));
}

#[track_caller]
fn assert_forwarded(stream: &Stream, reason: &str) {
    let wanted = format!("fwd={reason}");
    assert!(cache_status(stream).contains(&wanted), "not {wanted}: {:?}", stream.headers().lines());
}

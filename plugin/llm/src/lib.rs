#![doc = include_str!("../README.md")]

pub mod canonical;
pub mod embeddings;
pub mod formats;
pub mod injection;

pub mod forecast;
pub mod money;

pub mod events;
pub mod json;

#[cfg(any(test, feature = "scripts"))]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "for tests, which stop loudly"
)]
pub mod chance;
#[cfg(any(test, feature = "scripts"))]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "for tests, which stop loudly"
)]
pub mod script;

//! The programs that measure and attack, each for a moment on real Envoy: that they work, not how fast anything is.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // A broken test must stop loudly.

mod foresight;
mod forging;
mod jobs;
mod limits;
mod llm;
mod load;
mod overload;

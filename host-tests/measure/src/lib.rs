//! What the programs share that measure a real Envoy or attack it: crowds of clients, samples and their summary, a forger of records.
//!
//! | program | question | started by |
//! |---|---|---|
//! | `load` | how much does this machine carry? | `envoy/load` |
//! | `herd` | what does the origin see when all ask at once? | `host-tests/herd` |
//! | `faults` | what does each fault of the fleet cost clients? | `host-tests/faults` |
//! | `forge` | what can somebody do who writes to Redis? | `host-tests/forge` |
//! | `waiting` | how much memory do requests take that wait? | `host-tests/waiting` |
//! | `start` | how long until the first answer, and do others wait for it? | `host-tests/start` |
//! | `soak` | does anything grow that should not? | `host-tests/soak` |
//! | `overload` | who is served when the origin is asked for too much, and what does that cost? | `host-tests/overload` |
//! | `llm` | do answers of language models come again as they were, how fast, and at what cost? | `host-tests/llm` |
//! | `jobs` | is a job lost while Envoys are killed, is one done twice too soon, and what does it take to accept one? | `host-tests/jobs` |
//! | `limits` | is as much admitted as was meant, by one Envoy, by four, and without Redis? | `host-tests/limits` |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A broken test must stop loudly.

pub mod crowd;
pub mod forged;
pub mod measured;
pub mod open_loop;
pub mod tables;
pub mod targets;

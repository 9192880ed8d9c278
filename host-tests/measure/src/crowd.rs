//! Thousands of clients in one thread and an origin for them in another, for what measures (`herd`, `load`).
//!
//! The origin is hyper's. The clients share the cores with the Envoy that they measure, and judge bytes as they came: so each
//! request costs them one write, one read and a look at the head, without a runtime.

mod answer;
mod origin;
mod swarm;

pub use answer::Answer;
#[cfg(test)]
pub(crate) use answer::whole;
pub use origin::{Origin, Plan};
pub use swarm::{Finished, HOST, Swarm, get, get_with, post_with};

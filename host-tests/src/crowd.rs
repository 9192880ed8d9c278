//! Thousands of clients in one thread and an origin for them in another, for what measures (`herd`, `load`).
//!
//! The clients share the cores with the Envoy that they measure, so each request costs them one write, one read and a
//! look at the head: no runtime, and no field is copied that nobody asks for.

mod answer;
mod origin;
mod swarm;

pub use answer::Answer;
#[cfg(test)]
pub(crate) use answer::whole;
pub use origin::{Origin, Plan};
pub use swarm::{Finished, Swarm, get, get_with};

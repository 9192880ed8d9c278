//! The store that a fleet shares: Redis, behind a bridge that speaks HTTP.
//!
//! Nothing here talks to anyone. [`dialect`] turns a command into a call and a response into an answer, [`queue`]
//! holds what waits to be sent, [`asked`] is what limits and budgets want to know, [`breaker`](crate::breaker) says when asking is not worth it, and [`readiness`] who asks at the
//! start whether the store can be used at all, and [`writes`] whether it takes what is written. [`seal`] signs what is
//! written, where there is a secret; [`window`] says how much is written at once, and [`verdict`] what an answer says. A request never depends on any of it: what fails is a miss.

pub mod asked;
pub mod claim;
pub mod dialect;
pub mod queue;
pub mod readiness;
pub mod seal;
pub mod verdict;
pub mod window;
pub mod writes;

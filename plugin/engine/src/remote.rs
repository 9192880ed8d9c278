//! The store that a fleet shares: Redis, behind a bridge that speaks HTTP.
//!
//! Nothing here talks to anyone. [`webdis`] turns a command into a call and a response into an answer, [`queue`]
//! holds what waits to be sent, and [`circuit`] says when asking is not worth it. A request never depends on any of
//! it: what fails is a miss.

pub mod circuit;
pub mod queue;
pub mod webdis;

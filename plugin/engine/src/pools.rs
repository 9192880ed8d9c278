//! How many requests may be at an origin at once, and who goes first when more come.
//!
//! A pool stands for an origin. Each worker has its part of the pool's limit, and a queue for what does not fit: three
//! classes, each fair between its lanes. [`controller`] finds the limit from what answers take, [`shared`] is what the
//! workers tell each other, [`queue`] holds who waits, and [`gate`] puts them together for one worker. Nothing here knows
//! HTTP or the host's streams: who waits has a ticket.

pub mod controller;
pub mod gate;
pub mod queue;
pub mod shared;

#[cfg(test)]
mod tests;

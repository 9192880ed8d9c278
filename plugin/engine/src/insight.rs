//! What an operator is told of the cache: figures of the whole node, their last minutes, what to change, what leaks.
//!
//! [`Host::metric`](crate::host::Host::metric) gives the sum over all workers of a metric of [`stats::list`](crate::stats::list),
//! so that any worker answers for the node. What is of one worker says `"of": "worker"`.

pub mod admission;
pub mod advice;
#[cfg(feature = "foresight")]
pub mod anomalies;
pub mod batches;
pub mod budgets;
pub mod busiest;
#[cfg(all(feature = "foresight", feature = "pools"))]
pub mod forecast;
pub mod health;
pub mod held;
pub mod history;
#[cfg(feature = "jobs")]
pub mod jobs;
pub mod mismatches;
pub mod models;
pub mod numbers;
pub mod refusals;
#[cfg(feature = "sessions")]
pub mod sessions;
pub mod shadow;
pub mod speaker;
#[cfg(feature = "foresight")]
pub mod stores;
#[cfg(feature = "uploads")]
pub mod uploads;
pub mod worth;

//! Bounds of what an operator may write, where one is used in more places than the row of a member in
//! [`settings`](super::settings).

use std::ops::RangeInclusive;
use std::time::Duration;

use super::units::{show_duration, show_size};
use super::{Remote, Worker};

/// Bounds of a duration in milliseconds.
pub(crate) type Millis = RangeInclusive<u64>;

/// Longest configuration that is read, in bytes.
pub(super) const CONFIG_BYTES: usize = 1 << 20;
/// Faults that are told.
pub(super) const FAULTS: usize = 100;

/// Most rules; each request may have to try them all.
pub(super) const RULES: usize = 256;
/// Most items of any list, and most statuses with a lifetime of their own.
pub(super) const LIST: usize = 64;
/// Longest name of a rule, field, cookie, parameter or method, in bytes.
pub(super) const NAME_CHARS: usize = 128;
/// Longest host pattern in bytes: what DNS allows, with `*.`.
pub(super) const HOST_CHARS: usize = 255;
/// Longest path pattern, in bytes.
pub(super) const PATH_CHARS: usize = 1024;

/// Not much more than 700 MiB of a VM's 1 GiB can be used before growing fails and traps.
pub(crate) const WORKER_BYTES: RangeInclusive<u64> = 0..=700 << 20;
pub(crate) const WORKER_OBJECT_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 20;
pub(crate) const WORKER_FILLING_BYTES: RangeInclusive<u64> = 64 << 10..=256 << 20;
pub(crate) const NODE_BYTES: RangeInclusive<u64> = 0..=64 << 30;
pub(crate) const NODE_OBJECT_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 20;
pub(crate) const NODE_BUCKETS: RangeInclusive<u64> = 16..=1 << 20;

/// What a million tokens of a model cost at most.
#[cfg(feature = "llm")]
pub(crate) const MODEL_PRICE: u64 = 1_000_000;
/// What a budget comes to at most: in money, of which sums of 10⁻⁹ are exact in Redis, and in tokens.
#[cfg(all(feature = "limits", feature = "llm"))]
pub(crate) const BUDGET_MONEY: u64 = 9_000_000;
#[cfg(all(feature = "limits", feature = "llm"))]
pub(crate) const BUDGET_TOKENS: RangeInclusive<u64> = 0..=9_000_000_000_000_000;
#[cfg(all(feature = "limits", feature = "llm"))]
pub(crate) const BUDGET_PERCENT: RangeInclusive<u64> = 1..=100;
#[cfg(all(feature = "limits", feature = "llm"))]
pub(crate) const BUDGET_OUTPUT: RangeInclusive<u64> = 1..=1_000_000;
pub(crate) const LIMIT_QUOTA: RangeInclusive<u64> = 1..=1_000_000_000;
/// Up to a month.
pub(crate) const LIMIT_WINDOW: Millis = 100..=31 * 86_400_000;
pub(crate) const LIMIT_COST: RangeInclusive<u64> = 1..=1_000_000;
pub(crate) const WORKER_LIMIT_KEYS: RangeInclusive<u64> = 1 << 10..=1 << 20;
pub(crate) const NODE_LIMIT_KEYS: RangeInclusive<u64> = 1 << 10..=1 << 23;

/// How often a job is tried.
#[cfg(feature = "jobs")]
pub(crate) const JOBS_TRIES: RangeInclusive<u64> = 1..=100;
#[cfg(feature = "jobs")]
pub(crate) const JOBS_PAUSE: Millis = 10..=86_400_000;
#[cfg(feature = "jobs")]
pub(crate) const JOBS_TIMEOUT: Millis = 10..=3_600_000;
#[cfg(feature = "jobs")]
pub(crate) const JOBS_LEASE: Millis = 1_000..=7_200_000;
#[cfg(feature = "jobs")]
pub(crate) const JOBS_RESULT: Millis = 1_000..=30 * 86_400_000;
#[cfg(feature = "jobs")]
pub(crate) const JOBS_RUNNING: RangeInclusive<u64> = 1..=256;
#[cfg(feature = "jobs")]
pub(crate) const JOBS_WAITING: RangeInclusive<u64> = 1..=10_000_000;
#[cfg(feature = "jobs")]
pub(crate) const JOBS_POLL: Millis = 100..=60_000;

pub(crate) const REMOTE_TIMEOUT: Millis = 1..=10_000;
pub(crate) const REMOTE_QUEUE_BYTES: RangeInclusive<u64> = 64 << 10..=256 << 20;

pub(super) const BREAKER_LEAST_CALLS: RangeInclusive<u64> = 1..=100_000;
pub(super) const BREAKER_WINDOW: Millis = 1_000..=600_000;
/// Up to five minutes: a store that is back should be used again.
pub(super) const BREAKER_PAUSE: Millis = 10..=300_000;

/// Most URLs of the list, each of which may be as long as [`LONGEST_URL`](crate::url::LONGEST_URL).
pub(super) const WARM_URLS: usize = 256;

/// Of the answer of a fallback.
#[cfg(feature = "llm")]
pub(super) const FALLBACK_TIMEOUT: Millis = 1..=600_000;

/// How long a worker goes by its copy of a session.
#[cfg(feature = "sessions")]
pub(super) const SESSION_COPY: Millis = 0..=60_000;
/// How long a session lives on: up to ten years.
#[cfg(feature = "sessions")]
pub(super) const SESSION_TTL: Millis = 1_000..=3650 * 86_400_000;

/// Lifetimes: up to ten years, so that no sum of them overflows.
pub(super) const LIFETIME: Millis = 0..=3650 * 86_400_000;
pub(super) const PERCENT: RangeInclusive<u64> = 0..=100;
/// Requests of a pool at an origin.
pub(crate) const POOL_SLOTS: RangeInclusive<u64> = 1..=100_000;
/// Requests of a class that wait in a worker.
pub(super) const POOL_REQUESTS: RangeInclusive<u64> = 0..=10_000;
pub(super) const POOL_WAIT: Millis = 1..=60_000;
/// Statuses of final responses.
pub(super) const STATUS: RangeInclusive<u64> = 200..=599;

pub(crate) const COALESCE_WAITERS: RangeInclusive<u64> = 0..=1 << 17;

/// What all that a worker may hold comes to at most, in bytes. Envoy's V8 ends a VM's memory at 1 GiB, and a VM that cannot
/// grow any more traps: a quarter is left for streams, for tables, and for what the allocator cannot use.
pub(super) const VM_BYTES: u64 = 768 << 20;

/// What a worker may hold in its VM's memory, in bytes.
pub(super) fn held_by_vm(worker: &Worker, remote: &Remote) -> u64 {
    let queue = if remote.enabled { remote.queue_bytes } else { 0 };
    let parts = [worker.bytes, worker.filling_bytes, worker.inflated_bytes, queue];
    parts.into_iter().fold(0, |sum: u64, part| sum.saturating_add(part as u64))
}

/// What is left of a VM beside what a worker may hold, in bytes.
pub(crate) fn room_in_vm(worker: &Worker, remote: &Remote) -> u64 {
    VM_BYTES.saturating_sub(held_by_vm(worker, remote))
}

/// Twice a number, or as much as may be written; `None` where it cannot be more than it is.
pub(crate) fn doubled(number: u64, bounds: &RangeInclusive<u64>) -> Option<u64> {
    let twice = number.saturating_mul(2).min(*bounds.end());
    (twice > number).then_some(twice)
}

/// The words for a size that is doubled, if it can grow within its bounds and by no more than `room`.
pub(crate) fn doubled_size(size: u64, bounds: &RangeInclusive<u64>, room: u64) -> Option<String> {
    let most = size.saturating_add(room).min(*bounds.end());
    doubled(size, &(0..=most)).map(show_size)
}

/// The words for a duration within bounds.
pub(super) fn allowed_duration(bounds: &Millis) -> String {
    let [least, most] = [bounds.start(), bounds.end()].map(|end| show_duration(Duration::from_millis(*end)));
    format!(r#"a duration such as "30s", "5m", "1h" or whole seconds, from "{least}" to "{most}""#)
}

/// The words for a size within bounds.
pub(super) fn allowed_size(bounds: &RangeInclusive<u64>) -> String {
    let [least, most] = [bounds.start(), bounds.end()].map(|end| show_size(*end));
    format!(r#"a size such as "64KiB", "64MiB", "1GiB" or whole bytes, from "{least}" to "{most}""#)
}

/// The words for a whole number within bounds.
pub(super) fn allowed_whole(bounds: &RangeInclusive<u64>) -> String {
    format!("a whole number from {} to {}", bounds.start(), bounds.end())
}

//! Bounds of what an operator may write: the reader, the schema and the table all take them from here.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::units::{show_duration, show_size};

/// Bounds of a duration in milliseconds.
pub(super) type Millis = RangeInclusive<u64>;

/// Longest configuration that is read, in bytes.
pub(super) const CONFIG_BYTES: usize = 1 << 20;

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
pub(super) const WORKER_BYTES: RangeInclusive<u64> = 0..=700 << 20;
pub(super) const WORKER_ENTRIES: RangeInclusive<u64> = 1..=1 << 22;
pub(super) const WORKER_OBJECT_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 20;
pub(super) const WORKER_FILLING_BYTES: RangeInclusive<u64> = 64 << 10..=256 << 20;
pub(super) const WORKER_INFLATED_BYTES: RangeInclusive<u64> = 0..=256 << 20;
pub(super) const WORKER_VARIANTS: RangeInclusive<u64> = 1..=256;
pub(super) const NODE_BYTES: RangeInclusive<u64> = 0..=64 << 30;
pub(super) const NODE_OBJECT_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 20;
pub(super) const NODE_BUCKETS: RangeInclusive<u64> = 16..=1 << 20;
pub(super) const NODE_POLL: Millis = 10..=10_000;

pub(super) const REMOTE_TIMEOUT: Millis = 1..=10_000;
pub(super) const REMOTE_OBJECT_BYTES: RangeInclusive<u64> = 1 << 10..=16 << 20;
pub(super) const REMOTE_QUEUE_BYTES: RangeInclusive<u64> = 64 << 10..=256 << 20;
pub(super) const REMOTE_QUEUE_ENTRIES: RangeInclusive<u64> = 1..=1 << 16;
pub(super) const REMOTE_IN_FLIGHT: RangeInclusive<u64> = 1..=4096;

pub(super) const BREAKER_LEAST_CALLS: RangeInclusive<u64> = 1..=100_000;
pub(super) const BREAKER_SLOW_AFTER: Millis = 1..=10_000;
pub(super) const BREAKER_WINDOW: Millis = 1_000..=600_000;
/// Up to five minutes: a store that is back should be used again.
pub(super) const BREAKER_PAUSE: Millis = 10..=300_000;

pub(super) const PURGE_SKEW: Millis = 0..=60_000;

/// Most URLs of the list, each of which may be as long as [`LONGEST_URL`](crate::warm::LONGEST_URL).
pub(super) const WARM_URLS: usize = 256;
pub(super) const WARM_PER_SECOND: RangeInclusive<u64> = 1..=1000;
pub(super) const WARM_IN_FLIGHT: RangeInclusive<u64> = 1..=64;
/// No more than may wait.
pub(super) const WARM_AFTER_PURGE_ALL: RangeInclusive<u64> = 0..=1000;

/// Lifetimes: up to ten years, so that no sum of them overflows.
pub(super) const LIFETIME: Millis = 0..=3650 * 86_400_000;
pub(super) const PERCENT: RangeInclusive<u64> = 0..=100;
/// Statuses of final responses.
pub(super) const STATUS: RangeInclusive<u64> = 200..=599;
pub(super) const ERROR_STATUS: RangeInclusive<u64> = 400..=599;
pub(super) const BODY_INLINE_BYTES: RangeInclusive<u64> = 0..=64 << 10;
pub(super) const BODY_MAX_BYTES: RangeInclusive<u64> = 1..=16 << 20;

/// A wait is well below Envoy's idle timeout of a stream.
pub(super) const COALESCE_WAIT: Millis = 1..=60_000;
pub(super) const COALESCE_WAITERS: RangeInclusive<u64> = 0..=1 << 17;
pub(super) const REFRESH_TIMEOUT: Millis = 1..=60_000;
/// Past it nearly every hit would refresh.
pub(super) const REFRESH_EARLY: RangeInclusive<u64> = 0..=10;
pub(super) const JITTER: RangeInclusive<u64> = 0..=50;
pub(super) const ORIGIN_SLOW_AFTER: Millis = 1..=600_000;
pub(super) const COMPRESSION_MIN_BYTES: RangeInclusive<u64> = 1..=16 << 20;
pub(super) const COMPRESSION_MAX_BYTES: RangeInclusive<u64> = 1 << 10..=16 << 20;
/// Levels of zlib.
pub(super) const COMPRESSION_LEVEL: RangeInclusive<u64> = 1..=9;

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

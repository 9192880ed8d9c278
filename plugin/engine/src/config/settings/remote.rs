//! The store that a fleet shares.

use std::time::Duration;

use super::kinds::{Words, duration, size, switch, text, whole, word};
use super::nested::{nullable, object};
use super::section;
use super::texts::{Cluster, Namespace, Variable};
use crate::config::limits::{
    BREAKER_LEAST_CALLS, BREAKER_PAUSE, BREAKER_WINDOW, PERCENT, REMOTE_QUEUE_BYTES, REMOTE_TIMEOUT,
};

/// The store that a fleet shares: Redis, reached by HTTP calls to a bridge, which is a cluster of Envoy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Whether there is one. Default: false.
    pub enabled: bool,
    /// What the bridge speaks. Default: webdis.
    pub dialect: Dialect,
    /// Name of the environment variable of the VM that holds the bridge's `user:password` (webdis) or token
    /// (upstash). Default: none, and the bridge is sent no credentials.
    pub credentials_env: Option<Box<str>>,
    /// Name of the environment variable of the VM that holds the secret, or two of them, that what is written is signed
    /// with. Default: none, and nothing is signed.
    pub secret_env: Option<Box<str>>,
    /// Name of the bridge's cluster in Envoy's configuration. Default: `redis`.
    pub cluster: Box<str>,
    /// `:authority` of the calls. Default: `redis`.
    pub authority: Box<str>,
    /// What every key begins with. Default: `selvage`.
    pub prefix: Box<str>,
    /// How long a request waits for an answer before it goes to the origin. Default: 50 ms.
    pub timeout: Duration,
    /// Largest record sent, in bytes. Default: 1 MiB.
    pub object_bytes: usize,
    /// Budget in bytes for records that wait to be sent. Default: 16 MiB.
    pub queue_bytes: usize,
    /// Most records that wait to be sent, and keys that wait to be deleted. Default: 1024.
    pub queue_entries: usize,
    /// Most calls of a worker under way at once. Default: 64.
    pub in_flight: usize,
    /// Most lookups, or writes, in one call. Default: 8.
    pub batch: usize,
    /// When the store is left alone for a while.
    pub breaker: Breaker,
}

section! {
    Remote {
        enabled = false, switch(), "Whether there is such a store.";
        dialect = Dialect::Webdis, word(DIALECT), "What the bridge speaks.";
        credentials_env = None, nullable(text::<Variable>()),
            "Name of the VM's environment variable with the bridge's `user:password` (webdis) or token (upstash).";
        secret_env = None, nullable(text::<Variable>()),
            "Name of the VM's environment variable with a secret of 16 to 1024 bytes, or two: what is written is signed with the first, and what none has signed is not believed.";
        cluster = "redis".into(), text::<Cluster>(), "The bridge's cluster in Envoy.";
        authority = "redis".into(), text::<Cluster>(), "`:authority` of the calls.";
        prefix = "selvage".into(), text::<Namespace>(), "What every key begins with.";
        timeout = Duration::from_millis(50), duration(REMOTE_TIMEOUT),
            "How long a request waits for an answer before it goes to the origin.";
        object_bytes = 1 << 20, size(1 << 10..=16 << 20), "Largest record that is sent.";
        queue_bytes = 16 << 20, size(REMOTE_QUEUE_BYTES),
            "Budget of each worker for records that wait to be sent; past it the oldest are dropped.";
        queue_entries = 1024, whole(1..=1 << 16), "Most records and deletions of a worker that wait to be sent.";
        in_flight = 64, whole(1..=4096), "Most calls of a worker under way at once; each lookup counts.";
        batch = 8, whole(1..=16),
            "Most lookups, or writes, that go to the bridge as one call; `1`: each goes alone, and no script is run.";
        breaker = Breaker::default(), object(),
            "When a store that fails or is slow is left alone, and for how long; all workers share what one finds.";
    }
}

/// The interface of a bridge to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The webdis server.
    Webdis,
    /// Upstash's REST interface, and what is compatible with it.
    Upstash,
}

const DIALECT: Words<Dialect> = &[("webdis", Dialect::Webdis), ("upstash", Dialect::Upstash)];

/// When a store that fails or is slow is left alone, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Percentage of calls that failed from which on no more are made; 0 never. Default: 50.
    pub failure_percent: u32,
    /// Percentage of calls that were slow from which on no more are made; 0 never. Default: 50.
    pub slow_percent: u32,
    /// A call that takes longer is slow. Default: half of the timeout.
    pub slow_after: Option<Duration>,
    /// Fewer calls in the window decide nothing. Default: 10.
    pub least_calls: u32,
    /// How far it looks back. Default: 10 s.
    pub window: Duration,
    /// The first pause; each further one is twice as long. Default: 500 ms.
    pub pause: Duration,
    /// The longest pause, never shorter than the first. Default: 4 s.
    pub longest_pause: Duration,
}

section! {
    Breaker {
        failure_percent = 50, whole(PERCENT), "Percentage of failed calls that opens it; `0` never.";
        slow_percent = 50, whole(PERCENT), "Percentage of slow calls that opens it; `0` never.";
        slow_after = None, nullable(duration(1..=10_000)),
            "A call that takes longer is slow; `null`: half of `remote.timeout`.";
        least_calls = 10, whole(BREAKER_LEAST_CALLS), "Fewer calls in the window decide nothing.";
        window = Duration::from_secs(10), duration(BREAKER_WINDOW), "How far it looks back, in ten steps.";
        pause = Duration::from_millis(500), duration(BREAKER_PAUSE),
            "How long it first stays open; each further pause is twice as long.";
        longest_pause = Duration::from_secs(4), duration(BREAKER_PAUSE),
            "How long it stays open at most, `pause` or longer.";
    }
}

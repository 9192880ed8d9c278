//! How the origin is asked: how requests wait for one another, how stored responses are renewed, and when it is left alone.

use std::time::Duration;

use super::kinds::{duration, switch, text, whole};
use super::nested::{list, nullable};
use super::section;
use super::texts::Cluster;
use crate::config::limits::{BREAKER_LEAST_CALLS, BREAKER_PAUSE, BREAKER_WINDOW, COALESCE_WAITERS, PERCENT};
use crate::config::reference::Least::Empty;

/// How requests for a key that nothing is stored for wait for one another's fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coalesce {
    /// Whether they do. Default: true.
    pub enabled: bool,
    /// How long a request waits in all before it goes to the origin by itself. Default: 5 s.
    pub wait: Duration,
    /// How long a request that waits goes on waiting once the head of the response has come, unless its length and the
    /// pace so far promise the end of the body within this time. Default: 250 ms.
    pub body_wait: Duration,
    /// Most requests of a worker that wait for one key; more go to the origin. Default: 8192.
    pub waiters: usize,
    /// Whether the Envoys that share a remote store wait for one another too. Default: true.
    pub fleet: bool,
}

section! {
    Coalesce {
        enabled = true, switch(), "Whether they do.";
        // A wait is well below Envoy's idle timeout of a stream.
        wait = Duration::from_secs(5), duration(1..=60_000),
            "How long a request waits in all before it goes to the origin by itself.";
        // Zero: nobody waits for a body that is not complete when its head comes.
        body_wait = Duration::from_millis(250), duration(0..=60_000),
            "How long it goes on waiting once the response's head has come, unless the body's length and pace promise its end within this time.";
        waiters = 8192, whole(COALESCE_WAITERS),
            "Most requests of a worker that wait for one key; more go to the origin.";
        fleet = true, switch(),
            "Whether the Envoys that share a remote store wait for one another too (Redis 7.0 or newer).";
    }
}

/// How stored responses are renewed by calls of the cache's own, without a client waiting for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// The cluster in Envoy's configuration that is called. Default: none, and what the rule's responses came from is
    /// called if it is one of `clusters`.
    pub cluster: Option<Box<str>>,
    /// The clusters that may be called where none is configured. Default: none.
    pub clusters: Vec<Box<str>>,
    /// How long a call may take. Default: 5 s.
    pub timeout: Duration,
    /// How eagerly a response that is asked for often is renewed before it expires (XFetch's beta), 0 to 10; 0 never.
    /// Default: 0.
    pub early: u8,
}

section! {
    Refresh {
        cluster = None, nullable(text::<Cluster>()),
            "The cluster of Envoy's that is called; without it, the one that the rule's responses came from.";
        clusters = Vec::new(), list(Empty, text::<Cluster>()),
            "The clusters that may be called where none is configured. Empty: none is, and clients renew.";
        timeout = Duration::from_secs(5), duration(1..=60_000), "How long a call may take.";
        // Past it nearly every hit would refresh.
        early = 0, whole(0..=10),
            "How eagerly what is asked for often is renewed before it expires (XFetch's beta); 0: not.";
    }
}

impl Refresh {
    /// Whether there may be a cluster to call.
    pub fn is_possible(&self) -> bool {
        self.cluster.is_some() || !self.clusters.is_empty()
    }
}

/// When an origin that fails or is slow is left alone, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginBreaker {
    /// Whether it ever is. Default: false.
    pub enabled: bool,
    /// Percentage of requests that failed from which on no more are sent; 0 never. Default: 50.
    pub failure_percent: u32,
    /// Percentage of requests that were slow from which on no more are sent; 0 never. Default: 50.
    pub slow_percent: u32,
    /// A response whose head takes longer is slow. Default: none is.
    pub slow_after: Option<Duration>,
    /// Fewer requests in the window decide nothing. Default: 20.
    pub least_calls: u32,
    /// How far it looks back. Default: 10 s.
    pub window: Duration,
    /// The first pause; each further one is twice as long. Default: 1 s.
    pub pause: Duration,
    /// The longest pause, never shorter than the first. Default: 30 s.
    pub longest_pause: Duration,
}

section! {
    OriginBreaker {
        enabled = false, switch(), "Whether it ever is.";
        failure_percent = 50, whole(PERCENT),
            "Percentage of requests that failed from which on no more are sent; 0: never.";
        slow_percent = 50, whole(PERCENT),
            "Percentage of requests that were slow from which on no more are sent; 0: never.";
        slow_after = None, nullable(duration(1..=600_000)),
            "A response whose head takes longer is slow; without it none is.";
        least_calls = 20, whole(BREAKER_LEAST_CALLS), "Fewer requests in the window decide nothing.";
        window = Duration::from_secs(10), duration(BREAKER_WINDOW), "How far it looks back.";
        pause = Duration::from_secs(1), duration(BREAKER_PAUSE),
            "The first pause; each further one is twice as long.";
        longest_pause = Duration::from_secs(30), duration(BREAKER_PAUSE),
            "The longest pause, never shorter than the first.";
    }
}

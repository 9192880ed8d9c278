//! The store of each worker, and the one that all workers of one Envoy share.

use std::time::Duration;

use super::kinds::{duration, size, whole};
use super::section;
use crate::config::limits::{
    COALESCE_WAITERS, NODE_BUCKETS, NODE_BYTES, NODE_OBJECT_BYTES, WORKER_BYTES, WORKER_FILLING_BYTES,
    WORKER_OBJECT_BYTES,
};
#[cfg(feature = "limits")]
use crate::config::limits::{NODE_LIMIT_KEYS, WORKER_LIMIT_KEYS};

/// The store of each worker: it lives in the memory of the worker's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Budget in bytes; 0 disables the store. Default: 64 MiB.
    pub bytes: usize,
    /// Most stored responses. Default: 65536.
    pub entries: usize,
    /// Largest stored response in bytes. Default: 1 MiB.
    pub object_bytes: usize,
    /// Budget in bytes for bodies that are being stored while they stream. Default: 32 MiB.
    pub filling_bytes: usize,
    /// Budget in bytes for what requests keep while they wait: heads, keys, and bodies that are in their keys. Default: 32 MiB.
    pub waiting_bytes: usize,
    /// Budget in bytes for the identity form of responses that are stored compressed. Default: 8 MiB.
    pub inflated_bytes: usize,
    /// Most requests that wait for another's fetch, over all keys. Default: 16384.
    pub waiters: usize,
    /// Most variants of one key. Default: 16.
    pub variants: usize,
    /// Most keys of limits that a worker keeps tokens for. Default: 65536.
    #[cfg(feature = "limits")]
    pub limit_keys: usize,
}

section! {
    Worker {
        bytes = 64 << 20, size(WORKER_BYTES), "Budget of each worker's store; `0` disables it.";
        entries = 65_536, whole(1..=1 << 22), "Most responses in a worker's store.";
        object_bytes = 1 << 20, size(WORKER_OBJECT_BYTES), "Largest response in a worker's store.";
        filling_bytes = 32 << 20, size(WORKER_FILLING_BYTES),
            "Budget of each worker for bodies that are being stored while they stream.";
        // Of the quarter of a VM that is left for streams.
        waiting_bytes = 32 << 20, size(64 << 10..=128 << 20),
            "Budget of each worker for what requests keep while they wait for a store, another's fetch or the origin: head, key, and a body that is in the key. Past it new ones pass by.";
        inflated_bytes = 8 << 20, size(0..=256 << 20),
            "Budget of each worker for the identity form of compressed responses; `0` inflates anew each time.";
        waiters = 16_384, whole(COALESCE_WAITERS),
            "Most requests of a worker that wait for another's fetch, over all keys.";
        variants = 16, whole(1..=256), "Most variants (`Vary`) of one key.";
        #[cfg(feature = "limits")]
        limit_keys = 65_536, whole(WORKER_LIMIT_KEYS),
            "Most keys of limits of which a worker remembers something, 64 bytes each. Past it each request of a key asks the node.";
    }
}

/// The store that all workers of one Envoy share, in host memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Budget in bytes; 0 disables the store. Default: 256 MiB.
    pub bytes: u64,
    /// Largest stored response in bytes. Default: 4 MiB.
    pub object_bytes: usize,
    /// Number of buckets over which keys are spread. Default: 4096.
    pub buckets: usize,
    /// How often a worker looks for what others did; one of each Envoy, for purges in the remote store. Default: 100 ms.
    pub poll: Duration,
    /// Most keys of limits. Default: 131072.
    #[cfg(feature = "limits")]
    pub limit_keys: usize,
}

section! {
    Node {
        bytes = 256 << 20, size(NODE_BYTES),
            "Budget of the shared store; of plugins that share it the largest counts. `0`: this one does not use it.";
        object_bytes = 4 << 20, size(NODE_OBJECT_BYTES), "Largest response in the shared store.";
        buckets = 4096, whole(NODE_BUCKETS),
            "Buckets over which keys are spread, of eight responses each: 4096 hold 32,768 at most. A change counts from the next start of Envoy.";
        poll = Duration::from_millis(100), duration(10..=10_000), "How often a worker looks for what others did; one of each Envoy, for purges in the remote store.";
        #[cfg(feature = "limits")]
        limit_keys = 131_072, whole(NODE_LIMIT_KEYS),
            "Most keys of limits that do not have their whole burst; 100 bytes each in host memory. Past it new keys share 256 quotas. A change begins all of them anew.";
    }
}

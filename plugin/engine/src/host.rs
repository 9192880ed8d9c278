//! What Envoy offers to a worker, as traits: shared data, and what it answers at once.
//!
//! `wire` reads and writes the values that lie in shared data, `leadership` is what one worker of a node does for all.
//! [`NullHost`] is a host for what runs outside any.

pub(crate) mod leadership;
mod null_host;
pub(crate) mod wire;

pub use null_host::NullHost;

/// What is counted: a family and a word of its closed set.
pub type Word = (&'static str, &'static str);

/// What the host answers at once.
pub trait Host: SharedData {
    /// Whether the response at hand came from the origin, and was not made here because it could not be reached.
    fn origin_answered(&mut self) -> bool;

    /// The name of the cluster that the request at hand went to, if the host knows.
    fn cluster_name(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The address that the request at hand came from, if it is known.
    fn peer(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Who has broken off the response at hand, which has ended before its end.
    fn broken_by(&mut self) -> BrokenBy {
        BrokenBy::Client
    }

    /// Microseconds by a clock that need not tell the time of day: for durations only. A host without one gives 0.
    fn micros(&mut self) -> u64 {
        0
    }

    /// Writes a line down for operators.
    fn note(&mut self, _line: &str) {}

    /// The value of a counter or gauge, of all workers together. A host that keeps none gives 0.
    fn metric(&mut self, _word: Word) -> u64 {
        0
    }

    /// The same for a metric that each rule, pool or limit has its own of ([`is_owned`](crate::stats::list::Family::is_owned)), or each plugin
    /// with a name ([`by_plugin`](crate::stats::list::Family::by_plugin)). An empty name is that of a plugin without.
    fn metric_of(&mut self, _owner: &str, _word: Word) -> u64 {
        0
    }
}

/// Who has broken off a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenBy {
    /// The origin, or the connection to it.
    Origin,
    /// The client, by leaving; or nobody knows.
    Client,
    /// The host, since it took longer than its settings allow.
    Timeout,
}

/// Host shared data as the ABI offers it.
pub trait SharedData {
    /// The value and its CAS; `None` when the key was never set.
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Sets the value. A `cas` of 0 is unconditional; a missing key is inserted whatever the `cas`.
    ///
    /// # Errors
    /// [`CasMismatch`] when the key exists with another CAS: another worker was first.
    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch>;
}

/// Another worker has changed the value since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CasMismatch;

/// Whether this is built for a browser: the playground is small, spends nothing, and has one Envoy without a Redis.
pub(crate) const IN_BROWSER: bool = cfg!(all(target_arch = "wasm32", target_os = "unknown"));

/// A CAS that no existing value has in practice: "only if the key is missing".
pub(crate) const ABSENT: u32 = u32::MAX;

//! What a host offers, by the words of proxy-wasm ABI 0.2.1.

use std::marker::PhantomData;
use std::time::Duration;

use selvage_engine::host::{BrokenBy, CasMismatch, Host, SharedData};
use selvage_engine::stats::Word;
use selvage_engine::time::Timestamp;

use crate::metrics;

/// What a callback tells the host to do with the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// Go on.
    Continue = 0,
    /// Hold it. Parts of a body gather: the next call shows all of them. Envoy answers 413 once they are more than its
    /// `per_connection_buffer_limit_bytes`.
    Pause = 1,
    /// Hold a part of a body that need not be seen again: the next call shows the next part alone. Envoy ceases to read where
    /// it holds as much as it may. It is Envoy's `FilterDataStatus::StopIterationAndWatermark`, of which the ABI does not speak.
    Hold = 2,
}

/// Which header map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Map {
    /// The request's headers.
    Request = 0,
    /// The response's headers.
    Response = 2,
    /// The headers of the answer to a call of ours.
    Answer = 6,
}

/// Which buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Buffer {
    /// The part of the request's body at hand.
    RequestBody = 0,
    /// The part of the response's body at hand.
    ResponseBody = 1,
    /// The body of the answer to a call of ours.
    Answer = 4,
    /// The plugin's configuration.
    PluginConfiguration = 7,
}

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    /// Good to know.
    Info = 2,
    /// Somebody should look.
    Warn = 3,
    /// Refused or failed.
    Error = 4,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Metric {
    /// Only goes up.
    Counter = 0,
    /// Goes both ways.
    Gauge = 1,
    /// Counts values by their size.
    Histogram = 2,
}

/// Why a call could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCalled {
    /// Envoy has no cluster of that name, or could not read the call.
    UnknownCluster,
    /// The cluster has no host that could be called, or too many calls are under way.
    Unreachable,
}

/// The calls of a host. They act for the context whose callback runs, so there is nothing to hold: a host is a type.
///
/// None of them panics: what the host refuses is `None` or `false`, and the caller goes on without.
pub trait Calls: Sized + 'static {
    /// Writes a line to Envoy's log.
    fn log(level: Level, message: &str);

    /// The time of day in nanoseconds.
    fn nanoseconds() -> u64;

    /// A number that no other VM is likely to get.
    fn random() -> u64;

    /// Bytes of memory that this VM has taken from the host. It never gives any back.
    fn memory_bytes() -> usize;

    /// Asks for a tick every `milliseconds`.
    fn set_tick_period(milliseconds: u32);

    /// At most `size` bytes of a buffer, from `start` on.
    fn buffer(kind: Buffer, start: usize, size: usize) -> Option<Vec<u8>>;

    /// Puts bytes in the place of the first `size` ones of a buffer. `false` if the host refuses.
    fn set_buffer(kind: Buffer, size: usize, bytes: &[u8]) -> bool;

    /// A header map as a field block.
    fn header_pairs(map: Map) -> Option<Vec<u8>>;

    /// The value of a field.
    fn header(map: Map, name: &str) -> Option<Vec<u8>>;

    /// Puts the fields of a block in the place of all those of a header map.
    fn set_header_pairs(map: Map, block: &[u8]);

    /// Adds a field line.
    fn add_header(map: Map, name: &str, value: &[u8]);

    /// Gives a field one value.
    fn set_header(map: Map, name: &str, value: &[u8]);

    /// Removes all lines of a field.
    fn remove_header(map: Map, name: &str);

    /// Answers the stream of the effective context. `details` shows in Envoy's access log; `fields` is a block without
    /// `:status`.
    fn reply(status: u16, details: &str, fields: &[u8], body: &[u8]);

    /// Makes the calls that follow act on another context. `false` if it is gone.
    fn act_for(context: u32) -> bool;

    /// Lets the held request of the effective context go on.
    fn resume_request();

    /// Lets the held response of the effective context go on.
    fn resume_response();

    /// Calls a cluster of Envoy's. `headers` is a block with pseudo-headers. The answer comes to the root context with
    /// the token, also when it is a failure that Envoy made up.
    ///
    /// # Errors
    /// No answer will come.
    fn http_call(cluster: &str, headers: &[u8], body: &[u8], timeout: Duration) -> Result<u32, NotCalled>;

    /// A property of the current stream, its path segments separated by zero bytes.
    fn property(path: &str) -> Option<Vec<u8>>;

    /// A value of the node's shared data and its CAS, see [`SharedData::get`].
    fn shared_data(key: &str) -> Option<(Vec<u8>, u32)>;

    /// Sets a value of the node's shared data, see [`SharedData::set`].
    ///
    /// # Errors
    /// Another worker was first.
    fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch>;

    /// Makes this VM the one that is called when something enters the queue. The token names the queue everywhere.
    fn register_queue(name: &str) -> Option<u32>;

    /// Puts one byte into a queue.
    fn ring(queue: u32);

    /// Takes one item out of a queue. `false` once it is empty.
    fn answer(queue: u32) -> bool;

    /// Defines a metric of Envoy's.
    fn define_metric(kind: Metric, name: &str) -> Option<u32>;

    /// Changes a metric by `by`, which is more than zero for a counter.
    fn increment(id: u32, by: i64);

    /// Sets a gauge, for all workers, or gives a histogram a value.
    fn record(id: u32, value: u64);

    /// The value of a counter or gauge, of all workers together.
    fn metric(id: u32) -> Option<u64>;

    /// The time of day.
    fn now() -> Timestamp {
        Timestamp::from_millis(Self::nanoseconds() / 1_000_000)
    }

    /// The time in microseconds, for durations.
    fn micros() -> u64 {
        Self::nanoseconds() / 1000
    }
}

/// The host as the engine sees it.
pub struct Envoy<H>(PhantomData<H>);

impl<H> Envoy<H> {
    /// The one that there is.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<H> Default for Envoy<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Calls> SharedData for Envoy<H> {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        H::shared_data(key)
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        H::set_shared_data(key, value, cas)
    }
}

impl<H: Calls> Host for Envoy<H> {
    /// Envoy says in the response's details whether the upstream made it.
    fn origin_answered(&mut self) -> bool {
        H::property("response\0code_details").is_none_or(|details| details == b"via_upstream")
    }

    fn cluster_name(&mut self) -> Option<Vec<u8>> {
        H::property("xds\0cluster_name")
            .or_else(|| H::property("cluster_name"))
            .filter(|name| !name.is_empty())
    }

    fn micros(&mut self) -> u64 {
        H::micros()
    }

    /// The details of a response that has begun are `via_upstream` until something breaks it off.
    fn broken_by(&mut self) -> BrokenBy {
        let details = H::property("response\0code_details").unwrap_or_default();
        if details.windows(7).any(|word| word == b"timeout") {
            BrokenBy::Timeout
        } else if details.starts_with(b"upstream") {
            BrokenBy::Origin
        } else {
            BrokenBy::Client
        }
    }

    fn peer(&mut self) -> Option<Vec<u8>> {
        H::property("source\0address")
    }

    fn note(&mut self, line: &str) {
        H::log(Level::Info, line);
    }

    fn metric(&mut self, word: Word) -> u64 {
        metrics::read::<H>(word)
    }

    fn metric_of(&mut self, owner: &str, word: Word) -> u64 {
        metrics::read_of::<H>(owner, word)
    }
}

//! What the operator wrote, read from JSON with all faults at once.
//!
//! [`Config`] is the configuration as read, what was left out filled in; [`Policy`](crate::policy::Policy) is what the
//! engine makes of it. [`mod@reference`] holds the one list of members from which the table in `plugin/docs/settings.md` and the committed
//! JSON Schema are made; tests hold the reader to it.

pub(crate) mod limits;
mod names;
mod protobuf;
pub(crate) mod read;
mod reader;
pub mod reference;
pub mod refusal;
pub(crate) mod rule;
pub mod schema;
pub(crate) mod units;
mod written;

use std::cell::RefCell;
use std::time::Duration;

use crate::url::Url;
use limits::CONFIG_BYTES;
use reader::{Object, Place};
pub use rule::{
    BodyKey, COMPRESSIBLE, CREDENTIALS, Coalesce, Compression, Cookies, DEFAULT_RULE, Etag, FieldName, Key,
    OriginBreaker, Query, QueryChoice, QueryName, QueryOrder, RangeFill, Refresh, RequestDirectives, Rule,
    SWITCHES, SetCookie, Stale, TAGGING, TAINTING, Tags, Ttl, Vary,
};
use written::Written;

/// What a cache is called that is given no name.
pub const DEFAULT_NAME: &str = "Selvage";

/// The configuration of one cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The cache's identifier in `Cache-Status` (RFC 9211 §2), printable ASCII. Default: [`DEFAULT_NAME`]. One of its own is the
    /// label `plugin` of its gauges as well.
    pub name: Box<str>,
    /// Responses are shared only by caches of the same namespace. Default: `main`.
    pub namespace: Box<str>,
    /// The store of each worker.
    pub worker: Worker,
    /// The store that all workers of one Envoy share.
    pub node: Node,
    /// The store that a fleet shares, in Redis behind an HTTP bridge.
    pub remote: Remote,
    /// Who may purge and warm.
    pub admin: Admin,
    /// How purges of other nodes are judged.
    pub purge: Purge,
    /// What is fetched before a client asks for it.
    pub warm: Warm,
    /// What a request gets when no rule matches, and what rules inherit.
    pub defaults: Rule,
    /// In the order in which they are tried. Default: empty.
    pub rules: Vec<MatchedRule>,
}

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
    /// How often a worker looks for what others did. Default: 100 ms.
    pub poll: Duration,
}

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
    /// When the store is left alone for a while.
    pub breaker: Breaker,
}

/// The interface of a bridge to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The webdis server.
    Webdis,
    /// Upstash's REST interface, and what is compatible with it.
    Upstash,
}

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

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            failure_percent: 50,
            slow_percent: 50,
            slow_after: None,
            least_calls: 10,
            window: Duration::from_secs(10),
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(4),
        }
    }
}

impl Default for Remote {
    fn default() -> Self {
        Remote {
            enabled: false,
            dialect: Dialect::Webdis,
            credentials_env: None,
            secret_env: None,
            cluster: "redis".into(),
            authority: "redis".into(),
            prefix: "selvage".into(),
            timeout: Duration::from_millis(50),
            object_bytes: 1 << 20,
            queue_bytes: 16 << 20,
            queue_entries: 1024,
            in_flight: 64,
            breaker: Breaker::default(),
        }
    }
}

/// Who may purge and warm: `PURGE` on a URL, and what is under `/.selvage/`. Default: nobody, and all of it goes to the
/// origin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admin {
    /// Name of the environment variable of the VM that holds the token which `Authorization: Bearer` must show.
    /// Default: none.
    pub token_env: Option<Box<str>>,
    /// Only operators reach the listener, and need no token. Default: false.
    pub open: bool,
    /// The hosts that operators' requests may come to. Default: with a token every host, without one those of the machine
    /// itself.
    pub hosts: Option<Vec<Box<[u8]>>>,
}

/// How purges of other nodes are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// How far the clocks of two nodes may be apart. Default: 1 s.
    pub skew: Duration,
}

impl Default for Purge {
    fn default() -> Self {
        Purge { skew: Duration::from_secs(1) }
    }
}

/// What is fetched before a client asks for it: at the start of a node, and after a purge of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warm {
    /// Fetched once for each node when it starts. Default: empty.
    pub urls: Vec<Url>,
    /// Fetches of a node in a second, whoever wants them. Default: 10.
    pub per_second: u32,
    /// Fetches of a worker under way at once. Default: 4.
    pub in_flight: usize,
    /// How many of a worker's hottest keys are fetched anew after a purge of everything. Default: 0.
    pub after_purge_all: usize,
}

impl Default for Warm {
    fn default() -> Self {
        Warm { urls: Vec::new(), per_second: 10, in_flight: 4, after_purge_all: 0 }
    }
}

/// A rule and the requests that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MatchedRule {
    /// Which requests.
    pub matching: Match,
    /// What they get.
    pub rule: Rule,
}

/// Which requests a rule is for: those that fit every given list. Default: all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// Hosts in lower case without port; `*.` before one means all below it, `*` alone every host. `None`: any.
    pub hosts: Option<Vec<Box<[u8]>>>,
    /// Paths without query; `*` stands for any run of bytes. `None`: any.
    pub paths: Option<Vec<Box<[u8]>>>,
    /// Methods; `GET` stands for `HEAD` too. `None`: any.
    pub methods: Option<Vec<Box<[u8]>>>,
}

impl Config {
    /// Reads a configuration: JSON text, or a `google.protobuf.Struct` as Envoy hands it over. Empty input is the
    /// default configuration, as is `{}`.
    ///
    /// # Errors
    ///
    /// All faults, each with its path, what was found there and what is allowed.
    pub fn parse(written: &[u8]) -> Result<Config, Vec<ConfigError>> {
        let of_struct = protobuf::json_of_struct(written);
        let json = of_struct.as_deref().unwrap_or(written);
        if json.trim_ascii().is_empty() {
            return Ok(Config::default());
        }
        let faults = RefCell::default();
        let root = Place::root(&faults);
        let config = if json.len() > CONFIG_BYTES {
            root.refuse(format!("{} bytes", json.len()), format!("at most {CONFIG_BYTES} bytes"))
        } else {
            match serde_json::from_slice::<Written>(json) {
                Ok(written) => Object::walk(root, &written, read::config),
                Err(fault) => root.refuse(fault.to_string(), "JSON (RFC 8259)"),
            }
        };
        match (config, faults.into_inner()) {
            (Some(config), faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(faults),
        }
    }
}

/// One fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: found {found}, allowed: {allowed}")]
pub struct ConfigError {
    /// Where: `rules[2].ttl.default`, or `configuration` for the whole.
    pub path: String,
    /// What stands there, shortened.
    pub found: String,
    /// What may stand there, in words.
    pub allowed: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: DEFAULT_NAME.into(),
            namespace: "main".into(),
            worker: Worker::default(),
            node: Node::default(),
            remote: Remote::default(),
            admin: Admin::default(),
            purge: Purge::default(),
            warm: Warm::default(),
            defaults: Rule::default(),
            rules: Vec::new(),
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Worker {
            bytes: 64 << 20,
            entries: 65_536,
            object_bytes: 1 << 20,
            filling_bytes: 32 << 20,
            waiting_bytes: 32 << 20,
            inflated_bytes: 8 << 20,
            waiters: 16_384,
            variants: 16,
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Node { bytes: 256 << 20, object_bytes: 4 << 20, buckets: 4096, poll: Duration::from_millis(100) }
    }
}

#[cfg(test)]
mod tests;

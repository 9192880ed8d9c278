//! What the operator wrote, read from JSON with all faults at once.
//!
//! [`Config`] is the configuration as read, what was left out filled in; [`Policy`](crate::policy::Policy) is what the
//! engine makes of it. The members stand in `config/settings`, each in one row, from which the reader, the committed JSON Schema,
//! the table in `plugin/docs/settings.md` and the view of the configuration in force come.

pub(crate) mod limits;
mod names;
mod protobuf;
pub(crate) mod reader;
pub mod reference;
pub mod refusal;
pub mod schema;
pub(crate) mod settings;
pub(crate) mod units;
pub(crate) mod written;

use std::cell::RefCell;

use crate::host::IN_BROWSER;
use limits::{CONFIG_BYTES, RULES, VM_BYTES, held_by_vm};
use reader::{Object, Place};
#[cfg(feature = "batch")]
pub use settings::batch::Batch;
#[cfg(all(feature = "limits", feature = "llm"))]
pub use settings::budgets::{Budget, BudgetAlert, BudgetUnit, BudgetWindow};
pub use settings::by::By;
#[cfg(feature = "llm")]
pub use settings::embeddings::{Embeddings, Merge};
#[cfg(feature = "foresight")]
pub use settings::foresight::{Adaptive, Foresight};
pub use settings::freshness::{Stale, Ttl};
#[cfg(feature = "jobs")]
pub use settings::jobs::{Jobs, JobsOnFailure, RuleJobs};
#[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
pub use settings::key::BodyJson;
pub use settings::key::{BodyKey, Key, Query, QueryChoice, QueryName, QueryOrder};
use settings::kinds::text;
#[cfg(feature = "llm")]
pub use settings::limits::LimitUnit;
pub use settings::limits::{Limit, LimitCounts, LimitHeaders, LimitOnFailure, LimitScope, Tiers};
pub use settings::lists::{COMPRESSIBLE, CREDENTIALS, SWITCHES, TAGGING, TAINTING};
#[cfg(feature = "llm")]
pub use settings::llm::{Fallback, FallbackOn, Llm, LlmCache, LlmCoalesce, LlmUsage, LlmWhen, Model};
#[cfg(feature = "maintenance")]
pub use settings::maintenance::Maintenance;
#[cfg(any(feature = "batch", feature = "jobs"))]
use settings::nested::nullable;
use settings::nested::object;
pub use settings::operators::{Admin, Purge, Warm};
pub use settings::origin::{Coalesce, OriginBreaker, Refresh};
#[cfg(feature = "pools")]
pub use settings::pools::{Admission, Pool, PoolQueue, PoolWait, Until};
pub use settings::remote::{Breaker, Dialect, Remote};
pub use settings::response::{Compression, RangeFill, Tags, Vary};
use settings::rule::matched_rule;
pub use settings::rule::{
    Cookies, DEFAULT_RULE, Etag, FieldName, Match, MatchedRule, RequestDirectives, Rule, SetCookie,
};
#[cfg(feature = "sessions")]
pub use settings::sessions::{Session, SessionFormat, SessionMissing, SessionOnFailure};
pub use settings::stores::{Node, Worker};
use settings::texts::{CacheName, Namespace};
#[cfg(feature = "uploads")]
pub use settings::upload::Upload;
use settings::{Section, section};
use units::show_size;
use written::{Written, quote};

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
    /// What is told of what is not usual, and of what is to come.
    #[cfg(feature = "foresight")]
    pub foresight: Foresight,
    /// How several GETs are asked for by one request. Default: not at all.
    #[cfg(feature = "batch")]
    pub batch: Option<Batch>,
    /// What may be at an origin at once. Default: empty.
    #[cfg(feature = "pools")]
    pub pools: Vec<Pool>,
    /// How much a client may ask for. Default: empty.
    pub limits: Vec<Limit>,
    /// What tokens of language models cost. Default: empty.
    #[cfg(feature = "llm")]
    pub models: Vec<Model>,
    /// How much language models may cost. Default: empty.
    #[cfg(all(feature = "limits", feature = "llm"))]
    pub budgets: Vec<Budget>,
    /// How cookies become request fields. Default: empty.
    #[cfg(feature = "sessions")]
    pub sessions: Vec<Session>,
    /// How requests are done later that are accepted as jobs. Default: none is.
    #[cfg(feature = "jobs")]
    pub jobs: Option<Jobs>,
    /// What a request gets when no rule matches, and what rules inherit.
    pub defaults: Rule,
    /// In the order in which they are tried. Default: empty.
    pub rules: Vec<MatchedRule>,
}

section! {
    Config check room_and_rules {
        name = DEFAULT_NAME.into(), text::<CacheName>(),
            "The cache's identifier in `Cache-Status`; one of its own is the label `plugin` of its gauges as well.";
        namespace = "main".into(), text::<Namespace>(),
            "Caches of one `vm_id` share responses only within a namespace: give each origin its own.";
        worker = Worker::default(), object(),
            "The store of each worker, in the memory of the worker's VM, which ends at 1 GiB: `bytes`, `filling_bytes`, `inflated_bytes` and `remote.queue_bytes` are 768 MiB at most together.";
        node = Node::default(), object(), "The store that all workers of one Envoy share, in host memory.";
        remote = Remote::default(), object(),
            "The store that a fleet shares: Redis, reached by HTTP calls to a bridge.";
        admin = Admin::default(), object(),
            "Who may purge and warm; without either member nobody, and `PURGE` and `/.selvage/` go to the origin.";
        purge = Purge::default(), object(), "How purges of other nodes are judged.";
        warm = Warm::default(), object(), "What is fetched before a client asks for it.";
        #[cfg(feature = "foresight")]
        foresight = Foresight::default(), object(), "What is told of what is not usual, and of what is to come.";
        #[cfg(feature = "batch")]
        batch = None, nullable(object()), "Several GETs are asked for by one `POST`; `null`: not at all.";
        #[cfg(feature = "jobs")]
        jobs = None, nullable(object()),
            "How requests are done later that rules accept as jobs; `null`: none is accepted. Wants `remote`.";
        defaults = Rule::default(), object(), "What a request gets when no rule matches, and what rules inherit.";
        // Read before the rules that name them.
        #[cfg(feature = "pools")]
        pools = Vec::new();
        limits = Vec::new();
        #[cfg(feature = "llm")]
        models = Vec::new();
        #[cfg(all(feature = "limits", feature = "llm"))]
        budgets = Vec::new();
        #[cfg(feature = "sessions")]
        sessions = Vec::new();
        // Read last, for a rule inherits what `defaults` says.
        rules = Vec::new();
    }
}

fn room_and_rules(config: &mut Config, object: &mut Object<'_, '_>) {
    let held = held_by_vm(&config.worker, &config.remote);
    if held > VM_BYTES {
        let found = format!(
            "{} for bytes, filling_bytes, inflated_bytes and remote.queue_bytes together",
            quote(&show_size(held))
        );
        let allowed = format!("at most {} together: a VM ends at 1 GiB", quote(&show_size(VM_BYTES)));
        object.place_of("worker").refuse::<()>(found, allowed);
    }
    #[cfg(feature = "foresight")]
    if config.worker.bytes == 0 {
        if config.warm.predict {
            let found = r#""predict": true where worker.bytes is 0"#;
            object.place_of("warm").refuse::<()>(found, "a worker store: what it has is renewed");
        }
        if config.foresight.stores && config.node.bytes == 0 {
            let found = r#""stores": true where worker.bytes and node.bytes are 0"#;
            object.place_of("foresight").refuse::<()>(found, "a store that is to be looked at");
        }
    }
    if !cfg!(any(feature = "operators", feature = "playground")) && config.admin != Admin::default() {
        let place = object.place_of("admin");
        place.refuse::<()>("settings", "none: this module was built without operators");
    }
    #[cfg(feature = "pools")]
    {
        use settings::pools::{POOLS, named_pool, refuse_unknown_pool};
        let Config { defaults, pools, .. } = config;
        object.each("pools", POOLS, |place, written| named_pool(place, written, pools));
        let place = object.place_of("defaults").member("admission");
        refuse_unknown_pool(defaults.admission.as_ref(), pools, place);
    }
    #[cfg(feature = "limits")]
    {
        use settings::limits::{LIMITS, named_limit, refuse_unknown};
        let Config { defaults, limits, remote, .. } = config;
        object.each("limits", LIMITS, |place, written| named_limit(place, written, remote, limits));
        refuse_unknown(defaults, limits, &object.place_of("defaults").member("limits"));
    }
    #[cfg(feature = "llm")]
    {
        use settings::llm::{MODELS, named_model};
        object.each("models", MODELS, |place, written| named_model(place, written, &mut config.models));
    }
    #[cfg(all(feature = "limits", feature = "llm"))]
    {
        use settings::budgets::{BUDGETS, named_budget, refuse_unknown};
        let Config { defaults, budgets, remote, .. } = config;
        object.each("budgets", BUDGETS, |place, written| named_budget(place, written, remote, budgets));
        refuse_unknown(defaults, budgets, &object.place_of("defaults").member("budgets"));
    }
    #[cfg(feature = "sessions")]
    {
        use settings::sessions::{SESSIONS, named_session, refuse_unknown_session};
        let Config { defaults, sessions, remote, .. } = config;
        object.each("sessions", SESSIONS, |place, written| named_session(place, written, remote, sessions));
        let place = object.place_of("defaults").member("session");
        refuse_unknown_session(defaults.session.as_deref(), sessions, place);
    }
    #[cfg(feature = "jobs")]
    {
        use settings::jobs::{refuse_without_jobs, refuse_without_redis};
        if config.jobs.is_some() {
            refuse_without_redis(&config.remote, object.place_of("jobs"));
        }
        let place = object.place_of("defaults").member("jobs");
        refuse_without_jobs(&config.defaults, config.jobs.as_ref(), place);
    }
    if !IN_BROWSER {
        settings::by::refuse_unknown_fields(config, object);
    }
    let Config { defaults, rules, .. } = config;
    #[cfg(feature = "jobs")]
    let jobs = config.jobs.as_ref();
    #[cfg(feature = "pools")]
    let pools = &config.pools;
    #[cfg(feature = "limits")]
    let limits = &config.limits;
    #[cfg(all(feature = "limits", feature = "llm"))]
    let budgets = &config.budgets;
    #[cfg(feature = "sessions")]
    let sessions = &config.sessions;
    #[cfg(all(feature = "pools", feature = "sessions"))]
    let given = sessions;
    #[cfg(all(feature = "pools", not(feature = "sessions")))]
    let given = &[];
    let named = |rule: &Rule, object: &Object<'_, '_>| {
        #[cfg(feature = "pools")]
        if object.has("admission") {
            let place = object.place_of("admission");
            settings::pools::refuse_unknown_pool(rule.admission.as_ref(), pools, place);
            if let Some(admission) = rule.admission.as_ref().filter(|_| !IN_BROWSER) {
                let place = object.place_of("admission").member("fair_by");
                settings::by::refuse_unknown(&admission.fair_by, given, &place);
            }
        }
        #[cfg(feature = "limits")]
        if object.has("limits") {
            settings::limits::refuse_unknown(rule, limits, &object.place_of("limits"));
        }
        #[cfg(all(feature = "limits", feature = "llm"))]
        if object.has("budgets") {
            settings::budgets::refuse_unknown(rule, budgets, &object.place_of("budgets"));
        }
        #[cfg(feature = "sessions")]
        if object.has("session") {
            let place = object.place_of("session");
            settings::sessions::refuse_unknown_session(rule.session.as_deref(), sessions, place);
        }
        #[cfg(feature = "jobs")]
        if object.has("jobs") {
            settings::jobs::refuse_without_jobs(rule, jobs, object.place_of("jobs"));
        }
    };
    object.each("rules", RULES, |place, written| matched_rule(place, written, defaults, rules, &named));
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
                Ok(written) => Object::walk(root, &written, |object| {
                    let mut config = Config::default();
                    config.fill(object);
                    config
                }),
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

#[cfg(test)]
mod tests;

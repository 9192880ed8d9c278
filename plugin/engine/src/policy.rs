//! What the engine uses: the configuration made ready for requests.

pub mod effective;
mod glob;
pub mod hosts;
mod matcher;
#[cfg(feature = "llm")]
mod models;
#[cfg(feature = "sessions")]
mod reserved;
#[cfg(feature = "llm")]
pub(crate) use models::MAX_BODY;
#[cfg(feature = "llm")]
mod prices;

#[cfg(feature = "batch")]
pub use crate::config::Batch;
#[cfg(feature = "foresight")]
pub use crate::config::{Adaptive, Foresight};
pub use crate::config::{
    Admin, BodyKey, Breaker, By, Coalesce, Compression, Cookies, Dialect, Etag, FieldName, Key, Limit,
    LimitCounts, LimitHeaders, LimitOnFailure, LimitScope, Node, OriginBreaker, Purge, Query, QueryChoice,
    QueryName, QueryOrder, RangeFill, Refresh, Remote, RequestDirectives, Rule, SetCookie, Stale, Tags, Ttl,
    Vary, Warm, Worker,
};
#[cfg(feature = "pools")]
pub use crate::config::{Admission, Pool, Until};
#[cfg(all(feature = "limits", feature = "llm"))]
pub use crate::config::{Budget, BudgetUnit};
#[cfg(feature = "llm")]
pub use crate::config::{Embeddings, Merge};
#[cfg(feature = "llm")]
pub use crate::config::{Fallback, FallbackOn, Llm, LlmCache, LlmCoalesce, LlmUsage, LlmWhen};
#[cfg(feature = "jobs")]
pub use crate::config::{Jobs, JobsOnFailure, RuleJobs};
#[cfg(feature = "sessions")]
pub use crate::config::{Session, SessionMissing, SessionOnFailure};
#[cfg(feature = "llm")]
pub use prices::Models;
#[cfg(feature = "sessions")]
pub use reserved::Reserved;

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::breaker;
use crate::config::{Config, DEFAULT_NAME, Match};
use crate::firewall::Watched;
use crate::policy::hosts::Hosts;
#[cfg(all(feature = "limits", feature = "llm"))]
use crate::sized::write_sized;
pub use matcher::Fit;
use matcher::Matcher;

/// The rules, ready to be asked, and the bounds of the stores.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The cache's identifier as it stands in `Cache-Status` (RFC 9211 §2): a structured-field token, or a string
    /// with its quotation marks.
    pub cache_status_name: Box<str>,
    /// The same as it was written.
    pub name: Box<str>,
    /// The label `plugin` of its gauges: the name, with `_` for what metrics cannot have; empty if it has none of its own.
    pub label: Box<str>,
    /// The store of each worker; `object_bytes` is no more than `bytes`.
    pub worker: Worker,
    /// The store that all workers share; `object_bytes` is no more than `bytes`.
    pub node: Node,
    /// The store that a fleet shares.
    pub remote: Remote,
    /// Who may purge and warm.
    pub admin: Admin,
    /// Which hosts their requests may come to.
    pub admin_hosts: Hosts,
    /// How purges of other nodes are judged.
    pub purge: Purge,
    /// What is fetched before a client asks for it.
    pub warm: Warm,
    /// How several GETs are asked for by one request.
    #[cfg(feature = "batch")]
    pub batch: Option<Batch>,
    /// What is told of what is not usual, and of what is to come.
    #[cfg(feature = "foresight")]
    pub foresight: Foresight,
    /// What may be at an origin at once.
    #[cfg(feature = "pools")]
    pub pools: Box<[Pool]>,
    /// How much a client may ask for.
    pub limits: Box<[Limit]>,
    /// What tokens of language models cost.
    #[cfg(feature = "llm")]
    pub models: Models,
    /// How much language models may cost.
    #[cfg(all(feature = "limits", feature = "llm"))]
    pub budgets: Box<[Budget]>,
    /// How cookies become request fields.
    #[cfg(feature = "sessions")]
    pub sessions: Box<[Session]>,
    /// The fields that only they may set.
    #[cfg(feature = "sessions")]
    pub reserved: Reserved,
    /// How requests are done later that are accepted as jobs.
    #[cfg(feature = "jobs")]
    pub jobs: Option<Jobs>,
    /// A digest of the namespace: purges are for the caches of one.
    pub namespace: u64,
    /// The namespace itself.
    pub namespace_name: Box<str>,
    /// Which requests the rules are for, as it was written; empty where there is no operator to show it to.
    matches: Box<[Match]>,
    rules: Box<[(Matcher, Rule)]>,
    default_rule: Rule,
    /// One for each rule, the default rule's last.
    scopes: Box<[u64]>,
}

impl Policy {
    /// The first rule that matches and its index, else the default rule, whose index is the number of written rules.
    ///
    /// `host` is in lower case without port, `path` ends before the `?`. Takes no memory. Without rules it costs
    /// nothing; otherwise its time grows with the rules and the path's length, whatever the patterns are.
    pub fn rule_for(&self, host: &[u8], path: &[u8], method: &[u8]) -> (usize, &Rule) {
        let found = self.rules.iter().position(|(matcher, _)| matcher.fit(host, path, method).is_ok());
        let index = found.unwrap_or(self.rules.len());
        (index, self.rule(index))
    }

    /// How [`rule_for`](Policy::rule_for) comes to its answer: for each written rule up to the one that matches, what fits
    /// or the list in which nothing does.
    pub fn tries<'a>(
        &'a self,
        host: &'a [u8],
        path: &'a [u8],
        method: &'a [u8],
    ) -> impl Iterator<Item = (&'a Rule, Result<Fit, &'static str>)> {
        let mut over = false;
        self.rules.iter().map_while(move |(matcher, rule)| {
            let fit = (!over).then(|| matcher.fit(host, path, method))?;
            over = fit.is_ok();
            Some((rule, fit))
        })
    }

    /// Whether there are rules beside the default one.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The rule of an index that [`rule_for`](Policy::rule_for) gave; any index past the written rules is the default.
    pub fn rule(&self, index: usize) -> &Rule {
        self.rules.get(index).map_or(&self.default_rule, |(_, rule)| rule)
    }

    /// What keeps the responses of a rule apart from those stored under other terms: a digest of the namespace and
    /// of the settings that decide who may be given a response.
    pub fn scope(&self, index: usize) -> u64 {
        self.scopes.get(index).or(self.scopes.last()).copied().unwrap_or_default()
    }

    /// The rule for requests that no written one matches.
    pub const fn default_rule(&self) -> &Rule {
        &self.default_rule
    }

    /// The written rules and which requests they are for. None where there is no operator to show them to.
    pub(crate) fn written_rules(&self) -> impl Iterator<Item = (&Match, &Rule)> {
        self.matches.iter().zip(self.rules.iter().map(|(_, rule)| rule))
    }

    /// The rules that only watch.
    pub fn shadows(&self) -> impl Iterator<Item = &Rule> {
        self.rules().filter(|rule| rule.shadow && !rule.bypass)
    }

    /// Whether tokens of language models are counted for any request.
    #[cfg(feature = "llm")]
    pub fn counts_tokens(&self) -> bool {
        self.rules().any(Rule::counts_tokens)
    }

    /// All rules in the order of their indices, the default rule last.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|(_, rule)| rule).chain([&self.default_rule])
    }
}

/// The settings of the breaker for the remote store.
pub fn remote_breaker(remote: &Remote) -> breaker::Config {
    let Breaker { failure_percent, slow_percent, slow_after, least_calls, window, pause, longest_pause } =
        &remote.breaker;
    breaker::Config {
        bucket: *window / 10,
        least_calls: *least_calls,
        failure_ratio: f64::from(*failure_percent) / 100.0,
        slow_after: slow_after.unwrap_or(remote.timeout / 2),
        slow_ratio: f64::from(*slow_percent) / 100.0,
        first_pause: *pause,
        longest_pause: *longest_pause,
        // Past the deadline of a call Envoy answers in the bridge's place.
        probe_deadline: remote.timeout.saturating_mul(2).max(Duration::from_secs(1)),
        ..breaker::Config::default()
    }
}

/// The settings of the breaker for the origin of a rule.
pub fn origin_breaker(settings: &OriginBreaker) -> breaker::Config {
    let slow_percent = if settings.slow_after.is_some() { settings.slow_percent } else { 0 };
    breaker::Config {
        bucket: settings.window / 10,
        least_calls: settings.least_calls,
        failure_ratio: f64::from(settings.failure_percent) / 100.0,
        slow_after: settings.slow_after.unwrap_or(Duration::MAX),
        slow_ratio: f64::from(slow_percent) / 100.0,
        first_pause: settings.pause,
        longest_pause: settings.longest_pause,
        // A request to an origin has no deadline of ours; a probe that takes longer than this is replaced.
        probe_deadline: settings.slow_after.unwrap_or_default().max(ORIGIN_PROBE),
        probes_to_close: 1,
        outpaced_factor: 0.0,
        ..breaker::Config::default()
    }
}

/// How long the answer to a probe of an origin is waited for, unless slow answers are expected.
const ORIGIN_PROBE: Duration = Duration::from_secs(15);

impl From<Config> for Policy {
    fn from(config: Config) -> Self {
        #[cfg(feature = "batch")]
        let batch = config.batch;
        #[cfg(feature = "pools")]
        let pools = config.pools;
        #[cfg(feature = "foresight")]
        let foresight = config.foresight;
        #[cfg(feature = "llm")]
        let models = Models::new(config.models);
        #[cfg(all(feature = "limits", feature = "llm"))]
        let mut budgets = config.budgets;
        #[cfg(feature = "sessions")]
        let sessions = config.sessions;
        #[cfg(feature = "jobs")]
        let jobs = config.jobs;
        let Config {
            name,
            namespace,
            mut worker,
            mut node,
            remote,
            admin,
            purge,
            warm,
            limits,
            defaults,
            rules,
            ..
        } = config;
        worker.object_bytes = worker.object_bytes.min(worker.bytes);
        node.object_bytes = node.object_bytes.min(usize::try_from(node.bytes).unwrap_or(usize::MAX));
        let namespace_hash = xxh3_64(namespace.as_bytes());
        let has_operators = admin.open || admin.token_env.is_some();
        let matches = rules.iter().filter(|_| has_operators).map(|one| one.matching.clone()).collect();
        #[cfg(feature = "sessions")]
        let (mut rules, mut defaults) = (rules, defaults);
        #[cfg(feature = "sessions")]
        if !sessions.is_empty() {
            rules.iter_mut().for_each(|one| reserved::set_terms(&mut one.rule, &sessions));
            reserved::set_terms(&mut defaults, &sessions);
        }
        let rules: Box<[(Matcher, Rule)]> =
            rules.into_iter().map(|one| (Matcher::new(one.matching), resolved(one.rule, &limits))).collect();
        let default_rule = resolved(defaults, &limits);
        #[cfg(all(feature = "limits", feature = "llm"))]
        budgets.iter_mut().for_each(|budget| budget.identity = identity(budget, namespace_hash));
        #[cfg(all(feature = "limits", feature = "llm"))]
        let (rules, default_rule) = on_budgets(rules, default_rule, &budgets);
        #[cfg(feature = "pools")]
        let (rules, default_rule) = with_pools(rules, default_rule, &pools);
        let scopes = rules
            .iter()
            .map(|(_, rule)| rule)
            .chain([&default_rule])
            .map(|rule| scope(&namespace, rule))
            .collect();
        Policy {
            cache_status_name: cache_status_name(&name),
            label: label(&name),
            worker,
            node,
            remote,
            admin_hosts: Hosts::of(&admin),
            admin,
            purge,
            warm,
            #[cfg(feature = "batch")]
            batch,
            #[cfg(feature = "foresight")]
            foresight,
            #[cfg(feature = "pools")]
            pools: pools.into(),
            limits: limits.into(),
            #[cfg(feature = "llm")]
            models,
            #[cfg(all(feature = "limits", feature = "llm"))]
            budgets: budgets.into(),
            #[cfg(feature = "sessions")]
            reserved: Reserved::of(&sessions),
            #[cfg(feature = "sessions")]
            sessions: sessions.into(),
            #[cfg(feature = "jobs")]
            jobs,
            namespace: namespace_hash,
            namespace_name: namespace,
            name,
            matches,
            scopes,
            rules,
            default_rule,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy::from(Config::default())
    }
}

/// See [`Policy::scope`]. Lifetimes are not in it: a new `ttl` must not empty the stores.
fn scope(namespace: &str, rule: &Rule) -> u64 {
    let Rule {
        cookies, set_cookie, vary, key, targeted, tainting_headers, credential_headers, shadow, ..
    } = rule;
    let isolation = (cookies, set_cookie, vary, key, targeted, tainting_headers, credential_headers);
    let mut terms = format!("{namespace} {isolation:?}");
    // What a rule that only watches has stored came from requests as clients sent them, not as they are keyed.
    if *shadow {
        terms.push_str(" shadow");
    }
    #[cfg(feature = "llm")]
    if let Some(LlmCache { share, ignore, .. }) = rule.llm.as_ref().and_then(|llm| llm.cache.as_ref()) {
        terms.push_str(&format!(" {share:?} {ignore:?}"));
    }
    xxh3_64(terms.as_bytes())
}

/// See [`Budget::identity`]. Sums in another unit, or of another kind of window, are others.
#[cfg(all(feature = "limits", feature = "llm"))]
fn identity(budget: &Budget, namespace: u64) -> u64 {
    let mut text = Vec::with_capacity(64);
    write_sized(budget.name.as_bytes(), &mut text);
    text.extend_from_slice(format!("{} {}", budget.unit().as_str(), budget.window.as_str()).as_bytes());
    text.extend_from_slice(&namespace.to_le_bytes());
    xxh3_64(&text)
}

/// Rules whose requests are on budgets count tokens.
#[cfg(all(feature = "limits", feature = "llm"))]
fn on_budgets(
    mut rules: Box<[(Matcher, Rule)]>,
    mut default_rule: Rule,
    budgets: &[Budget],
) -> (Box<[(Matcher, Rule)]>, Rule) {
    let place_of = |name: &str| budgets.iter().position(|budget| *budget.name == *name);
    for rule in rules.iter_mut().map(|(_, rule)| rule).chain([&mut default_rule]) {
        rule.budgeted = rule.budgets.iter().filter_map(|name| place_of(name)).collect();
        if let Some(llm) = rule.llm.as_mut().filter(|_| !rule.budgeted.is_empty()) {
            llm.usage = LlmUsage::Count;
        }
    }
    (rules, default_rule)
}

/// A field in the key cannot poison: requests that differ in it do not share a response.
fn resolved(mut rule: Rule, limits: &[Limit]) -> Rule {
    #[cfg(feature = "limits")]
    {
        let place_of = |name: &str| limits.iter().position(|limit| *limit.name == *name);
        rule.limited = rule.limits.iter().filter_map(|name| place_of(name)).collect();
        // What limits count is counted.
        #[cfg(feature = "llm")]
        if let Some(llm) = &mut rule.llm
            && llm.usage == LlmUsage::Off
            && rule.limited.iter().filter_map(|at| limits.get(*at)).any(Limit::counts_tokens)
        {
            llm.usage = LlmUsage::Count;
        }
    }
    #[cfg(feature = "llm")]
    models::set_terms(&mut rule);
    let Rule { tainting_headers, credential_headers, vary, key, .. } = &mut rule;
    let unkeyed = |name: &FieldName| !key.headers.contains(name);
    tainting_headers.retain(unkeyed);
    credential_headers.retain(unkeyed);
    vary.require.retain(unkeyed);
    let watched = tainting_headers.iter().chain(credential_headers.iter()).chain(&vary.require);
    rule.watched = Watched::of(watched);
    rule
}

/// Which pool each rule names.
#[cfg(feature = "pools")]
fn with_pools(
    mut rules: Box<[(Matcher, Rule)]>,
    mut default_rule: Rule,
    pools: &[Pool],
) -> (Box<[(Matcher, Rule)]>, Rule) {
    for rule in rules.iter_mut().map(|(_, rule)| rule).chain([&mut default_rule]) {
        let named = rule.admission.as_ref().map(|admission| &admission.pool);
        rule.pool = named.and_then(|name| pools.iter().position(|pool| pool.name == *name));
    }
    (rules, default_rule)
}

fn label(name: &str) -> Box<str> {
    if name == DEFAULT_NAME { "".into() } else { as_label(name, &[]) }
}

/// A name with `_` for what metrics cannot have, which is all but letters, digits, `-`, `_` and these.
fn as_label(name: &str, more: &[char]) -> Box<str> {
    let fits = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_') || more.contains(&sign);
    name.chars().map(|sign| if fits(sign) { sign } else { '_' }).collect::<String>().into()
}

/// As a token where it is one (RFC 9651 §3.3.4), else as a string (§3.3.3).
fn cache_status_name(name: &str) -> Box<str> {
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    if begins && name.bytes().all(token) {
        return name.into();
    }
    format!("\"{}\"", name.replace('\\', r"\\").replace('"', "\\\"")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        Config::parse(json.as_bytes()).unwrap().into()
    }

    #[test]
    fn the_first_rule_that_matches_wins_and_the_default_rule_comes_last() {
        let policy = policy(
            r#"{ "defaults": { "etag": "generate" }, "rules": [
                { "name": "api", "match": { "hosts": ["*.example.com"], "paths": ["/api/*"] }, "bypass": true },
                { "name": "posts", "match": { "methods": ["POST"] } },
                { "name": "apex", "match": { "hosts": ["example.com"] } } ] }"#,
        );
        for (host, path, method, name) in [
            ("a.example.com", "/api/x", "GET", "api"),
            ("a.b.example.com", "/api/", "POST", "api"),
            ("example.com", "/api/x", "GET", "apex"),
            ("example.com", "/api/x", "POST", "posts"),
            ("a.example.com", "/app", "GET", "default"),
            ("notexample.com", "/api/x", "GET", "default"),
        ] {
            let (index, rule) = policy.rule_for(host.as_bytes(), path.as_bytes(), method.as_bytes());
            assert_eq!(&*rule.name, name, "{method} {host}{path}");
            assert_eq!(policy.rule(index), rule);
            assert_eq!(rule.etag, Etag::Generate, "{name} inherits");
        }
        let names: Vec<&str> = policy.rules().map(|rule| &*rule.name).collect();
        assert_eq!(names, ["api", "posts", "apex", "default"]);
    }

    #[test]
    fn without_rules_every_request_gets_the_default_rule() {
        let policy = Policy::default();
        let default = resolved(Rule::default(), &[]);
        assert_eq!(policy.rule_for(b"h", b"/", b"GET"), (0, &default));
        assert_eq!(policy.rule(7), &default);
    }

    #[test]
    fn a_keyed_field_does_not_taint() {
        let policy =
            policy(r#"{ "rules": [ { "name": "r", "key": { "headers": ["X-Forwarded-Host"] } } ] }"#);
        let tainting =
            |index| policy.rule(index).tainting_headers.iter().any(|name| **name == *b"x-forwarded-host");
        assert!(!tainting(0) && tainting(1));
    }

    #[test]
    fn the_identifier_is_a_token_or_a_quoted_string() {
        for (name, shown) in [
            ("Selvage", "Selvage"),
            ("edge-1.example:80/a", "edge-1.example:80/a"),
            ("1st", "\"1st\""),
            ("my cache", "\"my cache\""),
            ("a\"b\\c", r#""a\"b\\c""#),
        ] {
            assert_eq!(&*cache_status_name(name), shown);
        }
    }

    #[test]
    fn a_slow_call_takes_half_of_the_timeout_unless_the_operator_says_otherwise() {
        for (json, millis) in [
            ("{}", 25),
            (r#"{"remote":{"timeout":"2s"}}"#, 1000),
            (r#"{"remote":{"timeout":"2s","breaker":{"slow_after":"30ms"}}}"#, 30),
        ] {
            let config = remote_breaker(&policy(json).remote);
            assert_eq!(config.slow_after, Duration::from_millis(millis), "{json}");
            assert_eq!((config.least_calls, config.failure_ratio), (10, 0.5));
        }
    }

    #[test]
    fn no_object_is_larger_than_its_store() {
        let policy = policy(r#"{ "worker": { "bytes": "64KiB" }, "node": { "bytes": 0 } }"#);
        assert_eq!((policy.worker.object_bytes, policy.node.object_bytes), (64 << 10, 0));
    }

    #[test]
    fn the_set_of_tainting_names_has_them_in_every_spelling_and_few_others() {
        let listed: Vec<Box<[u8]>> =
            crate::config::TAINTING.iter().map(|name| name.as_bytes().into()).collect();
        let watched = Watched::of(listed.iter());
        for name in &listed {
            assert!(watched.may_have(name));
            let respelt: Vec<u8> = name.iter().map(|byte| if *byte == b'-' { b'_' } else { *byte }).collect();
            assert!(watched.may_have(&respelt));
        }
        let common = [
            "accept",
            "accept-encoding",
            "accept-language",
            "user-agent",
            "cookie",
            "referer",
            "host",
            "range",
        ];
        let taken = common.iter().filter(|name| watched.may_have(name.as_bytes())).count();
        assert!(taken <= 1, "{taken}");
    }
}

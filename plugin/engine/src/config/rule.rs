//! What the cache does with the requests of one rule.
//!
//! The same type serves both sides: [`Config`](super::Config) holds it as read, with what the operator left out
//! filled in from `defaults`, and [`Policy`](crate::policy::Policy) hands it to the engine.

use std::time::Duration;

use crate::firewall::Watched;

/// A field name: lower case, a token of RFC 9110 §5.6.2, never a pseudo-header.
pub type FieldName = Box<[u8]>;

/// The settings of one rule, or of the default rule, which serves the requests that no rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Unique. The default rule is called `default`.
    pub name: Box<str>,
    /// Requests pass through as if there were no cache. Default: false.
    pub bypass: bool,
    /// Everything runs except serving: what would be answered from a store goes to the origin all the same and is
    /// compared with what that sends. Default: false.
    pub shadow: bool,
    /// How long a stored response is fresh.
    pub ttl: Ttl,
    /// When a stale response may be served.
    pub stale: Stale,
    /// What the rule changes in the origin's `Vary`.
    pub vary: Vary,
    /// What tells two requests apart, beside scheme, authority and path.
    pub key: Key,
    /// Only these statuses may be stored, in ascending order. Default `None`: all that RFC 9111 §3 allows.
    pub statuses: Option<Vec<u16>>,
    /// What becomes of a response with `Set-Cookie`. Default: [`SetCookie::Refuse`].
    pub set_cookie: SetCookie,
    /// What a request's `Cookie` means. Default: [`Cookies::Isolate`].
    pub cookies: Cookies,
    /// Whether the request's `Cache-Control` is obeyed (RFC 9111 §5.2.1). Default: [`RequestDirectives::Honour`].
    pub request_directives: RequestDirectives,
    /// Targeted cache-control fields in the order in which they are looked for (RFC 9213 §2.2).
    /// Default: `cdn-cache-control`. Empty: only `Cache-Control` counts.
    pub targeted: Vec<FieldName>,
    /// Whether a stored response without a validator is given one. Default: [`Etag::Off`].
    pub etag: Etag,
    /// Which responses are stored compressed.
    pub compression: Compression,
    /// How requests wait for one another's fetch.
    pub coalesce: Coalesce,
    /// How stored responses are renewed without a client waiting for it.
    pub refresh: Refresh,
    /// When the origin is left alone for a while.
    pub origin_breaker: OriginBreaker,
    /// The fields that name a response's tags.
    pub tags: Tags,
    /// Whether the rule's responses are looked up in and sent to the remote store. Default: true.
    pub remote: bool,
    /// A request with one of these fields is not stored, for the origin may answer it differently without the key
    /// telling. One that only repeats what the key says is passed over. [`Policy`](crate::policy::Policy) leaves out
    /// those that the rule keys. Default: [`TAINTING`].
    pub tainting_headers: Vec<FieldName>,
    /// Fields that say who asks: each is treated as `Authorization` is (RFC 9111 §3.5).
    /// [`Policy`](crate::policy::Policy) leaves out those that the rule keys. Default: [`CREDENTIALS`].
    pub credential_headers: Vec<FieldName>,
    /// What becomes of a request for a part of what is not stored.
    pub range: RangeFill,
    /// Whether the response to a POST answers later GETs of the URL that it names itself by (RFC 9110 §9.3.3).
    /// Default: false.
    pub post_answers_get: bool,
    /// The names in `tainting_headers`, `credential_headers` and `vary.require`.
    /// [`Policy`](crate::policy::Policy) works it out.
    pub watched: Watched,
}

/// How long a stored response is fresh (RFC 9111 §4.2.1). None of these makes a response storable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ttl {
    /// Replaces what the origin says. Default: none.
    pub r#override: Option<Duration>,
    /// Used instead of a heuristic when the origin gives no explicit freshness. Default: none.
    pub default: Option<Duration>,
    /// No response is fresh for longer. Default: none.
    pub max: Option<Duration>,
    /// Whether heuristic freshness (RFC 9111 §4.2.2) is used. Default: true.
    pub heuristic: bool,
    /// Heuristic lifetime in percent of the time since `Last-Modified`, 0 to 100. Default: 10.
    pub heuristic_percent: u8,
    /// No heuristic lifetime is longer. Default: one day.
    pub heuristic_max: Duration,
    /// A stored response's lifetime is shorter by up to this share of it, in percent, 0 to 50, so that what was stored
    /// together does not expire together. Default: 0.
    pub jitter: u8,
    /// Lifetime by status when the origin gives no explicit freshness, in ascending order of status; comes before
    /// `default`. Default: empty.
    pub statuses: Vec<(u16, Duration)>,
}

/// When a stale response may be served (RFC 9111 §4.2.4, RFC 5861).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// `stale-while-revalidate` when the origin says nothing. Default: none.
    pub while_revalidate: Option<Duration>,
    /// `stale-if-error` when the origin says nothing. Default: none.
    pub if_error: Option<Duration>,
    /// How long past freshness a response is served when the origin cannot be reached. Zero: never.
    /// Default: ten minutes.
    pub disconnected: Duration,
    /// Statuses that count as an error for `if_error`, in ascending order. Default: 500, 502, 503, 504.
    pub error_statuses: Vec<u16>,
}

/// What the rule changes in the origin's `Vary` (RFC 9111 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vary {
    /// Fields that select nothing although `Vary` names them. Default: empty.
    pub ignore: Vec<FieldName>,
    /// Fields that select although `Vary` does not name them. Default: empty.
    pub add: Vec<FieldName>,
    /// Fields by which a framework sends something else for the same URL: a response to a request with one of them is
    /// stored, and answers such a request, only if its `Vary` or the key names the field. Default: [`SWITCHES`].
    pub require: Vec<FieldName>,
}

/// A request for a part (RFC 9110 §14) of what is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeFill {
    /// The whole is fetched in its place, stored, and the part cut out of it. Default: false.
    pub fill: bool,
    /// Parts that begin past this many bytes are asked for as they are, and so are, for ten minutes, those of a response
    /// that was found to be longer. Default: 8 MiB.
    pub max_bytes: usize,
}

impl Default for RangeFill {
    fn default() -> Self {
        RangeFill { fill: false, max_bytes: 8 << 20 }
    }
}

/// What tells two requests apart, beside scheme, authority and path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Key {
    /// The query's part. Default: the whole query as it came.
    pub query: Query,
    /// Request fields whose values are in the key. Default: empty.
    pub headers: Vec<FieldName>,
    /// Cookies whose values are in the key; names are case-sensitive. Default: empty.
    pub cookies: Vec<Box<[u8]>>,
    /// Requests whose body is in the key. Default: none.
    pub body: Option<BodyKey>,
}

/// The query's part of the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Order of the parameters in the key. Default: [`QueryOrder::Keep`].
    pub order: QueryOrder,
    /// Which parameters are in the key. Default: [`QueryChoice::All`].
    pub choice: QueryChoice,
}

/// Order of the query's parameters in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryOrder {
    /// As the request has them.
    #[default]
    Keep,
    /// Sorted by name, equal names staying in their order.
    Sort,
}

/// Which of the query's parameters are in the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryChoice {
    /// All of them.
    #[default]
    All,
    /// Those that one of the names matches.
    Only(Vec<QueryName>),
    /// Those that none of the names matches.
    Except(Vec<QueryName>),
    /// None: requests that differ in the query alone share a response.
    Drop,
}

impl QueryChoice {
    /// Whether the parameter of this name is in the key. The name is as the request spells it.
    pub fn keeps(&self, name: &[u8]) -> bool {
        match self {
            QueryChoice::All => true,
            QueryChoice::Only(names) => names.iter().any(|pattern| pattern.matches(name)),
            QueryChoice::Except(names) => !names.iter().any(|pattern| pattern.matches(name)),
            QueryChoice::Drop => false,
        }
    }
}

/// The name of a query parameter, or the beginning of one (`utm_*`). Case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryName {
    /// This name and no other.
    Exact(Box<[u8]>),
    /// Every name that begins so; written with a final `*`.
    Prefix(Box<[u8]>),
}

impl QueryName {
    /// Whether a parameter's name is meant.
    pub fn matches(&self, name: &[u8]) -> bool {
        match self {
            QueryName::Exact(exact) => **exact == *name,
            QueryName::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}

/// Requests whose body is in the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyKey {
    /// Methods whose body is in the key; never empty, never `GET` or `HEAD`.
    pub methods: Vec<Box<[u8]>>,
    /// A body of at most so many bytes is in the key as it is, a longer one as its digest. Default: 256.
    pub inline_bytes: usize,
    /// A request with a longer body, in bytes, passes through. Default: 64 KiB.
    pub max_bytes: usize,
}

/// What becomes of a response with `Set-Cookie`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetCookie {
    /// It is not stored.
    #[default]
    Refuse,
    /// It is stored with the cookie, which every later client gets.
    Store,
    /// It is stored without the cookie.
    Strip,
}

/// What a request's `Cookie` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cookies {
    /// Requests with different cookies do not share a response.
    #[default]
    Isolate,
    /// Cookies play no part, save those that the key names.
    Ignore,
    /// A request with a cookie passes through.
    Bypass,
}

/// Whether the request's `Cache-Control` is obeyed (RFC 9111 §5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestDirectives {
    /// As the RFC says.
    #[default]
    Honour,
    /// Clients cannot make the cache ask the origin.
    Ignore,
}

/// Whether a stored response without a validator is given one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Etag {
    /// It stays as the origin sent it.
    #[default]
    Off,
    /// It gets an `ETag` made from its content.
    Generate,
}

/// Which responses are stored compressed, to be sent so to the clients that take gzip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// Whether any are. Default: true.
    pub enabled: bool,
    /// Which media types are, in lower case: `type/subtype`, `type/*`, or a suffix such as `+json` (RFC 6839).
    /// Default: [`COMPRESSIBLE`].
    pub types: Vec<Box<[u8]>>,
    /// The length in bytes from which a body is worth the work. Default: 1 KiB.
    pub min_bytes: usize,
    /// A longer body, in bytes, is stored as it came: compressing it would keep the worker from other requests.
    /// Default: 1 MiB.
    pub max_bytes: usize,
    /// Level of zlib, 1 (fast) to 9 (small). Default: 3.
    pub level: u8,
}

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

/// The fields with which the origin names the tags that a response is purged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    /// Their names. Default: [`TAGGING`].
    pub headers: Vec<FieldName>,
    /// Whether clients do not get them. Default: true.
    pub strip: bool,
}

impl Tags {
    /// Whether a field is kept from clients.
    pub fn strips(&self, name: &[u8]) -> bool {
        self.strip && self.headers.iter().any(|listed| **listed == *name)
    }
}

impl Default for Tags {
    fn default() -> Self {
        Tags { headers: TAGGING.into_iter().map(field).collect(), strip: true }
    }
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            name: DEFAULT_RULE.into(),
            bypass: false,
            shadow: false,
            ttl: Ttl::default(),
            stale: Stale::default(),
            vary: Vary::default(),
            key: Key::default(),
            statuses: None,
            set_cookie: SetCookie::default(),
            cookies: Cookies::default(),
            request_directives: RequestDirectives::default(),
            targeted: vec![field("cdn-cache-control")],
            etag: Etag::default(),
            compression: Compression::default(),
            coalesce: Coalesce::default(),
            refresh: Refresh::default(),
            origin_breaker: OriginBreaker::default(),
            tags: Tags::default(),
            remote: true,
            tainting_headers: TAINTING.into_iter().map(field).collect(),
            credential_headers: CREDENTIALS.into_iter().map(field).collect(),
            range: RangeFill::default(),
            post_answers_get: false,
            watched: Watched::default(),
        }
    }
}

impl Default for Vary {
    fn default() -> Self {
        Vary { ignore: Vec::new(), add: Vec::new(), require: SWITCHES.into_iter().map(field).collect() }
    }
}

impl Default for Ttl {
    fn default() -> Self {
        Ttl {
            r#override: None,
            default: None,
            max: None,
            heuristic: true,
            heuristic_percent: 10,
            heuristic_max: Duration::from_hours(24),
            jitter: 0,
            statuses: Vec::new(),
        }
    }
}

impl Default for Stale {
    fn default() -> Self {
        Stale {
            while_revalidate: None,
            if_error: None,
            disconnected: Duration::from_mins(10),
            error_statuses: vec![500, 502, 503, 504],
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Compression {
            enabled: true,
            types: COMPRESSIBLE.into_iter().map(field).collect(),
            min_bytes: 1 << 10,
            max_bytes: 1 << 20,
            level: 3,
        }
    }
}

impl Default for Coalesce {
    fn default() -> Self {
        Coalesce {
            enabled: true,
            wait: Duration::from_secs(5),
            body_wait: Duration::from_millis(250),
            waiters: 8192,
            fleet: true,
        }
    }
}

impl Default for Refresh {
    fn default() -> Self {
        Refresh { cluster: None, clusters: Vec::new(), timeout: Duration::from_secs(5), early: 0 }
    }
}

impl Default for OriginBreaker {
    fn default() -> Self {
        OriginBreaker {
            enabled: false,
            failure_percent: 50,
            slow_percent: 50,
            slow_after: None,
            least_calls: 20,
            window: Duration::from_secs(10),
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
        }
    }
}

impl Default for BodyKey {
    fn default() -> Self {
        BodyKey { methods: Vec::new(), inline_bytes: 256, max_bytes: 64 << 10 }
    }
}

fn field(name: &str) -> FieldName {
    name.as_bytes().into()
}

/// Name of the rule for requests that no rule matches; no written rule may take it.
pub const DEFAULT_RULE: &str = "default";

/// Fields that some origins let override what the key is made of, or that their frameworks send to themselves: storing the
/// answer would poison the cache for others.
pub const TAINTING: [&str; 33] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-scheme",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-ssl",
    "x-forwarded-server",
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-original-url",
    "x-original-uri",
    "x-forwarded-path",
    "x-original-method",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-matched-path",
    "x-now-route-matches",
    "x-invoke-path",
    "x-invoke-query",
    "x-invoke-output",
    "x-invoke-status",
    "x-invoke-error",
    "x-middleware-subrequest",
    "x-middleware-rewrite",
    "x-vercel-sc-host",
    "x-react-router-spa-mode",
    "x-react-router-prerender-data",
];

/// Fields with which browsers ask a framework for something else than the page: data, a part of it, or a prefetch.
pub const SWITCHES: [&str; 12] = [
    "rsc",
    "next-router-state-tree",
    "next-router-prefetch",
    "next-router-segment-prefetch",
    "next-url",
    "next-action",
    "x-middleware-prefetch",
    "x-nextjs-data",
    "x-inertia",
    "x-pjax",
    "hx-request",
    "turbo-frame",
];

/// Fields beside `Authorization` and `Cookie` that say who asks: keys and tokens of APIs, and what identity proxies add.
pub const CREDENTIALS: [&str; 27] = [
    "x-authorization",
    "x-api-key",
    "x-apikey",
    "api-key",
    "apikey",
    "x-api-token",
    "x-auth-token",
    "x-access-token",
    "x-session-token",
    "x-session-id",
    "x-amz-security-token",
    "x-amzn-oidc-identity",
    "x-amzn-oidc-data",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-ms-client-principal",
    "cf-access-jwt-assertion",
    "x-jwt-assertion",
    "x-id-token",
    "x-user",
    "x-user-id",
    "x-remote-user",
    "remote-user",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-access-token",
    "x-auth-request-user",
];

/// Fields that name tags: of Fastly and others, of several CDNs, of Varnish, and of RFC 9875.
pub const TAGGING: [&str; 4] = ["surrogate-key", "cache-tag", "xkey", "cache-groups"];

/// Texts, and the other types whose content is not compressed already by its nature.
pub const COMPRESSIBLE: [&str; 16] = [
    "text/*",
    "+json",
    "+xml",
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/xml",
    "application/graphql",
    "application/x-ndjson",
    "application/yaml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/bmp",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_choice_keeps_by_name_and_by_beginning() {
        let names = || vec![QueryName::Exact(b"id"[..].into()), QueryName::Prefix(b"utm_"[..].into())];
        for (choice, id, utm, other) in [
            (QueryChoice::All, true, true, true),
            (QueryChoice::Only(names()), true, true, false),
            (QueryChoice::Except(names()), false, false, true),
            (QueryChoice::Drop, false, false, false),
        ] {
            assert_eq!(choice.keeps(b"id"), id, "{choice:?}");
            assert_eq!(choice.keeps(b"utm_source"), utm, "{choice:?}");
            assert_eq!(choice.keeps(b"ID"), other, "{choice:?}");
        }
    }
}

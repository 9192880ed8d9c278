//! Every member of a configuration, described once: the table in `plugin/docs/settings.md` and the JSON Schema are made of this list.
//!
//! The reader does not use it; a test feeds the reader every member's default, bounds and neighbours of the bounds,
//! so that neither can change alone.

use std::ops::RangeInclusive;

use super::limits::*;
use super::read::{COOKIES, DIALECT, ETAG, QUERY_ORDER, REQUEST_DIRECTIVES, SET_COOKIE};
use super::reader::Least::{self, Empty, One};
use super::units::{show_duration, show_size};
use std::time::Duration;

/// One member of a configuration.
pub(crate) struct Member {
    /// From the top, such as `worker.bytes`. Members of `rules[]` stand without it: most are those of `defaults` too.
    pub(crate) path: &'static str,
    pub(super) form: Form,
    /// As JSON; empty if there is none.
    pub(crate) default: &'static str,
    pub(super) meaning: &'static str,
}

/// What a member may hold.
pub(super) enum Form {
    Object,
    NullableObject,
    Rules,
    Switch,
    Whole(RangeInclusive<u64>),
    Size(RangeInclusive<u64>),
    Duration(Millis),
    NullableDuration(Millis),
    Word(Vec<&'static str>),
    Text(Pattern),
    NullableText(Pattern),
    Texts(Least, Pattern),
    /// So many, or none.
    ManyTexts(usize, Pattern),
    NullableTexts(Least, Pattern),
    Wholes(RangeInclusive<u64>),
    NullableWholes(RangeInclusive<u64>),
    DurationByStatus(Millis),
}

/// A text's form: as a regular expression for the schema, which is never more lax than the reader except about
/// reserved names, and in two words for the table.
pub(super) struct Pattern {
    pub(super) expression: &'static str,
    pub(super) chars: usize,
    pub(super) words: &'static str,
}

/// The members outside `defaults` and `rules[]`.
pub(crate) fn top() -> Vec<Member> {
    let cache = Pattern { expression: "^[ -~]+$", chars: NAME_CHARS, words: "text" };
    vec![
        member(
            "name",
            Form::Text(cache),
            "\"Selvage\"",
            "The cache's identifier in `Cache-Status`; one of its own is the label `plugin` of its gauges as well.",
        ),
        member(
            "namespace",
            Form::Text(plain_name()),
            "\"main\"",
            "Caches of one `vm_id` share responses only within a namespace: give each origin its own.",
        ),
        member(
            "remote",
            Form::Object,
            "",
            "The store that a fleet shares: Redis, reached by HTTP calls to a bridge.",
        ),
        member("remote.enabled", Form::Switch, "false", "Whether there is such a store."),
        member("remote.dialect", words(&DIALECT), "\"webdis\"", "What the bridge speaks."),
        member(
            "remote.credentials_env",
            Form::NullableText(variable()),
            "null",
            "Name of the VM's environment variable with the bridge's `user:password` (webdis) or token (upstash).",
        ),
        member(
            "remote.secret_env",
            Form::NullableText(variable()),
            "null",
            "Name of the VM's environment variable with a secret of 16 to 1024 bytes, or two: what is written is signed with the first, and what none has signed is not believed.",
        ),
        member("remote.cluster", Form::Text(cluster()), "\"redis\"", "The bridge's cluster in Envoy."),
        member("remote.authority", Form::Text(cluster()), "\"redis\"", "`:authority` of the calls."),
        member("remote.prefix", Form::Text(plain_name()), "\"selvage\"", "What every key begins with."),
        member(
            "remote.timeout",
            Form::Duration(REMOTE_TIMEOUT),
            "\"50ms\"",
            "How long a request waits for an answer before it goes to the origin.",
        ),
        member(
            "remote.object_bytes",
            Form::Size(REMOTE_OBJECT_BYTES),
            "\"1MiB\"",
            "Largest record that is sent.",
        ),
        member(
            "remote.queue_bytes",
            Form::Size(REMOTE_QUEUE_BYTES),
            "\"16MiB\"",
            "Budget of each worker for records that wait to be sent; past it the oldest are dropped.",
        ),
        member(
            "remote.queue_entries",
            Form::Whole(REMOTE_QUEUE_ENTRIES),
            "1024",
            "Most records and deletions of a worker that wait to be sent.",
        ),
        member(
            "remote.in_flight",
            Form::Whole(REMOTE_IN_FLIGHT),
            "64",
            "Most calls of a worker under way at once.",
        ),
        member(
            "remote.breaker",
            Form::Object,
            "",
            "When a store that fails or is slow is left alone, and for how long; all workers share what one finds.",
        ),
        member(
            "remote.breaker.failure_percent",
            Form::Whole(PERCENT),
            "50",
            "Percentage of failed calls that opens it; `0` never.",
        ),
        member(
            "remote.breaker.slow_percent",
            Form::Whole(PERCENT),
            "50",
            "Percentage of slow calls that opens it; `0` never.",
        ),
        member(
            "remote.breaker.slow_after",
            Form::NullableDuration(BREAKER_SLOW_AFTER),
            "null",
            "A call that takes longer is slow; `null`: half of `remote.timeout`.",
        ),
        member(
            "remote.breaker.least_calls",
            Form::Whole(BREAKER_LEAST_CALLS),
            "10",
            "Fewer calls in the window decide nothing.",
        ),
        member(
            "remote.breaker.window",
            Form::Duration(BREAKER_WINDOW),
            "\"10s\"",
            "How far it looks back, in ten steps.",
        ),
        member(
            "remote.breaker.pause",
            Form::Duration(BREAKER_PAUSE),
            "\"500ms\"",
            "How long it first stays open; each further pause is twice as long.",
        ),
        member(
            "remote.breaker.longest_pause",
            Form::Duration(BREAKER_PAUSE),
            "\"4s\"",
            "How long it stays open at most, `pause` or longer.",
        ),
        member(
            "worker",
            Form::Object,
            "",
            "The store of each worker, in the memory of the worker's VM, which ends at 1 GiB: `bytes`, `filling_bytes`, `inflated_bytes` and `remote.queue_bytes` are 768 MiB at most together.",
        ),
        member(
            "worker.bytes",
            Form::Size(WORKER_BYTES),
            "\"64MiB\"",
            "Budget of each worker's store; `0` disables it.",
        ),
        member("worker.entries", Form::Whole(WORKER_ENTRIES), "65536", "Most responses in a worker's store."),
        member(
            "worker.object_bytes",
            Form::Size(WORKER_OBJECT_BYTES),
            "\"1MiB\"",
            "Largest response in a worker's store.",
        ),
        member(
            "worker.filling_bytes",
            Form::Size(WORKER_FILLING_BYTES),
            "\"32MiB\"",
            "Budget of each worker for bodies that are being stored while they stream.",
        ),
        member(
            "worker.waiting_bytes",
            Form::Size(WORKER_WAITING_BYTES),
            "\"32MiB\"",
            "Budget of each worker for what requests keep while they wait for a store, another's fetch or the origin: head, key, and a body that is in the key. Past it new ones pass by.",
        ),
        member(
            "worker.inflated_bytes",
            Form::Size(WORKER_INFLATED_BYTES),
            "\"8MiB\"",
            "Budget of each worker for the identity form of compressed responses; `0` inflates anew each time.",
        ),
        member(
            "worker.waiters",
            Form::Whole(COALESCE_WAITERS),
            "16384",
            "Most requests of a worker that wait for another's fetch, over all keys.",
        ),
        member("worker.variants", Form::Whole(WORKER_VARIANTS), "16", "Most variants (`Vary`) of one key."),
        member("node", Form::Object, "", "The store that all workers of one Envoy share, in host memory."),
        member(
            "node.bytes",
            Form::Size(NODE_BYTES),
            "\"256MiB\"",
            "Budget of the shared store; of plugins that share it the largest counts. `0`: this one does not use it.",
        ),
        member(
            "node.object_bytes",
            Form::Size(NODE_OBJECT_BYTES),
            "\"4MiB\"",
            "Largest response in the shared store.",
        ),
        member(
            "node.buckets",
            Form::Whole(NODE_BUCKETS),
            "4096",
            "Buckets over which keys are spread, of eight responses each: 4096 hold 32,768 at most. A change counts from the next start of Envoy.",
        ),
        member(
            "node.poll",
            Form::Duration(NODE_POLL),
            "\"100ms\"",
            "How often a worker looks for what others did.",
        ),
        member(
            "admin",
            Form::Object,
            "",
            "Who may purge and warm; without either member nobody, and `PURGE` and `/.selvage/` go to the origin.",
        ),
        member(
            "admin.token_env",
            Form::NullableText(variable()),
            "null",
            "Name of the VM's environment variable with the token that `Authorization: Bearer` must show.",
        ),
        member(
            "admin.open",
            Form::Switch,
            "false",
            "No token is asked for: only where nobody but operators reaches the listener. Not together with `token_env`; what a page of another site asks to change is refused.",
        ),
        member(
            "admin.hosts",
            Form::NullableTexts(One, admin_hosts()),
            "null",
            "Hosts, without port, that operators' requests may come to: `admin.example.com`, `10.0.0.5`, `[fd00::1]`, `*.example.com` (all below it). `null` is every host with `token_env`, and with `open` only `localhost`, `*.localhost`, `127.0.0.0/8` and `[::1]`.",
        ),
        member("purge", Form::Object, "", "How purges of other nodes are judged."),
        member(
            "purge.skew",
            Form::Duration(PURGE_SKEW),
            "\"1s\"",
            "How far the clocks of two nodes may be apart; what comes from the remote store counts as older by so much.",
        ),
        member("warm", Form::Object, "", "What is fetched before a client asks for it."),
        member(
            "warm.urls",
            Form::ManyTexts(WARM_URLS, urls()),
            "[]",
            "Fetched once for each node when it starts; see [Warming](warming.md) for what a cluster is needed for.",
        ),
        member(
            "warm.per_second",
            Form::Whole(WARM_PER_SECOND),
            "10",
            "Fetches of a node in a second, for this list, for `/.selvage/warm` and after purges.",
        ),
        member(
            "warm.in_flight",
            Form::Whole(WARM_IN_FLIGHT),
            "4",
            "Such fetches of a worker under way at once.",
        ),
        member(
            "warm.after_purge_all",
            Form::Whole(WARM_AFTER_PURGE_ALL),
            "0",
            "How many of each worker's hottest keys are fetched anew after a purge of everything.",
        ),
        member(
            "defaults",
            Form::Object,
            "",
            "What a request gets when no rule matches, and what rules inherit.",
        ),
        member("rules", Form::Rules, "[]", "Tried in order; the first whose `match` fits is used."),
    ]
}

/// A name that stands in keys.
fn plain_name() -> Pattern {
    Pattern { expression: "^[A-Za-z0-9._-]+$", chars: NAME_CHARS, words: "name" }
}

/// The name of an environment variable.
fn variable() -> Pattern {
    Pattern { expression: "^[A-Za-z_][A-Za-z0-9_]*$", chars: NAME_CHARS, words: "name" }
}

/// The hosts of operators.
fn admin_hosts() -> Pattern {
    let expression = r"^((\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])$";
    Pattern { expression, chars: HOST_CHARS, words: "hosts" }
}

/// The name of a cluster or an authority.
fn cluster() -> Pattern {
    Pattern { expression: "^[!-~]+$", chars: NAME_CHARS, words: "name" }
}

/// The members that only a rule has.
pub(super) fn rule_only() -> Vec<Member> {
    let name = Pattern { expression: "^[A-Za-z0-9._-]+$", chars: NAME_CHARS, words: "name" };
    let hosts = Pattern {
        expression: r"^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])$",
        chars: HOST_CHARS,
        words: "hosts",
    };
    let paths = Pattern { expression: r##"^[/*][!"$->@-~]*$"##, chars: PATH_CHARS, words: "paths" };
    vec![
        member("name", Form::Text(name), "", "Required and unique."),
        member("match", Form::Object, "", "Which requests the rule is for: those that fit every given list."),
        member(
            "match.hosts",
            Form::Texts(One, hosts),
            "",
            "Hosts without port: `example.com`, `*.example.com` (all below it), `*`.",
        ),
        member(
            "match.paths",
            Form::Texts(One, paths),
            "",
            "Paths without query; `*` stands for any run of characters.",
        ),
        member(
            "match.methods",
            Form::Texts(One, methods()),
            "",
            "Methods; `GET` stands for `HEAD` too, since both share a response.",
        ),
    ]
}

/// The members that `defaults` and every rule share.
pub(crate) fn settings() -> Vec<Member> {
    let types = Pattern {
        expression: r"^([!#$%&'+.^_`|~0-9A-Za-z-]+/(\*|[!#$%&'+.^_`|~0-9A-Za-z-]+)|\+[!#$%&'+.^_`|~0-9A-Za-z-]+)$",
        chars: NAME_CHARS,
        words: "media types",
    };
    let cookie = Pattern { expression: TOKEN, chars: NAME_CHARS, words: "cookie names" };
    vec![
        member("bypass", Form::Switch, "false", "Requests pass through as if there were no cache."),
        member(
            "shadow",
            Form::Switch,
            "false",
            "Everything runs except serving: what would be a hit goes to the origin all the same and is compared with what that \
             sends. What is stored so is never served, nor once this is off again.",
        ),
        member("ttl", Form::Object, "", "How long a stored response is fresh."),
        member(
            "ttl.override",
            Form::NullableDuration(LIFETIME),
            "null",
            "Replaces what the origin says. Never makes a `no-store` or `private` response storable.",
        ),
        member(
            "ttl.default",
            Form::NullableDuration(LIFETIME),
            "null",
            "Used instead of a heuristic when the origin gives no explicit freshness.",
        ),
        member("ttl.max", Form::NullableDuration(LIFETIME), "null", "No response is fresh for longer."),
        member(
            "ttl.heuristic",
            Form::Switch,
            "true",
            "Whether heuristic freshness (RFC 9111 §4.2.2) is used.",
        ),
        member(
            "ttl.heuristic_percent",
            Form::Whole(PERCENT),
            "10",
            "Heuristic lifetime in percent of the time since `Last-Modified`.",
        ),
        member("ttl.heuristic_max", Form::Duration(LIFETIME), "\"1d\"", "No heuristic lifetime is longer."),
        member(
            "ttl.jitter",
            Form::Whole(JITTER),
            "0",
            "Lifetimes are shorter by up to this many percent, so that what was stored together does not expire so.",
        ),
        member(
            "ttl.statuses",
            Form::DurationByStatus(LIFETIME),
            "{}",
            "Lifetime by status when the origin gives no explicit freshness, such as `{\"404\":\"10s\"}`.",
        ),
        member("stale", Form::Object, "", "When a stale response may be served."),
        member(
            "stale.while_revalidate",
            Form::NullableDuration(LIFETIME),
            "null",
            "`stale-while-revalidate` (RFC 5861) when the origin says nothing.",
        ),
        member(
            "stale.if_error",
            Form::NullableDuration(LIFETIME),
            "null",
            "`stale-if-error` (RFC 5861) when the origin says nothing.",
        ),
        member(
            "stale.disconnected",
            Form::Duration(LIFETIME),
            "\"10m\"",
            "How long past freshness a response is served when the origin cannot be reached (RFC 9111 §4.2.4); `0s` never.",
        ),
        member(
            "stale.error_statuses",
            Form::Wholes(ERROR_STATUS),
            "[500,502,503,504]",
            "Statuses that count as an error for `if_error`.",
        ),
        member("vary", Form::Object, "", "What changes in the origin's `Vary`."),
        member(
            "vary.ignore",
            Form::Texts(Empty, fields()),
            "[]",
            "Request fields that select nothing although `Vary` names them.",
        ),
        member(
            "vary.add",
            Form::Texts(Empty, fields()),
            "[]",
            "Request fields that select although `Vary` does not name them.",
        ),
        member(
            "vary.require",
            Form::Texts(Empty, fields()),
            "[\"rsc\",\"next-router-state-tree\",\"next-router-prefetch\",\"next-router-segment-prefetch\",\"next-url\",\"next-action\",\"x-middleware-prefetch\",\"x-nextjs-data\",\"x-inertia\",\"x-pjax\",\"hx-request\",\"turbo-frame\"]",
            "Request fields that switch a framework to another response: with one of them, only a response is stored or used whose `Vary` names it.",
        ),
        member("key", Form::Object, "", "What tells two requests apart, beside scheme, authority and path."),
        member("key.query", Form::Object, "", "The query's part of the key."),
        member(
            "key.query.order",
            words(&QUERY_ORDER),
            "\"keep\"",
            "Whether parameters stand as they came or sorted by name.",
        ),
        member(
            "key.query.only",
            Form::NullableTexts(One, parameters()),
            "null",
            "Only these parameters are in the key; a final `*` means any ending. Excludes `except`.",
        ),
        member(
            "key.query.except",
            Form::NullableTexts(Empty, parameters()),
            "null",
            "These parameters are not in the key; a final `*` means any ending. Excludes `only`.",
        ),
        member("key.query.drop", Form::Switch, "false", "No part of the query is in the key."),
        member(
            "key.headers",
            Form::Texts(Empty, fields()),
            "[]",
            "Request fields whose values are in the key.",
        ),
        member("key.cookies", Form::Texts(Empty, cookie), "[]", "Cookies whose values are in the key."),
        member(
            "key.body",
            Form::NullableObject,
            "null",
            "Requests whose body is in the key. A rule that writes it inherits none of its members.",
        ),
        member("key.body.methods", Form::Texts(One, methods()), "", "Required; not `GET` or `HEAD`."),
        member(
            "key.body.inline_bytes",
            Form::Size(BODY_INLINE_BYTES),
            "\"256B\"",
            "A body up to this size is in the key as it is, a longer one as its digest.",
        ),
        member(
            "key.body.max_bytes",
            Form::Size(BODY_MAX_BYTES),
            "\"64KiB\"",
            "A request with a longer body passes through.",
        ),
        member(
            "statuses",
            Form::NullableWholes(STATUS),
            "null",
            "Only these statuses may be stored; `null`: all that RFC 9111 §3 allows.",
        ),
        member(
            "set_cookie",
            words(&SET_COOKIE),
            "\"refuse\"",
            "A response with `Set-Cookie` is not stored, stored with it, or stored without it.",
        ),
        member(
            "cookies",
            words(&COOKIES),
            "\"isolate\"",
            "Requests with different cookies share no response, or cookies play no part, or a request with cookies passes through.",
        ),
        member(
            "request_directives",
            words(&REQUEST_DIRECTIVES),
            "\"honour\"",
            "Whether the request's `Cache-Control` is obeyed (RFC 9111 §5.2.1).",
        ),
        member(
            "targeted",
            Form::Texts(Empty, fields()),
            "[\"cdn-cache-control\"]",
            "Targeted cache-control fields in the order in which they are looked for (RFC 9213 §2.2).",
        ),
        member("coalesce", Form::Object, "", "Requests for what is not stored wait for one fetch."),
        member("coalesce.enabled", Form::Switch, "true", "Whether they do."),
        member(
            "coalesce.wait",
            Form::Duration(COALESCE_WAIT),
            "\"5s\"",
            "How long a request waits in all before it goes to the origin by itself.",
        ),
        member(
            "coalesce.body_wait",
            Form::Duration(COALESCE_BODY_WAIT),
            "\"250ms\"",
            "How long it goes on waiting once the response's head has come, unless the body's length and pace promise its end within this time.",
        ),
        member(
            "coalesce.waiters",
            Form::Whole(COALESCE_WAITERS),
            "8192",
            "Most requests of a worker that wait for one key; more go to the origin.",
        ),
        member(
            "coalesce.fleet",
            Form::Switch,
            "true",
            "Whether the Envoys that share a remote store wait for one another too (Redis 7.0 or newer).",
        ),
        member(
            "refresh",
            Form::Object,
            "",
            "Responses are renewed by calls of the cache's own while clients are served the stored ones.",
        ),
        member(
            "refresh.cluster",
            Form::NullableText(cluster()),
            "null",
            "The cluster of Envoy's that is called; without it, the one that the rule's responses came from.",
        ),
        member(
            "refresh.clusters",
            Form::Texts(Empty, cluster()),
            "[]",
            "The clusters that may be called where none is configured. Empty: none is, and clients renew.",
        ),
        member("refresh.timeout", Form::Duration(REFRESH_TIMEOUT), "\"5s\"", "How long a call may take."),
        member(
            "refresh.early",
            Form::Whole(REFRESH_EARLY),
            "0",
            "How eagerly what is asked for often is renewed before it expires (XFetch's beta); 0: not.",
        ),
        member(
            "origin_breaker",
            Form::Object,
            "",
            "When an origin that fails or is slow is left alone for a while.",
        ),
        member("origin_breaker.enabled", Form::Switch, "false", "Whether it ever is."),
        member(
            "origin_breaker.failure_percent",
            Form::Whole(PERCENT),
            "50",
            "Percentage of requests that failed from which on no more are sent; 0: never.",
        ),
        member(
            "origin_breaker.slow_percent",
            Form::Whole(PERCENT),
            "50",
            "Percentage of requests that were slow from which on no more are sent; 0: never.",
        ),
        member(
            "origin_breaker.slow_after",
            Form::NullableDuration(ORIGIN_SLOW_AFTER),
            "null",
            "A response whose head takes longer is slow; without it none is.",
        ),
        member(
            "origin_breaker.least_calls",
            Form::Whole(BREAKER_LEAST_CALLS),
            "20",
            "Fewer requests in the window decide nothing.",
        ),
        member("origin_breaker.window", Form::Duration(BREAKER_WINDOW), "\"10s\"", "How far it looks back."),
        member(
            "origin_breaker.pause",
            Form::Duration(BREAKER_PAUSE),
            "\"1s\"",
            "The first pause; each further one is twice as long.",
        ),
        member(
            "origin_breaker.longest_pause",
            Form::Duration(BREAKER_PAUSE),
            "\"30s\"",
            "The longest pause, never shorter than the first.",
        ),
        member(
            "tags",
            Form::Object,
            "",
            "The fields with which the origin names the tags that a response is purged by.",
        ),
        member(
            "tags.headers",
            Form::Texts(Empty, fields()),
            r#"["surrogate-key","cache-tag","xkey","cache-groups"]"#,
            "Their names.",
        ),
        member("tags.strip", Form::Switch, "true", "Clients do not get these fields."),
        member(
            "compression",
            Form::Object,
            "",
            "Which responses are stored compressed, and sent so to clients that take gzip.",
        ),
        member("compression.enabled", Form::Switch, "true", "Whether any are."),
        member(
            "compression.types",
            Form::Texts(Empty, types),
            "[\"text/*\", \"+json\", \"+xml\", \"application/json\", \"application/javascript\", \"application/x-javascript\", \"application/ecmascript\", \"application/xml\", \"application/graphql\", \"application/x-ndjson\", \"application/yaml\", \"application/wasm\", \"application/vnd.ms-fontobject\", \"font/ttf\", \"font/otf\", \"image/bmp\"]",
            "Media types, all subtypes of a type, or a suffix.",
        ),
        member(
            "compression.min_bytes",
            Form::Size(COMPRESSION_MIN_BYTES),
            "\"1KiB\"",
            "A shorter body is stored as it came.",
        ),
        member(
            "compression.max_bytes",
            Form::Size(COMPRESSION_MAX_BYTES),
            "\"1MiB\"",
            "A longer body is stored as it came: compressing it would hold up the worker.",
        ),
        member(
            "compression.level",
            Form::Whole(COMPRESSION_LEVEL),
            "3",
            "Level of zlib: 1 is fast, 9 is small.",
        ),
        member(
            "remote",
            Form::Switch,
            "true",
            "Whether responses are looked up in and sent to the remote store, where there is one.",
        ),
        member(
            "etag",
            words(&ETAG),
            "\"off\"",
            "Whether a stored response without a validator is given an `ETag`.",
        ),
        member(
            "tainting_headers",
            Form::Texts(Empty, fields()),
            "[\"forwarded\",\"x-forwarded-host\",\"x-forwarded-scheme\",\"x-forwarded-port\",\"x-forwarded-prefix\",\"x-forwarded-ssl\",\"x-forwarded-server\",\"x-host\",\"x-http-host-override\",\"x-original-host\",\"x-original-url\",\"x-original-uri\",\"x-forwarded-path\",\"x-original-method\",\"x-rewrite-url\",\"x-scheme\",\"x-url-scheme\",\"front-end-https\",\"x-http-method-override\",\"x-http-method\",\"x-method-override\",\"x-matched-path\",\"x-now-route-matches\",\"x-invoke-path\",\"x-invoke-query\",\"x-invoke-output\",\"x-invoke-status\",\"x-invoke-error\",\"x-middleware-subrequest\",\"x-middleware-rewrite\",\"x-vercel-sc-host\",\"x-react-router-spa-mode\",\"x-react-router-prerender-data\"]",
            "A request with one of these fields passes by, unless `key.headers` names the field or it only repeats what the key says.",
        ),
        member(
            "credential_headers",
            Form::Texts(Empty, fields()),
            "[\"x-authorization\",\"x-api-key\",\"x-apikey\",\"api-key\",\"apikey\",\"x-api-token\",\"x-auth-token\",\"x-access-token\",\"x-session-token\",\"x-session-id\",\"x-amz-security-token\",\"x-amzn-oidc-identity\",\"x-amzn-oidc-data\",\"x-goog-api-key\",\"x-goog-iap-jwt-assertion\",\"x-ms-client-principal\",\"cf-access-jwt-assertion\",\"x-jwt-assertion\",\"x-id-token\",\"x-user\",\"x-user-id\",\"x-remote-user\",\"remote-user\",\"x-forwarded-user\",\"x-forwarded-email\",\"x-forwarded-access-token\",\"x-auth-request-user\"]",
            "Fields that say who asks: each is treated as `Authorization` is, unless `key.headers` names it.",
        ),
        member("range", Form::Object, "", "Requests for a part of what is not stored."),
        member(
            "range.fill",
            Form::Switch,
            "false",
            "The whole is fetched in the part's place, stored, and the part cut out of it.",
        ),
        member(
            "range.max_bytes",
            Form::Size(RANGE_MAX_BYTES),
            "\"8MiB\"",
            "A part that begins past this is asked for as it is, and so are those of a longer response once that is known.",
        ),
        member(
            "post_answers_get",
            Form::Switch,
            "false",
            "Whether the response to a POST answers later GETs of the URL that its `Content-Location` says it is (RFC 9110 §9.3.3).",
        ),
    ]
}

/// The table of `plugin/docs/settings.md`, in Markdown.
pub fn markdown() -> String {
    let mut table = String::from("| member | holds | default | meaning |\n|---|---|---|---|\n");
    let settings_of_rules = settings();
    for (prefix, members) in [("", top()), ("rules[].", rule_only()), ("rules[].", settings_of_rules)] {
        for Member { path, form, default, meaning } in &members {
            let default = match (form, default.is_empty()) {
                (Form::Object, _) | (_, true) => String::new(),
                _ => format!("`{}`", default.replace(',', ", ")),
            };
            let holds = form.in_words().replace('|', "\\|");
            table.push_str(&format!("| `{prefix}{path}` | {holds} | {default} | {meaning} |\n"));
        }
    }
    table.push_str(
        "\n`defaults` has the members of `rules[]` except `name` and `match`. A rule inherits every member that it \
         does not write;\nlists and `ttl.statuses` are inherited or replaced as a whole.\n",
    );
    table
}

impl Form {
    /// For the table.
    fn in_words(&self) -> String {
        let ends = |bounds: &RangeInclusive<u64>, show: fn(u64) -> String| {
            format!("{} to {}", show(*bounds.start()), show(*bounds.end()))
        };
        let millis = |millis| show_duration(Duration::from_millis(millis));
        let texts = |least: &Least, pattern: &Pattern| match least {
            Empty => format!("list of {}", pattern.words),
            One => format!("list of {}, not empty", pattern.words),
        };
        match self {
            Form::Object => "object".into(),
            Form::NullableObject => "object or `null`".into(),
            Form::Rules => format!("list of at most {RULES} rules"),
            Form::Switch => "`true` or `false`".into(),
            Form::Whole(bounds) => ends(bounds, |number| number.to_string()),
            Form::Size(bounds) => format!("size, {}", ends(bounds, show_size)),
            Form::Duration(bounds) => format!("duration, {}", ends(bounds, millis)),
            Form::NullableDuration(bounds) => format!("duration, {}, or `null`", ends(bounds, millis)),
            Form::Word(words) => {
                words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or ")
            }
            Form::Text(pattern) => pattern.words.into(),
            Form::NullableText(pattern) => format!("{} or `null`", pattern.words),
            Form::Texts(least, pattern) => texts(least, pattern),
            Form::ManyTexts(most, pattern) => format!("list of at most {most} {}", pattern.words),
            Form::NullableTexts(least, pattern) => format!("{}, or `null`", texts(least, pattern)),
            Form::Wholes(bounds) => format!("list of {}", ends(bounds, |number| number.to_string())),
            Form::NullableWholes(bounds) => {
                format!("list of {}, not empty, or `null`", ends(bounds, |number| number.to_string()))
            }
            Form::DurationByStatus(_) => "object from status to duration".into(),
        }
    }
}

fn member(path: &'static str, form: Form, default: &'static str, meaning: &'static str) -> Member {
    Member { path, form, default, meaning }
}

fn words<T>(words: &[(&'static str, T)]) -> Form {
    Form::Word(words.iter().map(|(word, _)| *word).collect())
}

fn fields() -> Pattern {
    Pattern { expression: TOKEN, chars: NAME_CHARS, words: "field names" }
}

fn methods() -> Pattern {
    Pattern { expression: "^[!#$%&'*+.^_`|~0-9A-Z-]+$", chars: NAME_CHARS, words: "methods" }
}

fn urls() -> Pattern {
    Pattern { expression: "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$", chars: PATH_CHARS, words: "URLs" }
}

fn parameters() -> Pattern {
    Pattern { expression: r##"^[!"$%'-)+-<>-~]*\*?$"##, chars: NAME_CHARS, words: "parameter names" }
}

/// A token of RFC 9110 §5.6.2.
const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_every_member() {
        let table = markdown();
        let members = top().len() + rule_only().len() + settings().len();
        assert_eq!(table.lines().filter(|line| line.starts_with("| `")).count(), members);
        assert!(table.contains("| `worker.bytes` | size, 0B to 700MiB | `\"64MiB\"` |"), "{table}");
        assert!(table.contains("| `rules[].key.query.drop` |"), "{table}");
    }
}

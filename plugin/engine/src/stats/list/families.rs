//! The families and their words.

use super::Family;
use super::Kind::{Counter, Gauge, Histogram};

/// The kinds of tokens of language models. Each token is of one kind.
#[cfg(feature = "llm")]
pub const TOKENS: &[&str] = &["input", "cached", "cache-write", "output", "reasoning"];

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "requests",
        kind: Counter,
        unit: "requests",
        labels: &["result", "tier"],
        words: &[
            "hit.worker",
            "hit.node",
            "hit.remote",
            "stale.worker",
            "stale.node",
            "stale.remote",
            "stale.origin",
            "collapsed.worker",
            "collapsed.node",
            "collapsed.remote",
            "validated.origin",
            "miss.origin",
            "bypass.origin",
            "refused.none",
        ],
        meaning: "Requests of clients, each counted once: what came of it, and the farthest place that it had to go to. \
                  `hit` and `stale` are answered from a store, `collapsed` too, after waiting for another request's fetch; \
                  `validated` by a 304 of the origin; `miss` and `bypass` by the origin; `refused` by nobody \
                  (`only-if-cached`, the origin is left alone, a limit is reached, or the rule is in maintenance).",
    },
    Family {
        name: "fwd",
        kind: Counter,
        unit: "requests",
        labels: &["reason"],
        words: &["bypass", "method", "uri-miss", "vary-miss", "request", "stale", "partial"],
        meaning: "Requests that were no hit, by the reason (`fwd` of `Cache-Status`).",
    },
    Family {
        name: "detail",
        kind: Counter,
        unit: "requests",
        labels: &["detail"],
        words: &[
            "worker",
            "node",
            "remote",
            "validated",
            "stale-while-revalidate",
            "stale-if-error",
            "disconnected",
            "max-stale",
            "only-if-cached",
            "origin-open",
            "rule",
            "shadow",
            "cookie",
            "precondition",
            "upgrade",
            "get-with-body",
            "ambiguous-path",
            "control-bytes",
            "ambiguous-authority",
            "ambiguous-length",
            "unkeyed-header",
            "method-override",
            "scheme-mismatch",
            "request-no-store",
            "no-store",
            "private",
            "authorization",
            "set-cookie",
            "vary-star",
            "partial",
            "status",
            "must-understand",
            "no-freshness",
            "no-cache",
            "too-large",
            "filling-limit",
            "waiting-limit",
            "request-body-too-large",
            "purged",
            "other-validator",
            "many-tags",
            #[cfg(feature = "pools")]
            "overload",
            #[cfg(feature = "limits")]
            "limited",
            #[cfg(all(feature = "limits", feature = "llm"))]
            "budget",
            #[cfg(feature = "llm")]
            "other-api",
            #[cfg(feature = "llm")]
            "ambiguous-json",
            #[cfg(feature = "llm")]
            "not-deterministic",
            #[cfg(feature = "llm")]
            "stateful",
            #[cfg(feature = "llm")]
            "no-answer",
            #[cfg(feature = "llm")]
            "fallback",
            #[cfg(feature = "llm")]
            "by-input",
            #[cfg(feature = "llm")]
            "merged",
            #[cfg(feature = "batch")]
            "batch",
            #[cfg(feature = "batch")]
            "batch-refused",
            #[cfg(feature = "batch")]
            "part-failed",
            #[cfg(feature = "batch")]
            "part-late",
            #[cfg(feature = "batch")]
            "part-too-large",
            #[cfg(feature = "sessions")]
            "no-session",
            #[cfg(feature = "sessions")]
            "session-unknown",
            #[cfg(feature = "jobs")]
            "job",
            #[cfg(feature = "maintenance")]
            "maintenance",
            #[cfg(feature = "uploads")]
            "upload-too-large",
            #[cfg(feature = "uploads")]
            "upload-type",
            #[cfg(feature = "uploads")]
            "upload-content",
            #[cfg(feature = "uploads")]
            "upload-coding",
            #[cfg(feature = "uploads")]
            "upload-form",
            #[cfg(feature = "teapot")]
            "teapot",
        ],
        meaning: "Requests by the `detail` of `Cache-Status`, where there is one.",
    },
    #[cfg(feature = "pools")]
    Family {
        name: "pool_requests",
        kind: Counter,
        unit: "requests",
        labels: &["rule", "result"],
        words: &["went", "waited", "full", "refused", "stale", "left", "shadow"],
        meaning: "Requests of rules with `admission` that no store could answer: gone to the origin at once, or after waiting; \
                  refused because the queue was `full`, or because they had waited enough or made way for a higher class; \
                  answered `stale` instead of refused; whose clients have `left` while they waited; and those that would have \
                  waited or been refused, but for `shadow`.",
    },
    #[cfg(feature = "pools")]
    Family {
        name: "pool",
        kind: Gauge,
        unit: "requests",
        labels: &["pool", "figure"],
        words: &["limit", "in-flight", "waiting-high", "waiting-normal", "waiting-low"],
        meaning: "Of each pool: how many requests may be at its origin, how many are, and how many of each class wait.",
    },
    #[cfg(feature = "pools")]
    Family {
        name: "pool_shed",
        kind: Counter,
        unit: "requests",
        labels: &["pool", "class"],
        words: &["high", "normal", "low"],
        meaning: "Requests that a pool did not let go to its origin, by their class: refused, or answered `stale` instead.",
    },
    #[cfg(feature = "pools")]
    Family {
        name: "pool_shed_for",
        kind: Counter,
        unit: "requests",
        labels: &["pool", "reason"],
        words: &["full", "memory", "waited", "displaced"],
        meaning: "The same requests by the reason: the queue was `full`, those who wait keep as many bytes as they may \
                  (`worker.waiting_bytes`), they had `waited` enough, or made way for others (`displaced`).",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_answers",
        kind: Counter,
        unit: "responses",
        labels: &["result"],
        words: &["complete", "cut", "error", "refused", "unfinished", "unreadable"],
        meaning: "Answers of language models that were to be stored, by how they ended. Only those that are `complete` are stored: not \
                  those that were `cut`, tell of an `error`, were `refused` by a content filter, are `unfinished` for another reason, or \
                  have something in them that cannot be read.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_fallbacks",
        kind: Counter,
        unit: "requests",
        labels: &["reason"],
        words: &["open", "limit", "budget", "too-many", "error", "failed"],
        meaning: "Requests to language models for which another was asked (`llm.fallback`): the breaker was `open`, a `limit` or a `budget` refused, or the \
                  model had answered 429 (`too-many`) or with an `error`. `failed`: calls after such an answer that have brought nothing better.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_inputs",
        kind: Counter,
        unit: "inputs",
        labels: &["result"],
        words: &["stored", "asked", "merged"],
        meaning: "Inputs of requests for embeddings under a rule with `llm.embeddings`: of requests with several, those that were \
                  `stored`, and those that were `asked` for by a call because only they were missing; and those of requests with one \
                  that were `merged` with others.",
    },
    #[cfg(feature = "batch")]
    Family {
        name: "batch",
        kind: Counter,
        unit: "batches",
        labels: &["event"],
        words: &["answered", "late", "refused", "left"],
        meaning: "Requests for several GETs at once: `answered`, of which those were `late` that had to do without some parts;                   `refused` as a whole; and those whose clients have `left`, or whose jobs were cancelled. They do not count in `requests`, their parts do.",
    },
    #[cfg(feature = "batch")]
    Family {
        name: "batch_parts",
        kind: Counter,
        unit: "parts",
        labels: &["result"],
        words: &["answered", "refused", "failed", "late", "too-large", "waiting-limit"],
        meaning: "Parts of batches: `answered` as a request of its own would be, whatever the status; `refused`, since it may not be                   asked for in a batch; `failed`, without a whole answer; `late`, past `batch.timeout`, or `jobs.timeout`; `too-large` for what                   `batch.response_bytes` has left; or past what `worker.waiting_bytes` has room for.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_calls",
        kind: Counter,
        unit: "calls",
        labels: &["event"],
        words: &["partial", "merged", "failed", "refused", "unusable"],
        meaning: "Calls to `llm.embeddings.cluster`: for what was missing of a request (`partial`), or for several requests \
                  (`merged`). Of these came to nothing those that `failed`, were `refused` by the provider (4xx), or were answered \
                  with something else than an embedding for each input (`unusable`); their requests have gone to the origin.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_requests",
        kind: Counter,
        unit: "requests",
        labels: &["model", "usage"],
        words: &["told", "estimated", "saved"],
        meaning: "Requests to language models under a rule that counts, by model and by how their tokens are known: `told` by the \
                  provider, or `estimated` at least in part, since the answer has ended before its end or says nothing of them. \
                  `saved`: answered from a store. Models without an entry in `models` are `other`.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_tokens",
        kind: Counter,
        unit: "tokens",
        labels: &["model", "kind"],
        words: TOKENS,
        meaning: "Tokens that providers have counted, or that are estimated, by model. Each token is in one kind: `cached` and \
                  `cache-write` are not in `input`, `reasoning` is not in `output`.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_saved_tokens",
        kind: Counter,
        unit: "tokens",
        labels: &["model", "kind"],
        words: TOKENS,
        meaning: "The same of answers from a store: what their providers have counted when they gave them.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_cost_nanos",
        kind: Counter,
        unit: "10⁻⁹ of the currency",
        labels: &["model", "result"],
        words: &["spent", "saved"],
        meaning: "What these tokens cost by `models`, in thousand-millionths of the currency in which prices are written.",
    },
    #[cfg(all(feature = "limits", feature = "llm"))]
    Family {
        name: "budget_requests",
        kind: Counter,
        unit: "requests",
        labels: &["budget", "result"],
        words: &["admitted", "refused", "beyond"],
        meaning: "Requests to language models by what each budget made of them. `beyond`: admitted, though they lie beyond a budget \
                  that refuses nothing.",
    },
    #[cfg(all(feature = "limits", feature = "llm"))]
    Family {
        name: "budget_units",
        kind: Counter,
        unit: "10⁻⁹ of the currency, or tokens",
        labels: &["budget", "what"],
        words: &["spent", "overrun"],
        meaning: "What requests have cost that are on a budget, in its unit; `overrun`: so much of it was more than was reserved for \
                  them.",
    },
    #[cfg(all(feature = "limits", feature = "llm"))]
    Family {
        name: "budget_events",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        words: &["asked", "failed", "waited", "crowded", "threshold"],
        meaning: "What budgets did beside that: questions to Redis, and those that it did not answer; requests that waited for it; \
                  those for whose account there was no room; thresholds of `soft` that were passed.",
    },
    #[cfg(feature = "jobs")]
    Family {
        name: "jobs",
        kind: Counter,
        unit: "jobs",
        labels: &["event"],
        words: &[
            "accepted",
            "repeated",
            "forwarded",
            "unavailable",
            "started",
            "succeeded",
            "retried",
            "dead",
            "cancelled",
            "given-back",
            "expired",
            "late",
            "bad",
            "failed",
        ],
        meaning: "What became of jobs: accepted, or asked for once more with the same `Idempotency-Key`; gone to the origin at once since Redis could not be asked, \
                  or answered 503; started, and what came of it: a response that ends it, a failure after which it is tried again, the last one, \
                  or no place at the origin (`given-back`). Cancelled by clients. Leases that had run out (`expired`), and what came of a job after that (`late`). \
                  What Redis has and nobody can read (`bad`), and questions that it did not answer (`failed`).",
    },
    #[cfg(feature = "jobs")]
    Family {
        name: "jobs_kept",
        kind: Gauge,
        unit: "jobs",
        labels: &["plugin", "state"],
        words: &["due", "leased", "dead", "done"],
        meaning: "Jobs that Redis has of the whole fleet: those that wait, those under way, those that are dead, and those whose results are \
                  kept. One worker of each Envoy says it: take the maximum of a fleet, not the sum.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_streams",
        kind: Counter,
        unit: "responses",
        labels: &["result"],
        words: &["whole", "origin", "client", "timeout"],
        meaning: "Streams of language models that have passed under a rule that counts, by who ended them: they were `whole`, the \
                  `origin` broke off, the `client` has left, or a `timeout` of Envoy was over. `live` has those that are passing.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_events",
        kind: Counter,
        unit: "events",
        labels: &["kind"],
        words: &["content", "other"],
        meaning: "Events of these streams, once they have ended: those with something that the model has written, and the others.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_stream_ms",
        kind: Histogram,
        unit: "milliseconds",
        labels: &["step"],
        words: &["first-event", "first-content", "gap", "duration"],
        meaning: "Of each of these streams: from when its request went to the provider to the first event, and to the first with \
                  something that the model has written; the longest time between two events; and from the request to the end.",
    },
    #[cfg(feature = "llm")]
    Family {
        name: "llm_tokens_per_second",
        kind: Histogram,
        unit: "tokens per second",
        labels: &["kind"],
        words: &["output"],
        meaning: "How fast each of these streams was written: its tokens by the time from the first event with something that the \
                  model has written to the last such. Those that came at once are left out.",
    },
    #[cfg(feature = "limits")]
    Family {
        name: "limit_requests",
        kind: Counter,
        unit: "requests",
        labels: &["limit", "result"],
        words: &["admitted", "refused", "shadow"],
        meaning: "Requests by what each limit made of them. Where one refuses, the others count nothing. `shadow`: admitted, though \
                  this limit would have refused them, did it not only watch.",
    },
    #[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
    Family {
        name: "minified",
        kind: Counter,
        unit: "responses",
        labels: &["result"],
        words: &["kept", "as-it-was"],
        meaning: "Responses that were to be stored without white space (`compression.minify_json`): `kept` so, or `as-it-was`, \
                  since they had none or were no JSON.",
    },
    #[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
    Family {
        name: "minified_bytes",
        kind: Counter,
        unit: "bytes",
        labels: &["part"],
        words: &["in", "out"],
        meaning: "Bytes of the content of responses that were stored without white space, before and after.",
    },
    #[cfg(feature = "uploads")]
    Family {
        name: "uploads",
        kind: Counter,
        unit: "requests",
        labels: &["result"],
        words: &["passed", "refused", "shadow"],
        meaning: "Requests whose body was checked, by what came of it; `detail` has the reasons of those `refused`. `shadow`: \
                  a rule that only watches would have refused it. A body that has not come whole is not among the `passed`.",
    },
    #[cfg(feature = "limits")]
    Family {
        name: "limits",
        kind: Counter,
        unit: "requests",
        labels: &["rule", "result"],
        words: &["admitted", "refused", "shadow"],
        meaning: "Requests under a rule with `limits`, by what those said. `shadow`: admitted, though a limit that only watches \
                  would have refused them; they are among the `admitted`.",
    },
    #[cfg(feature = "sessions")]
    Family {
        name: "sessions",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        words: &[
            "no-cookie",
            "unsigned",
            "forged",
            "copy",
            "waited",
            "not-asked",
            "found",
            "absent",
            "expired",
            "malformed",
            "too-large",
            "failed",
            "overtaken",
            "kept",
            "not-kept",
            "dropped",
            "stripped",
        ],
        meaning: "What workers did about sessions. Of requests: without the cookie, with one that is not signed or not rightly,                   whose session was known by a `copy`, that `waited` for Redis, or that could not (`not-asked`). Of questions to                   Redis: what they found, those that `failed`, and those that were `overtaken` by a purge or a change and are                   asked once more. Sessions that Redis keeps anew (`kept`) or refuses to, copies that were `dropped` because a                   request of the session may have changed it, and requests from which a field was `stripped` that only sessions                   may set.",
    },
    #[cfg(feature = "limits")]
    Family {
        name: "limit_events",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        words: &[
            "asked",
            "returned",
            "crowded",
            "contended",
            "fleet-asked",
            "fleet-granted",
            "fleet-failed",
            "fleet-waited",
        ],
        meaning: "What workers did about limits: questions to the node's pool, and tokens given back to it unspent. `crowded`: requests \
                  whose key shares a quota with others, since `node.limit_keys` are in use; `contended`: refused because other \
                  workers were first 16 times. Of the fleet: questions to Redis, those to which it lent tokens, those to which \
                  no answer came that could be used, and requests that waited for one.",
    },
    #[cfg(feature = "limits")]
    Family {
        name: "limit_keys",
        kind: Gauge,
        unit: "keys or bytes",
        labels: &["plugin", "what"],
        words: &["known", "bytes"],
        meaning: "Keys of limits that workers remember something of, and the bytes that it takes, of all workers together.",
    },
    Family {
        name: "shadow_requests",
        kind: Counter,
        unit: "requests",
        labels: &["rule", "result"],
        words: &["hit", "stale", "collapsed", "miss"],
        meaning: "Requests under a rule that only watches (`shadow`), by what they would have been: answered from a store, \
                  fresh or stale; from there after another request's fetch; by the origin. In `requests` they are `bypass` \
                  and `miss`, which is what they were.",
    },
    Family {
        name: "shadow_bytes",
        kind: Counter,
        unit: "bytes",
        labels: &["rule", "result"],
        words: &["hit", "stale"],
        meaning: "Bytes of bodies that a store would have sent. For a stale one the origin would have been asked too, in the background.",
    },
    Family {
        name: "shadow_compared",
        kind: Counter,
        unit: "responses",
        labels: &["rule", "result"],
        words: &["same", "mismatch", "unknown"],
        meaning: "What the origin sent to a request that would have been a fresh hit, beside what the store would have \
                  answered with: status, content and the fields that tell what it is. `mismatch`: another response, so the key \
                  lacks something, or it changed within its lifetime; `unknown`: nothing to compare, as with HEAD, an error of \
                  the origin, or a client that left.",
    },
    Family {
        name: "responses",
        kind: Counter,
        unit: "responses",
        labels: &["event"],
        words: &["stored"],
        meaning: "Responses to clients' requests of which `Cache-Status` says `stored`.",
    },
    Family {
        name: "firewall",
        kind: Counter,
        unit: "requests",
        labels: &["vector"],
        words: &[
            "get-with-body",
            "ambiguous-path",
            "control-bytes",
            "ambiguous-authority",
            "ambiguous-length",
            "unkeyed-header",
            "method-override",
            "scheme-mismatch",
        ],
        meaning: "Requests that a defence kept away from the store, by the attack that they resemble.",
    },
    Family {
        name: "served_bytes",
        kind: Counter,
        unit: "bytes",
        labels: &["tier"],
        words: &["worker", "node", "remote", "origin"],
        meaning: "Bytes of bodies sent to clients, by the store they came from; `origin`: those relayed, as far as their length \
                  was told or they were being stored. Of responses that pass unread one in 64 is read and counts for all of them; \
                  of those of a bypass with `cache_status: \"off\"` none.",
    },
    Family {
        name: "stored_bytes",
        kind: Counter,
        unit: "bytes",
        labels: &["tier"],
        words: &["worker", "node", "remote"],
        meaning: "Bytes of responses put into a store, heads and keys included; `remote`: sent to it.",
    },
    Family {
        name: "entries",
        kind: Gauge,
        unit: "responses",
        labels: &["plugin", "tier"],
        words: &["worker", "node"],
        meaning: "Stored responses and indexes of variants; `worker`: of all workers together; `node`: as the \
                  audits counted them, which takes about a minute.",
    },
    Family {
        name: "bytes",
        kind: Gauge,
        unit: "bytes",
        labels: &["plugin", "tier"],
        words: &["worker", "node"],
        meaning: "What they take of the budget.",
    },
    Family {
        name: "bytes_limit",
        kind: Gauge,
        unit: "bytes",
        labels: &["plugin", "tier"],
        words: &["worker", "node"],
        meaning: "The budget: `worker.bytes` for each worker that has served a request; the largest `node.bytes` of the plugins \
                  that share the node store. A plugin that another configuration has followed counts again with its next request.",
    },
    Family {
        name: "evicted",
        kind: Counter,
        unit: "responses",
        labels: &["tier"],
        words: &["worker", "node"],
        meaning: "Stored responses that went, or were not let in, for want of room.",
    },
    Family {
        name: "expired",
        kind: Counter,
        unit: "responses",
        labels: &["tier"],
        words: &["worker", "node"],
        meaning: "Stored responses that went because they were of no more use.",
    },
    Family {
        name: "duration_us",
        kind: Histogram,
        unit: "microseconds",
        labels: &["step"],
        words: &[
            "key",
            "lookup",
            "store",
            "compress",
            "remote-lookup",
            "remote-write",
            "refresh",
            "origin",
            "pool",
        ],
        meaning: "How long a step took. `key`, `lookup` (worker and node store) and `origin` are measured for one request in 64 \
                  of each worker, which keeps what measures off the hot path; the others each time. `origin` is the time to the \
                  head of a response to a miss, in whole milliseconds. `pool` is how long a request waited for a place at its origin.",
    },
    Family {
        name: "compression",
        kind: Counter,
        unit: "responses",
        labels: &["result"],
        words: &["kept", "not-worth-it"],
        meaning: "Responses that were compressed to be stored, and whether that saved enough.",
    },
    Family {
        name: "compression_bytes",
        kind: Counter,
        unit: "bytes",
        labels: &["form", "type"],
        words: &[
            "in.json",
            "in.html",
            "in.script",
            "in.css",
            "in.xml",
            "in.image",
            "in.other",
            "out.json",
            "out.html",
            "out.script",
            "out.css",
            "out.xml",
            "out.image",
            "out.other",
        ],
        meaning: "Bytes before and after of those that were kept compressed: `out` divided by `in` is the ratio.",
    },
    Family {
        name: "coalesce",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        words: &[
            "too-many-fills",
            "too-many-waiters",
            "waited-enough",
            "polled-enough",
            "late",
            "slow-body",
            "nested",
        ],
        meaning: "Requests that did not, or no longer, wait for another's fetch; `late`: a fetch outlasted its claim and was not \
                  sent to the remote store. Those that waited and were answered are `requests` with `result=\"collapsed\"`.",
    },
    Family {
        name: "refresh",
        kind: Counter,
        unit: "refreshes",
        labels: &["event"],
        words: &[
            "queued",
            "sent",
            "stored",
            "freshened",
            "not-storable",
            "failed",
            "busy",
            "paused",
            "elsewhere",
            "adopted",
            "unknown-cluster",
            "several-clusters",
        ],
        meaning: "Requests of the cache's own that renew stored responses.",
    },
    Family {
        name: "warm",
        kind: Counter,
        unit: "URLs",
        labels: &["event"],
        words: &["queued", "sent", "retried", "refused", "fresh", "stored", "unstored", "failed"],
        meaning: "URLs to be fetched before a client asks: taken, tried again, not taken, and what came of them.",
    },
    #[cfg(feature = "foresight")]
    Family {
        name: "ghost",
        kind: Counter,
        unit: "responses",
        labels: &["store"],
        words: &["eighth", "quarter", "half", "double", "beyond"],
        meaning: "Responses that were fetched again after they had left the store to make room and would still have been fresh (`foresight.stores`), by how much \
                  larger the store would have had to be to have them: by an eighth of what it may hold, a quarter, a half, as much again, or more (`beyond`).",
    },
    #[cfg(feature = "foresight")]
    Family {
        name: "foretold",
        kind: Counter,
        unit: "responses",
        labels: &["event"],
        words: &["sent", "renewed", "elsewhere", "unstored", "failed", "left", "late", "gained", "unasked"],
        meaning: "Stored responses that will be asked for and are renewed before they expire (`warm.predict`): requests sent; what came of them: renewed, \
                  renewed by another worker or Envoy, not stored, failed, not sent since it may not be or since it was too late; `gained`: renewed and then a hit after \
                  the old one had expired; `unasked`: renewed, and expired without having been asked for.",
    },
    Family {
        name: "explain",
        kind: Counter,
        unit: "requests",
        labels: &["event"],
        words: &["asked", "granted", "refused"],
        meaning: "Explanations: operators that asked, exchanges explained to whoever showed the token, and what was not.",
    },
    Family {
        name: "origin",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        words: &[
            "refused",
            "opened-by-failures",
            "opened-by-slowness",
            "reopened",
            "half-opened",
            "recovered",
            "adopted",
            "probes",
            "lost-probes",
        ],
        meaning: "What the origins' breakers did; `refused`: requests that did not go to an origin.",
    },
    Family {
        name: "origin_state",
        kind: Gauge,
        unit: "origins",
        labels: &["plugin", "state"],
        words: &["open"],
        meaning: "Origins that are left alone, the numbers of all workers together.",
    },
    Family {
        name: "remote",
        kind: Counter,
        unit: "calls",
        labels: &["result"],
        words: &[
            "lookups",
            "batches",
            "found",
            "absent",
            "claimed",
            "forged",
            "written",
            "deleted",
            "dropped",
            "open",
            "busy",
            "unfit",
            "dispatch",
            "timeout",
            "unreachable",
            "reset",
            "status",
            "redis-error",
            "malformed",
            "too-large",
            "unauthorized",
        ],
        meaning: "Calls to the remote store by their result; `lookups` are all questions, `batches` calls with several of them or several writes, `claimed` those for which another Envoy \
                  fetches, `forged` what no secret of `remote.secret_env` has signed. `open`, `busy` and `unfit` were not made; `dropped` were taken out of a full queue.",
    },
    Family {
        name: "remote_state",
        kind: Gauge,
        unit: "1 or 0",
        labels: &["plugin", "state"],
        words: &["ready", "not-ready"],
        meaning: "Whether the remote store has answered a probe well: one of them is 1, and both are 0 once no plugin uses one. \
                  Plugins of one `name` and several namespaces add up.",
    },
    Family {
        name: "remote_writes",
        kind: Gauge,
        unit: "1 or 0",
        labels: &["plugin", "state"],
        words: &["ok", "refusing", "silent"],
        meaning: "What becomes of what is written to the remote store: one of them is 1. `refusing`: it answers with errors, \
                  `silent`: not at all, while lookups are answered.",
    },
    Family {
        name: "remote_refused",
        kind: Counter,
        unit: "calls",
        labels: &["reason"],
        words: &["oom", "readonly", "misconf", "noreplicas", "unauthorized", "other"],
        meaning: "Writes that the remote store answered with an error, by its kind: it is full, a replica, cannot save, has too \
                  few replicas, the user may not.",
    },
    Family {
        name: "breaker",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        words: &[
            "opened-by-failures",
            "opened-by-slowness",
            "reopened",
            "half-opened",
            "recovered",
            "adopted",
            "refused",
            "probes",
            "lost-probes",
            "swept",
            "evicted",
        ],
        meaning: "What the remote store's breaker did; `adopted`: changes heard from another worker; `swept` and `evicted`: \
                  breakers forgotten.",
    },
    Family {
        name: "breaker_state",
        kind: Gauge,
        unit: "workers",
        labels: &["plugin", "state"],
        words: &["closed", "half-open", "open"],
        meaning: "In how many workers the remote store's breaker is in each state, Envoy's main thread included. `open` leaves the \
                  store alone.",
    },
    Family {
        name: "purge",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        words: &[
            "accepted", "refused", "url", "tag", "prefix", "all", "soft", "spread", "received", "dropped",
            "forged",
        ],
        meaning: "Purges: requests `accepted` and `refused`; what was purged; `spread` to the fleet, `received` from it, `dropped` \
                  out of a full queue on the way to it; `forged`: ignored, since no secret of `remote.secret_env` has signed it.",
    },
    Family {
        name: "admin",
        kind: Counter,
        unit: "requests",
        labels: &["event"],
        words: &["refused", "kept-out"],
        meaning: "Other requests of operators, under `/.selvage/`: those that were refused. `kept-out` are requests of all kinds \
                  that were refused because too many wrong tokens came from their address.",
    },
    Family {
        name: "propagation_ms",
        kind: Histogram,
        unit: "milliseconds",
        labels: &["to"],
        words: &["worker", "node"],
        meaning: "From a purge to when another worker of the Envoy, or another Envoy of the fleet (as far as their clocks agree), \
                  took it in.",
    },
    Family {
        name: "event",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        words: &[
            "invalidated",
            "bad-record",
            "bad-purge",
            "changes-lost",
            "purges-lost",
            "node-refused",
            "outgrown",
            "filling-limit",
            "incomplete",
            "stalled",
            "unexpected",
        ],
        meaning: "What else happened: keys invalidated; records and purges that could not be read; changes or purges that a worker \
                  may have missed, so that it took everything for changed; what the node store did not take; bodies that were not \
                  stored because they grew too large, found no room, broke off, or hardly grew while room was wanted; events out of order.",
    },
    #[cfg(feature = "foresight")]
    Family {
        name: "anomaly",
        kind: Gauge,
        unit: "1 or 0",
        labels: &["plugin", "series"],
        words: &["hit-rate", "errors", "origin-latency", "requests", "refused", "spend"],
        meaning: "Whether a series of the node is not what is usual for it (`foresight.anomalies`): the share of hits, that of failures (5xx) among \
                  what origins answer, what 99 of 100 of their answers take, requests, the share of refused ones, and what language \
                  models cost.",
    },
    Family {
        name: "queue",
        kind: Gauge,
        unit: "entries",
        labels: &["plugin", "queue"],
        words: &["remote", "purge", "refresh"],
        meaning: "What waits to be sent: records and deletions to the remote store, purges to the fleet, refreshes to origins.",
    },
    Family {
        name: "live",
        kind: Gauge,
        unit: "things",
        labels: &["plugin", "what"],
        words: &[
            "contexts",
            "streams",
            "held",
            "waiters",
            "fills",
            "remote-calls",
            "refresh-calls",
            "filling-bytes",
            "waiting-bytes",
            #[cfg(feature = "llm")]
            "llm-streams",
            #[cfg(feature = "jobs")]
            "jobs",
        ],
        meaning: "What must go back to nothing when no request is under way: Envoy's stream contexts, those of them with something \
                  still to come, those held for their request's body, those that wait for another's fetch; fetches that others may \
                  wait for; calls under way; bytes of bodies that are being stored, and of requests that wait; streams of language models that are passing and counted; jobs that are run. \
                  `contexts`, `streams` and `held` \
                  are of all plugins of a `vm_id` and have no `plugin`.",
    },
    Family {
        name: "heap_bytes",
        kind: Gauge,
        unit: "bytes",
        labels: &["plugin", "kind"],
        words: &["used", "budget"],
        meaning: "Memory of the workers' VMs, which never shrinks; and what the configuration lets their stores and queues take. \
                  `used` is of all plugins of a `vm_id` and has no `plugin`.",
    },
];

//! What the cache does with the requests of one rule.
//!
//! The same type serves both sides: [`Config`](crate::config::Config) holds it as read, with what the operator left out
//! filled in from `defaults`, and [`Policy`](crate::policy::Policy) hands it to the engine.

use super::freshness::{Stale, Ttl};
#[cfg(feature = "jobs")]
use super::jobs::{RULE_JOBS, RuleJobs};
use super::key::Key;
use super::kinds::{Words, switch, text, whole, word};
use super::lists::{CREDENTIALS, TAINTING, all};
#[cfg(feature = "llm")]
use super::llm::{Fallback, Llm, LlmUsage};
#[cfg(feature = "maintenance")]
use super::maintenance::Maintenance;
use super::nested::{ascending, given, list, nullable, object, refuse_known_name, required};
use super::origin::{Coalesce, OriginBreaker, Refresh};
#[cfg(feature = "pools")]
use super::pools::Admission;
use super::response::{Compression, RangeFill, Tags, Vary};
#[cfg(any(feature = "limits", feature = "sessions"))]
use super::texts::LimitName;
use super::texts::{Field, Host, Method, Path, RuleName, Targeted};
#[cfg(feature = "uploads")]
use super::upload::Upload;
use super::{Section, section};
use crate::config::limits::STATUS;
use crate::config::names;
use crate::config::reader::{Object, Place};
use crate::config::reference::Least::{Empty, One};
use crate::config::written::Written;
use crate::firewall::Watched;

/// A field name: lower case, a token of RFC 9110 §5.6.2, never a pseudo-header.
pub type FieldName = Box<[u8]>;

/// Name of the rule for requests that no rule matches; no written rule may take it.
pub const DEFAULT_RULE: &str = "default";

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
    /// Whether clients are told by `Cache-Status` what the cache did. Default: true.
    pub cache_status: bool,
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
    /// How its requests go to the origin. Default: at once.
    #[cfg(feature = "pools")]
    pub admission: Option<Admission>,
    /// The names of the limits that hold for its requests. Default: none.
    #[cfg(feature = "limits")]
    pub limits: Vec<Box<str>>,
    /// The names of the budgets that its requests are on. Default: none.
    #[cfg(all(feature = "limits", feature = "llm"))]
    pub budgets: Vec<Box<str>>,
    /// The name of the sessions that its requests are of. Default: none.
    #[cfg(feature = "sessions")]
    pub session: Option<Box<str>>,
    /// What is done with requests to language models. Default: nothing.
    #[cfg(feature = "llm")]
    pub llm: Option<Llm>,
    /// Whether its GETs may be parts of a batch. Default: false.
    #[cfg(feature = "batch")]
    pub batch: bool,
    /// Which of its requests become jobs. Default: [`RuleJobs::Off`].
    #[cfg(feature = "jobs")]
    pub jobs: RuleJobs,
    /// When every request is answered with 503. Default: never.
    #[cfg(feature = "maintenance")]
    pub maintenance: Option<Maintenance>,
    /// What the bodies of its requests may be. Default: anything.
    #[cfg(feature = "uploads")]
    pub upload: Option<Upload>,
    /// Every request is answered with 418. Default: false.
    #[cfg(feature = "teapot")]
    pub teapot: bool,
    /// The names in `tainting_headers`, `credential_headers` and `vary.require`.
    /// [`Policy`](crate::policy::Policy) works it out.
    pub watched: Watched,
    /// Which of the policy's pools its requests go through. [`Policy`](crate::policy::Policy) works it out.
    #[cfg(feature = "pools")]
    pub pool: Option<usize>,
    /// Which of the policy's limits those are. [`Policy`](crate::policy::Policy) works it out.
    pub limited: Vec<usize>,
    /// Which of the policy's sessions those are. [`Policy`](crate::policy::Policy) works it out.
    #[cfg(feature = "sessions")]
    pub sessioned: Option<usize>,
    /// Which of the policy's budgets its requests are on. [`Policy`](crate::policy::Policy) works it out.
    #[cfg(all(feature = "limits", feature = "llm"))]
    pub budgeted: Vec<usize>,
}

section! {
    Rule {
        name = DEFAULT_RULE.into();
        bypass = false, switch(), "Requests pass through as if there were no cache.";
        shadow = false, switch(),
            "Everything runs except serving: what would be a hit goes to the origin all the same and is compared with what that sends. What is stored so is never served, nor once this is off again.";
        ttl = Ttl::default(), object(), "How long a stored response is fresh.";
        stale = Stale::default(), object(), "When a stale response may be served.";
        vary = Vary::default(), object(), "What changes in the origin's `Vary`.";
        key = Key::default(), object(), "What tells two requests apart, beside scheme, authority and path.";
        statuses = None, nullable(ascending(list(One, whole(STATUS)))),
            "Only these statuses may be stored; `null`: all that RFC 9111 §3 allows.";
        set_cookie = SetCookie::default(), word(SET_COOKIE),
            "A response with `Set-Cookie` is not stored, stored with it, or stored without it.";
        cookies = Cookies::default(), word(COOKIES),
            "Requests with different cookies share no response, or cookies play no part, or a request with cookies passes through.";
        request_directives = RequestDirectives::default(), word(REQUEST_DIRECTIVES),
            "Whether the request's `Cache-Control` is obeyed (RFC 9111 §5.2.1).";
        cache_status = true, word(CACHE_STATUS),
            "`off`: clients get no `Cache-Status` of this cache. Responses that only pass cost less then.";
        targeted = all(&["cdn-cache-control"]), list(Empty, text::<Targeted>()),
            "Targeted cache-control fields in the order in which they are looked for (RFC 9213 §2.2).";
        coalesce = Coalesce::default(), object(), "Requests for what is not stored wait for one fetch.";
        refresh = Refresh::default(), object(),
            "Responses are renewed by calls of the cache's own while clients are served the stored ones.";
        origin_breaker = OriginBreaker::default(), object(),
            "When an origin that fails or is slow is left alone for a while.";
        tags = Tags::default(), object(),
            "The fields with which the origin names the tags that a response is purged by.";
        compression = Compression::default(), object(),
            "Which responses are stored compressed, and sent so to clients that take gzip.";
        remote = true, switch(),
            "Whether responses are looked up in and sent to the remote store, where there is one.";
        etag = Etag::default(), word(ETAG), "Whether a stored response without a validator is given an `ETag`.";
        tainting_headers = all(&TAINTING), list(Empty, text::<Field>()),
            "A request with one of these fields passes by, unless `key.headers` names the field or it only repeats what the key says.";
        credential_headers = all(&CREDENTIALS), list(Empty, text::<Field>()),
            "Fields that say who asks: each is treated as `Authorization` is, unless `key.headers` names it.";
        range = RangeFill::default(), object(), "Requests for a part of what is not stored.";
        post_answers_get = false, switch(),
            "Whether the response to a POST answers later GETs of the URL that its `Content-Location` says it is (RFC 9110 §9.3.3).";
        #[cfg(feature = "pools")]
        admission = None, nullable(object()),
            "How what no store answers goes to the origin; `null`: at once.";
        #[cfg(feature = "limits")]
        limits = Vec::new(), list(Empty, text::<LimitName>()),
            "The names of those `limits` that hold for the requests; the first that refuses answers.";
        #[cfg(all(feature = "limits", feature = "llm"))]
        budgets = Vec::new(), list(Empty, text::<LimitName>()),
            "The `budgets` that its requests to language models are on.";
        #[cfg(feature = "sessions")]
        session = None, nullable(text::<LimitName>()),
            "The name of those `sessions` whose cookie its requests show: they are given the fields of the record.";
        #[cfg(feature = "llm")]
        llm = None, nullable(object()),
            "What is done with requests to language models; `null`: nothing.";
        #[cfg(feature = "batch")]
        batch = false, switch(), "Whether GETs may be parts of a [batch](batch.md).";
        #[cfg(feature = "jobs")]
        jobs = RuleJobs::default(), word(RULE_JOBS),
            "Which requests are accepted as jobs, answered 202 and done later: none, those that say `Prefer: respond-async` (RFC 7240), or all.";
        #[cfg(feature = "maintenance")]
        maintenance = None, nullable(object()),
            "Every request is answered with 503 and `Retry-After` within a window of time; `{}`: now, without end.";
        #[cfg(feature = "uploads")]
        upload = None, nullable(object()),
            "What the bodies of POST, PUT and PATCH may be; `null`: anything.";
        #[cfg(feature = "teapot")]
        teapot = false, switch(), "Every request is answered with 418 (RFC 2324).";
        watched = Watched::default();
        #[cfg(feature = "pools")]
        pool = None;
        limited = Vec::new();
        #[cfg(feature = "sessions")]
        sessioned = None;
        #[cfg(all(feature = "limits", feature = "llm"))]
        budgeted = Vec::new();
    }
}

impl Rule {
    /// Whether nothing at all is done to the responses that pass.
    pub(crate) const fn is_unseen(&self) -> bool {
        self.bypass && !self.cache_status
    }

    /// Whether it stores answers of language models, and nothing else.
    #[inline]
    pub(crate) const fn stores_answers(&self) -> bool {
        #[cfg(feature = "llm")]
        return matches!(&self.llm, Some(Llm { cache: Some(_), .. }));
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Whether it counts the tokens of language models.
    #[cfg(feature = "llm")]
    pub(crate) fn counts_tokens(&self) -> bool {
        self.llm.as_ref().is_some_and(|llm| llm.usage != LlmUsage::Off)
    }

    /// Whether it asks for the usage where clients do not.
    #[cfg(feature = "llm")]
    pub(crate) fn asks_for_usage(&self) -> bool {
        self.llm.as_ref().is_some_and(|llm| llm.usage == LlmUsage::Ask)
    }

    /// Who is asked instead when its model cannot be, or has failed.
    #[cfg(feature = "llm")]
    pub(crate) fn fallback(&self) -> Option<&Fallback> {
        self.llm.as_ref()?.fallback.as_ref()
    }

    /// Whether clients do not get the fields that name a response's tags.
    pub(crate) const fn hides_tags(&self) -> bool {
        self.tags.strip && !self.bypass && !self.shadow
    }
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

const SET_COOKIE: Words<SetCookie> =
    &[("refuse", SetCookie::Refuse), ("store", SetCookie::Store), ("strip", SetCookie::Strip)];

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

const COOKIES: Words<Cookies> =
    &[("isolate", Cookies::Isolate), ("ignore", Cookies::Ignore), ("bypass", Cookies::Bypass)];

/// Whether the request's `Cache-Control` is obeyed (RFC 9111 §5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestDirectives {
    /// As the RFC says.
    #[default]
    Honour,
    /// Clients cannot make the cache ask the origin.
    Ignore,
}

const REQUEST_DIRECTIVES: Words<RequestDirectives> =
    &[("honour", RequestDirectives::Honour), ("ignore", RequestDirectives::Ignore)];

const CACHE_STATUS: Words<bool> = &[("on", true), ("off", false)];

/// Whether a stored response without a validator is given one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Etag {
    /// It stays as the origin sent it.
    #[default]
    Off,
    /// It gets an `ETag` made from its content.
    Generate,
}

const ETAG: Words<Etag> = &[("off", Etag::Off), ("generate", Etag::Generate)];

/// A rule and the requests that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MatchedRule {
    /// Which requests.
    pub matching: Match,
    /// What they get.
    pub rule: Rule,
}

/// What only a rule has.
pub(crate) struct Head {
    pub(crate) name: Box<str>,
    pub(crate) r#match: Match,
}

section! {
    Head {
        name = Box::default(), required(text::<RuleName>(), names::RULE_NAME), "Required and unique.";
        r#match = Match::default(), object(), "Which requests the rule is for: those that fit every given list.";
    }
}

/// Which requests a rule is for: those that fit every given list. Default: all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Hosts in lower case without port; `*.` before one means all below it, `*` alone every host. `None`: any.
    pub hosts: Option<Vec<Box<[u8]>>>,
    /// Paths without query; `*` stands for any run of bytes. `None`: any.
    pub paths: Option<Vec<Box<[u8]>>>,
    /// Methods; `GET` stands for `HEAD` too. `None`: any.
    pub methods: Option<Vec<Box<[u8]>>>,
}

section! {
    Match {
        hosts = None, given(list(One, text::<Host>())),
            "Hosts without port: `example.com`, `*.example.com` (all below it), `*`.";
        paths = None, given(list(One, text::<Path>())), "Paths without query; `*` stands for any run of characters.";
        methods = None, given(list(One, text::<Method>())),
            "Methods; `GET` stands for `HEAD` too, since both share a response.";
    }
}

/// Reads one of `rules`, which inherits from `defaults` what it does not write, and adds it to those before it. `named` refuses
/// names of what there is not.
pub(crate) fn matched_rule(
    place: Place<'_>,
    written: &Written,
    defaults: &Rule,
    rules: &mut Vec<MatchedRule>,
    named: &dyn Fn(&Rule, &Object<'_, '_>),
) {
    let rule = Object::walk(place, written, |object| {
        let mut head = Head::default();
        head.fill(object);
        let earlier = rules.iter().map(|earlier| &*earlier.rule.name);
        refuse_known_name(object, &head.name, earlier, "a name that no other rule has");
        let mut rule = Rule { name: head.name, ..defaults.clone() };
        rule.fill(object);
        named(&rule, object);
        MatchedRule { matching: head.r#match, rule }
    });
    rules.extend(rule);
}

//! Reads a [`Config`], member by member. The names stand here once; [`reference`](super::reference) describes them.

use super::limits::*;
use super::names;
use super::reader::Least::{Empty, One};
use super::reader::{
    Object, Place, duration, each, list, list_of, map, nullable, size, switch, text, whole, word,
};
use super::rule::*;
use super::units::show_size;
use super::written::{Written, quote};
use super::{Config, Dialect, Match, MatchedRule, Remote};

/// The whole configuration.
pub(super) fn config<'w, 'f>(object: &mut Object<'w, 'f>) -> Config {
    let mut config = Config::default();
    object.set("name", &mut config.name, text(names::CACHE_NAME, names::cache_name));
    object.set("namespace", &mut config.namespace, text(names::NAMESPACE, names::namespace));
    object.within("worker", &mut config.worker, |object, worker| {
        object.set("bytes", &mut worker.bytes, size(WORKER_BYTES));
        object.set("entries", &mut worker.entries, whole(WORKER_ENTRIES));
        object.set("object_bytes", &mut worker.object_bytes, size(WORKER_OBJECT_BYTES));
        object.set("filling_bytes", &mut worker.filling_bytes, size(WORKER_FILLING_BYTES));
        object.set("waiting_bytes", &mut worker.waiting_bytes, size(WORKER_WAITING_BYTES));
        object.set("inflated_bytes", &mut worker.inflated_bytes, size(WORKER_INFLATED_BYTES));
        object.set("waiters", &mut worker.waiters, whole(COALESCE_WAITERS));
        object.set("variants", &mut worker.variants, whole(WORKER_VARIANTS));
    });
    object.within("node", &mut config.node, |object, node| {
        object.set("bytes", &mut node.bytes, size(NODE_BYTES));
        object.set("object_bytes", &mut node.object_bytes, size(NODE_OBJECT_BYTES));
        object.set("buckets", &mut node.buckets, whole(NODE_BUCKETS));
        object.set("poll", &mut node.poll, duration(NODE_POLL));
    });
    object.within("remote", &mut config.remote, remote);
    let held = held_by_vm(&config.worker, &config.remote);
    if held > VM_BYTES {
        let found = format!(
            "{} for bytes, filling_bytes, inflated_bytes and remote.queue_bytes together",
            quote(&show_size(held))
        );
        let allowed = format!("at most {} together: a VM ends at 1 GiB", quote(&show_size(VM_BYTES)));
        object.place_of("worker").refuse::<()>(found, allowed);
    }
    object.within("admin", &mut config.admin, |object, admin| {
        let variable = text(names::VARIABLE, names::variable);
        object.set("token_env", &mut admin.token_env, nullable(variable));
        object.set("open", &mut admin.open, switch);
        let hosts = list(One, text(names::ADMIN_HOST, names::admin_host));
        object.set("hosts", &mut admin.hosts, nullable(hosts));
        if admin.open && admin.token_env.is_some() {
            let allowed = r#""token_env", or "open": true where nobody but operators reaches the listener"#;
            object.place().refuse::<()>(r#"both "token_env" and "open": true"#, allowed);
        }
    });
    object.within("purge", &mut config.purge, |object, purge| {
        object.set("skew", &mut purge.skew, duration(PURGE_SKEW));
    });
    object.within("warm", &mut config.warm, |object, warm| {
        let urls = list_of(Empty, WARM_URLS, text(names::URL, names::url));
        object.set("urls", &mut warm.urls, urls);
        object.set("per_second", &mut warm.per_second, whole(WARM_PER_SECOND));
        object.set("in_flight", &mut warm.in_flight, whole(WARM_IN_FLIGHT));
        object.set("after_purge_all", &mut warm.after_purge_all, whole(WARM_AFTER_PURGE_ALL));
    });
    object.within("defaults", &mut config.defaults, settings);
    let Config { defaults, rules, .. } = &mut config;
    object.read("rules", each(RULES, |place, written| matched_rule(place, written, defaults, rules)));
    config
}

fn remote<'w, 'f>(object: &mut Object<'w, 'f>, remote: &mut Remote) {
    let visible = || text(names::CLUSTER, names::visible);
    object.set("enabled", &mut remote.enabled, switch);
    object.set("dialect", &mut remote.dialect, word(&DIALECT));
    let variable = || nullable(text(names::VARIABLE, names::variable));
    object.set("credentials_env", &mut remote.credentials_env, variable());
    object.set("secret_env", &mut remote.secret_env, variable());
    object.set("cluster", &mut remote.cluster, visible());
    object.set("authority", &mut remote.authority, visible());
    object.set("prefix", &mut remote.prefix, text(names::NAMESPACE, names::namespace));
    object.set("timeout", &mut remote.timeout, duration(REMOTE_TIMEOUT));
    object.set("object_bytes", &mut remote.object_bytes, size(REMOTE_OBJECT_BYTES));
    object.set("queue_bytes", &mut remote.queue_bytes, size(REMOTE_QUEUE_BYTES));
    object.set("queue_entries", &mut remote.queue_entries, whole(REMOTE_QUEUE_ENTRIES));
    object.set("in_flight", &mut remote.in_flight, whole(REMOTE_IN_FLIGHT));
    object.within("breaker", &mut remote.breaker, |object, breaker| {
        object.set("failure_percent", &mut breaker.failure_percent, whole(PERCENT));
        object.set("slow_percent", &mut breaker.slow_percent, whole(PERCENT));
        object.set("slow_after", &mut breaker.slow_after, nullable(duration(BREAKER_SLOW_AFTER)));
        object.set("least_calls", &mut breaker.least_calls, whole(BREAKER_LEAST_CALLS));
        object.set("window", &mut breaker.window, duration(BREAKER_WINDOW));
        object.set("pause", &mut breaker.pause, duration(BREAKER_PAUSE));
        object.set("longest_pause", &mut breaker.longest_pause, duration(BREAKER_PAUSE));
    });
}

fn matched_rule<'w, 'f>(
    place: Place<'f>,
    written: &'w Written,
    defaults: &Rule,
    rules: &mut Vec<MatchedRule>,
) {
    let rule = Object::walk(place, written, |object| {
        let mut matched = MatchedRule { matching: Match::default(), rule: defaults.clone() };
        let name = object.require("name", names::RULE_NAME, |place, written| {
            let name = text(names::RULE_NAME, names::rule_name)(place.clone(), written)?;
            if rules.iter().any(|earlier| earlier.rule.name == name) {
                return place.refuse(format!("{} again", quote(&name)), "a name that no other rule has");
            }
            Some(name)
        });
        matched.rule.name = name.unwrap_or_default();
        object.within("match", &mut matched.matching, |object, matching| {
            matching.hosts = object.read("hosts", list(One, text(names::HOST, names::host)));
            matching.paths = object.read("paths", list(One, text(names::PATH, names::path)));
            matching.methods = object.read("methods", list(One, text(names::METHOD, names::method)));
        });
        settings(object, &mut matched.rule);
        matched
    });
    rules.extend(rule);
}

/// The members that `defaults` and every rule share. What is not written stays as inherited.
fn settings<'w, 'f>(object: &mut Object<'w, 'f>, rule: &mut Rule) {
    object.set("bypass", &mut rule.bypass, switch);
    object.set("shadow", &mut rule.shadow, switch);
    object.within("ttl", &mut rule.ttl, ttl);
    object.within("stale", &mut rule.stale, stale);
    object.within("vary", &mut rule.vary, |object, vary| {
        object.set("ignore", &mut vary.ignore, fields());
        object.set("add", &mut vary.add, fields());
        object.set("require", &mut vary.require, fields());
    });
    object.within("key", &mut rule.key, |object, key| {
        object.within("query", &mut key.query, query);
        object.set("headers", &mut key.headers, fields());
        object.set("cookies", &mut key.cookies, list(Empty, text(names::COOKIE, names::cookie)));
        object.set("body", &mut key.body, nullable(body));
    });
    object.set("statuses", &mut rule.statuses, nullable(ascending(list(One, whole(STATUS)))));
    object.set("set_cookie", &mut rule.set_cookie, word(&SET_COOKIE));
    object.set("cookies", &mut rule.cookies, word(&COOKIES));
    object.set("request_directives", &mut rule.request_directives, word(&REQUEST_DIRECTIVES));
    object.set("targeted", &mut rule.targeted, list(Empty, text(names::TARGETED, names::targeted)));
    object.set("etag", &mut rule.etag, word(&ETAG));
    object.within("coalesce", &mut rule.coalesce, |object, coalesce| {
        object.set("enabled", &mut coalesce.enabled, switch);
        object.set("wait", &mut coalesce.wait, duration(COALESCE_WAIT));
        object.set("body_wait", &mut coalesce.body_wait, duration(COALESCE_BODY_WAIT));
        object.set("waiters", &mut coalesce.waiters, whole(COALESCE_WAITERS));
        object.set("fleet", &mut coalesce.fleet, switch);
    });
    object.within("refresh", &mut rule.refresh, |object, refresh| {
        let cluster = || text(names::CLUSTER, names::visible);
        object.set("cluster", &mut refresh.cluster, nullable(cluster()));
        object.set("clusters", &mut refresh.clusters, list(Empty, cluster()));
        object.set("timeout", &mut refresh.timeout, duration(REFRESH_TIMEOUT));
        object.set("early", &mut refresh.early, whole(REFRESH_EARLY));
    });
    object.within("origin_breaker", &mut rule.origin_breaker, |object, breaker| {
        object.set("enabled", &mut breaker.enabled, switch);
        object.set("failure_percent", &mut breaker.failure_percent, whole(PERCENT));
        object.set("slow_percent", &mut breaker.slow_percent, whole(PERCENT));
        object.set("slow_after", &mut breaker.slow_after, nullable(duration(ORIGIN_SLOW_AFTER)));
        object.set("least_calls", &mut breaker.least_calls, whole(BREAKER_LEAST_CALLS));
        object.set("window", &mut breaker.window, duration(BREAKER_WINDOW));
        object.set("pause", &mut breaker.pause, duration(BREAKER_PAUSE));
        object.set("longest_pause", &mut breaker.longest_pause, duration(BREAKER_PAUSE));
    });
    object.within("compression", &mut rule.compression, |object, compression| {
        object.set("enabled", &mut compression.enabled, switch);
        object.set("types", &mut compression.types, list(Empty, text(names::MEDIA_TYPE, names::media_type)));
        object.set("min_bytes", &mut compression.min_bytes, size(COMPRESSION_MIN_BYTES));
        object.set("max_bytes", &mut compression.max_bytes, size(COMPRESSION_MAX_BYTES));
        object.set("level", &mut compression.level, whole(COMPRESSION_LEVEL));
    });
    object.within("tags", &mut rule.tags, |object, tags| {
        object.set("headers", &mut tags.headers, fields());
        object.set("strip", &mut tags.strip, switch);
    });
    object.set("remote", &mut rule.remote, switch);
    object.set("tainting_headers", &mut rule.tainting_headers, fields());
    object.set("credential_headers", &mut rule.credential_headers, fields());
    object.within("range", &mut rule.range, |object, range| {
        object.set("fill", &mut range.fill, switch);
        object.set("max_bytes", &mut range.max_bytes, size(RANGE_MAX_BYTES));
    });
    object.set("post_answers_get", &mut rule.post_answers_get, switch);
}

fn ttl<'w, 'f>(object: &mut Object<'w, 'f>, ttl: &mut Ttl) {
    object.set("override", &mut ttl.r#override, nullable(duration(LIFETIME)));
    object.set("default", &mut ttl.default, nullable(duration(LIFETIME)));
    object.set("max", &mut ttl.max, nullable(duration(LIFETIME)));
    object.set("heuristic", &mut ttl.heuristic, switch);
    object.set("heuristic_percent", &mut ttl.heuristic_percent, whole(PERCENT));
    object.set("heuristic_max", &mut ttl.heuristic_max, duration(LIFETIME));
    object.set("jitter", &mut ttl.jitter, whole(JITTER));
    let by_status = map(allowed_whole(&STATUS), status, duration(LIFETIME));
    object.set("statuses", &mut ttl.statuses, ascending(by_status));
}

fn stale<'w, 'f>(object: &mut Object<'w, 'f>, stale: &mut Stale) {
    object.set("while_revalidate", &mut stale.while_revalidate, nullable(duration(LIFETIME)));
    object.set("if_error", &mut stale.if_error, nullable(duration(LIFETIME)));
    object.set("disconnected", &mut stale.disconnected, duration(LIFETIME));
    object.set("error_statuses", &mut stale.error_statuses, ascending(list(Empty, whole(ERROR_STATUS))));
}

/// `only`, `except` and `drop` exclude each other within one object; what a rule writes replaces what it inherits.
fn query<'w, 'f>(object: &mut Object<'w, 'f>, query: &mut Query) {
    object.set("order", &mut query.order, word(&QUERY_ORDER));
    let names = |least| nullable(list(least, text(names::QUERY_NAME, names::query_name)));
    let only = object.read("only", names(One));
    let except = object.read("except", names(Empty));
    let drop = object.read("drop", switch);
    if object.has("only") && object.has("except") {
        object.place().refuse::<()>(r#"both "only" and "except""#, r#"one of "only" and "except""#);
    }
    if drop == Some(true) && (object.has("only") || object.has("except")) {
        object.place().refuse::<()>(r#""drop" and a choice of names"#, r#""drop" or "only" or "except""#);
    }
    let inherited = std::mem::take(&mut query.choice);
    query.choice = match (drop, only, except, inherited) {
        (Some(true), ..) => QueryChoice::Drop,
        (_, Some(Some(names)), ..) => QueryChoice::Only(names),
        (_, _, Some(Some(names)), _) => QueryChoice::Except(names),
        (Some(false), _, _, QueryChoice::Drop) => QueryChoice::All,
        (_, Some(None), _, QueryChoice::Only(_)) => QueryChoice::All,
        (_, _, Some(None), QueryChoice::Except(_)) => QueryChoice::All,
        (.., inherited) => inherited,
    };
}

/// A body is inherited or replaced as a whole: half of another rule's would be guesswork.
fn body<'w, 'f>(place: Place<'f>, written: &'w Written) -> Option<BodyKey> {
    Object::walk(place, written, |object| {
        let mut body = BodyKey::default();
        let methods = list(One, text(names::BODY_METHOD, names::body_method));
        body.methods = object.require("methods", BODY_METHODS, methods).unwrap_or_default();
        object.set("inline_bytes", &mut body.inline_bytes, size(BODY_INLINE_BYTES));
        object.set("max_bytes", &mut body.max_bytes, size(BODY_MAX_BYTES));
        body
    })
}

fn fields() -> impl Fn(Place<'_>, &Written) -> Option<Vec<FieldName>> {
    list(Empty, text(names::FIELD, names::field))
}

fn ascending<T: Ord>(
    read: impl Fn(Place<'_>, &Written) -> Option<Vec<T>>,
) -> impl Fn(Place<'_>, &Written) -> Option<Vec<T>> {
    move |place, written| {
        let mut items = read(place, written)?;
        items.sort_unstable();
        Some(items)
    }
}

/// A status as the name of a member: three digits.
fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|status| digits && STATUS.contains(&u64::from(*status)))
}

const BODY_METHODS: &str = r#"a list of methods such as ["POST","QUERY"]"#;

pub(crate) const DIALECT: [(&str, Dialect); 2] = [("webdis", Dialect::Webdis), ("upstash", Dialect::Upstash)];
pub(crate) const QUERY_ORDER: [(&str, QueryOrder); 2] =
    [("keep", QueryOrder::Keep), ("sort", QueryOrder::Sort)];
pub(crate) const SET_COOKIE: [(&str, SetCookie); 3] =
    [("refuse", SetCookie::Refuse), ("store", SetCookie::Store), ("strip", SetCookie::Strip)];
pub(crate) const COOKIES: [(&str, Cookies); 3] =
    [("isolate", Cookies::Isolate), ("ignore", Cookies::Ignore), ("bypass", Cookies::Bypass)];
pub(crate) const REQUEST_DIRECTIVES: [(&str, RequestDirectives); 2] =
    [("honour", RequestDirectives::Honour), ("ignore", RequestDirectives::Ignore)];
pub(crate) const ETAG: [(&str, Etag); 2] = [("off", Etag::Off), ("generate", Etag::Generate)];

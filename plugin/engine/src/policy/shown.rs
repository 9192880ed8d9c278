//! The configuration in force, as one could have written it: everything that was left out is filled in.
//!
//! A secret is never in a configuration: what is named there are variables of the VM's environment. The reader takes what
//! is shown, and makes the same policy of it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::read::{COOKIES, DIALECT, ETAG, QUERY_ORDER, REQUEST_DIRECTIVES, SET_COOKIE};
use crate::config::rule::*;
use crate::config::units::{show_duration, show_size};
use crate::config::{Match, Remote};
use crate::members::{Show, members};
use crate::policy::Policy;
use crate::url::Url;

/// The configuration in force.
pub(crate) fn shown(policy: &Policy) -> Value {
    let Policy { worker, node, admin, purge, warm, .. } = policy;
    let default = policy.default_rule();
    let rules = policy.written_rules().map(|(matching, rule)| {
        let mut shown = settings(rule, &default.key.query.choice);
        if let Value::Object(members) = &mut shown {
            members.insert("name".into(), (*rule.name).into());
            let matching = matches(matching);
            if matching.as_object().is_some_and(|matching| !matching.is_empty()) {
                members.insert("match".into(), matching);
            }
        }
        shown
    });
    let rules = rules.collect();
    members! {
        "name": policy.name,
        "namespace": policy.namespace_name;
        "worker" => members! {
            "bytes": Size(worker.bytes as u64),
            "entries": worker.entries,
            "object_bytes": Size(worker.object_bytes as u64),
            "filling_bytes": Size(worker.filling_bytes as u64),
            "waiting_bytes": Size(worker.waiting_bytes as u64),
            "inflated_bytes": Size(worker.inflated_bytes as u64),
            "waiters": worker.waiters,
            "variants": worker.variants,
        },
        "node" => members! {
            "bytes": Size(node.bytes),
            "object_bytes": Size(node.object_bytes as u64),
            "buckets": node.buckets,
            "poll": node.poll,
        },
        "remote" => remote(&policy.remote),
        "admin" => members! { "token_env": admin.token_env, "open": admin.open, "hosts": admin.hosts },
        "purge" => members! { "skew": purge.skew },
        "warm" => members! {
            "urls": warm.urls,
            "per_second": warm.per_second,
            "in_flight": warm.in_flight,
            "after_purge_all": warm.after_purge_all,
        },
        "defaults" => settings(default, &QueryChoice::All),
        "rules" => rules
    }
}

fn remote(remote: &Remote) -> Value {
    let breaker = &remote.breaker;
    members! {
        "enabled": remote.enabled,
        "credentials_env": remote.credentials_env,
        "secret_env": remote.secret_env,
        "cluster": remote.cluster,
        "authority": remote.authority,
        "prefix": remote.prefix,
        "timeout": remote.timeout,
        "object_bytes": Size(remote.object_bytes as u64),
        "queue_bytes": Size(remote.queue_bytes as u64),
        "queue_entries": remote.queue_entries,
        "in_flight": remote.in_flight;
        "dialect" => word(&DIALECT, remote.dialect),
        "breaker" => members! {
            "failure_percent": breaker.failure_percent,
            "slow_percent": breaker.slow_percent,
            "slow_after": breaker.slow_after,
            "least_calls": breaker.least_calls,
            "window": breaker.window,
            "pause": breaker.pause,
            "longest_pause": breaker.longest_pause,
        }
    }
}

fn matches(matching: &Match) -> Value {
    let Match { hosts, paths, methods } = matching;
    let given = [("hosts", hosts), ("paths", paths), ("methods", methods)];
    let given = given.into_iter().filter_map(|(name, list)| Some((name.to_owned(), list.as_ref()?.show())));
    Value::Object(given.collect())
}

/// What `defaults` and each rule have; `inherited` is what a rule's query would be if it said nothing.
fn settings(rule: &Rule, inherited: &QueryChoice) -> Value {
    let Rule { ttl, stale, vary, key, compression, coalesce, refresh, origin_breaker, tags, .. } = rule;
    let statuses: Map<String, Value> =
        ttl.statuses.iter().map(|(status, lifetime)| (status.to_string(), lifetime.show())).collect();
    members! {
        "bypass": rule.bypass,
        "shadow": rule.shadow,
        "statuses": rule.statuses,
        "targeted": rule.targeted,
        "remote": rule.remote,
        "tainting_headers": rule.tainting_headers,
        "credential_headers": rule.credential_headers,
        "post_answers_get": rule.post_answers_get;
        "ttl" => members! {
            "override": ttl.r#override,
            "default": ttl.default,
            "max": ttl.max,
            "heuristic": ttl.heuristic,
            "heuristic_percent": ttl.heuristic_percent,
            "heuristic_max": ttl.heuristic_max,
            "jitter": ttl.jitter;
            "statuses" => Value::Object(statuses)
        },
        "stale" => members! {
            "while_revalidate": stale.while_revalidate,
            "if_error": stale.if_error,
            "disconnected": stale.disconnected,
            "error_statuses": stale.error_statuses,
        },
        "vary" => members! { "ignore": vary.ignore, "add": vary.add, "require": vary.require },
        "key" => members! {
            "headers": key.headers,
            "cookies": key.cookies,
            "body": key.body;
            "query" => query(&key.query, inherited)
        },
        "set_cookie" => word(&SET_COOKIE, rule.set_cookie),
        "cookies" => word(&COOKIES, rule.cookies),
        "request_directives" => word(&REQUEST_DIRECTIVES, rule.request_directives),
        "etag" => word(&ETAG, rule.etag),
        "compression" => members! {
            "enabled": compression.enabled,
            "types": compression.types,
            "min_bytes": Size(compression.min_bytes as u64),
            "max_bytes": Size(compression.max_bytes as u64),
            "level": compression.level,
        },
        "coalesce" => members! {
            "enabled": coalesce.enabled,
            "wait": coalesce.wait,
            "body_wait": coalesce.body_wait,
            "waiters": coalesce.waiters,
            "fleet": coalesce.fleet,
        },
        "range" => members! { "fill": rule.range.fill, "max_bytes": Size(rule.range.max_bytes as u64) },
        "refresh" => members! {
            "cluster": refresh.cluster,
            "clusters": refresh.clusters,
            "timeout": refresh.timeout,
            "early": refresh.early,
        },
        "origin_breaker" => members! {
            "enabled": origin_breaker.enabled,
            "failure_percent": origin_breaker.failure_percent,
            "slow_percent": origin_breaker.slow_percent,
            "slow_after": origin_breaker.slow_after,
            "least_calls": origin_breaker.least_calls,
            "window": origin_breaker.window,
            "pause": origin_breaker.pause,
            "longest_pause": origin_breaker.longest_pause,
        },
        "tags" => members! { "headers": tags.headers, "strip": tags.strip }
    }
}

fn query(query: &Query, inherited: &QueryChoice) -> Value {
    let order = word(&QUERY_ORDER, query.order);
    match (&query.choice, inherited) {
        (QueryChoice::Only(names), _) => members! { "only": *names; "order" => order },
        (QueryChoice::Except(names), _) => members! { "except": *names; "order" => order },
        (QueryChoice::Drop, _) => members! { "drop": true; "order" => order },
        // What takes an inherited choice back.
        (QueryChoice::All, QueryChoice::Only(_)) => members! { ; "order" => order, "only" => Value::Null },
        (QueryChoice::All, QueryChoice::Except(_)) => {
            members! { ; "order" => order, "except" => Value::Null }
        }
        (QueryChoice::All, _) => members! { "drop": false; "order" => order },
    }
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> Value {
    words.iter().find(|(_, known)| *known == value).map_or(Value::Null, |(word, _)| (*word).into())
}

struct Size(u64);

impl Show for Size {
    fn show(&self) -> Value {
        show_size(self.0).into()
    }
}

impl Show for Duration {
    fn show(&self) -> Value {
        show_duration(*self).into()
    }
}

impl Show for Box<[u8]> {
    fn show(&self) -> Value {
        String::from_utf8_lossy(self).into()
    }
}

impl Show for Url {
    /// Without what stands before an `@`, which could be a password.
    fn show(&self) -> Value {
        let authority = self.authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
        String::from_utf8_lossy(&[self.scheme.as_bytes(), b"://", authority, &self.target].concat()).into()
    }
}

impl Show for QueryName {
    fn show(&self) -> Value {
        match self {
            Self::Exact(name) => name.show(),
            Self::Prefix(name) => String::from_utf8_lossy(&[name, &b"*"[..]].concat()).into(),
        }
    }
}

impl Show for BodyKey {
    fn show(&self) -> Value {
        members! {
            "methods": self.methods,
            "inline_bytes": Size(self.inline_bytes as u64),
            "max_bytes": Size(self.max_bytes as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::reference::{settings, top};

    fn policy(json: &str) -> Policy {
        Config::parse(json.as_bytes()).unwrap_or_else(|faults| panic!("{json}: {faults:?}")).into()
    }

    const MANY: &str = r#"{ "name": "my cache", "namespace": "shop", "worker": { "bytes": "1MiB", "object_bytes": "2MiB" },
        "remote": { "enabled": true, "dialect": "upstash", "credentials_env": "TOKEN", "secret_env": "SECRET", "breaker": { "slow_after": "30ms" } },
        "admin": { "token_env": "ADMIN", "hosts": ["*.a.test", "[fd00::1]"] }, "warm": { "urls": ["https://a.test/x?y"] },
        "defaults": { "key": { "query": { "only": ["id", "utm_*"], "order": "sort" } }, "statuses": [200, 404],
                      "ttl": { "default": "90s", "statuses": { "404": "5s" } }, "etag": "generate" },
        "rules": [
            { "name": "all", "key": { "query": { "only": null }, "headers": ["x-forwarded-host"] } },
            { "name": "api", "match": { "hosts": ["*.a.test"], "paths": ["/api/*"], "methods": ["POST"] },
              "key": { "query": { "drop": true }, "body": { "methods": ["POST"] } }, "cookies": "ignore",
              "refresh": { "cluster": "origin" }, "statuses": null } ] }"#;

    #[test]
    fn the_reader_takes_what_is_shown_and_makes_the_same_of_it() {
        for json in [
            "{}",
            MANY,
            r#"{"admin":{"open":true},"defaults":{"key":{"query":{"except":["a"]}}},"rules":[{"name":"r","key":{"query":{"except":null}}}]}"#,
        ] {
            let policy = policy(json);
            let shown = shown(&policy).to_string();
            let again = Config::parse(shown.as_bytes());
            let again: Policy = again.unwrap_or_else(|faults| panic!("{shown}: {faults:?}")).into();
            assert_eq!(format!("{again:?}"), format!("{policy:?}"));
        }
    }

    #[test]
    fn every_member_is_shown_with_its_default() {
        let shown = shown(&Policy::default());
        let top = top().into_iter().map(|member| (member.path.to_owned(), member.default));
        let settings =
            settings().into_iter().map(|member| (format!("defaults.{}", member.path), member.default));
        for (path, default) in top.chain(settings) {
            // A choice is shown as one of the three, and a body that is not keyed has no members.
            let unseen = ["key.query.only", "key.query.except", "key.body."];
            if unseen.iter().any(|part| path.contains(part)) {
                continue;
            }
            let found = shown.pointer(&format!("/{}", path.replace('.', "/")));
            let found = found.unwrap_or_else(|| panic!("{path} is not shown"));
            if let Ok(default) = serde_json::from_str::<Value>(default) {
                assert_eq!(*found, default, "{path}");
            }
        }
    }
}

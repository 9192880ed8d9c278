//! The configuration in force, as one could have written it: everything that was left out is filled in.
//!
//! A secret is never in a configuration: what is named there are variables of the VM's environment. The reader takes what
//! is shown, and makes the same policy of it.

use serde_json::Value;

use crate::config::settings::rule::Head;
use crate::config::settings::{Section, Shown};
use crate::config::{Config, Match, QueryChoice, Rule};
use crate::policy::Policy;

/// The configuration in force.
pub fn effective(policy: &Policy) -> Value {
    let default = policy.default_rule();
    let config = Config {
        name: policy.name.clone(),
        namespace: policy.namespace_name.clone(),
        worker: policy.worker.clone(),
        node: policy.node.clone(),
        remote: policy.remote.clone(),
        admin: policy.admin.clone(),
        purge: policy.purge.clone(),
        warm: policy.warm.clone(),
        #[cfg(feature = "batch")]
        batch: policy.batch.clone(),
        #[cfg(feature = "foresight")]
        foresight: policy.foresight.clone(),
        #[cfg(feature = "pools")]
        pools: Vec::new(),
        limits: Vec::new(),
        #[cfg(feature = "llm")]
        models: Vec::new(),
        #[cfg(all(feature = "limits", feature = "llm"))]
        budgets: Vec::new(),
        #[cfg(feature = "sessions")]
        sessions: Vec::new(),
        #[cfg(feature = "jobs")]
        jobs: policy.jobs.clone(),
        defaults: default.clone(),
        rules: Vec::new(),
    };
    let mut shown = Shown::default();
    config.rows(&mut shown);
    #[cfg(feature = "pools")]
    shown.put("pools", Some(policy.pools.iter().map(Shown::of).collect()));
    #[cfg(feature = "limits")]
    shown.put("limits", Some(policy.limits.iter().map(Shown::of).collect()));
    #[cfg(feature = "llm")]
    shown.put("models", Some(policy.models.written().map(Shown::of).collect()));
    #[cfg(all(feature = "limits", feature = "llm"))]
    shown.put("budgets", Some(policy.budgets.iter().map(Shown::of).collect()));
    #[cfg(feature = "sessions")]
    shown.put("sessions", Some(policy.sessions.iter().map(Shown::of).collect()));
    let rules = policy.written_rules().map(|(matching, rule)| rule_shown(matching, rule, default)).collect();
    shown.put("rules", Some(rules));
    shown.end()
}

fn rule_shown(matching: &Match, rule: &Rule, default: &Rule) -> Value {
    let mut shown = Shown::default();
    Head { name: rule.name.clone(), r#match: matching.clone() }.rows(&mut shown);
    rule.rows(&mut shown);
    let mut shown = shown.end();
    if *matching == Match::default()
        && let Some(members) = shown.as_object_mut()
    {
        members.remove("match");
    }
    // What takes an inherited choice back is written in another way than no choice at all.
    let back = match (&rule.key.query.choice, &default.key.query.choice) {
        (QueryChoice::All, QueryChoice::Only(_)) => "only",
        (QueryChoice::All, QueryChoice::Except(_)) => "except",
        _ => return shown,
    };
    if let Some(query) = shown.pointer_mut("/key/query").and_then(Value::as_object_mut) {
        query.remove("drop");
        query.insert(back.into(), Value::Null);
    }
    shown
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
            let shown = effective(&policy).to_string();
            let again = Config::parse(shown.as_bytes());
            let again: Policy = again.unwrap_or_else(|faults| panic!("{shown}: {faults:?}")).into();
            assert_eq!(format!("{again:?}"), format!("{policy:?}"));
        }
    }

    #[test]
    fn every_member_is_shown_with_its_default() {
        let shown = effective(&Policy::default());
        let top = top().into_iter().map(|member| (member.path, member.default));
        let settings =
            settings().into_iter().map(|member| (format!("defaults.{}", member.path), member.default));
        for (path, default) in top.chain(settings) {
            // A choice is shown as one of the three, and what is null by default has no members.
            let unseen = [
                "key.query.only",
                "key.query.except",
                "key.body.",
                "maintenance.",
                "admission.",
                "llm.",
                "upload.",
                "batch.",
                "jobs.",
                "ttl.adaptive.",
            ];
            if unseen.iter().any(|part| path.contains(part)) {
                continue;
            }
            let found = shown.pointer(&format!("/{}", path.replace('.', "/")));
            let found = found.unwrap_or_else(|| panic!("{path} is not shown"));
            if let Ok(default) = serde_json::from_str::<Value>(&default) {
                assert_eq!(*found, default, "{path}");
            }
        }
    }
}

//! Each rule where there is reason for it, and where there is just not.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::config::Config;
use crate::host::{CasMismatch, SharedData};
use crate::insight::busiest::Spread;
use crate::stats::list;

/// A node of which only the metrics are known.
#[derive(Default)]
struct Node(BTreeMap<Word, u64>);

impl SharedData for Node {
    fn get(&mut self, _: &str) -> Option<(Vec<u8>, u32)> {
        None
    }

    fn set(&mut self, _: &str, _: &[u8], _: u32) -> Result<(), CasMismatch> {
        Ok(())
    }
}

impl Host for Node {
    fn origin_answered(&mut self) -> bool {
        true
    }

    fn metric(&mut self, (family, word): Word) -> u64 {
        let known = list::family(family).is_some_and(|family| family.words.contains(&word));
        assert!(known, "{family}.{word} is not in the list");
        self.0.get(&(family, word)).copied().unwrap_or_default()
    }

    fn metric_of(&mut self, _: &str, word: Word) -> u64 {
        self.metric(word)
    }
}

fn advised(config: &str, metrics: &[(Word, u64)], seen: &Seen) -> Vec<Value> {
    let policy = Policy::from(Config::parse(config.as_bytes()).unwrap());
    recommendations(&mut Node(metrics.iter().copied().collect()), &policy, seen)
}

/// Of two sets of metrics the second gives this recommendation and the first gives none.
#[track_caller]
fn begins(config: &str, before: &[(Word, u64)], after: &[(Word, u64)], code: &str) -> Value {
    let none = advised(config, before, &Seen::default());
    assert!(none.is_empty(), "{none:?}");
    let one = advised(config, after, &Seen::default());
    let [one] = one.as_slice() else { panic!("{code}: {one:?}") };
    assert_eq!(one["code"], code);
    // The line is a member that the reader takes, at the top or for all rules.
    let change = one["change"].as_str().unwrap();
    let read = |json: String| Config::parse(json.as_bytes()).is_ok();
    assert!(read(format!("{{{change}}}")) || read(format!("{{\"defaults\":{{{change}}}}}")), "{change}");
    assert!(!one["figures"].as_object().unwrap().is_empty());
    one.clone()
}

const HIT: Word = ("requests", "hit.worker");
const MISS: Word = ("requests", "miss.origin");

#[test]
fn nothing_is_said_of_a_node_that_nobody_has_asked() {
    assert!(advised("{}", &[], &Seen::default()).is_empty());
    assert!(advised(r#"{"remote":{"enabled":true}}"#, &[(HIT, 1_000_000)], &Seen::default()).is_empty());
}

#[test]
fn a_lifetime_is_too_short_if_the_origin_confirms_most_of_what_expires() {
    let metrics = |validated, stale, hits| {
        [(("requests", "validated.origin"), validated), (("fwd", "stale"), stale), (HIT, hits)]
    };
    begins("{}", &metrics(99, 100, 0), &metrics(100, 100, 0), "ttl-too-short");
    begins("{}", &metrics(100, 201, 0), &metrics(100, 200, 0), "ttl-too-short");
    begins("{}", &metrics(100, 100, 901), &metrics(100, 100, 900), "ttl-too-short");
    let by_refresh =
        |freshened| [(("refresh", "freshened"), freshened), (("refresh", "sent"), 110), (HIT, 500)];
    begins("{}", &by_refresh(99), &by_refresh(101), "ttl-too-short");
}

#[test]
fn a_key_is_too_wide_where_requests_differ_in_the_query_alone() {
    let spread = Spread { requests: 64, answered: 3, keys: 60 };
    let seen = Seen { wide: vec![Wide { path: "https://a.test/search".into(), spread }], ..Seen::default() };
    let advice = advised("{}", &[], &seen);
    assert_eq!((advice.len(), &advice[0]["code"]), (1, &json!("key-too-wide")));
    assert_eq!(advice[0]["figures"]["path"], "https://a.test/search");
    assert_eq!(advice[0]["figures"]["keys"], 60);
}

#[test]
fn a_rule_is_never_cached_if_it_bypasses_or_was_watched_for_a_while() {
    let idle = |rule, seconds| {
        let watched = Duration::from_secs(seconds);
        Seen { idle: vec![Idle { rule, requests: 5000, of_use: 1, watched }], ..Seen::default() }
    };
    let rules = r#"{"rules":[{"name":"account","bypass":true},{"name":"new","shadow":true},
        {"name":"closed","bypass":true,"maintenance":{}}]}"#;
    let advice = advised(rules, &[], &idle(0, 0));
    assert_eq!((advice.len(), &advice[0]["code"]), (1, &json!("never-cached")));
    let figures = json!({ "rule": "account", "bypass": true, "requests_counted": 5000, "of_use": 1 });
    assert_eq!(advice[0]["figures"], figures);
    // What is to be changed is the route, not the filter.
    let change: Value =
        serde_json::from_str(&format!("{{{}}}", advice[0]["change"].as_str().unwrap())).unwrap();
    assert_eq!(change["typed_per_filter_config"]["selvage"]["disabled"], true);
    // The default rule is the last one.
    for (rule, seconds, wanted) in [(1, 9999, 0), (2, 9999, 0), (3, 599, 0), (3, 600, 1)] {
        assert_eq!(advised(rules, &[], &idle(rule, seconds)).len(), wanted, "{rule} {seconds}");
    }
    assert_eq!(advised(rules, &[], &idle(3, 600))[0]["figures"]["rule"], "default");
}

#[test]
fn rules_of_one_counter_need_enough_of_it_and_enough_of_all_requests() {
    for rule in &OFTEN {
        let word = rule.words[0];
        let config = r#"{"remote":{"enabled":true}}"#;
        begins(config, &[(word, rule.least - 1)], &[(word, rule.least)], rule.code);
        if rule.percent > 0 {
            let requests = |more: u64| [(word, rule.least), (MISS, rule.least * 100 / rule.percent + more)];
            begins(config, &requests(1), &requests(0), rule.code);
        }
        for word in rule.words {
            assert!(list::has(list::Kind::Counter, word.0, word.1), "{word:?}");
        }
    }
}

#[test]
fn a_bound_that_is_too_small_is_to_be_doubled() {
    let metrics = [(("detail", "too-large"), 20), (MISS, 100)];
    let change = |config| advised(config, &metrics, &Seen::default())[0]["change"].clone();
    assert_eq!(change("{}"), r#""node": { "object_bytes": "8MiB" }"#);
    assert_eq!(change(r#"{"node":{"object_bytes":"16MiB"}}"#), r#""node": { "object_bytes": "32MiB" }"#);
}

#[test]
fn compression_is_useless_if_it_saves_too_little_most_of_the_time() {
    let metrics =
        |kept, useless| [(("compression", "kept"), kept), (("compression", "not-worth-it"), useless)];
    begins("{}", &metrics(0, 99), &metrics(0, 100), "compression-useless");
    begins("{}", &metrics(100, 100), &metrics(100, 101), "compression-useless");
}

#[test]
fn a_remote_store_is_slower_than_the_origin_by_what_this_worker_measures_or_by_the_breaker() {
    let remote = r#"{"remote":{"enabled":true}}"#;
    let metrics =
        |lookups, opened| [(("remote", "lookups"), lookups), (("breaker", "opened-by-slowness"), opened)];
    begins(remote, &metrics(99, 1), &metrics(100, 1), "remote-slower-than-origin");
    for (remote_us, origin_us, wanted) in [(2000, 1000, 1), (1000, 2000, 0)] {
        let seen = Seen { remote_us: Some(remote_us), origin_us: Some(origin_us), ..Seen::default() };
        assert_eq!(advised(remote, &metrics(100, 0), &seen).len(), wanted);
        assert_eq!(advised("{}", &metrics(100, 0), &seen).len(), 0, "there is none");
    }
    let late = |late| [(("remote", "lookups"), 400), (("remote", "timeout"), late)];
    let advice = begins(remote, &late(19), &late(20), "remote-timeouts");
    assert_eq!(advice["change"], r#""remote": { "timeout": "100ms" }"#);
}

#[test]
fn a_budget_is_too_small_if_more_is_evicted_than_expires() {
    let metrics = |tier, evicted, expired, bytes| {
        [
            (("evicted", tier), evicted),
            (("expired", tier), expired),
            (("bytes", tier), bytes),
            (("bytes_limit", tier), 100),
        ]
    };
    let of_node = |evicted, expired, bytes| metrics("node", evicted, expired, bytes);
    let advice = begins("{}", &of_node(99, 0, 100), &of_node(100, 0, 100), "budget-too-small");
    assert_eq!(advice["change"], r#""node": { "bytes": "512MiB" }"#);
    begins("{}", &of_node(100, 100, 100), &of_node(101, 100, 100), "budget-too-small");
    begins("{}", &of_node(100, 0, 69), &of_node(100, 0, 70), "budget-too-small");
    // What leaves a worker is still in the node.
    assert!(advised("{}", &metrics("worker", 1000, 0, 100), &Seen::default()).is_empty());
    let alone = r#"{"node":{"bytes":0}}"#;
    let advice = begins(alone, &of_node(100, 0, 100), &metrics("worker", 100, 0, 100), "budget-too-small");
    assert_eq!(advice["change"], r#""worker": { "bytes": "128MiB" }"#);
}

#[test]
fn buckets_are_too_few_if_small_responses_leave_while_bytes_are_free() {
    let metrics = |evicted, entries, bytes| {
        [
            (("evicted", "node"), evicted),
            (("expired", "node"), 50),
            (("entries", "node"), entries),
            (("bytes", "node"), bytes),
            (("bytes_limit", "node"), 1000),
        ]
    };
    let few = r#"{"node":{"buckets":16}}"#;
    let advice = begins(few, &metrics(99, 128, 10), &metrics(100, 128, 10), "buckets-too-few");
    assert_eq!(advice["change"], r#""node": { "buckets": 32 }"#);
    assert_eq!(advice["figures"]["most"], 128);
    begins(few, &metrics(100, 89, 10), &metrics(100, 90, 10), "buckets-too-few");
    let of_bytes = advised(few, &metrics(100, 128, 700), &Seen::default());
    assert_eq!(of_bytes[0]["code"], "budget-too-small", "{of_bytes:?}");
    assert_eq!(of_bytes.len(), 1);
    let advice = begins("{}", &metrics(100, 22_937, 10), &metrics(100, 22_938, 10), "buckets-too-few");
    assert_eq!(advice["change"], r#""node": { "buckets": 8192 }"#);
    // A store of 1 MiB has 107 buckets, however many are written.
    let small = r#"{"node":{"bytes":"1MiB"}}"#;
    assert!(advised(small, &metrics(100, 800, 10), &Seen::default()).is_empty());
}

#[test]
fn nothing_is_advised_that_the_reader_refuses_or_that_changes_nothing() {
    let often = |code| {
        let rule = OFTEN.iter().find(|rule| rule.code == code).unwrap();
        [(rule.words[0], rule.least), (MISS, rule.least)]
    };
    let change = |config: &str, code| -> Option<String> {
        let advice = advised(config, &often(code), &Seen::default());
        advice.first().map(|one| one["change"].as_str().unwrap().to_owned())
    };
    for (code, config, wanted) in [
        (
            "object-bound-too-small",
            r#"{"node":{"bytes":0}}"#,
            Some(r#""worker": { "object_bytes": "2MiB" }"#),
        ),
        (
            "object-bound-too-small",
            r#"{"node":{"object_bytes":"40MiB"}}"#,
            Some(r#""node": { "object_bytes": "64MiB" }"#),
        ),
        ("object-bound-too-small", r#"{"node":{"object_bytes":"64MiB"}}"#, None),
        ("object-bound-too-small", r#"{"node":{"bytes":"2MiB"}}"#, None),
        ("object-bound-too-small", r#"{"node":{"bytes":0},"worker":{"bytes":0}}"#, None),
        (
            "filling-bound-too-small",
            r#"{"worker":{"filling_bytes":"200MiB"}}"#,
            Some(r#""worker": { "filling_bytes": "256MiB" }"#),
        ),
        ("filling-bound-too-small", r#"{"worker":{"filling_bytes":"256MiB"}}"#, None),
        (
            "filling-bound-too-small",
            r#"{"worker":{"bytes":"700MiB"}}"#,
            Some(r#""worker": { "filling_bytes": "60MiB" }"#),
        ),
        ("waiters-bound-too-small", "{}", Some(r#""coalesce": { "waiters": 16384 }"#)),
        ("waiters-bound-too-small", r#"{"worker":{"waiters":100}}"#, Some(r#""worker": { "waiters": 200 }"#)),
        (
            "waiters-bound-too-small",
            r#"{"worker":{"waiters":131072},"defaults":{"coalesce":{"waiters":131072}}}"#,
            None,
        ),
        ("queue-too-small", r#"{"remote":{"enabled":true,"queue_bytes":"256MiB"}}"#, None),
    ] {
        assert_eq!(change(config, code).as_deref(), wanted, "{code} {config}");
    }
    let fills = [(("coalesce", "too-many-fills"), 1000), (MISS, 1000)];
    assert!(advised("{}", &fills, &Seen::default()).is_empty(), "that bound is fixed");
    let full = |tier| [(("evicted", tier), 100), (("bytes", tier), 100), (("bytes_limit", tier), 100)];
    let budget = |config: &str, tier: &'static str| -> Option<String> {
        advised(config, &full(tier), &Seen::default())
            .first()
            .map(|one| one["change"].as_str().unwrap().to_owned())
    };
    assert_eq!(budget(r#"{"node":{"bytes":"64GiB"}}"#, "node"), None);
    let worker = |bytes: &str| format!(r#"{{"node":{{"bytes":0}},"worker":{{"bytes":"{bytes}"}}}}"#);
    assert_eq!(budget(&worker("400MiB"), "worker").as_deref(), Some(r#""worker": { "bytes": "700MiB" }"#));
    assert_eq!(budget(&worker("700MiB"), "worker"), None);
    let late = [(("remote", "lookups"), 100), (("remote", "timeout"), 100)];
    let timeout = |timeout| {
        advised(&format!(r#"{{"remote":{{"enabled":true,"timeout":"{timeout}"}}}}"#), &late, &Seen::default())
    };
    assert_eq!(timeout("6s")[0]["change"], r#""remote": { "timeout": "10000ms" }"#);
    assert!(timeout("10s").is_empty());
}

#[test]
fn a_rule_that_only_watches_is_judged_by_its_comparisons() {
    let watches = r#"{"defaults":{"shadow":true}}"#;
    let metrics =
        |same, mismatch| [(("shadow_compared", "same"), same), (("shadow_compared", "mismatch"), mismatch)];
    begins(watches, &metrics(999, 0), &metrics(1000, 0), "shadow-agrees");
    begins(watches, &metrics(100_000, 9), &metrics(100_000, 10), "shadow-mismatches");
    assert!(advised(watches, &metrics(1000, 9), &Seen::default()).is_empty(), "too few to say either");
    assert!(advised("{}", &metrics(1000, 0), &Seen::default()).is_empty(), "no rule watches");
}

#[cfg(feature = "pools")]
#[test]
fn a_pool_is_saturated_if_most_requests_find_no_place_and_unused_if_none_ever_waited() {
    let config = |more: &str| {
        format!(r#"{{"pools":[{{"name":"api"{more}}}],"defaults":{{"admission":{{"pool":"api"}}}}}}"#)
    };
    let metrics = |went, waited, refused| {
        [
            (("pool_requests", "went"), went),
            (("pool_requests", "waited"), waited),
            (("pool_requests", "refused"), refused),
        ]
    };
    let fixed = config(r#","fixed":20"#);
    let advice = begins(&fixed, &metrics(100, 99, 0), &metrics(100, 100, 0), "pool-saturated");
    assert_eq!(advice["change"], r#""pools": [ { "name": "api", "fixed": 40 } ]"#);
    assert_eq!((&advice["figures"]["pool"], &advice["figures"]["waited"]), (&json!("api"), &json!(100)));
    begins(&fixed, &metrics(201, 100, 100), &metrics(200, 100, 100), "pool-saturated");
    // One whose limit could grow is of an origin that can do no more.
    let advice = begins(&config(""), &metrics(100, 200, 99), &metrics(100, 200, 100), "pool-saturated");
    assert_eq!(advice["change"], r#""stale": { "if_error": "1h" }"#);
    let most = config(r#","max":20"#);
    let advice = begins(&most, &metrics(100, 99, 0), &metrics(100, 100, 0), "pool-saturated");
    assert_eq!(advice["change"], r#""pools": [ { "name": "api", "max": 40 } ]"#);
    let largest = config(r#","fixed":100000"#);
    assert!(advised(&largest, &metrics(0, 1000, 0), &Seen::default()).is_empty());

    let advice = begins(&fixed, &metrics(9_999, 0, 0), &metrics(10_000, 0, 0), "pool-queue-unused");
    assert_eq!(advice["change"], r#""pools": [ { "name": "api", "fixed": 10 } ]"#);
    let advice = begins(&config(""), &metrics(10_000, 1, 0), &metrics(10_000, 0, 0), "pool-queue-unused");
    assert_eq!(advice["change"], r#""pools": [ { "name": "api", "max": 10 } ]"#);
    let least = config(r#","fixed":1"#);
    assert!(advised(&least, &metrics(10_000, 0, 0), &Seen::default()).is_empty());
    assert!(advised("{}", &metrics(10_000, 10_000, 0), &Seen::default()).is_empty(), "there is none");
}

#[cfg(feature = "limits")]
#[test]
fn a_limit_is_never_reached_or_its_tenants_crowd() {
    let limited =
        r#"{"limits":[{"name":"per-key","quota":600,"window":"1m"}],"defaults":{"limits":["per-key"]}}"#;
    let metrics = |admitted, refused, crowded| {
        [
            (("limit_requests", "admitted"), admitted),
            (("limit_requests", "refused"), refused),
            (("limit_events", "crowded"), crowded),
        ]
    };
    let advice = begins(limited, &metrics(9_999, 0, 0), &metrics(10_000, 0, 0), "limit-never-reached");
    assert_eq!(advice["change"], r#""limits": [ { "name": "per-key", "quota": 300, "window": "60000ms" } ]"#);
    begins(limited, &metrics(10_000, 1, 0), &metrics(10_000, 0, 0), "limit-never-reached");
    let one = r#"{"limits":[{"name":"l","quota":1,"window":"1m"}],"defaults":{"limits":["l"]}}"#;
    assert!(advised(one, &metrics(10_000, 0, 0), &Seen::default()).is_empty());
    let advice = begins(limited, &metrics(1_000, 1, 99), &metrics(1_000, 1, 100), "limits-crowded");
    assert_eq!(advice["change"], r#""node": { "limit_keys": 262144 }"#);
    begins(limited, &metrics(10_000, 1, 100), &metrics(9_999, 1, 100), "limits-crowded");
    let largest = limited.replacen('{', r#"{"node":{"limit_keys":8388608},"#, 1);
    assert!(advised(&largest, &metrics(1_000, 1, 1_000), &Seen::default()).is_empty());
    assert!(advised("{}", &metrics(10_000, 0, 1_000), &Seen::default()).is_empty(), "there are none");
}

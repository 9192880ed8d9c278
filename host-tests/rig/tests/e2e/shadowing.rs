//! A rule that only watches, on the real Envoy: what operators learn before they let it serve.

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Origin, Received};
use serde_json::{Value, json};

use super::becomes;
use super::page::browse;

const TOKEN: &str = "a-token-of-some-length";

const CONFIG: &str = r#"{ "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" }, "rules": [
    { "name": "feeds", "match": { "paths": ["/feed"] }, "shadow": true, "key": { "query": { "drop": true } } },
    { "name": "pages", "match": { "paths": ["/pages/*"] }, "shadow": true }
] }"#;

/// `/feed` depends on its query, which its rule leaves out of the key; pages are the same for everybody.
fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request: &Received| Answer::fresh(format!("for {}", request.target)));
    origin
}

fn report(gateway: &Gateway) -> Value {
    let asked = gateway.get("/.selvage/report").header("authorization", format!("Bearer {TOKEN}")).send();
    serde_json::from_slice(&asked.body).unwrap()
}

fn rule(report: &Value, name: &str) -> Value {
    let rules = report["shadow"]["rules"].as_array().unwrap();
    rules.iter().find(|rule| rule["rule"] == name).unwrap().clone()
}

#[test]
fn a_wrong_key_is_seen_before_anybody_is_served_by_it() {
    let origin = origin();
    let gateway = Gateway::with(CONFIG).origin(origin.url());
    let gateway = gateway.environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
    let mut asked = 0;
    let mut ask = |target: &str| {
        let answer = gateway.get(target).send();
        asked += 1;
        assert_eq!(answer.text(), format!("for {target}"), "{answer:?}");
        assert!(!answer.is_hit(), "{answer:?}");
        answer
    };
    for n in 0..20 {
        ask(&format!("/feed?user={n}"));
        ask("/pages/a");
    }
    let said = ask("/pages/a").cache_status();
    assert!(
        said.contains("; fwd=bypass; fwd-status=200; ttl=") && said.ends_with("; detail=shadow"),
        "{said}"
    );
    assert_eq!(origin.count("/pages/a"), 21);

    // A worker's first request of a page finds it in the node store, so that each page was fetched once to be stored.
    let settled = |_: &Response| {
        let report = report(&gateway);
        rule(&report, "pages")["same"].as_u64() >= Some(20)
            && rule(&report, "feeds")["mismatch"].as_u64() >= Some(18)
    };
    becomes(|| gateway.get("/other").send(), settled);
    let report = report(&gateway);
    let pages = rule(&report, "pages");
    assert_eq!((&pages["mismatch"], &pages["unknown"], &pages["miss"]), (&json!(0), &json!(0), &json!(1)));
    assert_eq!(pages["bytes"], 20 * "for /pages/a".len());
    assert!(pages["hit_rate"].as_f64() > Some(0.9), "{pages}");
    assert_eq!(rule(&report, "feeds")["same"], 0);

    // The same in Prometheus, by rule, once all of it has been told.
    let lines = [
        r#"selvage_shadow_compared{result="same",rule="pages"} 20"#,
        r#"selvage_shadow_requests{result="miss",rule="feeds"} 1"#,
        r#"selvage_shadow_compared{result="mismatch",rule="feeds"} 19"#,
    ];
    becomes(
        || gateway.admin("/stats/prometheus"),
        |text| lines.iter().all(|line| text.lines().any(|one| one == *line)),
    );
    // Both are told what to do about it, and one request says why it was not answered from the store.
    let explained = gateway.get("/pages/a").header("selvage-explain", TOKEN).send();
    let line = explained.header("selvage-explanation").unwrap_or_default();
    assert!(line.contains("shadow: a store has it, but the rule only watches"), "{line}");
    let advice =
        gateway.get("/.selvage/recommendations").header("authorization", format!("Bearer {TOKEN}")).send();
    assert!(advice.text().contains("shadow-mismatches"), "{}", advice.text());
    // A person sees it on the page.
    let page = browse(&format!("http://{}/.selvage/", gateway.address()), TOKEN, &["watched"]);
    let page = page["watched"].as_str().unwrap();
    assert!(page.contains("pages\t") && page.contains("feeds\t") && page.contains("/feed?user="), "{page}");
    gateway.assert_sound();
}

//! What explain says of limits and pools: which hold for a request, by what of it, and what they make of it.

use selvage_engine::purge::admin_auth::AdminAuth;
use serde_json::{Value, json};

use crate::gateway::{Answer, Gateway, fresh_for, origin};

const CONFIG: &str = r#"{
    "limits": [
        { "name": "per-key", "by": ["header:x-key", "ip", "path"], "quota": 60, "window": "1m", "burst": 2,
          "tiers": { "by": "header:x-tier", "quota": { "gold": 600 } } },
        { "name": "misses", "by": [], "quota": 1, "window": "1h", "burst": 1, "counts": "forwarded" },
        { "name": "watches", "by": ["cookie:sid"], "quota": 1, "window": "1h", "burst": 1, "shadow": true } ],
    "pools": [ { "name": "api", "fixed": 1, "queue": { "requests": 1, "wait": { "high": "3s" } } } ],
    "rules": [
        { "name": "limited", "match": { "paths": ["/limited/*"] }, "limits": ["per-key", "watches"] },
        { "name": "misses", "match": { "paths": ["/misses/*"] }, "limits": ["misses"] },
        { "name": "pooled", "match": { "paths": ["/pooled/*"] }, "stale": { "if_error": "1h" },
          "admission": { "pool": "api", "priority_header": "x-class", "fair_by": ["header:x-tenant"] } } ] }"#;

fn guarded() -> Gateway {
    let mut gateway = Gateway::with(CONFIG);
    gateway.workers[0].set_admin_auth(AdminAuth::Token { name: "T".into(), token: (*b"secret").into() });
    gateway
}

/// What the operators' path says of a request.
fn asked(gateway: &mut Gateway, second: u64, path: &str, headers: &Value) -> Value {
    let question = json!({ "url": format!("https://example.com{path}"), "headers": headers }).to_string();
    let call = gateway.post("/.selvage/explain").header("authorization", "Bearer secret").at(second);
    let answer = call.chunk(question).answered().status(200);
    serde_json::from_slice(answer.bytes()).unwrap()
}

/// The notes of a part about something.
fn of<'a>(told: &'a Value, part: &str, about: &str) -> Vec<&'a Value> {
    told[part].as_array().unwrap().iter().filter(|note| note["about"] == about).collect()
}

#[track_caller]
fn line_has(answer: &Answer, part: &str) {
    let line = answer.value("selvage-explanation").expect("an explanation");
    assert!(line.contains(part), "no {part:?} in {line}");
}

#[test]
fn each_limit_is_told_with_what_of_the_request_makes_its_key() {
    let mut gateway = guarded();
    let headers = json!({ "x-key": "hidden", "x-tier": "gold" });
    let told = asked(&mut gateway, 0, "/limited/a", &headers);
    let limits = of(&told, "request", "limit");
    assert_eq!(limits.len(), 2, "{told:#}");
    let by = json!(["header:x-key (there, 6 bytes)", "ip (192.0.2.1)", "path (/limited/a)"]);
    assert_eq!((&limits[0]["name"], &limits[0]["by"]), (&json!("per-key"), &by));
    assert_eq!((&limits[0]["quota"], &limits[0]["burst"]), (&json!(600), &json!(20)));
    assert_eq!((&limits[0]["left"], &limits[0]["refuses"]), (&json!(20), &json!(false)));
    let text = limits[0]["text"].as_str().unwrap();
    assert!(text.contains("600 in 60 s") && text.contains("tier \"gold\""), "{text}");
    assert_eq!(limits[1]["by"], json!(["cookie:sid (absent: shares with all who have none)"]));
    assert!(!told.to_string().contains("hidden"));
    // Another value is another key, and the same one the same.
    let key = |told: &Value| of(told, "request", "limit")[0]["key"].as_str().unwrap().to_owned();
    assert_eq!(key(&told).len(), 16);
    assert_eq!(key(&told), key(&asked(&mut gateway, 1, "/limited/a", &headers)));
    assert_ne!(key(&told), key(&asked(&mut gateway, 1, "/limited/a", &json!({ "x-key": "other" }))));
    // Asking takes nothing.
    assert_eq!(of(&asked(&mut gateway, 1, "/limited/a", &headers), "request", "limit")[0]["left"], 20);
}

#[test]
fn a_limit_that_refuses_is_the_verdict_and_the_refusal_says_so_itself() {
    let mut gateway = guarded();
    let key = json!({ "x-key": "1" });
    let ask = |gateway: &mut Gateway| {
        let call = gateway.get("/limited/a").header("x-key", "1").header("selvage-explain", "secret");
        call.at(0).sent()
    };
    let flight = ask(&mut gateway).left();
    let answer = gateway.answers(flight, 0, fresh_for(60));
    line_has(&answer, "goes to the origin");
    // The last token: it was admitted, whatever the next would be told.
    let hit = ask(&mut gateway).answered().status(200);
    line_has(&hit, "answered from the store");
    line_has(&hit, "request limit: \"per-key\": 60 in 60 s, 2 at once, counting every request");
    let refused = ask(&mut gateway).answered().status(429);
    line_has(&refused, "verdict request: answered with 429: limited");
    line_has(&refused, "refused for 1000 ms");
    // One that shows no token, or another, is told nothing of it.
    let plain = gateway.get("/limited/a").header("x-key", "1").at(0).answered().status(429);
    plain.lacks("selvage-explanation");
    let call = gateway.get("/limited/a").header("x-key", "1").header("selvage-explain", "guess").at(0);
    call.answered().status(429).lacks("selvage-explanation");
    let told = asked(&mut gateway, 0, "/limited/a", &key);
    assert_eq!(told["verdict"][0]["word"], "limited", "{told:#}");
    assert_eq!(told["verdict"][0]["outcome"], "answered with 429");
    let told = asked(&mut gateway, 1, "/limited/a", &key);
    assert_eq!(told["verdict"][0]["word"], "worker", "{told:#}");
    // The one that only watches would refuse, and does not.
    assert_eq!(of(&told, "request", "limit")[1]["refuses"], true);
}

#[test]
fn a_limit_of_what_goes_to_the_origin_is_told_where_the_request_goes_there() {
    let mut gateway = guarded();
    gateway.get("/misses/a").at(0).miss(fresh_for(60)).stored();
    let told = asked(&mut gateway, 1, "/misses/a", &json!({}));
    assert!(of(&told, "request", "limit").is_empty(), "{told:#}");
    let told = asked(&mut gateway, 1, "/misses/b", &json!({}));
    let of_limit = of(&told, "verdict", "limit");
    assert_eq!((&told["verdict"][0]["word"], &of_limit[0]["word"]), (&json!("uri-miss"), &json!("limited")));
    let answer = gateway.get("/misses/b").header("selvage-explain", "secret").at(1).answered().status(429);
    line_has(&answer, "verdict limit: answered with 429: limited");
}

#[test]
fn a_pool_is_told_with_the_class_and_where_that_comes_from() {
    let mut gateway = guarded();
    let pool = |told: &Value| of(told, "request", "pool").into_iter().next().cloned().unwrap();
    let verdict = |told: &Value| of(told, "verdict", "pool").into_iter().next().cloned().unwrap();
    let told = asked(&mut gateway, 0, "/pooled/a", &json!({ "x-class": "high", "x-tenant": "t" }));
    let of_pool = pool(&told);
    assert_eq!(
        (&of_pool["name"], &of_pool["class"], &of_pool["from"]),
        (&json!("api"), &json!("high"), &json!("header"))
    );
    assert_eq!(of_pool["fair_by"], json!(["header:x-tenant (there, 1 bytes)"]));
    assert_eq!(verdict(&told)["outcome"], "goes");
    let told = asked(&mut gateway, 0, "/pooled/a", &json!({ "x-class": "urgent" }));
    assert_eq!((&pool(&told)["class"], &pool(&told)["from"]), (&json!("normal"), &json!("rule")));
    assert!(pool(&told)["text"].as_str().unwrap().contains("x-class: \"urgent\" names none"), "{told:#}");
    // One is there, one waits, and a third finds no room.
    let first = gateway.get("/pooled/a").at(0).leaves();
    let told = asked(&mut gateway, 0, "/pooled/b", &json!({ "x-class": "high" }));
    assert_eq!(verdict(&told)["outcome"], "waits");
    assert!(verdict(&told)["text"].as_str().unwrap().contains("3 s at most"), "{told:#}");
    let _second = gateway.get("/pooled/b").at(0).waits();
    let told = asked(&mut gateway, 0, "/pooled/c", &json!({}));
    assert_eq!((&verdict(&told)["word"], &pool(&told)["waiting"]), (&json!("overload"), &json!(1)));
    let answer = gateway.get("/pooled/c").header("selvage-explain", "secret").at(0).answered().status(503);
    line_has(&answer, "verdict pool: answered with 503: overload");
    gateway.answers(first, 1, fresh_for(60)).stored();
    // What is stored meets no pool.
    assert!(of(&asked(&mut gateway, 2, "/pooled/a", &json!({})), "request", "pool").is_empty());
}

#[test]
fn what_is_served_in_the_place_of_a_refusal_says_so() {
    let mut gateway = guarded();
    gateway.get("/pooled/a").at(0).miss(fresh_for(1)).stored();
    let _first = gateway.get("/pooled/b").at(9).leaves();
    let _second = gateway.get("/pooled/c").at(9).waits();
    let answer = gateway.get("/pooled/a").header("selvage-explain", "secret").at(9).answered().status(200);
    line_has(&answer, "verdict pool: answered from the store: overload");
    let other = gateway.get("/else").header("selvage-explain", "secret").at(9).leaves();
    let answer = gateway.answers(other, 9, origin(200));
    assert!(!answer.value("selvage-explanation").unwrap().contains("request pool"));
}

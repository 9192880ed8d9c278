//! A client that asks for too much is told so, and when to come again. Second 0 is 2027-01-15T08:00:00Z.

use crate::gateway::{Answer, Gateway, fresh_for, origin};

const PER_KEY: &str = r#"{"limits":[{"name":"per-key","by":["header:x-key"],"quota":60,"window":"1m","burst":3}],
    "rules":[{"name":"api","match":{"paths":["/api/*"]},"limits":["per-key"]}]}"#;

#[track_caller]
fn limited(answer: Answer, seconds: &str) -> Answer {
    let left = format!("\"per-key\";r=0;t={seconds}");
    answer.status(429).detail("limited").has("retry-after", seconds).has("ratelimit", &left)
}

#[test]
fn past_its_burst_a_client_is_refused_until_a_token_has_come_back() {
    let mut gateway = Gateway::with(PER_KEY);
    gateway.get("/api/a").header("x-key", "1").at(0).miss(fresh_for(600)).stored();
    gateway.get("/api/a").header("x-key", "1").at(0).hit();
    gateway.get("/api/b").header("x-key", "1").at(0).miss(fresh_for(600));
    let answer = limited(gateway.get("/api/a").header("x-key", "1").at(0).answered(), "1");
    assert_eq!(answer.cache_status(), "Selvage; detail=limited");
    answer
        .has("content-type", "application/problem+json")
        .has("cache-control", "no-store")
        .has("ratelimit-policy", "\"per-key\";q=60;w=60")
        .content(concat!(
            "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",",
            "\"title\":\"Quota exceeded\",\"status\":429,\"violated-policies\":[\"per-key\"]}\n"
        ));
    // Every method counts, another client has its own, and other rules have none.
    limited(gateway.post("/api/a").chunk("a body").header("x-key", "1").at_millis(999).answered(), "1");
    limited(gateway.head("/api/a").header("x-key", "1").at_millis(999).answered(), "1");
    gateway.get("/api/a").header("x-key", "2").at(0).hit();
    (0..10).for_each(|_| drop(gateway.get("/else").header("x-key", "1").at(0).forwarded(origin(200))));
    gateway.get("/api/a").header("x-key", "1").at(1).hit();
    limited(gateway.get("/api/a").header("x-key", "1").at(1).answered(), "1");
    assert_eq!(gateway.counted(0, "detail", "limited"), 4);
    assert_eq!(gateway.counted(0, "requests", "refused.none"), 4);
    gateway.assert_no_room_is_taken();
}

#[test]
fn the_workers_of_a_node_count_together() {
    let mut gateway = Gateway::of_workers(3, PER_KEY);
    for nth in 0..3 {
        gateway.get("/api/a").header("x-key", "1").worker(nth).at(0).forwarded(origin(200));
    }
    for nth in 0..3 {
        limited(gateway.get("/api/a").header("x-key", "1").worker(nth).at(0).answered(), "1");
    }
    gateway.get("/api/a").header("x-key", "1").worker(1).at(1).forwarded(origin(200));
    limited(gateway.get("/api/a").header("x-key", "1").worker(2).at(1).answered(), "1");
}

#[test]
fn who_has_no_key_shares_with_all_who_have_none() {
    let mut gateway = Gateway::with(PER_KEY);
    (0..3).for_each(|_| drop(gateway.get("/api/a").at(0).forwarded(origin(200))));
    limited(gateway.get("/api/a").at(0).answered(), "1");
    limited(gateway.get("/api/a").header("x-key", "").at(0).answered(), "1");
    gateway.get("/api/a").header("x-key", "1").at(0).forwarded(origin(200));
}

#[test]
fn a_limit_that_only_watches_is_counted_and_refuses_nothing() {
    let config = PER_KEY.replace(r#""burst":3"#, r#""burst":3,"shadow":true"#);
    let mut gateway = Gateway::with(&config);
    (0..10).for_each(|_| drop(gateway.get("/api/a").at(0).forwarded(origin(200))));
    gateway.exports();
    let count =
        |gateway: &Gateway, word| gateway.shared.rule_metrics.get(&("api".into(), ("limits", word))).copied();
    assert_eq!(count(&gateway, "admitted"), Some(10));
    assert_eq!(count(&gateway, "shadow"), Some(7));
    assert_eq!(count(&gateway, "refused"), None);
}

#[test]
fn a_request_that_is_refused_before_costs_no_call_to_shared_data() {
    let mut gateway = Gateway::with(PER_KEY);
    (0..3).for_each(|_| drop(gateway.get("/api/a").at(0).forwarded(origin(200))));
    limited(gateway.get("/api/a").at(0).answered(), "1");
    let gets = gateway.shared.gets;
    (0..10).for_each(|_| drop(limited(gateway.get("/api/a").at(0).answered(), "1")));
    assert_eq!(gateway.shared.gets, gets);
}

#[test]
fn a_rule_inherits_limits_and_can_be_without() {
    let config = r#"{"limits":[{"name":"all","by":[],"quota":1,"window":"1h","headers":"none"}],"defaults":{"limits":["all"]},
        "rules":[{"name":"free","match":{"paths":["/free"]},"limits":[]}]}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/a").at(0).forwarded(origin(200));
    gateway.get("/a").at(0).answered().status(429).has("retry-after", "3600").lacks("ratelimit");
    gateway.get("/free").at(0).forwarded(origin(200));
    gateway.get("/free").at(0).forwarded(origin(200));
}

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

#[test]
fn every_response_says_what_is_left() {
    let mut gateway = Gateway::with(PER_KEY);
    let asks = |gateway: &mut Gateway, method: &str, path: &str| {
        let call = gateway.request(method, path).header("x-key", "1").at(0);
        match call.send() {
            crate::gateway::Sent::Left(flight) => gateway.answers(flight, 0, fresh_for(600)),
            other => other.answered(),
        }
    };
    // From the origin, from a store, and of a request that only passes.
    for (method, left) in [("GET", "2"), ("GET", "1"), ("OPTIONS", "0")] {
        let answer = asks(&mut gateway, method, "/api/a");
        let answer = answer.has("ratelimit-policy", "\"per-key\";q=60;w=60");
        let told = told(&answer);
        assert!(told.starts_with(&format!("\"per-key\";r={left};t=")), "{method}: {told}");
    }
}

fn told(answer: &Answer) -> String {
    answer.value("ratelimit").expect("a quota is told")
}

#[test]
fn where_forwarded_requests_count_hits_are_free() {
    let config = r#"{"limits":[{"name":"origin","by":[],"quota":60,"window":"1m","burst":2,"counts":"forwarded"}],
        "defaults":{"limits":["origin"]}}"#;
    let mut gateway = Gateway::with(config);
    let answer = gateway.get("/a").at(0).miss(fresh_for(600)).stored();
    assert!(told(&answer).starts_with("\"origin\";r=1;"));
    (0..5).for_each(|_| drop(gateway.get("/a").at(0).hit().lacks("ratelimit")));
    gateway.get("/b").at(0).miss(fresh_for(600)).stored();
    limited_by(gateway.get("/c").at(0).answered());
    limited_by(gateway.post("/a").chunk("x").at(0).answered());
    gateway.get("/a").at(0).hit();
    // Who leads is refused, and those who wait for it are not forgotten.
    gateway.get("/c").at(1).miss(fresh_for(600)).stored();
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

fn limited_by(answer: Answer) {
    answer.status(429).detail("limited");
}

#[test]
fn what_a_response_says_it_has_cost_is_owed() {
    let config = r#"{"limits":[{"name":"dear","by":[],"quota":60,"window":"1m","burst":10,"cost_header":"x-cost"}],
        "defaults":{"limits":["dear"]}}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/a").at(0).forwarded(origin(200).header("x-cost", "13"));
    limited_by(gateway.get("/b").at(0).answered());
    limited_by(gateway.get("/b").at(3).answered());
    gateway.get("/b").at(4).forwarded(origin(200));
}

#[test]
fn of_several_stages_the_limit_comes_before_the_place() {
    let config = r#"{"pools":[{"name":"api","fixed":1,"queue":{"requests":0}}],
        "limits":[{"name":"l","by":[],"quota":60,"window":"1m","burst":1,"counts":"forwarded"}],
        "defaults":{"limits":["l"],"admission":{"pool":"api"}}}"#;
    let mut gateway = Gateway::with(config);
    let first = gateway.get("/a").at(0).leaves();
    limited_by(gateway.get("/b").at(0).answered());
    gateway.get("/b").at(1).answered().status(503).detail("overload");
    gateway.goes_away(first, 1);
    gateway.get("/b").at(2).forwarded(origin(200));
}

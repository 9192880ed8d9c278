//! A rule whose requests are answered with 503 within a window of time. Second 0 is 2027-01-15T08:00:00Z.

use selvage_engine::config::Config;
use selvage_engine::purge::admin_auth::AdminAuth;

use crate::gateway::{Answer, Gateway, fresh_for, origin};

/// From second 10 to second 120, for what is below `/shop/`.
const WINDOW: &str = r#"{"rules":[
    {"name":"shop","match":{"paths":["/shop/*"]},
     "maintenance":{"from":"2027-01-15T08:00:10Z","until":"2027-01-15T08:02:00Z"}}]}"#;

const NOW: &str = r#"{"defaults":{"maintenance":{}}}"#;

/// The whole answer: what clients and caches on the way read of it.
#[track_caller]
fn closed(answer: Answer, seconds: &str) {
    assert_eq!(answer.cache_status(), "Selvage; detail=maintenance");
    answer
        .status(503)
        .has("retry-after", seconds)
        .has("cache-control", "no-store")
        .has("content-type", "application/problem+json")
        .content("{\"status\":503,\"title\":\"Service Unavailable\"}\n");
}

#[test]
fn within_its_window_a_rule_answers_503_and_says_when_it_is_over() {
    let mut gateway = Gateway::with(WINDOW);
    gateway.get("/shop/a").at(0).miss(fresh_for(600).body("a")).stored();
    gateway.get("/shop/a").at_millis(9_999).hit().content("a");
    for (millis, seconds) in
        [(10_000, "110"), (10_001, "110"), (11_000, "109"), (118_999, "2"), (119_000, "1"), (119_999, "1")]
    {
        closed(gateway.get("/shop/a").at_millis(millis).answered(), seconds);
        closed(gateway.get("/shop/unknown").at_millis(millis).answered(), seconds);
    }
    // What was stored is there again.
    gateway.get("/shop/a").at(120).hit().content("a").age(120);
    assert_eq!(gateway.counted(0, "requests", "refused.none"), 12);
    assert_eq!(gateway.counted(0, "detail", "maintenance"), 12);
}

#[test]
fn every_method_is_answered_and_nothing_is_invalidated() {
    let mut gateway = Gateway::with(WINDOW);
    gateway.get("/shop/a").at(0).miss(fresh_for(600).body("a")).stored();
    // The host leaves the content off the answer to HEAD.
    closed(gateway.head("/shop/a").at(20).answered(), "100");
    closed(gateway.post("/shop/a").at(20).answered(), "100");
    closed(gateway.post("/shop/a").chunk("a body").at(20).answered(), "100");
    closed(gateway.request("DELETE", "/shop/a").at(20).answered(), "100");
    // Nor does a request talk its way past it.
    closed(gateway.get("/shop/a").header("cache-control", "only-if-cached").at(20).answered(), "100");
    closed(gateway.get("/shop/a").header("cookie", "a=1").at(20).answered(), "100");
    gateway.get("/shop/a").at(120).hit().content("a");
    gateway.assert_no_room_is_taken();
}

#[test]
fn an_empty_object_is_now_and_without_end() {
    let mut gateway = Gateway::with(NOW);
    closed(gateway.get("/").at(0).answered(), "60");
    closed(gateway.get("/").at(1_000_000_000).answered(), "60");
    for (members, seconds) in [
        (r#""retry_after":null"#, "60"),
        (r#""retry_after":"1s""#, "1"),
        (r#""retry_after":"1500ms""#, "2"),
        (r#""retry_after":"1d""#, "86400"),
        (r#""from":null,"until":null"#, "60"),
        (r#""from":"1970-01-01T00:00:00Z""#, "60"),
        // The end is known, and further away than a client should wait.
        (r#""until":"2100-12-31T23:59:59Z","retry_after":"1s""#, "86400"),
        (r#""until":"2027-01-15T08:00:05Z","retry_after":"1h""#, "5"),
    ] {
        let mut gateway = Gateway::with(&format!(r#"{{"defaults":{{"maintenance":{{{members}}}}}}}"#));
        closed(gateway.get("/").at(0).answered(), seconds);
    }
    let mut gateway = Gateway::with(r#"{"defaults":{"maintenance":{"from":"2027-01-15T08:00:05Z"}}}"#);
    gateway.get("/").at(4).miss(fresh_for(60));
    closed(gateway.get("/").at(5).answered(), "60");
}

#[test]
fn each_rule_has_its_own_and_may_take_back_what_it_inherits() {
    let mut gateway = Gateway::with(
        r#"{"defaults":{"maintenance":{"until":"2027-01-15T08:00:30Z"}},"rules":[
            {"name":"open","match":{"paths":["/open"]},"maintenance":null},
            {"name":"late","match":{"paths":["/late"]},"maintenance":{"from":"2027-01-15T08:00:20Z"}}]}"#,
    );
    gateway.get("/open").at(10).miss(fresh_for(60));
    gateway.get("/late").at(10).miss(fresh_for(60));
    closed(gateway.get("/other").at(10).answered(), "20");
    gateway.get("/open").at(40).hit();
    // A rule's window replaces the inherited one as a whole.
    closed(gateway.get("/late").at(40).answered(), "60");
    gateway.get("/other").at(40).miss(fresh_for(60));
}

#[test]
fn operators_come_first() {
    let mut gateway = Gateway::with(WINDOW.replace("/shop/*", "*").as_str());
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway.get("/shop/a").at(0).miss(fresh_for(600).body("a")).stored();
    closed(gateway.get("/shop/a").at(20).answered(), "100");
    gateway.get("/.selvage/health").at(20).answered().status(200);
    for (second, verdict) in
        [(0, "answered from the store"), (20, "answered with 503: maintenance: the rule")]
    {
        let explain = "/.selvage/explain?url=https://example.com/shop/a";
        let explained = gateway.get(explain).at(second).answered().status(200);
        assert!(String::from_utf8_lossy(explained.bytes()).contains(verdict), "{verdict}");
    }
    gateway.request("PURGE", "/shop/a").at(20).answered().status(200);
    gateway.get("/shop/a").at(120).miss(fresh_for(60));
}

#[test]
fn a_refresh_of_the_caches_own_goes_on() {
    let config = WINDOW.replace(r#""maintenance""#, r#""refresh":{"cluster":"origin"},"maintenance""#);
    let mut gateway = Gateway::with(&config);
    let stale = origin(200).header("cache-control", "max-age=5, stale-while-revalidate=100").body("one");
    gateway.get("/shop/a").at(0).miss(stale);
    gateway.get("/shop/a").at(9).hit().content("one");
    let refresh = gateway.refreshes(0, 9);
    closed(gateway.get("/shop/a").at(11).answered(), "109");
    gateway.renews(0, refresh, 12, fresh_for(600).body("two"));
    gateway.get("/shop/a").at(120).hit().content("two");
}

#[test]
fn what_is_no_window_is_refused_with_its_place() {
    for (members, fault) in [
        ("true", "maintenance: found true, allowed: an object, or null"),
        (
            r#"{"from":"2027-01-15T08:00:00Z","until":"2027-01-15T08:00:00Z"}"#,
            r#"maintenance.until: found "2027-01-15T08:00:00Z", allowed: a moment after "2027-01-15T08:00:00Z""#,
        ),
        (r#"{"from":"tomorrow"}"#, r#"maintenance.from: found "tomorrow", allowed: a moment in UTC such as"#),
        (r#"{"from":1796090400}"#, "maintenance.from: found 1796090400, allowed: a moment in UTC such as"),
        (r#"{"until":"1969-12-31T23:59:59Z"}"#, r#"maintenance.until: found "1969-"#),
        (r#"{"until":"2101-01-01T00:00:00Z"}"#, r#"maintenance.until: found "2101-"#),
        (r#"{"until":"2027-02-29T00:00:00Z"}"#, r#"maintenance.until: found "2027-02-29"#),
        (r#"{"retry_after":"999ms"}"#, r#"maintenance.retry_after: found "999ms""#),
        (r#"{"retry_after":86401}"#, "maintenance.retry_after: found 86401"),
        (r#"{"untill":null}"#, r#"maintenance.untill: found an unknown member "untill""#),
    ] {
        let config = format!(r#"{{"rules":[{{"name":"r","maintenance":{members}}}]}}"#);
        let faults = Config::parse(config.as_bytes()).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].to_string().starts_with(&format!("rules[0].{fault}")), "{}", faults[0]);
    }
}

//! What an origin tells one client of its quota is told to no other: in no tier, after no validation, with no status.

use crate::gateway::{Answer, Gateway, fresh_for, origin};

const FIELDS: &str = "ratelimit: \"a\";r=1;t=5 | ratelimit-policy: \"a\";q=2;w=5 | ratelimit-remaining: 1 | \
                      x-ratelimit-limit: 2 | x-rate-limit-reset: 5 | x-rates: kept";

#[track_caller]
fn told_nothing(answer: Answer) -> Answer {
    let mut answer = answer.has("x-rates", "kept");
    for name in
        FIELDS.split(" | ").filter_map(|line| line.split(':').next()).filter(|name| *name != "x-rates")
    {
        answer = answer.lacks(name);
    }
    answer
}

#[test]
fn the_client_that_asked_is_told_what_it_has_left_and_no_other() {
    let mut gateway = Gateway::of_workers(2, r#"{"defaults":{"compression":{"min_bytes":1}}}"#);
    let body = "a body that is long enough to be worth it ".repeat(100);
    let answer =
        fresh_for(60).headers(FIELDS).header("etag", "\"1\"").header("content-type", "text/html").body(&body);
    let passed = gateway.get("/a").at(0).miss(answer).stored();
    assert_eq!(passed.value("ratelimit-remaining").as_deref(), Some("1"));
    told_nothing(gateway.get("/a").at(1).hit()).detail("worker");
    told_nothing(gateway.get("/a").worker(1).at(1).hit()).detail("node");
    told_nothing(gateway.get("/a").header("accept-encoding", "gzip").at(1).hit());
    // Nor what a 304 says, which is as much somebody's.
    let confirmed = origin(304).headers(FIELDS).header("cache-control", "max-age=60").header("etag", "\"1\"");
    told_nothing(gateway.get("/a").at(61).validates(confirmed)).detail("validated");
    told_nothing(gateway.get("/a").at(62).hit());
}

#[test]
fn the_fleet_is_not_told_either() {
    let mut gateway =
        Gateway::of_workers(1, r#"{"remote":{"enabled":true},"node":{"bytes":0},"worker":{"bytes":0}}"#);
    let asks = gateway.get("/a").at(0).asks();
    let flight = gateway.remote_answers(asks, 0).left();
    let passed = gateway.answers(flight, 0, fresh_for(60).headers(FIELDS).body("a"));
    assert_eq!(passed.value("ratelimit-policy").as_deref(), Some("\"a\";q=2;w=5"));
    gateway.sends();
    let asks = gateway.get("/a").at(1).asks();
    told_nothing(gateway.remote_answers(asks, 1).answered()).detail("remote");
}

#[test]
fn retry_after_of_a_429_is_its_clients_and_that_of_a_503_everybodys() {
    for (status, others) in [(429, None), (503, Some("7"))] {
        let mut gateway = Gateway::with(r#"{"rules":[{"name":"r","statuses":[200,429,503]}]}"#);
        let wait =
            |seconds| origin(status).headers("cache-control: max-age=60").header("retry-after", seconds);
        let passed = gateway.get("/a").at(0).forwarded(wait("7"));
        assert_eq!(passed.value("retry-after").as_deref(), Some("7"));
        let hit = gateway.get("/a").at(1).hit().status(status);
        assert_eq!(hit.value("retry-after").as_deref(), others, "{status}");
    }
}

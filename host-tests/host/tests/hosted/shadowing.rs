//! Rules that only watch, in the release module: nothing of a response is held back or changed, and each rule has counters of
//! its own.

use selvage_host::{Gateway, OriginResponse};

use crate::{cache_status, fresh};

const CONFIG: &str = r#"{"defaults":{"shadow":true},"rules":[
    {"name":"feeds.v1","match":{"paths":["/feed"]},"key":{"query":{"drop":true}}},
    {"name":"served","match":{"paths":["/served"]},"shadow":false}]}"#;

#[test]
fn clients_get_what_the_origin_sends_and_each_rule_counts_for_itself() {
    let gateway = Gateway::with(CONFIG).workers(2);
    let gateway = gateway
        .origin(|request| match request.path().as_str() {
            "/large" => fresh(&"x".repeat(300_000)).header("surrogate-key", "t"),
            path => fresh(path).header("surrogate-key", "t"),
        })
        .start();
    for round in 0..2 {
        for (path, text) in [("/feed?user=1", "/feed?user=1"), ("/feed?user=2", "/feed?user=2"), ("/a", "/a")]
        {
            let answer = gateway.get(path).send(0);
            assert_eq!(
                (answer.text().as_str(), answer.header("surrogate-key").as_deref()),
                (text, Some("t"))
            );
            assert!(!cache_status(&answer).contains("; hit"), "{round} {path}: {}", cache_status(&answer));
        }
        assert_eq!(gateway.get("/large").send(1).text().len(), 300_000);
        gateway.advance(1);
        gateway.run();
    }
    assert_eq!(gateway.origin().fetches(), 8);
    assert!(
        cache_status(&gateway.get("/a").send(1))
            .ends_with("; fwd=bypass; fwd-status=200; ttl=58; detail=shadow")
    );
    gateway.get("/served").send(0);
    assert!(cache_status(&gateway.get("/served").send(0)).contains("; hit"));
    gateway.tick();
    let counted = |name: &str| gateway.metric(&format!("selvage.{name}"));
    assert_eq!(counted("shadow_requests.feeds.v1.hit"), Some(3));
    assert_eq!(counted("shadow_compared.feeds.v1.mismatch"), Some(2));
    assert_eq!(counted("shadow_compared.feeds.v1.same"), Some(1));
    assert_eq!(counted("shadow_compared.default.same"), Some(3));
    assert_eq!(counted("shadow_compared.default.mismatch"), None);
    assert_eq!(counted("shadow_bytes.default.hit"), Some(300_000 + 2 + 2));
    assert_eq!(counted("shadow_requests.served.hit"), None);
}

#[test]
fn a_comparison_ends_with_its_stream_however_that_ends() {
    let gateway = Gateway::with(r#"{"defaults":{"shadow":true}}"#).workers(1);
    let gateway = gateway.origin(|_| fresh("0123456789")).start();
    gateway.get("/a").send(0);
    gateway.origin().next(
        OriginResponse::ok("01234").header("cache-control", "max-age=60").header("content-length", "10"),
    );
    gateway.get("/a").send(0);
    gateway.tick();
    let counted = |word: &str| gateway.metric(&format!("selvage.shadow_compared.default.{word}"));
    let all: i64 = ["same", "mismatch", "unknown"].into_iter().filter_map(counted).sum();
    assert_eq!((all, counted("same")), (1, None));
}

//! The cache's own requests: calls from the root context, whatever becomes of the stream that gave rise to them.

use selvage_host::{Callout, Gateway, Headers, OriginResponse};

use crate::{assert_forwarded, assert_hit, cache_status, fresh};

const CALLS: &str = r#"{"defaults":{"refresh":{"cluster":"origin"}}}"#;

fn stale(text: &str) -> OriginResponse {
    let response = OriginResponse::ok(text).header("etag", "\"1\"");
    response.header("cache-control", "max-age=60, stale-while-revalidate=600")
}

fn gateway(configuration: &str) -> Gateway {
    Gateway::with(configuration).workers(2).cluster("origin").origin(|_| stale("one")).start()
}

fn only(mut calls: Vec<Callout>) -> Callout {
    let call = calls.pop().expect("a call is made");
    assert!(calls.is_empty(), "{} calls more", calls.len());
    call
}

/// The response has expired, and a request for it has been answered with it.
fn expired(gateway: &Gateway) -> Callout {
    gateway.get("/a").send(0);
    gateway.advance(61);
    let answer = gateway.get("/a").send(0);
    assert_hit(&answer, "one");
    assert!(cache_status(&answer).contains("detail=stale-while-revalidate"), "{}", cache_status(&answer));
    only(gateway.callouts())
}

#[test]
fn a_stale_response_is_renewed_by_a_call_after_its_stream_has_ended() {
    for status in [304, 200] {
        let gateway = gateway(CALLS);
        let call = expired(&gateway);
        assert_eq!((call.cluster(), call.path().as_str()), ("origin", "/a"));
        assert_eq!(call.headers().get("if-none-match").as_deref(), Some("\"1\""));
        assert_eq!(call.timeout_milliseconds(), 5000);
        // The other worker knows that it is under way.
        assert_hit(&gateway.get("/a").send(1), "one");
        let headers = Headers::new().with("cache-control", "max-age=60").with("etag", "\"1\"");
        call.respond(status, headers, if status == 200 { "two" } else { "" });
        gateway.run();
        // For some milliseconds the other worker believes it to be under way still.
        gateway.advance(1);
        for worker in 0..2 {
            let answer = gateway.get("/a").send(worker);
            assert_hit(&answer, if status == 200 { "two" } else { "one" });
            assert!(cache_status(&answer).contains("ttl=59"), "{}", cache_status(&answer));
            assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
        }
        assert!(gateway.callouts().is_empty());
        assert_eq!(gateway.origin().fetches(), 1);
        gateway.tick();
        let word = if status == 200 { "selvage.refresh.stored" } else { "selvage.refresh.freshened" };
        assert_eq!(gateway.metric(word), Some(1));
        assert_eq!(gateway.metric("selvage.responses.stored"), Some(1));
    }
}

#[test]
fn what_envoy_answers_in_the_origins_place_is_no_answer() {
    for failure in 0..4 {
        let gateway = gateway(CALLS);
        let call = expired(&gateway);
        match failure {
            0 => call.synthesise(503),
            1 => call.synthesise(504),
            2 => call.fail(),
            _ => call.respond(503, Headers::new().with("cache-control", "max-age=60"), "the origin's"),
        }
        gateway.tick();
        assert_eq!(gateway.metric("selvage.refresh.failed"), Some(1), "{failure}");
        assert_hit(&gateway.get("/a").send(0), "one");
        assert!(gateway.callouts().is_empty(), "it rests for a second");
        gateway.advance(1);
        assert_hit(&gateway.get("/a").send(1), "one");
        only(gateway.callouts()).respond(200, Headers::new().with("cache-control", "max-age=60"), "two");
        assert_hit(&gateway.get("/a").send(0), "two");
    }
}

#[test]
fn a_cluster_that_envoy_does_not_have_leaves_it_to_the_clients() {
    let gateway = Gateway::with(CALLS).workers(1).origin(|_| stale("one")).start();
    gateway.get("/a").send(0);
    gateway.advance(61);
    assert_hit(&gateway.get("/a").send(0), "one");
    gateway.origin().next(fresh("two"));
    let answers: Vec<String> = (0..3).map(|_| gateway.get("/a").send(0).text()).collect();
    assert_eq!(answers.last().map(String::as_str), Some("two"), "{answers:?}");
    gateway.tick();
    assert_eq!(gateway.metric("selvage.refresh.unknown-cluster"), Some(1));
    assert!(gateway.logs().iter().any(|line| line.message.contains("\"origin\" cannot be called")));
}

#[test]
fn a_cluster_without_a_healthy_host_is_a_failed_refresh() {
    let gateway = gateway(CALLS);
    gateway.get("/a").send(0);
    gateway.advance(61);
    gateway.refuse_callouts(true);
    assert_hit(&gateway.get("/a").send(0), "one");
    gateway.tick();
    assert_eq!(gateway.metric("selvage.refresh.failed"), Some(1));
}

#[test]
fn the_cluster_is_learnt_if_it_may_be_called() {
    let gateway = gateway(r#"{"defaults":{"refresh":{"clusters":["origin"]}}}"#);
    assert_eq!(expired(&gateway).cluster(), "origin");
    let gateway = self::gateway(r#"{"defaults":{"refresh":{"clusters":["other"]}}}"#);
    gateway.get("/a").send(0);
    gateway.advance(61);
    assert_hit(&gateway.get("/a").send(0), "one");
    assert!(gateway.callouts().is_empty());
}

#[test]
fn an_early_refresh_costs_the_hit_one_call_and_the_others_nothing() {
    let gateway = gateway(r#"{"defaults":{"refresh":{"cluster":"origin","early":10}}}"#);
    let stream = gateway.get("/a").open(0);
    stream.request_headers();
    gateway.advance(2);
    stream.respond_with_body(Headers::from([
        (":status", "200"),
        ("cache-control", "max-age=60"),
        ("content-type", "text/plain"),
    ]));
    stream.last_body("one");
    gateway.advance(50);
    for _ in 0..50 {
        assert_hit(&gateway.get("/a").send(0), "one");
    }
    only(gateway.callouts()).respond(304, Headers::new(), "");
    // A 304 without a validator to confirm is none.
    gateway.tick();
    assert_eq!(gateway.metric("selvage.refresh.failed"), Some(1));
}

const BREAKS: &str = r#"{"defaults":{"origin_breaker":{"enabled":true,"least_calls":10,"pause":"4s"}}}"#;

#[test]
fn a_failing_origin_is_left_alone_by_all_workers_and_used_again_when_it_is_back() {
    let gateway = Gateway::with(BREAKS).workers(2).origin(|_| fresh("well again")).start();
    gateway.get("/warm").send(0);
    gateway.get("/warm/1").send(1);
    for nth in 0..20 {
        gateway.origin().next(OriginResponse::reset());
        let status = gateway.get(&format!("/{nth}")).send(0).status();
        assert_eq!(status, 503);
        if gateway.origin().fetches() < nth + 3 {
            break;
        }
    }
    gateway.tick();
    let before = gateway.origin().fetches();
    assert!(before < 22, "the breaker has not opened");
    for worker in 0..2 {
        let refused = gateway.get("/new").send(worker);
        assert_eq!(refused.status(), 503);
        assert!(cache_status(&refused).contains("detail=origin-open"), "{}", cache_status(&refused));
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=4).contains(&after), "{after}");
        // What is stored is still served.
        assert_hit(&gateway.get("/warm").send(worker), "well again");
    }
    assert_eq!(gateway.origin().fetches(), before);
    assert!(gateway.logs().iter().any(|line| line.message.contains("fails; it is left alone")));
    gateway.tick();
    assert_eq!(gateway.metric("selvage.origin_state.open"), Some(2));
    gateway.advance(5);
    gateway.origin().answer_with(|_| fresh("well again"));
    // The first probes may meet what was queued for the failing origin: each of them begins another pause.
    let well = (0..5).any(|_| {
        gateway.advance(5);
        gateway.get("/new").send(1).text() == "well again"
    });
    assert!(well, "{:?}", gateway.metrics());
    gateway.tick();
    assert_forwarded(&gateway.get("/other").send(0), "uri-miss");
    assert_eq!(gateway.metric("selvage.origin_state.open"), Some(0));
}

#[test]
fn calls_that_end_without_a_head_are_nothing_against_the_origin() {
    let gateway = gateway(
        r#"{"defaults":{"refresh":{"cluster":"origin"},"origin_breaker":{"enabled":true,"least_calls":3}}}"#,
    );
    for nth in 0..10 {
        gateway.get(&format!("/{nth}")).send(0);
    }
    gateway.advance(61);
    for nth in 0..10 {
        assert_hit(&gateway.get(&format!("/{nth}")).send(0), "one");
        only(gateway.callouts()).fail();
    }
    gateway.tick();
    assert_eq!(gateway.metric("selvage.refresh.failed"), Some(10));
    assert_forwarded(&gateway.get("/cold").send(0), "uri-miss");
}

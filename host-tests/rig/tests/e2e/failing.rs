//! When the origin fails: stale responses where they are allowed, and the truth where they are not.

use std::net::TcpListener;

use selvage_rig::{
    envoy::Gateway,
    scripted::{Answer, Received},
};

use crate::{EDGE, assert_hit, assert_says, fetches, get, on, stale_on_arrival};

/// Stores a stale response with these directives; every later request fails.
fn fails_later(path: &str, directives: &'static str, failure: impl Fn() -> Answer + Send + Sync + 'static) {
    let script = move |received: &Received| match received.before {
        0 => stale_on_arrival(received, directives),
        _ => failure(),
    };
    on(path, script);
    assert_eq!(get(path).text(), "answer 0");
}

#[test]
fn a_stale_response_is_served_when_the_origin_breaks_off() {
    fails_later("/failing/reset", "", || Answer::new(200).breaks_before_the_head());
    for _ in 0..4 {
        let served = get("/failing/reset");
        assert_eq!((served.status, served.text().as_str()), (200, "answer 0"));
        assert_says(&served, "fwd=stale");
        assert_says(&served, "detail=disconnected");
        assert!(served.cache_status().contains("ttl=-"), "{}", served.cache_status());
        assert!(served.header("age").unwrap().parse::<u64>().unwrap() >= 100);
    }
    assert!(fetches("/failing/reset") > 1);
}

#[test]
fn a_stale_response_is_served_on_an_error_when_the_origin_allowed_it() {
    fails_later("/failing/allowed", ", stale-if-error=3600", || Answer::new(503).body("broken"));
    let served = get("/failing/allowed");
    assert_eq!((served.status, served.text().as_str()), (200, "answer 0"));
    assert_says(&served, "fwd-status=503");
    assert_says(&served, "detail=stale-if-error");
}

#[test]
fn an_error_is_passed_on_when_the_origin_did_not_allow_stale_use() {
    fails_later("/failing/unallowed", "", || Answer::new(503).body("broken"));
    let passed = get("/failing/unallowed");
    assert_eq!((passed.status, passed.text().as_str()), (503, "broken"));
    assert_says(&passed, "fwd=stale");
}

#[test]
fn must_revalidate_forbids_stale_use_whatever_fails() {
    for (path, directives) in [
        ("/failing/must-1", ", must-revalidate"),
        ("/failing/must-2", ", proxy-revalidate, stale-if-error=3600"),
        ("/failing/must-3", ", must-revalidate, stale-if-error=3600"),
    ] {
        fails_later(path, directives, || Answer::new(503).body("broken"));
        assert_eq!(get(path).status, 503, "{directives}");
    }
    fails_later("/failing/must-4", ", must-revalidate", || Answer::new(200).breaks_before_the_head());
    let broken = get("/failing/must-4");
    assert!(matches!(broken.status, 502..=504), "{}", broken.status);
    assert_ne!(broken.text(), "answer 0");
}

#[test]
fn an_answer_that_is_not_http_counts_as_no_answer() {
    fails_later("/failing/garbage", "", || Answer::raw("SSH-2.0-hello\r\n"));
    let served = get("/failing/garbage");
    assert_eq!((served.status, served.text().as_str()), (200, "answer 0"), "{}", served.cache_status());
}

#[test]
fn stale_while_revalidate_is_answered_at_once_and_renewed() {
    on("/failing/swr", |request| match request.before {
        0 => stale_on_arrival(request, ", stale-while-revalidate=3600"),
        _ => Answer::fresh("new"),
    });
    get("/failing/swr");
    let answers: Vec<_> = (0..20).map(|_| get("/failing/swr")).collect();
    assert!(answers.iter().all(|answer| answer.status == 200));
    // One request renews it; until then the others get the stale one.
    assert!(answers.iter().any(|answer| answer.text() == "new"));
    assert_hit(&get("/failing/swr"), "new");
}

#[test]
fn an_origin_that_is_down_gives_an_error_that_says_so() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let gateway = Gateway::with("{}").origin(url).start();
    for (method, reason) in [("GET", "uri-miss"), ("HEAD", "uri-miss"), ("DELETE", "method")] {
        let answer = gateway.ask(method, "/").send();
        assert_eq!(answer.status, 503, "{method}");
        assert_says(&answer, &format!("fwd={reason}"));
    }
    gateway.assert_sound();
}

#[test]
fn every_response_says_what_the_cache_did() {
    on("/failing/teapot", |_| Answer::new(418));
    on("/failing/broken", |_| Answer::new(200).breaks_before_the_head());
    for path in ["/failing/teapot", "/failing/broken", "/failing/nothing-here"] {
        for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
            let answer = EDGE.gateway.ask(method, path).send();
            assert!(answer.cache_status().starts_with("Selvage; "), "{method} {path}: {:?}", answer.fields);
        }
    }
}

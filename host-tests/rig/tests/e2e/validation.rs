//! Conditional requests: the client's to us, ours to the origin.

use selvage_rig::scripted::Answer;

use crate::{EDGE, assert_hit, assert_says, becomes, fetches, get, on, stale_on_arrival};

#[test]
fn a_client_that_has_it_is_told_so_from_the_store() {
    on("/validation/known", |_| {
        Answer::fresh("known")
            .header("etag", "\"v1\"")
            .header("last-modified", "Sat, 01 Nov 2025 00:00:00 GMT")
            .header("content-type", "text/css")
    });
    get("/validation/known");
    let ask = || EDGE.gateway.get("/validation/known");
    for conditional in [
        ask().header("if-none-match", "\"v1\""),
        ask().header("if-none-match", "\"other\", W/\"v1\""),
        ask().header("if-none-match", "*"),
        ask().header("if-modified-since", "Sat, 01 Nov 2025 00:00:00 GMT"),
        ask().header("if-modified-since", "Sun, 02 Nov 2025 00:00:00 GMT"),
    ] {
        let answer = conditional.send();
        assert_eq!((answer.status, answer.text().as_str()), (304, ""), "{}", answer.cache_status());
        assert!(answer.is_hit());
        assert_eq!(answer.header("etag").as_deref(), Some("\"v1\""));
        assert_eq!(answer.header("content-type"), None);
    }
    for conditional in [
        ask().header("if-none-match", "\"v2\""),
        ask().header("if-none-match", "\"v2\"").header("if-modified-since", "Sun, 02 Nov 2025 00:00:00 GMT"),
        ask().header("if-modified-since", "Fri, 31 Oct 2025 00:00:00 GMT"),
        ask().header("if-modified-since", "yesterday"),
    ] {
        assert_hit(&conditional.send(), "known");
    }
    assert_eq!(fetches("/validation/known"), 1);
}

#[test]
fn a_304_from_the_origin_becomes_the_stored_response_with_its_fields_updated() {
    on("/keeps-cookies/validated", |request| match request.header("if-none-match") {
        Some(tag) => Answer::new(304)
            .header("etag", tag)
            .header("cache-control", "max-age=3600")
            .header("x-turn", "second")
            .header("set-cookie", "a=3"),
        None => stale_on_arrival(request, "")
            .header("x-turn", "first")
            .header("x-kept", "yes")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2"),
    });
    let first = get("/keeps-cookies/validated");
    assert_eq!(first.all("set-cookie"), ["a=1", "b=2"]);
    let validated = get("/keeps-cookies/validated");
    assert_eq!((validated.status, validated.text().as_str()), (200, "answer 0"));
    assert_says(&validated, "fwd=stale");
    assert_says(&validated, "fwd-status=304");
    assert_says(&validated, "detail=validated");
    // A worker that has the stale one itself learns of the fresh one within a moment, or asks the origin once more.
    becomes(
        || get("/keeps-cookies/validated"),
        |_| (0..20).all(|_| get("/keeps-cookies/validated").is_hit()),
    );
    assert!(fetches("/keeps-cookies/validated") <= 3);
    for answer in [validated, get("/keeps-cookies/validated"), get("/keeps-cookies/validated")] {
        assert_eq!(answer.text(), "answer 0");
        assert_eq!(answer.all("x-turn"), ["second"]);
        assert_eq!(answer.all("x-kept"), ["yes"]);
        assert_eq!(answer.all("set-cookie"), ["a=3"], "{}", answer.cache_status());
        assert_eq!(answer.all("cache-control"), ["max-age=3600"]);
    }
}

#[test]
fn a_new_response_replaces_the_stale_one() {
    on("/validation/replaced", |request| match request.before {
        0 => stale_on_arrival(request, ""),
        _ => Answer::fresh("new").header("etag", "\"v2\""),
    });
    get("/validation/replaced");
    let second = get("/validation/replaced");
    assert_says(&second, "fwd=stale");
    assert_eq!(second.text(), "new");
    for _ in 0..10 {
        assert_hit(&get("/validation/replaced"), "new");
    }
    let asked = EDGE.origin.received("/validation/replaced");
    assert_eq!(asked.last().unwrap().header("if-none-match").as_deref(), Some("\"v1\""));
}

#[test]
fn our_validation_does_not_leak_to_a_client_with_a_condition_of_its_own() {
    on("/validation/other", |request| match request.header("if-none-match").as_deref() {
        // The client's own tags come behind ours.
        Some(tags) if tags.starts_with("\"v1\"") => {
            Answer::new(304).header("etag", "\"v1\"").header("cache-control", "max-age=3600")
        }
        Some(_) => Answer::new(500),
        None => stale_on_arrival(request, ""),
    });
    get("/validation/other");
    let other = EDGE.gateway.get("/validation/other").header("if-none-match", "\"mine\"").send();
    assert_eq!((other.status, other.text().as_str()), (200, "answer 0"));
    let same = EDGE.gateway.get("/validation/other").header("if-none-match", "\"v1\"").send();
    assert_eq!(same.status, 304);
}

#[test]
fn a_304_for_the_clients_own_condition_is_passed_on_and_not_stored() {
    on("/validation/unknown", |_| {
        Answer::new(304).header("etag", "\"x\"").header("cache-control", "max-age=60")
    });
    for _ in 0..2 {
        let answer = EDGE.gateway.get("/validation/unknown").header("if-none-match", "\"x\"").send();
        assert_eq!(answer.status, 304);
        assert_says(&answer, "fwd=uri-miss");
    }
}

#[test]
fn a_head_response_that_differs_invalidates_the_stored_get() {
    on("/validation/head", |request| {
        let tag = if request.before == 0 { "\"v1\"" } else { "\"v2\"" };
        Answer::ok(format!("answer {tag}"))
            .header("cache-control", "max-age=60")
            .header("age", "100")
            .header("etag", tag)
    });
    get("/validation/head");
    EDGE.gateway.ask("HEAD", "/validation/head").send();
    assert_eq!(get("/validation/head").text(), "answer \"v2\"");
}

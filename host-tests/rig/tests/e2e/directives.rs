//! What clients, origins and rules may say about freshness.

use selvage_rig::{envoy::Response, scripted::Answer};

use crate::{
    EDGE, assert_forwarded, assert_hit, assert_not_stored, assert_says, becomes, fetches, get, on,
    stale_on_arrival,
};

fn asking(target: &str, directives: &str) -> Response {
    EDGE.gateway.get(target).header("cache-control", directives).send()
}

#[test]
fn only_if_cached_is_504_without_a_stored_response_and_a_hit_with_one() {
    on("/directives/only", |_| Answer::fresh("stored"));
    let refused = asking("/directives/only", "only-if-cached");
    assert_eq!(refused.status, 504);
    assert_says(&refused, "detail=only-if-cached");
    assert_eq!(fetches("/directives/only"), 0);
    get("/directives/only");
    assert_hit(&asking("/directives/only", "only-if-cached"), "stored");
}

#[test]
fn a_client_may_want_a_newer_answer() {
    on("/directives/newer", |request| {
        Answer::ok(format!("answer {}", request.before))
            .header("cache-control", "max-age=100")
            .header("age", "50")
    });
    get("/directives/newer");
    for accepted in ["max-age=90", "min-fresh=30", "max-age=90, min-fresh=30"] {
        assert_hit(&asking("/directives/newer", accepted), "answer 0");
    }
    for (turn, wanted) in ["no-cache", "max-age=10", "max-age=0", "min-fresh=80"].into_iter().enumerate() {
        let answer = asking("/directives/newer", wanted);
        assert_forwarded(&answer, "request", &format!("answer {}", turn + 1));
    }
}

#[test]
fn a_client_may_accept_a_stale_answer() {
    on("/directives/stale", |request| stale_on_arrival(request, ""));
    get("/directives/stale");
    for accepted in ["max-stale", "max-stale=3600", "max-stale=3600, max-age=3600"] {
        let answer = asking("/directives/stale", accepted);
        assert_hit(&answer, "answer 0");
        assert_says(&answer, "detail=max-stale");
    }
    assert_says(&asking("/directives/stale", "max-stale=10"), "fwd=stale");
    on("/directives/stale-must", |request| stale_on_arrival(request, ", must-revalidate"));
    get("/directives/stale-must");
    assert_says(&asking("/directives/stale-must", "max-stale"), "fwd=stale");
}

#[test]
fn a_request_with_no_store_leaves_nothing_behind() {
    on("/directives/no-store", |_| Answer::fresh("secret"));
    assert_not_stored(&asking("/directives/no-store", "no-store"), "request-no-store");
    assert_forwarded(&get("/directives/no-store"), "uri-miss", "secret");
}

#[test]
fn a_rule_may_ignore_what_clients_say() {
    on("/ignores-requests/a", |_| Answer::fresh("a"));
    get("/ignores-requests/a");
    for directives in ["no-cache", "max-age=0", "no-store"] {
        assert_hit(&asking("/ignores-requests/a", directives), "a");
    }
}

#[test]
fn a_response_expires() {
    on("/directives/expires", |request| {
        Answer::ok(format!("answer {}", request.before)).header("cache-control", "max-age=1")
    });
    get("/directives/expires");
    becomes(|| get("/directives/expires"), |answer| answer.text() == "answer 1");
}

#[test]
fn s_maxage_comes_before_max_age_and_expires() {
    on("/directives/shared", |_| {
        Answer::ok("shared")
            .header("cache-control", "max-age=0, s-maxage=60")
            .header("expires", "Thu, 01 Jan 1970 00:00:00 GMT")
    });
    get("/directives/shared");
    assert_hit(&get("/directives/shared"), "shared");
}

#[test]
fn cdn_cache_control_comes_before_cache_control() {
    on("/directives/cdn-fresh", |_| {
        Answer::ok("cdn").header("cache-control", "no-store").header("cdn-cache-control", "max-age=60")
    });
    get("/directives/cdn-fresh");
    let hit = get("/directives/cdn-fresh");
    assert_hit(&hit, "cdn");
    assert_eq!(hit.all("cache-control"), ["no-store"]);
    on("/directives/cdn-not", |_| {
        Answer::ok("cdn").header("cache-control", "max-age=60").header("cdn-cache-control", "no-store")
    });
    get("/directives/cdn-not");
    assert_not_stored(&get("/directives/cdn-not"), "no-store");
    // A field that is no structured-field dictionary is passed over (RFC 9213 §2.2).
    on("/directives/cdn-broken", |_| {
        Answer::ok("cdn")
            .header("cache-control", "max-age=60")
            .header("cdn-cache-control", "max-age=60=, &&&")
    });
    get("/directives/cdn-broken");
    assert_hit(&get("/directives/cdn-broken"), "cdn");
}

#[test]
fn old_responses_are_fresh_for_a_tenth_of_their_age_when_the_origin_says_nothing() {
    on("/directives/heuristic", |_| {
        Answer::ok("old").header("last-modified", "Sat, 01 Nov 2014 00:00:00 GMT")
    });
    get("/directives/heuristic");
    assert_hit(&get("/directives/heuristic"), "old");
    on("/directives/silent", |_| Answer::ok("silent"));
    get("/directives/silent");
    assert_not_stored(&get("/directives/silent"), "no-freshness");
}

#[test]
fn a_rule_may_bypass_the_cache() {
    on("/bypass/a", |_| Answer::fresh("a"));
    for _ in 0..3 {
        let answer = get("/bypass/a");
        assert_forwarded(&answer, "bypass", "a");
        assert_not_stored(&answer, "rule");
    }
    assert_eq!(fetches("/bypass/a"), 3);
}

#[test]
fn a_rule_may_set_the_lifetime_but_not_make_public_what_is_private() {
    on("/override/a", |_| Answer::ok("a").header("cache-control", "max-age=1"));
    get("/override/a");
    let hit = get("/override/a");
    assert_hit(&hit, "a");
    assert!(hit.cache_status().contains("ttl=3"), "{}", hit.cache_status());
    on("/override/private", |_| Answer::ok("a").header("cache-control", "private"));
    get("/override/private");
    assert_not_stored(&get("/override/private"), "private");
}

#[test]
fn a_rule_may_give_responses_an_etag() {
    on("/etag/a", |_| Answer::fresh("tagged"));
    get("/etag/a");
    let hit = get("/etag/a");
    assert_hit(&hit, "tagged");
    let tag = hit.header("etag").unwrap();
    let known = EDGE.gateway.get("/etag/a").header("if-none-match", &tag).send();
    assert_eq!((known.status, known.text().as_str()), (304, ""));
    on("/etag/own", |_| Answer::fresh("own").header("etag", "\"mine\""));
    get("/etag/own");
    assert_eq!(get("/etag/own").all("etag"), ["\"mine\""]);
}

//! `Vary`: several responses for one URL.

use selvage_rig::{envoy::Response, scripted::Answer};

use crate::{EDGE, assert_forwarded, assert_hit, assert_not_stored, fetches, get, on};

fn with(target: &str, name: &str, value: &str) -> Response {
    EDGE.gateway.get(target).header(name, value).send()
}

#[test]
fn each_variant_is_fetched_once_and_given_only_to_those_who_asked_for_it() {
    on("/vary/accept", |request| {
        Answer::fresh(request.header("x-kind").unwrap_or_default()).header("vary", "X-Kind")
    });
    assert_forwarded(&with("/vary/accept", "x-kind", "a"), "uri-miss", "a");
    assert_forwarded(&with("/vary/accept", "x-kind", "b"), "vary-miss", "b");
    for _ in 0..10 {
        assert_hit(&with("/vary/accept", "x-kind", "a"), "a");
        assert_hit(&with("/vary/accept", "x-kind", "b"), "b");
    }
    assert_forwarded(&get("/vary/accept"), "vary-miss", "");
    assert_eq!(fetches("/vary/accept"), 3);
}

#[test]
fn languages_that_mean_the_same_share_a_variant() {
    on("/vary/language", |_| Answer::fresh("hallo").header("vary", "accept-language"));
    with("/vary/language", "accept-language", "de, en;q=0.5");
    assert_hit(&with("/vary/language", "accept-language", "en;q=0.50 ,  DE"), "hallo");
    assert_forwarded(&with("/vary/language", "accept-language", "en, de;q=0.5"), "vary-miss", "hallo");
}

#[test]
fn vary_star_is_never_stored() {
    on("/vary/star", |_| Answer::fresh("star").header("vary", "accept, *"));
    for _ in 0..3 {
        assert_not_stored(&get("/vary/star"), "vary-star");
    }
    assert_eq!(fetches("/vary/star"), 3);
}

#[test]
fn very_many_variants_do_no_harm() {
    on("/vary/many", |request| {
        Answer::fresh(request.header("x-kind").unwrap_or_default()).header("vary", "x-kind")
    });
    for round in 0..2 {
        for kind in 0..60 {
            let kind = kind.to_string();
            assert_eq!(with("/vary/many", "x-kind", &kind).text(), kind, "round {round}");
        }
    }
}

//! Which requests share a response: spelling, query, body.

use selvage_rig::{
    envoy::Response,
    scripted::{Answer, Received},
};

use crate::{EDGE, assert_forwarded, assert_hit, assert_not_stored, assert_says, fetches, get, on};

fn echo_target(request: &Received) -> Answer {
    Answer::fresh(&request.target)
}

fn echo_body(request: &Received) -> Answer {
    Answer::fresh(&request.body)
}

#[test]
fn spellings_of_one_path_share_a_response() {
    on("/keys/spelling/a-b", echo_target);
    assert_forwarded(&get("/keys/spelling/%61%2Db"), "uri-miss", "/keys/spelling/a-b");
    for spelling in ["/keys/spelling/a-b", "/keys/./spelling/a-b", "/keys/x/../spelling/%61-b"] {
        assert_hit(&get(spelling), "/keys/spelling/a-b");
    }
    assert_eq!(fetches("/keys/spelling/a-b"), 1);
}

#[test]
fn an_encoded_slash_is_another_path() {
    on("/keys/slash/a", |_| Answer::fresh("two segments"));
    on("/keys/slash%2Fa", |_| Answer::fresh("one segment"));
    for _ in 0..3 {
        assert_eq!(get("/keys/slash/a").text(), "two segments");
        assert_eq!(get("/keys/slash%2fa").text(), "one segment");
    }
}

#[test]
fn the_query_is_kept_as_it_came_by_default() {
    on("/keys/query", echo_target);
    for query in ["?a=1&b=2", "?b=2&a=1", "?a=1", "?", ""] {
        let target = format!("/keys/query{query}");
        assert_forwarded(&get(&target), "uri-miss", &target);
        assert_hit(&get(&target), &target);
    }
}

#[test]
fn a_rule_may_sort_the_query_and_the_origin_gets_what_is_keyed() {
    on("/sorted/a", echo_target);
    assert_forwarded(&get("/sorted/a?c=3&a=1&b=2&a=0"), "uri-miss", "/sorted/a?a=1&a=0&b=2&c=3");
    assert_hit(&get("/sorted/a?b=2&a=1&a=0&c=3"), "/sorted/a?a=1&a=0&b=2&c=3");
    assert_forwarded(&get("/sorted/a?b=2&a=0&a=1&c=3"), "uri-miss", "/sorted/a?a=0&a=1&b=2&c=3");
}

#[test]
fn a_rule_may_leave_parameters_out_and_the_origin_does_not_get_them() {
    on("/except/a", echo_target);
    assert_forwarded(&get("/except/a?utm_source=x&id=1&ref=y"), "uri-miss", "/except/a?id=1");
    for query in ["?id=1", "?id=1&utm_campaign=z", "?ref=a&id=1"] {
        assert_hit(&get(&format!("/except/a{query}")), "/except/a?id=1");
    }
    assert_forwarded(&get("/except/a?id=2&utm_source=x"), "uri-miss", "/except/a?id=2");
    assert_eq!(fetches("/except/a"), 2);
}

fn with_body(method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
    EDGE.gateway.ask(method, path).header("content-type", "text/plain").body(body).send()
}

#[test]
fn a_rule_may_key_post_and_query_by_their_body() {
    for method in ["POST", "QUERY"] {
        let path = format!("/by-body/{method}");
        on(&path, echo_body);
        for body in ["select a", "select b"] {
            assert_forwarded(&with_body(method, &path, body), "uri-miss", body);
        }
        for _ in 0..10 {
            for body in ["select a", "select b"] {
                assert_hit(&with_body(method, &path, body), body);
            }
        }
        assert_eq!(fetches(&path), 2, "{method}");
    }
}

#[test]
fn a_body_in_several_parts_is_the_same_body() {
    on("/by-body/parts", echo_body);
    let long = "0123456789".repeat(3000);
    assert_forwarded(&with_body("POST", "/by-body/parts", &long), "uri-miss", &long);
    for cut in [1, 255, 256, 16_384, 29_999] {
        let (one, two) = long.as_bytes().split_at(cut);
        let answer = EDGE
            .gateway
            .ask("POST", "/by-body/parts")
            .header("content-type", "text/plain")
            .chunks(&[one, two]);
        assert_hit(&answer.send(), &long);
    }
    let other = long.replacen('9', "8", 1);
    assert_forwarded(&with_body("POST", "/by-body/parts", &other), "uri-miss", &other);
}

#[test]
fn an_empty_body_is_a_body_too() {
    on("/by-body/empty", |request| Answer::fresh(format!("{} bytes", request.body.len())));
    assert_eq!(with_body("POST", "/by-body/empty", "").text(), "0 bytes");
    assert_eq!(with_body("POST", "/by-body/empty", "x").text(), "1 bytes");
    assert_hit(&with_body("POST", "/by-body/empty", ""), "0 bytes");
}

#[test]
fn a_body_above_the_bound_passes_through_whole() {
    on("/by-body/large", |request| Answer::fresh(format!("{} bytes", request.body.len())));
    for _ in 0..2 {
        let passed = with_body("POST", "/by-body/large", vec![b'x'; 300_000]);
        assert_eq!(passed.text(), "300000 bytes");
        assert_not_stored(&passed, "request-body-too-large");
    }
    let largest = with_body("POST", "/by-body/large", vec![b'x'; 65_536]);
    assert_eq!(largest.text(), "65536 bytes");
    assert_says(&largest, "stored");
}

#[test]
fn a_post_without_such_a_rule_is_never_answered_from_the_store() {
    on("/keys/post", echo_body);
    for _ in 0..3 {
        let answer = with_body("POST", "/keys/post", "x");
        assert_forwarded(&answer, "method", "x");
    }
    assert_eq!(fetches("/keys/post"), 3);
}

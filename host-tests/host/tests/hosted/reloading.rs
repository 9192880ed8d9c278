//! A new configuration while requests are on their way: each goes on under the one it began with.

use selvage_host::{Ending, Gateway, Headers, OriginRequest, OriginResponse, Stream};

use crate::{assert_forwarded, assert_hit, cache_status, fresh, gateway};

const NEW: &str = r#"{"name": "Edge"}"#;

/// A minute of freshness and a tag for GET, nothing for anything else.
fn tagging_origin(request: &OriginRequest) -> OriginResponse {
    match request.method().as_str() {
        "GET" => fresh("old").header("etag", "\"1\""),
        _ => OriginResponse::status(204),
    }
}

/// A request that has reached the origin, whose answer is still to come.
fn underway(gateway: &Gateway, method: &str, path: &str) -> Stream {
    let stream = gateway.request(method, path).open(0);
    stream.request_headers();
    assert!(stream.upstream().headers.is_some(), "{method} {path} has not reached the origin");
    stream
}

#[test]
fn a_validation_underway_ends_in_the_stored_response_and_not_in_a_304() {
    let gateway = gateway(tagging_origin);
    gateway.get("/a").send(0);
    gateway.advance(61);
    let validating = underway(&gateway, "GET", "/a");
    let asked = validating.upstream().headers.unwrap();
    assert_eq!(asked.get("if-none-match").as_deref(), Some("\"1\""));
    gateway.reconfigure(NEW).unwrap();
    let not_modified = [(":status", "304"), ("etag", "\"1\""), ("cache-control", "max-age=60")];
    validating.respond(Headers::from(not_modified));
    assert_eq!((validating.status(), validating.text().as_str()), (200, "old"));
    assert_eq!(validating.ending(), Some(Ending::Complete));
    assert_forwarded(&validating, "stale");
    let after = gateway.get("/a").send(0);
    assert_hit(&after, "old");
    assert!(cache_status(&after).starts_with("Edge"));
}

#[test]
fn a_response_underway_is_stored_and_says_so() {
    let gateway = gateway(tagging_origin);
    let early = underway(&gateway, "GET", "/a");
    let half = underway(&gateway, "GET", "/b");
    let head = || Headers::from([(":status", "200"), ("cache-control", "max-age=60")]);
    half.respond_with_body(head()).body("first ");
    gateway.reconfigure(NEW).unwrap();
    early.respond_with_body(head()).body("first ");
    for stream in [&early, &half] {
        stream.last_body("second");
        assert_eq!((stream.status(), stream.text().as_str()), (200, "first second"));
        assert_forwarded(stream, "uri-miss");
        assert!(cache_status(stream).contains("stored"), "{}", cache_status(stream));
    }
    for path in ["/a", "/b"] {
        for worker in [0, 1] {
            assert_hit(&gateway.get(path).send(worker), "first second");
        }
    }
    assert_eq!(gateway.origin().fetches(), 0);
}

#[test]
fn a_post_underway_invalidates_what_the_new_configuration_serves() {
    let gateway = gateway(tagging_origin);
    gateway.get("/a").send(0);
    let post = underway(&gateway, "POST", "/a");
    gateway.reconfigure(NEW).unwrap();
    for worker in [0, 1] {
        assert_hit(&gateway.get("/a").send(worker), "old");
    }
    post.respond(Headers::from([(":status", "204")]));
    assert_eq!(post.status(), 204);
    assert_forwarded(&post, "method");
    gateway.advance(1);
    gateway.tick();
    for worker in [0, 1] {
        gateway.origin().next(fresh("new"));
        assert_eq!(gateway.get("/a").send(worker).text(), "new", "worker {worker}");
    }
}

#[test]
fn several_new_configurations_lose_no_request_underway() {
    let gateway = gateway(tagging_origin);
    let head = || Headers::from([(":status", "200"), ("cache-control", "max-age=60")]);
    let mut streams = Vec::new();
    for n in 0..4 {
        streams.push(underway(&gateway, "GET", &format!("/{n}")));
        gateway.reconfigure(&format!(r#"{{"name": "Edge{n}"}}"#)).unwrap();
    }
    for (n, stream) in streams.iter().enumerate() {
        stream.respond_with_body(head()).last_body(format!("{n}"));
        assert!(cache_status(stream).contains("stored"), "{n}: {}", cache_status(stream));
    }
    for n in 0..4 {
        let stream = gateway.get(&format!("/{n}")).send(0);
        assert_hit(&stream, &format!("{n}"));
        assert!(cache_status(&stream).starts_with("Edge3"), "{}", cache_status(&stream));
    }
    assert_eq!(gateway.worker(0).open_streams(), 0);
}

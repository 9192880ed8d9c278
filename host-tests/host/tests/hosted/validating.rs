//! Conditional requests, ours to the origin and the client's to us (RFC 9111 §4.3).

use selvage_host::{OriginRequest, OriginResponse};

use crate::{assert_forwarded, assert_hit, fresh, gateway};

fn validating_origin(request: &OriginRequest) -> OriginResponse {
    match request.header("if-none-match").as_deref() {
        Some("\"1\"") => {
            OriginResponse::status(304).header("etag", "\"1\"").header("cache-control", "max-age=60")
        }
        _ => fresh("one").header("etag", "\"1\""),
    }
}

#[test]
fn a_304_becomes_the_stored_response_and_freshens_it() {
    let gateway = gateway(validating_origin);
    gateway.get("/a").send(0);
    gateway.advance(61);
    let validated = gateway.get("/a").send(0);
    assert_eq!((validated.status(), validated.text().as_str()), (200, "one"));
    assert_forwarded(&validated, "stale");
    assert_eq!(gateway.origin().requests()[1].header("if-none-match").as_deref(), Some("\"1\""));
    gateway.advance(30);
    assert_hit(&gateway.get("/a").send(0), "one");
    gateway.run();
    assert_hit(&gateway.get("/a").send(1), "one");
    assert_eq!(gateway.origin().fetches(), 2);
}

#[test]
fn a_client_that_has_the_stored_response_gets_a_304() {
    let gateway = gateway(validating_origin);
    gateway.get("/a").send(0);
    let stream = gateway.get("/a").header("if-none-match", "\"1\"").send(0);
    assert_eq!((stream.status(), stream.text().as_str()), (304, ""));
    assert_eq!(stream.header("etag").as_deref(), Some("\"1\""));
    assert_eq!(gateway.origin().fetches(), 1);
}

#[test]
fn a_part_is_cut_from_the_stored_whole() {
    let gateway = gateway(|_| fresh("0123456789").header("etag", "\"1\""));
    gateway.get("/a").send(0);
    let part = gateway.get("/a").header("range", "bytes=2-4").send(0);
    assert_eq!((part.status(), part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range").as_deref(), Some("bytes 2-4/10"));
    assert_eq!(gateway.get("/a").header("range", "bytes=20-").send(0).status(), 416);
    assert_eq!(gateway.origin().fetches(), 1);
}

#[test]
fn a_validation_that_brings_a_new_response_replaces_the_old_one() {
    let gateway = gateway(validating_origin);
    gateway.get("/a").send(0);
    gateway.advance(61);
    gateway.origin().next(fresh("two").header("etag", "\"2\""));
    assert_eq!(gateway.get("/a").send(0).text(), "two");
    assert_hit(&gateway.get("/a").send(0), "two");
}

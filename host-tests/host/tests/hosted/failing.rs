//! An origin that fails.

use selvage_host::OriginResponse;

use crate::{assert_hit, cache_status, fresh, gateway};

#[test]
fn stale_is_served_when_the_origin_breaks_the_connection() {
    let gateway = gateway(|_| fresh("old").header("etag", "\"1\""));
    gateway.get("/a").send(0);
    gateway.advance(61);
    gateway.origin().next(OriginResponse::reset());
    let stream = gateway.get("/a").send(0);
    assert_eq!((stream.status(), stream.text().as_str()), (200, "old"), "{}", cache_status(&stream));
}

#[test]
fn stale_is_served_for_an_origins_error_if_the_response_allows_it() {
    let gateway =
        gateway(|_| OriginResponse::ok("old").header("cache-control", "max-age=60, stale-if-error=600"));
    gateway.get("/a").send(0);
    gateway.advance(61);
    gateway.origin().next(OriginResponse::status(500));
    let stream = gateway.get("/a").send(0);
    assert_eq!((stream.status(), stream.text().as_str()), (200, "old"));
    assert!(cache_status(&stream).contains("stale-if-error"), "{}", cache_status(&stream));
}

#[test]
fn must_revalidate_forbids_stale_even_when_the_origin_breaks() {
    let gateway =
        gateway(|_| OriginResponse::ok("old").header("cache-control", "max-age=60, must-revalidate"));
    gateway.get("/a").send(0);
    gateway.advance(61);
    gateway.origin().next(OriginResponse::reset());
    assert!(gateway.get("/a").send(0).status() >= 500);
}

#[test]
fn the_proxys_own_503_is_not_stored() {
    let gateway = gateway(|_| fresh("well again"));
    gateway.origin().next(OriginResponse::reset());
    assert_eq!(gateway.get("/a").send(0).status(), 503);
    assert_eq!(gateway.get("/a").send(0).text(), "well again");
    assert_hit(&gateway.get("/a").send(0), "well again");
}

//! What is stored, and what must not be (RFC 9111 §3).

use selvage_host::{Ending, Headers, OriginResponse};

use crate::{assert_forwarded, assert_hit, cache_status, fresh, gateway};

#[test]
fn a_fresh_response_is_served_until_its_lifetime_ends() {
    let gateway = gateway(|_| fresh("a"));
    let first = gateway.get("/a").send(0);
    assert_forwarded(&first, "uri-miss");
    assert!(cache_status(&first).contains("stored"), "{}", cache_status(&first));
    gateway.advance(59);
    let second = gateway.get("/a").send(0);
    assert_hit(&second, "a");
    assert_eq!(second.header("age").as_deref(), Some("59"));
    assert_eq!(second.header("date"), first.header("date"));
    gateway.advance(2);
    assert_forwarded(&gateway.get("/a").send(0), "stale");
    assert_eq!(gateway.origin().fetches(), 2);
}

#[test]
fn a_response_is_streamed_to_the_client_while_it_is_stored() {
    let gateway = gateway(|_| fresh(""));
    let stream = gateway.get("/slow").open(0);
    stream.request_headers();
    stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
    stream.body("first ");
    assert_eq!((stream.status(), stream.text().as_str()), (200, "first "));
    stream.last_body("second");
    assert_hit(&gateway.get("/slow").send(0), "first second");
}

#[test]
fn a_body_that_ends_with_trailers_is_stored() {
    let gateway = gateway(|_| {
        OriginResponse::status(200)
            .header("cache-control", "max-age=60")
            .chunk("a")
            .chunk("b")
            .trailer("t", "1")
    });
    gateway.get("/t").send(0);
    assert_hit(&gateway.get("/t").send(0), "ab");
}

#[test]
fn a_response_that_breaks_off_is_not_stored() {
    let gateway = gateway(|_| fresh("whole"));
    gateway.origin().next(fresh("half").chunk(" more").reset_after(1));
    assert_eq!(gateway.get("/a").send(0).ending(), Some(Ending::Reset));
    let second = gateway.get("/a").send(0);
    assert_forwarded(&second, "uri-miss");
    assert_eq!(second.text(), "whole");
}

#[test]
fn a_body_shorter_than_its_content_length_is_not_stored() {
    let gateway = gateway(|_| {
        let short = OriginResponse::status(200).header("cache-control", "max-age=60");
        short.header("content-length", "10").chunk("short")
    });
    gateway.get("/a").send(0);
    gateway.get("/a").send(0);
    assert_eq!(gateway.origin().fetches(), 2);
}

#[test]
fn a_response_whose_client_left_early_is_not_stored_half() {
    let gateway = gateway(|_| fresh("whole"));
    let stream = gateway.get("/a").open(0);
    stream.request_headers();
    stream.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
    stream.body("half").disconnect();
    assert_eq!(gateway.get("/a").send(0).text(), "whole");
}

#[test]
fn the_caches_own_refusal_is_not_stored() {
    let gateway = gateway(|_| fresh("a"));
    let refused = gateway.get("/a").header("cache-control", "only-if-cached").send(0);
    assert_eq!((refused.status(), gateway.origin().fetches()), (504, 0));
    assert_eq!(gateway.get("/a").send(0).text(), "a");
    assert_hit(&gateway.get("/a").header("cache-control", "only-if-cached").send(0), "a");
}

#[test]
fn head_is_answered_from_a_stored_get() {
    let gateway = gateway(|_| fresh("12345"));
    gateway.get("/a").send(0);
    let head = gateway.head("/a").send(0);
    assert!(cache_status(&head).contains("; hit"));
    assert_eq!((head.text().as_str(), head.header("content-length").as_deref()), ("", Some("5")));
    assert_eq!(gateway.origin().fetches(), 1);
}

#[test]
fn variants_are_kept_apart() {
    let gateway = gateway(|request| {
        let language = request.header("accept-language").unwrap_or_default();
        fresh(&language).header("vary", "accept-language")
    });
    for language in ["de", "en"] {
        assert_eq!(gateway.get("/a").header("accept-language", language).send(0).text(), language);
    }
    for language in ["en", "de"] {
        assert_hit(&gateway.get("/a").header("accept-language", language).send(1), language);
    }
    assert_eq!(gateway.origin().fetches(), 2);
}

#[test]
fn repeated_header_lines_stay_apart_in_a_hit() {
    let gateway = gateway(|_| fresh("a").header("link", "</1>").header("link", "</2>"));
    gateway.get("/a").send(0);
    assert_eq!(gateway.get("/a").send(0).headers().all("link"), ["</1>", "</2>"]);
}

#[test]
fn private_and_no_store_responses_are_never_stored() {
    for directive in ["private", "no-store", "private, max-age=60"] {
        let gateway = gateway(move |_| OriginResponse::ok("mine").header("cache-control", directive));
        gateway.get("/a").send(0);
        assert!(!cache_status(&gateway.get("/a").send(0)).contains("; hit"), "{directive}");
        assert_eq!(gateway.origin().fetches(), 2, "{directive}");
    }
}

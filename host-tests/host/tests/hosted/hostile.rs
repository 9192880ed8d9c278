//! Requests that try to harm the next client, and bytes that try to harm the VM.

use selvage_host::OriginResponse;

use crate::{assert_hit, cache_status, fresh, gateway};

#[test]
fn a_header_that_the_origin_may_mirror_keeps_a_response_out_of_the_store() {
    for name in ["x-forwarded-host", "x-original-url", "x-rewrite-url", "x-http-method-override"] {
        let gateway = gateway(|_| fresh("a"));
        gateway.get("/a").header(name, "evil.test").send(0);
        let next = gateway.get("/a").send(0);
        assert!(!cache_status(&next).contains("; hit"), "{name}");
    }
}

#[test]
fn credentials_and_cookies_are_not_shared() {
    let gateway = gateway(|_| fresh("secret"));
    gateway.get("/a").header("authorization", "Basic x").send(0);
    assert!(!cache_status(&gateway.get("/a").send(0)).contains("; hit"));
    let gateway = crate::gateway(|_| fresh("b").header("set-cookie", "id=1"));
    gateway.get("/b").send(0);
    let second = gateway.get("/b").send(1);
    assert!(!cache_status(&second).contains("; hit"));
}

#[test]
fn strange_bytes_never_trap() {
    let gateway = gateway(|_| {
        OriginResponse::ok("a").header("cache-control", "max-age=60").header("vary", "\u{fffd},,")
    });
    let long = "x".repeat(60_000);
    for path in ["", "*", "//", "/%", "/%zz", "/a?b?c#d", "/\u{7f}", "/%00", "/\u{e9}", "http://a/b", &long] {
        for value in ["", "\u{e9}", ",;=\"", "max-age=\"", "bytes=-", "W/", &long] {
            for name in
                ["cache-control", "range", "if-none-match", "if-modified-since", "cookie", "authorization"]
            {
                let stream = gateway.get(path).header(name, value).send(0);
                assert!(stream.status() < 500, "{path:.40} {name}: {value:.40}");
            }
        }
    }
    gateway.get("/fine").send(0);
    let _ = gateway.get("/fine").send(0);
}

#[test]
fn a_request_with_an_empty_authority_harms_no_other() {
    let gateway = gateway(|_| fresh("a"));
    gateway.get("/a").header(":authority", "").send(0);
    gateway.get("/a").send(0);
    assert_hit(&gateway.get("/a").send(0), "a");
}

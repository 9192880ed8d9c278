//! The operators' page is sent to anybody who asks for it where there is a door for operators.

use selvage_engine::coding::gzip;
use selvage_engine::purge::admin_auth::AdminAuth;

use crate::gateway::{Gateway, origin};

/// A worker that wants a token.
fn gated() -> Gateway {
    let mut gateway = Gateway::with("{}");
    gateway.workers[0].set_admin_auth(AdminAuth::Token { name: "T".into(), token: (*b"secret").into() });
    gateway
}

#[test]
fn the_page_is_sent_without_a_token_in_either_coding() {
    let mut gateway = gated();
    let plain = gateway.get("/.selvage/").at(0).answered().status(200).lacks("content-encoding");
    let gzip = gateway.get("/.selvage/?x").header("accept-encoding", "gzip").at(0).answered().status(200);
    let gzip = gzip.has("content-encoding", "gzip").has("vary", "Accept-Encoding");
    assert!(plain.bytes().starts_with(b"<!DOCTYPE html>"));
    assert_eq!(gzip::inflate(gzip.bytes(), 1 << 20).unwrap(), plain.bytes());
    gateway.head("/.selvage/").at(0).answered().status(200).has("content-type", "text/html; charset=utf-8");
}

#[test]
fn a_browser_may_run_what_is_in_the_page_and_nothing_else() {
    let page = gated().get("/.selvage/").at(0).answered();
    let page = page.has("x-content-type-options", "nosniff").has("referrer-policy", "no-referrer");
    let policy = page.has("cache-control", "no-store").value("content-security-policy").unwrap();
    for part in ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|found| found == part), "{part} in {policy}");
    }
    for name in ["style-src 'sha256-", "script-src 'sha256-"] {
        let hash = policy.split("; ").find_map(|part| part.strip_prefix(name)).unwrap();
        assert!(hash.len() == 45 && hash.ends_with("='"), "{hash}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn without_its_slash_the_path_leads_to_the_page_and_other_methods_are_refused() {
    let mut gateway = gated();
    gateway.get("/.selvage").at(0).answered().status(308).has("location", ".selvage/");
    gateway.post("/.selvage/").at(0).answered().status(405).has("allow", "GET, HEAD");
    gateway.get("/.selvage/other").at(0).answered().status(401);
    gateway.request("PURGE", "/.selvage/").at(0).answered().status(401);
}

#[test]
fn without_a_door_there_is_no_page() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/.selvage/").at(0).miss(origin(404));
    gateway.get("/.selvage").at(0).miss(origin(404));
}

//! One stored response in two content codings (RFC 9110 §8.4, §12.5.3).

use selvage_engine::coding::gzip;

use crate::gateway::{Answer, Gateway, Origin, fresh_for, origin};

/// A text that is worth compressing.
fn text() -> String {
    (0..200).map(|n| format!("{{\"number\":{n},\"square\":{}}}\n", n * n)).collect()
}

fn page(seconds: u64) -> Origin {
    fresh_for(seconds).headers("content-type: application/json | etag: \"x\"").body(text())
}

/// The answer is the gzip form of the text.
#[track_caller]
fn is_gzip(answer: Answer) -> Answer {
    assert_eq!(gzip::inflate(answer.bytes(), 1 << 20).unwrap(), text().as_bytes());
    answer.has("content-encoding", "gzip").has("etag", "\"x-gz\"").has("vary", "Accept-Encoding")
}

/// The answer is the text as the origin sent it.
#[track_caller]
fn is_identity(answer: Answer) -> Answer {
    answer.content(text()).lacks("content-encoding").has("etag", "\"x\"").has("vary", "Accept-Encoding")
}

#[test]
fn a_text_is_stored_once_and_sent_in_the_coding_that_the_client_takes() {
    let mut gateway = Gateway::with("{}");
    let first = gateway.get("/a").at(0).miss(page(60)).stored();
    first.content(text()).lacks("content-encoding").has("vary", "Accept-Encoding");
    for (accept, gzip) in [
        ("gzip, deflate, br", true),
        ("br;q=1, gzip;q=0.5", true),
        ("*", true),
        ("identity;q=0, *", true),
        ("gzip;q=0", false),
        ("br", false),
        ("identity, gzip;q=0.3", false),
        ("", false),
    ] {
        let answer = gateway.get("/a").header("accept-encoding", accept).at(1).hit().age(1);
        if gzip {
            is_gzip(answer)
        } else {
            is_identity(answer)
        };
    }
    is_identity(gateway.get("/a").at(2).hit());
    let (_, bytes) = gateway.workers[0].worker_usage();
    assert!(bytes < text().len(), "{bytes} bytes are kept");
}

#[test]
fn every_tier_hands_out_both_forms() {
    let mut gateway = Gateway::of_workers(2, r#"{"remote":{"enabled":true}}"#);
    gateway.get("/a").at(0).miss(page(60)).stored();
    is_gzip(gateway.get("/a").header("accept-encoding", "gzip").worker(1).at(1).hit().detail("node"));
    is_identity(gateway.get("/a").worker(1).at(1).hit().detail("worker"));
    gateway.sends();
    let mut other = Gateway::with(r#"{"remote":{"enabled":true}}"#);
    other.redis = gateway.redis;
    is_identity(other.get("/a").at(2).hit().detail("remote"));
    is_gzip(other.get("/a").header("accept-encoding", "gzip").at(2).hit().detail("worker"));
}

#[test]
fn what_must_stay_as_it_is_stays() {
    for lines in [
        "content-type: image/png",
        "content-type: application/json | cache-control: no-transform",
        "content-type: application/json | content-encoding: br",
        "",
    ] {
        let mut gateway = Gateway::with("{}");
        let response = fresh_for(60).headers(lines).body(text());
        gateway.get("/a").header("accept-encoding", "gzip, br").at(0).miss(response).stored().lacks("vary");
        let answer = gateway.get("/a").header("accept-encoding", "gzip, br").at(1).hit();
        answer.content(text()).lacks("vary");
    }
    let mut gateway = Gateway::with("{}");
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(2000)
    .collect();
    let response = fresh_for(60).header("content-type", "text/plain").body(&noise);
    gateway.get("/a").at(0).miss(response).stored();
    gateway.get("/a").header("accept-encoding", "gzip").at(1).hit().content(&noise).lacks("content-encoding");
    assert_eq!(gateway.counted(0, "compression", "not-worth-it"), 1);
}

#[test]
fn a_rule_says_what_is_compressed() {
    let config = r#"{"rules":[{"name":"off","match":{"paths":["/off"]},"compression":{"enabled":false}},
        {"name":"short","match":{"paths":["/short"]},"compression":{"min_bytes":10,"types":["image/x-raw"]}}]}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/off").at(0).miss(page(60)).lacks("vary");
    gateway.get("/off").header("accept-encoding", "gzip").at(1).hit().lacks("content-encoding");
    let raw = fresh_for(60).header("content-type", "image/x-raw").body("a".repeat(100));
    gateway.get("/short").at(0).miss(raw);
    gateway.get("/short").header("accept-encoding", "gzip").at(1).hit().has("content-encoding", "gzip");
}

#[test]
fn a_client_that_wants_no_transformation_gets_none() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(page(60));
    let call = gateway.get("/a").header("accept-encoding", "gzip").header("cache-control", "no-transform");
    is_identity(call.at(1).hit());
}

#[test]
fn each_form_has_its_own_entity_tag_which_is_understood_back() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(page(60));
    for (accept, tag, status) in [
        ("gzip", "\"x-gz\"", 304),
        ("gzip", "W/\"x-gz\", \"y\"", 304),
        ("gzip", "\"x\"", 200),
        ("identity", "\"x\"", 304),
        ("identity", "\"x-gz\"", 200),
    ] {
        let call = gateway.get("/a").header("accept-encoding", accept).header("if-none-match", tag);
        let answer = call.at(1).hit().status(status).has("vary", "Accept-Encoding");
        answer.has("etag", if accept == "gzip" { "\"x-gz\"" } else { "\"x\"" });
    }
}

#[test]
fn ranges_are_those_of_the_identity_form() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(page(60));
    let ranged = |gateway: &mut Gateway, accept: &str, if_range: &str| {
        let call = gateway.get("/a").header("accept-encoding", accept).header("range", "bytes=10-19");
        let call = if if_range.is_empty() { call } else { call.header("if-range", if_range) };
        call.at(1).hit()
    };
    for if_range in ["", "\"x\""] {
        let part = ranged(&mut gateway, "gzip", if_range).status(206).content(&text()[10..20]);
        part.has("content-range", &format!("bytes 10-19/{}", text().len())).has("etag", "\"x\"");
    }
    is_identity(ranged(&mut gateway, "gzip", "\"x-gz\"").status(200));
    is_gzip(ranged(&mut gateway, "gzip, identity;q=0", "").status(200));
}

#[test]
fn validation_asks_with_the_origins_tag_and_keeps_both_forms() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(page(10));
    let call = gateway.get("/a").header("accept-encoding", "gzip").header("if-none-match", "\"x-gz\"");
    let flight = call.at(20).leaves();
    assert_eq!(flight.sets("if-none-match").as_deref(), Some("\"x\""));
    let fresh = origin(304).headers("cache-control: max-age=60 | etag: \"x\"");
    gateway.answers(flight, 20, fresh).status(304).has("etag", "\"x-gz\"").detail("validated");
    is_gzip(gateway.get("/a").header("accept-encoding", "gzip").at(21).hit());
    is_identity(gateway.get("/a").at(21).hit());
}

#[test]
fn an_update_that_forbids_transformation_is_obeyed() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(page(10));
    let update = origin(304).headers("cache-control: max-age=60, no-transform | etag: \"x\"");
    gateway.get("/a").header("accept-encoding", "gzip").at(20).validates(update).content(text());
    gateway
        .get("/a")
        .header("accept-encoding", "gzip")
        .at(21)
        .hit()
        .content(text())
        .lacks("content-encoding");
}

#[test]
fn a_variant_of_clients_without_gzip_is_not_compressed() {
    let mut gateway = Gateway::with("{}");
    let response = || page(60).header("vary", "Accept-Encoding");
    gateway.get("/a").at(0).miss(response());
    gateway.get("/a").at(1).hit().content(text());
    assert_eq!(gateway.counted(0, "compression", "kept"), 0);
    gateway.get("/a").header("accept-encoding", "gzip").at(2).miss(response()).says("fwd=vary-miss");
    is_gzip(gateway.get("/a").header("accept-encoding", "gzip").at(3).hit());
    assert_eq!(gateway.counted(0, "compression", "kept"), 1);
}

#[test]
fn head_describes_the_form_that_get_would_give() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(page(60));
    is_gzip(gateway.head("/a").header("accept-encoding", "gzip").at(1).hit());
    is_identity(gateway.head("/a").at(1).hit());
}

#[test]
fn what_was_saved_is_counted_by_type() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(page(60));
    assert_eq!(gateway.counted(0, "compression_bytes", "in.json"), text().len() as u64);
    let after = gateway.counted(0, "compression_bytes", "out.json");
    assert!(after > 0 && after < text().len() as u64 / 2, "{after}");
}

#[test]
fn a_damaged_content_is_a_miss_for_those_that_need_it_inflated() {
    let mut gateway = Gateway::with(r#"{"remote":{"enabled":true}}"#);
    gateway.get("/a").at(0).miss(page(60));
    gateway.sends();
    let mut other = Gateway::with(r#"{"remote":{"enabled":true}}"#);
    other.redis = gateway.redis;
    // A liar that knows the checksums: the gzip member is one, and its content is not what it says.
    other.redis.forge(|body| {
        let at = body.len() - 12;
        body[at] ^= 1;
    });
    other.get("/a").at(1).miss(page(60)).stored();
    is_identity(other.get("/a").at(2).hit());
}

#[test]
fn a_change_on_condition_of_our_tag_is_judged_by_the_origin_with_its_own() {
    let mut gateway = Gateway::with("{}");
    for (sent, told) in [("\"x-gz\"", Some("\"x-gz\", \"x\"")), ("\"x\"", None), ("*", None)] {
        let flight = gateway.request("PUT", "/a").header("if-match", sent).at(0).leaves();
        assert_eq!(flight.sets("if-match").as_deref(), told, "{sent}");
    }
    let mut off = Gateway::with(r#"{"defaults":{"compression":{"enabled":false}}}"#);
    let flight = off.request("PUT", "/a").header("if-match", "\"x-gz\"").at(0).leaves();
    assert_eq!(flight.sets("if-match"), None);
}

#[test]
fn a_record_that_boasts_of_its_length_takes_no_memory() {
    let mut gateway = Gateway::with(r#"{"remote":{"enabled":true}}"#);
    gateway.get("/a").at(0).miss(page(60));
    gateway.sends();
    let mut other = Gateway::with(r#"{"remote":{"enabled":true}}"#);
    other.redis = gateway.redis;
    other.redis.forge(|body| {
        let at = body.len() - 4;
        body[at..].copy_from_slice(&(1u32 << 30).to_le_bytes());
    });
    other.get("/a").at(1).miss(page(60)).stored();
    assert_ne!(other.counted(0, "event", "bad-record"), 0);
}

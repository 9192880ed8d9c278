//! Requests that could poison the cache pass it by, each with its word.

use crate::gateway::{Call, Gateway, fresh_for};

#[test]
fn each_way_of_attack_bypasses_with_its_word() {
    type Attack = fn(&mut Gateway) -> Call<'_>;
    let attacks: &[(&str, Attack)] = &[
        ("get-with-body", |g| g.get("/a").chunk("x")),
        ("get-with-body", |g| g.get("/a").header("content-length", "1").chunk("x")),
        ("get-with-body", |g| g.head("/a").header("transfer-encoding", "chunked")),
        ("ambiguous-path", |g| g.get("/a\\b")),
        ("ambiguous-path", |g| g.get("/a%5Cb")),
        ("ambiguous-path", |g| g.get("/a%zz")),
        ("ambiguous-path", |g| g.get("/a#b")),
        ("ambiguous-path", |g| g.get("/x/..;y/a")),
        ("ambiguous-path", |g| g.get("/x%2f../a")),
        ("ambiguous-path", |g| g.get("http://example.com/a")),
        ("control-bytes", |g| g.get("/a\u{1}")),
        ("control-bytes", |g| g.get("/a b")),
        ("control-bytes", |g| g.get("/a%00")),
        ("control-bytes", |g| g.get("/a%0d%0ab")),
        ("control-bytes", |g| g.get("/é")),
        ("ambiguous-authority", |g| g.get("/a").authority("a@example.com")),
        ("ambiguous-authority", |g| g.get("/a").authority("")),
        ("ambiguous-authority", |g| g.get("/a").authority("example.com:80:80")),
        ("ambiguous-authority", |g| g.get("/a").authority("example.com/x")),
        ("ambiguous-authority", |g| g.get("/a").header("host", "other.example")),
        ("ambiguous-length", |g| g.get("/a").header("content-length", "+1")),
        ("ambiguous-length", |g| g.get("/a").header("content-length", "0").header("content-length", "0")),
        ("ambiguous-length", |g| {
            g.get("/a").header("content-length", "0").header("transfer-encoding", "chunked")
        }),
        ("unkeyed-header", |g| g.get("/a").header("x-forwarded-host", "evil.example")),
        ("unkeyed-header", |g| g.get("/a").header("x-forwarded-scheme", "http")),
        ("unkeyed-header", |g| g.get("/a").header("x-original-url", "/admin")),
        ("unkeyed-header", |g| g.get("/a").header("x-rewrite-url", "/admin")),
        ("method-override", |g| g.get("/a").header("x-http-method-override", "DELETE")),
        ("method-override", |g| g.get("/a").header("x-http-method", "DELETE")),
        ("method-override", |g| g.get("/a").header("x-method-override", "DELETE")),
    ];
    for (word, attack) in attacks {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(fresh_for(60).body("good"));
        let answer = attack(&mut gateway).at(1).forwarded(fresh_for(60).body("poison"));
        answer.says("fwd=bypass").detail(word).says_nothing_of("stored").content("poison");
        assert_eq!(gateway.counted(0, "detail", word), 1, "{word}");
        gateway.get("/a").at(2).hit().content("good");
    }
}

#[test]
fn a_tainting_field_that_is_keyed_taints_nothing() {
    let mut gateway = Gateway::with(r#"{"defaults":{"key":{"headers":["x-forwarded-host"]}}}"#);
    gateway.get("/a").header("x-forwarded-host", "a.example").at(0).miss(fresh_for(60).body("a")).stored();
    gateway.get("/a").header("x-forwarded-host", "b.example").at(0).miss(fresh_for(60).body("b"));
    gateway.get("/a").header("x-forwarded-host", "a.example").at(1).hit().content("a");
}

#[test]
fn a_post_with_a_tainting_field_becomes_no_get() {
    let mut gateway = Gateway::with("{}");
    let planted = fresh_for(60).header("content-location", "/a").body("poison");
    gateway.post("/a").header("x-forwarded-host", "evil.example").at(0).forwarded(planted.clone());
    gateway.get("/a").at(1).miss(fresh_for(60).body("good"));
    gateway
        .post("/b\\c")
        .at(2)
        .forwarded(planted.header("content-location", "/b\\c"))
        .says_nothing_of("stored");
}

#[test]
fn a_request_that_wants_another_protocol_passes_by() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(60).body("good"));
    for path in ["/a", "/b"] {
        let call = gateway.get(path).header("connection", "upgrade").header("upgrade", "websocket").at(1);
        let answer = call.forwarded(fresh_for(60).body("switched"));
        answer.says("fwd=bypass").detail("upgrade").says_nothing_of("stored").content("switched");
        // As Envoy shows it: something will follow.
        let call = gateway.get(path).header("connection", "upgrade").header("upgrade", "websocket").at(1);
        call.chunk("frames").forwarded(fresh_for(60)).says("fwd=bypass").detail("upgrade");
    }
    gateway.get("/a").at(2).hit().content("good");
    gateway.get("/b").at(2).miss(fresh_for(60));
}

#[test]
fn another_spelling_of_what_is_read_here_passes_by() {
    let mut gateway = Gateway::with("{}");
    for (name, value) in [
        ("x_forwarded_proto", "https"),
        ("if_none_match", "*"),
        ("if_modified_since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("if_match", "*"),
        ("cache_control", "no-cache"),
        ("transfer_encoding", "chunked"),
    ] {
        let answer = gateway.get("/a").header(name, value).at(0).forwarded(fresh_for(60));
        answer.says("fwd=bypass").detail("unkeyed-header").says_nothing_of("stored");
    }
}

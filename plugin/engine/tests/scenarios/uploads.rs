//! Rules that check what clients send, before the origin has it or on the way.

use selvage_engine::exchange::{Directive, Event, Exchange, Wake};
use selvage_engine::fields::Fields;

use crate::gateway::{Answer, Gateway, block, fresh_for, origin};

const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and more than sixty-four bytes of a picture, so that it is known";
const PAGE: &[u8] =
    b"<html><script>alert(1)</script> and more than sixty-four bytes of a page, so that it is known";
const IMAGES: &str = r#""upload":{"types":["image/png"],"sniff":true,"max_bytes":200}"#;

fn rule(more: &str) -> String {
    format!(r#"{{"defaults":{{{IMAGES}{more}}}}}"#)
}

#[track_caller]
fn refused(answer: Answer, status: u16, detail: &str) -> Answer {
    assert_eq!(answer.cache_status(), format!("Selvage; detail={detail}"));
    answer.status(status).has("content-type", "application/problem+json").has("cache-control", "no-store")
}

#[test]
fn wrong_content_is_refused_before_anything_is_asked() {
    for more in ["", r#","bypass":true"#, r#","key":{"body":{"methods":["POST"]}}"#] {
        let mut gateway = Gateway::with(&rule(more));
        for size in [1, 5, 64, 200] {
            let mut call = gateway.post("/a").header("content-type", "image/png").at(0);
            for chunk in PAGE.chunks(size) {
                call = call.chunk(chunk);
            }
            let content = "{\"status\":415,\"title\":\"Unsupported Media Type\",\"detail\":\"The content is not of the type that is stated.\"}\n";
            refused(call.answered(), 415, "upload-content").content(content);
        }
        for method in ["PUT", "PATCH"] {
            let call = gateway.request(method, "/a").header("content-type", "text/html").chunk(PAGE);
            let accept = if method == "PUT" { "accept" } else { "accept-patch" };
            refused(call.at(0).answered(), 415, "upload-type").has(accept, "image/png");
        }
        let coded = gateway.post("/a").header("content-type", "image/png").header("content-encoding", "gzip");
        refused(coded.chunk(PNG).at(0).answered(), 415, "upload-coding").has("accept-encoding", "identity");
        let form = gateway.post("/a").header("content-type", "multipart/form-data").chunk(PNG);
        refused(form.at(0).answered(), 400, "upload-form");
        let long = gateway.post("/a").header("content-type", "image/png").header("content-length", "201");
        let content = "{\"status\":413,\"title\":\"Content Too Large\",\"detail\":\"The content is longer than is taken here.\",\"max_bytes\":200}\n";
        refused(long.chunk(PNG).at(0).answered(), 413, "upload-too-large").content(content);
        assert_eq!(gateway.counted(0, "uploads", "refused"), 9);
        assert_eq!(gateway.counted(0, "requests", "refused.none"), 9);
        gateway.assert_no_room_is_taken();
    }
}

#[test]
fn what_is_none_of_its_business_goes_on() {
    let mut gateway = Gateway::with(&rule(""));
    gateway.get("/a").at(0).miss(fresh_for(60).body("a")).stored();
    gateway.get("/a").header("content-type", "text/html").at(1).hit();
    gateway.request("DELETE", "/b").chunk(PAGE).at(1).forwarded(origin(200));
    gateway.request("OPTIONS", "/b").at(1).forwarded(origin(200));
    // Without a body there is nothing to check.
    gateway.post("/b").at(1).forwarded(origin(200));
    assert_eq!(gateway.counted(0, "uploads", "passed"), 0);
    gateway.assert_no_room_is_taken();
}

#[test]
pub fn what_has_passed_goes_on_as_it_would_have_without() {
    let post = |gateway: &mut Gateway, path: &str, second: u64| {
        let call = gateway.post(path).header("content-type", "image/png");
        let (begin, rest) = PNG.split_at(20);
        call.chunk(begin).chunk(rest).at(second).sent()
    };
    // It invalidates, it passes, and it passes unseen.
    for more in ["", r#","bypass":true"#, r#","bypass":true,"cache_status":"off""#] {
        let mut gateway = Gateway::with(&rule(more));
        for second in 0..70 {
            let flight = post(&mut gateway, "/a", second).left();
            gateway.answers(flight, second, origin(201)).status(201);
        }
        assert_eq!(gateway.counted(0, "uploads", "passed"), 70);
        gateway.assert_no_room_is_taken();
    }
    // Its body is in its key.
    let mut gateway = Gateway::with(&rule(r#","key":{"body":{"methods":["POST"]}}"#));
    let flight = post(&mut gateway, "/a", 0).left();
    let waiter = post(&mut gateway, "/a", 0).waiting();
    gateway.answers(flight, 0, fresh_for(60).body("a")).stored();
    gateway.wakes(waiter, Wake::Ended, 0).answered().content("a");
    post(&mut gateway, "/a", 1).answered().content("a");
    let longer = [PNG, b"x"].concat();
    let other = gateway.post("/a").header("content-type", "image/png").chunk(longer).at(1);
    other.miss(fresh_for(60).body("b"));
    let mut open = gateway.post("/a").header("content-type", "image/png").chunk(PNG).chunk("x").at(2);
    open.sent().answered().content("b");
    gateway.assert_no_room_is_taken();
    // It waits for a place, for a quota, and for the fleet.
    let pool = format!(
        r#"{{"pools":[{{"name":"p","fixed":1}}],"defaults":{{{IMAGES},"admission":{{"pool":"p"}}}}}}"#
    );
    let mut gateway = Gateway::with(&pool);
    let first = post(&mut gateway, "/a", 0).left();
    let waiter = post(&mut gateway, "/b", 0).waiting();
    gateway.goes_away(first, 0);
    gateway.goes_away(waiter, 0);
    let fleet = |counts: &str| {
        format!(
            r#"{{"remote":{{"enabled":true}},
              "limits":[{{"name":"l","by":[],"quota":10,"window":"1m","scope":"fleet","counts":"{counts}"}}],
              "defaults":{{{IMAGES},"limits":["l"],"key":{{"body":{{"methods":["POST"]}}}}}}}}"#
        )
    };
    let mut gateway = Gateway::with(&fleet("forwarded"));
    let waiter = post(&mut gateway, "/a", 0).waiting();
    gateway.goes_away(waiter, 0);
    let mut gateway =
        Gateway::with(&rule(r#","key":{"body":{"methods":["POST"]}}},"remote":{"enabled":true"#));
    let asking = gateway.post("/a").header("content-type", "image/png").chunk(PNG).at(0).asks();
    gateway.goes_away(asking, 0);
    // More of it is to come that is in the key.
    let mut gateway = Gateway::with(&rule(r#","key":{"body":{"methods":["POST"]}}"#));
    let mut exchange = Exchange::new();
    assert_eq!(begin(&mut gateway, &mut exchange, &[]), Directive::AwaitBody);
    assert!(exchange.is_guarding());
    assert_eq!(more(&mut gateway, &mut exchange, PNG), Directive::AwaitBody);
    assert!(!exchange.is_guarding() && exchange.awaits_request_body());
    more(&mut gateway, &mut exchange, &[b'x'; 200]);
    gateway.assert_no_room_is_taken();
}

fn begin(gateway: &mut Gateway, exchange: &mut Exchange, fields: &[(&str, &str)]) -> Directive {
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/a"),
        ("content-type", "image/png"),
    ];
    let head = block(&[&head[..], fields].concat());
    gateway.feed(0, exchange, 0, Event::Request { head, end_of_stream: false })
}

fn more(gateway: &mut Gateway, exchange: &mut Exchange, chunk: &[u8]) -> Directive {
    gateway.feed(0, exchange, 0, Event::RequestBody { chunk, end_of_stream: false })
}

#[track_caller]
fn says(directive: &Directive, text: &str) {
    let Directive::Respond(reply) = directive else { panic!("{directive:?}") };
    let content = String::from_utf8_lossy(reply.content());
    assert!(content.contains(text), "{content}");
}

#[test]
pub fn what_comes_later_is_refused_wherever_the_request_is() {
    // At the origin: it is ended there, and counted once.
    for more_of_rule in ["", r#","bypass":true"#] {
        let mut gateway = Gateway::with(&rule(more_of_rule));
        let mut exchange = Exchange::new();
        begin(&mut gateway, &mut exchange, &[]);
        assert!(matches!(more(&mut gateway, &mut exchange, PNG), Directive::Forward(_)));
        assert!(exchange.watches_body() && !exchange.is_over());
        assert_eq!(more(&mut gateway, &mut exchange, &[b'x'; 100]), Directive::Pass);
        says(&more(&mut gateway, &mut exchange, &[b'x'; 100]), "longer");
        assert!(exchange.is_over());
        let counted = |word| gateway.counted(0, "requests", word);
        assert_eq!(counted("refused.none") + counted("bypass.origin"), 1);
        assert_eq!(gateway.counted(0, "detail", "upload-too-large"), 1);
        gateway.assert_no_room_is_taken();
    }
    // Where the cache stays out of it, whatever is in its key.
    let keyed = rule(r#","key":{"body":{"methods":["POST"]}}"#);
    let mut gateway =
        Gateway::with(&keyed.replace(r#""max_bytes":200"#, r#""max_bytes":200,"multipart":true"#));
    let mut exchange = Exchange::new();
    begin(&mut gateway, &mut exchange, &[("if-match", "\"a\"")]);
    assert!(matches!(more(&mut gateway, &mut exchange, PNG), Directive::Forward(_)));
    says(&more(&mut gateway, &mut exchange, &[b'x'; 200]), "content is longer");
    let mut exchange = Exchange::new();
    begin(&mut gateway, &mut exchange, &[("if-match", "\"a\"")]);
    gateway.feed(0, &mut exchange, 0, Event::Woken(Wake::Enough));
    assert_eq!(more(&mut gateway, &mut exchange, b"<html"), Directive::AwaitBody);
    // While it waits for what another fetches, and for the fleet, though its body had ended.
    let last = |gateway: &mut Gateway, exchange: &mut Exchange, end_of_stream| {
        gateway.feed(0, exchange, 0, Event::RequestBody { chunk: PNG, end_of_stream })
    };
    for config in [keyed.clone(), rule(r#","key":{"body":{"methods":["POST"]}}},"remote":{"enabled":true"#)] {
        let mut gateway = Gateway::with(&config);
        let mut first = Exchange::new();
        begin(&mut gateway, &mut first, &[]);
        last(&mut gateway, &mut first, true);
        let mut exchange = Exchange::new();
        begin(&mut gateway, &mut exchange, &[]);
        let directive = last(&mut gateway, &mut exchange, true);
        assert!(
            matches!(directive, Directive::AwaitFill { .. } | Directive::AskRemote { .. }),
            "{directive:?}"
        );
        assert!(!exchange.watches_body());
    }
    // While it waits.
    let pooled = format!(
        r#"{{"pools":[{{"name":"p","fixed":1}}],"defaults":{{{IMAGES},"admission":{{"pool":"p"}}}}}}"#
    );
    let leased = format!(
        r#"{{"remote":{{"enabled":true}},
          "limits":[{{"name":"l","by":[],"quota":10,"window":"1m","scope":"fleet","counts":"forwarded"}}],
          "defaults":{{{IMAGES},"limits":["l"]}}}}"#
    );
    for config in [&pooled, &leased] {
        let mut gateway = Gateway::with(config);
        let mut first = Exchange::new();
        begin(&mut gateway, &mut first, &[]);
        more(&mut gateway, &mut first, PNG);
        let mut exchange = Exchange::new();
        begin(&mut gateway, &mut exchange, &[]);
        assert!(matches!(more(&mut gateway, &mut exchange, PNG), Directive::AwaitSlot { .. }));
        assert_eq!(more(&mut gateway, &mut exchange, b"x"), Directive::AwaitBody);
        says(&more(&mut gateway, &mut exchange, &[b'x'; 200]), "content is longer");
        gateway.feed(0, &mut first, 0, Event::Ended);
        gateway.assert_no_room_is_taken();
    }
    // A file after another one, where the head has gone.
    for more_of_rule in ["", r#","bypass":true"#] {
        let types = r#""upload":{"types":["image/png"],"sniff":true}"#;
        let mut gateway = Gateway::with(&format!(r#"{{"defaults":{{{types}{more_of_rule}}}}}"#));
        let mut exchange = Exchange::new();
        let head = block(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "example.com"),
            (":path", "/a"),
            ("content-type", "multipart/form-data; boundary=bound"),
        ]);
        gateway.feed(0, &mut exchange, 0, Event::Request { head, end_of_stream: false });
        let part = "--bound\r\nContent-Disposition: form-data; name=a; filename=a.png\r\nContent-Type: image/png\r\n\r\n";
        let first = [part.as_bytes(), PNG, &[b'x'; 100], b"\r\n"].concat();
        assert!(matches!(more(&mut gateway, &mut exchange, &first), Directive::Forward(_)));
        // What is open is the head of a part until it is known, and then what its file begins with.
        let (begin, rest) = part.as_bytes().split_at(30);
        assert_eq!(more(&mut gateway, &mut exchange, begin), Directive::AwaitBody);
        assert_eq!(exchange.open_bytes(), 30 - "--bound\r\n".len());
        assert_eq!(more(&mut gateway, &mut exchange, rest), Directive::AwaitBody);
        assert_eq!(exchange.open_bytes(), 0);
        assert_eq!(more(&mut gateway, &mut exchange, &PAGE[..5]), Directive::AwaitBody);
        assert_eq!(exchange.open_bytes(), 5);
        says(&more(&mut gateway, &mut exchange, &PAGE[5..]), "not of the type");
        gateway.assert_no_room_is_taken();
    }
}

#[test]
pub fn a_head_that_cannot_wait_goes_before_its_body() {
    let pool = format!(
        r#"{{"pools":[{{"name":"p","fixed":1}}],"defaults":{{{IMAGES},"admission":{{"pool":"p"}}}}}}"#
    );
    for config in [
        rule(""),
        rule(r#","bypass":true"#),
        rule(r#","bypass":true,"cache_status":"off""#),
        rule(r#","key":{"body":{"methods":["POST"]}}"#),
    ] {
        let mut gateway = Gateway::with(&config);
        let mut exchange = Exchange::new();
        assert_eq!(begin(&mut gateway, &mut exchange, &[]), Directive::AwaitBody);
        let woken = gateway.feed(0, &mut exchange, 0, Event::Woken(Wake::Enough));
        assert!(matches!(woken, Directive::Forward(_)), "{woken:?}");
        assert_eq!(more(&mut gateway, &mut exchange, b"<html"), Directive::AwaitBody, "no byte of it");
        says(&more(&mut gateway, &mut exchange, PAGE), "not of the type");
        gateway.assert_no_room_is_taken();
    }
    let mut gateway = Gateway::with(&pool);
    let mut first = Exchange::new();
    begin(&mut gateway, &mut first, &[]);
    more(&mut gateway, &mut first, PNG);
    let mut exchange = Exchange::new();
    begin(&mut gateway, &mut exchange, &[]);
    let woken = gateway.feed(0, &mut exchange, 0, Event::Woken(Wake::Enough));
    assert!(matches!(woken, Directive::AwaitSlot { .. }), "{woken:?}");
    gateway.feed(0, &mut exchange, 0, Event::Ended);
    gateway.feed(0, &mut first, 0, Event::Ended);
    gateway.assert_no_room_is_taken();
    // Nor does it where there is no room for it.
    let full = rule("").replacen('{', r#"{"worker":{"waiting_bytes":"64KiB"},"#, 1);
    let mut gateway = Gateway::with(&full);
    let long = "x".repeat(15_000);
    let mut held: Vec<Exchange> = (0..4).map(|_| Exchange::new()).collect();
    for exchange in &mut held {
        assert_eq!(begin(&mut gateway, exchange, &[("x-long", &long)]), Directive::AwaitBody);
    }
    let mut exchange = Exchange::new();
    assert!(matches!(begin(&mut gateway, &mut exchange, &[("x-long", &long)]), Directive::Forward(_)));
    says(&more(&mut gateway, &mut exchange, PAGE), "not of the type");
}

#[test]
fn a_rule_that_only_watches_counts_and_refuses_nothing() {
    let mut gateway = Gateway::with(&rule(r#","shadow":true"#));
    for kind in ["text/html", "image/png"] {
        let flight = gateway.post("/a").header("content-type", kind).chunk(PAGE).chunk(PAGE).at(0).leaves();
        gateway.answers(flight, 0, origin(200)).status(200);
    }
    let flight = gateway.post("/a").header("content-type", "image/png").chunk(PNG).at(0).leaves();
    gateway.answers(flight, 0, origin(200)).status(200);
    assert_eq!(gateway.counted(0, "uploads", "shadow"), 2);
    assert_eq!(gateway.counted(0, "uploads", "passed"), 1);
    assert_eq!(gateway.counted(0, "uploads", "refused"), 0);
    gateway.assert_no_room_is_taken();
}

#[test]
fn limits_count_what_is_refused_once_and_say_so() {
    let config = format!(
        r#"{{"limits":[{{"name":"l","by":[],"quota":5,"window":"1h","burst":5}}],"defaults":{{{IMAGES},"limits":["l"]}}}}"#
    );
    let mut gateway = Gateway::with(&config);
    let flight = gateway.post("/a").header("content-type", "image/png").chunk(PNG).at(0).leaves();
    gateway.answers(flight, 0, origin(200)).has("ratelimit", "\"l\";r=4;t=720");
    let wrong = gateway.post("/a").header("content-type", "image/png").chunk(PAGE).at(0).answered();
    refused(wrong, 415, "upload-content").has("ratelimit", "\"l\";r=3;t=1440");
    let at_once = gateway.post("/a").header("content-type", "text/html").chunk(PAGE).at(0).answered();
    refused(at_once, 415, "upload-type");
}

#[test]
pub fn clients_that_leave_leave_nothing_behind() {
    let mut gateway = Gateway::with(&rule(""));
    let mut exchange = Exchange::new();
    begin(&mut gateway, &mut exchange, &[]);
    more(&mut gateway, &mut exchange, b"\x89PN");
    gateway.feed(0, &mut exchange, 0, Event::Ended);
    assert!(exchange.is_over());
    gateway.assert_no_room_is_taken();
    // An origin may answer before the body has ended; the rest is still counted.
    let mut exchange = Exchange::new();
    begin(&mut gateway, &mut exchange, &[]);
    more(&mut gateway, &mut exchange, PNG);
    let head = block(&[(":status", "200")]);
    let response = Event::Response { head: Fields::parse(&head).unwrap(), end_of_stream: false };
    gateway.feed(0, &mut exchange, 0, response);
    says(&more(&mut gateway, &mut exchange, &[b'x'; 200]), "content is longer");
}

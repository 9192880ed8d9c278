//! Sessions: what the host is told of a request while Redis is asked, and whatever Redis answers.

use selvage_host::{Callout, Gateway, Headers, OriginResponse, Stream};

use crate::fresh;
use crate::leasing::grant;
use crate::remote::{calls, only};

const SIGNED: &str =
    "connect.sid=s%3AnBpLGVRjEFrmQlNA9t-5Y9iWXTFlz3tN.a%2FtvP4hu1lYVkwYsunbCzBvGbA%2F8y3GuYYfBM5MZTo8";

fn gateway(session: &str, rules: &str, workers: usize) -> Gateway {
    started(session, rules, workers, false)
}

/// One that shows bodies while heads wait.
fn host(rules: &str) -> Gateway {
    started(r#","copy":"60s""#, rules, 1, true)
}

fn started(session: &str, rules: &str, workers: usize, shows_bodies: bool) -> Gateway {
    let config = format!(
        r#"{{"remote":{{"enabled":true}},
            "sessions":[{{"name":"web","secret_env":["NEW","OLD"],"fields":{{"x-user-id":"/user","x-plan":"/plan"}}{session}}}],
            "defaults":{{"session":"web","bypass":true}}{rules}}}"#
    );
    let builder = Gateway::with(&config);
    let builder = if shows_bodies { builder.shows_bodies() } else { builder };
    let gateway = builder
        .workers(workers)
        .environment("NEW", "a newer one")
        .environment("OLD", "keyboard cat")
        .cluster("redis")
        .cluster("work")
        .origin(|_| fresh("content"))
        .start();
    gateway.tick();
    for call in calls(&gateway) {
        call.respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
    }
    gateway
}

fn open(gateway: &Gateway, method: &str, cookie: &str) -> Stream {
    let asks = gateway.request(method, "/a").header("cookie", cookie);
    let stream = asks.header("x-user-id", "root").header("X_Plan", "gold").open(0);
    stream.request_headers();
    stream
}

/// The calls about sessions.
fn questions(gateway: &Gateway) -> Vec<Callout> {
    calls(gateway).into_iter().filter(|call| call.path().contains("/sess%3a")).collect()
}

/// The answer of the script to a call: what it says after its number.
fn answer(call: Callout, said: &str) {
    let path = call.path();
    let number = path.strip_suffix(".bin").and_then(|path| path.rsplit('/').next()).unwrap();
    let text = format!("{number} {said}");
    call.respond(200, Headers::new(), text);
}

const ANN: &str = r#"v-1 - {"user":"ann","plan":"gold"}"#;

/// What the origin is told.
fn told(stream: &Stream) -> [Option<String>; 3] {
    let headers = stream.upstream().headers.expect("it went on");
    ["x-user-id", "x-plan", "x_plan"].map(|name| headers.get(name))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_request_waits_for_its_session_and_the_origin_is_told_what_that_says() {
    let gateway = gateway("", "", 1);
    let streams = [(); 3].map(|()| open(&gateway, "POST", SIGNED));
    assert!(streams.iter().all(Stream::is_paused));
    let call = only(questions(&gateway));
    assert!(call.path().starts_with("/EVAL/local%20k"), "{}", call.path());
    assert!(
        call.path().contains("/1/sess%3anBpLGVRjEFrmQlNA9t%2d5Y9iWXTFlz3tN/string/65536/0/"),
        "{}",
        call.path()
    );
    answer(call, ANN);
    assert!(streams.iter().all(|stream| !stream.is_paused()));
    for stream in &streams {
        assert_eq!(told(stream), [some("ann"), some("gold"), None]);
        stream.respond(Headers::new().with(":status", "204"));
    }
    // They may have changed it.
    let next = open(&gateway, "GET", SIGNED);
    let call = only(questions(&gateway));
    assert!(call.path().starts_with("/EVALSHA/"), "{}", call.path());
    answer(call, "n");
    assert!(!next.is_paused());
    assert_eq!(told(&next), [None, None, None]);
    next.disconnect();
    // There is none, and that is gone by too, for a second.
    open(&gateway, "GET", SIGNED);
    assert!(questions(&gateway).is_empty());
    gateway.advance(1);
    open(&gateway, "GET", SIGNED);
    assert_eq!(questions(&gateway).len(), 1);
}

#[test]
fn what_nobody_has_signed_asks_nothing() {
    let gateway = gateway("", "", 1);
    for cookie in
        ["", "a=b", "connect.sid=x", &SIGNED.replace("Y9i", "Y9j"), &SIGNED.replace("TFlz", "TFl%7A%7A")]
    {
        let stream = open(&gateway, "GET", cookie);
        assert!(!stream.is_paused(), "{cookie}");
        assert_eq!(told(&stream), [None, None, None], "{cookie}");
    }
    assert!(questions(&gateway).is_empty());
}

#[test]
fn whatever_redis_says_instead_is_no_session_and_no_error() {
    let gateway = gateway(r#","on_failure":"503""#, "", 1);
    let fails: [fn(Callout); 6] = [
        |call| call.respond(200, Headers::new(), "7 v-1 - {\"user\":\"root\"}"),
        |call| call.respond(200, Headers::new(), ""),
        |call| call.respond(200, Headers::new(), "-ERR no"),
        |call| call.respond(500, Headers::new(), "oops"),
        |call| call.synthesise(504),
        Callout::fail,
    ];
    for (nth, fail) in fails.into_iter().enumerate() {
        let stream = open(&gateway, "GET", SIGNED);
        fail(only(questions(&gateway)));
        assert_eq!(stream.status(), 503, "{nth}");
        // One that has refused is left alone for a moment.
        gateway.advance(2);
    }
    for said in ["n", "w", "l", "v-1 - {", "v-1 - []", "v5 - {\"user\":\"a\\nb\"}"] {
        let stream = open(&gateway, "GET", SIGNED);
        answer(only(questions(&gateway)), said);
        assert!(!stream.is_paused(), "{said}");
        assert_eq!(told(&stream), [None, None, None], "{said}");
        gateway.advance(6);
    }
}

#[test]
fn a_secret_that_is_none_is_refused_and_not_told() {
    let config = r#"{"remote":{"enabled":true},"sessions":[{"name":"web","secret_env":["SHORT"],"fields":{"x-a":"/a"}}]}"#;
    let gateway = Gateway::with(config).environment("SHORT", "secret1").cluster("redis");
    let refused = gateway.origin(|_| OriginResponse::ok("")).try_start().err().expect("it is refused");
    let told = format!("{refused:?}");
    assert!(told.contains("sessions[0].secret_env[0]") && told.contains("too short"), "{told}");
    assert!(!told.contains("secret1"), "{told}");
}

const BODIES: &str = r#","jobs":{"cluster":"work"},"pools":[{"name":"p","fixed":1,"queue":{"wait":{"normal":"60s"}}}],
 "limits":[{"name":"forwarded","by":[],"scope":"fleet","quota":1000,"window":"1s","counts":"forwarded"}],"rules":[
  {"name":"pictures","match":{"paths":["/pictures"]},"upload":{"types":["image/png"],"sniff":true,"max_bytes":"3MiB"}},
  {"name":"short","match":{"paths":["/short"]},"upload":{"max_bytes":1000}},
  {"name":"counted","match":{"paths":["/counted"]},"upload":{"max_bytes":"2MiB"}},
  {"name":"past","match":{"paths":["/past"]},"key":{"body":{"methods":["POST"]}}},
  {"name":"pooled","match":{"paths":["/pooled"]},"upload":{"types":["image/png"],"sniff":true},"limits":["forwarded"],"admission":{"pool":"p"}},
  {"name":"limited","match":{"paths":["/limited"]},"upload":{"max_bytes":1000},"limits":["forwarded"]},
  {"name":"jobs","match":{"paths":["/jobs-or-not"]},"jobs":"always","upload":{"max_bytes":1000}},
  {"name":"keyed","match":{"paths":["/keyed"]},"bypass":false,"remote":false,"key":{"body":{"methods":["POST"]}}}]"#;
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and more than sixty-four bytes of a picture, so that it is known";

/// What has come of a body while Redis was asked is checked, counted and keyed like what comes after it, wherever the answer comes in
/// between, and all of it gets to the origin.
#[test]
fn a_body_that_comes_before_redis_has_answered_is_checked_like_any() {
    let config = BODIES;
    let html = [b"<html>".to_vec(), vec![b'x'; 200]].concat();
    let long = [PNG, &vec![b'x'; 2 << 20]].concat();
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(&str, Fields, Vec<u8>, u16); 15] = [
        ("/a", &[], long.clone(), 200),
        ("/pictures", &[], PNG.to_vec(), 200),
        ("/pictures", &[], long.clone(), 200),
        ("/pictures", &[], html.clone(), 415),
        ("/pictures", &[("expect", "100-continue")], PNG.to_vec(), 200),
        ("/pictures", &[("expect", "100-continue")], html, 415),
        ("/pictures", &[], [PNG, &vec![b'x'; 3 << 20]].concat(), 413),
        ("/short", &[], vec![b'x'; 1000], 200),
        ("/short", &[], vec![b'x'; 1001], 413),
        ("/limited", &[], vec![b'x'; 1000], 200),
        ("/limited", &[], vec![b'x'; 1001], 413),
        // It does a job already.
        ("/jobs-or-not", &[("x-selvage-job", "1")], vec![b'x'; 1000], 200),
        ("/jobs-or-not", &[("x-selvage-job", "1")], vec![b'x'; 1001], 413),
        ("/keyed", &[], vec![b'x'; 5000], 200),
        ("/keyed", &[], vec![b'x'; 500_000], 200),
    ];
    for (path, fields, body, status) in &cases {
        for cut in [1, 70, 1001, 1 << 20] {
            // How many parts come before the answer.
            for early in 0..3 {
                let gateway = host(config);
                let mut asks = gateway.request("POST", path).header("cookie", SIGNED);
                asks = asks.header("content-type", "image/png");
                for (name, value) in *fields {
                    asks = asks.header(name, value);
                }
                let (first, rest) = body.split_at(cut.min(body.len()));
                let (second, third) = rest.split_at(rest.len() / 2);
                let parts: Vec<&[u8]> =
                    [first, second, third].into_iter().filter(|part| !part.is_empty()).collect();
                let asks = parts.iter().fold(asks, |asks, part| asks.body(part));
                let stream = asks.open(0);
                stream.request_headers();
                let call = questions(&gateway).pop().expect("it is asked for");
                for _ in 0..early {
                    stream.request_piece();
                }
                assert!(stream.upstream().headers.is_none() && stream.status() == 0, "{path} {cut} {early}");
                answer(call, ANN);
                stream.request_piece();
                // What a limit is to say is asked for on the way to the origin.
                for call in calls(&gateway).into_iter().filter(|call| call.path().contains(":limit:")) {
                    grant(call, 100);
                }
                stream.request_rest();
                gateway.run();
                let what = format!("{path} {fields:?} {} bytes, cut at {cut}, {early} early", body.len());
                if *status != 200 {
                    assert_eq!(stream.status(), *status, "{what}");
                    assert!(stream.upstream().body.len() < body.len() && !stream.upstream().ended, "{what}");
                    continue;
                }
                assert!(stream.upstream().headers.is_some(), "{what}: {}", stream.status());
                assert_eq!((stream.status(), told(&stream)[0].clone()), (0, some("ann")), "{what}");
                assert!(stream.upstream().body == *body && stream.upstream().ended, "{what}");
                stream.respond(Headers::from([(":status", "200"), ("cache-control", "public, max-age=60")]));
                if *path == "/keyed" && body.len() < 64 << 10 {
                    let ask = |body: &[u8]| {
                        let asks = gateway.request("POST", path).header("cookie", SIGNED);
                        let stream = asks.header("content-type", "image/png").body(body).open(0);
                        stream.request_headers().request_rest();
                        questions(&gateway).into_iter().for_each(|call| answer(call, ANN));
                        gateway.run();
                        stream
                    };
                    assert_eq!(ask(body).status(), 200, "{what}");
                    for other in [first, &body[first.len()..], third] {
                        assert!(
                            ask(other).status() == if other.len() == body.len() { 200 } else { 0 },
                            "{what}"
                        );
                    }
                }
            }
        }
    }
}

/// Trailers may come before Redis has answered too: nothing more does.
#[test]
fn trailers_that_come_before_redis_has_answered_end_the_body() {
    for path in ["/a", "/pictures", "/jobs-or-not", "/keyed", "/limited"] {
        let gateway = host(BODIES);
        let asks = gateway.request("POST", path).header("cookie", SIGNED).header("content-type", "image/png");
        let stream = asks.header("x-selvage-job", "1").body(PNG).body(b"x").trailer("x-a", "b").open(0);
        stream.request_headers().request_rest();
        let call = questions(&gateway).pop().expect("it is asked for");
        answer(call, ANN);
        for call in calls(&gateway).into_iter().filter(|call| call.path().contains(":limit:")) {
            grant(call, 100);
        }
        gateway.run();
        let passed = stream.upstream();
        assert!(passed.ended && passed.trailers.is_some(), "{path}: {}", stream.status());
        assert_eq!(passed.body, [PNG, b"x"].concat(), "{path}");
    }
}

/// What is kept of bodies meanwhile is bounded. What cannot be checked for that is refused.
#[test]
fn bodies_that_are_too_many_to_be_kept_are_refused_and_never_passed_unchecked() {
    let gateway = host(BODIES);
    let body = [PNG, &vec![b'x'; 1 << 20]].concat();
    // Of each the first part comes before the answer.
    let begun = |path: &str, more: &[&[u8]]| {
        let open = |_| {
            let asks =
                gateway.request("POST", path).header("cookie", SIGNED).header("content-type", "image/png");
            let stream = more.iter().fold(asks.body(&body), |asks, part| asks.body(part)).open(0);
            stream.request_headers().request_piece();
            stream
        };
        let streams: Vec<Stream> = (0..20).map(open).collect();
        questions(&gateway).into_iter().for_each(|call| answer(call, ANN));
        gateway.run();
        streams
    };
    let streams = begun("/pictures", &[b"<html>"]);
    for stream in &streams {
        stream.request_rest();
    }
    let kept = streams.iter().filter(|stream| stream.upstream().ended).count();
    let refused =
        streams.iter().filter(|stream| stream.status() == 500 && stream.upstream().headers.is_none());
    assert_eq!((kept, refused.count()), (15, 5));
    // Where only the length counts, nothing is kept.
    let counted = begun("/counted", &[&[b'x'; 900_000], &[b'x'; 500_000]]);
    for stream in &counted {
        stream.request_piece();
        assert_eq!(stream.upstream().body.len(), body.len() + 900_000);
        assert_eq!(stream.request_rest().status(), 413);
    }
}

/// A client may wait for the response before it sends the rest: what goes on does so at once.
#[test]
fn what_goes_on_behind_redis_waits_for_no_more_of_its_body() {
    for (path, first) in [
        ("/a", &PNG[..3]),
        ("/short", PNG),
        ("/counted", PNG),
        ("/pictures", PNG),
        ("/past", PNG),
        ("/jobs-or-not", PNG),
    ] {
        let gateway = host(BODIES);
        let asks = gateway.request("POST", path).header("cookie", SIGNED).header("content-type", "image/png");
        let stream = asks.header("x-selvage-job", "1").body(first).body(b"x").open(0);
        stream.request_headers().request_piece();
        let call = questions(&gateway).pop().expect("it is asked for");
        answer(call, ANN);
        gateway.run();
        assert_eq!(stream.upstream().body, first, "{path}: {}", stream.status());
        stream.request_rest();
        assert!(stream.upstream().ended, "{path}");
    }
}

/// It waits for its session, then for a limit on its way to the origin, then for its turn; and ends by trailers meanwhile.
#[test]
fn who_waits_three_times_goes_on_in_the_end() {
    for (body, expect) in [(&PNG[..20], "100-continue"), (PNG, "100-continue"), (&PNG[..20], ""), (PNG, "")] {
        for early in 0..3 {
            let gateway = host(BODIES);
            let grants = || {
                for call in calls(&gateway).into_iter().filter(|call| call.path().contains(":limit:")) {
                    grant(call, 100);
                }
                gateway.run();
            };
            let ask = || {
                let asks = gateway.request("POST", "/pooled").header("cookie", SIGNED);
                let asks = asks.header("content-type", "image/png");
                let asks = if expect.is_empty() { asks } else { asks.header("expect", expect) };
                let stream = asks.body(body).trailer("x-a", "b").open(0);
                stream.request_headers();
                stream
            };
            let busy = ask();
            questions(&gateway).into_iter().for_each(|call| answer(call, ANN));
            busy.request_rest();
            grants();
            assert!(busy.upstream().ended, "{}", busy.status());
            let stream = ask();
            if early == 0 {
                stream.request_piece();
            }
            questions(&gateway).into_iter().for_each(|call| answer(call, ANN));
            gateway.run();
            if early < 2 {
                stream.request_rest();
            }
            grants();
            assert!(stream.upstream().headers.is_none());
            busy.respond(Headers::from([(":status", "200")]));
            for _ in 0..3 {
                gateway.advance(1);
                gateway.tick();
                gateway.run();
            }
            if early == 2 {
                stream.request_rest();
                grants();
            }
            assert!(stream.upstream().ended, "{} bytes, {expect}, {early}: {}", body.len(), stream.status());
            assert_eq!(stream.upstream().body, body);
        }
    }
}

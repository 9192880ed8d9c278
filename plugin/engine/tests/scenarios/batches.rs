//! Several GETs in one request: each is answered as one of its own would be.

use serde_json::{Value, json};

use selvage_engine::cache::Moment;
use selvage_engine::exchange::{
    Called, Directive, Event, Exchange, Fetched, Part, PartStep, RemoteAnswer, Wake,
};
use selvage_engine::fields::Fields;

use crate::gateway::{Answer, Gateway, Origin, block, date, fresh_for, moment, origin, unreachable};

const ON: &str = r#"{"batch":{},"defaults":{"batch":true,"refresh":{"cluster":"origin"}}}"#;

/// A batch that has been asked for.
pub struct Batch {
    pub exchange: Exchange,
    pub parts: Vec<(Part, PartStep)>,
    pub reply: Option<Answer>,
}

/// A head of a part's call.
fn path_of(step: &PartStep) -> Option<String> {
    let PartStep::Call { request, .. } = step else { return None };
    let path = Fields::parse(request).unwrap().get(b":path").unwrap();
    Some(String::from_utf8(path.to_vec()).unwrap())
}

fn ask(gateway: &mut Gateway, fields: &[(&str, &str)], body: &str, millis: u64) -> Batch {
    let mut head = vec![
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/batch"),
        ("content-type", "application/json"),
    ];
    head.extend(fields);
    let mut exchange = Exchange::new();
    let head = block(&head);
    let mut directive = gateway.feed(0, &mut exchange, millis, Event::Request { head, end_of_stream: false });
    for (nth, chunk) in body.as_bytes().chunks(50).enumerate() {
        if directive == Directive::AwaitBody {
            let end_of_stream = (nth + 1) * 50 >= body.len();
            directive = gateway.feed(0, &mut exchange, millis, Event::RequestBody { chunk, end_of_stream });
        }
    }
    let mut batch = Batch { exchange, parts: Vec::new(), reply: None };
    batch.meets(directive);
    batch.goes_on(gateway, millis);
    batch
}

/// These paths, in this order, with ids from 0 on.
fn gets(gateway: &mut Gateway, paths: &[&str], millis: u64) -> Batch {
    ask(gateway, &[], &body_of(paths), millis)
}

pub fn body_of(paths: &[&str]) -> String {
    let get = |(nth, path): (usize, &&str)| json!({ "id": nth.to_string(), "method": "GET", "url": path });
    json!({ "requests": paths.iter().enumerate().map(get).collect::<Vec<_>>() }).to_string()
}

impl Batch {
    fn meets(&mut self, directive: Directive) {
        match directive {
            Directive::Respond(reply) => self.reply = Some(Answer::of_reply(&reply)),
            Directive::AwaitSlot { .. } => assert!(self.exchange.awaits_fill()),
            other => panic!("a batch was met with {other:?}"),
        }
    }

    /// Parts begin, those that need not wait go on, and so does the batch.
    pub fn goes_on(&mut self, gateway: &mut Gateway, millis: u64) {
        let now = moment(millis);
        while let Some(task) = gateway.workers[0].next_part(true) {
            // As a host has it who does not know the stream.
            let peer = std::mem::replace(&mut gateway.shared.peer, task.peer.as_deref().map(<[u8]>::to_vec));
            let mut moment = Moment { now, host: &mut gateway.shared };
            self.parts.push(Part::begin(task, &mut gateway.workers[0], &mut moment));
            gateway.shared.peer = peer;
        }
        loop {
            let ended = gateway.workers[0].take_ended_fills();
            let mut tickets = gateway.workers[0].take_decided_tickets();
            tickets.extend(gateway.workers[0].take_decided_leases());
            let mut moved = false;
            for (part, step) in &mut self.parts {
                let next = match step {
                    PartStep::AwaitFill { hash, .. } if ended.contains(hash) => {
                        let mut moment = Moment { now, host: &mut gateway.shared };
                        part.woken(Wake::Ended, &mut gateway.workers[0], &mut moment)
                    }
                    PartStep::AwaitSlot { ticket } if tickets.contains(ticket) => {
                        let mut moment = Moment { now, host: &mut gateway.shared };
                        part.woken(Wake::Slot, &mut gateway.workers[0], &mut moment)
                    }
                    PartStep::AskRemote { hash, claim } => {
                        let answer = gateway.remote_answer(0, *hash, claim.map(|lasts| now.plus(lasts)));
                        let mut moment = Moment { now, host: &mut gateway.shared };
                        part.told(answer, &mut gateway.workers[0], &mut moment).ok()
                    }
                    _ => None,
                };
                if let Some(next) = next {
                    *step = next;
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        gateway.workers[0].look_after_batches(now);
        let is_decided = !gateway.workers[0].take_decided_batches().is_empty();
        if is_decided && self.exchange.awaits_fill() {
            let directive = gateway.feed(0, &mut self.exchange, millis, Event::Woken(Wake::Slot));
            self.meets(directive);
        }
    }

    /// The paths that are called for.
    pub fn calls(&self) -> Vec<String> {
        self.parts.iter().filter_map(|(_, step)| path_of(step)).collect()
    }

    /// A field of the call for a path.
    pub fn sends(&self, path: &str, name: &str) -> Option<String> {
        self.parts.iter().find_map(|(_, step)| {
            let PartStep::Call { request, .. } = step else { return None };
            let fields = Fields::parse(request).unwrap();
            let value = fields.get(name.as_bytes()).map(|value| String::from_utf8(value.to_vec()).unwrap());
            (path_of(step).as_deref() == Some(path)).then_some(value)
        })?
    }

    /// Something comes of the call for a path.
    #[track_caller]
    pub fn comes(&mut self, gateway: &mut Gateway, path: &str, millis: u64, origin: Option<Origin>) {
        let at = self.parts.iter().position(|(_, step)| path_of(step).as_deref() == Some(path));
        let (part, step) = &mut self.parts[at.unwrap_or_else(|| panic!("{path} is not called for"))];
        let head = origin.as_ref().map(Origin::head);
        let content = origin.as_ref().map(Origin::content).unwrap_or_default();
        gateway.shared.unreachable = origin.as_ref().is_some_and(Origin::is_made_by_host);
        let called = match &head {
            Some(head) => Called::Answer { head: Fields::parse(head).unwrap(), content: &content },
            None => Called::CutOff,
        };
        let mut at = Moment { now: moment(millis), host: &mut gateway.shared };
        *step = part.called(called, &mut gateway.workers[0], &mut at);
        gateway.shared.unreachable = false;
        self.goes_on(gateway, millis);
    }

    pub fn origin_says(&mut self, gateway: &mut Gateway, path: &str, at: u64, origin: Origin) {
        self.comes(gateway, path, at * 1000, Some(origin));
    }

    #[track_caller]
    fn told(self) -> Vec<Value> {
        let reply = self.reply.expect("it has no answer yet").status(200);
        let reply = reply.has("content-type", "application/json").has("cache-control", "no-store");
        assert_eq!(reply.cache_status(), "Selvage; detail=batch");
        let told: Value = serde_json::from_slice(reply.bytes()).unwrap();
        told["responses"].as_array().unwrap().clone()
    }
}

pub fn statuses(told: &[Value]) -> Vec<u64> {
    told.iter().map(|part| part["status"].as_u64().unwrap()).collect()
}

#[track_caller]
fn says(part: &Value, words: &str) {
    let line = part["headers"]["cache-status"].as_str().unwrap();
    assert!(line.contains(words), "{line}");
}

pub fn json_for(seconds: u64, body: &str) -> Origin {
    fresh_for(seconds).header("content-type", "application/json").body(body)
}

#[test]
pub fn parts_are_answered_as_requests_of_their_own_and_in_their_order() {
    let mut gateway = Gateway::with(ON);
    gateway.get("/a").at(0).miss(json_for(60, "{ \"a\" : 1 }")).stored();
    let mut batch = gets(&mut gateway, &["/b", "/a", "/c", "/gone"], 1000);
    assert_eq!(batch.calls(), ["/b", "/c", "/gone"]);
    // Not all have come: nothing is said yet, whoever wakes it.
    let directive = gateway.feed(0, &mut batch.exchange, 1000, Event::Woken(Wake::Slot));
    batch.meets(directive);
    batch.origin_says(&mut gateway, "/gone", 1, origin(404).body("none"));
    batch.origin_says(&mut gateway, "/c", 1, origin(200).header("cache-control", "no-store").body([0xff, 0]));
    batch.origin_says(&mut gateway, "/b", 1, json_for(60, "[1]"));
    let told = batch.told();
    assert_eq!(statuses(&told), [200, 200, 200, 404]);
    let ids: Vec<_> = told.iter().map(|part| part["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["0", "1", "2", "3"]);
    says(&told[0], "fwd=uri-miss; fwd-status=200; stored");
    says(&told[1], "hit; ttl=59; detail=worker");
    says(&told[2], "detail=no-store");
    assert_eq!((&told[0]["body"], &told[1]["body"]), (&json!([1]), &json!({ "a": 1 })));
    assert_eq!((&told[2]["body"], &told[2]["encoding"]), (&json!("/wA="), &json!("base64")));
    assert_eq!(
        (&told[1]["headers"]["age"], &told[1]["headers"]["cache-control"]),
        (&json!("1"), &json!("max-age=60"))
    );
    // What has come is there for everybody.
    gateway.get("/b").at(2).hit().content("[1]");
    let told = gets(&mut gateway, &["/b", "/a"], 2000).told();
    assert_eq!(statuses(&told), [200, 200]);
    assert_eq!(gateway.counted(0, "batch", "answered"), 2);
    assert_eq!(gateway.counted(0, "batch_parts", "answered"), 6);
    assert_eq!(gateway.counted(0, "requests", "miss.origin"), 4);
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

#[test]
pub fn whatever_comes_a_batch_goes_to_no_origin() {
    let mut gateway = Gateway::with(ON);
    let head = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/batch"),
        ("content-type", "application/json"),
    ]);
    let mut exchange = Exchange::new();
    let begun = Event::Request { head: head.clone(), end_of_stream: false };
    assert_eq!(gateway.feed(0, &mut exchange, 0, begun), Directive::AwaitBody);
    let status = block(&[(":status", "200")]);
    for event in [
        Event::Woken(Wake::Poll),
        Event::Request { head, end_of_stream: true },
        Event::Response { head: Fields::parse(&status).unwrap(), end_of_stream: false },
        Event::Body { chunk: b"", end_of_stream: true },
        Event::Trailers,
        Event::Remote(RemoteAnswer::Nothing),
        Event::Fetched(Fetched::Nothing),
    ] {
        assert_eq!(gateway.feed(0, &mut exchange, 0, event), Directive::AwaitBody);
    }
    assert!(gateway.workers[0].waiting_bytes() > 0);
    gateway.feed(0, &mut exchange, 0, Event::Ended);
    gateway.assert_no_room_is_taken();
}

#[test]
fn equal_parts_are_one_fetch_and_so_is_a_part_and_a_request() {
    let mut gateway = Gateway::with(ON);
    let mut batch = gets(&mut gateway, &["/a", "/a"], 0);
    assert_eq!(batch.calls(), ["/a"]);
    let waits = gateway.get("/a").at(0).waits();
    batch.origin_says(&mut gateway, "/a", 1, json_for(60, "1"));
    let told = batch.told();
    says(&told[1], "collapsed");
    let answer = gateway.wakes(waits, Wake::Ended, 1).answered();
    assert!(answer.cache_status().contains("collapsed"));

    let flight = gateway.get("/b").at(1).leaves();
    let mut batch = gets(&mut gateway, &["/b"], 1000);
    assert_eq!(batch.calls(), [""; 0]);
    gateway.answers(flight, 2, json_for(60, "2"));
    batch.goes_on(&mut gateway, 2000);
    let told = batch.told();
    says(&told[0], "collapsed");
    assert_eq!(told[0]["body"], json!(2));
    gateway.assert_nobody_waits();
}

#[test]
fn a_part_that_fails_fails_alone_and_what_is_stale_stands_in_for_it() {
    let config = r#"{"batch":{},"defaults":{"batch":true,"refresh":{"cluster":"origin"},"stale":{"if_error":"1h","disconnected":"1h"}},
        "rules":[{"name":"lost","match":{"paths":["/lost"]},"refresh":{"cluster":null,"clusters":[]}}]}"#;
    let mut gateway = Gateway::with(config);
    gateway.get("/old").at(0).miss(json_for(1, "\"old\"")).stored();
    let paths = ["/down", "/old", "/cut", "/short", "/lost", "/error", "/well"];
    let mut batch = gets(&mut gateway, &paths, 10_000);
    assert_eq!(batch.calls(), ["/down", "/old", "/cut", "/short", "/error", "/well"]);
    batch.origin_says(&mut gateway, "/down", 10, unreachable());
    batch.origin_says(&mut gateway, "/old", 10, unreachable());
    batch.comes(&mut gateway, "/cut", 10_000, None);
    batch.origin_says(&mut gateway, "/short", 10, fresh_for(60).header("content-length", "3").body("ab"));
    batch.origin_says(&mut gateway, "/error", 10, origin(500).body("no"));
    batch.origin_says(&mut gateway, "/well", 10, json_for(60, "1"));
    let told = batch.told();
    assert_eq!(statuses(&told), [503, 200, 502, 502, 503, 500, 200]);
    says(&told[1], "detail=stale-if-error");
    says(&told[2], "detail=part-failed");
    says(&told[4], "fwd-status=503");
    assert_eq!(told[1]["body"], json!("old"));
    assert_eq!(told[4]["body"]["detail"], json!("refresh.cluster of the rule cannot be called"));
    assert_eq!(gateway.counted(0, "batch_parts", "failed"), 2);
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_part_that_is_late_is_told_so_alone_and_its_answer_is_stored_all_the_same() {
    let mut gateway = Gateway::with(ON);
    let mut batch = gets(&mut gateway, &["/slow", "/quick"], 0);
    batch.origin_says(&mut gateway, "/quick", 1, json_for(60, "1"));
    batch.goes_on(&mut gateway, 9_999);
    assert!(batch.reply.is_none());
    batch.goes_on(&mut gateway, 10_000);
    let slow = batch.parts.remove(0);
    let told = batch.told();
    assert_eq!(statuses(&told), [504, 200]);
    says(&told[0], "detail=part-late");
    assert_eq!((gateway.counted(0, "batch", "late"), gateway.counted(0, "batch_parts", "late")), (1, 1));
    let mut rest = Batch { exchange: Exchange::new(), parts: vec![slow], reply: None };
    rest.origin_says(&mut gateway, "/slow", 11, json_for(60, "2"));
    gateway.get("/slow").at(12).hit().content("2");
    gateway.assert_nobody_waits();
    drop(rest);
    gateway.assert_no_room_is_taken();
}

#[test]
fn who_leaves_leaves_nothing_behind_and_what_is_under_way_is_stored() {
    let mut gateway = Gateway::with(ON);
    let mut batch = gets(&mut gateway, &["/a", "/b"], 0);
    batch.origin_says(&mut gateway, "/a", 0, json_for(60, "1"));
    assert!(gateway.workers[0].waiting_bytes() > 0);
    gateway.feed(0, &mut batch.exchange, 0, Event::Ended);
    batch.exchange = Exchange::new();
    batch.origin_says(&mut gateway, "/b", 1, json_for(60, "2"));
    gateway.get("/b").at(2).hit();
    assert_eq!(gateway.counted(0, "batch", "left"), 1);
    assert!(!gateway.workers[0].has_open_batches());
    gateway.assert_nobody_waits();
    drop(batch);
    gateway.assert_no_room_is_taken();
}

#[test]
fn only_what_may_be_part_of_a_batch_is() {
    let config = r#"{"batch":{},"rules":[
        {"name":"api","match":{"paths":["/api/*"]},"batch":true,"refresh":{"cluster":"origin"}},
        {"name":"shut","match":{"paths":["/shut/*"]},"batch":true,"refresh":{"cluster":"origin"},"maintenance":{}}]}"#;
    let mut gateway = Gateway::with(config);
    let body = json!({ "requests": [
        { "id": "a", "method": "GET", "url": "/private" },
        { "id": "b", "method": "DELETE", "url": "/api/1" },
        { "id": "c", "method": "GET", "url": "//evil.test/api/1" },
        { "id": "d", "method": "GET", "url": "/api/../private" },
        { "id": "e", "method": "GET", "url": "/.selvage/report" },
        { "id": "f", "method": "GET", "url": "/api/1", "headers": { "Authorization": "Bearer other" } },
        { "id": "g", "method": "GET", "url": "/shut/1" },
    ] });
    let told = ask(&mut gateway, &[], &body.to_string(), 0).told();
    assert_eq!(statuses(&told), [403, 405, 400, 400, 400, 400, 503]);
    for part in &told[..6] {
        says(part, "detail=batch-refused");
        assert_eq!(part["headers"]["content-type"], json!("application/problem+json"));
    }
    says(&told[6], "detail=maintenance");
    assert_eq!(told[1]["headers"]["allow"], json!("GET"));
    assert_eq!(gateway.counted(0, "batch_parts", "refused"), 6);
}

#[test]
pub fn what_is_no_batch_is_refused_and_asks_for_nothing() {
    let mut gateway = Gateway::with(
        r#"{"batch":{"request_bytes":"1KiB"},"worker":{"waiting_bytes":"64KiB"},
        "defaults":{"batch":true,"refresh":{"cluster":"origin"}}}"#,
    );
    let long = "x".repeat(1100);
    let good = body_of(&["/a"]);
    for (fields, body, status) in [
        (vec![], "{", 400),
        (vec![], "{\"requests\":[]}", 400),
        (vec![], &long, 413),
        (vec![("content-length", "1025")], "{", 413),
        (vec![("content-encoding", "gzip")], &good, 415),
    ] {
        let refused = ask(&mut gateway, &fields, body, 0).reply.unwrap().status(status);
        let refused = refused.detail("batch-refused").has("content-type", "application/problem+json");
        let problem: Value = serde_json::from_slice(refused.bytes()).unwrap();
        assert_eq!(problem["status"], json!(status));
    }
    gateway.post("/batch").header("content-type", "application/json").answered().status(400);
    gateway.post("/batch").header("content-type", "text/plain").answered().status(415);
    let crowded = gateway.workers[0].keep(64 << 10);
    let refused = ask(&mut gateway, &[], &good, 0).reply.unwrap().status(503);
    refused.has("retry-after", "1");
    drop(crowded);
    assert!(!gateway.workers[0].has_parts());
    assert_eq!(gateway.counted(0, "batch", "refused"), 8);
    assert_eq!(gateway.counted(0, "requests", "refused.none"), 8);
    // Other methods and paths are no batches, and nothing is where none are configured.
    gateway.get("/batch").at(0).miss(origin(200));
    gateway.post("/batch/1").chunk("{}").at(0).forwarded(origin(200));
    let mut without = Gateway::with("{}");
    without
        .post("/batch")
        .chunk("{}")
        .header("content-type", "application/json")
        .at(0)
        .forwarded(origin(200));
    gateway.assert_no_room_is_taken();
}

#[test]
fn each_part_costs_its_own_limits() {
    let config = r#"{"batch":{},"limits":[{"name":"per-key","by":["header:x-key"],"quota":60,"window":"1m","burst":3},
            {"name":"batches","by":["header:x-key"],"quota":60,"window":"1m","burst":1}],
        "defaults":{"refresh":{"cluster":"origin"}},
        "rules":[{"name":"api","match":{"paths":["/api/*"]},"batch":true,"limits":["per-key"]},
            {"name":"batch","match":{"paths":["/batch"]},"limits":["batches"]}]}"#;
    let mut gateway = Gateway::with(config);
    let body = body_of(&["/api/1", "/api/2", "/api/3", "/api/4", "/api/5"]);
    let mut batch = ask(&mut gateway, &[("x-key", "1")], &body, 0);
    assert_eq!(batch.calls(), ["/api/1", "/api/2", "/api/3"]);
    for path in ["/api/1", "/api/2", "/api/3"] {
        batch.origin_says(&mut gateway, path, 0, json_for(60, "1"));
    }
    let told = batch.told();
    assert_eq!(statuses(&told), [200, 200, 200, 429, 429]);
    assert_eq!(told[2]["headers"]["ratelimit"], json!("\"per-key\";r=0;t=3"));
    says(&told[4], "detail=limited");
    assert_eq!(told[4]["headers"]["retry-after"], json!("1"));
    gateway.get("/api/1").header("x-key", "1").at(0).answered().status(429);
    gateway.get("/api/1").header("x-key", "2").at(0).hit();
    // The batch itself is a request too, and what its limits say is nobody else's.
    ask(&mut gateway, &[("x-key", "1")], &body, 0).reply.unwrap().status(429);
    let lone = Gateway::with(config).get("/else").at(0).miss(fresh_for(60));
    lone.lacks("ratelimit");
}

#[test]
fn who_asks_for_the_batch_asks_for_its_parts() {
    let mut gateway = Gateway::with(ON);
    let body = json!({ "requests": [{ "id": "1", "method": "GET", "url": "/me",
        "headers": { "Accept-Language": "de", "if-none-match": "\"0\"" } }] })
    .to_string();
    let client = [
        ("authorization", "Bearer 1"),
        ("cookie", "id=1"),
        ("user-agent", "test"),
        ("accept", "application/json"),
        ("accept-language", "en"),
        ("accept-encoding", "gzip"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("x-envoy-retry-on", "5xx"),
        ("x-request-id", "1"),
        ("if-none-match", "\"9\""),
        ("selvage-explain", "token"),
    ];
    let mut batch = ask(&mut gateway, &client, &body, 0);
    let sends = |name: &str| batch.sends("/me", name);
    for (name, value) in [
        (":method", Some("GET")),
        (":authority", Some("example.com")),
        (":scheme", Some("https")),
        ("authorization", Some("Bearer 1")),
        ("cookie", Some("id=1")),
        ("user-agent", Some("test")),
        ("accept-language", Some("de")),
        ("accept-encoding", Some("identity")),
        ("accept", None),
        ("content-type", None),
        ("connection", None),
        ("x-hop", None),
        ("x-envoy-retry-on", None),
        ("x-request-id", None),
        ("selvage-explain", None),
    ] {
        assert_eq!(sends(name).as_deref(), value, "{name}");
    }
    assert!(sends("cdn-loop").is_some());
    batch.origin_says(&mut gateway, "/me", 0, json_for(60, "\"mine\"").header("etag", "\"0\""));
    assert_eq!(statuses(&batch.told()), [200]);
    // It is this client's alone, as it would be had it asked for it by itself.
    gateway
        .get("/me")
        .header("authorization", "Bearer 2")
        .header("cookie", "id=2")
        .at(1)
        .forwarded(origin(200));
    let told = ask(&mut gateway, &client, &body, 1000);
    let other = [("authorization", "Bearer 2"), ("cookie", "id=2")];
    assert_eq!(ask(&mut gateway, &other, &body, 1000).calls(), ["/me"]);
    drop(told);
}

#[test]
fn conditions_of_parts_are_judged_and_stale_ones_are_validated() {
    let mut gateway = Gateway::with(ON);
    let old = json_for(1, "\"old\"").header("etag", "\"1\"").header("date", &date(0));
    gateway.get("/a").at(0).miss(old).stored();
    let body = json!({ "requests": [
        { "id": "1", "method": "GET", "url": "/a", "headers": { "if-none-match": "\"1\"" } },
    ] })
    .to_string();
    let told = ask(&mut gateway, &[], &body, 500).told();
    assert_eq!((statuses(&told), told[0].get("body")), (vec![304], None));
    let mut batch = gets(&mut gateway, &["/a"], 5000);
    assert_eq!(batch.sends("/a", "if-none-match").as_deref(), Some("\"1\""));
    batch.origin_says(&mut gateway, "/a", 5, origin(304).header("etag", "\"1\""));
    let told = batch.told();
    says(&told[0], "detail=validated");
    assert_eq!((statuses(&told), &told[0]["body"]), (vec![200], &json!("old")));
}

#[test]
fn what_does_not_fit_any_more_is_told_so_alone() {
    let mut gateway = Gateway::with(
        r#"{"batch":{"response_bytes":"64KiB"},"defaults":{"batch":true,"refresh":{"cluster":"origin"}}}"#,
    );
    let mut batch = gets(&mut gateway, &["/a", "/b", "/c"], 0);
    let text = format!("\"{}\"", "x".repeat(40 << 10));
    for path in ["/b", "/a", "/c"] {
        batch.origin_says(&mut gateway, path, 0, json_for(60, if path == "/c" { "1" } else { &text }));
    }
    let told = batch.told();
    assert_eq!(statuses(&told), [507, 200, 200]);
    says(&told[0], "detail=part-too-large");
    gateway.get("/a").at(1).hit();

    let mut gateway = Gateway::with(
        r#"{"batch":{},"worker":{"waiting_bytes":"64KiB"},"defaults":{"batch":true,"refresh":{"cluster":"origin"}}}"#,
    );
    let mut batch = gets(&mut gateway, &["/a", "/b"], 0);
    for path in ["/a", "/b"] {
        batch.origin_says(&mut gateway, path, 0, json_for(60, &text));
    }
    let told = batch.told();
    assert_eq!(statuses(&told), [200, 503]);
    says(&told[1], "detail=waiting-limit");
    gateway.assert_no_room_is_taken();
}

#[test]
fn parts_wait_for_a_place_at_the_origin_and_give_it_back() {
    let mut gateway = Gateway::with(
        r#"{"batch":{},"pools":[{"name":"p","fixed":1}],
        "defaults":{"batch":true,"refresh":{"cluster":"origin"},"admission":{"pool":"p"}}}"#,
    );
    let mut batch = gets(&mut gateway, &["/a", "/b", "/c"], 0);
    for path in ["/a", "/b", "/c"] {
        assert_eq!(batch.calls(), [path]);
        batch.origin_says(&mut gateway, path, 0, json_for(60, "1"));
    }
    assert_eq!(statuses(&batch.told()), [200, 200, 200]);
    gateway.assert_no_room_is_taken();
}

#[test]
fn the_fleets_store_is_asked_for_parts_too() {
    let config =
        r#"{"batch":{},"remote":{"enabled":true},"defaults":{"batch":true,"refresh":{"cluster":"origin"}}}"#;
    let mut other = Gateway::with(config);
    other.get("/a").at(0).miss(json_for(60, "1")).stored();
    other.sends();
    let mut gateway = Gateway::with(config);
    gateway.redis = other.redis.clone();
    let told = gets(&mut gateway, &["/a", "/a"], 1000).told();
    says(&told[0], "detail=remote");
    assert_eq!(statuses(&told), [200, 200]);
    gateway.assert_nobody_waits();
}

#[test]
fn whoever_wants_lines_gets_them() {
    let mut gateway = Gateway::with(ON);
    gateway.get("/a").at(0).miss(json_for(60, "{\n \"a\": 1\r\n}")).stored();
    let batch = ask(&mut gateway, &[("accept", "application/x-ndjson")], &body_of(&["/a", "/a"]), 0);
    let reply = batch.reply.unwrap().status(200).has("content-type", "application/x-ndjson");
    let text = String::from_utf8(reply.bytes().to_vec()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[1]["id"], &lines[1]["body"]), (2, &json!("1"), &json!({ "a": 1 })));
}

#[cfg(feature = "sessions")]
#[test]
fn what_only_a_session_may_say_no_part_says() {
    let mut gateway = Gateway::with(
        r#"{"remote":{"enabled":true},"batch":{"part_headers":["accept","x-plan","x_plan"]},
            "sessions":[{"name":"web","signed":false,"fields":{"x-user-id":"/user","x-plan":"/plan"}}],
            "defaults":{"batch":true,"session":"web","remote":false,"refresh":{"cluster":"origin"}}}"#,
    );
    let fields = json!({ "x-plan": "gold", "x_plan": "gold", "accept": "x/y" });
    let get = json!({ "id": "0", "method": "GET", "url": "/a", "headers": fields });
    let batch = ask(&mut gateway, &[("x-user-id", "root")], &json!({ "requests": [get] }).to_string(), 0);
    assert_eq!(batch.calls(), ["/a"], "{:?}", batch.reply);
    assert_eq!(batch.sends("/a", "accept").as_deref(), Some("x/y"));
    for name in ["x-user-id", "x-plan", "x_plan"] {
        assert_eq!(batch.sends("/a", name), None, "{name}");
    }
}

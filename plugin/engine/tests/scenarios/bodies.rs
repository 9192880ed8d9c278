//! Requests that their body keys.

use crate::gateway::{Gateway, fresh_for, origin};

const RULE: &str = r#"{"rules":[{"name":"q","match":{"paths":["/q"]},
    "key":{"body":{"methods":["POST","QUERY"],"inline_bytes":8,"max_bytes":64}}}]}"#;

#[test]
fn the_same_body_is_the_same_request_however_it_was_cut() {
    for body in ["short", "a body that is longer than eight bytes"] {
        let mut gateway = Gateway::with(RULE);
        gateway.post("/q").chunk(body).at(0).miss(fresh_for(60).body("answer")).stored();
        gateway.post("/q").chunk(body).at(1).hit().content("answer").age(1);
        let (head, tail) = body.split_at(3);
        gateway.post("/q").chunk(head).chunk("").chunk(tail).at(2).hit();
        gateway.post("/q").chunk(head).chunk(tail).chunk("").at(2).hit();
        gateway.post("/q").chunk(format!("{body}!")).at(3).miss(fresh_for(60)).says("fwd=uri-miss");
        gateway.post("/q").chunk(tail).at(3).miss(fresh_for(60)).says("fwd=uri-miss");
    }
}

#[test]
fn an_empty_body_is_a_body_and_get_is_another_request() {
    let mut gateway = Gateway::with(RULE);
    gateway.post("/q").at(0).miss(fresh_for(60).body("post")).stored();
    gateway.post("/q").chunk("").at(1).hit().content("post");
    gateway.get("/q").at(1).miss(fresh_for(60).body("get"));
    gateway.get("/q").at(2).hit().content("get");
    gateway.request("QUERY", "/q").at(2).miss(fresh_for(60).body("query"));
    gateway.post("/q").at(3).hit().content("post");
}

#[test]
fn a_body_past_the_bound_passes_through() {
    let mut gateway = Gateway::with(RULE);
    for _ in 0..2 {
        let answer = gateway.post("/q").chunk([b'x'; 60]).chunk([b'x'; 60]).forwarded(fresh_for(60));
        answer.says("fwd=bypass").detail("request-body-too-large").says_nothing_of("stored");
    }
    gateway.post("/q").chunk([b'x'; 64]).at(0).miss(fresh_for(60)).stored();
    gateway.post("/q").chunk([b'x'; 64]).at(1).hit();
}

#[test]
fn a_method_that_the_rule_does_not_name_is_unsafe_as_ever() {
    let mut gateway = Gateway::with(RULE);
    gateway.request("PUT", "/q").chunk("x").at(0).forwarded(fresh_for(60)).says("fwd=method");
    gateway.post("/other").chunk("x").at(0).forwarded(fresh_for(60)).says("fwd=method");
}

#[test]
fn a_keyed_request_is_validated_and_varied_like_any_other() {
    let mut gateway = Gateway::with(RULE);
    let response = fresh_for(10).headers("etag: \"1\" | vary: accept").body("answer");
    for (method, kind) in [("QUERY", "a/a"), ("QUERY", "b/b"), ("POST", "a/a")] {
        let call = gateway.request(method, "/q").header("accept", kind).chunk("question");
        call.at(1).miss(response.clone()).stored();
    }
    gateway
        .request("QUERY", "/q")
        .header("accept", "a/a")
        .chunk("question")
        .at(20)
        .validates(origin(304))
        .content("answer");
    // To a POST a correct origin answers 412 where a condition of GET fails (RFC 9110 §13.1.2).
    let flight = gateway.post("/q").header("accept", "a/a").chunk("question").at(20).leaves();
    assert!(!flight.is_conditional());
    gateway.answers(flight, 20, response).stored();
}

#[test]
fn a_keyed_request_that_goes_away_leaves_nothing_behind() {
    use selvage_engine::exchange::{Directive, Event, Exchange};
    let mut gateway = Gateway::with(RULE);
    let head = crate::gateway::block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/q"),
    ]);
    let mut exchange = Exchange::new();
    let begun = Event::Request { head, end_of_stream: false };
    assert_eq!(gateway.feed(0, &mut exchange, 0, begun), Directive::AwaitBody);
    gateway.feed(0, &mut exchange, 0, Event::RequestBody { chunk: b"x", end_of_stream: false });
    gateway.feed(0, &mut exchange, 0, Event::Ended);
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_keyed_post_gets_the_whole_whatever_part_or_condition_it_names() {
    let mut gateway = Gateway::with(RULE);
    let response = fresh_for(60).header("etag", "\"1\"").body("0123456789");
    gateway.post("/q").chunk("question").at(0).miss(response).stored();
    for (name, value) in [("range", "bytes=2-3"), ("range", "bytes=99-"), ("if-none-match", "\"1\"")] {
        let answer = gateway.post("/q").header(name, value).chunk("question").at(1).hit();
        answer.status(200).content("0123456789").lacks("content-range");
    }
}

#[test]
fn who_asks_and_what_switches_the_framework_count_as_without_a_body() {
    for (name, value) in [("x-api-key", "alice"), ("authorization", "Basic YTpi"), ("hx-request", "true")] {
        let mut gateway = Gateway::with(RULE);
        let own = fresh_for(60).body("of one");
        gateway.post("/q").header(name, value).chunk("body").at(0).forwarded(own);
        gateway.post("/q").chunk("body").at(1).forwarded(fresh_for(60).body("of all")).content("of all");
        gateway.post("/q").chunk("body").at(2).hit().content("of all");
        gateway
            .post("/q")
            .header(name, "other")
            .chunk("body")
            .at(3)
            .forwarded(origin(200).body("of another"));
    }
}

#[test]
fn a_condition_on_a_keyed_post_reaches_the_origin() {
    let mut gateway = Gateway::with(RULE);
    let flight = gateway.post("/q").header("if-none-match", "*").chunk("question").at(0).leaves();
    assert!(!flight.removes("if-none-match"));
    gateway.answers(flight, 0, origin(412)).status(412);
}

#[cfg(feature = "llm")]
#[test]
fn json_is_keyed_by_what_it_says_and_what_is_no_json_by_its_bytes() {
    const JSON: &str = r#"{"rules":[{"name":"q","match":{"paths":["/q"]},
        "key":{"body":{"methods":["POST"],"json":{"round":{"vector":4}}}}}]}"#;
    let mut gateway = Gateway::with(JSON);
    let body = r#"{"vector":[0.123412,7],"k":10}"#;
    gateway.post("/q").chunk(body).at(0).miss(fresh_for(60).body("answer")).stored();
    for same in [r#"{ "k": 1e1, "vector": [ 0.12341, 7.0001 ] }"#, body] {
        let (begin, rest) = same.split_at(11);
        gateway.post("/q").chunk(begin).chunk(rest).at(1).hit().content("answer");
    }
    for other in [
        r#"{"vector":[0.1235,7],"k":10}"#,
        r#"{"vector":[0.123412,7],"k":10.001}"#,
        r#"{"vector":[7,0.123412],"k":10}"#,
    ] {
        gateway.post("/q").chunk(other).at(1).miss(fresh_for(60)).says("fwd=uri-miss");
    }
    for broken in [r#"{"k":1,"k":2}"#, r#"{"k":1,}"#, ""] {
        gateway.post("/q").chunk(broken).at(2).miss(fresh_for(60).body("by bytes")).stored();
        gateway.post("/q").chunk(broken).at(3).hit().content("by bytes");
        gateway.post("/q").chunk(format!("{broken} ")).at(3).miss(fresh_for(60));
    }
}

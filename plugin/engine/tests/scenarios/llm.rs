//! Answers of language models: which are stored, for whom, and that they come again byte for byte.

use selvage_engine::cache::Moment;
use selvage_engine::exchange::Wake;
use selvage_engine::explain::{Passage, Subject, explain};
use selvage_engine::fields::Fields;
use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::request::Request;

use crate::gateway::{Answer, Call, Flight, Gateway, Origin, block, moment, origin};

const CHAT: &str = "/v1/chat/completions";
const QUESTION: &str = r#"{"model":"gpt-4o","temperature":0,"messages":[{"role":"user","content":"Hi"}]}"#;
const ANSWER: &str = r#"{"id":"c-1","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
const ASKS_STREAM: &str =
    r#"{"model":"gpt-4o","temperature":0,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const STREAM: &str = concat!(
    ": ping\n\ndata: {\"id\":\"c-2\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Hm\"}}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
);

/// A rule for everything, with these members of `llm.cache`.
fn rule(cache: &str) -> String {
    format!(r#"{{"rules":[{{"name":"chat","llm":{{"api":"openai","cache":{{{cache}}}}}}}]}}"#)
}

fn open(cache: &str) -> Gateway {
    Gateway::with(&rule(cache))
}

/// What a provider says: not to be stored, with a cookie, and on whose account.
fn json(body: &str) -> Origin {
    origin(200)
        .headers("content-type: application/json | cache-control: no-store | set-cookie: __cf_bm=x")
        .headers("openai-organization: acme | x-ratelimit-remaining-tokens: 7 | vary: Accept-Encoding")
        .body(body)
}

fn events() -> Origin {
    origin(200).headers("content-type: text/event-stream; charset=utf-8 | cache-control: no-cache")
}

/// A client with a key of its own.
fn ask<'g>(gateway: &'g mut Gateway, key: &str, body: &str) -> Call<'g> {
    gateway.post(CHAT).header("authorization", key).header("content-type", "application/json").chunk(body)
}

#[track_caller]
fn is_forgotten(gateway: &mut Gateway, body: &str) {
    ask(gateway, "Bearer a", body).at(1).miss(json(ANSWER));
}

#[test]
fn an_answer_comes_again_byte_for_byte_whatever_the_provider_says_of_storing() {
    let mut gateway = open(r#""ttl":"10m""#);
    let first = ask(&mut gateway, "Bearer a", QUESTION).at(0).miss(json(ANSWER)).stored().ttl(600);
    first.content(ANSWER).has("openai-organization", "acme").has("set-cookie", "__cf_bm=x");
    let again = ask(&mut gateway, "Bearer a", QUESTION).at(60).hit().age(60).ttl(540).content(ANSWER);
    again
        .has("content-type", "application/json")
        .lacks("set-cookie")
        .lacks("openai-organization")
        .lacks("x-ratelimit-remaining-tokens");
    // The same question in other words of JSON, for another client of that key, asked by parts.
    let (head, tail) = r#"{ "messages":[{"content":"H\u0069","role":"user"}],
        "temperature":0.0,"user":"u7","model":"gpt-4o"}"#
        .split_at(30);
    ask(&mut gateway, "Bearer a", head).chunk(tail).header("accept-encoding", "gzip").at(61).hit();
    ask(&mut gateway, "Bearer a", QUESTION)
        .header("range", "bytes=0-1")
        .at(61)
        .hit()
        .status(200)
        .content(ANSWER);
    ask(&mut gateway, "Bearer a", &QUESTION.replace("Hi", "Ho")).at(61).miss(json(ANSWER));
    ask(&mut gateway, "Bearer a", &QUESTION.replace("\"model\"", "\"num_ctx\":9,\"model\""))
        .at(61)
        .miss(json(ANSWER));
    assert_eq!(gateway.counted(0, "llm_answers", "complete"), 3);
    // When it has expired it is asked for anew, never under a condition.
    let flight = ask(&mut gateway, "Bearer a", QUESTION).at(601).leaves();
    assert!(!flight.is_conditional());
    gateway.answers(flight, 601, json(ANSWER).header("etag", "\"1\"")).says("fwd=stale").stored();
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_stream_comes_again_byte_for_byte_wherever_it_was_cut() {
    for cut in 0..=STREAM.len() {
        let mut gateway = open("");
        let (head, tail) = STREAM.as_bytes().split_at(cut);
        let first = ask(&mut gateway, "Bearer a", ASKS_STREAM).miss(events().body(head).body(tail));
        first.stored().content(STREAM);
        let again = ask(&mut gateway, "Bearer a", ASKS_STREAM).at(1).hit().content(STREAM);
        again.has("content-type", "text/event-stream; charset=utf-8");
        // As JSON it is another answer.
        ask(&mut gateway, "Bearer a", QUESTION).at(1).miss(json(ANSWER));
    }
    let mut gateway = open("");
    ask(&mut gateway, "Bearer a", ASKS_STREAM).miss(events().body(STREAM).trailers()).stored();
    ask(&mut gateway, "Bearer a", ASKS_STREAM).at(1).hit().content(STREAM);
}

#[test]
pub fn what_is_not_complete_is_not_stored_though_its_framing_is_whole() {
    let done = "data: [DONE]\n\n";
    let cut = STREAM.strip_suffix(done).unwrap();
    let unfinished = STREAM.replace(",\"finish_reason\":\"stop\"", "");
    let streams: [(&str, Origin); 7] = [
        ("cut", events().body(cut)),
        ("cut", events().body(cut).trailers()),
        ("unreadable", events().body(STREAM.split_at(90).0)),
        // https://github.com/gonka-ai/gonka/issues/1722
        ("unfinished", events().body(unfinished)),
        ("error", events().body(format!("{cut}data: {{\"error\":{{\"message\":\"x\"}}}}\n\n{done}"))),
        ("error", events().body(format!("data: {{\"error\":{{\"message\":\"overloaded\"}}}}\n\n{done}"))),
        ("refused", events().body(STREAM.replace("\"stop\"", "\"content_filter\""))),
    ];
    let jsons: [(&str, Origin); 5] = [
        ("cut", json(ANSWER.split_at(ANSWER.len() - 1).0)),
        ("error", json(r#"{"error":{"message":"busy","type":"server_error"}}"#)),
        ("refused", json(&ANSWER.replace("\"stop\"", "\"content_filter\""))),
        ("unfinished", json(&ANSWER.replace("\"stop\"", "null"))),
        ("unreadable", json(&ANSWER.replace("\"id\"", "\"id\":1,,\"x\""))),
    ];
    let streams = streams.map(|(word, response)| (ASKS_STREAM, word, response));
    for (question, word, response) in
        streams.into_iter().chain(jsons.map(|(word, response)| (QUESTION, word, response)))
    {
        let mut gateway = open("");
        ask(&mut gateway, "Bearer a", question).miss(response);
        assert_eq!(gateway.counted(0, "llm_answers", word), 1, "{question} {word}");
        gateway.assert_no_room_is_taken();
        ask(&mut gateway, "Bearer a", question).at(1).miss(json(ANSWER));
    }
    // What has the other form than was asked for is no answer to that question.
    // https://github.com/headroomlabs-ai/headroom/pull/3024
    for (question, response) in [(ASKS_STREAM, json(ANSWER)), (QUESTION, events().body(STREAM))] {
        let mut gateway = open("");
        ask(&mut gateway, "Bearer a", question).miss(response.clone());
        ask(&mut gateway, "Bearer a", question).at(1).miss(response);
    }
    // `length` ends an answer as its question wants it.
    let mut gateway = open("");
    ask(&mut gateway, "Bearer a", QUESTION).miss(json(&ANSWER.replace("\"stop\"", "\"length\"")));
    ask(&mut gateway, "Bearer a", QUESTION).at(1).hit();
}

/// What other gateways have left out of their keys.
/// <https://github.com/BerriAI/litellm/issues/42400>, <https://github.com/NadirRouter/NadirClaw/issues/90>,
/// <https://github.com/Continuum-AI-Corp/OrcaRouter-Lite/issues/84>,
/// <https://github.com/majiayu000/litellm-rs/issues/505>
#[test]
fn every_member_of_a_body_tells_questions_apart_at_every_depth() {
    let mut gateway = open("");
    ask(&mut gateway, "Bearer a", QUESTION).miss(json(ANSWER)).stored();
    for member in [
        r#""num_ctx":2048"#,
        r#""max_tokens":16"#,
        r#""top_p":0.5"#,
        r#""stop":["a"]"#,
        r#""n":2"#,
        r#""tools":[]"#,
        r#""tool_choice":"none""#,
        r#""parallel_tool_calls":true"#,
        r#""response_format":{"type":"json_object"}"#,
        r#""extra_body":{"user":"u"}"#,
        r#""store":true"#,
        r#""seed":1"#,
        r#""stream":false"#,
    ] {
        let body = QUESTION.replacen('{', &format!("{{{member},"), 1);
        ask(&mut gateway, "Bearer a", &body).miss(json(ANSWER));
    }
    for inner in [r#""tool_call_id":"t""#, r#""name":"n""#, r#""user":"u""#] {
        let body = QUESTION.replace("{\"role\"", &format!("{{{inner},\"role\""));
        ask(&mut gateway, "Bearer a", &body).miss(json(ANSWER));
    }
    for label in [r#""user":"u""#, r#""metadata":{"a":"b"}"#, r#""prompt_cache_key":"k""#] {
        let body = QUESTION.replacen('{', &format!("{{{label},"), 1);
        ask(&mut gateway, "Bearer a", &body).hit();
    }
    // Answers under this path repeat them.
    let respond = |gateway: &mut Gateway, body: &str| {
        let done = json(r#"{"id":"r","model":"m","status":"completed","output":[],"user":"u"}"#);
        gateway.post("/v1/responses").chunk(body).send().or_answers(gateway, 0, done)
    };
    respond(&mut gateway, r#"{"model":"m","temperature":0,"input":"a","user":"u"}"#).says("stored");
    respond(&mut gateway, r#"{"model":"m","temperature":0,"input":"a","user":"v"}"#).says("fwd=uri-miss");
    respond(&mut gateway, r#"{"model":"m","temperature":0,"input":"a","user":"u"}"#).says("hit");
}

#[test]
fn what_is_no_answer_is_not_stored() {
    let text =
        origin(200).headers("content-type: text/html | cache-control: max-age=60").body("<p>login</p>");
    let coded = json(ANSWER).header("content-encoding", "gzip");
    let empty = origin(200).headers("content-type: application/json | content-length: 0");
    for (word, response) in
        [("no-answer", text), ("no-answer", coded), ("no-answer", origin(200).body(ANSWER))]
    {
        let mut gateway = open("");
        ask(&mut gateway, "Bearer a", QUESTION).miss(response).not_stored(word);
        is_forgotten(&mut gateway, QUESTION);
    }
    let mut gateway = open("");
    ask(&mut gateway, "Bearer a", QUESTION).miss(empty);
    is_forgotten(&mut gateway, QUESTION);
    for status in [201, 206, 301, 400, 404, 410, 429, 500, 529] {
        let mut gateway = open("");
        let failed =
            origin(status).headers("content-type: application/json | cache-control: max-age=60").body(ANSWER);
        ask(&mut gateway, "Bearer a", QUESTION).miss(failed).says_nothing_of("stored");
        is_forgotten(&mut gateway, QUESTION);
    }
    // What Envoy or another filter answers is none of the provider's.
    let mut gateway = open("");
    ask(&mut gateway, "Bearer a", QUESTION).miss(json(ANSWER).made_by_host()).says_nothing_of("stored");
    is_forgotten(&mut gateway, QUESTION);
}

#[test]
fn a_client_that_leaves_and_an_origin_that_breaks_off_leave_nothing() {
    let mut gateway = open("");
    ask(&mut gateway, "Bearer a", ASKS_STREAM).miss(events().body(STREAM.split_at(80).0).cut());
    ask(&mut gateway, "Bearer a", ASKS_STREAM).miss(events().body(STREAM).cut());
    let flight = ask(&mut gateway, "Bearer a", ASKS_STREAM).leaves();
    gateway.goes_away(flight, 1);
    gateway.assert_no_room_is_taken();
    gateway.assert_nobody_waits();
    ask(&mut gateway, "Bearer a", ASKS_STREAM).at(2).miss(events().body(STREAM)).stored();
}

/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#the-last-event-id-header>,
/// <https://github.com/modelcontextprotocol/rust-sdk/pull/1165>
#[test]
fn a_stream_that_was_broken_off_goes_on_behind_the_last_event() {
    let parts = ["id: 1\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n"; 3];
    let parts: Vec<String> =
        parts.iter().enumerate().map(|(nth, part)| part.replace("id: 1", &format!("id: {nth}"))).collect();
    let end =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let stream = parts.concat() + end;
    for counts in ["", r#","usage":"count""#] {
        let config = rule("").replace("}}}]", &format!("}}{counts}}}}}]"));
        let mut gateway = Gateway::of_workers(2, &config);
        let after = |gateway: &mut Gateway, worker: usize, id: &str| {
            let call = ask(gateway, "Bearer a", ASKS_STREAM).worker(worker).header("last-event-id", id);
            call.at(1).send()
        };
        // What the provider sends to one who has the beginning is no answer for others, and nobody waits for it.
        let rest = parts[2].clone() + end;
        let flight = after(&mut gateway, 0, "1").left();
        assert!(!flight.removes("last-event-id"));
        let other = ask(&mut gateway, "Bearer a", ASKS_STREAM).at(1).leaves();
        gateway.answers(flight, 1, events().body(&rest)).content(&rest).not_stored("request-no-store");
        gateway.answers(other, 1, events().body(&stream)).content(&stream).stored();
        for worker in [0, 1, 0] {
            let whole = ask(&mut gateway, "Bearer a", ASKS_STREAM).worker(worker).at(1).hit();
            whole.content(&stream);
            after(&mut gateway, worker, "1").answered().says("hit").content(&rest);
            after(&mut gateway, worker, "2").answered().says("hit").content(end);
            after(&mut gateway, worker, "").answered().says("hit").content(&stream);
            // Nobody gets the rest of another's: https://github.com/agentfront/frontmcp/pull/529
            let call = ask(&mut gateway, "Bearer b", ASKS_STREAM).worker(worker).header("last-event-id", "1");
            let flight = call.at(1).leaves();
            gateway.answers(flight, 1, events().body(end)).content(end).not_stored("request-no-store");
            // That was another stream: the provider may have it.
            let flight = after(&mut gateway, worker, "7").left();
            let own = gateway.answers(flight, 1, events().body(end)).content(end);
            own.says("fwd=request").not_stored("request-no-store");
        }
        gateway.assert_no_room_is_taken();
    }
}

#[test]
fn tenants_share_nothing_unless_they_are_told_to() {
    let who: [(&str, &str); 7] = [
        ("authorization", "Bearer a"),
        ("authorization", "Bearer b"),
        ("x-api-key", "a"),
        ("api-key", "a"),
        ("cookie", "session=a"),
        ("openai-organization", "org-a"),
        ("openai-project", "p-a"),
    ];
    let mut gateway = open("");
    gateway.post(CHAT).chunk(QUESTION).at(0).miss(json(ANSWER)).stored();
    for (nth, (name, value)) in who.into_iter().enumerate() {
        let answer = ANSWER.replace("Hello", &format!("for {nth}"));
        gateway.post(CHAT).header(name, value).chunk(QUESTION).at(0).miss(json(&answer)).stored();
    }
    for (nth, (name, value)) in who.into_iter().enumerate() {
        let answer = ANSWER.replace("Hello", &format!("for {nth}"));
        gateway.post(CHAT).header(name, value).chunk(QUESTION).at(1).hit().content(answer);
    }
    gateway.post(CHAT).chunk(QUESTION).at(1).hit().content(ANSWER);
    // Another version of the API is another answer, and so is another path.
    gateway.post(CHAT).header("openai-beta", "x").chunk(QUESTION).at(1).miss(json(ANSWER));
    gateway.post("/other/chat/completions").chunk(QUESTION).at(1).miss(json(ANSWER));
    gateway.post(CHAT).authority("other.test").chunk(QUESTION).at(1).miss(json(ANSWER));
}

#[test]
fn those_who_share_are_those_who_agree_in_the_named_fields() {
    let mut gateway = open(r#""share":["x-team"]"#);
    let mut from = |key: &str, team: &str| {
        let call = ask(&mut gateway, key, QUESTION).header("x-team", team).send();
        call.or_answers(&mut gateway, 0, json(ANSWER)).cache_status().contains("hit")
    };
    assert_eq!(
        [from("a", "red"), from("b", "red"), from("a", "blue"), from("c", "blue")],
        [false, true, false, true]
    );
    let mut gateway = open(r#""share":[]"#);
    ask(&mut gateway, "Bearer a", QUESTION).at(0).miss(json(ANSWER));
    ask(&mut gateway, "Bearer b", QUESTION).header("x-api-key", "c").at(1).hit();
    // Cookies are no part of that: the rule's `cookies` says what they mean.
    ask(&mut gateway, "Bearer b", QUESTION).header("cookie", "a=1").at(1).miss(json(ANSWER));
    let config = rule(r#""share":[]"#).replace(r#""llm""#, r#""cookies":"ignore","llm""#);
    let mut gateway = Gateway::with(&config);
    ask(&mut gateway, "Bearer a", QUESTION).at(0).miss(json(ANSWER));
    ask(&mut gateway, "Bearer b", QUESTION).header("cookie", "a=1").at(1).hit();
}

/// A hundred tenants ask a few questions in any order, some wait for others; nobody ever gets what is another's.
#[test]
fn of_many_tenants_none_ever_gets_anothers_answer() {
    let mut gateway = Gateway::of_workers(2, &rule(r#""when":"all""#));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let mut hits = 0;
    for nth in 0..20_000_u64 {
        let (tenant, question, worker) = (random(100), random(5), random(2));
        let body = format!(r#"{{"model":"m","user":"{nth}","input":"{question}"}}"#);
        let own = ANSWER.replace("Hello", &format!("of {tenant} to {question}"));
        let call =
            ask(&mut gateway, &format!("Bearer {tenant}"), &body).worker(worker as usize).at(nth / 1000);
        let answer = call.send().or_answers(&mut gateway, nth / 1000, json(&own)).content(&own);
        hits += u64::from(answer.cache_status().contains("; hit"));
    }
    assert_eq!(hits, 19_500);
}

#[test]
fn a_request_that_is_not_for_the_cache_passes_and_says_why() {
    let all = r#""when":"all""#;
    let cases = [
        ("", QUESTION.replace("\"temperature\":0,", ""), "not-deterministic"),
        ("", QUESTION.replace(":0,", ":0.7,"), "not-deterministic"),
        (all, QUESTION.replace("{\"model\"", "{\"model\":\"x\",\"model\""), "ambiguous-json"),
        (all, QUESTION.replace("{\"role\"", "{\"role\":\"system\",\"role\""), "ambiguous-json"),
        (all, QUESTION.replace("Hi", "\\ud800"), "ambiguous-json"),
        (all, QUESTION.split_at(20).0.to_owned(), "ambiguous-json"),
        (all, String::new(), "ambiguous-json"),
        (all, format!("{}{}", "[".repeat(65), "]".repeat(65)), "ambiguous-json"),
        (all, QUESTION.replace("{\"model\"", "{\"conversation\":{\"id\":\"c\"},\"model\""), "stateful"),
        (all, QUESTION.replace("{\"model\"", "{\"background\":true,\"model\""), "stateful"),
        (all, format!("\"{}\"", "x".repeat(512 << 10)), "request-body-too-large"),
    ];
    for (cache, body, word) in cases {
        let mut gateway = open(cache);
        for _ in 0..2 {
            ask(&mut gateway, "Bearer a", &body).forwarded(json(ANSWER)).says("fwd=bypass").not_stored(word);
        }
        assert_eq!(gateway.counted(0, "detail", word), 2);
    }
    // One that says so itself is not held at all.
    let mut gateway = open("");
    let flight = gateway.post(CHAT).header("content-length", "524289").chunk(QUESTION).leaves();
    gateway.answers(flight, 0, json(ANSWER)).not_stored("request-body-too-large");
    for (cache, body) in [
        ("", QUESTION.replace("\"temperature\":0,", "\"seed\":7,")),
        (all, QUESTION.replace("\"temperature\":0,", "")),
        (all, QUESTION.replace("{\"model\"", "{\"background\":false,\"conversation\":null,\"model\"")),
    ] {
        let mut gateway = open(cache);
        ask(&mut gateway, "Bearer a", &body).miss(json(ANSWER)).stored();
        ask(&mut gateway, "Bearer a", &body).hit();
    }
}

#[test]
fn all_else_under_the_rule_passes_by() {
    let mut gateway = open(r#""share":[]"#);
    let models =
        || origin(200).headers("content-type: application/json | cache-control: max-age=60").body("{}");
    for (method, path) in
        [("GET", "/v1/models"), ("HEAD", "/v1/models"), ("GET", CHAT), ("POST", "/v1/files"), ("PUT", CHAT)]
    {
        for _ in 0..2 {
            let answer = gateway.request(method, path).at(1).forwarded(models());
            answer.says("fwd=bypass").not_stored("other-api");
        }
    }
    gateway.post(CHAT).at(1).forwarded(json(ANSWER)).not_stored("other-api");
    // Embeddings are deterministic, and another API's paths are not this one's.
    let vectors = r#"{"object":"list","data":[{"index":0,"embedding":[0.5]}],"model":"e","usage":{"prompt_tokens":1,"total_tokens":1}}"#;
    gateway.post("/v1/embeddings").chunk(r#"{"input":"a","model":"e"}"#).miss(json(vectors)).stored();
    gateway.post("/v1/embeddings").chunk(r#"{"model":"e","input":"a"}"#).hit().content(vectors);
    gateway.post("/v1/messages").chunk(QUESTION).at(1).forwarded(json(ANSWER)).not_stored("other-api");
}

#[test]
fn anthropics_messages_are_stored_by_key_and_version() {
    let config = rule("").replace("openai", "anthropic");
    let mut gateway = Gateway::with(&config);
    let whole = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    );
    let send = |gateway: &mut Gateway, key: &str, version: &str, body: &str| {
        let call = gateway.post("/v1/messages").header("x-api-key", key).header("anthropic-version", version);
        let sent = call.chunk(ASKS_STREAM).send();
        let response = events().header("anthropic-ratelimit-requests-remaining", "4").body(body);
        sent.or_answers(gateway, 0, response)
    };
    send(&mut gateway, "a", "2023-06-01", whole.rsplit_once("event").unwrap().0);
    send(&mut gateway, "a", "2023-06-01", whole).says("fwd=uri-miss").stored();
    let again = send(&mut gateway, "a", "2023-06-01", "");
    again.says("hit").content(whole).lacks("anthropic-ratelimit-requests-remaining");
    send(&mut gateway, "b", "2023-06-01", whole).says("fwd=uri-miss");
    send(&mut gateway, "a", "2024-01-01", whole).says("fwd=uri-miss");
}

#[test]
fn a_clients_own_cache_control_is_obeyed() {
    let mut gateway = open("");
    ask(&mut gateway, "Bearer a", QUESTION)
        .header("cache-control", "no-store")
        .miss(json(ANSWER))
        .not_stored("request-no-store");
    ask(&mut gateway, "Bearer a", QUESTION).miss(json(ANSWER)).stored();
    let anew = ANSWER.replace("Hello", "anew");
    let answer =
        ask(&mut gateway, "Bearer a", QUESTION).header("cache-control", "no-cache").forwarded(json(&anew));
    answer.says("fwd=request").stored();
    ask(&mut gateway, "Bearer a", QUESTION).hit().content(anew);
    ask(&mut gateway, "Bearer a", QUESTION)
        .header("cache-control", "max-age=5")
        .at(6)
        .forwarded(json(ANSWER))
        .says("fwd=request");
    ask(&mut gateway, "Bearer b", QUESTION).header("cache-control", "only-if-cached").answered().status(504);
}

#[test]
fn the_provider_is_not_asked_for_a_compressed_answer() {
    let mut gateway = open("");
    let flight = ask(&mut gateway, "Bearer a", QUESTION).header("accept-encoding", "gzip, br").leaves();
    assert!(flight.removes("accept-encoding"));
    gateway.answers(flight, 0, json(ANSWER)).stored();
    ask(&mut gateway, "Bearer a", QUESTION).header("accept-encoding", "br").at(1).hit();
    ask(&mut gateway, "Bearer a", QUESTION).at(1).hit();
}

#[test]
fn those_who_ask_for_json_wait_for_one_answer_and_streams_pass_at_once() {
    let mut gateway = open("");
    let leader = ask(&mut gateway, "Bearer a", QUESTION).leaves();
    let waiter = ask(&mut gateway, "Bearer a", QUESTION).waits();
    let other = ask(&mut gateway, "Bearer b", QUESTION).leaves();
    gateway.answers(leader, 1, json(ANSWER)).stored();
    gateway.wakes(waiter, Wake::Ended, 1).answered().content(ANSWER).says("collapsed");
    gateway.answers(other, 1, json(ANSWER));
    // A refused answer is of use to nobody: the next in line asks.
    let leader = ask(&mut gateway, "Bearer c", QUESTION).leaves();
    let waiter = ask(&mut gateway, "Bearer c", QUESTION).waits();
    gateway.answers(leader, 1, json(r#"{"error":{"message":"busy"}}"#));
    let next = gateway.wakes(waiter, Wake::Ended, 1).left();
    gateway.answers(next, 2, json(ANSWER)).stored();
    let streams: Vec<Flight> = (0..3).map(|_| ask(&mut gateway, "Bearer a", ASKS_STREAM).leaves()).collect();
    for flight in streams {
        gateway.answers(flight, 1, events().body(STREAM)).stored();
    }
    gateway.assert_nobody_waits();

    let mut gateway = open(r#""coalesce":"none""#);
    let both = [0, 1].map(|_| ask(&mut gateway, "Bearer a", QUESTION).leaves());
    for flight in both {
        gateway.answers(flight, 1, json(ANSWER)).stored();
    }
    let mut gateway = open(r#""coalesce":"all""#);
    let leader = ask(&mut gateway, "Bearer a", ASKS_STREAM).leaves();
    let waiter = ask(&mut gateway, "Bearer a", ASKS_STREAM).waits();
    gateway.answers(leader, 1, events().body(STREAM)).stored();
    gateway.wakes(waiter, Wake::Ended, 1).answered().content(STREAM).says("collapsed");
    gateway.assert_nobody_waits();
}

#[test]
fn a_model_is_purged_by_the_name_that_was_asked_for_and_by_the_one_that_answered() {
    for (tag, gone) in [("model:gpt-4o", true), ("model:gpt-4o-2024-08-06", true), ("model:gpt-4", false)] {
        let mut gateway = open("");
        gateway.workers[0].set_admin_auth(AdminAuth::Open);
        ask(&mut gateway, "Bearer a", QUESTION).at(0).miss(json(ANSWER)).stored();
        let under_way = ask(&mut gateway, "Bearer b", QUESTION).at(0).leaves();
        let body = format!(r#"{{"tags":["{tag}"]}}"#);
        gateway.post("/.selvage/purge").chunk(body).at(1).answered().status(200);
        let sent = ask(&mut gateway, "Bearer a", QUESTION).at(2).send();
        assert_eq!(
            sent.or_answers(&mut gateway, 2, json(ANSWER)).cache_status().contains("hit"),
            !gone,
            "{tag}"
        );
        // What is on its way while its model is purged is not stored either.
        gateway.answers(under_way, 3, json(ANSWER));
        let sent = ask(&mut gateway, "Bearer b", QUESTION).at(4).send();
        assert_eq!(
            sent.or_answers(&mut gateway, 4, json(ANSWER)).cache_status().contains("hit"),
            !gone,
            "{tag}"
        );
    }
}

#[test]
fn an_answer_goes_through_all_three_stores() {
    let config = rule("").replacen('{', r#"{"remote":{"enabled":true},"#, 1);
    let mut first = Gateway::of_workers(2, &config);
    ask(&mut first, "Bearer a", ASKS_STREAM).at(0).miss(events().body(STREAM)).stored();
    ask(&mut first, "Bearer a", ASKS_STREAM).worker(1).at(1).hit().detail("node").content(STREAM);
    first.sends();
    let mut second = Gateway::with(&config);
    second.redis = first.redis.clone();
    ask(&mut second, "Bearer a", ASKS_STREAM).at(20).hit().detail("remote").age(20).content(STREAM);
    ask(&mut second, "Bearer b", ASKS_STREAM).at(20).miss(events().body(STREAM));
    // Nobody finds a client's key in a record.
    assert!(second.redis.records.values().all(|record| !record.windows(8).any(|part| part == b"Bearer a")));
}

#[test]
fn a_rule_that_only_watches_serves_nothing_and_compares() {
    let mut gateway = Gateway::with(&rule("").replace(r#""llm""#, r#""shadow":true,"llm""#));
    let flight = ask(&mut gateway, "Bearer a", QUESTION).at(0).leaves();
    assert!(flight.removes("accept-encoding"));
    gateway.answers(flight, 0, json(ANSWER)).stored();
    ask(&mut gateway, "Bearer a", QUESTION).at(1).forwarded(json(ANSWER)).detail("shadow").content(ANSWER);
    ask(&mut gateway, "Bearer a", ASKS_STREAM).at(1).forwarded(events().body("data: [DONE]\n\n"));
    ask(&mut gateway, "Bearer a", ASKS_STREAM).at(2).forwarded(events().body(STREAM)).says("fwd=uri-miss");
}

/// The verdicts on a question with this body, and on an answer of this type.
fn explained(gateway: &mut Gateway, body: Option<&str>, kind: &str) -> Vec<&'static str> {
    let head = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", CHAT),
        ("authorization", "Bearer a"),
        ("content-type", "application/json"),
    ]);
    let answer = block(&[(":status", "200"), ("content-type", kind), ("cache-control", "no-store")]);
    let now = moment(1000);
    let response = selvage_engine::explain::Answer {
        head: Fields::parse(&answer).unwrap(),
        length: None,
        requested: now,
        by_origin: true,
    };
    let request = Request::read(Fields::parse(&head).unwrap(), true);
    let body = body.map(str::as_bytes);
    let subject = Subject { request: &request, body, response: Some(response), passage: Passage::Ahead };
    explain(&subject, &mut gateway.workers[0], &mut Moment { now, host: &mut gateway.shared }).words()
}

#[test]
fn explain_says_what_becomes_of_a_question_and_of_its_answer() {
    let mut gateway = open("");
    ask(&mut gateway, "Bearer a", QUESTION).at(0).miss(json(ANSWER)).stored();
    assert!(explained(&mut gateway, Some(QUESTION), "application/json").contains(&"worker"));
    assert!(explained(&mut gateway, Some(ASKS_STREAM), "text/html").contains(&"no-answer"));
    assert!(explained(&mut gateway, Some("{\"a\":1,\"a\":2}"), "text/html").contains(&"ambiguous-json"));
    assert!(explained(&mut gateway, Some("{}"), "text/html").contains(&"not-deterministic"));
    assert!(explained(&mut gateway, None, "text/html").contains(&"no-answer"));
}

/// What was stored for others than may have it now is not found any more.
#[test]
fn a_change_of_who_shares_begins_with_empty_stores() {
    let mut gateway = open(r#""share":[]"#);
    let call = |gateway: &mut Gateway| -> Answer {
        gateway.post(CHAT).chunk(QUESTION).send().or_answers(gateway, 0, json(ANSWER))
    };
    call(&mut gateway).says("stored");
    let mut shared = std::mem::take(&mut gateway.shared);
    for cache in [r#""share":["x-team"]"#, r#""share":[],"ignore":["seed"]"#, ""] {
        let mut other = open(cache);
        std::mem::swap(&mut other.shared, &mut shared);
        call(&mut other).says("fwd=uri-miss");
        std::mem::swap(&mut other.shared, &mut shared);
    }
    let mut same = open(r#""share":[],"ttl":"2h""#);
    same.shared = shared;
    call(&mut same).says("hit");
}

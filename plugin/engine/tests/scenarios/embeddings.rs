//! Requests for embeddings, input by input: each vector is asked for once, and comes again under its own index.

use selvage_engine::cache::Moment;
use selvage_engine::explain::{Passage, Subject, explain};
use selvage_engine::fields::Fields;
use selvage_engine::request::Request;
use serde_json::{Value, json};

use crate::gateway::{Call, Called, Gateway, Origin, Sent, origin, unreachable};

const PATH: &str = "/v1/embeddings";

/// A rule for everything, with these members of `llm.embeddings` and of `llm.cache`.
fn rule(embeddings: &str, cache: &str) -> String {
    format!(
        r#"{{"rules":[{{"name":"vectors","llm":{{"api":"openai","cache":{{{cache}}},"embeddings":{{"by_input":true{embeddings}}}}}}}]}}"#
    )
}

const CLUSTER: &str = r#","cluster":"openai""#;
const MERGE: &str = r#","cluster":"openai","merge":{"window":"10ms","inputs":3}"#;

fn open() -> Gateway {
    Gateway::with(&rule(CLUSTER, r#""ttl":"10m""#))
}

fn body(inputs: &Value) -> String {
    json!({ "model": "e", "input": inputs }).to_string()
}

fn ask<'g>(gateway: &'g mut Gateway, key: &str, inputs: &Value) -> Call<'g> {
    gateway
        .post(PATH)
        .header("authorization", key)
        .header("content-type", "application/json")
        .chunk(body(inputs))
}

/// The vector of an input, as a provider spells it: whoever reads it as numbers does not write it so again.
fn vector(input: &Value) -> String {
    match input {
        Value::String(text) if text.starts_with("b64") => format!("\"AACA{}==\"", text.len()),
        _ => format!("[0.{}0, -1.50E-3,0]", input.to_string().bytes().map(u64::from).sum::<u64>()),
    }
}

fn item(index: usize, input: &Value) -> String {
    format!(r#"{{"object":"embedding","index":{index},"embedding":{}}}"#, vector(input))
}

fn content(items: &[String], tokens: u64) -> String {
    let data = items.join(",");
    format!(
        r#"{{"object":"list","data":[{data}],"model":"e-1","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
    )
}

/// What the provider answers to these: a token for each byte of an input, as it stands in the body.
fn answer(inputs: &Value) -> String {
    let inputs: Vec<&Value> =
        inputs.as_array().map_or_else(|| vec![inputs], |inputs| inputs.iter().collect());
    let items: Vec<String> = inputs.iter().enumerate().map(|(index, input)| item(index, input)).collect();
    content(&items, inputs.iter().map(|input| input.to_string().len() as u64).sum())
}

fn provides(inputs: &Value) -> Origin {
    json_of(answer(inputs))
}

fn json_of(content: impl AsRef<[u8]>) -> Origin {
    origin(200)
        .headers(
            "content-type: application/json | cache-control: no-store | set-cookie: __cf_bm=x | etag: \"1\"",
        )
        .headers("x-ratelimit-remaining-tokens: 7 | openai-organization: acme | vary: Accept-Encoding")
        .body(content)
}

/// The inputs that a call asks for.
fn asked(called: &Called) -> Value {
    let body: Value = serde_json::from_slice(&called.body).unwrap();
    assert_eq!(body["model"], "e");
    body["input"].clone()
}

#[test]
pub fn what_is_known_is_not_asked_for_again() {
    let mut gateway = open();
    let three = json!(["one", "two", "three"]);
    ask(&mut gateway, "Bearer a", &three)
        .at(0)
        .miss(provides(&three))
        .stored()
        .ttl(600)
        .content(answer(&three));
    // In another order, and once more at a place of its own.
    let again = json!(["three", "one", "three"]);
    let hit = ask(&mut gateway, "Bearer a", &again).at(60).hit().age(60).ttl(540).detail("worker");
    hit.content(answer(&again)).has("content-type", "application/json").lacks("etag").lacks("set-cookie");
    // Alone it is the same answer as among others.
    ask(&mut gateway, "Bearer a", &json!("two")).at(60).hit().content(answer(&json!("two")));
    ask(&mut gateway, "Bearer a", &json!(["two"])).at(60).hit().content(answer(&json!("two")));
    // Some are missing: only these are asked for.
    let mixed = json!(["new", "two", "newer", "one", "new"]);
    let called = ask(&mut gateway, "Bearer a", &mixed)
        .header("accept-encoding", "gzip")
        .header("x-trace", "t")
        .header("idempotency-key", "k")
        .at(100)
        .sent()
        .called();
    assert_eq!((&*called.cluster, asked(&called)), ("openai", json!(["new", "newer"])));
    let field = |name| called.field(name);
    assert_eq!(field(":method").as_deref(), Some("POST"));
    assert_eq!(field(":path").as_deref(), Some(PATH));
    assert_eq!(field(":authority").as_deref(), Some("example.com"));
    assert_eq!(field("authorization").as_deref(), Some("Bearer a"));
    assert_eq!(field("content-type").as_deref(), Some("application/json"));
    assert_eq!(field("x-trace").as_deref(), Some("t"));
    assert!(field("cdn-loop").is_some());
    assert_eq!(
        [field("accept-encoding"), field("idempotency-key"), field("content-length")],
        [const { None }; 3]
    );
    let got = gateway.calls_back(called, 101, Some(provides(&json!(["new", "newer"])))).answered();
    let got = got.says("fwd=partial").says("fwd-status=200").stored().detail("by-input").age(101);
    got.status(200)
        .content(answer(&mixed))
        .has("set-cookie", "__cf_bm=x")
        .lacks("etag")
        .has("x-ratelimit-remaining-tokens", "7");
    ask(&mut gateway, "Bearer a", &mixed).at(102).hit().content(answer(&mixed)).age(102);
    ask(&mut gateway, "Bearer a", &json!("newer")).at(102).hit().age(2);
    let counted = |word| gateway.counted(0, "llm_inputs", word);
    assert_eq!([counted("stored"), counted("asked")], [2, 2]);
    assert_eq!(gateway.counted(0, "llm_calls", "partial"), 1);
    gateway.assert_no_room_is_taken();
    gateway.assert_nobody_waits();
}

#[test]
fn what_has_expired_is_asked_for_with_what_is_missing() {
    let mut gateway = open();
    ask(&mut gateway, "Bearer a", &json!(["old", "older"])).at(0).miss(provides(&json!(["old", "older"])));
    ask(&mut gateway, "Bearer a", &json!("young")).at(500).miss(provides(&json!("young")));
    let all = json!(["old", "young", "older"]);
    let called = ask(&mut gateway, "Bearer a", &all).at(700).sent().called();
    assert_eq!(asked(&called), json!(["old", "older"]));
    let got = gateway.calls_back(called, 700, Some(provides(&json!(["old", "older"])))).answered();
    got.says("fwd=partial").age(200).content(answer(&all));
    // All of it has expired.
    let again = ask(&mut gateway, "Bearer a", &all).at(3000).forwarded(provides(&all));
    again.says("fwd=stale").stored().content(answer(&all));
}

/// Whatever is the oldest: one that may not be used spoils the whole.
#[test]
fn an_answer_is_as_good_as_the_worst_of_its_parts() {
    let jitter = rule(CLUSTER, r#""ttl":"10m""#).replacen(r#""llm""#, r#""ttl":{"jitter":50},"llm""#, 1);
    let mut gateway = Gateway::with(&jitter);
    let inputs: Vec<String> = (0..32).map(|nth| format!("i{nth}")).collect();
    for (nth, input) in inputs.iter().enumerate() {
        ask(&mut gateway, "Bearer a", &json!(input)).at(nth as u64).miss(provides(&json!(input)));
    }
    for at in (280..640).step_by(20) {
        let left = |gateway: &mut Gateway, input: &str| -> Option<i64> {
            match ask(gateway, "Bearer a", &json!(input)).at(at).sent() {
                Sent::Answered(answer) => {
                    answer.cache_status().split("ttl=").nth(1)?.split(';').next()?.parse().ok()
                }
                other => {
                    gateway.goes_away(other.left(), at);
                    None
                }
            }
        };
        let single: Vec<Option<i64>> = inputs.iter().map(|input| left(&mut gateway, input)).collect();
        let sent = ask(&mut gateway, "Bearer a", &json!(inputs)).at(at).sent();
        match (sent, single.iter().all(Option::is_some)) {
            (Sent::Answered(answer), true) => {
                answer.ttl(single.iter().flatten().min().copied().unwrap());
            }
            (Sent::Calls(called), false) => {
                let missing: Vec<&String> = inputs
                    .iter()
                    .zip(&single)
                    .filter(|(_, left)| left.is_none())
                    .map(|(input, _)| input)
                    .collect();
                assert_eq!(asked(&called), json!(missing), "{at}");
                gateway.goes_away(called, at);
            }
            (Sent::Left(flight), false) => {
                assert!(single.iter().all(Option::is_none), "{at}");
                gateway.goes_away(flight, at);
            }
            _ => panic!("{at}: {single:?}"),
        }
    }
}

#[test]
fn a_client_that_accepts_no_old_ones_gets_none() {
    let mut gateway = open();
    ask(&mut gateway, "Bearer a", &json!("old")).at(0).miss(provides(&json!("old")));
    ask(&mut gateway, "Bearer a", &json!("young")).at(90).miss(provides(&json!("young")));
    let both = json!(["young", "old"]);
    let called =
        ask(&mut gateway, "Bearer a", &both).header("cache-control", "max-age=50").at(100).sent().called();
    assert_eq!(asked(&called), json!(["old"]));
    gateway.goes_away(called, 100);
    ask(&mut gateway, "Bearer a", &both).header("cache-control", "max-age=100").at(100).hit();
}

#[test]
fn one_gateway_behind_another_calls_too_and_none_calls_itself() {
    let mut gateway = open();
    let (one, two) = (json!("one"), json!(["one", "two"]));
    ask(&mut gateway, "Bearer a", &one).at(0).miss(provides(&one));
    let called = ask(&mut gateway, "Bearer a", &two).header("cdn-loop", "edge").at(1).sent().called();
    let mark = called.field("cdn-loop").unwrap();
    assert!(mark.starts_with("edge, selvage-"), "{mark}");
    let nested = ask(&mut gateway, "Bearer a", &two).header("cdn-loop", &mark).at(1).leaves();
    gateway.answers(nested, 1, provides(&two)).says("fwd=partial");
    gateway.goes_away(called, 2);
}

#[test]
fn each_client_has_vectors_of_its_own_and_so_has_each_way_to_ask() {
    let mut gateway = open();
    let two = json!(["one", "two"]);
    ask(&mut gateway, "Bearer a", &two).at(0).miss(provides(&two));
    ask(&mut gateway, "Bearer b", &two).at(1).miss(provides(&two)).stored();
    let other = |gateway: &mut Gateway, member: &str, value: Value| {
        let mut body = json!({ "model": "e", "input": two });
        body[member] = value;
        let call = gateway.post(PATH).header("authorization", "Bearer a");
        call.header("content-type", "application/json").chunk(body.to_string()).at(2).miss(provides(&two));
    };
    other(&mut gateway, "dimensions", json!(256));
    other(&mut gateway, "encoding_format", json!("base64"));
    other(&mut gateway, "model", json!("f"));
    other(&mut gateway, "task", json!("query"));
    // What is only a label is not counted.
    let labelled = json!({ "user": "u", "input": ["two", "one"], "model": "e" }).to_string();
    let call = gateway.post(PATH).header("authorization", "Bearer a");
    call.header("content-type", "application/json")
        .chunk(labelled)
        .at(3)
        .hit()
        .content(answer(&json!(["two", "one"])));
}

#[test]
fn tokens_and_base64_come_again_as_they_were() {
    let mut gateway = open();
    let lists = json!([[1, 2], [3], [1, 2]]);
    ask(&mut gateway, "Bearer a", &lists).at(0).miss(provides(&lists)).content(answer(&lists));
    let mixed = json!([[3], [4, 5]]);
    let called = ask(&mut gateway, "Bearer a", &mixed).at(1).sent().called();
    assert_eq!(asked(&called), json!([[4, 5]]));
    gateway.calls_back(called, 1, Some(provides(&json!([[4, 5]])))).answered().content(answer(&mixed));
    // One array of tokens is one input.
    ask(&mut gateway, "Bearer a", &json!([4, 5])).at(2).hit().content(answer(&json!([[4, 5]])));
    let coded = json!(["b64 one", "b64 other"]);
    ask(&mut gateway, "Bearer a", &coded).at(3).miss(provides(&coded));
    ask(&mut gateway, "Bearer a", &json!(["b64 other", "b64 one"]))
        .at(4)
        .hit()
        .content(answer(&json!(["b64 other", "b64 one"])));
}

/// <https://github.com/BerriAI/litellm/issues/41002>
#[test]
fn an_answer_that_is_none_to_what_was_asked_serves_nobody_and_the_origin_is_asked_as_the_client_did() {
    let one = json!("one");
    let mixed = json!(["x", "one", "y"]);
    let item = |index, text: &str| item(index, &json!(text));
    let wrong: Vec<(&str, Option<Origin>)> = vec![
        ("failed", None),
        ("failed", Some(origin(503))),
        ("failed", Some(unreachable())),
        ("refused", Some(json_of("{\"error\":{}}").clone())),
        ("unusable", Some(json_of(content(&[item(0, "x")], 1)))),
        ("unusable", Some(json_of(content(&[item(0, "x"), item(1, "one"), item(2, "y")], 3)))),
        ("unusable", Some(json_of(content(&[item(0, "x"), item(0, "y")], 2)))),
        ("unusable", Some(json_of(content(&[item(1, "x"), item(2, "y")], 2)))),
        ("unusable", Some(json_of("{\"error\":{\"message\":\"busy\"}}"))),
        ("unusable", Some(json_of(content(&[item(0, "x"), item(1, "y")], 2).replace("\"e-1\"", "\"e-2\"")))),
        ("unusable", Some(json_of(answer(&json!(["x", "y"]))).header("content-length", "9999"))),
        ("unusable", Some(json_of(answer(&json!(["x", "y"]))).header("content-encoding", "gzip"))),
        ("unusable", Some(origin(200).headers("content-type: text/event-stream").body("data: [DONE]\n\n"))),
    ];
    for (nth, (word, response)) in wrong.into_iter().enumerate() {
        let mut gateway = open();
        ask(&mut gateway, "Bearer a", &one).at(0).miss(provides(&one));
        let called = ask(&mut gateway, "Bearer a", &mixed).at(1).sent().called();
        let response = if word == "refused" { Some(origin(429)) } else { response };
        let flight = gateway.calls_back(called, 2, response).left();
        assert_eq!(gateway.counted(0, "llm_calls", word), 1, "{nth}");
        assert!(flight.removes("accept-encoding"));
        let got = gateway.answers(flight, 3, provides(&mixed));
        got.says("fwd=partial").says_nothing_of("detail").stored().content(answer(&mixed));
        ask(&mut gateway, "Bearer a", &mixed).at(4).hit().content(answer(&mixed));
        gateway.assert_no_room_is_taken();
        gateway.assert_nobody_waits();
    }
}

#[test]
fn an_answer_of_the_origin_that_lies_is_passed_on_and_not_stored() {
    let item = |index, text: &str| item(index, &json!(text));
    let two = json!(["x", "y"]);
    for items in
        [vec![item(0, "x")], vec![item(0, "x"), item(0, "y")], vec![item(0, "x"), item(1, "y"), item(2, "z")]]
    {
        let lie = content(&items, 2);
        let mut gateway = open();
        ask(&mut gateway, "Bearer a", &two).at(0).miss(json_of(&lie)).content(&lie);
        ask(&mut gateway, "Bearer a", &json!("x")).at(1).miss(json_of(content(&[], 0)));
        ask(&mut gateway, "Bearer a", &two).at(2).miss(provides(&two)).stored();
        ask(&mut gateway, "Bearer a", &json!("x")).at(3).hit().content(answer(&json!("x")));
        gateway.assert_no_room_is_taken();
        gateway.assert_nobody_waits();
    }
    // One input with two vectors is no answer to it either.
    let mut gateway = open();
    let lie = content(&[item(0, "x"), item(1, "y")], 2);
    ask(&mut gateway, "Bearer a", &json!("x")).at(0).miss(json_of(&lie)).content(&lie);
    ask(&mut gateway, "Bearer a", &json!("x")).at(1).miss(provides(&json!("x")));
}

/// <https://github.com/laravel/ai/issues/826>
#[test]
fn where_one_input_ends_and_the_next_begins_is_in_their_keys() {
    let mut gateway = open();
    let one = json!(["a-b", "c", "[1,2]", "\"d\""]);
    ask(&mut gateway, "Bearer a", &one).at(0).miss(provides(&one));
    for other in [json!(["a", "b-c"]), json!(["a-b-c", "\",\""]), json!([[1, 2], [3]]), json!(["d", "a-b,c"])]
    {
        ask(&mut gateway, "Bearer a", &other).at(1).miss(provides(&other)).content(answer(&other));
    }
}

/// Vectors of two models do not belong together: all of them are asked for anew.
#[test]
fn stored_vectors_of_different_models_are_no_answer() {
    let mut gateway = open();
    let (x, y) = (json!("x"), json!("y"));
    ask(&mut gateway, "Bearer a", &x).at(0).miss(provides(&x));
    ask(&mut gateway, "Bearer a", &y).at(0).miss(json_of(answer(&y).replace("e-1", "e-2")));
    let both = json!(["x", "y"]);
    ask(&mut gateway, "Bearer a", &both).at(1).miss(provides(&both)).stored();
    ask(&mut gateway, "Bearer a", &both).at(2).hit().content(answer(&both));
}

#[test]
fn what_cannot_be_taken_apart_is_one_question() {
    let mut gateway = Gateway::with(&rule(r#","cluster":"openai","inputs":2"#, ""));
    for inputs in [json!(["a", "b", "c"]), json!([]), json!(["a", 1]), json!({ "text": "a" })] {
        ask(&mut gateway, "Bearer a", &inputs).at(0).miss(json_of(answer(&json!(["a"])))).stored();
        ask(&mut gateway, "Bearer a", &inputs).at(1).hit().content(answer(&json!(["a"])));
    }
    // Of what was stored so nothing is known by its inputs.
    ask(&mut gateway, "Bearer a", &json!("a")).at(1).miss(provides(&json!("a")));
}

#[test]
fn a_client_that_wants_it_anew_has_it_anew() {
    let mut gateway = open();
    let two = json!(["x", "y"]);
    ask(&mut gateway, "Bearer a", &two).at(0).miss(provides(&two));
    let anew = ask(&mut gateway, "Bearer a", &two)
        .header("cache-control", "no-cache")
        .at(1)
        .forwarded(provides(&two));
    anew.says("fwd=request").stored();
    ask(&mut gateway, "Bearer a", &two).at(2).hit().age(1);
    ask(&mut gateway, "Bearer a", &json!(["x", "z"]))
        .header("cache-control", "only-if-cached")
        .at(2)
        .answered()
        .status(504);
    let kept = ask(&mut gateway, "Bearer a", &json!(["x", "z"]))
        .header("cache-control", "no-store")
        .at(3)
        .sent()
        .called();
    let got = gateway.calls_back(kept, 3, Some(provides(&json!(["z"])))).answered();
    got.not_stored("request-no-store").content(answer(&json!(["x", "z"])));
    ask(&mut gateway, "Bearer a", &json!("z")).at(4).miss(provides(&json!("z")));
}

#[test]
fn without_a_cluster_and_where_the_body_is_signed_no_call_is_made() {
    let mut gateway = Gateway::with(&rule("", ""));
    let (one, two) = (json!("one"), json!(["one", "two"]));
    ask(&mut gateway, "Bearer a", &one).at(0).miss(provides(&one));
    ask(&mut gateway, "Bearer a", &two).at(1).forwarded(provides(&two)).says("fwd=partial").stored();
    ask(&mut gateway, "Bearer a", &two).at(2).hit();
    let mut gateway = open();
    ask(&mut gateway, "Bearer a", &one).at(0).miss(provides(&one));
    let signed = ask(&mut gateway, "Bearer a", &two).header("content-digest", "sha-256=:x:").at(1);
    signed.forwarded(provides(&two)).says("fwd=partial").stored();
}

#[test]
pub fn after_a_call_that_failed_there_are_none_for_a_while() {
    let mut gateway = open();
    let one = json!("one");
    ask(&mut gateway, "Bearer a", &one).at(0).miss(provides(&one));
    let mixed = |nth: u64| json!(["one", format!("x{nth}")]);
    for (nth, at) in [(0, 1), (1, 4)] {
        let called = ask(&mut gateway, "Bearer a", &mixed(nth)).at(at).sent().called();
        let flight = gateway.calls_back(called, at, None).left();
        gateway.answers(flight, at, provides(&mixed(nth)));
        ask(&mut gateway, "Bearer a", &mixed(10 + nth)).at(at).forwarded(provides(&mixed(10 + nth)));
    }
    // Twice as long the second time.
    ask(&mut gateway, "Bearer a", &mixed(20)).at(5).forwarded(provides(&mixed(20)));
    let called = ask(&mut gateway, "Bearer a", &mixed(21)).at(7).sent().called();
    gateway.calls_back(called, 7, Some(provides(&json!(["x21"])))).answered();
    ask(&mut gateway, "Bearer a", &mixed(22)).at(7).sent().called();
}

/// The verdicts on a request for these.
fn explained(gateway: &mut Gateway, inputs: &Value) -> Vec<&'static str> {
    let head = crate::gateway::block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", PATH),
        ("authorization", "Bearer a"),
        ("content-type", "application/json"),
    ]);
    let request = Request::read(Fields::parse(&head).unwrap(), true);
    let body = body(inputs);
    let subject =
        Subject { request: &request, body: Some(body.as_bytes()), response: None, passage: Passage::Ahead };
    let mut moment = Moment { now: crate::gateway::moment(1000), host: &mut gateway.shared };
    explain(&subject, &mut gateway.workers[0], &mut moment).words()
}

#[test]
fn explain_says_how_many_are_stored() {
    let mut gateway = open();
    let two = json!(["one", "two"]);
    ask(&mut gateway, "Bearer a", &two).at(0).miss(provides(&two));
    assert!(explained(&mut gateway, &json!(["two", "one", "two"])).contains(&"worker"));
    assert!(explained(&mut gateway, &json!(["two", "three"])).contains(&"partial"));
    assert!(explained(&mut gateway, &json!(["three", "four"])).contains(&"uri-miss"));
    assert!(explained(&mut gateway, &json!("one")).contains(&"worker"));
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let mut gateway = open();
    let one = json!("one");
    ask(&mut gateway, "Bearer a", &one).at(0).miss(provides(&one));
    let called = ask(&mut gateway, "Bearer a", &json!(["one", "two"])).at(1).sent().called();
    gateway.goes_away(called, 2);
    gateway.assert_no_room_is_taken();
    gateway.assert_nobody_waits();
}

#[test]
fn both_workers_and_the_fleet_have_each_input() {
    let mut gateway = Gateway::of_workers(2, &rule(CLUSTER, ""));
    let two = json!(["one", "two"]);
    ask(&mut gateway, "Bearer a", &two).at(0).miss(provides(&two));
    ask(&mut gateway, "Bearer a", &two).worker(1).at(1).hit().detail("node").content(answer(&two));
    ask(&mut gateway, "Bearer a", &two).worker(1).at(1).hit().detail("worker");
    let fleet = rule(CLUSTER, "").replacen('{', r#"{"remote":{"enabled":true},"#, 1);
    let mut one = Gateway::with(&fleet);
    ask(&mut one, "Bearer a", &two).at(0).miss(provides(&two));
    one.sends();
    let mut other = Gateway::with(&fleet);
    other.redis = std::mem::take(&mut one.redis);
    ask(&mut other, "Bearer a", &json!("two")).at(1).hit().detail("remote").content(answer(&json!("two")));
    // Redis is not asked for several at once: what is here is used.
    let called = ask(&mut other, "Bearer a", &two).at(1).sent().called();
    assert_eq!(asked(&called), json!(["one"]));
}

#[test]
fn the_same_several_are_asked_for_once() {
    let mut gateway = open();
    let two = json!(["one", "two"]);
    let flight = ask(&mut gateway, "Bearer a", &two).at(0).leaves();
    let waiter = ask(&mut gateway, "Bearer a", &two).at(0).waits();
    gateway.answers(flight, 1, provides(&two)).stored();
    assert!(gateway.is_woken(0, &waiter));
    let got = gateway.wakes(waiter, selvage_engine::exchange::Wake::Ended, 1).answered();
    got.says("collapsed").content(answer(&two));
    gateway.assert_nobody_waits();
}

#[test]
pub fn single_requests_are_asked_as_one_and_each_gets_its_own() {
    let mut gateway = Gateway::with(&rule(MERGE, ""));
    let inputs = [json!("one"), json!(["a longer one"]), json!("three")];
    let mut waiting: Vec<_> =
        inputs.iter().map(|input| ask(&mut gateway, "Bearer a", input).at(0).waits()).collect();
    // It is full, and does not wait for the end of its window.
    let call = gateway.joined_call(0, 0).unwrap();
    let together = json!(["one", "a longer one", "three"]);
    assert_eq!(
        (&*call.cluster, serde_json::from_slice::<Value>(&call.body).unwrap()["input"].clone()),
        ("openai", together.clone())
    );
    assert!(gateway.joined_call(0, 1000).is_none());
    let whole = provides(&together).header("content-length", &answer(&together).len().to_string());
    gateway.answers_joined(0, &call, 1, Some(whole));
    assert_eq!(gateway.workers[0].take_decided_joins().len(), 3);
    let mut tokens = 0;
    for (waiter, input) in waiting.drain(..).zip(["one", "a longer one", "three"]) {
        let got = gateway.wakes(waiter, selvage_engine::exchange::Wake::Slot, 1).answered();
        let got = got
            .says("fwd=uri-miss")
            .says("fwd-status=200")
            .stored()
            .detail("merged")
            .lacks("set-cookie")
            .lacks("x-ratelimit-remaining-tokens")
            .lacks("openai-organization");
        let told: Value = serde_json::from_slice(got.bytes()).unwrap();
        assert_eq!((&told["data"][0]["index"], told["data"].as_array().unwrap().len()), (&json!(0), 1));
        assert!(String::from_utf8_lossy(got.bytes()).contains(&vector(&json!(input))));
        tokens += told["usage"]["prompt_tokens"].as_u64().unwrap();
        ask(&mut gateway, "Bearer a", &json!(input)).at(2).hit();
    }
    assert_eq!(
        tokens,
        serde_json::from_str::<Value>(&answer(&together)).unwrap()["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    );
    ask(&mut gateway, "Bearer a", &json!(["three", "one"])).at(2).hit();
    assert_eq!(gateway.counted(0, "llm_inputs", "merged"), 3);
    gateway.assert_no_room_is_taken();
    gateway.assert_nobody_waits();
}

#[test]
fn a_window_ends_and_who_is_alone_goes_alone() {
    let mut gateway = Gateway::with(&rule(MERGE, ""));
    let waiter = ask(&mut gateway, "Bearer a", &json!("one")).at(0).waits();
    assert!(gateway.joined_call(0, 9).is_none() && gateway.workers[0].take_decided_joins().is_empty());
    assert!(gateway.joined_call(0, 10).is_none());
    assert_eq!(gateway.workers[0].take_decided_joins().len(), 1);
    let flight = gateway.wakes(waiter, selvage_engine::exchange::Wake::Slot, 0).left();
    gateway.answers(flight, 1, provides(&json!("one"))).stored().says_nothing_of("detail");
    // Two are asked together at the end of the window, of whom one has left.
    let two = [json!("x"), json!("y")].map(|input| ask(&mut gateway, "Bearer a", &input).at(2).waits());
    let call = gateway.joined_call(0, 2010).unwrap();
    let [left, stays] = two;
    gateway.goes_away(left, 2);
    gateway.answers_joined(0, &call, 3, Some(provides(&json!(["x", "y"]))));
    gateway.wakes(stays, selvage_engine::exchange::Wake::Slot, 3).answered().content(answer(&json!("y")));
    gateway.assert_no_room_is_taken();
    gateway.assert_nobody_waits();
}

#[test]
fn only_those_are_asked_together_that_ask_alike() {
    let mut gateway = Gateway::with(&rule(MERGE, ""));
    let ask_with = |gateway: &mut Gateway, key: &str, body: Value| {
        let call = gateway.post(PATH).header("authorization", key).header("content-type", "application/json");
        call.chunk(body.to_string()).at(0).waits()
    };
    let waiting = [
        ask_with(&mut gateway, "Bearer a", json!({ "model": "e", "input": "1" })),
        ask_with(&mut gateway, "Bearer b", json!({ "model": "e", "input": "2" })),
        ask_with(&mut gateway, "Bearer a", json!({ "model": "f", "input": "3" })),
        ask_with(&mut gateway, "Bearer a", json!({ "model": "e", "input": "4", "user": "u" })),
        ask_with(&mut gateway, "Bearer a", json!({ "input": "5", "model": "e" })),
    ];
    let call = gateway.joined_call(0, 10).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&call.body).unwrap()["input"], json!(["1", "5"]));
    assert!(gateway.joined_call(0, 10).is_none());
    assert_eq!(gateway.workers[0].take_decided_joins().len(), 3);
    for waiter in waiting {
        gateway.goes_away(waiter, 1);
    }
    gateway.assert_no_room_is_taken();
}

#[test]
pub fn who_was_asked_with_others_in_vain_goes_by_itself() {
    let lies = [
        None,
        Some(origin(500)),
        Some(origin(400)),
        Some(json_of(content(&[item(0, &json!("x"))], 1))),
        Some(json_of(content(&[item(0, &json!("x")), item(0, &json!("y"))], 1))),
    ];
    for lie in lies {
        let mut gateway = Gateway::with(&rule(MERGE, ""));
        let waiting = ["x", "y"].map(|input| ask(&mut gateway, "Bearer a", &json!(input)).at(0).waits());
        let call = gateway.joined_call(0, 10).unwrap();
        gateway.answers_joined(0, &call, 1, lie);
        for (waiter, input) in waiting.into_iter().zip(["x", "y"]) {
            let flight = gateway.wakes(waiter, selvage_engine::exchange::Wake::Slot, 1).left();
            gateway
                .answers(flight, 1, provides(&json!(input)))
                .says("fwd=uri-miss")
                .stored()
                .content(answer(&json!(input)));
        }
        gateway.assert_no_room_is_taken();
        gateway.assert_nobody_waits();
    }
}

/// Whoever waits for a ticket of a configuration before goes on.
#[test]
fn a_ticket_that_nobody_knows_lets_its_request_go() {
    let mut gateway = Gateway::with(&rule(MERGE, ""));
    let waiter = ask(&mut gateway, "Bearer a", &json!("x")).at(0).waits();
    let flight = gateway.wakes(waiter, selvage_engine::exchange::Wake::Slot, 0).left();
    gateway.answers(flight, 1, provides(&json!("x"))).stored();
}

#[test]
fn what_is_too_long_to_be_asked_with_others_goes_at_once() {
    let mut gateway = Gateway::with(&rule(r#","cluster":"openai","merge":{"bytes":"1KiB"}"#, ""));
    let long = json!("x".repeat(1024));
    let Sent::Left(flight) = ask(&mut gateway, "Bearer a", &long).at(0).sent() else { panic!("it waits") };
    gateway.answers(flight, 0, provides(&long));
    let half = |nth: &str| json!(nth.repeat(600));
    let first = ask(&mut gateway, "Bearer a", &half("a")).at(1).waits();
    let second = ask(&mut gateway, "Bearer a", &half("b")).at(1).waits();
    // The second does not fit: the first goes, by itself.
    assert!(gateway.joined_call(0, 1000).is_none());
    assert_eq!(gateway.workers[0].take_decided_joins().len(), 1);
    gateway.wakes(first, selvage_engine::exchange::Wake::Slot, 1).left();
    gateway.goes_away(second, 2);
}

/// A call counts as the trip to the origin that it stands for: for limits, for pools, and for those who wait for one another.
#[test]
#[cfg(all(feature = "limits", feature = "pools"))]
pub fn whatever_a_request_has_waited_for_it_is_called_for_after_that() {
    use selvage_engine::exchange::Event;

    let with = |more: &str, of_rule: &str| {
        rule(MERGE, "").replacen('{', &format!("{{{more}"), 1).replacen(
            r#""llm""#,
            &format!(r#"{of_rule}"llm""#),
            1,
        )
    };
    let mixed = json!(["one", "two"]);
    let stored = |gateway: &mut Gateway| {
        let sent = ask(gateway, "Bearer a", &json!("one")).at(1).sent();
        let sent = if let Sent::Waits(waiter) = sent { goes(gateway, waiter) } else { sent };
        let sent = if let Sent::Waits(waiter) = sent { goes(gateway, waiter) } else { sent };
        gateway.answers(sent.left(), 1, provides(&json!("one"))).stored();
    };
    // With a pool that has one place, and a limit of the fleet's.
    let pool = with(r#""pools":[{"name":"p","fixed":1}],"#, r#""admission":{"pool":"p"},"#);
    let limit = with(
        r#""remote":{"enabled":true},"limits":[{"name":"f","by":["header:x-a"],"quota":100,"window":"1s","burst":20,"scope":"fleet","counts":"forwarded"}],"#,
        r#""remote":false,"limits":["f"],"#,
    );
    for config in [pool, limit] {
        let mut gateway = Gateway::with(&config);
        stored(&mut gateway);
        // Somebody else has the place.
        let other = ask(&mut gateway, "Bearer b", &json!(["x", "y"])).header("x-a", "2").at(1).sent();
        let other = if let Sent::Waits(waiter) = other { goes(&mut gateway, waiter) } else { other }.left();
        let waiting = [&mixed, &json!("three")].map(|inputs| {
            ask(&mut gateway, "Bearer a", inputs).header("x-a", &inputs.to_string()).at(1).waits()
        });
        gateway.answers(other, 1, provides(&json!(["x", "y"])));
        let [mixed_one, single] = waiting;
        let mut called = goes(&mut gateway, mixed_one).called();
        gateway.more_comes_to_called(&mut called, 1);
        let got = gateway.calls_back_and_ends(called, 1, Some(provides(&json!(["two"]))));
        got.says("fwd=partial").content(answer(&mixed));
        let mut waiter = goes(&mut gateway, single).waiting();
        gateway.more_comes(&mut waiter, 1);
        assert!(gateway.joined_call(0, 5_000).is_none());
        gateway.workers[0].take_decided_joins();
        let flight = gateway.wakes(waiter, selvage_engine::exchange::Wake::Slot, 5).left();
        gateway.answers(flight, 5, provides(&json!("three"))).stored();
        gateway.assert_no_room_is_taken();
        gateway.assert_nobody_waits();
    }
    // With others that ask the same.
    let mut gateway = Gateway::with(&with("", ""));
    stored(&mut gateway);
    let leader = ask(&mut gateway, "Bearer a", &mixed).at(1).sent().called();
    let waiter = ask(&mut gateway, "Bearer a", &mixed).at(1).waits();
    gateway.goes_away(leader, 2);
    let called = gateway.wakes(waiter, selvage_engine::exchange::Wake::Ended, 2).called();
    gateway.goes_away(called, 2);
    let leader = ask(&mut gateway, "Bearer a", &json!("x")).at(3).waits();
    let waiter = ask(&mut gateway, "Bearer a", &json!("x")).at(3).waits();
    gateway.goes_away(leader, 3);
    let waiter = gateway.wakes(waiter, selvage_engine::exchange::Wake::Ended, 3).waiting();
    gateway.goes_away(waiter, 3);
    // After a look into Redis.
    let mut gateway = Gateway::with(&with(r#""remote":{"enabled":true},"#, ""));
    let asks = ask(&mut gateway, "Bearer a", &json!("x")).at(0).asks();
    let waiter = gateway.remote_answers(asks, 0).waiting();
    gateway.goes_away(waiter, 1);
    gateway.assert_no_room_is_taken();
    // An event that nobody expects lets go of all of it.
    for inputs in [json!("z"), json!(["one", "z"])] {
        let mut gateway = Gateway::with(&with("", ""));
        stored(&mut gateway);
        let mut flight: crate::gateway::Flight = match ask(&mut gateway, "Bearer a", &inputs).at(1).sent() {
            Sent::Waits(waiter) => waiter.into(),
            other => other.called().into(),
        };
        gateway.feed(0, &mut flight.exchange, 1000, Event::Trailers);
        assert_eq!(gateway.counted(0, "event", "unexpected"), 1);
        gateway.assert_no_room_is_taken();
        gateway.assert_nobody_waits();
    }
}

/// A request that waits for a place, for Redis or for others goes on.
#[cfg(all(feature = "limits", feature = "pools"))]
fn goes(gateway: &mut Gateway, waiter: crate::gateway::Waiter) -> Sent {
    while let Some(request) = gateway.workers[0].next_lease() {
        let mut moment =
            selvage_engine::cache::Moment { now: crate::gateway::moment(1000), host: &mut gateway.shared };
        let text = format!("9 1000 1 7 9 {:x}", request.question);
        let answer = selvage_engine::limits::lease::LeaseAnswer::read(text.as_bytes(), &request);
        let answer = answer.ok_or(selvage_engine::limits::NoAnswer::NotAsked);
        gateway.workers[0].lease_answered(&request, answer, &mut moment);
    }
    gateway.joined_call(0, 60_000);
    gateway.workers[0].take_decided_leases();
    gateway.workers[0].take_decided_tickets();
    gateway.workers[0].take_decided_joins();
    gateway.wakes(waiter, selvage_engine::exchange::Wake::Slot, 1)
}

/// Limits in tokens: what was taken for a call comes back when it has told what it has used, and for those that are asked together too.
#[test]
#[cfg(feature = "limits")]
fn what_a_call_has_not_used_comes_back() {
    let limited = |embeddings: &str| {
        rule(embeddings, "")
            .replacen(
                '{',
                r#"{"limits":[{"name":"tpm","by":[],"unit":"tokens","quota":1000,"window":"1h","burst":1000,"cost":300}],"#,
                1,
            )
            .replacen(r#""llm""#, r#""limits":["tpm"],"llm""#, 1)
    };
    let mut gateway = Gateway::with(&limited(CLUSTER));
    let one = json!("one");
    ask(&mut gateway, "Bearer a", &one).at(0).miss(provides(&one));
    for nth in 0..20 {
        let input = format!("x{nth}");
        let called = ask(&mut gateway, "Bearer a", &json!(["one", input])).at(0).sent().called();
        gateway.calls_back(called, 0, Some(provides(&json!(input)))).answered().status(200);
    }
    // Of a call that fails the origin's answer is told.
    let called = ask(&mut gateway, "Bearer a", &json!(["one", "y"])).at(0).sent().called();
    let flight = gateway.calls_back(called, 0, None).left();
    gateway.answers(flight, 0, provides(&json!(["one", "y"])));
    let mut gateway = Gateway::with(&limited(MERGE));
    for nth in 0..20 {
        let inputs = [format!("a{nth}"), format!("b{nth}")];
        let waiting =
            inputs.each_ref().map(|input| ask(&mut gateway, "Bearer a", &json!(input)).at(nth).waits());
        let call = gateway.joined_call(0, nth * 1000 + 10).unwrap();
        gateway.answers_joined(0, &call, nth, Some(provides(&json!(inputs))));
        for waiter in waiting {
            gateway.wakes(waiter, selvage_engine::exchange::Wake::Slot, nth).answered().status(200);
        }
    }
}

//! Requests for embeddings on the real Envoy: only what is missing is asked for, whatever happens to the call.

use std::thread;
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::provider::{Provider, answer, embeddings, json};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Received};
use serde_json::{Value, json};

use super::{assert_says, becomes};

const PATH: &str = "/v1/embeddings";

/// The calls go where the route leads as well.
fn rules(of_embeddings: &str) -> String {
    format!(
        r#"{{ "rules": [ {{ "name": "vectors", "llm": {{ "api": "openai", "cache": {{}},
             "embeddings": {{ "by_input": true, "cluster": "origin"{of_embeddings} }} }} }} ] }}"#
    )
}

fn ask(gateway: &Gateway, key: &str, input: &Value) -> Response {
    let body = json!({ "model": "e", "input": input }).to_string();
    let ask = gateway.ask("POST", PATH).header("authorization", format!("Bearer {key}"));
    ask.header("content-type", "application/json").header("accept-encoding", "gzip").body(body).send()
}

/// The index, the answer that brought it, and the length of the input, of each vector.
fn vectors(response: &Response) -> Vec<(u64, u64, u64)> {
    assert_eq!(response.status, 200);
    let told: Value = serde_json::from_slice(&response.body).unwrap();
    let items = told["data"].as_array().unwrap();
    assert!(told["usage"]["total_tokens"].as_u64() >= Some(items.len() as u64));
    let number = |value: &Value| value.as_f64().unwrap() as u64;
    items
        .iter()
        .map(|item| (number(&item["index"]), number(&item["embedding"][0]), number(&item["embedding"][1])))
        .collect()
}

/// The inputs that the provider has been asked for, call by call.
fn asked(provider: &Provider) -> Vec<Value> {
    let requests = provider.origin().received(PATH);
    requests
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["input"].clone())
        .collect()
}

#[test]
fn only_what_is_missing_is_asked_for_and_to_each_client_its_own() {
    let provider = Provider::start();
    let gateway = Gateway::with(&rules("")).origin(provider.url()).start();
    let first = ask(&gateway, "a", &json!(["one", "three"]));
    assert_says(&first, "fwd=uri-miss");
    assert_says(&first, "stored");
    assert_eq!(vectors(&first), [(0, 0, 5), (1, 0, 7)]);
    // In every worker.
    for _ in 0..6 {
        let again = ask(&gateway, "a", &json!(["three", "one", "three"]));
        assert!(again.is_hit(), "{}", again.cache_status());
        assert_eq!(vectors(&again), [(0, 0, 7), (1, 0, 5), (2, 0, 7)]);
        assert!(again.text().contains("5.0E-1"), "a number has its own spelling: {}", again.text());
        assert!(again.all("set-cookie").is_empty() && again.all("x-ratelimit-remaining-requests").is_empty());
        assert_eq!(again.all("content-length"), [again.body.len().to_string()]);
    }
    let mixed = json!(["new", "one", "newer", "new"]);
    let part = ask(&gateway, "a", &mixed);
    assert_says(&part, "fwd=partial");
    assert_says(&part, "detail=by-input");
    assert_eq!(part.all("content-type"), ["application/json"]);
    assert_eq!(part.all("content-length"), [part.body.len().to_string()]);
    assert_eq!(vectors(&part), [(0, 1, 5), (1, 0, 5), (2, 1, 7), (3, 1, 5)]);
    assert!(ask(&gateway, "a", &mixed).is_hit());
    let alone = ask(&gateway, "a", &json!("newer"));
    assert!(alone.is_hit() && vectors(&alone) == [(0, 1, 7)], "{}", alone.text());
    // Nothing of it is anybody else's.
    assert_eq!(vectors(&ask(&gateway, "b", &json!(["one", "x"]))), [(0, 2, 5), (1, 2, 3)]);
    // Tokens, and nothing at all.
    assert_eq!(vectors(&ask(&gateway, "a", &json!([[1, 2], [3]]))), [(0, 3, 5), (1, 3, 3)]);
    assert_eq!(vectors(&ask(&gateway, "a", &json!([[7], [3]]))), [(0, 4, 3), (1, 3, 3)]);
    assert_eq!(vectors(&ask(&gateway, "a", &json!([]))), []);
    let all = [
        json!(["one", "three"]),
        json!(["new", "newer"]),
        json!(["one", "x"]),
        json!([[1, 2], [3]]),
        json!([[7]]),
        json!([]),
    ];
    assert_eq!(asked(&provider), all);
    let requests = provider.origin().received(PATH);
    let call = &requests[1];
    assert_eq!(call.header("authorization").as_deref(), Some("Bearer a"));
    assert_eq!(call.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(call.header("content-length"), Some(call.body.len().to_string()));
    assert_eq!(call.header("host"), requests[0].header("host"));
    assert!(call.header("accept-encoding").is_none() && call.header("cdn-loop").is_some());
    gateway.assert_sound();
}

/// A provider that treats the call so, and everything else well.
fn treats(
    provider: &Provider,
    call: &'static str,
    how: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) {
    provider.origin().on(PATH, move |request| {
        let asked = String::from_utf8_lossy(&request.body);
        if asked.contains(&format!("\"input\":{call}")) { how(request) } else { answer(request, 0) }
    });
}

#[test]
fn whatever_becomes_of_the_call_the_request_goes_on_as_it_came() {
    let lie = |inputs: &'static str| {
        move |_: &Received| json(embeddings(format!("{{\"input\":{inputs}}}").as_bytes(), 9))
    };
    let twice =
        |_: &Received| json(embeddings(br#"{"input":["x","y"]}"#, 9).replace("\"index\":1", "\"index\":0"));
    type How = Box<dyn Fn(&Received) -> Answer + Send + Sync>;
    let faults: Vec<(&str, How)> = vec![
        ("failed", Box::new(|_| Answer::new(503))),
        ("failed", Box::new(|_| Answer::new(500).body("oh"))),
        ("refused", Box::new(|_| Answer::new(429).body("{}"))),
        ("failed", Box::new(|request: &Received| answer(request, 9).breaks_after(150))),
        ("failed", Box::new(|request: &Received| answer(request, 9).breaks_before_the_head())),
        (
            "failed",
            Box::new(|request: &Received| {
                answer(request, 9).halts_after(1, || thread::sleep(Duration::from_secs(2)))
            }),
        ),
        ("unusable", Box::new(lie(r#"["x"]"#))),
        ("unusable", Box::new(lie(r#"["x","one","y"]"#))),
        ("unusable", Box::new(twice)),
    ];
    for (nth, (word, how)) in faults.into_iter().enumerate() {
        let provider = Provider::start();
        treats(&provider, r#"["x","y"]"#, how);
        let gateway =
            Gateway::with(&rules(r#", "timeout": "700ms""#)).origin(provider.url()).workers(1).start();
        ask(&gateway, "a", &json!("one"));
        let mixed = ask(&gateway, "a", &json!(["x", "one", "y"]));
        assert_says(&mixed, "fwd=partial");
        assert!(!mixed.cache_status().contains("detail"), "{nth}: {}", mixed.cache_status());
        assert_eq!(vectors(&mixed), [(0, 0, 3), (1, 0, 5), (2, 0, 3)], "{nth}");
        assert!(ask(&gateway, "a", &json!(["y", "x"])).is_hit());
        becomes(|| gateway.stat(&format!("llm_calls.{word}")), |count| *count == 1);
        gateway.assert_sound();
    }
}

#[test]
fn a_fleet_has_single_inputs_and_a_dead_redis_changes_nothing() {
    let provider = Provider::start();
    let mut bridge = Bridge::start();
    let rules = rules("").replacen('{', r#"{ "remote": { "enabled": true },"#, 1);
    let start = || Gateway::with(&rules).origin(provider.url()).bridge(bridge.port()).start();
    let (one, other) = (start(), start());
    // Until its Redis is known to be there, nothing is written.
    let mut nth = 0;
    let written = |gateway: &Gateway| gateway.stat("selvage.remote.written");
    for gateway in [&one, &other] {
        becomes(
            || {
                nth += 1;
                ask(gateway, "c", &json!(format!("n{nth}")));
                written(gateway)
            },
            |count| *count > 0,
        );
    }
    let before = bridge.keys("*").len();
    ask(&one, "a", &json!(["one", "three"]));
    becomes(|| bridge.keys("*").len(), |count| *count >= before + 2);
    let three = ask(&other, "a", &json!("three"));
    assert!(three.is_hit(), "{}", three.cache_status());
    assert_says(&three, "detail=remote");
    // Of several inputs those are used that are here.
    let part = ask(&other, "a", &json!(["one", "three"]));
    assert_says(&part, "detail=by-input");
    bridge.end_redis();
    let asked_before = asked(&provider).len();
    assert!(ask(&other, "a", &json!(["three", "one"])).is_hit());
    let part = ask(&other, "a", &json!(["three", "four"]));
    assert_says(&part, "detail=by-input");
    assert_eq!(asked(&provider)[asked_before..], [json!(["four"])]);
    one.assert_sound();
    other.assert_sound();
}

/// C5: 32 single inputs at once are one call.
#[test]
fn single_inputs_of_one_moment_are_one_call() {
    let provider = Provider::start();
    let merge = r#", "merge": { "window": "500ms", "inputs": 32 }"#;
    let gateway = Gateway::with(&rules(merge)).origin(provider.url()).workers(1).start();
    let inputs: Vec<String> = (1..=32).map(|nth| "x".repeat(nth)).collect();
    let answers: Vec<Response> = thread::scope(|scope| {
        let clients: Vec<_> = inputs
            .iter()
            .map(|input| {
                scope.spawn({
                    let gateway = &gateway;
                    move || ask(gateway, "a", &json!(input))
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for (nth, (answer, input)) in answers.iter().zip(&inputs).enumerate() {
        assert_says(answer, "detail=merged");
        assert_eq!(vectors_of_one(answer), input.len() as u64 + 2, "{nth}: {}", answer.text());
        assert!(ask(&gateway, "a", &json!(input)).is_hit());
    }
    assert_eq!(asked(&provider).len(), 1);
    // Of two clients each has its own call, and who is alone goes by itself.
    let two = thread::scope(|scope| {
        let of = |key: &'static str| {
            let gateway = &gateway;
            scope.spawn(move || ask(gateway, key, &json!("y")))
        };
        [of("b"), of("c")].map(|client| client.join().unwrap())
    });
    for answer in &two {
        assert_says(answer, "fwd=uri-miss");
        assert!(!answer.cache_status().contains("detail"), "{}", answer.cache_status());
    }
    assert_eq!(asked(&provider)[1..], [json!("y"), json!("y")]);
    // Where the call fails, each goes by itself.
    treats(&provider, "[\"", |_| Answer::new(500));
    let two = thread::scope(|scope| {
        let of = |input: &'static str| {
            let gateway = &gateway;
            scope.spawn(move || ask(gateway, "d", &json!(input)))
        };
        [of("z"), of("zz")].map(|client| client.join().unwrap())
    });
    assert_eq!(two.each_ref().map(vectors_of_one), [3, 4]);
    gateway.assert_sound();
}

/// The length of the input whose vector is the only one of an answer; the share of the usage varies.
fn vectors_of_one(response: &Response) -> u64 {
    assert_eq!(response.status, 200);
    let told: Value = serde_json::from_slice(&response.body).unwrap();
    let items = told["data"].as_array().unwrap();
    assert_eq!((items.len(), items[0]["index"].as_u64()), (1, Some(0)));
    items[0]["embedding"][1].as_f64().unwrap() as u64
}

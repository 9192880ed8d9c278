use serde_json::{Value, json};

use super::*;
use crate::chance::Chance;

fn ignoring(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| Box::from(*name)).collect()
}

fn keys(body: &str) -> Vec<[u8; 32]> {
    Request::read(body.as_bytes(), 100).unwrap().keys(&ignoring(&["user"])).unwrap()
}

/// The vector that our provider gives an input: its bytes tell which input it is of.
fn vector(input: &Value) -> String {
    let text = input.to_string();
    format!(
        "[{}.50,-1.0e-{},0.{:0>5}]",
        text.len(),
        text.len() % 7,
        text.bytes().map(u32::from).sum::<u32>() % 99_999
    )
}

/// Answers as a provider does, tokens by length; `order` is that of `data`.
fn provider(chance: &mut Chance, request: &[u8]) -> Vec<u8> {
    let request: Value = serde_json::from_slice(request).unwrap();
    let inputs = match &request["input"] {
        Value::Array(items) if !items[0].is_number() => items.clone(),
        one => vec![one.clone()],
    };
    let tokens: usize = inputs.iter().map(|input| input.to_string().len()).sum();
    let mut data: Vec<String> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| match chance.below(3) {
            0 => format!(r#"{{"index":{index}.0,"embedding":{},"object":"embedding"}}"#, vector(input)),
            1 => format!(
                r#"{{ "object" : "embedding", "embedding" : {} , "index" : {index} }}"#,
                vector(input)
            ),
            _ => format!(r#"{{"object":"embedding","index":{index},"embedding":{}}}"#, vector(input)),
        })
        .collect();
    chance.shuffle(&mut data);
    let data = data.join(if chance.one_in(2) { "," } else { " , " });
    let usage = format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#);
    if chance.one_in(2) {
        format!(r#"{{"object":"list","data":[{data}],"model":"e-small","usage":{usage}}}"#).into_bytes()
    } else {
        format!("{{\"usage\": {usage}, \"model\": \"e-small\", \"data\": [ {data} ]}}\n").into_bytes()
    }
}

/// Asserts that an answer is one for these inputs: in order, `index` right, vectors byte for byte.
fn assert_answers(answer: &[u8], inputs: &[Value]) {
    let text = std::str::from_utf8(answer).unwrap();
    let parsed: Value = serde_json::from_slice(answer).unwrap();
    let data = parsed["data"].as_array().unwrap();
    assert_eq!(data.len(), inputs.len(), "{text}");
    let mut from = 0;
    for (index, (item, input)) in data.iter().zip(inputs).enumerate() {
        assert_eq!(item["index"], json!(index), "{text}");
        let place = text[from..].find(&vector(input)).unwrap_or_else(|| panic!("{input} in {text}"));
        from += place + 1;
    }
    assert_eq!(parsed["model"], "e-small");
}

fn tokens(answer: &[u8]) -> u64 {
    let parsed: Value = serde_json::from_slice(answer).unwrap();
    assert_eq!(parsed["usage"]["prompt_tokens"], parsed["usage"]["total_tokens"]);
    parsed["usage"]["prompt_tokens"].as_u64().unwrap()
}

fn some_input(chance: &mut Chance) -> Value {
    let end = *chance.of(&["", "\u{e4}\n", "\"\u{20ac}\"\\", "\u{1f600}"]);
    json!(format!("{}{end}", chance.below(40)))
}

fn body(chance: &mut Chance, inputs: &[Value], one: bool) -> Vec<u8> {
    let input = if one && inputs.len() == 1 { inputs[0].clone() } else { json!(inputs) };
    let mut out = Vec::new();
    chance.spell(&json!({"model": "e-small", "input": input, "dimensions": 3}), &mut out);
    out
}

#[test]
fn of_mixed_requests_only_what_is_missing_is_asked_and_every_vector_finds_its_input() {
    let mut chance = Chance::new(61);
    let mut stored: std::collections::HashMap<[u8; 32], Vec<u8>> = Default::default();
    let (mut hits, mut misses) = (0, 0);
    for _ in 0..3_000 {
        if stored.len() > 60 {
            stored.clear();
        }
        let inputs: Vec<Value> = (0..1 + chance.below(8)).map(|_| some_input(&mut chance)).collect();
        let one = chance.one_in(2);
        let body = body(&mut chance, &inputs, one);
        let request = Request::read(&body, 100).unwrap();
        let keys = request.keys(&[]).unwrap();
        let missing: Vec<usize> =
            (0..keys.len()).filter(|index| !stored.contains_key(&keys[*index])).collect();
        hits += keys.len() - missing.len();
        misses += missing.len();
        if let Some(asked) = request.asking_for(&missing) {
            let weights: Vec<usize> = missing.iter().map(|index| request.weights()[*index]).collect();
            let answer = provider(&mut chance, &asked);
            let parts = split(&answer, &weights).unwrap();
            assert_eq!(parts.iter().map(|part| tokens(part)).sum::<u64>(), tokens(&answer));
            for (index, part) in missing.iter().zip(parts) {
                stored.insert(keys[*index], part);
            }
        } else {
            assert!(missing.is_empty());
        }
        let parts: Vec<&[u8]> = keys.iter().map(|key| &*stored[key]).collect();
        let answer = merge(&parts).unwrap();
        assert_answers(&answer, &inputs);
        assert_eq!(tokens(&answer), parts.iter().map(|part| tokens(part)).sum::<u64>());
    }
    assert!(hits > 500 && misses > 500, "{hits} {misses}");
}

#[test]
fn single_requests_are_asked_as_one_and_each_gets_its_own() {
    let mut chance = Chance::new(62);
    for _ in 0..300 {
        let inputs: Vec<Value> = (0..2 + chance.below(31)).map(|_| some_input(&mut chance)).collect();
        let bodies: Vec<Vec<u8>> =
            inputs.iter().map(|input| body(&mut chance, std::slice::from_ref(input), true)).collect();
        let requests: Vec<Request<'_>> = bodies.iter().map(|body| Request::read(body, 1).unwrap()).collect();
        let merged = combine(&requests, 32, 1 << 20).unwrap();
        let weights: Vec<usize> = requests.iter().flat_map(Request::weights).collect();
        let answer = provider(&mut chance, &merged);
        let parts = split(&answer, &weights).unwrap();
        assert_eq!(parts.iter().map(|part| tokens(part)).sum::<u64>(), tokens(&answer));
        for (part, input) in parts.iter().zip(&inputs) {
            assert_answers(part, std::slice::from_ref(input));
        }
    }
}

#[test]
fn an_input_has_one_key_alone_and_among_others() {
    let alone = keys(r#"{"model":"e","input":"a"}"#);
    assert_eq!(keys(r#"{"input":["b","\u0061"], "model":"e","user":"x"}"#)[1], alone[0]);
    assert_eq!(keys(r#"{"input":[1,2],"model":"e"}"#)[0], keys(r#"{"input":[[3],[1.0,2]],"model":"e"}"#)[1]);
    let differ = [
        r#"{"model":"e","input":"b"}"#,
        r#"{"model":"f","input":"a"}"#,
        r#"{"model":"e","input":"a","dimensions":256}"#,
        r#"{"model":"e","input":"a","encoding_format":"base64"}"#,
        r#"{"model":"e","input":"a","task":"query"}"#,
    ];
    for (index, body) in differ.iter().enumerate() {
        assert_ne!(keys(body)[0], alone[0], "{body}");
        for other in &differ[index + 1..] {
            assert_ne!(keys(body)[0], keys(other)[0]);
        }
    }
    assert_ne!(keys(r#"{"input":[1],"model":"e"}"#), keys(r#"{"input":["1"],"model":"e"}"#));
}

#[test]
fn a_request_of_another_shape_is_left_alone() {
    for (body, why) in [
        (r#"{"model":"e"}"#, Unsplit::Shape),
        (r#"{"input":[]}"#, Unsplit::Shape),
        (r#"{"input":{"text":"a"}}"#, Unsplit::Shape),
        (r#"{"input":null}"#, Unsplit::Shape),
        (r#"{"input":["a",1]}"#, Unsplit::Shape),
        (r#"{"input":[["a"],"b"]}"#, Unsplit::Shape),
        (r#"{"input":[{"image":"a"}]}"#, Unsplit::Shape),
        (r#"["a"]"#, Unsplit::Shape),
        (r#"{"input":["a","b","c"]}"#, Unsplit::TooMany),
        (r#"{"input":"a","input":"b"}"#, Unsplit::Ambiguous(crate::json::Ambiguous::Duplicate)),
    ] {
        assert_eq!(Request::read(body.as_bytes(), 2).err(), Some(why), "{body}");
    }
}

#[test]
fn requests_that_differ_are_not_asked_together() {
    let read = |body: &'static str| Request::read(body.as_bytes(), 10).unwrap();
    let first = || read(r#"{"model":"e","input":"a"}"#);
    assert_eq!(combine(&[first()], 10, 1000), None);
    assert_eq!(combine(&[first(), read(r#"{"model":"f","input":"b"}"#)], 10, 1000), None);
    assert_eq!(combine(&[first(), read(r#"{"model":"e","input":"b","user":"u"}"#)], 10, 1000), None);
    let others = || [first(), read(r#"{"input":["b","c"], "model":"e"}"#)];
    assert_eq!(combine(&others(), 3, 1000).unwrap(), br#"{"model":"e","input":["a","b","c"]}"#);
    assert_eq!(combine(&others(), 2, 1000), None);
    assert_eq!(combine(&others(), 3, 34), None);
}

#[test]
fn what_is_asked_keeps_its_bytes() {
    let request =
        Request::read(br#" { "dimensions" : 2.560e2, "input" : [ "\u0061" , "b", "c" ] ,"x":[ ] }"#, 10)
            .unwrap();
    assert_eq!(
        request.asking_for(&[2, 0]).unwrap(),
        br#" { "dimensions" : 2.560e2, "input" : ["c","\u0061"] ,"x":[ ] }"#
    );
    assert_eq!(request.asking_for(&[]), None);
    assert_eq!(request.asking_for(&[3]), None);
}

#[test]
fn an_answer_that_does_not_fit_is_refused() {
    let one = r#"{"object":"list","data":[{"index":0,"embedding":[1]}],"model":"e","usage":{"prompt_tokens":1,"total_tokens":1}}"#;
    let with_data = |data: &str| one.replace(r#"{"index":0,"embedding":[1]}"#, data);
    for (answer, why) in [
        (with_data(""), Unusable::Count),
        (with_data(r#"{"index":0,"embedding":[1]}"#), Unusable::Count),
        (with_data(r#"{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}"#), Unusable::Count),
        (with_data(r#"{"index":1,"embedding":[1]},{"index":2,"embedding":[2]}"#), Unusable::Count),
        (with_data(r#"{"index":"0","embedding":[1]},{"index":1,"embedding":[2]}"#), Unusable::Count),
        (with_data(r#"{"embedding":[1]},{"index":1,"embedding":[2]}"#), Unusable::Shape),
        (with_data(r#"{"index":0},{"index":1,"embedding":[2]}"#), Unusable::Shape),
        // https://github.com/langgenius/dify/issues/41988
        (with_data(r#"{"index":0,"embedding":null},{"index":1,"embedding":[2]}"#), Unusable::Shape),
        (r#"{"error":{"message":"no"},"data":[],"usage":{}}"#.to_owned(), Unusable::Shape),
        (one.replace("usage", "used"), Unusable::Shape),
        (one[..40].to_owned(), Unusable::Ambiguous(crate::json::Ambiguous::Cut)),
    ] {
        assert_eq!(split(answer.as_bytes(), &[1, 1]).err(), Some(why), "{answer}");
    }
    assert_eq!(split(one.as_bytes(), &[1]).unwrap(), [one.as_bytes()]);
    assert_eq!(merge(&[one.as_bytes(), one.replace("\"e\"", "\"f\"").as_bytes()]), Err(Unusable::Model));
    assert_eq!(merge(&[]), Err(Unusable::Count));
    let two = with_data(r#"{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}"#);
    assert!(merge(&[one.as_bytes(), two.as_bytes()]).is_ok());
    assert_eq!(join(&[one.as_bytes(), two.as_bytes()]), Err(Unusable::Count));
    assert_eq!(join(&[one.as_bytes(), one.as_bytes()]), merge(&[one.as_bytes(), one.as_bytes()]));
}

#[test]
fn a_usage_is_shared_by_length_and_the_rest_goes_to_the_first() {
    let answer = br#"{"data":[{"index":0,"embedding":1},{"index":1,"embedding":2},{"index":2,"embedding":3}],"usage":{"prompt_tokens":11,"total_tokens":11}}"#;
    let shares = |weights: &[usize]| -> Vec<u64> {
        split(answer, weights).unwrap().iter().map(|part| tokens(part)).collect()
    };
    assert_eq!(shares(&[1, 1, 1]), [5, 3, 3]);
    assert_eq!(shares(&[10, 30, 60]), [2, 3, 6]);
    assert_eq!(shares(&[0, 0, 0]), [11, 0, 0]);
}

/// <https://github.com/BerriAI/litellm/issues/29284>
#[test]
fn a_vector_from_the_store_between_fresh_ones_has_its_own_index() {
    let answer = |vectors: &[&str]| {
        let data: Vec<String> = vectors
            .iter()
            .enumerate()
            .map(|(index, vector)| format!(r#"{{"index":{index},"embedding":{vector}}}"#))
            .collect();
        format!(
            r#"{{"data":[{}],"model":"e","usage":{{"prompt_tokens":3,"total_tokens":3}}}}"#,
            data.join(",")
        )
    };
    let stored = answer(&["[5.0]"]);
    let fresh = split(answer(&["[1.0]", "[2.0]"]).as_bytes(), &[1, 1]).unwrap();
    let merged = merge(&[&fresh[0], stored.as_bytes(), &fresh[1]]).unwrap();
    let wanted = answer(&["[1.0]", "[5.0]", "[2.0]"]).replace(":3,", ":6,").replace(":3}", ":6}");
    assert_eq!(String::from_utf8(merged).unwrap(), wanted);
}

/// <https://github.com/BerriAI/litellm/pull/20949>
#[test]
fn an_answer_out_of_order_is_put_in_order() {
    let answer = br#"{"data":[{"index":1,"embedding":"b"},{"index":0,"embedding":"a"}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let parts = split(answer, &[1, 1]).unwrap();
    assert_eq!(
        parts[0],
        br#"{"data":[{"index":0,"embedding":"a"}],"usage":{"prompt_tokens":1,"total_tokens":1}}"#
    );
    assert_eq!(merge(&[answer]).unwrap(), br#"{"data":[{"index":0,"embedding":"a"},{"index":1,"embedding":"b"}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#);
}

use serde_json::Value;

use super::*;
use crate::chance::Chance;

fn ignoring(names: &[&str]) -> Rc<[Box<str>]> {
    names.iter().map(|name| Box::from(*name)).collect()
}

fn read(body: &str) -> Read {
    canonical(body.as_bytes(), ignoring(&[])).unwrap()
}

fn summary(body: &str) -> Summary {
    read(body).summary
}

/// The same text with numbers in one spelling: what the digest stands for.
fn plain(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[test]
fn a_body_has_one_digest_however_it_is_spelt_and_cut() {
    let mut chance = Chance::new(11);
    for _ in 0..3_000 {
        let value = chance.value(4);
        let wanted = digest(&plain(&value)).unwrap();
        let mut spelt = Vec::new();
        chance.spell(&value, &mut spelt);
        let mut canonical = Canonical::new(ignoring(&[]));
        for chunk in chance.cuts(&spelt) {
            canonical.push(chunk).unwrap();
        }
        let read = canonical.finish().unwrap();
        assert_eq!(read.digest, wanted, "{}", String::from_utf8_lossy(&spelt));
        assert_eq!(read.summary.bytes, spelt.len() as u64);
    }
}

#[test]
fn a_body_that_says_anything_else_has_another_digest() {
    let mut chance = Chance::new(12);
    let mut changes = 0;
    for _ in 0..3_000 {
        let value = chance.value(4);
        let mut other = value.clone();
        change(&mut chance, &mut other);
        if other == value {
            continue;
        }
        assert_ne!(digest(&plain(&value)), digest(&plain(&other)), "{value} {other}");
        changes += 1;
    }
    assert!(changes > 2_000, "{changes}");
}

/// Changes one value somewhere inside.
fn change(chance: &mut Chance, value: &mut Value) {
    match value {
        Value::Array(items) if !items.is_empty() && !chance.one_in(4) => {
            let place = chance.below(items.len());
            match chance.below(4) {
                0 => items.swap(0, place),
                1 => drop(items.remove(place)),
                _ => change(chance, &mut items[place]),
            }
        }
        Value::Object(members) if !members.is_empty() && !chance.one_in(4) => {
            let place = chance.below(members.len());
            let name = members.keys().nth(place).cloned().unwrap();
            match chance.below(4) {
                0 => drop(members.remove(&name)),
                1 => {
                    let member = members.remove(&name).unwrap();
                    members.insert(chance.text(5), member);
                }
                _ => change(chance, &mut members[&name]),
            }
        }
        Value::String(text) if !chance.one_in(4) => text.push('x'),
        Value::Number(number) if number.is_u64() => *value = Value::from(number.as_u64().unwrap() ^ 1),
        _ => *value = chance.value(2),
    }
}

#[test]
fn structure_can_not_be_forged() {
    let bodies = [
        "[]",
        "{}",
        "\"\"",
        "\"[]\"",
        "0",
        "\"0\"",
        "null",
        "\"null\"",
        "true",
        "\"true\"",
        "[[]]",
        "[[],[]]",
        "[\"\"]",
        "[{}]",
        "{\"\":\"\"}",
        "{\"\":{}}",
        "[1,2]",
        "[12]",
        "[[1],2]",
        "[1,[2]]",
        "[[1,2]]",
        "\"1,2\"",
        "[\"1\",2]",
        "[\"a\",\"b\"]",
        "[\"ab\"]",
        "[\"a\",\"\",\"b\"]",
        "{\"a\":\"b\"}",
        "{\"ab\":\"\"}",
        "{\"a\":1,\"b\":2}",
        "{\"a\":{\"b\":2},\"b\":1}",
        "{\"a\":[1,\"b\",2]}",
        "[\"a\",1,\"b\",2]",
        "1e999999",
        "1e999998",
        "9007199254740992",
        "9007199254740993",
    ];
    for (index, body) in bodies.iter().enumerate() {
        for other in bodies.iter().skip(index + 1) {
            assert_ne!(digest(body.as_bytes()), digest(other.as_bytes()), "{body} {other}");
        }
    }
    // A text that is the very bytes of a digest and its size.
    let long = "x".repeat(100);
    let mut forged = sha2::Sha256::default();
    sha2::Digest::update(&mut forged, long.as_bytes());
    let forged: String = sha2::Digest::finalize(forged).iter().map(|byte| char::from(*byte)).collect();
    assert_ne!(digest(format!("\"{long}\"").as_bytes()), digest(&plain(&Value::from(forged))));
}

#[test]
fn the_length_of_a_text_makes_no_difference_to_how_it_may_be_cut() {
    for length in 0..100 {
        let body = format!("\"{}\"", "y".repeat(length));
        for cut in 1..=length {
            let mut canonical = Canonical::new(ignoring(&[]));
            canonical.push(&body.as_bytes()[..cut]).unwrap();
            canonical.push(&body.as_bytes()[cut..]).unwrap();
            assert_eq!(canonical.finish().unwrap().digest, digest(body.as_bytes()).unwrap());
        }
    }
}

#[test]
fn a_digest_stays_what_it_is_over_versions() {
    let hex =
        |body: &str| -> String { read(body).digest[..4].iter().map(|byte| format!("{byte:02x}")).collect() };
    let long = format!("[\"{}\"]", "z".repeat(100));
    assert_eq!([hex("{\"a\":[1,true,null,\"x\"]}"), hex(&long)], PINNED);
}

#[test]
fn ignored_members_do_not_count_at_the_top_and_do_below() {
    let ignored = |body: &str| canonical(body.as_bytes(), ignoring(&["user", "metadata"])).unwrap().digest;
    let plain = ignored(r#"{"model":"m"}"#);
    assert_eq!(ignored(r#"{"user":"a","model":"m","metadata":{"b":[1]}}"#), plain);
    assert_eq!(ignored(r#"{"\u0075ser":"a","model":"m"}"#), plain);
    assert_ne!(ignored(r#"{"model":"m","x":{"user":"a"}}"#), ignored(r#"{"model":"m","x":{}}"#));
    assert_ne!(ignored(r#"{"model":"m","User":"a"}"#), plain);
}

#[test]
fn ambiguous_bodies_are_refused_with_a_reason() {
    use Ambiguous::{Duplicate, Members, Number};
    let many: String = (0..40_000).map(|index| format!("\"{index}\":0,")).collect();
    let names: String = (0..600).map(|index| format!("\"{index:01000}\":0,")).collect();
    for (body, why) in [
        (r#"{"a":1,"a":1}"#.to_owned(), Duplicate),
        (r#"{"a":1,"b":2,"\u0061":3}"#.to_owned(), Duplicate),
        (r#"[{"x":{"":1,"":1}}]"#.to_owned(), Duplicate),
        (format!("[1{}]", "0".repeat(2000)), Number),
        ("[1e10000000000000]".to_owned(), Number),
        (format!("{{{many}\"\":0}}"), Members),
        (format!("{{{names}\"\":0}}"), Members),
    ] {
        assert_eq!(canonical(body.as_bytes(), ignoring(&["a"])).err(), Some(why), "{}", &body[..10]);
    }
}

#[test]
fn little_is_kept_of_a_long_body() {
    let text = "word ".repeat(200_000);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"{text}"}}],"vector":[{}0]}}"#,
        "0.25,".repeat(50_000)
    );
    let mut canonical = Canonical::new(ignoring(&[]));
    let mut kept = 0;
    for chunk in body.as_bytes().chunks(1000) {
        canonical.push(chunk).unwrap();
        kept = kept.max(canonical.kept_bytes());
    }
    canonical.finish().unwrap();
    assert!(kept < 4_000, "{kept}");
}

#[test]
fn what_a_request_asks_for_is_seen_while_it_passes() {
    let body = r#"{"messages":[{"model":"no","stream":true}], "model":"gpt-\u0034o","stream":true, "n":3,
        "stream_options":{"x":[true],"include_usage":true,"y":false},"max_tokens":16,"max_completion_tokens":1e2,"max_output_tokens":7,
        "temperature":0.0,"seed":null}"#;
    let wanted = Summary {
        model: Some("gpt-4o".into()),
        stream: true,
        include_usage: true,
        max_output: Some(100),
        max_output_tokens: Some(7),
        answers: 3,
        temperature_zero: true,
        seed: false,
        stateful: false,
        input: Input::Absent,
        bytes: body.len() as u64,
    };
    let mut chance = Chance::new(13);
    for _ in 0..200 {
        let mut canonical = Canonical::new(ignoring(&[]));
        for chunk in chance.cuts(body.as_bytes()) {
            canonical.push(chunk).unwrap();
        }
        assert_eq!(canonical.finish().unwrap().summary, wanted);
    }
}

#[test]
fn a_request_is_stateful_if_it_takes_part_in_what_the_provider_keeps() {
    for body in [
        r#"{"conversation":{"id":"c","background":false}}"#,
        r#"{"conversation":"c"}"#,
        r#"{"background":true,"container":null}"#,
        r#"{"container":"x","conversation":null}"#,
    ] {
        assert!(summary(body).stateful, "{body}");
    }
    // What the provider does itself is done anew.
    for tool in [r#"{"type":"mcp"}"#, r#"{"name":"f","type":"web_search_20250305"}"#] {
        assert!(summary(&format!(r#"{{"tools":[{{"type":"function"}},{tool}]}}"#)).stateful, "{tool}");
    }
    for tool in
        [r#"{"type":"function","function":{"type":"x"}}"#, r#"{"name":"f","input_schema":{"type":"object"}}"#]
    {
        assert!(!summary(&format!(r#"{{"tools":[{tool}]}}"#)).stateful, "{tool}");
    }
    let long = format!(r#"{{"conversation":"{}"}}"#, "c".repeat(300));
    assert!(summary(&long).stateful);
    for body in [r#"{"conversation":null,"background":false}"#, r#"{"messages":[{"conversation":"c"}]}"#] {
        assert!(!summary(body).stateful, "{body}");
    }
}

#[test]
fn the_order_of_a_schema_counts_since_answers_are_written_in_it() {
    let digest = |body: &str| read(body).digest;
    for member in ["tools", "response_format", "text"] {
        let of = |order: &str| digest(&format!(r#"{{"model":"m","{member}":[{{"properties":{order}}}]}}"#));
        assert_ne!(of(r#"{"why":1,"verdict":2}"#), of(r#"{"verdict":2,"why":1}"#), "{member}");
        assert_eq!(of(r#"{"why":1,"verdict":2}"#), of(r#"{ "why": 1, "verdict": 2 }"#), "{member}");
    }
    let message = |text: &str| digest(&format!(r#"{{"tools":[],"messages":[{text}]}}"#));
    assert_eq!(message(r#"{"role":"user","content":"a"}"#), message(r#"{"content":"a","role":"user"}"#));
    let twice = canonical(br#"{"tools":[{"a":1,"a":2}]}"#, ignoring(&[]));
    assert!(twice.is_err());
}

#[test]
fn what_is_no_answer_to_the_question_counts_for_nothing() {
    assert_eq!(summary("[]"), Summary { answers: 1, bytes: 2, ..Summary::default() });
    assert_eq!(summary(r#"[{"model":"m"}]"#).model, None);
    let odd = summary(
        r#"{"model":7,"stream":"true","max_tokens":"9","n":1.5,"temperature":"0","seed":0,"input":{},"stream_options":[true]}"#,
    );
    assert_eq!(
        odd,
        Summary { answers: 1, seed: true, input: Input::Other, bytes: odd.bytes, ..Summary::default() }
    );
    assert!(!summary(r#"{"input":["a"],"stream_options":[true]}"#).include_usage);
    assert!(!summary(r#"{"stream_options":{"include_usage":[true]}}"#).include_usage);
    assert_eq!(summary(&format!(r#"{{"model":"{}"}}"#, "m".repeat(300))).model, None);
    assert_eq!(summary(&format!(r#"{{"max_tokens":1{}}}"#, "0".repeat(300))).max_output, None);
    assert_eq!(summary(r#"{"n":2,"best_of":5}"#).answers, 5);
}

#[test]
fn the_shape_of_an_input_is_seen() {
    for (input, shape) in [
        (r#""a""#, Input::Text),
        (r#"["a","b","c"]"#, Input::Texts(3)),
        ("[1,2]", Input::Tokens(2)),
        ("[[1,2],[3]]", Input::Lists(2)),
        ("[[[1]],[3]]", Input::Lists(2)),
        ("[]", Input::Other),
        (r#"["a",1]"#, Input::Other),
        (r#"["a",["b"]]"#, Input::Other),
        (r#"["a",1,"b"]"#, Input::Other),
        (r#"[{"a":1}]"#, Input::Other),
        ("7", Input::Other),
        ("null", Input::Absent),
    ] {
        let body = format!(r#"{{"input":{input},"x":["y",[1]]}}"#);
        assert_eq!(summary(&body).input, shape, "{input}");
    }
}

/// An option that only one product knows changes the answer, so it changes the key.
/// <https://github.com/BerriAI/litellm/issues/42400>
#[test]
fn an_option_that_nobody_has_heard_of_is_in_the_digest() {
    let with = |context: u32| read(&format!(r#"{{"model":"m","messages":[],"num_ctx":{context}}}"#)).digest;
    assert_ne!(with(2048), with(8192));
    assert_ne!(with(2048), read(r#"{"model":"m","messages":[]}"#).digest);
}

const PINNED: [&str; 2] = ["13a0b767", "5f22dd8e"];

/// A value of JSON made up by chance, and what it says: numbers by their first digits below `vector`.
fn made_up(chance: &mut Chance, depth: u32, digits: Option<usize>, json: &mut String, says: &mut String) {
    let space = |chance: &mut Chance| ["", " ", "\n\t"][chance.number() as usize % 3];
    json.push_str(space(chance));
    match chance.number() % if depth == 0 { 3 } else { 5 } {
        0 => {
            // A whole number and a power of ten, spelt in one of several ways.
            let (mut whole, mut power) = (chance.number() % 2000, chance.number() as i64 % 3);
            let spelt = match chance.number() % if whole == 0 { 2 } else { 3 } {
                0 => format!("{whole}e{power}"),
                1 => format!("{whole}.0E{power:+}"),
                _ => format!("{whole}00e{}", power - 2),
            };
            json.push_str(&spelt);
            while let Some(digits) = digits
                && whole.to_string().len() > digits
            {
                // All digits that go are rounded at once.
                let drop = u32::try_from(whole.to_string().len() - digits).unwrap();
                whole = (whole + 5 * 10_u64.pow(drop - 1)) / 10_u64.pow(drop);
                power += i64::from(drop);
            }
            while whole > 0 && whole % 10 == 0 {
                (whole, power) = (whole / 10, power + 1);
            }
            says.push_str(&if whole == 0 { "0".to_owned() } else { format!("{whole}e{power}") });
        }
        1 => {
            let text = ["\"a\"", "\"\\u0061\"", "\"b\"", "\"1\""][chance.number() as usize % 4];
            json.push_str(text);
            says.push_str(if text.contains("u0061") { "\"a\"" } else { text });
        }
        2 => {
            let word = ["true", "null"][chance.number() as usize % 2];
            json.push_str(word);
            says.push_str(word);
        }
        3 => {
            json.push('[');
            says.push('[');
            for nth in 0..chance.number() % 3 {
                if nth > 0 {
                    json.push(',');
                    says.push(',');
                }
                made_up(chance, depth - 1, digits, json, says);
            }
            json.push_str(space(chance));
            json.push(']');
            says.push(']');
        }
        _ => {
            let mut members = Vec::new();
            for name in ["vector", "a", "short"] {
                if chance.number().is_multiple_of(2) {
                    let digits = match name {
                        "vector" => Some(2),
                        "short" => Some(1),
                        _ => digits,
                    };
                    let (mut member, mut said) = (format!("\"{name}\""), format!("{name}:"));
                    member.push_str(space(chance));
                    member.push(':');
                    made_up(chance, depth - 1, digits, &mut member, &mut said);
                    members.push((said, member));
                }
            }
            if chance.number().is_multiple_of(2) {
                members.reverse();
            }
            let written: Vec<&str> = members.iter().map(|(_, member)| member.as_str()).collect();
            json.push_str(&format!("{{{}{}}}", written.join(","), space(chance)));
            members.sort();
            let said: Vec<&str> = members.iter().map(|(said, _)| said.as_str()).collect();
            says.push_str(&format!("{{{}}}", said.join(";")));
        }
    }
}

#[test]
fn two_bodies_share_a_rounded_digest_if_and_only_if_they_say_the_same() {
    let members: Rc<[(Box<str>, u8)]> = Rc::from([("vector".into(), 2), ("short".into(), 1)]);
    let mut chance = Chance::new(7);
    let mut known = std::collections::HashMap::new();
    let mut saying = std::collections::HashMap::new();
    let mut alike = 0;
    for _ in 0..60_000 {
        let (mut json, mut says) = (String::new(), String::new());
        made_up(&mut chance, 3, None, &mut json, &mut says);
        let mut rounded = Rounded::new(Rc::clone(&members));
        let cut = chance.number() as usize % (json.len() + 1);
        let (begin, rest) = json.as_bytes().split_at(cut);
        rounded.push(begin).unwrap();
        rounded.push(rest).unwrap();
        let digest = rounded.finish().unwrap();
        let earlier = known.entry(digest).or_insert_with(|| says.clone());
        assert_eq!(*earlier, says, "{json} shares a digest with what says something else");
        alike += usize::from(saying.contains_key(&says));
        let digest_of = saying.entry(says.clone()).or_insert(digest);
        assert_eq!(*digest_of, digest, "{json}: {says}");
    }
    assert!(alike > 1000 && known.len() > 10_000, "{alike} alike of {}", known.len());
}

#[test]
fn numbers_are_rounded_below_their_members_and_nowhere_else() {
    let digest = |json: &str| {
        let mut rounded = Rounded::new(Rc::from([("vector".into(), 4)]));
        rounded.push(json.as_bytes()).unwrap();
        rounded.finish().unwrap()
    };
    let same = |one: &str, other: &str| digest(one) == digest(other);
    assert!(same(
        r#"{"vector":[0.123412,-1e-9],"k":5}"#,
        r#"{ "k": 5.0, "vector": [0.12341, -0.0000000010000001] }"#
    ));
    assert!(same(
        r#"{"q":{"vector":{"values":[0.33333333]}}}"#,
        r#"{"q":{"vector":{"values":[0.33330001]}}}"#
    ));
    assert!(!same(r#"{"vector":[0.12341],"k":0.12341}"#, r#"{"vector":[0.12341],"k":0.123412}"#));
    assert!(!same(r#"{"a":{"vector":1},"b":0.12341}"#, r#"{"a":{"vector":1},"b":0.123412}"#));
    assert!(!same(r#"[{"vector":1},0.12341]"#, r#"[{"vector":1},0.123412]"#));
    assert!(!same(r#"{"vector":["0.12341"]}"#, r#"{"vector":["0.123412"]}"#));
    assert!(!same(r#"{"vector":[1,2]}"#, r#"{"vector":[2,1]}"#));
    assert!(same(r#"{"text":{"a":1,"b":2}}"#, r#"{"text":{"b":2,"a":1}}"#), "order counts nowhere");
}

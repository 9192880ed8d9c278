use std::borrow::Cow;

use super::*;
use crate::chance::Chance;
use crate::events::MAX_EVENT;
use crate::formats::{Answer, Api, Body};
use crate::script::script;

fn asked(body: &str) -> Option<String> {
    let splice = ask_for_usage(body.as_bytes()).unwrap()?;
    Some(String::from_utf8(splice.apply(body.as_bytes())).unwrap())
}

fn modelled(body: &str, model: &str) -> String {
    let splice = ask_model(body.as_bytes(), model).unwrap().unwrap();
    String::from_utf8(splice.apply(body.as_bytes())).unwrap()
}

/// Everything that goes on, chunk by chunk.
fn filtered(chunks: &[&[u8]]) -> Vec<u8> {
    let mut filter = UsageFilter::default();
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&filter.push(chunk));
    }
    out.extend_from_slice(&filter.finish());
    assert_eq!(filter.held_bytes(), 0);
    out
}

#[test]
fn a_stream_is_made_to_tell_its_usage() {
    for (body, wanted) in [
        (r#"{"stream":true}"#, Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#)),
        (
            " {\n \"model\" : \"m\\u0061\", \"n\":1.0e0,\"str\\u0065am\": true }\n",
            Some(
                " {\"stream_options\":{\"include_usage\":true},\n \"model\" : \"m\\u0061\", \"n\":1.0e0,\"str\\u0065am\": true }\n",
            ),
        ),
        (
            r#"{"stream":true,"stream_options":null}"#,
            Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
        ),
        (
            r#"{"stream":true,"stream_options":{ }}"#,
            Some(r#"{"stream":true,"stream_options":{"include_usage":true }}"#),
        ),
        (
            r#"{"stream_options":{"include_obfuscation":false},"stream":true}"#,
            Some(r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}"#),
        ),
        (
            r#"{"stream_options" : {"x":1, "include_usage" : false },"stream":true}"#,
            Some(r#"{"stream_options" : {"x":1, "include_usage" : true },"stream":true}"#),
        ),
        (r#"{"stream":true,"stream_options":{"include_usage":true}}"#, None),
        (r#"{"stream":true,"stream_options":{"include_usage":"x"}}"#, None),
        (r#"{"stream":true,"stream_options":[]}"#, None),
        (r#"{"stream":false}"#, None),
        (r#"{"stream":"true"}"#, None),
        (r#"{"x":{"stream":true}}"#, None),
        ("{}", None),
        ("[true]", None),
    ] {
        let got = asked(body);
        assert_eq!(got.as_deref(), wanted, "{body}");
        if let Some(got) = got {
            assert!(
                crate::canonical::canonical(got.as_bytes(), [].into()).unwrap().summary.include_usage,
                "{got}"
            );
        }
    }
    assert_eq!(ask_for_usage(br#"{"stream":true,"stream":false}"#), Err(Ambiguous::Duplicate));
    assert_eq!(ask_for_usage(b"{"), Err(Ambiguous::Cut));
}

#[test]
fn another_model_is_asked_and_nothing_else_changes() {
    assert_eq!(
        modelled(r#"{"a":[1.0], "model" : "gpt-4o" ,"b":"\u0061"}"#, "small"),
        r#"{"a":[1.0], "model" : "small" ,"b":"\u0061"}"#
    );
    assert_eq!(
        modelled(r#"{"x":{"model":"y"},"model":null}"#, "a\"b"),
        r#"{"x":{"model":"y"},"model":"a\"b"}"#
    );
    assert_eq!(modelled("{}", "m"), r#"{"model":"m"}"#);
    assert_eq!(modelled(r#"{"a":1}"#, "m"), r#"{"model":"m","a":1}"#);
    assert_eq!(ask_model(b"[]", "m"), Ok(None));
    assert_eq!(ask_model(br#"{"model":1,"model":2}"#, "m"), Err(Ambiguous::Duplicate));
}

#[test]
fn streams_cut_anywhere_lose_their_extra_event_and_nothing_else() {
    let mut chance = Chance::new(41);
    let mut taken = 0;
    for round in 0..10_000 {
        let api = *chance.of(&[Api::Chat, Api::Completions, Api::Responses, Api::Messages]);
        let script = script(&mut chance, api);
        let mut wanted = Vec::new();
        let mut from = 0;
        for range in &script.extra {
            wanted.extend_from_slice(&script.bytes[from..range.start]);
            from = range.end.min(script.bytes.len());
        }
        wanted.extend_from_slice(&script.bytes[from..]);
        let got = filtered(&chance.cuts(&script.bytes));
        assert_eq!(got, wanted, "{round} {:?}", String::from_utf8_lossy(&script.bytes));
        taken += script.extra.len();
    }
    assert!(taken > 1_000, "{taken}");
}

#[test]
fn a_stream_without_its_extra_event_is_as_complete_as_before() {
    let mut chance = Chance::new(42);
    for _ in 0..500 {
        let script = script(&mut chance, Api::Chat);
        let mut answer = Answer::new(Api::Chat, Body::Events);
        answer.push(&filtered(&[&script.bytes]));
        assert_eq!(answer.finish().lack, script.lack);
    }
}

#[test]
fn what_is_no_stream_at_all_passes_as_it_is() {
    let mut chance = Chance::new(43);
    for _ in 0..2_000 {
        let mut bytes: Vec<u8> = chance.text(200).into_bytes();
        for _ in 0..chance.below(20) {
            let place = chance.below(bytes.len() + 1);
            let noise =
                [&b"\n\n"[..], b"data: ", b"\r", b"{\"choices\":[", b"]}", b"\xff", b":"][chance.below(7)];
            bytes.splice(place..place, noise.iter().copied());
        }
        assert_eq!(filtered(&chance.cuts(&bytes)), bytes);
    }
}

#[test]
fn an_event_goes_on_as_soon_as_it_can_not_be_the_one() {
    let mut filter = UsageFilter::default();
    assert!(filter.push(b"data: {\"id\":\"x\",\"choices\":").is_empty());
    assert_eq!(&*filter.push(b"[{"), b"data: {\"id\":\"x\",\"choices\":[{");
    assert!(matches!(filter.push(b"\"delta\":{\"content\":\"a\"}}]}"), Cow::Borrowed(_)));
    assert_eq!(&*filter.push(b"\n\n"), b"\n\n");
    assert!(matches!(filter.push(b": a comment\n\n: another"), Cow::Borrowed(_)));
    assert!(matches!(filter.push(b"\n\ndata: [DONE]\n"), Cow::Borrowed(_)));
    assert!(matches!(filter.push(b"\n"), Cow::Borrowed(_)));
}

/// <https://github.com/TheR1D/shell_gpt/issues/741>
#[test]
fn a_client_that_counts_on_a_choice_never_sees_an_event_without_one() {
    let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\ndata: {\"usage\":{\"completion_tokens\":2,\"prompt_tokens\":98},\"choices\":[]}\n\ndata: [DONE]\n\n";
    for cut in 0..stream.len() {
        let (first, second) = stream.as_bytes().split_at(cut);
        let out = String::from_utf8(filtered(&[first, second])).unwrap();
        assert!(!out.contains("\"choices\":[]"), "{cut}");
        assert!(out.ends_with("\"usage\":null}\n\ndata: [DONE]\n\n"), "{cut}");
    }
}

#[test]
fn an_event_of_filters_without_choices_and_without_usage_passes() {
    let stream = b"data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\ndata: {\"choices\":[],\"usage\":null}\n\ndata: {\"usage\":{\"prompt_tokens\":1}}\n\n";
    assert_eq!(filtered(&[stream]), stream);
}

#[test]
fn an_extra_event_that_is_not_closed_is_taken_out_too() {
    let stream = "data: {\"choices\":[{}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}";
    assert_eq!(filtered(&[stream.as_bytes()]), b"data: {\"choices\":[{}]}\n\n");
}

#[test]
fn no_more_is_held_than_an_event_may_have() {
    let mut filter = UsageFilter::default();
    let mut passed = filter.push(b"data: {\"x\":\"").len();
    for _ in 0..200 {
        passed += filter.push(&[b'y'; 1000]).len();
        assert!(filter.held_bytes() <= MAX_EVENT);
    }
    let end = b"\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
    passed += filter.push(end).len();
    passed += filter.finish().len();
    assert_eq!(passed, 12 + 200_000 + end.len());
    assert_eq!(filter.taken(), 0);
}

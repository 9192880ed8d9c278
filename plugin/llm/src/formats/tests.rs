use super::*;
use crate::chance::Chance;
use crate::script::{script, whole};

fn json(api: Api, body: &str) -> Outcome {
    let mut answer = Answer::new(api, Body::Json);
    answer.push(body.as_bytes());
    answer.finish()
}

fn events(api: Api, stream: &str) -> Outcome {
    let mut answer = Answer::new(api, Body::Events);
    answer.push(stream.as_bytes());
    answer.finish()
}

#[test]
fn of_streams_cut_anywhere_the_usage_is_right_and_no_incomplete_one_is_complete() {
    let mut chance = Chance::new(31);
    let (mut complete, mut counted) = (0, 0);
    for round in 0..10_000 {
        let api = *chance.of(&[Api::Chat, Api::Completions, Api::Responses, Api::Messages]);
        let script = script(&mut chance, api);
        let mut answer = Answer::new(api, Body::Events);
        for chunk in chance.cuts(&script.bytes) {
            answer.push(chunk);
        }
        let outcome = answer.finish();
        let text = String::from_utf8_lossy(&script.bytes);
        assert_eq!(outcome.usage, script.usage, "{round} {api:?} {text}");
        assert_eq!(outcome.lack, script.lack, "{round} {api:?} {text}");
        if let (None, Some(usage)) = (outcome.lack, script.usage) {
            assert_eq!(outcome.counted(1), Counted::Told(usage), "{round} {api:?} {text}");
        }
        assert_eq!(outcome.progress.content_events, script.content_events, "{round} {api:?} {text}");
        assert_eq!(outcome.progress.delta_bytes, script.delta_bytes, "{round} {api:?} {text}");
        complete += usize::from(outcome.lack.is_none());
        counted += usize::from(outcome.usage.is_some());
        // What is broken off.
        let length = chance.below(script.bytes.len());
        let mark = script.after(length);
        let mut answer = Answer::new(api, Body::Events);
        for chunk in chance.cuts(&script.bytes[..length]) {
            answer.push(chunk);
        }
        let outcome = answer.finish();
        let text = String::from_utf8_lossy(&script.bytes[..length]);
        let (events, bytes) = (outcome.progress.content_events, outcome.progress.delta_bytes);
        assert_eq!((events, bytes), (mark.content_events, mark.delta_bytes), "{round} {api:?} {text}");
        assert_eq!((outcome.usage, outcome.settled), (mark.usage, mark.settled), "{round} {api:?} {text}");
        assert_eq!(outcome.model.is_some(), mark.named, "{round} {api:?} {text}");
        assert!(outcome.lack.is_some() || length >= script.whole_from, "{round} {api:?} {text}");
    }
    assert!(complete > 5_000 && counted > 7_000, "{complete} {counted}");
}

#[test]
fn of_any_json_the_usage_is_right_and_no_incomplete_one_is_complete() {
    let mut chance = Chance::new(33);
    for round in 0..10_000 {
        let api = *chance.of(&[Api::Chat, Api::Completions, Api::Responses, Api::Embeddings, Api::Messages]);
        let script = whole(&mut chance, api);
        let mut answer = Answer::new(api, Body::Json);
        for chunk in chance.cuts(&script.bytes) {
            answer.push(chunk);
        }
        let outcome = answer.finish();
        let text = String::from_utf8_lossy(&script.bytes);
        assert_eq!(outcome.lack, script.lack, "{round} {api:?} {text}");
        match script.lack {
            Some(Lack::Cut | Lack::Unreadable) => assert!(!outcome.settled, "{round} {api:?} {text}"),
            _ => {
                let told = (script.usage, script.usage.is_some());
                assert_eq!((outcome.usage, outcome.settled), told, "{round} {api:?} {text}");
                assert_eq!(outcome.progress.delta_bytes, script.delta_bytes, "{round} {api:?} {text}");
            }
        }
    }
}

#[test]
fn no_beginning_of_a_stream_is_complete() {
    let mut chance = Chance::new(32);
    for _ in 0..60 {
        let api = *chance.of(&[Api::Chat, Api::Responses, Api::Messages]);
        let script = script(&mut chance, api);
        for length in 0..script.bytes.len() {
            let mut answer = Answer::new(api, Body::Events);
            answer.push(&script.bytes[..length]);
            if answer.finish().lack.is_none() {
                // All that may be missing is a line end, or a `[DONE]` that the API does not need.
                let rest = String::from_utf8_lossy(&script.bytes[length..]);
                assert!(!rest.contains('{'), "{rest:?}");
            }
        }
    }
}

#[test]
fn an_api_is_known_by_the_end_of_its_path() {
    let of = |provider: Provider, path: &str| provider.api(path.as_bytes());
    for (path, api) in [
        ("/v1/chat/completions", Some(Api::Chat)),
        ("/chat/completions", Some(Api::Chat)),
        ("/openai/deployments/x/chat/completions?api-version=2", Some(Api::Chat)),
        ("/v1/chat/completions/", Some(Api::Chat)),
        ("/v1/completions", Some(Api::Completions)),
        ("/v1/responses", Some(Api::Responses)),
        ("/v1/embeddings", Some(Api::Embeddings)),
        ("/v1/messages", None),
        ("/v1/responses/resp_1", None),
        ("/v1/mycompletions", None),
        ("/v1/models?x=/embeddings", None),
        ("", None),
    ] {
        assert_eq!(of(Provider::OpenAi, path), api, "{path}");
    }
    assert_eq!(of(Provider::Anthropic, "/v1/messages"), Some(Api::Messages));
    assert_eq!(of(Provider::Anthropic, "/v1/messages/count_tokens"), None);
    assert_eq!(of(Provider::Anthropic, "/v1/chat/completions"), None);
    for provider in [Provider::OpenAi, Provider::Anthropic] {
        assert_eq!(Provider::named(provider.as_str()), Some(provider));
    }
    assert_eq!(Provider::named("OpenAI"), None);
}

#[test]
fn answers_as_json_are_read() {
    let chat = r#"{"id":"c","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hi \u00e4","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}"#;
    let outcome = json(Api::Chat, chat);
    assert_eq!(outcome.usage, Some(Usage { input: 9, cached: 4, cache_write: 0, output: 12, reasoning: 3 }));
    assert_eq!(
        (outcome.lack, outcome.model.as_deref(), outcome.progress.delta_bytes),
        (None, Some("gpt-4o"), 8)
    );
    let messages = r#"{"type":"message","model":"claude","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"cache_read_input_tokens":10,"cache_creation_input_tokens":5,"output_tokens":2}}"#;
    let outcome = json(Api::Messages, messages);
    assert_eq!(outcome.usage, Some(Usage { input: 18, cached: 10, cache_write: 5, output: 2, reasoning: 0 }));
    assert_eq!(
        (outcome.lack, outcome.model.as_deref(), outcome.progress.delta_bytes),
        (None, Some("claude"), 2)
    );
    let embeddings = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2e-5]}],"model":"e","usage":{"prompt_tokens":5,"total_tokens":5}}"#;
    let outcome = json(Api::Embeddings, embeddings);
    assert_eq!((outcome.usage.map(|usage| usage.total()), outcome.lack), (Some(5), None));
    let responses = r#"{"status":"completed","model":"gpt-5","error":null,"incomplete_details":null,"output":[{"type":"message","content":[{"type":"output_text","text":"Hello"}]}],"usage":{"input_tokens":1,"output_tokens":2}}"#;
    let outcome = json(Api::Responses, responses);
    assert_eq!((outcome.usage.map(|usage| usage.total()), outcome.lack), (Some(3), None));
    assert_eq!(outcome.progress.delta_bytes, 5);
}

#[test]
fn what_is_not_complete_as_json_says_why() {
    for (api, body, lack) in [
        (Api::Chat, r#"{"choices":[{"index":0,"finish_reason":"stop"}]"#, Lack::Cut),
        (Api::Chat, r#"{"choices":[{"index":0,"finish_reason":"stop"}]}}"#, Lack::Unreadable),
        (Api::Chat, r#"{"choices":[]}"#, Lack::Unfinished),
        (Api::Chat, "{}", Lack::Unfinished),
        (Api::Chat, r#"{"choices":[{"index":0,"finish_reason":null}]}"#, Lack::Unfinished),
        (Api::Chat, r#"{"choices":[{"index":0,"finish_reason":"content_filter"}]}"#, Lack::Refused),
        (Api::Chat, r#"{"choices":[{"index":0,"finish_reason":"error"}]}"#, Lack::Error),
        (
            Api::Chat,
            r#"{"choices":[{"index":0,"finish_reason":"insufficient_system_resource"}]}"#,
            Lack::Unfinished,
        ),
        (Api::Chat, r#"{"choices":[{"index":0,"finish_reason":"abort"}]}"#, Lack::Unfinished),
        (Api::Chat, r#"{"choices":[{"index":0,"finish_reason":""}]}"#, Lack::Unfinished),
        (Api::Chat, r#"{"choices":[{"index":0,"finish_reason":"stop"},{"index":1}]}"#, Lack::Unfinished),
        (Api::Chat, r#"{"choices":[{"index":999,"finish_reason":"stop"}]}"#, Lack::Unfinished),
        (Api::Chat, r#"{"error":{"message":"no"}}"#, Lack::Error),
        (Api::Completions, r#"{"choices":[{"text":"a"}]}"#, Lack::Unfinished),
        (
            Api::Responses,
            r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#,
            Lack::Refused,
        ),
        (
            Api::Responses,
            r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#,
            Lack::Unfinished,
        ),
        (Api::Responses, r#"{"status":"failed","error":{"code":"x"}}"#, Lack::Error),
        (Api::Responses, r#"{"status":"in_progress"}"#, Lack::Unfinished),
        (Api::Messages, r#"{"type":"message","stop_reason":null}"#, Lack::Unfinished),
        (Api::Messages, r#"{"type":"message","stop_reason":"refusal"}"#, Lack::Refused),
        (Api::Messages, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, Lack::Error),
        (Api::Embeddings, r#"{"data":[]}"#, Lack::Unfinished),
        (Api::Embeddings, "", Lack::Cut),
    ] {
        assert_eq!(json(api, body).lack, Some(lack), "{body}");
    }
    assert_eq!(json(Api::Chat, r#"{"choices":[{"index":0,"finish_reason":"length"}]}"#).lack, None);
}

/// <https://github.com/envoyproxy/ai-gateway/issues/2162>
#[test]
fn the_usage_of_an_event_that_spans_chunks_is_counted() {
    let stream = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}}\n\n";
    for cut in 0..stream.len() {
        let mut answer = Answer::new(Api::Responses, Body::Events);
        answer.push(&stream.as_bytes()[..cut]);
        answer.push(&stream.as_bytes()[cut..]);
        let outcome = answer.finish();
        assert_eq!((outcome.usage.map(|usage| usage.total()), outcome.lack), (Some(11), None));
    }
}

/// <https://github.com/higress-group/higress/issues/1080>
#[test]
fn a_usage_that_is_told_with_every_event_is_counted_once() {
    let event = |output: u64| {
        format!(
            r#"data: {{"choices":[{{"index":0,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":5,"completion_tokens":{output}}}}}"#
        )
    };
    let outcome =
        events(Api::Chat, &format!("{}\n\n{}\n\n{}\n\ndata: [DONE]\n\n", event(1), event(2), event(3)));
    assert_eq!(outcome.usage, Some(Usage { input: 5, output: 3, ..Usage::default() }));
}

/// <https://github.com/BerriAI/litellm/issues/36168>
#[test]
fn a_usage_beside_a_choice_keeps_its_cached_tokens() {
    let stream = "data: {\"choices\": [{\"index\": 0, \"delta\": {}}], \"usage\": {\"completion_tokens\": 2, \"prompt_tokens\": 16111, \"total_tokens\": 16113, \"completion_tokens_details\": {\"reasoning_tokens\": 0}, \"prompt_tokens_details\": {\"cached_tokens\": 15872}}}\n\ndata: [DONE]\n\n";
    let usage = events(Api::Chat, stream).usage.unwrap();
    assert_eq!((usage.input, usage.cached, usage.output), (16111, 15872, 2));
}

/// <https://github.com/higress-group/higress/issues/3953>
#[test]
fn a_first_event_without_content_does_not_make_a_stream_incomplete() {
    let stream = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let outcome = events(Api::Chat, stream);
    assert_eq!((outcome.lack, outcome.progress.content_events, outcome.progress.events), (None, 1, 4));
}

/// <https://github.com/higress-group/higress/issues/1624>
#[test]
fn streams_with_carriage_returns_are_read() {
    let stream = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    assert_eq!(events(Api::Chat, stream).lack, None);
    assert_eq!(events(Api::Chat, &stream.replace("\r\n", "\r")).lack, None);
}

#[test]
fn an_event_longer_than_all_that_is_kept_is_read_all_the_same() {
    let text = "word ".repeat(100_000);
    let stream = format!(
        "data: {{\"type\":\"response.completed\",\"response\":{{\"output\":[{{\"text\":\"{text}\"}}],\"status\":\"completed\",\"usage\":{{\"input_tokens\":5,\"output_tokens\":6}}}}}}\n\n"
    );
    let outcome = events(Api::Responses, &stream);
    assert_eq!((outcome.usage.map(|usage| usage.total()), outcome.lack), (Some(11), None));
}

#[test]
fn an_error_before_the_end_spoils_the_stream() {
    let error = "data: {\"error\":{\"message\":\"engine died\"}}\n\ndata: [DONE]\n\n";
    let start = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\n";
    assert_eq!(events(Api::Chat, &format!("{start}{error}")).lack, Some(Lack::Error));
    let named = "event: error\ndata: {\"code\":500}\n\ndata: [DONE]\n\n";
    assert_eq!(events(Api::Chat, &format!("{start}{named}")).lack, Some(Lack::Error));
}

#[test]
fn two_answers_in_one_stream_are_none() {
    let start = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    assert_eq!(events(Api::Chat, start).lack, None);
    assert_eq!(events(Api::Chat, &start.repeat(2)).lack, Some(Lack::Unreadable));
}

#[test]
fn what_was_not_told_is_estimated() {
    assert_eq!(estimate(401, 7, 20), Usage { input: 101, output: 7, ..Usage::default() });
    assert_eq!(estimate(400, 2, 20), Usage { input: 100, output: 5, ..Usage::default() });
    assert_eq!(estimate(0, 0, 0), Usage::default());
}

/// <https://github.com/BerriAI/litellm/issues/14457>
#[test]
fn what_a_client_has_not_waited_for_is_counted_all_the_same() {
    let told = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n";
    let delta = "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"some words\"}}\n\n";
    let left = events(Api::Messages, &format!("{told}{}", delta.repeat(20)));
    assert_eq!(left.lack, Some(Lack::Cut));
    assert_eq!(left.counted(400), Counted::Estimated(Usage { input: 9, output: 50, ..Usage::default() }));

    let delta = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    let left = events(Api::Chat, &delta.repeat(20));
    assert_eq!(left.counted(400), Counted::Estimated(Usage { input: 100, output: 20, ..Usage::default() }));

    let end = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n";
    let left = events(Api::Chat, &format!("{}{end}", delta.repeat(20)));
    assert_eq!(left.counted(400), Counted::Told(Usage { input: 7, output: 3, ..Usage::default() }));
}

#[test]
fn counts_that_contradict_each_other_stay_in_bounds() {
    let body = r#"{"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9,"cache_write_tokens":9},"completion_tokens_details":{"reasoning_tokens":9}}}"#;
    let wanted = Usage { input: 5, cached: 5, cache_write: 0, output: 2, reasoning: 2 };
    assert_eq!(json(Api::Chat, body).usage, Some(wanted));
    let huge = r#"{"usage":{"input_tokens":18446744073709551615,"cache_read_input_tokens":18446744073709551615,"output_tokens":1e400}}"#;
    assert_eq!(json(Api::Messages, huge).usage.map(|usage| (usage.input, usage.output)), Some((u64::MAX, 0)));
    assert_eq!(json(Api::Chat, r#"{"usage":{"prompt_tokens":-1,"completion_tokens":"7"}}"#).usage, None);
}

#[test]
fn refusals_have_the_shape_of_the_api() {
    for (provider, why, wanted) in [
        (
            Provider::OpenAi,
            Refusal::Quota,
            r#"{"error":{"message":"m\"","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        ),
        (
            Provider::OpenAi,
            Refusal::RateLimit,
            r#"{"error":{"message":"m\"","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#,
        ),
        (
            Provider::OpenAi,
            Refusal::Overload,
            r#"{"error":{"message":"m\"","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}"#,
        ),
        (
            Provider::Anthropic,
            Refusal::Quota,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"m\""}}"#,
        ),
        (
            Provider::Anthropic,
            Refusal::Overload,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m\""}}"#,
        ),
    ] {
        let body = refusal(provider, why, "m\"");
        assert_eq!(String::from_utf8(body).unwrap(), wanted);
    }
    assert_eq!(Refusal::Quota.status(), 429);
    assert_eq!(Refusal::Overload.status(), 503);
}

#[test]
fn content_types_tell_the_form() {
    assert_eq!(Body::of_content_type(b"text/event-stream; charset=utf-8"), Some(Body::Events));
    assert_eq!(Body::of_content_type(b"Application/JSON"), Some(Body::Json));
    assert_eq!(Body::of_content_type(b"text/html"), None);
}

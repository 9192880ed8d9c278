//! Tokens of language models: counted once each, by what the provider says, and priced.

use selvage_engine::host::Word;

use crate::gateway::{Call, Gateway, Origin, origin};

const CHAT: &str = "/v1/chat/completions";
const QUESTION: &str = r#"{"model":"gpt-4o","temperature":0,"messages":[{"role":"user","content":"Hi"}]}"#;
const RANDOM: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}"#;
const ANSWER: &str = r#"{"id":"c-1","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":100,"prompt_tokens_details":{"cached_tokens":600},"completion_tokens_details":{"reasoning_tokens":40}}}"#;
const EVENT: &str =
    "data: {\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n";
const END: &str = concat!(
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n"
);

/// Counts for everything; the answers of what is deterministic are stored.
fn open() -> Gateway {
    Gateway::with(
        r#"{"models":[{"name":"gpt-4o","input":2.5,"cached":1.25,"output":10}],
            "rules":[{"name":"chat","llm":{"api":"openai","usage":"count","cache":{"share":[]}}}]}"#,
    )
}

fn counting_only() -> Gateway {
    Gateway::with(r#"{"rules":[{"name":"chat","llm":{"api":"openai","usage":"count"}}]}"#)
}

fn json(body: &str) -> Origin {
    origin(200).header("content-type", "application/json").body(body)
}

fn events() -> Origin {
    origin(200).header("content-type", "text/event-stream")
}

fn ask<'g>(gateway: &'g mut Gateway, body: &str) -> Call<'g> {
    let length = body.len().to_string();
    gateway.post(CHAT).header("content-length", &length).chunk(body)
}

/// What has been counted of a model.
fn counted(gateway: &mut Gateway, model: &str, family: &'static str, words: &[&'static str]) -> Vec<u64> {
    gateway.exports();
    let of = |word: &&'static str| {
        let word: Word = (family, word);
        gateway.shared.rule_metrics.get(&(model.into(), word)).copied().unwrap_or_default()
    };
    words.iter().map(of).collect()
}

const KINDS: [&str; 5] = ["input", "cached", "cache-write", "output", "reasoning"];
const KNOWN: [&str; 3] = ["told", "estimated", "saved"];

#[test]
fn each_token_is_counted_once_in_its_kind_and_what_a_store_spares_apart() {
    let mut gateway = open();
    ask(&mut gateway, QUESTION).at(0).miss(json(ANSWER)).stored();
    assert_eq!(counted(&mut gateway, "gpt-4o", "llm_tokens", &KINDS), [400, 600, 0, 60, 40]);
    // 400 · 2.5 + 600 · 1.25 + 100 · 10, of a million each.
    assert_eq!(counted(&mut gateway, "gpt-4o", "llm_cost_nanos", &["spent", "saved"]), [2_750_000, 0]);
    for _ in 0..2 {
        ask(&mut gateway, QUESTION).at(1).hit().content(ANSWER);
    }
    assert_eq!(counted(&mut gateway, "gpt-4o", "llm_tokens", &KINDS), [400, 600, 0, 60, 40]);
    assert_eq!(counted(&mut gateway, "gpt-4o", "llm_saved_tokens", &KINDS), [800, 1200, 0, 120, 80]);
    assert_eq!(
        counted(&mut gateway, "gpt-4o", "llm_cost_nanos", &["spent", "saved"]),
        [2_750_000, 5_500_000]
    );
    assert_eq!(counted(&mut gateway, "gpt-4o", "llm_requests", &KNOWN), [1, 0, 2]);
}

#[test]
fn what_passes_the_cache_is_counted_too_wherever_it_is_cut() {
    let stream = format!("{EVENT}{END}");
    for cut in (0..stream.len()).step_by(3) {
        for mut gateway in [open(), counting_only()] {
            let (head, tail) = stream.split_at(cut);
            ask(&mut gateway, RANDOM).forwarded(events().body(head).body(tail)).content(&stream);
            let model = if gateway.shared.rule_metrics.is_empty() { "gpt-4o" } else { "other" };
            let found: Vec<u64> = ["gpt-4o", "other"]
                .iter()
                .flat_map(|model| counted(&mut gateway, model, "llm_tokens", &KINDS))
                .collect();
            assert_eq!(found.iter().sum::<u64>(), 12, "{cut} {model}");
        }
    }
    let mut gateway = counting_only();
    ask(&mut gateway, RANDOM).forwarded(events().body(EVENT).body(END).trailers());
    assert_eq!(counted(&mut gateway, "other", "llm_requests", &KNOWN), [1, 0, 0]);
    // Nobody knows what it costs.
    assert_eq!(counted(&mut gateway, "other", "llm_cost_nanos", &["spent"]), [0]);
}

/// <https://github.com/BerriAI/litellm/issues/14457>
#[test]
fn who_leaves_and_what_breaks_off_is_estimated() {
    for gateway in [&mut open(), &mut counting_only()] {
        let flight = ask(gateway, RANDOM).at(0).leaves();
        let mut flight = gateway.answers_later(flight, 0, events());
        gateway.more_of_the_answer(&mut flight, 1, EVENT);
        gateway.goes_away(flight, 2);
        let tokens: Vec<_> = ["gpt-4o", "other"]
            .iter()
            .map(|model| {
                let tokens = counted(gateway, model, "llm_tokens", &KINDS);
                (tokens, counted(gateway, model, "llm_requests", &KNOWN))
            })
            .filter(|(tokens, _)| tokens.iter().sum::<u64>() > 0)
            .collect();
        let input = RANDOM.len().div_ceil(4) as u64;
        assert_eq!(tokens, [(vec![input, 0, 0, 2, 0], vec![0, 1, 0])]);
    }
}

#[test]
fn without_usage_it_is_estimated_and_errors_cost_nothing() {
    let mut gateway = open();
    let silent =
        END.replace("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\n", "");
    ask(&mut gateway, RANDOM).forwarded(events().body(EVENT).body(&silent));
    assert_eq!(counted(&mut gateway, "gpt-4o", "llm_requests", &KNOWN), [0, 1, 0]);
    for error in [
        json(r#"{"error":{"message":"busy"}}"#),
        origin(429).header("content-type", "application/json").body(ANSWER),
        origin(200).header("content-type", "text/plain").body(ANSWER),
    ] {
        ask(&mut gateway, RANDOM).forwarded(error);
    }
    assert_eq!(counted(&mut gateway, "gpt-4o", "llm_requests", &KNOWN), [0, 1, 0]);
    assert_eq!(counted(&mut gateway, "other", "llm_requests", &KNOWN), [0, 0, 0]);
}

#[test]
fn what_is_counted_is_readable_and_nothing_else_of_the_rule_is_touched() {
    let mut gateway = counting_only();
    let flight = ask(&mut gateway, RANDOM).header("accept-encoding", "gzip").leaves();
    assert!(flight.removes("accept-encoding"));
    gateway.answers(flight, 0, json(ANSWER));
    let flight = gateway.get("/v1/models").header("accept-encoding", "gzip").leaves();
    assert!(!flight.removes("accept-encoding"));
    gateway.answers(flight, 0, json("{}"));
    assert_eq!(counted(&mut gateway, "other", "llm_requests", &KNOWN), [1, 0, 0]);
}

#[test]
fn an_answer_in_another_form_than_asked_for_is_counted_and_not_stored() {
    let mut gateway = open();
    ask(&mut gateway, QUESTION).at(0).miss(events().body(EVENT).body(END));
    ask(&mut gateway, QUESTION).at(1).miss(json(ANSWER)).stored();
    assert_eq!(counted(&mut gateway, "gpt-4o", "llm_requests", &KNOWN), [2, 0, 0]);
}

/// What providers say more than once counts once.
/// <https://github.com/envoyproxy/ai-gateway/pull/2239>, <https://github.com/tensorzero/tensorzero/issues/5481>,
/// <https://github.com/langfuse/langfuse/issues/8808>
#[test]
fn what_is_said_again_and_again_counts_once() {
    let again = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n"
    );
    let mut gateway = counting_only();
    ask(&mut gateway, RANDOM).forwarded(events().body(again));
    assert_eq!(counted(&mut gateway, "other", "llm_tokens", &KINDS), [9, 0, 0, 3, 0]);
    let twice = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude\",\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":7,\"output_tokens\":1}}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":7,\"output_tokens\":15}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    );
    let mut gateway =
        Gateway::with(r#"{"rules":[{"name":"messages","llm":{"api":"anthropic","usage":"count"}}]}"#);
    gateway.post("/v1/messages").chunk(RANDOM).forwarded(events().body(twice));
    assert_eq!(counted(&mut gateway, "other", "llm_tokens", &KINDS), [25, 100, 7, 15, 0]);
}

#[test]
fn of_streams_operators_see_how_long_they_take_how_fast_they_are_and_who_ends_them() {
    for mut gateway in [open(), counting_only()] {
        let measured = |gateway: &mut Gateway, word: Word| {
            let samples = &gateway.workers[0].stats.samples;
            samples.iter().filter(|(of, _)| *of == word).map(|(_, value)| *value).collect::<Vec<_>>()
        };
        let flight = ask(&mut gateway, RANDOM).at(0).leaves();
        let mut flight = gateway.answers_later(flight, 1, events());
        // Many begin with an empty one, before they have read the question.
        let hello =
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
        gateway.more_of_the_answer(&mut flight, 2, hello);
        gateway.more_of_the_answer(&mut flight, 3, EVENT);
        assert_eq!(gateway.workers[0].load().llm_streams, Some(1));
        gateway.more_of_the_answer(&mut flight, 4, &EVENT[..10]);
        gateway.more_of_the_answer(&mut flight, 4, &EVENT[10..]);
        gateway.more_of_the_answer(&mut flight, 9, END);
        gateway.goes_away(flight, 10);
        // One that has only begun.
        let flight = ask(&mut gateway, RANDOM).at(20).leaves();
        let flight = gateway.answers_later(flight, 20, events());
        gateway.goes_away(flight, 21);
        assert_eq!(gateway.workers[0].load().llm_streams, Some(0));
        ask(&mut gateway, RANDOM).at(30).forwarded(events().body(EVENT).body(END));
        let steps = ["first-event", "first-content", "gap", "duration"]
            .map(|step| measured(&mut gateway, ("llm_stream_ms", step)));
        assert_eq!(steps, [vec![2000, 0], vec![3000, 0], vec![5000, 0], vec![10_000, 1000, 0]]);
        // Three tokens, written within one second: https://github.com/NousResearch/hermes-agent/pull/112405
        assert_eq!(measured(&mut gateway, ("llm_tokens_per_second", "output")), [3]);
        let ended = ["whole", "client", "origin"].map(|word| gateway.counted(0, "llm_streams", word));
        assert_eq!(ended, [1, 2, 0]);
        assert_eq!(["content", "other"].map(|word| gateway.counted(0, "llm_events", word)), [3, 7]);
    }
    // Where nothing is counted nothing is measured, and a JSON is no stream.
    let mut silent = Gateway::with(r#"{"rules":[{"name":"chat","llm":{"api":"openai","cache":{}}}]}"#);
    ask(&mut silent, RANDOM).forwarded(events().body(EVENT).body(END));
    let mut gateway = open();
    ask(&mut gateway, QUESTION).at(0).miss(json(ANSWER)).stored();
    for gateway in [&mut silent, &mut gateway] {
        assert_eq!(gateway.counted(0, "llm_streams", "whole"), 0);
    }
    assert_eq!(
        (silent.workers[0].load().llm_streams, gateway.workers[0].load().llm_streams),
        (None, Some(0))
    );
}

//! Limits in tokens: what a request may use is taken when it goes to the model, and what it has not used comes back.

use selvage_engine::host::Word;

use crate::gateway::{Call, Gateway, Origin, origin};

const CHAT: &str = "/v1/chat/completions";

/// 1000 tokens at once and by the hour.
fn open(more: &str) -> Gateway {
    Gateway::with(&format!(
        r#"{{"limits":[{{"name":"tpm","by":["header:x-team"],"unit":"tokens","quota":1000,"window":"1h","burst":1000,"cost":100}}],
            "rules":[{{"name":"chat","limits":["tpm"],"llm":{{"api":"openai","cache":{{"share":[]}}}}{more}}}]}}"#
    ))
}

/// A question of 300 bytes, which may use 100 tokens for itself, with `max_tokens` if there is any.
fn question(nth: usize, max_tokens: Option<u64>) -> String {
    let most = max_tokens.map_or_else(String::new, |most| format!(r#""max_tokens":{most},"#));
    let begin = format!(r#"{{"model":"m","temperature":0,{most}"nth":{nth},"messages":""#);
    let rest = 300 - begin.len() - 2;
    format!("{begin}{}\"}}", "x".repeat(rest))
}

fn ask<'g>(gateway: &'g mut Gateway, team: &str, body: &str) -> Call<'g> {
    gateway.post(CHAT).header("x-team", team).header("content-length", &body.len().to_string()).chunk(body)
}

/// An answer that has used so many.
fn used(tokens: u64) -> Origin {
    let input = tokens / 2;
    origin(200).header("content-type", "application/json").body(format!(
        r#"{{"model":"m","choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{input},"completion_tokens":{}}}}}"#,
        tokens - input
    ))
}

/// How many tokens a team has left: as many as one more request could take.
fn left(gateway: &mut Gateway, team: &str, nth: usize) -> u64 {
    let (mut least, mut most) = (0_u64, 1001);
    while most - least > 1 {
        let tried = (least + most) / 2;
        // Of these 100 are for the question itself.
        let answer = ask(gateway, team, &question(1000 + nth, Some(tried.saturating_sub(100)))).at(0).send();
        match answer {
            crate::gateway::Sent::Left(flight) => {
                gateway.answers(flight, 0, origin(503));
                least = tried;
            }
            other => {
                other.answered().status(429);
                most = tried;
            }
        }
    }
    least
}

#[test]
fn what_a_request_may_use_is_taken_and_the_rest_comes_back() {
    let mut gateway = open("");
    let flights: Vec<_> =
        (0..5).map(|nth| ask(&mut gateway, "a", &question(nth, Some(100))).at(0).leaves()).collect();
    let refused = ask(&mut gateway, "a", &question(9, Some(100))).at(0).answered();
    refused.status(429).detail("limited").has("content-type", "application/json");
    // Another team has its own.
    let other = ask(&mut gateway, "b", &question(9, Some(100))).at(0).leaves();
    gateway.answers(other, 0, used(50));
    for flight in flights {
        gateway.answers(flight, 0, used(20));
    }
    assert_eq!(left(&mut gateway, "a", 0), 900);
    assert_eq!(left(&mut gateway, "b", 1), 950);
    // What a store answers takes nothing.
    for _ in 0..50 {
        ask(&mut gateway, "a", &question(0, Some(100))).at(0).hit();
    }
    assert_eq!(left(&mut gateway, "a", 2), 900);
}

#[test]
fn what_is_used_beyond_it_is_owed_and_what_says_no_bound_takes_the_cost() {
    let mut gateway = open("");
    let flight = ask(&mut gateway, "a", &question(0, None)).at(0).leaves();
    // 100 for the question, 100 for its answer.
    assert_eq!(left(&mut gateway, "a", 1), 800);
    gateway.answers(flight, 0, used(700));
    assert_eq!(left(&mut gateway, "a", 2), 300);
    let flight = ask(&mut gateway, "a", &question(3, None)).at(0).leaves();
    gateway.answers(flight, 0, used(2000));
    ask(&mut gateway, "a", &question(4, None)).at(3600).answered().status(429);
    let flight = ask(&mut gateway, "a", &question(4, None)).at(3600 * 4).leaves();
    gateway.answers(flight, 3600 * 4, used(1));
}

/// Nothing leaks, whatever becomes of a request. <https://github.com/BerriAI/litellm/issues/27639>
#[test]
fn whatever_becomes_of_it_nothing_is_kept_that_is_not_used() {
    let failed = [
        origin(500),
        origin(429).header("content-type", "application/json").body("{}"),
        origin(200).header("content-type", "application/json").body(r#"{"error":{"message":"busy"}}"#),
        crate::gateway::unreachable(),
    ];
    let mut gateway = open("");
    for (nth, response) in failed.into_iter().enumerate() {
        let flight = ask(&mut gateway, "a", &question(nth, Some(800))).at(0).leaves();
        gateway.answers(flight, 0, response);
        assert_eq!(left(&mut gateway, "a", nth), 1000, "{nth}");
    }
    // Who leaves before the head has its question counted, and who leaves in the middle what has come.
    let flight = ask(&mut gateway, "b", &question(0, Some(800))).at(0).leaves();
    gateway.goes_away(flight, 1);
    assert_eq!(left(&mut gateway, "b", 1), 900);
    let flight = ask(&mut gateway, "c", &question(0, Some(800))).at(0).leaves();
    let head = origin(200).header("content-type", "text/event-stream");
    let mut flight = gateway.answers_later(flight, 0, head);
    gateway.more_of_the_answer(
        &mut flight,
        1,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"abcdefgh\"}}]}\n\n",
    );
    gateway.goes_away(flight, 2);
    assert_eq!(left(&mut gateway, "c", 2), 1000 - 75 - 2);
    // What cannot be read may have used all of it.
    let flight = ask(&mut gateway, "d", &question(0, Some(800))).at(0).leaves();
    gateway.answers(
        flight,
        0,
        origin(200).header("content-encoding", "br").header("content-type", "application/json").body("?"),
    );
    assert_eq!(left(&mut gateway, "d", 3), 100);
}

#[test]
fn what_waits_for_a_place_and_leaves_has_used_nothing() {
    let pool = r#","admission":{"pool":"p"}"#;
    let config = open_config(pool);
    let mut gateway = Gateway::with(&config);
    let first = ask(&mut gateway, "a", &question(0, Some(100))).at(0).leaves();
    let waits = ask(&mut gateway, "b", &question(1, Some(800))).at(0).waits();
    gateway.goes_away(waits, 0);
    gateway.answers(first, 0, used(10));
    assert_eq!(left(&mut gateway, "b", 2), 1000);
}

fn open_config(rule: &str) -> String {
    format!(
        r#"{{"pools":[{{"name":"p","fixed":1}}],
            "limits":[{{"name":"tpm","by":["header:x-team"],"unit":"tokens","quota":1000,"window":"1h","burst":1000,"cost":100}}],
            "rules":[{{"name":"chat","limits":["tpm"],"llm":{{"api":"openai","cache":{{"share":[]}}}}{rule}}}]}}"#
    )
}

#[test]
fn who_is_refused_is_told_in_the_words_of_the_api() {
    for (api, path, kind) in [
        ("openai", CHAT, r#""code":"rate_limit_exceeded""#),
        ("anthropic", "/v1/messages", r#""type":"rate_limit_error""#),
    ] {
        let config = format!(
            r#"{{"limits":[{{"name":"tpm","by":[],"unit":"tokens","quota":10,"window":"1m"}}],
                "rules":[{{"name":"chat","limits":["tpm"],"llm":{{"api":"{api}"}}}}]}}"#
        );
        let mut gateway = Gateway::with(&config);
        let mut call = || {
            let body = question(0, None);
            gateway.post(path).header("content-length", "300").chunk(&body).at(0).send()
        };
        let flight = call().left();
        let refused = call().answered();
        let refused = refused.status(429).has("content-type", "application/json").has("retry-after", "30");
        assert!(String::from_utf8_lossy(refused.bytes()).contains(kind));
        gateway.answers(flight, 0, used(3));
        // It is counted without a word about `usage`.
        gateway.exports();
        let counted = |word: &'static str| {
            let word: Word = ("llm_requests", word);
            gateway.shared.rule_metrics.get(&("other".into(), word)).copied().unwrap_or_default()
        };
        assert_eq!(counted("told") + counted("estimated"), 1);
    }
}

#[test]
fn a_bound_counts_whether_the_answer_may_be_stored_or_not() {
    let mut gateway = open("");
    for words in [r#""temperature":1"#, r#""conversation":"c""#] {
        let body = question(0, Some(900)).replace(r#""temperature":0"#, words);
        let flight = ask(&mut gateway, "a", &body).at(0).leaves();
        ask(&mut gateway, "a", &body).at(0).answered().status(429);
        gateway.answers(flight, 0, used(0));
    }
    // Without a length its body is as long as it is.
    let body = question(0, Some(500)).replace(r#""temperature":0"#, r#""temperature":1"#);
    let flight = gateway.post(CHAT).header("x-team", "a").chunk(&body).at(0).leaves();
    assert_eq!(left(&mut gateway, "a", 1), 400);
    gateway.answers(flight, 0, used(0));
}

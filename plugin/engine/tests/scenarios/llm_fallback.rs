//! Another model is asked for one that cannot be, or has failed: by a route of its own, or by a call. Nothing of it is stored.

use selvage_engine::exchange::Wake;
use selvage_engine::host::Word;

use crate::gateway::{Call, Flight, Gateway, Origin, origin, unreachable};

const CHAT: &str = "/v1/chat/completions";
const ASKS: &str = r#"{"model":"large","seed":1,"messages":[]}"#;
const STREAM: &str = r#"{"model":"large","seed":1,"stream":true,"messages":[]}"#;
const ANSWER: &str = r#"{"model":"small-1","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;

/// With these members of the rule, and these of `llm`.
fn open(on: &str, rule: &str, llm: &str) -> Gateway {
    Gateway::with(&format!(
        r#"{{"models":[{{"name":"small","input":1,"output":1}}],
            "limits":[{{"name":"tpm","by":["header:x-team"],"unit":"tokens","quota":100,"window":"1h","burst":100,"cost":50}}],
            "rules":[{{"name":"chat",{rule}"llm":{{"api":"openai","usage":"count",{llm}
                "fallback":{{"header":"x-route","value":"backup","model":"small","on":[{on}],"cluster":"backup"}}}}}}]}}"#
    ))
}

const BREAKER: &str = r#""origin_breaker":{"enabled":true,"least_calls":2,"window":"10s","pause":"10s","longest_pause":"10s"},"#;
const CACHE: &str = r#""cache":{"share":[]},"#;

fn ask<'g>(gateway: &'g mut Gateway, body: &str) -> Call<'g> {
    gateway.post(CHAT).header("content-length", &body.len().to_string()).chunk(body)
}

fn json(status: u16, body: &str) -> Origin {
    origin(status).header("content-type", "application/json").body(body)
}

#[track_caller]
fn is_for_backup(flight: &Flight, body: &str) {
    assert_eq!(flight.field("x-route"), Some(Some("backup".to_owned())));
    assert_eq!(flight.body(body), body.replace("\"large\"", "\"small\""));
}

#[track_caller]
fn is_for_the_first(flight: &Flight, body: &str) {
    assert_eq!((flight.field("x-route"), flight.body(body)), (None, body.to_owned()));
}

fn counted(gateway: &mut Gateway, word: Word) -> u64 {
    gateway.exports();
    let of_models = ["small", "other"]
        .iter()
        .filter_map(|model| gateway.shared.rule_metrics.get(&((*model).into(), word)));
    of_models.sum::<u64>() + gateway.shared.metrics.get(&word).copied().unwrap_or_default()
}

/// Whether the cache takes part or stays out, with JSON and with streams.
#[test]
fn an_origin_that_is_left_alone_is_not_asked_and_its_breaker_hears_of_all() {
    for (cache, random) in [("", false), (CACHE, false), (CACHE, true)] {
        for body in [ASKS, STREAM] {
            let body = if random { body.replace("\"seed\":1,", "") } else { body.to_owned() };
            let nth = |nth: u32| body.replace("\"messages\"", &format!("\"n{nth}\":1,\"messages\""));
            let mut gateway = open("\"open\"", BREAKER, cache);
            for failed in 0..2 {
                let flight = ask(&mut gateway, &nth(failed)).at(0).leaves();
                is_for_the_first(&flight, &nth(failed));
                gateway.answers(flight, 0, json(503, "{}"));
            }
            for at in [1, 2] {
                let asked = nth(9);
                let flight = ask(&mut gateway, &asked).at(at).leaves();
                is_for_backup(&flight, &asked);
                // What it says is not stored, and is no news of the origin.
                gateway.answers(flight, at, json(200, ANSWER)).detail("fallback").says_nothing_of("stored");
            }
            assert_eq!(counted(&mut gateway, ("llm_fallbacks", "open")), 2);
            assert_eq!(counted(&mut gateway, ("llm_tokens", "input")), 18, "by the price of the small one");
            // Once it is tried again and answers, it is asked as before.
            let asked = nth(10);
            let probe = ask(&mut gateway, &asked).at(40).leaves();
            is_for_the_first(&probe, &asked);
            gateway.answers(probe, 40, json(200, ANSWER));
            let flight = ask(&mut gateway, &nth(11)).at(41).leaves();
            is_for_the_first(&flight, &nth(11));
            gateway.goes_away(flight, 41);
            gateway.assert_no_room_is_taken();
            gateway.assert_nobody_waits();
        }
    }
}

/// One that has waited for the remote store, and one that has waited for another's answer.
#[test]
fn who_has_waited_finds_the_origin_left_alone() {
    let cache = r#""cache":{"share":[]},"#;
    let mut gateway = open("\"open\"", BREAKER, cache);
    let mut fleet = Gateway::with(
        &r#"{"remote":{"enabled":true},"rules":[{"name":"chat",BREAKER"llm":{"api":"openai","cache":{"share":[]},
            "fallback":{"header":"x-route","value":"backup","model":"small","on":["open"]}}}]}"#
            .replace("BREAKER", BREAKER),
    );
    let waits = ask(&mut fleet, ASKS).at(0).asks();
    let leads = ask(&mut gateway, ASKS).at(0).leaves();
    let second = ask(&mut gateway, ASKS).at(0).waits();
    for nth in 2..4 {
        for gateway in [&mut gateway, &mut fleet] {
            let flight = ask(gateway, &ASKS.replace(":1", &format!(":{nth}"))).at(0).leaves();
            gateway.answers(flight, 0, json(503, "{}"));
        }
    }
    is_for_backup(&fleet.remote_answers(waits, 1).left(), ASKS);
    gateway.goes_away(leads, 1);
    let flight = gateway.wakes(second, Wake::Ended, 1).left();
    is_for_backup(&flight, ASKS);
    gateway.answers(flight, 1, json(200, ANSWER)).detail("fallback").says_nothing_of("stored");
}

#[test]
fn what_is_stored_answers_before_another_is_asked() {
    let mut gateway = open("\"open\"", &format!("{BREAKER}\"stale\":{{\"if_error\":\"1h\"}},"), CACHE);
    ask(&mut gateway, ASKS).at(0).miss(json(200, ANSWER)).stored();
    for nth in 0..2 {
        let flight = ask(&mut gateway, &ASKS.replace(":1", &format!(":{nth}1"))).at(1).leaves();
        gateway.answers(flight, 1, json(503, "{}"));
    }
    ask(&mut gateway, ASKS).at(2).hit().content(ANSWER);
}

#[test]
fn a_limit_that_refuses_sends_to_another_without_taking_anything() {
    for cache in ["", CACHE] {
        let mut gateway = open("\"limit\"", "\"limits\":[\"tpm\"],", cache);
        let flights: Vec<Flight> = (0..3)
            .map(|nth| {
                ask(&mut gateway, &ASKS.replace(":1", &format!(":{nth}")))
                    .header("x-team", "a")
                    .at(0)
                    .leaves()
            })
            .collect();
        is_for_the_first(&flights[0], &ASKS.replace(":1", ":0"));
        is_for_backup(&flights[2], &ASKS.replace(":1", ":2"));
        for flight in flights {
            gateway.answers(flight, 0, json(200, ANSWER));
        }
        // One takes 50 tokens for its answer, and some for its body.
        assert_eq!(counted(&mut gateway, ("llm_fallbacks", "limit")), 2);
        assert_eq!(counted(&mut gateway, ("requests", "refused.none")), 0);
        // Where the word is not there, the refusal is the answer.
        let mut gateway = open("\"open\"", "\"limits\":[\"tpm\"],", cache);
        let flight = ask(&mut gateway, &ASKS.replace(":1", ":2")).header("x-team", "a").at(0).leaves();
        gateway.answers(flight, 0, json(200, &ANSWER.replace(":9", ":90")));
        ask(&mut gateway, ASKS).header("x-team", "a").at(0).answered().status(429).detail("limited");
    }
}

#[test]
fn a_budget_that_refuses_sends_to_another_and_what_that_costs_is_on_the_others() {
    let mut gateway = Gateway::with(
        r#"{"models":[{"name":"large","input":1,"output":1},{"name":"small","input":1,"output":1}],
            "budgets":[{"name":"all","by":[],"money":1,"window":"day","reserve_output":50},
                       {"name":"team","by":["header:x-team"],"money":"0.0001","window":"day","reserve_output":50}],
            "rules":[{"name":"chat","budgets":["all","team"],"llm":{"api":"openai","cache":{"share":[]},
                "fallback":{"header":"x-route","value":"backup","model":"small","on":["budget"]}}}]}"#,
    );
    let asked = |nth: usize| ASKS.replace(":1", &format!(":{nth}"));
    let first = ask(&mut gateway, &asked(0)).header("x-team", "a").at(0).leaves();
    is_for_the_first(&first, &asked(0));
    let second = ask(&mut gateway, &asked(2)).header("x-team", "a").at(0).leaves();
    is_for_backup(&second, &asked(2));
    gateway.answers(second, 0, json(200, ANSWER)).detail("fallback").says_nothing_of("stored");
    gateway.answers(first, 0, json(200, ANSWER)).stored();
    assert_eq!(counted(&mut gateway, ("llm_fallbacks", "budget")), 1);
    assert_eq!(counted(&mut gateway, ("llm_requests", "told")), 2);
    assert_eq!(counted(&mut gateway, ("requests", "refused.none")), 0);
    gateway.assert_no_room_is_taken();
}

/// A request for JSON that has failed is asked again by a call, and the client gets what that brings.
#[test]
fn a_failure_is_held_for_a_call_and_its_answer_takes_its_place() {
    for (cache, body) in
        [("", ASKS.to_owned()), (CACHE, ASKS.to_owned()), (CACHE, ASKS.replace("\"seed\":1,", ""))]
    {
        for (status, word) in [(429, "too-many"), (500, "error"), (503, "error")] {
            let mut gateway = open("\"429\",\"5xx\"", "", cache);
            let call = ask(&mut gateway, &body)
                .header("authorization", "Bearer a")
                .header("content-type", "application/json")
                .header("accept-encoding", "gzip")
                .header("x-route", "mine")
                .header("x-envoy-upstream-rq-timeout-ms", "1");
            let mut flight = call.at(0).leaves();
            assert_eq!(flight.field("x-route"), Some(None), "the client's own goes");
            let failed = json(status, "{\"error\":1}").header("retry-after", "9");
            let (fields, sent) = gateway.calls(&mut flight, 1, failed);
            assert_eq!(sent, body.replace("\"large\"", "\"small\""));
            let value = |name: &str| {
                let found: Vec<&str> = fields
                    .iter()
                    .filter(|(known, _)| known == name)
                    .map(|(_, value)| value.as_str())
                    .collect();
                found.join("|")
            };
            let expected = [
                (":method", "POST"),
                (":path", CHAT),
                (":authority", "example.com"),
                ("authorization", "Bearer a"),
                ("content-type", "application/json"),
                ("x-route", "backup"),
                ("accept-encoding", ""),
                ("content-length", ""),
                ("x-envoy-upstream-rq-timeout-ms", ""),
            ];
            for (name, wanted) in expected {
                assert_eq!(value(name), wanted, "{name}");
            }
            assert!(!value("cdn-loop").is_empty());
            let answer = gateway.fetches(flight, 2, Some(json(200, ANSWER).header("x-request-id", "2")));
            answer
                .status(200)
                .content(ANSWER)
                .has("content-type", "application/json")
                .has("x-request-id", "2")
                .lacks("retry-after")
                .detail("fallback")
                .says("fwd-status=200")
                .says_nothing_of("stored");
            assert_eq!(counted(&mut gateway, ("llm_fallbacks", word)), 1);
            assert_eq!(counted(&mut gateway, ("llm_fallbacks", "failed")), 0);
            assert_eq!(counted(&mut gateway, ("llm_tokens", "input")), 9);
            assert_eq!(counted(&mut gateway, ("llm_requests", "told")), 1);
            gateway.assert_no_room_is_taken();
            // Nothing of it is stored under the question.
            let again = ask(&mut gateway, &body).at(3).leaves();
            gateway.goes_away(again, 3);
        }
    }
}

#[test]
pub fn what_brings_nothing_better_leaves_the_failure_as_it_came() {
    let nothing: [Option<Origin>; 5] = [
        None,
        Some(json(429, "{}")),
        Some(json(503, "{}")),
        Some(json(200, ANSWER).header("content-length", "9999")),
        Some(unreachable()),
    ];
    for brought in nothing {
        let mut gateway = open("\"429\",\"5xx\"", "\"limits\":[\"tpm\"],", CACHE);
        let mut flight = ask(&mut gateway, ASKS).header("x-team", "a").at(0).leaves();
        gateway.calls(&mut flight, 1, json(503, "{}"));
        let said = gateway.passes_on(&mut flight, 2, brought);
        assert!(
            said.iter().any(|(name, line)| name == "cache-status" && line.contains("fwd-status=503")),
            "{said:?}"
        );
        assert!(said.iter().any(|(name, _)| name == "ratelimit"), "{said:?}");
        gateway.goes_away(flight, 3);
        assert_eq!(counted(&mut gateway, ("llm_fallbacks", "failed")), 1);
        assert_eq!(counted(&mut gateway, ("llm_requests", "estimated")), 0);
        gateway.assert_no_room_is_taken();
        // What was taken has come back.
        ask(&mut gateway, &ASKS.replace(":1", ":2")).header("x-team", "a").at(4).leaves();
    }
}

/// What another model uses is taken from the limit after all: it costs.
#[test]
fn what_the_call_uses_is_settled() {
    let mut gateway = open("\"5xx\"", "\"limits\":[\"tpm\"],", CACHE);
    let mut flight = ask(&mut gateway, ASKS).header("x-team", "a").at(0).leaves();
    gateway.calls(&mut flight, 1, json(503, "{}"));
    gateway.fetches(flight, 2, Some(json(200, &ANSWER.replace(":9", ":90")))).status(200);
    ask(&mut gateway, &ASKS.replace(":1", ":2")).header("x-team", "a").at(3).answered().status(429);
}

#[test]
fn streams_other_apis_and_what_is_not_read_are_never_called_for() {
    for (path, body) in [
        (CHAT, STREAM.to_owned()),
        ("/v1/models", ASKS.to_owned()),
        (CHAT, ASKS.replace("\"seed\"", "\"seed\":2,\"seed\"")),
        (CHAT, "[]".to_owned()),
    ] {
        for cache in ["", CACHE] {
            let mut gateway = open("\"open\",\"limit\",\"429\",\"5xx\"", "", cache);
            let flight = gateway.post(path).header("x-route", "mine").chunk(&body).at(0).leaves();
            assert_eq!(flight.field("x-route"), Some(None), "{path} {body}");
            gateway.answers(flight, 0, json(503, "{}")).status(503).content("{}");
            gateway.assert_no_room_is_taken();
        }
    }
    // A client that leaves while another is called leaves nothing behind.
    let mut gateway = open("\"5xx\"", "", CACHE);
    let mut flight = ask(&mut gateway, ASKS).at(0).leaves();
    gateway.calls(&mut flight, 1, json(503, "{}"));
    gateway.goes_away(flight, 2);
    gateway.assert_no_room_is_taken();
    gateway.assert_nobody_waits();
    // Under a rule that only watches nobody else is asked.
    let mut gateway = open("\"open\",\"5xx\"", "\"shadow\":true,", CACHE);
    let flight = ask(&mut gateway, ASKS).at(0).leaves();
    gateway.answers(flight, 0, json(503, "{}")).status(503);
}

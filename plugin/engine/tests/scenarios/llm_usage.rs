//! Streams that are asked for their usage where the client has not: the request gets one member more, the client one event
//! less, and nothing else is changed.

use selvage_engine::exchange::{Directive, Event};
use selvage_engine::fields::Fields;
use selvage_engine::host::Word;

use crate::gateway::{Call, Flight, Gateway, Origin, block, origin};

const CHAT: &str = "/v1/chat/completions";
const ASKS: &str = r#"{"model":"m","seed":1,"stream":true,"messages":[]}"#;
const MADE_TO_ASK: &str =
    r#"{"stream_options":{"include_usage":true},"model":"m","seed":1,"stream":true,"messages":[]}"#;
const ASKS_ITSELF: &str =
    r#"{"model":"m","seed":1,"stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
const BEGIN: &str = concat!(
    ": ping\n\ndata: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}],\"usage\":null}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
);
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// Stores what everybody shares.
const STORES: &str =
    r#"{"rules":[{"name":"chat","llm":{"api":"openai","usage":"ask","cache":{"share":[]}}}]}"#;
/// Stores nothing.
const PASSES: &str = r#"{"rules":[{"name":"chat","llm":{"api":"openai","usage":"ask"}}]}"#;
const OUT: &str =
    r#"{"rules":[{"name":"chat","bypass":true,"cache_status":"off","llm":{"api":"openai","usage":"ask"}}]}"#;

fn told() -> String {
    format!("{BEGIN}{USAGE}{DONE}")
}

fn untold() -> String {
    format!("{BEGIN}{DONE}")
}

fn events() -> Origin {
    origin(200).header("content-type", "text/event-stream")
}

fn ask<'g>(gateway: &'g mut Gateway, body: &str) -> Call<'g> {
    gateway.post(CHAT).header("content-length", &body.len().to_string()).chunk(body)
}

fn counted(gateway: &mut Gateway, words: [Word; 3]) -> [u64; 3] {
    gateway.exports();
    let of = |word| gateway.shared.rule_metrics.get(&("other".into(), word)).copied().unwrap_or_default();
    words.map(of)
}

const REQUESTS: [Word; 3] =
    [("llm_requests", "told"), ("llm_requests", "estimated"), ("llm_requests", "saved")];

#[test]
fn the_client_gets_and_the_store_has_all_but_the_event_wherever_it_is_cut() {
    let stream = told();
    for config in [STORES, PASSES, OUT] {
        for cut in 0..=stream.len() {
            let mut gateway = Gateway::with(config);
            let (head, tail) = stream.split_at(cut);
            let flight = ask(&mut gateway, ASKS).at(0).leaves();
            assert_eq!(flight.body(ASKS), MADE_TO_ASK);
            gateway.answers(flight, 0, events().body(head).body(tail)).content(untold());
            if config == STORES {
                for at in [1, 2] {
                    ask(&mut gateway, ASKS).at(at).hit().content(untold());
                }
                // Who asks for it has another question.
                let own = ask(&mut gateway, ASKS_ITSELF).at(2).leaves();
                assert_eq!(own.body(ASKS_ITSELF), ASKS_ITSELF);
                gateway.answers(own, 2, events().body(&stream)).stored().content(&stream);
                ask(&mut gateway, ASKS_ITSELF).at(3).hit().content(&stream);
                assert_eq!(counted(&mut gateway, REQUESTS), [2, 0, 3]);
            } else {
                assert_eq!(counted(&mut gateway, REQUESTS), [1, 0, 0]);
            }
            gateway.assert_no_room_is_taken();
        }
    }
}

#[test]
fn a_body_in_parts_is_changed_once_it_is_whole_and_its_key_is_that_of_the_client() {
    for cut in 1..ASKS.len() {
        let mut gateway = Gateway::with(STORES);
        let (head, tail) = ASKS.split_at(cut);
        let flight = gateway.post(CHAT).chunk(head).chunk(tail).at(0).leaves();
        assert_eq!(flight.body(ASKS), MADE_TO_ASK);
        gateway.answers(flight, 0, events().body(told())).stored();
        ask(&mut gateway, &ASKS.replace(":[]", " : []")).at(1).hit().content(untold());
    }
}

/// Each passes as it came, and nothing of its answer is taken out.
#[test]
pub fn bodies_are_read_wherever_the_cache_stays_out() {
    // Rules that say nothing and do nothing to responses, that say something, and that invalidate.
    let unseen = STORES.replace("\"llm\"", "\"cache_status\":\"off\",\"tags\":{\"strip\":false},\"llm\"");
    let visible = OUT.replace("\"cache_status\":\"off\",", "");
    for config in [PASSES, OUT, &unseen, &visible, STORES] {
        for body in [
            ASKS_ITSELF.to_owned(),
            ASKS.replace("true", "false"),
            ASKS.replace("{\"model\"", "{\"model\":\"n\",\"model\""),
            ASKS.replace('}', ""),
            "[]".to_owned(),
            format!("{ASKS}x"),
        ] {
            let mut gateway = Gateway::with(config);
            let flight = gateway
                .post(CHAT)
                .header("content-length", &body.len().to_string())
                .header("x-http-method-override", "GET")
                .chunk(&body)
                .leaves();
            assert_eq!(flight.body(&body), body);
            gateway.answers(flight, 0, events().body(told())).content(told());
            assert_eq!(counted(&mut gateway, REQUESTS), [1, 0, 0], "{config} {body}");
            gateway.assert_no_room_is_taken();
        }
    }
    // What is too long is not even held.
    let mut gateway = Gateway::with(PASSES);
    let flight = gateway.post(CHAT).header("content-length", "600000").chunk(ASKS).at(0).leaves();
    assert_eq!(flight.body(ASKS), ASKS);
    gateway.answers(flight, 0, events().body(told())).content(told());
    let long = format!("{}{}", " ".repeat(600_000), ASKS);
    let flight = gateway.post(CHAT).chunk(&long).chunk("").at(0).leaves();
    assert_eq!(flight.body(&long), long);
    gateway.goes_away(flight, 0);
    gateway.assert_no_room_is_taken();
}

#[test]
fn only_streams_of_completions_are_asked_and_never_what_is_vouched_for() {
    let is_asked = |config: &str, path: &str, field: Option<(&str, &str)>| {
        let mut gateway = Gateway::with(config);
        let mut call = gateway.post(path).chunk(ASKS).at(0);
        if let Some((name, value)) = field {
            call = call.header(name, value);
        }
        call.leaves().body(ASKS) != ASKS
    };
    let counts = PASSES.replace("\"ask\"", "\"count\"");
    let anthropic = PASSES.replace("\"openai\"", "\"anthropic\"");
    for config in [PASSES, STORES] {
        assert!(is_asked(config, CHAT, None) && is_asked(config, "/x/completions?a=1", None));
        for path in ["/v1/responses", "/v1/embeddings", "/v1/models"] {
            assert!(!is_asked(config, path, None), "{path}");
        }
        for name in ["content-digest", "content-md5", "content-encoding", "signature", "x-amz-content-sha256"]
        {
            assert!(!is_asked(config, CHAT, Some((name, "x"))), "{name}");
        }
    }
    assert!(!is_asked(&counts, CHAT, None) && !is_asked(&anthropic, "/v1/messages", None));
    // What the cache does not key for its head is asked all the same, and so is what a rule keys by its body.
    assert!(is_asked(STORES, CHAT, Some(("x-http-method-override", "GET"))));
    let keyed = PASSES.replace("\"llm\"", "\"key\":{\"body\":{\"methods\":[\"POST\"]}},\"llm\"");
    assert!(is_asked(&keyed, CHAT, None));
    let watches = STORES.replace("\"llm\"", "\"shadow\":true,\"llm\"");
    assert!(is_asked(&watches, CHAT, None));
}

/// A limit in tokens counts by itself, and asks where the rule says so.
#[cfg(feature = "limits")]
#[test]
fn limits_in_tokens_leave_it_on_and_know_what_the_body_says() {
    let config = PASSES.replace(
        "{\"rules\"",
        r#"{"limits":[{"name":"all","by":[],"unit":"tokens","quota":1000,"window":"1h","burst":1000,"cost":900}],"rules""#,
    );
    let mut gateway = Gateway::with(&config.replace("\"llm\"", "\"limits\":[\"all\"],\"llm\""));
    let bounded = ASKS.replace("\"seed\"", "\"max_tokens\":100,\"seed\"");
    let flights: Vec<Flight> = (0..2).map(|_| ask(&mut gateway, &bounded).at(0).leaves()).collect();
    for flight in flights {
        assert!(flight.body(&bounded).contains("include_usage"));
        let answer = gateway.answers(flight, 0, events().body(told()));
        assert!(answer.value("ratelimit").is_some(), "{answer:?}");
        answer.content(untold());
    }
    assert_eq!(counted(&mut gateway, REQUESTS), [2, 0, 0]);
}

#[test]
fn a_length_that_would_not_be_right_is_not_told() {
    let stream = told();
    for config in [STORES, PASSES, OUT] {
        let mut gateway = Gateway::with(config);
        let flight = ask(&mut gateway, ASKS).at(0).leaves();
        let length = stream.len().to_string();
        let answer = gateway.answers(flight, 0, events().header("content-length", &length).body(&stream));
        answer.lacks("content-length").content(untold());
        if config == STORES {
            ask(&mut gateway, ASKS).at(1).hit().content(untold());
        }
        // A failure, and one in JSON, keep theirs.
        for (status, kind) in [(500, "text/event-stream"), (200, "application/json")] {
            let flight = ask(&mut gateway, &ASKS.replace(":1", &format!(":{status}"))).at(2).leaves();
            let body = stream.replace("data: ", "");
            let length = body.len().to_string();
            let failed = origin(status).header("content-type", kind).header("content-length", &length);
            gateway.answers(flight, 2, failed.body(&body)).has("content-length", &length).content(&body);
        }
    }
}

/// The beginning of what may be the event is held; all that is before it is with the client.
#[test]
fn what_is_whole_passes_at_once_and_a_client_that_leaves_is_estimated() {
    for config in [STORES, PASSES] {
        let mut gateway = Gateway::with(config);
        let mut flight = ask(&mut gateway, ASKS).at(0).leaves();
        let head = block(&[(":status", "200"), ("content-type", "text/event-stream")]);
        let event = Event::Response { head: Fields::parse(&head).unwrap(), end_of_stream: false };
        gateway.feed(0, &mut flight.exchange, 0, event);
        let mut feed = |chunk: &str| {
            let event = Event::Body { chunk: chunk.as_bytes(), end_of_stream: false };
            gateway.feed(0, &mut flight.exchange, 0, event)
        };
        assert_eq!(feed(BEGIN), Directive::Pass);
        let (held, rest) = USAGE.split_at(20);
        assert_eq!(feed(held), Directive::Replace(Vec::new()));
        assert_eq!(feed(rest), Directive::Replace(Vec::new()));
        assert_eq!(feed(DONE), Directive::Pass);
        gateway.goes_away(flight, 1);
        gateway.assert_no_room_is_taken();
        let flight = ask(&mut gateway, ASKS).at(2).leaves();
        let mut flight = gateway.answers_later(flight, 2, events());
        gateway.more_of_the_answer(&mut flight, 2, BEGIN);
        gateway.goes_away(flight, 3);
        assert_eq!(counted(&mut gateway, REQUESTS), [1, 1, 0]);
    }
}

/// The same request waits for another's answer, for the remote store and for a place at the origin, and is changed when it goes.
#[test]
fn who_has_waited_is_made_to_ask_too() {
    let together = STORES.replace("\"share\":[]", "\"share\":[],\"coalesce\":\"all\"");
    let mut gateway = Gateway::with(&together);
    let first = ask(&mut gateway, ASKS).at(0).leaves();
    let second = ask(&mut gateway, ASKS).at(0).waits();
    gateway.answers(first, 1, events().body(told()));
    assert!(gateway.is_woken(0, &second));
    gateway.wakes(second, selvage_engine::exchange::Wake::Ended, 1).answered().content(untold());
    let first = ask(&mut gateway, &ASKS.replace(":1", ":2")).at(2).leaves();
    let second = ask(&mut gateway, &ASKS.replace(":1", ":2")).at(2).waits();
    gateway.goes_away(first, 3);
    let goes = gateway.wakes(second, selvage_engine::exchange::Wake::Ended, 3).left();
    assert_eq!(goes.body(ASKS), MADE_TO_ASK);
    gateway.answers(goes, 4, events().body(told())).content(untold());

    let fleet = STORES.replace("{\"rules\"", "{\"remote\":{\"enabled\":true},\"rules\"");
    let mut gateway = Gateway::with(&fleet);
    let asks = ask(&mut gateway, ASKS).at(0).asks();
    let goes = gateway.remote_answers(asks, 0).left();
    assert_eq!(goes.body(ASKS), MADE_TO_ASK);
    gateway.answers(goes, 1, events().body(told())).stored().content(untold());
}

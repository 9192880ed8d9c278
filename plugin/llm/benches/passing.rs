//! How fast bodies and streams pass, in MB/s: `cargo bench -p selvage-llm --bench passing`. Words after `--` name one of the rows.
//! A number as the last of them runs it so many times, without a clock: for a counter of instructions.
#![allow(clippy::unwrap_used, reason = "a bench has nobody to tell")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use selvage_llm::canonical::canonical;
use selvage_llm::embeddings::{Request, merge, split};
use selvage_llm::events::Events;
use selvage_llm::formats::{Answer, Api, Body};
use selvage_llm::injection::{UsageFilter, ask_for_usage};
use selvage_llm::json::Lexer;

fn main() {
    let mut only: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let count: Option<u32> =
        only.pop_if(|last| last.parse::<u32>().is_ok()).and_then(|count| count.parse().ok());
    let only = only.join(" ");
    let chat = chat(64 * 1024);
    let small = chat_of(1, "What is the capital of France?");
    let stream = stream(2_000);
    let (request, answer) = embeddings(32, 1_536);
    let rows: [(&str, usize, &dyn Fn()); 9] = [
        ("lexer, 64 KiB chat", chat.len(), &|| {
            let mut lexer = Lexer::default();
            lexer.push(&chat, &mut ()).unwrap();
            lexer.finish(&mut ()).unwrap();
        }),
        ("canonical, 64 KiB chat", chat.len(), &|| {
            black_box(canonical(&chat, ["user".into()].into()).unwrap());
        }),
        ("canonical, short chat", small.len(), &|| {
            black_box(canonical(&small, ["user".into()].into()).unwrap());
        }),
        ("ask for usage, 64 KiB chat", chat.len(), &|| {
            black_box(ask_for_usage(&chat).unwrap());
        }),
        ("events, kept", stream.len(), &|| {
            let mut events = Events::default();
            let mut count = 0_u64;
            for chunk in stream.chunks(4096) {
                events.push(chunk, &mut |_| count += 1);
            }
            events.finish(&mut |_| count += 1);
            black_box(count);
        }),
        ("answer, a stream", stream.len(), &|| {
            let mut reading = Answer::new(Api::Chat, Body::Events);
            for chunk in stream.chunks(4096) {
                reading.push(chunk);
            }
            black_box(reading.finish());
        }),
        ("usage filter, a stream", stream.len(), &|| {
            let mut filter = UsageFilter::default();
            for chunk in stream.chunks(4096) {
                black_box(filter.push(chunk));
            }
            black_box(filter.finish());
        }),
        ("answer, 32 embeddings", answer.len(), &|| {
            let mut reading = Answer::new(Api::Embeddings, Body::Json);
            reading.push(&answer);
            black_box(reading.finish());
        }),
        ("split and merge, 32 embeddings", answer.len(), &|| {
            let weights = Request::read(&request, 100).unwrap().weights();
            let parts = split(&answer, &weights).unwrap();
            let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
            black_box(merge(&parts).unwrap());
        }),
    ];
    for (name, bytes, run) in rows {
        if !name.contains(&only) {
            continue;
        }
        if let Some(count) = count {
            (0..count).for_each(|_| run());
            continue;
        }
        let best = (0..20).map(|_| timed(run)).min().unwrap_or(Duration::MAX);
        let rate = bytes as f64 / best.as_secs_f64() / 1e6;
        println!("{name:32} {bytes:>8} bytes {:>10.1} µs {rate:>7.0} MB/s", best.as_secs_f64() * 1e6);
    }
}

/// The time of one run, of some in a row.
fn timed(run: &dyn Fn()) -> Duration {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_millis(20) {
        run();
        count += 1;
    }
    start.elapsed() / count
}

fn chat(bytes: usize) -> Vec<u8> {
    let message =
        "Some words of a talk, with a quote: \\\"so it is\\\", a line\\nfeed and an umlaut ä now and then. ";
    chat_of(bytes / (message.len() * 10 + 40), &message.repeat(10))
}

fn chat_of(messages: usize, text: &str) -> Vec<u8> {
    let message = format!(r#"{{"role":"user","content":"{text}"}}"#);
    let messages = vec![message; messages.max(1)].join(",");
    format!(r#"{{"model":"gpt-4o","stream":true,"temperature":0.7,"messages":[{messages}],"max_tokens":256,"user":"u"}}"#)
        .into_bytes()
}

fn stream(events: usize) -> Vec<u8> {
    let event = r#"data: {"id":"chatcmpl-9xYzAbCdEfGh","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","system_fingerprint":"fp_1234567890","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}"#;
    let mut out = format!("{event}\n\n").repeat(events);
    out.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    out.push_str("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2000}}\n\ndata: [DONE]\n\n");
    out.into_bytes()
}

fn embeddings(inputs: usize, floats: usize) -> (Vec<u8>, Vec<u8>) {
    let texts = vec!["\"some text to embed\""; inputs].join(",");
    let vector = vec!["-0.012345678"; floats].join(",");
    let data: Vec<String> = (0..inputs)
        .map(|index| format!(r#"{{"object":"embedding","index":{index},"embedding":[{vector}]}}"#))
        .collect();
    let answer = format!(
        r#"{{"object":"list","data":[{}],"model":"e","usage":{{"prompt_tokens":160,"total_tokens":160}}}}"#,
        data.join(",")
    );
    (format!(r#"{{"model":"e","input":[{texts}]}}"#).into_bytes(), answer.into_bytes())
}

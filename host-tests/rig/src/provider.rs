//! A provider of language models: it answers by the formats of OpenAI and Anthropic, as JSON or as a stream, whatever it is asked.
//!
//! What it says is made from what it got: the last text of the request, and a number that counts its answers, so that a test
//! sees which answer is whose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;

use crate::scripted::{Answer, Origin, Received};

/// A provider that listens.
pub struct Provider {
    origin: Origin,
    answers: Arc<AtomicU64>,
}

impl Default for Provider {
    fn default() -> Self {
        Self::start()
    }
}

impl Provider {
    /// Listens on a free port of this machine.
    pub fn start() -> Self {
        let (origin, answers) = (Origin::start(), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&answers);
        origin.otherwise(move |request| answer(request, counter.fetch_add(1, Ordering::Relaxed)));
        Self { origin, answers }
    }

    /// The origin below: its scripts come first.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its address for `--origin`.
    pub fn url(&self) -> String {
        self.origin.url()
    }

    /// How often it has answered.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

/// What it says to a request.
pub fn answer(request: &Received, nth: u64) -> Answer {
    let asked = String::from_utf8_lossy(&request.body);
    let streams = asked.contains("\"stream\":true") || asked.contains("\"stream\": true");
    let path = request.target.split('?').next().unwrap_or_default();
    let told = if asked.contains("include_usage\":true") { Usage::Told } else { Usage::Untold };
    match (path.rsplit('/').next().unwrap_or_default(), streams) {
        ("messages", true) => events(anthropic_stream(nth)),
        ("messages", false) => json(format!(
            r#"{{"id":"m-{nth}","type":"message","role":"assistant","model":"claude-t","content":[{{"type":"text","text":"answer {nth}"}}],"stop_reason":"end_turn","usage":{{"input_tokens":9,"output_tokens":2}}}}"#
        )),
        ("embeddings", _) => json(embeddings(&request.body, nth)),
        (_, true) => events(openai_stream(nth, told)),
        (_, false) => json(format!(
            r#"{{"id":"c-{nth}","object":"chat.completion","model":"gpt-t-2026","choices":[{{"index":0,"message":{{"role":"assistant","content":"answer {nth}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}}}"#
        )),
    }
}

/// The answer to a request for embeddings. A vector begins with the number of the answer that brought it first and the length of its
/// input as it was asked for; there are three tokens for each input.
pub fn embeddings(body: &[u8], nth: u64) -> String {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let input = &asked["input"];
    let one = input.as_array().is_none_or(|inputs| inputs.first().is_some_and(Value::is_number));
    let inputs = if one { vec![input] } else { input.as_array().into_iter().flatten().collect() };
    let coded = asked["encoding_format"] == "base64";
    let items = inputs.iter().enumerate().map(|(index, input)| {
        let length = input.to_string().len();
        let vector = if coded {
            let floats = [nth as f32, length as f32, 0.5];
            let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
            format!("\"{}\"", BASE64_STANDARD.encode(bytes))
        } else {
            format!("[{nth}, {length}.0,5.0E-1]")
        };
        format!(r#"{{"object":"embedding","index":{index},"embedding":{vector}}}"#)
    });
    let (items, tokens) = (items.collect::<Vec<_>>().join(","), inputs.len() * 3);
    format!(
        r#"{{"object":"list","data":[{items}],"model":"embed-t","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
    )
}

/// Whether a stream tells its usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// In an event of its own before the last.
    Told,
    /// Not at all.
    Untold,
}

/// A stream of OpenAI's chat completions, with comments and line ends of every kind.
pub fn openai_stream(nth: u64, usage: Usage) -> String {
    let told = match usage {
        Usage::Told => {
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n"
        }
        Usage::Untold => "",
    };
    format!(
        concat!(
            ": ping\n\n",
            "data: {{\"id\":\"c-{nth}\",\"model\":\"gpt-t-2026\",\"choices\":[{{\"index\":0,\"delta\":{{\"reasoning_content\":\"Hm\"}}}}]}}\r\n\r\n",
            "data: {{\"id\":\"c-{nth}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"answer {nth}\"}}}}]}}\n\n",
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n",
            "{told}data: [DONE]\n\n"
        ),
        nth = nth,
        told = told
    )
}

/// A stream of Anthropic's messages.
pub fn anthropic_stream(nth: u64) -> String {
    format!(
        concat!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"m-{nth}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"claude-t\",\"stop_reason\":null,\"usage\":{{\"input_tokens\":9,\"output_tokens\":1}}}}}}\n\n",
            "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}\n\n",
            "event: ping\ndata: {{\"type\":\"ping\"}}\n\n",
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"answer {nth}\"}}}}\n\n",
            "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":0}}\n\n",
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{{\"output_tokens\":2}}}}\n\n",
            "event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        ),
        nth = nth
    )
}

/// An answer as JSON, with the fields that providers send.
pub fn json(body: impl AsRef<[u8]>) -> Answer {
    with_fields(Answer::ok(body).header("content-type", "application/json"))
}

/// An answer as a stream of events, in small chunks.
pub fn events(body: impl AsRef<[u8]>) -> Answer {
    with_fields(Answer::ok(body).header("content-type", "text/event-stream; charset=utf-8")).chunked(7, &[])
}

fn with_fields(answer: Answer) -> Answer {
    answer
        .header("cache-control", "no-store")
        .header("set-cookie", "__cf_bm=of-one-client; path=/")
        .header("openai-organization", "acme")
        .header("x-ratelimit-remaining-requests", "7")
        .header("vary", "Accept-Encoding")
}

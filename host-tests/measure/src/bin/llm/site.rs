//! The provider, what it is asked, and who stands before it.

use std::time::Duration;
use std::{net::SocketAddr, thread};

use selvage_measure::crowd::post_with;
use selvage_rig::envoy::{Gateway, own_filter};
use selvage_rig::provider::{self, Provider};

/// What clients ask for.
pub const PATH: &str = "/v1/chat/completions";
/// The key of LiteLLM, for all.
pub const KEY: &str = "sk-measured";
/// The provider pauses after the first event, as those do that write as they go.
const PAUSE: Duration = Duration::from_millis(2);
/// About as long as the first event is on the wire.
const FIRST: usize = 300;

/// A provider whose streams have 24 events.
pub fn provider() -> Provider {
    let provider = Provider::start();
    provider.origin().forget();
    provider.origin().on(PATH, |request| {
        if String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            provider::events(stream()).chunked(64, &[]).halts_after(FIRST, || thread::sleep(PAUSE))
        } else {
            provider::answer(request, 1)
        }
    });
    provider
}

/// A stream as providers send it, with what the model has thought, and with usage.
pub fn stream() -> String {
    let event = |choices: &str, more: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1767000000,\"model\":\"gpt-t\",\
             \"system_fingerprint\":\"fp_1\",\"choices\":{choices}{more}}}\n\n"
        )
    };
    let delta =
        |delta: &str| event(&format!("[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":null}}]"), "");
    let mut stream = delta("\"role\":\"assistant\",\"content\":\"\"");
    stream += &delta("\"reasoning_content\":\"Let me see\"");
    (0..19).for_each(|nth| stream += &delta(&format!("\"content\":\" word-{nth}\"")));
    stream += &event("[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]", "");
    let usage = ",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":40,\"total_tokens\":49}";
    stream + &event("[]", usage) + "data: [DONE]\n\n"
}

/// In which form an answer is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    Events,
}

/// A question whose answer may be stored, unless `more` says otherwise.
pub fn question(form: Form, more: &str) -> Vec<u8> {
    let stream = match form {
        Form::Json => "",
        Form::Events => "\"stream\":true,\"stream_options\":{\"include_usage\":true},",
    };
    let body = format!(
        "{{\"model\":\"gpt-t\",{stream}{more}\"messages\":[{{\"role\":\"user\",\"content\":\"What is a shared cache?\"}}]}}"
    );
    let fields = format!("content-type: application/json\r\nauthorization: Bearer {KEY}\r\n");
    post_with(PATH, &fields, &body)
}

/// Makes an answer one that is stored.
pub const STORED: &str = "\"temperature\":0,";

/// Starts ours: what is deterministic is stored, and all is counted.
pub fn start(provider: &Provider) -> Result<Gateway, String> {
    let configuration = r#"{ "models": [ { "name": "gpt-t", "input": 2.5, "cached": 1.25, "output": 10 } ],
        "rules": [ { "name": "chat", "match": { "paths": ["/v1/*"] },
                     "llm": { "api": "openai", "usage": "count", "cache": { "ttl": "1h" } } } ] }"#;
    let builder = Gateway::with(configuration).origin(provider.url());
    builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
}

/// Starts Envoy without us.
pub fn start_without(provider: &Provider) -> Result<Gateway, String> {
    let builder = Gateway::with("{}").origin(provider.url());
    let started = builder.try_start_edited(&[(&own_filter(), "")]);
    started.map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().map(|address: SocketAddr| address.port()).unwrap()
}

//! Answers as one JSON.

use serde_json::{Value, json};

use super::{Script, chat_usage, usage};
use crate::chance::Chance;
use crate::formats::{Api, Lack, Usage};

/// An answer of any API as JSON.
pub fn whole(chance: &mut Chance, api: Api) -> Script {
    let model = match api {
        Api::Chat | Api::Completions => *chance.of(&["gpt-4o", "deepseek/deepseek-v4-flash"]),
        Api::Responses => "gpt-5",
        Api::Embeddings => "text-embedding-3-small",
        Api::Messages => "claude-x",
    };
    let mut script = Script::new(chance, model);
    script.bytes.clear();
    script.lack = match chance.below(10) {
        0 => Some(Lack::Cut),
        1 => Some(Lack::Error),
        2 => Some(Lack::Refused),
        3 => Some(Lack::Unfinished),
        4 => Some(Lack::Unreadable),
        _ => None,
    };
    if api == Api::Embeddings && matches!(script.lack, Some(Lack::Refused)) {
        script.lack = Some(Lack::Unfinished);
    }
    if script.lack == Some(Lack::Error) {
        let error = json!({"error": {"message": chance.text(20), "type": "server_error", "code": null}});
        chance.spell(&error, &mut script.bytes);
        return script;
    }
    let truth = usage(chance);
    // Some providers do not tell.
    let told = api == Api::Responses || !chance.one_in(5);
    let mut answer = match api {
        Api::Chat | Api::Completions => completion(chance, api, &mut script),
        Api::Responses => response(chance, &mut script),
        Api::Embeddings => vectors(chance, &script),
        Api::Messages => message(chance, &mut script),
    };
    if told {
        let (truth, value) = told_as(api, truth);
        (script.usage, answer["usage"]) = (Some(truth), value);
    }
    chance.spell(&answer, &mut script.bytes);
    script.whole_from = script.bytes.trim_ascii_end().len();
    match script.lack {
        Some(Lack::Cut) => script.cut(chance.below(script.whole_from)),
        Some(Lack::Unreadable) => {
            let first = script.bytes.iter().position(|byte| *byte == b'{').unwrap();
            script.bytes.insert(first + 1, b',');
        }
        _ => {}
    }
    script
}

/// What is used, as far as the API can say it, in its own words.
fn told_as(api: Api, truth: Usage) -> (Usage, Value) {
    match api {
        Api::Chat | Api::Completions => (truth, chat_usage(&truth)),
        Api::Responses => (
            truth,
            json!({
                "input_tokens": truth.input, "output_tokens": truth.output, "total_tokens": truth.total(),
                "input_tokens_details": {"cached_tokens": truth.cached, "cache_write_tokens": truth.cache_write},
                "output_tokens_details": {"reasoning_tokens": truth.reasoning},
            }),
        ),
        Api::Embeddings => (
            Usage { input: truth.input, ..Usage::default() },
            json!({"prompt_tokens": truth.input, "total_tokens": truth.input}),
        ),
        Api::Messages => (
            Usage { reasoning: 0, ..truth },
            json!({"input_tokens": truth.input - truth.cached - truth.cache_write, "output_tokens": truth.output,
                "cache_read_input_tokens": truth.cached, "cache_creation_input_tokens": truth.cache_write}),
        ),
    }
}

fn written(chance: &mut Chance, script: &mut Script) -> String {
    let text = chance.text(60);
    script.delta_bytes += text.len() as u64;
    text
}

fn completion(chance: &mut Chance, api: Api, script: &mut Script) -> Value {
    let choices: Vec<Value> = (0..1 + chance.below(3))
        .map(|index| {
            let reason = match script.lack {
                Some(Lack::Refused) => json!("content_filter"),
                Some(Lack::Unfinished) => Value::Null,
                _ => json!(*chance.of(&["stop", "length", "tool_calls"])),
            };
            if api == Api::Completions {
                return json!({"index": index, "text": written(chance, script), "finish_reason": reason, "logprobs": null});
            }
            let mut message = json!({"role": "assistant", "content": written(chance, script)});
            if chance.one_in(3) {
                message["reasoning_content"] = json!(written(chance, script));
            }
            if chance.one_in(3) {
                message["tool_calls"] = json!([{"id": "t", "type": "function", "function": {"arguments": written(chance, script)}}]);
            }
            json!({"index": index, "message": message, "finish_reason": reason})
        })
        .collect();
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": script.model, "choices": choices})
}

fn response(chance: &mut Chance, script: &mut Script) -> Value {
    let status = match script.lack {
        Some(Lack::Refused | Lack::Unfinished) => "incomplete",
        _ => "completed",
    };
    let details = match script.lack {
        Some(Lack::Refused) => json!({"reason": "content_filter"}),
        Some(Lack::Unfinished) => json!({"reason": "max_output_tokens"}),
        _ => Value::Null,
    };
    let text =
        json!({"type": "message", "content": [{"type": "output_text", "text": written(chance, script)}]});
    let call = json!({"type": "function_call", "arguments": written(chance, script)});
    json!({"id": "r", "object": "response", "model": script.model, "status": status, "error": null,
        "incomplete_details": details, "output": [text, call]})
}

fn vectors(chance: &mut Chance, script: &Script) -> Value {
    let count = if script.lack == Some(Lack::Unfinished) { 0 } else { 1 + chance.below(3) };
    let vector = |chance: &mut Chance| (0..4).map(|_| chance.fraction() - 0.5).collect::<Vec<_>>();
    let data: Vec<Value> =
        (0..count).map(|index| json!({"index": index, "embedding": vector(chance)})).collect();
    json!({"object": "list", "data": data, "model": script.model})
}

fn message(chance: &mut Chance, script: &mut Script) -> Value {
    let reason = match script.lack {
        Some(Lack::Refused) => json!("refusal"),
        Some(Lack::Unfinished) => Value::Null,
        _ => json!(*chance.of(&["end_turn", "max_tokens", "tool_use"])),
    };
    let thought = json!({"type": "thinking", "thinking": written(chance, script)});
    let text = json!({"type": "text", "text": written(chance, script)});
    json!({"id": "m", "type": "message", "role": "assistant", "model": script.model, "content": [thought, text],
        "stop_reason": reason})
}

//! Seeded streams for tests, with what is true of them.

use std::ops::Range;

use serde_json::{Value, json};

use crate::chance::Chance;
use crate::formats::{Api, Lack, Usage};

/// A stream of some provider.
pub(crate) struct Script {
    pub(crate) bytes: Vec<u8>,
    pub(crate) usage: Option<Usage>,
    pub(crate) lack: Option<Lack>,
    pub(crate) content_events: u64,
    pub(crate) delta_bytes: u64,
    /// The events with usage and without choices.
    pub(crate) extra: Vec<Range<usize>>,
    end: &'static str,
}

impl Script {
    fn new(chance: &mut Chance) -> Self {
        let mut script = Self {
            bytes: Vec::new(),
            usage: None,
            lack: None,
            content_events: 0,
            delta_bytes: 0,
            extra: Vec::new(),
            end: *chance.of(&["\n", "\n", "\n", "\r\n", "\r"]),
        };
        if chance.one_in(20) {
            script.bytes.extend_from_slice(b"\xef\xbb\xbf");
        }
        script
    }

    fn line(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.extend_from_slice(self.end.as_bytes());
    }

    /// Writes an event and says where it is.
    fn event(&mut self, chance: &mut Chance, name: Option<&str>, data: &Value) -> Range<usize> {
        let text = match data {
            // Members on lines of their own, each in a field of its own.
            Value::Object(_) if chance.one_in(10) => serde_json::to_string_pretty(data).unwrap(),
            _ => {
                let mut out = Vec::new();
                if chance.one_in(2) {
                    chance.spell(data, &mut out)
                } else {
                    out = data.to_string().into_bytes()
                }
                String::from_utf8(out).unwrap().replace(['\n', '\r'], " ")
            }
        };
        self.raw_event(chance, name, &text)
    }

    fn raw_event(&mut self, chance: &mut Chance, name: Option<&str>, text: &str) -> Range<usize> {
        if chance.one_in(10) {
            self.line(": keep-alive");
            if chance.one_in(2) {
                self.line("");
            }
        }
        let begin = self.bytes.len();
        if let Some(name) = name {
            self.line(&format!("event: {name}"));
        }
        if chance.one_in(20) {
            self.line(&format!("id: {}", chance.below(1000)));
        }
        let space = if chance.one_in(5) { "" } else { " " };
        for line in text.split('\n') {
            self.line(&format!("data:{space}{line}"));
        }
        self.line("");
        let range = begin..self.bytes.len();
        if chance.one_in(20) {
            self.line("");
        }
        range
    }

    /// Takes something off its end, so that it is not whole any more.
    fn cut(&mut self, at: usize) {
        self.bytes.truncate(at);
    }

    fn content(&mut self, text: &str) {
        if !text.is_empty() {
            self.content_events += 1;
            self.delta_bytes += text.len() as u64;
        }
    }
}

fn usage(chance: &mut Chance) -> Usage {
    let input = chance.next() >> (44 + chance.below(20));
    let output = chance.next() >> (44 + chance.below(20));
    let cached = chance.below(input as usize + 1) as u64;
    Usage {
        input,
        cached,
        cache_write: chance.below((input - cached) as usize + 1) as u64,
        output,
        reasoning: chance.below(output as usize + 1) as u64,
    }
}

/// A stream of any API that has streams.
pub(crate) fn script(chance: &mut Chance, api: Api) -> Script {
    match api {
        Api::Chat | Api::Completions => chat(chance, api),
        Api::Responses => responses(chance),
        Api::Messages => messages(chance),
        Api::Embeddings => unreachable!("embeddings do not stream"),
    }
}

fn chat_usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.total(),
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}

fn chat(chance: &mut Chance, api: Api) -> Script {
    let mut script = Script::new(chance);
    let model = *chance.of(&["gpt-4o", "deepseek/deepseek-v4-flash"]);
    let object = |choices: Value, usage: Option<Value>| {
        let mut object = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices});
        if let Some(usage) = usage {
            object["usage"] = usage;
        }
        object
    };
    let truth = usage(chance);
    // How the usage comes: not at all, as the extra event, with the last choice, or with every event.
    let way = chance.below(4);
    let choices = 1 + chance.below(3);
    if chance.one_in(5) {
        let mut filter = object(json!([]), None);
        filter["prompt_filter_results"] = json!([{"prompt_index": 0}]);
        script.event(chance, None, &filter);
    }
    let mut wrote = truth;
    for index in 0..choices {
        for step in 0..chance.below(5) {
            let text = chance.text(30);
            let part = if api == Api::Completions {
                json!({"index": index, "text": text, "finish_reason": null, "logprobs": null})
            } else {
                let delta = match (step, chance.below(4)) {
                    (0, _) => json!({"role": "assistant", "content": text}),
                    (_, 0) => json!({"reasoning_content": text}),
                    (_, 1) => json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
                    _ => json!({"content": text}),
                };
                json!({"index": index, "delta": delta, "finish_reason": null})
            };
            script.content(&text);
            let told = match way {
                1 => Some(Value::Null),
                3 => {
                    wrote.output = chance.below(truth.output as usize + 1) as u64;
                    Some(chat_usage(&wrote))
                }
                _ => None,
            };
            script.event(chance, None, &object(json!([part]), told));
        }
        let last = json!([{"index": index, "delta": {}, "finish_reason": *chance.of(&["stop", "length", "tool_calls"])}]);
        let told = (way == 2 || way == 3).then(|| chat_usage(&truth));
        script.event(chance, None, &object(last, told));
    }
    script.usage = (way > 0).then_some(truth);
    if way == 1 {
        let range = script.event(chance, None, &object(json!([]), Some(chat_usage(&truth))));
        script.extra.push(range);
    }
    match chance.below(12) {
        0 => {
            script.event(chance, None, &json!({"error": {"message": "gone", "code": 500}}));
            script.lack = Some(Lack::Error);
        }
        1 => {
            script.event(
                chance,
                None,
                &object(json!([{"index": 0, "delta": {}, "finish_reason": "content_filter"}]), None),
            );
            script.lack = Some(Lack::Refused);
        }
        2 => {
            script.raw_event(chance, None, "{\"choices\": [{");
            script.lack = Some(Lack::Unreadable);
        }
        3 => {
            script.event(chance, None, &object(json!([{"index": 7, "delta": {}}]), None));
            script.lack = Some(Lack::Unfinished);
        }
        _ => {}
    }
    if chance.one_in(8) {
        script.lack = script.lack.filter(|lack| *lack != Lack::Unfinished).or(Some(Lack::Cut));
    } else {
        script.raw_event(chance, None, "[DONE]");
        if chance.one_in(5) {
            let end = script.bytes.len()
                - script.bytes.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            script.cut(end);
        }
    }
    script
}

fn responses(chance: &mut Chance) -> Script {
    let mut script = Script::new(chance);
    let truth = usage(chance);
    let named = chance.one_in(2);
    let tell = |script: &mut Script, chance: &mut Chance, kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        script.event(chance, named.then_some(kind), &data);
    };
    let response = |status: &str, usage: Value| {
        json!({"response": {"id": "r", "model": "gpt-5", "status": status, "error": null, "incomplete_details": null,
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "the whole text again"}]}], "usage": usage}})
    };
    tell(&mut script, chance, "response.created", response("in_progress", Value::Null));
    for _ in 0..chance.below(6) {
        let text = chance.text(30);
        script.content(&text);
        let kind = *chance.of(&["response.output_text.delta", "response.function_call_arguments.delta"]);
        tell(&mut script, chance, kind, json!({"delta": text, "item_id": "i", "output_index": 0}));
    }
    tell(&mut script, chance, "response.output_text.done", json!({"text": "the whole text again"}));
    let told = json!({
        "input_tokens": truth.input, "output_tokens": truth.output, "total_tokens": truth.total(),
        "input_tokens_details": {"cached_tokens": truth.cached, "cache_write_tokens": truth.cache_write},
        "output_tokens_details": {"reasoning_tokens": truth.reasoning},
    });
    match chance.below(8) {
        0 => script.lack = Some(Lack::Cut),
        1 => {
            tell(&mut script, chance, "response.failed", response("failed", Value::Null));
            script.lack = Some(Lack::Error);
        }
        2 => {
            let mut data = response("incomplete", told);
            data["response"]["incomplete_details"] = json!({"reason": "max_output_tokens"});
            tell(&mut script, chance, "response.incomplete", data);
            script.usage = Some(truth);
            script.lack = Some(Lack::Unfinished);
        }
        3 => {
            let mut data = response("incomplete", told);
            data["response"]["incomplete_details"] = json!({"reason": "content_filter"});
            tell(&mut script, chance, "response.incomplete", data);
            script.usage = Some(truth);
            script.lack = Some(Lack::Refused);
        }
        _ => {
            tell(&mut script, chance, "response.completed", response("completed", told));
            script.usage = Some(truth);
            if chance.one_in(4) {
                script.raw_event(chance, None, "[DONE]");
            }
        }
    }
    script
}

fn messages(chance: &mut Chance) -> Script {
    let mut script = Script::new(chance);
    let truth = Usage { reasoning: 0, ..usage(chance) };
    let tell = |script: &mut Script, chance: &mut Chance, kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        script.event(chance, Some(kind), &data);
    };
    let beside = truth.input - truth.cached - truth.cache_write;
    let told = json!({"input_tokens": beside, "cache_read_input_tokens": truth.cached,
        "cache_creation_input_tokens": truth.cache_write, "output_tokens": truth.output.min(1)});
    let start = json!({"message": {"id": "m", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
        "stop_reason": null, "usage": told}});
    tell(&mut script, chance, "message_start", start);
    script.usage = Some(Usage { output: truth.output.min(1), ..truth });
    tell(&mut script, chance, "ping", json!({}));
    tell(
        &mut script,
        chance,
        "content_block_start",
        json!({"index": 0, "content_block": {"type": "text", "text": ""}}),
    );
    for _ in 0..chance.below(6) {
        let text = chance.text(30);
        script.content(&text);
        let delta = match chance.below(3) {
            0 => json!({"type": "thinking_delta", "thinking": text}),
            1 => json!({"type": "input_json_delta", "partial_json": text}),
            _ => json!({"type": "text_delta", "text": text}),
        };
        tell(&mut script, chance, "content_block_delta", json!({"index": 0, "delta": delta}));
    }
    tell(&mut script, chance, "content_block_stop", json!({"index": 0}));
    let end = chance.below(8);
    if end == 0 {
        let error = json!({"error": {"type": "overloaded_error", "message": "Overloaded"}});
        tell(&mut script, chance, "error", error);
        script.lack = Some(Lack::Error);
        return script;
    }
    // The counts of the input may come once more, or be left out.
    let mut told = json!({"output_tokens": truth.output});
    if chance.one_in(2) {
        told["input_tokens"] = json!(if chance.one_in(2) { beside } else { 0 });
        told["cache_read_input_tokens"] = json!(truth.cached);
    }
    let reason = if end == 1 { "refusal" } else { *chance.of(&["end_turn", "max_tokens", "tool_use"]) };
    tell(
        &mut script,
        chance,
        "message_delta",
        json!({"delta": {"stop_reason": reason, "stop_sequence": null}, "usage": told}),
    );
    script.usage = Some(truth);
    script.lack = (end == 1).then_some(Lack::Refused);
    if end == 2 {
        script.lack = Some(Lack::Cut);
    } else {
        tell(&mut script, chance, "message_stop", json!({}));
    }
    script
}

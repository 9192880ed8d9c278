//! Seeded answers of providers, with what is true of them: for the tests of this crate and of those who build on it.
//!
//! What is true was known before the answer was written: none of it is read from the bytes.

mod whole;

use std::ops::Range;

use serde_json::{Value, json};

use crate::chance::Chance;
use crate::formats::{Api, Lack, Usage};

pub use whole::whole;

/// An answer of some provider: a stream, or a JSON.
pub struct Script {
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// The model that it says has answered.
    pub model: &'static str,
    /// What it says was used, the last word of it.
    pub usage: Option<Usage>,
    /// Why it must not be stored.
    pub lack: Option<Lack>,
    /// Events with something that the model has written.
    pub content_events: u64,
    /// Bytes that it has written.
    pub delta_bytes: u64,
    /// The events with usage and without choices.
    pub extra: Vec<Range<usize>>,
    /// What is true after each of its events, the first first; none if it is a JSON.
    pub marks: Vec<Mark>,
    /// Every beginning that is shorter lacks something.
    pub whole_from: usize,
    now: Mark,
    end: &'static str,
    /// A bit for each choice, and for each that has ended.
    choices: (u128, u128),
}

/// What is true of the beginning of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The length of that beginning.
    pub end: usize,
    /// Whether it names the model.
    pub named: bool,
    /// What was said so far to be used.
    pub usage: Option<Usage>,
    /// Whether that is the last word.
    pub settled: bool,
    /// Whether there is an error in it.
    pub error: bool,
    /// Events with something that the model has written.
    pub content_events: u64,
    /// Bytes that it has written.
    pub delta_bytes: u64,
}

impl Script {
    fn new(chance: &mut Chance, model: &'static str) -> Self {
        let mut script = Self {
            bytes: Vec::new(),
            model,
            usage: None,
            lack: None,
            content_events: 0,
            delta_bytes: 0,
            extra: Vec::new(),
            marks: Vec::new(),
            whole_from: 0,
            now: Mark::default(),
            end: *chance.of(&["\n", "\n", "\n", "\r\n", "\r"]),
            choices: (0, 0),
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
        let data_end = self.bytes.trim_ascii_end().len();
        self.line("");
        self.mark(data_end);
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

    /// What is true of a beginning of it.
    pub fn after(&self, length: usize) -> Mark {
        self.marks.iter().rev().find(|mark| mark.end <= length).copied().unwrap_or_default()
    }

    /// What was written last is true from here on.
    fn mark(&mut self, end: usize) {
        let (seen, ended) = self.choices;
        let settled = self.now.settled || self.usage.is_some() && seen != 0 && seen == ended;
        let (content_events, delta_bytes) = (self.content_events, self.delta_bytes);
        self.marks.push(Mark { end, usage: self.usage, settled, content_events, delta_bytes, ..self.now });
    }

    /// All is told of what was used.
    fn tells(&mut self, usage: Usage) {
        self.usage = Some(usage);
        self.now.settled = true;
    }

    fn last_end(&self) -> usize {
        self.marks.last().map_or(0, |mark| mark.end)
    }

    fn choice(&mut self, index: usize, ended: bool) {
        self.choices.0 |= 1 << index;
        self.choices.1 |= u128::from(ended) << index;
    }

    fn content(&mut self, text: &str) {
        if !text.is_empty() {
            self.content_events += 1;
            self.delta_bytes += text.len() as u64;
        }
    }
}

fn usage(chance: &mut Chance) -> Usage {
    let input = chance.number() >> (44 + chance.below(20));
    let output = chance.number() >> (44 + chance.below(20));
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
///
/// # Panics
/// Embeddings have none.
pub fn script(chance: &mut Chance, api: Api) -> Script {
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
    let model = *chance.of(&["gpt-4o", "deepseek/deepseek-v4-flash"]);
    let mut script = Script::new(chance, model);
    script.now.named = true;
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
                    wrote.reasoning = truth.reasoning.min(wrote.output);
                    script.usage = Some(wrote);
                    Some(chat_usage(&wrote))
                }
                _ => None,
            };
            script.choice(index, false);
            script.event(chance, None, &object(json!([part]), told));
        }
        let last = json!([{"index": index, "delta": {}, "finish_reason": *chance.of(&["stop", "length", "tool_calls"])}]);
        let told = (way == 2 || way == 3).then(|| chat_usage(&truth));
        script.usage = (way == 2 || way == 3).then_some(truth);
        script.choice(index, true);
        script.event(chance, None, &object(last, told));
    }
    if way == 1 {
        script.usage = Some(truth);
        let range = script.event(chance, None, &object(json!([]), Some(chat_usage(&truth))));
        script.extra.push(range);
    }
    match chance.below(12) {
        0 => {
            script.now.error = true;
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
            script.choice(7, false);
            script.event(chance, None, &object(json!([{"index": 7, "delta": {}}]), None));
            script.lack = Some(Lack::Unfinished);
        }
        _ => {}
    }
    if chance.one_in(8) {
        script.lack = script.lack.filter(|lack| *lack != Lack::Unfinished).or(Some(Lack::Cut));
    } else {
        script.now.settled = script.usage.is_some();
        script.raw_event(chance, None, "[DONE]");
        script.whole_from = script.last_end();
        if chance.one_in(5) {
            let end = script.bytes.len()
                - script.bytes.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            script.cut(end);
        }
    }
    script
}

fn responses(chance: &mut Chance) -> Script {
    let mut script = Script::new(chance, "gpt-5");
    script.now.named = true;
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
            script.now.error = true;
            tell(&mut script, chance, "response.failed", response("failed", Value::Null));
            script.lack = Some(Lack::Error);
        }
        2 => {
            let mut data = response("incomplete", told);
            data["response"]["incomplete_details"] = json!({"reason": "max_output_tokens"});
            script.tells(truth);
            tell(&mut script, chance, "response.incomplete", data);
            script.lack = Some(Lack::Unfinished);
        }
        3 => {
            let mut data = response("incomplete", told);
            data["response"]["incomplete_details"] = json!({"reason": "content_filter"});
            script.tells(truth);
            tell(&mut script, chance, "response.incomplete", data);
            script.lack = Some(Lack::Refused);
        }
        _ => {
            script.tells(truth);
            tell(&mut script, chance, "response.completed", response("completed", told));
            script.whole_from = script.last_end();
            if chance.one_in(4) {
                script.raw_event(chance, None, "[DONE]");
            }
        }
    }
    script
}

fn messages(chance: &mut Chance) -> Script {
    let mut script = Script::new(chance, "claude-x");
    script.now.named = true;
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
    script.usage = Some(Usage { output: truth.output.min(1), ..truth });
    tell(&mut script, chance, "message_start", start);
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
        script.now.error = true;
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
    script.tells(truth);
    tell(
        &mut script,
        chance,
        "message_delta",
        json!({"delta": {"stop_reason": reason, "stop_sequence": null}, "usage": told}),
    );
    script.lack = (end == 1).then_some(Lack::Refused);
    if end == 2 {
        script.lack = Some(Lack::Cut);
    } else {
        tell(&mut script, chance, "message_stop", json!({}));
        script.whole_from = script.last_end();
    }
    script
}

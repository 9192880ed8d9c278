//! One question with its answer, and what should come of it.

use selvage_llm::chance::Chance;
use selvage_llm::formats::{Api, Body, Lack, Usage, estimate};
use selvage_llm::script::{Mark, Script, script, whole};
use serde_json::json;

use super::ledger::{ASKED, Entry, MODELS, OTHER, Spent};
use crate::{Headers, Stream};

/// One question with its answer.
pub(super) struct Case {
    seed: u64,
    pub(super) chance: Chance,
    pub(super) api: Api,
    pub(super) form: Body,
    pub(super) script: Script,
    pub(super) way: Way,
    /// Answers are stored under its rule; otherwise they are only counted.
    cached: bool,
}

/// How the answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Its last bytes say that they are the last.
    Whole,
    /// The end comes without bytes.
    ThenEnd,
    /// Trailers are the end.
    ThenTrailers,
    /// So many bytes, and their framing is whole.
    Cut(usize),
    /// The origin breaks off after so many.
    Reset(usize),
    /// The client leaves after so many.
    Leaves(usize),
}

/// What should come of it.
pub(super) struct Wanted {
    pub(super) stored: bool,
    pub(super) spent: Spent,
    entry: &'static Entry,
    usage: Option<Usage>,
    mark: Mark,
}

impl Case {
    /// The case of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let api = *chance.of(&[Api::Chat, Api::Completions, Api::Responses, Api::Messages]);
        let form = if chance.one_in(4) { Body::Json } else { Body::Events };
        let script = match form {
            Body::Json => whole(&mut chance, api),
            Body::Events => script(&mut chance, api),
        };
        let length = script.bytes.len();
        // Where it lacks something for certain.
        let short = if script.lack.is_some() { length } else { script.whole_from };
        let way = match chance.below(10) {
            0 => Way::ThenEnd,
            1 => Way::ThenTrailers,
            2 => Way::Cut(1 + chance.below(short.saturating_sub(1))),
            3 => Way::Reset(chance.below(length + 1)),
            4 => Way::Leaves(chance.below(length + 1)),
            _ => Way::Whole,
        };
        let cached = !chance.one_in(5);
        Self { seed, chance, api, form, script, way, cached }
    }

    pub(super) fn path(&self) -> String {
        let rule = if self.cached { "" } else { "/out" };
        let provider = if self.api == Api::Messages { "/a" } else { "/v1" };
        format!("{rule}{provider}{}", self.api.path())
    }

    fn question(&self) -> serde_json::Value {
        json!({"model": ASKED, "stream": self.form == Body::Events, "input": format!("{:012}", self.seed)})
    }

    /// The question in one of its spellings.
    pub(super) fn spelt_question(&mut self) -> Vec<u8> {
        let question = self.question();
        let mut bytes = Vec::new();
        self.chance.spell(&question, &mut bytes);
        bytes
    }

    /// The question in the shortest one: as long for each seed.
    pub(super) fn plain_question(&self) -> Vec<u8> {
        self.question().to_string().into_bytes()
    }

    /// Bytes in parts, of which none is empty.
    pub(super) fn parts<'b>(&mut self, bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut parts = self.chance.cuts(bytes);
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// How much of the answer comes.
    fn length(&self) -> usize {
        match self.way {
            Way::Cut(length) | Way::Reset(length) | Way::Leaves(length) => length,
            _ => self.script.bytes.len(),
        }
    }

    /// Sends the answer, and gives what of it was sent.
    pub(super) fn answer(&mut self, stream: &Stream) -> Vec<u8> {
        let kind = match self.form {
            Body::Json => "application/json",
            Body::Events => "text/event-stream; charset=utf-8",
        };
        let head = [
            (":status", "200"),
            ("content-type", kind),
            ("cache-control", "no-store"),
            ("set-cookie", "a=1"),
        ];
        stream.respond_with_body(Headers::from(head));
        let bytes = self.script.bytes[..self.length()].to_vec();
        let parts = self.parts(&bytes);
        let last_ends = matches!(self.way, Way::Whole | Way::Cut(_));
        for (nth, part) in parts.iter().enumerate() {
            if last_ends && nth + 1 == parts.len() {
                stream.last_body(part)
            } else {
                stream.body(part)
            };
        }
        match self.way {
            Way::Whole | Way::Cut(_) if !parts.is_empty() => stream,
            Way::Whole | Way::Cut(_) | Way::ThenEnd => stream.last_body(""),
            Way::ThenTrailers => stream.trailers(Headers::from([("t", "1")])),
            Way::Reset(_) => stream.upstream_reset(),
            Way::Leaves(_) => stream.disconnect(),
        };
        bytes
    }

    /// What should come of it. `bytes` is the length of the question.
    pub(super) fn wanted(&self, bytes: u64) -> Wanted {
        let is_whole = matches!(self.way, Way::Whole | Way::ThenEnd | Way::ThenTrailers);
        let mark = self.mark();
        let lack = self.script.lack;
        let broken_json = self.form == Body::Json
            && (matches!(lack, Some(Lack::Cut | Lack::Unreadable))
                || self.length() < self.script.bytes.trim_ascii_end().len());
        // A question that is not for the cache is not read: nobody knows whom it asks.
        let entry = match (mark.named, self.cached) {
            (true, _) => Entry::of(self.script.model),
            (false, true) => Entry::of(ASKED),
            (false, false) => &OTHER,
        };
        let spent = if broken_json {
            // How far it was read says how much of it is known.
            let may_be_free = lack == Some(Lack::Error);
            Spent::Somehow { may_be_free }
        } else if mark.error && mark.usage.is_none() {
            Spent::Nothing
        } else {
            let passed = estimate(bytes, mark.content_events, mark.delta_bytes);
            match mark.usage {
                Some(usage) if mark.settled => Spent::Told(entry, usage),
                Some(usage) => {
                    Spent::Estimated(entry, Usage { output: usage.output.max(passed.output), ..usage })
                }
                None => Spent::Estimated(entry, passed),
            }
        };
        let stored = self.cached && is_whole && lack.is_none();
        Wanted { stored, spent, entry, usage: self.script.usage, mark }
    }

    /// What is true of what has come.
    fn mark(&self) -> Mark {
        if self.form == Body::Events {
            return self.script.after(self.length());
        }
        let error = self.script.lack == Some(Lack::Error);
        Mark {
            named: !error,
            usage: self.script.usage,
            settled: self.script.usage.is_some(),
            error,
            delta_bytes: self.script.delta_bytes,
            ..Mark::default()
        }
    }
}

impl Wanted {
    /// What is spared when it comes again. `bytes` is the length of the question.
    pub(super) fn saved(&self, bytes: u64) -> (&'static Entry, Usage) {
        let passed = estimate(bytes, self.mark.content_events, self.mark.delta_bytes);
        (self.entry, self.usage.unwrap_or(passed))
    }
}

/// A rule for each provider that stores answers, and one that counts them.
pub(super) fn configuration() -> String {
    let rule = |name: &str, path: &str, api: &str, more: &str| {
        format!(
            r#"{{"name":"{name}","match":{{"paths":["{path}/*"]}},"llm":{{"api":"{api}","usage":"count"{more}}}}}"#
        )
    };
    let cache = r#","cache":{"when":"all","share":[]}"#;
    let rules = [
        rule("openai", "/v1", "openai", cache),
        rule("anthropic", "/a", "anthropic", cache),
        rule("openai-counted", "/out/v1", "openai", ""),
        rule("anthropic-counted", "/out/a", "anthropic", ""),
    ];
    let models: Vec<String> = MODELS.iter().map(Entry::configuration).collect();
    format!(r#"{{"models":[{}],"rules":[{}]}}"#, models.join(","), rules.join(","))
}

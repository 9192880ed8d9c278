//! An answer that is passing, as JSON or as a stream of events.

use std::mem;

use super::facts::Facts;
use super::usage::Counts;
use super::{Api, Usage, estimate};
use crate::events::{Frame, Listener, Scanner};
use crate::json::Lexer;

/// In which of its two forms an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `application/json`
    Json,
    /// `text/event-stream`
    Events,
}

impl Body {
    /// By `Content-Type`; `None` if it is neither.
    pub fn of_content_type(value: &[u8]) -> Option<Self> {
        let kind = value.split(|byte| *byte == b';').next()?.trim_ascii();
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            Some(Self::Events)
        } else if kind.eq_ignore_ascii_case(b"application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }
}

/// Reads an answer while it passes. Keeps a few hundred bytes, whatever comes.
///
/// ```
/// use selvage_llm::formats::{Answer, Api, Body};
///
/// let mut answer = Answer::new(Api::Chat, Body::Events);
/// answer.push(br#"data: {"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#);
/// answer.push(b"\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tok");
/// answer.push(b"ens\":9,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n");
/// let outcome = answer.finish();
/// assert_eq!(outcome.lack, None);
/// assert_eq!(outcome.usage.map(|usage| (usage.input, usage.output)), Some((9, 1)));
/// ```
#[derive(Clone, Debug)]
pub struct Answer {
    reading: Reading,
    story: Story,
}

#[derive(Clone, Debug)]
enum Reading {
    Json(Lexer),
    Events(Scanner, Lexer),
}

/// What an answer has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the provider says that it has counted.
    pub usage: Option<Usage>,
    /// Whether it said so when all was written. Anthropic tells the input before and the output behind.
    pub settled: bool,
    /// The model that has answered; its first 256 bytes.
    pub model: Option<String>,
    /// Why it must not be stored; `None` if it is complete.
    pub lack: Option<Lack>,
    /// What has passed.
    pub progress: Progress,
}

/// Tokens, and how they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// By the provider.
    Told(Usage),
    /// By bytes and events, at least in part.
    Estimated(Usage),
}

impl Counted {
    /// The tokens, however they are known.
    pub const fn usage(&self) -> &Usage {
        match self {
            Self::Told(usage) | Self::Estimated(usage) => usage,
        }
    }
}

impl Outcome {
    /// What was used: what the provider has told, and where it had no time to tell all, at least what has passed.
    /// `request_bytes` is the length of the request's body.
    pub fn counted(&self, request_bytes: u64) -> Counted {
        let passed = || estimate(request_bytes, self.progress.content_events, self.progress.delta_bytes);
        match self.usage {
            Some(told) if self.settled => Counted::Told(told),
            Some(told) => Counted::Estimated(Usage { output: told.output.max(passed().output), ..told }),
            None => Counted::Estimated(passed()),
        }
    }
}

/// What of an answer has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events, none if it is JSON.
    pub events: u64,
    /// Those with something that the model has written.
    pub content_events: u64,
    /// Bytes that it has written, without their escapes.
    pub delta_bytes: u64,
    /// Events that told an `id`.
    pub ids: u64,
}

/// Why an answer is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It has ended before its end: the terminal event, or the rest of the JSON.
    Cut,
    /// It tells of an error.
    Error,
    /// A content filter or a refusal has ended it.
    Refused,
    /// It has no reason to have ended, or another one than being done.
    Unfinished,
    /// There is something in it that can not be read.
    Unreadable,
}

impl Lack {
    /// A word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Unfinished => "unfinished",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Answer {
    /// Starts with nothing.
    pub fn new(api: Api, body: Body) -> Self {
        let reading = match body {
            Body::Json => Reading::Json(Lexer::default()),
            Body::Events => Reading::Events(Scanner::default(), Lexer::default()),
        };
        Self { reading, story: Story::new(api) }
    }

    /// Takes in the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        match &mut self.reading {
            Reading::Json(lexer) => {
                let result = lexer.push(chunk, &mut self.story.facts);
                self.story.unreadable |= result.is_err();
            }
            Reading::Events(scanner, lexer) => {
                scanner.push(chunk, &mut Hearing { lexer, story: &mut self.story });
            }
        }
    }

    /// What has passed so far.
    pub fn progress(&self) -> Progress {
        self.story.progress
    }

    /// What the provider has told so far of its usage.
    pub fn usage(&self) -> Option<Usage> {
        self.story.counts.usage(self.story.api)
    }

    /// The answer has ended, by its end, by trailers, or because somebody has left.
    pub fn finish(mut self) -> Outcome {
        match &mut self.reading {
            Reading::Json(lexer) => {
                let whole = lexer.finish(&mut self.story.facts).is_ok();
                self.story.whole_json(whole);
            }
            Reading::Events(scanner, lexer) => {
                scanner.finish(&mut Hearing { lexer, story: &mut self.story });
            }
        }
        self.story.outcome()
    }
}

/// What was said so far, over all events.
#[derive(Clone, Debug)]
struct Story {
    api: Api,
    facts: Facts,
    counts: Counts,
    model: Vec<u8>,
    progress: Progress,
    /// The beginning of the data of the event that is being read.
    head: [u8; HEAD],
    head_len: usize,
    /// Whether that data has been no JSON so far.
    no_json: bool,
    ended: bool,
    completed: bool,
    stopped: bool,
    /// It says why it has ended, whyever.
    over: bool,
    /// It is no stream.
    one_json: bool,
    seen: u128,
    finished: u128,
    /// Those that say why they have ended, whyever.
    closed: u128,
    error: bool,
    refused: bool,
    unreadable: bool,
}

impl Story {
    fn new(api: Api) -> Self {
        Self {
            api,
            facts: Facts::default(),
            counts: Counts::default(),
            model: Vec::new(),
            progress: Progress::default(),
            head: [0; HEAD],
            head_len: 0,
            no_json: false,
            ended: false,
            completed: false,
            stopped: false,
            over: false,
            one_json: false,
            seen: 0,
            finished: 0,
            closed: 0,
            error: false,
            refused: false,
            unreadable: false,
        }
    }

    /// Takes in what one JSON has said.
    fn hear(&mut self) {
        let said = &self.facts.said;
        self.counts.follow(self.facts.counts(), self.api);
        if self.model.is_empty() {
            self.model.clone_from(&said.model);
        }
        self.progress.delta_bytes = self.progress.delta_bytes.saturating_add(said.written);
        self.error |= said.error;
        self.refused |= said.refused;
        self.stopped |= said.stopped;
        self.over |= said.over;
        self.seen |= said.seen;
        self.finished |= said.finished;
        self.closed |= said.ended;
    }

    fn whole_json(&mut self, whole: bool) {
        self.hear();
        let said = &self.facts.said;
        self.ended = whole;
        self.one_json = true;
        self.completed = match self.api {
            Api::Chat | Api::Completions => self.all_finished(),
            Api::Responses => said.status == b"completed",
            Api::Embeddings => said.data,
            Api::Messages => said.stopped,
        };
    }

    fn all_finished(&self) -> bool {
        self.seen != 0 && self.seen == self.finished
    }

    /// The data of an event that is JSON.
    fn event(&mut self, name: &[u8]) {
        // What follows the end is not part of the answer.
        self.unreadable |= self.ended;
        self.hear();
        let said = &self.facts.said;
        if said.written > 0 {
            self.progress.content_events = self.progress.content_events.saturating_add(1);
        }
        let kind = if said.event.is_empty() { name } else { &said.event };
        match (self.api, kind) {
            (_, b"error") | (Api::Responses, b"response.failed") => self.error = true,
            (Api::Messages, b"message_stop") => {
                self.ended = true;
                self.completed = self.stopped;
            }
            (Api::Responses, b"response.completed") => {
                self.ended = true;
                self.completed = matches!(&*said.status, b"completed" | b"");
            }
            (Api::Responses, b"response.incomplete") => self.ended = true,
            _ => {}
        }
    }

    /// `[DONE]`, which some send behind the end of other formats too.
    fn done(&mut self) {
        if matches!(self.api, Api::Chat | Api::Completions) {
            self.unreadable |= self.ended;
            self.ended = true;
            self.completed = self.all_finished();
        }
    }

    fn outcome(self) -> Outcome {
        let lack = if self.error {
            Some(Lack::Error)
        } else if self.refused {
            Some(Lack::Refused)
        } else if self.unreadable {
            Some(Lack::Unreadable)
        } else if !self.ended {
            Some(Lack::Cut)
        } else if !self.completed {
            Some(Lack::Unfinished)
        } else {
            None
        };
        let usage = self.counts.usage(self.api);
        // What ends otherwise than it should has told all the same; what is cut in the middle of one JSON has not.
        let told = match self.api {
            _ if self.ended || self.one_json => self.ended,
            Api::Chat | Api::Completions => self.seen != 0 && self.seen == self.closed,
            Api::Messages => self.over,
            Api::Responses | Api::Embeddings => true,
        };
        let settled = usage.is_some() && told;
        Outcome {
            usage,
            settled,
            model: String::from_utf8(self.model).ok().filter(|model| !model.is_empty()),
            lack,
            progress: self.progress,
        }
    }
}

/// Hands the data of each event to the lexer, so that none of it is kept.
struct Hearing<'a> {
    lexer: &'a mut Lexer,
    story: &'a mut Story,
}

impl Listener for Hearing<'_> {
    fn data(&mut self, piece: &[u8]) {
        let story = &mut *self.story;
        for (place, byte) in story.head.iter_mut().skip(story.head_len).zip(piece) {
            *place = *byte;
        }
        story.head_len = story.head_len.saturating_add(piece.len()).min(HEAD);
        if !story.no_json {
            story.no_json = self.lexer.push(piece, &mut story.facts).is_err();
        }
    }

    fn event(&mut self, frame: &Frame<'_>) {
        let story = &mut *self.story;
        let lexer = mem::take(self.lexer);
        let is_json = !mem::take(&mut story.no_json) && { lexer }.finish(&mut story.facts).is_ok();
        story.progress.events = story.progress.events.saturating_add(1);
        story.progress.ids = story.progress.ids.saturating_add(u64::from(frame.has_id));
        let head = story.head.get(..story.head_len).unwrap_or_default().trim_ascii();
        let done = head == b"[DONE]" && frame.data_bytes < HEAD as u64;
        story.head_len = 0;
        if is_json {
            story.event(frame.name);
        } else if done {
            story.done();
        } else {
            story.unreadable = true;
        }
        story.facts.clear();
    }
}

/// Enough to know `[DONE]` with a space or two.
const HEAD: usize = 16;

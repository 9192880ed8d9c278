//! What a gateway must know of a request's body, seen while it passes.

use crate::json::{Ambiguous, Kind, Sink, Token, append, normal_number, whole_number};

/// What a request asks for, as far as a gateway cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `model`; `None` if it is no text or has more than [`MAX_MODEL`] bytes.
    pub model: Option<Box<str>>,
    /// `stream` is `true`.
    pub stream: bool,
    /// `stream_options.include_usage` is `true`.
    pub include_usage: bool,
    /// The larger of `max_tokens` and `max_completion_tokens`, as far as they are given.
    pub max_output: Option<u64>,
    /// `max_output_tokens`, which is what `/responses` calls it.
    pub max_output_tokens: Option<u64>,
    /// How many answers are asked for and paid: the larger of `n` and `best_of`, at least 1.
    pub answers: u64,
    /// `temperature` is 0.
    pub temperature_zero: bool,
    /// `seed` is given, and not `null`.
    pub seed: bool,
    /// It takes part in something that the provider keeps or does: `conversation`, `container`, `background`, or tools that are
    /// not the client's own. The same request is not the same question then.
    pub stateful: bool,
    /// The shape of `input`.
    pub input: Input,
    /// Length of the body.
    pub bytes: u64,
}

impl Summary {
    /// Whether the same question is meant to have the same answer: `temperature` 0 or `seed`.
    pub fn is_deterministic(&self) -> bool {
        self.temperature_zero || self.seed
    }
}

/// The shape of `input` in a request for embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// There is none.
    #[default]
    Absent,
    /// One text.
    Text,
    /// An array of so many texts.
    Texts(u64),
    /// One input of so many tokens.
    Tokens(u64),
    /// An array of so many arrays.
    Lists(u64),
    /// Something else: an object, a mixed or empty array.
    Other,
}

/// Longest name of a model, in bytes.
pub const MAX_MODEL: usize = 256;

/// Takes in the tokens of a body.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    depth: usize,
    /// Of the member of the top level that is being read.
    top: Place,
    /// Of the member one level below.
    inner: bool,
    name: Vec<u8>,
    /// The text or number that is being read, if it matters.
    scalar: Vec<u8>,
    overflow: bool,
    summary: Summary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Elsewhere,
    Model,
    Stream,
    StreamOptions,
    MaxOutput,
    MaxOutputTokens,
    Answers,
    Temperature,
    Seed,
    State,
    Tools,
    Input,
}

impl Place {
    fn of(name: &[u8]) -> Self {
        match name {
            b"model" => Self::Model,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"max_tokens" | b"max_completion_tokens" => Self::MaxOutput,
            b"max_output_tokens" => Self::MaxOutputTokens,
            b"n" | b"best_of" => Self::Answers,
            b"temperature" => Self::Temperature,
            b"seed" => Self::Seed,
            b"conversation" | b"container" | b"background" | b"mcp_servers" | b"web_search_options" => {
                Self::State
            }
            b"tools" => Self::Tools,
            b"input" => Self::Input,
            _ => Self::Elsewhere,
        }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            depth: 0,
            top: Place::Elsewhere,
            inner: false,
            name: Vec::new(),
            scalar: Vec::new(),
            overflow: false,
            summary: Summary { answers: 1, ..Summary::default() },
        }
    }
}

impl Reader {
    pub(super) fn count(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.summary.bytes = self.summary.bytes.saturating_add(bytes);
    }

    pub(super) fn finish(self) -> Summary {
        self.summary
    }

    /// Keeps a name or a scalar, bounded.
    fn keep(&mut self, piece: &[u8]) {
        if self.scalar.len().saturating_add(piece.len()) > MAX_MODEL {
            self.overflow = true;
        } else {
            self.scalar.extend_from_slice(piece);
        }
    }

    /// A value of the top level has ended, or one that is nested in it has.
    fn value(&mut self, kind: Kind) {
        let summary = &mut self.summary;
        match (self.depth, self.top, kind) {
            (1, place, Kind::Text | Kind::Number) if self.overflow && place != Place::State => {}
            (1, Place::Model, Kind::Text) => {
                summary.model = std::str::from_utf8(&self.scalar).ok().map(Box::from);
            }
            (1, Place::Stream, _) => summary.stream = kind == Kind::True,
            (2, Place::StreamOptions, _) if self.inner => summary.include_usage = kind == Kind::True,
            (1, Place::MaxOutput, Kind::Number) => {
                summary.max_output = summary.max_output.max(whole(&self.scalar));
            }
            (1, Place::MaxOutputTokens, Kind::Number) => summary.max_output_tokens = whole(&self.scalar),
            (1, Place::Answers, Kind::Number) => {
                summary.answers = summary.answers.max(whole(&self.scalar).unwrap_or(1));
            }
            (1, Place::Temperature, Kind::Number) => {
                summary.temperature_zero = whole(&self.scalar) == Some(0);
            }
            (1, Place::Seed, _) => summary.seed = kind != Kind::Null,
            (3, Place::Tools, Kind::Text) if self.inner => {
                summary.stateful |= !matches!(&*self.scalar, b"function" | b"custom");
            }
            (1, Place::State, _) => summary.stateful |= !matches!(kind, Kind::Null | Kind::False),
            _ => {}
        }
    }

    fn input(&mut self, kind: Kind) {
        let input = &mut self.summary.input;
        *input = match (self.depth, *input, kind) {
            (1, _, Kind::Text) => Input::Text,
            (1, _, Kind::Null) => Input::Absent,
            (1, ..) => Input::Other,
            (2, Input::Other, Kind::Text) if self.inner => Input::Texts(1),
            (2, Input::Other, Kind::Number) if self.inner => Input::Tokens(1),
            (2, Input::Other, Kind::Array) if self.inner => Input::Lists(1),
            (2, Input::Texts(count), Kind::Text) => Input::Texts(count.saturating_add(1)),
            (2, Input::Tokens(count), Kind::Number) => Input::Tokens(count.saturating_add(1)),
            (2, Input::Lists(count), Kind::Array) => Input::Lists(count.saturating_add(1)),
            (2, ..) => Input::Other,
            (_, input, _) => input,
        };
        // In `input`, `inner` says that this is its first element.
        self.inner = self.depth == 1 && kind == Kind::Array;
    }
}

impl Sink for Reader {
    fn take(&mut self, token: Token<'_>, _: u64) -> Result<(), Ambiguous> {
        match token {
            Token::Begin(Kind::Name) => self.name.clear(),
            Token::Piece(Kind::Name, piece) if self.depth <= 3 => {
                append(&mut self.name, piece, MAX_NAME);
            }
            Token::End(Kind::Name) if self.depth == 1 => {
                self.top = Place::of(&self.name);
                self.inner = false;
                self.scalar.clear();
                self.overflow = false;
            }
            Token::End(Kind::Name) if self.depth == 2 => {
                self.inner = self.top == Place::StreamOptions && self.name == b"include_usage";
            }
            // Who runs a tool.
            Token::End(Kind::Name) if self.depth == 3 && self.top == Place::Tools => {
                self.inner = self.name == b"type";
                self.scalar.clear();
            }
            Token::Piece(Kind::Text | Kind::Number, piece)
                if self.depth == 1 && !matches!(self.top, Place::Elsewhere | Place::Input)
                    || self.depth == 3 && self.top == Place::Tools && self.inner =>
            {
                self.keep(piece);
            }
            Token::Piece(..) | Token::End(Kind::Name) => {}
            Token::Begin(kind) => {
                if self.top == Place::Input && self.depth > 0 {
                    self.input(kind);
                }
                if matches!(kind, Kind::Object | Kind::Array) {
                    self.depth = self.depth.saturating_add(1);
                }
            }
            Token::End(kind) => {
                if matches!(kind, Kind::Object | Kind::Array) {
                    self.depth = self.depth.saturating_sub(1);
                }
                self.value(kind);
            }
        }
        Ok(())
    }
}

fn whole(lexical: &[u8]) -> Option<u64> {
    let mut normal = Vec::new();
    normal_number(lexical, &mut normal).ok()?;
    whole_number(&normal)
}

/// Longer than every name that matters.
const MAX_NAME: usize = 32;

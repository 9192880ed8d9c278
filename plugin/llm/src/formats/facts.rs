//! What one JSON of an answer says: the whole answer, or the data of one event.
//!
//! The formats do not contradict each other, so one table of places serves all of them.

use super::usage::Counts;
use crate::json::{Ambiguous, Kind, Sink, Token, append, normal_number, whole_number};

/// Takes in the tokens of one JSON.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// What is open, the outermost first.
    open: Vec<(Place, Kind)>,
    name: Vec<u8>,
    /// The place of the value that comes next in an object.
    next: Place,
    /// The place of the text or number that is being read, and as much of it as matters.
    here: Place,
    scalar: Vec<u8>,
    counts: Counts,
    choices: Choices,
    choice: Choice,
    pub(super) said: Said,
}

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// `type`.
    pub(super) event: Vec<u8>,
    /// `status`, also of a `response` in it.
    pub(super) status: Vec<u8>,
    pub(super) model: Vec<u8>,
    /// There is an `error` that is not `null`.
    pub(super) error: bool,
    /// The end was a content filter or a refusal.
    pub(super) refused: bool,
    /// There is a reason to have ended.
    pub(super) stopped: bool,
    /// There is any, also one that nobody wants.
    pub(super) over: bool,
    /// A bit for each choice, and for each that has a reason to have ended.
    pub(super) seen: u128,
    pub(super) finished: u128,
    /// One for each that has any reason.
    pub(super) ended: u128,
    /// `data` has an element.
    pub(super) data: bool,
    /// Bytes that the model has written.
    pub(super) written: u64,
}

impl Said {
    /// Forgets all and keeps the room.
    fn clear(&mut self) {
        let mut texts = [&mut self.event, &mut self.status, &mut self.model].map(std::mem::take);
        texts.iter_mut().for_each(Vec::clear);
        let [event, status, model] = texts;
        *self = Self { event, status, model, ..Self::default() };
    }
}

/// What there is of `choices`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choices {
    /// Nothing yet.
    #[default]
    Unknown,
    /// An array without an element.
    Empty,
    /// Something.
    Some,
}

/// The choice that is being read.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    index: u64,
    finished: bool,
    ended: bool,
}

impl Facts {
    /// Forgets all, for the next JSON.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.next = Place::Elsewhere;
        self.here = Place::Elsewhere;
        self.counts = Counts::default();
        self.choices = Choices::Unknown;
        self.said.clear();
    }

    pub(crate) fn choices(&self) -> Choices {
        self.choices
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where the value is that begins now.
    fn place(&self) -> Place {
        match self.open.last() {
            None => Place::Top,
            Some((place, Kind::Array)) => place.element(),
            Some(_) => self.next,
        }
    }

    fn begin(&mut self, kind: Kind) {
        let place = self.place();
        match (place, kind) {
            (Place::Error, Kind::Null) => {}
            (Place::Error, _) => self.said.error = true,
            (Place::Choices, Kind::Array) => self.choices = Choices::Empty,
            (Place::Choices, Kind::Null) => {}
            (Place::Choices, _) => self.choices = Choices::Some,
            (Place::Choice, _) => {
                self.choices = Choices::Some;
                self.choice = Choice::default();
            }
            (Place::Datum, _) => self.said.data = true,
            _ => {}
        }
        match kind {
            Kind::Object | Kind::Array => self.open.push((place, kind)),
            _ => {
                self.here = place;
                self.scalar.clear();
            }
        }
    }

    fn piece(&mut self, piece: &[u8]) {
        match self.here {
            Place::Written | Place::Delta => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                self.said.written = self.said.written.saturating_add(length);
            }
            Place::Elsewhere => {}
            _ => {
                append(&mut self.scalar, piece, MAX_SCALAR);
            }
        }
    }

    fn end(&mut self, kind: Kind) {
        match kind {
            Kind::Object | Kind::Array => {
                if let Some((Place::Choice, _)) = self.open.pop() {
                    self.end_choice();
                }
            }
            Kind::Text => self.text(),
            Kind::Number => self.number(),
            _ => {}
        }
    }

    fn end_choice(&mut self) {
        // An index that no bit stands for is one that never finishes.
        let bit = u32::try_from(self.choice.index).ok().and_then(|index| 1_u128.checked_shl(index));
        self.said.seen |= bit.unwrap_or(1 << 127);
        if self.choice.finished {
            self.said.finished |= bit.unwrap_or(0);
        }
        if self.choice.ended {
            self.said.ended |= bit.unwrap_or(0);
        }
    }

    fn text(&mut self) {
        let said = &mut self.said;
        match self.here {
            Place::Type => said.event.clone_from(&self.scalar),
            Place::Status => said.status.clone_from(&self.scalar),
            Place::Model => said.model.clone_from(&self.scalar),
            Place::Finish | Place::Reason | Place::Stop => {
                match &*self.scalar {
                    b"content_filter" | b"refusal" => said.refused = true,
                    b"error" => said.error = true,
                    _ => {}
                }
                // One that nobody knows may say that it was broken off.
                let is_whole = WHOLE.iter().any(|known| known.as_bytes() == &*self.scalar);
                said.stopped |= self.here == Place::Stop && is_whole;
                said.over |= self.here == Place::Stop;
                self.choice.finished |= self.here == Place::Finish && is_whole;
                self.choice.ended |= self.here == Place::Finish;
            }
            _ => {}
        }
    }

    fn number(&mut self) {
        let counts = &mut self.counts;
        let place = match self.here {
            Place::Index => {
                self.choice.index = whole(&self.scalar).unwrap_or(u64::MAX);
                return;
            }
            Place::In => &mut counts.input,
            Place::Out => &mut counts.output,
            Place::CacheRead => &mut counts.cache_read,
            Place::CacheCreation => &mut counts.cache_creation,
            Place::Cached => &mut counts.cached,
            Place::CacheWrite => &mut counts.cache_write,
            Place::Reasoning => &mut counts.reasoning,
            _ => return,
        };
        *place = whole(&self.scalar).or(*place);
    }
}

impl Sink for Facts {
    fn take(&mut self, token: Token<'_>, _: u64) -> Result<(), Ambiguous> {
        match token {
            Token::Begin(Kind::Name) => self.name.clear(),
            Token::Piece(Kind::Name, piece) => {
                append(&mut self.name, piece, MAX_NAME);
            }
            Token::End(Kind::Name) => {
                let within = self.open.last().map_or(Place::Elsewhere, |(place, _)| *place);
                self.next = within.member(&self.name);
            }
            Token::Begin(kind) => self.begin(kind),
            Token::Piece(_, piece) => self.piece(piece),
            Token::End(kind) => self.end(kind),
        }
        Ok(())
    }

    fn looks_inside(&self) -> bool {
        self.open.last().is_none_or(|(place, _)| *place != Place::Elsewhere)
    }
}

/// What a place in an answer means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Elsewhere,
    Top,
    /// `response` in an event, or `message` in one of Anthropic's.
    Inner,
    Type,
    Status,
    Model,
    Error,
    IncompleteDetails,
    Reason,
    Stop,
    Choices,
    Choice,
    Index,
    Finish,
    /// `message` or `delta` of a choice.
    Part,
    Calls,
    Call,
    Function,
    /// `delta` of an event: a text, or Anthropic's object.
    Delta,
    /// An array of blocks with texts.
    Content,
    Block,
    Output,
    Item,
    Written,
    Data,
    Datum,
    Usage,
    InputDetails,
    OutputDetails,
    In,
    Out,
    CacheRead,
    CacheCreation,
    Cached,
    CacheWrite,
    Reasoning,
}

impl Place {
    /// Of a member.
    fn member(self, name: &[u8]) -> Self {
        match (self, name) {
            (Self::Top | Self::Inner, b"usage") => Self::Usage,
            (Self::Top | Self::Inner, b"model") => Self::Model,
            (Self::Top | Self::Inner, b"error") => Self::Error,
            (Self::Top | Self::Inner, b"status") => Self::Status,
            (Self::Top | Self::Inner, b"incomplete_details") => Self::IncompleteDetails,
            (Self::Top | Self::Inner | Self::Delta, b"stop_reason") => Self::Stop,
            (Self::Top, b"type") => Self::Type,
            (Self::Top, b"response" | b"message") => Self::Inner,
            (Self::Top, b"choices") => Self::Choices,
            (Self::Top, b"delta") => Self::Delta,
            (Self::Top, b"content") => Self::Content,
            (Self::Top, b"content_block") => Self::Block,
            (Self::Top, b"output") => Self::Output,
            (Self::Top, b"data") => Self::Data,
            (Self::IncompleteDetails, b"reason") => Self::Reason,
            (Self::Choice, b"index") => Self::Index,
            (Self::Choice, b"finish_reason") => Self::Finish,
            (Self::Choice, b"message" | b"delta") => Self::Part,
            (Self::Choice, b"text") => Self::Written,
            (Self::Part, b"content" | b"reasoning_content" | b"reasoning" | b"refusal") => Self::Written,
            (Self::Part, b"tool_calls") => Self::Calls,
            (Self::Part, b"function_call") | (Self::Call, b"function") => Self::Function,
            (Self::Function, b"name" | b"arguments") => Self::Written,
            (Self::Delta | Self::Block, b"text" | b"thinking" | b"partial_json" | b"refusal") => {
                Self::Written
            }
            (Self::Item, b"content" | b"summary") => Self::Content,
            (Self::Item, b"arguments") => Self::Written,
            (Self::Usage, b"prompt_tokens" | b"input_tokens") => Self::In,
            (Self::Usage, b"completion_tokens" | b"output_tokens") => Self::Out,
            (Self::Usage, b"cache_read_input_tokens") => Self::CacheRead,
            (Self::Usage, b"cache_creation_input_tokens") => Self::CacheCreation,
            (Self::Usage, b"prompt_cache_hit_tokens") | (Self::InputDetails, b"cached_tokens") => {
                Self::Cached
            }
            (Self::InputDetails, b"cache_write_tokens" | b"cache_creation_tokens") => Self::CacheWrite,
            (Self::OutputDetails, b"reasoning_tokens") => Self::Reasoning,
            (Self::Usage, b"prompt_tokens_details" | b"input_tokens_details") => Self::InputDetails,
            (Self::Usage, b"completion_tokens_details" | b"output_tokens_details") => Self::OutputDetails,
            _ => Self::Elsewhere,
        }
    }

    /// Of an element of the array that is here.
    fn element(self) -> Self {
        match self {
            Self::Choices => Self::Choice,
            Self::Calls => Self::Call,
            // A content is a text, or an array of blocks.
            Self::Written | Self::Content => Self::Block,
            Self::Output => Self::Item,
            Self::Data => Self::Datum,
            _ => Self::Elsewhere,
        }
    }
}

fn whole(lexical: &[u8]) -> Option<u64> {
    let mut normal = Vec::new();
    normal_number(lexical, &mut normal).ok()?;
    whole_number(&normal)
}

/// Why an answer ends that is as whole as its request lets it be.
const WHOLE: [&str; 10] = [
    "stop",
    "length",
    "tool_calls",
    "function_call",
    "eos_token",
    "stop_sequence",
    "model_length",
    "end_turn",
    "max_tokens",
    "tool_use",
];

/// Longer than every name that matters.
const MAX_NAME: usize = 40;
/// As much of a text or number as matters.
const MAX_SCALAR: usize = 256;

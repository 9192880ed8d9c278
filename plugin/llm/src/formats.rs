//! What the answers of language-model APIs say, by each provider's public format.
//!
//! | API | path ends with | usage | complete when |
//! |---|---|---|---|
//! | [`Api::Chat`] | `/chat/completions` | `usage`, last one wins | every choice has a `finish_reason`; stream: `[DONE]` |
//! | [`Api::Completions`] | `/completions` | the same | the same |
//! | [`Api::Responses`] | `/responses` | `usage`, `response.usage` | `status` is `completed`; stream: `response.completed` |
//! | [`Api::Embeddings`] | `/embeddings` | `usage` | `data` has an element |
//! | [`Api::Messages`] | `/messages` | `usage`, `message.usage`, the highest of each count | `stop_reason`; stream: `message_stop` |
//!
//! Nothing with an `error`, a content filter or a refusal as its end, or an event that can not be read is complete.

mod answer;
mod facts;
mod refusal;
mod usage;

pub use answer::{Answer, Body, Counted, Lack, Outcome, Progress};
pub(crate) use facts::{Choices, Facts};
pub use refusal::{Refusal, refusal};
pub use usage::{Usage, estimate};

/// Whose format it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// OpenAI, and all who speak its format.
    OpenAi,
    /// Anthropic.
    Anthropic,
}

impl Provider {
    /// By its name in a configuration: `openai` or `anthropic`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "openai" => Some(Self::OpenAi),
            "anthropic" => Some(Self::Anthropic),
            _ => None,
        }
    }

    /// Its name in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// Which of its APIs a path leads to, by its end: what is before differs from gateway to gateway. A query does not count.
    pub fn api(self, path: &[u8]) -> Option<Api> {
        let path = path.split(|byte| matches!(byte, b'?' | b'#')).next()?;
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let apis: &[Api] = match self {
            Self::OpenAi => &[Api::Chat, Api::Completions, Api::Responses, Api::Embeddings],
            Self::Anthropic => &[Api::Messages],
        };
        apis.iter().copied().find(|api| path.ends_with(api.path().as_bytes()))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions of old.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's embeddings.
    Embeddings,
    /// Anthropic's messages.
    Messages,
}

impl Api {
    /// What its path ends with.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Messages => "/messages",
        }
    }

    /// Whose it is.
    pub const fn provider(self) -> Provider {
        match self {
            Self::Messages => Provider::Anthropic,
            _ => Provider::OpenAi,
        }
    }

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
        }
    }

    /// Whether its streams tell their usage only when `stream_options.include_usage` asks for it.
    pub const fn tells_usage_on_demand(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }
}

#[cfg(test)]
#[path = "formats/tests.rs"]
mod tests;

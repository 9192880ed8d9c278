//! Tokens.

use super::Api;

/// Tokens of one request and its answer, in one sense for all APIs: what was read from the provider's cache or written to
/// it is a part of the input, and reasoning is a part of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All tokens of the input.
    pub input: u64,
    /// Those that the provider had in its cache.
    pub cached: u64,
    /// Those that it put into its cache.
    pub cache_write: u64,
    /// All tokens of the output.
    pub output: u64,
    /// Those that nobody sees.
    pub reasoning: u64,
}

impl Usage {
    /// Input and output.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Both, added.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

/// What an answer without usage has probably used: four bytes are a token, and an event with content is at least one.
pub fn estimate(request_bytes: u64, content_events: u64, delta_bytes: u64) -> Usage {
    Usage {
        input: request_bytes.div_ceil(4),
        output: content_events.max(delta_bytes.div_ceil(4)),
        ..Usage::default()
    }
}

/// The counts of a `usage` as it stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    /// Anthropic's, beside the input.
    pub(super) cache_read: Option<u64>,
    pub(super) cache_creation: Option<u64>,
    /// OpenAI's, within the input.
    pub(super) cached: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) reasoning: Option<u64>,
}

impl Counts {
    /// Whether it says anything.
    pub(crate) fn is_some(&self) -> bool {
        self.input.is_some() || self.output.is_some()
    }

    /// Takes in a later `usage` of the same stream. OpenAI's replaces the one before. Anthropic's come in parts, and each
    /// count only grows: to add them up would count what was told twice.
    pub(super) fn follow(&mut self, later: &Self, api: Api) {
        if !later.is_some() {
            return;
        }
        if api != Api::Messages {
            *self = *later;
            return;
        }
        self.input = self.input.max(later.input);
        self.output = self.output.max(later.output);
        self.cache_read = self.cache_read.max(later.cache_read);
        self.cache_creation = self.cache_creation.max(later.cache_creation);
        self.cached = self.cached.max(later.cached);
        self.cache_write = self.cache_write.max(later.cache_write);
        self.reasoning = self.reasoning.max(later.reasoning);
    }

    /// In the one sense.
    pub(super) fn usage(&self, api: Api) -> Option<Usage> {
        if !self.is_some() {
            return None;
        }
        let input = self.input.unwrap_or(0);
        let read = self.cache_read.or(self.cached).unwrap_or(0);
        let written = self.cache_creation.or(self.cache_write).unwrap_or(0);
        let beside = if api == Api::Messages { read.saturating_add(written) } else { 0 };
        let input = input.saturating_add(beside);
        let output = self.output.unwrap_or(0);
        let cached = read.min(input);
        Some(Usage {
            input,
            cached,
            cache_write: written.min(input.saturating_sub(cached)),
            output,
            reasoning: self.reasoning.unwrap_or(0).min(output),
        })
    }
}

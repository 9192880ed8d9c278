//! What answers of language models have used and cost: those that have come, and those from a store that have been spared.

use selvage_llm::formats::{Answer, Api, Body, Counted, Lack, Outcome, Usage};

use selvage_llm::money::Money;

use super::Cache;
use crate::key;

/// What stored answers have used, by the digest of their content: each is read once and served often.
#[derive(Default)]
pub(super) struct Known {
    places: Vec<Option<Answered>>,
}

#[derive(Clone)]
struct Answered {
    content: u128,
    model: Option<Box<str>>,
    usage: Usage,
}

impl Known {
    /// What an answer has used, read from it where it is not known. `None` if it does not say.
    fn of(&mut self, (api, form): (Api, Body), bytes: u64, content: &[u8]) -> Option<&Answered> {
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let digest = key::hash(content);
        let place = self.places.get_mut(usize::try_from(digest % PLACES as u128).unwrap_or_default())?;
        if place.as_ref().is_none_or(|known| known.content != digest) {
            let mut answer = Answer::new(api, form);
            answer.push(content);
            let outcome = answer.finish();
            let usage = *outcome.counted(bytes).usage();
            *place = Some(Answered { content: digest, model: outcome.model.map(Into::into), usage });
        }
        place.as_ref()
    }
}

/// What an answer has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Tokens.
    pub(crate) tokens: u64,
    /// What they cost, in 10⁻⁹ of the currency.
    pub(crate) nanos: u64,
}

impl Cache {
    /// An answer has ended: counts what it has used. `asked` is the model that the request named, and `bytes` the length of
    /// the request's body.
    /// Gives what it has used.
    pub(crate) fn count_tokens(&mut self, asked: Option<&str>, bytes: u64, outcome: &Outcome) -> Used {
        // Nobody pays for an error.
        if outcome.usage.is_none() && outcome.lack == Some(Lack::Error) {
            return Used::default();
        }
        let counted = outcome.counted(bytes);
        let word = if matches!(counted, Counted::Told(_)) { "told" } else { "estimated" };
        let model = self.entry_of(outcome.model.as_deref(), asked);
        self.add_usage(model, (word, "llm_tokens", "spent"), counted.usage());
        self.used(model, counted.usage())
    }

    /// What so many tokens of input are that a model has read, though nothing has come of it.
    pub(crate) fn read_in_vain(&self, asked: Option<&str>, input: u64) -> Used {
        self.used(self.entry_of(None, asked), &Usage { input, ..Usage::default() })
    }

    fn used(&self, model: usize, usage: &Usage) -> Used {
        let nanos = self.policy.models.cost(model, usage).map_or(0, Money::nanos);
        Used { tokens: usage.total(), nanos }
    }

    /// An answer comes from a store: counts what that has spared.
    pub(crate) fn count_saved(
        &mut self,
        read_as: (Api, Body),
        (asked, bytes): (Option<&str>, u64),
        content: &[u8],
    ) {
        let mut tokens = std::mem::take(&mut self.tokens);
        if let Some(answered) = tokens.of(read_as, bytes, content) {
            let model = self.entry_of(answered.model.as_deref(), asked);
            self.add_usage(model, ("saved", "llm_saved_tokens", "saved"), &answered.usage);
        }
        self.tokens = tokens;
    }

    /// Parts of an answer come from a store: counts what that has spared.
    pub(crate) fn count_saved_parts<'a>(
        &mut self,
        asked: Option<&str>,
        parts: impl Iterator<Item = &'a [u8]>,
    ) {
        let mut tokens = std::mem::take(&mut self.tokens);
        let (mut sum, mut model) = (Usage::default(), None);
        for part in parts {
            if let Some(answered) = tokens.of((Api::Embeddings, Body::Json), 0, part) {
                sum = sum.plus(&answered.usage);
                model.get_or_insert_with(|| self.entry_of(answered.model.as_deref(), asked));
            }
        }
        self.tokens = tokens;
        if let Some(model) = model {
            self.add_usage(model, ("saved", "llm_saved_tokens", "saved"), &sum);
        }
    }

    /// The entry of `models` for an answer: by the model that has answered, or the one that was asked.
    fn entry_of(&self, answered: Option<&str>, asked: Option<&str>) -> usize {
        let names: Vec<&str> = answered.into_iter().chain(asked).collect();
        self.policy.models.place_of(&names)
    }

    fn add_usage(
        &mut self,
        model: usize,
        (known, family, cost): (&'static str, &'static str, &'static str),
        usage: &Usage,
    ) {
        let Usage { input, cached, cache_write, output, reasoning } = *usage;
        self.stats.add_for_owner(model, ("llm_requests", known), 1);
        for (word, tokens) in [
            ("input", input.saturating_sub(cached).saturating_sub(cache_write)),
            ("cached", cached),
            ("cache-write", cache_write),
            ("output", output.saturating_sub(reasoning)),
            ("reasoning", reasoning),
        ] {
            self.stats.add_for_owner(model, (family, word), tokens);
        }
        if let Some(spent) = self.policy.models.cost(model, usage) {
            self.stats.add_for_owner(model, ("llm_cost_nanos", cost), spent.nanos());
        }
    }
}

/// Answers of which it is known at a time.
const PLACES: usize = 1024;

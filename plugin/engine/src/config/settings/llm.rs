//! What is done with requests to language models.

use std::time::Duration;

use selvage_llm::formats::{Api, Provider};

use super::kinds::{Words, duration, text, word};
use super::nested::{list, nullable, object, required};
use super::section;
use super::texts::{Field, Member};
use crate::config::FieldName;
use crate::config::limits::LIFETIME;
use crate::config::reference::Least::Empty;

/// What is done with requests to language models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Llm {
    /// Whose format they have.
    pub api: Provider,
    /// Which answers are stored. Default `None`: none.
    pub cache: Option<LlmCache>,
}

section! {
    Llm {
        api = Provider::OpenAi, required(word(API), "\"openai\" or \"anthropic\""),
            "Required. Whose format requests have: those POSTed to paths that end with `/chat/completions`, `/completions`, `/responses` or `/embeddings`; or with `/messages`.";
        cache = None, nullable(object()),
            "Answers are stored by what the whole body says, whatever `Cache-Control` they have; `null`: none. All other requests under the rule pass by.";
    }
}

const API: Words<Provider> = &[("openai", Provider::OpenAi), ("anthropic", Provider::Anthropic)];

/// Which answers of language models are stored, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LlmCache {
    /// How long they are fresh. Default: an hour.
    pub ttl: Duration,
    /// Which requests take part. Default: [`LlmWhen::Deterministic`].
    pub when: LlmWhen,
    /// The fields that two requests must agree in to share an answer. Default `None`: all that say who asks.
    pub share: Option<Vec<FieldName>>,
    /// Members of the body's top level that do not count. Default `None`: those that say for whom or under which label
    /// is asked, where the answer does not repeat them.
    pub ignore: Option<Vec<Box<str>>>,
    /// Which requests wait for one another. Default: [`LlmCoalesce::Json`].
    pub coalesce: LlmCoalesce,
}

section! {
    LlmCache {
        ttl = Duration::from_hours(1), duration(LIFETIME),
            "How long answers are fresh. The provider's `no-store` does not count.";
        when = LlmWhen::default(), word(WHEN),
            "Which requests take part: those with `temperature` 0 or a `seed`, and all for embeddings; or all.";
        share = None, nullable(list(Empty, text::<Field>())),
            "Request fields in which two clients must agree to share an answer; `[]`: everybody shares. `null`: `Authorization` and all of `credential_headers`.";
        ignore = None, nullable(list(Empty, text::<Member>())),
            "Members of the body's top level that do not count. `null`: `user`, `metadata`, `safety_identifier` and `prompt_cache_key`, but for `/responses`, whose answers repeat them.";
        coalesce = LlmCoalesce::default(), word(COALESCE),
            "Which requests wait for another's answer to the same question (`coalesce.wait` says how long): those for JSON; for streams too, of which they see nothing until it has ended; or none.";
    }
}

impl LlmCache {
    /// The members that do not count in a request to an API.
    pub(crate) fn ignored(&self, api: Api) -> Vec<Box<str>> {
        match &self.ignore {
            Some(written) => written.clone(),
            None if api == Api::Responses => Vec::new(),
            None => IGNORED.iter().map(|name| (*name).into()).collect(),
        }
    }
}

/// Members that say for whom or under which label is asked, and never change the answer.
const IGNORED: [&str; 4] = ["user", "metadata", "safety_identifier", "prompt_cache_key"];

/// Which requests take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LlmWhen {
    /// Those that are meant to have the same answer each time.
    #[default]
    Deterministic,
    /// All.
    All,
}

const WHEN: Words<LlmWhen> = &[("deterministic", LlmWhen::Deterministic), ("all", LlmWhen::All)];

/// Which requests wait for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LlmCoalesce {
    /// Those for JSON.
    #[default]
    Json,
    /// Those for streams too.
    All,
    /// None.
    None,
}

const COALESCE: Words<LlmCoalesce> =
    &[("json", LlmCoalesce::Json), ("all", LlmCoalesce::All), ("none", LlmCoalesce::None)];

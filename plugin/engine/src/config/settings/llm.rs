//! What is done with requests to language models.

use std::time::Duration;

use selvage_llm::formats::{Api, Provider};
use selvage_llm::money::{Money, Price};
use serde_json::Value;

use super::embeddings::Embeddings;
use super::kinds::{Kind, Words, duration, text, word};
use super::nested::{list, nullable, object, refuse_known_name, required};
use super::texts::{Cluster, Field, Member, ModelName};
use super::{Section, section};
use crate::config::limits::{FALLBACK_TIMEOUT, LIFETIME, MODEL_PRICE};
use crate::config::reader::{Object, Place};
use crate::config::reference::Form;
use crate::config::reference::Least::{Empty, One};
use crate::config::written::Written;
use crate::config::{FieldName, names};
use crate::members::Show;

/// What is done with requests to language models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Llm {
    /// Whose format they have.
    pub api: Provider,
    /// Which answers are stored. Default `None`: none.
    pub cache: Option<LlmCache>,
    /// Whether tokens are counted. Default: [`LlmUsage::Off`].
    pub usage: LlmUsage,
    /// Who is asked instead. Default `None`: nobody.
    pub fallback: Option<Fallback>,
    /// What is done with requests for embeddings, input by input.
    pub embeddings: Embeddings,
}

section! {
    Llm check stores_embeddings {
        api = Provider::OpenAi, required(word(API), "\"openai\" or \"anthropic\""),
            "Required. Whose format requests have: those POSTed to paths that end with `/chat/completions`, `/completions`, `/responses` or `/embeddings`; or with `/messages`.";
        cache = None, nullable(object()),
            "Answers are stored by what the whole body says, whatever `Cache-Control` they have; `null`: none. All other requests under the rule pass by.";
        usage = LlmUsage::default(), word(USAGE),
            "Whether the tokens of its requests are counted, by what providers say of them; nothing of the answers is read where they are not. `ask`: streams of OpenAI's (chat) completions whose client has not asked for the usage are asked for it, and the event with it is taken out again.";
        fallback = None, nullable(object()),
            "Who is asked instead when the model cannot be, or has failed; `null`: nobody.";
        embeddings = Embeddings::default(), object(),
            "Requests for embeddings, input by input. Needs `cache`.";
    }
}

fn stores_embeddings(llm: &mut Llm, object: &mut Object<'_, '_>) {
    if llm.embeddings.by_input && llm.cache.is_none() {
        object.place_of("embeddings").refuse::<()>("`by_input: true`", "`cache` beside it");
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

/// Whether tokens are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LlmUsage {
    /// They are not.
    #[default]
    Off,
    /// As the provider says them, and estimated where it says nothing.
    Count,
    /// The same, and a stream that would say nothing is asked for it.
    Ask,
}

const USAGE: Words<LlmUsage> = &[("off", LlmUsage::Off), ("count", LlmUsage::Count), ("ask", LlmUsage::Ask)];

/// Who is asked in the place of a model that cannot be asked, or has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The request field by which routes know whom to ask.
    pub header: FieldName,
    /// Its value for those who are asked instead.
    pub value: Box<str>,
    /// The model that is asked for. Default `None`: the same.
    pub model: Option<Box<str>>,
    /// When. Not empty.
    pub on: Vec<FallbackOn>,
    /// Whom to call after a failure. Default `None`: nobody.
    pub cluster: Option<Box<str>>,
    /// How long the answer to such a call may take. Default: a minute.
    pub timeout: Duration,
}

section! {
    Fallback check calls_somebody {
        header = Box::default(), required(text::<Field>(), names::FIELD),
            "Required. The request field by which a route of Envoy's knows whom to ask. Clients cannot set it.";
        value = Box::default(), required(text::<ModelName>(), names::CLUSTER),
            "Required. The value that it gets.";
        model = None, nullable(text::<ModelName>()), "The model that is asked for then; `null`: the one of the request.";
        on = Vec::new(), required(list(One, word(ON)), ON_ALLOWED),
            "Required. `open`: the origin's breaker is open. `limit`, `budget`: a limit of what goes to the origin, or a budget, refuses. `429`, `5xx`: the model has answered so to a request for JSON.";
        cluster = None, nullable(text::<Cluster>()),
            "The cluster that is called after an answer with `429` or `5xx`; required with these.";
        timeout = Duration::from_mins(1), duration(FALLBACK_TIMEOUT), "How long its answer may take.";
    }
}

/// When another is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallbackOn {
    /// The origin's breaker is open.
    Open,
    /// A limit refuses.
    Limit,
    /// A budget refuses.
    Budget,
    /// The model has answered 429.
    TooMany,
    /// The model has failed.
    Failure,
}

const ON: Words<FallbackOn> = &[
    ("open", FallbackOn::Open),
    ("limit", FallbackOn::Limit),
    ("budget", FallbackOn::Budget),
    ("429", FallbackOn::TooMany),
    ("5xx", FallbackOn::Failure),
];
const ON_ALLOWED: &str = "some of \"open\", \"limit\", \"budget\", \"429\" and \"5xx\"";

impl FallbackOn {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Limit => "limit",
            Self::Budget => "budget",
            Self::TooMany => "429",
            Self::Failure => "5xx",
        }
    }
}

impl FallbackOn {
    /// The word of the metric.
    pub(crate) const fn counted_as(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Limit => "limit",
            Self::Budget => "budget",
            Self::TooMany => "too-many",
            Self::Failure => "error",
        }
    }
}

impl Show for FallbackOn {
    fn show(&self) -> Value {
        self.as_str().into()
    }
}

impl Fallback {
    /// Why another is asked after an answer with this status; `None` if none is.
    pub(crate) fn after(&self, status: u16) -> Option<FallbackOn> {
        let why = match status {
            429 => FallbackOn::TooMany,
            500..=599 => FallbackOn::Failure,
            _ => return None,
        };
        self.on.contains(&why).then_some(why)
    }
}

fn calls_somebody(fallback: &mut Fallback, object: &mut Object<'_, '_>) {
    let calls = fallback.on.iter().any(|on| matches!(on, FallbackOn::TooMany | FallbackOn::Failure));
    if calls && fallback.cluster.is_none() {
        object
            .place_of("cluster")
            .refuse::<()>("nothing", "a cluster to call, where `on` has \"429\" or \"5xx\"");
    }
}

/// What tokens of some models cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The beginning of their names. Unique.
    pub name: Box<str>,
    /// A million tokens of the input.
    pub input: Money,
    /// Of the input that the provider has in its cache. Default `None`: as the rest of it.
    pub cached: Option<Money>,
    /// Of the input that it puts into its cache. Default `None`: as the rest of it.
    pub cache_write: Option<Money>,
    /// Of the output.
    pub output: Money,
}

section! {
    Model {
        name = Box::default(), required(text::<ModelName>(), names::CLUSTER),
            "Required and unique. The beginning of the names of the models that are meant; of several such entries the one with the longest name counts. Metrics have it as a label, with `_` for what they cannot have.";
        input = Money::ZERO, required(amount(MODEL_PRICE), "what a million tokens of the input cost"),
            "Required. What a million tokens of the input cost, in the currency in which all of them are written.";
        cached = None, nullable(amount(MODEL_PRICE)),
            "Of the input that the provider has in its cache; `null`: as the rest of it.";
        cache_write = None, nullable(amount(MODEL_PRICE)),
            "Of the input that it puts into its cache; `null`: as the rest of it.";
        output = Money::ZERO, required(amount(MODEL_PRICE), "what a million tokens of the output cost"),
            "Required. Of the output.";
    }
}

impl Model {
    /// As the price of a model.
    pub(crate) const fn price(&self) -> Price {
        let Self { input, cached, cache_write, output, .. } = self;
        Price { input: *input, cached: *cached, cache_write: *cache_write, output: *output }
    }
}

/// Most entries with models.
pub(crate) const MODELS: usize = 64;

/// Reads one of `models` and adds it to those before it.
pub(crate) fn named_model(place: Place<'_>, written: &Written, models: &mut Vec<Model>) {
    let model = Object::walk(place, written, |object| {
        let mut model = Model::default();
        model.fill(object);
        let earlier = models.iter().map(|earlier| &*earlier.name);
        refuse_known_name(object, &model.name, earlier, "a name that no other entry has");
        model
    });
    models.extend(model);
}

/// An amount of money: a decimal number, which may stand in a text, or a whole one.
pub(crate) struct Amount(u64);

/// An amount of money up to a bound: a decimal number, which may stand in a text, or a whole one.
pub(crate) const fn amount(most: u64) -> Amount {
    Amount(most)
}

impl Kind for Amount {
    type Value = Money;

    fn read(&self, place: Place<'_>, written: &Written) -> Option<Money> {
        let amount = match written {
            Written::Whole(number) => Money::parse(&number.to_string()),
            Written::Odd(number) | Written::Text(number) => Money::parse(number),
            _ => return place.refuse(written.describe(), self.allowed()),
        };
        match amount {
            Ok(amount) if amount.nanos() <= self.0.saturating_mul(NANOS) => Some(amount),
            _ => place.refuse(written.describe(), self.allowed()),
        }
    }

    fn show(&self, value: &Money) -> Option<Value> {
        Some(value.show())
    }

    fn form(&self) -> Form {
        Form::Amount(self.0)
    }
}

impl Amount {
    fn allowed(&self) -> String {
        format!("a decimal number from 0 to {} with at most nine digits behind the point", self.0)
    }
}

impl Show for Money {
    /// A whole number where it is one, else the number whose shortest decimal it is.
    fn show(&self) -> Value {
        let (whole, rest) = (self.nanos() / NANOS, self.nanos() % NANOS);
        if rest == 0 { whole.into() } else { (self.nanos() as f64 / NANOS as f64).into() }
    }
}

const NANOS: u64 = 1_000_000_000;

//! What a request asks a language model, and whether it takes part in the cache.

mod inputs;

use std::rc::Rc;

use selvage_llm::canonical::{Canonical, Summary};
use selvage_llm::formats::{Api, Body};
use selvage_llm::injection::{Splice, ask_for_usage};
use sha2::{Digest, Sha256};

use crate::cache_status::Detail;
use crate::fields::{content_length, same_name};
use crate::key::BodyPart;
use crate::policy::{Cookies, FallbackOn, FieldName, LlmCache, LlmCoalesce, LlmWhen, MAX_BODY, Rule};
use crate::request::Request;

pub(crate) use inputs::{Apart, Inputs, may_change, settings as embeddings_of};

/// A request's body that is being read.
pub(crate) struct Reading {
    api: Api,
    canonical: Canonical,
    length: usize,
    max: usize,
    /// The whole of it, if it may be taken apart.
    body: Option<Vec<u8>>,
}

/// What a request asks.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) api: Api,
    /// In which form it wants the answer.
    pub(crate) form: Body,
    /// Others may wait for its answer.
    pub(crate) is_shared: bool,
    /// The `id` of the last event that its client has of a stream that was broken off.
    pub(crate) last_event: Option<Box<[u8]>>,
}

/// What is asked, as the key has it.
pub(crate) struct Asked {
    pub(crate) question: Question,
    /// What the key has of it, and of who asks.
    pub(crate) part: BodyPart,
    /// The same of each input of a request for embeddings, where they are stored by themselves.
    pub(crate) apart: Option<Apart>,
}

/// What a request's body says of what it may cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The model that it names.
    pub(crate) model: Option<Box<str>>,
    /// Its length.
    pub(crate) bytes: usize,
    /// The tokens that its answers may have at most, if it says that.
    pub(crate) most_output: Option<u64>,
}

/// Which API a request is for, if its rule stores the answers.
pub(crate) fn api_of(request: &Request<'_>, rule: &Rule) -> Option<Api> {
    let llm = rule.llm.as_ref()?;
    let posts = request.method == b"POST" && request.has_body;
    if posts { llm.api.api(request.path()) } else { None }
}

/// Which API a request is for, if its rule counts tokens.
pub(crate) fn counted(request: &Request<'_>, rule: &Rule) -> Option<Api> {
    if rule.counts_tokens() { api_of(request, rule) } else { None }
}

/// Whether a request is for an API of its rule, so that its body is read or may be.
pub(crate) fn reads(request: &Request<'_>, rule: &Rule) -> bool {
    rule.llm.is_some() && api_of(request, rule).is_some()
}

/// Whether a request's body is to be read, so that it can be changed: if its rule wants that of requests to its API, and nothing
/// vouches for the body as it is.
pub(crate) fn may_be_changed(request: &Request<'_>, rule: &Rule) -> bool {
    (may_be_made_to_ask(request, rule) || rule.fallback().is_some())
        && api_of(request, rule).is_some()
        && is_changeable(request, rule)
}

fn is_changeable(request: &Request<'_>, rule: &Rule) -> bool {
    !request.upgrade
        && content_length(request.fields).is_none_or(|length| length <= longest(rule))
        && VOUCHES.iter().all(|name| request.fields.get(name).is_none())
}

/// Whether a request may be made to ask for the usage of its stream: its API tells that only who asks for it.
fn may_be_made_to_ask(request: &Request<'_>, rule: &Rule) -> bool {
    rule.asks_for_usage() && matches!(api_of(request, rule), Some(Api::Chat | Api::Completions))
}

/// How to make a request ask for the usage of its stream, by its whole body. `None` if it stays as it is.
pub(crate) fn made_to_ask(body: &[u8], request: &Request<'_>, rule: &Rule) -> Option<Splice> {
    if may_be_made_to_ask(request, rule) { ask_for_usage(body).ok().flatten() } else { None }
}

/// Whether a question that no store answers goes to another model when its origin is left alone. Its body has been read.
pub(crate) fn goes_elsewhere(request: &Request<'_>, rule: &Rule) -> bool {
    !rule.shadow
        && rule.stores_answers()
        && rule.fallback().is_some_and(|fallback| fallback.on.contains(&FallbackOn::Open))
        && is_changeable(request, rule)
}

/// Fields that say what the body is, byte for byte.
const VOUCHES: [&[u8]; 8] = [
    b"content-digest",
    b"repr-digest",
    b"digest",
    b"content-md5",
    b"signature",
    b"content-encoding",
    b"x-amz-content-sha256",
    b"x-goog-content-sha256",
];

/// Why a request under a rule that stores answers is none that could have one, as far as its head tells.
pub(crate) fn stays_out(request: &Request<'_>, rule: &Rule) -> Option<Detail> {
    if api_of(request, rule).is_none() {
        return Some(Detail::OtherApi);
    }
    // One that is known to be too long is not held at all: the host would refuse it before its bound is passed here.
    let too_long = content_length(request.fields).is_some_and(|length| length > longest(rule));
    too_long.then_some(Detail::RequestBodyTooLarge)
}

/// The `id` of the last event that the client has of a stream, if its rule stores answers (WHATWG HTML §9.2.4). What the provider
/// sends to it is the rest of that stream, and no answer for others.
pub(crate) fn last_event_id<'r>(request: &Request<'r>, rule: &Rule) -> Option<&'r [u8]> {
    if !rule.stores_answers() {
        return None;
    }
    request.fields.get(b"last-event-id").filter(|id| !id.is_empty())
}

/// Where the rest of a stored stream begins, behind the event with this `id`. `None` if it has none: it is another stream.
pub(crate) fn rest_of(stream: &[u8], last_event_id: &[u8]) -> Option<usize> {
    selvage_llm::events::replay_from(stream, last_event_id)
}

fn longest(rule: &Rule) -> usize {
    rule.key.body.as_ref().map_or(MAX_BODY, |body| body.max_bytes)
}

impl Reading {
    /// For a request with nothing of its body yet; `None` if its rule stores no answers to it.
    pub(crate) fn begin(request: &Request<'_>, rule: &Rule) -> Option<Self> {
        let cache = cache_of(rule)?;
        let api = api_of(request, rule)?;
        let canonical = Canonical::new(Rc::from(cache.ignored(api)));
        let body = (api == Api::Embeddings && inputs::keeps_body(rule)).then(Vec::new);
        Some(Self { api, canonical, length: 0, max: longest(rule), body })
    }

    /// The same where only what it may cost is to be known.
    pub(crate) fn of_facts(request: &Request<'_>, rule: &Rule) -> Option<Self> {
        let api = api_of(request, rule)?;
        let canonical = Canonical::new(Rc::from([]));
        Some(Self { api, canonical, length: 0, max: longest(rule), body: None })
    }

    /// Bytes that it keeps of the body.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.canonical.kept_bytes().saturating_add(self.body.as_ref().map_or(0, Vec::capacity))
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// Why the request passes by.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), Detail> {
        self.length = self.length.saturating_add(chunk.len());
        if self.length > self.max {
            return Err(Detail::RequestBodyTooLarge);
        }
        if let Some(body) = &mut self.body {
            body.extend_from_slice(chunk);
        }
        self.canonical.push(chunk).map_err(|_| Detail::AmbiguousJson)
    }

    /// The body has ended: what is known of it, and what it asks; or why the request passes by.
    pub(crate) fn finish(self, request: &Request<'_>, rule: &Rule) -> (Facts, Result<Asked, Detail>) {
        let mut facts = Facts { bytes: self.length, ..Facts::default() };
        let Ok(read) = self.canonical.finish() else { return (facts, Err(Detail::AmbiguousJson)) };
        let summary = read.summary;
        // By the name that the API has for it: a provider passes over others.
        let most = if self.api == Api::Responses { summary.max_output_tokens } else { summary.max_output };
        facts.most_output = most.map(|most| most.saturating_mul(summary.answers.max(1)));
        facts.model.clone_from(&summary.model);
        let asked = Self::ask(self.api, &summary, rule).map(|(cache, mut question)| {
            question.last_event = last_event_id(request, rule).map(Into::into);
            let body = self.body.filter(|_| question.form == Body::Json);
            let apart = body.and_then(|body| Apart::of(body, request, rule, cache));
            let only = apart.as_ref().and_then(Apart::only);
            let asked = (read.digest, question.form);
            let whole = || BodyPart::Question(keyed(asked, request, rule, cache.share.as_ref()));
            let part = only.unwrap_or_else(whole);
            Asked { question, part, apart }
        });
        (facts, asked)
    }

    fn ask<'r>(api: Api, summary: &Summary, rule: &'r Rule) -> Result<(&'r LlmCache, Question), Detail> {
        let Some(cache) = cache_of(rule) else { return Err(Detail::OtherApi) };
        if summary.stateful {
            return Err(Detail::Stateful);
        }
        let deterministic = api == Api::Embeddings || summary.is_deterministic();
        if cache.when == LlmWhen::Deterministic && !deterministic {
            return Err(Detail::NotDeterministic);
        }
        let is_shared = match cache.coalesce {
            LlmCoalesce::Json => !summary.stream,
            LlmCoalesce::All => true,
            LlmCoalesce::None => false,
        };
        let form = if summary.stream { Body::Events } else { Body::Json };
        Ok((cache, Question { api, form, is_shared, last_event: None }))
    }
}

/// The digest of a question together with that of who asks: nobody finds by a key who that was.
fn keyed(
    (question, form): ([u8; 32], Body),
    request: &Request<'_>,
    rule: &Rule,
    share: Option<&Vec<FieldName>>,
) -> [u8; 32] {
    let counts = |name: &[u8]| {
        let named = |listed: &[Box<[u8]>]| listed.iter().any(|one| same_name(one, name));
        let by_cookie = name == b"cookie" && rule.cookies != Cookies::Ignore;
        by_cookie
            || match share {
                Some(share) => named(share),
                None => name == b"authorization" || named(&rule.credential_headers) || looks_secret(name),
            }
    };
    let mut digest = Sha256::new();
    digest.update(question);
    // Whatever is ignored, an answer has the form that was asked for.
    digest.update([u8::from(form == Body::Events)]);
    for (name, value) in request.fields.iter().filter(|(name, _)| counts(name)) {
        for part in [name, value] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    digest.finalize().into()
}

/// Whether a field may say who asks, by its name, though nobody has listed it.
fn looks_secret(name: &[u8]) -> bool {
    let ends = |ending: &&[u8]| name.ends_with(ending);
    [&b"-key"[..], b"-token", b"-auth", b"-authorization", b"-secret"].iter().any(ends)
        && name != b"idempotency-key"
}

fn cache_of(rule: &Rule) -> Option<&LlmCache> {
    rule.llm.as_ref()?.cache.as_ref()
}

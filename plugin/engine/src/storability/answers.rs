//! Which responses are answers of language models, and on what terms those are stored.

use selvage_llm::formats::Body;

use crate::cache_control::ResponseDirectives;
use crate::fields::Fields;
use crate::policy::Rule;

/// Which of its two forms an answer has, by its head; `None` if it is none that can be read.
pub(crate) fn form_of(head: Fields<'_>) -> Option<Body> {
    let mut codings = head.all(b"content-encoding");
    if codings.any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return None;
    }
    Body::of_content_type(head.get(b"content-type")?)
}

/// Whether the head of a response is that of an answer as JSON.
pub(crate) fn is_json(head: Fields<'_>) -> bool {
    form_of(head) == Some(Body::Json)
}

/// Whether the head of a response is that of an answer that can be read.
pub(crate) fn is_answer(head: Fields<'_>) -> bool {
    form_of(head).is_some()
}

/// The directives of every answer: the operator's word stands in the place of the provider's.
pub(crate) fn directives(rule: &Rule) -> Option<ResponseDirectives> {
    let cache = rule.llm.as_ref()?.cache.as_ref()?;
    Some(ResponseDirectives { public: true, max_age: Some(cache.ttl), ..ResponseDirectives::default() })
}

/// Whether a field of an answer says on whose account it was asked.
pub(crate) fn is_of_the_account(name: &[u8]) -> bool {
    matches!(name, b"openai-organization" | b"openai-project" | b"anthropic-organization-id")
        || name.starts_with(b"anthropic-ratelimit-")
}

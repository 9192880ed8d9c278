//! The canonical key, part by part.

use std::rc::Rc;

use super::reasons::{self, Reason};
use super::{Explanation, Fact, Part, Subject, show};
use crate::cache_status::Detail;
use crate::config::CREDENTIALS;
use crate::key::canonical;
use crate::key::{self, BodyKey, BodyPart, Changed, Tag, query};
#[cfg(feature = "llm")]
use crate::llm::{self, Inputs};
use crate::policy::{Policy, Query, QueryOrder, Rule};
use crate::request::Request;
use crate::sized::read_sized;
use crate::uri;

/// The keys under which a request is looked up.
pub(super) struct Keys {
    /// That of the whole.
    pub(super) whole: Vec<u8>,
    /// Those of its inputs, if it is looked up by these: hashes and keys.
    pub(super) inputs: Vec<(u128, Rc<[u8]>)>,
}

/// The canonical key of a request; `None` if its body is in the key and not at hand.
///
/// # Errors
/// Why it has none.
pub(super) fn find(
    subject: &Subject<'_>,
    rule_index: usize,
    rule: &Rule,
    body_keyed: bool,
    policy: &Policy,
    explanation: &mut Explanation,
) -> Result<Option<Keys>, Reason> {
    let request = subject.request;
    let mut body = body_keyed.then(|| BodyPart::Inline(Vec::new()));
    if let Some(bounds) = rule.key.body.as_ref().filter(|_| body_keyed && request.has_body) {
        let Some(content) = subject.body else {
            let text = "the request's body is in the key, and is not known here".to_owned();
            explanation.note(Part::Key, "body", text).flag("known", false);
            return Ok(None);
        };
        #[cfg(feature = "llm")]
        if let Some(mut reading) = llm::Reading::begin(request, rule) {
            let question = reading.push(content).and_then(|()| reading.finish(request, rule).1);
            let llm::Asked { part, apart, .. } = question.map_err(reasons::of_detail)?;
            let whole = whole(request, rule_index, rule, Some(&part), policy, explanation);
            let inputs = apart.map(|apart| apart.keyed(request, rule, policy.scope(rule_index)));
            let inputs = inputs.filter(Inputs::are_several).map_or_else(Vec::new, |inputs| {
                inputs.keys().iter().map(|input| (input.hash, Rc::clone(&input.key))).collect()
            });
            return Ok(Some(Keys { whole, inputs }));
        }
        let mut read = BodyKey::of(bounds);
        read.push(content).map_err(|_| reasons::of_detail(Detail::RequestBodyTooLarge))?;
        body = Some(read.finish());
    }
    let whole = whole(request, rule_index, rule, body.as_ref(), policy, explanation);
    Ok(Some(Keys { whole, inputs: Vec::new() }))
}

/// The key, with what there is to say of it.
fn whole(
    request: &Request<'_>,
    rule_index: usize,
    rule: &Rule,
    body: Option<&BodyPart>,
    policy: &Policy,
    explanation: &mut Explanation,
) -> Vec<u8> {
    let mut key = Vec::new();
    let scope = policy.scope(rule_index);
    let changed = canonical(request, request.target, &rule.key, scope, body, &mut key);
    note(request, rule, &key, changed, explanation);
    key
}

/// Notes every part of a key, what the query lost on the way into it, and its hash.
fn note(
    request: &Request<'_>,
    rule: &Rule,
    canonical: &[u8],
    changed: Changed,
    explanation: &mut Explanation,
) {
    for (tag, bytes) in key::parts(canonical) {
        let (name, value) = described(tag, bytes);
        explanation.note(Part::Key, name, value);
    }
    if let Some(text) = left_out(request, &rule.key.query) {
        explanation.note(Part::Key, "query", text);
    }
    if changed == Changed::Yes {
        let text = "the origin is asked for the target of the key, which is not the one that came".into();
        explanation.note(Part::Key, "target", text).flag("changed", true);
    }
    let hash = format!("{:032x}", key::hash(canonical));
    explanation.note(Part::Key, "hash", hash.clone()).with("hash", Fact::Text(hash));
}

/// The name of a part and what it holds.
fn described(tag: Tag, bytes: &[u8]) -> (&'static str, String) {
    let named = || {
        let (name, rest) = read_sized(bytes).unwrap_or_default();
        // A byte for "is there" stands before each value.
        let value = match (tag, rest.split_first()) {
            (_, None) => "absent".to_owned(),
            (Tag::Cookie, Some(_)) => cookies(rest),
            (_, Some((_, value))) if is_secret(name) => secret(value),
            (_, Some((_, value))) => format!("\"{}\"", show(value)),
        };
        format!("{}: {value}", show(name))
    };
    match tag {
        Tag::Scheme => ("scheme", show(bytes)),
        Tag::Authority => ("authority", show(bytes)),
        Tag::Target => ("target", show(bytes)),
        Tag::Method => ("method", show(bytes)),
        Tag::Header => ("header", named()),
        Tag::Cookie => ("cookie", named()),
        Tag::BodyInline => ("body", format!("{} bytes as they are", bytes.len())),
        Tag::BodyDigest => ("body", "its SHA-256 digest and length".into()),
        Tag::BodyJson => ("body", "the digest of what it says as JSON".into()),
        Tag::Question => ("body", "the digest of what it asks, and of who asks".into()),
        Tag::Variant => ("variant", format!("{} bytes of selecting fields", bytes.len())),
        Tag::Scope => {
            let scope = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>();
            ("scope", format!("{scope} (namespace, and the rule's terms for sharing)"))
        }
    }
}

/// The values of a cookie: each with its mark, and sized if it has a `=`.
fn cookies(mut rest: &[u8]) -> String {
    let mut values = Vec::new();
    while let Some((_, tail)) = rest.split_first() {
        match read_sized(tail) {
            Some((value, after)) => {
                values.push(secret(value));
                rest = after;
            }
            None => {
                values.push("without a value".into());
                rest = tail;
            }
        }
    }
    values.join(", ")
}

/// Whether the values of a field say who asks.
fn is_secret(name: &[u8]) -> bool {
    matches!(name, b"authorization" | b"cookie") || CREDENTIALS.iter().any(|listed| listed.as_bytes() == name)
}

/// A value that is not to be seen in what operators show to each other.
fn secret(value: &[u8]) -> String {
    format!("there, {} bytes", value.len())
}

/// What the rule makes of the query, if it changes anything.
fn left_out(request: &Request<'_>, rule: &Query) -> Option<String> {
    let (_, query) = uri::split_path(request.target);
    let query = query?;
    let dropped: Vec<String> = query::dropped(query, rule).map(show).collect();
    let sorted = rule.order == QueryOrder::Sort;
    let lost = format!("left out by key.query: {}", dropped.join(", "));
    match (dropped.is_empty(), sorted) {
        (true, false) => None,
        (true, true) => Some("sorted by name (key.query)".into()),
        (false, true) => Some(format!("sorted by name; {lost}")),
        (false, false) => Some(lost),
    }
}

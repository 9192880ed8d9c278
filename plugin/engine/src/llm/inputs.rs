//! The inputs of a request for embeddings, each with the key under which its answer is stored.

use std::rc::Rc;

use selvage_llm::embeddings::{self, Unusable};
use selvage_llm::formats::Body;

use super::{cache_of, keyed};
use crate::fields::{Fields, same_name};
use crate::key::{self, BodyPart, canonical};
use crate::policy::{Embeddings, LlmCache, Rule};
use crate::request::Request;

/// A body that has been taken apart: the digests of its inputs.
pub(crate) struct Apart {
    body: Vec<u8>,
    weights: Vec<usize>,
    /// Of each input and of who asks.
    digests: Vec<[u8; 32]>,
    /// Of all but the inputs, and of who asks.
    common: [u8; 32],
}

/// The inputs of a request, in their order.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The request's body; empty where nobody asks for it any more.
    body: Vec<u8>,
    weights: Vec<usize>,
    keys: Vec<Key>,
    /// What those have in common that may be asked as one: all but the inputs.
    together: Box<[u8]>,
}

/// The canonical key of one input, and its hash.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) key: Rc<[u8]>,
    pub(crate) hash: u128,
}

/// What a rule does with embeddings by their inputs, if it does.
pub(crate) fn settings(rule: &Rule) -> Option<&Embeddings> {
    // A rule that only watches stores what requests are answered with as it is.
    let embeddings = &rule.llm.as_ref()?.embeddings;
    (embeddings.by_input && !rule.shadow).then_some(embeddings)
}

impl Apart {
    /// Takes a body apart. `None` if that cannot be done: then it is one question like any other.
    pub(super) fn of(body: Vec<u8>, request: &Request<'_>, rule: &Rule, cache: &LlmCache) -> Option<Self> {
        let most = settings(rule)?.inputs;
        let read = embeddings::Request::read(&body, most).ok()?;
        let of = |digest| keyed((digest, Body::Json), request, rule, cache.share.as_ref());
        let ignored = cache.ignored(selvage_llm::formats::Api::Embeddings);
        let digests = read.keys(&ignored).ok()?.into_iter().map(of).collect();
        // One client of several that share pays for none of the others, nor is their request sent in its name.
        let common = keyed((of(read.common()), Body::Json), request, rule, None);
        let weights = read.weights();
        Some(Self { weights, digests, common, body })
    }

    /// What the key has of it if it has one input only.
    pub(super) fn only(&self) -> Option<BodyPart> {
        match self.digests.as_slice() {
            [only] => Some(BodyPart::Question(*only)),
            _ => None,
        }
    }

    /// With the keys of the inputs.
    pub(crate) fn keyed(self, request: &Request<'_>, rule: &Rule, scope: u64) -> Inputs {
        let Self { body, weights, digests, common } = self;
        let made = |digest| {
            let mut key = Vec::new();
            let part = BodyPart::Question(digest);
            canonical(request, request.target, &rule.key, scope, Some(&part), &mut key);
            key
        };
        let keys = digests.into_iter().map(|digest| {
            let key = made(digest);
            Key { hash: key::hash(&key), key: key.into() }
        });
        Inputs { keys: keys.collect(), together: made(common).into(), body, weights }
    }
}

impl Inputs {
    /// Whether there is more than one.
    pub(crate) fn are_several(&self) -> bool {
        self.keys.len() > 1
    }

    /// Their keys.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The length of each.
    pub(crate) fn weights(&self) -> &[usize] {
        &self.weights
    }

    /// The request's body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// What those have in common that may be asked as one.
    pub(crate) fn together(&self) -> &[u8] {
        &self.together
    }

    /// Bytes that they keep.
    pub(crate) fn kept_bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(|key| key.key.len().saturating_add(size_of::<Key>())).sum();
        self.body.capacity().saturating_add(keys).saturating_add(self.together.len())
    }

    /// The same without the body.
    pub(crate) fn let_go_of_body(self: Rc<Self>) -> Rc<Self> {
        if self.body.is_empty() {
            return self;
        }
        let (weights, keys) = (self.weights.clone(), self.keys.clone());
        Rc::new(Self { body: Vec::new(), weights, keys, together: Box::default() })
    }

    /// Those at some places, without the body.
    pub(crate) fn some(&self, places: &[usize]) -> Self {
        let keys = places.iter().filter_map(|at| self.keys.get(*at).cloned()).collect();
        let weights = places.iter().filter_map(|at| self.weights.get(*at).copied()).collect();
        Self { body: Vec::new(), weights, keys, together: Box::default() }
    }

    /// The request that they are of.
    pub(crate) fn read(&self) -> Option<embeddings::Request<'_>> {
        embeddings::Request::read(&self.body, self.keys.len()).ok()
    }

    /// The body of a request for those at some places.
    pub(crate) fn asking_for(&self, places: &[usize]) -> Option<Vec<u8>> {
        self.read()?.asking_for(places)
    }

    /// An answer to all of them as answers to each.
    ///
    /// # Errors
    /// It is not one to these.
    pub(crate) fn split(&self, answer: &[u8]) -> Result<Vec<Vec<u8>>, Unusable> {
        embeddings::split(answer, &self.weights)
    }
}

/// Whether the body of a request may be another than its client has sent: none of its fields says what it is.
pub(crate) fn may_change(fields: Fields<'_>) -> bool {
    let signed = |value: &[u8]| value.starts_with(b"AWS4-") || value.starts_with(b"Signature");
    !fields.iter().any(|(name, value)| {
        OF_THE_BODY.iter().any(|known| same_name(known, name)) || name == b"authorization" && signed(value)
    })
}

/// Fields that are about the very bytes of a body.
const OF_THE_BODY: [&[u8]; 8] = [
    b"content-digest",
    b"repr-digest",
    b"digest",
    b"content-md5",
    b"signature",
    b"signature-input",
    b"x-amz-content-sha256",
    b"x-signature",
];

/// Whether a rule stores answers to the inputs of such a request, so that its body is kept while it is read.
pub(super) fn keeps_body(rule: &Rule) -> bool {
    cache_of(rule).is_some() && settings(rule).is_some()
}

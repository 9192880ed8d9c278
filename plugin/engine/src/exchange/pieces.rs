//! What is stored for the inputs of a request for embeddings, each by itself, and the answers made of that.

use std::rc::Rc;

use selvage_llm::embeddings;

use super::LARGEST_IN_PARTS;
use super::lookup::LookupRequest;
use crate::admission::asks_of;
use crate::cache::{Cache, Found, Moment, Tier, Usable, usable};
use crate::fields::{FieldBlock, Fields};
use crate::llm::Inputs;
use crate::store::response::{Body, StoredResponse};
use crate::time::Timestamp;

/// What is stored for each of several inputs, in their order, as far as it may be used.
pub(super) struct Pieces(Vec<Option<Rc<StoredResponse>>>);

/// Looks a request with several inputs up: all of it as one response, if that can be made, and what there is of it.
pub(super) fn find(
    keyed: &LookupRequest<'_>,
    inputs: &Inputs,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> (Found, Option<Pieces>) {
    let LookupRequest { request, rule, key, hash, .. } = *keyed;
    let asks = asks_of(request, rule);
    let mut tier = Tier::Worker;
    let mut one = |key: &[u8], hash| match cache.find(key, hash, request, rule, moment) {
        Found::Response { stored, tier: at, .. } if stored.status == 200 => {
            if at == Tier::Node {
                tier = at;
            }
            Some(stored)
        }
        _ => None,
    };
    let found: Vec<Option<Rc<StoredResponse>>> =
        inputs.keys().iter().map(|input| one(&input.key, input.hash)).collect();
    let bytes: usize = found.iter().flatten().map(|stored| stored.body.len()).sum();
    if bytes > LARGEST_IN_PARTS {
        return (Found::Nothing, None);
    }
    let fits = |stored: &StoredResponse| {
        matches!(usable(stored, &asks, moment.now), Usable::Fresh { .. } | Usable::MaxStale { .. })
    };
    // Stale ones can stand in for a failure of the origin, all together: they are as good as the worst of them.
    let all: Option<Vec<&StoredResponse>> = found.iter().map(Option::as_deref).collect();
    let whole = all.and_then(|all| {
        let ends = |piece: &&&StoredResponse| piece.schedule.expires();
        let worst = all.iter().find(|piece| !fits(piece)).or_else(|| all.iter().min_by_key(ends))?;
        merged(&all, worst, key)
    });
    let found: Vec<_> = found.into_iter().map(|stored| stored.filter(|stored| fits(stored))).collect();
    let whole = match whole {
        Some(whole) => Found::Response { stored: Rc::new(whole), tier, hash },
        None => Found::Nothing,
    };
    (whole, Some(Pieces(found)))
}

impl Pieces {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Whether there are some, and not all.
    pub(super) fn are_some(&self) -> bool {
        self.0.iter().any(Option::is_some) && self.0.iter().any(Option::is_none)
    }

    /// Those that are there.
    pub(super) fn stored(&self) -> impl Iterator<Item = &StoredResponse> {
        self.0.iter().flatten().map(|stored| &**stored)
    }

    /// The places of the inputs to ask for: of those that are there twice, the first.
    pub(super) fn missing(&self, inputs: &Inputs) -> Vec<usize> {
        let mut places: Vec<(usize, &[u8])> = Vec::new();
        for (at, (stored, input)) in self.0.iter().zip(inputs.keys()).enumerate() {
            if stored.is_none() && !places.iter().any(|(_, key)| **key == *input.key) {
                places.push((at, &input.key));
            }
        }
        places.into_iter().map(|(at, _)| at).collect()
    }

    /// The answer to all inputs, with fresh answers to those at some places. `None` if they do not belong together.
    pub(super) fn with(&self, inputs: &Inputs, places: &[usize], fresh: &[Vec<u8>]) -> Option<Vec<u8>> {
        let fresh_for = |key: &[u8]| {
            let at = places.iter().position(|at| inputs.keys().get(*at).is_some_and(|one| *one.key == *key));
            at.and_then(|at| fresh.get(at)).map(Vec::as_slice)
        };
        let answers: Option<Vec<&[u8]>> = self
            .0
            .iter()
            .zip(inputs.keys())
            .map(|(stored, input)| match stored {
                Some(stored) => Some(stored.body.as_slice()),
                None => fresh_for(&input.key),
            })
            .collect();
        embeddings::join(&answers?).ok()
    }

    /// The age of the oldest.
    pub(super) fn age(&self, now: Timestamp) -> u64 {
        self.stored().map(|stored| stored.schedule.age(now).as_secs()).max().unwrap_or_default()
    }
}

/// Stores an answer in parts, each under the key of its input. `false` if it is none to these inputs: nothing of it is stored then.
pub(super) fn store(
    response: &StoredResponse,
    inputs: &Inputs,
    names: &[Box<[u8]>],
    head: &[u8],
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> bool {
    let Ok(parts) = inputs.split(response.body.as_slice()) else { return false };
    let request = Fields::parse(head).unwrap_or_default();
    let mut fields = without_digests(response.fields.fields());
    fields.shrink_to_fit();
    for (input, mut body) in inputs.keys().iter().zip(parts) {
        body.shrink_to_fit();
        let key = Rc::clone(&input.key);
        let part = StoredResponse { key, fields: fields.clone(), body: Body::new(body), ..response.clone() };
        cache.store(input.hash, part, names.to_vec(), request, moment);
    }
    true
}

/// One answer of several, on the terms of one of them. `None` if they do not belong together.
fn merged(pieces: &[&StoredResponse], terms: &StoredResponse, key: &[u8]) -> Option<StoredResponse> {
    let bodies: Vec<&[u8]> = pieces.iter().map(|piece| piece.body.as_slice()).collect();
    let body = Body::new(embeddings::join(&bodies).ok()?);
    let fields = without_digests(terms.fields.fields());
    Some(StoredResponse { key: key.into(), fields, body, took_millis: 0, ..terms.clone() })
}

/// The fields of a response of which a part is made, or which is made a part of another: without those that are about its bytes.
pub(super) fn without_digests(fields: Fields<'_>) -> FieldBlock {
    let of_the_bytes = |name: &[u8]| {
        matches!(
            name,
            b"content-length"
                | b"etag"
                | b"last-modified"
                | b"content-digest"
                | b"repr-digest"
                | b"digest"
                | b"content-md5"
                | b"accept-ranges"
        )
    };
    fields.iter().filter(|(name, _)| !of_the_bytes(name)).collect()
}

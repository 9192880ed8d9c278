//! Validates a stored response with the origin and freshens it: RFC 9111 §4.3.

use std::rc::Rc;

use crate::cache_control::ResponseDirectives;
use crate::coding::eligible::forbids_transform;
use crate::coding::gzip::inflate;
use crate::coding::minify::minified_head;
use crate::fields::{FieldBlock, Fields};
use crate::freshness::Schedule;
use crate::key;
use crate::policy::{Rule, SetCookie};
use crate::precondition::{entity_tags, weakly_equal};
use crate::storability::{TOO_MANY_REQUESTS, is_kept_out};
use crate::store::form::Gzip;
use crate::store::response::{Body, Outlives, StoredResponse, Terms};
use crate::tags::{tags_of, union};
use crate::time::Timestamp;

/// What a HEAD response says about the stored response to GET (§4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadVerdict {
    /// It describes the same content: the stored response may be freshened with it.
    Same,
    /// The content has changed: the stored response is invalid.
    Changed,
    /// There is no validator to tell by.
    Unknown,
}

/// Whether a 304 is about the stored response (RFC 9111 §4.3.4): the validator that it names is the stored one. One that
/// names none confirms what was asked about.
pub fn confirms(stored: &StoredResponse, update: Fields<'_>) -> bool {
    // What is kept is not any more what the origin allows to be made of it.
    if stored.is_minified() && forbids_transform(update) {
        return false;
    }
    if update.get(b"etag").is_some() && stored.etag().is_some() {
        // Of several that a 304 names one will do.
        let own = || stored.fields.fields().all(b"etag").flat_map(entity_tags);
        let mut told = update.all(b"etag").flat_map(entity_tags);
        return told.any(|told| own().any(|own| weakly_equal(told, own)));
    }
    match (update.get(b"last-modified"), stored.last_modified()) {
        (Some(told), Some(own)) => told.trim_ascii() == own.trim_ascii(),
        // An entity-tag that the stored response does not have is about another one, unless the date says otherwise.
        _ => update.get(b"etag").is_none() || stored.etag().is_some(),
    }
}

/// Freshens `stored` with the fields of a 304, or of a HEAD response that describes it (§3.2, §4.3.4).
///
/// Fields about the content itself stay as they were stored, and so does the entity-tag that was asked about.
pub fn freshen(
    stored: &StoredResponse,
    update: Fields<'_>,
    rule: &Rule,
    requested: Timestamp,
    received: Timestamp,
) -> StoredResponse {
    let allowed = |name: &[u8]| {
        !is_kept_out(name, update)
            && !describes_content(name)
            && !rule.tags.strips(name)
            && (name != b"retry-after" || stored.status != TOO_MANY_REQUESTS)
            && (name != b"set-cookie" || rule.set_cookie == SetCookie::Store)
    };
    let mut fields: FieldBlock = stored
        .fields
        .fields()
        .iter()
        .filter(|(name, _)| *name != b"date" && !(allowed(name) && update.get(name).is_some()))
        .collect();
    for (name, value) in update.iter().filter(|(name, _)| *name != b"date" && allowed(name)) {
        fields.push(name, value);
    }
    // A 304 without Date is as new as its arrival; the old Date would make it stale at once.
    match update.get(b"date") {
        Some(date) => fields.push(b"date", date),
        None => fields.push(b"date", received.to_http_date().as_bytes()),
    }
    fields.shrink_to_fit();
    let directives = ResponseDirectives::read(fields.fields(), &rule.targeted);
    let timing = Schedule::new(stored.status, fields.fields(), &directives, rule, requested, received);
    let born = Schedule::birth(update, requested, received);
    let mut terms = Terms::of(&directives);
    terms.set(Terms::LOCAL, !rule.remote);
    for kept in [Terms::SELECTED_BY_COOKIE, Terms::ADDS_VARY, Terms::MINIFIED] {
        terms.set(kept, stored.terms.contains(kept));
    }
    let minified = stored.is_minified().then(|| Box::new(minified_head(fields.fields())));
    let fresh = StoredResponse {
        key: Rc::clone(&stored.key),
        status: stored.status,
        terms,
        schedule: Schedule { born, ..timing }.shortened(rule.ttl.jitter, key::hash(&stored.key)),
        fields,
        body: stored.body.clone(),
        gzip: None,
        minified,
        took_millis: received.millis_since(requested),
        generation: requested,
        tags: tags_after(stored, update, rule),
        outlives: Outlives::default(),
    };
    recoded(fresh, stored)
}

/// The tags of a freshened response: a 304 may name more, and need not repeat those that stand.
fn tags_after(stored: &StoredResponse, update: Fields<'_>, rule: &Rule) -> Rc<[u64]> {
    let authority = key::authority_of(&stored.key).unwrap_or_default();
    let named = tags_of(update, &rule.tags.headers, authority);
    if named.is_empty() { Rc::clone(&stored.tags) } else { union(&stored.tags, &named) }
}

/// Gives a freshened response the form of the one it came from, unless its new fields forbid to change the content.
fn recoded(fresh: StoredResponse, stored: &StoredResponse) -> StoredResponse {
    let Some(gzip) = &stored.gzip else { return fresh };
    if forbids_transform(fresh.fields.fields())
        && let Ok(body) = inflate(stored.body.as_slice(), gzip.length)
    {
        return StoredResponse { body: Body::new(body), ..fresh };
    }
    let gzip = Gzip::of(fresh.own_fields().fields(), stored.body.as_slice()).map(Box::new);
    let mut terms = fresh.terms;
    terms.set(Terms::GZIP, true);
    StoredResponse { terms, gzip: gzip.or_else(|| stored.gzip.clone()), ..fresh }
}

/// Compares a 200 response to HEAD with the stored response: each validator and the length, where it has them,
/// must be the stored ones, and there must be a validator.
pub fn compare_head(stored: &StoredResponse, head: Fields<'_>) -> HeadVerdict {
    let stored_fields = stored.fields.fields();
    let same = |name: &[u8]| head.get(name).is_none_or(|value| stored_fields.get(name) == Some(value));
    // A proxy on the way may weaken a tag, or code the content, and is about the same content all the same.
    let tag_same =
        head.get(b"etag").is_none_or(|told| stored.etag().is_some_and(|own| weakly_equal(told, own)));
    let coded_alike =
        !stored.is_minified() && head.get(b"content-encoding") == stored_fields.get(b"content-encoding");
    let length_same = head.get(b"content-length").filter(|_| coded_alike).is_none_or(|value| {
        std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) == Some(stored.content_length())
    });
    // What is kept is not any more what the origin allows to be made of it.
    let may_stay = !stored.is_minified() || !forbids_transform(head);
    if !(tag_same && same(b"last-modified") && length_same && may_stay) {
        return HeadVerdict::Changed;
    }
    let has_validator = head.get(b"etag").is_some() || head.get(b"last-modified").is_some();
    if has_validator { HeadVerdict::Same } else { HeadVerdict::Unknown }
}

/// Fields that only change when the content does, so an update never touches them (§3.2).
fn describes_content(name: &[u8]) -> bool {
    matches!(
        name,
        b"content-length"
            | b"content-encoding"
            | b"content-range"
            | b"content-md5"
            | b"content-digest"
            | b"repr-digest"
            | b"digest"
            | b"etag"
    )
}

//! What the origin is asked in place of what the client asked: our conditions (RFC 9111 §4.3.1) and the whole for a part.

use super::{RequestEdit, StaleResponse};
use crate::coding::etag;
use crate::policy::Rule;
use crate::precondition::{entity_tags, weakly_equal};
use crate::range;
use crate::request::{MethodKind, Request};
use crate::store::response::StoredResponse;

/// Whether a stored response is asked about with conditions. Only a 200 can be confirmed by a 304 (RFC 9110 §15.4.5), and
/// only methods that have one answer with 304 (§13.1.2).
pub(super) fn can_be_confirmed(stored: &StoredResponse, request: &Request<'_>) -> bool {
    let kind = request.method_kind();
    let method = matches!(kind, MethodKind::Get | MethodKind::Head) || request.method == b"QUERY";
    method && stored.status == 200 && stored.has_validator()
}

/// Whether the whole is asked for in the place of the part that a client wants: it is stored already and has only to be
/// confirmed or replaced, or the rule has it filled.
pub(super) fn asks_for_the_whole(
    request: &Request<'_>,
    stale: Option<&StoredResponse>,
    rule: &Rule,
    fills: bool,
) -> bool {
    let Some(wanted) = request.range.filter(|_| request.method == b"GET" && !request.expect) else {
        return false;
    };
    if rule.shadow {
        return false;
    }
    stale.is_some_and(|stored| stored.status == 200)
        || fills && rule.range.fill && range::begins_before(wanted, rule.range.max_bytes)
}

/// Replaces the client's conditions by those that validate the stored response, to which the client's own entity-tags are
/// added: the origin's 304 then says which of them it means.
pub(super) fn validating(candidate: &StaleResponse, request: &Request<'_>) -> Vec<RequestEdit> {
    let minifies = candidate.stored.is_minified();
    let StaleResponse { stored, conditional: true, .. } = candidate else { return Vec::new() };
    let edit = |name, value: Option<Vec<u8>>| match value {
        Some(value) => RequestEdit::Set(name, value),
        None => RequestEdit::Remove(name),
    };
    let tags = stored.etag().map(|own| with_clients_tags(own, request, minifies));
    vec![edit("if-none-match", tags), edit("if-modified-since", stored.last_modified().map(<[u8]>::to_vec))]
}

/// The stored entity-tag and those of the client, as the origin knows them. `*` names none.
fn with_clients_tags(own: &[u8], request: &Request<'_>, minifies: bool) -> Vec<u8> {
    let lines: Vec<&[u8]> = request.fields.all(b"if-none-match").collect();
    let told = etag::with_origins_tags(&lines.join(&b", "[..]), minifies);
    let gzip = etag::for_gzip(own);
    let small = etag::for_minified(own);
    let is_ours = |tag: &[u8]| {
        let of_json = || weakly_equal(tag, &small) || weakly_equal(tag, &etag::for_gzip(&small));
        weakly_equal(tag, own) || weakly_equal(tag, &gzip) || minifies && of_json()
    };
    let mut tags = own.to_vec();
    for tag in entity_tags(&told).filter(|tag| tag.ends_with(b"\"") && !is_ours(tag)) {
        tags.extend_from_slice(b", ");
        tags.extend_from_slice(tag);
    }
    if tags.len() > LONGEST_TAGS { own.to_vec() } else { tags }
}

/// Takes the client's conditions off a request whose answer others wait for.
pub(super) fn unconditional() -> [RequestEdit; 2] {
    ["if-none-match", "if-modified-since"].map(RequestEdit::Remove)
}

/// Takes the part off a request for which the whole is asked for.
pub(super) fn whole() -> [RequestEdit; 2] {
    ["range", "if-range"].map(RequestEdit::Remove)
}

/// More of the client's entity-tags are not passed on, in bytes.
const LONGEST_TAGS: usize = 1024;

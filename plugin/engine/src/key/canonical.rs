//! The canonical key of a request under its rule.

use super::{BodyPart, Changed, KeyBuilder};
use crate::config::Key;
use crate::request::Request;

/// Writes the canonical key of `target` into `out`, with the parts that the rule takes from `request`, for responses of its `scope`. Says
/// whether the canonical target differs from the given one.
pub(crate) fn canonical(
    request: &Request<'_>,
    target: &[u8],
    rule: &Key,
    scope: u64,
    body: Option<&BodyPart>,
    out: &mut Vec<u8>,
) -> Changed {
    let mut key = KeyBuilder::new(out);
    let changed = key.resource(request.scheme, request.authority, target, &rule.query);
    key.scope(scope);
    for name in &rule.headers {
        key.header(name, request.fields);
    }
    for name in &rule.cookies {
        key.cookie(name, request.fields);
    }
    if let Some(body) = body {
        key.method(request.method);
        // Content without what says how to read it means nothing (RFC 10008 §2.7).
        for name in CONTENT {
            key.header(name, request.fields);
        }
        key.body(body);
    }
    changed
}

/// The fields without which a body has no meaning.
const CONTENT: [&[u8]; 3] = [b"content-type", b"content-encoding", b"content-language"];

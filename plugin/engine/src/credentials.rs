//! Who asks: `Authorization`, `Cookie`, and the fields that a rule treats alike.

use xxhash_rust::xxh3::Xxh3;

use crate::fields::same_name;
use crate::policy::Rule;
use crate::request::Request;

/// A hash of the credentials that a request shows; `None` if it shows none.
pub(crate) fn identity_of(request: &Request<'_>, rule: &Rule) -> Option<u64> {
    if !(request.cookie || request.authorization || request.credentials) {
        return None;
    }
    let shows = |name: &[u8]| {
        matches!(name, b"cookie" | b"authorization")
            || rule.credential_headers.iter().any(|listed| same_name(listed, name))
    };
    let mut hasher = Xxh3::new();
    for (name, value) in request.fields.iter().filter(|(name, _)| shows(name)) {
        for part in [name, value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Some(hasher.digest())
}

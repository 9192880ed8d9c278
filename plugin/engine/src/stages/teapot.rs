//! Answers 418 to all requests under a rule with `"teapot": true`. It is the worked example of `plugin/docs/capability.md`.

use super::{Seen, Then, answer};
use crate::cache::Cache;
use crate::cache_status::Detail;

/// Answers the request if its rule says so.
#[inline]
pub(super) fn enter(seen: &Seen<'_>, cache: &mut Cache) -> Option<Then> {
    // All that a rule without it costs.
    if !seen.rule.teapot {
        return None;
    }
    let fields: [(&[u8], &[u8]); 2] = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")];
    Some(answer(418, Detail::Teapot, &fields, b"I'm a teapot\n", seen.rule, cache))
}

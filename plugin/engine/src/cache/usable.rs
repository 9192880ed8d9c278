//! What a request may do with a stored response.

use std::time::Duration;

use crate::cache_control::RequestDirectives;
use crate::cache_status::Forward;
use crate::freshness::Freshness;
use crate::store::response::{StoredResponse, Terms};
use crate::time::Timestamp;

/// What a request may do with the stored response that it selects.
pub(crate) enum Usable {
    /// It is fresh enough.
    Fresh {
        /// Freshness that is left.
        remaining: Duration,
    },
    /// It is stale, which the client accepts (RFC 9111 §5.2.1.2).
    MaxStale {
        /// For how long.
        by: Duration,
    },
    /// It is stale, and may be served while it is being revalidated (RFC 5861 §3).
    WhileRevalidate {
        /// For how long.
        by: Duration,
    },
    /// The origin has to be asked.
    Not(Forward),
}

/// Judges a stored response by its freshness and by what the request asks of caches, as far as that is obeyed.
#[inline]
pub(crate) fn usable(stored: &StoredResponse, asks: &RequestDirectives, now: Timestamp) -> Usable {
    let age = stored.schedule.age(now);
    let too_old = asks.max_age.is_some_and(|limit| age > limit || limit.is_zero());
    // A request's no-store forbids to store its answer, not to answer it (§5.2.1.5).
    let may = !asks.no_cache && !too_old;
    match stored.freshness(now) {
        Freshness::Fresh { remaining } => {
            let enough = asks.min_fresh.is_none_or(|wanted| remaining >= wanted);
            if may && enough { Usable::Fresh { remaining } } else { Usable::Not(Forward::Request) }
        }
        Freshness::Stale { by } => {
            // max-age without max-stale asks for fresh responses only (§5.2.1.1).
            let unasked = asks.max_age.is_none() && asks.min_fresh.is_none();
            let forbidden = stored.terms.contains(Terms::FORBIDS_STALE);
            if may && !forbidden && asks.max_stale.is_some_and(|accepted| by <= accepted) {
                Usable::MaxStale { by }
            } else if may && unasked && within(by, stored.schedule.while_revalidate) {
                Usable::WhileRevalidate { by }
            } else {
                Usable::Not(Forward::Stale)
            }
        }
    }
}

/// Whether a response that is stale by `by` is within a window of stale use.
pub(crate) fn within(by: Duration, window: Duration) -> bool {
    !window.is_zero() && by <= window
}

//! A request that another Envoy of the fleet fetches for: it asks the remote store again and again, until its budget ends.
//!
//! The lookup that finds nothing leaves a claim under the very key, in the same call (`SET key claim NX GET PX`): whoever
//! left it fetches, and its record takes the claim's place. A claim ends by itself if its Envoy dies.
//!
//! An expired record lies where the claim would: it may yet stand in for an origin that fails. So the renewal of what was
//! found is claimed by a second question, under the key of that version ([`Version`](crate::cache::Version)), by which
//! background refreshes claim too. Who waits for it looks at the record, and then at the claim if the record is still the
//! old one:
//!
//! ```text
//! record ─┬ renewed ──────────────► answer
//!         └ expired ─► its claim ─┬ got it ─────────► the origin
//!                                 ├ another has it ─► record, a little later
//!                                 ├ not storable ───► the origin, alone
//!                                 └ no answer ──────► the origin
//! ```

use std::time::Duration;

use super::looking_up::Held;
use super::lookup::{Fetch, RemoteUse};
use super::{Directive, State};
use crate::cache::{Cache, FillEnd, FillId, Moment};
use crate::time::Timestamp;

/// What is known between two questions. The requests of this Envoy wait for this one.
pub(super) struct Polling {
    held: Held,
    id: FillId,
    /// When it has polled enough.
    until: Timestamp,
}

impl Polling {
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// The state of a request that asks again soon. It goes to the origin by itself if there is no time left.
    pub(super) fn begin(
        held: Held,
        id: FillId,
        until: Timestamp,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let at = moment.now.plus(pause(held.hash, moment.now));
        if at >= until {
            cache.stats.count("coalesce", "polled-enough");
            let fetch = Fetch::Leads { id, polls_until: Some(until), claim: None };
            return held.settle(RemoteUse::Done, fetch, cache, moment);
        }
        (State::Polling(Box::new(Self { held, id, until })), Directive::AwaitMoment { at })
    }

    pub(super) fn on_wake(self, cache: &mut Cache, moment: &mut Moment<'_>) -> (State, Directive) {
        let fetch = Fetch::Leads { id: self.id, polls_until: Some(self.until), claim: None };
        self.held.settle(RemoteUse::Possible, fetch, cache, moment)
    }

    /// The request is gone.
    pub(super) fn abandon(&self, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.end_fill(self.id, FillEnd::Abandoned, moment);
    }
}

/// 30 to 90 ms, so that a fleet does not ask in step.
pub(super) fn pause(hash: u128, now: Timestamp) -> Duration {
    let mixed = (hash as u64 ^ now.as_millis()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_millis(30 + mixed % 60)
}

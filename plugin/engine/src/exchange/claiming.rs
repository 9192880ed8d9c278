//! One refresh for a key in the whole fleet: before it is sent, it is claimed in the remote store.
//!
//! ```text
//! claim ─┬ got it ────────► look at the record ─┬ renewed before ► take it
//!        │                                      └ not ───────────► send
//!        ├ another has it ► look now and then ──┬ renewed ───────► take it
//!        │                                      └ not in time ───► leave it: the next request asks for a refresh again
//!        └ no answer ─────► send
//! ```
//!
//! What is only warmed is not claimed: it looks for the record, once, before it is sent.
//!
//! A claim is for the renewal of one version of a response: it lies under a key of its own, made of the record's hash and of
//! when the response was received. So it need not be given back when there is a new version, and ends by itself after the
//! time that a refresh may take; only one whose fetch comes to nothing is deleted. A client's request that may not be
//! answered with what has expired claims under the same key ([`polling`](super::polling)), so either waits for the other.

use super::RemoteAnswer;
use super::polling::pause;
use super::refreshing::End;
use crate::cache::{Cache, FillEnd, Fleet, Moment, Refresh};
use crate::cache::{Claim, ClaimOf};
use crate::store::Slot;

impl Refresh {
    /// The remote store has answered, or cannot be asked.
    pub fn told(mut self, answer: RemoteAnswer, cache: &mut Cache, moment: &mut Moment<'_>) {
        let now = moment.now;
        let again = now.plus(pause(self.hash, now));
        self.fleet = match (self.fleet, answer) {
            (Fleet::Claims(version), RemoteAnswer::Claimed { .. }) => Fleet::LooksOnce(version),
            (Fleet::Claims(version), RemoteAnswer::Fetching) => {
                cache.stats.count("refresh", "elsewhere");
                Fleet::Looks { version, at: again }
            }
            (
                fleet @ (Fleet::LooksFirst | Fleet::LooksOnce(_) | Fleet::Looks { .. }),
                RemoteAnswer::Found(slot),
            ) => {
                if self.takes(slot, cache, moment) {
                    return self.end_as_adopted(cache, moment);
                }
                match fleet {
                    Fleet::LooksOnce(version) => Fleet::Holds(version),
                    Fleet::Looks { version, .. } => Fleet::Looks { version, at: again },
                    _ => Fleet::Settled,
                }
            }
            (Fleet::LooksOnce(version), _) => Fleet::Holds(version),
            (Fleet::Looks { version, .. }, RemoteAnswer::Fetching) => Fleet::Looks { version, at: again },
            _ => Fleet::Settled,
        };
        if self.question().is_none() {
            self.awaited.requested = now;
        }
        cache.queue_refresh(self);
    }

    /// Takes a record in, if it is newer than what is renewed and can be used.
    fn takes(&self, slot: Slot, cache: &mut Cache, moment: &mut Moment<'_>) -> bool {
        let Slot::Response(found) = &slot else { return false };
        let renewed = match self.fleet {
            Fleet::LooksOnce(version) | Fleet::Looks { version, .. } => {
                found.schedule.received > version.received
            }
            _ => true,
        };
        if !renewed || found.freshness(moment.now).is_stale() {
            return false;
        }
        let (record, key) = (self.record(), found.key.clone());
        let taken = cache.adopt(self.key_hash, record, slot, moment) && cache.holds(record, &key, moment);
        cache.swap_adopted(Vec::new());
        taken
    }

    /// Another Envoy has fetched it.
    fn end_as_adopted(self, cache: &mut Cache, moment: &mut Moment<'_>) {
        cache.end_refresh(self.hash);
        let (plan, errand) = self.into_plan();
        plan.abandon(FillEnd::Stored, cache, moment);
        errand.end(End::Adopted, cache, moment);
    }

    /// The claim that it has. It was left after the refresh was queued, and lasts as long as that may take.
    pub(super) fn claim(&self) -> Option<Claim> {
        let (Fleet::LooksOnce(version) | Fleet::Holds(version)) = self.fleet else { return None };
        Some(Claim { hash: version.claim(self.record()), until: self.until, of: ClaimOf::Version })
    }
}

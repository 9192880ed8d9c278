//! What this worker asks of the remote store and sends to it.

use std::rc::Rc;
use std::time::Duration;

use super::storing::KEEP_INDEX;
use super::unshared::{Asker, Extent, UNSHARED_FOR};
use super::{Cache, FillEnd, Found, Moment, within};
use super::{Claim as FleetClaim, ClaimOf};
use crate::breaker::Latency;
use crate::freshness::Freshness;
use crate::key;
use crate::policy::{RequestDirectives, Rule};
use crate::remote::claim::{self, CLAIM_NOT_STORABLE, Claim};
use crate::remote::queue::Task;
use crate::request::Request;
use crate::store::Slot;
use crate::store::record::{self, RecordError, Verify};
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

impl Cache {
    /// Reads what the remote store gave for `hash`.
    ///
    /// # Errors
    /// It is nothing that belongs there, or is damaged or forged; [`RecordError::Unknown`] if another release wrote it,
    /// [`RecordError::Unsigned`] if no secret has signed it and one should have.
    pub fn read_remote(
        &mut self,
        hash: u128,
        value: Vec<u8>,
        moment: &mut Moment<'_>,
    ) -> Result<Under, RecordError> {
        // Before anything of it is decoded.
        let value = self.verified(hash, value, moment)?;
        if let Some(claim) = Claim::read(&value) {
            return Ok(Under::Claim(claim));
        }
        let slot = record::decode(value, Verify::Whole).and_then(|slot| {
            if key::hash(slot.key()) == hash { Ok(slot) } else { Err(RecordError::Foreign) }
        });
        if slot.is_err() {
            self.stats.count("event", "bad-record");
        }
        slot.map(Under::Record)
    }

    /// Takes in what the remote store gave for `hash`, which is that of `key` or of one of its variants. `false` if it is of
    /// no use.
    pub fn adopt(&mut self, key: u128, hash: u128, slot: Slot, moment: &mut Moment<'_>) -> bool {
        self.learn(moment);
        let slot = match slot {
            // Another clock has said when it was asked for.
            Slot::Response(stored) => Slot::Response(older_by(stored, self.policy.purge.skew)),
            index @ Slot::Index(_) => index,
        };
        let made = slot.made();
        let expires = match &slot {
            Slot::Response(stored) => stored.dead_at(),
            Slot::Index(_) => moment.now.plus(KEEP_INDEX),
        };
        // Clocks differ a little; what comes from far in the future would outlive every invalidation.
        if made > moment.now.plus(MOST_SKEW) || self.has_newer(hash, &slot, moment) {
            return false;
        }
        if self.is_outdated(key, hash, made) {
            return false;
        }
        self.put_local(hash, slot.clone(), expires, moment);
        self.adopted.push((hash, slot));
        true
    }

    /// Whether what others have made for `hash`, which is that of `key` or of one of its variants, was invalidated here since. The
    /// deletion may not have reached the remote store yet. An index may be younger than the variants it knows, so these are
    /// asked about on their own.
    pub(super) fn is_outdated(&self, key: u128, hash: u128, made: Timestamp) -> bool {
        self.invalidated_since(hash, made) || self.refuses_of_others(key, made)
    }

    /// Exchanges what the remote store gave for the request that is being settled, which the other stores need not have
    /// taken.
    pub(crate) fn swap_adopted(&mut self, adopted: Vec<(u128, Slot)>) -> Vec<(u128, Slot)> {
        std::mem::replace(&mut self.adopted, adopted)
    }

    /// Whether this Envoy has the same or something newer than the remote store: a record that was never sent, or got
    /// lost. Of the same response its own copy is the better one: its age is by one clock, and it knows the purges since.
    fn has_newer(&mut self, hash: u128, remote: &Slot, moment: &mut Moment<'_>) -> bool {
        let newer = |present: &Slot| match (present, remote) {
            (Slot::Response(ours), Slot::Response(theirs)) => {
                ours.schedule.received >= theirs.schedule.received
            }
            (Slot::Index(ours), Slot::Index(theirs)) => ours.generation > theirs.generation,
            (Slot::Index(ours), Slot::Response(theirs)) => {
                ours.generation > theirs.schedule.received.as_millis()
            }
            (Slot::Response(ours), Slot::Index(theirs)) => {
                ours.schedule.received.as_millis() > theirs.generation
            }
        };
        // Another worker may have stored something later than what this one still has.
        let present = [self.local(hash, remote.key()), self.peek_shared(hash, moment)];
        present.iter().flatten().filter(|slot| slot.key() == remote.key()).any(newer)
    }

    /// The hash to ask the remote store for, if asking is worth a request's time.
    pub fn worth_asking_remote(
        &mut self,
        found: &Found,
        hash: u128,
        request: &Request<'_>,
        rule: &Rule,
        first: bool,
        moment: &mut Moment<'_>,
    ) -> Option<u128> {
        let honours = rule.request_directives == RequestDirectives::Honour;
        if !self.policy.remote.enabled || !rule.remote || honours && request.directives.no_cache {
            return None;
        }
        let asked = match found {
            Found::Nothing if first => Some(hash),
            Found::Purged { hash } if first => Some(*hash),
            Found::OtherVariants { wanted: Some(variant), .. } => Some(*variant),
            Found::OtherVariants { wanted: None, .. } if first => Some(hash),
            Found::Response { stored, hash, .. } if first => match stored.freshness(moment.now) {
                // Within its window it is served at once, and validated with the origin.
                Freshness::Stale { by } if !within(by, stored.schedule.while_revalidate) => Some(*hash),
                _ => None,
            },
            _ => None,
        }?;
        let unstorable = self.is_known_unstorable(hash, moment.now)
            || self.is_unshared(found.turn(hash), &Asker::of(request, rule), moment.now);
        (!unstorable).then_some(asked)
    }

    /// The fetch that another Envoy may wait for has ended: what it brought takes the claim's place, or the claim goes. If
    /// the claim does not hold any more, another Envoy may have stored what is newer, and nothing is sent.
    pub(crate) fn end_claim(&mut self, claim: FleetClaim, end: FillEnd, now: Timestamp) {
        let FleetClaim { hash, of, until } = claim;
        let holds = claim::holds(until, now);
        if of == ClaimOf::Version && (!holds || end == FillEnd::Stored) {
            // Those who wait look at the record before the claim, so they need not be told. The claim keeps off who has
            // seen the old record a moment ago, and ends by itself: nobody asks for it once there is a new version.
            return;
        }
        if !holds {
            self.remote_queue.take_back(hash);
            self.stats.count("coalesce", "late");
            return;
        }
        if self.remote_queue.contains(hash) {
            // The record tells the others, even one that they have to validate.
            return;
        }
        match end {
            FillEnd::NotShared(Extent::Everybody) | FillEnd::TakesLong => {
                let record = CLAIM_NOT_STORABLE.to_vec();
                let ttl_seconds = UNSHARED_FOR.as_secs();
                self.remote_queue.push(Task::replicate(hash, record, ttl_seconds));
            }
            // What one client was refused, others may have.
            FillEnd::NotShared(_) | FillEnd::Stored | FillEnd::Abandoned => self.drop_claim(hash, until),
        }
    }

    /// Nothing that is shared is to be had for a hash, and the remote store has not said whether it has something.
    pub(crate) fn refuse_in_remote(&mut self, hash: u128) {
        if self.policy.remote.enabled {
            let record = CLAIM_NOT_STORABLE.to_vec();
            self.remote_queue.push(Task::replicate(hash, record, UNSHARED_FOR.as_secs()));
        }
    }

    /// Takes back a claim that lasts until then, for its fetch comes to nothing.
    pub fn drop_claim(&mut self, hash: u128, until: Timestamp) {
        self.remote_queue.push(Task::Delete { hash, until: Some(until) });
    }

    /// How long the origin takes, for comparison with the remote store. Nothing is known without such a store.
    pub const fn origin_latency(&self) -> &Latency {
        &self.origin_latency
    }

    /// The origin has begun to answer a GET with this status.
    pub(crate) fn note_origin_latency(&mut self, status: u16, latency: Duration, now: Timestamp) {
        // A quick error is no sign of a quick origin.
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if self.stats.is_measured() {
            self.stats.sample("duration_us", "origin", micros);
        }
        if self.policy.remote.enabled && status < 500 {
            self.origin_latency.record(latency, now);
        }
    }

    /// Whether anything waits for the remote store.
    pub fn has_remote_tasks(&self) -> bool {
        !self.remote_queue.is_empty()
    }

    /// Tasks that wait for the remote store.
    pub fn remote_tasks(&self) -> usize {
        self.remote_queue.len()
    }

    /// Whether a deletion waits among them.
    pub fn has_remote_deletion(&self) -> bool {
        self.remote_queue.has_deletion()
    }

    /// Counts the tasks that were dropped for want of room.
    pub fn count_dropped_tasks(&mut self) {
        let dropped = self.remote_queue.take_dropped();
        self.stats.add("remote", "dropped", dropped);
    }

    /// The next task for the remote store that is still of use.
    pub fn next_remote_task(&mut self, now: Timestamp) -> Option<Task> {
        self.remote_queue.pop(now)
    }

    /// The next deletion for the remote store that is still of use.
    pub fn next_remote_deletion(&mut self, now: Timestamp) -> Option<Task> {
        self.remote_queue.pop_deletion(now)
    }

    /// Puts a task back that could not be sent. What was asked for later goes before it.
    pub fn requeue_remote_task(&mut self, task: Task) {
        self.remote_queue.put_back(task);
    }
}

/// What lies under a record's key.
#[derive(Clone, Debug)]
pub enum Under {
    /// A response or an index.
    Record(Slot),
    /// Word of an Envoy that fetches it, or has.
    Claim(Claim),
}

/// How far ahead another Envoy's clock may be.
const MOST_SKEW: Duration = Duration::from_secs(5);

/// The response as one that was asked for a little earlier.
fn older_by(mut stored: Rc<StoredResponse>, slack: Duration) -> Rc<StoredResponse> {
    let slack = u64::try_from(slack.as_millis()).unwrap_or(u64::MAX);
    // Nobody else has it yet, so nothing is copied.
    let response = Rc::make_mut(&mut stored);
    response.generation = Timestamp::from_millis(response.generation.as_millis().saturating_sub(slack));
    stored
}

//! Where a response is put: under its key, or as a variant under an index, in this worker's table, the node store and the
//! remote store.

use std::rc::Rc;
use std::time::Duration;

use super::coherence::Change;
use super::{Cache, Moment};
use crate::fields::Fields;
use crate::key;
use crate::policy::{Cookies, Rule};
use crate::remote::queue::Task;
use crate::request::Request;
use crate::store::Slot;
use crate::store::record::{self, Verify};
use crate::store::response::{StoredResponse, Terms};
use crate::store::table::Weigh as _;
use crate::store::variants::{Names, VariantIndex};
use crate::time::Timestamp;
use crate::vary::Vary;

impl Cache {
    /// Stores a complete response. `names` are the fields that select it; none means that it is the only
    /// response of its URI.
    pub fn store(
        &mut self,
        hash: u128,
        mut response: StoredResponse,
        names: Vec<Box<[u8]>>,
        request: Fields<'_>,
        moment: &mut Moment<'_>,
    ) {
        let adapting = self.take_adapting();
        let previous = self.latest(hash, &response.key, moment);
        let previous = previous.filter(|slot| !self.holds_purged(slot));
        self.revalidations.remove(&hash);
        let local_only = response.terms.contains(Terms::LOCAL);
        let mut names = names;
        if names.is_empty()
            && let Some(Slot::Index(index)) = &previous
        {
            names = self.names_that_select(index, moment);
        }
        if names.is_empty() {
            // A slow response may be older than the one that has come meanwhile.
            let slack = Duration::from_secs(1);
            if let Some(Slot::Response(present)) = &previous
                && present.schedule.born > response.schedule.born.plus(slack)
                && !present.freshness(moment.now).is_stale()
            {
                return;
            }
            self.adapted(adapting, hash, &mut response, moment);
            let replaced =
                matches!(&previous, Some(Slot::Index(_))) || self.replaces(hash, &response, moment);
            self.put(hash, hash, Slot::Response(Rc::new(response)), local_only, moment);
            if replaced {
                self.tell(hash, Change::Replaced, moment);
            }
            return;
        }
        // Nothing that is stored may be selected by what no cache would read again.
        let Some(selecting) = Names::new(names.clone()) else { return };
        let mut index = match previous {
            Some(Slot::Index(index)) => VariantIndex::clone(&index),
            Some(Slot::Response(old)) => {
                self.tell(hash, Change::Replaced, moment);
                let mut index = VariantIndex::new(Rc::clone(&response.key), moment.now);
                self.keep_for_those_without(&old, &names, &mut index, moment);
                index
            }
            None => VariantIndex::new(Rc::clone(&response.key), moment.now),
        };
        let mut variant_key = std::mem::take(&mut self.scratch.variant);
        index.variant_key(&names, request, &mut variant_key);
        let variant_hash = key::hash(&variant_key);
        response.key = Rc::from(variant_key.as_slice());
        self.scratch.variant = variant_key;
        self.revalidations.remove(&variant_hash);
        self.adapted(adapting, variant_hash, &mut response, moment);
        let replaced = self.replaces(variant_hash, &response, moment);
        self.put(variant_hash, hash, Slot::Response(Rc::new(response)), local_only, moment);
        let limit = self.policy.worker.variants;
        while let Some(victim) =
            index.surplus(variant_hash, limit).then(|| self.least_used(&index, moment)).flatten()
        {
            index.remove(victim);
            self.forget(victim, moment);
        }
        let selects_anew = !index.variants().is_empty() && !index.selects_with(&names);
        index.add(selecting, variant_hash);
        self.put(hash, hash, Slot::Index(Rc::new(index)), local_only, moment);
        if selects_anew {
            // What other workers would select by what they know may not be the latest any more.
            self.tell(hash, Change::Replaced, moment);
        }
        if replaced {
            self.tell(variant_hash, Change::Replaced, moment);
        }
    }

    /// What is stored under a hash. Of two indices the one that was begun later: another worker began it when the node had lost
    /// the one that this worker still has.
    fn latest(&mut self, hash: u128, key: &[u8], moment: &mut Moment<'_>) -> Option<Slot> {
        let local = self.local(hash, key);
        match &local {
            None => self.shared(hash, key, moment),
            Some(Slot::Response(_)) => local,
            Some(Slot::Index(ours)) => match self.peek_shared(hash, moment) {
                Some(Slot::Index(theirs)) if theirs.generation > ours.generation && *theirs.key == *key => {
                    Some(Slot::Index(theirs))
                }
                _ => local,
            },
        }
    }

    /// Invalidates what is stored for such a request and was asked for before `requested`, by whatever fields it is selected.
    pub(crate) fn invalidate_older(
        &mut self,
        (hash, key): (u128, &[u8]),
        request: Fields<'_>,
        requested: Timestamp,
        moment: &mut Moment<'_>,
    ) {
        let older = |slot: &Option<Slot>| !matches!(slot, Some(Slot::Response(known)) if known.generation >= requested);
        for slot in [self.local(hash, key), self.peek_shared(hash, moment)].into_iter().flatten() {
            match slot {
                Slot::Response(stored) if stored.generation < requested && *stored.key == *key => {
                    self.invalidate(hash, moment);
                }
                Slot::Index(index) if *index.key == *key => {
                    for variant in index.matching(request) {
                        if older(&self.peek_shared(variant, moment)) {
                            self.invalidate(variant, moment);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// A response that was for all without a cookie is that still when others come to be kept for their cookies.
    fn keep_for_those_without(
        &mut self,
        old: &StoredResponse,
        names: &[Box<[u8]>],
        index: &mut VariantIndex,
        moment: &mut Moment<'_>,
    ) {
        let by_cookie = matches!(names, [only] if **only == *b"cookie");
        if !by_cookie || old.terms.contains(Terms::SHARED) || old.freshness(moment.now).is_stale() {
            return;
        }
        let Some(selecting) = Names::new(names.to_vec()) else { return };
        let mut key = Vec::new();
        index.variant_key(names, Fields::default(), &mut key);
        let hash = key::hash(&key);
        let mut kept = StoredResponse { key: Rc::from(key.as_slice()), ..old.clone() };
        kept.terms.set(Terms::SELECTED_BY_COOKIE, true);
        let local_only = kept.terms.contains(Terms::LOCAL);
        self.put(hash, hash, Slot::Response(Rc::new(kept)), local_only, moment);
        index.add(selecting, hash);
    }

    /// Stores a freshened response that was kept for some clients as one for all.
    pub(crate) fn share(&mut self, hash: u128, key: &[u8], fresh: &StoredResponse, moment: &mut Moment<'_>) {
        let mut response = StoredResponse { key: Rc::from(key), ..fresh.clone() };
        response.terms.set(Terms::SELECTED_BY_COOKIE, false);
        self.store(hash, response, Vec::new(), Fields::default(), moment);
    }

    /// The fields by which a response without `Vary` is told from its siblings: those that the `Vary` of the latest fresh one
    /// names. An origin that leaves `Vary` out where a request has none of the fields means the same by it, and an answer
    /// for such requests is none for the others (RFC 9111 §4.1). Once all that have one are stale, the resource is taken to
    /// vary no more.
    fn names_that_select(&mut self, index: &VariantIndex, moment: &mut Moment<'_>) -> Vec<Box<[u8]>> {
        let isolates = |name: &[u8]| name == b"cookie";
        for variant in index.variants().iter().rev() {
            let present =
                self.table.peek(variant.hash).cloned().or_else(|| self.peek_shared(variant.hash, moment));
            let Some(Slot::Response(stored)) = present else { continue };
            if stored.freshness(moment.now).is_stale()
                || self.holds_purged(&Slot::Response(Rc::clone(&stored)))
            {
                continue;
            }
            if let Vary::Fields(said) = Vary::parse(stored.fields.fields()) {
                let names = variant.names.iter();
                return names.filter(|name| !isolates(name) || said.contains(name)).cloned().collect();
            }
        }
        Vec::new()
    }

    /// The variant that gives way to a new one: one that is not there any more; else one that hardly anybody has asked for,
    /// the newest first, so that whoever makes up values displaces only made-up ones; else the one that is asked for least.
    fn least_used(&mut self, index: &VariantIndex, moment: &mut Moment<'_>) -> Option<u128> {
        let mut rated: Vec<(u8, usize, u128)> = Vec::with_capacity(index.variants().len());
        for (at, variant) in index.variants().iter().enumerate() {
            let heat = self.table.heat(variant.hash);
            let now = moment.now;
            let dead = |slot: Option<Slot>| {
                slot.is_none_or(|slot| matches!(&slot, Slot::Response(stored) if stored.dead_at() <= now))
            };
            let gone = match self.table.peek(variant.hash).cloned() {
                Some(slot) => dead(Some(slot)),
                None => dead(self.peek_shared(variant.hash, moment)),
            };
            let (class, order) = match heat {
                _ if gone => (0, at),
                ..=HARDLY_USED => (1, usize::MAX - at),
                used => (used, usize::MAX - at),
            };
            rated.push((class, order, variant.hash));
        }
        rated.into_iter().min().map(|(_, _, hash)| hash)
    }

    /// Whether other workers may be using something else than this under a hash: a response that is still fresh, or one with
    /// other content, which may be served while it is renewed or stand in for errors after the node store has lost the new one.
    fn replaces(&mut self, hash: u128, new: &StoredResponse, moment: &mut Moment<'_>) -> bool {
        let (now, content) = (moment.now, new.body.as_slice());
        let other = |slot: &Slot| {
            matches!(slot, Slot::Response(old)
                if !old.freshness(now).is_stale() || old.status != new.status || old.body.as_slice() != content)
        };
        self.table.peek(hash).is_some_and(other)
            || self.peek_shared(hash, moment).is_some_and(|slot| other(&slot))
    }

    /// What the node store has under a hash, not taken into this worker's table.
    pub(super) fn peek_shared(&mut self, hash: u128, moment: &mut Moment<'_>) -> Option<Slot> {
        let bytes = self.node.get(moment.host, hash, moment.now.as_millis())?;
        record::decode(bytes, Verify::Head).ok()
    }

    /// Puts a freshened response in the place of the one it came from. `false` if something else has taken that
    /// place meanwhile: then it stays. The caller has just learnt what others changed.
    pub fn replace(
        &mut self,
        hash: u128,
        old: &StoredResponse,
        response: Rc<StoredResponse>,
        moment: &mut Moment<'_>,
    ) -> bool {
        self.revalidations.remove(&hash);
        let present = self.shared(hash, &old.key, moment).or_else(|| self.local(hash, &old.key));
        // What is selected by fields now stays so.
        let newer = |slot: &Slot| match slot {
            Slot::Response(present) => present.schedule.received > old.schedule.received,
            Slot::Index(_) => true,
        };
        let present = present.filter(|slot| !self.holds_purged(slot));
        if present.as_ref().is_some_and(newer) {
            return false;
        }
        let local_only = response.terms.contains(Terms::LOCAL);
        self.put(hash, hash, Slot::Response(response), local_only, moment);
        if !old.freshness(moment.now).is_stale() {
            self.tell(hash, Change::Replaced, moment);
        }
        true
    }

    /// The fields that select among the responses of this URI: those of `Vary`, as the rule changes them, and
    /// `Cookie` where it isolates.
    #[expect(clippy::too_many_arguments, reason = "a variant depends on request, response and rule")]
    pub fn selecting_names(
        &mut self,
        hash: u128,
        key: &[u8],
        vary: Vec<Box<[u8]>>,
        request: &Request<'_>,
        terms: &mut Terms,
        rule: &Rule,
        moment: &mut Moment<'_>,
    ) -> Vec<Box<[u8]>> {
        let mut names = vary;
        names.retain(|name| !rule.vary.ignore.contains(name));
        names.extend(rule.vary.add.iter().cloned());
        if rule.cookies == Cookies::Isolate
            && !terms.contains(Terms::SHARED)
            && !rule.key.headers.iter().any(|name| **name == *b"cookie")
            && (request.cookie || self.is_selected_by_cookie(hash, key, moment))
        {
            names.push(Box::from(&b"cookie"[..]));
        }
        names.sort_unstable();
        names.dedup();
        terms.set(Terms::SELECTED_BY_COOKIE, names.iter().any(|name| **name == *b"cookie"));
        names
    }

    /// Whether responses for other cookies are stored under the key.
    fn is_selected_by_cookie(&mut self, hash: u128, key: &[u8], moment: &mut Moment<'_>) -> bool {
        let slot = self.local(hash, key).or_else(|| self.shared(hash, key, moment));
        matches!(slot, Some(Slot::Index(index)) if index.selects_by(b"cookie"))
    }

    /// `key_hash` is that of the key of which this is perhaps a variant.
    fn put(&mut self, hash: u128, key_hash: u128, slot: Slot, local_only: bool, moment: &mut Moment<'_>) {
        let expires = match &slot {
            // Those who waited for it, in the other workers too, may share it although it was dead on arrival.
            Slot::Response(stored) => stored.dead_at().max(moment.now.plus(LINGERS)),
            Slot::Index(_) => moment.now.plus(KEEP_INDEX),
        };
        self.note_fetched(hash, key_hash, &slot, moment);
        self.put_local(hash, slot.clone(), expires, moment);
        if self.policy.remote.enabled && !local_only {
            let record = record::encode(&slot);
            let ttl_seconds = expires.since(moment.now).as_secs().max(1);
            if record.len() <= self.policy.remote.object_bytes {
                self.remote_queue.push(Task::replicate(hash, record, ttl_seconds));
            }
        }
    }

    pub(super) fn put_local(&mut self, hash: u128, slot: Slot, expires: Timestamp, moment: &mut Moment<'_>) {
        if self.policy.node.bytes > 0 {
            let (bytes, now) = (record::encode(&slot), moment.now.as_millis());
            if self.node.put(moment.host, hash, &bytes, expires.as_millis(), now).is_ok() {
                self.stats.add("stored_bytes", "node", bytes.len() as u64);
            } else {
                // A node that cannot take it must not go on offering what was there before.
                self.node.remove(moment.host, hash, now);
                self.stats.count("event", "node-refused");
            }
            self.put_since_learning.push(hash);
        }
        let weight = slot.weight();
        if self.table.insert(hash, slot).is_ok() {
            self.stats.add("stored_bytes", "worker", weight as u64);
        } else {
            self.table.remove(hash);
        }
    }

    pub(super) fn forget(&mut self, hash: u128, moment: &mut Moment<'_>) {
        self.table.remove(hash);
        self.node.remove(moment.host, hash, moment.now.as_millis());
    }
}

/// Uses of late up to which a variant counts as hardly asked for: its own fetch, and another.
const HARDLY_USED: u8 = 3;
/// How long a response is there at least: within this time all are woken who waited for it.
const LINGERS: Duration = Duration::from_secs(2);
/// How long the node store keeps an index of variants after its last change.
pub(super) const KEEP_INDEX: Duration = Duration::from_secs(24 * 3600);

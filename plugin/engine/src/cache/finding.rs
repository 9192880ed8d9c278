//! Which of the stored responses a request gets, from this worker's table or from the node store.

use std::rc::Rc;
use std::time::Duration;

use super::purging::Judged;
use super::{Cache, Moment, Usable, usable};
use crate::admission::asks_of;
use crate::credentials::identity_of;
use crate::fields::Fields;
use crate::policy::Rule;
use crate::request::Request;
use crate::storability::{Refusal, names_switches};
use crate::store::Slot;
use crate::store::record::{self, Verify};
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

/// Where a response was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// In this worker's table.
    Worker,
    /// In the node store.
    Node,
}

/// The outcome of a lookup.
#[derive(Clone, Debug)]
pub enum Found {
    /// Nothing is stored under the key.
    Nothing,
    /// What was stored for the request has been purged.
    Purged {
        /// The hash it was stored under.
        hash: u128,
    },
    /// Responses are stored under the key, but none that this request may have.
    OtherVariants {
        /// The hash of the one that it selects, if the index knows it.
        wanted: Option<u128>,
        /// The hash that tells those apart that would share one, as far as that is known.
        turn: u128,
    },
    /// The response selected for the request, fresh or stale.
    Response {
        /// The response.
        stored: Rc<StoredResponse>,
        /// Where it was.
        tier: Tier,
        /// The hash it is stored under.
        hash: u128,
    },
}

impl Found {
    /// The hash of what a fetch for the request would bring, where `hash` is that of its key: the variant's, if it is known
    /// what selects among them.
    pub fn turn(&self, hash: u128) -> u128 {
        match self {
            Self::Nothing => hash,
            Self::Purged { hash } | Self::Response { hash, .. } | Self::OtherVariants { turn: hash, .. } => {
                *hash
            }
        }
    }
}

impl Cache {
    /// Selects the stored response for `request` under the canonical `key` (RFC 9111 §4). A fresh one from
    /// this worker is taken as it is; otherwise the node may know a newer one.
    pub fn find(
        &mut self,
        key: &[u8],
        hash: u128,
        request: &Request<'_>,
        rule: &Rule,
        moment: &mut Moment<'_>,
    ) -> Found {
        let local = match self.local(hash, key) {
            Some(slot) => self.select(slot, Tier::Worker, hash, request, rule, moment),
            None => Found::Nothing,
        };
        if let Found::Response { stored, .. } = &local
            && self.needs_no_other(stored, hash, request, rule, moment.now)
        {
            return local;
        }
        if matches!(local, Found::Nothing) && self.is_known_unstorable(hash, moment.now) {
            return Found::Nothing;
        }
        let shared = match self.shared(hash, key, moment) {
            Some(slot) => self.select(slot, Tier::Node, hash, request, rule, moment),
            None => Found::Nothing,
        };
        match (&local, &shared) {
            (_, Found::Nothing) => local,
            (
                Found::Response { stored: ours, hash: own, .. },
                Found::Response { stored: theirs, hash: other, .. },
            ) if own == other && ours.schedule.received > theirs.schedule.received => {
                // The node could not take it, nor let go of what it has. That has just taken its place here.
                let _ = self.table.insert(*own, Slot::Response(Rc::clone(ours)));
                local
            }
            // By the node's index this worker selects from now on: who asks next has to find the same, and to wait for it.
            _ => shared,
        }
    }

    /// The response in `slot` that the request may have.
    fn select(
        &mut self,
        slot: Slot,
        tier: Tier,
        hash: u128,
        request: &Request<'_>,
        rule: &Rule,
        moment: &mut Moment<'_>,
    ) -> Found {
        let index = match slot {
            // What switches a framework is answered only under a `Vary` that names it.
            Slot::Response(stored) if stored.may_answer(request, rule) && !request.switches => {
                return self.unless_purged(hash, stored, tier);
            }
            // What is stored is for clients without credentials: each with some will get another one.
            Slot::Response(_) => {
                let apart = identity_of(request, rule).unwrap_or_default();
                return Found::OtherVariants {
                    wanted: None,
                    turn: hash ^ (u128::from(apart) << 64 | u128::from(apart)),
                };
            }
            Slot::Index(index) => index,
        };
        let mut variant_key = std::mem::take(&mut self.scratch.variant);
        let selected = index.select(request.fields, &mut variant_key);
        let mut found = Found::OtherVariants { wanted: None, turn: selected.unwrap_or_else(|turn| turn) };
        if let (Err(turn), Tier::Worker) = (selected, tier) {
            // What is asked for again and again is worth a place among the variants.
            self.table.get(turn);
        }
        if let Ok(hash) = selected {
            found = Found::OtherVariants { wanted: Some(hash), turn: hash };
            let mut purged = false;
            let mut judge = |cache: &mut Self, slot| match cache.judged(hash, slot) {
                Judged::Stands(slot) => Some(slot),
                Judged::Gone => {
                    purged = true;
                    None
                }
            };
            let local = self.local(hash, &variant_key).and_then(|slot| judge(self, slot));
            let enough = match &local {
                Some(Slot::Response(own)) => self.needs_no_other(own, hash, request, rule, moment.now),
                Some(Slot::Index(_)) => true,
                None => false,
            };
            let (slot, tier) = match local {
                Some(slot) if enough => (Some(slot), tier),
                // Another worker may have stored or freshened this variant since.
                local => match self.shared(hash, &variant_key, moment).and_then(|slot| judge(self, slot)) {
                    Some(slot) => (Some(slot), Tier::Node),
                    None => (local, tier),
                },
            };
            match slot {
                Some(Slot::Response(stored))
                    if stored.may_answer(request, rule)
                        && (!request.switches
                            || names_switches(request.fields, index.names_of(hash), rule)) =>
                {
                    found = Found::Response { stored, tier, hash };
                }
                None if purged => found = Found::Purged { hash },
                _ => {}
            }
        }
        self.scratch.variant = variant_key;
        found
    }

    /// Whether the node store need not be asked for something newer than this worker's own response for a key: it is fresh,
    /// or it is served stale while it is being renewed. Many may ask for it meanwhile.
    fn needs_no_other(
        &self,
        own: &StoredResponse,
        hash: u128,
        request: &Request<'_>,
        rule: &Rule,
        now: Timestamp,
    ) -> bool {
        if !own.freshness(now).is_stale() {
            return true;
        }
        let renewed = self.is_refreshing(hash) || self.is_renewed_elsewhere(hash, now);
        renewed && matches!(usable(own, &asks_of(request, rule), now), Usable::WhileRevalidate { .. })
    }

    fn unless_purged(&mut self, hash: u128, stored: Rc<StoredResponse>, tier: Tier) -> Found {
        match self.judged(hash, Slot::Response(stored)) {
            Judged::Stands(Slot::Response(stored)) => Found::Response { stored, tier, hash },
            Judged::Stands(Slot::Index(_)) | Judged::Gone => Found::Purged { hash },
        }
    }

    /// Remembers for a while that responses for the key are not storable, so that requests for it do not look
    /// for one in the node store each time. A worker that stores one all the same serves it by itself.
    pub fn note_unstorable(&mut self, hash: u128, refusal: Refusal, now: Timestamp) {
        // Which of the two it is can be told by the hash that is remembered.
        let mark = u128::from(refusal == Refusal::Private);
        self.unstorable.note(hash ^ mark, now.plus(UNSTORABLE_FOR));
    }

    /// Why responses for the key are known not to be storable, if they are.
    #[inline]
    pub(crate) fn known_unstorable(&self, hash: u128, now: Timestamp) -> Option<Refusal> {
        match self.unstorable.knows(hash, now) {
            true => Some(Refusal::NoStore),
            false => self.unstorable.knows(hash ^ 1, now).then_some(Refusal::Private),
        }
    }

    pub(super) fn is_known_unstorable(&self, hash: u128, now: Timestamp) -> bool {
        self.known_unstorable(hash, now).is_some()
    }

    /// Remembers that what is under a key is too long to be fetched whole for a part.
    pub fn note_unfillable(&mut self, hash: u128, now: Timestamp) {
        self.unfillable.note(hash, now.plus(UNFILLABLE_FOR));
    }

    /// Whether it is.
    pub fn is_unfillable(&self, hash: u128, now: Timestamp) -> bool {
        self.unfillable.knows(hash, now)
    }

    /// A stored response that a request selected a while ago, or what has taken its place, if that is in the stores now.
    pub(crate) fn still_stored(
        &mut self,
        hash: u128,
        old: &StoredResponse,
        moment: &mut Moment<'_>,
    ) -> Option<Rc<StoredResponse>> {
        let slot = self.shared(hash, &old.key, moment).or_else(|| self.local(hash, &old.key))?;
        match self.judged(hash, slot) {
            Judged::Stands(Slot::Response(new)) if new.schedule.received >= old.schedule.received => {
                Some(new)
            }
            _ => None,
        }
    }

    /// Whether something of another form has taken the place of a stored response that a request selected: responses that are
    /// selected by fields, by others than it was, or one for all under the key where it was selected.
    pub(crate) fn is_displaced(
        &mut self,
        (key_hash, key): (u128, &[u8]),
        request: Fields<'_>,
        hash: u128,
        old: &StoredResponse,
        moment: &mut Moment<'_>,
    ) -> bool {
        match self.shared(key_hash, key, moment).or_else(|| self.local(key_hash, key)) {
            // Whatever the request selects now, or if it selects nothing, the old one would not be found again.
            Some(Slot::Index(index)) => index.select(request, &mut self.scratch.variant) != Ok(hash),
            Some(Slot::Response(new)) => hash != key_hash && new.schedule.received > old.schedule.received,
            None => false,
        }
    }

    pub(super) fn local(&mut self, hash: u128, key: &[u8]) -> Option<Slot> {
        if let Some(slot) = self.table.get(hash).filter(|slot| slot.key() == key) {
            return Some(slot.clone());
        }
        let adopted = self.adopted.iter().find(|(adopted, slot)| *adopted == hash && slot.key() == key);
        adopted.map(|(_, slot)| slot.clone())
    }

    /// Reads from the node store and keeps what it finds in this worker too.
    pub(super) fn shared(&mut self, hash: u128, key: &[u8], moment: &mut Moment<'_>) -> Option<Slot> {
        let bytes = self.node.get(moment.host, hash, moment.now.as_millis())?;
        match record::decode(bytes, Verify::Head) {
            Ok(slot) if slot.key() == key => {
                // What is too large for this worker is served from the node each time.
                let _ = self.table.insert(hash, slot.clone());
                Some(slot)
            }
            Ok(_) => None,
            Err(_) => {
                self.stats.count("event", "bad-record");
                None
            }
        }
    }
}

/// How long a response that is too long to be filled for a part is not asked for in whole again.
const UNFILLABLE_FOR: Duration = Duration::from_secs(600);
const UNSTORABLE_FOR: Duration = Duration::from_secs(2);

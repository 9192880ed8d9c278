//! The cache of one worker: its policy, its stores, and what it knows of the others.

mod coding;
mod coherence;
mod failures;
mod fills;
mod holdings;
mod insight;
mod nowhere;
mod origins;
mod purging;
mod refreshes;
mod remembered;
mod remote;
mod revalidation;
mod warming;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use coherence::Change;
pub use failures::{AnsweredBy, Failure};
pub use fills::{FillEnd, FillId, Turn};
pub use holdings::Holdings;
pub use nowhere::Nowhere;
pub use origins::{Admitted, OriginNews, OriginOpen, OriginTurn};
use purging::Judged;
use remembered::Remembered;
pub use revalidation::Revalidation;
pub(crate) use warming::Warmed;

use crate::coding::inflated::Inflated;
use crate::exchange::Refresh;
use crate::fields::Fields;
use crate::key;
use crate::policy::{Cookies, Policy, Rule};
use crate::purge::gate::Gate;
use crate::purge::log::Log;
use crate::purge::ring::Ring;
use crate::purge::spread::Spread;
use crate::remote::breaker::Latency;
use crate::remote::queue::{Queue, Task};
use crate::request::Request;
use crate::stats::{Stats, Word};
use crate::store::Slot;
use crate::store::node::{NodeLimits, NodeStore, SharedData};
use crate::store::record::{self, Verify};
use crate::store::response::{StoredResponse, Terms};
use crate::store::table::{Limits, Table, Weigh as _};
use crate::store::variants::VariantIndex;
use crate::time::Timestamp;

/// What the host answers at once.
pub trait Host: SharedData {
    /// Whether the response at hand came from the origin, and was not made here because it could not be reached.
    fn origin_answered(&mut self) -> bool;

    /// The name of the cluster that the request at hand went to, if the host knows.
    fn cluster_name(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The address that the request at hand came from, if it is known.
    fn peer(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Microseconds by a clock that need not tell the time of day: for durations only. A host without one gives 0.
    fn micros(&mut self) -> u64 {
        0
    }

    /// Writes a line down for operators.
    fn note(&mut self, _line: &str) {}

    /// The value of a counter or gauge, of all workers together. A host that keeps none gives 0.
    fn metric(&mut self, _word: Word) -> u64 {
        0
    }

    /// The same for a metric that each rule has its own of ([`by_rule`](crate::stats::list::Family::by_rule)).
    fn rule_metric(&mut self, _rule: &str, _word: Word) -> u64 {
        0
    }
}

/// The surroundings of one event.
pub struct Moment<'a> {
    /// The time of the event.
    pub now: Timestamp,
    /// The host.
    pub host: &'a mut dyn Host,
}

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

/// The cache of one worker.
pub struct Cache {
    policy: Rc<Policy>,
    table: Table<Slot>,
    node: NodeStore,
    /// Identity forms of compressed responses.
    inflated: Inflated,
    /// Counters since they were last taken.
    pub stats: Stats,
    /// Evictions from the table that have been counted.
    evictions_counted: u64,
    /// Bytes of bodies that are being stored at this moment.
    filling: usize,
    /// Stale responses that were served, by hash: `Some` while a request validates one.
    revalidations: BTreeMap<u128, Option<Timestamp>>,
    /// What was invalidated lately, and up to when the list may have gaps.
    invalidated: VecDeque<(u128, Timestamp)>,
    forgotten_until: Timestamp,
    /// Keys that this worker put into the node store since it last learnt of changes.
    put_since_learning: Vec<u128>,
    next_audit: Timestamp,
    remote_queue: Queue,
    /// How long the origin takes to begin its answers to GET; the remote store should be faster.
    origin_latency: Latency,
    /// What the remote store has just given, while its request is settled: no other store need have taken it.
    adopted: Vec<(u128, Slot)>,
    /// Keys whose responses were not storable lately.
    unstorable: Remembered,
    changes_to_tell: bool,
    /// What was purged, and how far the other workers' purges were read.
    purges: Log,
    purge_ring: Ring,
    /// Purges for and of the other nodes.
    spread: Spread,
    purge_ids: purging::Ids,
    gate: Gate,
    fills: fills::Fills,
    /// Keys for which the origin failed lately, each at the place its hash gives it.
    failures: Vec<(u128, Timestamp, Failure)>,
    origins: origins::Origins,
    /// What is fetched before a client asks for it.
    warming: warming::Warming,
    refreshes: VecDeque<Refresh>,
    /// Refreshes about which the remote store is to be asked.
    questions: VecDeque<Refresh>,
    /// Keys that this worker renews.
    refreshing: BTreeSet<u128>,
    insight: insight::Insight,
    /// The last of the random numbers that decide on early refreshes.
    draws: u64,
    /// Buffers that requests pass on to each other, so that a hit takes no memory.
    pub(crate) scratch: Scratch,
}

/// What is under way or waits at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tasks that wait for the remote store.
    pub remote_queue: usize,
    /// Purges of which the fleet has not been told.
    pub purge_queue: usize,
    /// Fetches under way that others may wait for.
    pub fills: usize,
    /// Requests that wait for one.
    pub waiters: usize,
    /// Bytes of bodies that are being stored.
    pub filling_bytes: usize,
}

/// Buffers used again from request to request.
#[derive(Default)]
pub(crate) struct Scratch {
    pub key: Vec<u8>,
    pub variant: Vec<u8>,
    pub status: Vec<u8>,
    pub reply: Vec<u8>,
}

impl Cache {
    /// An empty cache under `policy`.
    pub fn new(policy: Rc<Policy>) -> Self {
        let worker = &policy.worker;
        let inflated_bytes = worker.inflated_bytes;
        let origins = origins::Origins::new(policy.rules().count());
        let remote_queue = Queue::new(policy.remote.queue_bytes, policy.remote.queue_entries);
        let table = Table::new(Limits {
            bytes: worker.bytes,
            entries: worker.entries,
            object_bytes: worker.object_bytes,
        });
        // Without a budget it stores nothing, and still tells the workers what changes.
        let buckets = u32::try_from(policy.node.buckets).unwrap_or(u32::MAX);
        let node = NodeStore::new(NodeLimits::within(policy.node.bytes, policy.node.object_bytes, buckets));
        let purges = Log::new(policy.namespace);
        let warming = warming::Warming::new(&policy);
        Self {
            policy,
            table,
            node,
            inflated: Inflated::new(inflated_bytes),
            stats: Stats::default(),
            evictions_counted: 0,
            filling: 0,
            revalidations: BTreeMap::new(),
            invalidated: VecDeque::new(),
            forgotten_until: Timestamp::default(),
            put_since_learning: Vec::new(),
            next_audit: Timestamp::default(),
            remote_queue,
            origin_latency: Latency::new(ORIGIN_HALF_LIFE),
            adopted: Vec::new(),
            unstorable: Remembered::default(),
            changes_to_tell: false,
            purges,
            purge_ring: Ring::default(),
            spread: Spread::default(),
            purge_ids: purging::Ids::default(),
            gate: Gate::default(),
            fills: fills::Fills::default(),
            failures: Vec::new(),
            origins,
            warming,
            refreshes: VecDeque::new(),
            questions: VecDeque::new(),
            refreshing: BTreeSet::new(),
            insight: insight::Insight::default(),
            draws: 0,
            scratch: Scratch::default(),
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Rc<Policy> {
        &self.policy
    }

    /// Who is an operator. Nobody, before this is called.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Who is an operator.
    pub(crate) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Entries and bytes in the worker store.
    pub fn worker_usage(&self) -> (usize, usize) {
        (self.table.len(), self.table.bytes())
    }

    /// Entries of the node store, as this worker's audits have counted them, and its bytes. Both are 0 before the first use.
    pub fn node_usage(&mut self, moment: &mut Moment<'_>) -> (u64, u64) {
        self.node.usage(moment.host)
    }

    /// What is under way or waits, for gauges.
    pub fn load(&self) -> Load {
        let (fills, waiters) = self.fills_under_way();
        let (remote_queue, purge_queue) = (self.remote_queue.len(), self.spread.waiting());
        Load { remote_queue, purge_queue, fills, waiters, filling_bytes: self.filling }
    }

    /// Bytes that the policy lets the stores and queues of this worker take.
    pub fn worker_budget(&self) -> usize {
        let worker = &self.policy.worker;
        let remote = &self.policy.remote;
        let queue = if remote.enabled { remote.queue_bytes } else { 0 };
        [worker.filling_bytes, worker.inflated_bytes, queue]
            .into_iter()
            .fold(worker.bytes, usize::saturating_add)
    }

    /// Counts what has left the stores since the last time.
    pub fn count_departures(&mut self) {
        let evictions = self.table.evictions();
        self.stats.add("evicted", "worker", evictions.saturating_sub(self.evictions_counted));
        self.evictions_counted = evictions;
        let left = self.node.take_departures();
        self.stats.add("evicted", "node", left.evicted);
        self.stats.add("expired", "node", left.expired);
    }

    /// The largest response any store takes, in bytes.
    pub fn largest_object(&self) -> usize {
        let remote = &self.policy.remote;
        let remote = if remote.enabled { remote.object_bytes } else { 0 };
        self.policy.worker.object_bytes.max(self.policy.node.object_bytes).max(remote)
    }

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
            && !stored.freshness(moment.now).is_stale()
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
            (Found::Response { stored: ours, .. }, Found::Response { stored: theirs, .. }) => {
                // Of the same millisecond, the node's is the one that was stored last.
                if theirs.schedule.received >= ours.schedule.received { shared } else { local }
            }
            (Found::Response { .. }, _)
            | (Found::OtherVariants { .. } | Found::Purged { .. }, Found::Nothing) => local,
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
            Slot::Response(stored) if stored.may_answer(request, rule) => {
                return self.unless_purged(hash, stored, tier);
            }
            Slot::Response(_) => return Found::OtherVariants { wanted: None },
            Slot::Index(index) => index,
        };
        let mut variant_key = std::mem::take(&mut self.scratch.variant);
        let mut found = Found::OtherVariants { wanted: None };
        if let Some(hash) = index.select(request.fields, &mut variant_key) {
            found = Found::OtherVariants { wanted: Some(hash) };
            let mut purged = false;
            let mut judge = |cache: &mut Self, slot| match cache.judged(hash, slot) {
                Judged::Stands(slot) => Some(slot),
                Judged::Gone => {
                    purged = true;
                    None
                }
            };
            let local = self.local(hash, &variant_key).and_then(|slot| judge(self, slot));
            let stale =
                |slot: &Slot| matches!(slot, Slot::Response(old) if old.freshness(moment.now).is_stale());
            let (slot, tier) = match local {
                Some(slot) if !stale(&slot) => (Some(slot), tier),
                // Another worker may have stored or freshened this variant since.
                local => match self.shared(hash, &variant_key, moment).and_then(|slot| judge(self, slot)) {
                    Some(slot) => (Some(slot), Tier::Node),
                    None => (local, tier),
                },
            };
            match slot {
                Some(Slot::Response(stored)) if stored.may_answer(request, rule) => {
                    found = Found::Response { stored, tier, hash };
                }
                None if purged => found = Found::Purged { hash },
                _ => {}
            }
        }
        self.scratch.variant = variant_key;
        found
    }

    fn unless_purged(&mut self, hash: u128, stored: Rc<StoredResponse>, tier: Tier) -> Found {
        match self.judged(hash, Slot::Response(stored)) {
            Judged::Stands(Slot::Response(stored)) => Found::Response { stored, tier, hash },
            Judged::Stands(Slot::Index(_)) | Judged::Gone => Found::Purged { hash },
        }
    }

    /// Remembers for a while that responses for the key are not storable, so that requests for it do not look
    /// for one in the node store each time. A worker that stores one all the same serves it by itself.
    pub fn note_unstorable(&mut self, hash: u128, now: Timestamp) {
        self.unstorable.note(hash, now.plus(UNSTORABLE_FOR));
    }

    fn is_known_unstorable(&self, hash: u128, now: Timestamp) -> bool {
        self.unstorable.knows(hash, now)
    }

    fn local(&mut self, hash: u128, key: &[u8]) -> Option<Slot> {
        if let Some(slot) = self.table.get(hash).filter(|slot| slot.key() == key) {
            return Some(slot.clone());
        }
        let adopted = self.adopted.iter().find(|(adopted, slot)| *adopted == hash && slot.key() == key);
        adopted.map(|(_, slot)| slot.clone())
    }

    /// Reads from the node store and keeps what it finds in this worker too.
    fn shared(&mut self, hash: u128, key: &[u8], moment: &mut Moment<'_>) -> Option<Slot> {
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
        let previous = self.local(hash, &response.key).or_else(|| {
            let key = Rc::clone(&response.key);
            self.shared(hash, &key, moment)
        });
        let previous = previous.filter(|slot| !self.holds_purged(slot));
        self.revalidations.remove(&hash);
        let local_only = response.terms.contains(Terms::LOCAL);
        if names.is_empty() {
            // A slow response may be older than the one that has come meanwhile.
            let slack = Duration::from_secs(1);
            if let Some(Slot::Response(present)) = &previous
                && present.schedule.born > response.schedule.born.plus(slack)
                && !present.freshness(moment.now).is_stale()
            {
                return;
            }
            let replaced_fresh = match &previous {
                Some(Slot::Response(old)) => !old.freshness(moment.now).is_stale(),
                Some(Slot::Index(_)) => true,
                None => false,
            };
            self.put(hash, Slot::Response(Rc::new(response)), local_only, moment);
            if replaced_fresh {
                self.tell(hash, Change::Replaced, moment);
            }
            return;
        }
        let mut index = match previous {
            Some(Slot::Index(index)) => VariantIndex::clone(&index),
            Some(Slot::Response(_)) => {
                self.tell(hash, Change::Replaced, moment);
                VariantIndex::new(Rc::clone(&response.key), moment.now)
            }
            None => VariantIndex::new(Rc::clone(&response.key), moment.now),
        };
        let mut variant_key = std::mem::take(&mut self.scratch.variant);
        index.variant_key(&names, request, &mut variant_key);
        let variant_hash = key::hash(&variant_key);
        response.key = Rc::from(variant_key.as_slice());
        self.scratch.variant = variant_key;
        self.revalidations.remove(&variant_hash);
        let replaced_fresh = matches!(self.table.peek(variant_hash),
            Some(Slot::Response(old)) if !old.freshness(moment.now).is_stale());
        self.put(variant_hash, Slot::Response(Rc::new(response)), local_only, moment);
        for displaced in index.add(names.into(), variant_hash, self.policy.worker.variants) {
            self.forget(displaced, moment);
        }
        self.put(hash, Slot::Index(Rc::new(index)), local_only, moment);
        if replaced_fresh {
            self.tell(variant_hash, Change::Replaced, moment);
        }
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
        let newer =
            |slot: &Slot| matches!(slot, Slot::Response(r) if r.schedule.received > old.schedule.received);
        let present = present.filter(|slot| !self.holds_purged(slot));
        if present.as_ref().is_some_and(newer) {
            return false;
        }
        let local_only = response.terms.contains(Terms::LOCAL);
        self.put(hash, Slot::Response(response), local_only, moment);
        if !old.freshness(moment.now).is_stale() {
            self.tell(hash, Change::Replaced, moment);
        }
        true
    }

    #[expect(clippy::too_many_arguments, reason = "a variant depends on request, response and rule")]
    /// The fields that select among the responses of this URI: those of `Vary`, as the rule changes them, and
    /// `Cookie` where it isolates.
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

    fn put(&mut self, hash: u128, slot: Slot, local_only: bool, moment: &mut Moment<'_>) {
        let expires = match &slot {
            Slot::Response(stored) => stored.dead_at(),
            Slot::Index(_) => moment.now.plus(KEEP_INDEX),
        };
        self.put_local(hash, slot.clone(), expires, moment);
        if self.policy.remote.enabled && !local_only {
            let record = record::encode(&slot);
            let ttl_seconds = expires.since(moment.now).as_secs().max(1);
            if record.len() <= self.policy.remote.object_bytes {
                self.remote_queue.push(Task::Replicate { hash, record, ttl_seconds });
            }
        }
    }

    fn put_local(&mut self, hash: u128, slot: Slot, expires: Timestamp, moment: &mut Moment<'_>) {
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

    fn forget(&mut self, hash: u128, moment: &mut Moment<'_>) {
        self.table.remove(hash);
        self.node.remove(moment.host, hash, moment.now.as_millis());
    }

    /// A little housekeeping: drops dead entries and lets the node store check its account.
    pub fn sweep(&mut self, moment: &mut Moment<'_>) {
        let now = moment.now;
        let swept = self.table.sweep(SWEEP_STEPS, |slot| match slot {
            Slot::Response(stored) => stored.dead_at() < now,
            Slot::Index(_) => false,
        });
        self.stats.add("expired", "worker", swept as u64);
        if now >= self.next_audit {
            self.node.audit(moment.host, now.as_millis(), 1);
            // A region grows with the number of buckets; the audit's share of the time does not.
            let regions = self.node.buckets().unwrap_or(0) / BUCKETS_AUDITED_A_SECOND + 1;
            self.next_audit = now.plus(Duration::from_secs(u64::from(regions.div_ceil(32))));
        }
    }

    /// Takes `bytes` of the room for bodies that are being stored. `false` if there is not enough.
    pub fn begin_filling(&mut self, bytes: usize) -> bool {
        let wanted = self.filling.saturating_add(bytes);
        if wanted > self.policy.worker.filling_bytes {
            return false;
        }
        self.filling = wanted;
        true
    }

    /// Gives room back.
    pub fn end_filling(&mut self, bytes: usize) {
        self.filling = self.filling.saturating_sub(bytes);
    }
}

/// After this long an answer of the origin counts half as much in its average.
const ORIGIN_HALF_LIFE: Duration = Duration::from_secs(5);
/// How long the node store keeps an index of variants after its last change.
const KEEP_INDEX: Duration = Duration::from_secs(24 * 3600);
const UNSTORABLE_FOR: Duration = Duration::from_secs(2);
/// Table slots looked at in one sweep.
const SWEEP_STEPS: usize = 256;
/// Buckets of the node store whose account is checked in a second, about.
const BUCKETS_AUDITED_A_SECOND: u32 = 128;

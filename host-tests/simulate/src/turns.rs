//! What requests wait for: the fetch of what they select, and never one that may be their own.

use selvage_engine::cache::{Asker, Found, Moment};
use selvage_engine::fields::Fields;
use selvage_engine::key::{self, KeyBuilder};
use selvage_engine::request::Request;
use selvage_engine::time::Timestamp;

use crate::client::{Ask, block, path};
use crate::events::VmId;
use crate::host::{self, Envoy, Given};
use crate::node::Class;
use crate::streams::{Phase, Stream, context_of};
use crate::world::World;

impl World {
    /// The canonical key of a page, and its hash.
    pub fn key_of(&self, page: usize) -> (Vec<u8>, u128) {
        let policy = &self.setting.policy;
        let (index, rule) = policy.rule_for(b"", b"", b"");
        let mut key = Vec::new();
        let mut builder = KeyBuilder::new(&mut key);
        builder.resource(b"https", b"example.com", path(page).as_bytes(), &rule.key.query);
        builder.scope(policy.scope(index));
        let hash = key::hash(&key);
        (key, hash)
    }

    /// The hash of what a fetch for a request would bring, by what is stored now: the key's, or the variant's once what
    /// selects among them is known. The request has just been settled, so looking once more changes nothing.
    pub fn turn_of(&mut self, vm: VmId, page: usize, head: &[u8]) -> u128 {
        let key = self.key_of(page).1;
        let turn = match self.found(vm, page, head) {
            Some(Found::Response { hash, .. } | Found::Purged { hash }) => hash,
            Some(Found::OtherVariants { wanted: Some(hash), .. }) => hash,
            Some(Found::OtherVariants { turn, .. }) => turn,
            Some(Found::Nothing) | None => key,
        };
        if turn == key {
            self.index_known.remove(&(vm, page));
        } else {
            self.index_known.entry((vm, page)).or_insert(self.now);
        }
        turn
    }

    /// The hash of the stored response that a request of the cache's own renews. Not known once that is gone.
    pub fn renewed(&mut self, vm: VmId, page: usize, head: &[u8]) -> Option<u128> {
        match self.found(vm, page, head) {
            Some(Found::Response { hash, .. }) => Some(hash),
            _ => None,
        }
    }

    /// Whether what a request waits for is what one with another language, theme or user would fetch. If it is nobody's, the index that
    /// it was known by has just been exchanged.
    fn is_of_others(&mut self, id: usize, awaited: u128) -> bool {
        let Stream { vm, ask, .. } = &self.streams[id];
        let (vm, ask) = (*vm, ask.clone());
        let others = (0..32).map(|n| Ask {
            language: n / 8,
            theme: n / 4 % 2,
            user: n % 4,
            authorization: false,
            ..ask.clone()
        });
        let class = |ask: &Ask| Class { authorization: false, ..ask.class() };
        let mut others = others.filter(|other| class(other) != class(&ask));
        others.any(|other| {
            let head = other.head();
            let head = block(head.iter().map(|(name, value)| (&**name, &**value)));
            self.turn_of(vm, other.page, &head) == awaited
        })
    }

    /// Whether the worker takes it that what such a request fetches is not to be shared.
    pub fn is_unshared(&mut self, vm: VmId, turn: u128, head: &[u8]) -> bool {
        let policy = self.setting.policy.clone();
        let (_, rule) = policy.rule_for(b"", b"", b"");
        let request = Request::read(Fields::parse(head).unwrap_or_default(), false);
        let now = Timestamp::from_millis(host::with(|hosts| hosts.now));
        let vm = &mut self.nodes[vm.node].workers[vm.worker].vm;
        vm.caches().any(|cache| cache.is_unshared(turn, &Asker::of(&request, rule), now))
    }

    fn found(&mut self, vm: VmId, page: usize, head: &[u8]) -> Option<Found> {
        let (key, hash) = self.key_of(page);
        let policy = self.setting.policy.clone();
        let (_, rule) = policy.rule_for(b"", b"", b"");
        let request = Request::read(Fields::parse(head).unwrap_or_default(), false);
        let VmId { node, worker, .. } = vm;
        host::enter(Given { node, worker, ..Given::default() });
        let vm = &mut self.nodes[node].workers[worker].vm;
        let found = vm.caches().next().map(|cache| {
            let now = Timestamp::from_millis(host::with(|hosts| hosts.now));
            let mut moment = Moment { now, host: &mut Envoy::new() };
            cache.find(&key, hash, &request, rule, &mut moment)
        });
        host::leave(|_| false);
        found
    }

    /// A request has just been settled: if it waits, may it?
    pub fn check_waits(&mut self, id: usize) {
        let Stream { vm, phase, ask, .. } = &self.streams[id];
        let (vm, page) = (*vm, ask.page);
        if *phase != Phase::Held {
            return;
        }
        let Some(awaited) = self.nodes[vm.node].workers[vm.worker].vm.awaits(context_of(id)) else { return };
        // For a place at the origin it may, and for a quota.
        let bounded =
            self.streams[id].queued.is_some() || self.streams[id].leases || self.waits_for_quota(id);
        if ask.nested && !bounded && !self.waits_for_place(id) {
            return self.violate(NESTED, format!("stream {id} waits"));
        }
        let Some(awaited) = awaited else { return };
        self.summary.parked += 1;
        // What selects among answers is in the key alone.
        if self.tenants.is_some() {
            return;
        }
        let head = &self.streams[id].head;
        let head = block(head.iter().map(|(name, value)| (&**name, &**value)));
        let known = self.index_known.get(&(vm, page)).copied();
        let own = self.turn_of(vm, page, &head);
        // Its first look may have brought the index from the node.
        let new = known.is_none_or(|since| self.now <= since + self.setting.staleness());
        let any = awaited == self.key_of(page).1;
        if awaited == own || any && new {
            return;
        }
        // One answer of Redis is for several streams: what it brought the next may be another index than this one chose by.
        if self.redis_answering && self.others_follow {
            return;
        }
        if any || self.is_of_others(id, awaited) {
            let what = if any { "any variant" } else { "another variant" };
            self.violate(VARIANT, format!("stream {id} waits for {what} of page {page}"));
        }
    }
}

const NESTED: &str = "a nested request never waits";
const VARIANT: &str = "a request never waits for a fill of another variant";

//! One fetch for all: who goes to the origin, and whether somebody was there for it already.

use crate::client;
use crate::events::VmId;
use crate::node::{By, Fetch};
use crate::redis::Command;
use crate::streams::{Phase, Stream, context_of};
use crate::world::World;

impl World {
    /// A request that might have waited goes to the origin: is nobody there for it already?
    pub fn check_one_fetch(&mut self, id: usize) {
        let now = self.now;
        let fetching = self.redis_said_fetching && self.redis_answering;
        let stream = &mut self.streams[id];
        let since = stream.turn.take().unwrap_or(now);
        let (page, vm, wait) = (stream.ask.page, stream.vm, self.setting.wait);
        if !stream.ask.may_lead() {
            return;
        }
        let head = client::block(stream.head.iter().map(|(name, value)| (&**name, &**value)));
        let known = self.index_known.get(&(vm, page)).copied();
        // What it was found to lead for may be gone by now.
        let leads = self.nodes[vm.node].workers[vm.worker].vm.leads(context_of(id));
        let turn = leads.unwrap_or_else(|| self.turn_of(vm, page, &head));
        self.nodes[vm.node].turns.insert(turn, now);
        let stream = &mut self.streams[id];
        let (node, identified, polled) = (vm.node, stream.ask.is_identified(), stream.polled);
        let (adopted, led) = (stream.adopted, stream.led.take());
        // It has waited as often or as long as it may.
        let waited = stream.wakes >= MOST_WAITS || now >= stream.begun + wait;
        let stream = &self.streams[id];
        if !stream.ask.coalesces() || stream.alone || self.is_free(node, page, identified, since) {
            return;
        }
        if fetching && stream.polls_since.is_some_and(|since| now + LONGEST_POLL < since + wait) {
            return self
                .violate(ONE_CLAIM, format!("stream {id} fetches page {page} though another Envoy does"));
        }
        // One that has asked Redis again stays the leader of what it began to lead.
        // So does one that knows of an index which the stores of the node have not taken.
        // And the first look of a worker may have been at an older one.
        let varies = turn != self.key_of(page).1;
        let changed = led.is_some_and(|led| led != turn || varies)
            || varies && known.is_none_or(|known| now <= known + self.setting.staleness());
        let unknown = adopted || changed || polled && varies;
        if !waited && !unknown && !self.is_unshared(vm, turn, &head) {
            let fetch = Fetch { by: By::Stream(id), turn, since, lasts: wait };
            self.check_other(node, page, fetch);
        }
    }

    /// Whether such a request need not wait for others: what they brought was not to be shared, or takes long.
    fn is_free(&self, node: usize, page: usize, identified: bool, at: u64) -> bool {
        let known = |identified| self.nodes[node].not_storable.get(&(page, identified));
        let unshared = |identified| known(identified).is_some_and(|until| at < *until);
        let slow = |id: usize| {
            let stream = &self.streams[id];
            stream.ask.page == page && (stream.vm.node == node || self.setting.remote) && self.is_slow(id)
        };
        let any_slow = || {
            let first = || self.streams.len() - self.recent().count();
            self.pages[page].slow > 0 && (first()..self.streams.len()).rev().any(slow)
        };
        unshared(false) || identified && unshared(true) || any_slow()
    }

    /// Whether nobody may be waiting any more for the body of a response that has begun.
    pub fn is_slow(&self, id: usize) -> bool {
        let Stream { phase, head_at, .. } = &self.streams[id];
        *phase == Phase::Relaying && head_at.is_some_and(|at| self.now >= at + self.setting.body_wait)
    }

    /// The cache renews a page by itself.
    pub fn check_one_refresh(&mut self, node: usize, page: usize, identified: bool, fetch: Fetch) {
        if !self.is_free(node, page, identified, self.now) {
            self.check_other(node, page, fetch);
        }
    }

    fn check_other(&mut self, node: usize, page: usize, fetch: Fetch) {
        // To a worker whose clock is ahead it has ended earlier.
        let apart = self.setting.crowd.apart * self.setting.workers as u64;
        let overlap = |one: &Fetch, other: &Fetch| one.since + apart < other.since + other.lasts;
        // One that waited for a place at the origin may have begun long before the other, and have had no lease any more.
        let meets =
            |other: &&Fetch| other.turn == fetch.turn && overlap(&fetch, other) && overlap(other, &fetch);
        let fetches = self.nodes[node].fetches.entry(page).or_default();
        let other = fetches.iter().find(meets).copied();
        self.nodes[node].turns.insert(fetch.turn, self.now);
        // Of two keys that meet in a place for leases one is fetched without.
        let lasts = self.setting.wait.max(self.setting.refresh_timeout);
        let apart = |turn: &u128, at: &u64| {
            *turn != fetch.turn && turn % PLACES == fetch.turn % PLACES && self.now < at + lasts
        };
        let met = self.nodes[node].turns.iter().any(|(turn, at)| apart(turn, at));
        if met {
            return;
        }
        self.nodes[node].fetches.entry(page).or_default().push(fetch);
        if let Some(other) = other {
            self.violate(ONE_FETCH, format!("page {page} on node {node}: {fetch:?}, and there is {other:?}"));
        }
    }

    /// Nobody waits any more for what somebody fetches.
    pub fn fetch_ended(&mut self, node: usize, page: usize, by: By) {
        if let Some(fetches) = self.nodes[node].fetches.get_mut(&page) {
            fetches.retain(|fetch| fetch.by != by);
        }
    }

    /// A VM has died, and with it what it knew of its fetches.
    pub fn forget_fetches(&mut self, vm: VmId) {
        let (streams, refreshes) = (&self.streams, &self.refreshes);
        for fetches in self.nodes[vm.node].fetches.values_mut() {
            fetches.retain(|fetch| match fetch.by {
                By::Stream(id) => streams[id].vm != vm,
                By::Refresh(id) => refreshes[id].vm != vm,
            });
        }
    }

    /// The filter may have nothing more to do with a stream, though its response goes on.
    pub fn check_fetch_ended(&mut self, id: usize) {
        if !self.keeps(id) {
            let Stream { ask, vm, .. } = &self.streams[id];
            self.fetch_ended(vm.node, ask.page, By::Stream(id));
        }
    }

    /// Takes note if the answer to a stream is not stored, so that the next ones need not wait.
    pub fn note_storable(&mut self, id: usize) {
        let Stream { ask, vm, cache_status, answer, .. } = &self.streams[id];
        let stored = cache_status.split("; ").any(|part| part == "stored");
        // After an error one of the others asks again, as after a confirmation of what was invalidated meanwhile.
        let failed =
            answer.as_ref().is_some_and(|answer| answer.status >= 400 && !matches!(answer.status, 404 | 410));
        let again = failed || !stored && cache_status.ends_with("detail=validated");
        // What was stale on its way is shared by those who waited, unless it is to be confirmed before each use.
        if ask.may_lead() && !again && (!stored || self.pages[ask.page].lifetime == 0) {
            self.exempt(vm.node, ask.page, !stored && ask.is_identified());
        }
    }

    /// For a while nobody need wait for a page: an answer was not storable. `identified`: nobody of those who show
    /// credentials, since it was an answer to one of them.
    pub fn exempt(&mut self, node: usize, page: usize, identified: bool) {
        self.note(|_| {
            let whom = if identified { "those with credentials" } else { "clients" };
            format!("{whom} of node {node} need not wait for page {page} for a while")
        });
        let until = self.now + NOT_STORABLE_FOR;
        let told = |at: usize| at == node || self.setting.remote;
        for (_, node) in self.nodes.iter_mut().enumerate().filter(|(at, _)| told(*at)) {
            // The claim tells the others, as late as its end.
            let until = until + if self.setting.remote { CLAIM_LASTS } else { 0 };
            node.not_storable.insert((page, identified), until);
        }
    }

    /// No proper answer will come to a call. A claim may have been left all the same, and its Envoy takes it away in the
    /// end; a deletion is repeated. Redis compares nothing when it deletes, so that may hit the claim of another Envoy,
    /// which costs one more fetch.
    pub fn note_unsure(&mut self, command: &Command) {
        self.trouble.push(self.now);
        self.quotas.unsure = true;
        for command in command.each() {
            if let Command::Claim { key, .. } | Command::Delete(key) = command {
                self.unsure.insert(key.clone(), self.now + CLAIMED_FOR);
            }
        }
    }

    /// A call is about to change Redis: it must not take away what another Envoy has claimed.
    pub fn check_claim(&mut self, vm: VmId, command: &Command, stream: Option<usize>, sent: u64) {
        match command {
            Command::Claim { claim, .. } => {
                if let Some(stream) = stream {
                    self.claims.insert(claim.clone(), stream);
                }
            }
            // One that was late on its way may meet anything: claims last longer than their fetch for that.
            Command::Delete(key) if self.now < sent + CLAIM_MARGIN => {
                let Some(claim) = self.redis.claim(key, self.now) else { return };
                let Some(owner) = self.claims.get(&claim).copied() else { return };
                let Stream { vm: of, ask, .. } = &self.streams[owner];
                // What empties Redis or deletes the key lets another Envoy claim before the first has done.
                let invalidated = self.headed.contains(&ask.page)
                    || self.nodes.iter().any(|node| node.invalidated.contains_key(&ask.page))
                    || self.nodes[vm.node].denied.contains(&ask.page)
                    // What is gone goes under all the hashes that a request may find it by, and not all that takes its place
                    // is sent to Redis.
                    || self.nodes[vm.node].replaced.contains_key(&ask.page);
                let unsure = self.unsure.get(key).is_some_and(|until| self.now < *until);
                if of.node != vm.node && !invalidated && !unsure && self.summary.flushed == 0 {
                    let text =
                        format!("{vm:?} deletes {claim}, which stream {owner} left for page {}", ask.page);
                    self.violate(FENCED, text);
                }
            }
            _ => {}
        }
    }
}

const ONE_FETCH: &str = "one request at a time fetches for all that may wait";
const ONE_CLAIM: &str = "one Envoy at a time fetches for all that may wait";
const FENCED: &str = "an Envoy ends its own claims only";
/// See `exchange/waiting.rs` of the engine.
const MOST_WAITS: u32 = 3;
/// See `exchange/polling.rs` of the engine: one that would ask again after its time goes at once.
const LONGEST_POLL: u64 = 90;
/// See `remote/claim.rs` of the engine.
const CLAIM_MARGIN: u64 = 100;
/// Longer than any claim, its fetch and the deletion.
const CLAIMED_FOR: u64 = 10_000;
/// See `cache/fills.rs` and `store/node/leases.rs` of the engine: ten seconds, and as long again on a worker that is told
/// late.
pub const NOT_STORABLE_FOR: u64 = 20_000;
/// See `store/node/leases.rs` of the engine.
const PLACES: u128 = 4096;
/// See `cache/remote.rs` of the engine.
const CLAIM_LASTS: u64 = 10_000;

//! Full answers of the origin: what they have taken the place of does not come back (RFC 9111 §4.3.3).

use crate::events::VmId;
use crate::node::{Class, Replacement};
use crate::origin::{Answer, Page, Stamp};
use crate::purges::SPREAD;
use crate::streams::Stream;
use crate::world::World;

impl World {
    /// What of a request makes a difference to a page.
    pub fn class(&self, page: usize, asked: Class) -> Class {
        let Page { by_language, by_theme, .. } = self.pages[page];
        let of = |matters, value| if matters { value } else { 0 };
        Class { language: of(by_language, asked.language), theme: of(by_theme, asked.theme), ..asked }
    }

    /// The head of a response has come. If that is not stored, it has removed what the request had found.
    pub fn note_replaced(&mut self, id: usize, answer: &Answer) {
        let Stream { ask, vm, cache_status, .. } = &self.streams[id];
        let stored = cache_status.split("; ").any(|part| part == "stored");
        // One that is about something else than what is stored removes that too (RFC 9111 §4.3.4).
        if answer.status == 304 && cache_status.contains("fwd=stale") {
            let (node, page) = (vm.node, ask.page);
            self.nodes[node].denied.insert(page);
        }
        if !stored {
            self.full_answer(id, answer, false);
        }
        if answer.ends_with_head() {
            if let Some(fetch) = self.streams[id].fetch {
                self.came[fetch] = Some(self.now);
            }
            self.note_stored(id, answer);
        }
    }

    /// A response is complete. If it is stored, it has replaced what was there.
    pub fn note_stored(&mut self, id: usize, answer: &Answer) {
        if self.streams[id].cache_status.split("; ").any(|part| part == "stored") {
            self.full_answer(id, answer, true);
        }
    }

    fn full_answer(&mut self, id: usize, answer: &Answer, stored: bool) {
        let Stream { ask, vm, begun, sent, cache_status, answers, .. } = &self.streams[id];
        // What another filter or Envoy itself says is no answer of the origin's, and what breaks off is none.
        let full = answer.status < 500 && answer.status != 304 && !answer.unreachable && !answer.cut;
        let is_stale = cache_status.contains("fwd=stale");
        // One with credentials removes nothing by its answer that is fresh for others.
        let speaks = is_stale || cache_status.contains("fwd=request") && !ask.is_identified();
        let (vm, page, begun, sent) = (*vm, ask.page, *begun, *sent);
        if ask.method == "GET" && full && speaks && self.lives(vm) && *answers <= 1 {
            let class = self.class(page, ask.class());
            self.replace(vm, page, class, (begun, sent), stored);
        }
    }

    /// A full answer has taken the place of what was stored for such requests.
    pub fn replace(&mut self, vm: VmId, page: usize, class: Class, (begun, sent): (u64, u64), stored: bool) {
        self.note(|_| {
            format!("an answer (stored: {stored}) takes the place of page {page} for {class:?} at {vm:?}")
        });
        self.summary.replaced += 1;
        if !stored {
            self.index_known.retain(|(_, known), _| *known != page);
        }
        let done = Replacement { at: self.now, vm, begun, sent, class, stored };
        self.nodes[vm.node].replaced.entry(page).or_default().push(done);
    }

    /// A response of the cache: was it stored before a full answer that has replaced it?
    pub fn check_replaced(&mut self, id: usize, stamp: &Stamp, cache_status: &str) {
        // All answers are of one version there, and the nodes are many.
        if self.fleet.is_some() {
            return;
        }
        let Stream { ask, vm, begun, .. } = &self.streams[id];
        let (vm, page, begun) = (*vm, ask.page, *begun);
        let Page { public, personal, by_theme, .. } = self.pages[page];
        // Other workers may serve their own copy as long as that is fresh. What is kept apart by some fields may stand beside
        // what is not; and of two nodes that store, each may be the last at Redis.
        let one_place = public && !personal && !by_theme && !self.setting.remote;
        let class = self.class(page, ask.class());
        let sent = self.sent.get(stamp.fetch).copied().unwrap_or(0);
        let Some(came) = self.came.get(stamp.fetch).copied().flatten() else { return };
        let confirmed = self.confirmed.get(&stamp.etag());
        let from_redis = cache_status.ends_with("detail=remote");
        let mut broken = None;
        for (node, known) in self.nodes.iter().enumerate() {
            let done = known.replaced.get(&page).into_iter().flatten().find(|done| {
                let within = match (node == vm.node, done.vm == vm) {
                    (true, true) => 0,
                    (true, false) => self.setting.staleness(),
                    // Redis does not give it to other nodes either.
                    (false, _) => self.setting.staleness() + SPREAD + 2 * self.setting.remote_timeout,
                };
                done.class == class
                    && (!done.stored || one_place && done.vm == vm && begun > done.at)
                    && sent < done.sent
                    && came < done.at
                    // Credentials take nothing away that has come fresh for others meanwhile.
                    && !((done.class.user > 0 || done.class.authorization) && came > done.begun)
                    && self.now > done.at + within
                    // Asked for later and confirmed, it is as good as new.
                    && !confirmed.into_iter().flatten().any(|sent| *sent >= done.sent)
            });
            let Some(done) = done else { continue };
            let excused = if node == vm.node {
                self.is_excused(node, page, stamp, done.at)
            } else {
                !from_redis || self.is_troubled(done.at) || self.is_had_elsewhere(node, page, done.at)
            };
            if !excused {
                broken = Some((node, *done));
            }
        }
        if let Some((node, done)) = broken {
            let text = format!(
                "stream {id} got {stamp:?}, there since {came} ms: {cache_status}, though node {node} had {done:?}"
            );
            self.violate(REPLACED, text);
        }
    }

    /// Whether calls to Redis may be late or lost about that time.
    fn is_troubled(&self, at: u64) -> bool {
        self.summary.restarted > 0 || self.trouble.iter().any(|trouble| *trouble + AFTER_TROUBLE > at)
    }

    /// Whether another node may have written the same to Redis since.
    fn is_had_elsewhere(&self, node: usize, page: usize, at: u64) -> bool {
        let mut others = self.nodes.iter().enumerate().filter(|(other, _)| *other != node);
        others.any(|(_, other)| {
            other.received.get(&page).into_iter().flatten().any(|(received, _)| *received + AROUND >= at)
        })
    }
}

const REPLACED: &str = "a stored response is never served after a full answer has replaced it";
/// What was lost is repeated for so long.
const AFTER_TROUBLE: u64 = 12_700;
/// A write of another node that is older has arrived.
const AROUND: u64 = 2_000;

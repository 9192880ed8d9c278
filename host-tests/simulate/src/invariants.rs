//! What must always hold of answers, memory and streams, and what must hold at the end.

use selvage_engine::fields::Fields;

use crate::events::{Event, VmId};
use crate::host;
use crate::node::By;
use crate::origin::Stamp;
use crate::purges::{STRIPPED, TAGS};
use crate::streams::{Phase, Stream};
use crate::world::World;

/// Something that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: &'static str,
    pub found: String,
}

impl World {
    /// Ends the run, if nothing else has before.
    pub fn violate(&mut self, invariant: &'static str, found: String) {
        self.note(|_| format!("VIOLATED: {invariant}: {found}"));
        self.violation.get_or_insert(Violation { invariant, found });
    }

    /// The cache answers a request: is it the right answer? `validated`: the origin has just had its say.
    pub fn respond(&mut self, id: usize, status: u16, fields: &[u8], body: &[u8], validated: bool) {
        let stream = &mut self.streams[id];
        let was = stream.phase;
        stream.answers += 1;
        let (answers, gone, vm, page) = (stream.answers, stream.client_gone, stream.vm, stream.ask.page);
        self.summary.answered += 1;
        if answers != 1 || gone || was == Phase::Over {
            self.violate(ONCE, format!("stream {id} has {answers} answers; its client has left: {gone}"));
        }
        let fields = Fields::parse(fields).unwrap_or_default();
        let show = |name: &[u8]| String::from_utf8_lossy(fields.get(name).unwrap_or_default()).into_owned();
        let line = show(b"cache-status");
        let validated_or_held = validated || self.streams[id].refetching;
        self.note(|_| format!("stream {id} gets {status} from the cache: {} {line}", show(b"x-stamp")));
        if fields.get(TAGS.as_bytes()).is_some() {
            self.violate(STRIPPED, format!("stream {id} got {TAGS} from the cache"));
        }
        let refused = self.check_refusal(id, status, &fields, &line);
        self.check_told(id, was, &fields);
        match fields.get(b"x-stamp").and_then(Stamp::parse) {
            _ if self.streams[id].purge.is_some() => self.purged(id, status),
            _ if self.streams[id].ask.question.is_some() => {
                let question = self.streams[id].ask.question;
                question
                    .into_iter()
                    .for_each(|question| self.check_tenant(id, question, (status, body), &line));
            }
            Some(stamp) => {
                self.check_purged(id, &stamp, &line, validated);
                self.check_owner(id, &stamp, status, Some(body));
                self.check_valid(id, &stamp, &line, validated);
            }
            None if refused || matches!(status, 304 | 416) => {}
            None if status == 503 && self.setting.breaker && line.contains("origin-open") => {}
            // The origin has confirmed what is not there any more, and cannot be asked for it.
            None if status == 503 && validated_or_held && line.contains("fwd-status=304") => {}
            None => self.violate(OWN, format!("stream {id} got {status} without a stamp: {line}")),
        }
        self.streams[id].cache_status = line;
        if was == Phase::Held {
            self.streams[id].phase = Phase::Relaying;
            let delay = self.dice.below(3);
            self.after(delay, Event::Sent { stream: id });
            self.fetch_ended(vm.node, page, By::Stream(id));
        }
    }

    /// The filter may have made a response of the cache's of the one at hand: the same is asked of that.
    pub fn check_made(&mut self, id: usize) {
        let (status, Some(stamp)) = self.streams[id].made.clone() else { return };
        let (status, line) = (status.unwrap_or(200), self.streams[id].cache_status.clone());
        self.note(|_| format!("stream {id} gets {status} from the cache, by way of the origin's: {line}"));
        self.summary.answered += 1;
        match Stamp::parse(&stamp) {
            Some(stamp) => {
                self.check_purged(id, &stamp, &line, true);
                self.check_owner(id, &stamp, status, None);
                self.check_valid(id, &stamp, &line, true);
            }
            None => self.violate(OWN, format!("stream {id} got {status} without a stamp: {line}")),
        }
    }

    fn check_owner(&mut self, id: usize, stamp: &Stamp, status: u16, body: Option<&[u8]>) {
        let Stream { ask, .. } = &self.streams[id];
        let Some(page) = self.pages.get(stamp.page) else {
            return self.violate(OWN, format!("stream {id} got {stamp:?}"));
        };
        let language = if page.by_language { ask.language } else { 0 };
        let user = if page.personal { ask.user } else { 0 };
        let wrong = stamp.page != ask.page || stamp.language != language || stamp.user != user;
        let content = stamp.content(page.bytes);
        let unseen = body.is_none();
        let body = body.unwrap_or(&[]);
        let expected = match (ask.method, status) {
            _ if unseen => body,
            ("GET", 200) => &content[..],
            ("GET", 206) => &content[..content.len().min(10)],
            _ => body,
        };
        if wrong {
            let text = format!("stream {id} asked {ask:?} and got {stamp:?}");
            self.violate(OWN, text);
        } else if expected != body {
            let text = format!("stream {id} got {} bytes of {}", body.len(), expected.len());
            self.violate(OWN, text);
        }
    }

    fn check_valid(&mut self, id: usize, stamp: &Stamp, line: &str, validated: bool) {
        let Stream { answer, .. } = &self.streams[id];
        // What the origin has just confirmed is as valid as what it sends.
        if validated && answer.as_ref().is_some_and(|answer| answer.status == 304) {
            return;
        }
        self.check_replaced(id, stamp, line);
        let Stream { ask, vm, .. } = &self.streams[id];
        let page = &self.pages[ask.page];
        if let Some(superseded) = page.published.get(stamp.version + 1) {
            let stale = (page.while_revalidate.max(page.if_error) * 1000).max(self.setting.disconnected);
            let until = superseded + self.setting.longest_answer() + page.lifetime * 1000 + stale + 2000;
            if self.now > until {
                let text = format!("stream {id} got {stamp:?}, of no use since {until} ms");
                return self.violate(LIFETIME, text);
            }
        }
        // What the origin has sent in answer to this very request is no stored response.
        if line.contains("; fwd-status=200") {
            return;
        }
        let known = &self.nodes[vm.node];
        let invalid = known.invalidated.get(&ask.page).into_iter().flatten().find(|done| {
            let bound = if done.worker == vm.worker { 0 } else { self.setting.staleness() };
            self.now > done.at + bound && stamp.version < done.version
        });
        if let Some(done) = invalid
            && !self.is_excused(vm.node, ask.page, stamp, done.at)
        {
            let text = format!("stream {id} got {stamp:?} in spite of {done:?}");
            self.violate(INVALID, text);
        }
    }

    /// Whether Redis may have brought back what this node invalidated: within the lifetime, that is allowed.
    ///
    /// Both are real limits of what one node's invalidation can do, and no shortcuts of the simulation: without Redis
    /// nothing is excused.
    pub fn is_excused(&self, node: usize, page: usize, stamp: &Stamp, invalidated: u64) -> bool {
        // A VM that dies takes its deletions with it, and the next one knows nothing of what was invalidated before it first
        // looked.
        let looked = self.setting.staleness();
        let restarted = self.nodes[node].restarted.is_some_and(|restarted| restarted + looked >= invalidated);
        // Another node may have got, or confirmed, the same version after that: to it, it is as good as new.
        let elsewhere = self.nodes.iter().enumerate().filter(|(other, _)| *other != node);
        let mut received = elsewhere.filter_map(|(_, other)| other.received.get(&page)).flatten();
        let confirmed = received.any(|(at, version)| *at >= invalidated && *version == stamp.version);
        self.setting.remote && (restarted || confirmed)
    }

    /// Whether a VM keeps anything of a stream.
    pub fn keeps(&self, id: usize) -> bool {
        let vm = self.streams[id].vm;
        self.lives(vm) && self.nodes[vm.node].workers[vm.worker].vm.keeps(crate::streams::context_of(id))
    }

    pub fn check_budgets(&mut self, node: usize, worker: usize) {
        let (most, limits) = (self.setting.policy.worker.bytes, self.setting.node_limits());
        let vm = &mut self.nodes[node].workers[worker].vm;
        let used = vm.caches().map(|cache| cache.worker_usage().1).max().unwrap_or(0);
        let (shared, values) =
            host::with(|hosts| (hosts.shared[node].data_bytes(), hosts.shared[node].count()));
        if used > most {
            self.violate(BUDGET, format!("{used} bytes in node {node} worker {worker}"));
        } else if shared as u64 > limits.bytes {
            self.violate(BUDGET, format!("{shared} bytes in the shared data of node {node}"));
        } else if values > MOST_VALUES {
            self.violate(BUDGET, format!("{values} values in the shared data of node {node}"));
        }
    }

    /// A VM counts no more waiters than there are.
    pub fn check_waiters(&mut self, id: VmId) {
        let vm = &mut self.nodes[id.node].workers[id.worker].vm;
        let counted: usize = vm.caches().map(|cache| cache.fills_under_way().1).sum();
        let kept = vm.kept().iter().find(|(word, _)| *word == "waiters").map_or(0, |(_, count)| *count);
        // A fleet that is measured has too many streams to count them at every tick.
        if counted == 0 && kept == 0 || self.fleet.is_some() {
            return;
        }
        let waits = |stream: &&Stream| stream.vm == id && stream.phase == Phase::Held;
        let there = self.recent().filter(waits).count();
        if counted > there {
            self.violate(LEFT, format!("{counted} waiters are counted in {id:?}, and {there} are there"));
        }
    }

    /// The streams that may not have been answered yet, the last first.
    pub fn recent(&self) -> impl Iterator<Item = &Stream> {
        let longest = self.setting.longest_request();
        self.streams.iter().rev().take_while(move |stream| self.now <= stream.begun + longest)
    }

    pub fn check_answered(&mut self, id: usize) {
        let stream = &self.streams[id];
        if stream.answers == 0 && !stream.client_gone {
            let text = format!("stream {id} of {} ms is {:?}", stream.begun, stream.phase);
            self.violate(HANGS, text);
        }
    }

    /// With everything drained.
    pub fn check_end(&mut self) -> Result<(), Violation> {
        for (id, stream) in self.streams.iter().enumerate() {
            let Stream { phase, answers, client_gone, .. } = stream;
            if *phase != Phase::Over || *answers > 1 || (*answers == 0 && !client_gone) {
                let found = format!("stream {id} is {phase:?} with {answers} answers");
                return Err(Violation { invariant: ONCE, found });
            }
        }
        for (at, node) in self.nodes.iter_mut().enumerate() {
            for (nth, worker) in node.workers.iter_mut().enumerate() {
                let id = VmId { node: at, worker: nth, life: worker.life };
                // It goes on asking for the purges of other nodes.
                let asked = self.unanswered.iter().filter(|(vm, _)| *vm == id).count();
                let allowed = |word: &str| if word == CALLS { asked } else { 0 };
                let mut kept = worker.vm.kept().into_iter().filter(|(word, count)| *count > allowed(word));
                let mut left = kept.next().map(|left| format!("{left:?}"));
                for cache in worker.vm.caches() {
                    if cache.fills_under_way() != (0, 0) {
                        left = Some(format!("{:?} fills and waiters", cache.fills_under_way()));
                    } else if cache.filling_bytes() + cache.waiting_bytes() > 0 {
                        left = Some("room for bodies that are stored, or for requests that wait".to_owned());
                    }
                }
                if let Some(left) = left {
                    let found = format!("node {at} worker {nth}: {left}");
                    return Err(Violation { invariant: LEFT, found });
                }
            }
            // A VM that died may have held some; these have ended by themselves.
            let leases = host::with(|hosts| hosts.shared[at].leases());
            if let Some(lease) = leases.first().filter(|_| node.restarted.is_none()) {
                let found = format!("node {at}: the lease {lease:x?}");
                return Err(Violation { invariant: LEFT, found });
            }
        }
        for node in 0..self.setting.nodes {
            for worker in 0..self.setting.workers {
                let vm = self.nodes[node].vm(node, worker);
                if let Some(found) = self.check_pools_at_end(vm) {
                    return Err(Violation { invariant: LEFT, found: format!("{vm:?}: {found}") });
                }
            }
        }
        Ok(())
    }
}

pub const ONCE: &str = "every request is answered exactly once, or its client has left";
const OWN: &str = "a response is the one that was asked for";
const INVALID: &str = "what was invalidated is not served";
const LIFETIME: &str = "nothing is served after its lifetime";
const HANGS: &str = "no request waits for ever";
const BUDGET: &str = "memory stays within its budget";
const LEFT: &str = "nothing is left behind";
/// See `kept` in `plugin/driver/src/vm.rs`.
const CALLS: &str = "calls to the remote store";
/// Values of shared data are never deleted: 16 buckets with their records, leases of at most a few pages and variants,
/// and some of each kind that there is one of.
const MOST_VALUES: usize = 16 * 256 + 256;

//! Calls into a VM, and what comes of them.

use selvage_driver::{Level, Map};
use selvage_engine::fields::Fields;

use crate::client::block;
use crate::events::{Event, VmId};
use crate::host::{self, Effect, Given, Vm};
use crate::invariants::ONCE;
use crate::purges::TAGS;
use crate::streams::{Phase, ROOT, context_of, stream_of};
use crate::world::World;

impl World {
    /// Whether a VM is still there.
    pub fn lives(&self, vm: VmId) -> bool {
        self.nodes[vm.node].workers[vm.worker].life == vm.life
    }

    /// Calls a VM, and does what it asks for.
    pub fn enter<R>(&mut self, id: VmId, given: Given, call: impl FnOnce(&mut Vm) -> R) -> R {
        let VmId { node, worker, .. } = id;
        let (context, during_response) = (given.context, !given.response.is_empty());
        let before_call = self.before_call(id);
        host::enter(Given { node, worker, ..given });
        let vm = &mut self.nodes[node].workers[worker].vm;
        let metered = self.fleet.is_some();
        let (before, shown) = (too_many(vm), if metered { heard(vm) } else { 0 });
        let result = call(vm);
        let (now, to_show) = (too_many(vm), if metered { heard(vm) } else { 0 });
        let left = host::leave(|metric| {
            matches!(metric, "selvage.coalesce.too-many-waiters" | "selvage.coalesce.too-many-fills")
        });
        let alone = now + left.counted - before > 0;
        if let Some(fleet) = &mut self.fleet {
            fleet.meter.heard(to_show + left.heard - shown, self.now);
        }
        if let Some(period) = left.tick {
            let worker = &mut self.nodes[node].workers[worker];
            worker.period = period;
            worker.armed += 1;
            self.next_tick(id);
        }
        if let Some(stream) = stream_of(context) {
            self.streams[stream].alone |= alone;
        }
        self.check_budgets(node, worker);
        let since = before_call.map(|before| self.after_call(id, &before));
        self.depth += 1;
        let last = left.effects.iter().rposition(|effect| matches!(effect, Effect::ActsFor { .. }));
        for (nth, effect) in left.effects.into_iter().enumerate() {
            self.note_through(since.as_ref());
            self.others_follow = last.is_some_and(|last| nth < last);
            self.happened(id, effect, alone, during_response);
        }
        self.depth -= 1;
        if let Some(since) = since {
            self.begin_to_queue(since);
        }
        if self.depth > 0 {
            return result;
        }
        self.note_leases(id);
        // What they ask waits for others' questions, and may come to nothing.
        for context in self.nodes[node].workers[worker].vm.gathered() {
            if let Some(stream) = stream_of(context).filter(|stream| !self.streams[*stream].gathered) {
                self.streams[stream].gathered = true;
                self.begins_to_ask(stream);
            }
        }
        result
    }

    fn happened(&mut self, vm: VmId, effect: Effect, alone: bool, during_response: bool) {
        match effect {
            Effect::Reply { context, status, fields, body } => {
                let Some(stream) = stream_of(context) else {
                    return self.violate(ONCE, format!("{vm:?} answers its root context"));
                };
                let held = self.streams[stream].refetching;
                self.respond(stream, status, &fields, &body, during_response && !held);
                if held && !during_response {
                    self.complete(stream);
                } else if !during_response {
                    self.pass_own_reply(stream, fields, body);
                }
            }
            Effect::Resume { context } => match stream_of(context) {
                Some(stream) if self.streams[stream].phase == Phase::Held => {
                    self.streams[stream].alone |= alone;
                    self.forward(stream);
                }
                _ => self
                    .violate(ONCE, format!("{vm:?} resumes the context {context}, which it does not hold")),
            },
            Effect::Field { context, map: Map::Request, name, value } => {
                let Some(stream) = stream_of(context) else { return };
                let head = &mut self.streams[stream].head;
                head.retain(|(known, _)| *known != name);
                head.extend(value.map(|value| (name, value)));
            }
            Effect::Field { context, map: Map::Response, name, value: Some(value) }
                if matches!(&*name, ":status" | "x-stamp") =>
            {
                let Some(stream) = stream_of(context) else { return };
                let made = &mut self.streams[stream].made;
                match &*name {
                    "x-stamp" => made.1 = Some(value),
                    _ => made.0 = String::from_utf8_lossy(&value).parse().ok(),
                }
            }
            Effect::Field { context, name, value: None, .. } if name == TAGS => {
                if let Some(stream) = stream_of(context) {
                    self.streams[stream].stripped = true;
                }
            }
            Effect::Field { context, name, value, .. } => {
                if let (Some(stream), Some(value), "cache-status") = (stream_of(context), value, &*name) {
                    self.streams[stream].cache_status = String::from_utf8_lossy(&value).into_owned();
                }
            }
            Effect::Call(call) => self.call_out(vm, call),
            Effect::Ring { queue } => self.ring(vm.node, queue),
            Effect::ActsFor { context } => {
                let Some(id) = stream_of(context) else { return };
                let stream = &mut self.streams[id];
                // It may be told that what it has asked was never sent.
                let asked = std::mem::take(&mut stream.gathered);
                // Or what Redis says of its quota.
                let leased = std::mem::take(&mut stream.leases);
                let polled = stream.polls_since.is_some() || stream.polls || asked || leased;
                stream.alone |= alone;
                let queued = stream.queued.take();
                stream.placed |= queued.is_some();
                let held = stream.phase == Phase::Held;
                if let Some(since) = queued {
                    self.placed(id, since);
                } else if held && !self.redis_answering && !polled {
                    let stream = &mut self.streams[id];
                    stream.wakes += 1;
                    stream.turn = None;
                    self.summary.waited += 1;
                    self.note(|_| format!("stream {id} is woken"));
                }
                self.check_waits(id);
            }
            Effect::ActsForGone { context } => {
                self.violate(GONE, format!("{vm:?} acts for the context {context}"));
            }
            Effect::Log { level, message } => {
                self.note(|_| format!("{vm:?} logs {level:?}: {message}"));
                if level == Level::Error {
                    self.violate("nothing is refused", message);
                }
            }
        }
    }

    fn ring(&mut self, node: usize, queue: u32) {
        let owner = host::with(|hosts| hosts.shared[node].owner(queue));
        let vm = self.nodes[node].vm(node, owner);
        if !self.dice.chance(self.setting.calls_lost) {
            let delay = self.dice.below(self.setting.call_delay + 1);
            self.after(delay, Event::Called { vm, queue });
        }
    }

    /// Does what is due now and then.
    pub fn tick(&mut self, vm: VmId, armed: u32) {
        let is_of_now = |world: &Self| world.nodes[vm.node].workers[vm.worker].armed == armed;
        if !self.lives(vm) || !is_of_now(self) {
            return;
        }
        let given = Given { context: ROOT, ..Given::default() };
        self.enter(vm, given, |vm| vm.tick(ROOT));
        self.check_waiters(vm);
        self.check_queue(vm);
        if is_of_now(self) {
            self.next_tick(vm);
        }
    }

    fn next_tick(&mut self, vm: VmId) {
        let worker = &self.nodes[vm.node].workers[vm.worker];
        let (period, armed) = (worker.period, worker.armed);
        let delay = match (self.setting.even, self.now) {
            (false, _) => period - self.dice.below(period / 4),
            // Not all nodes of a fleet have started at one moment.
            (true, 0) => self.dice.below(period),
            (true, _) => period + self.dice.below(2),
        };
        self.after(delay, Event::Tick { vm, armed });
    }

    /// A VM is called through its queue.
    pub fn called(&mut self, vm: VmId, queue: u32) {
        if self.lives(vm) {
            let given = Given { context: ROOT, ..Given::default() };
            self.enter(vm, given, |vm| vm.called(ROOT, queue));
        }
    }

    /// A reply of ours passes our own filter, as in Envoy.
    fn pass_own_reply(&mut self, stream: usize, fields: Vec<u8>, body: Vec<u8>) {
        let vm = self.streams[stream].vm;
        let context = context_of(stream);
        // A block without fields would look like no response at all.
        let response = Fields::parse(&fields)
            .filter(|fields| !fields.is_empty())
            .map_or_else(|| block([(":status", &b"200"[..])]), |_| fields.clone());
        let ends = body.is_empty();
        self.enter(vm, Given { context, response, ..Given::default() }, |vm| {
            vm.response_headers(context, ends)
        });
        if !ends {
            let size = body.len();
            let given = Given { context, body, ..Given::default() };
            self.enter(vm, given, |vm| vm.response_body(context, size, true));
        }
    }
}

/// How often requests were told that too many wait already, since the counters were last exported.
fn too_many(vm: &mut Vm) -> i64 {
    let count = |word, cache: &mut selvage_engine::cache::Cache| {
        cache.stats.words.get(&("coalesce", word)).copied().unwrap_or(0) as i64
    };
    vm.caches().map(|cache| count("too-many-waiters", cache) + count("too-many-fills", cache)).sum()
}

/// How often a VM has heard of a purge and not shown that yet.
fn heard(vm: &mut Vm) -> u64 {
    let of_purges = |(word, _): &&((&str, &str), u64)| word.0 == "propagation_ms";
    vm.caches().map(|cache| cache.stats.samples.iter().filter(of_purges).count() as u64).sum()
}

const GONE: &str = "nothing is done for a stream that is gone";

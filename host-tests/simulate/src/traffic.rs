//! Requests, responses and clients that leave.

use selvage_driver::Action;

use crate::client::{Ask, Asked, block, text_block};
use crate::events::Event;
use crate::host::{self, Given};
use crate::invariants::ONCE;
use crate::node::{By, Invalidation};
use crate::origin::Answer;
use crate::purges::{Purge, STRIPPED, TAGS};
use crate::streams::{Phase, Stream, context_of};
use crate::world::World;

impl World {
    /// A request comes.
    pub fn request(&mut self, page: usize) {
        let mut ask = Ask::random(&mut self.dice, page);
        if self.pages[page].etag && ask.method == "GET" && self.dice.chance(50) {
            let version = self.dice.below(self.pages[page].published.len() as u64) as usize;
            let stamp = self.stamp_for(page, version, ask.language, ask.user);
            ask.tag = Some(stamp.etag());
        }
        if self.setting.crowd.any() {
            ask.introduce(&mut self.dice);
            if self.setting.crowd.apart > 0 && ask.method == "POST" {
                ask.method = "GET";
            }
        }
        let (node, worker) = self.any_worker();
        self.begin_with(ask, None, Vec::new(), (node, worker));
    }

    /// A request comes back as it was sent on: to the same Envoy, or to any of the fleet that shares its stores.
    pub fn nested(&mut self, outer: usize) {
        let Stream { ask, vm, head, .. } = &self.streams[outer];
        let (ask, head, outer_node) = (Ask { nested: true, ..ask.clone() }, head.clone(), vm.node);
        let (any, worker) = self.any_worker();
        let node = if self.setting.remote { any } else { outer_node };
        self.note(|_| format!("stream {outer} comes back"));
        self.summary.nested += 1;
        self.begin_as(
            Stream { head, ..Stream::new(ask, self.nodes[node].vm(node, worker), self.now) },
            Vec::new(),
        );
    }

    /// A request with a body, if that is not empty; an operator's, if it says what that purges.
    pub fn begin_with(
        &mut self,
        ask: Ask,
        purge: Option<Purge>,
        body: Vec<u8>,
        (node, worker): (usize, usize),
    ) {
        let mut stream = Stream::new(ask, self.nodes[node].vm(node, worker), self.now);
        if let Some(purge) = purge {
            stream.head = purge.head();
            stream.purge = Some(Purge { node, worker, ..purge });
        }
        self.begin_as(stream, body);
    }

    fn begin_as(&mut self, stream: Stream, body: Vec<u8>) {
        let id = self.streams.len();
        let (vm, is_purge) = (stream.vm, stream.purge.is_some());
        self.note(|_| format!("stream {id} at {vm:?}: {:?}", stream.ask));
        self.summary.requests += 1;
        self.summary.asked += u64::from(stream.ask.question.is_some());
        self.streams.push(stream);
        if !is_purge && self.dice.chance(self.setting.disconnects) {
            let within = self.dice.of(&[3, self.setting.origin_delay, self.setting.wait]);
            let delay = self.dice.below(within);
            self.after(delay, Event::Leaves { stream: id });
        }
        self.after(self.setting.longest_request(), Event::Deadline { stream: id });
        let context = context_of(id);
        host::with(|hosts| hosts.streams.insert(context));
        let request = head_block(&self.streams[id]);
        let given = Given { context, request, ..Given::default() };
        let whole = body.is_empty();
        let mut action = self.enter(vm, given, |vm| {
            vm.create(context, crate::streams::ROOT);
            vm.request_headers(context, whole)
        });
        if !whole {
            let size = body.len();
            let given = Given { context, body, ..Given::default() };
            action = self.enter(vm, given, |vm| vm.request_body(context, size, true));
        }
        self.streams[id].uncounted = true;
        self.count_if_let_in(id);
        match (action, self.streams[id].phase) {
            (Action::Continue, Phase::Held) => self.forward(id),
            (Action::Pause | Action::Hold, _) => {
                if self.streams[id].phase == Phase::Held && self.streams[id].turn.is_none() {
                    self.note(|_| format!("stream {id} waits"));
                }
                self.check_waits(id);
            }
            (Action::Continue, _) => self.violate(ONCE, format!("stream {id} is answered and goes on")),
        }
    }

    /// A held request goes on.
    pub fn forward(&mut self, id: usize) {
        self.check_one_fetch(id);
        self.note_counted(id, true);
        if self.setting.crowd.pool.is_some() {
            self.take_place(id, self.streams[id].placed);
        }
        let stream = &mut self.streams[id];
        stream.phase = Phase::AtOrigin;
        stream.sent = self.now;
        if stream.client_gone {
            self.violate(ONCE, format!("stream {id} goes to the origin although its client has left"));
        }
        self.note(|_| format!("stream {id} goes to the origin"));
        let delay = self.dice.below(self.setting.origin_delay / 2);
        self.after(delay, Event::AtOrigin { stream: id });
        let Stream { ask, purge, .. } = &self.streams[id];
        if matches!(ask.method, "GET" | "HEAD")
            && purge.is_none()
            && !ask.nested
            && self.dice.chance(self.setting.nested)
        {
            let delay = self.dice.below(self.setting.origin_delay);
            self.after(delay, Event::Nested { stream: id });
        }
    }

    /// What the origin does with a client's request that reaches it.
    pub fn at_origin(&mut self, id: usize) {
        let Stream { vm, phase, head, sent, .. } = &self.streams[id];
        if *phase == Phase::Over {
            return;
        }
        let (node, sent) = (vm.node, *sent);
        if let Some(question) = self.streams[id].ask.question {
            let (answer, delay) = self.provider_does(question, sent);
            self.note(|_| format!("the provider answers stream {id} with {} in {delay} ms", answer.status));
            self.streams[id].fetch = Some(self.sent.len() - 1);
            self.streams[id].answer = Some(answer);
            return self.after(delay, Event::Head { stream: id });
        }
        let asked = Asked::read(head.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())));
        let (version, answer, delay) = self.origin_does(&asked, node, sent, Some(id));
        self.note(|_| format!("the origin answers stream {id} with {} in {delay} ms", answer.status));
        self.streams[id].version = version;
        self.streams[id].fetch = Some(self.sent.len() - 1);
        self.streams[id].answer = Some(answer);
        self.after(delay, Event::Head { stream: id });
    }

    /// The head of a response comes back.
    pub fn head(&mut self, id: usize) {
        let Stream { phase, vm, ask, .. } = &self.streams[id];
        if *phase == Phase::Over {
            return;
        }
        let (vm, page) = (*vm, ask.page);
        let Some(answer) = self.streams[id].answer.clone() else { return };
        if self.streams[id].ask.method == "HEAD" {
            self.headed.insert(page);
        }
        self.streams[id].head_at = Some(self.now);
        let received = (self.now, self.streams[id].version);
        self.nodes[vm.node].received.entry(page).or_default().push(received);
        if !self.lives(vm) {
            self.note(|_| format!("stream {id}: {} passes, without a filter", answer.status));
            self.relayed(id, &answer);
            return;
        }
        let mut fields = vec![(":status", answer.status.to_string())];
        fields.extend(answer.fields.iter().cloned());
        let context = context_of(id);
        let (response, unreachable) = (text_block(&fields), answer.unreachable);
        let given = Given { context, response, unreachable, ..Given::default() };
        let ends = answer.ends_with_head();
        if let Some(version) = self.streams[id].published
            && (200..400).contains(&answer.status)
        {
            self.note(|_| format!("page {page} is invalid on node {} before version {version}", vm.node));
            let done = Invalidation { at: self.now, worker: vm.worker, version };
            self.nodes[vm.node].invalidated.entry(page).or_default().push(done);
            self.index_known.retain(|(_, known), _| *known != page);
            self.summary.invalidated += 1;
        }
        // Another may have it at once.
        self.place_after_head(id);
        self.streams[id].made = (None, None);
        let action = self.storing(vm.node, &[page], |world| {
            world.enter(vm, given, |vm| vm.response_headers(context, ends))
        });
        self.check_made(id);
        self.note_storable(id);
        self.note_replaced(id, &answer);
        let answered = self.streams[id].answers > 0;
        match action {
            Action::Pause if answered => self.complete(id),
            // Its answer comes with that to a call of the cache's own.
            Action::Pause if self.streams[id].refetching => {}
            Action::Continue if !answered => {
                self.note(|world| {
                    format!("stream {id}: {} passes: {}", answer.status, world.streams[id].cache_status)
                });
                if !self.streams[id].stripped && answer.fields.iter().any(|(name, _)| *name == TAGS) {
                    self.violate(STRIPPED, format!("stream {id} got {TAGS} from the origin"));
                }
                self.relayed(id, &answer);
            }
            _ => self.violate("a response is relayed or replaced", format!("stream {id}: {action:?}")),
        }
        self.check_fetch_ended(id);
    }

    fn relayed(&mut self, id: usize, answer: &Answer) {
        self.streams[id].answers += 1;
        self.streams[id].phase = Phase::Relaying;
        if answer.ends_with_head() {
            self.complete(id);
        } else {
            self.next_part(id, 0);
        }
    }

    fn next_part(&mut self, id: usize, nth: usize) {
        let slow = self.pages[self.streams[id].ask.page].slow;
        let delay = if self.dice.chance(slow / 10) { self.setting.origin_slow } else { self.dice.below(20) };
        self.after(delay, Event::Part { stream: id, nth });
    }

    /// A part of a body comes, or what follows the last.
    pub fn part(&mut self, id: usize, nth: usize) {
        let Stream { phase, vm, .. } = &self.streams[id];
        if *phase == Phase::Over {
            return;
        }
        let vm = *vm;
        let Some(answer) = self.streams[id].answer.clone() else { return };
        let last = nth + 1 == answer.parts;
        let ends = last && !answer.trailers && !answer.cut;
        let context = context_of(id);
        if self.lives(vm) && nth < answer.parts {
            let kept = self.keeps(id);
            let body = answer.part(nth).to_vec();
            let size = body.len();
            let given = Given { context, body, ..Given::default() };
            let page = self.streams[id].ask.page;
            self.storing(vm.node, &[page], |world| {
                world.enter(vm, given, |vm| vm.response_body(context, size, ends));
            });
            let large = self.pages[page].bytes > self.setting.policy.worker.object_bytes;
            if kept && !self.keeps(id) && (!ends || large) {
                // There was no room for it: nobody need wait for the next one.
                self.exempt(vm.node, page, false);
            }
        } else if self.lives(vm) && !answer.cut {
            let page = self.streams[id].ask.page;
            self.storing(vm.node, &[page], |world| {
                world.enter(vm, Given { context, ..Given::default() }, |vm| vm.response_trailers(context));
            });
        }
        if (ends || nth == answer.parts) && !answer.cut {
            if let Some(fetch) = self.streams[id].fetch {
                self.came[fetch] = Some(self.now);
            }
            self.note_stored(id, &answer);
            let page = self.streams[id].ask.page;
            if self.pages[page].lifetime == 0 {
                self.exempt(vm.node, page, false);
            }
        }
        self.check_fetch_ended(id);
        if ends || nth == answer.parts {
            self.complete(id);
        } else {
            self.next_part(id, nth + 1);
        }
    }

    /// A response is complete, or has broken off.
    pub fn complete(&mut self, id: usize) {
        if self.streams[id].phase == Phase::Over {
            return;
        }
        self.note(|_| format!("stream {id} is over"));
        let slow = self.is_slow(id);
        self.leave_place(id);
        self.streams[id].phase = Phase::Over;
        let (vm, context) = (self.streams[id].vm, context_of(id));
        host::with(|hosts| hosts.streams.remove(&context));
        let page = self.streams[id].ask.page;
        if slow {
            self.exempt(vm.node, page, false);
        }
        self.fetch_ended(vm.node, page, By::Stream(id));
        if self.lives(vm) {
            self.enter(vm, Given { context, ..Given::default() }, |vm| vm.delete(context));
        }
    }

    /// A client leaves.
    pub fn leaves(&mut self, id: usize) {
        let stream = &mut self.streams[id];
        if stream.phase == Phase::Over {
            return;
        }
        stream.client_gone = true;
        self.summary.left += 1;
        self.note(|_| format!("the client of stream {id} leaves"));
        self.complete(id);
    }
}

fn head_block(stream: &Stream) -> Vec<u8> {
    block(stream.head.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
}

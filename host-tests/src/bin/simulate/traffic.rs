//! Requests, responses and clients that leave.

use crate::abi::Action;
use crate::client::{Ask, Asked, block, text_block};
use crate::events::Event;
use crate::host::{self, Given};
use crate::invariants::ONCE;
use crate::node::{By, Invalidation};
use crate::origin::{Answer, Stamp};
use crate::purges::{Purge, STRIPPED, TAGS, tags};
use crate::streams::{Phase, Stream, context_of};
use crate::world::World;

impl World {
    /// A request comes.
    pub fn request(&mut self, page: usize) {
        let ask = Ask::random(&mut self.dice, page);
        self.begin(ask);
    }

    fn begin(&mut self, ask: Ask) {
        self.begin_with(ask, None, Vec::new());
    }

    /// A request with a body, if that is not empty; an operator's, if it says what that purges.
    pub fn begin_with(&mut self, ask: Ask, purge: Option<Purge>, body: Vec<u8>) {
        let id = self.streams.len();
        let (node, worker) = self.any_worker();
        let vm = self.nodes[node].vm(node, worker);
        self.note(|_| format!("stream {id} at {vm:?}: {ask:?}"));
        self.summary.requests += 1;
        self.streams.push(Stream::new(ask, vm, self.now));
        let is_purge = purge.is_some();
        if let Some(purge) = purge {
            let stream = &mut self.streams[id];
            stream.head = purge.head();
            stream.purge = Some(Purge { node, worker, ..purge });
        }
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
        match (action, self.streams[id].phase) {
            (Action::Continue, Phase::Held) => self.forward(id),
            (Action::Pause, _) => {
                if self.streams[id].phase == Phase::Held && self.streams[id].turn.is_none() {
                    self.note(|_| format!("stream {id} waits"));
                }
            }
            (Action::Continue, _) => self.violate(ONCE, format!("stream {id} is answered and goes on")),
        }
    }

    /// A held request goes on.
    pub fn forward(&mut self, id: usize) {
        self.check_one_fetch(id);
        let stream = &mut self.streams[id];
        stream.phase = Phase::AtOrigin;
        stream.sent = self.now;
        if stream.client_gone {
            self.violate(ONCE, format!("stream {id} goes to the origin although its client has left"));
        }
        self.note(|_| format!("stream {id} goes to the origin"));
        let delay = self.dice.below(self.setting.origin_delay / 2);
        self.after(delay, Event::AtOrigin { stream: id });
    }

    /// What the origin does with a client's request that reaches it.
    pub fn at_origin(&mut self, id: usize) {
        let Stream { vm, phase, head, sent, .. } = &self.streams[id];
        if *phase == Phase::Over {
            return;
        }
        let (node, sent) = (vm.node, *sent);
        let asked = Asked::read(head.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())));
        let (version, answer, delay) = self.origin_does(&asked, node, sent, Some(id));
        self.note(|_| format!("the origin answers stream {id} with {} in {delay} ms", answer.status));
        self.streams[id].version = version;
        self.streams[id].answer = Some(answer);
        self.after(delay, Event::Head { stream: id });
    }

    /// The origin's version, its answer, and when that comes.
    pub fn origin_does(
        &mut self,
        asked: &Asked,
        node: usize,
        sent: u64,
        stream: Option<usize>,
    ) -> (usize, Answer, u64) {
        self.summary.fetched += 1;
        self.sent.push(sent);
        let version = self.pages[asked.page].version();
        let roll = self.dice.below(1000);
        let page = &self.pages[asked.page];
        let (errors, slow) = (page.errors, page.slow);
        let get = asked.method == "GET";
        let mut answer;
        if roll < errors / 2 {
            answer = Answer { unreachable: true, ..Answer::bare(503) };
        } else if roll < errors {
            answer = Answer::bare(self.dice.of(&[500, 502, 503]));
        } else if asked.method == "POST" {
            let version = self.publish(asked.page);
            if let Some(stream) = stream {
                self.streams[stream].published = Some(version);
            }
            answer = Answer::bare(self.dice.of(&[200, 204, 303]));
        } else {
            answer = self.content(asked, node, sent);
        }
        if answer.status == 200 && get && self.dice.chance(errors / 4) {
            answer.cut = true;
            if !self.dice.chance(500) {
                answer.fields.push(("content-length", (answer.body.len() + 1).to_string()));
            }
        } else if answer.status == 200 && get {
            if self.dice.chance(700) {
                answer.fields.push(("content-length", answer.body.len().to_string()));
            }
            answer.trailers = self.dice.chance(50);
        }
        let delay = if self.dice.chance(slow) {
            self.setting.origin_slow
        } else {
            self.dice.below(self.setting.origin_delay / 2)
        };
        (version, answer, delay)
    }

    fn content(&mut self, asked: &Asked, node: usize, sent: u64) -> Answer {
        let page = &self.pages[asked.page];
        let stamp = Stamp {
            page: asked.page,
            version: page.version(),
            language: if page.by_language { asked.language } else { 0 },
            user: if page.personal { asked.user } else { 0 },
            node,
            fetch: self.sent.len() - 1,
        };
        let mut answer = Answer::bare(200);
        answer.fields.push(("cache-control", page.cache_control()));
        answer.fields.push(("surrogate-key", tags(asked.page)));
        if page.by_language {
            answer.fields.push(("vary", "x-lang".to_owned()));
        }
        if page.etag {
            let etag = stamp.etag();
            let same = asked.condition.as_ref() == Some(&etag);
            if same {
                self.confirmed.entry(etag.clone()).or_default().push(sent);
            }
            answer.fields.push(("etag", etag));
            if same {
                answer.status = 304;
                return answer;
            }
        }
        answer.fields.push(("x-stamp", stamp.text()));
        if asked.method == "GET" {
            answer.body = stamp.content(page.bytes);
            answer.parts = if page.bytes == 0 { 0 } else { self.dice.between(1, 3) as usize };
        }
        answer
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
            self.summary.invalidated += 1;
        }
        let action = self.enter(vm, given, |vm| vm.response_headers(context, ends));
        self.note_storable(id);
        let answered = self.streams[id].answers > 0;
        match action {
            Action::Pause if answered => self.complete(id),
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
            self.enter(vm, given, |vm| vm.response_body(context, size, ends));
            let large = self.pages[self.streams[id].ask.page].bytes > self.setting.policy.worker.object_bytes;
            if kept && !self.keeps(id) && (!ends || large) {
                // There was no room for it: nobody need wait for the next one.
                self.exempt(vm.node, self.streams[id].ask.page);
            }
        } else if self.lives(vm) && !answer.cut {
            self.enter(vm, Given { context, ..Given::default() }, |vm| vm.response_trailers(context));
        }
        if (ends || nth == answer.parts) && !answer.cut {
            let Stream { ask, sent, .. } = &self.streams[id];
            let (page, sent) = (ask.page, *sent);
            if !self.is_worth_waiting_for(page, sent) {
                self.exempt(vm.node, page);
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
        self.streams[id].phase = Phase::Over;
        let (vm, context) = (self.streams[id].vm, context_of(id));
        host::with(|hosts| hosts.streams.remove(&context));
        let page = self.streams[id].ask.page;
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

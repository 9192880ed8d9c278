//! Calls of the filter's own: to Redis, and to the origin for a refresh.

use selvage_engine::fields::Fields;

use crate::client::{Asked, block, text_block};
use crate::events::{Event, Reply, VmId};
use crate::host::{self, Given};
use crate::node::{By, Class, Fetch};
use crate::redis::{Command, Mood, Redis};
use crate::streams::{Phase, ROOT, context_of, stream_of};
use crate::world::World;

/// A call on its way to Redis.
pub struct Call {
    vm: VmId,
    token: u32,
    command: Command,
    /// The streams that wait for its commands.
    askers: Vec<Option<usize>>,
    sent: u64,
    /// When its answer is back; `None` if nobody waits for it any more by then.
    back: Option<u64>,
}

/// A request of the cache's own.
pub struct Refresh {
    pub vm: VmId,
    token: u32,
    asked: Asked,
    sent: u64,
    timeout: u64,
    /// A client's response is held for it, and so it has no place of its own.
    held: bool,
    /// The version that the origin answered with, and the number of the fetch.
    version: usize,
    fetch: Option<usize>,
    over: bool,
}

impl World {
    /// The filter calls a cluster.
    pub fn call_out(&mut self, vm: VmId, call: host::Call) {
        let fields = Fields::parse(&call.headers).unwrap_or_default();
        if call.cluster == "origin" {
            let asked = Asked::read(fields.iter());
            return self.refresh(vm, &call, asked);
        }
        let path = String::from_utf8_lossy(fields.get(b":path").unwrap_or_default()).into_owned();
        match Command::read(&path, &call.body) {
            Some(command) => self.ask_redis(vm, &call, command),
            None => self.violate("Redis is asked what it knows", path),
        }
    }

    /// A stream asks Redis: it leads from now on, if it does not yet.
    pub fn begins_to_ask(&mut self, id: usize) {
        let stream = &mut self.streams[id];
        if stream.phase == Phase::Held {
            stream.turn.get_or_insert(self.now);
            let (vm, page) = (stream.vm, stream.ask.page);
            let head = block(stream.head.iter().map(|(name, value)| (&**name, &**value)));
            self.streams[id].led = Some(self.turn_of(vm, page, &head));
        }
    }

    fn ask_redis(&mut self, vm: VmId, call: &host::Call, command: Command) {
        let asked = self.nodes[vm.node].workers[vm.worker].vm.asked(call.token);
        // What a stream had the cache ask for itself counts as that stream's.
        let beside = stream_of(call.context).filter(|_| command.is_lookup());
        let askers: Vec<_> =
            asked.into_iter().map(|context| context.and_then(stream_of).or(beside)).collect();
        for (stream, command) in askers.iter().zip(command.each()) {
            let Some(stream) = *stream else { continue };
            self.note(|_| format!("stream {stream} asks Redis: {command:?}"));
            self.streams[stream].gathered = false;
            self.begins_to_ask(stream);
        }
        self.summary.batched += u64::from(matches!(command, Command::Many { .. }));
        if command.is_lookup() {
            self.lookups.insert(call.token, (askers.clone(), command.clone()));
        }
        let (timeout, token) = (call.timeout, call.token);
        self.unanswered.insert((vm, token));
        if matches!(command, Command::Lease { .. }) {
            self.leases.insert((vm, token));
        }
        let (dice, losses) = (&mut self.dice, self.setting.losses);
        let late = self.redis.mood == Mood::Slow || dice.chance(losses);
        let reach = if late { 2 * timeout } else { 4 };
        let (there, back) = (1 + dice.below(reach), 1 + dice.below(reach));
        let lost = self.redis.mood == Mood::Dead || dice.chance(losses);
        let in_time = !lost && there + back < timeout;
        if !in_time {
            self.note_unsure(&command);
            let (delay, reply) = match self.dice.below(4) {
                0 if lost => (1, Reply::made_up(503)),
                1 if lost => (1, Reply::default()),
                _ => (timeout, Reply::made_up(504)),
            };
            self.after(delay, Event::FromRedis { vm, token, reply });
        }
        if !lost {
            let id = self.calls.last_key_value().map_or(0, |(last, _)| last + 1);
            let back = in_time.then_some(self.now + there + back);
            self.calls.insert(id, Call { vm, token, command, askers, sent: self.now, back });
            self.after(there, Event::AtRedis { call: id });
        }
    }

    /// A call reaches Redis. What it changes is changed even if nobody waits for the answer any more.
    pub fn at_redis(&mut self, call: usize) {
        let Some(Call { vm, token, command, askers, sent, back }) = self.calls.remove(&call) else { return };
        for (at, one) in command.each().iter().enumerate() {
            self.check_claim(vm, one, askers.get(at).copied().flatten(), sent);
        }
        let mut reply = self.redis.apply(&command, self.now);
        if let Some(fleet) = &mut self.fleet {
            fleet.meter.count(&command, &reply, self.now);
        }
        if !command.is_lookup() {
            self.note(|_| match &command {
                Command::Set { key, value, .. } => {
                    format!("Redis does what {vm:?} wants: sets {key}, {} bytes", value.len())
                }
                other => format!("Redis does what {vm:?} wants: {other:?}"),
            });
        }
        if self.redis.mood == Mood::Garbled {
            self.note_unsure(&command);
            reply = self.redis.garble(reply, &mut self.dice);
        }
        if let Some(back) = back {
            self.schedule(back, Event::FromRedis { vm, token, reply });
        }
    }

    /// The answer to a call is back, or Envoy has made one up.
    pub fn redis_answers(&mut self, vm: VmId, token: u32, reply: Reply) {
        self.unanswered.remove(&(vm, token));
        let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(24)]).into_owned();
        self.note(|_| {
            let status = reply.fields.first().map_or("nothing", |(_, status)| status);
            format!("Redis answers call {token} of {vm:?}: {status} {text:?}")
        });
        let (askers, command) = self.lookups.remove(&token).unwrap_or((Vec::new(), Command::Ping));
        // What several are refused is asked again at once.
        let again = [&b"-CROSSSLOT"[..], b"-NOSCRIPT"].iter().any(|word| reply.body.starts_with(word));
        let askers = if again { Vec::new() } else { askers };
        let told = Redis::told(&command, &reply.body);
        let texts: Vec<String> = told
            .iter()
            .map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(24)]).into_owned())
            .collect();
        let is_fetching = |text: &str| text.starts_with("claim:") && text != "claim:!";
        self.redis_said_fetching = texts.iter().any(|text| is_fetching(text));
        for ((stream, command), text) in askers.iter().copied().zip(command.each()).zip(&texts) {
            self.summary.remote += u64::from(text.starts_with("SLVG"));
            if text == "claim:!" {
                // The node goes by that, whoever has said it, and of which variant.
                let asked = stream.map(|stream| self.streams[stream].ask.page);
                for page in asked.map_or(0..self.pages.len(), |page| page..page + 1) {
                    let until = self.now + crate::fetches::NOT_STORABLE_FOR;
                    let known = self.nodes[vm.node].not_storable.entry((page, false)).or_default();
                    *known = until.max(*known);
                }
            }
            let Some(stream) = stream else { continue };
            let stream = &mut self.streams[stream];
            stream.adopted |= text.starts_with("SLVG");
            if is_fetching(text) && matches!(command, Command::Claim { .. }) {
                stream.polls_since = Some(*stream.polls_from.get_or_insert(self.now));
                stream.polled = true;
            } else {
                if is_fetching(text) {
                    // It waits as one does whose claim was refused, where none can be asked for.
                    stream.polls_from.get_or_insert(self.now);
                }
                stream.polls_since = None;
                // Who waits for the renewal of a record looks at the record in between.
                if matches!(command, Command::Claim { .. }) {
                    stream.polls_from = None;
                }
            }
        }
        let mut pages: Vec<_> =
            askers.iter().flatten().map(|stream| self.streams[*stream].ask.page).collect();
        pages.dedup();
        self.storing(vm.node, &pages, |world| world.answered(vm, token, reply));
        self.redis_said_fetching = false;
        for stream in askers.into_iter().flatten() {
            let awaited = self.nodes[vm.node].workers[vm.worker].vm.awaits(context_of(stream));
            self.streams[stream].polls =
                awaited == Some(None) && !self.waits_for_place(stream) && !self.waits_for_quota(stream);
        }
    }

    fn answered(&mut self, vm: VmId, token: u32, reply: Reply) {
        if !self.lives(vm) {
            return;
        }
        let count = reply.fields.len() as u32;
        let (answer, size) = (text_block(&reply.fields), reply.body.len());
        let given = Given { context: ROOT, answer, body: reply.body, ..Given::default() };
        self.enter(vm, given, |vm| vm.answered(token, count, size));
    }

    fn refresh(&mut self, vm: VmId, call: &host::Call, asked: Asked) {
        let host::Call { token, timeout, headers, .. } = call;
        let (token, timeout) = (*token, *timeout);
        // A client may wait for it whose response is held. What a client's request has only occasioned is nobody's.
        let held = self.nodes[vm.node].workers[vm.worker].vm.held_for(token).and_then(stream_of);
        if let Some(held) = held {
            self.streams[held].refetching = true;
        } else {
            self.hold(vm);
        }
        let id = self.refreshes.len();
        self.summary.refreshed += 1;
        self.note(|_| format!("{vm:?} refreshes ({id}): {asked:?}"));
        let page = asked.page;
        let over = false;
        // One that asks once more, in full, goes on with its turn, whatever is stored by now.
        let turn = self
            .renewed(vm, page, headers)
            .and_then(|_| self.nodes[vm.node].workers[vm.worker].vm.brings(token));
        let identified = asked.user > 0;
        let (version, fetch) = (0, None);
        self.refreshes.push(Refresh {
            vm,
            token,
            asked,
            sent: self.now,
            timeout,
            held: held.is_some(),
            version,
            fetch,
            over,
        });
        if let Some(turn) = turn {
            self.nodes[vm.node].turns.insert(turn, self.now);
        }
        // Nobody is to wait for what was not to be shared lately, and so it is not known to others.
        // Where it asks Redis first, something else may be stored by now than when it took its turn.
        if let (Some(turn), None) = (turn, held)
            && !self.setting.remote
            && !self.is_unshared(vm, turn, headers)
        {
            let fetch = Fetch { by: By::Refresh(id), turn, since: self.now, lasts: timeout };
            self.check_one_refresh(vm.node, page, identified, fetch);
        }
        let delay = self.dice.below(self.setting.origin_delay / 2);
        self.after(delay, Event::RefreshAtOrigin { refresh: id });
        // It is answered before that, or not at all.
        self.after(timeout, Event::FromOrigin { refresh: id, reply: Reply::made_up(504) });
    }

    /// What the origin does with a request of the cache's own.
    pub fn refresh_at_origin(&mut self, id: usize) {
        let Refresh { asked, vm, sent, timeout, .. } = &self.refreshes[id];
        let (asked, node, sent, latest) = (asked.clone(), vm.node, *sent, sent + timeout);
        let (version, answer, delay) = self.origin_does(&asked, node, sent, None);
        self.refreshes[id].version = version;
        self.refreshes[id].fetch = Some(self.sent.len() - 1);
        if self.now + delay >= latest {
            return;
        }
        let reply = if answer.unreachable {
            Reply::made_up(503)
        } else if answer.cut {
            Reply::default()
        } else {
            let mut reply = Reply::came(answer.status, &answer.body);
            reply.fields.extend(answer.fields);
            reply
        };
        self.after(delay, Event::FromOrigin { refresh: id, reply });
    }

    /// The answer to a request of the cache's own is back, or Envoy has made one up.
    pub fn refresh_ends(&mut self, id: usize, reply: Reply) {
        let refresh = &mut self.refreshes[id];
        if std::mem::replace(&mut refresh.over, true) {
            return;
        }
        let (vm, token, version, sent, fetch) =
            (refresh.vm, refresh.token, refresh.version, refresh.sent, refresh.fetch);
        let (asked, page, held) = (refresh.asked.clone(), refresh.asked.page, refresh.held);
        if !held {
            self.let_go(vm);
        }
        let status = reply.fields.first().map_or("nothing", |(_, status)| status).to_owned();
        self.note(|_| format!("refresh {id} gets {status}"));
        self.nodes[vm.node].received.entry(page).or_default().push((self.now, version));
        let failed = matches!(&*status, "nothing" | "500" | "502" | "503" | "504");
        let kept = reply.fields.iter().any(|(name, value)| {
            *name == "cache-control" && !value.contains("private") && !value.contains("no-store")
        });
        let cookie = reply.fields.iter().any(|(name, _)| *name == "set-cookie");
        if !failed && (!kept || cookie || self.pages[page].lifetime == 0) {
            self.exempt(vm.node, page, asked.user > 0);
        }
        if let (Some(fetch), false) = (fetch, failed) {
            self.came[fetch] = Some(self.now);
        }
        // What it asks for once more is a fetch of its own.
        self.fetch_ended(vm.node, page, By::Refresh(id));
        self.storing(vm.node, &[page], |world| world.answered(vm, token, reply));
        if !failed && status != "304" && asked.user == 0 {
            let class = Class { language: asked.language, theme: asked.theme, user: 0, authorization: false };
            let class = self.class(page, class);
            let stored = kept && !cookie && self.pages[page].bytes <= self.setting.policy.worker.object_bytes;
            self.replace(vm, page, class, (sent, sent), stored);
        }
    }
}

//! All state of one VM: its roots, each with a cache, and the streams that have something to wait for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;
use selvage_engine::cache::{Cache, Moment, OriginNews, OriginTurn};
use selvage_engine::config::{Config, ConfigError};
use selvage_engine::exchange::{Directive, Event, Exchange, Refresh, RemoteAnswer, Reply, RequestEdit};
use selvage_engine::fields::Fields;
use selvage_engine::insight::held::Held;
use selvage_engine::policy::{self, Policy};
use selvage_engine::purge::gate::Gate;
use selvage_engine::time::Timestamp;

use crate::abi::Action;
use crate::breakers::Breakers;
use crate::gauges::{self, Gauges};
use crate::host::{self, Buffer, Envoy, Level, Map};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::refreshes::Refreshes;
use crate::remote::Remote;
use crate::stream::{BuildIdHasher, Stream};
use crate::waiters::Waiters;
use crate::wake::Wake;
use crate::warm_up;

/// One VM.
#[derive(Default)]
pub struct Vm {
    roots: Vec<Root>,
    streams: HashMap<u32, Stream, BuildIdHasher>,
    /// Which root a stream belongs to, while there are several.
    parents: HashMap<u32, u32, BuildIdHasher>,
    /// Whose the streams are that `parents` does not know.
    uncounted_root: Option<u32>,
    /// Streams held for their request's body.
    held: Vec<HeldBody>,
    /// Streams that have begun and not ended.
    contexts: usize,
    /// The oldest stream with something still to come, and when it was first seen to be that.
    oldest: Option<(u32, Timestamp)>,
    breakers: Breakers,
}

/// A stream held for its request's body.
struct HeldBody {
    context: u32,
    since: Timestamp,
    /// Bytes of the body taken in so far. Envoy shows all parts that are held, the earlier ones too.
    seen: usize,
}

/// One configured plugin.
pub struct Root {
    id: u32,
    pub(crate) cache: Cache,
    pub(crate) wake: Wake,
    pub(crate) waiters: Waiters,
    /// When it looks next for what others did.
    pace: Pace,
    learns_at: Timestamp,
    /// A call of this worker by itself is on its way.
    called_self: bool,
    pub(crate) remote: Remote,
    pub(crate) refreshes: Refreshes,
    pub(crate) metrics: Metrics,
    pub(crate) gauges: Gauges,
}

impl Root {
    /// The streams that waited for fetches that have ended are to be woken.
    fn note_ended_fills(&mut self) {
        for hash in self.cache.take_ended_fills() {
            self.waiters.wake(hash);
        }
    }

    /// Sees to what an event has left to do: other workers to tell, streams of this one to wake.
    #[inline]
    fn after_event(&mut self) {
        if self.cache.refreshes_queued() > 0 {
            self.refreshes.send(&mut self.cache, host::now());
        }
        self.wake.tell_others(&mut self.cache);
        if self.cache.has_ended_fills() {
            self.note_ended_fills();
        }
        // One call at a time: each wakes some, and asks for the next.
        if self.waiters.any_awake() && !self.called_self {
            self.called_self = self.wake.call_self();
        }
    }
}

thread_local! {
    static VM: RefCell<Vm> = RefCell::default();
}

/// Runs `call` with the VM. `None` if the host calls us while we call it, which it does only to get memory.
pub fn with<R>(call: impl FnOnce(&mut Vm) -> R) -> Option<R> {
    VM.with(|vm| vm.try_borrow_mut().ok().map(|mut vm| call(&mut vm)))
}

impl Vm {
    /// A context begins. Roots are made when their configuration comes.
    pub fn create(&mut self, context: u32, parent: u32) {
        self.contexts += usize::from(parent != 0);
        if parent != 0 && self.roots.len() > 1 {
            self.parents.insert(context, parent);
        }
    }

    /// Reads the configuration. `false` refuses it, after every fault has been logged.
    pub fn configure(&mut self, id: u32, size: usize) -> bool {
        let json = host::buffer(Buffer::PluginConfiguration, 0, size).unwrap_or_default();
        let config = match Config::parse(&json) {
            Ok(config) => config,
            Err(errors) => {
                for error in errors {
                    host::log(Level::Error, &format!("configuration refused: {error}"));
                }
                return false;
            }
        };
        let policy = Rc::new(Policy::from(config));
        let remote = match Remote::new(&policy.remote, &mut self.breakers, host::now()) {
            Ok(remote) => remote,
            Err(error) => {
                host::log(Level::Error, &format!("configuration refused: {error}"));
                return false;
            }
        };
        let gate = match gate(&policy.admin) {
            Ok(gate) => gate,
            Err(error) => {
                host::log(Level::Error, &format!("configuration refused: {error}"));
                return false;
            }
        };
        warm_up::run(&policy);
        // Streams wait for each other, and for the remote store, by the tick.
        let pace = Pace::new(policy.node.poll.min(SLOWEST_TICK));
        let mut cache = Cache::new(policy);
        cache.set_gate(gate);
        cache.seed_purges(self.breakers.random());
        // A VM that starts knows what was purged before its first request.
        cache.learn_purges(&mut Moment { now: host::now(), host: &mut Envoy });
        // How long ago they were is no measure of how long purges take to get about.
        cache.stats.samples.clear();
        let mut root = Root {
            id,
            cache,
            wake: Wake::new(),
            waiters: Waiters::default(),
            pace,
            learns_at: Timestamp::default(),
            called_self: false,
            remote,
            refreshes: Refreshes::default(),
            metrics: Metrics::default(),
            gauges: Gauges::default(),
        };
        if let Some(at) = self.roots.iter().position(|known| known.id == id) {
            let mut before = self.roots.swap_remove(at);
            // The new cache knows nothing of the fetches that these wait for.
            root.waiters = before.waiters;
            root.waiters.wake_all();
            root.remote.take_over(before.remote);
            root.cache.take_over_purges(&mut before.cache);
        }
        // Streams that began while there was one root were not counted: they are that root's.
        if let [only] = self.roots.as_slice() {
            self.uncounted_root = Some(only.id);
        }
        for other in &mut self.roots {
            // A new configuration usually replaces an old one, and memory of the VM never shrinks.
            other.cache.clear_worker();
        }
        self.roots.push(root);
        true
    }

    /// Does what is due now and then.
    pub fn tick(&mut self, id: u32) {
        let now = host::now();
        self.release_held(now);
        let Some(root) = root_of(&mut self.roots, id) else { return };
        root.waiters.poll_due(now);
        if !root.pace.is_ordinary(root.waiters.any_polling(), now) {
            self.wake_some(id, now);
            return;
        }
        // What belongs to the whole VM is shown by one root.
        let shows_all = self.roots.first().is_some_and(|first| first.id == id);
        let held = gauges::InVm {
            contexts: self.contexts,
            streams: Held::since(self.streams.len(), self.note_oldest(now), now),
            bodies: self.held.len(),
        };
        let Some(root) = root_of(&mut self.roots, id) else { return };
        root.wake.tick(now);
        let mut moment = Moment { now, host: &mut Envoy };
        if now >= root.learns_at {
            root.learns_at = now.plus(root.cache.policy().node.poll);
            root.cache.learn(&mut moment);
            root.cache.learn_purges(&mut moment);
        }
        root.cache.look_after_fills(&mut moment);
        root.cache.look_after_origins(&mut moment).iter().for_each(tell_operator);
        root.cache.sweep(&mut moment);
        root.cache.tick_warming(&mut moment);
        root.refreshes.ask(&mut root.remote, &mut self.breakers, &mut root.cache, now);
        root.refreshes.send(&mut root.cache, now);
        root.remote.tick(&mut self.breakers, &mut root.cache, now);
        if root.remote.is_enabled() {
            root.metrics.export_breaker(root.remote.state(&self.breakers, now));
            root.metrics.set(("remote_state", "ready"), u64::from(root.remote.is_ready()));
        }
        root.metrics.gauge(("origin_state", "open"), root.cache.origins_left_alone(now));
        gauges::export(root, shows_all.then_some(held), &self.breakers, now);
        root.metrics.export(&mut root.cache);
        root.cache.keep_history(&mut Moment { now, host: &mut Envoy });
        root.waiters.expire(now);
        self.wake_some(id, now);
    }

    /// Since when the oldest stream with something still to come is known to be that. Ids are given out in order.
    fn note_oldest(&mut self, now: Timestamp) -> Option<Timestamp> {
        let oldest = self.streams.keys().min().copied();
        self.oldest = oldest.map(|id| match self.oldest {
            Some((known, since)) if known == id => (id, since),
            _ => (id, now),
        });
        self.oldest.map(|(_, since)| since)
    }

    /// Another worker has written down a change.
    pub fn called(&mut self, id: u32, queue: u32) {
        while host::answer(queue) {}
        let now = host::now();
        if let Some(root) = root_of(&mut self.roots, id) {
            let mut moment = Moment { now, host: &mut Envoy };
            root.cache.learn(&mut moment);
            root.cache.learn_purges(&mut moment);
            self.wake_some(id, now);
        }
    }

    /// Lets a few of the streams go on that need not wait any more. The next ones go on in another call.
    fn wake_some(&mut self, id: u32, now: Timestamp) {
        let Some(root) = root_of(&mut self.roots, id) else { return };
        root.called_self = false;
        root.note_ended_fills();
        for (context, wake) in root.waiters.batch() {
            // A stream that has ended is not in the table any more.
            let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context) else { continue };
            let mut moment = Moment { now, host: &mut Envoy };
            if !exchange.awaits_fill() || !host::act_for(context) {
                exchange.on(Event::Ended, &mut root.cache, &mut moment);
                continue;
            }
            let directive = exchange.on(Event::Woken(wake), &mut root.cache, &mut moment);
            if obey(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now)
                == Step::Goes
            {
                host::resume_request();
            }
        }
        root.after_event();
    }

    /// A request begins.
    pub fn request_headers(&mut self, context: u32, end_of_stream: bool) -> Action {
        let Some(head) = host::header_pairs(Map::Request) else { return Action::Continue };
        let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
            return Action::Continue;
        };
        let now = host::now();
        root.wake.join(now);
        let mut exchange = Exchange::new();
        let mut moment = Moment { now, host: &mut Envoy };
        let directive = exchange.on(Event::Request { head, end_of_stream }, &mut root.cache, &mut moment);
        let step = obey(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now);
        root.after_event();
        root.remote.send_purges(&mut self.breakers, &mut root.cache, now);
        if step == Step::AwaitsBody {
            self.held.push(HeldBody { context, since: now, seen: 0 });
        }
        step.action()
    }

    /// A part of the request's body.
    pub fn request_body(&mut self, context: u32, size: usize, end_of_stream: bool) -> Action {
        match self.streams.get(&context) {
            Some(Stream::Exchange(exchange)) if exchange.awaits_remote() || exchange.awaits_fill() => {
                return Action::Pause;
            }
            Some(Stream::Exchange(exchange)) if exchange.awaits_request_body() => {}
            _ => return Action::Continue,
        }
        let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
            return Action::Continue;
        };
        let Some(held) = self.held.iter_mut().find(|held| held.context == context) else {
            return Action::Continue;
        };
        let new = size.saturating_sub(held.seen);
        let chunk =
            if new == 0 { Some(Vec::new()) } else { host::buffer(Buffer::RequestBody, held.seen, new) };
        let Some(chunk) = chunk else {
            if matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.is_operators())
            {
                self.end(context, Event::Ended);
                host::reply(500, "selvage", &[], b"");
                return Action::Pause;
            }
            // What cannot be read cannot be keyed: the request goes on without the cache.
            self.end(context, Event::Ended);
            return Action::Continue;
        };
        held.seen = size;
        let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context) else {
            return Action::Continue;
        };
        let now = host::now();
        let mut moment = Moment { now, host: &mut Envoy };
        let event = Event::RequestBody { chunk: &chunk, end_of_stream };
        let directive = exchange.on(event, &mut root.cache, &mut moment);
        let step = obey(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now);
        root.after_event();
        root.remote.send_purges(&mut self.breakers, &mut root.cache, now);
        if step != Step::AwaitsBody {
            self.held.retain(|held| held.context != context);
        }
        step.action()
    }

    /// The remote store has answered one of our calls.
    pub fn answered(&mut self, token: u32, headers: u32, size: usize) {
        let now = host::now();
        let refreshed = |root: &mut Root| root.refreshes.take(token).map(|refresh| (root.id, refresh));
        if let Some((id, (refresh, sent))) = self.roots.iter_mut().find_map(refreshed) {
            if let Some(root) = root_of(&mut self.roots, id) {
                let took = host::micros().saturating_sub(sent);
                root.cache.stats.sample("duration_us", "refresh", took);
            }
            return self.refreshed(id, refresh, headers, size, now);
        }
        let Some((root, pending)) =
            self.roots.iter_mut().find_map(|root| root.remote.take(token).map(|pending| (root, pending)))
        else {
            return;
        };
        // Both belong to the root context, so they are read before we act for the stream.
        let head = if headers == 0 { None } else { host::header_pairs(Map::Answer) };
        let body = if size == 0 { None } else { host::buffer(Buffer::Answer, 0, size) };
        let waiting = pending.context;
        let (breakers, body) = (&mut self.breakers, body.unwrap_or_default());
        let answer = root.remote.judge(&pending, head, body, breakers, &mut root.cache, now);
        root.remote.send_tasks(breakers, &mut root.cache, now);
        root.remote.send_purges(breakers, &mut root.cache, now);
        if let Some(refresh) = root.refreshes.take_asking(token) {
            refresh.told(answer, &mut root.cache, &mut Moment { now, host: &mut Envoy });
            root.refreshes.ask(&mut root.remote, breakers, &mut root.cache, now);
            root.after_event();
            return;
        }
        let Some(context) = waiting else {
            // It may have told of a purge.
            root.after_event();
            return;
        };
        // A stream that has ended is not in the table any more.
        let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context) else {
            if let RemoteAnswer::Claimed { .. } = answer {
                root.cache.drop_claim(pending.hash);
            }
            return;
        };
        let mut moment = Moment { now, host: &mut Envoy };
        if !exchange.awaits_remote() || !host::act_for(context) {
            if let RemoteAnswer::Claimed { .. } = answer {
                root.cache.drop_claim(pending.hash);
            }
            exchange.on(Event::Ended, &mut root.cache, &mut moment);
            root.after_event();
            return;
        }
        let directive = exchange.on(Event::Remote(answer), &mut root.cache, &mut moment);
        if obey(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now) == Step::Goes
        {
            host::resume_request();
        }
        root.after_event();
    }

    /// The origin, or Envoy in its place, has answered a request of the cache's own.
    fn refreshed(&mut self, id: u32, refresh: Refresh, headers: u32, size: usize, now: Timestamp) {
        let head = if headers == 0 { None } else { host::header_pairs(Map::Answer) };
        let body = if size == 0 { Some(Vec::new()) } else { host::buffer(Buffer::Answer, 0, size) };
        let Some(root) = root_of(&mut self.roots, id) else { return };
        // What cannot be read is no answer.
        let head = head.filter(|_| body.is_some());
        Refreshes::answered(refresh, head, &body.unwrap_or_default(), &mut root.cache, now);
        // One that is under way less may let another one go.
        root.refreshes.send(&mut root.cache, now);
        root.after_event();
    }

    /// A response begins.
    pub fn response_headers(&mut self, context: u32, end_of_stream: bool) -> Action {
        let exchange = match self.streams.get_mut(&context) {
            None => return Action::Continue,
            Some(Stream::Exchange(exchange)) => exchange,
            Some(Stream::Mend(mend)) => {
                mend.apply();
                self.streams.remove(&context);
                return Action::Continue;
            }
        };
        let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
            return Action::Continue;
        };
        let block = host::header_pairs(Map::Response).unwrap_or_default();
        let head = Fields::parse(&block).unwrap_or_default();
        let mut moment = Moment { now: host::now(), host: &mut Envoy };
        let directive = exchange.on(Event::Response { head, end_of_stream }, &mut root.cache, &mut moment);
        let over = exchange.is_over();
        root.after_event();
        let action = match directive {
            Directive::Respond(reply) => {
                // Straight to the client: none of our callbacks sees this reply, so nothing can mend it.
                answer(reply, &mut root.cache);
                Action::Pause
            }
            Directive::Relay { cache_status, vary, strip, explanation } => {
                for name in &strip {
                    if let Ok(name) = std::str::from_utf8(name) {
                        host::remove_header(Map::Response, name);
                    }
                }
                if let Some(value) = cache_status {
                    host::add_header(Map::Response, "cache-status", &value);
                }
                if vary {
                    host::add_header(Map::Response, "vary", b"accept-encoding");
                }
                if let Some(line) = explanation {
                    host::add_header(Map::Response, "selvage-explanation", &line);
                }
                Action::Continue
            }
            _ => Action::Continue,
        };
        if over {
            self.streams.remove(&context);
        }
        action
    }

    /// A part of the response's body.
    pub fn response_body(&mut self, context: u32, size: usize, end_of_stream: bool) -> Action {
        if let Some(Stream::Exchange(exchange)) = self.streams.get_mut(&context)
            && exchange.wants_body()
            && let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context)
        {
            // An empty part still may end the response; a part that cannot be read ends the storing.
            let chunk =
                if size == 0 { Some(Vec::new()) } else { host::buffer(Buffer::ResponseBody, 0, size) };
            let event = match &chunk {
                Some(chunk) => Event::Body { chunk, end_of_stream },
                None => Event::Ended,
            };
            exchange.on(event, &mut root.cache, &mut Moment { now: host::now(), host: &mut Envoy });
            root.after_event();
            if exchange.is_over() {
                self.streams.remove(&context);
            }
        }
        Action::Continue
    }

    /// The trailers of a response end it.
    pub fn response_trailers(&mut self, context: u32) -> Action {
        self.end(context, Event::Trailers);
        Action::Continue
    }

    /// A context is gone, however it ended.
    pub fn delete(&mut self, context: u32) {
        self.end(context, Event::Ended);
        if self.parents.remove(&context).is_none() && self.roots.iter().any(|root| root.id == context) {
            self.roots.retain(|root| root.id != context);
        } else {
            self.contexts = self.contexts.saturating_sub(1);
        }
    }

    fn end(&mut self, context: u32, event: Event<'_>) {
        self.held.retain(|held| held.context != context);
        if let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context)
            && let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context)
        {
            if exchange.awaits_fill() {
                root.waiters.forget(context);
            }
            exchange.on(event, &mut root.cache, &mut Moment { now: host::now(), host: &mut Envoy });
            root.after_event();
        }
    }

    /// Lets requests go whose bodies never came: Envoy shows bodies of held requests only where the plugin's
    /// `allow_on_headers_stop_iteration` is true.
    fn release_held(&mut self, now: Timestamp) {
        let streams = &mut self.streams;
        self.held.retain(|held| {
            if held.seen > 0 || now.since(held.since) < HELD_AT_MOST {
                return true;
            }
            let stream = streams.remove(&held.context);
            if matches!(&stream, Some(Stream::Exchange(exchange)) if exchange.is_operators()) {
                if host::act_for(held.context) {
                    // Never to the origin: it shows a token.
                    host::reply(408, "selvage", &[], b"");
                }
            } else if stream.is_some() && host::act_for(held.context) {
                host::log(
                    Level::Warn,
                    "a request's body did not come while its head was held; rules with key.body need \
                     allow_on_headers_stop_iteration: true in the plugin's bootstrap, or a faster client",
                );
                host::resume_request();
            }
            false
        });
    }
}

/// For leak watches: the simulation of the host tests asks.
#[allow(dead_code, reason = "nobody asks in the module itself")]
impl Vm {
    /// Whether anything is kept of a stream.
    pub fn keeps(&self, context: u32) -> bool {
        self.streams.contains_key(&context)
    }

    /// The caches of the roots.
    pub fn caches(&mut self) -> impl Iterator<Item = &mut Cache> {
        self.roots.iter_mut().map(|root| &mut root.cache)
    }

    /// What is kept of streams and calls that have not ended, by a word for it.
    pub fn kept(&self) -> [(&'static str, usize); 5] {
        let sum = |count: fn(&Root) -> usize| self.roots.iter().map(count).sum();
        [
            ("streams", self.streams.len()),
            ("held bodies", self.held.len()),
            ("waiters", sum(|root| root.waiters.len())),
            ("calls to the remote store", sum(|root| root.remote.calls())),
            ("refreshes", sum(|root| root.refreshes.calls() + root.cache.refreshes_queued())),
        ]
    }
}

/// What has become of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It has its answer.
    Answered,
    /// It goes to the origin.
    Goes,
    /// It waits for its body.
    AwaitsBody,
    /// It waits for the remote store.
    AwaitsRemote,
    /// It waits for another's fetch.
    AwaitsFill,
}

impl Step {
    fn action(self) -> Action {
        if self == Self::Goes { Action::Continue } else { Action::Pause }
    }
}

/// Does what a directive about a request says, and keeps the exchange if more events are to come.
fn obey(
    root: &mut Root,
    breakers: &mut Breakers,
    streams: &mut HashMap<u32, Stream, BuildIdHasher>,
    context: u32,
    mut exchange: Exchange,
    mut directive: Directive,
    now: Timestamp,
) -> Step {
    while let Directive::AskRemote { hash, claim } = directive {
        if root.remote.look_up(Some(context), hash, claim, breakers, &mut root.cache, now).is_some() {
            streams.insert(context, Stream::Exchange(exchange));
            return Step::AwaitsRemote;
        }
        let mut moment = Moment { now, host: &mut Envoy };
        directive = exchange.on(Event::Remote(RemoteAnswer::Nothing), &mut root.cache, &mut moment);
    }
    match directive {
        Directive::Respond(reply) => {
            if let Some(mend) = answer(reply, &mut root.cache) {
                streams.insert(context, mend);
            }
            Step::Answered
        }
        Directive::Forward(edits) => {
            forward(&edits);
            streams.insert(context, Stream::Exchange(exchange));
            Step::Goes
        }
        Directive::PollRemote { at } => {
            root.waiters.poll(context, at);
            root.pace.quicken(now);
            streams.insert(context, Stream::Exchange(exchange));
            Step::AwaitsFill
        }
        Directive::AwaitFill { hash, until } => {
            root.waiters.add(hash, context, until, now);
            streams.insert(context, Stream::Exchange(exchange));
            Step::AwaitsFill
        }
        Directive::AwaitBody => {
            streams.insert(context, Stream::Exchange(exchange));
            Step::AwaitsBody
        }
        Directive::Pass | Directive::Relay { .. } | Directive::AskRemote { .. } => Step::Goes,
    }
}

/// Sends a reply. What remains to be done about it comes back as the stream's state.
fn answer(reply: Reply, cache: &mut Cache) -> Option<Stream> {
    host::reply(reply.status, "selvage", &reply.fields, reply.content());
    let Reply { fields, mend, .. } = reply;
    cache.recycle(fields);
    mend.map(Stream::from)
}

/// Changes the request on its way to the origin.
fn forward(edits: &[RequestEdit]) {
    for edit in edits {
        match edit {
            RequestEdit::Set(name, value) => host::set_header(Map::Request, name, value),
            RequestEdit::Remove(name) => host::remove_header(Map::Request, name),
        }
    }
}

/// Tells the operator how an origin does.
fn tell_operator(news: &OriginNews) {
    let origin = &news.origin;
    let (level, text) = match news.turn {
        OriginTurn::Fails => (Level::Warn, "fails; it is left alone for a while"),
        OriginTurn::IsSlow => (Level::Warn, "is too slow; it is left alone for a while"),
        OriginTurn::Recovered => (Level::Info, "answers again"),
    };
    host::log(level, &format!("the origin {origin:?} {text}"));
}

fn root_of(roots: &mut [Root], id: u32) -> Option<&mut Root> {
    roots.iter_mut().find(|root| root.id == id)
}

/// The root of a stream. While there is only one, nobody keeps count.
fn stream_root<'r>(
    roots: &'r mut [Root],
    parents: &HashMap<u32, u32, BuildIdHasher>,
    uncounted: Option<u32>,
    context: u32,
) -> Option<&'r mut Root> {
    match roots {
        [only] => Some(only),
        several => root_of(several, parents.get(&context).copied().or(uncounted)?),
    }
}

/// Who may purge.
fn gate(admin: &policy::Admin) -> Result<Gate, ConfigError> {
    let Some(name) = &admin.token_env else {
        return Ok(if admin.open { Gate::Open } else { Gate::Absent });
    };
    if admin.open {
        return Ok(Gate::Open);
    }
    // What comes from a file often ends with a line break.
    let token = std::env::var(&**name).ok().map(|token| token.trim().to_owned());
    match token.filter(|token| !token.is_empty()) {
        Some(token) => Ok(Gate::Token { name: name.clone(), token: token.into_bytes().into() }),
        None => Err(ConfigError {
            path: "admin.token_env".into(),
            found: format!("{name:?}, which is empty or not in the environment of the VM"),
            allowed: "a variable that vm_config.environment_variables gives to the VM".into(),
        }),
    }
}

/// How long a request is held before its body begins to come.
const HELD_AT_MOST: Duration = Duration::from_secs(1);
/// The tick is no slower, however seldom the workers look for what others did.
const SLOWEST_TICK: Duration = Duration::from_millis(100);

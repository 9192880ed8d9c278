//! Streams whose bodies are watched on their way to the origin.

use std::borrow::Cow;
use std::time::Duration;

use hashbrown::HashMap;
use selvage_engine::cache::Moment;
use selvage_engine::exchange::{Directive, Event, Exchange, Wake};
use selvage_engine::time::Timestamp;

use super::{Vm, root_of, stream_root};
use crate::apply::{Step, apply};
use crate::host::{Action, Buffer, Calls, Envoy, Level};
use crate::stream::{BuildIdHasher, Stream};

/// The streams that are watched.
#[derive(Default)]
pub(super) struct Watched(HashMap<u32, Seen, BuildIdHasher>);

/// A part of a body.
pub(super) enum Part {
    /// So many bytes that the host shows, with those that it has gathered.
    Shown(usize),
    /// So many have been gathered before, and will be shown again.
    Gathered(usize),
    /// It has come before. The host holds it and does not show it.
    Kept(Vec<u8>),
    /// The same of a part of which nothing but its length is known.
    Counted(usize),
}

/// What is known of one.
struct Seen {
    since: Timestamp,
    /// So many of the bytes that the host shows have been looked at: where it gathers them, it shows them again with those that
    /// come.
    bytes: usize,
    /// Some of the body has come, or its end.
    has_begun: bool,
    /// So many bytes the host holds back.
    held: usize,
    /// The last of those may not go on yet.
    holds_open: bool,
    /// The end of what has come, which the host has not: it may not go on before more is known.
    tail: Vec<u8>,
}

impl Seen {
    const fn new(since: Timestamp) -> Self {
        Self { since, bytes: 0, has_begun: false, held: 0, holds_open: false, tail: Vec::new() }
    }

    /// A part of so many bytes has been looked at, of which and of what came before the last `open` may not go on yet. The host
    /// holds it back for something else, or it need not. Parts that the host may let go on are cut where they are open. So the
    /// host never holds much for the sake of a few bytes: it would cease to read, and nothing more would be known.
    fn cut<H: Calls>(&mut self, size: usize, open: usize, waits: bool) -> Action {
        if open == 0 {
            return self.put_back::<H>(waits, size);
        }
        if self.tail.is_empty() && open >= size && self.may_hold_open(size) {
            return self.hold_open(size);
        }
        self.holds_open = false;
        let part = if size > 0 { H::buffer(Buffer::RequestBody, 0, size) } else { Some(Vec::new()) };
        let Some(part) = part.filter(|part| part.len() == size) else { return lost::<H>() };
        let mut known = std::mem::take(&mut self.tail);
        known.extend_from_slice(&part);
        self.tail = known.split_off(known.len().saturating_sub(open));
        if !H::set_buffer(Buffer::RequestBody, size, &known) {
            return lost::<H>();
        }
        self.hold_back(waits || known.is_empty(), known.len())
    }

    /// The same of a part that the host holds and does not show: it cannot be cut. Of a long one that ends in what is open, which
    /// came while Redis was asked, the end goes on.
    fn leave(&mut self, size: usize, open: usize, waits: bool) -> Action {
        if open > 0 && self.may_hold_open(size) {
            return self.hold_open(size);
        }
        self.holds_open = false;
        self.hold_back(waits, size)
    }

    const fn may_hold_open(&self, size: usize) -> bool {
        self.holds_open || self.held.saturating_add(size) <= HELD_FOR_OPEN
    }

    const fn hold_open(&mut self, size: usize) -> Action {
        self.holds_open = true;
        self.hold_back(true, size)
    }

    /// Nothing that has come is open.
    fn put_back<H: Calls>(&mut self, waits: bool, size: usize) -> Action {
        self.holds_open = false;
        let tail = std::mem::take(&mut self.tail);
        if !tail.is_empty() && !H::set_buffer(Buffer::RequestBody, 0, &tail) {
            return lost::<H>();
        }
        self.hold_back(waits, size.saturating_add(tail.len()))
    }

    const fn hold_back(&mut self, waits: bool, bytes: usize) -> Action {
        self.held = if waits { self.held.saturating_add(bytes) } else { 0 };
        if waits { Action::Hold } else { Action::Continue }
    }
}

/// Some of a body cannot go on: nothing more of it does.
fn lost<H: Calls>() -> Action {
    H::reply(500, "selvage", &[], b"");
    Action::Pause
}

impl Watched {
    /// A stream has ended, or nothing of it need be seen any more.
    pub(super) fn forget(&mut self, context: u32) {
        if Exchange::WATCHES && !self.0.is_empty() {
            self.0.remove(&context);
        }
    }

    /// Whether a stream is watched.
    pub(super) fn has(&self, context: u32) -> bool {
        Exchange::WATCHES && !self.0.is_empty() && self.0.contains_key(&context)
    }

    /// How much the host holds of the body of a stream that is watched.
    pub(super) fn bytes(&self, context: u32) -> Option<usize> {
        self.0.get(&context).map(|seen| seen.bytes)
    }

    /// Lets a request go on that was held for something else, unless what has come of its body has to wait for more of it:
    /// it goes on with that.
    pub(super) fn resume<H: Calls>(&mut self, context: u32) {
        if Exchange::WATCHES
            && let Some(seen) = self.0.get_mut(&context)
        {
            if seen.holds_open {
                return;
            }
            (seen.bytes, seen.held) = (0, 0);
        }
        H::resume_request();
    }
}

impl<H: Calls> Vm<H> {
    /// Watches the body of a stream from now on, if its exchange wants that.
    pub(super) fn watch(&mut self, context: u32, now: Timestamp) {
        if Exchange::WATCHES
            && matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.watches_body())
        {
            self.watched.0.entry(context).or_insert(Seen::new(now));
        }
    }

    /// A part of the body of a stream that is watched.
    pub(super) fn watched_body(&mut self, context: u32, part: Part, end_of_stream: bool) -> Action {
        let size = if let Part::Shown(size) | Part::Gathered(size) = part { size } else { 0 };
        let (Some(Seen { bytes, has_begun, .. }), Some(Stream::Exchange(exchange))) =
            (self.watched.0.get_mut(&context), self.streams.get_mut(&context))
        else {
            return self.no_more_watched(context, size);
        };
        let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
            return self.no_more_watched(context, size);
        };
        // Where heads are not held back from bodies, none comes before its head has gone on.
        root.sees_bodies |= exchange.is_guarding();
        *has_begun = true;
        let before = std::mem::take(bytes);
        let count = match &part {
            Part::Kept(part) => part.len(),
            Part::Counted(count) => *count,
            Part::Shown(size) | Part::Gathered(size) => size.saturating_sub(before),
        };
        let gathered = exchange.gathers_body();
        let now = H::now();
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        let directive = if exchange.counts_body() {
            exchange.on(Event::RequestBytes { count, end_of_stream }, &mut root.cache, &mut moment)
        } else {
            let chunk = match &part {
                Part::Kept(part) => Some(Cow::Borrowed(part.as_slice())),
                Part::Counted(_) => None,
                _ if count == 0 => Some(Cow::default()),
                _ => H::buffer(Buffer::RequestBody, before, count).map(Cow::Owned),
            };
            let Some(chunk) = chunk.filter(|chunk| chunk.len() == count) else {
                return self.unreadable(context);
            };
            exchange.on(Event::RequestBody { chunk: &chunk, end_of_stream }, &mut root.cache, &mut moment)
        };
        let step = match directive {
            Directive::Pass => Step::Goes,
            Directive::AwaitBody => Step::AwaitsBody,
            directive => {
                let Some(Stream::Exchange(exchange)) = self.streams.remove(&context) else {
                    return self.no_more_watched(context, size);
                };
                // It may have waited for another's fetch.
                if matches!(directive, Directive::Respond(_)) {
                    root.waiters.forget(context);
                }
                apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now)
            }
        };
        root.after_event();
        root.remote.send_purges(&mut self.breakers, &mut root.cache, now);
        let Some(Stream::Exchange(exchange)) = self.streams.get(&context).filter(|_| step != Step::Answered)
        else {
            return match step {
                Step::Goes => self.no_more_watched(context, size),
                _ => {
                    self.watched.forget(context);
                    Action::Pause
                }
            };
        };
        let Some(seen) = self.watched.0.get_mut(&context) else { return step.action() };
        let waits = exchange.awaits_fill() || exchange.awaits_remote() || exchange.awaits_inputs();
        let hidden = matches!(part, Part::Kept(_) | Part::Counted(_)) && count > 0;
        let action = if exchange.gathers_body() && hidden {
            // The host shows it behind what it holds already, under another configuration.
            return self.unreadable(context);
        } else if exchange.gathers_body() {
            seen.bytes = size;
            Action::Pause
        } else if exchange.is_guarding() {
            if let Part::Gathered(_) = part {
                seen.bytes = size;
            }
            seen.hold_open(count)
        } else {
            let open = if end_of_stream { 0 } else { exchange.open_bytes() };
            match part {
                Part::Kept(_) | Part::Counted(_) => seen.leave(count, open, waits),
                Part::Gathered(_) => {
                    seen.bytes = size;
                    if waits { Action::Hold } else { Action::Continue }
                }
                Part::Shown(_) => match seen.cut::<H>(size, open, waits) {
                    // What is whole may be changed yet.
                    Action::Hold if end_of_stream && gathered => Action::Pause,
                    action => action,
                },
            }
        };
        if exchange.is_over() {
            self.streams.remove(&context);
            self.watched.forget(context);
        } else if action == Action::Continue && end_of_stream {
            self.watched.forget(context);
        }
        action
    }

    /// Nothing more is looked at of a stream. What was kept of its body goes on with this part.
    fn no_more_watched(&mut self, context: u32, size: usize) -> Action {
        match self.watched.0.remove(&context) {
            Some(mut seen) => seen.put_back::<H>(false, size),
            None => Action::Continue,
        }
    }

    /// Lets requests go whose bodies cannot be seen while their heads are held. Their bodies are watched from then on, and
    /// none of a wrong one gets to the origin.
    pub(super) fn release_watched(&mut self, id: u32, now: Timestamp) {
        if !Exchange::WATCHES || self.watched.0.is_empty() {
            return;
        }
        let Some(root) = root_of(&mut self.roots, id) else { return };
        if root.sees_bodies {
            return;
        }
        let late = |seen: &Seen| !seen.has_begun && now.since(seen.since) >= HELD_AT_MOST;
        let late: Vec<u32> =
            self.watched.0.iter().filter(|(_, seen)| late(seen)).map(|(id, _)| *id).collect();
        for context in late.into_iter().take(AT_ONCE) {
            let is_held = matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.is_guarding());
            let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
                continue;
            };
            if !is_held || root.id != id {
                continue;
            }
            let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context) else { continue };
            let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
            if !H::act_for(context) {
                exchange.on(Event::Ended, &mut root.cache, &mut moment);
                self.watched.forget(context);
                continue;
            }
            H::log(
                Level::Warn,
                "a request's body did not come while its head was held; rules with upload.types or upload.sniff need \
                 allow_on_headers_stop_iteration: true in the plugin's bootstrap, or a faster client",
            );
            let directive = exchange.on(Event::Woken(Wake::Enough), &mut root.cache, &mut moment);
            let step = apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now);
            root.after_event();
            if step == Step::Goes {
                H::resume_request();
            }
        }
    }
}

/// How long a request is held before its body begins to come, while none has been seen to come so.
const HELD_AT_MOST: Duration = Duration::from_secs(1);
/// So many bytes of a body the host holds for others that are open.
const HELD_FOR_OPEN: usize = 32 << 10;
/// So many go on in one call: the host goes through all of it before the call ends.
const AT_ONCE: usize = 16;

//! Streams whose bodies are watched on their way to the origin.

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

/// What is known of one.
struct Seen {
    since: Timestamp,
    /// So many of the bytes that the host holds have been looked at: it shows them again with those that come.
    bytes: usize,
    /// Some of the body has come, or its end.
    has_begun: bool,
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
    pub(super) fn resume<H: Calls>(&mut self, context: u32, streams: &HashMap<u32, Stream, BuildIdHasher>) {
        if Exchange::WATCHES
            && let Some(seen) = self.0.get_mut(&context)
        {
            if matches!(streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.holds_body()) {
                return;
            }
            seen.bytes = 0;
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
            self.watched.0.entry(context).or_insert(Seen { since: now, bytes: 0, has_begun: false });
        }
    }

    /// A part of the body of a stream that is watched.
    pub(super) fn watched_body(&mut self, context: u32, size: usize, end_of_stream: bool) -> Action {
        let (Some(Seen { bytes, has_begun, .. }), Some(Stream::Exchange(exchange))) =
            (self.watched.0.get_mut(&context), self.streams.get_mut(&context))
        else {
            self.watched.forget(context);
            return Action::Continue;
        };
        let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
            return Action::Continue;
        };
        // Where heads are not held back from bodies, none comes before its head has gone on.
        root.sees_bodies |= exchange.is_guarding();
        *has_begun = true;
        let before = std::mem::replace(bytes, size);
        let count = size.saturating_sub(before);
        let now = H::now();
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        let directive = if exchange.counts_body() {
            exchange.on(Event::RequestBytes { count, end_of_stream }, &mut root.cache, &mut moment)
        } else {
            let chunk =
                if count == 0 { Some(Vec::new()) } else { H::buffer(Buffer::RequestBody, before, count) };
            let Some(chunk) = chunk else {
                // What cannot be read cannot be checked.
                self.end(context, Event::Ended);
                H::reply(500, "selvage", &[], b"");
                return Action::Pause;
            };
            exchange.on(Event::RequestBody { chunk: &chunk, end_of_stream }, &mut root.cache, &mut moment)
        };
        let action = match directive {
            Directive::Pass => Action::Continue,
            Directive::AwaitBody => Action::Pause,
            directive => {
                let Some(Stream::Exchange(exchange)) = self.streams.remove(&context) else {
                    return Action::Continue;
                };
                // It may have waited for another's fetch.
                if matches!(directive, Directive::Respond(_)) {
                    root.waiters.forget(context);
                }
                apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now).action()
            }
        };
        root.after_event();
        root.remote.send_purges(&mut self.breakers, &mut root.cache, now);
        let goes_on = action == Action::Continue;
        let is_over = match self.streams.get(&context) {
            Some(Stream::Exchange(exchange)) => exchange.is_over(),
            _ => true,
        };
        if is_over {
            self.streams.remove(&context);
        }
        if is_over || goes_on && end_of_stream {
            self.watched.forget(context);
        } else if let Some(seen) = self.watched.0.get_mut(&context)
            && goes_on
        {
            seen.bytes = 0;
        }
        action
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
/// So many go on in one call: the host goes through all of it before the call ends.
const AT_ONCE: usize = 16;

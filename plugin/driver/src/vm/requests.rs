//! Requests: they begin, their bodies come, and those that had to wait go on.

use selvage_engine::cache::Moment;
use selvage_engine::exchange::{Event, Exchange};
use selvage_engine::time::Timestamp;

use super::{Vm, root_of, stream_root};
use crate::apply::{Step, apply, forward};
use crate::host::{Action, Buffer, Calls, Envoy, Map};
use crate::stream::Stream;

impl<H: Calls> Vm<H> {
    /// A request begins.
    pub fn request_headers(&mut self, context: u32, end_of_stream: bool) -> Action {
        let Some(head) = H::header_pairs(Map::Request) else { return Action::Continue };
        let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
            return Action::Continue;
        };
        let now = H::now();
        root.wake.join(now);
        let mut exchange = Exchange::new();
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        let directive = exchange.on(Event::Request { head, end_of_stream }, &mut root.cache, &mut moment);
        let step = apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now);
        root.after_event();
        root.remote.send_purges(&mut self.breakers, &mut root.cache, now);
        self.watch(context, now);
        if step == Step::AwaitsBody && !self.watched.has(context) {
            self.held.add(context, now);
        }
        step.action()
    }

    /// A part of the request's body.
    pub fn request_body(&mut self, context: u32, size: usize, end_of_stream: bool) -> Action {
        if self.watched.has(context) {
            return self.watched_body(context, size, end_of_stream);
        }
        match self.streams.get(&context) {
            Some(Stream::Exchange(exchange)) if exchange.awaits_inputs() => return Action::Pause,
            Some(Stream::Exchange(exchange)) if exchange.awaits_remote() || exchange.awaits_fill() => {
                let gathers = exchange.gathers_body();
                if exchange.awaits_lease() {
                    self.held.note_arrived(context, size, end_of_stream);
                }
                return if gathers { Action::Pause } else { Action::Hold };
            }
            Some(Stream::Exchange(exchange)) if exchange.awaits_request_body() => {}
            _ => return Action::Continue,
        }
        let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
            return Action::Continue;
        };
        let Some(seen) = self.held.seen(context) else {
            return Action::Continue;
        };
        let new = size.saturating_sub(*seen);
        let chunk = if new == 0 { Some(Vec::new()) } else { H::buffer(Buffer::RequestBody, *seen, new) };
        let Some(chunk) = chunk else {
            if matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.is_held()) {
                self.end(context, Event::Ended);
                H::reply(500, "selvage", &[], b"");
                return Action::Pause;
            }
            // What cannot be read cannot be keyed: the request goes on without the cache.
            if let Some(Stream::Exchange(exchange)) = self.streams.get(&context) {
                forward::<H>(&exchange.lets_go());
            }
            self.end(context, Event::Ended);
            return Action::Continue;
        };
        *seen = size;
        let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context) else {
            return Action::Continue;
        };
        let now = H::now();
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        let event = Event::RequestBody { chunk: &chunk, end_of_stream };
        let directive = exchange.on(event, &mut root.cache, &mut moment);
        let step = apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now);
        root.begin_parts(self.newest, &mut self.breakers, now);
        root.after_event();
        root.remote.send_purges(&mut self.breakers, &mut root.cache, now);
        if step != Step::AwaitsBody {
            self.held.forget(context);
        }
        // It may go on after all, and its body may be part of its key.
        if matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.awaits_lease()) {
            self.held.note_arrived(context, size, end_of_stream);
        }
        match (step, self.streams.get(&context)) {
            (Step::Goes, _) => Action::Continue,
            (Step::AwaitsFill | Step::AwaitsRemote, Some(Stream::Exchange(exchange)))
                if !end_of_stream && !exchange.gathers_body() =>
            {
                Action::Hold
            }
            _ => Action::Pause,
        }
    }

    /// The trailers of a request end its body. What is held of it stays held.
    pub fn request_trailers(&mut self, context: u32) -> Action {
        let size = match self.streams.get(&context) {
            Some(Stream::Exchange(exchange)) if exchange.awaits_lease() => self.held.arrived(context),
            Some(Stream::Exchange(_)) => self.watched.bytes(context).or(self.held.seen(context).copied()),
            _ => return Action::Continue,
        };
        match self.request_body(context, size.unwrap_or_default(), true) {
            Action::Continue => Action::Continue,
            Action::Pause | Action::Hold => Action::Pause,
        }
    }

    /// Lets a few of the streams go on that need not wait any more. The next ones go on in another call.
    pub(super) fn wake_some(&mut self, id: u32, now: Timestamp) {
        let Some(root) = root_of(&mut self.roots, id) else { return };
        let (mut bodies, mut awaiting) = (Vec::new(), Vec::new());
        for (context, wake) in root.next_awake() {
            if root.parts.has(context) {
                root.wake_part(context, wake, &mut self.breakers, now);
                continue;
            }
            // A stream that has ended is not in the table any more.
            let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context) else { continue };
            let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
            if !exchange.awaits_fill() || !H::act_for(context) {
                exchange.on(Event::Ended, &mut root.cache, &mut moment);
                continue;
            }
            let directive = exchange.on(Event::Woken(wake), &mut root.cache, &mut moment);
            let step = apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now);
            match step {
                Step::Goes => self.watched.resume::<H>(context),
                // Its body is part of its key, and may have come while it waited for something else.
                Step::AwaitsBody => {
                    awaiting.push(context);
                    bodies.extend(self.held.take_arrived(context).map(|arrived| (context, arrived)));
                }
                _ => {}
            }
            if step != Step::AwaitsFill {
                self.held.take_arrived(context);
            }
        }
        root.begin_jobs(now);
        root.begin_parts(self.newest, &mut self.breakers, now);
        root.after_event();
        for context in awaiting {
            self.watch(context, now);
            if !self.watched.has(context) {
                self.held.add(context, now);
            }
        }
        for (context, (size, end_of_stream)) in bodies {
            if !H::act_for(context) {
                continue;
            }
            match self.request_body(context, size, end_of_stream) {
                Action::Continue => H::resume_request(),
                Action::Pause | Action::Hold => self.watched.still_gathers(context),
            }
        }
    }
}

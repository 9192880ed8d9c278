//! Requests: they begin, their bodies come, and those that had to wait go on.

use selvage_engine::cache::Moment;
use selvage_engine::exchange::{Event, Exchange};
use selvage_engine::time::Timestamp;

use super::uploads::Part;
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
    #[inline]
    pub fn request_body(&mut self, context: u32, size: usize, end_of_stream: bool) -> Action {
        let action = self.part_of_body(context, size, end_of_stream);
        self.held.note_gathering(context, action == Action::Pause && !end_of_stream);
        action
    }

    fn part_of_body(&mut self, context: u32, size: usize, end_of_stream: bool) -> Action {
        if self.watched.has(context) {
            return self.watched_body(context, Part::Shown(size), end_of_stream);
        }
        match self.streams.get(&context) {
            Some(Stream::Exchange(exchange)) if exchange.awaits_inputs() => return Action::Pause,
            Some(Stream::Exchange(exchange)) if exchange.awaits_remote() || exchange.awaits_fill() => {
                let action = if exchange.gathers_body() { Action::Pause } else { Action::Hold };
                if exchange.awaits_lease() {
                    match action {
                        Action::Pause => self.held.note_gathered(context, size),
                        _ if size == 0 => {}
                        _ if exchange.will_count_body() => self.held.note_length(context, size),
                        _ if exchange.keeps_body() => {
                            let part = H::buffer(Buffer::RequestBody, 0, size);
                            self.held.note_part(context, part.filter(|part| part.len() == size));
                        }
                        _ => self.held.note_part(context, None),
                    }
                    if end_of_stream {
                        self.held.note_whole(context);
                    }
                }
                return action;
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
        let Some(chunk) = chunk.filter(|chunk| chunk.len() == new) else {
            return self.unreadable(context);
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
            self.held.note_gathered(context, size);
            if end_of_stream {
                self.held.note_whole(context);
            }
        }
        match (step, self.streams.get(&context)) {
            (Step::Goes, _) => Action::Continue,
            // What is whole may be changed yet, and what is read is gathered.
            (Step::AwaitsFill | Step::AwaitsRemote, Some(Stream::Exchange(exchange)))
                if !end_of_stream && !exchange.gathers_body() =>
            {
                Action::Hold
            }
            _ => Action::Pause,
        }
    }

    /// Some of a request's body cannot be read. What cannot be checked, or is for a stage, is refused; what cannot be keyed goes
    /// on without the cache.
    pub(super) fn unreadable(&mut self, context: u32) -> Action {
        let Some(Stream::Exchange(exchange)) = self.streams.get(&context) else { return Action::Continue };
        if exchange.is_held() || exchange.watches_body() {
            self.end(context, Event::Ended);
            H::reply(500, "selvage", &[], b"");
            return Action::Pause;
        }
        forward::<H>(&exchange.lets_go());
        self.end(context, Event::Ended);
        Action::Continue
    }

    /// The trailers of a request end its body. What is held of it stays held.
    pub fn request_trailers(&mut self, context: u32) -> Action {
        let size = match self.streams.get(&context) {
            Some(Stream::Exchange(exchange)) if exchange.awaits_lease() => {
                self.held.note_whole(context);
                self.held.note_gathering(context, false);
                return Action::Pause;
            }
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
        let mut awake = Vec::new();
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
            let waited_for_redis = exchange.awaits_lease();
            let directive = exchange.on(Event::Woken(wake), &mut root.cache, &mut moment);
            let step = apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now);
            if waited_for_redis || step == Step::AwaitsBody {
                awake.push((context, step));
            } else if step == Step::Goes && !self.held.is_gathering(context) {
                self.watched.resume::<H>(context);
            }
        }
        root.begin_jobs(now);
        root.begin_parts(self.newest, &mut self.breakers, now);
        root.after_event();
        for (context, step) in awake {
            self.goes_behind_redis(context, step, now);
        }
    }

    /// What Redis says of a request is known. What has come of its body meanwhile is for what comes behind.
    fn goes_behind_redis(&mut self, context: u32, step: Step, now: Timestamp) {
        // What is told of it below may forget that.
        let is_gathering = self.held.is_gathering(context);
        self.watch(context, now);
        let is_watched = self.watched.has(context);
        // It waits for Redis once more.
        if !is_watched
            && matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.awaits_lease())
        {
            return;
        }
        let arrived = self.held.take_arrived(context).unwrap_or_default();
        if step == Step::Answered || !H::act_for(context) {
            return;
        }
        if step == Step::AwaitsBody && !is_watched {
            self.held.add(context, now);
        }
        let action = if !is_watched && step != Step::AwaitsBody || arrived.is_nothing() {
            if step == Step::Goes { Action::Continue } else { Action::Hold }
        } else if arrived.is_unreadable() || !is_watched && arrived.is_hidden() {
            self.unreadable(context)
        } else if !is_watched {
            self.part_of_body(context, arrived.gathered, arrived.is_whole)
        } else if arrived.gathered > 0 {
            self.watched_body(context, Part::Gathered(arrived.gathered), arrived.is_whole)
        } else if arrived.counted > 0 {
            self.watched_body(context, Part::Counted(arrived.counted), arrived.is_whole)
        } else {
            self.watched_body(context, Part::Kept(arrived.kept), arrived.is_whole)
        };
        if action == Action::Continue && !is_gathering {
            self.watched.resume::<H>(context);
        }
    }
}

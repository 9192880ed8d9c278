//! Envoy's filter manager for one filter: headers, body and trailers through the VM, pauses, replies, the end.

use std::{cell::RefCell, rc::Rc};

use crate::{
    Headers,
    abi::Direction,
    reply::LocalReply,
    side::{Gate, Piece},
    stream::{Ending, Source, StreamState},
    vm::{Outcome, Vm},
};

impl Vm {
    pub(crate) fn deliver_headers(&mut self, id: u32, direction: Direction, headers: Headers, end: bool) {
        let Some(stream) = self.flowing(id, direction) else { return };
        let count = headers.len() as u32;
        {
            let mut state = stream.borrow_mut();
            let side = state.side_mut(direction);
            side.headers = Some(headers);
            side.headers_end = end;
            side.reach.headers = true;
        }
        let export = match direction {
            Direction::Request => "proxy_on_request_headers",
            Direction::Response => "proxy_on_response_headers",
        };
        let outcome = self.call(export, id, &[id, count, u32::from(end)], Some(direction));
        if !goes_on(&stream, direction, outcome) {
            return;
        }
        if paused(outcome) {
            let shows_bodies = self.store.data().node.shows_bodies.get();
            let gate = if shows_bodies { Gate::Shown } else { Gate::Stopped };
            stream.borrow_mut().side_mut(direction).gate = gate;
        } else {
            stream.borrow_mut().side_mut(direction).pass_headers();
            self.passed(id, &stream, direction);
        }
    }

    pub(crate) fn deliver_body(&mut self, id: u32, direction: Direction, bytes: Vec<u8>, end: bool) {
        let Some(stream) = self.flowing(id, direction) else { return };
        let size = {
            let mut state = stream.borrow_mut();
            let side = state.side_mut(direction);
            assert!(side.headers.is_some(), "a body chunk before the headers: the test is wrong");
            if side.is_stopped() {
                side.held.push_back(Piece::Body { bytes, end });
                return;
            }
            side.chunk.extend_from_slice(&bytes);
            side.chunk_end = end;
            side.reach.body = true;
            side.chunk.len() as u32
        };
        if direction == Direction::Request && stream.borrow().request.is_full() {
            return self.reply(id, LocalReply::too_large());
        }
        let export = match direction {
            Direction::Request => "proxy_on_request_body",
            Direction::Response => "proxy_on_response_body",
        };
        let outcome = self.call(export, id, &[id, size, u32::from(end)], Some(direction));
        if !goes_on(&stream, direction, outcome) {
            return;
        }
        let hides = matches!(outcome, Outcome::Returned { value: HOLD, stopped: false });
        if hides || paused(outcome) {
            {
                let mut state = stream.borrow_mut();
                let side = state.side_mut(direction);
                if side.gate != Gate::Shown {
                    side.gate = Gate::Gathering;
                }
                if hides {
                    side.hide_chunk();
                } else {
                    side.gather_chunk();
                }
            }
            if direction == Direction::Request && stream.borrow().request.is_full() {
                self.reply(id, LocalReply::too_large());
            }
        } else {
            {
                let mut state = stream.borrow_mut();
                let side = state.side_mut(direction);
                if std::mem::replace(&mut side.gate, Gate::Open) == Gate::Shown {
                    side.pass_headers();
                }
                side.pass_chunk();
            }
            self.passed(id, &stream, direction);
        }
    }

    pub(crate) fn deliver_trailers(&mut self, id: u32, direction: Direction, trailers: Headers) {
        let Some(stream) = self.flowing(id, direction) else { return };
        let count = trailers.len() as u32;
        {
            let mut state = stream.borrow_mut();
            let side = state.side_mut(direction);
            if side.is_stopped() {
                side.held.push_back(Piece::Trailers(trailers));
                return;
            }
            side.trailers = Some(trailers);
            side.reach.trailers = true;
        }
        let export = match direction {
            Direction::Request => "proxy_on_request_trailers",
            Direction::Response => "proxy_on_response_trailers",
        };
        let outcome = self.call(export, id, &[id, count], Some(direction));
        if !goes_on(&stream, direction, outcome) {
            return;
        }
        if paused(outcome) {
            stream.borrow_mut().side_mut(direction).gate = Gate::AtTrailers;
        } else {
            self.pass_rest(id, &stream, direction);
        }
    }

    /// `proxy_continue_stream` once the VM call has ended. A stream that is not paused, or was answered, ignores it.
    pub(crate) fn resume(&mut self, id: u32, direction: Direction) {
        let Some(stream) = self.flowing(id, direction) else { return };
        let gate = {
            let mut state = stream.borrow_mut();
            let side = state.side_mut(direction);
            assert!(
                direction == Direction::Response
                    || side.gate == Gate::AtTrailers
                    || !side.gathers
                    || side.chunk_end,
                "a stream was resumed while its body gathers: some releases of Envoy keep the next part of it for ever"
            );
            std::mem::take(&mut side.gate)
        };
        match gate {
            Gate::Open => {}
            Gate::Stopped => {
                let pieces = {
                    let mut state = stream.borrow_mut();
                    let side = state.side_mut(direction);
                    side.pass_headers();
                    side.take_held()
                };
                self.passed(id, &stream, direction);
                self.deliver_held(id, direction, pieces);
            }
            Gate::Shown => {
                {
                    let mut state = stream.borrow_mut();
                    let side = state.side_mut(direction);
                    side.pass_headers();
                    side.pass_chunk();
                }
                self.passed(id, &stream, direction);
                let pieces = stream.borrow_mut().side_mut(direction).take_held();
                self.deliver_held(id, direction, pieces);
            }
            Gate::Gathering => {
                stream.borrow_mut().side_mut(direction).pass_chunk();
                self.passed(id, &stream, direction);
                let pieces = stream.borrow_mut().side_mut(direction).take_held();
                self.deliver_held(id, direction, pieces);
            }
            Gate::AtTrailers => self.pass_rest(id, &stream, direction),
        }
    }

    fn deliver_held(&mut self, id: u32, direction: Direction, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Body { bytes, end } => self.deliver_body(id, direction, bytes, end),
                Piece::Trailers(trailers) => self.deliver_trailers(id, direction, trailers),
            }
        }
    }

    /// A local reply of the filter or of the host, by the phase of the response.
    pub(crate) fn reply(&mut self, id: u32, reply: LocalReply) {
        let Some(stream) = self.stream(id) else { return };
        let (response_exists, response_started, head) = {
            let state = stream.borrow();
            (state.response.headers.is_some(), state.response.passed.headers.is_some(), state.is_head())
        };
        stream.borrow_mut().replied = true;
        if response_started {
            self.finish(id, Ending::Reset);
            return;
        }
        stream.borrow_mut().code_details.clone_from(&reply.details);
        let headers = reply.shaped_headers();
        let body = if head { Vec::new() } else { reply.body };
        if response_exists {
            // Straight to the codec: no encoder filter sees it, ours neither.
            {
                let mut state = stream.borrow_mut();
                state.source = Source::Direct;
                let passed = &mut state.response.passed;
                passed.headers = Some(headers);
                passed.body = body;
                passed.ended = true;
            }
            self.passed(id, &stream, Direction::Response);
            return;
        }
        stream.borrow_mut().source = Source::Local;
        let end = body.is_empty();
        self.deliver_headers(id, Direction::Response, headers, end);
        if !end {
            self.deliver_body(id, Direction::Response, body, true);
        }
    }

    /// The upstream broke: a 503 of the host before its headers, a reset to the client after them.
    pub(crate) fn upstream_reset(&mut self, id: u32) {
        let Some(stream) = self.stream(id) else { return };
        let (answered, replied) = (stream.borrow().response.headers.is_some(), stream.borrow().replied);
        match (answered, replied) {
            (_, true) => {}
            (true, false) => {
                let details = "upstream_reset_after_response_started{connection_termination}";
                stream.borrow_mut().code_details = details.to_owned();
                self.finish(id, Ending::Reset);
            }
            (false, false) => self.reply(id, LocalReply::upstream_reset()),
        }
    }

    /// `proxy_close_stream`.
    pub(crate) fn close(&mut self, id: u32) {
        self.finish(id, Ending::Reset);
    }

    /// The last three callbacks; the context is gone after them.
    pub(crate) fn finish(&mut self, id: u32, ending: Ending) {
        let Some(stream) = self.stream(id) else { return };
        if stream.borrow().ending.is_some() {
            return;
        }
        if ending == Ending::Disconnected {
            stream.borrow_mut().code_details = "downstream_remote_disconnect".to_owned();
        }
        stream.borrow_mut().end(ending);
        self.call("proxy_on_log", id, &[id], None);
        stream.borrow_mut().logging = false;
        self.call("proxy_on_done", id, &[id], None);
        self.call("proxy_on_delete", id, &[id], None);
        self.store.data_mut().streams.remove(&id);
    }

    // What gathered goes before the trailers that end it.
    fn pass_rest(&mut self, id: u32, stream: &Rc<RefCell<StreamState>>, direction: Direction) {
        {
            let mut state = stream.borrow_mut();
            let side = state.side_mut(direction);
            side.gate = Gate::Open;
            if side.passed.headers.is_none() {
                side.pass_headers();
            }
            side.pass_chunk();
            side.pass_trailers();
        }
        self.passed(id, stream, direction);
    }

    fn passed(&mut self, id: u32, stream: &Rc<RefCell<StreamState>>, direction: Direction) {
        let (ended, scripted) = {
            let mut state = stream.borrow_mut();
            if direction == Direction::Response {
                // The codec dates what has no date, so a stored Date survives.
                let date = self.store.data().node.clock.http_date();
                if let Some(headers) = &mut state.response.passed.headers
                    && !headers.contains("date")
                {
                    headers.add("date", date);
                }
            }
            (state.side_mut(direction).passed.ended, state.scripted)
        };
        match direction {
            Direction::Request if ended && scripted => self.upstream_ready.push_back(id),
            Direction::Response if ended => self.finish(id, Ending::Complete),
            Direction::Request | Direction::Response => {}
        }
    }

    // A request that was answered takes no more pieces; an ended stream takes none at all.
    fn flowing(&self, id: u32, direction: Direction) -> Option<Rc<RefCell<StreamState>>> {
        let stream = self.stream(id)?;
        let closed = {
            let state = stream.borrow();
            state.ending.is_some() || (direction == Direction::Request && state.replied)
        };
        (!closed && !self.dead).then_some(stream)
    }
}

fn paused(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Missing | Outcome::Returned { value: 0, stopped: false } => false,
        Outcome::Returned { value: 0 | 1, .. } => true,
        Outcome::Returned { value, .. } => {
            panic!("a stream callback returned {value}, neither Continue nor Pause")
        }
        Outcome::Died => true,
    }
}

// Whether the message still belongs to the callback's flow, or a reply made in it took over.
fn goes_on(stream: &Rc<RefCell<StreamState>>, direction: Direction, outcome: Outcome) -> bool {
    let state = stream.borrow();
    if outcome == Outcome::Died || state.ending.is_some() {
        return false;
    }
    match direction {
        Direction::Request => !state.replied,
        Direction::Response => state.source != Source::Direct,
    }
}

// Envoy's `FilterDataStatus::StopIterationAndWatermark`.
const HOLD: u32 = 2;

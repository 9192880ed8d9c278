//! Responses on their way to clients.

use selvage_engine::cache::Moment;
use selvage_engine::exchange::{Directive, Event};
use selvage_engine::fields::Fields;

use super::{Vm, stream_root};
use crate::abi::Action;
use crate::host::{self, Buffer, Envoy, Map};
use crate::obey::answer;
use crate::stream::Stream;

impl Vm {
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
}

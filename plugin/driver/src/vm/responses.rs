//! Responses on their way to clients.

use std::ops::Range;

use selvage_engine::cache::{Cache, Moment};
use selvage_engine::coding::head::ACCEPT_ENCODING;
use selvage_engine::exchange::{ContentTypeFix, Directive, Event, Fetched, LARGEST_IN_PARTS, Recast, Reply};
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::policy::FieldName;
use selvage_engine::time::Timestamp;

use super::{Vm, root_of, stream_root};
use crate::apply::{Step, answer, apply};
use crate::host::{Action, Buffer, Calls, Envoy, Map};
use crate::refreshes::of_envoy;
use crate::rewritten::Rewritten;
use crate::stream::Stream;

impl<H: Calls> Vm<H> {
    /// A response begins.
    pub fn response_headers(&mut self, context: u32, end_of_stream: bool) -> Action {
        let exchange = match self.streams.get_mut(&context) {
            None => return Action::Continue,
            Some(Stream::Exchange(exchange)) => exchange,
            Some(Stream::ContentTypeFix(mend)) => {
                mend.apply::<H>();
                self.streams.remove(&context);
                return Action::Continue;
            }
        };
        let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context) else {
            return Action::Continue;
        };
        // Each call that gives us something costs Envoy as much as two callbacks: none is made for what nobody reads.
        if exchange.is_passing() {
            let block = match exchange.wanted_of_head() {
                None => H::header_pairs(Map::Response).unwrap_or_default(),
                Some([]) => Vec::new(),
                Some(names) => read_of_head::<H>(names),
            };
            let head = Fields::parse(&block).unwrap_or_default();
            let now = if block.is_empty() { Timestamp::default() } else { H::now() };
            let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
            let (passing, add) = exchange.take_passing(head, &mut root.cache, &mut moment);
            if let Some(passing) = &passing {
                remove_all::<H>(passing.strip(root.cache.policy()));
            }
            if let Some(value) = passing.as_ref().and_then(|passing| passing.cache_status.as_ref()) {
                H::add_header(Map::Response, "cache-status", value);
            }
            for (name, value) in &add {
                H::add_header(Map::Response, name, value);
            }
            if exchange.is_over() {
                self.streams.remove(&context);
            }
            if !block.is_empty() {
                root.after_event();
            }
            return Action::Continue;
        }
        let block = H::header_pairs(Map::Response).unwrap_or_default();
        let head = Fields::parse(&block).unwrap_or_default();
        let mut moment = Moment { now: H::now(), host: &mut Envoy::<H>::new() };
        let directive = exchange.on(Event::Response { head, end_of_stream }, &mut root.cache, &mut moment);
        let over = exchange.is_over();
        root.after_event();
        let action = match directive {
            Directive::Respond(reply) => match in_place::<H>(&reply, end_of_stream) {
                Some(content) => {
                    if !end_of_stream {
                        self.rewritten.insert(context, Rewritten::Instead(content));
                    }
                    root.cache.recycle(reply.fields);
                    Action::Continue
                }
                None => {
                    // Straight to the client: none of our callbacks sees this reply.
                    answer_with_a_type::<H>(reply, &mut root.cache);
                    Action::Pause
                }
            },
            Directive::Fetch { cluster, request, body, timeout } => {
                match H::http_call(&cluster, &request, &body, timeout) {
                    Ok(token) => {
                        root.fetches.insert(token, context);
                        Action::Pause
                    }
                    Err(_) => {
                        let mut moment = Moment { now: H::now(), host: &mut Envoy::<H>::new() };
                        let event = Event::Fetched(Fetched::Nothing);
                        let action = match exchange.on(event, &mut root.cache, &mut moment) {
                            Directive::Respond(reply) => {
                                answer_with_a_type::<H>(reply, &mut root.cache);
                                self.streams.remove(&context);
                                Action::Pause
                            }
                            // What has come goes on.
                            directive => {
                                relay::<H>(directive);
                                if exchange.is_over() {
                                    self.streams.remove(&context);
                                }
                                Action::Continue
                            }
                        };
                        root.after_event();
                        return action;
                    }
                }
            }
            directive => {
                let window = relay::<H>(directive).filter(|_| !end_of_stream);
                if let Some(window) = window {
                    self.rewritten.insert(context, Rewritten::window(window));
                }
                Action::Continue
            }
        };
        if over {
            self.streams.remove(&context);
        }
        action
    }

    /// What a client waits for whose response is held has come, or will not come.
    pub(super) fn fetched(&mut self, context: u32, id: u32, headers: u32, size: usize) {
        // Both belong to the root context, so they are read before we act for the stream.
        let head = if headers == 0 { None } else { H::header_pairs(Map::Answer) };
        let body = if size == 0 { Some(Vec::new()) } else { H::buffer(Buffer::Answer, 0, size) };
        if matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.awaits_inputs())
        {
            let body = body.filter(|body| body.len() <= LARGEST_IN_PARTS);
            return self.inputs_fetched(context, id, head.as_deref(), body.as_deref());
        }
        let (Some(root), Some(Stream::Exchange(mut exchange))) =
            (root_of(&mut self.roots, id), self.streams.remove(&context))
        else {
            return;
        };
        let mut moment = Moment { now: H::now(), host: &mut Envoy::<H>::new() };
        // It has not waited: the response goes on as it has come.
        if !exchange.awaits_fetch() {
            self.streams.insert(context, Stream::Exchange(exchange));
            return;
        }
        if !H::act_for(context) {
            exchange.on(Event::Ended, &mut root.cache, &mut moment);
            root.after_event();
            return;
        }
        let fetched = match (head.as_deref().and_then(Fields::parse), &body) {
            (Some(head), Some(body)) if of_envoy(head).is_none() => Fetched::Answer { head, body },
            _ => Fetched::Nothing,
        };
        let goes_on = match exchange.on(Event::Fetched(fetched), &mut root.cache, &mut moment) {
            Directive::Respond(reply) => {
                answer_with_a_type::<H>(reply, &mut root.cache);
                false
            }
            directive @ Directive::Relay { .. } => {
                relay::<H>(directive);
                H::resume_response();
                true
            }
            _ => false,
        };
        root.after_event();
        if exchange.holds_slot() || goes_on && !exchange.is_over() {
            self.streams.insert(context, Stream::Exchange(exchange));
        }
    }

    /// A part of the body of a response whose head is held. It is shown from its beginning.
    fn held_body(&mut self, context: u32, size: usize) -> Action {
        // The host keeps it, and answers 500 in its place if it is more than it keeps.
        if size <= HELD_AT_MOST {
            return Action::Pause;
        }
        let (Some(Stream::Exchange(exchange)), Some(root)) = (
            self.streams.get_mut(&context),
            stream_root(&mut self.roots, &self.parents, self.uncounted_root, context),
        ) else {
            return Action::Continue;
        };
        let mut moment = Moment { now: H::now(), host: &mut Envoy::<H>::new() };
        let action = match exchange.on(Event::Fetched(Fetched::Nothing), &mut root.cache, &mut moment) {
            Directive::Respond(reply) => {
                answer_with_a_type::<H>(reply, &mut root.cache);
                Action::Pause
            }
            directive => {
                relay::<H>(directive);
                Action::Continue
            }
        };
        root.after_event();
        if exchange.is_over() {
            self.streams.remove(&context);
        }
        action
    }

    /// What a client waits for whose request is held has come, or will not come.
    fn inputs_fetched(&mut self, context: u32, id: u32, head: Option<&[u8]>, body: Option<&[u8]>) {
        let (Some(root), Some(Stream::Exchange(mut exchange))) =
            (root_of(&mut self.roots, id), self.streams.remove(&context))
        else {
            return;
        };
        let now = H::now();
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        if !H::act_for(context) {
            exchange.on(Event::Ended, &mut root.cache, &mut moment);
            root.after_event();
            return;
        }
        let fetched =
            answer_of(head, body).map_or(Fetched::Nothing, |(head, body)| Fetched::Answer { head, body });
        let directive = exchange.on(Event::Fetched(fetched), &mut root.cache, &mut moment);
        let step = apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now);
        if step == Step::Goes && !self.held.is_gathering(context) {
            self.watched.resume::<H>(context);
        }
        root.after_event();
    }

    /// A part of the response's body.
    pub fn response_body(&mut self, context: u32, size: usize, end_of_stream: bool) -> Action {
        if matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.awaits_fetch()) {
            return self.held_body(context, size);
        }
        if let Some(Stream::Exchange(exchange)) = self.streams.get_mut(&context)
            && exchange.wants_body()
            && let Some(root) = stream_root(&mut self.roots, &self.parents, self.uncounted_root, context)
        {
            // An empty part still may end the response; a part that cannot be read ends the storing.
            let chunk = if size == 0 { Some(Vec::new()) } else { H::buffer(Buffer::ResponseBody, 0, size) };
            let event = match &chunk {
                Some(chunk) => Event::Body { chunk, end_of_stream },
                None => Event::Ended,
            };
            let mut moment = Moment { now: H::now(), host: &mut Envoy::<H>::new() };
            if let Directive::Replace(part) = exchange.on(event, &mut root.cache, &mut moment) {
                H::set_buffer(Buffer::ResponseBody, size, &part);
            }
            root.after_event();
            root.tell_what_it_cost(&mut self.breakers);
            if exchange.is_over() {
                self.streams.remove(&context);
            }
        }
        if !self.rewritten.is_empty()
            && let Some(rewritten) = self.rewritten.get_mut(&context)
        {
            rewritten.apply::<H>(size);
        }
        Action::Continue
    }

    /// The trailers of a response end it.
    pub fn response_trailers(&mut self, context: u32) -> Action {
        if matches!(self.streams.get(&context), Some(Stream::Exchange(exchange)) if exchange.awaits_fetch()) {
            return Action::Pause;
        }
        self.end(context, Event::Trailers);
        Action::Continue
    }
}

/// Changes the head of the response at hand as a directive says that passes it on. Gives the part of its content that the client
/// gets, if that is not all of it.
fn relay<H: Calls>(directive: Directive) -> Option<Range<usize>> {
    let Directive::Relay { cache_status, vary, strip, add, recast } = directive else { return None };
    remove_all::<H>(&strip);
    if let Some(value) = cache_status {
        H::add_header(Map::Response, "cache-status", &value);
    }
    if vary {
        H::add_header(Map::Response, "vary", ACCEPT_ENCODING);
    }
    for (name, value) in &add {
        H::add_header(Map::Response, name, value);
    }
    let Recast { status, remove, set, window } = *recast?;
    H::set_header(Map::Response, ":status", status.to_string().as_bytes());
    remove.iter().for_each(|name| H::remove_header(Map::Response, name));
    set.iter().for_each(|(name, value)| H::set_header(Map::Response, name, value));
    Some(window)
}

/// Most bytes of the body of a response whose head is held.
const HELD_AT_MOST: usize = 16 << 10;

/// The head and the body of an answer, if it has come whole and is not Envoy's own.
pub(super) fn answer_of<'a>(
    head: Option<&'a [u8]>,
    body: Option<&'a [u8]>,
) -> Option<(Fields<'a>, &'a [u8])> {
    let head = head.and_then(Fields::parse).filter(|head| of_envoy(*head).is_none())?;
    body.map(|body| (head, body))
}

/// A block of these fields of the response at hand.
fn read_of_head<H: Calls>(names: &[&str]) -> Vec<u8> {
    let mut block = FieldBlock::new();
    for name in names {
        if let Some(value) = H::header(Map::Response, name) {
            block.push(name.as_bytes(), &value);
        }
    }
    let mut bytes = Vec::new();
    block.write_with(&[], &mut bytes);
    bytes
}

/// Takes fields off the response at hand.
fn remove_all<H: Calls>(names: &[FieldName]) {
    for name in names.iter().filter_map(|name| std::str::from_utf8(name).ok()) {
        H::remove_header(Map::Response, name);
    }
}

/// Makes the response at hand into a reply that Envoy's own replies would distort, and gives the content to be sent in place
/// of its body. `None` if a reply of Envoy's will do, or nothing else can: a response without a body cannot be given one.
fn in_place<H: Calls>(reply: &Reply, end_of_stream: bool) -> Option<Vec<u8>> {
    reply.mend.as_ref()?;
    let content = reply.content();
    if end_of_stream && !content.is_empty() {
        return None;
    }
    let (status, length) = (reply.status.to_string(), content.len().to_string());
    let mut block = FieldBlock::new();
    block.push(b":status", status.as_bytes());
    let fields = Fields::parse(&reply.fields)?;
    fields
        .iter()
        .filter(|(name, _)| *name != b"content-length")
        .for_each(|(name, value)| block.push(name, value));
    block.push(b"content-length", length.as_bytes());
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    H::set_header_pairs(Map::Response, &head);
    Some(content.to_vec())
}

/// Sends a reply and keeps Envoy from naming a type for content that has none: an empty one says nothing.
fn answer_with_a_type<H: Calls>(mut reply: Reply, cache: &mut Cache) {
    if reply.mend == Some(ContentTypeFix::RemoveContentType)
        && let Some(fields) = Fields::parse(&reply.fields)
    {
        let block = FieldBlock::copy_of(fields);
        reply.fields.clear();
        block.write_with(&[(b"content-type", b"")], &mut reply.fields);
    }
    answer::<H>(reply, cache);
}

//! Does to a request what the engine's directive says.

use hashbrown::HashMap;
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::exchange::{Directive, Event, Exchange, Fetched, RemoteAnswer, Reply, RequestEdit};
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::host::{Action, Calls, Envoy, Map};
use crate::remote::Asker;
use crate::rewritten;
use crate::root::Root;
use crate::stream::{BuildIdHasher, Stream};

/// What has become of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
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
    /// It waits for a call to the origin.
    AwaitsCall,
}

impl Step {
    /// What the callback tells the host.
    pub fn action(self) -> Action {
        if self == Self::Goes { Action::Continue } else { Action::Pause }
    }
}

/// Does what a directive about a request says, and keeps the exchange if more events are to come. Then what limits want to know
/// is asked.
pub fn apply<H: Calls>(
    root: &mut Root<H>,
    breakers: &mut Breakers<H>,
    streams: &mut HashMap<u32, Stream, BuildIdHasher>,
    context: u32,
    exchange: Exchange,
    directive: Directive,
    now: Timestamp,
) -> Step {
    let step = act(root, breakers, streams, context, exchange, directive, now);
    root.remote.send_leases(breakers, &mut root.cache, now);
    step
}

fn act<H: Calls>(
    root: &mut Root<H>,
    breakers: &mut Breakers<H>,
    streams: &mut HashMap<u32, Stream, BuildIdHasher>,
    context: u32,
    mut exchange: Exchange,
    mut directive: Directive,
    now: Timestamp,
) -> Step {
    forward::<H>(&exchange.take_edits());
    // What cannot be called for goes to the origin.
    if let Directive::Fetch { cluster, request, body, timeout } = directive {
        if let Ok(token) = H::http_call(&cluster, &request, &body, timeout) {
            root.fetches.insert(token, context);
            streams.insert(context, Stream::Exchange(exchange));
            return Step::AwaitsCall;
        }
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        directive = exchange.on(Event::Fetched(Fetched::Nothing), &mut root.cache, &mut moment);
    }
    while let Directive::AskRemote { hash, claim } = directive {
        root.remote.listen(|| root.wake.bell());
        if root.remote.look_up(Asker::Stream(context), hash, claim, breakers, &mut root.cache, now) {
            streams.insert(context, Stream::Exchange(exchange));
            return Step::AwaitsRemote;
        }
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        directive = exchange.on(Event::Remote(RemoteAnswer::Nothing), &mut root.cache, &mut moment);
    }
    match directive {
        Directive::Respond(reply) => {
            let mend = answer::<H>(reply, &mut root.cache);
            // It has been asked for at the origin, and has its place there until its stream ends.
            let rest = if exchange.holds_slot() { Some(Stream::Exchange(exchange)) } else { mend };
            if let Some(rest) = rest {
                streams.insert(context, rest);
            }
            Step::Answered
        }
        Directive::Forward(edits) => {
            forward::<H>(&edits);
            // Where nothing is to be done to the response, nothing is kept.
            if !exchange.is_over() {
                streams.insert(context, Stream::Exchange(exchange));
            }
            Step::Goes
        }
        Directive::AwaitMoment { at } => {
            root.waiters.poll(context, at);
            root.pace.quicken(now);
            streams.insert(context, Stream::Exchange(exchange));
            Step::AwaitsFill
        }
        Directive::AwaitSlot { ticket } => {
            root.waiters.queue(ticket, context);
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
        Directive::Pass
        | Directive::Relay { .. }
        | Directive::Replace(_)
        | Directive::AskRemote { .. }
        | Directive::Fetch { .. } => Step::Goes,
    }
}

/// Sends a reply. What remains to be done about it comes back as the stream's state.
pub fn answer<H: Calls>(reply: Reply, cache: &mut Cache) -> Option<Stream> {
    H::reply(reply.status, "selvage", &reply.fields, reply.content());
    let Reply { fields, mend, .. } = reply;
    cache.recycle(fields);
    mend.map(Stream::from)
}

/// Changes the request on its way to the origin.
pub fn forward<H: Calls>(edits: &[RequestEdit]) {
    let mut splices = Vec::new();
    for edit in edits {
        match edit {
            RequestEdit::Set(name, value) => H::set_header(Map::Request, name, value),
            RequestEdit::Remove(name) => H::remove_header(Map::Request, name),
            RequestEdit::Field(name, value) => {
                let Ok(name) = std::str::from_utf8(name) else { continue };
                match value {
                    Some(value) => H::set_header(Map::Request, name, value),
                    None => H::remove_header(Map::Request, name),
                }
            }
            RequestEdit::Splice(part, with) => splices.push((part, with)),
        }
    }
    // The places are those of the body as it came: the last one first.
    splices.sort_by_key(|(part, _)| std::cmp::Reverse(part.start));
    for (part, with) in splices {
        rewritten::splice::<H>(part, with);
    }
}

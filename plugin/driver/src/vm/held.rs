//! Streams held for their request's body.

use std::time::Duration;

use hashbrown::HashMap;
use selvage_engine::time::Timestamp;

use crate::apply::forward;
use crate::host::{Calls, Level};
use crate::stream::{BuildIdHasher, Stream};

/// The streams that are held.
#[derive(Default)]
pub(super) struct HeldBodies {
    held: Vec<HeldBody>,
    /// Streams that wait for something else first, with the bytes of the body that have come, and whether it is whole.
    arrived: Vec<(u32, (usize, bool))>,
}

/// A stream held for its request's body.
struct HeldBody {
    context: u32,
    since: Timestamp,
    /// Bytes of the body taken in so far. Envoy shows all parts that are held, the earlier ones too.
    seen: usize,
}

impl HeldBodies {
    /// A stream is held from now on.
    pub fn add(&mut self, context: u32, now: Timestamp) {
        self.held.push(HeldBody { context, since: now, seen: 0 });
    }

    /// Bytes of the body taken in so far, if the stream is held.
    pub fn seen(&mut self, context: u32) -> Option<&mut usize> {
        self.held.iter_mut().find(|held| held.context == context).map(|held| &mut held.seen)
    }

    /// A stream is not held any more.
    pub fn forget(&mut self, context: u32) {
        self.held.retain(|held| held.context != context);
        self.take_arrived(context);
    }

    /// So much of the body has come of a stream that waits for something else. Where the host does not gather it, it cannot be
    /// read any more.
    pub fn note_arrived(&mut self, context: u32, size: usize, is_whole: bool) {
        let before = self.take_arrived(context).map_or(0, |(before, _)| before);
        self.arrived.push((context, (size.max(before), is_whole)));
    }

    /// What has come of the body of a stream that waited for something else, if any has.
    pub fn take_arrived(&mut self, context: u32) -> Option<(usize, bool)> {
        let at = self.arrived.iter().position(|(known, _)| *known == context)?;
        Some(self.arrived.swap_remove(at).1)
    }

    /// How much has come of the body of a stream that waits for something else.
    pub fn arrived(&self, context: u32) -> Option<usize> {
        self.arrived.iter().find(|(known, _)| *known == context).map(|(_, (size, _))| *size)
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Lets requests go whose bodies never came: Envoy shows bodies of held requests only where the plugin's
    /// `allow_on_headers_stop_iteration` is true.
    pub fn release<H: Calls>(&mut self, streams: &mut HashMap<u32, Stream, BuildIdHasher>, now: Timestamp) {
        self.held.retain(|held| {
            if held.seen > 0 || now.since(held.since) < HELD_AT_MOST {
                return true;
            }
            let stream = streams.remove(&held.context);
            if matches!(&stream, Some(Stream::Exchange(exchange)) if exchange.is_held()) {
                if H::act_for(held.context) {
                    // Never to the origin: it shows a token.
                    H::reply(408, "selvage", &[], b"");
                }
            } else if stream.is_some() && H::act_for(held.context) {
                H::log(
                    Level::Warn,
                    "a request's body did not come while its head was held; rules with key.body or llm need \
                     allow_on_headers_stop_iteration: true in the plugin's bootstrap, or a faster client",
                );
                if let Some(Stream::Exchange(exchange)) = &stream {
                    forward::<H>(&exchange.lets_go());
                }
                H::resume_request();
            }
            false
        });
    }
}

/// How long a request is held before its body begins to come.
const HELD_AT_MOST: Duration = Duration::from_secs(1);

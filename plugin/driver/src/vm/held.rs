//! Streams held for their request's body.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use selvage_engine::time::Timestamp;

use crate::apply::forward;
use crate::host::{Calls, Level};
use crate::stream::{BuildIdHasher, Stream};

/// The streams that are held.
#[derive(Default)]
pub(super) struct HeldBodies {
    held: Vec<HeldBody>,
    /// Streams that wait for something else first.
    arrived: HashMap<u32, Arrived, BuildIdHasher>,
    /// Bytes of these that are kept.
    kept: usize,
    /// Streams of whose bodies the host gathers what it shows.
    gathering: HashSet<u32, BuildIdHasher>,
}

/// What has come of the body of a stream that waits for something else.
#[derive(Default)]
pub(super) struct Arrived {
    /// So many bytes the host has gathered.
    pub gathered: usize,
    /// What the host holds and does not show again.
    pub kept: Vec<u8>,
    /// The length of what the host holds and does not show again, where no more is wanted.
    pub counted: usize,
    /// Some of it is not known any more.
    pub is_lost: bool,
    /// It is whole.
    pub is_whole: bool,
}

impl Arrived {
    /// Whether there is nothing of it.
    pub const fn is_nothing(&self) -> bool {
        self.gathered == 0 && !self.is_hidden() && !self.is_whole && !self.is_lost
    }

    /// Whether the host holds some of it and does not show it again.
    pub const fn is_hidden(&self) -> bool {
        self.counted > 0 || !self.kept.is_empty()
    }

    /// Whether not all of it can be read.
    pub const fn is_unreadable(&self) -> bool {
        self.is_lost || self.gathered > 0 && self.is_hidden() || self.counted > 0 && !self.kept.is_empty()
    }
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

    /// The host has gathered so much of the body of a stream that waits for something else.
    pub fn note_gathered(&mut self, context: u32, size: usize) {
        self.arrived.entry(context).or_default().gathered = size;
    }

    /// A part of the body of a stream that waits for something else, which the host does not show again. `None`: it is not kept.
    pub fn note_part(&mut self, context: u32, part: Option<Vec<u8>>) {
        let part = part.filter(|part| self.kept.saturating_add(part.len()) <= KEPT_AT_MOST);
        let arrived = self.arrived.entry(context).or_default();
        let Some(part) = part.filter(|_| !arrived.is_lost) else {
            arrived.is_lost = true;
            let kept = std::mem::take(&mut arrived.kept).len();
            self.kept = self.kept.saturating_sub(kept);
            return;
        };
        arrived.kept.extend_from_slice(&part);
        self.kept = self.kept.saturating_add(part.len());
    }

    /// A part of so many bytes of the body of a stream that waits for something else, which the host does not show again.
    pub fn note_length(&mut self, context: u32, bytes: usize) {
        let arrived = self.arrived.entry(context).or_default();
        arrived.counted = arrived.counted.saturating_add(bytes);
    }

    /// The body of a stream that waits for something else is whole.
    pub fn note_whole(&mut self, context: u32) {
        self.arrived.entry(context).or_default().is_whole = true;
    }

    /// What has come of the body of a stream that waited for something else, if any has.
    pub fn take_arrived(&mut self, context: u32) -> Option<Arrived> {
        if self.arrived.is_empty() {
            return None;
        }
        let arrived = self.arrived.remove(&context)?;
        self.kept = self.kept.saturating_sub(arrived.kept.len());
        Some(arrived)
    }

    /// What the host was told of a part of a body: whether it gathers what comes.
    pub fn note_gathering(&mut self, context: u32, gathers: bool) {
        if gathers {
            self.gathering.insert(context);
        } else if !self.gathering.is_empty() {
            self.gathering.remove(&context);
        }
    }

    /// Whether the host gathers a body that is not whole. It would not let go of the next part of one that is resumed (Envoy
    /// before `#46842`): such a stream goes on when that comes.
    pub fn is_gathering(&self, context: u32) -> bool {
        !self.gathering.is_empty() && self.gathering.contains(&context)
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

/// Bytes of bodies that are kept while their requests wait for Redis, in a worker.
const KEPT_AT_MOST: usize = 16 << 20;
/// How long a request is held before its body begins to come.
const HELD_AT_MOST: Duration = Duration::from_secs(1);

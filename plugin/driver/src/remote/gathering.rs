//! Lookups that wait for each other: what the requests of one turn of Envoy's event loop ask goes as one call.
//!
//! The first of them has the worker's own queue ring, which Envoy answers after what is at hand. A lookup that would be alone
//! does not wait: nothing is gathered unless another is under way, or the last call had several.

use std::time::Duration;

use selvage_engine::time::Timestamp;

use super::Asked;
use crate::host::Calls;

/// The lookups of one plugin that wait to be sent.
#[derive(Debug)]
pub struct Gathering {
    waiting: Vec<Asked>,
    /// Most of one call.
    most: usize,
    /// The same for now: fewer once an answer was too large for Envoy, or where values are large.
    now: usize,
    /// Bytes of what was found, on average.
    mean: usize,
    /// The last call had more than one.
    busy: bool,
    /// The queue that rings; `None` before the first request.
    bell: Option<u32>,
    /// The store takes no several at once before this.
    alone_until: Timestamp,
    /// It has taken several.
    proven: bool,
    /// Redis knows the script that looks up.
    pub(super) script_is_known: bool,
}

impl Gathering {
    /// At most `most` lookups in a call, fewer if records of `object_bytes` could be too many for what Envoy holds of an answer.
    pub fn new(most: usize, object_bytes: usize) -> Self {
        let most = most.clamp(1, MOST).min(ANSWER_BYTES / object_bytes.max(1)).max(1);
        let (waiting, alone_until, proven) = (Vec::new(), Timestamp::default(), false);
        Self {
            waiting,
            most,
            now: most,
            mean: 0,
            busy: false,
            bell: None,
            alone_until,
            proven,
            script_is_known: false,
        }
    }

    /// Lookups that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// They.
    pub fn waiting(&self) -> impl Iterator<Item = &Asked> {
        self.waiting.iter()
    }

    /// Takes the queue that rings, if it has none yet.
    pub fn listen(&mut self, bell: impl FnOnce() -> Option<u32>) {
        if self.most > 1 && self.bell.is_none() {
            self.bell = bell();
        }
    }

    /// Whether this queue is the one that rings.
    pub fn is_bell(&self, queue: u32) -> bool {
        self.bell == Some(queue)
    }

    /// Most commands of a call now; 1 if the store takes no several.
    pub fn most(&self, now: Timestamp) -> usize {
        let worthwhile = TARGET_BYTES / self.mean.max(1);
        if now < self.alone_until || worthwhile < FEWEST { 1 } else { self.now.min(worthwhile) }
    }

    /// Waits for others if there are some, or some are to be expected beside those `under_way`. `false` if the lookup is to be
    /// sent at once.
    pub fn takes<H: Calls>(&mut self, asked: Asked, under_way: usize, now: Timestamp) -> bool {
        let expected = self.busy || under_way > 0;
        let Some(bell) = self.bell.filter(|_| expected && self.most(now) > 1) else { return false };
        if self.waiting.first().is_none_or(|first| now.since(first.since) >= LONGEST) {
            H::ring(bell);
        }
        self.waiting.push(asked);
        true
    }

    /// Takes as many as one call may have.
    pub fn take<H: Calls>(&mut self, now: Timestamp) -> Vec<Asked> {
        self.busy = self.waiting.len() > 1;
        let rest = self.waiting.split_off(self.waiting.len().min(self.most(now)));
        if let Some(bell) = self.bell.filter(|_| !rest.is_empty()) {
            H::ring(bell);
        }
        std::mem::replace(&mut self.waiting, rest)
    }

    /// A tick has found some that still wait: the ring may have got lost.
    pub fn note_missed(&mut self) {
        self.bell = None;
    }

    /// The store has refused several at once, which may be its nature. `true` if that is news.
    pub fn refused(&mut self, now: Timestamp) -> bool {
        let is_news = self.alone_until == Timestamp::default();
        self.proven = false;
        self.alone_until = now.plus(ALONE_FOR);
        is_news
    }

    /// An answer to several has come.
    pub fn came(&mut self) {
        self.now = (self.now + 1).min(self.most);
        self.proven = true;
    }

    /// Whether the store is known to take several at once.
    pub const fn is_proven(&self) -> bool {
        self.proven
    }

    /// No answer to so many has come, as when it is more than Envoy holds of one.
    pub fn was_reset(&mut self, count: usize) {
        self.now = (count / 2).clamp(1, self.most);
    }

    /// A value of so many bytes was found.
    pub fn found(&mut self, bytes: usize) {
        self.mean = self.mean - self.mean / 8 + bytes / 8;
    }

    /// The lookups that wait for the configuration before.
    pub fn take_over(&mut self, before: Self) {
        self.waiting = before.waiting;
    }
}

/// An entry of the VM may answer so many streams; what more of them does to Envoy has been seen.
const MOST: usize = 16;
/// The bytes of an answer at most: Envoy's `http.async_response_buffer_limit` is 32 MiB, and a pipeline's values are in base64.
const ANSWER_BYTES: usize = 24 << 20;
/// The bytes of a call or of its answer that others are worth waiting for, and the fewest values: a call costs little beside large ones, and
/// the last of them would hold up the first.
pub(super) const TARGET_BYTES: usize = 160 << 10;
const FEWEST: usize = 4;
/// A ring that got lost is not waited for.
const LONGEST: Duration = Duration::from_millis(2);
/// How long a store that refused several at once is asked one by one.
const ALONE_FOR: Duration = Duration::from_secs(60);

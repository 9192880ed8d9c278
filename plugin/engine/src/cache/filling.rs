//! Room for bodies that are being stored while they stream. A client that does not read keeps its body from coming on, and must
//! not keep the room from others: a body that has hardly grown for a while is not stored after all.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::{Cache, Moment};
use crate::time::Timestamp;

/// All bodies of a worker that are being stored.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// Bytes taken.
    taken: Rc<Cell<usize>>,
    bodies: Vec<Weak<Inner>>,
}

/// A body that is being stored. The room that it has taken goes back with it.
#[derive(Debug)]
pub struct GrowingBody(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: RefCell<Vec<u8>>,
    taken: Cell<usize>,
    in_all: Rc<Cell<usize>>,
    /// When it had last grown by enough, and how long it was then.
    grown: Cell<(Timestamp, usize)>,
    ended: Cell<bool>,
}

impl Inner {
    fn end(&self) {
        self.ended.set(true);
        self.bytes.take();
        self.give_back();
    }

    fn give_back(&self) {
        self.in_all.set(self.in_all.get().saturating_sub(self.taken.take()));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl GrowingBody {
    /// Its length.
    pub fn len(&self) -> usize {
        self.0.bytes.borrow().len()
    }

    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it hardly grew for too long, and is not to be stored any more.
    pub fn has_ended(&self) -> bool {
        self.0.ended.get()
    }

    /// The whole, which is complete. Its room is given back.
    pub fn finish(self) -> Vec<u8> {
        self.0.give_back();
        self.0.bytes.take()
    }
}

impl Cache {
    /// Takes room for a body of which so much is to be expected at first. `None` if there is not enough.
    pub fn begin_body_of(&mut self, expected: usize, now: Timestamp) -> Option<GrowingBody> {
        let body = GrowingBody(Rc::new(Inner {
            bytes: RefCell::default(),
            taken: Cell::new(0),
            in_all: Rc::clone(&self.filling.taken),
            grown: Cell::new((now, 0)),
            ended: Cell::new(false),
        }));
        if !self.take_room(&body, expected, now)
            || body.0.bytes.borrow_mut().try_reserve_exact(expected).is_err()
        {
            return None;
        }
        let bodies = &mut self.filling.bodies;
        if bodies.len() == bodies.capacity() {
            bodies.retain(|body| body.strong_count() > 0);
        }
        bodies.push(Rc::downgrade(&body.0));
        Some(body)
    }

    /// A part of a body has come. `false` if there is no room for it.
    pub fn grow_body(&mut self, body: &GrowingBody, chunk: &[u8], now: Timestamp) -> bool {
        let length = body.len().saturating_add(chunk.len());
        let more = length.saturating_sub(body.0.taken.get());
        if body.has_ended() || !self.take_room(body, more, now) {
            return false;
        }
        let mut bytes = body.0.bytes.borrow_mut();
        if bytes.try_reserve(chunk.len()).is_err() {
            return false;
        }
        bytes.extend_from_slice(chunk);
        if length.saturating_sub(body.0.grown.get().1) >= ENOUGH {
            body.0.grown.set((now, length));
        }
        true
    }

    /// Bytes of bodies that are being stored.
    pub fn filling_bytes(&self) -> usize {
        self.filling.taken.get()
    }

    /// Ends the bodies that hardly grow, once half of the room is taken.
    pub(super) fn look_after_filling(&mut self, moment: &Moment<'_>) {
        if self.filling_bytes() > self.policy.worker.filling_bytes / 2 {
            self.end_stalled(moment.now);
        }
    }

    fn take_room(&mut self, body: &GrowingBody, bytes: usize, now: Timestamp) -> bool {
        let most = self.policy.worker.filling_bytes;
        let fits = |cache: &Self| cache.filling_bytes().saturating_add(bytes) <= most;
        if !fits(self) {
            self.end_stalled(now);
        }
        // It may have been one of them.
        if body.has_ended() || !fits(self) {
            return false;
        }
        body.0.taken.set(body.0.taken.get().saturating_add(bytes));
        self.filling.taken.set(self.filling_bytes().saturating_add(bytes));
        true
    }

    fn end_stalled(&mut self, now: Timestamp) {
        let stats = &mut self.stats;
        self.filling.bodies.retain(|body| {
            let Some(body) = body.upgrade() else { return false };
            let stalled = now.since(body.grown.get().0) >= STALLED_AFTER;
            if stalled {
                body.end();
                stats.count("event", "stalled");
            }
            !stalled
        });
    }
}

/// A body that has grown by less than [`ENOUGH`] in so long is one that nobody reads, or that hardly comes.
const STALLED_AFTER: Duration = Duration::from_secs(15);
const ENOUGH: usize = 16 << 10;

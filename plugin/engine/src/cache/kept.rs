//! What requests keep while they wait for a store, for another's fetch or for the origin: their heads and keys. It is counted in
//! bytes, since what a client writes once over HTTP/2 may be a thousand heads here.

use std::cell::Cell;
use std::rc::Rc;

use super::Cache;

/// Bytes that all requests of a worker keep.
#[derive(Debug, Default)]
pub(super) struct Sum(Rc<Cell<usize>>);

/// Bytes that one request keeps. They are given back with it.
#[derive(Debug)]
pub struct Kept {
    bytes: usize,
    sum: Rc<Cell<usize>>,
}

impl Kept {
    /// It keeps so many now.
    pub fn set(&mut self, bytes: usize) {
        self.sum.set(self.sum.get().saturating_sub(self.bytes).saturating_add(bytes));
        self.bytes = bytes;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Cache {
    /// Counts what a request keeps.
    pub fn keep(&self, bytes: usize) -> Kept {
        let mut kept = Kept { bytes: 0, sum: Rc::clone(&self.kept.0) };
        kept.set(bytes);
        kept
    }

    /// Whether a request may keep so many bytes (`worker.waiting_bytes`).
    pub fn has_room_to_wait(&self, bytes: usize) -> bool {
        self.waiting_bytes().saturating_add(bytes) <= self.policy.worker.waiting_bytes
    }

    /// Bytes that requests keep.
    pub fn waiting_bytes(&self) -> usize {
        self.kept.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_back_with_its_request() {
        let sum = Sum::default();
        let keep = |bytes| {
            let mut kept = Kept { bytes: 0, sum: Rc::clone(&sum.0) };
            kept.set(bytes);
            kept
        };
        let mut one = keep(10);
        let other = keep(5);
        assert_eq!(sum.0.get(), 15);
        one.set(3);
        assert_eq!(sum.0.get(), 8);
        drop(other);
        assert_eq!(sum.0.get(), 3);
        drop(one);
        assert_eq!(sum.0.get(), 0);
    }
}

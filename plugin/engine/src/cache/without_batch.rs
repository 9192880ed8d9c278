//! No batches where none are built in.

use super::Cache;
use crate::time::Timestamp;

impl Cache {
    /// Whether parts are to be asked for: none are.
    pub const fn has_parts(&self) -> bool {
        false
    }

    /// Whether batches wait for their parts: there are none.
    pub const fn has_open_batches(&self) -> bool {
        false
    }

    /// Sees to none.
    pub const fn look_after_batches(&mut self, _now: Timestamp) {}

    /// Nothing is decided.
    pub const fn take_decided_batches(&mut self) -> Vec<u64> {
        Vec::new()
    }

    /// Nothing is decided.
    pub const fn has_decided_batches(&self) -> bool {
        false
    }

    /// There is nothing to go on with.
    pub const fn take_over_batches(&mut self, _before: &mut Self) {}
}

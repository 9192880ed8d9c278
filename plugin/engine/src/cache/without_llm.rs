//! Nothing is asked together where no language models are known.

use super::{Cache, JoinedCall};
use crate::fields::Fields;
use crate::time::Timestamp;

impl Cache {
    /// Whether requests wait for others: none does.
    pub const fn has_open_joins(&self) -> bool {
        false
    }

    /// Whether requests wait for others, or calls are to be made: none.
    pub const fn has_joins(&self) -> bool {
        false
    }

    /// Sees to nobody.
    pub const fn look_after_joins(&mut self, _now: Timestamp) {}

    /// There is no call to be made.
    pub const fn next_joined_call(&mut self) -> Option<JoinedCall> {
        None
    }

    /// No call has been made.
    pub const fn joined_answered(&mut self, _id: u64, _answer: Option<(Fields<'_>, &[u8])>, _now: Timestamp) {
    }

    /// Nothing is decided.
    pub const fn take_decided_joins(&mut self) -> Vec<u64> {
        Vec::new()
    }

    /// Nothing is decided.
    pub const fn has_decided_joins(&self) -> bool {
        false
    }
}

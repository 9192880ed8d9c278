//! What checks the body of a request.

use super::Aside;
use crate::uploads::Guard;

impl Aside {
    /// Its body is checked from now on.
    pub(in crate::exchange) fn is_guarded_by(&mut self, guard: Box<Guard>) {
        self.kept.get_or_insert_default().guard = Some(guard);
    }

    /// What checks it.
    pub(in crate::exchange) fn guard(&self) -> Option<&Guard> {
        self.kept.as_ref()?.guard.as_deref()
    }

    /// What checks it, which is to see more of it.
    pub(in crate::exchange) fn guard_mut(&mut self) -> Option<&mut Guard> {
        self.kept.as_mut()?.guard.as_deref_mut()
    }

    /// Nothing more is to be checked.
    pub(in crate::exchange) fn take_guard(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.guard = None;
        }
    }

    /// Its head does not wait any more.
    pub(in crate::exchange) fn is_let_go(&mut self) {
        self.kept.get_or_insert_default().is_past_stages = true;
    }
}

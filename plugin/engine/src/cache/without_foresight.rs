//! What is done without the capability: nothing.

use std::time::Duration;

use std::rc::Rc;

use super::{Alert, Cache, Found, Moment, Warmed};
use crate::cache_control::ResponseDirectives;
use crate::fields::Fields;
use crate::freshness::Schedule;
use crate::stats::Word;
use crate::store::Slot;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;
use crate::url::Url;
use crate::warm::Ahead;

/// No lifetime is found otherwise.
pub(crate) type Adapting = ();

impl Cache {
    pub(crate) const fn note_answer(&mut self, _status: u16, _took: Duration) {}

    pub(crate) const fn adapts(
        &self,
        _rule: usize,
        _purged: bool,
        _status: u16,
        _head: Fields<'_>,
        _directives: &ResponseDirectives,
        _moment: &Moment<'_>,
    ) -> Option<Adapting> {
        None
    }

    pub(crate) const fn schedule_adapted(
        &self,
        _adapting: Option<Adapting>,
        schedule: Schedule,
        _hash: u128,
        _moment: &mut Moment<'_>,
    ) -> Schedule {
        schedule
    }

    pub(crate) const fn adapt_next(&mut self, _adapting: Option<Adapting>) {}

    pub(super) const fn take_adapting(&mut self) -> Option<Adapting> {
        None
    }

    pub(super) const fn adapted(
        &self,
        _adapting: Option<Adapting>,
        _hash: u128,
        _response: &mut StoredResponse,
        _moment: &mut Moment<'_>,
    ) {
    }

    pub(crate) fn freshened(
        &self,
        _rule: usize,
        _hash: u128,
        _old: &StoredResponse,
        fresh: Rc<StoredResponse>,
        _moment: &mut Moment<'_>,
    ) -> Rc<StoredResponse> {
        fresh
    }

    #[inline]
    pub(crate) const fn foretells(&self) -> bool {
        false
    }

    pub(crate) const fn note_sought(&mut self, _hash: u128, _found: &Found, _now: Timestamp) {}

    pub(super) const fn renewed_ahead(&mut self, _url: &Url, _ahead: Ahead, _end: &Warmed, _now: Timestamp) {}

    pub(super) const fn watch_departures(&mut self) {}

    pub(super) const fn note_fetched(
        &mut self,
        _hash: u128,
        _key_hash: u128,
        _slot: &Slot,
        _moment: &mut Moment<'_>,
    ) {
    }

    pub(super) const fn watch(&mut self, _moment: &mut Moment<'_>) {}

    pub(super) const fn foretold(&mut self) -> Vec<Alert> {
        Vec::new()
    }

    /// None.
    pub fn anomalies(&self) -> impl Iterator<Item = (Word, bool)> {
        std::iter::empty()
    }
}

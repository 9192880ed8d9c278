//! Which of the cache's own requests is next: those that renew, then those that warm.

use super::warming::{self, Prepared};
use crate::cache::{Cache, Moment, Refresh, Warmed};
use crate::host::IN_BROWSER;

impl Cache {
    /// The next refresh about which the remote store is to be asked. To be given back by [`Refresh::told`].
    pub fn next_question(&mut self, moment: &mut Moment<'_>) -> Option<Refresh> {
        for _ in 0..self.question_queue().len() {
            let refresh = self.question_queue().pop_front()?;
            if refresh.is_late(moment.now) {
                refresh.drop_late(self, moment);
            } else if refresh.asks_at() <= moment.now {
                return Some(refresh);
            } else {
                self.question_queue().push_back(refresh);
            }
        }
        None
    }

    /// The next request to send: what is to be renewed comes before what is only warmed.
    pub fn next_refresh(&mut self, moment: &mut Moment<'_>) -> Option<Refresh> {
        for _ in 0..self.refresh_queue().len() {
            let mut refresh = self.refresh_queue().pop_front()?;
            if refresh.is_late(moment.now) {
                refresh.drop_late(self, moment);
            } else if refresh.may_go(self, moment) {
                return Some(refresh);
            } else {
                self.refresh_queue().push_back(refresh);
            }
        }
        // A page has nobody to warm for.
        if IN_BROWSER { None } else { self.next_warm(moment) }
    }

    /// The next fetch to send, if the pace allows one.
    fn next_warm(&mut self, moment: &mut Moment<'_>) -> Option<Refresh> {
        let now = moment.now;
        for _ in 0..LOOKED_AT {
            if self.warm_queue().under_way() >= self.policy().warm.in_flight {
                return None;
            }
            let item = self.warm_queue().take(now)?;
            match warming::prepare(&item, self, moment) {
                // The remote store may have it.
                Prepared::Fetch(refresh) if refresh.question().is_some() => self.queue_refresh(*refresh),
                Prepared::Fetch(mut refresh) => {
                    if refresh.may_go(self, moment) {
                        return Some(*refresh);
                    }
                    self.queue_refresh(*refresh);
                    return None;
                }
                Prepared::Fresh => self.warmed(item, Warmed::Fresh, now),
                Prepared::Overtaken => self.warmed(item, Warmed::Overtaken, now),
                Prepared::Refused(why) => self.warmed(item, Warmed::Refused(why), now),
                Prepared::Later(pause) => self.warm_queue().later(item, now.plus(pause)),
                Prepared::TooFast => {
                    self.warm_queue().later(item, now);
                    return None;
                }
            }
        }
        None
    }
}

/// URLs looked at in one go; most of them need no fetch.
const LOOKED_AT: usize = 64;

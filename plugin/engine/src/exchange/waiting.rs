//! A request that waits for another's fetch.

use super::looking_up::Held;
use super::lookup::{Fetch, RemoteUse};
use super::{Directive, State};
use crate::cache::{Cache, FillId, Moment};
use crate::time::Timestamp;

/// What is known while it waits.
pub(super) struct Waiting {
    pub(super) held: Held,
    pub(super) fill: FillId,
    /// How often it has waited, this time included.
    pub(super) times: u8,
    /// When it began to.
    pub(super) since: Timestamp,
    /// When it has waited enough, over all times.
    pub(super) until: Timestamp,
}

/// Why it waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The fetch it waited for has ended.
    Ended,
    /// It has waited as long as it may.
    Enough,
    /// It is time to ask the remote store again, after [`Directive::AwaitMoment`].
    Poll,
    /// Its ticket has been decided, after `AwaitSlot`.
    Slot,
}

impl Waiting {
    /// The state of a request that begins to wait.
    pub(super) fn begin(self: Box<Self>) -> (State, Directive) {
        let directive = Directive::AwaitFill { hash: self.fill.hash(), until: self.until };
        (State::Waiting(self), directive)
    }

    pub(super) fn on_wake(
        self,
        wake: Wake,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let Self { held, fill, times, since, until } = self;
        if cache.has_handed() {
            cache.learn(moment);
        }
        let handed = cache.end_wait(fill);
        let alone = Fetch::Alone { waited: Some(since) };
        let identity = held.identity(cache);
        let fetch = match wake {
            Wake::Enough => {
                cache.stats.count("coalesce", "waited-enough");
                alone
            }
            // Never meant for this state: it is answered as if its fetch had ended.
            Wake::Ended | Wake::Poll | Wake::Slot if times >= MOST_TIMES || moment.now >= until => alone,
            // What it waited for was for others, or takes long.
            Wake::Ended | Wake::Poll | Wake::Slot if cache.has_parted(fill, identity, moment.now) => alone,
            Wake::Ended | Wake::Poll | Wake::Slot => Fetch::Undecided { waited: times, since: Some(since) },
        };
        let remote = if handed.is_empty() { RemoteUse::Possible } else { RemoteUse::FoundFirst };
        held.settle_with((handed, moment.now), remote, fetch, cache, moment)
    }

    /// The request is gone.
    pub(super) fn abandon(&self, cache: &mut Cache) {
        cache.end_wait(self.fill);
    }
}

/// How often a request waits: once for the first fetch, and again if its client went away or the response was for others.
const MOST_TIMES: u8 = 3;

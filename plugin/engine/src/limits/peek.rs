//! What a limit would say to a request: looked at, and nothing taken.

use super::{Keyed, Limits};
use crate::host::SharedData;
use crate::time::Timestamp;

/// What a key has, looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// Tokens, as far as this worker can see: others may hold some.
    pub left: u64,
    /// Milliseconds until a request would be admitted; 0: it is.
    pub wait: u64,
}

impl Limits {
    /// What a request would be told.
    pub fn peek(&mut self, keyed: &Keyed, now: Timestamp, data: &mut dyn SharedData) -> Peeked {
        let (now_ms, rate) = (now.as_millis(), &keyed.rate);
        let (held, refused_until) =
            self.slices.get(keyed.hash).map_or((0, 0), |slice| (slice.valid(now_ms), slice.refused_until));
        let level = self.pool.peek(keyed.hash, rate, now_ms, data);
        let missing = rate.units(keyed.cost.into()).saturating_sub(level);
        let wait = match held >= keyed.cost {
            true => 0,
            false => rate.time_for(missing).max(refused_until.saturating_sub(now_ms)),
        };
        Peeked { left: rate.tokens(level).saturating_add(held.into()), wait }
    }
}

//! The time of a node, which only the test moves.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, SystemTime},
};

/// Wall clock of a [`Node`](crate::Node); clones show the same time. It starts at 2026-01-01 00:00:00 UTC.
#[derive(Clone, Debug)]
pub struct Clock {
    nanoseconds: Rc<Cell<u64>>,
}

impl Clock {
    /// A clock at the start of 2026.
    pub fn new() -> Self {
        Self { nanoseconds: Rc::new(Cell::new(START_SECONDS * 1_000_000_000)) }
    }

    /// Lets time pass. Nothing else happens: ticks are given by [`Node::tick`](crate::Node::tick).
    pub fn advance(&self, by: Duration) {
        self.nanoseconds.set(self.nanoseconds.get() + u64::try_from(by.as_nanos()).unwrap());
    }

    /// Nanoseconds since the Unix epoch.
    pub fn nanoseconds(&self) -> u64 {
        self.nanoseconds.get()
    }

    /// The present time as an HTTP date (RFC 9110 §5.6.7).
    pub fn http_date(&self) -> String {
        self.http_date_in(0)
    }

    /// An HTTP date that many seconds from now; negative for the past.
    pub fn http_date_in(&self, seconds: i64) -> String {
        let now = i64::try_from(self.nanoseconds() / 1_000_000_000).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(now + seconds).unwrap());
        httpdate::fmt_http_date(time)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

const START_SECONDS: u64 = 1_767_225_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_show_the_same_time() {
        let clock = Clock::new();
        let other = clock.clone();
        clock.advance(Duration::from_secs(61));
        assert_eq!(other.http_date(), "Thu, 01 Jan 2026 00:01:01 GMT");
        assert_eq!(other.http_date_in(-61), "Thu, 01 Jan 2026 00:00:00 GMT");
    }
}

//! What a rule of the configuration wants of lifetimes and of what is stored.

pub use selvage_http::freshness::{
    Freshness, Heuristic, InitialAge, Lifetime, LifetimeSource, Overrides, Schedule, date_of, is_stream,
    lifetime,
};

use std::time::Duration;

use crate::policy::{Rule, SetCookie};

impl Overrides for Rule {
    #[inline]
    fn replace(&self) -> Option<Duration> {
        self.ttl.r#override
    }

    #[inline]
    fn by_status(&self) -> &[(u16, Duration)] {
        &self.ttl.statuses
    }

    #[inline]
    fn default(&self) -> Option<Duration> {
        self.ttl.default
    }

    #[inline]
    fn heuristic(&self) -> Option<Heuristic> {
        let (percent, max) = (self.ttl.heuristic_percent, self.ttl.heuristic_max);
        self.ttl.heuristic.then_some(Heuristic { percent, max })
    }

    #[inline]
    fn max(&self) -> Option<Duration> {
        self.ttl.max
    }

    #[inline]
    fn while_revalidate(&self) -> Option<Duration> {
        self.stale.while_revalidate
    }

    #[inline]
    fn if_error(&self) -> Option<Duration> {
        self.stale.if_error
    }

    #[inline]
    fn disconnected(&self) -> Duration {
        self.stale.disconnected
    }

    #[inline]
    fn statuses(&self) -> Option<&[u16]> {
        self.statuses.as_deref()
    }

    #[inline]
    fn stores_cookies(&self) -> bool {
        self.set_cookie != SetCookie::Refuse
    }
}

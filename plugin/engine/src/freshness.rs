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
        #[cfg(feature = "foresight")]
        return self.ttl.r#override.or_else(|| self.adaptive_floor(true));
        #[cfg(not(feature = "foresight"))]
        self.ttl.r#override
    }

    #[inline]
    fn by_status(&self) -> &[(u16, Duration)] {
        &self.ttl.statuses
    }

    #[inline]
    fn default(&self) -> Option<Duration> {
        #[cfg(feature = "foresight")]
        return self.adaptive_floor(false).or(self.ttl.default);
        #[cfg(not(feature = "foresight"))]
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

#[cfg(feature = "foresight")]
impl Rule {
    /// The least of the lifetimes by how often responses change, where these count, or count for what the origin names too. What
    /// it is in truth, is known when the response is.
    #[inline]
    fn adaptive_floor(&self, named: bool) -> Option<Duration> {
        let adaptive = self.ttl.adaptive.as_ref()?;
        (!named || adaptive.r#override).then_some(adaptive.min)
    }

    /// Whether a lifetime from such a source is one by how often the response changes.
    pub(crate) fn adapts(&self, source: LifetimeSource) -> bool {
        let Some(adaptive) = &self.ttl.adaptive else { return false };
        match source {
            LifetimeSource::Default => true,
            LifetimeSource::Override => adaptive.r#override && self.ttl.r#override.is_none(),
            _ => false,
        }
    }
}

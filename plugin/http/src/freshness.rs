//! How old a response is and how long it may be used: RFC 9111 §4.2 and RFC 5861.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::cache_control::{ResponseDirectives, delta_seconds};
use crate::fields::Fields;
use crate::firewall;
use crate::time::Timestamp;

/// What the operator of a cache wants where it is not what the origin says. Who wants nothing but a heuristic of a tenth, a day
/// at most, has `()`.
pub trait Overrides {
    /// Counts instead of what the origin says.
    fn replace(&self) -> Option<Duration> {
        None
    }

    /// Without explicit freshness: the lifetimes of statuses. They come before the default.
    fn by_status(&self) -> &[(u16, Duration)] {
        &[]
    }

    /// Without explicit freshness: the lifetime of the other statuses.
    fn default(&self) -> Option<Duration> {
        None
    }

    /// Without explicit freshness and any of these.
    fn heuristic(&self) -> Option<Heuristic> {
        Some(Heuristic { percent: 10, max: Duration::from_secs(86_400) })
    }

    /// No lifetime is longer.
    fn max(&self) -> Option<Duration> {
        None
    }

    /// `stale-while-revalidate` where the origin does not say.
    fn while_revalidate(&self) -> Option<Duration> {
        None
    }

    /// `stale-if-error` where the origin does not say.
    fn if_error(&self) -> Option<Duration> {
        None
    }

    /// How long a stale response may stand in when the origin cannot be reached.
    fn disconnected(&self) -> Duration {
        Duration::ZERO
    }

    /// The only statuses whose responses are to be stored, if there are such.
    fn statuses(&self) -> Option<&[u16]> {
        None
    }

    /// Whether a response with `Set-Cookie` may be stored.
    fn stores_cookies(&self) -> bool {
        false
    }
}

impl Overrides for () {}

/// A lifetime guessed from how long a response has been as it is (§4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// So much of the time since `Last-Modified`.
    pub percent: u8,
    /// No guess is longer.
    pub max: Duration,
}

/// Everything about a stored response's time, worked out once when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The moment at which the response's age was zero, by the cache's clock: age at `t` is `t - born`.
    pub born: Timestamp,
    /// When the response was received or last validated.
    pub received: Timestamp,
    /// Freshness lifetime, measured from `born` (§4.2.1).
    pub lifetime: Duration,
    /// How long after that it may be served while it is being revalidated (RFC 5861 §3).
    pub while_revalidate: Duration,
    /// How long after that it may stand in for an error of the origin (RFC 5861 §4).
    pub if_error: Duration,
    /// How long after that it may stand in when the origin cannot be reached (§4.2.4).
    pub disconnected: Duration,
}

impl Schedule {
    /// Works out the times of a response whose request left at `requested` and whose head came at `received`.
    pub fn new(
        status: u16,
        response: Fields<'_>,
        directives: &ResponseDirectives,
        overrides: &impl Overrides,
        requested: Timestamp,
        received: Timestamp,
    ) -> Self {
        let born = Self::birth(response, requested, received);
        let lifetime = lifetime(status, response, directives, overrides, received);
        let strict = directives.forbids_stale();
        let implied = directives.implies_no_stale();
        // What the origin says outright, else what the operator says, unless either kind of prohibition stands.
        let allowed = |said: Option<Duration>, wanted: Option<Duration>| match said {
            _ if strict => Duration::ZERO,
            Some(window) => window,
            None if implied => Duration::ZERO,
            None => wanted.unwrap_or_default(),
        };
        Self {
            born,
            received,
            lifetime: lifetime.length,
            while_revalidate: allowed(directives.stale_while_revalidate, overrides.while_revalidate()),
            if_error: allowed(directives.stale_if_error, overrides.if_error()),
            disconnected: allowed(None, Some(overrides.disconnected())),
        }
    }

    /// The moment from which the age of a response counts: `received - corrected_initial_age` (§4.2.3).
    #[inline]
    pub fn birth(response: Fields<'_>, requested: Timestamp, received: Timestamp) -> Timestamp {
        let initial_age = InitialAge::of(response, requested, received).corrected();
        let millis = u64::try_from(initial_age.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(received.as_millis().saturating_sub(millis))
    }

    /// The same with a lifetime that is shorter by up to `percent` of it: by how much depends on the `seed` and on when it
    /// was received, so that all who compute it agree and those that were received together do not end together.
    #[must_use]
    pub fn shortened(self, percent: u8, seed: u128) -> Self {
        if percent == 0 {
            return self;
        }
        let mut bytes = [0; 24];
        let (key, time) = bytes.split_at_mut(16);
        key.copy_from_slice(&seed.to_le_bytes());
        time.copy_from_slice(&self.received.as_millis().to_le_bytes());
        // Thousandths of the share.
        let part = u32::try_from(xxh3_64(&bytes) % 1001).unwrap_or_default();
        let less = self.lifetime / 100_000 * (u32::from(percent.min(100)) * part);
        let millis = u64::try_from(less.as_millis()).unwrap_or(u64::MAX);
        Self { lifetime: self.lifetime.saturating_sub(Duration::from_millis(millis)), ..self }
    }

    /// The response's age (§4.2.3).
    #[inline]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.born)
    }

    /// Whether the response is fresh, and if not, for what it may still be used.
    #[inline]
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        let age = self.age(now);
        match self.lifetime.checked_sub(age) {
            // §4.2: fresh while the lifetime is *greater* than the age.
            Some(remaining) if !remaining.is_zero() => Freshness::Fresh { remaining },
            _ => Freshness::Stale { by: age.saturating_sub(self.lifetime) },
        }
    }

    /// When it is fresh no more.
    #[inline]
    pub fn expires(&self) -> Timestamp {
        self.born.plus(self.lifetime)
    }

    /// When nothing can use this response any more, for stores that drop what is dead. A response with a
    /// validator stays useful for `keep` longer, since a 304 can bring it back to life.
    #[inline]
    pub fn dead_at(&self, keep: Duration) -> Timestamp {
        let stale_use = self.while_revalidate.max(self.if_error).max(self.disconnected).max(keep);
        self.expires().plus(stale_use)
    }
}

/// What the age of a response is made of when it arrives (§4.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialAge {
    /// Since its `Date`.
    pub apparent: Duration,
    /// Its `Age`.
    pub field: Duration,
    /// Since it was asked for.
    pub delay: Duration,
}

impl InitialAge {
    /// Of a response whose request left at `requested` and whose head came at `received`.
    pub fn of(response: Fields<'_>, requested: Timestamp, received: Timestamp) -> Self {
        let date = date_of(response).unwrap_or(received);
        // Date has whole seconds: within the second of its making a response is not yet a second old.
        let apparent = Duration::from_secs(received.as_secs().saturating_sub(date.as_secs()));
        Self { apparent, field: age_field(response), delay: received.since(requested) }
    }

    /// The age that counts: `corrected_initial_age`.
    pub fn corrected(&self) -> Duration {
        self.apparent.max(self.field.saturating_add(self.delay))
    }
}

/// The outcome of comparing lifetime and age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// May be used as it is.
    Fresh {
        /// The freshness that is left.
        remaining: Duration,
    },
    /// Must be validated, unless stale use is allowed.
    Stale {
        /// How long ago the lifetime ended.
        by: Duration,
    },
}

impl Freshness {
    /// Whether it is stale.
    pub const fn is_stale(self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

/// A freshness lifetime and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// How long, from the response's birth.
    pub length: Duration,
    /// Who said so.
    pub source: LifetimeSource,
    /// How long that would be without [`Overrides::max`].
    pub uncapped: Duration,
}

/// Where a freshness lifetime came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeSource {
    /// The origin's `s-maxage`.
    SMaxage,
    /// The origin's `max-age`.
    MaxAge,
    /// The origin's `Expires`.
    Expires,
    /// [`Overrides::replace`].
    Override,
    /// [`Overrides::by_status`].
    Status,
    /// [`Overrides::default`].
    Default,
    /// The heuristic of §4.2.2.
    Heuristic,
    /// Nobody: stale at once.
    None,
}

impl LifetimeSource {
    /// Whether the origin said so outright.
    pub const fn is_origin(self) -> bool {
        matches!(self, Self::SMaxage | Self::MaxAge | Self::Expires)
    }
}

/// Freshness lifetime (§4.2.1): what replaces the origin's word, then `s-maxage`, `max-age`, `Expires` minus `Date`, then the
/// operator's for the status or by default, then the heuristic; at most the operator's greatest. Without a valid `Date` the
/// response is as old as its arrival.
pub fn lifetime(
    status: u16,
    response: Fields<'_>,
    directives: &ResponseDirectives,
    overrides: &impl Overrides,
    received: Timestamp,
) -> Lifetime {
    let date = date_of(response).unwrap_or(received);
    let mut found = uncapped_lifetime(status, response, directives, overrides, date);
    if let Some(max) = overrides.max() {
        found.length = found.length.min(max);
    }
    found
}

fn uncapped_lifetime(
    status: u16,
    response: Fields<'_>,
    directives: &ResponseDirectives,
    overrides: &impl Overrides,
    date: Timestamp,
) -> Lifetime {
    let of = |length, source| Lifetime { length, source, uncapped: length };
    let told = directives.s_maxage.or(directives.max_age);
    let explicit = told.is_some() || !directives.targeted && response.get(b"expires").is_some();
    // What the origin calls stale at once, or what cannot be read, it has not called cacheable.
    let cacheable = explicit && told.is_none_or(|length| !length.is_zero());
    let listed = of_status(overrides, status).is_some()
        || overrides.statuses().is_some_and(|statuses| statuses.contains(&status));
    // An operator's lifetime does not widen what may be stored (RFC 9111 §3): it is for the statuses that may get a heuristic
    // one, for those that are named, and for what the origin calls public.
    let suits = listed
        || (directives.public || firewall::heuristically_storable_status(status)) && !is_stream(response);
    if let Some(length) = overrides.replace()
        && (cacheable || suits)
    {
        return of(length, LifetimeSource::Override);
    }
    if let Some(length) = directives.s_maxage {
        return of(length, LifetimeSource::SMaxage);
    }
    if let Some(length) = directives.max_age {
        return of(length, LifetimeSource::MaxAge);
    }
    if !directives.targeted
        && let Some(expires) = response.get(b"expires")
    {
        // Only the first of several lines counts, and an invalid date is one in the past (§5.3).
        let length = Timestamp::parse_http_date(expires).map(|at| at.since(date)).unwrap_or_default();
        return of(length, LifetimeSource::Expires);
    }
    if let Some(length) = of_status(overrides, status) {
        return of(length, LifetimeSource::Status);
    }
    if let Some(length) = overrides.default().filter(|_| suits) {
        return of(length, LifetimeSource::Default);
    }
    // RFC 9110 §15.1; what a request can provoke, only where it is listed.
    let heuristic =
        firewall::heuristically_storable_status(status) || listed && matches!(status, 405 | 414 | 501);
    if let Some(guess) = overrides.heuristic()
        && (directives.public || heuristic)
        && !is_stream(response)
        && let Some(modified) = response.get(b"last-modified").and_then(Timestamp::parse_http_date)
    {
        let since_change = date.since(modified);
        let share = since_change / 100 * u32::from(guess.percent);
        return of(share.min(guess.max), LifetimeSource::Heuristic);
    }
    of(Duration::ZERO, LifetimeSource::None)
}

/// Whether a response is made to be read while it is being sent, for as long as the client stays: nobody waits for its end,
/// and no lifetime is guessed for it.
pub fn is_stream(response: Fields<'_>) -> bool {
    let kind = response.get(b"content-type").unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let unbuffered =
        response.get(b"x-accel-buffering").is_some_and(|value| value.eq_ignore_ascii_case(b"no"));
    unbuffered
        || kind.eq_ignore_ascii_case(b"text/event-stream")
        || kind.eq_ignore_ascii_case(b"multipart/x-mixed-replace")
}

/// The operator's lifetime for a status without explicit freshness.
fn of_status(overrides: &impl Overrides, status: u16) -> Option<Duration> {
    overrides.by_status().iter().find(|(listed, _)| *listed == status).map(|(_, length)| *length)
}

/// The response's `Date`, if it has a valid one.
pub fn date_of(response: Fields<'_>) -> Option<Timestamp> {
    response.get(b"date").and_then(Timestamp::parse_http_date)
}

/// The `Age` the response came with: its first member, zero if absent or invalid (§5.1).
fn age_field(response: Fields<'_>) -> Duration {
    response.members(b"age").next().and_then(delta_seconds).unwrap_or_default()
}

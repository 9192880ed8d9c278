//! Points in time, and how HTTP writes them. The clock itself is the caller's.

mod http_date;
mod rfc3339;

use std::time::{Duration, SystemTime};

/// A moment, in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// Milliseconds, because an age that is rounded only once is never too young by a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The time that has passed since `earlier`; zero if it lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same in milliseconds, as far as they can be counted.
    pub fn millis_since(self, earlier: Self) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX)
    }

    /// The moment `by` earlier; the epoch at the earliest.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The moment `by` later; the last representable one on overflow.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// An HTTP-date in any of the three forms of RFC 9110 §5.6.7; `None` if it is not one.
    pub fn parse_http_date(value: &[u8]) -> Option<Self> {
        http_date::parse(value).map(Self::from_secs)
    }

    /// A moment of RFC 3339 in UTC and whole seconds, from 1970 on: `2026-12-01T02:00:00Z`. `None` for anything else.
    pub fn parse_rfc3339(value: &[u8]) -> Option<Self> {
        rfc3339::parse(value).map(Self::from_secs)
    }

    /// This moment as in RFC 3339, rounded down to a second. Moments past the year 9999 become its end.
    pub fn to_rfc3339(self) -> String {
        rfc3339::write(self.as_secs().min(LAST_HTTP_DATE))
    }

    /// When the month of this moment begins, and the next one, in UTC.
    pub fn month(self) -> (Self, Self) {
        let days = self.as_secs() / 86_400;
        let (year, month, day) = rfc3339::date(days);
        let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let next = http_date::seconds(year, month, 1, 0).unwrap_or(u64::MAX);
        (Self::from_secs((days + 1 - day) * 86_400), Self::from_secs(next))
    }

    /// This moment as an IMF-fixdate (RFC 9110 §5.6.7). Moments past the year 9999 become its end.
    pub fn to_http_date(self) -> String {
        let secs = self.as_secs().min(LAST_HTTP_DATE);
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
    }
}

/// 9999-12-31T23:59:59Z: the format has four digits for the year.
const LAST_HTTP_DATE: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_date_forms_mean_the_same_moment() {
        let moment = Timestamp::from_secs(784_111_777);
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(Timestamp::parse_http_date(date.as_bytes()), Some(moment), "{date}");
        }
        assert_eq!(moment.to_http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn what_is_not_a_date_is_none() {
        for text in ["0", "", "Sun, 06 Nov 1994 08:49:37 PST", "\u{e9}", "Thu, 99 Foo 2050 00:00:00 GMT"] {
            assert_eq!(Timestamp::parse_http_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_last_moments_do_not_overflow() {
        let last = Timestamp::from_millis(u64::MAX);
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(last.to_http_date(), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(Timestamp::default().since(last), Duration::ZERO);
    }
}

//! What comes of a run: whether its response ends the job, and after which pause it is tried again.

use std::time::Duration;

use crate::time::Timestamp;

/// Whether a response with this status ends a job. What says that the origin could not do it now does not: 408, 409, 425, 429 and 5xx.
pub const fn ends(status: u16) -> bool {
    matches!(status, 200..=499) && !matches!(status, 408 | 409 | 425 | 429)
}

/// The pause after so many tries: the first, doubled with each, up to the longest, of which chance (0 up to 1) leaves off up to half, so
/// that those who failed together do not come back together. What the origin asks for counts if it is longer, up to the longest.
pub fn pause(
    attempt: u32,
    (first, longest): (Duration, Duration),
    chance: f64,
    asked: Option<Duration>,
) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    let pause = first.saturating_mul(1 << doublings).min(longest).as_millis() as f64;
    let pause = Duration::from_millis((pause * (0.5 + chance.clamp(0.0, 1.0) / 2.0)) as u64);
    pause.max(asked.unwrap_or_default().min(longest))
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110 §10.2.3).
pub fn retry_after(value: &[u8], now: Timestamp) -> Option<Duration> {
    let value = value.trim_ascii();
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        let seconds = std::str::from_utf8(value).ok()?.parse().unwrap_or(u64::from(u32::MAX));
        return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    }
    Timestamp::parse_http_date(value).map(|date| date.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_the_origin_could_not_do_now_is_tried_again() {
        for status in [200, 201, 204, 301, 304, 400, 401, 404, 410, 422, 499] {
            assert!(ends(status), "{status}");
        }
        for status in [0, 100, 408, 409, 425, 429, 500, 501, 503, 599, 600] {
            assert!(!ends(status), "{status}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_chance_leaves_off_up_to_half() {
        let bounds = (SECOND, 10 * SECOND);
        let at = |attempt, chance| pause(attempt, bounds, chance, None).as_millis();
        assert_eq!(
            [1, 2, 3, 4, 5, 100].map(|attempt| at(attempt, 1.0)),
            [1000, 2000, 4000, 8000, 10_000, 10_000]
        );
        assert_eq!([at(1, 0.0), at(100, 0.0)], [500, 5000]);
        let heard = |seconds| pause(1, bounds, 1.0, Some(seconds * SECOND)).as_secs();
        assert_eq!([heard(0), heard(7), heard(3600)], [1, 7, 10]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_secs(784_111_777);
        assert_eq!(retry_after(b" 120", now), Some(120 * SECOND));
        assert_eq!(retry_after(b"Sun, 06 Nov 1994 08:49:47 GMT", now), Some(10 * SECOND));
        assert_eq!(retry_after(b"Sun, 06 Nov 1994 08:49:07 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after(b"99999999999999999999", now), Some(u32::MAX * SECOND));
        for bad in [&b""[..], b"-1", b"soon", b"1.5"] {
            assert_eq!(retry_after(bad, now), None);
        }
    }
}

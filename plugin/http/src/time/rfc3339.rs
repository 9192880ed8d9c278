//! Reads and writes moments as in `2026-12-01T02:00:00Z`: the part of RFC 3339 that has one way to write each second.

use super::http_date::{DAYS_TO_EPOCH, clock, number, seconds};

/// Seconds since the epoch. `None` for another zone, for fractions, small letters and leap seconds, and before 1970.
pub(super) fn parse(text: &[u8]) -> Option<u64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', time @ .., b'Z'] = text else { return None };
    let month = number(&[*m1, *m2]).filter(|month| (1..=12).contains(month))?;
    if time.ends_with(b"60") {
        return None;
    }
    seconds(number(&[*y1, *y2, *y3, *y4])?, month, number(&[*d1, *d2])?, clock(time)?)
}

/// The moment so many seconds after the epoch.
pub(super) fn write(secs: u64) -> String {
    let ((year, month, day), time) = (date(secs / 86_400), secs % 86_400);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day so many days after the epoch. Years begin in March, as where they are read.
pub(super) const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_EPOCH;
    // 400 years are 146,097 days; the corrections are for leap days in 4, 100 and 400 years.
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let months = (5 * day + 2) / 153;
    let day = day - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    let year = 400 * cycle + year + (month <= 2) as u64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        for (text, secs) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1999-12-31T23:59:59Z", 946_684_799),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2024-02-29T12:00:00Z", 1_709_208_000),
            ("2026-12-01T02:00:00Z", 1_796_090_400),
            ("2027-01-15T08:00:00Z", 1_800_000_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(secs), "{text}");
        }
    }

    #[test]
    fn what_is_written_otherwise_is_none() {
        for text in [
            "",
            "Z",
            "2026-12-01",
            "2026-12-01T02:00:00",
            "2026-12-01T02:00:00+00:00",
            "2026-12-01T02:00:00.5Z",
            "2026-12-01t02:00:00Z",
            "2026-12-01T02:00:00z",
            "2026-12-01 02:00:00Z",
            "2026-12-01T02:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T02:60:00Z",
            "2026-12-01T02:00:60Z",
            "2026-12-01T02:00:61Z",
            "2026-00-01T02:00:00Z",
            "2026-13-01T02:00:00Z",
            "2026-12-00T02:00:00Z",
            "2026-12-32T02:00:00Z",
            "2026-11-31T02:00:00Z",
            "2026-02-29T02:00:00Z",
            "2100-02-29T02:00:00Z",
            "1969-12-31T23:59:59Z",
            "02026-12-01T02:00:00Z",
            "+026-12-01T02:00:00Z",
            " 2026-12-01T02:00:00Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_day_reads_back_as_it_is_written() {
        for day in 0..60_000 {
            let secs = day * 86_400 + 3_723;
            assert_eq!(parse(write(secs).as_bytes()), Some(secs), "day {day}");
        }
    }
}

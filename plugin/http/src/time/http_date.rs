//! Reads HTTP-dates: RFC 9110 §5.6.7.
//!
//! The crate that writes them also reads them, but refuses a date whose weekday is wrong or whose letters have
//! another case, and caches downstream take those. What means one moment only is that moment.

/// Seconds since the epoch of an IMF-fixdate, an RFC 850 date or an asctime date. Names count in any case, and
/// the weekday is not checked against the date. `None` for anything else.
pub(super) fn parse(value: &[u8]) -> Option<u64> {
    let text = value.trim_ascii();
    let Some(comma) = text.iter().position(|byte| *byte == b',') else { return asctime(text) };
    let (weekday, rest) = text.split_at_checked(comma)?;
    let rest = rest.strip_prefix(b", ")?;
    if !weekday.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    match rest.len() {
        24 => imf_fixdate(rest),
        22 => rfc850(rest),
        _ => None,
    }
}

/// `06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<u64> {
    let [d1, d2, b' ', m1, m2, m3, b' ', y1, y2, y3, y4, b' ', time @ ..] = text else { return None };
    let day = number(&[*d1, *d2])?;
    seconds(number(&[*y1, *y2, *y3, *y4])?, month(&[*m1, *m2, *m3])?, day, gmt(time)?)
}

/// `06-Nov-94 08:49:37 GMT`. Which century two digits mean depends on the year of reading in the RFC; here they
/// mean 1970 to 2069, so that no clock is needed.
fn rfc850(text: &[u8]) -> Option<u64> {
    let [d1, d2, b'-', m1, m2, m3, b'-', y1, y2, b' ', time @ ..] = text else { return None };
    let year = match number(&[*y1, *y2])? {
        year @ 70.. => year + 1900,
        year => year + 2000,
    };
    seconds(year, month(&[*m1, *m2, *m3])?, number(&[*d1, *d2])?, gmt(time)?)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<u64> {
    let [w1, w2, w3, b' ', m1, m2, m3, b' ', d1, d2, b' ', rest @ ..] = text else { return None };
    let (time, year) = rest.split_at_checked(8)?;
    let [b' ', y1, y2, y3, y4] = year else { return None };
    if ![w1, w2, w3].into_iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    let day = if *d1 == b' ' { number(&[*d2])? } else { number(&[*d1, *d2])? };
    seconds(number(&[*y1, *y2, *y3, *y4])?, month(&[*m1, *m2, *m3])?, day, clock(time)?)
}

/// `08:49:37 GMT`, in seconds.
fn gmt(text: &[u8]) -> Option<u64> {
    let (time, zone) = text.split_at_checked(8)?;
    zone.eq_ignore_ascii_case(b" GMT").then(|| clock(time))?
}

/// `08:49:37`, in seconds. A leap second is the last one of its minute.
pub(super) fn clock(text: &[u8]) -> Option<u64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second.min(59))
}

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

/// 1 to 12.
fn month(name: &[u8; 3]) -> Option<u64> {
    const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let at = NAMES.chunks_exact(3).position(|known| known.eq_ignore_ascii_case(name))?;
    u64::try_from(at + 1).ok()
}

/// Puts date and time together. The days are counted in years that begin in March, so that the leap day is the
/// last of its year (the proleptic Gregorian calendar, as in RFC 3339).
pub(super) fn seconds(year: u64, month: u64, day: u64, time: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || day == 0 || day > longest {
        return None;
    }
    let march_year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    let days = march_year * 365 + march_year / 4 - march_year / 100 + march_year / 400 + day_of_year;
    Some(days.checked_sub(DAYS_TO_EPOCH)? * 86_400 + time)
}

/// Days from 0000-03-01 to 1970-01-01.
pub(super) const DAYS_TO_EPOCH: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_reads_back_as_it_is_written() {
        for day in (0..60_000u64).step_by(7).chain([11_016, 11_017, 11_382, 16_860, 47_540]) {
            let moment = crate::time::Timestamp::from_secs(day * 86_400 + 3_723);
            assert_eq!(parse(moment.to_http_date().as_bytes()), Some(moment.as_secs()), "day {day}");
        }
    }

    #[test]
    fn names_count_in_any_case_and_the_weekday_does_not() {
        for date in [
            "THU, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 AUG 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 gMT",
            "Mon, 18 Aug 2050 02:01:18 GMT",
            "Thursday, 18-Aug-50 02:01:18 GMT",
            "Thu Aug 18 02:01:18 2050",
        ] {
            assert_eq!(parse(date.as_bytes()), Some(2_544_400_878), "{date}");
        }
        assert!(parse(b"Thu Aug  8 02:01:18 2050").is_some());
    }

    #[test]
    fn what_may_mean_something_else_is_not_a_date() {
        for text in [
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 30 Feb 2050 02:01:18 GMT",
            "Thu, 00 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:00:00 GMT",
            "Thu, 18 Aug 1950 02:01:18 GMT",
            "0",
            "-1",
            "",
            ",",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}

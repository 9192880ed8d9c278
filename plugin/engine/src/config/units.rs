//! Durations and sizes with their units.

use std::time::Duration;

/// Reads a duration: digits and one of `ms`, `s`, `m`, `h`, `d`. `None` for anything else and on overflow.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let (_, millis) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*millis).map(Duration::from_millis)
}

/// Reads a size in bytes: digits and one of `B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`, or digits alone for bytes.
/// `None` for anything else and on overflow.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// The duration in the largest unit that shows it whole: `90s`, `2m`, `1d`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    show(millis, &DURATIONS)
}

/// The size in the largest binary unit that shows it whole: `64MiB`, `1000B`.
pub(crate) fn show_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    show(bytes, &SIZES)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

fn show(number: u64, units: &[(&str, u64)]) -> String {
    let largest = units.iter().rev().find(|(name, unit)| !name.is_empty() && number.is_multiple_of(*unit));
    largest.map_or_else(|| number.to_string(), |(name, unit)| format!("{}{name}", number / unit))
}

/// In milliseconds, ascending.
const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// In bytes. The decimal units stand before the binary ones, which `show_size` prefers.
const SIZES: [(&str, u64); 8] = [
    ("", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("0s", Some(0)),
            ("30", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("+1s", None),
            ("1.5h", None),
            ("1h30m", None),
            ("30 s", None),
            ("30S", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn sizes_have_decimal_or_binary_units() {
        for (text, bytes) in [
            ("64KiB", Some(65_536)),
            ("64MiB", Some(67_108_864)),
            ("1GiB", Some(1_073_741_824)),
            ("10kB", Some(10_000)),
            ("10MB", Some(10_000_000)),
            ("256B", Some(256)),
            ("256", Some(256)),
            ("64kb", None),
            ("64K", None),
            ("", None),
            ("-1B", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for millis in [0, 1, 250, 1_000, 90_000, 86_400_000] {
            let given = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(given)), Some(given));
        }
        for bytes in [0, 1, 1_000, 65_536, 734_003_200] {
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
    }
}

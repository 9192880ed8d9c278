//! What the tools' command lines have in common: bounds of numbers, and how a tool ends. `clap` reads them.
//!
//! ```
//! use clap::Parser;
//! use selvage_rig::arguments::{number, seconds};
//!
//! #[derive(Parser)]
//! struct Arguments {
//!     #[arg(long, default_value = "30", value_parser = seconds(2.0..=60.0))]
//!     seconds: std::time::Duration,
//!     #[arg(long, default_value = "1.5", value_parser = number(0.0..=3.0))]
//!     skew: f64,
//! }
//!
//! let arguments = Arguments::parse_from(["tool", "--seconds", "5"]);
//! assert_eq!((arguments.seconds.as_secs(), arguments.skew), (5, 1.5));
//! assert!(Arguments::try_parse_from(["tool", "--skew", "4"]).is_err());
//! ```

use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

/// How a tool ends: 0 if all was as it should be, 1 if not, and 2, after saying what is wrong, if it could not run.
pub fn ended(outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("selvage: {problem}");
            ExitCode::from(2)
        }
    }
}

/// Reads a number within a range.
pub fn number(
    range: RangeInclusive<f64>,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |value| {
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("a number from {} to {} is wanted", range.start(), range.end()))
    }
}

/// Reads a number of seconds within a range.
pub fn seconds(
    range: RangeInclusive<f64>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    let number = number(range);
    move |value| number(value).map(Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_within_their_range() {
        let read = number(0.0..=3.0);
        assert_eq!(["0", "0.5", "3"].map(|word| read(word).ok()), [Some(0.0), Some(0.5), Some(3.0)]);
        for word in ["4", "-0.1", "nan", "inf", "1s", ""] {
            assert_eq!(read(word).unwrap_err(), "a number from 0 to 3 is wanted", "{word}");
        }
    }
}

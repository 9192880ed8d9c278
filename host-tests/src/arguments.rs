//! Reads command lines of the form `--option value --flag`, and says clearly what is wrong with one.
//!
//! ```
//! use selvage_host_tests::arguments::CommandLine;
//!
//! # fn main() -> Result<(), String> {
//! let words = ["--seconds", "5", "--part", "herd", "--ours"].map(str::to_owned);
//! let mut given = CommandLine::new(words, "see ./host-tests/herd --help");
//! let (mut seconds, mut part, mut ours) = (30, None, false);
//! while let Some(option) = given.next_option() {
//!     match option.as_str() {
//!         "--seconds" => seconds = given.whole(2..=60)?,
//!         "--part" => part = Some(given.one_of(&["herd", "purge"])?),
//!         "--ours" => ours = true,
//!         _ => return Err(given.unknown()),
//!     }
//! }
//! assert_eq!((seconds, part.as_deref(), ours), (5, Some("herd"), true));
//! # Ok(())
//! # }
//! ```

use std::env;
use std::fmt::Display;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::vec;

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

/// The words of a command line. A value belongs to the option that was read last.
pub struct CommandLine {
    words: Peekable<vec::IntoIter<String>>,
    option: String,
    /// Where it stands what is allowed.
    see: &'static str,
}

impl CommandLine {
    /// These words. `see` ends messages: it says where it stands what is allowed, or what that is.
    pub fn new(words: impl IntoIterator<Item = String>, see: &'static str) -> Self {
        let words = words.into_iter().collect::<Vec<_>>().into_iter().peekable();
        Self { words, option: String::new(), see }
    }

    /// The words that this process was started with.
    pub fn of_process(see: &'static str) -> Self {
        Self::new(env::args().skip(1), see)
    }

    /// The next option, with its dashes; `None` at the end.
    pub fn next_option(&mut self) -> Option<String> {
        self.option = self.words.next()?;
        Some(self.option.clone())
    }

    /// What is wrong with an option that there is not.
    pub fn unknown(&self) -> String {
        format!("unknown argument '{}'; {}", self.option, self.see)
    }

    /// The option's value, whatever it is. What looks like the next option is none.
    pub fn text(&mut self) -> Result<String, String> {
        let value = self.words.next_if(|word| !word.starts_with("--"));
        value.ok_or_else(|| format!("{} needs a value; {}", self.option, self.see))
    }

    /// The option's value as the name of a file.
    pub fn file(&mut self) -> Result<PathBuf, String> {
        self.text().map(PathBuf::from)
    }

    /// The option's value, which is one of these.
    pub fn one_of(&mut self, allowed: &[&str]) -> Result<String, String> {
        let value = self.text()?;
        if allowed.contains(&value.as_str()) {
            return Ok(value);
        }
        let these =
            if let [only] = allowed { format!("'{only}'") } else { format!("one of {}", allowed.join(", ")) };
        Err(format!("{} takes {these}, not '{value}'", self.option))
    }

    /// The option's value as a whole number within a range.
    pub fn whole(&mut self, range: RangeInclusive<u64>) -> Result<u64, String> {
        let value = self.text()?;
        self.within(&value, "a whole number", &range)
    }

    /// The option's value as a number within a range.
    pub fn number(&mut self, range: RangeInclusive<f64>) -> Result<f64, String> {
        let value = self.text()?;
        self.within(&value, "a number", &range)
    }

    /// The option's value as a number within a range; `None` for `off`.
    pub fn number_or_off(&mut self, range: RangeInclusive<f64>) -> Result<Option<f64>, String> {
        let value = self.text()?;
        if value == "off" { Ok(None) } else { self.within(&value, "'off' or a number", &range).map(Some) }
    }

    fn within<N>(&self, value: &str, what: &str, range: &RangeInclusive<N>) -> Result<N, String>
    where
        N: FromStr + PartialOrd + Display,
    {
        let number = value.parse().ok().filter(|number| range.contains(number));
        let (low, high) = (range.start(), range.end());
        number.ok_or_else(|| format!("{} takes {what} from {low} to {high}, not '{value}'", self.option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `--it` and what follows it.
    fn read<R>(words: &str, read: impl FnOnce(&mut CommandLine) -> R) -> R {
        let mut given = CommandLine::new(words.split(' ').map(str::to_owned), "see --help");
        assert_eq!(given.next_option().as_deref(), Some("--it"));
        read(&mut given)
    }

    #[test]
    fn options_and_their_values_come_one_after_the_other() {
        let words = ["--a", "1", "--b", "--c", "x y", "--d", "-"].map(str::to_owned);
        let mut given = CommandLine::new(words, "see --help");
        assert_eq!(given.next_option().as_deref(), Some("--a"));
        assert_eq!(given.whole(1..=1), Ok(1));
        assert_eq!(given.next_option().as_deref(), Some("--b"));
        assert_eq!(given.next_option().as_deref(), Some("--c"));
        assert_eq!(given.text(), Ok("x y".to_owned()));
        assert_eq!(given.next_option().as_deref(), Some("--d"));
        assert_eq!(given.file(), Ok(PathBuf::from("-")));
        assert_eq!(given.next_option(), None);
    }

    #[test]
    fn an_unknown_option_and_a_missing_value_are_named() {
        let problem = read("--it", |given| given.unknown());
        assert_eq!(problem, "unknown argument '--it'; see --help");
        for words in ["--it", "--it --other 3"] {
            let problem = read(words, |given| given.whole(0..=9).unwrap_err());
            assert_eq!(problem, "--it needs a value; see --help");
        }
    }

    #[test]
    fn numbers_are_within_their_range() {
        for (word, value) in [("0", Some(0.0)), ("0.5", Some(0.5)), ("3", Some(3.0)), ("-0.1", None)] {
            assert_eq!(read(&format!("--it {word}"), |given| given.number(0.0..=3.0)).ok(), value, "{word}");
        }
        for word in ["4", "nan", "inf", "1s", ""] {
            let problem = read(&format!("--it {word}"), |given| given.number(0.0..=3.0).unwrap_err());
            assert_eq!(problem, format!("--it takes a number from 0 to 3, not '{word}'"));
        }
        for word in ["1", "61", "2.5", "-3", "many"] {
            let problem = read(&format!("--it {word}"), |given| given.whole(2..=60).unwrap_err());
            assert_eq!(problem, format!("--it takes a whole number from 2 to 60, not '{word}'"));
        }
    }

    #[test]
    fn a_word_is_one_of_those_allowed() {
        assert_eq!(read("--it b", |given| given.one_of(&["a", "b"])), Ok("b".to_owned()));
        let problem = read("--it c", |given| given.one_of(&["a", "b"]).unwrap_err());
        assert_eq!(problem, "--it takes one of a, b, not 'c'");
        let problem = read("--it on", |given| given.one_of(&["off"]).unwrap_err());
        assert_eq!(problem, "--it takes 'off', not 'on'");
        assert_eq!(read("--it off", |given| given.number_or_off(0.0..=3.0)), Ok(None));
        assert_eq!(read("--it 2", |given| given.number_or_off(0.0..=3.0)), Ok(Some(2.0)));
        let problem = read("--it 4", |given| given.number_or_off(0.0..=3.0).unwrap_err());
        assert_eq!(problem, "--it takes 'off' or a number from 0 to 3, not '4'");
    }
}

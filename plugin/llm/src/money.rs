//! Money, in integers. Nothing is a float: what is written in decimals is read as decimals.

use std::fmt;

use thiserror::Error;

use crate::formats::Usage;

/// An amount in 10⁻⁹ of a currency. Sums stop at the largest, 18 thousand million of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many 10⁻⁹.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// So many 10⁻⁹.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads a decimal, exactly: `2.5`, `10`, `1e-3`.
    ///
    /// # Errors
    /// It is no such number, is negative, has digits below 10⁻⁹, or is too large.
    pub fn parse(decimal: &str) -> Result<Self, MoneyError> {
        let (mantissa, power) = match decimal.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse::<i32>().map_err(|_| MoneyError::Syntax)?),
            None => (decimal, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return Err(MoneyError::Syntax),
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(MoneyError::Syntax);
        }
        let digits = format!("{whole}{fraction}");
        let zeros = digits.bytes().rev().take_while(|digit| *digit == b'0').count();
        let (digits, _) = digits.split_at_checked(digits.len().saturating_sub(zeros)).unwrap_or(("", ""));
        if digits.is_empty() {
            return Ok(Self::ZERO);
        }
        let signed = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let shift = power
            .saturating_sub(signed(fraction.len()))
            .saturating_add(signed(zeros))
            .saturating_add(NANO_DIGITS);
        let shift = u32::try_from(shift).map_err(|_| MoneyError::TooFine)?;
        let number: u64 = digits.parse().map_err(|_| MoneyError::TooLarge)?;
        let nanos = 10_u64.checked_pow(shift).and_then(|ten| number.checked_mul(ten));
        nanos.map(Self).ok_or(MoneyError::TooLarge)
    }
}

impl fmt::Display for Money {
    /// As a decimal, without zeros at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / NANOS, self.0 % NANOS);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{fraction:09}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

/// Why a decimal is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// It is no decimal, or negative.
    #[error("is no decimal number from 0")]
    Syntax,
    /// It has digits below 10⁻⁹.
    #[error("has more than nine digits behind the point")]
    TooFine,
    /// It is more than can be counted.
    #[error("is too large")]
    TooLarge,
}

/// What a million tokens of a model cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Of the input.
    pub input: Money,
    /// Of the input that the provider has in its cache; as the rest if it is not told.
    pub cached: Option<Money>,
    /// Of the input that it puts into its cache; as the rest if it is not told.
    pub cache_write: Option<Money>,
    /// Of the output.
    pub output: Money,
}

impl Price {
    /// What a usage costs: exact, and what is below 10⁻⁹ is rounded up, once for all of it.
    pub fn cost(&self, usage: &Usage) -> Money {
        let cached = usage.cached.min(usage.input);
        let written = usage.cache_write.min(usage.input.saturating_sub(cached));
        let plain = usage.input.saturating_sub(cached).saturating_sub(written);
        let parts = [
            (plain, self.input),
            (cached, self.cached.unwrap_or(self.input)),
            (written, self.cache_write.unwrap_or(self.input)),
            (usage.output, self.output),
        ];
        // No part is beyond 128 bits, and a sum that is costs more than can be counted anyway.
        let sum = parts.iter().fold(0_u128, |sum, (tokens, price)| {
            sum.saturating_add(u128::from(*tokens).saturating_mul(u128::from(price.nanos())))
        });
        Money(u64::try_from(sum.div_ceil(PRICED)).unwrap_or(u64::MAX))
    }
}

/// The tokens that a request may cost at most, as far as can be told before it is asked: a third of its bytes as input, and
/// all the output that it allows. `answers` is its `n`.
pub fn reservation(request_bytes: u64, max_output: u64, answers: u64) -> Usage {
    Usage {
        input: request_bytes.div_ceil(3),
        output: max_output.saturating_mul(answers.max(1)),
        ..Usage::default()
    }
}

/// Prices by model.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// By the beginning of a model's name, sorted.
    by_name: Vec<(Box<str>, Price)>,
}

impl Prices {
    /// Sets the price of the models whose names begin with `name`. The empty one is for those that have no other.
    pub fn insert(&mut self, name: &str, price: Price) {
        match self.by_name.binary_search_by(|(known, _)| (**known).cmp(name)) {
            Ok(place) => {
                if let Some((_, known)) = self.by_name.get_mut(place) {
                    *known = price;
                }
            }
            Err(place) => self.by_name.insert(place, (name.into(), price)),
        }
    }

    /// The price of a model: its own, or that of the longest beginning of its name. `None` if nobody has set any.
    pub fn of(&self, model: &str) -> Option<&Price> {
        self.by_name
            .iter()
            .filter(|(name, _)| model.starts_with(&**name))
            .max_by_key(|(name, _)| name.len())
            .map(|(_, price)| price)
    }
}

impl<'a> FromIterator<(&'a str, Price)> for Prices {
    fn from_iter<I: IntoIterator<Item = (&'a str, Price)>>(prices: I) -> Self {
        let mut all = Self::default();
        for (name, price) in prices {
            all.insert(name, price);
        }
        all
    }
}

const NANOS: u64 = 1_000_000_000;
const NANO_DIGITS: i32 = 9;
/// A price is for so many tokens.
const PRICED: u128 = 1_000_000;

#[cfg(test)]
#[path = "money_tests.rs"]
mod tests;

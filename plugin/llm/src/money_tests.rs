use super::*;
use crate::chance::Chance;

fn price(input: &str, cached: Option<&str>, cache_write: Option<&str>, output: &str) -> Price {
    let money = |decimal| Money::parse(decimal).unwrap();
    Price {
        input: money(input),
        cached: cached.map(money),
        cache_write: cache_write.map(money),
        output: money(output),
    }
}

/// A natural number of any size, by its decimal digits, the lowest first: slow, and nothing like what is tested.
#[derive(Clone, Debug, PartialEq)]
struct Natural(Vec<u8>);

impl Natural {
    fn of(number: u64) -> Self {
        Self(number.to_string().bytes().rev().map(|digit| digit - b'0').collect())
    }

    fn plus(&self, other: &Self) -> Self {
        let mut carry = 0;
        let mut digits = Vec::new();
        for place in 0..self.0.len().max(other.0.len()) + 1 {
            let sum = self.0.get(place).unwrap_or(&0) + other.0.get(place).unwrap_or(&0) + carry;
            digits.push(sum % 10);
            carry = sum / 10;
        }
        Self(digits).trimmed()
    }

    fn times(&self, other: &Self) -> Self {
        let mut product = Self(vec![0]);
        for (place, digit) in other.0.iter().enumerate() {
            let mut shifted = vec![0; place];
            shifted.extend(&self.0);
            for _ in 0..*digit {
                product = product.plus(&Self(shifted.clone()));
            }
        }
        product
    }

    /// Divided by 10⁶, rounded up.
    fn per_million(&self) -> Self {
        let fraction = self.0.iter().take(6).any(|digit| *digit != 0);
        let whole = Self(self.0.iter().skip(6).copied().collect()).trimmed();
        if fraction { whole.plus(&Self::of(1)) } else { whole }
    }

    fn trimmed(mut self) -> Self {
        while self.0.len() > 1 && self.0.last() == Some(&0) {
            self.0.pop();
        }
        if self.0.is_empty() {
            self.0.push(0);
        }
        self
    }

    fn saturated(&self) -> u64 {
        let text: String = self.0.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
        text.parse().unwrap_or(u64::MAX)
    }
}

#[test]
fn costs_equal_those_of_a_reckoning_with_numbers_of_any_size() {
    let mut chance = Chance::new(51);
    let mut saturated = 0;
    for _ in 0..3_000 {
        let mut any = |least: u32| chance.number() >> (least as usize + chance.below(64 - least as usize));
        let bits = if any(0) % 4 == 0 { 0 } else { 30 };
        let usage = Usage {
            input: any(bits),
            cached: any(bits),
            cache_write: any(bits),
            output: any(bits),
            reasoning: 0,
        };
        let price = Price {
            input: Money(any(bits)),
            cached: (any(0) % 2 == 0).then(|| Money(any(bits))),
            cache_write: (any(0) % 2 == 0).then(|| Money(any(bits))),
            output: Money(any(bits)),
        };
        let cached = usage.cached.min(usage.input);
        let written = usage.cache_write.min(usage.input - cached);
        let sum = [
            (usage.input - cached - written, price.input),
            (cached, price.cached.unwrap_or(price.input)),
            (written, price.cache_write.unwrap_or(price.input)),
            (usage.output, price.output),
        ]
        .iter()
        .fold(Natural::of(0), |sum, (tokens, price)| {
            sum.plus(&Natural::of(*tokens).times(&Natural::of(price.0)))
        });
        let wanted = sum.per_million().saturated();
        assert_eq!(price.cost(&usage).nanos(), wanted, "{usage:?} {price:?}");
        saturated += usize::from(wanted == u64::MAX);
    }
    assert!(saturated > 10 && saturated < 1_500, "{saturated}");
}

#[test]
fn decimals_are_read_exactly() {
    use MoneyError::{Syntax, TooFine, TooLarge};
    for (decimal, nanos) in [
        ("0", Ok(0)),
        ("0.000", Ok(0)),
        ("2.5", Ok(2_500_000_000)),
        ("10", Ok(10_000_000_000)),
        ("1.25000000000000000000", Ok(1_250_000_000)),
        ("0.000000001", Ok(1)),
        ("1e-9", Ok(1)),
        ("7.5E-2", Ok(75_000_000)),
        ("1.5e+3", Ok(1_500_000_000_000)),
        ("18446744073.709551615", Ok(u64::MAX)),
        ("18446744073.709551616", Err(TooLarge)),
        ("99999999999999999999", Err(TooLarge)),
        ("1e99", Err(TooLarge)),
        ("0e99", Ok(0)),
        ("0.0000000001", Err(TooFine)),
        ("1e-10", Err(TooFine)),
        ("1e-99999", Err(TooFine)),
        ("", Err(Syntax)),
        (".5", Err(Syntax)),
        ("5.", Err(Syntax)),
        ("-1", Err(Syntax)),
        ("+1", Err(Syntax)),
        ("1,5", Err(Syntax)),
        ("1e", Err(Syntax)),
        ("1e99999999999", Err(Syntax)),
        ("1.2.3", Err(Syntax)),
        ("NaN", Err(Syntax)),
    ] {
        assert_eq!(Money::parse(decimal).map(Money::nanos), nanos, "{decimal}");
    }
}

#[test]
fn amounts_read_back_as_they_are_written() {
    let mut chance = Chance::new(52);
    for _ in 0..2_000 {
        let money = Money(chance.number() >> chance.below(64));
        assert_eq!(Money::parse(&money.to_string()), Ok(money));
    }
    assert_eq!(Money(2_500_000_000).to_string(), "2.5");
    assert_eq!(Money(1).to_string(), "0.000000001");
}

#[test]
fn a_fraction_is_rounded_up_once_for_the_whole_request() {
    let price = price("0.000001", None, None, "0.000001");
    // 1000 · 10⁻⁹ for a million: a token of each is 2 · 10⁻¹² together.
    let one = Usage { input: 1, output: 1, ..Usage::default() };
    assert_eq!(price.cost(&one), Money(1));
    let thousand = Usage { input: 500, output: 500, ..Usage::default() };
    assert_eq!(price.cost(&thousand), Money(1));
    assert_eq!(price.cost(&Usage::default()), Money::ZERO);
}

/// <https://github.com/BerriAI/litellm/issues/9812>
#[test]
fn what_is_written_to_a_cache_is_paid_once() {
    let mut answer = crate::formats::Answer::new(crate::formats::Api::Messages, crate::formats::Body::Json);
    answer.push(br#"{"usage":{"input_tokens":3,"cache_creation_input_tokens":12304,"cache_read_input_tokens":0,"output_tokens":550}}"#);
    let usage = answer.finish().usage.unwrap();
    let price = price("3", Some("0.3"), Some("3.75"), "15");
    assert_eq!(price.cost(&usage).to_string(), "0.054399");
}

#[test]
fn a_model_has_its_own_price_or_that_of_the_longest_beginning() {
    let one = |nanos| Price { input: Money(nanos), ..Price::default() };
    let prices: Prices = [("gpt-4o", one(1)), ("gpt-4o-mini", one(2)), ("gpt-", one(3)), ("claude", one(4))]
        .into_iter()
        .collect();
    let of = |model| prices.of(model).map(|price| price.input.nanos());
    assert_eq!(of("gpt-4o"), Some(1));
    assert_eq!(of("gpt-4o-2024-11-20"), Some(1));
    assert_eq!(of("gpt-4o-mini"), Some(2));
    assert_eq!(of("gpt-4o-mini-2024-07-18"), Some(2));
    assert_eq!(of("gpt-3"), Some(3));
    assert_eq!(of("gpt"), None);
    assert_eq!(of("llama"), None);
    let mut prices = prices.clone();
    prices.insert("", one(9));
    prices.insert("claude", one(5));
    assert_eq!(prices.of("llama").map(|price| price.input.nanos()), Some(9));
    assert_eq!(prices.of("claude-x").map(|price| price.input.nanos()), Some(5));
}

#[test]
fn what_is_reserved_covers_all_answers() {
    assert_eq!(reservation(100, 50, 3), Usage { input: 34, output: 150, ..Usage::default() });
    assert_eq!(reservation(0, 50, 0), Usage { input: 0, output: 50, ..Usage::default() });
    assert_eq!(reservation(u64::MAX, u64::MAX, 2).output, u64::MAX);
    let price = price("2.5", None, None, "10");
    assert_eq!(price.cost(&reservation(3_000, 1_000, 1)).to_string(), "0.0125");
}

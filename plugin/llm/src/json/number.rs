//! Numbers by their value.

use super::Ambiguous;

/// Appends the one spelling of a number's value to `out`.
///
/// It is that of RFC 8785 (ECMAScript's) for every number that a double holds in its shortest decimal form, `1e2` as
/// `100` and `-0.0` as `0`. Where RFC 8785 would round, nothing is: 9007199254740993 stays what it is, so that two
/// different numbers never share a spelling. `lexical` is a number by the grammar of JSON.
///
/// # Errors
/// The exponent has more digits than anybody means.
pub fn normal_number(lexical: &[u8], out: &mut Vec<u8>) -> Result<(), Ambiguous> {
    rounded_number(lexical, usize::MAX, out)
}

/// The same of the nearest number that has no more than so many significant digits, at least one. Of two that are as near, the
/// one further from zero.
///
/// # Errors
/// As [`normal_number`].
pub fn rounded_number(lexical: &[u8], significant: usize, out: &mut Vec<u8>) -> Result<(), Ambiguous> {
    let (negative, unsigned) = match lexical.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, lexical),
    };
    let e = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, power) = unsigned.split_at_checked(e).unwrap_or((unsigned, &[]));
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let mut digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..zeros);
    let carried = round(&mut digits, significant);
    if digits.is_empty() {
        out.push(b'0');
        return Ok(());
    }
    if negative {
        out.push(b'-');
    }
    // The value is 0.DIGITS times ten to the power of this.
    let shift = signed(point).saturating_sub(signed(zeros)).saturating_add(exponent(power)?);
    spell(&digits, shift.saturating_add(i64::from(carried)), out);
    Ok(())
}

/// Leaves so many of the digits, rounded, without zeros at the end. Whether there is one more before them: 999 becomes 1000.
fn round(digits: &mut Vec<u8>, significant: usize) -> bool {
    let Some(next) = digits.get(significant).copied() else { return false };
    digits.truncate(significant);
    if next >= b'5' {
        while digits.last() == Some(&b'9') {
            digits.pop();
        }
        match digits.last_mut() {
            Some(last) => *last += 1,
            None => {
                digits.push(b'1');
                return true;
            }
        }
    }
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    false
}

/// The value of a number in the spelling of [`normal_number`], if it is whole and fits.
pub fn whole_number(normal: &[u8]) -> Option<u64> {
    std::str::from_utf8(normal).ok()?.parse().ok()
}

/// ECMAScript's `Number::toString`, for 0.`digits` · 10^`shift`.
fn spell(digits: &[u8], shift: i64, out: &mut Vec<u8>) {
    let count = signed(digits.len());
    let zeros = |count: i64| std::iter::repeat_n(b'0', usize::try_from(count).unwrap_or(0));
    if (1..=21).contains(&shift) {
        let (whole, fraction) =
            digits.split_at_checked(usize::try_from(shift).unwrap_or(0)).unwrap_or((digits, &[]));
        out.extend_from_slice(whole);
        out.extend(zeros(shift.saturating_sub(count)));
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else if (-5..=0).contains(&shift) {
        out.extend_from_slice(b"0.");
        out.extend(zeros(shift.saturating_neg()));
        out.extend_from_slice(digits);
    } else {
        let (first, more) = digits.split_at_checked(1).unwrap_or((digits, &[]));
        out.extend_from_slice(first);
        if !more.is_empty() {
            out.push(b'.');
            out.extend_from_slice(more);
        }
        out.extend_from_slice(format!("e{:+}", shift.saturating_sub(1)).as_bytes());
    }
}

/// What follows the mantissa, such as `e+05`; nothing is 0.
fn exponent(power: &[u8]) -> Result<i64, Ambiguous> {
    let Some((_, power)) = power.split_first() else { return Ok(0) };
    let (negative, digits) = match power.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, power),
    };
    let mut value = 0_i64;
    for digit in digits {
        value = value.saturating_mul(10).saturating_add(i64::from(digit.saturating_sub(b'0')));
        if value > MAX_POWER {
            return Err(Ambiguous::Number);
        }
    }
    Ok(if negative { value.saturating_neg() } else { value })
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Far beyond every double, and far from where sums of exponents saturate.
const MAX_POWER: i64 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn normal(lexical: &str) -> String {
        let mut out = Vec::new();
        normal_number(lexical.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_value_has_one_spelling() {
        for (spelling, lexicals) in [
            ("0", &["0", "-0", "0.0", "-0.000", "0e5", "0E-99999999999999999999"][..]),
            ("1", &["1", "1.0", "1e0", "10e-1", "0.1E+1", "0.01e2"]),
            ("100", &["100", "1e2", "100.00"]),
            ("0.7", &["0.7", "0.70", "7e-1", "70e-2"]),
            ("-1.5", &["-1.5", "-15e-1"]),
            ("0.000001", &["0.000001", "1e-6"]),
            ("1e-7", &["0.0000001", "1E-07"]),
            ("1e+21", &["1000000000000000000000", "1e21"]),
            ("100000000000000000000", &["1e20"]),
            ("9007199254740993", &["9007199254740993", "9007199254740993.0"]),
            ("1.25e+400", &["1.25e400", "125E+398"]),
        ] {
            for lexical in lexicals {
                assert_eq!(normal(lexical), spelling, "{lexical}");
            }
        }
    }

    #[test]
    fn numbers_that_a_double_takes_for_one_stay_apart() {
        assert_ne!(normal("9007199254740992"), normal("9007199254740993"));
        assert_ne!(normal("0.1"), normal("0.1000000000000000055511151231257827"));
        assert_ne!(normal("1e999"), normal("1e1000"));
    }

    #[test]
    fn numbers_are_rounded_to_their_significant_digits() {
        for (lexical, digits, spelling) in [
            ("0.123456", 4, "0.1235"),
            ("0.12344999", 4, "0.1234"),
            ("-0.12345", 4, "-0.1235"),
            ("99995", 4, "100000"),
            ("9.9994e-3", 4, "0.009999"),
            ("9.9996", 4, "10"),
            ("1.0000000001", 4, "1"),
            ("120", 1, "100"),
            ("0.00000", 1, "0"),
            ("95", 1, "100"),
            ("1234", 4, "1234"),
        ] {
            let mut out = Vec::new();
            rounded_number(lexical.as_bytes(), digits, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), spelling, "{lexical} to {digits}");
        }
    }

    #[test]
    fn an_exponent_that_nobody_means_is_refused() {
        let mut out = Vec::new();
        for lexical in ["1e99999999999999999999", "1e-1000000000001"] {
            assert_eq!(normal_number(lexical.as_bytes(), &mut out), Err(Ambiguous::Number));
        }
    }

    #[test]
    fn doubles_are_spelt_as_rfc_8785_says() {
        let mut chance = Chance::new(1);
        for _ in 0..20_000 {
            let double = f64::from_bits(chance.number());
            if !double.is_finite() {
                continue;
            }
            // Both of Rust's forms have the shortest digits that read back as the same double.
            let (fixed, scientific) = (format!("{double}"), format!("{double:e}"));
            assert_eq!(normal(&fixed), normal(&scientific));
            assert_eq!(normal(&scientific).parse::<f64>().unwrap(), double);
        }
        for (double, spelling) in [
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1e23, "1e+23"),
            (333_333_333.333_333_3, "333333333.3333333"),
            (4.5, "4.5"),
            (2e-3, "0.002"),
            (1e-27, "1e-27"),
        ] {
            assert_eq!(normal(&format!("{double:e}")), spelling);
        }
    }

    #[test]
    fn whole_numbers_are_read() {
        for (normal, whole) in
            [("0", Some(0)), ("100", Some(100)), ("1.5", None), ("-1", None), ("1e+21", None)]
        {
            assert_eq!(whole_number(normal.as_bytes()), whole);
        }
    }
}

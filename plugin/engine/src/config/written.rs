//! JSON as the operator wrote it, before it means anything.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A JSON value. Unlike `serde_json::Value` it keeps repeated members, so that the reader can report them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Written {
    Null,
    Switch(bool),
    /// A whole number from zero on. A `Struct` from Envoy holds doubles, so `60.0` is one too.
    Whole(u64),
    /// Any other number, as written.
    Odd(String),
    Text(String),
    List(Vec<Written>),
    Object(Vec<(String, Written)>),
}

impl Written {
    /// For an error message: scalars as JSON and shortened, the rest by kind.
    pub(crate) fn describe(&self) -> String {
        match self {
            Written::Null => "null".to_owned(),
            Written::Switch(value) => value.to_string(),
            Written::Whole(number) => number.to_string(),
            Written::Odd(number) => number.clone(),
            Written::Text(text) => quote(text),
            Written::List(items) => format!("a list of {}", items.len()),
            Written::Object(members) => format!("an object of {}", members.len()),
        }
    }
}

/// The text in quotation marks, control characters escaped and a long one cut.
pub(crate) fn quote(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyJson)
    }
}

struct AnyJson;

impl<'de> Visitor<'de> for AnyJson {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(Written::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Written, E> {
        Ok(Written::Switch(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Written, E> {
        Ok(Written::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Written, E> {
        Ok(u64::try_from(number).map_or_else(|_| Written::Odd(number.to_string()), Written::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Written, E> {
        let whole = number.fract() == 0.0 && (0.0..=EXACT_IN_A_DOUBLE).contains(&number);
        Ok(if whole { Written::Whole(number as u64) } else { Written::Odd(decimal(number)) })
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Written::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Written::Object(members))
    }
}

/// The shortest decimal of a number, without an exponent for small ones, for prices have none. By what writes JSON anyhow: the
/// standard library's way is a fiftieth of the playground.
fn decimal(number: f64) -> String {
    let json = Number::from_f64(number).map(|number| number.to_string()).unwrap_or_default();
    let (sign, size) = json.split_at(usize::from(json.starts_with('-')));
    match size.split_once("e-").map(|(digits, places)| (digits.replace('.', ""), places.parse::<usize>())) {
        Some((digits, Ok(places))) => format!("{sign}0.{}{digits}", "0".repeat(places.saturating_sub(1))),
        _ => json.strip_suffix(".0").unwrap_or(&json).to_owned(),
    }
}

/// 2^53: above it a double no longer tells neighbouring whole numbers apart.
const EXACT_IN_A_DOUBLE: f64 = 9_007_199_254_740_992.0;

/// Longest text that an error message repeats.
const SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_doubles_are_whole_numbers_and_others_are_kept_for_the_message() {
        for (json, written) in [
            ("60.0", Written::Whole(60)),
            ("-0.0", Written::Whole(0)),
            ("6e1", Written::Whole(60)),
            ("0.5", Written::Odd("0.5".into())),
            ("-1", Written::Odd("-1".into())),
            ("-1.0", Written::Odd("-1".into())),
            ("0.00000025", Written::Odd("0.00000025".into())),
            ("-1e-9", Written::Odd("-0.000000001".into())),
            ("1e20", Written::Odd("1e+20".into())),
        ] {
            assert_eq!(serde_json::from_str::<Written>(json).unwrap(), written, "{json}");
        }
    }

    #[test]
    fn repeated_members_are_kept() {
        let written: Written = serde_json::from_str(r#"{"a":1,"a":null}"#).unwrap();
        let both = vec![("a".into(), Written::Whole(1)), ("a".into(), Written::Null)];
        assert_eq!(written, Written::Object(both));
    }

    #[test]
    fn a_long_or_wild_text_is_shown_short_and_on_one_line() {
        assert_eq!(quote("a\n\"b\""), r#""a\n\"b\"""#);
        assert_eq!(quote(&"x".repeat(500)).chars().count(), SHOWN_CHARS + 3);
    }
}

//! Reads a configuration that is written as a `google.protobuf.Struct` in Envoy's bootstrap: Envoy hands such a
//! message over in its wire format, not as JSON.

use serde_json::{Map, Number, Value};

/// The JSON text of a serialised `Struct`; `None` if `bytes` are not exactly one.
pub(super) fn json_of_struct(bytes: &[u8]) -> Option<Vec<u8>> {
    // JSON text may begin with a line feed, which is also the first tag of a Struct: only a whole message counts.
    if bytes.first() != Some(&tag(1, LENGTH)) {
        return None;
    }
    serde_json::to_vec(&Value::Object(structure(bytes, DEEPEST)?)).ok()
}

/// `Struct { map<string, Value> fields = 1; }`
fn structure(mut bytes: &[u8], depth: u32) -> Option<Map<String, Value>> {
    let mut members = Map::new();
    while !bytes.is_empty() {
        let entry = length_delimited(&mut bytes, 1)?;
        let (name, value) = map_entry(entry, depth)?;
        members.insert(name, value);
    }
    Some(members)
}

/// A map entry is a message `{ string key = 1; Value value = 2; }`; an absent field has its default.
fn map_entry(mut bytes: &[u8], depth: u32) -> Option<(String, Value)> {
    let (mut name, mut found) = (String::new(), Value::Null);
    while let Some(first) = bytes.first() {
        if *first == tag(1, LENGTH) {
            name = text(length_delimited(&mut bytes, 1)?)?;
        } else {
            found = value(length_delimited(&mut bytes, 2)?, depth)?;
        }
    }
    Some((name, found))
}

/// `Value { oneof { NullValue = 1; double = 2; string = 3; bool = 4; Struct = 5; ListValue = 6; } }`
fn value(mut bytes: &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let Some(first) = bytes.first() else { return Some(Value::Null) };
    let found = match *first {
        found if found == tag(1, VARINT) => {
            scalar_varint(&mut bytes)?;
            Value::Null
        }
        found if found == tag(2, FIXED64) => {
            let (number, rest) = bytes.get(1..)?.split_first_chunk::<8>()?;
            bytes = rest;
            number_of(f64::from_le_bytes(*number))?
        }
        found if found == tag(3, LENGTH) => Value::String(text(length_delimited(&mut bytes, 3)?)?),
        found if found == tag(4, VARINT) => Value::Bool(scalar_varint(&mut bytes)? != 0),
        found if found == tag(5, LENGTH) => {
            Value::Object(structure(length_delimited(&mut bytes, 5)?, depth)?)
        }
        found if found == tag(6, LENGTH) => Value::Array(list(length_delimited(&mut bytes, 6)?, depth)?),
        _ => return None,
    };
    bytes.is_empty().then_some(found)
}

/// `ListValue { repeated Value values = 1; }`
fn list(mut bytes: &[u8], depth: u32) -> Option<Vec<Value>> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        items.push(value(length_delimited(&mut bytes, 1)?, depth)?);
    }
    Some(items)
}

/// A Struct knows doubles only; whole ones are shown as the whole numbers they were written as.
fn number_of(number: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Some(Value::Number(Number::from(number as i64)));
    }
    Number::from_f64(number).map(Value::Number)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// Takes the field `number`, which is length-delimited, off the front.
fn length_delimited<'a>(bytes: &mut &'a [u8], number: u8) -> Option<&'a [u8]> {
    let mut rest = bytes.strip_prefix(&[tag(number, LENGTH)])?;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(content)
}

/// Takes a varint field off the front; its tag has been seen.
fn scalar_varint(bytes: &mut &[u8]) -> Option<u64> {
    *bytes = bytes.get(1..)?;
    varint(bytes)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The key of a field whose number is below 16.
const fn tag(number: u8, wire_type: u8) -> u8 {
    number << 3 | wire_type
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
/// Values inside values; a configuration needs six.
const DEEPEST: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[tag(number, LENGTH), u8::try_from(content.len()).unwrap()][..], content].concat()
    }

    fn member(name: &str, value: &[u8]) -> Vec<u8> {
        field(1, &[field(1, name.as_bytes()), field(2, value)].concat())
    }

    #[test]
    fn a_struct_becomes_the_json_it_was_written_as() {
        let number = [&[tag(2, FIXED64)][..], &60f64.to_le_bytes()].concat();
        let bytes = field(3, b"64MiB");
        let inner = field(5, &member("bytes", &bytes));
        let items = field(6, &[field(1, &field(3, b"a")), field(1, &[tag(4, VARINT), 1])].concat());
        let message = [
            member("worker", &inner),
            member("n", &number),
            member("list", &items),
            member("nothing", &[tag(1, VARINT), 0]),
        ]
        .concat();
        let json = String::from_utf8(json_of_struct(&message).unwrap()).unwrap();
        let expected: Value =
            serde_json::from_str(r#"{"worker":{"bytes":"64MiB"},"n":60,"list":["a",true],"nothing":null}"#)
                .unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected);
        for cut in 1..message.len() {
            // A shorter message may still be a whole one, of fewer members; it never panics.
            let _ = json_of_struct(&message[..cut]);
        }
    }

    #[test]
    fn json_text_is_no_struct_and_nesting_is_bounded() {
        assert_eq!(json_of_struct(b"\n{ \"name\": \"x\" }\n"), None);
        assert_eq!(json_of_struct(b"{}"), None);
        let mut deep = field(3, b"x");
        for _ in 0..40 {
            deep = field(6, &field(1, &deep));
            if deep.len() > 120 {
                break;
            }
        }
        let _ = json_of_struct(&member("deep", &deep));
    }
}

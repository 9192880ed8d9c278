//! Batches as clients write and read them: the content of each part byte for byte, whatever it is.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Deserializer, Value, json};

use crate::envoy::{Ask, Gateway, Response};

/// The answer to one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What the client called it.
    pub id: String,
    /// Its status.
    pub status: u64,
    /// Its fields, the lines of each joined.
    pub fields: BTreeMap<String, String>,
    /// Its content.
    pub body: Vec<u8>,
}

impl Part {
    /// What the cache says it did.
    pub fn cache_status(&self) -> &str {
        self.fields.get("cache-status").map_or("", String::as_str)
    }
}

/// The body that asks for these targets, each with its place as its id.
pub fn body_of<T: AsRef<str>>(targets: &[T]) -> String {
    let get = |(nth, target): (usize, &T)| json!({ "id": nth.to_string(), "method": "GET", "url": target.as_ref() });
    json!({ "requests": targets.iter().enumerate().map(get).collect::<Vec<_>>() }).to_string()
}

/// A request for a batch with this body.
pub fn post(gateway: &Gateway, body: impl AsRef<[u8]>) -> Ask<'_> {
    gateway.ask("POST", "/batch").header("content-type", "application/json").body(body)
}

/// The parts of an answer.
///
/// # Panics
/// If it is none.
pub fn parts(response: &Response) -> Vec<Part> {
    assert_eq!(response.status, 200, "{}", response.text());
    let text = &response.body;
    let mut members = object(text);
    let list = members.remove("responses").expect("an answer has responses");
    items(list).into_iter().map(part).collect()
}

fn part(text: &[u8]) -> Part {
    let members = object(text);
    let parsed = |name: &str| serde_json::from_slice::<Value>(members[name]).unwrap();
    let joined = |value: &Value| match value {
        Value::Array(lines) => lines.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join(", "),
        line => line.as_str().unwrap().to_owned(),
    };
    let headers = parsed("headers");
    let fields = headers.as_object().unwrap().iter().map(|(name, value)| (name.clone(), joined(value)));
    let body = match members.get("body") {
        None => Vec::new(),
        Some(_) if members.contains_key("encoding") => {
            assert_eq!(parsed("encoding"), "base64");
            BASE64_STANDARD.decode(parsed("body").as_str().unwrap()).unwrap()
        }
        Some(raw) => raw.to_vec(),
    };
    Part {
        id: parsed("id").as_str().unwrap().to_owned(),
        status: parsed("status").as_u64().unwrap(),
        fields: fields.collect(),
        body,
    }
}

/// The members of an object, their values as they stand there.
fn object(text: &[u8]) -> BTreeMap<String, &[u8]> {
    let mut at = 1;
    let mut members = BTreeMap::new();
    assert_eq!(text.first(), Some(&b'{'));
    while text[at] != b'}' {
        let name: String = serde_json::from_slice(value(text, &mut at)).unwrap();
        assert_eq!(text[at], b':');
        at += 1;
        assert!(members.insert(name, value(text, &mut at)).is_none());
        at += usize::from(text[at] == b',');
    }
    members
}

/// The items of a list, as they stand there.
fn items(text: &[u8]) -> Vec<&[u8]> {
    let mut at = 1;
    let mut items = Vec::new();
    assert_eq!(text.first(), Some(&b'['));
    while text[at] != b']' {
        items.push(value(text, &mut at));
        at += usize::from(text[at] == b',');
    }
    items
}

/// The value that begins there. Goes past it.
fn value<'t>(text: &'t [u8], at: &mut usize) -> &'t [u8] {
    let rest = &text[*at..];
    let mut stream = Deserializer::from_slice(rest).into_iter::<Value>();
    stream.next().unwrap().unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(rest)));
    // What stands after it belongs to it: it may be the content of a part.
    let space = rest[stream.byte_offset()..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let length = stream.byte_offset() + space;
    *at += length;
    &rest[..length]
}

//! What `POST /.selvage/purge` may carry: JSON, read whole or refused with the place of the fault.

use serde_json::Value;

use super::{LONGEST_PREFIX, Mode, What};
use crate::tags::{LONGEST_TAG, tag_hash};
use crate::uri::{self, split_url};

/// Longest body that is read, in bytes.
pub const LONGEST_BODY: usize = 256 << 10;
/// Most things that one request may purge.
pub const MOST_ITEMS: usize = 256;
/// Longest URL, in bytes.
const LONGEST_URL: usize = 8192;

/// One thing to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A URL, which becomes a key under the rule that it falls under: authority in its normal form, and target.
    Url {
        /// Host, and port if it is not the scheme's.
        authority: Vec<u8>,
        /// Path and query.
        target: Vec<u8>,
    },
    /// Anything else.
    Other(What),
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// At least one, at most [`MOST_ITEMS`].
    pub items: Vec<Item>,
    /// Hard or soft.
    pub mode: Mode,
}

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {allowed}")]
pub struct Fault {
    /// Where: `urls[2]`, or `body` for the whole.
    pub path: String,
    /// What may stand there.
    pub allowed: &'static str,
}

/// Reads a body.
///
/// # Errors
/// The first [`Fault`]; nothing of what was sent is in it.
pub fn parse(body: &[u8]) -> Result<Asked, Fault> {
    let fault = |path: String, allowed| Err(Fault { path, allowed });
    if body.len() > LONGEST_BODY {
        return fault("body".into(), "at most 256 KiB");
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return fault("body".into(), "a JSON object");
    };
    let mut asked = Asked { items: Vec::new(), mode: Mode::Hard };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("urls", Value::Array(list)) => read(&mut asked.items, "urls", list, URL, url)?,
            ("tags", Value::Array(list)) => read(&mut asked.items, "tags", list, TAG, tag)?,
            ("prefixes", Value::Array(list)) => read(&mut asked.items, "prefixes", list, PREFIX, prefix)?,
            ("all", Value::Bool(all)) => asked.items.extend(all.then_some(Item::Other(What::All))),
            ("soft", Value::Bool(soft)) => asked.mode = if soft { Mode::Soft } else { Mode::Hard },
            ("urls" | "tags" | "prefixes", _) => return fault(name, "a list of strings"),
            ("all" | "soft", _) => return fault(name, "true or false"),
            _ => return fault("body".into(), "the members urls, tags, prefixes, all and soft"),
        }
        if asked.items.len() > MOST_ITEMS {
            return fault("body".into(), "at most 256 things to purge");
        }
    }
    if asked.items.is_empty() {
        return fault("body".into(), "something to purge");
    }
    Ok(asked)
}

fn read(
    items: &mut Vec<Item>,
    name: &str,
    list: Vec<Value>,
    allowed: &'static str,
    of: fn(&[u8]) -> Option<Item>,
) -> Result<(), Fault> {
    for (at, value) in list.into_iter().enumerate() {
        if name != "tags" && value.as_str().is_some_and(|text| is_wildcard(text.as_bytes())) {
            return Err(Fault { path: format!("{name}[{at}]"), allowed: WILDCARD });
        }
        match value.as_str().and_then(|text| of(text.as_bytes())) {
            Some(item) => items.push(item),
            None => return Err(Fault { path: format!("{name}[{at}]"), allowed }),
        }
    }
    Ok(())
}

/// Whether a `*` stands where others have a wildcard: in the host, or at the end of the path or of the whole. Elsewhere it is
/// a character like any other.
pub fn is_wildcard(url: &[u8]) -> bool {
    let url = url.split(|byte| *byte == b'#').next().unwrap_or_default();
    let end = url.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(url.len());
    let rest = match url.get(end.saturating_sub(1)..) {
        Some([b':', b'/', b'/', rest @ ..]) => rest,
        _ => url,
    };
    let host = rest.split(|byte| matches!(byte, b'/' | b'?')).next().unwrap_or_default();
    let (path, _) = uri::split_path(url);
    host.contains(&b'*') || path.ends_with(b"*") || url.ends_with(b"*")
}

/// The other spelling of what has an escaped `*`: origins take both for the same, caches do not.
pub fn with_star(target: &[u8]) -> Option<Vec<u8>> {
    let mut other = Vec::with_capacity(target.len());
    let mut rest = target;
    while let Some((first, after)) = rest.split_first() {
        let escaped = rest.get(..3).is_some_and(|three| three.eq_ignore_ascii_case(b"%2a"));
        other.push(if escaped { b'*' } else { *first });
        rest = if escaped { rest.get(3..).unwrap_or_default() } else { after };
    }
    (other != target).then_some(other)
}

fn url(text: &[u8]) -> Option<Item> {
    let text = text.split(|byte| *byte == b'#').next().filter(|text| text.len() <= LONGEST_URL)?;
    let (authority, rest) = split_url(text)?;
    let target = if rest.first() == Some(&b'/') { rest.to_vec() } else { [b"/", rest].concat() };
    Some(Item::Url { authority, target })
}

fn tag(text: &[u8]) -> Option<Item> {
    (1..=LONGEST_TAG).contains(&text.len()).then(|| Item::Other(What::Tag(tag_hash(text.trim_ascii()))))
}

fn prefix(text: &[u8]) -> Option<Item> {
    let (authority, rest) = split_url(text)?;
    let mut path = Vec::new();
    uri::normalize_path(if rest.is_empty() { b"/" } else { rest }, &mut path);
    let fits = authority.len() <= LONGEST_PREFIX && path.len() <= LONGEST_PREFIX && !path.contains(&b'?');
    fits.then(|| Item::Other(What::Prefix { authority: authority.into(), path: path.into() }))
}

const URL: &str = "a URL such as \"https://example.com/a?b\", at most 8192 visible ASCII characters";
/// How to say what a `*` is meant to say.
pub const WILDCARD: &str = "no wildcard: {\"prefixes\":[\"example.com/a/\"]} is for all below, {\"all\":true} for everything, and %2A for a * that is one";
const TAG: &str = "a tag of 1 to 256 bytes";
const PREFIX: &str = "host and path such as \"example.com/a/\", each at most 1024 bytes, without query";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_what_to_purge() {
        let asked = parse(
            br#"{"urls":["https://A.test/x?y#z","a.test?q"],"tags":["t"],"prefixes":["a.test/p","b.test"],"all":true,"soft":true}"#,
        );
        let asked = asked.unwrap();
        assert_eq!((asked.mode, asked.items.len()), (Mode::Soft, 6));
        for item in [
            Item::Url { authority: b"a.test".to_vec(), target: b"/x?y".to_vec() },
            Item::Url { authority: b"a.test".to_vec(), target: b"/?q".to_vec() },
            Item::Other(What::Tag(tag_hash(b"t"))),
            Item::Other(What::Prefix { authority: (*b"b.test").into(), path: (*b"/").into() }),
            Item::Other(What::All),
        ] {
            assert!(asked.items.contains(&item), "{item:?}");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let many = format!(r#"{{"tags":[{}"x"]}}"#, r#""x","#.repeat(MOST_ITEMS));
        for (body, place) in [
            ("", "body"),
            ("[]", "body"),
            ("{}", "body"),
            (r#"{"all":false}"#, "body"),
            (r#"{"url":["a.test/"]}"#, "body"),
            (r#"{"urls":"a.test/"}"#, "urls"),
            (r#"{"urls":["a.test/",7]}"#, "urls[1]"),
            (r#"{"urls":["/a"]}"#, "urls[0]"),
            (r#"{"tags":[""]}"#, "tags[0]"),
            (r#"{"prefixes":["a.test/?"]}"#, "prefixes[0]"),
            (r#"{"all":1}"#, "all"),
            (r#"{"tags":["x"],"soft":"yes"}"#, "soft"),
            (&many, "body"),
            (&" ".repeat(LONGEST_BODY + 1), "body"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().path, place, "{}", body.get(..40).unwrap_or(body));
        }
    }
}

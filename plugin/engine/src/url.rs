//! A URL that the cache itself may fetch.

use xxhash_rust::xxh3::xxh3_64;

use crate::uri::split_url;

/// A URL that a client could ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `http` or `https`: a part of every key.
    pub scheme: &'static str,
    /// Host, and port if it is not the scheme's.
    pub authority: Box<[u8]>,
    /// Path and query.
    pub target: Box<[u8]>,
}

impl Url {
    /// Reads a URL. The scheme must be there, for what one scheme stores does not answer the other.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.split(|byte| *byte == b'#').next().filter(|text| text.len() <= LONGEST_URL)?;
        let scheme = ["http", "https"].into_iter().find(|scheme| {
            text.split_at_checked(scheme.len()).is_some_and(|(begin, rest)| {
                begin.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b"://")
            })
        })?;
        let (authority, rest) = split_url(text)?;
        let target = if rest.first() == Some(&b'/') { rest.to_vec() } else { [b"/", rest].concat() };
        Some(Self { scheme, authority: authority.into(), target: target.into() })
    }

    /// Tells it from every other, but for an accident.
    pub fn digest(&self) -> u64 {
        xxh3_64(&[self.scheme.as_bytes(), b"://", &self.authority, &self.target].concat())
    }
}

/// Longest URL, in bytes.
pub const LONGEST_URL: usize = 8192;

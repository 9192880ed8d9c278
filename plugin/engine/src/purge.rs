//! Purging: what an operator, or an unsafe request, wants to be gone from every cache.
//!
//! A purge is written down once, whatever it covers, and nothing stored is touched: each lookup compares what it found
//! with what was purged ([`log`]). So a purge costs the same for ten entries and for a hundred thousand.
//!
//! **Time is the generation.** An entry remembers when it was asked of the origin, and a purge when it was accepted; the
//! purge covers what was asked for at or before its own time. No counter has to be agreed on between workers and nodes,
//! and nothing new has to be trusted: a node's clock rules freshness already. Between nodes the clocks may differ by
//! [`purge.skew`](crate::config::Purge::skew): what comes from the remote store counts as older by so much, and a purge
//! of another node as of the moment in which it is heard of. A clock that is set back makes a purge cover what is stored
//! for as long as the clock is behind: too much, never too little.
//!
//! [`tags`](crate::tags) are what a response is purged by beside its URL, [`ring`] tells the workers of a node, [`spread`] the other
//! nodes, and [`admin_auth`] and [`request`] are the door for operators.

pub mod admin_auth;
pub mod guesses;
pub mod log;
pub mod request;
pub mod ring;
pub mod spread;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::host::wire::{take, take_u64};
use crate::key;
use crate::time::Timestamp;

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// What it covers.
    pub what: What,
    /// What becomes of that.
    pub mode: Mode,
    /// What was asked of the origin at this time or before is covered.
    pub at: Timestamp,
    /// A digest of the namespace whose caches are meant; [`EVERY_NAMESPACE`] for all.
    pub namespace: u64,
    /// By which it is known again, whoever tells of it: no two purges of a fleet have the same. 0 if none was drawn.
    pub id: u64,
}

/// What a purge covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// All responses of a URL, as [`url_hash`] has it.
    Url(u64),
    /// All responses with a tag, as [`tags`](crate::tags) has it.
    Tag(u64),
    /// All responses whose URL begins so; both parts in their normal form.
    Prefix {
        /// Host, and port if it is not the scheme's.
        authority: Box<[u8]>,
        /// What the path begins with.
        path: Box<[u8]>,
    },
    /// Everything.
    All,
}

impl What {
    /// The word for metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Tag(_) => "tag",
            Self::Prefix { .. } => "prefix",
            Self::All => "all",
        }
    }
}

/// What becomes of what a purge covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is gone.
    Hard,
    /// It is stale, from the time of the purge on: still good for validation, and for the stale uses it allows.
    Soft,
}

impl Purge {
    /// As bytes, for shared data and the remote store.
    ///
    /// ```text
    /// version 1: u8 · kind u8 · soft u8 · 0 u8 · namespace u64 · at u64 ms · id u64 ·
    /// hash u64, or authority length u16 · authority · path
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.what {
            What::Url(_) => 1,
            What::Tag(_) => 2,
            What::Prefix { .. } => 3,
            What::All => 4,
        };
        let mut out = vec![VERSION, kind, u8::from(self.mode == Mode::Soft), 0];
        out.extend_from_slice(&self.namespace.to_le_bytes());
        out.extend_from_slice(&self.at.as_millis().to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        match &self.what {
            What::Url(hash) | What::Tag(hash) => out.extend_from_slice(&hash.to_le_bytes()),
            What::Prefix { authority, path } => {
                out.extend_from_slice(&u16::try_from(authority.len()).unwrap_or(u16::MAX).to_le_bytes());
                out.extend_from_slice(authority);
                out.extend_from_slice(path);
            }
            What::All => {}
        }
        out
    }

    /// Reads it. `None` if the bytes are no purge of this release.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let [version, kind, soft, zero] = take(&mut bytes)?;
        if version != VERSION || soft > 1 || zero != 0 {
            return None;
        }
        let namespace = take_u64(&mut bytes)?;
        let at = Timestamp::from_millis(take_u64(&mut bytes)?);
        let id = take_u64(&mut bytes)?;
        let what = match kind {
            1 => What::Url(take_u64(&mut bytes)?),
            2 => What::Tag(take_u64(&mut bytes)?),
            3 => {
                let length = usize::from(u16::from_le_bytes(take(&mut bytes)?));
                let (authority, path) = bytes.split_at_checked(length)?;
                bytes = &[];
                if authority.len() > LONGEST_PREFIX || path.len() > LONGEST_PREFIX {
                    return None;
                }
                What::Prefix { authority: authority.into(), path: path.into() }
            }
            4 => What::All,
            _ => return None,
        };
        let mode = if soft == 1 { Mode::Soft } else { Mode::Hard };
        bytes.is_empty().then_some(Self { what, mode, at, namespace, id })
    }
}

/// The hash by which all responses of a URL are purged, whatever the scheme, the rule and the variant: of the authority
/// and the target of a canonical key.
pub fn url_hash(key: &[u8]) -> u64 {
    hash_of_url(key::authority_of(key).unwrap_or_default(), key::target_of(key).unwrap_or_default())
}

/// As [`url_hash`], of the two parts.
pub fn hash_of_url(authority: &[u8], target: &[u8]) -> u64 {
    let mut url = Vec::with_capacity(authority.len().saturating_add(target.len()).saturating_add(1));
    url.extend_from_slice(authority);
    url.push(0);
    url.extend_from_slice(target);
    xxh3_64_with_seed(&url, URL_SEED)
}

/// Stands for all namespaces: no name has this digest, as far as anybody knows.
pub const EVERY_NAMESPACE: u64 = 0;
const VERSION: u8 = 1;
/// Longest authority and longest path of a prefix, in bytes.
pub const LONGEST_PREFIX: usize = 1024;
const URL_SEED: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::split_url;

    #[test]
    fn purges_read_back_as_they_were_written_and_nothing_else_is_one() {
        let prefix = What::Prefix { authority: Box::from(&b"a.test"[..]), path: Box::from(&b"/x"[..]) };
        for what in [What::Url(7), What::Tag(u64::MAX), prefix, What::All] {
            for mode in [Mode::Hard, Mode::Soft] {
                let purge =
                    Purge { what: what.clone(), mode, at: Timestamp::from_secs(9), namespace: 3, id: 4 };
                let bytes = purge.encode();
                assert_eq!(Purge::decode(&bytes), Some(purge));
                assert_eq!(Purge::decode(bytes.get(..27).unwrap()), None);
                for (at, value) in [(0, 2), (1, 5), (1, 0), (2, 2), (3, 1)] {
                    let mut changed = bytes.clone();
                    *changed.get_mut(at).unwrap() = value;
                    assert_eq!(Purge::decode(&changed), None, "{at}");
                }
            }
        }
    }

    #[test]
    fn urls_are_taken_apart_with_and_without_scheme() {
        for (url, expected) in [
            ("https://Example.com:443/a?b", Some(("example.com", "/a?b"))),
            ("http://example.com:443/a", Some(("example.com:443", "/a"))),
            ("HTTP://EXAMPLE.com:80/A", Some(("example.com", "/A"))),
            ("HttpS://example.com:443/a", Some(("example.com", "/a"))),
            ("example.com:80/a", Some(("example.com", "/a"))),
            ("example.com", Some(("example.com", ""))),
            ("example.com/a://b", Some(("example.com", "/a://b"))),
            ("ftp://example.com/", None),
            ("/a", None),
            ("", None),
            ("user@example.com/", None),
            ("example.com/ a", None),
        ] {
            let found = split_url(url.as_bytes());
            let expected = expected.map(|(authority, rest)| (authority.as_bytes().to_vec(), rest.as_bytes()));
            assert_eq!(found, expected, "{url}");
        }
    }
}

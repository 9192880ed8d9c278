//! Warming: URLs that are fetched through the cache before a client asks for them.
//!
//! ```text
//! the list of the configuration ─ one worker of the node ─┐
//! POST /.selvage/warm ─ the worker that accepts it ───────┼─► queue ─ pace of the node ─┬ stored and fresh: nothing to do
//! a purge of everything ─ the hottest of each worker ─────┘                             ├ being fetched, or origin left alone: later
//!                                                                                       └ fetched: stored, not stored, failed (again, twice)
//! ```
//!
//! What a worker foretells that it will be asked for after it has expired ([`foresight`](crate::foresight)) comes by the same queue.
//!
//! A warm fetch is what a client would send who has nothing to tell: `GET` with `accept-encoding: gzip` and no other field.
//! Of a response that varies only that variant is warmed. Where there is a remote store, the record is looked for first.
//!
//! This module is the queue and what the workers of a node agree on: [`pace`], whose [`turn`] the list is, and the
//! [`progress`] of all. [`Cache`](crate::cache::Cache) decides what becomes of each URL.

pub mod pace;
pub mod progress;
pub mod request;
pub mod turn;

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;
use crate::url::Url;

/// A URL that waits to be fetched, or is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The URL.
    pub url: Url,
    /// It is of the configuration's list.
    pub listed: bool,
    /// How often it was fetched in vain.
    pub tries: u8,
    /// Nobody has asked for it: it is to be renewed before it expires.
    pub ahead: Option<Ahead>,
    digest: u64,
    not_before: Timestamp,
}

/// A stored response that is renewed before it expires, since it is foretold that it will be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The hash under which it is stored.
    pub hash: u128,
    /// When it was received: what has taken its place is not renewed.
    pub received: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// There are none where nothing is foretold, and nothing is compiled for them.
    #[cfg(not(feature = "foresight"))]
    pub never: std::convert::Infallible,
}

/// What became of adding a URL to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It waits.
    Queued,
    /// It waits already, or is under way.
    Already,
    /// There is no room.
    Full,
}

/// The URLs of one worker, at most [`MOST_QUEUED`].
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Item>,
    /// Their digests, and whether they are only renewed before they expire.
    under_way: Vec<(u64, bool)>,
    /// How many of all are of the configuration's list.
    listed: usize,
}

impl Queue {
    /// Adds a URL, to be fetched no earlier than this.
    pub fn add(&mut self, url: Url, listed: bool, not_before: Timestamp) -> Added {
        self.put(Item { digest: url.digest(), url, listed, tries: 0, ahead: None, not_before })
    }

    /// Adds a URL that is to be renewed before it expires.
    pub fn add_ahead(&mut self, url: Url, ahead: Ahead, now: Timestamp) -> Added {
        let digest = url.digest();
        self.put(Item { url, listed: false, tries: 0, ahead: Some(ahead), digest, not_before: now })
    }

    /// What somebody wants to be fetched is not done with what is only renewed ahead: that may have been asked for too early.
    fn put(&mut self, mut item: Item) -> Added {
        let Item { digest, listed, .. } = item;
        let is_wanted = item.ahead.is_none();
        let is_same = |other: &Item| other.digest == digest && !(is_wanted && other.ahead.is_some());
        let runs = |wanted: bool| self.under_way.iter().any(|one| one.0 == digest && !(wanted && one.1));
        if self.waiting.iter().any(is_same) || runs(is_wanted) {
            return Added::Already;
        }
        if runs(false) {
            item.not_before = item.not_before.plus(AFTER_AHEAD);
        }
        // Only one that is renewed ahead can be left.
        if let Some(ahead) = self.waiting.iter_mut().find(|other| other.digest == digest) {
            *ahead = item;
        } else if self.waiting.len().saturating_add(self.under_way.len()) < MOST_QUEUED {
            self.waiting.push_back(item);
        } else {
            return Added::Full;
        }
        self.listed += usize::from(listed);
        Added::Queued
    }

    /// Takes the first URL that may be fetched now. To be given back by [`Queue::later`] or [`Queue::end`].
    pub fn take(&mut self, now: Timestamp) -> Option<Item> {
        let may_go = |item: &Item| {
            (item.not_before <= now || item.is_far_off(now))
                && !self.under_way.iter().any(|one| one.0 == item.digest)
        };
        let at = self.waiting.iter().position(may_go)?;
        let item = self.waiting.remove(at)?;
        self.under_way.push((item.digest, item.ahead.is_some()));
        Some(item)
    }

    /// It is not fetched now: first of all when the time has come.
    pub fn later(&mut self, item: Item, not_before: Timestamp) {
        self.lands(&item);
        self.waiting.push_front(Item { not_before, ..item });
    }

    /// It was fetched in vain: after the others once more. `None` if it was tried often enough, and is still to be ended.
    pub fn again(&mut self, item: Item, now: Timestamp) -> Option<Item> {
        if item.tries.saturating_add(1) >= MOST_TRIES {
            return Some(item);
        }
        self.lands(&item);
        let not_before = now.plus(RETRY.saturating_mul(1 << item.tries));
        self.waiting.push_back(Item { tries: item.tries + 1, not_before, ..item });
        None
    }

    /// It is done with.
    pub fn end(&mut self, item: &Item) {
        self.lands(item);
        self.listed = self.listed.saturating_sub(usize::from(item.listed));
    }

    fn lands(&mut self, item: &Item) {
        self.under_way.retain(|one| one.0 != item.digest);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// How many of those that wait are to be renewed before they expire.
    pub fn ahead(&self) -> usize {
        self.waiting.iter().filter(|item| item.ahead.is_some()).count()
    }

    /// How many of the configuration's list are not done with.
    pub fn listed(&self) -> usize {
        self.listed
    }
}

impl Item {
    /// A moment so far off is of a clock that was set back.
    fn is_far_off(&self, now: Timestamp) -> bool {
        self.not_before.since(now) > FARTHEST
    }
}

/// URLs of a worker that wait or are under way.
pub const MOST_QUEUED: usize = 1024;
/// How often a URL is fetched whose origin fails.
const MOST_TRIES: u8 = 3;
/// The pause before the second try; the next is twice as long.
const RETRY: Duration = Duration::from_secs(1);
/// After what is renewed ahead and under way, the same for somebody who wants it.
const AFTER_AHEAD: Duration = Duration::from_millis(100);
const FARTHEST: Duration = Duration::from_secs(60);
/// How often a place in shared data is tried to be written when others write it too.
const TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;

    fn url(path: &str) -> Url {
        Url::parse(format!("https://a.test{path}").as_bytes()).unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(100_000_000 + millis)
    }

    #[test]
    fn a_url_has_a_scheme_and_comes_back_from_its_key() {
        for (text, expected) in [
            ("https://A.test:443/x?y#z", Some(("https", "a.test", "/x?y"))),
            ("http://a.test", Some(("http", "a.test", "/"))),
            ("http://a.test?q", Some(("http", "a.test", "/?q"))),
            ("a.test/x", None),
            ("HTTPS://a.test/", Some(("https", "a.test", "/"))),
            ("https:///x", None),
            ("https://u@a.test/", None),
            ("https://a.test/a b", None),
        ] {
            let url = Url::parse(text.as_bytes());
            let parts = url.as_ref().map(|url| (url.scheme, &*url.authority, &*url.target));
            let expected = expected.map(|(s, a, t)| (s, a.as_bytes(), t.as_bytes()));
            assert_eq!(parts, expected, "{text}");
        }
        let mut canonical = Vec::new();
        let mut key = key::KeyBuilder::new(&mut canonical);
        key.resource(b"https", b"a.test", b"/x", &Default::default());
        key.scope(7);
        assert_eq!(Url::of_key(&canonical), Some(url("/x")));
        let mut variant = Vec::new();
        key::variant_key(&canonical, b"", &mut variant);
        assert_eq!(Url::of_key(&variant), None);
        assert_eq!(Url::of_key(b""), None);
    }

    #[test]
    fn each_url_waits_once_until_it_is_done_with() {
        let mut queue = Queue::default();
        assert_eq!(queue.add(url("/a"), true, at(0)), Added::Queued);
        assert_eq!(queue.add(url("/a"), false, at(0)), Added::Already);
        let item = queue.take(at(0)).unwrap();
        assert_eq!(queue.add(url("/a"), false, at(0)), Added::Already);
        assert_eq!((queue.waiting(), queue.under_way(), queue.listed()), (0, 1, 1));
        queue.end(&item);
        assert_eq!((queue.under_way(), queue.listed()), (0, 0));
        for nth in 0..MOST_QUEUED {
            assert_eq!(queue.add(url(&format!("/{nth}")), false, at(0)), Added::Queued);
        }
        assert_eq!(queue.add(url("/a"), false, at(0)), Added::Full);
    }

    #[cfg(feature = "foresight")]
    #[test]
    fn what_somebody_wants_takes_the_place_of_what_is_renewed_ahead_or_comes_after_it() {
        let ahead = Ahead { hash: 1, received: at(0), expires: at(9000) };
        let mut queue = Queue::default();
        assert_eq!(queue.add_ahead(url("/a"), ahead, at(0)), Added::Queued);
        assert_eq!(queue.add_ahead(url("/a"), ahead, at(0)), Added::Already);
        assert_eq!(queue.add(url("/a"), true, at(1)), Added::Queued);
        assert_eq!(queue.add(url("/a"), false, at(1)), Added::Already);
        assert_eq!((queue.waiting(), queue.ahead(), queue.listed()), (1, 0, 1));
        let item = queue.take(at(1)).unwrap();
        assert_eq!(queue.add_ahead(url("/a"), ahead, at(1)), Added::Already);
        queue.end(&item);
        queue.add_ahead(url("/a"), ahead, at(2));
        let first = queue.take(at(2)).unwrap();
        assert_eq!(queue.add(url("/a"), false, at(2)), Added::Queued);
        assert_eq!(queue.add_ahead(url("/a"), ahead, at(2)), Added::Already);
        assert_eq!(queue.take(at(5000)), None, "the first is under way");
        queue.later(first, at(3000));
        assert_eq!(queue.add(url("/a"), false, at(3000)), Added::Already);
        let first = queue.take(at(3000)).unwrap();
        assert!(first.ahead.is_some());
        queue.end(&first);
        let second = queue.take(at(3000)).unwrap();
        assert!(second.ahead.is_none());
        queue.end(&second);
        assert_eq!((queue.waiting(), queue.under_way(), queue.listed()), (0, 0, 0));
    }

    #[test]
    fn one_that_fails_comes_again_after_the_others_and_a_pause_and_not_for_ever() {
        let mut queue = Queue::default();
        queue.add(url("/a"), false, at(0));
        queue.add(url("/b"), false, at(5));
        let first = queue.take(at(0)).unwrap();
        assert_eq!(queue.take(at(4)), None);
        assert_eq!(queue.again(first, at(0)), None);
        assert_eq!(queue.take(at(1000)).map(|item| item.url), Some(url("/b")));
        let second = queue.take(at(1000)).unwrap();
        assert_eq!(queue.again(second, at(1000)), None);
        assert_eq!(queue.take(at(2999)), None);
        let third = queue.take(at(3000)).unwrap();
        let item = queue.again(third, at(3000)).expect("often enough");
        queue.end(&item);
        assert_eq!((queue.waiting(), queue.under_way()), (0, 1));
    }
}

//! Whose turn it is to fetch the configuration's list: one worker of the node, another if that one dies, and nobody once
//! it is done, nor after a new configuration with the same list.
//!
//! Shared data has no deletion, so there is a fixed number of places; the list's digest says which. Two lists that meet in
//! a place wait for one another.
//!
//! ```text
//! magic "svw1" · digest of the list u64 · holder u32 · until u64 ms · done 0 or 1: u8
//! ```

use xxhash_rust::xxh3::xxh3_64;

use crate::host::leadership::{Holder, Leadership, SHOW_EVERY, Whose};
use crate::host::wire::{take, take_u64};
use crate::host::{ABSENT, SharedData};
use crate::time::Timestamp;
use crate::url::Url;

/// One worker's part in a list.
#[derive(Debug)]
pub struct Turn {
    digest: u64,
    key: String,
    /// Whether it is this worker that fetches the list.
    leadership: Leadership,
    /// There is nothing to do any more.
    over: bool,
    look_at: Timestamp,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// Nothing new.
    Nothing,
    /// Fetch the list.
    Begin,
}

impl Turn {
    /// For the list of a configuration. Nothing is to be done for an empty one.
    pub fn new(urls: &[Url], namespace: u64) -> Self {
        let digests: Vec<u8> = urls.iter().flat_map(|url| url.digest().to_le_bytes()).collect();
        let digest = xxh3_64(&digests) ^ namespace;
        Self {
            digest,
            key: format!("sv1/W/{}", digest % PLACES),
            leadership: Leadership::default(),
            over: urls.is_empty(),
            look_at: Timestamp::default(),
        }
    }

    /// By tick. `finished`: nothing of the list is left to do for this worker.
    pub fn tick(&mut self, data: &mut dyn SharedData, finished: bool, now: Timestamp) -> Do {
        let finishes = finished && self.holds();
        if self.over || now < self.look_at && !finishes {
            return Do::Nothing;
        }
        self.look_at = now.plus(SHOW_EVERY);
        let (place, cas) = match data.get(&self.key) {
            None => (None, ABSENT),
            Some((bytes, cas)) => (Place::decode(&bytes), cas),
        };
        let ours = place.is_some_and(|place| place.digest == self.digest);
        let done = place.is_some_and(|place| place.done);
        if ours && done {
            self.over = true;
            return Do::Nothing;
        }
        let whose = place.map_or(Whose::Nobodys, |place| self.leadership.whose(place.holder, now));
        let value = |holder| Place { digest: self.digest, holder, done: finishes }.encode();
        match whose {
            Whose::Own if ours => {
                if self.leadership.take(data, &self.key, cas, value, now) && finishes {
                    self.over = true;
                }
                Do::Nothing
            }
            // Another one goes on, who thought that this worker was dead; or with a newer list.
            _ if self.holds() => {
                self.leadership = Leadership::default();
                self.over = !ours;
                Do::Nothing
            }
            Whose::Anothers if !done => Do::Nothing,
            _ if self.leadership.take(data, &self.key, cas, value, now) => Do::Begin,
            _ => Do::Nothing,
        }
    }

    /// Whether this worker is at it.
    pub fn holds(&self) -> bool {
        self.leadership.is_own() && !self.over
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    digest: u64,
    holder: Holder,
    done: bool,
}

impl Place {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.digest.to_le_bytes());
        self.holder.encode(&mut out);
        out.push(u8::from(self.done));
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if take(&mut bytes)? != MAGIC {
            return None;
        }
        let (digest, holder) = (take_u64(&mut bytes)?, Holder::decode(&mut bytes)?);
        let [done] = take(&mut bytes)?;
        bytes.is_empty().then_some(Self { digest, holder, done: done == 1 })
    }
}

const MAGIC: [u8; 4] = *b"svw1";
/// Places for lists; old ones stay.
const PLACES: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::node::fake::Fake;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(100_000_000 + millis)
    }

    fn turn(url: &str) -> Turn {
        Turn::new(&[Url::parse(url.as_bytes()).unwrap()], 1)
    }

    #[test]
    fn one_worker_does_it_once_for_all_configurations_with_the_list() {
        let mut data = Fake::default();
        let [mut a, mut b] = [turn("http://a.test/"), turn("http://a.test/")];
        assert_eq!(a.tick(&mut data, false, at(0)), Do::Begin);
        assert_eq!(b.tick(&mut data, false, at(0)), Do::Nothing);
        assert_eq!(a.tick(&mut data, false, at(600)), Do::Nothing);
        assert_eq!(b.tick(&mut data, false, at(2500)), Do::Nothing, "it has shown that it lives");
        assert_eq!(a.tick(&mut data, true, at(700)), Do::Nothing);
        assert!(!a.holds());
        for now in [9_000, 99_000] {
            assert_eq!(turn("http://a.test/").tick(&mut data, false, at(now)), Do::Nothing);
        }
        assert_eq!(turn("http://a.test/b").tick(&mut data, false, at(99_000)), Do::Begin, "another list");
        assert_eq!(Turn::new(&[], 1).tick(&mut data, false, at(0)), Do::Nothing);
    }

    #[test]
    fn a_place_reads_back_and_nothing_else_is_one() {
        let bytes = b"svw1\x01\0\0\0\0\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\x01";
        let place = Place::decode(bytes).unwrap();
        assert!(place.digest == 1 && place.done);
        assert_eq!(place.encode(), bytes);
        assert_eq!(Place::decode(&bytes[1..]), None);
        assert_eq!(Place::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn another_goes_on_when_it_dies_and_the_dead_one_comes_back_to_nothing() {
        let mut data = Fake::default();
        let [mut a, mut b] = [turn("http://a.test/"), turn("http://a.test/")];
        assert_eq!(a.tick(&mut data, false, at(0)), Do::Begin);
        assert_eq!(b.tick(&mut data, false, at(1999)), Do::Nothing);
        assert_eq!(b.tick(&mut data, false, at(2500)), Do::Begin);
        assert_eq!(a.tick(&mut data, true, at(2600)), Do::Nothing);
        assert!(!a.holds() && b.holds());
        assert_eq!(b.tick(&mut data, true, at(2700)), Do::Nothing);
        assert_eq!(a.tick(&mut data, false, at(9000)), Do::Nothing);
        assert!(!a.holds());
    }
}

//! Whose turn it is to fetch the configuration's list: one worker of the node, another if that one dies, and nobody once
//! it is done, nor after a new configuration with the same list.
//!
//! Shared data has no deletion, so there is a fixed number of places; the list's digest says which. Two lists that meet in
//! a place wait for one another.
//!
//! ```text
//! magic "svw1" · digest of the list u64 · holder u32 · until u64 ms · done 0 or 1: u8
//! ```

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::Url;
use crate::store::node::wire::{take, take_u32, take_u64};
use crate::store::node::{ABSENT, SharedData};
use crate::time::Timestamp;

/// One worker's part in a list.
#[derive(Debug)]
pub struct Turn {
    digest: u64,
    key: String,
    part: Part,
    look_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Another worker may be at it.
    Waits,
    /// This one is.
    Holds { holder: u32 },
    /// There is nothing to do any more.
    Over,
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
        let part = if urls.is_empty() { Part::Over } else { Part::Waits };
        Self { digest, key: format!("sv1/W/{}", digest % PLACES), part, look_at: Timestamp::default() }
    }

    /// By tick. `finished`: nothing of the list is left to do for this worker.
    pub fn tick(&mut self, data: &mut dyn SharedData, finished: bool, now: Timestamp) -> Do {
        let finishes = finished && matches!(self.part, Part::Holds { .. });
        if self.part == Part::Over || now < self.look_at && !finishes {
            return Do::Nothing;
        }
        self.look_at = now.plus(HELD_FOR / 4);
        let (place, cas) = match data.get(&self.key) {
            None => (None, ABSENT),
            Some((bytes, cas)) => (Place::decode(&bytes), cas),
        };
        let (ours, held) = match place {
            // A moment far off is of a clock that was set back.
            Some(place) => (
                place.digest == self.digest,
                now < place.until && place.until.since(now) <= HELD_FOR && !place.done,
            ),
            None => (false, false),
        };
        if ours && place.is_some_and(|place| place.done) {
            self.part = Part::Over;
            return Do::Nothing;
        }
        let until = now.plus(HELD_FOR);
        match (self.part, place) {
            (Part::Holds { holder }, Some(place)) if ours && place.holder == holder => {
                let renewed = Place { until, done: finishes, ..place };
                if data.set(&self.key, &renewed.encode(), cas).is_ok() && finishes {
                    self.part = Part::Over;
                }
                Do::Nothing
            }
            // Another one goes on, who thought that this worker was dead; or with a newer list.
            (Part::Holds { .. }, _) => {
                self.part = if ours { Part::Waits } else { Part::Over };
                Do::Nothing
            }
            _ if held => Do::Nothing,
            _ => {
                // Each value has another `cas`, so no two holders are the same.
                let taken = Place { digest: self.digest, holder: cas, until, done: false };
                if data.set(&self.key, &taken.encode(), cas).is_err() {
                    return Do::Nothing;
                }
                self.part = Part::Holds { holder: cas };
                Do::Begin
            }
        }
    }

    /// Whether this worker is at it.
    pub fn holds(&self) -> bool {
        matches!(self.part, Part::Holds { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    digest: u64,
    holder: u32,
    until: Timestamp,
    done: bool,
}

impl Place {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.digest.to_le_bytes());
        out.extend_from_slice(&self.holder.to_le_bytes());
        out.extend_from_slice(&self.until.as_millis().to_le_bytes());
        out.push(u8::from(self.done));
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if take(&mut bytes)? != MAGIC {
            return None;
        }
        let (digest, holder) = (take_u64(&mut bytes)?, take_u32(&mut bytes)?);
        let until = Timestamp::from_millis(take_u64(&mut bytes)?);
        let [done] = take(&mut bytes)?;
        bytes.is_empty().then_some(Self { digest, holder, until, done: done == 1 })
    }
}

const MAGIC: [u8; 4] = *b"svw1";
/// Places for lists; old ones stay.
const PLACES: u64 = 64;
/// A worker that is at it shows four times as often that it still is.
const HELD_FOR: Duration = Duration::from_secs(2);

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

//! Keys that something is known of for a while, in a fixed number of places: a newer one takes the place of an older.

use crate::time::Timestamp;

/// The keys, by hash.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    places: Vec<(u128, Timestamp)>,
}

impl Remembered {
    /// Remembers a hash until a moment.
    pub(super) fn note(&mut self, hash: u128, until: Timestamp) {
        if self.places.is_empty() {
            self.places = vec![(0, Timestamp::default()); PLACES];
        }
        if let Some(place) = self.places.get_mut(hash as usize % PLACES) {
            *place = (hash, until);
        }
    }

    /// Whether the hash is remembered.
    pub(super) fn knows(&self, hash: u128, now: Timestamp) -> bool {
        let place = self.places.get(hash as usize % PLACES);
        place.is_some_and(|(known, until)| *known == hash && now < *until)
    }
}

/// 32 bytes each, taken when the first hash is noted.
const PLACES: usize = 1024;

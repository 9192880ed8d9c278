//! Keys whose answers were not to be shared lately, and for whom: nobody waits for another's fetch that brings nothing.
//!
//! One client must not decide for others. What a client without credentials is refused is refused to everybody; what one
//! with credentials is refused says something about that one alone, unless several such clients in a row fared the same.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::credentials::identity_of;
use crate::fields::Fields;
use crate::policy::Rule;
use crate::request::Request;
use crate::time::Timestamp;
use crate::vary;

/// For whom an answer that is not to be shared speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every request for the key.
    Everybody,
    /// Requests that show these credentials, by a hash of them.
    Identity(u64),
    /// Requests with the same values in the fields that its `Vary` names (see `Cache::note_unshared_for`).
    Selected,
    /// This one answer, for all that is known.
    One,
}

/// What of a request may make its answer another one than those of others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    /// A hash of the credentials that it shows.
    pub identity: Option<u64>,
    /// Its fields.
    pub fields: Fields<'a>,
}

impl<'a> Asker<'a> {
    /// The sender of a request under a rule.
    pub fn of(request: &Request<'a>, rule: &Rule) -> Self {
        Self { identity: identity_of(request, rule), fields: request.fields }
    }
}

/// The keys, in a fixed number of places: a newer one takes the place of an older.
#[derive(Debug, Default)]
pub(super) struct Unshared {
    places: Vec<Place>,
}

/// What is known of one key.
#[derive(Clone, Debug, Default)]
struct Place {
    hash: u128,
    everybody_until: Timestamp,
    /// Whoever shows credentials.
    identified_until: Timestamp,
    /// The last one that was refused by itself.
    identity: u64,
    identity_until: Timestamp,
    /// The fields that selected the last one that was refused to its selecting values, and a hash of these.
    names: Box<[Box<[u8]>]>,
    selected: u64,
    selected_until: Timestamp,
    /// Answers in a row of each kind without one that could be shared.
    identities: u8,
    ones: u8,
}

impl Unshared {
    /// The place of a key, made anew if it was another's or long ago.
    fn place(&mut self, hash: u128, now: Timestamp) -> Option<&mut Place> {
        if self.places.is_empty() {
            self.places = vec![Place::default(); PLACES];
        }
        let place = self.places.get_mut(hash as usize % PLACES)?;
        let latest = place.everybody_until.max(place.identified_until).max(place.identity_until);
        if place.hash != hash || now > latest.max(place.selected_until).plus(UNSHARED_FOR) {
            *place = Place { hash, identity_until: now, ..Place::default() };
        }
        Some(place)
    }

    /// Takes in that answers to requests with these values in the fields named are not to be shared.
    pub(super) fn note_selected(
        &mut self,
        hash: u128,
        names: Vec<Box<[u8]>>,
        request: Fields<'_>,
        now: Timestamp,
    ) {
        let selected = selected(&names, request);
        if let Some(place) = self.place(hash, now) {
            place.names = names.into();
            (place.selected, place.selected_until) = (selected, now.plus(UNSHARED_FOR));
        }
    }

    /// Takes an answer in. Whether nobody need wait for the key's next one.
    pub(super) fn note(&mut self, hash: u128, extent: Extent, now: Timestamp) -> bool {
        let Some(place) = self.place(hash, now) else { return false };
        let until = now.plus(UNSHARED_FOR);
        match extent {
            Extent::Selected => {}
            Extent::Everybody => place.everybody_until = until,
            Extent::Identity(identity) => {
                if place.identity != identity {
                    place.identities = place.identities.saturating_add(1);
                }
                (place.identity, place.identity_until) = (identity, until);
                if place.identities >= IN_A_ROW {
                    place.identified_until = until;
                }
            }
            Extent::One => {
                place.ones = place.ones.saturating_add(1);
                if place.ones >= IN_A_ROW {
                    place.everybody_until = until;
                }
            }
        }
        now < place.everybody_until
    }

    /// An answer for the key can be shared.
    pub(super) fn clear(&mut self, hash: u128) {
        if let Some(place) = self.places.get_mut(hash as usize % PLACES)
            && place.hash == hash
        {
            *place = Place::default();
        }
    }

    /// Whether an answer to such a request is not to be expected to be shared.
    pub(super) fn applies(&self, hash: u128, asker: &Asker<'_>, now: Timestamp) -> bool {
        let Some(place) = self.places.get(hash as usize % PLACES) else { return false };
        place.hash == hash
            && (now < place.everybody_until
                || now < place.selected_until && selected(&place.names, asker.fields) == place.selected
                || asker.identity.is_some_and(|identity| {
                    now < place.identified_until || place.identity == identity && now < place.identity_until
                }))
    }
}

/// A hash of the values that a request has in the fields named.
fn selected(names: &[Box<[u8]>], request: Fields<'_>) -> u64 {
    let mut values = Vec::new();
    vary::selecting(names, request, &mut values);
    xxh3_64(&values)
}

/// How long it is remembered.
pub(super) const UNSHARED_FOR: Duration = Duration::from_secs(10);
/// So many answers in a row that speak for one speak for all of their kind.
const IN_A_ROW: u8 = 3;
/// 128 bytes each, taken when the first key is noted.
const PLACES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u128 = 7;

    fn by(identity: Option<u64>) -> Asker<'static> {
        Asker { identity, ..Asker::default() }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    #[test]
    fn one_client_with_credentials_decides_for_itself_alone() {
        let mut unshared = Unshared::default();
        assert!(!unshared.note(KEY, Extent::Identity(1), at(0)));
        assert!(unshared.applies(KEY, &by(Some(1)), at(1)));
        assert!(!unshared.applies(KEY, &by(Some(2)), at(1)) && !unshared.applies(KEY, &by(None), at(1)));
        assert!(!unshared.applies(KEY, &by(Some(1)), at(10)) && !unshared.applies(8, &by(Some(1)), at(1)));
    }

    #[test]
    fn three_in_a_row_decide_for_all_of_their_kind_until_one_is_shared() {
        let mut unshared = Unshared::default();
        for identity in 1..=3 {
            assert!(!unshared.note(KEY, Extent::Identity(identity), at(0)));
        }
        assert!(unshared.applies(KEY, &by(Some(9)), at(1)) && !unshared.applies(KEY, &by(None), at(1)));
        assert_eq!([1, 2, 3].map(|second| unshared.note(KEY, Extent::One, at(second))), [false, false, true]);
        assert!(unshared.applies(KEY, &by(None), at(4)));
        unshared.clear(KEY);
        assert!(!unshared.applies(KEY, &by(Some(9)), at(4)) && !unshared.applies(KEY, &by(None), at(4)));
    }

    #[test]
    fn the_same_client_again_and_again_is_still_one() {
        let mut unshared = Unshared::default();
        (0..9).for_each(|second| assert!(!unshared.note(KEY, Extent::Identity(1), at(second))));
        assert!(!unshared.applies(KEY, &by(Some(2)), at(9)));
    }

    #[test]
    fn what_lies_far_apart_is_no_row() {
        let mut unshared = Unshared::default();
        assert_eq!([0, 30, 60].map(|second| unshared.note(KEY, Extent::One, at(second))), [false; 3]);
        assert!(unshared.note(KEY, Extent::Everybody, at(61)));
    }
}

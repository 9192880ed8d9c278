//! Leases: which worker of an Envoy fetches for a key, so that the others wait for it.
//!
//! Shared data has no deletion, so there is a fixed number of places, each with one lease at a time; a key's hash says
//! which. Two keys that meet in a place do not hinder each other: the second is fetched without a lease. A lease ends by
//! itself, in case its holder dies.
//!
//! ```text
//! magic "svl1" · hash u128 · until u64 ms · token u32 · state u8
//! ```

use super::{ABSENT, NodeStore, SharedData, TRIES};
use crate::host::wire::{take, take_u32, take_u64, take_u128};

/// What became of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// This worker has it; the token gives it back.
    Taken {
        /// Tells it from every other lease of the place.
        token: u32,
    },
    /// Another worker has it, and knows now that somebody waits.
    Held,
    /// Another worker has found out that responses for the key are not to be stored.
    NotStorable,
    /// None is to be had: another key is in its place, or others were first again and again.
    Unavailable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    hash: u128,
    until_ms: u64,
    token: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Somebody fetches.
    Fetching = 1,
    /// Somebody fetches, and a worker waits to be told.
    Awaited = 2,
    /// Nobody should wait.
    NotStorable = 3,
    /// It has been given back.
    Free = 4,
}

impl NodeStore {
    /// Asks for the lease of a key up to a time.
    pub fn lease(&mut self, data: &mut dyn SharedData, hash: u128, now_ms: u64, until_ms: u64) -> Lease {
        let name = self.names.lease(place_of(hash)).to_owned();
        for _ in 0..TRIES {
            let (present, cas) = match data.get(&name) {
                None => (None, ABSENT),
                Some((bytes, cas)) => (Place::decode(&bytes), cas),
            };
            let wanted = match present {
                Some(place) if place.state != State::Free && now_ms < place.until_ms => match place.state {
                    State::NotStorable if place.hash == hash => return Lease::NotStorable,
                    State::Awaited if place.hash == hash => return Lease::Held,
                    State::Fetching if place.hash == hash => Place { state: State::Awaited, ..place },
                    // What is remembered of another key makes room.
                    State::NotStorable => Place { hash, until_ms, token: cas, state: State::Fetching },
                    _ => return Lease::Unavailable,
                },
                // Each value of the place has another `cas`, so two leases of a place never have the same token.
                _ => Place { hash, until_ms, token: cas, state: State::Fetching },
            };
            if data.set(&name, &wanted.encode(), cas).is_ok() {
                return if wanted.state == State::Awaited {
                    Lease::Held
                } else {
                    Lease::Taken { token: cas }
                };
            }
        }
        Lease::Unavailable
    }

    /// Gives a lease back, or leaves word until a time that the key's responses are not to be stored. `true` if another
    /// worker waits to be told. Does nothing if the lease has passed to another holder.
    pub fn release(
        &mut self,
        data: &mut dyn SharedData,
        hash: u128,
        token: u32,
        not_storable_until_ms: Option<u64>,
    ) -> bool {
        let name = self.names.lease(place_of(hash)).to_owned();
        for _ in 0..TRIES {
            let Some((bytes, cas)) = data.get(&name) else { return false };
            let Some(place) =
                Place::decode(&bytes).filter(|place| place.hash == hash && place.token == token)
            else {
                return false;
            };
            let (state, until_ms) = match not_storable_until_ms {
                Some(until) => (State::NotStorable, until),
                None => (State::Free, 0),
            };
            if data.set(&name, &Place { state, until_ms, ..place }.encode(), cas).is_ok() {
                return place.state == State::Awaited;
            }
        }
        // It ends by itself.
        true
    }

    /// Whether a worker fetches for the key at this moment.
    pub fn is_leased(&mut self, data: &mut dyn SharedData, hash: u128, now_ms: u64) -> bool {
        let place = data.get(self.names.lease(place_of(hash))).and_then(|(bytes, _)| Place::decode(&bytes));
        place.is_some_and(|place| {
            let fetching = matches!(place.state, State::Fetching | State::Awaited);
            fetching && place.hash == hash && now_ms < place.until_ms
        })
    }
}

impl Place {
    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if take(&mut bytes)? != MAGIC {
            return None;
        }
        let (hash, until_ms, token) = (take_u128(&mut bytes)?, take_u64(&mut bytes)?, take_u32(&mut bytes)?);
        let state = match take(&mut bytes)? {
            [1] => State::Fetching,
            [2] => State::Awaited,
            [3] => State::NotStorable,
            [4] => State::Free,
            _ => return None,
        };
        Some(Self { hash, until_ms, token, state })
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(33);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.hash.to_le_bytes());
        bytes.extend_from_slice(&self.until_ms.to_le_bytes());
        bytes.extend_from_slice(&self.token.to_le_bytes());
        bytes.push(self.state as u8);
        bytes
    }
}

/// The place of a key. The buckets take the high half of the hash; this takes the low one.
fn place_of(hash: u128) -> u32 {
    hash as u32 % PLACES
}

const MAGIC: [u8; 4] = *b"svl1";
/// Places for leases: about 150 bytes of the host's memory each, once used.
const PLACES: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::super::NodeLimits;
    use super::super::fake::Fake;
    use super::*;

    fn workers() -> (Fake, [NodeStore; 2]) {
        let limits = NodeLimits { bytes: 1 << 20, object_bytes: 1 << 16, buckets: 16 };
        (Fake::default(), [NodeStore::new(limits), NodeStore::new(limits)])
    }

    fn token(lease: Lease) -> u32 {
        match lease {
            Lease::Taken { token } => token,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_worker_fetches_and_hears_that_another_waits() {
        let (mut data, [mut a, mut b]) = workers();
        let first = token(a.lease(&mut data, 7, 0, 100));
        assert!(b.is_leased(&mut data, 7, 50));
        assert_eq!(b.lease(&mut data, 7, 50, 150), Lease::Held);
        assert_eq!(b.lease(&mut data, 7, 60, 160), Lease::Held);
        assert!(a.release(&mut data, 7, first, None));
        assert!(!b.is_leased(&mut data, 7, 60));
        let second = token(b.lease(&mut data, 7, 70, 170));
        assert!(!b.release(&mut data, 7, second, None), "nobody waits");
    }

    #[test]
    fn a_lease_ends_by_itself_and_its_late_holder_gives_back_nothing() {
        let (mut data, [mut a, mut b]) = workers();
        let late = token(a.lease(&mut data, 7, 0, 100));
        let now = token(b.lease(&mut data, 7, 100, 200));
        assert_ne!(late, now);
        assert!(!a.release(&mut data, 7, late, None));
        assert!(a.is_leased(&mut data, 7, 150), "it is the other's");
        assert!(!b.release(&mut data, 7, now, None));
    }

    #[test]
    fn that_nothing_is_to_be_stored_is_known_to_all_for_a_while() {
        let (mut data, [mut a, mut b]) = workers();
        let lease = token(a.lease(&mut data, 7, 0, 100));
        a.release(&mut data, 7, lease, Some(500));
        assert_eq!(b.lease(&mut data, 7, 499, 599), Lease::NotStorable);
        assert!(matches!(b.lease(&mut data, 7, 500, 600), Lease::Taken { .. }));
    }

    #[test]
    fn two_keys_of_one_place_do_not_hinder_each_other() {
        let (mut data, [mut a, mut b]) = workers();
        let other = 7 + u128::from(PLACES);
        let lease = token(a.lease(&mut data, 7, 0, 100));
        assert_eq!(b.lease(&mut data, other, 0, 100), Lease::Unavailable);
        a.release(&mut data, 7, lease, Some(500));
        assert!(matches!(b.lease(&mut data, other, 0, 100), Lease::Taken { .. }));
    }

    #[test]
    fn what_is_no_lease_is_overwritten() {
        let (mut data, [mut a, _]) = workers();
        token(a.lease(&mut data, 7, 0, 100));
        for raw in [&b""[..], b"svl1", b"something else of some length that is no lease", &[0xff; 33]] {
            data.put_raw("sv1/l/7", raw);
            assert!(!a.is_leased(&mut data, 7, 0));
            assert!(matches!(a.lease(&mut data, 7, 0, 100), Lease::Taken { .. }));
        }
    }
}

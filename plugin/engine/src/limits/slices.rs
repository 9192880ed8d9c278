//! What one worker holds: for each key some tokens that the node has lent it, and until when the key is refused.
//!
//! Nothing here is the truth about a key, which lies in the node's pool: a slice can be dropped at any time, and only what it
//! holds is lost with it. So the table is bounded, and past the bound a key simply has no slice.

use super::node::is_valid;
use super::ways::{Back, epoch};

/// What is held of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    /// 0 in a place that is not used.
    pub hash: u128,
    /// Until when it is refused.
    pub refused_until: u64,
    /// When the node was last asked.
    pub asked_at: u64,
    /// Tokens left.
    pub held: u32,
    /// Tokens lent.
    lent: u32,
    /// Tokens that were asked for since.
    pub demand: u32,
    /// What the node had left then, for clients to know.
    pub left: u32,
    /// Until when they may be spent, of what counts for the fleet.
    until: u64,
}

impl Slice {
    /// Tokens that may be spent.
    pub const fn valid(&self, now_ms: u64) -> u32 {
        if self.is_valid(now_ms) { self.held } else { 0 }
    }

    const fn is_valid(&self, now_ms: u64) -> bool {
        if self.until > 0 { now_ms < self.until } else { is_valid(epoch(self.asked_at), now_ms) }
    }

    /// Spends tokens, if it has them.
    pub const fn spend(&mut self, tokens: u32, now_ms: u64) -> bool {
        self.demand = self.demand.saturating_add(tokens);
        let enough = self.valid(now_ms) >= tokens;
        if enough {
            self.held -= tokens;
        }
        enough
    }

    /// What will be asked for in the next [`AHEAD_MS`], as it was since the node was asked.
    pub fn wish(&self, now_ms: u64) -> u32 {
        // Of one that is new nothing is known, and a moment tells little.
        let elapsed = now_ms.saturating_sub(self.asked_at).max(LEAST_MS);
        u32::try_from(u64::from(self.demand) * AHEAD_MS / elapsed).unwrap_or(u32::MAX)
    }

    /// What the node is told of the tokens that it lent; it is told once.
    pub const fn give_back(&mut self, now_ms: u64) -> Option<Back> {
        let back = Back { lent: self.lent, epoch: epoch(self.asked_at), left: self.held };
        let known = self.lent > 0 && self.is_valid(now_ms);
        self.held = 0;
        self.lent = 0;
        if known { Some(back) } else { None }
    }

    /// The node was asked.
    pub fn take(&mut self, held: u32, left: u64, now_ms: u64) {
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        *self =
            Self { asked_at: now_ms, held, lent: held, demand: 0, left, refused_until: 0, until: 0, ..*self };
    }

    /// The same of what counts for the fleet, which may be spent until a moment.
    pub fn take_until(&mut self, held: u32, left: u64, until: u64, now_ms: u64) {
        self.take(held, left, now_ms);
        self.until = until;
    }

    /// What it was asked for since the node last heard of it.
    pub const fn take_demand(&mut self, now_ms: u64) -> u32 {
        self.asked_at = now_ms;
        std::mem::replace(&mut self.demand, 0)
    }

    /// Whether nothing is lost with it.
    const fn is_spent(&self, now_ms: u64) -> bool {
        self.valid(now_ms) == 0 && self.refused_until <= now_ms
    }
}

/// What is asked for is looked at over so long at least.
const LEAST_MS: u64 = 4;
/// A worker takes as much at once as it is asked for in this time.
pub(super) const AHEAD_MS: u64 = 20;

/// The slices, in a table that grows with the keys up to a bound.
#[derive(Debug, Default)]
pub(super) struct Slices {
    places: Vec<Slice>,
    most: usize,
    used: usize,
}

impl Slices {
    /// For so many keys.
    pub const fn new(most: usize) -> Self {
        Self { places: Vec::new(), most, used: 0 }
    }

    /// Keys that are in it.
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Bytes that it takes.
    pub const fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Slice>()
    }

    /// Bytes that it may take.
    pub const fn most_bytes(&self) -> usize {
        self.most.saturating_mul(size_of::<Slice>())
    }

    /// The key's slice.
    pub fn get(&mut self, hash: u128) -> Option<&mut Slice> {
        let set = self.set_of(hash);
        self.places.get_mut(set)?.iter_mut().find(|slice| slice.hash == hash)
    }

    /// The key's slice, made if there is room for it.
    pub fn entry(&mut self, hash: u128, now_ms: u64) -> Option<&mut Slice> {
        if self.places.is_empty() {
            self.places = vec![Slice::default(); FIRST.min(self.most.next_multiple_of(SET))];
        }
        loop {
            let set = self.set_of(hash);
            let places = self.places.get(set.clone())?;
            let known = places.iter().position(|slice| slice.hash == hash);
            let free = || places.iter().position(|slice| slice.hash == 0);
            let found = match known.or_else(free) {
                Some(found) => found,
                None if self.places.len() * 2 <= self.most => {
                    self.grow();
                    continue;
                }
                // The one that was used longest ago of those with which nothing is lost.
                None => {
                    let spent = places.iter().enumerate().filter(|(_, slice)| slice.is_spent(now_ms));
                    spent.min_by_key(|(_, slice)| slice.asked_at).map(|(at, _)| at)?
                }
            };
            let slice = self.places.get_mut(set)?.get_mut(found)?;
            if slice.hash != hash {
                self.used += usize::from(slice.hash == 0);
                *slice = Slice { hash, ..Slice::default() };
            }
            return Some(slice);
        }
    }

    fn grow(&mut self) {
        let twice = vec![Slice::default(); self.places.len() * 2];
        let before = std::mem::replace(&mut self.places, twice);
        self.used = 0;
        for slice in before.into_iter().filter(|slice| slice.hash != 0) {
            let set = self.set_of(slice.hash);
            let places = self.places.get_mut(set).unwrap_or_default();
            // A set is split in two, so each half has room for all.
            if let Some(place) = places.iter_mut().find(|place| place.hash == 0) {
                *place = slice;
                self.used += 1;
            }
        }
    }

    fn set_of(&self, hash: u128) -> std::ops::Range<usize> {
        let sets = (self.places.len() / SET).max(1) as u64;
        // The low half chooses the place in the node: the high one, so that both spread.
        let at = ((hash >> 64) as u64 % sets) as usize * SET;
        at..at + SET
    }
}

/// Places that a key may be in.
const SET: usize = 8;
/// Places to begin with.
const FIRST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_keys_up_to_its_bound_and_drops_only_what_holds_nothing() {
        let mut slices = Slices::new(4_096);
        let hash = |key: u128| (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        assert_eq!((slices.bytes(), slices.len()), (0, 0));
        let mut kept = 0;
        for key in 0..100_000u128 {
            if let Some(slice) = slices.entry(hash(key), 10_000) {
                slice.take(5, 9, 10_000);
                kept += 1;
            }
        }
        assert_eq!(slices.len(), kept);
        assert!(kept > 3_500 && kept <= 4_096, "{kept}");
        assert!(slices.bytes() <= 4_096 * 64, "{}", slices.bytes());
        // All of them hold tokens, until these are forgotten.
        assert!(slices.entry(hash(200_000), 10_400).is_none() || slices.len() > kept);
        assert!((300_000..310_000).all(|key| slices.entry(hash(key), 11_000).is_some()));
    }

    #[test]
    fn what_is_lent_is_spent_or_given_back_within_an_epoch_and_the_next() {
        let mut slice = Slice { hash: 1, ..Slice::default() };
        slice.take(5, 9, 1_000);
        assert!(slice.spend(2, 1_999));
        assert!(!slice.spend(4, 1_999));
        assert_eq!(slice.valid(2_000), 0);
        assert!(!slice.spend(1, 2_000));
        let mut given = slice;
        assert_eq!(given.give_back(1_999), Some(Back { lent: 5, epoch: 2, left: 3 }));
        assert_eq!(given.give_back(1_999), None);
        assert_eq!(slice.give_back(2_000), None);
    }

    #[test]
    fn a_worker_wishes_for_what_it_is_asked_for_in_twenty_milliseconds() {
        let mut slice = Slice { hash: 1, asked_at: 1_000, ..Slice::default() };
        assert!((0..100).all(|_| !slice.spend(1, 1_010)));
        assert_eq!(slice.wish(1_050), 40);
        assert_eq!(slice.wish(4_000), 0);
    }
}

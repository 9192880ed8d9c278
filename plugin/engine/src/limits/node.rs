//! The node's pool: the buckets of all keys, in host shared data, from which workers are lent tokens.
//!
//! Shared data can delete nothing, so there is a fixed number of places for the configuration's `node.limit_keys`, of eight keys
//! each. A key takes a way that is free or as good as free; where there is none it shares one of [`OVERFLOW`] buckets with
//! others, which is the safe direction, and is counted as `crowded`. Such a key later begins with what that bucket holds then:
//! it never comes back to a full one.
//!
//! | key | value |
//! |---|---|
//! | `svl/<places>/<n>` | the ways of place *n* |
//! | `svl/o/<n>` | those of overflow bucket *n*, one for each limit |

use std::fmt::Write;

use super::bucket::Rate;
use super::drawing::is_strict;
use super::ways::{Back, Way, Ways, epoch};
use crate::host::{ABSENT, SharedData};

/// What a worker wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// The key.
    pub hash: u128,
    /// What the limit itself has for a hash.
    pub limit: u128,
    /// Tokens that are spent at once.
    pub need: u32,
    /// Tokens that it would hold beside these, for requests to come.
    pub wish: u32,
    /// What became of those that it was lent before.
    pub back: Option<Back>,
}

/// What it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The tokens that it needs.
    Lent {
        /// Those to hold.
        held: u32,
        /// Tokens that are left.
        left: u64,
    },
    /// There are too few.
    Empty {
        /// Milliseconds until there are enough.
        wait: u64,
    },
    /// Other workers were first again and again.
    Contended,
}

/// One worker's view of the pool.
#[derive(Debug)]
pub(super) struct NodePool {
    places: u64,
    name: String,
    /// Keys that found no way.
    pub crowded: u64,
}

impl NodePool {
    /// For so many keys.
    pub fn new(keys: usize) -> Self {
        Self { places: (keys / WAYS).max(1) as u64, name: String::new(), crowded: 0 }
    }

    /// Takes tokens for a key, and settles what was lent before.
    pub fn take(&mut self, ask: &Ask, rate: &Rate, now_ms: u64, data: &mut dyn SharedData) -> Given {
        for _ in 0..TRIES {
            let (mut ways, cas) = self.look(ask.hash, data);
            let Some(at) = self.way_of(&mut ways, ask, rate, now_ms, data) else {
                // It may have changed: who came from here takes less than the whole burst when there is a way again.
                if ways.crowded_until > now_ms.saturating_add(rate.time_for(rate.full()))
                    || data.set(self.name_of(ask.hash), &crowded(ways, rate, now_ms).encode(), cas).is_ok()
                {
                    self.crowded += 1;
                    return self.overflow(ask, rate, now_ms, data);
                }
                continue;
            };
            let Some(way) = ways.ways.get_mut(at) else { return Given::Contended };
            let given = draw(way, ask, rate, now_ms);
            if matches!(given, Given::Empty { .. }) && ask.back.is_none() {
                return given;
            }
            if data.set(self.name_of(ask.hash), &ways.encode(), cas).is_ok() {
                return given;
            }
        }
        Given::Contended
    }

    /// Gives tokens back that were spent for nothing, or takes what a request has cost beyond its tokens: the level may
    /// fall below 0. `false` if others were first again and again.
    pub fn correct(
        &mut self,
        ask: &Ask,
        units: i64,
        rate: &Rate,
        now_ms: u64,
        data: &mut dyn SharedData,
    ) -> bool {
        for _ in 0..TRIES {
            let (mut ways, cas) = self.look(ask.hash, data);
            let Some(at) = self.way_of(&mut ways, ask, rate, now_ms, data) else { return false };
            let Some(way) = ways.ways.get_mut(at) else { return false };
            way.advance(rate, 1, now_ms);
            if let Some(back) = ask.back {
                way.settle(back, rate);
            }
            let level = way.bucket.level;
            // What comes back is no more than there is room for beside what is lent.
            let room = rate.full().saturating_sub(rate.units(way.lent()));
            way.bucket.level = match level.saturating_add(units) {
                more if units > 0 => level.max(more.min(room)),
                less => less.max(-rate.units(u64::MAX)),
            };
            way.note_full_at(rate, 1);
            if data.set(self.name_of(ask.hash), &ways.encode(), cas).is_ok() {
                return true;
            }
        }
        false
    }

    /// What a key's bucket holds, without taking anything. One that is not there is full.
    pub fn peek(&mut self, hash: u128, rate: &Rate, now_ms: u64, data: &mut dyn SharedData) -> i64 {
        let (ways, _) = self.look(hash, data);
        let known = ways.ways.iter().find(|way| way.hash == hash);
        known.map_or(rate.full(), |way| {
            let mut way = *way;
            way.advance(rate, 1, now_ms);
            way.bucket.level
        })
    }

    /// Where the key is, or a way for it. One that was crowded out begins with what its overflow bucket holds.
    fn way_of(
        &mut self,
        ways: &mut Ways,
        ask: &Ask,
        rate: &Rate,
        now_ms: u64,
        data: &mut dyn SharedData,
    ) -> Option<usize> {
        if let Some(at) = ways.find(ask.hash) {
            return Some(at);
        }
        let at = ways.free(Way::full(ask.hash, rate, now_ms), WAYS, now_ms)?;
        if now_ms < ways.crowded_until
            && let Some(way) = ways.ways.get_mut(at)
        {
            way.bucket.level = way.bucket.level.min(self.overflow_level(ask, rate, now_ms, data));
        }
        Some(at)
    }

    fn look(&mut self, hash: u128, data: &mut dyn SharedData) -> (Ways, u32) {
        match data.get(self.name_of(hash)) {
            // What is damaged is begun anew.
            Some((bytes, cas)) => (Ways::decode(&bytes).unwrap_or_default(), cas),
            None => (Ways::default(), ABSENT),
        }
    }

    fn name_of(&mut self, hash: u128) -> &str {
        self.name.clear();
        // Writing to a string does not fail.
        let _ = write!(self.name, "svl/{}/{}", self.places, low(hash) % self.places);
        &self.name
    }

    fn name_of_overflow(&mut self, hash: u128) -> &str {
        self.name.clear();
        let _ = write!(self.name, "svl/o/{}", low(hash) % OVERFLOW);
        &self.name
    }

    /// Takes tokens of the bucket that a key shares with others. Nothing of it is lent.
    fn overflow(&mut self, ask: &Ask, rate: &Rate, now_ms: u64, data: &mut dyn SharedData) -> Given {
        for _ in 0..TRIES {
            let found = data.get(self.name_of_overflow(ask.hash));
            let (mut ways, cas) = found.map_or((Ways::default(), ABSENT), |(bytes, cas)| {
                (Ways::decode(&bytes).unwrap_or_default(), cas)
            });
            let at = ways.find(ask.limit);
            let at = at.or_else(|| ways.free(Way::full(ask.limit, rate, now_ms), MOST_LIMITS, now_ms));
            // More limits than any one configuration has, of several plugins: none has room for another.
            let Some(way) = at.and_then(|at| ways.ways.get_mut(at)) else {
                return Given::Empty { wait: rate.time_for(rate.full()) };
            };
            let given = draw(way, &Ask { wish: 0, back: None, ..*ask }, rate, now_ms);
            if matches!(given, Given::Empty { .. }) {
                return given;
            }
            if data.set(self.name_of_overflow(ask.hash), &ways.encode(), cas).is_ok() {
                return given;
            }
        }
        Given::Contended
    }

    fn overflow_level(&mut self, ask: &Ask, rate: &Rate, now_ms: u64, data: &mut dyn SharedData) -> i64 {
        let ways = data.get(self.name_of_overflow(ask.hash)).and_then(|(bytes, _)| Ways::decode(&bytes));
        let way = ways.as_ref().and_then(|ways| ways.ways.iter().find(|way| way.hash == ask.limit));
        way.map_or(rate.full(), |way| {
            let mut way = *way;
            way.advance(rate, 1, now_ms);
            way.bucket.level
        })
    }
}

/// Keys here were crowded out, and have what they took back once a whole burst has come.
fn crowded(ways: Ways, rate: &Rate, now_ms: u64) -> Ways {
    Ways {
        crowded_until: ways.crowded_until.max(now_ms.saturating_add(2 * rate.time_for(rate.full()))),
        ..ways
    }
}

/// Takes what is asked for out of a way, if it is there.
fn draw(way: &mut Way, ask: &Ask, rate: &Rate, now_ms: u64) -> Given {
    way.advance(rate, 1, now_ms);
    if let Some(back) = ask.back {
        way.settle(back, rate);
    }
    let need = rate.units(ask.need.into());
    let left = way.bucket.level.saturating_sub(need);
    if left < 0 {
        way.note_full_at(rate, 1);
        return Given::Empty { wait: way.bucket.wait_for(rate, need).max(1) };
    }
    // Half of what is there: the other workers want some as well. Of what comes back slowly nothing, or one of them would be
    // refused while another holds the last ones.
    let spare = if is_strict(rate, 1) { 0 } else { rate.tokens(left) / 2 };
    let held = u64::from(ask.wish).min(spare);
    let held = u32::try_from(held).unwrap_or(u32::MAX);
    way.bucket.level = left - rate.units(held.into());
    let [lent, _] = &mut way.lent;
    *lent = lent.saturating_add(held);
    way.note_full_at(rate, 1);
    Given::Lent { held, left: rate.tokens(way.bucket.level) }
}

/// How long a worker that found nothing leaves the node alone at least: one that is asked for more than there is would else come
/// for each token. They gather meanwhile, so nothing is lost; a small burst is no reason to wait for as long.
pub(super) const fn pause_ms(rate: &Rate) -> u64 {
    let quarter = rate.time_for(rate.full()) / 4;
    if quarter < PAUSE_MS { quarter } else { PAUSE_MS }
}

const PAUSE_MS: u64 = 10;

/// Whether what was lent in that epoch may still be spent.
pub(super) const fn is_valid(lent_in: u64, now_ms: u64) -> bool {
    let now = epoch(now_ms);
    now == lent_in || now == lent_in.wrapping_add(1)
}

const fn low(hash: u128) -> u64 {
    hash as u64
}

/// Keys at one place.
const WAYS: usize = 8;
/// Buckets for those that find no way.
const OVERFLOW: u64 = 256;
/// Limits that an overflow bucket is apart for.
const MOST_LIMITS: usize = 128;
/// Attempts at one compare-and-swap. Each failure is another worker's success.
const TRIES: usize = 16;

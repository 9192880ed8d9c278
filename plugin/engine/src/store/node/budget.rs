//! How much the store may hold: the most that any of the plugins that share it asks for. A small plugin would else empty the
//! store for a large one.
//!
//! ```text
//! magic "svn1" · one to sixteen of: data u64 · configured u64 · until u64 ms · xxh3 of all before u64
//! ```
//!
//! Little endian. What nobody has asked for again for six seconds counts no more: its plugin has gone, or another configuration
//! has followed.

use std::time::Duration;

use super::{ABSENT, NodeStore, SharedData, names};
use crate::host::wire::{framed, take_u64, unframed};
use crate::time::Timestamp;

/// What a plugin asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget {
    /// Bytes of data, trailers included.
    pub data: u64,
    /// The setting that this comes from, in bytes: `node.bytes`.
    pub configured: u64,
}

struct Ask {
    budget: Budget,
    until: Timestamp,
}

impl NodeStore {
    /// What the store may hold, as this worker knows.
    pub const fn budget(&self) -> Budget {
        self.budget
    }

    /// By tick: learns what the store may hold. Where `asks` says so it asks for its own limit too, which comes from so many
    /// bytes `configured`. Costs a get a second, and a set every third one if it asks.
    pub fn agree(&mut self, data: &mut dyn SharedData, asks: bool, configured: u64, now: Timestamp) {
        // A moment far off is of a clock that was set back.
        if now < self.agrees_at && self.agrees_at.since(now) <= LOOK_EVERY {
            return;
        }
        self.agrees_at = now.plus(LOOK_EVERY);
        let (mut others, cas) = read(data, now);
        let own = Budget { data: self.limits.bytes, configured };
        let lasts = |ask: &Ask| ask.budget == own && ask.until.since(now) > LEASE / 2;
        if asks && own.data > 0 && !others.iter().any(lasts) {
            others.retain(|ask| ask.budget != own);
            if others.len() >= MOST
                && let Some((at, _)) = others.iter().enumerate().min_by_key(|(_, ask)| ask.budget)
            {
                others.swap_remove(at);
            }
            others.push(Ask { budget: own, until: now.plus(LEASE) });
            // If another was first, this one asks the next time.
            if data.set(names::BUDGET, &encode(&others), cas).is_err() {
                self.agrees_at = now;
            }
        }
        self.budget = largest(&others).unwrap_or_default();
        if asks {
            self.budget = self.budget.max(own);
        }
    }

    /// What others ask for, before this worker's first use of the store.
    pub(super) fn learn_budget(&mut self, data: &mut dyn SharedData) {
        if let Some((bytes, _)) = data.get(names::BUDGET) {
            let asked = decode(&bytes).unwrap_or_default();
            self.budget = largest(&asked).unwrap_or_default().max(self.budget);
        }
    }
}

fn largest(asks: &[Ask]) -> Option<Budget> {
    asks.iter().map(|ask| ask.budget).max()
}

/// What is asked for at present.
fn read(data: &mut dyn SharedData, now: Timestamp) -> (Vec<Ask>, u32) {
    let Some((bytes, cas)) = data.get(names::BUDGET) else { return (Vec::new(), ABSENT) };
    let mut asks = decode(&bytes).unwrap_or_default();
    asks.retain(|ask| now < ask.until && ask.until.since(now) <= LEASE);
    (asks, cas)
}

fn encode(asks: &[Ask]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for Ask { budget, until } in asks {
        for number in [budget.data, budget.configured, until.as_millis()] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    framed(out)
}

fn decode(bytes: &[u8]) -> Option<Vec<Ask>> {
    let mut body = unframed(bytes, MAGIC)?;
    let mut asks = Vec::new();
    while !body.is_empty() && asks.len() < MOST {
        let budget = Budget { data: take_u64(&mut body)?, configured: take_u64(&mut body)? };
        asks.push(Ask { budget, until: Timestamp::from_millis(take_u64(&mut body)?) });
    }
    body.is_empty().then_some(asks)
}

const MAGIC: [u8; 4] = *b"svn1";
/// Different limits that are remembered. Of more the largest are.
const MOST: usize = 16;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What has not been asked for again for so long counts no more.
const LEASE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::super::NodeLimits;
    use super::super::fake::Fake;
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn store(bytes: u64) -> NodeStore {
        NodeStore::new(NodeLimits { bytes, object_bytes: 1 << 20, buckets: 64 })
    }

    /// A tick and a whole round of the audit.
    fn tick(store: &mut NodeStore, data: &mut Fake, asks: bool, second: u64) {
        store.agree(data, asks, store.limits.bytes, at(second));
        store.audit(data, at(second).as_millis(), 32);
    }

    fn fill(store: &mut NodeStore, data: &mut Fake, second: u64) {
        for key in 0..100u128 {
            let (hash, now) = ((key << 64) | key, at(second).as_millis());
            store.put(data, hash, &[0; 1000], now + HOUR, now).unwrap();
        }
    }

    #[test]
    fn a_small_plugin_leaves_a_large_ones_responses_alone_and_may_use_its_room() {
        let data = &mut Fake::default();
        let (mut large, mut small) = (store(200_000), store(10_000));
        tick(&mut large, data, true, 0);
        fill(&mut large, data, 0);
        let held = data.data_bytes();
        assert!(held > 90_000, "{held}");
        // The first thing that it does, before its first tick.
        let now = at(1).as_millis();
        small.put(data, 7, &[0; 1000], now + HOUR, now).unwrap();
        for second in 1..100 {
            tick(&mut small, data, true, second);
            tick(&mut large, data, true, second);
        }
        assert_eq!(data.data_bytes(), held + 1024);
        assert_eq!((small.budget().data, large.budget().data), (200_000, 200_000));
    }

    #[test]
    fn when_the_large_one_has_gone_the_store_shrinks_to_what_the_small_one_asks_for() {
        let data = &mut Fake::default();
        let (mut large, mut small) = (store(200_000), store(10_000));
        tick(&mut large, data, true, 0);
        fill(&mut large, data, 0);
        for second in 1..30 {
            tick(&mut small, data, true, second);
        }
        assert!(data.data_bytes() <= 10_000, "{}", data.data_bytes());
        assert_eq!(small.budget(), Budget { data: 10_000, configured: 10_000 });
    }

    #[test]
    fn an_old_configuration_that_has_requests_to_come_follows_the_new_one() {
        let data = &mut Fake::default();
        let (mut old, mut new) = (store(10_000), store(200_000));
        tick(&mut old, data, true, 0);
        for second in 1..20 {
            tick(&mut old, data, false, second);
            tick(&mut new, data, true, second);
        }
        assert_eq!(old.budget().data, 200_000);
        fill(&mut new, data, 20);
        let held = data.data_bytes();
        for second in 20..60 {
            tick(&mut old, data, false, second);
            tick(&mut new, data, true, second);
        }
        assert_eq!(data.data_bytes(), held);
    }

    #[test]
    fn without_a_budget_of_its_own_it_neither_asks_nor_empties_what_others_fill() {
        let data = &mut Fake::default();
        let (mut without, mut with) = (store(0), store(200_000));
        tick(&mut with, data, true, 0);
        fill(&mut with, data, 0);
        let held = data.data_bytes();
        for second in 1..5 {
            tick(&mut without, data, true, second);
        }
        assert_eq!(data.data_bytes(), held);
        tick(&mut without, data, true, 20);
        assert_eq!(data.data_bytes(), 0, "the other has gone");
    }

    #[test]
    fn many_limits_strange_bytes_and_a_clock_that_is_set_back_do_no_harm() {
        let data = &mut Fake::default();
        for bytes in 1..50 {
            tick(&mut store(bytes * 1000), data, true, 5000);
        }
        let mut one = store(500);
        tick(&mut one, data, true, 5000);
        assert_eq!(one.budget().data, 49_000);
        assert_eq!(decode(&data.get(names::BUDGET).unwrap().0).unwrap().len(), MOST);
        tick(&mut one, data, true, 0);
        assert_eq!(one.budget().data, 500);
        data.put_raw(names::BUDGET, b"svn1 or not");
        tick(&mut one, data, true, 3);
        assert_eq!(one.budget().data, 500);
    }
}

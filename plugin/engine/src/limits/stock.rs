//! What a node holds of the fleet's buckets, for all keys at one place: one value in host shared data.
//!
//! ```text
//! magic "svf2" · n × ( hash u128 · eleven u64 · twelve u32 ) · xxh3 of all before u64
//! ```
//!
//! Little endian; times in milliseconds since the epoch. Beside what was leased there is the node's *share*, a bucket that its own
//! clock fills and of which all that is leased is taken: it is what the node goes by while Redis cannot be asked.

use super::bucket::{Bucket, Rate};
use super::lease::VALID_MS;
use super::ways::{Back, EPOCH_MS, forget, take_back};
use crate::host::wire::{framed, take, take_u32, take_u64, take_u128, unframed};

/// What is held of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stock {
    pub hash: u128,
    /// The node's share, by its own clock.
    pub share: Bucket,
    /// When nothing is lost with it.
    pub full_at: u64,
    /// When what is held was asked for: it is forgotten [`VALID_MS`] later.
    pub asked_at: u64,
    /// Until then a worker of the node asks.
    pub asking_until: u64,
    /// Nobody asks before: there is nothing.
    pub ask_at: u64,
    /// Until then time alone brings too little, by what Redis has said.
    pub retry_at: u64,
    /// The answer has not come: until then the node goes by its share.
    pub failed_until: u64,
    /// The epoch of Redis in which it was leased; 0 if that is not known.
    pub epoch: u64,
    /// Since when `demand` is counted.
    pub demand_at: u64,
    /// The last change, whose epoch `lent` is of.
    pub changed_at: u64,
    /// Tokens in stock.
    pub held: u32,
    /// Tokens that were in stock after the last answer.
    pub lot: u32,
    /// Tokens that Redis counts as lent to the node.
    pub leased: u32,
    /// Tokens that workers hold, lent in the epoch of the last change and in the one before. Older ones are forgotten.
    pub lent: [u32; 2],
    /// Tokens that were spent beyond what was asked for, of which Redis has not heard.
    pub owed: u32,
    /// Tokens that were spent and not used, of which Redis has not heard.
    pub returned: u32,
    /// Tokens that were taken of the share, of which Redis has not heard.
    pub shared: u32,
    /// Tokens that workers were asked for.
    pub demand: u32,
    /// Nodes that share the quota; 0 if that is not known.
    pub nodes: u32,
    /// Tokens that Redis had left.
    pub left: u32,
    /// See [`SCARCE`] and [`AWAITED`].
    pub flags: u32,
}

/// Redis gave less than was wished for.
pub(super) const SCARCE: u32 = 1;
/// Other workers wait for the answer.
pub(super) const AWAITED: u32 = 2;

impl Stock {
    /// A key of which nothing is known.
    pub fn new(hash: u128, rate: &Rate, now_ms: u64, nodes: u32) -> Self {
        let share = Bucket { level: part(rate, nodes), at_ms: now_ms };
        Self { hash, share, full_at: now_ms, demand_at: now_ms, changed_at: now_ms, ..Self::default() }
    }

    /// Brings it to this moment: what was leased or lent long ago is forgotten, and the share fills.
    pub fn advance(&mut self, rate: &Rate, nodes: u32, now_ms: u64) {
        if !is_valid(self.asked_at, now_ms) {
            (self.held, self.lot) = (0, 0);
        }
        forget(&mut self.lent, self.changed_at, now_ms);
        self.changed_at = self.changed_at.max(now_ms);
        if self.changed_at > now_ms.saturating_add(APART_MS) {
            self.changed_at = now_ms;
        }
        let most = part(rate, nodes);
        self.share.fill(rate, most, u64::from(nodes.max(1)), now_ms);
        // Of more nodes than before each has less.
        self.share.level = self.share.level.min(most);
    }

    /// Some of what a worker was lent was spent, and the rest came back.
    pub fn settle(&mut self, back: Back) {
        self.held = self.held.saturating_add(take_back(&mut self.lent, self.changed_at, back));
    }

    /// Lends tokens of the stock to a worker, at most half of them.
    pub fn lend(&mut self, wish: u32) -> u32 {
        let lent = wish.min(self.held / 2);
        self.held -= lent;
        let [now, _] = &mut self.lent;
        *now = now.saturating_add(lent);
        lent
    }

    /// Tokens that the node or its workers may yet spend.
    pub const fn outstanding(&self) -> u32 {
        let [now, before] = self.lent;
        self.held.saturating_add(now).saturating_add(before)
    }

    /// Whether Redis has given less than was wished for, a moment ago.
    pub const fn is_scarce(&self, now_ms: u64) -> bool {
        self.flags & SCARCE != 0 && now_ms.saturating_sub(self.asked_at) < 3 * GAP_MS
    }

    /// What Redis is to hear of. What was taken of the share is forgiven as that fills: a Redis that could not be asked for long
    /// has filled meanwhile too.
    pub fn debt(&mut self, rate: &Rate, nodes: u32) -> u32 {
        let missing = rate.tokens_up(part(rate, nodes).saturating_sub(self.share.level));
        self.shared = self.shared.min(u32::try_from(missing).unwrap_or(u32::MAX));
        self.owed.saturating_add(self.shared)
    }

    /// Redis has heard of so much of it.
    pub fn pay(&mut self, debt: u32) {
        let of_share = debt.min(self.shared);
        self.shared -= of_share;
        self.owed = self.owed.saturating_sub(debt - of_share);
    }

    /// Takes tokens of the share, down to nothing.
    pub fn take_of_share(&mut self, units: i64) {
        self.share.level = self.share.level.saturating_sub(units).max(self.share.level.min(0));
    }

    /// Notes when nothing will be lost with it.
    pub fn note_full_at(&mut self, rate: &Rate, nodes: u32, now_ms: u64) {
        let missing = part(rate, nodes).saturating_sub(self.share.level);
        let fills_in = rate.time_for(missing).saturating_mul(u64::from(nodes.max(1)));
        // What Redis has not heard of yet is told before the place is another's.
        let told_at = if self.returned > 0 { now_ms } else { 0 };
        let held_until = self.asked_at.max(self.asking_until).max(told_at).saturating_add(2 * EPOCH_MS);
        self.full_at =
            now_ms.saturating_add(fills_in).max(held_until).max(self.ask_at).max(self.failed_until);
    }

    fn longs(&mut self) -> [&mut u64; 10] {
        [
            &mut self.share.at_ms,
            &mut self.full_at,
            &mut self.asked_at,
            &mut self.asking_until,
            &mut self.ask_at,
            &mut self.retry_at,
            &mut self.failed_until,
            &mut self.epoch,
            &mut self.demand_at,
            &mut self.changed_at,
        ]
    }

    fn shorts(&mut self) -> [&mut u32; 12] {
        let [now, before] = &mut self.lent;
        [
            &mut self.held,
            &mut self.lot,
            &mut self.leased,
            now,
            before,
            &mut self.owed,
            &mut self.returned,
            &mut self.shared,
            &mut self.demand,
            &mut self.nodes,
            &mut self.left,
            &mut self.flags,
        ]
    }
}

/// The most that a node's share holds.
pub(super) fn part(rate: &Rate, nodes: u32) -> i64 {
    // A part of a token is none, so that all together hold no more than the burst; yet whoever shares may have one at last.
    (rate.full() / i64::from(nodes.max(1))).max(rate.units(1))
}

/// Whether what was asked for then may still be spent. The clocks of workers are a little apart.
pub(super) const fn is_valid(asked_at: u64, now_ms: u64) -> bool {
    now_ms < asked_at.saturating_add(VALID_MS) && asked_at < now_ms.saturating_add(APART_MS)
}

/// How long a node that was given less than it wished for leaves Redis alone.
pub(super) const GAP_MS: u64 = 60;
const APART_MS: u64 = 1_000;

/// All keys at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stocks(pub Vec<Stock>);

impl Stocks {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.0.len() * STOCK_BYTES + 8);
        out.extend_from_slice(&MAGIC);
        for stock in &self.0 {
            let mut stock = *stock;
            out.extend_from_slice(&stock.hash.to_le_bytes());
            out.extend_from_slice(&stock.share.level.to_le_bytes());
            stock.longs().iter().for_each(|long| out.extend_from_slice(&long.to_le_bytes()));
            stock.shorts().iter().for_each(|short| out.extend_from_slice(&short.to_le_bytes()));
        }
        framed(out)
    }

    /// `None` if these are not the bytes of such a value.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = &mut unframed(bytes, MAGIC)?;
        let mut stocks = Vec::with_capacity(rest.len() / STOCK_BYTES + 1);
        while !rest.is_empty() {
            let mut stock = Stock { hash: take_u128(rest)?, ..Stock::default() };
            stock.share.level = i64::from_le_bytes(take(rest)?);
            for long in stock.longs() {
                *long = take_u64(rest)?;
            }
            for short in stock.shorts() {
                *short = take_u32(rest)?;
            }
            stocks.push(stock);
        }
        Some(Self(stocks))
    }

    /// The key's stock, in a place for at most so many: a new one takes a place that is free, or with which nothing is lost.
    /// `None` if there is none.
    pub fn entry(&mut self, new: Stock, most: usize, now_ms: u64) -> Option<&mut Stock> {
        let known = self.0.iter().position(|stock| stock.hash == new.hash);
        let at = match known {
            Some(at) => at,
            None if self.0.len() < most => {
                self.0.push(new);
                self.0.len() - 1
            }
            None => {
                let at = self.0.iter().position(|other| other.full_at <= now_ms)?;
                *self.0.get_mut(at)? = new;
                at
            }
        };
        self.0.get_mut(at)
    }
}

const MAGIC: [u8; 4] = *b"svf2";
const STOCK_BYTES: usize = 16 + 11 * 8 + 12 * 4;

#[cfg(test)]
mod tests {
    use super::super::ways::epoch;
    use super::*;

    #[test]
    fn a_value_is_read_as_it_was_written_and_a_damaged_one_not_at_all() {
        let rate = Rate::new(10, 1_000, 5);
        let stock =
            |hash| Stock { lent: [1, 2], owed: 3, shared: 5, epoch: 4, ..Stock::new(hash, &rate, 7, 2) };
        for count in 0..=8 {
            let stocks = Stocks((0..count).map(stock).collect());
            let bytes = stocks.encode();
            assert_eq!(Stocks::decode(&bytes), Some(stocks));
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert_eq!(Stocks::decode(&damaged), None);
                assert_eq!(Stocks::decode(&bytes[..at]), None);
            }
        }
    }

    #[test]
    fn what_was_leased_is_forgotten_by_when_it_was_asked_for() {
        let rate = Rate::new(1_000, 1_000, 100);
        let leased = Stock { held: 9, asked_at: 10_000, ..Stock::new(1, &rate, 10_000, 1) };
        for (now, held) in [(10_000, 9), (10_499, 9), (10_500, 0), (9_990, 9), (8_000, 0)] {
            let mut stock = leased;
            stock.advance(&rate, 1, now);
            assert_eq!(stock.held, held, "{now}");
        }
    }

    #[test]
    fn what_comes_back_in_time_is_in_stock_again_and_what_was_forgotten_is_not() {
        let rate = Rate::new(1_000, 1_000, 100);
        for (now, held) in [(10_100, 11), (10_400, 11), (11_000, 0)] {
            let mut stock = Stock { held: 20, asked_at: 10_000, ..Stock::new(1, &rate, 10_000, 1) };
            assert_eq!(stock.lend(40), 10);
            assert_eq!((stock.held, stock.outstanding()), (10, 20));
            stock.advance(&rate, 1, now);
            stock.settle(Back { lent: 10, epoch: epoch(10_000), left: 1 });
            assert_eq!(stock.held, held, "{now}");
        }
    }

    #[test]
    fn what_was_taken_of_the_share_is_owed_until_the_share_is_full_again() {
        let rate = Rate::new(100, 1_000, 10);
        let mut stock = Stock { owed: 2, shared: 4, ..Stock::new(1, &rate, 0, 1) };
        stock.take_of_share(rate.units(4));
        assert_eq!(stock.debt(&rate, 1), 6);
        stock.pay(5);
        assert_eq!((stock.owed, stock.shared), (1, 0));
        stock.shared = 4;
        stock.advance(&rate, 1, 15);
        assert_eq!((stock.debt(&rate, 1), stock.shared), (4, 3));
        stock.advance(&rate, 1, 1_000);
        assert_eq!((stock.debt(&rate, 1), stock.shared), (1, 0));
    }

    #[test]
    fn the_shares_of_all_nodes_are_no_more_than_the_burst() {
        let rate = Rate::new(100, 1_000, 10);
        let mut stock = Stock::new(1, &rate, 0, 4);
        assert_eq!(rate.tokens(stock.share.level), 2);
        stock.take_of_share(rate.units(50));
        assert_eq!(stock.share.level, 0);
        stock.advance(&rate, 4, 40);
        assert_eq!(rate.tokens(stock.share.level), 1);
        stock.advance(&rate, 4, 4_000);
        assert_eq!(rate.tokens(stock.share.level), 2);
        // One whose nodes became more holds no more than its part.
        stock.advance(&rate, 10, 4_000);
        assert_eq!(rate.tokens(stock.share.level), 1);
    }
}

//! How much a client may ask for: whether a request is admitted, and what the client is told of its quota.
//!
//! There are three levels, and tokens only ever go down: the fleet's bucket in Redis, the node's pool in shared data, and the
//! worker's slices. Each takes from the one above it as much as it will be asked for in a moment, and what is taken is gone
//! there at once. So nothing is spent twice, whoever dies; what is taken and not spent comes back or is forgotten.
//!
//! - [`bucket`]: the arithmetic, in whole numbers
//! - `keys`: who a request is from
//! - `slices`: what a worker holds; `ways` and `node`: the pool of the node
//! - [`lease`]: the fleet's bucket; `stock`, `drawing` and `fleet`: what the node holds of it; `tickets`: who waits for Redis; `leasing`: all that
//! - [`told`]: what a client reads of it
//!
//! A slice counts against the burst until it is spent, so no window of time admits more than quota and burst, to the token.

pub mod bucket;
mod drawing;
mod fleet;
mod keys;
pub mod lease;
mod leasing;
mod node;
mod outcome;
mod peek;
pub mod reference;
mod slices;
mod stock;
mod tickets;
pub mod told;
mod ways;

#[cfg(feature = "limits")]
#[cfg(test)]
mod fleet_tests;
#[cfg(feature = "limits")]
#[cfg(test)]
mod tests;

use bucket::Rate;
use fleet::{Correction, FleetPool};
use keys::keyed;
pub use keys::{Keyed, Reserve};
pub use leasing::{NoAnswer, Patience};
use node::{Ask, Given, NodePool, pause_ms};
pub use outcome::{Admitted, Counts, Denied, Refused, Reserved, Standing, Tally};
use outcome::{Not, Owing, Took};
pub use peek::Peeked;
use slices::Slices;
use tickets::Tickets;

use crate::callers::Asking;
use crate::config::{Limit, LimitCounts, LimitHeaders, LimitScope};
use crate::host::{IN_BROWSER, SharedData};
use crate::time::Timestamp;

/// What one worker knows of the limits.
#[derive(Debug)]
pub struct Limits {
    slices: Slices,
    pool: NodePool,
    fleet: FleetPool,
    tickets: Tickets,
    /// Redis is not asked before.
    unreachable_until: Timestamp,
    /// Keys that hold tokens, which are given back if they are not spent.
    lent: Vec<Lent>,
    /// Keys of which tokens were not used that Redis has lent.
    returned: Vec<(u128, u128, Rate)>,
    counts: Counts,
    by_rule: Vec<Tally>,
    by_limit: Vec<Tally>,
}

/// A key of which this worker holds tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lent {
    keyed: Keyed,
    scope: LimitScope,
}

/// The keys that a request has for those of a rule's limits that count it so. Empty for most rules. `reserve` is what it may use of
/// a language model.
pub fn keys_of(
    limits: &[Limit],
    limited: &[usize],
    counts: LimitCounts,
    reserve: Option<&Reserve>,
    asking: &mut Asking<'_>,
) -> Vec<(usize, Keyed)> {
    let mut address = None;
    let asked = limited.iter().filter_map(|at| Some((*at, limits.get(*at)?)));
    let asked = asked.filter(|(_, limit)| limit.counts == counts);
    asked.map(|(at, limit)| (at, keyed(limit, asking, reserve, &mut address))).collect()
}

impl Limits {
    /// For so many keys in the worker and in the node.
    pub fn new(worker_keys: usize, node_keys: usize) -> Self {
        Self {
            slices: Slices::new(worker_keys),
            pool: NodePool::new(node_keys),
            fleet: FleetPool::new(node_keys),
            tickets: Tickets::default(),
            unreachable_until: Timestamp::default(),
            lent: Vec::new(),
            returned: Vec::new(),
            counts: Counts::default(),
            by_rule: Vec::new(),
            by_limit: Vec::new(),
        }
    }

    /// Asks limits with the keys that a request has for them, all or none: what one takes is given back if another refuses.
    /// Adds to `admitted` what they say.
    ///
    /// # Errors
    /// The limit that refuses, or what is to be waited for.
    pub fn admit(
        &mut self,
        limits: &[Limit],
        (rule_index, asked): (usize, &[(usize, Keyed)]),
        patience: Patience,
        admitted: &mut Admitted,
        now: Timestamp,
        data: &mut dyn SharedData,
    ) -> Result<(), Denied> {
        let now_ms = now.as_millis();
        let asked = asked.iter().filter_map(|(at, keyed)| Some((*at, limits.get(*at)?, *keyed)));
        let asked: Vec<(usize, &Limit, Keyed)> = asked.collect();
        // Who is refused by one takes nothing from the others, and costs nobody a call.
        let known = asked.iter().filter(|(_, limit, _)| !limit.shadow).filter_map(|(at, limit, keyed)| {
            let slice = self.slices.get(keyed.hash)?;
            let until = slice.refused_until;
            if until > now_ms && limit.scope == LimitScope::Fleet {
                // What is asked for in vain is asked for all the same: a node gets its part of what there is by it.
                slice.demand = slice.demand.saturating_add(keyed.cost);
            }
            (until > now_ms).then(|| Refused::new(*at, keyed, until - now_ms))
        });
        let mut refused = known.max_by_key(|refused| refused.wait);
        let (mut shadowed, mut shadowed_by, mut waits) = (false, Vec::new(), Vec::new());
        let mut taken: Vec<(Keyed, Took)> = Vec::with_capacity(asked.len());
        let owing = admitted.owing.len();
        for (at, limit, keyed) in &asked {
            if refused.is_some() {
                break;
            }
            let took = match limit.scope {
                // In the playground there is one Envoy, and no Redis.
                _ if IN_BROWSER => self.take(*at, limit, keyed, now_ms, data).map_err(Not::from),
                LimitScope::Node => self.take(*at, limit, keyed, now_ms, data).map_err(Not::from),
                LimitScope::Fleet => self.take_of_fleet((*at, limit, keyed), patience, now, data),
            };
            match took {
                Ok((standing, took)) => {
                    taken.push((*keyed, took));
                    if limit.headers == LimitHeaders::All && !limit.shadow && !matches!(took, Took::Nothing) {
                        admitted.note(standing);
                    }
                    if limit.cost_header.is_some() || limit.counts_tokens() {
                        let scope = limit.scope;
                        admitted.owing.push(Owing { limit: *at, keyed: *keyed, scope, took });
                    }
                }
                // What is to be known of the other limits is asked meanwhile.
                Err(Not::Yet(key)) => waits.push((key, keyed.cost)),
                Err(Not::Refused(_)) if limit.shadow => {
                    shadowed = true;
                    shadowed_by.push(*at);
                }
                Err(Not::Refused(refusal)) => refused = Some(refusal),
            }
        }
        if refused.is_none() && !waits.is_empty() {
            for (keyed, took) in taken {
                self.untake(&keyed, keyed.cost, took, now_ms, data);
            }
            admitted.owing.truncate(owing);
            return Err(self.wait(waits, patience, now));
        }
        for at in shadowed_by {
            count(&mut self.by_limit, at, |tally| tally.shadowed += 1);
        }
        count(&mut self.by_rule, rule_index, |tally| {
            tally.refused += u64::from(refused.is_some());
            tally.admitted += u64::from(refused.is_none());
            tally.shadowed += u64::from(refused.is_none() && shadowed);
        });
        match &refused {
            Some(refused) => count(&mut self.by_limit, refused.limit, |tally| tally.refused += 1),
            None => {
                asked.iter().for_each(|(at, ..)| count(&mut self.by_limit, *at, |tally| tally.admitted += 1))
            }
        }
        let Some(refused) = refused else { return Ok(()) };
        for (keyed, took) in taken {
            self.untake(&keyed, keyed.cost, took, now_ms, data);
        }
        Err(Denied::Refused(refused))
    }

    /// Takes the tokens of one request.
    fn take(
        &mut self,
        at: usize,
        limit: &Limit,
        keyed: &Keyed,
        now_ms: u64,
        data: &mut dyn SharedData,
    ) -> Result<(Standing, Took), Refused> {
        let rate = keyed.rate;
        let standing = |left| Standing::of(at, rate, left);
        let (mut wish, mut back) = (0, None);
        if let Some(slice) = self.slices.entry(keyed.hash, now_ms) {
            if slice.refused_until > now_ms {
                return Err(Refused::new(at, keyed, slice.refused_until - now_ms));
            }
            if slice.spend(keyed.cost, now_ms) {
                return Ok((standing(u64::from(slice.left) + u64::from(slice.held)), Took::Slice));
            }
            (wish, back) = (slice.wish(now_ms), slice.give_back(now_ms));
        }
        self.counts.asked += 1;
        let ask = Ask { hash: keyed.hash, limit: keyed.limit, need: keyed.cost, wish, back };
        let given = self.pool.take(&ask, &rate, now_ms, data);
        let slice = self.slices.get(keyed.hash);
        match given {
            Given::Lent { held, left } => {
                if let Some(slice) = slice {
                    slice.take(held, left, now_ms);
                    self.note_lent(Lent { keyed: *keyed, scope: LimitScope::Node }, held);
                }
                Ok((standing(left.saturating_add(held.into())), Took::Pool))
            }
            Given::Empty { wait } => {
                // Of tokens that are settled later some may come back at any time.
                if let Some(slice) = slice.filter(|_| !limit.counts_tokens()) {
                    slice.refused_until = now_ms.saturating_add(wait.max(pause_ms(&rate)));
                }
                Err(Refused::new(at, keyed, wait))
            }
            Given::Contended => {
                self.counts.contended += 1;
                Err(Refused::new(at, keyed, 1))
            }
        }
    }

    /// Gives back what was taken for a request that another limit refuses.
    fn untake(&mut self, keyed: &Keyed, cost: u32, took: Took, now_ms: u64, data: &mut dyn SharedData) {
        if IN_BROWSER && matches!(took, Took::Stock | Took::Share) {
            return;
        }
        match (took, self.slices.get(keyed.hash)) {
            (Took::Slice, Some(slice)) => slice.held = slice.held.saturating_add(cost),
            (Took::Pool, _) => {
                let ask = Ask { hash: keyed.hash, limit: keyed.limit, need: 0, wish: 0, back: None };
                self.pool.correct(&ask, keyed.rate.units(cost.into()), &keyed.rate, now_ms, data);
            }
            (Took::Stock, _) if keyed.settles => {
                self.fleet.correct(keyed, Correction::Unused { tokens: cost, of_share: false }, now_ms, data);
                self.note_returned(keyed.hash, keyed.limit, keyed.rate);
            }
            (Took::Stock, _) => self.fleet.correct(keyed, Correction::Untaken(cost), now_ms, data),
            (Took::Share, _) => self.fleet.correct(keyed, Correction::Unshared(cost), now_ms, data),
            _ => {}
        }
    }

    /// Settles what a request has cost, once its response says so: what lies beyond the tokens that were taken is owed, and who
    /// owes is refused until it has come back.
    pub fn settle(
        &mut self,
        limits: &[Limit],
        admitted: &mut Admitted,
        cost_in: &mut dyn FnMut(&[u8]) -> Option<u64>,
        now: Timestamp,
        data: &mut dyn SharedData,
    ) {
        for owing in std::mem::take(&mut admitted.owing) {
            let Some(limit) = limits.get(owing.limit) else { continue };
            let cost = limit.cost_header.as_ref().and_then(|name| cost_in(name));
            self.owe(&owing, cost.unwrap_or_default(), now, data);
        }
    }

    /// Settles the tokens that a request has used of a language model: what lies beyond those that were taken is owed, and the
    /// others come back.
    pub fn settle_tokens(
        &mut self,
        reserved: Reserved,
        used: u64,
        now: Timestamp,
        data: &mut dyn SharedData,
    ) {
        for owing in reserved.0 {
            let rest = u64::from(owing.keyed.cost).saturating_sub(used);
            match u32::try_from(rest).unwrap_or(u32::MAX) {
                0 => self.owe(&owing, used, now, data),
                rest => self.unuse(&owing, rest, now.as_millis(), data),
            }
        }
    }

    /// Tokens that were taken a while ago were not used. What a slice or a stock held may be gone by now, so they go where
    /// those came from.
    fn unuse(&mut self, owing: &Owing, rest: u32, now_ms: u64, data: &mut dyn SharedData) {
        let Owing { keyed, took, scope, .. } = owing;
        match (took, scope) {
            (Took::Nothing, _) => {}
            _ if IN_BROWSER => self.untake(keyed, rest, Took::Pool, now_ms, data),
            (_, LimitScope::Fleet) => {
                let unused = Correction::Unused { tokens: rest, of_share: *took == Took::Share };
                self.fleet.correct(keyed, unused, now_ms, data);
                self.note_returned(keyed.hash, keyed.limit, keyed.rate);
            }
            (_, LimitScope::Node) => self.untake(keyed, rest, Took::Pool, now_ms, data),
        }
    }

    /// Redis is to hear at the next tick of tokens of a key that were not used.
    fn note_returned(&mut self, key: u128, limit: u128, rate: Rate) {
        let is_known = self.returned.iter().any(|(known, ..)| *known == key);
        if !is_known && self.returned.len() < MOST_LENT {
            self.returned.push((key, limit, rate));
        }
    }

    /// Tells Redis of tokens that were not used, as far as it can be asked.
    fn report(&mut self, now: Timestamp, data: &mut dyn SharedData) {
        if IN_BROWSER || self.returned.is_empty() || now < self.unreachable_until {
            return;
        }
        let mut returned = std::mem::take(&mut self.returned);
        returned.retain(|(key, limit, rate)| self.fleet.report((*key, *limit), rate, now.as_millis(), data));
        self.returned = returned;
    }

    /// What a request has cost beyond what was taken for it is owed.
    fn owe(&mut self, owing: &Owing, cost: u64, now: Timestamp, data: &mut dyn SharedData) {
        let Owing { keyed, scope, .. } = owing;
        let owed = cost.min(MOST_COST).saturating_sub(keyed.cost.into());
        if owed == 0 {
            return;
        }
        let back = self.slices.get(keyed.hash).and_then(|slice| slice.give_back(now.as_millis()));
        if !IN_BROWSER && *scope == LimitScope::Fleet {
            let tokens = u32::try_from(owed).unwrap_or(u32::MAX);
            self.fleet.correct(keyed, Correction::Owed { tokens, back }, now.as_millis(), data);
            return;
        }
        let ask = Ask { hash: keyed.hash, limit: keyed.limit, need: 0, wish: 0, back };
        let units = keyed.rate.units(owed);
        self.pool.correct(&ask, units.saturating_neg(), &keyed.rate, now.as_millis(), data);
    }

    /// Gives back what was lent a while ago and is not spent. To be called by tick.
    pub fn tidy(&mut self, now: Timestamp, data: &mut dyn SharedData) {
        self.report(now, data);
        let now_ms = now.as_millis();
        let (mut at, mut returned) = (0, 0);
        while let Some(Lent { keyed, scope }) = self.lent.get(at).copied() {
            let slice = self.slices.get(keyed.hash);
            if let Some(slice) = slice {
                if now_ms.saturating_sub(slice.asked_at) < IDLE_MS {
                    at += 1;
                    continue;
                }
                if returned == MOST_RETURNED {
                    return;
                }
                if slice.valid(now_ms) > 0
                    && let Some(back) = slice.give_back(now_ms)
                {
                    let ask =
                        Ask { hash: keyed.hash, limit: keyed.limit, need: 0, wish: 0, back: Some(back) };
                    match scope {
                        LimitScope::Node => {
                            self.pool.correct(&ask, 0, &keyed.rate, now_ms, data);
                        }
                        LimitScope::Fleet if IN_BROWSER => {}
                        LimitScope::Fleet => self.fleet.correct(&keyed, Correction::Back(back), now_ms, data),
                    }
                    returned += 1;
                    self.counts.returned += 1;
                }
            }
            self.lent.swap_remove(at);
        }
    }

    /// Keys that this worker remembers, and the bytes that it takes.
    pub const fn usage(&self) -> (usize, usize) {
        let bytes = self.slices.bytes() + self.lent.capacity() * size_of::<Lent>();
        (self.slices.len(), bytes)
    }

    /// Bytes that it may take.
    pub const fn budget(&self) -> usize {
        self.slices.most_bytes() + MOST_LENT * size_of::<Lent>()
    }

    /// What happened since the last time, and what became of the requests of each rule by its index.
    pub fn take_counts(&mut self) -> (Counts, impl Iterator<Item = (usize, Tally)>) {
        let crowded = std::mem::take(&mut self.pool.crowded) + std::mem::take(&mut self.fleet.crowded);
        let counts = Counts { crowded, ..std::mem::take(&mut self.counts) };
        let tallies = self.by_rule.iter_mut().map(std::mem::take).enumerate();
        (counts, tallies.filter(|(_, tally)| *tally != Tally::default()))
    }

    /// What became of the requests that each limit was asked about since the last time, by its index.
    pub fn take_by_limit(&mut self) -> impl Iterator<Item = (usize, Tally)> {
        let tallies = self.by_limit.iter_mut().map(std::mem::take).enumerate();
        tallies.filter(|(_, tally)| *tally != Tally::default())
    }

    fn note_lent(&mut self, lent: Lent, held: u32) {
        // Past the bound what is not spent is forgotten instead of given back.
        if held > 0
            && self.lent.len() < MOST_LENT
            && self.lent.last().is_none_or(|last| last.keyed.hash != lent.keyed.hash)
        {
            self.lent.push(lent);
        }
    }
}

/// Counts for one of the rules or limits, by its index.
fn count(tallies: &mut Vec<Tally>, index: usize, how: impl FnOnce(&mut Tally)) {
    if tallies.len() <= index {
        tallies.resize(index.saturating_add(1), Tally::default());
    }
    tallies.get_mut(index).map(how);
}

/// After so long without a question to the node a worker gives back what it holds.
const IDLE_MS: u64 = 100;
/// Keys whose tokens are given back.
const MOST_LENT: usize = 1024;
/// Those at one tick.
const MOST_RETURNED: usize = 64;
/// The most that a response can say it has cost.
const MOST_COST: u64 = 1_000_000_000;

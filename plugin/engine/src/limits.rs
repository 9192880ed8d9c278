//! How much a client may ask for: whether a request is admitted, and what the client is told of its quota.
//!
//! There are three levels, and tokens only ever go down: the fleet's bucket in Redis, the node's pool in shared data, and the
//! worker's slices. Each takes from the one above it as much as it will be asked for in a moment, and what is taken is gone
//! there at once. So nothing is spent twice, whoever dies; what is taken and not spent comes back or is forgotten.
//!
//! - [`bucket`]: the arithmetic, in whole numbers
//! - `keys`: who a request is from
//! - `slices`: what a worker holds; `ways` and `node`: the pool of the node; [`lease`]: the fleet's bucket
//! - [`told`]: what a client reads of it
//!
//! A slice counts against the burst until it is spent, so no window of time admits more than quota and burst, to the token.

pub mod bucket;
mod keys;
pub mod lease;
mod node;
mod peek;
mod slices;
pub mod told;
mod ways;

#[cfg(feature = "limits")]
#[cfg(test)]
mod tests;

use bucket::Rate;
pub use keys::Keyed;
use keys::keyed;
use node::{Ask, Given, NodePool, pause_ms};
pub use peek::Peeked;
use slices::Slices;

use crate::callers::Asking;
use crate::config::{Limit, LimitCounts, LimitHeaders, LimitOnFailure, LimitScope};
use crate::host::SharedData;
use crate::time::Timestamp;

/// What one worker knows of the limits.
#[derive(Debug)]
pub struct Limits {
    slices: Slices,
    pool: NodePool,
    /// Keys that hold tokens, which are given back if they are not spent.
    lent: Vec<Keyed>,
    counts: Counts,
    by_rule: Vec<Tally>,
    by_limit: Vec<Tally>,
}

/// What happened since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions to the node's pool.
    pub asked: u64,
    /// Requests whose key shares a bucket with others, since there is no room for one of its own.
    pub crowded: u64,
    /// Requests that were refused because other workers were first again and again.
    pub contended: u64,
    /// Keys whose tokens were given back.
    pub returned: u64,
}

/// Requests of a rule, or those that a limit was asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Admitted.
    pub admitted: u64,
    /// Refused.
    pub refused: u64,
    /// Admitted, though a limit that only watches would have refused them.
    pub shadowed: u64,
}

/// What a client has left of the tightest of its quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which limit of the policy.
    pub limit: usize,
    /// Its rate.
    pub rate: Rate,
    /// Tokens that are left, as far as this worker knows.
    pub left: u64,
    /// Milliseconds until none is missing.
    pub full_in: u64,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which limit of the policy.
    pub limit: usize,
    /// Its rate.
    pub rate: Rate,
    /// Milliseconds until it would be admitted.
    pub wait: u64,
    /// What counts for the fleet cannot be asked.
    pub unavailable: bool,
}

/// What a request was admitted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The tightest quota of which clients are told.
    pub standing: Option<Standing>,
    /// Limits that wait for what the response says it has cost.
    owing: Vec<Owing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owing {
    limit: usize,
    keyed: Keyed,
}

impl Admitted {
    /// Whether there is nothing to do with the response.
    pub const fn is_over(&self) -> bool {
        self.standing.is_none() && self.owing.is_empty()
    }

    /// The same after further limits.
    fn note(&mut self, standing: Standing) {
        // By the time that is missing to the full burst, compared by parts of it.
        let missing = |standing: &Standing| {
            u128::from(standing.rate.burst().saturating_sub(standing.left)) * 1_000_000
                / u128::from(standing.rate.burst())
        };
        if self.standing.is_none_or(|other| missing(&standing) > missing(&other)) {
            self.standing = Some(standing);
        }
    }
}

/// How tokens were taken, to give them back.
#[derive(Clone, Copy)]
enum Took {
    Slice,
    Pool,
    Nothing,
}

/// The keys that a request has for those of a rule's limits that count it so. Empty for most rules.
pub fn keys_of(
    limits: &[Limit],
    limited: &[usize],
    counts: LimitCounts,
    asking: &mut Asking<'_>,
) -> Vec<(usize, Keyed)> {
    let mut address = None;
    let asked = limited.iter().filter_map(|at| Some((*at, limits.get(*at)?)));
    let asked = asked.filter(|(_, limit)| limit.counts == counts);
    asked.map(|(at, limit)| (at, keyed(limit, asking, &mut address))).collect()
}

impl Limits {
    /// For so many keys in the worker and in the node.
    pub fn new(worker_keys: usize, node_keys: usize) -> Self {
        Self {
            slices: Slices::new(worker_keys),
            pool: NodePool::new(node_keys),
            lent: Vec::new(),
            counts: Counts::default(),
            by_rule: Vec::new(),
            by_limit: Vec::new(),
        }
    }

    /// Asks limits with the keys that a request has for them, all or none: what one takes is given back if another refuses.
    /// Adds to `admitted` what they say.
    ///
    /// # Errors
    /// The limit that refuses.
    pub fn admit(
        &mut self,
        limits: &[Limit],
        rule_index: usize,
        asked: &[(usize, Keyed)],
        admitted: &mut Admitted,
        now: Timestamp,
        data: &mut dyn SharedData,
    ) -> Result<(), Refused> {
        let now_ms = now.as_millis();
        let asked = asked.iter().filter_map(|(at, keyed)| Some((*at, limits.get(*at)?, *keyed)));
        let asked: Vec<(usize, &Limit, Keyed)> = asked.collect();
        // Who is refused by one takes nothing from the others, and costs nobody a call.
        let known = asked.iter().filter(|(_, limit, _)| !limit.shadow).filter_map(|(at, _, keyed)| {
            let until = self.slices.get(keyed.hash)?.refused_until;
            (until > now_ms).then(|| Refused::new(*at, keyed, until - now_ms))
        });
        let mut refused = known.max_by_key(|refused| refused.wait);
        let mut shadowed = false;
        let mut taken: Vec<(Keyed, u32, Took)> = Vec::with_capacity(asked.len());
        for (at, limit, keyed) in &asked {
            if refused.is_some() {
                break;
            }
            match self.take(*at, limit, keyed, now_ms, data) {
                Ok((standing, took)) => {
                    taken.push((*keyed, limit.cost, took));
                    if limit.headers == LimitHeaders::All && !limit.shadow && !matches!(took, Took::Nothing) {
                        admitted.note(standing);
                    }
                    if limit.cost_header.is_some() {
                        admitted.owing.push(Owing { limit: *at, keyed: *keyed });
                    }
                }
                Err(_) if limit.shadow => {
                    shadowed = true;
                    count(&mut self.by_limit, *at, |tally| tally.shadowed += 1);
                }
                Err(refusal) => refused = Some(refusal),
            }
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
        for (keyed, cost, took) in taken {
            self.untake(&keyed, cost, took, now_ms, data);
        }
        Err(refused)
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
        let standing = |left: u64| {
            let missing = rate.full().saturating_sub(rate.units(left));
            Standing { limit: at, rate, left, full_in: rate.time_for(missing) }
        };
        if limit.scope == LimitScope::Fleet && limit.on_failure != LimitOnFailure::Share {
            return match limit.on_failure {
                LimitOnFailure::Closed => {
                    Err(Refused { unavailable: true, ..Refused::new(at, keyed, UNAVAILABLE_MS) })
                }
                _ => Ok((standing(rate.burst()), Took::Nothing)),
            };
        }
        let (mut wish, mut back) = (0, None);
        if let Some(slice) = self.slices.entry(keyed.hash, now_ms) {
            if slice.refused_until > now_ms {
                return Err(Refused::new(at, keyed, slice.refused_until - now_ms));
            }
            if slice.spend(limit.cost, now_ms) {
                return Ok((standing(u64::from(slice.left) + u64::from(slice.held)), Took::Slice));
            }
            (wish, back) = (slice.wish(now_ms), slice.give_back(now_ms));
        }
        self.counts.asked += 1;
        let ask = Ask { hash: keyed.hash, limit: keyed.limit, need: limit.cost, wish, back };
        let given = self.pool.take(&ask, &rate, now_ms, data);
        let slice = self.slices.get(keyed.hash);
        match given {
            Given::Lent { held, left } => {
                if let Some(slice) = slice {
                    slice.take(held, left, now_ms);
                    self.note_lent(keyed, held);
                }
                Ok((standing(left.saturating_add(held.into())), Took::Pool))
            }
            Given::Empty { wait } => {
                if let Some(slice) = slice {
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
        match (took, self.slices.get(keyed.hash)) {
            (Took::Slice, Some(slice)) => slice.held = slice.held.saturating_add(cost),
            (Took::Pool, _) => {
                let ask = Ask { hash: keyed.hash, limit: keyed.limit, need: 0, wish: 0, back: None };
                self.pool.correct(&ask, keyed.rate.units(cost.into()), &keyed.rate, now_ms, data);
            }
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
        for Owing { limit, keyed } in std::mem::take(&mut admitted.owing) {
            let Some(limit) = limits.get(limit) else { continue };
            let cost = limit.cost_header.as_ref().and_then(|name| cost_in(name));
            let owed = cost.unwrap_or_default().min(MOST_COST).saturating_sub(limit.cost.into());
            if owed == 0 {
                continue;
            }
            let back = self.slices.get(keyed.hash).and_then(|slice| slice.give_back(now.as_millis()));
            let ask = Ask { hash: keyed.hash, limit: keyed.limit, need: 0, wish: 0, back };
            let units = keyed.rate.units(owed);
            self.pool.correct(&ask, units.saturating_neg(), &keyed.rate, now.as_millis(), data);
        }
    }

    /// Gives back what was lent a while ago and is not spent. To be called by tick.
    pub fn tidy(&mut self, now: Timestamp, data: &mut dyn SharedData) {
        let now_ms = now.as_millis();
        let (mut at, mut returned) = (0, 0);
        while let Some(keyed) = self.lent.get(at).copied() {
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
                    self.pool.correct(&ask, 0, &keyed.rate, now_ms, data);
                    returned += 1;
                    self.counts.returned += 1;
                }
            }
            self.lent.swap_remove(at);
        }
    }

    /// Keys that this worker remembers, and the bytes that it takes.
    pub const fn usage(&self) -> (usize, usize) {
        let bytes = self.slices.bytes() + self.lent.capacity() * size_of::<Keyed>();
        (self.slices.len(), bytes)
    }

    /// Bytes that it may take.
    pub const fn budget(&self) -> usize {
        self.slices.most_bytes() + MOST_LENT * size_of::<Keyed>()
    }

    /// What happened since the last time, and what became of the requests of each rule by its index.
    pub fn take_counts(&mut self) -> (Counts, impl Iterator<Item = (usize, Tally)>) {
        let crowded = std::mem::take(&mut self.pool.crowded);
        let counts = Counts { crowded, ..std::mem::take(&mut self.counts) };
        let tallies = self.by_rule.iter_mut().map(std::mem::take).enumerate();
        (counts, tallies.filter(|(_, tally)| *tally != Tally::default()))
    }

    /// What became of the requests that each limit was asked about since the last time, by its index.
    pub fn take_by_limit(&mut self) -> impl Iterator<Item = (usize, Tally)> {
        let tallies = self.by_limit.iter_mut().map(std::mem::take).enumerate();
        tallies.filter(|(_, tally)| *tally != Tally::default())
    }

    fn note_lent(&mut self, keyed: &Keyed, held: u32) {
        // Past the bound what is not spent is forgotten instead of given back.
        if held > 0 && self.lent.len() < MOST_LENT && self.lent.last() != Some(keyed) {
            self.lent.push(*keyed);
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

impl Refused {
    const fn new(limit: usize, keyed: &Keyed, wait: u64) -> Self {
        Self { limit, rate: keyed.rate, wait, unavailable: false }
    }
}

/// After so long without a question to the node a worker gives back what it holds.
const IDLE_MS: u64 = 100;
/// Keys whose tokens are given back.
const MOST_LENT: usize = 1024;
/// Those at one tick.
const MOST_RETURNED: usize = 64;
/// The most that a response can say it has cost.
const MOST_COST: u64 = 1_000_000_000;
/// When to come again where nothing is known.
const UNAVAILABLE_MS: u64 = 1_000;

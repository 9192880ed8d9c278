//! The node's pool of what counts for the fleet: tokens that were leased from Redis, in host shared data, from which workers are
//! lent some. It is filled before it is empty, so that nobody waits for Redis but who comes first.
//!
//! | key | value |
//! |---|---|
//! | `svf/<places>/<n>` | the [stocks](super::stock) of place *n* |
//! | `svf/node` | the number by which Redis knows this node |
//!
//! One worker asks for a key at a time: the stock says until when. A key for which there is no room shares the bucket of all such
//! keys of its limit, in the node and in Redis.

use std::fmt::Write;

use super::bucket::Rate;
use super::drawing::{Given, Want, draw, gap_ms, is_strict, tell};
use super::keys::Keyed;
use super::lease::{LeaseAnswer, LeaseRequest};
use super::stock::{AWAITED, SCARCE, Stock, Stocks};
use super::ways::Back;
use crate::chance;
use crate::host::{ABSENT, SharedData};

/// One worker's view of the pool.
#[derive(Debug)]
pub(super) struct FleetPool {
    places: u64,
    name: String,
    /// The number of the node in Redis.
    node: Option<u64>,
    /// The last of the random numbers.
    random: u64,
    /// Milliseconds for which an answer is waited for.
    pub timeout: u64,
    /// Nodes that Redis last reported, of whatever key.
    nodes: u32,
    /// Keys for which this worker asks.
    pub asking: Vec<u128>,
    /// Questions that are to be asked.
    pub questions: Vec<LeaseRequest>,
    /// The last key of whose tokens too few came, and those that are waited for yet.
    unserved: Option<(u128, u32)>,
    /// Keys that found no room.
    pub crowded: u64,
}

/// What is changed of a stock.
enum Changed<T> {
    /// Nothing, so nothing is written.
    No(T),
    Yes(T),
}

impl FleetPool {
    /// For so many keys.
    pub fn new(keys: usize) -> Self {
        Self {
            places: (keys / PLACE).max(1) as u64,
            name: String::new(),
            node: None,
            random: 0,
            timeout: 0,
            nodes: 0,
            asking: Vec::new(),
            questions: Vec::new(),
            unserved: None,
            crowded: 0,
        }
    }

    /// What its random numbers begin with, and how long an answer may take.
    pub const fn begin(&mut self, random: u64, timeout_ms: u64) {
        self.random = random;
        self.timeout = timeout_ms;
    }

    /// Tokens of a key that are waited for though its last answer has come.
    pub fn unserved(&self, key: u128) -> u32 {
        self.unserved.filter(|(of, _)| *of == key).map_or(0, |(_, tokens)| tokens)
    }

    /// Takes tokens for a key. What is to be asked of Redis for it is among the questions then.
    pub fn take(&mut self, keyed: &Keyed, want: &Want, now_ms: u64, data: &mut dyn SharedData) -> Given {
        let own = self.try_take(keyed.hash, keyed, want, now_ms, data);
        own.unwrap_or_else(|| {
            self.crowded += 1;
            let want = Want { back: None, wish: 0, ..*want };
            // Not even room for those without room: they are refused for a moment.
            self.try_take(keyed.limit, keyed, &want, now_ms, data).unwrap_or(Given::Contended)
        })
    }

    fn try_take(
        &mut self,
        hash: u128,
        keyed: &Keyed,
        want: &Want,
        now_ms: u64,
        data: &mut dyn SharedData,
    ) -> Option<Given> {
        let (rate, nodes, timeout) = (keyed.rate, self.nodes, self.timeout);
        let asked_here = self.asking.contains(&hash);
        let mut asks = None;
        let given = self.change(hash, &rate, now_ms, data, |stock| {
            let nodes = if stock.nodes > 0 { stock.nodes } else { nodes.max(1) };
            let (given, question) = draw(stock, want, &rate, nodes, now_ms);
            asks = question;
            if question.is_some() {
                stock.asking_until = now_ms.saturating_add(timeout.saturating_add(SLACK_MS));
            } else if matches!(given, Given::Waits(_)) && !asked_here {
                stock.flags |= AWAITED;
            }
            match (given, question, want.back) {
                (Given::Empty { .. } | Given::Failed, None, None) if want.demand == 0 => Changed::No(given),
                _ => Changed::Yes(given),
            }
        })?;
        if let (Some(question), true) = (asks, given != Given::Contended) {
            self.unserved = self.unserved.filter(|(of, _)| *of != hash);
            self.will_ask(LeaseRequest { key: hash, limit: keyed.limit, ..question }, data);
        }
        Some(given)
    }

    fn will_ask(&mut self, question: LeaseRequest, data: &mut dyn SharedData) {
        let Some(node) = self.node(data) else { return };
        self.asking.push(question.key);
        let number = chance::next(&mut self.random);
        self.questions.push(LeaseRequest { node, question: number, ..question });
    }

    /// Asks Redis to take back tokens that were not used, so that others have them. `false` if there is nothing to tell, or it has
    /// been told.
    pub fn report(
        &mut self,
        (key, limit): (u128, u128),
        rate: &Rate,
        now_ms: u64,
        data: &mut dyn SharedData,
    ) -> bool {
        let (nodes, timeout) = (self.nodes, self.timeout);
        let (mut told, mut later) = (None, false);
        let changed = self.change(key, rate, now_ms, data, |stock| {
            let nodes = if stock.nodes > 0 { stock.nodes } else { nodes.max(1) };
            let may_ask = now_ms >= stock.asking_until && now_ms >= stock.failed_until;
            (told, later) = (None, stock.returned > 0 && !may_ask);
            if stock.returned == 0 || !may_ask {
                return Changed::No(Given::Failed);
            }
            let owed = stock.debt(rate, nodes);
            told = Some(tell(stock, owed, rate, now_ms));
            stock.asking_until = now_ms.saturating_add(timeout.saturating_add(SLACK_MS));
            Changed::Yes(Given::Failed)
        });
        if changed == Some(Given::Contended) {
            return true;
        }
        if let Some(question) = told.filter(|_| changed.is_some()) {
            self.will_ask(LeaseRequest { key, limit, ..question }, data);
        }
        later
    }

    /// Gives tokens back, or takes what a request has cost beyond its tokens. What the stock does not have is owed.
    pub fn correct(&mut self, keyed: &Keyed, change: Correction, now_ms: u64, data: &mut dyn SharedData) {
        let rate = keyed.rate;
        self.change(keyed.hash, &rate, now_ms, data, |stock| {
            match change {
                Correction::Back(back) => stock.settle(back),
                // Not taken after all; what has expired by now is gone at its next look.
                Correction::Untaken(tokens) => stock.held = stock.held.saturating_add(tokens),
                Correction::Unused { tokens, of_share } => {
                    // What was taken of the share, and Redis has not heard of, was never taken there.
                    let untold = if of_share { tokens.min(stock.shared) } else { 0 };
                    stock.shared -= untold;
                    stock.share.level = stock.share.level.saturating_add(rate.units(untold.into()));
                    stock.returned = stock.returned.saturating_add(tokens - untold).min(MOST_OWED);
                    // Who comes next is to have of it.
                    stock.ask_at = stock.ask_at.min(now_ms);
                    stock.retry_at = 0;
                }
                Correction::Unshared(tokens) => {
                    stock.share.level = stock.share.level.saturating_add(rate.units(tokens.into()));
                    stock.shared = stock.shared.saturating_sub(tokens);
                }
                Correction::Owed { tokens, back } => {
                    if let Some(back) = back {
                        stock.settle(back);
                    }
                    let at_hand = tokens.min(stock.held);
                    stock.held -= at_hand;
                    stock.owed = stock.owed.saturating_add(tokens - at_hand).min(MOST_OWED);
                    stock.share.level = stock
                        .share
                        .level
                        .saturating_sub(rate.units(tokens.into()))
                        .max(-rate.units(MOST_OWED.into()));
                    // Redis is to hear of it before more is leased.
                    stock.ask_at = stock.ask_at.min(now_ms);
                }
            }
            Changed::Yes(Given::Failed)
        });
    }

    /// Redis has answered: what it has lent is in stock, apart from what nobody waits for any more. Whether other workers
    /// wait for it.
    pub fn answered(
        &mut self,
        request: &LeaseRequest,
        answer: &LeaseAnswer,
        awaited: u32,
        now_ms: u64,
        data: &mut dyn SharedData,
    ) -> bool {
        self.asking.retain(|key| *key != request.key);
        self.nodes = answer.nodes;
        // Where nothing is left those who wait are refused, and ask no more.
        let unserved = awaited.saturating_sub(answer.granted);
        self.unserved = (answer.granted > 0).then_some((request.key, unserved));
        let rate = request.rate;
        let mut others_wait = false;
        self.change(request.key, &rate, now_ms, data, |stock| {
            others_wait = stock.flags & AWAITED != 0;
            stock.flags = 0;
            let got = answer.granted > 0;
            let left_by_those_who_wait = if got { request.need.saturating_sub(awaited) } else { 0 };
            if request.settles {
                // It would be much to forget.
                stock.returned = stock.returned.saturating_add(left_by_those_who_wait).min(MOST_OWED);
            }
            stock.nodes = answer.nodes;
            stock.left = u32::try_from(answer.left).unwrap_or(u32::MAX);
            stock.asked_at = request.asked_at;
            stock.held = stock.held.saturating_add(answer.granted.saturating_sub(left_by_those_who_wait));
            stock.lot = stock.held;
            stock.leased = request.held.saturating_add(answer.granted);
            if got {
                stock.leased = stock.leased.saturating_sub(request.need);
            }
            stock.epoch = answer.epoch;
            stock.pay(request.owed);
            (stock.asking_until, stock.failed_until) = (0, 0);
            stock.take_of_share(rate.units(answer.granted.into()));
            let strict = is_strict(&rate, answer.nodes) || request.settles;
            let gap = if strict { 0 } else { gap_ms(&rate, stock.leased) };
            stock.ask_at = if request.most() == 0 {
                0
            } else if !got {
                let longest = rate.window_ms().max(rate.time_for(rate.full()));
                let retry = answer.retry_after_ms.clamp(1, longest);
                stock.retry_at = now_ms.saturating_add(retry);
                let retry = if request.settles { retry.min(LOOKS_AGAIN_MS) } else { retry };
                now_ms.saturating_add(retry).max(request.asked_at.saturating_add(gap))
            } else if !strict && answer.granted < request.most() {
                stock.flags = SCARCE;
                request.asked_at.saturating_add(gap)
            } else {
                0
            };
            if !got && !strict && request.most() > 0 {
                stock.flags = SCARCE;
            }
            Changed::Yes(Given::Failed)
        });
        others_wait
    }

    /// No answer has come, or none that can be used. `was_asked`: Redis may have lent what was asked for all the same.
    pub fn failed(
        &mut self,
        request: &LeaseRequest,
        was_asked: bool,
        now_ms: u64,
        data: &mut dyn SharedData,
    ) -> bool {
        self.asking.retain(|key| *key != request.key);
        let mut others_wait = false;
        self.change(request.key, &request.rate, now_ms, data, |stock| {
            others_wait = stock.flags & AWAITED != 0;
            (stock.flags, stock.asking_until, stock.ask_at) = (0, 0, 0);
            if !was_asked {
                stock.returned = stock.returned.saturating_add(request.returned).min(MOST_OWED);
            }
            if was_asked {
                // What Redis counts is not known any more, so it is left to forget it.
                (stock.leased, stock.epoch) = (0, 0);
                stock.pay(request.owed);
            }
            stock.failed_until = now_ms.saturating_add(FAILED_MS);
            Changed::Yes(Given::Failed)
        });
        others_wait
    }

    /// Changes a key's stock, again if another worker was first. `None`: there is no room for it.
    fn change(
        &mut self,
        hash: u128,
        rate: &Rate,
        now_ms: u64,
        data: &mut dyn SharedData,
        mut change: impl FnMut(&mut Stock) -> Changed<Given>,
    ) -> Option<Given> {
        let known_nodes = self.nodes.max(1);
        for _ in 0..TRIES {
            let (mut stocks, cas) = match data.get(self.name_of(hash)) {
                // What is damaged is begun anew.
                Some((bytes, cas)) => (Stocks::decode(&bytes).unwrap_or_default(), cas),
                None => (Stocks::default(), ABSENT),
            };
            let new = Stock::new(hash, rate, now_ms, known_nodes);
            let stock = stocks.entry(new, PLACE, now_ms)?;
            let nodes = if stock.nodes > 0 { stock.nodes } else { known_nodes };
            stock.advance(rate, nodes, now_ms);
            let given = match change(stock) {
                Changed::No(given) => return Some(given),
                Changed::Yes(given) => given,
            };
            stock.note_full_at(rate, nodes, now_ms);
            if data.set(self.name_of(hash), &stocks.encode(), cas).is_ok() {
                return Some(given);
            }
        }
        Some(Given::Contended)
    }

    fn name_of(&mut self, hash: u128) -> &str {
        self.name.clear();
        // Writing to a string does not fail.
        let _ = write!(self.name, "svf/{}/{}", self.places, hash as u64 % self.places);
        &self.name
    }

    /// The number of this node: the first worker that asks makes one.
    fn node(&mut self, data: &mut dyn SharedData) -> Option<u64> {
        for _ in 0..TRIES {
            if self.node.is_some() {
                break;
            }
            let found = data.get(NODE);
            let known = found.as_ref().and_then(|(bytes, _)| <[u8; 8]>::try_from(bytes.as_slice()).ok());
            self.node = known.map(u64::from_le_bytes);
            if known.is_none() {
                let made = chance::next(&mut self.random);
                let cas = found.map_or(ABSENT, |(_, cas)| cas);
                self.node = data.set(NODE, &made.to_le_bytes(), cas).is_ok().then_some(made);
            }
        }
        self.node
    }
}

/// What happens to a stock beside requests.
#[derive(Clone, Copy, Debug)]
pub(super) enum Correction {
    /// A worker gives back what it has not spent.
    Back(Back),
    /// Tokens were taken for nothing.
    Untaken(u32),
    /// The same, of the node's share.
    Unshared(u32),
    /// Tokens were spent for more than was used of them, a while ago.
    Unused {
        /// So many.
        tokens: u32,
        /// They were taken of the node's share.
        of_share: bool,
    },
    /// A request has cost more than was taken for it.
    Owed {
        /// So many more.
        tokens: u32,
        /// What the worker still held.
        back: Option<Back>,
    },
}

/// Where tokens may come back at any time, Redis is asked again after so long.
const LOOKS_AGAIN_MS: u64 = 500;
/// How long it goes by its share when an answer has not come.
const FAILED_MS: u64 = 100;
/// By how much an answer that is given up may yet be late.
const SLACK_MS: u64 = 20;
const MOST_OWED: u32 = 1_000_000_000;
const NODE: &str = "svf/node";
/// Keys at one place.
const PLACE: usize = 8;
/// Attempts at one compare-and-swap. Each failure is another worker's success.
const TRIES: usize = 16;

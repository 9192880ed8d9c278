//! What a stock gives to who comes, and what is to be asked of Redis for it. Nothing here is read or written.

use super::bucket::Rate;
use super::lease::{LeaseRequest, VALID_MS};
use super::stock::{GAP_MS, Stock, part};
use super::ways::Back;

/// What a worker wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// Tokens that are spent at once.
    pub need: u32,
    /// Tokens that it would hold beside these.
    pub wish: u32,
    /// Tokens that it was asked for since it last came.
    pub demand: u32,
    /// What became of those that it was lent before.
    pub back: Option<Back>,
    /// Tokens that others have waited for in vain, and will come for next.
    pub beside: u32,
    /// Redis can be asked.
    pub may_ask: bool,
    /// The request may wait for the answer.
    pub may_wait: bool,
    /// The node's share is to be gone by where Redis cannot be asked.
    pub shares: bool,
    /// What is taken is settled later.
    pub settles: bool,
}

/// What it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The tokens that it needs.
    Lent {
        /// Those to hold.
        held: u32,
        /// When they are forgotten.
        until: u64,
        /// Tokens that are left, as far as the node knows.
        left: u64,
    },
    /// There are too few.
    Empty {
        /// Milliseconds until there may be enough.
        wait: u64,
    },
    /// Redis will say. Of this key, which may be one that many share.
    Waits(u128),
    /// Redis cannot be asked.
    Failed,
    /// Other workers were first again and again.
    Contended,
}

/// Takes what is wanted out of a stock, if it is there. The question is what is to be asked of Redis, as far as the stock
/// knows it.
pub(super) fn draw(
    stock: &mut Stock,
    want: &Want,
    rate: &Rate,
    nodes: u32,
    now_ms: u64,
) -> (Given, Option<LeaseRequest>) {
    if let Some(back) = want.back {
        stock.settle(back);
    }
    if now_ms.saturating_sub(stock.demand_at) > FORGETS_DEMAND_MS {
        (stock.demand, stock.demand_at) = (0, now_ms);
    }
    stock.demand = stock.demand.saturating_add(want.demand);
    let strict = is_strict(rate, nodes) || want.settles;
    let failing = !want.may_ask || now_ms < stock.failed_until;
    let is_asked = now_ms < stock.asking_until;
    let is_due = !failing && !is_asked && now_ms >= stock.ask_at;
    if want.need <= stock.held && (stock.owed == 0 || failing) {
        stock.held -= want.need;
        let held = stock.lend(want.wish);
        let is_low = u64::from(stock.held) * 100 < u64::from(stock.lot) * LOW_PERCENT;
        let question =
            (is_due && is_low && !strict).then(|| ask(stock, (0, 0), want.settles, rate, nodes, now_ms));
        let until = stock.asked_at.saturating_add(VALID_MS);
        let left = u64::from(stock.held) + u64::from(stock.left);
        return (Given::Lent { held, until, left }, question);
    }
    if failing {
        return (of_share(stock, want, rate, nodes), None);
    }
    if now_ms < stock.ask_at {
        // It may be asked again sooner, for what may come back.
        return (Given::Empty { wait: stock.ask_at.max(stock.retry_at) - now_ms }, None);
    }
    // Where there is less than is asked for a moment of waiting would bring little: who comes is refused, and asks for others.
    let scarce = stock.is_scarce(now_ms) && !strict;
    match (is_asked, scarce) {
        (true, true) => (Given::Empty { wait: SOON_MS }, None),
        (false, true) => {
            (Given::Empty { wait: SOON_MS }, Some(ask(stock, (0, 0), want.settles, rate, nodes, now_ms)))
        }
        _ if !want.may_wait => (of_share(stock, want, rate, nodes), None),
        (true, false) => (Given::Waits(stock.hash), None),
        (false, false) => {
            let question = ask(stock, (want.need, want.beside), want.settles, rate, nodes, now_ms);
            (Given::Waits(stock.hash), Some(question))
        }
    }
}

/// What the node's own share gives.
fn of_share(stock: &mut Stock, want: &Want, rate: &Rate, nodes: u32) -> Given {
    if !want.shares {
        return Given::Failed;
    }
    let need = rate.units(want.need.into());
    // A request that costs more than the share holds may go once the share is full.
    let enough = need.min(part(rate, nodes));
    if stock.share.level < enough {
        let wait = rate.time_for(enough - stock.share.level).saturating_mul(u64::from(nodes.max(1)));
        return Given::Empty { wait: wait.max(1) };
    }
    stock.share.level -= need;
    stock.shared = stock.shared.saturating_add(want.need);
    Given::Lent { held: 0, until: 0, left: rate.tokens(stock.share.level) }
}

/// What the stock asks Redis for, for one that waits and those beside it.
fn ask(
    stock: &mut Stock,
    (need, beside): (u32, u32),
    settles: bool,
    rate: &Rate,
    nodes: u32,
    now_ms: u64,
) -> LeaseRequest {
    let elapsed = now_ms.saturating_sub(stock.demand_at).max(LEAST_MS);
    let ahead = u64::from(stock.demand) * AHEAD_MS / elapsed;
    (stock.demand, stock.demand_at) = (0, now_ms);
    let owed = stock.debt(rate, nodes);
    // What is leased ahead and not spent would be lost, and be much.
    let wish = match is_strict(rate, nodes) || settles {
        true if need == 0 && owed == 0 => 1,
        true => beside,
        false => u32::try_from(ahead.clamp(1, rate.burst())).unwrap_or(u32::MAX),
    };
    LeaseRequest { need, wish, settles, ..tell(stock, owed, rate, now_ms) }
}

/// What Redis is told of a stock, and nothing is asked for.
pub(super) fn tell(stock: &mut Stock, owed: u32, rate: &Rate, now_ms: u64) -> LeaseRequest {
    LeaseRequest {
        key: stock.hash,
        limit: 0,
        rate: *rate,
        need: 0,
        wish: 0,
        settles: true,
        held: stock.outstanding(),
        lent: stock.leased,
        epoch: stock.epoch,
        owed,
        // Told once: one that is not heard of is forgotten.
        returned: std::mem::take(&mut stock.returned),
        node: 0,
        question: 0,
        asked_at: now_ms,
    }
}

/// Whether each node is due fewer than two tokens at a time: then each request takes its own.
pub(super) const fn is_strict(rate: &Rate, nodes: u32) -> bool {
    let nodes = if nodes == 0 { 1 } else { nodes as u64 };
    let few = nodes.saturating_mul(2);
    rate.burst() < few || rate.filled_in(AHEAD_MS, nodes) < rate.units(2)
}

/// How long a node that was given less than it wished for waits: no longer than a part of the burst takes to come, or what came
/// beyond the burst would be lost. Until it asks again what it was lent counts against that.
pub(super) fn gap_ms(rate: &Rate, leased: u32) -> u64 {
    let room = rate.full().saturating_sub(rate.units(leased.into()));
    let fills = |units: i64| (rate.time_for(units) * 3 / 5).max(1);
    GAP_MS.min(fills(rate.full())).min(fills(room).max(LEAST_GAP_MS))
}

/// However much it holds, Redis is not asked more often.
const LEAST_GAP_MS: u64 = 20;
/// A node asks for as much as it is asked for in this time.
const AHEAD_MS: u64 = 100;
/// What it is asked for is looked at over so long at least.
const LEAST_MS: u64 = 50;
const FORGETS_DEMAND_MS: u64 = 1_000;
/// It asks when so much is left of what it was lent.
const LOW_PERCENT: u64 = 40;
/// An answer is on its way.
const SOON_MS: u64 = 2;

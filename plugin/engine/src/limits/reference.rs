//! The bucket of a fleet's limit, as the [script](super::lease::SCRIPT) keeps it in Redis: what tests and simulations have in the
//! place of Redis. It counts with whole numbers, and bounds neither the nodes nor the time for which it remembers a key.

use std::collections::BTreeMap;

use super::bucket::MOST_UNITS;
use super::ways::EPOCH_MS;

/// The bucket of one key.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    kept: Option<Kept>,
}

/// What is kept of it.
#[derive(Clone, Debug)]
struct Kept {
    /// Tokens by the milliseconds of a window.
    level: i64,
    at: i64,
    /// What nodes hold, of this epoch and of the one before.
    young: i64,
    old: i64,
    /// When each node last asked.
    seen: BTreeMap<String, i64>,
}

impl Bucket {
    /// What the script answers to these arguments at `now`, in milliseconds since the epoch. An argument that is missing or
    /// is no number counts as 0.
    pub fn lease(&mut self, arguments: &[String], now: u64) -> String {
        let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let [quota, window, burst, need, wish, held, lent, epoch, owed] =
            [0, 1, 2, 3, 4, 5, 6, 7, 8].map(number);
        let (quota, window) = (quota.max(1), window.max(1));
        let [node, question] = [9, 10].map(|at| arguments.get(at).cloned().unwrap_or_default());
        let (now, epoch_ms) = (now as i64, EPOCH_MS as i64);
        let (full, this) = (burst * window, now / epoch_ms);
        let new = || Kept { level: full, at: now, young: 0, old: 0, seen: BTreeMap::new() };
        let kept = self.kept.get_or_insert_with(new);
        match this - kept.at / epoch_ms {
            ..=0 => {}
            1 => (kept.young, kept.old) = (0, kept.young),
            _ => (kept.young, kept.old) = (0, 0),
        }
        if epoch == this && kept.young >= lent {
            kept.young -= lent;
        } else if epoch == this - 1 && kept.old >= lent {
            kept.old -= lent;
        }
        kept.young += held;
        if now >= kept.at {
            let room = full - (kept.young + kept.old) * window;
            kept.level = kept.level.max((kept.level + (now - kept.at) * quota).min(room));
            kept.at = now;
        } else if kept.at - now > 1_000 {
            kept.at = now;
        }
        kept.level = if owed < 0 {
            let room = full - (kept.young + kept.old) * window;
            kept.level.max((kept.level - owed * window).min(room))
        } else {
            (kept.level - owed * window).max(-(MOST_UNITS as i64))
        };
        let (mut left, least) = (kept.level.div_euclid(window), need.max(1));
        let (mut granted, mut retry) = (0, 0);
        if need + wish > 0 {
            if left >= least {
                granted = need + wish.min((left - need + 1) / 2);
                kept.level -= granted * window;
                kept.young += granted - need;
                left -= granted;
            } else {
                retry = ((least * window - kept.level + quota - 1) / quota).max(1);
            }
        }
        kept.seen.insert(node, now);
        kept.seen.retain(|_, when| now - *when < REMEMBERED_MS);
        format!("{granted} {retry} {} {this} {} {question}", kept.seen.len(), left.max(0))
    }
}

/// A node that has not asked for so long counts no more.
const REMEMBERED_MS: i64 = 10_000;

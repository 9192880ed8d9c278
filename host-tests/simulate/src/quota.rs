//! The bucket of a fleet's limit as Redis keeps it: what the script of the engine (`limits/lease.lua`) does, with whole numbers.

use std::collections::BTreeMap;

/// What is kept of a key.
#[derive(Debug, Default)]
pub struct Quota {
    kept: Option<Kept>,
}

#[derive(Debug)]
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

impl Quota {
    /// What the script answers at a moment of the run.
    pub fn lease(&mut self, arguments: &[String], now: u64) -> String {
        let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let [quota, window, burst, need, wish, held, lent, epoch, owed] =
            [0, 1, 2, 3, 4, 5, 6, 7, 8].map(number);
        let [node, question] = [9, 10].map(|at| arguments.get(at).cloned().unwrap_or_default());
        // The first epochs of a run are not 0, which stands for none.
        let now = now as i64 + EPOCH * 10;
        let (full, this) = (burst * window, now / EPOCH);
        let kept = self.kept.get_or_insert_with(|| Kept {
            level: full,
            at: now,
            young: 0,
            old: 0,
            seen: BTreeMap::new(),
        });
        match this - kept.at / EPOCH {
            0 => {}
            1 => (kept.young, kept.old) = (0, kept.young),
            _ => (kept.young, kept.old) = (0, 0),
        }
        if epoch == this && kept.young >= lent {
            kept.young -= lent;
        } else if epoch == this - 1 && kept.old >= lent {
            kept.old -= lent;
        }
        kept.young += held;
        let room = full - (kept.young + kept.old) * window;
        kept.level = kept.level.max((kept.level + (now - kept.at) * quota).min(room)) - owed * window;
        kept.at = now;
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
        kept.seen.retain(|_, when| now - *when < REMEMBERED);
        format!("{granted} {retry} {} {this} {} {question}", kept.seen.len(), left.max(0))
    }
}

/// What is lent counts against the burst in such times of Redis, in milliseconds.
const EPOCH: i64 = 500;
/// A node that has not asked for so long counts no more.
const REMEMBERED: i64 = 10_000;

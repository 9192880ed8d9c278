//! The keys that limits refuse most, in a bounded space.
//!
//! The counters are those of the space-saving algorithm, as in [`busiest`](super::busiest). Only the hash of a key is there:
//! explain tells which one a request has.

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Refusals {
    keys: Vec<Counted>,
    noted: u32,
}

#[derive(Debug)]
struct Counted {
    limit: usize,
    hash: u64,
    count: u32,
    /// So much of the count may be of others.
    inherited: u32,
}

/// A key that is refused often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedKey {
    /// The first half of its hash.
    pub hash: u64,
    /// About how often it was refused, of late; never too low.
    pub refused: u32,
    /// It was refused at least so often.
    pub at_least: u32,
}

impl Refusals {
    /// A limit, by its index, has refused a key.
    pub fn note(&mut self, limit: usize, hash: u64) {
        let known = self.keys.iter_mut().find(|counted| counted.limit == limit && counted.hash == hash);
        if let Some(counted) = known {
            counted.count = counted.count.saturating_add(1);
        } else if self.keys.len() < MOST {
            self.keys.push(Counted { limit, hash, count: 1, inherited: 0 });
        } else if let Some(least) = self.keys.iter_mut().min_by_key(|counted| counted.count) {
            let inherited = least.count;
            *least = Counted { limit, hash, count: inherited.saturating_add(1), inherited };
        }
        self.noted += 1;
        if self.noted >= HALVED_AFTER {
            self.noted = 0;
            for counted in &mut self.keys {
                counted.count /= 2;
                counted.inherited /= 2;
            }
            self.keys.retain(|counted| counted.count > 0);
        }
    }

    /// The keys that a limit refuses most, the first first.
    pub fn most(&self, limit: usize, most: usize) -> Vec<RefusedKey> {
        let of_limit = self.keys.iter().filter(|counted| counted.limit == limit);
        let mut keys: Vec<RefusedKey> = of_limit
            .map(|counted| RefusedKey {
                hash: counted.hash,
                refused: counted.count,
                at_least: counted.count.saturating_sub(counted.inherited),
            })
            .collect();
        keys.sort_by_key(|key| std::cmp::Reverse((key.refused, key.at_least)));
        keys.truncate(most);
        keys
    }
}

/// Keys of all limits that are counted.
const MOST: usize = 64;
/// What was long ago counts less and less.
const HALVED_AFTER: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_are_refused_most_are_found_among_many_in_a_bounded_space() {
        let mut refusals = Refusals::default();
        for turn in 0..3_000u64 {
            refusals.note(1, 1_000_000 + turn);
            refusals.note(0, turn % 2);
            if turn % 3 == 0 {
                refusals.note(0, 7);
            }
        }
        let keys = refusals.most(0, 2);
        assert_eq!(keys.iter().map(|key| key.refused).collect::<Vec<_>>(), [1500, 1500], "{keys:?}");
        assert!(refusals.most(0, 10).iter().any(|key| key.hash == 7 && key.refused == 1000));
        assert!(refusals.keys.len() <= MOST && refusals.most(1, 10).len() <= 10);
        assert!(refusals.most(1, 10).iter().all(|key| key.at_least <= 1), "each was refused once");
    }

    #[test]
    fn who_was_refused_long_ago_is_forgotten() {
        let mut refusals = Refusals::default();
        refusals.note(0, 1);
        (0..2 * HALVED_AFTER).for_each(|_| refusals.note(0, 2));
        assert_eq!(refusals.most(0, 10).len(), 1);
    }
}

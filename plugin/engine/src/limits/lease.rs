//! The fleet's bucket in Redis: what a node asks it for, and what it answers.
//!
//! One script does all of it, by the clock of Redis, on one key with a hash tag, so that a cluster takes it too. It counts in
//! doubles, which are exact up to [`MOST_UNITS`](super::bucket::MOST_UNITS). What it answers is flat: webdis loses lists in lists.
//!
//! What a node holds counts against the burst, in the epoch of Redis in which it was lent, until the node says what became of it or
//! the next epoch has ended. The node itself forgets it sooner, [`VALID_MS`] after it has asked, so the clocks of the two need not agree.

use super::bucket::Rate;

/// The script. Its key is [`key`], its arguments are [`LeaseRequest::arguments`].
pub const SCRIPT: &str = include_str!("lease.lua");

/// How long a node spends what it was lent, from the moment on at which it asked.
pub const VALID_MS: u64 = 500;

/// What a node asks the fleet's bucket for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The key.
    pub key: u128,
    /// Its rate.
    pub rate: Rate,
    /// Tokens that requests wait for: all of them or none.
    pub need: u32,
    /// Tokens beside these, as many of them as there are to spare.
    pub wish: u32,
    /// What the node holds of earlier ones.
    pub held: u32,
    /// What it was lent then.
    pub lent: u32,
    /// The epoch in which that was.
    pub epoch: u64,
    /// A number for the node, that no other has.
    pub node: u64,
}

impl LeaseRequest {
    /// The arguments of the script.
    pub fn arguments(&self) -> [String; 9] {
        let Self { rate, need, wish, held, lent, epoch, node, .. } = self;
        let numbers = [
            rate.quota(),
            rate.window_ms(),
            rate.burst(),
            u64::from(*need),
            u64::from(*wish),
            u64::from(*held),
            u64::from(*lent),
            *epoch,
        ];
        let [quota, window, burst, need, wish, held, lent, epoch] = numbers.map(|number| number.to_string());
        [quota, window, burst, need, wish, held, lent, epoch, format!("{node:x}")]
    }
}

/// The key in Redis, below the prefix of the fleet.
pub fn key(prefix: &str, namespace: &str, hash: u128) -> String {
    format!("{prefix}:{{{namespace}:limit:{hash:032x}}}")
}

/// What Redis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// Tokens that were lent, those that were needed among them.
    pub granted: u32,
    /// If none: milliseconds until there are some.
    pub retry_after_ms: u64,
    /// Nodes that have asked for this key within ten seconds.
    pub nodes: u32,
    /// The epoch of Redis.
    pub epoch: u64,
}

impl LeaseAnswer {
    /// From the numbers of the script's answer; `None` if they are no such answer to this request.
    pub fn read(numbers: &[i64], request: &LeaseRequest) -> Option<Self> {
        let [granted, retry, nodes, epoch] = *numbers else { return None };
        let granted = u32::try_from(granted).ok()?;
        let most = request.need.saturating_add(request.wish);
        // More than was asked for is somebody else's answer, or a lie.
        let fits = granted <= most && (granted == 0 || granted >= request.need);
        fits.then_some(Self {
            granted,
            retry_after_ms: u64::try_from(retry).ok()?,
            nodes: u32::try_from(nodes).ok()?.max(1),
            epoch: u64::try_from(epoch).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> LeaseRequest {
        let rate = Rate::new(100, 60_000, 10);
        LeaseRequest { key: 1, rate, need: 1, wish: 10, held: 2, lent: 3, epoch: 4, node: 0xabc }
    }

    #[test]
    fn the_script_is_asked_with_plain_numbers_on_one_slot_of_a_cluster() {
        assert_eq!(request().arguments().join(" "), "100 60000 10 1 10 2 3 4 abc");
        assert_eq!(key("selvage", "main", 0xff), "selvage:{main:limit:000000000000000000000000000000ff}");
        assert!(SCRIPT.is_ascii() && !SCRIPT.contains("KEYS[2]"));
    }

    #[test]
    fn an_answer_that_gives_more_than_was_asked_for_is_none() {
        let read = |numbers: &[i64]| LeaseAnswer::read(numbers, &request()).map(|answer| answer.granted);
        assert_eq!(read(&[11, 0, 4, 7]), Some(11));
        assert_eq!(read(&[0, 12, 4, 7]), Some(0));
        for bad in [&[12, 0, 4, 7][..], &[-1, 0, 4, 7], &[1, -1, 4, 7], &[1, 0, 4], &[1, 0, 4, 7, 9], &[]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}

//! The fleet's bucket in Redis: what a node asks it for, and what it answers.
//!
//! One script does all of it, by the clock of Redis, on one key, so that a cluster takes it too. It counts in doubles, which are
//! exact up to [`MOST_UNITS`](super::bucket::MOST_UNITS). What it answers is one flat string: webdis dies of a list of numbers.
//!
//! What a node holds counts against the burst, in the epoch of Redis in which it was lent, until the node says what became of it or
//! the next epoch has ended. The node itself forgets it sooner, [`VALID_MS`] after it has asked, so the clocks of the two need not agree.
//! Tokens that requests wait for count as spent at once.

use super::bucket::Rate;

/// A script that runs in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: &'static str,
    /// Its SHA-1, by which Redis knows it once it has run it.
    pub digest: &'static str,
}

/// The script. Its key is [`key`], its arguments are [`LeaseRequest::arguments`].
pub const SCRIPT: &str = include_str!("lease.lua");

/// Its SHA-1, by which Redis knows it once it has run it.
pub const DIGEST: &str = "ddca13ab996aa3a6b6a3f8284decd38d9583cd81";

/// How long a node spends what it was lent, from the moment on at which it asked.
pub const VALID_MS: u64 = 500;

/// What a node asks the fleet's bucket for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The key.
    pub key: u128,
    /// Where the node has its pool of it: what all limits of that name have in common, for a key that shares a bucket.
    pub limit: u128,
    /// Its rate.
    pub rate: Rate,
    /// Tokens that requests wait for: all of them or none.
    pub need: u32,
    /// Tokens beside these, as many of them as there are to spare.
    pub wish: u32,
    /// What the node holds of earlier ones.
    pub held: u32,
    /// What Redis counts as lent to it.
    pub lent: u32,
    /// The epoch in which that was; 0: Redis is to forget it by itself.
    pub epoch: u64,
    /// Tokens that were spent without being asked for.
    pub owed: u32,
    /// Tokens that were spent, and were not used after all.
    pub returned: u32,
    /// What requests have taken is settled later, and some of it comes back at any time.
    pub settles: bool,
    /// A number for the node, that no other has.
    pub node: u64,
    /// A number for the question, which the answer repeats: webdis gives some answers to the wrong caller.
    pub question: u64,
    /// When it was asked, by the node's clock.
    pub asked_at: u64,
}

impl LeaseRequest {
    /// The arguments of the script: letters and digits.
    pub fn arguments(&self) -> [String; 11] {
        let Self { rate, need, wish, held, lent, epoch, owed, returned, node, question, .. } = self;
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
        let owed = i64::from(*owed).saturating_sub(i64::from(*returned)).to_string();
        let [node, question] = [*node, *question].map(|number| format!("{number:x}"));
        [quota, window, burst, need, wish, held, lent, epoch, owed, node, question]
    }

    /// The most that may be granted.
    pub const fn most(&self) -> u32 {
        self.need.saturating_add(self.wish)
    }
}

/// The key in Redis below what all keys of the fleet begin with. It is alone in its call, so a cluster takes it wherever it lies.
pub fn key(prefix: &str, namespace: u64, hash: u128) -> String {
    format!("{prefix}:limit:{namespace:016x}:{hash:032x}")
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
    /// Tokens that are left in Redis.
    pub left: u64,
}

impl LeaseAnswer {
    /// From the script's answer; `None` if it is no answer to this request.
    pub fn read(text: &[u8], request: &LeaseRequest) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.trim_ascii_end().split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (granted, retry_after_ms, nodes, epoch, left) =
            (number()?, number()?, number()?, number()?, number()?);
        let question = u64::from_str_radix(words.next()?, 16).ok()?;
        let granted = u32::try_from(granted).ok()?;
        // More than was asked for, or than a bucket holds, is somebody else's answer, or a lie.
        let fits = words.next().is_none()
            && question == request.question
            && granted <= request.most()
            && (granted == 0 || granted >= request.need)
            && left <= request.rate.burst()
            && epoch > 0
            && (1..=MOST_NODES).contains(&nodes);
        let nodes = u32::try_from(nodes).ok()?;
        fits.then_some(Self { granted, retry_after_ms, nodes, epoch, left })
    }
}

/// Nodes that the script counts.
const MOST_NODES: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> LeaseRequest {
        let rate = Rate::new(100, 60_000, 10);
        LeaseRequest {
            key: 1,
            limit: 1,
            rate,
            need: 1,
            wish: 10,
            held: 2,
            lent: 3,
            epoch: 4,
            owed: 5,
            returned: 0,
            settles: false,
            node: 0xabc,
            question: 0xdef,
            asked_at: 0,
        }
    }

    #[test]
    fn the_script_is_asked_with_plain_numbers_about_one_key() {
        use sha1::{Digest, Sha1};
        assert_eq!(request().arguments().join(" "), "100 60000 10 1 10 2 3 4 5 abc def");
        assert_eq!(key("selvage:v1", 7, 0xff), format!("selvage:v1:limit:{:016x}:{:032x}", 7, 0xff));
        assert!(SCRIPT.is_ascii() && !SCRIPT.contains("KEYS[2]"));
        let digest: String = Sha1::digest(SCRIPT).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, DIGEST);
    }

    #[test]
    fn an_answer_that_gives_more_than_was_asked_for_or_is_anothers_is_none() {
        let read = |text: &str| LeaseAnswer::read(text.as_bytes(), &request()).map(|answer| answer.granted);
        assert_eq!(read("11 0 4 7 9 def"), Some(11));
        assert_eq!(read("11 0 4 7 9 def\r\n"), Some(11));
        assert_eq!(read("0 12 4 7 0 def"), Some(0));
        for bad in [
            "12 0 4 7 9 def",
            "-1 0 4 7 9 def",
            "1 -1 4 7 9 def",
            "1 0 4 7 9 dee",
            "1 0 4 7 9",
            "1 0 4 7 9 def 1",
            "1 0 0 7 9 def",
            "1 0 257 7 9 def",
            "1 0 4 0 9 def",
            "1 0 4 7 11 def",
            "1  0 4 7 9 def",
            "",
            "\u{e4}",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}

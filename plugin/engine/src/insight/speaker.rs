//! Who says what all workers know alike, such as what the node store holds. The gauges of a plugin are sums of shares, so one
//! worker says it and the others say nothing.
//!
//! ```text
//! magic "svs1" · who u64 · rank u64 · until u64 · xxh3 of all before u64
//! ```
//!
//! Little endian; times in milliseconds since the epoch. The speaker shows every second that it is there. The later
//! configuration takes over from the earlier, and anyone from one that has not shown itself for three seconds.

use std::time::Duration;

use crate::host::wire::{framed, take_u64, unframed};
use crate::host::{ABSENT, SharedData};
use crate::policy::Policy;
use crate::time::Timestamp;

/// One plugin in one worker, which may be the one that speaks.
#[derive(Debug)]
pub struct Speaker {
    key: Box<str>,
    who: u64,
    born: Timestamp,
    next: Timestamp,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Listens,
    /// Another spoke until now, and may not have heard yet.
    TakesOver,
    Speaks,
}

struct Shared {
    who: u64,
    rank: u64,
    until: Timestamp,
}

impl Speaker {
    /// It says nothing yet. `who` is a number that no other has. Plugins of one name and namespace have one speaker.
    pub fn new(policy: &Policy, who: u64, born: Timestamp) -> Self {
        let Policy { name, namespace_name, .. } = policy;
        let key = format!("sv1/say/{namespace_name}/{name}").into();
        Self { key, who, born, next: Timestamp::default(), role: Role::Listens }
    }

    /// By tick: whether this one speaks. Costs a get a second, and a set if it does. One that `serves` comes before one that
    /// does not.
    pub fn speaks(&mut self, data: &mut dyn SharedData, serves: bool, now: Timestamp) -> bool {
        // A moment far off is of a clock that was set back.
        if now < self.next && self.next.since(now) <= LOOK_EVERY {
            return self.role == Role::Speaks;
        }
        self.next = now.plus(LOOK_EVERY);
        let found = data.get(&self.key);
        let cas = found.as_ref().map_or(ABSENT, |(_, cas)| *cas);
        let known = found.and_then(|(bytes, _)| Shared::decode(&bytes));
        let known = known.filter(|known| now < known.until && known.until.since(now) <= LEASE);
        let rank = self.born.as_millis() | (u64::from(serves) << 63);
        let role = match known {
            Some(known) if known.who == self.who => match self.role {
                Role::Listens => Role::Listens,
                Role::TakesOver | Role::Speaks => Role::Speaks,
            },
            Some(known) if known.rank >= rank => Role::Listens,
            Some(_) => Role::TakesOver,
            None => Role::Speaks,
        };
        let taken = Shared { who: self.who, rank, until: now.plus(LEASE) };
        let held = role != Role::Listens && data.set(&self.key, &taken.encode(), cas).is_ok();
        self.role = if held { role } else { Role::Listens };
        self.role == Role::Speaks
    }

    /// Lets another speak, for this one goes.
    pub fn leave(&mut self, data: &mut dyn SharedData) {
        if self.role == Role::Listens {
            return;
        }
        self.role = Role::Listens;
        if let Some((bytes, cas)) = data.get(&self.key)
            && Shared::decode(&bytes).is_some_and(|known| known.who == self.who)
        {
            let none = Shared { who: 0, rank: 0, until: Timestamp::default() };
            // If another was first it has taken over.
            let _ = data.set(&self.key, &none.encode(), cas);
        }
    }
}

impl Shared {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for number in [self.who, self.rank, self.until.as_millis()] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        framed(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut body = unframed(bytes, MAGIC)?;
        let (who, rank, until) = (take_u64(&mut body)?, take_u64(&mut body)?, take_u64(&mut body)?);
        body.is_empty().then_some(Self { who, rank, until: Timestamp::from_millis(until) })
    }
}

const MAGIC: [u8; 4] = *b"svs1";
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One that has not shown itself for so long is gone.
const LEASE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::node::fake::Fake;

    fn speaker(who: u64, born: u64) -> Speaker {
        let policy = Policy::from(Config::parse(b"{}").unwrap());
        Speaker::new(&policy, who, Timestamp::from_millis(born))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn one_speaks_and_another_when_that_one_is_gone() {
        let data = &mut Fake::default();
        let (mut first, mut second) = (speaker(1, 500), speaker(2, 500));
        assert!(first.speaks(data, true, at(0)));
        assert!(!second.speaks(data, true, at(0)));
        for second_of_time in 1..10 {
            assert!(first.speaks(data, true, at(second_of_time)));
            assert!(!second.speaks(data, true, at(second_of_time)));
        }
        first.leave(data);
        assert!(second.speaks(data, true, at(10)));
        assert!(!first.speaks(data, true, at(11)));
        // The second goes without a word.
        assert!(!first.speaks(data, true, at(12)));
        assert!(first.speaks(data, true, at(13)));
    }

    #[test]
    fn the_later_configuration_speaks_once_the_earlier_has_heard_of_it() {
        let data = &mut Fake::default();
        let (mut old, mut new) = (speaker(1, 500), speaker(2, 600));
        assert!(old.speaks(data, true, at(0)));
        assert!(!new.speaks(data, true, at(0)), "both would be summed up");
        assert!(!old.speaks(data, true, at(1)));
        assert!(new.speaks(data, true, at(1)));
        assert!(!old.speaks(data, true, at(2)));
    }

    #[test]
    fn one_that_serves_comes_first() {
        let data = &mut Fake::default();
        let (mut main, mut worker) = (speaker(1, 600), speaker(2, 500));
        assert!(main.speaks(data, false, at(0)));
        assert!(!worker.speaks(data, true, at(0)));
        assert!(!main.speaks(data, false, at(1)));
        assert!(worker.speaks(data, true, at(1)));
    }

    #[test]
    fn a_clock_that_was_set_back_and_strange_bytes_keep_nobody_silent() {
        let data = &mut Fake::default();
        let mut one = speaker(1, 500);
        assert!(one.speaks(data, true, at(5000)));
        assert!(speaker(2, 500).speaks(data, true, at(0)));
        data.put_raw(&one.key, b"svs1 or not");
        assert!(speaker(3, 500).speaks(data, true, at(0)));
    }
}

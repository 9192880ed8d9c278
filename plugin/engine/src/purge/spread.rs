//! Tells the other nodes of purges, through the remote store: a counter, and each purge for a day under its number.
//!
//! The worker that accepts a purge draws a number and writes the purge under it; each of the two calls is repeated until
//! it is answered. One worker of each node asks for the counter at every tick and fetches what is new. What cannot be
//! fetched is not known, so everything counts as purged: too many at once, a number that nobody has written within
//! [`PATIENCE`], bytes of another release. A counter that has gone back is that of a store that was emptied, and its
//! numbers begin anew.
//!
//! A node that starts reads the last [`MOST_AT_ONCE`]; if there were more before, what is older than the oldest that it
//! could read counts as purged.
//!
//! ```text
//! magic "svf1" · cursor u64 · known 0 or 1: u8 · holder u32 · until u64 ms       shared data: who asks, and what is known
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::store::node::SharedData;
use crate::store::node::wire::{take, take_u32, take_u64};
use crate::time::Timestamp;

/// What one worker has to tell and to ask.
#[derive(Debug, Default)]
pub struct Spread {
    outgoing: VecDeque<Outgoing>,
    drawn: u64,
    dropped: u64,
    poll: Poll,
}

/// A purge on its way out.
#[derive(Debug)]
struct Outgoing {
    id: u64,
    bytes: Vec<u8>,
    number: Option<u64>,
    under_way: bool,
    not_before: Timestamp,
    failures: u32,
}

/// The part of the worker that asks for its node.
#[derive(Debug, Default)]
struct Poll {
    /// It asks, until it is known that another does.
    holder: Option<u32>,
    renew_at: Timestamp,
    /// Numbers up to this one are done or wanted; `None` at the start of a node.
    cursor: Option<u64>,
    count: Asking,
    wanted: BTreeMap<u64, Wanted>,
    start: Option<Start>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asking {
    #[default]
    No,
    Due,
    UnderWay,
}

#[derive(Debug)]
struct Wanted {
    since: Timestamp,
    not_before: Timestamp,
    under_way: bool,
}

/// What the first reading of a node has found.
#[derive(Debug, Default)]
struct Start {
    more_before: bool,
    last_absent: Option<u64>,
    times: BTreeMap<u64, Timestamp>,
}

/// A call to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Draw a number.
    Draw {
        /// Which purge it is for.
        id: u64,
    },
    /// Write a purge under its number.
    Write {
        /// Which purge it is.
        id: u64,
        /// Its number.
        number: u64,
        /// The purge.
        bytes: Vec<u8>,
    },
    /// Ask for the counter.
    Count,
    /// Ask for the purge of a number.
    Fetch {
        /// The number.
        number: u64,
    },
}

/// What is to be done about what another node said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// Take this purge in; it was only just made.
    New(Vec<u8>),
    /// Take this purge in; it may be old.
    Old(Vec<u8>),
    /// Everything of this time or before may have been purged.
    Unknown(Timestamp),
}

impl Spread {
    /// Tells the other nodes of a purge. When too many wait the oldest is dropped, and counted.
    pub fn push(&mut self, bytes: Vec<u8>) {
        if self.outgoing.len() >= MOST_OUTGOING {
            self.outgoing.pop_front();
            self.dropped += 1;
        }
        self.drawn += 1;
        self.outgoing.push_back(Outgoing {
            id: self.drawn,
            bytes,
            number: None,
            under_way: false,
            not_before: Timestamp::default(),
            failures: 0,
        });
    }

    /// Purges that were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// By tick: whether this worker is the one that asks for its node is looked after in shared data.
    pub fn tick(&mut self, data: &mut dyn SharedData, key: &str, now: Timestamp) {
        self.hold(data, key, now);
        if self.poll.holder.is_some() && self.poll.count == Asking::No {
            self.poll.count = Asking::Due;
        }
    }

    fn hold(&mut self, data: &mut dyn SharedData, key: &str, now: Timestamp) {
        let poll = &mut self.poll;
        if poll.holder.is_some() && now < poll.renew_at {
            return;
        }
        let (place, cas) = match data.get(key) {
            None => (Place::default(), ABSENT),
            Some((bytes, cas)) => (Place::decode(&bytes).unwrap_or_default(), cas),
        };
        let own = poll.holder == Some(place.holder);
        // A moment far off is of a clock that was set back.
        let held = now < place.until && place.until.since(now) <= HELD_FOR;
        if !own && held {
            *poll = Poll::default();
            return;
        }
        if !own {
            *poll = Poll { cursor: place.cursor, ..Poll::default() };
        }
        // Each value has another `cas`, so no two holders are the same.
        let taken = Place { cursor: poll.done(), holder: cas, until: now.plus(HELD_FOR) };
        if data.set(key, &taken.encode(), cas).is_ok() {
            poll.holder = Some(cas);
            poll.renew_at = now.plus(HELD_FOR / 4);
        } else {
            *poll = Poll::default();
        }
    }

    /// The next call to make, at most so many at once as the caller wants.
    pub fn next(&mut self, now: Timestamp) -> Option<Step> {
        let due = |outgoing: &&mut Outgoing| !outgoing.under_way && outgoing.not_before <= now;
        if let Some(outgoing) = self.outgoing.iter_mut().find(due) {
            outgoing.under_way = true;
            return Some(match outgoing.number {
                None => Step::Draw { id: outgoing.id },
                Some(number) => Step::Write { id: outgoing.id, number, bytes: outgoing.bytes.clone() },
            });
        }
        if self.poll.count == Asking::Due {
            self.poll.count = Asking::UnderWay;
            return Some(Step::Count);
        }
        let due = |(_, wanted): &(&u64, &mut Wanted)| !wanted.under_way && wanted.not_before <= now;
        let (number, wanted) = self.poll.wanted.iter_mut().find(due)?;
        wanted.under_way = true;
        Some(Step::Fetch { number: *number })
    }

    /// A call was not answered, or not made: it is made again a little later.
    pub fn failed(&mut self, step: &Step, now: Timestamp) {
        let later = now.plus(RETRY);
        match step {
            Step::Draw { id } | Step::Write { id, .. } => {
                if let Some(outgoing) = self.outgoing.iter_mut().find(|outgoing| outgoing.id == *id) {
                    outgoing.under_way = false;
                    // Up to three seconds: a store that is away must not be swamped when it comes back.
                    outgoing.not_before = now.plus(RETRY.saturating_mul(1 << outgoing.failures.min(6)));
                    outgoing.failures += 1;
                }
            }
            Step::Count => self.poll.count = Asking::No,
            Step::Fetch { number } => {
                if let Some(wanted) = self.poll.wanted.get_mut(number) {
                    wanted.under_way = false;
                    wanted.not_before = later;
                }
            }
        }
    }

    /// A number was drawn for a purge.
    pub fn drawn(&mut self, id: u64, number: u64) {
        if let Some(outgoing) = self.outgoing.iter_mut().find(|outgoing| outgoing.id == id) {
            outgoing.number = Some(number);
            outgoing.under_way = false;
        }
    }

    /// A purge was written under its number.
    pub fn written(&mut self, id: u64) {
        self.outgoing.retain(|outgoing| outgoing.id != id);
    }

    /// The counter stands here.
    pub fn counted(&mut self, count: u64, now: Timestamp) -> Heard {
        let poll = &mut self.poll;
        poll.count = Asking::No;
        let done = match poll.cursor {
            None => {
                let before = count.saturating_sub(MOST_AT_ONCE);
                poll.start = Some(Start { more_before: before > 0, ..Start::default() });
                before
            }
            Some(cursor) if count < cursor => 0,
            Some(cursor) => cursor,
        };
        poll.cursor = Some(count);
        if count.saturating_sub(done) > MOST_AT_ONCE {
            poll.wanted.clear();
            return Heard::Unknown(now);
        }
        for number in done.saturating_add(1)..=count {
            let wanted = Wanted { since: now, not_before: now, under_way: false };
            poll.wanted.entry(number).or_insert(wanted);
        }
        if poll.wanted.is_empty() {
            poll.start = None;
        }
        Heard::Nothing
    }

    /// The purge of a number came, made at this time; `None` if nobody has written it.
    pub fn fetched(
        &mut self,
        number: u64,
        purge: Option<(Vec<u8>, Timestamp)>,
        now: Timestamp,
    ) -> Vec<Heard> {
        let poll = &mut self.poll;
        let Some(wanted) = poll.wanted.get_mut(&number) else { return Vec::new() };
        let mut heard = Vec::new();
        match (purge, &mut poll.start) {
            (Some((bytes, at)), Some(start)) => {
                start.times.insert(number, at);
                heard.push(Heard::Old(bytes));
            }
            (Some((bytes, _)), None) => heard.push(Heard::New(bytes)),
            (None, _) if now.since(wanted.since) < PATIENCE => {
                wanted.under_way = false;
                wanted.not_before = now.plus(RETRY);
                return heard;
            }
            (None, Some(start)) => start.last_absent = start.last_absent.max(Some(number)),
            (None, None) => heard.push(Heard::Unknown(now)),
        }
        poll.wanted.remove(&number);
        if poll.wanted.is_empty()
            && let Some(start) = poll.start.take()
            && let Some(until) = start.unknown_until(now)
        {
            heard.push(Heard::Unknown(until));
        }
        heard
    }
}

impl Poll {
    /// Numbers up to this one are done.
    fn done(&self) -> Option<u64> {
        if self.start.is_some() {
            // Who takes over starts anew.
            return None;
        }
        let first = self.wanted.keys().next().map(|first| first.saturating_sub(1));
        self.cursor.map(|cursor| first.map_or(cursor, |first| first.min(cursor)))
    }
}

impl Start {
    /// Purges of before this moment may not have been read.
    fn unknown_until(&self, now: Timestamp) -> Option<Timestamp> {
        let after = match self.last_absent {
            Some(absent) => absent,
            None if self.more_before => 0,
            None => return None,
        };
        let oldest = self.times.range(after..).map(|(_, at)| *at).min();
        // What is gone has been there for a day, or was never written by a node that died.
        let day_ago = now.as_millis().saturating_sub(KEPT_FOR.as_secs().saturating_mul(1000));
        Some(oldest.unwrap_or(Timestamp::from_millis(day_ago)).min(now))
    }
}

/// Who asks for a node.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    cursor: Option<u64>,
    holder: u32,
    until: Timestamp,
}

impl Place {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.cursor.unwrap_or_default().to_le_bytes());
        out.push(u8::from(self.cursor.is_some()));
        out.extend_from_slice(&self.holder.to_le_bytes());
        out.extend_from_slice(&self.until.as_millis().to_le_bytes());
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if take(&mut bytes)? != MAGIC {
            return None;
        }
        let cursor = take_u64(&mut bytes)?;
        let [known] = take(&mut bytes)?;
        let holder = take_u32(&mut bytes)?;
        let until = Timestamp::from_millis(take_u64(&mut bytes)?);
        bytes.is_empty().then_some(Self { cursor: (known == 1).then_some(cursor), holder, until })
    }
}

/// How long a purge is kept in the remote store.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Purges fetched one by one; if there are more, everything counts as purged.
pub const MOST_AT_ONCE: u64 = 64;
/// How long a number may be without its purge.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Purges of a worker that wait to be told.
const MOST_OUTGOING: usize = 4096;
const RETRY: Duration = Duration::from_millis(50);
/// A worker that asks shows four times as often that it still does.
const HELD_FOR: Duration = Duration::from_secs(2);
const MAGIC: [u8; 4] = *b"svf1";
/// Only if the key is missing, as no value has this number.
const ABSENT: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::node::fake::Fake;

    const KEY: &str = "sv1/f/x";

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(100_000_000 + millis)
    }

    /// All steps that are due.
    fn steps(spread: &mut Spread, now: Timestamp) -> Vec<Step> {
        std::iter::from_fn(|| spread.next(now)).collect()
    }

    fn polling(data: &mut Fake, count: u64) -> Spread {
        let mut spread = Spread::default();
        spread.tick(data, KEY, at(0));
        assert_eq!(steps(&mut spread, at(0)), [Step::Count]);
        assert_eq!(spread.counted(count, at(0)), Heard::Nothing);
        spread
    }

    #[test]
    fn a_purge_is_numbered_and_written_again_until_it_is_answered() {
        let mut spread = Spread::default();
        spread.push(b"p".to_vec());
        let draw = Step::Draw { id: 1 };
        assert_eq!(steps(&mut spread, at(0)), std::slice::from_ref(&draw));
        spread.failed(&draw, at(0));
        assert_eq!(steps(&mut spread, at(49)), []);
        assert_eq!(steps(&mut spread, at(50)), [draw]);
        spread.drawn(1, 7);
        let write = Step::Write { id: 1, number: 7, bytes: b"p".to_vec() };
        assert_eq!(steps(&mut spread, at(60)), std::slice::from_ref(&write));
        spread.failed(&write, at(60));
        assert_eq!(steps(&mut spread, at(159)), []);
        assert_eq!(steps(&mut spread, at(160)), [write]);
        spread.written(1);
        assert_eq!(steps(&mut spread, at(9999)), []);
    }

    #[test]
    fn one_worker_asks_and_another_goes_on_where_it_died() {
        let mut data = Fake::default();
        let mut a = polling(&mut data, 5);
        for number in 1..=5 {
            assert_eq!(a.fetched(number, Some((vec![1], at(0))), at(1)), [Heard::Old(vec![1])]);
        }
        let mut b = Spread::default();
        b.tick(&mut data, KEY, at(10));
        assert_eq!(steps(&mut b, at(10)), []);
        a.tick(&mut data, KEY, at(600));
        assert_eq!(steps(&mut a, at(600)), [Step::Count]);
        b.tick(&mut data, KEY, at(2599));
        assert_eq!(steps(&mut b, at(2599)), []);
        b.tick(&mut data, KEY, at(2600));
        assert_eq!(steps(&mut b, at(2600)), [Step::Count]);
        b.counted(6, at(2600));
        assert_eq!(steps(&mut b, at(2600)), [Step::Fetch { number: 6 }]);
        assert_eq!(b.fetched(6, Some((vec![2], at(0))), at(2601)), [Heard::New(vec![2])]);
        a.tick(&mut data, KEY, at(2700));
        assert_eq!(steps(&mut a, at(2700)), [], "it has lost its place");
    }

    #[test]
    fn what_nobody_writes_and_what_is_too_much_purges_everything() {
        let mut data = Fake::default();
        let mut spread = polling(&mut data, 0);
        spread.counted(1, at(0));
        assert_eq!(steps(&mut spread, at(0)), [Step::Fetch { number: 1 }]);
        assert_eq!(spread.fetched(1, None, at(1)), []);
        assert_eq!(steps(&mut spread, at(51)), [Step::Fetch { number: 1 }]);
        assert_eq!(spread.fetched(1, None, at(5000)), [Heard::Unknown(at(5000))]);
        assert_eq!(spread.counted(66, at(5001)), Heard::Unknown(at(5001)));
        assert_eq!(steps(&mut spread, at(6000)), []);
        assert_eq!(spread.counted(2, at(6000)), Heard::Nothing, "the store was emptied");
        assert_eq!(steps(&mut spread, at(6000)), [Step::Fetch { number: 1 }, Step::Fetch { number: 2 }]);
    }

    #[test]
    fn a_node_that_starts_reads_the_last_and_takes_what_is_older_for_purged() {
        let mut data = Fake::default();
        let mut spread = polling(&mut data, 100);
        let wanted: Vec<Step> = (37..=100).map(|number| Step::Fetch { number }).collect();
        assert_eq!(steps(&mut spread, at(0)), wanted);
        let mut heard = Vec::new();
        for number in 37..=100 {
            heard.extend(spread.fetched(number, Some((vec![1], at(number))), at(500)));
        }
        assert_eq!((heard.len(), heard.last()), (65, Some(&Heard::Unknown(at(37)))));
        let mut spread = polling(&mut Fake::default(), 2);
        spread.fetched(2, Some((vec![1], at(7))), at(500));
        assert_eq!(spread.fetched(1, None, at(5000)), [Heard::Unknown(at(7))], "it has expired");
    }
}

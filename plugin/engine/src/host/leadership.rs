//! What one worker of a node does for all of them. The others leave it to the one that shows, in shared data, that it is
//! at it; when that one has not shown it for a while it counts as dead, and another goes on.
//!
//! A leadership has a key of its own. Its value says how far the work is, each in its own way, and who does it, always so:
//!
//! ```text
//! holder u32 · until u64 ms
//! ```

use std::time::Duration;

use super::SharedData;
use super::wire::{take_u32, take_u64};
use crate::time::Timestamp;

/// Who does it, and up to when that is certain. The default is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    id: u32,
    until: Timestamp,
}

impl Holder {
    /// Bytes for the leadership's value.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.until.as_millis().to_le_bytes());
    }

    /// From the front of what is left of the leadership's value; `None` when too little is.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { id: take_u32(bytes)?, until: Timestamp::from_millis(take_u64(bytes)?) })
    }

    fn is_at_it(self, now: Timestamp) -> bool {
        // A moment far off is of a clock that was set back.
        now < self.until && self.until.since(now) <= HELD_FOR
    }
}

/// Whose leadership it is, as a worker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This worker's.
    Own,
    /// That of another one, which is at it.
    Anothers,
    /// That of one which is not at it any more, or nobody's yet.
    Nobodys,
}

/// One worker's part in it.
#[derive(Debug, Default)]
pub struct Leadership {
    /// As whom this worker does it, until it finds that another does.
    id: Option<u32>,
    show_at: Timestamp,
}

impl Leadership {
    /// Whether this worker does it, as far as it knows.
    pub const fn is_own(&self) -> bool {
        self.id.is_some()
    }

    /// Whether it is time to show that this worker does it.
    pub fn is_to_be_shown(&self, now: Timestamp) -> bool {
        now >= self.show_at
    }

    /// Whose it is, if `holder` is what shared data says.
    pub fn whose(&self, holder: Holder, now: Timestamp) -> Whose {
        if self.id == Some(holder.id) {
            Whose::Own
        } else if holder.is_at_it(now) {
            Whose::Anothers
        } else {
            Whose::Nobodys
        }
    }

    /// Takes it over, or shows that this worker still does it: `value` makes the leadership's new value, and `cas` is that of the
    /// present one. `false` if another worker was first; then nothing has changed.
    pub fn take(
        &mut self,
        data: &mut dyn SharedData,
        key: &str,
        cas: u32,
        value: impl FnOnce(Holder) -> Vec<u8>,
        now: Timestamp,
    ) -> bool {
        // Each value has another `cas`, so no two holders are the same.
        let holder = Holder { id: cas, until: now.plus(HELD_FOR) };
        if data.set(key, &value(holder), cas).is_err() {
            return false;
        }
        *self = Self { id: Some(cas), show_at: now.plus(SHOW_EVERY) };
        true
    }
}

/// How long a worker counts as being at it after it has shown that it is.
const HELD_FOR: Duration = Duration::from_secs(2);
/// How often it shows it. Who waits for its end need not look more often.
pub const SHOW_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::super::ABSENT;
    use super::*;
    use crate::store::node::fake::Fake;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(100_000_000 + millis)
    }

    fn look(data: &mut Fake) -> (Holder, u32) {
        match data.get("leadership") {
            Some((bytes, cas)) => (Holder::decode(&mut bytes.as_slice()).unwrap(), cas),
            None => (Holder::default(), ABSENT),
        }
    }

    fn whose(leadership: &Leadership, data: &mut Fake, now: u64) -> Whose {
        leadership.whose(look(data).0, at(now))
    }

    /// As if this worker had looked at `cas` when that was the present one.
    fn take_with(leadership: &mut Leadership, data: &mut Fake, cas: u32, now: u64) -> bool {
        let value = |holder: Holder| {
            let mut bytes = Vec::new();
            holder.encode(&mut bytes);
            bytes
        };
        leadership.take(data, "leadership", cas, value, at(now))
    }

    fn take(leadership: &mut Leadership, data: &mut Fake, now: u64) -> bool {
        let (_, cas) = look(data);
        take_with(leadership, data, cas, now)
    }

    #[test]
    fn a_duty_stays_with_a_worker_that_shows_it() {
        let (mut data, mut a, b) = (Fake::default(), Leadership::default(), Leadership::default());
        assert_eq!(whose(&a, &mut data, 0), Whose::Nobodys);
        assert!(take(&mut a, &mut data, 0));
        for now in [0, 500, 1000, 1500, 2000, 2500, 3000] {
            assert_eq!(whose(&a, &mut data, now), Whose::Own);
            assert_eq!(whose(&b, &mut data, now), Whose::Anothers);
            assert!(!a.is_to_be_shown(at(now + 499)));
            assert!(a.is_to_be_shown(at(now + 500)));
            assert!(take(&mut a, &mut data, now + 500));
        }
        assert!(a.is_own() && !b.is_own());
    }

    #[test]
    fn another_worker_goes_on_when_one_has_not_shown_itself_for_two_seconds() {
        let (mut data, mut a, mut b) = (Fake::default(), Leadership::default(), Leadership::default());
        assert!(take(&mut a, &mut data, 0));
        assert_eq!(whose(&b, &mut data, 1999), Whose::Anothers);
        assert_eq!(whose(&b, &mut data, 2000), Whose::Nobodys);
        assert_eq!(whose(&a, &mut data, 2000), Whose::Own, "nobody has taken it yet");
        assert!(take(&mut b, &mut data, 2000));
        assert_eq!(whose(&a, &mut data, 2001), Whose::Anothers);
        assert_eq!(whose(&a, &mut data, 9000), Whose::Nobodys, "that of another one that is dead");
    }

    #[test]
    fn of_two_that_take_it_at_once_the_second_does_not_get_it() {
        let (mut data, mut a, mut b) = (Fake::default(), Leadership::default(), Leadership::default());
        assert!(take_with(&mut a, &mut data, ABSENT, 0));
        assert!(!take_with(&mut b, &mut data, ABSENT, 0));
        assert!(!b.is_own());
        let (_, cas) = look(&mut data);
        assert!(take_with(&mut b, &mut data, cas, 3000));
        assert!(!take_with(&mut a, &mut data, cas, 3000));
        assert!(a.is_own(), "until it looks");
        assert_eq!(whose(&a, &mut data, 3000), Whose::Anothers);
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_nobody_waiting() {
        let (mut data, mut a, b) = (Fake::default(), Leadership::default(), Leadership::default());
        assert!(take(&mut a, &mut data, 60_000));
        assert_eq!(whose(&b, &mut data, 60_000), Whose::Anothers);
        assert_eq!(whose(&b, &mut data, 0), Whose::Nobodys);
    }

    #[test]
    fn a_holder_reads_back_from_twelve_bytes() {
        let mut bytes = Vec::new();
        Holder { id: 0x0102_0304, until: Timestamp::from_millis(5) }.encode(&mut bytes);
        assert_eq!(bytes, [4, 3, 2, 1, 5, 0, 0, 0, 0, 0, 0, 0]);
        let rest = &mut bytes.as_slice();
        assert_eq!(Holder::decode(rest), Some(Holder { id: 0x0102_0304, until: Timestamp::from_millis(5) }));
        assert!(rest.is_empty());
        assert_eq!(Holder::decode(&mut &bytes[1..]), None);
    }
}

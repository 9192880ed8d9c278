//! How often the host calls the VM by time: more often while a stream is to ask the remote store again, and most often while some
//! wait for others that are to be asked together with them.

use std::marker::PhantomData;
use std::time::Duration;

use selvage_engine::time::Timestamp;

use crate::host::Calls;

/// Which pace is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// As configured.
    Ordinary,
    /// Every 20 ms.
    Quick,
    /// Every 5 ms.
    Hasty,
}

/// The pace of one plugin.
pub struct Pace<H> {
    ordinary: Duration,
    now: Needed,
    /// When the next ordinary call is due while the quick ones last.
    due: Timestamp,
    /// When the last quick call came, and by how much such calls come late, in milliseconds, as a moving mean.
    last: Timestamp,
    late: u32,
    host: PhantomData<H>,
}

impl<H: Calls> Pace<H> {
    /// Asks the host for calls at the ordinary pace.
    pub fn new(ordinary: Duration) -> Self {
        let pace = Self {
            ordinary,
            now: Needed::Ordinary,
            due: Timestamp::default(),
            last: Timestamp::default(),
            late: 0,
            host: PhantomData,
        };
        pace.ask();
        pace
    }

    /// Whether calls come at a quicker pace.
    pub fn is_quick(&self) -> bool {
        self.now > Needed::Ordinary
    }

    /// Asks for quicker calls.
    pub fn quicken(&mut self, now: Timestamp) {
        if self.now < Needed::Quick && self.ordinary > QUICK {
            self.change(Needed::Quick, now);
        }
    }

    /// Asks for the quickest calls.
    pub fn hasten(&mut self, now: Timestamp) {
        if self.now < Needed::Hasty && self.ordinary > HASTY {
            self.change(Needed::Hasty, now);
        }
    }

    fn change(&mut self, to: Needed, now: Timestamp) {
        if self.now == Needed::Ordinary {
            self.due = now.plus(self.ordinary);
        }
        self.now = to;
        self.ask();
    }

    /// A call has come. Whether everything is due that the ordinary ones do; quicker ones last while they are `needed`.
    pub fn is_ordinary(&mut self, needed: Needed, now: Timestamp) -> bool {
        if needed < self.now {
            self.now = if self.ordinary > QUICK { needed } else { Needed::Ordinary };
            self.ask();
            if self.now == Needed::Ordinary {
                return true;
            }
        }
        if self.now > Needed::Ordinary && now < self.due {
            return false;
        }
        self.due = now.plus(self.ordinary);
        true
    }

    /// A call has come. Whether such calls come so late that the worker has more to do than it can.
    pub fn is_late(&mut self, now: Timestamp) -> bool {
        let since = now.millis_since(std::mem::replace(&mut self.last, now));
        if self.is_quick() {
            let late = since.saturating_sub(millis(self.period())).min(1000);
            self.late = (self.late * 3 + late * 4) / 4;
        } else {
            self.late = 0;
        }
        self.late / 4 > LATE
    }

    fn period(&self) -> Duration {
        match self.now {
            Needed::Ordinary => self.ordinary,
            Needed::Quick => QUICK,
            Needed::Hasty => HASTY,
        }
    }

    fn ask(&self) {
        H::set_tick_period(millis(self.period()));
    }
}

fn millis(period: Duration) -> u32 {
    u32::try_from(period.as_millis()).unwrap_or(u32::MAX)
}

/// A mean lateness in milliseconds that a core has which is full.
const LATE: u32 = 25;
const QUICK: Duration = Duration::from_millis(20);
const HASTY: Duration = Duration::from_millis(5);

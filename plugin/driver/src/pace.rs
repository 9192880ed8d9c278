//! How often the host calls the VM by time: more often while a stream is to ask the remote store again.

use std::marker::PhantomData;
use std::time::Duration;

use selvage_engine::time::Timestamp;

use crate::host::Calls;

/// The pace of one plugin.
pub struct Pace<H> {
    ordinary: Duration,
    quick: bool,
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
            quick: false,
            due: Timestamp::default(),
            last: Timestamp::default(),
            late: 0,
            host: PhantomData,
        };
        pace.ask();
        pace
    }

    /// Whether calls come at the quicker pace.
    pub const fn is_quick(&self) -> bool {
        self.quick
    }

    /// Asks for quicker calls.
    pub fn quicken(&mut self, now: Timestamp) {
        if !self.quick && self.ordinary > QUICK {
            self.quick = true;
            self.due = now.plus(self.ordinary);
            self.ask();
        }
    }

    /// A call has come. Whether everything is due that the ordinary ones do; quick ones last while `needed`.
    pub fn is_ordinary(&mut self, needed: bool, now: Timestamp) -> bool {
        if self.quick && !needed {
            self.quick = false;
            self.ask();
            return true;
        }
        if self.quick && now < self.due {
            return false;
        }
        self.due = now.plus(self.ordinary);
        true
    }

    /// A call has come. Whether such calls come so late that the worker has more to do than it can.
    pub fn is_late(&mut self, now: Timestamp) -> bool {
        let since = now.millis_since(std::mem::replace(&mut self.last, now));
        if self.quick {
            let late = since.saturating_sub(u32::try_from(QUICK.as_millis()).unwrap_or(u32::MAX)).min(1000);
            self.late = (self.late * 3 + late * 4) / 4;
        } else {
            self.late = 0;
        }
        self.late / 4 > LATE
    }

    fn ask(&self) {
        let period = if self.quick { QUICK } else { self.ordinary };
        H::set_tick_period(u32::try_from(period.as_millis()).unwrap_or(u32::MAX));
    }
}

/// A mean lateness in milliseconds that a core has which is full.
const LATE: u32 = 25;
const QUICK: Duration = Duration::from_millis(20);

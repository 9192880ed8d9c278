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
    host: PhantomData<H>,
}

impl<H: Calls> Pace<H> {
    /// Asks the host for calls at the ordinary pace.
    pub fn new(ordinary: Duration) -> Self {
        let pace = Self { ordinary, quick: false, due: Timestamp::default(), host: PhantomData };
        pace.ask();
        pace
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

    fn ask(&self) {
        let period = if self.quick { QUICK } else { self.ordinary };
        H::set_tick_period(u32::try_from(period.as_millis()).unwrap_or(u32::MAX));
    }
}

const QUICK: Duration = Duration::from_millis(20);

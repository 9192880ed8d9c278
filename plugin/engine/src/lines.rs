//! Keeps lines about what others can bring about from filling the log.

use std::time::Duration;

use crate::time::Timestamp;

/// There is at most one line in this time.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// When there may be a line again, and how many there have not been.
#[derive(Debug, Default)]
pub struct Lines {
    quiet_until: Timestamp,
    left_out: u64,
}

impl Lines {
    /// Whether there is to be a line, and how many there have not been since the last.
    pub fn line(&mut self, now: Timestamp) -> Option<u64> {
        if now < self.quiet_until {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.quiet_until = now.plus(LINE_EVERY);
        Some(std::mem::take(&mut self.left_out))
    }
}

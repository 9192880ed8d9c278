//! Windows of the calendar, in UTC: a day, a week from Monday on, a month.

use crate::config::BudgetWindow;
use crate::time::Timestamp;

/// One window, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// When it began.
    pub from_ms: u64,
    /// When it ends, which is when the next begins.
    pub until_ms: u64,
}

/// The window in which a moment lies.
pub fn window_of(kind: BudgetWindow, now_ms: u64) -> Window {
    let day = now_ms / DAY_MS;
    let (from, until) = match kind {
        BudgetWindow::Day => (day, day + 1),
        BudgetWindow::Week => {
            // 1970 began on a Thursday.
            let since_monday = (day + 3) % 7;
            (day.saturating_sub(since_monday), day + 7 - since_monday)
        }
        BudgetWindow::Month => {
            let (from, until) = Timestamp::from_millis(now_ms).month();
            return Window { from_ms: from.as_millis(), until_ms: until.as_millis() };
        }
    };
    Window { from_ms: from.saturating_mul(DAY_MS), until_ms: until.saturating_mul(DAY_MS) }
}

const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970, by `date -u -d … +%s`.
    #[test]
    fn windows_are_those_of_the_calendar() {
        for (kind, now, from, until) in [
            // 2026-11-30 08:16:21, a Monday.
            (BudgetWindow::Day, 1_796_026_581, 1_795_996_800, 1_796_083_200),
            (BudgetWindow::Week, 1_796_026_581, 1_795_996_800, 1_796_601_600),
            (BudgetWindow::Month, 1_796_026_581, 1_793_491_200, 1_796_083_200),
            // The last second of a Sunday, of a year.
            (BudgetWindow::Week, 1_795_996_799, 1_795_392_000, 1_795_996_800),
            (BudgetWindow::Month, 1_798_761_599, 1_796_083_200, 1_798_761_600),
            // February of 2028, of 2100, and the first days of all.
            (BudgetWindow::Month, 1_835_308_800, 1_832_976_000, 1_835_481_600),
            (BudgetWindow::Month, 4_107_456_000, 4_105_123_200, 4_107_542_400),
            (BudgetWindow::Week, 0, 0, 4 * 86_400),
        ] {
            let window = window_of(kind, now * 1_000);
            assert_eq!((window.from_ms / 1_000, window.until_ms / 1_000), (from, until), "{kind:?} {now}");
        }
        assert!(
            window_of(BudgetWindow::Month, u64::MAX).until_ms
                >= window_of(BudgetWindow::Month, u64::MAX).from_ms
        );
    }
}

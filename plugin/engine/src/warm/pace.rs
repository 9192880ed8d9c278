//! How fast a node warms: one moment in shared data, before which nothing more is sent. Every fetch moves it on.

use std::time::Duration;

use super::TRIES;
use crate::host::wire::take_u64;
use crate::host::{ABSENT, SharedData};
use crate::time::Timestamp;

/// Whether one more fetch may be sent now, at most `per_second`; if so it is counted.
///
/// What was not used of a quarter of a second is not lost: workers look every tick only.
pub fn may_send(data: &mut dyn SharedData, key: &str, per_second: u32, now: Timestamp) -> bool {
    let now = now.as_millis().saturating_mul(1000);
    let each = 1_000_000 / u64::from(per_second.max(1));
    for _ in 0..TRIES {
        let (next, cas) = match data.get(key) {
            None => (0, ABSENT),
            Some((bytes, cas)) => (take_u64(&mut bytes.as_slice()).unwrap_or_default(), cas),
        };
        // A moment far off is of a clock that was set back.
        let next = if next > now.saturating_add(FARTHEST) { now } else { next };
        if next > now {
            return false;
        }
        let after = next.max(now.saturating_sub(SAVED)).saturating_add(each);
        if data.set(key, &after.to_le_bytes(), cas).is_ok() {
            return true;
        }
    }
    false
}

/// The name of the moment in shared data.
pub fn key(namespace: u64) -> String {
    format!("sv1/w/{namespace:016x}")
}

/// Microseconds.
const SAVED: u64 = Duration::from_millis(250).as_micros() as u64;
const FARTHEST: u64 = Duration::from_secs(2).as_micros() as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::node::fake::Fake;

    #[test]
    fn all_workers_together_keep_the_pace() {
        let mut data = Fake::default();
        for per_second in [1, 10, 1000] {
            let key = format!("k{per_second}");
            let mut sent = 0;
            for tick in 0..100 {
                let now = Timestamp::from_millis(1_000_000 + tick * 100);
                while may_send(&mut data, &key, per_second, now) {
                    sent += 1;
                }
            }
            let wanted = per_second * 10;
            assert!((wanted..=wanted + per_second / 4 + 1).contains(&sent), "{per_second}: {sent}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_and_bytes_of_others_do_not_stop_it() {
        let mut data = Fake::default();
        assert!(may_send(&mut data, "k", 1, Timestamp::from_millis(1_000_000)));
        assert!(may_send(&mut data, "k", 1, Timestamp::from_millis(10_000)));
        assert!(!may_send(&mut data, "k", 1, Timestamp::from_millis(10_000)));
        data.put_raw("k", b"x");
        assert!(may_send(&mut data, "k", 1, Timestamp::from_millis(10_000)));
    }
}

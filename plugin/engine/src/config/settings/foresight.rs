//! What the cache tells of what is not usual.

use std::time::Duration;

use super::kinds::{duration, switch, whole};
use super::section;
use crate::config::limits::LIFETIME;
use crate::config::reader::Object;
use crate::config::units::show_duration;
use crate::config::written::quote;
use crate::foresight::change::Wanted;

/// What is told of what is not usual, and of what is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foresight {
    /// Whether it is told that something is not usual. Default: true.
    pub anomalies: bool,
    /// Whether the load of pools is kept by day, and foretold. Default: false.
    pub forecast: bool,
    /// Whether it is told of how much use a larger store would be. Default: false.
    pub stores: bool,
}

section! {
    Foresight {
        anomalies = true, switch(),
            "Whether the log, health and metrics tell when hits, errors, the origin's answers, requests, refusals or spend are not what is usual.";
        forecast = false, switch(),
            "Whether the busiest hour of each pool is kept by day, for 60 days, so that `/.selvage/forecast` tells when the origin will have too much to do.";
        stores = false, switch(),
            "Whether it is kept what left the store to make room (16,384 hashes), so that `/.selvage/forecast` tells how many more hits a larger store would have. Takes 258 KiB of Envoy's shared data, or of each worker where the node has no store.";
    }
}

/// Lifetimes by how often each response changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adaptive {
    /// No lifetime is shorter. Default: 10 s.
    pub min: Duration,
    /// No lifetime is longer. Default: one day.
    pub max: Duration,
    /// Of a hundred answers from the store so many may be out of date. Default: 5.
    pub stale_percent: u8,
    /// What the origin says of lifetimes is passed over too. Default: false.
    pub r#override: bool,
}

section! {
    Adaptive check in_order {
        min = Duration::from_secs(10), duration(1_000..=*LIFETIME.end()), "No such lifetime is shorter; the first ones are this.";
        max = Duration::from_hours(24), duration(1_000..=*LIFETIME.end()), "No such lifetime is longer.";
        stale_percent = 5, whole(1..=50),
            "Of a hundred answers of the rule from the store so many may be out of date; lifetimes are as long as that allows.";
        r#override = false, switch(), "Whether it counts for responses of which the origin says how long they are fresh, too.";
    }
}

fn in_order(adaptive: &mut Adaptive, object: &mut Object<'_, '_>) {
    if adaptive.min <= adaptive.max {
        return;
    }
    // A bound that is not written gives way.
    match (object.has("min"), object.has("max")) {
        (true, true) => {
            let allowed = format!("at most `max`, {}", quote(&show_duration(adaptive.max)));
            object.place_of("min").refuse::<()>(quote(&show_duration(adaptive.min)), allowed);
        }
        (true, false) => adaptive.max = adaptive.min,
        (false, _) => adaptive.min = adaptive.max,
    }
}

impl Adaptive {
    /// As it is worked out.
    pub(crate) fn wanted(&self) -> Wanted {
        let (min, max) = (self.min.as_secs_f64(), self.max.as_secs_f64());
        Wanted { min, max, stale: f64::from(self.stale_percent) / 100.0 }
    }
}

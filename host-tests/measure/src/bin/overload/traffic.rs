//! What is asked of the origin.

use std::{net::SocketAddr, time::Duration};

use selvage_measure::crowd::get_with;
use selvage_measure::open_loop::{Offer, Sample};

/// An answer that comes later is of no use.
pub const DEADLINE: Duration = Duration::from_millis(250);
/// Whoever has no answer after this goes away.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is stored are so many responses.
pub const STORED: usize = 100;

/// Requests of one sort.
#[derive(Clone, Copy)]
pub struct Kind {
    /// In a second, on average.
    pub rate: f64,
    /// Field lines, each with its end.
    pub fields: &'static str,
    /// They are for what is stored.
    pub stored: bool,
}

impl Kind {
    pub const fn new(rate: f64, fields: &'static str) -> Self {
        Self { rate, fields, stored: false }
    }
}

/// Sends this for so long; gives what became of each request.
pub fn offer(address: SocketAddr, kinds: &[Kind], lasting: Duration, seed: u64) -> Vec<Sample> {
    let rates: Vec<f64> = kinds.iter().map(|kind| kind.rate).collect();
    let offered = Offer { addresses: &[address], rates: &rates, patience: PATIENCE, lasting, seed };
    offered.send(&mut |kind, number| {
        let Kind { fields, stored, .. } = kinds[kind];
        let target = if stored { format!("/stored/{}", number % STORED) } else { format!("/own/{number}") };
        get_with(&target, fields)
    })
}

pub fn is_served(sample: &Sample) -> bool {
    sample.status == 200
}

pub fn is_in_time(sample: &Sample) -> bool {
    is_served(sample) && sample.latency <= DEADLINE
}

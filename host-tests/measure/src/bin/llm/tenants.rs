//! Tenants who share nothing unless they are told to, in simulated fleets.

use crate::{Report, seeded};

/// With more than a million questions.
const FLEETS: u64 = 3_000;

const WHAT: &str = "simulated fleets under faults: no tenant gets what another was answered, unless the rule says that they share";

/// Simulates them.
pub fn measure(seed: u64, report: &mut Report) -> Result<(), String> {
    let first = seed.saturating_sub(1).saturating_mul(FLEETS);
    let numbers = [FLEETS.to_string(), first.to_string()];
    let program = [
        "--release",
        "--package",
        "selvage-simulate",
        "--",
        "--tenants",
        "--seeds",
        &numbers[0],
        "--from",
        &numbers[1],
    ];
    seeded::measure(WHAT, "–", &program, report)
}

//! C1: seeded answers through the module, cut anywhere.

use crate::{Report, seeded};

/// Of three answers more than two are streams: of so many more than 10,000.
const ANSWERS: u64 = 14_000;

const WHAT: &str = "seeded answers through the module, cut anywhere: again byte for byte, counted to the token and to 10⁻⁹ of the currency, nothing incomplete stored";

/// Plays them on the host of our own.
pub fn measure(seed: u64, report: &mut Report) -> Result<(), String> {
    let first = seed.saturating_sub(1).saturating_mul(ANSWERS);
    let numbers = [ANSWERS.to_string(), first.to_string()];
    let program = ["--package", "selvage-host", "--example", "answers", "--", &numbers[0], &numbers[1]];
    seeded::measure(WHAT, "LiteLLM: see the bytes of a stream", &program, report)
}

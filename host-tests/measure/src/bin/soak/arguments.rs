//! What the command line says.

use std::time::Duration;

use clap::{Parser, value_parser};
use selvage_rig::arguments::seconds;

/// All of it, with defaults for what it does not say.
#[derive(Parser)]
pub struct Arguments {
    /// How long it lasts, the pauses included, in seconds.
    #[arg(long = "seconds", default_value = "1200", value_parser = seconds(120.0..=86_400.0))]
    pub lasting: Duration,
    /// How long a round of all faults is, about.
    #[arg(long, default_value = "240", value_parser = seconds(120.0..=3600.0))]
    cycle: Duration,
    /// Requests per second.
    #[arg(long, default_value_t = 1500, value_parser = value_parser!(u32).range(10..=20_000))]
    pub rate: u32,
    /// Between pushes of another configuration; none if it is zero.
    #[arg(long, default_value = "60", value_parser = seconds(0.0..=3600.0))]
    pub push: Duration,
    /// Of all chance.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Whether what came of it replaces the committed file.
    #[arg(long)]
    pub write: bool,
}

impl Arguments {
    /// How many rounds of all faults there are.
    pub fn cycles(&self) -> u32 {
        self.lasting.div_duration_f64(self.cycle).round().max(1.0) as u32
    }

    /// How long a round is, its pause included.
    pub fn cycle(&self) -> Duration {
        self.lasting / self.cycles()
    }
}

//! What came of one load.

use std::fmt::Write as _;
use std::time::Duration;

use selvage_measure::measured::{millis, quantile};
use selvage_measure::open_loop::Sample;

/// The head of the table of runs.
pub const HEAD: &str = "| run | offered/s | admitted/s | best and worst second | refused | other status | no answer | p50, p99, longest, ms | sent late p99, ms |\n|---|---|---|---|---|---|---|---|---|\n";

/// Figures of requests.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    pub offered: usize,
    pub admitted: usize,
    pub refused: usize,
    /// With neither 200 nor 429.
    pub other: usize,
    pub unanswered: usize,
    /// Admitted in a whole second: in the best one and in the worst.
    pub best: usize,
    pub worst: usize,
    /// Of all answers, in milliseconds.
    pub p50: f64,
    pub p99: f64,
    pub longest: f64,
    pub late: f64,
}

impl Seen {
    /// Of those that were due in a stretch of time, of one kind or of all.
    pub fn of(samples: &[Sample], kind: Option<usize>, from: Duration, to: Duration) -> Self {
        let of_kind = |sample: &&Sample| kind.is_none_or(|kind| sample.kind == kind);
        let within = samples.iter().filter(|sample| (from..to).contains(&sample.due)).filter(of_kind);
        let chosen: Vec<&Sample> = within.collect();
        let count = |status: u16| chosen.iter().filter(|sample| sample.status == status).count();
        let mut seconds = vec![0_usize; (to - from).as_secs() as usize];
        for sample in chosen.iter().filter(|sample| sample.status == 200) {
            if let Some(count) = seconds.get_mut((sample.due - from).as_secs() as usize) {
                *count += 1;
            }
        }
        let mut latencies: Vec<f64> =
            chosen.iter().filter(|sample| sample.status != 0).map(|sample| millis(sample.latency)).collect();
        let mut late: Vec<f64> = chosen.iter().map(|sample| millis(sample.late)).collect();
        let (admitted, refused, unanswered) = (count(200), count(429), count(0));
        Self {
            offered: chosen.len(),
            admitted,
            refused,
            other: chosen.len() - admitted - refused - unanswered,
            unanswered,
            best: seconds.iter().copied().max().unwrap_or_default(),
            worst: seconds.iter().copied().min().unwrap_or_default(),
            p50: quantile(&mut latencies, 0.5),
            p99: quantile(&mut latencies, 0.99),
            longest: quantile(&mut latencies, 1.0),
            late: quantile(&mut late, 0.99),
        }
    }

    /// A line of the table of runs.
    pub fn line(&self, title: &str, lasting: Duration) -> String {
        let seconds = lasting.as_secs_f64();
        let mut out = String::new();
        let _ = writeln!(
            out,
            "| {title} | {:.0} | {:.1} | {}, {} | {} | {} | {} | {:.1}, {:.1}, {:.1} | {:.1} |",
            self.offered as f64 / seconds,
            self.admitted as f64 / seconds,
            self.best,
            self.worst,
            self.refused,
            self.other,
            self.unanswered,
            self.p50,
            self.p99,
            self.longest,
            self.late
        );
        out
    }
}

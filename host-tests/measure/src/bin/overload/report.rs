//! The tables.

use std::fmt::Write;

use selvage_measure::targets::{Row, Targets};

use crate::run::Run;
use crate::seen::Seen;
use crate::servers::{SERVERS, SERVICE, SPREAD};
use crate::traffic::DEADLINE;

/// All that was measured.
#[derive(Default)]
pub struct Report {
    targets: Targets,
    runs: String,
    /// Of the pools' gauges at the end of each run.
    left: Vec<u64>,
}

impl Report {
    /// Adds a target.
    pub fn row(&mut self, row: Row) {
        self.targets.row(row);
    }

    /// Adds a run, with the figures of each group of kinds by name.
    pub fn run(&mut self, run: &Run, groups: &[(&str, &[usize])]) {
        for (name, kinds) in groups {
            let title = [run.title.as_str(), *name].join(if name.is_empty() { "" } else { ": " });
            self.runs += &line(&title, &run.seen(kinds), &run.limits);
        }
        self.close(&run.title, run.left, run.unsound.clone());
    }

    /// Notes what was left at a run's end.
    pub fn close(&mut self, title: &str, left: Option<u64>, unsound: Option<String>) {
        self.left.extend(left);
        self.targets.unsound(title, unsound);
    }

    /// Whether nothing was missed.
    pub fn all_met(&self) -> bool {
        self.targets.all_met() && self.nothing_left()
    }

    fn nothing_left(&self) -> bool {
        self.left.iter().all(|left| *left == 0)
    }

    /// The tables as Markdown.
    pub fn render(&self, head: &str) -> String {
        let mut out = format!(
            "# An origin that is asked for too much\n\n{head}. Load, origin and Envoy share the cores.\n\n\
             The origin has {SERVERS} servers that take {} ms ± {:.0} % for a request each, first come first served: {:.0}/s. Requests come\n\
             as an open loop (Poisson); an answer after more than {} ms is of no use. In time: 200 within that. All answers are\n\
             `no-store` and all paths distinct, unless stored ones are spoken of. `adaptive_concurrency` is Envoy's own, with its least\n\
             latency measured every 10 s.\n\n{}",
            SERVICE.as_millis(),
            SPREAD * 100.0,
            SERVERS as f64 / SERVICE.as_secs_f64(),
            DEADLINE.as_millis(),
            self.targets.render(),
        );
        let sum: u64 = self.left.iter().sum();
        let verdict = if self.nothing_left() { "ok" } else { "**missed**" };
        let _ = writeln!(
            out,
            "| all | pools' gauges in flight and waiting, after each of {} runs | 0 | {sum} | – | {verdict} |",
            self.left.len()
        );
        out.push_str(
            "\n| run | offered/s | in time/s | worst second | p50, p99 of 200, ms | 200 | other status | no answer | limit | sent late p99, ms |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        out + &self.runs
    }
}

fn line(title: &str, seen: &Seen, limits: &[u64]) -> String {
    let limit = match (limits.iter().min(), limits.iter().max()) {
        (Some(least), Some(most)) => {
            let mean = limits.iter().sum::<u64>() as f64 / limits.len() as f64;
            format!("{least}–{most}, mean {mean:.1}")
        }
        _ => "–".to_owned(),
    };
    format!(
        "| {title} | {:.0} | {:.1} | {:.0} | {:.0}, {:.0} | {:.2} % | {:.2} % | {:.2} % | {limit} | {:.1} |\n",
        seen.offered,
        seen.in_time,
        seen.worst,
        seen.p50,
        seen.p99,
        seen.served,
        seen.refused,
        seen.unanswered,
        seen.late
    )
}

//! What came of it, as Markdown.

use std::{collections::BTreeMap, fmt::Write};

use selvage_measure::measured::verdict;

use crate::samples::Sample;
use crate::traffic::{OBJECTS, SKEW};
use crate::verdict::{MIB, Pause, rules};

/// Between rows, in samples.
const ROW: usize = 3;
/// Columns and lines of a curve.
const WIDTH: usize = 80;
const LINES: usize = 8;

/// All that is to be told.
pub struct Report<'a> {
    /// What was run and where.
    pub facts: String,
    /// Every ten seconds.
    pub samples: &'a [Sample],
    /// At each round's end.
    pub pauses: &'a [Pause],
    /// What is not as it should be.
    pub faults: &'a [String],
}

/// The head of the table of moments.
pub const HEAD: &str = "| s | | req/s | hits, % | heap, MiB | RSS, MiB | Envoy's own, MiB | contexts | streams | held | waiters | fills | calls | \
     filling, kB | queues | entries w, n | evicted/s | left alone r, o | clients left | excused | failures |\n\
     |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// A moment, compared with an earlier one.
pub fn row(earlier: &Sample, sample: &Sample) -> String {
    let seconds = (sample.at - earlier.at).as_secs_f64().max(0.001);
    let (from, to) = (&earlier.tally, &sample.tally);
    let since = |of: fn(&crate::load::Tally) -> u64| of(to) - of(from);
    let live = |what: &str| count(&sample.live, what);
    let failures = |tally: &crate::load::Tally| tally.faults.values().sum::<u64>();
    format!(
        "| {:.0} | {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {} | {} | {} | {:.0} | {} | {}, {} | {:.0} | {}, {} | {} | {} | {} |\n",
        sample.at.as_secs_f64(),
        sample.state,
        since(|tally| tally.asked) as f64 / seconds,
        since(|tally| tally.hits) as f64 * 100.0 / since(|tally| tally.lookups).max(1) as f64,
        sample.memory.heap / MIB,
        sample.memory.resident / MIB,
        sample.memory.allocated / MIB,
        live("contexts"),
        live("streams"),
        live("held"),
        live("waiters"),
        live("fills"),
        live("remote-calls") + live("refresh-calls"),
        live("filling-bytes") / 1000.0,
        sample.queues.values().sum::<f64>(),
        count(&sample.entries, "worker"),
        count(&sample.entries, "node"),
        (sample.evicted - earlier.evicted) / seconds,
        sample.open[0],
        sample.open[1],
        since(|tally| tally.left),
        since(|tally| tally.excused),
        failures(to) - failures(from),
    )
}

fn count(of: &BTreeMap<String, f64>, what: &str) -> f64 {
    of.get(what).copied().unwrap_or_default()
}

impl Report<'_> {
    /// The whole.
    pub fn render(&self) -> String {
        let mut text = format!(
            "# A soak\n\n{}\n\n\
             A load that waits for nothing, by Zipf {SKEW} over {OBJECTS} objects of 1 to 100 kB that the stores (16 MiB for each worker and for the node)\n\
             cannot hold, and a tenth as much on a second plugin; another configuration every minute; with variants, HEAD, ranges, conditions, POST with and without a keyed body, what is uncacheable, clients that go\n\
             away, operators' questions and a purge a second; in each round every fault in turn for a part of the time, then a pause.\n\
             {}\n\nVerdict: {}\n\n",
            self.facts,
            rules(),
            verdict(self.faults)
        );
        text += "## The rounds' ends\n\n\
                 | round | heap, MiB | RSS, MiB | Envoy's own, MiB | stores full, % | all back to 0 after, s | left over | not recovered from |\n\
                 |---|---|---|---|---|---|---|---|\n";
        for (round, pause) in (1..).zip(self.pauses) {
            let memory = pause.memory;
            let [heap, resident, allocated] =
                [memory.heap, memory.resident, memory.allocated].map(|bytes| bytes / MIB);
            let _ = writeln!(
                text,
                "| {round} | {heap:.1} | {resident:.1} | {allocated:.1} | {:.0} | {:.1} | {} | {} |",
                pause.full * 100.0,
                pause.took,
                named(&pause.leftovers),
                named(&pause.lasting)
            );
        }
        for (what, of) in [("The VMs' heap", heap as fn(&Sample) -> f64), ("Resident memory", resident)] {
            let values: Vec<f64> = self.samples.iter().map(of).collect();
            let last = self.samples.last().map_or(0.0, |sample| sample.at.as_secs_f64());
            let _ = writeln!(text, "\n## {what}, MiB, over {last:.0} s\n\n```\n{}```", curve(&values));
        }
        if let Some(sample) = self.samples.last() {
            let tally = &sample.tally;
            let _ = writeln!(
                text,
                "\n{} requests, {} of them answered by the cache; {} purges and warmings; {} clients that went away; {} errors excused by\n\
                 the origin's trouble; {} requests not sent; {:.0} responses evicted.",
                tally.asked,
                tally.hits,
                tally.purges,
                tally.left,
                tally.excused,
                tally.unsent,
                sample.evicted
            );
        }
        text += "\n## The moments\n\n\"Left alone\" are workers that do without the remote store, and origins. A pause's figures are those of its end.\n\n";
        text += HEAD;
        let mut earlier = &Sample::default();
        for (nth, sample) in (1..).zip(self.samples) {
            if nth % ROW == 0 || sample.state == "pause" {
                text += &row(earlier, sample);
                earlier = sample;
            }
        }
        text
    }
}

fn heap(sample: &Sample) -> f64 {
    sample.memory.heap / MIB
}

fn resident(sample: &Sample) -> f64 {
    sample.memory.resident / MIB
}

fn named(list: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Values in their order from left to right, from 0 to the largest.
fn curve(values: &[f64]) -> String {
    let most = values.iter().copied().fold(1.0, f64::max);
    let columns = WIDTH.min(values.len());
    let column = |nth: usize| {
        let part = &values[nth * values.len() / columns..(nth + 1) * values.len() / columns];
        part.iter().copied().fold(0.0, f64::max)
    };
    let mut text = String::new();
    for line in (1..=LINES).rev() {
        let (above, step) = (most * (line - 1) as f64 / LINES as f64, most / LINES as f64);
        let _ = write!(text, "{:7.1} |", most * line as f64 / LINES as f64);
        for nth in 0..columns {
            let part = (column(nth) - above) / step;
            text.push(if part > 0.66 {
                '#'
            } else if part > 0.33 {
                '='
            } else if part > 0.0 {
                '_'
            } else {
                ' '
            });
        }
        text = text.trim_end().to_owned() + "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_its_largest_value_at_the_top_and_time_from_left_to_right() {
        let curve = curve(&[4.0, 8.0, 2.0, 1.0]);
        let lines: Vec<&str> = curve.lines().collect();
        assert_eq!(lines[0], "    8.0 | #");
        assert_eq!(lines[4], "    4.0 |##");
        assert_eq!(lines[7], "    1.0 |####");
    }
}

//! What a run measured, what it should have, and what an earlier one did.

use clap::Args;
use selvage_rig::arguments::number;
use serde_json::{Map, Value, json};

use crate::arguments::Plan;

/// The bounds; one that is missing is not judged.
#[derive(Args)]
pub struct Targets {
    /// `off`: none but those that are given.
    #[arg(long = "targets", value_parser = ["off"])]
    none: Option<String>,
    #[arg(long, value_parser = bound)]
    p95: Option<Bound>,
    #[arg(long, value_parser = bound)]
    rate: Option<Bound>,
    #[arg(long, value_parser = bound)]
    hit_rate: Option<Bound>,
    #[arg(long, value_parser = bound)]
    memory: Option<Bound>,
    #[arg(long, value_parser = bound)]
    failures: Option<Bound>,
}

/// `None` for `off`.
type Bound = Option<f64>;

fn bound(value: &str) -> Result<Bound, String> {
    if value == "off" {
        return Ok(None);
    }
    number(0.0..=1e9)(value).map(Some).map_err(|wanted| format!("'off', or {wanted}"))
}

/// What a run measured.
pub struct Figures {
    /// Answers a second.
    pub rate: f64,
    /// Latencies in milliseconds, from when a request was due to its last byte.
    pub p50: f64,
    /// 95 of 100 are below.
    pub p95: f64,
    /// 99 of 100 are.
    pub p99: f64,
    /// The longest.
    pub longest: f64,
    /// Percent of all requests but purges that the cache answered.
    pub hit_rate: f64,
    /// Percent of all requests.
    pub failures: f64,
    /// The most memory of the Envoy that was resident, in MiB, if it is known.
    pub memory: Option<f64>,
    /// Envoy's processor time for a request, in microseconds, if it is known. Others on the machine do not change it much.
    pub envoy: Option<f64>,
    /// The same of the users and the origin.
    pub users: Option<f64>,
}

/// A figure as the table has it.
struct Row {
    name: &'static str,
    unit: &'static str,
    value: Option<f64>,
    /// Its bound, and whether more is better.
    bound: Option<f64>,
    more_is_better: bool,
    /// A difference from the baseline that is too small to matter. The longest of all is chance, and shown only.
    slight: f64,
    decimals: usize,
}

impl Targets {
    /// The table, and what in it is not as it should be. A figure may be worse than the baseline's by `tolerance` percent.
    pub fn judge(
        &self,
        figures: &Figures,
        baseline: Option<&Value>,
        tolerance: f64,
    ) -> (String, Vec<String>) {
        let mut faults = Vec::new();
        let compared = if baseline.is_some() { (" earlier | change |", "---|---|") } else { ("", "") };
        let mut table = format!("| | measured | target |{} |\n|---|---|---|{}---|\n", compared.0, compared.1);
        for row in self.rows(figures) {
            let Some(value) = row.value else {
                // Unknown is not within bounds.
                if row.bound.is_some() {
                    faults.push(format!("{} is unknown", row.name));
                }
                table += &format!("| {} | unknown | |\n", row.name);
                continue;
            };
            let mut verdict = "";
            let target = row.bound.map_or_else(String::new, |bound| {
                let kept = if row.more_is_better { value > bound } else { value < bound };
                verdict = if kept { "ok" } else { "**missed**" };
                if !kept {
                    faults.push(format!("{} is {}", row.name, row.shown(value)));
                }
                format!("{} {bound}{}", if row.more_is_better { '>' } else { '<' }, row.unit)
            });
            let mut change = String::new();
            if let Some(baseline) = baseline {
                let earlier = baseline.get("figures").and_then(|figures| figures.get(row.name)?.as_f64());
                change = earlier.map_or_else(
                    || " | |".to_owned(),
                    |earlier| {
                        let percent = (value - earlier) / earlier.abs().max(f64::MIN_POSITIVE) * 100.0;
                        let worse = if row.more_is_better { -percent } else { percent };
                        if worse > tolerance && (value - earlier).abs() > row.slight {
                            verdict = "**worse**";
                            faults.push(format!("{} was {}", row.name, row.shown(earlier)));
                        }
                        let percent = if earlier == 0.0 { String::new() } else { format!("{percent:+.1} %") };
                        format!(" {} | {percent} |", row.shown(earlier))
                    },
                );
            }
            table += &format!("| {} | {} | {target} |{change} {verdict} |\n", row.name, row.shown(value));
        }
        (table, faults)
    }

    fn rows(&self, figures: &Figures) -> [Row; 10] {
        let wanted = |given: Option<Bound>, usual: f64| given.unwrap_or(self.none.is_none().then_some(usual));
        let row = |name, unit, value, bound, more_is_better, slight, decimals| Row {
            name,
            unit,
            value,
            bound,
            more_is_better,
            slight,
            decimals,
        };
        [
            row("requests/s", "", Some(figures.rate), wanted(self.rate, 15_000.0), true, 0.0, 0),
            row("p50", " ms", Some(figures.p50), None, false, 1.0, 2),
            row("p95", " ms", Some(figures.p95), wanted(self.p95, 100.0), false, 1.0, 2),
            row("p99", " ms", Some(figures.p99), None, false, 2.0, 2),
            row("longest", " ms", Some(figures.longest), None, false, f64::INFINITY, 1),
            row("hit rate", " %", Some(figures.hit_rate), wanted(self.hit_rate, 90.0), true, 0.5, 2),
            row("failures", " %", Some(figures.failures), wanted(self.failures, 0.1), false, 0.01, 4),
            row("resident memory", " MiB", figures.memory, wanted(self.memory, 512.0), false, 8.0, 0),
            row("Envoy's processor time a request", " µs", figures.envoy, None, false, 2.0, 1),
            row("the users' and the origin's", " µs", figures.users, None, false, f64::INFINITY, 1),
        ]
    }

    /// What `--save` writes.
    pub fn saved(&self, figures: &Figures, plan: &Plan) -> Value {
        let rows = self.rows(figures).into_iter();
        let figures: Map<String, Value> = rows.map(|row| (row.name.to_owned(), json!(row.value))).collect();
        json!({ "selvage_load": 1, "plan": described(plan), "figures": figures })
    }
}

impl Row {
    fn shown(&self, value: f64) -> String {
        format!("{value:.*}{}", self.decimals, self.unit)
    }
}

/// What two runs must have in common to be compared.
pub fn described(plan: &Plan) -> Value {
    json!({
        "connections": plan.connections,
        "seconds": plan.lasting.as_secs_f64(),
        "ramp": plan.ramp.as_secs_f64(),
        "think_ms": plan.think.as_secs_f64() * 1000.0,
        "objects": plan.objects,
        "skew": plan.skew,
        "seed": plan.seed,
        "uncacheable": plan.uncacheable,
        "purges": plan.purges,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Given {
        #[command(flatten)]
        targets: Targets,
    }

    fn targets(words: &[&str]) -> Targets {
        <Given as clap::Parser>::parse_from([&["load"], words].concat()).targets
    }

    fn figures() -> Figures {
        Figures {
            rate: 16_000.0,
            p50: 1.0,
            p95: 20.0,
            p99: 40.0,
            longest: 90.0,
            hit_rate: 95.0,
            failures: 0.0,
            memory: Some(200.0),
            envoy: Some(40.0),
            users: Some(10.0),
        }
    }

    #[test]
    fn a_figure_out_of_bounds_is_a_fault_and_so_is_an_unknown_one() {
        assert!(targets(&[]).judge(&figures(), None, 20.0).1.is_empty());
        let slow = Figures { p95: 100.0, rate: 15_000.0, memory: None, ..figures() };
        let (table, faults) = targets(&[]).judge(&slow, None, 20.0);
        assert_eq!(faults, ["requests/s is 15000", "p95 is 100.00 ms", "resident memory is unknown"]);
        assert!(table.contains("| p95 | 100.00 ms | < 100 ms | **missed** |"), "{table}");
        assert!(targets(&["--targets", "off"]).judge(&slow, None, 20.0).1.is_empty());
        let one = targets(&["--targets", "off", "--p95", "50"]).judge(&slow, None, 20.0).1;
        assert_eq!(one, ["p95 is 100.00 ms"]);
    }

    #[test]
    fn what_is_worse_than_the_baseline_by_more_than_the_tolerance_is_a_fault() {
        let baseline = json!({ "figures": { "requests/s": 20_000.0, "p95": 19.5, "hit rate": 90.0 } });
        let (table, faults) = targets(&["--targets", "off"]).judge(&figures(), Some(&baseline), 10.0);
        assert_eq!(faults, ["requests/s was 20000"]);
        assert!(table.contains("| requests/s | 16000 |  | 20000 | -20.0 % | **worse** |"), "{table}");
        assert!(targets(&["--targets", "off"]).judge(&figures(), Some(&baseline), 25.0).1.is_empty());
    }
}

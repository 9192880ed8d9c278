//! What is expected of each row, and the table.

use std::{fmt::Write, time::Duration};

use selvage_measure::measured::{Phase, counted, verdict};

use crate::load::RATE;
use crate::measure::Measured;
use crate::rows::Fault;

/// `remote.timeout` of the filter, in milliseconds.
const DEADLINE: f64 = 50.0;
/// How much longer than without Redis, beside the deadline, the 99th percentile may be.
const SLACK: f64 = 20.0;
const RECOVERY_SECONDS: f64 = 5.0;
/// How long operators wait to be told that writes are refused, and the other Envoy for purges once they are taken again.
const KNOWN_SECONDS: f64 = 10.0;
const ARRIVED_SECONDS: f64 = 10.0;
/// A row says nothing unless so many requests asked the remote store before the fault.
const LEAST_ASKED: f64 = 0.1;

/// What is wrong with a row. `baseline` is the 99th percentile without Redis.
pub fn faults(row: &Measured, baseline: f64) -> Vec<String> {
    let mut faults: Vec<String> =
        row.errors.iter().map(|(problem, count)| format!("{count} client errors: {problem}")).collect();
    faults.extend(row.unsound.clone());
    if row.fault == Fault::NoRemote {
        return faults;
    }
    for (name, phase) in [("during", &row.during), ("after", &row.after)] {
        let more = phase.p99 - baseline;
        if more > DEADLINE + SLACK {
            faults.push(format!(
                "p99 {name} is {more:.0} ms above the baseline's, allowed {}",
                DEADLINE + SLACK
            ));
        }
    }
    match row.recovery {
        None => faults.push("the remote store was not used again".to_owned()),
        Some(time) if time.as_secs_f64() > RECOVERY_SECONDS => {
            faults.push(format!("used again after {:.1} s, allowed {RECOVERY_SECONDS}", time.as_secs_f64()));
        }
        Some(_) => {}
    }
    if let Some(purges) = &row.purges {
        faults.extend(purges.wrong.iter().map(|said| format!("a purge was answered {said}")));
        for (what, after, most) in [
            ("health knew", purges.health, KNOWN_SECONDS),
            ("the alert's expression held", purges.alert, KNOWN_SECONDS),
            ("all purges had arrived", purges.arrived, ARRIVED_SECONDS),
            ("health was well again", purges.well, ARRIVED_SECONDS),
        ] {
            if after.is_none_or(|after| after.as_secs_f64() > most) {
                faults.push(format!("{what} after {}, allowed {most} s", seconds(after)));
            }
        }
    }
    if row.asked.0 < LEAST_ASKED {
        faults.push(format!("only {:.0} % of requests asked the remote store before", row.asked.0 * 100.0));
    }
    faults
}

/// The baseline's 99th percentile, in milliseconds: its longest phase.
pub fn baseline(rows: &[Measured]) -> f64 {
    rows.iter().find(|row| row.fault == Fault::NoRemote).map_or(0.0, |row| row.during.p99)
}

/// The Markdown table. `facts` says where it was made.
pub fn render(rows: &[Measured], facts: &str) -> String {
    let baseline = baseline(rows);
    let mut text = format!(
        "# What faults of the remote store cost clients\n\n{facts}\n\n\
         {RATE} requests/s that wait for nothing, by a Zipf choice over 3000 objects of 2 kB with lifetimes of 3 to 6 s, 5 % of them\n\
         `no-store`; every body is compared. `worker.bytes` and `node.bytes` are so small that most requests need the remote store.\n\
         Latency counts from the moment at which a request was to be sent; `remote.timeout` is {DEADLINE} ms.\n\
         Expected: no client error; p99 during and after at most {} ms above the p99 without Redis ({baseline:.1} ms); used again\n\
         within {RECOVERY_SECONDS} s of the fault's end.\n\n\
         | fault | s | requests | client errors | before p50, p99 | during p50, p99 | after p50, p99 | p99 above baseline | used again after | asked before, during | verdict |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        DEADLINE + SLACK
    );
    for row in rows {
        let remote = row.fault != Fault::NoRemote;
        let _ = writeln!(
            text,
            "| {} | {:.1} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.title,
            row.lasted.as_secs_f64(),
            row.requests,
            row.errors.values().sum::<usize>(),
            latencies(&row.before),
            latencies(&row.during),
            latencies(&row.after),
            if remote { format!("{:+.1}", row.during.p99 - baseline) } else { String::new() },
            match row.recovery {
                _ if !remote || row.fault == Fault::Healthy => String::new(),
                Some(time) => format!("{:.2} s", time.as_secs_f64()),
                None => "never".to_owned(),
            },
            if remote {
                format!("{:.0} %, {:.0} %", row.asked.0 * 100.0, row.asked.1 * 100.0)
            } else {
                String::new()
            },
            verdict(&faults(row, baseline)),
        );
    }
    text.push_str(
        "\nLatencies in ms. \"Asked\" are lookups for each request. The counters are exported now and then, so some of them count\n\
         what was just before. What was said during the fault, and what was counted:\n\n\
         | fault | `Cache-Status` | `wasmcustom.selvage.*` | longest, ms | Envoy, MiB |\n|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} | {} |",
            row.title,
            row.during.commonest(),
            counted(&row.moved),
            row.during.longest,
            row.resident_mib
        );
    }
    text.push_str(
        "\nWhile Redis refused writes there was a purge a second. Times from the fault's beginning until `health` said\n\
         `remote-writes-refused` and the alert's expression held, and from its end until another Envoy on the same Redis had heard of\n\
         every purge and `health` was well:\n\n\
         | fault | purges | health knew after | alert's expression | all arrived after | well after |\n|---|---|---|---|---|---|\n",
    );
    for (row, purges) in rows.iter().filter_map(|row| Some((row, row.purges.as_ref()?))) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.title,
            purges.count,
            seconds(purges.health),
            seconds(purges.alert),
            seconds(purges.arrived),
            seconds(purges.well)
        );
    }
    let late = rows.iter().map(|row| row.late).max().unwrap_or_default();
    let _ = writeln!(
        text,
        "\n99 of 100 requests were sent at most {:.1} ms late (in the worst row), which is in the latencies.",
        late.as_secs_f64() * 1000.0
    );
    text
}

fn latencies(phase: &Phase) -> String {
    format!("{:.1}, {:.1}", phase.p50, phase.p99)
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}

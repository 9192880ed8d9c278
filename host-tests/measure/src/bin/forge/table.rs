//! What came of it, as Markdown.

use std::{fmt::Write, time::Duration};

use selvage_measure::forged::{Moment, Outcome, TIMEOUT, WAIT, longest_allowed};
use selvage_measure::measured::{counted, verdict};

/// The whole file.
pub fn render(outcome: &Outcome, facts: &str) -> String {
    let (told, tally) = (&outcome.told, &outcome.tally);
    let forged = told.all_forged();
    let late = outcome.moved.get("remote.timeout").copied().unwrap_or_default();
    let seconds = outcome.lasted.as_secs_f64();
    let mut text = String::from("# A Redis in hostile hands\n\n");
    let _ = writeln!(text, "{facts}.\n");
    let _ = writeln!(
        text,
        "A bridge answers nearly every lookup with a record that is forged out of what Envoy itself wrote under that key, with both\n\
         checksums right, and the log of purges with forged entries. Stores are too small to keep anything for long; clients ask for\n\
         whole responses, parts, heads and with conditions. Whoever writes to Redis is trusted with content, so a forged response\n\
         that is well-formed may be served; what is an error is anything that is no HTTP for the request, any failure of Envoy's own,\n\
         and whatever comes later than `remote.timeout` × 2 + `coalesce.wait` ({} × 2 + {} ms) and 250 ms for the machine.\n",
        TIMEOUT.as_millis(),
        WAIT.as_millis(),
    );
    let _ = writeln!(text, "| | measured | allowed | |\n|---|---|---|---|");
    let mut row = |what: &str, measured: String, allowed: &str, sound: bool| {
        let verdict = if sound { "ok" } else { "**not so**" };
        let _ = writeln!(
            text,
            "| {what} | {measured} | {allowed} | {} |",
            if allowed.is_empty() { "" } else { verdict }
        );
    };
    row("lasted", format!("{seconds:.0} s"), "", true);
    row(
        "forged answers",
        format!("{} ({:.0} a second)", thousands(forged), forged as f64 / seconds),
        "",
        true,
    );
    row("of them, or of others, later than `remote.timeout`", thousands(late), "", true);
    row(
        "lookups answered with nothing; honestly",
        format!("{}; {}", thousands(told.absent), thousands(told.honest)),
        "",
        true,
    );
    row("records that Envoy wrote", thousands(told.written), "", true);
    row("requests", thousands(tally.requests), "", true);
    row("got what the origin has", thousands(tally.origins), "", true);
    row("got a forged response that is well-formed", thousands(tally.accepted), "some", tally.accepted > 0);
    row("client errors", errors(outcome), "none", tally.all_errors() == 0);
    let longest = tally.longest.0;
    let allowed = format!("{} ms", longest_allowed().as_millis());
    row("longest request", format!("{} ms", longest.as_millis()), &allowed, longest <= longest_allowed());
    let traps = outcome.faults.iter().filter(|fault| fault.contains("VMs anew")).count();
    row("VMs that trapped or were loaded anew", traps.to_string(), "0", traps == 0);
    let (purges, refused) = outcome.purges;
    row("operators' purges, and refused ones", format!("{purges}, {refused}"), "0 refused", refused == 0);
    for (when, moment) in moments(outcome) {
        let measured =
            format!("{} (Envoy: {} resident)", mebibytes(moment.heap), mebibytes(moment.resident as f64));
        let bracket = mebibytes(moment.bracket());
        row(&format!("heap of the VMs, {when}"), measured, &bracket, moment.heap <= moment.bracket());
    }
    let of = |words: &[&str]| {
        let named = |name: &String| words.iter().any(|word| name.starts_with(word));
        counted(
            &outcome
                .moved
                .iter()
                .filter(|(name, _)| named(name))
                .map(|(name, by)| (name.clone(), *by))
                .collect(),
        )
    };
    let kinds = told.forged.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    let _ = writeln!(text, "\n**Forged**, by what was changed last: {}.", counted(&kinds));
    let _ = writeln!(text, "\n**Counted** of lookups: {}.", of(&["remote.", "event.", "breaker."]));
    let _ = writeln!(text, "\n**Of purges**: {}.", of(&["purge."]));
    let _ = writeln!(text, "\n**Of requests**: {}.", of(&["requests.", "coalesce."]));
    let _ = writeln!(text, "\n**All in all**: {}.", verdict(&outcome.faults));
    text
}

fn errors(outcome: &Outcome) -> String {
    let all: Vec<String> =
        outcome.tally.errors.iter().map(|(problem, (count, _))| format!("{count} × {problem}")).collect();
    if all.is_empty() { "0".to_owned() } else { all.join(", ") }
}

/// The first, the one after a minute, the largest and the last.
fn moments(outcome: &Outcome) -> Vec<(&'static str, &Moment)> {
    let moments = &outcome.moments;
    let minute = moments.iter().find(|moment| moment.at >= Duration::from_secs(60));
    let largest = moments.iter().max_by(|one, other| one.heap.total_cmp(&other.heap));
    let named = [
        ("after 5 s", moments.first()),
        ("after a minute", minute),
        ("the most", largest),
        ("at the end", moments.last()),
    ];
    named.into_iter().filter_map(|(when, moment)| Some((when, moment?))).collect()
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

/// `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
    parts.join(",")
}

//! What is tried, and what is wanted of it.

use std::time::Duration;

use selvage_measure::targets::Row;

use crate::cost;
use crate::report::Report;
use crate::run::{Offer, Run, WARM_UP};
use crate::seen::settled;
use crate::subjects::Subject;
use crate::traffic::Kind;

/// What the command line calls them.
pub const NAMES: [&str; 7] = ["a1", "a2", "a3", "a4", "a5", "a6", "stale"];

/// Limits that stay, of which the best is what a found one is held against.
const FIXED: [u32; 3] = [8, 10, 12];
const ALL: &[(&str, &[usize])] = &[("", &[])];
const HIGH: &str = "x-class: high\r\n";
const LOW: &str = "x-class: low\r\n";
/// A limit has settled within so many seconds.
const SETTLED: f64 = 5.0;
/// When as much is answered in time as this part of what the best limit that stays makes of the phase.
const SETTLED_PART: f64 = 0.9;
/// A phase needs time to settle and to go on.
const SHORTEST_PHASE: Duration = Duration::from_secs(10);

/// Plays one and adds what came of it.
pub fn play(name: &str, lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    match name {
        "a1" => tenfold(lasting, seed, report),
        "a2" => below_capacity(lasting, seed, report),
        "a3" => classes(lasting, seed, report),
        "a4" => slower(lasting, seed, report),
        "a5" => fairness(lasting, seed, report),
        "a6" => cost::measure(lasting, report),
        _ => stale(lasting, seed, report),
    }
}

/// A1: ten times what the origin can serve.
fn tenfold(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    let kinds = [Kind::new(2_000.0, "")];
    let offered = Offer { kinds: &kinds, lasting, slow: None, seed };
    let mut best = (0, 0.0, 0.0);
    for limit in FIXED {
        let run = Run::of(&format!("A1, limit {limit}"), &Subject::fixed(limit), &offered)?;
        let seen = run.seen(&[]);
        if seen.in_time > best.1 {
            best = (limit, seen.in_time, seen.worst);
        }
        report.run(&run, ALL);
    }
    let found = Run::of("A1, found limit", &Subject::found(), &offered)?;
    let adaptive = Run::of("A1, `adaptive_concurrency`", &Subject::Adaptive, &offered)?;
    let unlimited = Run::of("A1, no limit", &Subject::Unlimited, &offered)?;
    for run in [&found, &adaptive, &unlimited] {
        report.run(run, ALL);
    }
    let [ours, theirs, none] = [&found, &adaptive, &unlimited].map(|run| run.seen(&[]));
    let (limit, goodput, worst) = best;
    let part = |value: f64| 100.0 * value / goodput.max(1.0);
    report.row(Row {
        scenario: "A1",
        what: "2,000/s: answered in time".into(),
        target: format!("≥ 97 % of the best fixed limit ({limit}: {goodput:.1}/s)"),
        measured: format!("{:.1}/s, {:.1} %", ours.in_time, part(ours.in_time)),
        peer: format!("`adaptive_concurrency` {:.1}/s, no limit {:.1}/s", theirs.in_time, none.in_time),
        met: part(ours.in_time) >= 97.0,
    });
    report.row(Row {
        scenario: "A1",
        what: "the same in the worst second".into(),
        target: "≥ 90 % of the best fixed limit's mean".into(),
        measured: format!("{:.0}/s, {:.1} %", ours.worst, part(ours.worst)),
        peer: format!(
            "limit {limit} {worst:.0}, `adaptive_concurrency` {:.0}, no limit {:.0}",
            theirs.worst, none.worst
        ),
        met: part(ours.worst) >= 90.0,
    });
    Ok(())
}

/// A2: four fifths of what the origin can serve, for long.
fn below_capacity(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    let kinds = [Kind::new(160.0, "")];
    let offered = Offer { kinds: &kinds, lasting: lasting * 5, slow: None, seed };
    let found = Run::of("A2, found limit", &Subject::found(), &offered)?;
    let adaptive = Run::of("A2, `adaptive_concurrency`", &Subject::Adaptive, &offered)?;
    report.run(&found, ALL);
    report.run(&adaptive, ALL);
    let [ours, theirs] = [&found, &adaptive].map(|run| run.seen(&[]));
    report.row(Row {
        scenario: "A2",
        what: format!("160/s for {:.0} s: not served", offered.lasting.as_secs_f64()),
        target: "≤ 0.1 %".into(),
        measured: format!("{:.2} %, p99 {:.0} ms", 100.0 - ours.served, ours.p99),
        peer: format!("`adaptive_concurrency` {:.2} %, p99 {:.0} ms", 100.0 - theirs.served, theirs.p99),
        met: 100.0 - ours.served <= 0.1,
    });
    Ok(())
}

/// A3: those who matter are half of what the origin can serve, inside ten times that.
fn classes(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    let alone = [Kind::new(100.0, HIGH)];
    let kinds = [alone[0], Kind::new(1_900.0, "")];
    let offered = Offer { kinds: &alone, lasting, slow: None, seed };
    let unloaded = Run::of("A3, `high` alone", &Subject::found(), &offered)?;
    let run = Run::of("A3, found limit", &Subject::found(), &Offer { kinds: &kinds, ..offered })?;
    report.run(&unloaded, ALL);
    report.run(&run, &[("`high`", &[0]), ("`normal`", &[1])]);
    let (alone, high) = (unloaded.seen(&[]), run.seen(&[0]));
    report.row(Row {
        scenario: "A3",
        what: "`high` 100/s inside 2,000/s: served".into(),
        target: "≥ 99.9 %".into(),
        measured: format!("{:.2} %", high.served),
        peer: "has no classes".into(),
        met: high.served >= 99.9,
    });
    let most = 2.0 * alone.p99 + 25.0;
    report.row(Row {
        scenario: "A3",
        what: "the same: p99".into(),
        target: format!("≤ 2 × unloaded ({:.0} ms) + 25 ms = {most:.0} ms", alone.p99),
        measured: format!("{:.0} ms", high.p99),
        peer: "has no classes".into(),
        met: high.p99 <= most,
    });
    Ok(())
}

/// A4: the origin becomes slower and recovers.
fn slower(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    // A slow origin serves 67/s: of those who matter half of that.
    let kinds = [Kind::new(30.0, HIGH), Kind::new(970.0, "")];
    let phase = (lasting / 2).max(SHORTEST_PHASE);
    let (slow, end) = ((phase, phase * 2), phase * 3);
    let offered = Offer { kinds: &kinds, lasting: end, slow: Some(slow), seed };
    let groups: &[(&str, &[usize])] = &[("", &[]), ("`high`", &[0])];
    let mut best: Option<(u32, Run)> = None;
    for limit in FIXED {
        let run = Run::of(&format!("A4, limit {limit}"), &Subject::fixed(limit), &offered)?;
        report.run(&run, groups);
        if best.as_ref().is_none_or(|(_, best)| run.seen(&[]).in_time > best.seen(&[]).in_time) {
            best = Some((limit, run));
        }
    }
    let (limit, best) = best.ok_or("no limit was tried")?;
    let found = Run::of("A4, found limit", &Subject::found(), &offered)?;
    let adaptive = Run::of("A4, `adaptive_concurrency`", &Subject::Adaptive, &offered)?;
    report.run(&found, groups);
    report.run(&adaptive, groups);
    let goodput = best.seen(&[]).in_time;
    let part = |run: &Run| 100.0 * run.seen(&[]).in_time / goodput.max(1.0);
    let in_slow = |run: &Run| run.seen_from(&[], slow.0, slow.1).in_time;
    report.row(Row {
        scenario: "A4",
        what: format!("1,000/s, origin 3 × slower for {:.0} s: answered in time", phase.as_secs_f64()),
        target: format!(
            "≥ 95 % of the best fixed limit ({limit}: {goodput:.1}/s, slow {:.1}/s)",
            in_slow(&best)
        ),
        measured: format!(
            "{:.1}/s, {:.1} %, slow {:.1}/s",
            found.seen(&[]).in_time,
            part(&found),
            in_slow(&found)
        ),
        peer: format!(
            "`adaptive_concurrency` {:.1}/s, {:.1} %, slow {:.1}/s",
            adaptive.seen(&[]).in_time,
            part(&adaptive),
            in_slow(&adaptive)
        ),
        met: part(&found) >= 95.0,
    });
    for (what, from, to) in
        [("slower: settled after", slow.0, slow.1), ("as fast as before: settled after", slow.1, end)]
    {
        let wanted = best.seen_from(&[], from, to).in_time * SETTLED_PART;
        let of = |run: &Run| settled(&run.samples, WARM_UP + from, WARM_UP + to, wanted);
        let said = |after: Option<f64>| after.map_or("never".to_owned(), |after| format!("{after:.0} s"));
        report.row(Row {
            scenario: "A4",
            what: what.into(),
            target: format!("≤ {SETTLED} s"),
            measured: said(of(&found)),
            peer: format!(
                "`adaptive_concurrency` {}, limit {limit} {}",
                said(of(&adaptive)),
                said(of(&best))
            ),
            met: of(&found).is_some_and(|after| after <= SETTLED),
        });
    }
    let high = |run: &Run| run.seen(&[0]).served;
    report.row(Row {
        scenario: "A4",
        what: "`high` 30/s of them: served".into(),
        target: "≥ 99 %".into(),
        measured: format!("{:.2} %", high(&found)),
        peer: format!("`adaptive_concurrency` {:.2} %, limit {limit} {:.2} %", high(&adaptive), high(&best)),
        met: high(&found) >= 99.0,
    });
    Ok(())
}

/// A5: who asks ten times as much gets no more, and who can wait gets something.
fn fairness(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    let tenants = [Kind::new(2_000.0, "x-tenant: loud\r\n"), Kind::new(200.0, "x-tenant: quiet\r\n")];
    let offered = Offer { kinds: &tenants, lasting, slow: None, seed };
    let fair = Subject::pool("", r#", "fair_by": ["header:x-tenant"]"#);
    let run = Run::of("A5, tenants", &fair, &offered)?;
    report.run(&run, &[("loud", &[0]), ("quiet", &[1])]);
    let served = |run: &Run, kind: usize| {
        let seen = run.seen(&[kind]);
        seen.offered * seen.served / 100.0
    };
    let (loud, quiet) = (served(&run, 0), served(&run, 1));
    let share = 100.0 * quiet / (loud + quiet).max(1.0);
    report.row(Row {
        scenario: "A5",
        what: "two tenants, 2,000/s and 200/s: parts of what is served".into(),
        target: "50 : 50 ± 5".into(),
        measured: format!("{:.1} : {share:.1}", 100.0 - share),
        peer: "has no tenants".into(),
        met: (45.0..=55.0).contains(&share),
    });
    let kinds = [Kind::new(1_800.0, ""), Kind::new(200.0, LOW)];
    let run = Run::of("A5, classes", &Subject::found(), &Offer { kinds: &kinds, ..offered })?;
    report.run(&run, &[("`normal`", &[0]), ("`low`", &[1])]);
    let (normal, low) = (served(&run, 0), served(&run, 1));
    let share = 100.0 * low / (normal + low).max(1.0);
    report.row(Row {
        scenario: "A5",
        what: "`low` 200/s under `normal` 1,800/s: its part of what is served".into(),
        // One of five, but for the one that a round is cut in.
        target: "≥ 20 % (± 1)".into(),
        measured: format!("{share:.1} %"),
        peer: "has no classes".into(),
        met: share >= 19.0,
    });
    Ok(())
}

/// What is stored and may be served stale is not refused.
fn stale(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    let kinds = [Kind::new(2_000.0, ""), Kind { stored: true, ..Kind::new(50.0, "") }];
    let offered = Offer { kinds: &kinds, lasting, slow: None, seed };
    let run = Run::of("stale", &Subject::found(), &offered)?;
    report.run(&run, &[("not stored", &[0]), ("stored", &[1])]);
    let (flood, stored) = (run.seen(&[0]), run.seen(&[1]));
    report.row(Row {
        scenario: "stale",
        what: "50/s for stored responses inside 2,000/s: not served".into(),
        target: "0".into(),
        measured: format!("{:.2} %, p99 {:.0} ms", 100.0 - stored.served, stored.p99),
        peer: format!("what is not stored: {:.2} %", 100.0 - flood.served),
        met: stored.served >= 100.0,
    });
    Ok(())
}

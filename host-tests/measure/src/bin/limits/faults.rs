//! B3: what four Envoys admit while Redis is dead, silent or emptied.

use std::thread;
use std::time::{Duration, Instant};

use selvage_measure::measured::reloaded;
use selvage_measure::open_loop::Sample;
use selvage_measure::targets::Row;
use selvage_rig::redis::{Bridge, Part};

use crate::Report;
use crate::fleet::{fleet, offer};
use crate::run::Seen;
use crate::site::{BURST, QUOTA, TIMEOUT, origin};

/// Asked for in a second of all of them.
const OFFERED: f64 = 2_000.0;
const MOST_PART: f64 = 1.25;
/// As much as meant is admitted again within so many seconds.
const BACK: usize = 5;
/// What a busy machine adds to a wait, in milliseconds.
const SLACK: f64 = 150.0;

/// What happens to Redis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Silent,
    Emptied,
}

/// All three.
pub fn measure(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    let all = [(Fault::Killed, "killed"), (Fault::Silent, "silent"), (Fault::Emptied, "emptied")];
    for (fault, name) in all {
        one(fault, name, lasting, seed, report)?;
    }
    Ok(())
}

fn one(fault: Fault, name: &str, lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    let title = format!("B3, Redis {name}");
    eprintln!("selvage: {title}");
    // Before, while and after: a third each, in whole seconds.
    let third = Duration::from_secs((lasting.as_secs() / 3).max(1));
    let (from, to, end) = (third, third * 2, third * 3);
    let origin = origin();
    let mut bridge = Bridge::start();
    let gateways = fleet(&origin, &bridge)?;
    let samples: Vec<Sample> = thread::scope(|scope| {
        let load = scope.spawn(|| offer(&gateways, &[OFFERED / 4.0; 4], end, seed));
        let begun = Instant::now();
        let wait_until = |moment: Duration| thread::sleep(moment.saturating_sub(begun.elapsed()));
        wait_until(from);
        match fault {
            Fault::Killed => bridge.kill(Part::Redis),
            Fault::Silent => bridge.stall(Part::Redis),
            Fault::Emptied => assert_eq!(bridge.command("FLUSHALL"), "+OK"),
        }
        wait_until(to);
        match fault {
            Fault::Killed => bridge.start_redis(),
            Fault::Silent => bridge.resume(Part::Redis),
            Fault::Emptied => {}
        }
        load.join().unwrap()
    });
    for (part, from, to) in [("before", Duration::ZERO, from), ("while", from, to), ("after", to, end)] {
        report.runs += &Seen::of(&samples, None, from, to).line(&format!("{title}, {part}"), to - from);
    }
    let all = Seen::of(&samples, None, Duration::ZERO, end);
    let during = Seen::of(&samples, None, from, to);
    let meant = QUOTA * third.as_secs_f64();
    let part = (during.admitted as f64 - BURST) / meant;
    let wrong = all.other + all.unanswered;
    report.targets.row(Row {
        scenario: "B3",
        what: format!("Redis {name}: answers that are neither 200 nor 429; longest answer"),
        target: format!("0; ≤ {:.0} ms", TIMEOUT.as_secs_f64() * 1000.0 + SLACK),
        measured: format!("{wrong}; {:.0} ms", all.longest),
        peer: "`ratelimit` with Redis down: 1.2 to 10.1 s each (envoyproxy/ratelimit#462)".into(),
        met: wrong == 0 && all.longest <= TIMEOUT.as_secs_f64() * 1000.0 + SLACK,
    });
    report.targets.row(Row {
        scenario: "B3",
        what: format!("Redis {name}, {} s: admitted, without a burst, of the quota", third.as_secs()),
        target: format!("≤ {MOST_PART}"),
        measured: format!("{part:.3}"),
        peer: "–".into(),
        met: part <= MOST_PART,
    });
    // From the fault's end, or from the moment when everything was gone.
    let since = if fault == Fault::Emptied { from } else { to };
    let back = back(&samples, since, end);
    report.targets.row(Row {
        scenario: "B3",
        what: format!("Redis {name}: seconds until each admits 0.9 to 1.1 of the quota, to the end"),
        target: format!("≤ {BACK}"),
        measured: back.map_or("never".into(), |seconds| seconds.to_string()),
        peer: "–".into(),
        met: back.is_some_and(|seconds| seconds <= BACK),
    });
    gateways.iter().for_each(|gateway| report.targets.unsound(&title, reloaded(gateway)));
    Ok(())
}

/// After how many seconds all later ones admit about the quota.
fn back(samples: &[Sample], since: Duration, end: Duration) -> Option<usize> {
    let seconds = (end - since).as_secs() as usize;
    let admitted = |second: usize| {
        let from = since + Duration::from_secs(second as u64);
        Seen::of(samples, None, from, from + Duration::from_secs(1)).admitted as f64
    };
    let good: Vec<bool> =
        (0..seconds).map(|second| (0.9..=1.1).contains(&(admitted(second) / QUOTA))).collect();
    let last_bad = good.iter().rposition(|good| !good);
    let back = last_bad.map_or(0, |at| at + 1);
    (back < seconds).then_some(back)
}

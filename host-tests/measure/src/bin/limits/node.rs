//! B2: one Envoy, beside its own `local_ratelimit`.

use std::time::Duration;

use selvage_measure::crowd::get_with;
use selvage_measure::measured::reloaded;
use selvage_measure::open_loop::{Offer, Sample};
use selvage_measure::targets::Row;
use selvage_rig::envoy::Gateway;

use crate::Report;
use crate::fleet::PATIENCE;
use crate::run::Seen;
use crate::site::{BURST, QUOTA, TARGET, limited, origin, start, start_peer};

/// Asked for in a second of each.
const OFFERED: f64 = 2_000.0;
const MOST_BESIDE: f64 = 1.0;

/// Clients that use up all they have, before and after all the others.
const EARLY: usize = 50;
/// What each of them asks for each time.
const EACH: usize = 8;
/// What each has for an hour.
const FEW: usize = 5;
/// The others.
const CLIENTS: usize = 100_000;
/// Keys of which the node remembers anything.
const ROOM: usize = 16_384;
const MOST_MIB: f64 = 4.0;

/// Both parts.
pub fn measure(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    one_client(lasting, seed, report)?;
    many_clients(report)
}

/// What both admit of the same load at the same time.
fn one_client(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    eprintln!("selvage: B2, one client");
    let origin = origin();
    let members = format!(r#""by": ["header:x-client"], "quota": {QUOTA}, "burst": {BURST}, "window": "1s""#);
    let ours = start(&limited(&members, ""), &origin, None)?;
    let theirs = start_peer(&local_ratelimit(&bucket(BURST, 50.0, "0.05s"), ""), &origin)?;
    let addresses = [ours.address(), theirs.address()];
    let offered =
        Offer { addresses: &addresses, rates: &[OFFERED, OFFERED], patience: PATIENCE, lasting, seed };
    let request = get_with(TARGET, "x-client: one\r\n");
    let samples = offered.send(&mut |_, _| request.clone());
    let [own, other] = [0, 1].map(|kind| Seen::of(&samples, Some(kind), Duration::ZERO, lasting));
    report.runs += &own.line("B2, one client", lasting);
    report.runs += &other.line("B2, one client, `local_ratelimit`", lasting);
    let beside = 100.0 * (own.admitted as f64 / other.admitted.max(1) as f64 - 1.0);
    report.targets.row(Row {
        scenario: "B2",
        what: format!("{OFFERED}/s at one Envoy with two workers: admitted beside `local_ratelimit`"),
        target: format!("± {MOST_BESIDE} %"),
        measured: format!("{}, {beside:+.2} %", own.admitted),
        peer: format!("{} of {:.0}", other.admitted, QUOTA * lasting.as_secs_f64() + BURST),
        met: beside.abs() <= MOST_BESIDE && own.other + own.unanswered == 0,
    });
    report.targets.unsound("B2, one client", reloaded(&ours));
    Ok(())
}

/// Whether clients that have used up what they have get it back because many others came, and how much memory those take.
fn many_clients(report: &mut Report) -> Result<(), String> {
    eprintln!("selvage: B2, many clients");
    let origin = origin();
    let members = format!(r#""by": ["header:x-client"], "quota": {FEW}, "burst": {FEW}, "window": "1h""#);
    let room = format!(r#""node": {{ "limit_keys": {ROOM} }}, "worker": {{ "limit_keys": {ROOM} }}, "#);
    let ours = Gateway::with(&limited(&members, &room)).origin(origin.url());
    let ours = ours.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))?;
    let descriptors = format!(
        r#"                      max_dynamic_descriptors: {ROOM}
                      descriptors: [ {{ entries: [ {{ key: client }} ], token_bucket: {} }} ]
                      rate_limits: [ {{ actions: [ {{ request_headers: {{ header_name: x-client, descriptor_key: client }} }} ] }} ]
"#,
        bucket(FEW as f64, 1.0, "720s")
    );
    let theirs = start_peer(&local_ratelimit(&bucket(1e6, 1e6, "1s"), &descriptors), &origin);
    let early =
        |gateway: &Gateway| asked(gateway, EARLY * EACH, &|number| format!("early-{}", number % EARLY));
    let others = |gateway: &Gateway, round: usize| {
        asked(gateway, CLIENTS, &|number| format!("10.{round}.{}.{}", number / 256, number % 256))
    };
    let first = early(&ours);
    let before = ours.resident_kib();
    let once = others(&ours, 0);
    let between = ours.resident_kib();
    others(&ours, 1);
    let after = ours.resident_kib();
    let again = early(&ours);
    let peer = match &theirs {
        Ok(theirs) => {
            let first = early(theirs);
            others(theirs, 0);
            format!("`local_ratelimit` with {ROOM} descriptors: {} then {}", first, early(theirs))
        }
        Err(problem) => problem.lines().next().unwrap_or_default().to_owned(),
    };
    report.targets.row(Row {
        scenario: "B2",
        what: format!(
            "{EARLY} clients with {FEW} an hour ask {EACH} times each, before and after 200,000 others (room for {ROOM}): admitted"
        ),
        target: format!("≤ {} then 0", EARLY * FEW),
        measured: format!("{first} then {again}; of the first 100,000 others {once}"),
        peer,
        met: first <= EARLY * FEW && again == 0,
    });
    let grown = (after.saturating_sub(between)) as f64 / 1024.0;
    report.targets.row(Row {
        scenario: "B2",
        what: "memory of Envoy that the second 100,000 clients took".into(),
        target: format!("≤ {MOST_MIB} MiB"),
        measured: format!(
            "{grown:.1} MiB (the first: {:.1})",
            between.saturating_sub(before) as f64 / 1024.0
        ),
        peer: "–".into(),
        met: grown <= MOST_MIB,
    });
    report.targets.unsound("B2, many clients", reloaded(&ours));
    Ok(())
}

/// How many of so many requests by these clients are admitted.
fn asked(gateway: &Gateway, count: usize, client: &dyn Fn(usize) -> String) -> usize {
    let rate = 3_000.0;
    let lasting = Duration::from_secs_f64(count as f64 / rate * 1.2 + 0.2);
    let addresses = [gateway.address()];
    let offered = Offer { addresses: &addresses, rates: &[rate], patience: PATIENCE, lasting, seed: 1 };
    let samples =
        offered.send(&mut |_, number| get_with(TARGET, &format!("x-client: {}\r\n", client(number % count))));
    let admitted = |sample: &&Sample| sample.status == 200;
    // The first time that each asks; the load goes on a little after.
    samples.iter().take(count).filter(admitted).count()
}

fn bucket(most: f64, fill: f64, interval: &str) -> String {
    format!("{{ max_tokens: {most}, tokens_per_fill: {fill}, fill_interval: {interval} }}")
}

/// Envoy's filter with this bucket for all, and more lines.
fn local_ratelimit(all: &str, more: &str) -> String {
    format!(
        r#"                  - name: envoy.filters.http.local_ratelimit
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                      stat_prefix: measured
                      token_bucket: {all}
                      filter_enabled: {{ default_value: {{ numerator: 100, denominator: HUNDRED }} }}
                      filter_enforced: {{ default_value: {{ numerator: 100, denominator: HUNDRED }} }}
{more}"#
    )
}

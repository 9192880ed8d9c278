//! B1: four Envoys that count together by Redis.

use std::net::SocketAddr;
use std::time::Duration;

use selvage_measure::crowd::get_with;
use selvage_measure::measured::reloaded;
use selvage_measure::open_loop::{Offer, Sample};
use selvage_measure::targets::Row;
use selvage_rig::envoy::Gateway;
use selvage_rig::redis::Bridge;

use crate::Report;
use crate::run::Seen;
use crate::site::{BURST, QUOTA, TARGET, for_fleet, origin, start};

/// Whoever has no answer after this goes away.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Asked for in a second of all of them.
const OFFERED: f64 = 3_000.0;
const MOST_CALLS: f64 = 0.03;
const MOST_WAITED: f64 = 3.0;

/// Even shares, and 1 : 3 : 9 : 27.
const SHARES: [(&str, [f64; 4]); 2] = [("even", [0.25; 4]), ("1:3:9:27", [0.025, 0.075, 0.225, 0.675])];

/// What four Envoys admit of three times the quota, and what that asks of Redis.
pub fn measure(lasting: Duration, seed: u64, report: &mut Report) -> Result<(), String> {
    for (name, shares) in SHARES {
        let title = format!("B1, four Envoys, {name}");
        eprintln!("selvage: {title}");
        let origin = origin();
        let bridge = Bridge::start();
        let gateways = fleet(&origin, &bridge)?;
        let before = (scripts(&bridge), waited(&gateways));
        let samples = offer(&gateways, &shares.map(|share| share * OFFERED), lasting, seed);
        let seen = Seen::of(&samples, None, Duration::ZERO, lasting);
        let calls = scripts(&bridge).saturating_sub(before.0) as f64 / seen.offered.max(1) as f64;
        let waits = 100.0 * waited(&gateways).saturating_sub(before.1) as f64 / seen.offered.max(1) as f64;
        report.runs += &seen.line(&title, lasting);
        let ideal = QUOTA * lasting.as_secs_f64() + BURST;
        let beside = 100.0 * (seen.admitted as f64 / ideal - 1.0);
        report.targets.row(Row {
            scenario: "B1",
            what: format!("{OFFERED}/s at four Envoys, {name}: admitted of q·t + b"),
            target: "−1 to +0 %".into(),
            measured: format!("{} of {ideal:.0}, {beside:+.2} %", seen.admitted),
            peer: "–".into(),
            met: (-1.0..=0.0).contains(&beside),
        });
        report.targets.row(Row {
            scenario: "B1",
            what: format!("scripts run by Redis for a request, {name}"),
            target: format!("≤ {MOST_CALLS}"),
            measured: format!("{calls:.4}"),
            peer: "`ratelimit`: 1 by design".into(),
            met: calls <= MOST_CALLS,
        });
        report.targets.row(Row {
            scenario: "B1",
            what: format!("requests that waited for Redis, {name}"),
            target: format!("≤ {MOST_WAITED} %"),
            measured: format!("{waits:.2} %"),
            peer: "–".into(),
            met: waits <= MOST_WAITED && seen.other + seen.unanswered == 0,
        });
        gateways.iter().for_each(|gateway| report.targets.unsound(&title, reloaded(gateway)));
    }
    Ok(())
}

/// Four Envoys of one Redis.
pub fn fleet(origin: &selvage_measure::crowd::Origin, bridge: &Bridge) -> Result<Vec<Gateway>, String> {
    (0..4).map(|_| start(&for_fleet(), origin, Some(bridge))).collect()
}

/// One client's requests to all of them.
pub fn offer(gateways: &[Gateway], rates: &[f64], lasting: Duration, seed: u64) -> Vec<Sample> {
    let addresses: Vec<SocketAddr> = gateways.iter().map(Gateway::address).collect();
    let offered = Offer { addresses: &addresses, rates, patience: PATIENCE, lasting, seed };
    let request = get_with(TARGET, "x-client: one\r\n");
    offered.send(&mut |_, _| request.clone())
}

/// How many scripts Redis has run.
fn scripts(bridge: &Bridge) -> u64 {
    ["eval", "evalsha"].into_iter().map(|command| bridge.calls(command)).sum()
}

/// Requests that waited for a lease, over the fleet.
fn waited(gateways: &[Gateway]) -> u64 {
    gateways.iter().map(|gateway| gateway.stat("limit_events.fleet-waited")).sum()
}

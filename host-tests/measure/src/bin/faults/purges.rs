//! Purges while the store refuses writes: what operators see, and when the other Envoy has heard of all.

use std::{
    thread,
    time::{Duration, Instant},
};

use selvage_rig::envoy::{Ask, Gateway};
use selvage_rig::scrape::Scrape;
use serde_json::Value;

use crate::rows::Stage;

/// What came of it.
pub struct Purges {
    /// How many there were.
    pub count: usize,
    /// Answers that were no success, and those that did not say `pending` once `health` knew.
    pub wrong: Vec<String>,
    /// From the fault's beginning until `health` gave the reason.
    pub health: Option<Duration>,
    /// From there until the metric that the alert looks at said so.
    pub alert: Option<Duration>,
    /// From the fault's end until the other Envoy served none of what was purged.
    pub arrived: Option<Duration>,
    /// From the fault's end until `health` was well.
    pub well: Option<Duration>,
}

/// What is purged while the fault lasts, at most: one a second.
const MOST: usize = 400;
/// How long the other Envoy has to hear of all of them.
const PATIENCE: Duration = Duration::from_secs(30);
const HOST: &str = "fleet.example";

/// The other Envoy stores what will be purged.
pub fn prepare(stage: &Stage, lasting: Duration) {
    for number in 0..many(lasting) {
        ask(stage.other.as_ref().unwrap(), number);
    }
}

/// Purges one a second until this time.
pub fn during(stage: &Stage, lasting: Duration, until: Instant) -> Purges {
    let begun = Instant::now();
    let mut purges =
        Purges { count: 0, wrong: Vec::new(), health: None, alert: None, arrived: None, well: None };
    while Instant::now() < until && purges.count < many(lasting) {
        let second = begun + Duration::from_secs(purges.count as u64);
        let known = purges.health.is_some();
        let said = purge(&stage.gateway, purges.count);
        if said["purged"] != 1 || known && said["fleet"] != "pending" {
            purges.wrong.push(said.to_string());
        }
        purges.count += 1;
        while Instant::now() < until.min(second + Duration::from_secs(1)) {
            if purges.health.is_none() && reasons(&stage.gateway).contains("remote-writes-refused") {
                purges.health = Some(begun.elapsed());
            }
            if purges.alert.is_none() && fires(&stage.gateway) {
                purges.alert = Some(begun.elapsed());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    purges
}

/// After the fault's end: waits until all have arrived.
pub fn after(stage: &Stage, purges: &mut Purges) {
    let (end, other) = (Instant::now(), stage.other.as_ref().unwrap());
    let mut left: Vec<usize> = (0..purges.count).collect();
    while end.elapsed() < PATIENCE && (purges.arrived.is_none() || purges.well.is_none()) {
        left.retain(|number| ask(other, *number).contains("; hit"));
        if left.is_empty() && purges.arrived.is_none() {
            purges.arrived = Some(end.elapsed());
        }
        if purges.well.is_none() && reasons(&stage.gateway).is_empty() {
            purges.well = Some(end.elapsed());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn many(lasting: Duration) -> usize {
    (lasting.as_secs() as usize).clamp(1, MOST)
}

fn ask(gateway: &Gateway, number: usize) -> String {
    named(gateway.get(&format!("/lasting/{number}"))).send().cache_status()
}

fn named(ask: Ask<'_>) -> Ask<'_> {
    ask.header("host", HOST)
}

fn purge(gateway: &Gateway, number: usize) -> Value {
    let body = format!(r#"{{"urls":["http://{HOST}/lasting/{number}"]}}"#);
    let said = named(gateway.ask("POST", "/.selvage/purge")).body(body).send();
    serde_json::from_str(&said.text()).unwrap_or_else(|_| said.text().into())
}

/// The codes of what `health` complains of, about the store's writes.
fn reasons(gateway: &Gateway) -> String {
    let told: Value =
        serde_json::from_str(&named(gateway.get("/.selvage/health")).send().text()).unwrap_or_default();
    let all = told["reasons"].as_array().into_iter().flatten();
    let codes = all.filter_map(|reason| reason["code"].as_str()).filter(|code| code.contains("writes"));
    codes.collect::<Vec<_>>().join(" ")
}

/// The expression of the alert `SelvageRemoteWritesRefused`.
fn fires(gateway: &Gateway) -> bool {
    let refusing = |scrape: Scrape| scrape.sum("selvage_remote_writes", &[("state", "refusing")]) > 0.0;
    Scrape::of(gateway).is_some_and(refusing)
}

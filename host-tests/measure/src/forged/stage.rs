//! The Envoy between them, and what it says of itself.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use super::bridge::{Bridge, Told};
use super::clients::{Clients, Tally};
use super::site;
use crate::crowd::Origin;
use crate::measured::{moved, reloaded};
use selvage_rig::envoy::Gateway;
use selvage_rig::scrape::Scrape;

/// `remote.timeout` of the configuration.
pub const TIMEOUT: Duration = Duration::from_millis(50);
/// `coalesce.wait` of the configuration: short, so that whoever waits for longer is seen.
pub const WAIT: Duration = Duration::from_secs(1);
/// What the machine may take for itself, which clients, origin, bridge and Envoy share.
const MARGIN: Duration = Duration::from_millis(250);
/// Connections of clients.
const CLIENTS: usize = 48;
const TOKEN: &str = "for-the-time-of-the-forgery";
/// Stores too small for more than a few, so that nearly every request asks the bridge; a breaker that never opens, so that
/// each one does.
const CONFIGURATION: &str = r#"{
  "worker": { "bytes": "256KiB", "entries": 16 }, "node": { "bytes": "1MiB", "buckets": 16 },
  "remote": { "enabled": true, "timeout": "50ms", "in_flight": 1024, "breaker": { "failure_percent": 0, "slow_percent": 0 } },
  "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" },
  "defaults": { "coalesce": { "wait": "1s" }, "stale": { "if_error": "1h" }, "refresh": { "cluster": "origin" } }
}"#;

/// The longest that a request may take.
pub fn longest_allowed() -> Duration {
    2 * TIMEOUT + WAIT + MARGIN
}

/// All that runs.
pub struct Stage {
    /// The Envoy.
    pub gateway: Gateway,
    bridge: Bridge,
    clients: Clients,
    _origin: Origin,
    start: Instant,
    first: BTreeMap<String, u64>,
    moments: Vec<Moment>,
    purges: u64,
    refused: u64,
}

/// What is known at one moment.
#[derive(Clone)]
pub struct Moment {
    /// Since the start.
    pub at: Duration,
    /// Forged answers so far.
    pub forged: u64,
    /// Requests so far.
    pub requests: u64,
    /// Bytes of the workers' VMs.
    pub heap: f64,
    /// What the configuration lets their stores and queues take.
    pub budget: f64,
    /// Bytes of the process, resident.
    pub resident: u64,
}

/// What came of it all.
pub struct Outcome {
    /// What the bridge answered.
    pub told: Told,
    /// What clients got.
    pub tally: Tally,
    /// The counters that grew.
    pub moved: BTreeMap<String, u64>,
    /// Every few seconds.
    pub moments: Vec<Moment>,
    /// Operators' purges, and those that were not accepted.
    pub purges: (u64, u64),
    /// How long it took.
    pub lasted: Duration,
    /// What is not as it should be.
    pub faults: Vec<String>,
}

impl Stage {
    /// Starts it.
    pub fn start(seed: u64) -> Self {
        let (origin, bridge) = (site::start(), Bridge::start(seed));
        let builder = Gateway::with(CONFIGURATION).origin(origin.url()).bridge(bridge.port());
        let gateway = builder.environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
        // Whoever is not answered within three times what is allowed is not answered at all.
        let clients = Clients::new(gateway.address(), CLIENTS, seed, 3 * longest_allowed());
        let first = counters(&gateway);
        let start = Instant::now();
        let (moments, purges, refused) = (Vec::new(), 0, 0);
        Self { gateway, bridge, clients, _origin: origin, start, first, moments, purges, refused }
    }

    /// Runs for a while; how many forged answers and for how long since the start.
    pub fn run(&mut self, lasting: Duration) -> (u64, Duration) {
        let (clients, gateway) = (&mut self.clients, &self.gateway);
        // An operator purges meanwhile: that writes to the log, whose answers are forged too.
        let number = self.purges;
        let accepted = thread::scope(|scope| {
            let purge = scope.spawn(move || purge(gateway, number));
            clients.run(lasting);
            purge.join().unwrap()
        });
        self.purges += 1;
        self.refused += u64::from(!accepted);
        self.look();
        (self.bridge.told().all_forged(), self.start.elapsed())
    }

    /// What there is to say at this moment.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// What clients have got so far.
    pub fn tally(&self) -> &Tally {
        &self.clients.tally
    }

    fn look(&mut self) {
        let Some(scrape) = Scrape::of(&self.gateway) else { return };
        let of = |kind: &str| scrape.sum("selvage_heap_bytes", &[("kind", kind)]);
        self.moments.push(Moment {
            at: self.start.elapsed(),
            forged: self.bridge.told().all_forged(),
            requests: self.clients.tally.requests,
            heap: of("used"),
            budget: of("budget"),
            resident: self.gateway.resident_kib() << 10,
        });
    }

    /// Waits for what is under way, and judges.
    pub fn finish(mut self) -> Outcome {
        let lasted = self.start.elapsed();
        self.clients.finish();
        self.look();
        let (told, tally) = (self.bridge.told(), self.clients.tally.clone());
        let mut faults: Vec<String> = reloaded(&self.gateway).into_iter().collect();
        if tally.all_errors() > 0 {
            faults.push(format!("{} client errors", tally.all_errors()));
        }
        if tally.longest.0 > longest_allowed() {
            faults.push(format!("{} ms for {}", tally.longest.0.as_millis(), tally.longest.1));
        }
        if self.refused > 0 {
            faults.push(format!("{} of {} purges were not accepted", self.refused, self.purges));
        }
        let over = self.moments.iter().find(|moment| moment.heap > moment.bracket());
        if let Some(over) = over {
            faults.push(format!("a heap of {} bytes at {} s", over.heap, over.at.as_secs()));
        }
        if self.moments.iter().all(|moment| moment.heap == 0.0) {
            faults.push("nothing is known of the heap".to_owned());
        }
        if tally.accepted == 0 {
            faults.push("nothing forged was served: nothing was tried".to_owned());
        }
        let moved = moved(&self.first, &counters(&self.gateway));
        let purges = (self.purges, self.refused);
        Outcome { told, tally, moved, moments: self.moments, purges, lasted, faults }
    }
}

impl Moment {
    /// What the heap may be, as in the alert.
    pub fn bracket(&self) -> f64 {
        1.5 * self.budget + (64 << 20) as f64
    }
}

/// Purges a URL; whether that was accepted.
fn purge(gateway: &Gateway, number: u64) -> bool {
    let body =
        format!(r#"{{"urls":["http://forged.example{}"]}}"#, site::path(number as usize % site::PATHS));
    let ask = gateway.ask("POST", "/.selvage/purge").header("host", "forged.example");
    let ask = ask.header("authorization", format!("Bearer {TOKEN}")).body(body);
    ask.try_send().is_ok_and(|answer| answer.status == 200)
}

/// The filter's counters, without what their names have in common.
fn counters(gateway: &Gateway) -> BTreeMap<String, u64> {
    let named = gateway.stats("selvage").into_iter();
    named.filter_map(|(name, value)| Some((name.split_once("selvage.")?.1.to_owned(), value))).collect()
}

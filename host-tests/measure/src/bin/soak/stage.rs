//! What the load meets: an Envoy as a user runs it, with everything of the filter's on, and small stores.

use std::net::SocketAddr;

use selvage_rig::envoy::{Ask, Gateway, Listeners};
use selvage_rig::redis::{Bridge, Part, free_port};
use selvage_rig::relay::{Lie, Relay};
use selvage_rig::scrape::Scrape;

use crate::faults::Fault;
use crate::site::{Mood, Site};

/// The operators' token.
pub const TOKEN: &str = "for-the-time-of-the-soak";

/// The plugins: their listeners, their names and the MiB of their worker stores. The node store is one for both. Bounds that are reached within a minute: the memory
/// of a VM never shrinks, so what fills up only now and then would look like growth.
const PLUGINS: [(&str, &str, u64); 2] = [("selvage", "soak", 16), ("beside", "beside", 4)];
/// What `envoy/run` has, with the remote store, for each plugin.
const CONFIGURATION: &str = r#"{
  "name": "NAME", "namespace": "NAME", "worker": { "bytes": "BYTESMiB" }, "node": { "bytes": "16MiB" },
  "remote": { "enabled": true, "queue_bytes": "2MiB", "secret_env": "SELVAGE_REMOTE_SECRET" },
  "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" },
  "warm": { "after_purge_all": 50 },
  "defaults": {
    "ttl": { "jitter": JITTER },
    "refresh": { "cluster": "origin", "early": 1 },
    "origin_breaker": { "enabled": true, "slow_after": "1s", "longest_pause": "4s" } },
  "rules": [ { "name": "search", "match": { "paths": ["/search"], "methods": ["POST"] }, "key": { "body": { "methods": ["POST"] } } } ]
}"#;
/// The Envoy's workers.
pub const WORKERS: usize = 2;
/// How long Envoy waits for the connections of a listener that has been replaced: several are ending at any time.
const DRAIN_SECONDS: u32 = 150;
/// `node.bytes`.
const NODE_BYTES: f64 = 16.0 * 1_048_576.0;
/// So many configurations are there before the first one comes again, long after its listener has gone.
const JITTERS: u64 = 40;

/// All that runs.
pub struct Stage {
    /// The Envoy.
    pub gateway: Gateway,
    site: Site,
    bridge: Bridge,
    relay: Relay,
    listeners: Listeners,
    ports: [u16; 2],
    pushes: u64,
}

impl Stage {
    /// Starts it.
    pub fn start() -> Result<Self, String> {
        let (site, bridge) = (Site::start(), Bridge::start());
        let relay = Relay::start(bridge.port());
        let ports = [free_port(), free_port()];
        let builder = Gateway::with("").origin(site.origin.url()).bridge(relay.port());
        let builder = builder.workers(WORKERS).environment("SELVAGE_ADMIN_TOKEN", TOKEN);
        let builder = builder.environment("SELVAGE_REMOTE_SECRET", "of-the-soak-and-nobody-else");
        let builder = builder.argument("--drain-time-s").argument(DRAIN_SECONDS.to_string());
        let (first, second) = (configuration(0, 0), configuration(1, 0));
        let (gateway, listeners) = builder
            .try_start_with_listeners(&[(PLUGINS[0].0, ports[0], &first), (PLUGINS[1].0, ports[1], &second)])
            .map_err(|refused| format!("Envoy did not start:\n{}", refused.output))?;
        Ok(Self { gateway, site, bridge, relay, listeners, ports, pushes: 0 })
    }

    /// Where the second plugin listens.
    pub fn beside(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[1]).into()
    }

    /// Gives the first plugin another configuration, every third time both.
    pub fn push(&mut self) {
        self.pushes += 1;
        let (first, second) = (configuration(0, self.pushes), configuration(1, self.pushes / 3));
        self.listeners.push(&[(PLUGINS[0].0, self.ports[0], &first), (PLUGINS[1].0, self.ports[1], &second)]);
    }

    /// How many have been given.
    pub fn pushes(&self) -> u64 {
        self.pushes
    }

    /// What the gauges say that is not so, once every plugin has answered a request and nothing is under way.
    pub fn wrong_gauges(&self) -> Vec<String> {
        let Some(scrape) = Scrape::of(&self.gateway) else { return vec!["no gauges".to_owned()] };
        let mut wrong = Vec::new();
        for (_, plugin, mebibytes) in PLUGINS {
            let bytes = (mebibytes << 20) as f64;
            let of = |name: &str, label: &str, value: &str| {
                scrape.sum(name, &[("plugin", plugin), (label, value)])
            };
            let worker = of("selvage_bytes_limit", "tier", "worker");
            // A worker that has answered none since the last push counts as one that serves nobody.
            if ![bytes, bytes * WORKERS as f64].contains(&worker) {
                wrong.push(format!("bytes_limit.{plugin}.worker is {worker}"));
            }
            for (name, label, value, is) in [
                ("selvage_bytes_limit", "tier", "node", NODE_BYTES),
                ("selvage_remote_state", "state", "ready", 1.0),
                ("selvage_remote_state", "state", "not-ready", 0.0),
                ("selvage_remote_writes", "state", "ok", 1.0),
            ] {
                if of(name, label, value) != is {
                    wrong.push(format!("{name} of {plugin}, {value}, is {}", of(name, label, value)));
                }
            }
            let held = of("selvage_bytes", "tier", "worker");
            if held > worker {
                wrong.push(format!("bytes.{plugin}.worker is {held}, of {worker}"));
            }
        }
        wrong
    }

    /// One request to each plugin.
    pub fn ask_each(&self) {
        for port in self.ports {
            let _ = Ask::new(([127, 0, 0, 1], port).into(), "GET", "/object/1").try_send();
        }
    }

    /// Begins a fault.
    pub fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::RedisStalled => self.bridge.stall(Part::Redis),
            Fault::WebdisKilled => self.bridge.kill(Part::Webdis),
            Fault::RedisEmptied => {
                self.bridge.command("FLUSHALL");
            }
            Fault::BridgeSlow(late) => self.relay.set(Some(Lie::Slow(late))),
            Fault::BridgeLies => self.relay.set(Some(Lie::Garbage)),
            Fault::OriginDead => self.site.origin.set_up(false),
            Fault::OriginSlow => self.site.set(Mood::Slow),
            Fault::OriginFailing => self.site.set(Mood::Failing),
        }
    }

    /// Undoes it.
    pub fn end(&mut self, fault: Fault) {
        match fault {
            Fault::RedisStalled => self.bridge.resume(Part::Redis),
            Fault::WebdisKilled => self.bridge.start_webdis(),
            Fault::RedisEmptied => {}
            Fault::BridgeSlow(_) | Fault::BridgeLies => self.relay.set(None),
            Fault::OriginDead => self.site.origin.set_up(true),
            Fault::OriginSlow | Fault::OriginFailing => self.site.set(Mood::Well),
        }
    }

    /// Whether the remote store and the origin are used again by all workers.
    pub fn has_recovered(&self) -> bool {
        let Some(scrape) = Scrape::of(&self.gateway) else { return false };
        let shut = scrape.sum("selvage_breaker_state", &[("state", "open")])
            + scrape.sum("selvage_breaker_state", &[("state", "half-open")])
            + scrape.sum("selvage_origin_state", &[("state", "open")]);
        shut == 0.0 && scrape.sum("selvage_remote_state", &[("state", "ready")]) > 0.0
    }

    /// Purges everything.
    pub fn purge_all(&self) {
        let ask = self.gateway.ask("POST", "/.selvage/purge").header("host", "soak.example");
        let answer = ask.header("authorization", format!("Bearer {TOKEN}")).body(r#"{"all":true}"#).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// The configuration of a plugin, the `nth`.
fn configuration(plugin: usize, nth: u64) -> String {
    let (_, name, mebibytes) = PLUGINS[plugin];
    CONFIGURATION
        .replace("NAME", name)
        .replace("BYTES", &mebibytes.to_string())
        .replace("JITTER", &(nth % JITTERS).to_string())
}

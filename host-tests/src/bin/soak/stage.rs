//! What the load meets: an Envoy as a user runs it, with everything of the filter's on, and small stores.

use selvage_host_tests::envoy::Gateway;
use selvage_host_tests::redis::{Bridge, Part};
use selvage_host_tests::relay::{Lie, Relay};
use selvage_host_tests::scrape::Scrape;

use crate::faults::Fault;
use crate::site::{Mood, Site};

/// The operators' token.
pub const TOKEN: &str = "for-the-time-of-the-soak";

/// What `envoy/run` has, with the remote store, and bounds that are reached within a minute: the memory of a VM never shrinks, so
/// what fills up only now and then would look like growth.
const CONFIGURATION: &str = r#"{
  "worker": { "bytes": "16MiB" }, "node": { "bytes": "16MiB" },
  "remote": { "enabled": true, "queue_bytes": "2MiB" },
  "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" },
  "warm": { "after_purge_all": 50 },
  "defaults": {
    "ttl": { "jitter": 10 },
    "refresh": { "cluster": "origin", "early": 1 },
    "origin_breaker": { "enabled": true, "slow_after": "1s", "longest_pause": "4s" } },
  "rules": [ { "name": "search", "match": { "paths": ["/search"], "methods": ["POST"] }, "key": { "body": { "methods": ["POST"] } } } ]
}"#;
/// The Envoy's workers.
pub const WORKERS: usize = 2;

/// All that runs.
pub struct Stage {
    /// The Envoy.
    pub gateway: Gateway,
    site: Site,
    bridge: Bridge,
    relay: Relay,
}

impl Stage {
    /// Starts it.
    pub fn start() -> Result<Self, String> {
        let (site, bridge) = (Site::start(), Bridge::start());
        let relay = Relay::start(bridge.port());
        let builder = Gateway::with(CONFIGURATION).origin(site.origin.url()).bridge(relay.port());
        let builder = builder.workers(WORKERS).environment("SELVAGE_ADMIN_TOKEN", TOKEN);
        let gateway = builder
            .try_start()
            .map_err(|refused| format!("`envoy/run` did not start:\n{}", refused.output))?;
        Ok(Self { gateway, site, bridge, relay })
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

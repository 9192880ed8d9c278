//! Who is asked: Selvage, two Selvages with one Redis, and what else can stand in front of an origin.

use std::{collections::BTreeMap, net::SocketAddr};

use selvage_measure::crowd::Origin;
use selvage_measure::measured::reloaded;
use selvage_rig::envoy::{Gateway, own_filter};
use selvage_rig::redis::Bridge;

use crate::peers::Peer;

/// The operators' token of ours, for a configuration that asks for it.
pub const TOKEN: &str = "a-token-of-some-length";

/// One column of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One Envoy with the filter as it is by default.
    Selvage,
    /// Two of them, with one Redis behind a webdis.
    Fleet,
    /// Envoy's cache filter.
    Native,
    /// Its successor.
    NativeV2,
    /// nginx with `proxy_cache_lock`.
    Nginx,
    /// Varnish as it comes.
    Varnish,
    /// Traffic Server, set to let one request fetch.
    TrafficServer,
    /// Envoy without a cache: what the requests cost when nobody waits for anybody.
    Plain,
}

/// A subject that runs.
pub struct Stage {
    /// Where clients connect, in turns.
    pub addresses: Vec<SocketAddr>,
    /// Its Envoys.
    pub gateways: Vec<Gateway>,
    bridge: Option<Bridge>,
    peer: Option<Peer>,
}

impl Subject {
    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Selvage => "Selvage",
            Self::Fleet => "Selvage on two Envoys, one Redis",
            Self::Native => "Envoy's `cache`",
            Self::NativeV2 => "Envoy's `cache_v2`",
            Self::Nginx => "nginx, `proxy_cache_lock`",
            Self::Varnish => "Varnish",
            Self::TrafficServer => "Traffic Server, `open_write_fail_action` 5",
            Self::Plain => "Envoy without a cache",
        }
    }

    /// Whether it is ours, and judged.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Selvage | Self::Fleet)
    }

    /// Starts it in front of the origin. `more` are members of the filter's configuration.
    pub fn start(self, origin: &Origin, more: &str) -> Stage {
        let mut stage = Stage { addresses: Vec::new(), gateways: Vec::new(), bridge: None, peer: None };
        let of_envoy = |filter: &str| {
            let builder = Gateway::with("{}").origin(origin.url());
            let gateway = builder.try_start_edited(&[(&own_filter(), filter)]);
            gateway.unwrap_or_else(|refused| panic!("Envoy did not start:\n{}", refused.output))
        };
        match self {
            Self::Selvage => {
                let builder = Gateway::with(&format!("{{ {more} }}")).origin(origin.url());
                stage.gateways.push(builder.environment("SELVAGE_ADMIN_TOKEN", TOKEN).start());
            }
            Self::Fleet => {
                let bridge = Bridge::start();
                let comma = if more.is_empty() { "" } else { ", " };
                let configuration = format!(r#"{{ "remote": {{ "enabled": true }}{comma}{more} }}"#);
                for _ in 0..2 {
                    let builder = Gateway::with(&configuration).origin(origin.url());
                    let builder = builder.environment("SELVAGE_ADMIN_TOKEN", TOKEN);
                    stage.gateways.push(builder.bridge(bridge.port()).start());
                }
                stage.bridge = Some(bridge);
            }
            Self::Native => stage.gateways.push(of_envoy(&envoys_filter("cache", "Cache"))),
            Self::NativeV2 => stage.gateways.push(of_envoy(&envoys_filter("cache_v2", "CacheV2"))),
            Self::Plain => stage.gateways.push(of_envoy("")),
            Self::Nginx => stage.peer = Some(Peer::nginx(origin.port())),
            Self::Varnish => stage.peer = Some(Peer::varnish(origin.port())),
            Self::TrafficServer => stage.peer = Some(Peer::traffic_server(origin.port())),
        }
        stage.addresses.extend(stage.peer.iter().map(|peer| peer.address));
        stage.addresses.extend(stage.gateways.iter().map(Gateway::address));
        stage
    }
}

impl Stage {
    /// The filter's counters and Envoy's about the origin's limits and refusals, summed over the Envoys, without what their names have in common.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = BTreeMap::new();
        for gateway in &self.gateways {
            for (name, value) in gateway.stats("") {
                let own = name.split_once("selvage.").filter(|_| name.starts_with("wasmcustom"));
                let ours = own.map(|(_, word)| word.to_owned());
                let telling = ["overflow", "upstream_cx_connect_fail"].iter().any(|end| name.ends_with(end));
                let of_envoy = name.strip_prefix("cluster.origin.").filter(|_| telling);
                let name = ours.or_else(|| of_envoy.map(|word| format!("Envoy's {word}")));
                if let Some(name) = name {
                    *counters.entry(name).or_default() += value;
                }
            }
        }
        counters
    }

    /// What went wrong with the Envoys themselves since the start.
    pub fn unsound(&self) -> Option<String> {
        self.gateways.iter().find_map(reloaded)
    }
}

fn envoys_filter(name: &str, message: &str) -> String {
    let store = message.replace("Cache", "SimpleHttpCache");
    format!(
        r#"                  - name: envoy.filters.http.{name}
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.{name}.v3.{message}Config
                      typed_config:
                        "@type": type.googleapis.com/envoy.extensions.http.{name}.simple_http_cache.v3.{store}Config
"#
    )
}

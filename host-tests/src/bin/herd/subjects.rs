//! Who is asked: Selvage, two Selvages with one Redis, and what else can stand in front of an origin.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
};

use selvage_host_tests::crowd::Origin;
use selvage_host_tests::envoy::{Gateway, Running, repository};
use selvage_host_tests::redis::{Bridge, free_port};

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
    nginx: Option<(Running, PathBuf)>,
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
            Self::Plain => "Envoy without a cache",
        }
    }

    /// Whether it is ours, and judged.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Selvage | Self::Fleet)
    }

    /// Starts it in front of the origin. `more` are members of the filter's configuration.
    pub fn start(self, origin: &Origin, more: &str) -> Stage {
        let mut stage = Stage { addresses: Vec::new(), gateways: Vec::new(), bridge: None, nginx: None };
        let of_envoy = |filter: &str| {
            let builder = Gateway::with("{}").origin(origin.url());
            let gateway = builder.try_start_edited(&own_filter(), filter);
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
            Self::Nginx => {
                let (address, nginx) = start_nginx(origin);
                stage.addresses.push(address);
                stage.nginx = Some(nginx);
            }
        }
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
        self.gateways.iter().find_map(|gateway| {
            let reloads: u64 = gateway.stats("vm_reload").iter().map(|(_, value)| value).sum();
            let log = gateway.log();
            let words = ["Uncaught RuntimeError", "RangeError", "Proxy-Wasm plugin in-VM", "[critical]"];
            let trap = log.lines().find(|line| words.iter().any(|word| line.contains(word)));
            match (reloads, trap) {
                (0, None) => None,
                (_, trap) => {
                    Some(format!("{reloads} VMs loaded anew: {}", trap.unwrap_or("nothing in the log")))
                }
            }
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some((running, folder)) = self.nginx.take() {
            drop(running);
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Our filter's lines in the local bootstrap.
fn own_filter() -> String {
    let text = fs::read_to_string(repository().join("envoy/bootstrap/local.yaml")).unwrap();
    let from = text.find("                  - name: selvage\n").unwrap();
    let to = text.find("                  - name: envoy.filters.http.router\n").unwrap();
    text[from..to].to_owned()
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

fn start_nginx(origin: &Origin) -> (SocketAddr, (Running, PathBuf)) {
    let port = free_port();
    let folder = std::env::temp_dir().join(format!("selvage-nginx-{}-{port}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let at = folder.display();
    let text = format!(
        "daemon off; user root; worker_processes 2; pid {at}/pid; error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  keepalive_requests 100000;
  proxy_cache_path {at}/cache keys_zone=herd:10m;
  upstream origin {{ server 127.0.0.1:{}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096 reuseport;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_cache herd; proxy_cache_key $uri; proxy_cache_lock on;
    }}
  }}
}}
",
        origin.port()
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(&folder).args(["-e", "stderr"]);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let running = Running::start(&command).ready(|_| TcpStream::connect(address).ok().map(drop));
    let (running, ()) = running.unwrap_or_else(|refused| panic!("nginx did not start:\n{}", refused.output));
    (address, (running, folder))
}

//! The Envoy that is asked: started for the load, or one that runs.

use std::{fs, net::SocketAddr, time::Duration};

use selvage_measure::crowd::Origin;
use selvage_measure::measured::reloaded;
use selvage_rig::envoy::Gateway;
use selvage_rig::process::{processor_time, resident_kib};

use crate::{
    arguments::Arguments,
    traffic::{Traffic, site},
};

/// What its own instance is configured with: what `envoy/run` has.
const CONFIGURATION: &str = r#"{ "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" },
  "defaults": { "refresh": { "cluster": "origin", "early": 1 }, "origin_breaker": { "enabled": true } } }"#;
/// The operators' token of its own instance.
const TOKEN: &str = "for-the-time-of-the-load";

/// What is asked. Dropping it stops what was started, and nothing else.
pub struct Instance {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is asked of it.
    pub traffic: Traffic,
    gateway: Option<Gateway>,
    process: Option<u32>,
}

impl Instance {
    /// Finds or starts it.
    pub fn new(arguments: &Arguments) -> Result<Self, String> {
        if let Some(address) = arguments.address {
            let token = std::env::var("SELVAGE_ADMIN_TOKEN").ok().filter(|token| !token.is_empty());
            let traffic = Traffic::foreign(arguments, token)?;
            let process = arguments.process.or_else(|| listener(address.port()));
            return Ok(Self { address, traffic, gateway: None, process });
        }
        let configuration = match &arguments.config {
            Some(file) => fs::read_to_string(file)
                .map_err(|problem| format!("--config {}: {problem}", file.display()))?,
            None => CONFIGURATION.to_owned(),
        };
        let origin = Origin::start(site);
        let builder = Gateway::with(&configuration).origin(origin.url()).workers(arguments.workers);
        let started = builder.environment("SELVAGE_ADMIN_TOKEN", TOKEN).try_start();
        let gateway = started.map_err(|refused| format!("`envoy/run` did not start:\n{}", refused.output))?;
        let (traffic, address) = (Traffic::own(arguments, TOKEN), gateway.address());
        Ok(Self { address, traffic, gateway: Some(gateway), process: listener(address.port()) })
    }

    /// The Envoy's resident memory, in KiB, if it can be seen.
    pub fn resident_kib(&self) -> Option<u64> {
        resident_kib(self.process?)
    }

    /// The processor time of the Envoy since it was started, if it can be seen.
    pub fn processor_time(&self) -> Option<Duration> {
        processor_time(self.process?)
    }

    /// What went wrong with it, if the load started it.
    pub fn unsound(&self) -> Option<String> {
        self.gateway.as_ref().and_then(reloaded)
    }
}

/// The process that listens on this port of this machine, among those that this user may look into.
fn listener(port: u16) -> Option<u32> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let sockets: Vec<String> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // The local address, the state (`0A` is listening) and the inode.
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let (_, digits) = local.rsplit_once(':')?;
            let fits = *state == "0A" && u16::from_str_radix(digits, 16) == Ok(port);
            fits.then(|| format!("socket:[{inode}]"))
        })
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        let holds =
            |link: std::path::PathBuf| sockets.iter().any(|socket| link.as_os_str() == socket.as_str());
        files.any(|file| fs::read_link(file.path()).is_ok_and(holds)).then_some(process)
    })
}

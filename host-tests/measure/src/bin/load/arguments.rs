//! What the command line says.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, Parser, value_parser};
use selvage_rig::arguments::{number, seconds};

use crate::targets::Targets;

/// All of it, with defaults for what it does not say.
#[derive(Parser)]
pub struct Arguments {
    /// A running instance; without one the load starts its own.
    #[arg(long = "url", value_parser = loopback)]
    pub address: Option<SocketAddr>,
    /// What clients name in `Host`.
    #[arg(long, default_value = "load.example")]
    pub host: String,
    /// A file with what is asked of a running instance, one target a line.
    #[arg(long, requires = "address")]
    pub paths: Option<PathBuf>,
    /// The Envoy whose memory is measured; found by its port otherwise.
    #[arg(long = "pid", requires = "address", value_parser = value_parser!(u32).range(1..=4_194_304))]
    pub process: Option<u32>,
    /// The filter's configuration of an instance of its own.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Worker threads of an instance of its own.
    #[arg(long, default_value = "2", value_parser = whole(1..=64))]
    pub workers: usize,
    /// Who asks, how and how much.
    #[command(flatten)]
    pub plan: Plan,
    /// What must be reached.
    #[command(flatten)]
    pub targets: Targets,
    /// Where the figures are written.
    #[arg(long)]
    pub save: Option<PathBuf>,
    /// Figures to compare with.
    #[arg(long)]
    pub baseline: Option<PathBuf>,
    /// By how many percent a figure may be worse than the baseline's.
    #[arg(long, default_value = "20", value_parser = number(0.0..=1000.0))]
    pub tolerance: f64,
}

/// Who asks, how and how much.
#[derive(Args, Clone)]
pub struct Plan {
    /// Users, each with a connection of its own and one request at a time.
    #[arg(long, default_value = "1000", value_parser = whole(1..=8192))]
    pub connections: usize,
    /// How long is measured.
    #[arg(long = "seconds", default_value = "20", value_parser = seconds(1.0..=1800.0))]
    pub lasting: Duration,
    /// Before that users come one by one.
    #[arg(long, default_value = "3", value_parser = seconds(0.0..=60.0))]
    pub ramp: Duration,
    /// How long a user waits on average between an answer and the next request.
    #[arg(long, default_value = "40", value_parser = milliseconds)]
    pub think: Duration,
    /// How many objects there are.
    #[arg(long, default_value = "10000", value_parser = whole(1..=1_000_000))]
    pub objects: usize,
    /// The exponent of Zipf's law.
    #[arg(long, default_value = "1", value_parser = number(0.0..=3.0))]
    pub skew: f64,
    /// Of all chance.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(0..=1_000_000_000_000_000))]
    pub seed: u64,
    /// The part of requests that must not be answered by the cache, from 0 to 1.
    #[arg(long, default_value = "2", value_parser = percent)]
    pub uncacheable: f64,
    /// The part that are purges.
    #[arg(long, default_value = "0.05", value_parser = percent)]
    pub purges: f64,
}

impl Arguments {
    /// Reads it.
    pub fn read() -> Result<Self, String> {
        let arguments = Self::parse();
        match arguments.address {
            Some(_) if arguments.config.is_some() => {
                Err("--config is for an instance of its own, --url names one that runs".to_owned())
            }
            _ => Ok(arguments),
        }
    }
}

fn whole(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |value| {
        let number = value.parse().ok().filter(|number| range.contains(number));
        let wanted = || format!("a whole number from {} to {} is wanted", range.start(), range.end());
        number.and_then(|number| usize::try_from(number).ok()).ok_or_else(wanted)
    }
}

/// A part of 1.
fn percent(value: &str) -> Result<f64, String> {
    number(0.0..=100.0)(value).map(|percent| percent / 100.0)
}

fn milliseconds(value: &str) -> Result<Duration, String> {
    number(0.0..=60_000.0)(value).map(|milliseconds| Duration::from_secs_f64(milliseconds / 1000.0))
}

/// The address in `http://127.0.0.1:PORT`. A load is no visit: what is on other machines is reached through a tunnel by whoever
/// may.
fn loopback(url: &str) -> Result<SocketAddr, String> {
    let rest = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let address = rest.map(|rest| rest.replacen("localhost", "127.0.0.1", 1).parse::<SocketAddr>());
    match address {
        Some(Ok(address)) if address.ip().is_loopback() => Ok(address),
        _ => Err(format!("it is http://127.0.0.1:PORT, an address of this machine, not '{url}'")),
    }
}

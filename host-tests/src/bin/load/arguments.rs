//! What the command line says.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use selvage_host_tests::arguments::CommandLine;

use crate::targets::Targets;

/// All of it, with defaults for what it does not say.
pub struct Arguments {
    /// A running instance; without one the load starts its own.
    pub address: Option<SocketAddr>,
    /// What clients name in `Host`.
    pub host: String,
    /// A file with what is asked of a running instance, one target a line.
    pub paths: Option<PathBuf>,
    /// The Envoy whose memory is measured; found by its port otherwise.
    pub process: Option<u32>,
    /// The filter's configuration of an instance of its own.
    pub config: Option<PathBuf>,
    /// Worker threads of an instance of its own.
    pub workers: usize,
    /// Who asks, how and how much.
    pub plan: Plan,
    /// What must be reached.
    pub targets: Targets,
    /// Where the figures are written.
    pub save: Option<PathBuf>,
    /// Figures to compare with.
    pub baseline: Option<PathBuf>,
    /// By how many percent a figure may be worse than the baseline's.
    pub tolerance: f64,
}

/// Who asks, how and how much.
#[derive(Clone)]
pub struct Plan {
    /// Users, each with a connection of its own and one request at a time.
    pub connections: usize,
    /// How long is measured.
    pub lasting: Duration,
    /// Before that users come one by one.
    pub ramp: Duration,
    /// How long a user waits on average between an answer and the next request.
    pub think: Duration,
    /// How many objects there are.
    pub objects: usize,
    /// The exponent of Zipf's law.
    pub skew: f64,
    /// Of all chance.
    pub seed: u64,
    /// The part of requests that must not be answered by the cache, from 0 to 1.
    pub uncacheable: f64,
    /// The part that are purges.
    pub purges: f64,
}

impl Arguments {
    /// Reads it.
    pub fn read() -> Result<Self, String> {
        let mut arguments = Self {
            address: None,
            host: "load.example".to_owned(),
            paths: None,
            process: None,
            config: None,
            workers: 2,
            plan: Plan {
                connections: 1000,
                lasting: Duration::from_secs(20),
                ramp: Duration::from_secs(3),
                think: Duration::from_millis(40),
                objects: 10_000,
                skew: 1.0,
                seed: 1,
                uncacheable: 0.02,
                purges: 0.0005,
            },
            targets: Targets::default(),
            save: None,
            baseline: None,
            tolerance: 20.0,
        };
        let mut given = CommandLine::of_process("see ./envoy/load --help");
        while let Some(option) = given.next_option() {
            arguments.take(&option, &mut given)?;
        }
        if arguments.address.is_none() {
            for (word, given) in
                [("--paths", arguments.paths.is_some()), ("--pid", arguments.process.is_some())]
            {
                if given {
                    return Err(format!("{word} goes with --url"));
                }
            }
        } else if arguments.config.is_some() {
            return Err("--config is for an instance of its own, --url names one that runs".to_owned());
        }
        Ok(arguments)
    }

    fn take(&mut self, option: &str, given: &mut CommandLine) -> Result<(), String> {
        let plan = &mut self.plan;
        match option {
            "--url" => self.address = Some(loopback(&given.text()?)?),
            "--host" => self.host = given.text()?,
            "--paths" => self.paths = Some(given.file()?),
            "--pid" => self.process = Some(given.whole(1..=4_194_304)? as u32),
            "--config" => self.config = Some(given.file()?),
            "--workers" => self.workers = given.whole(1..=64)? as usize,
            "--connections" => plan.connections = given.whole(1..=8192)? as usize,
            "--seconds" => plan.lasting = Duration::from_secs_f64(given.number(1.0..=1800.0)?),
            "--ramp" => plan.ramp = Duration::from_secs_f64(given.number(0.0..=60.0)?),
            "--think" => plan.think = Duration::from_secs_f64(given.number(0.0..=60_000.0)? / 1000.0),
            "--objects" => plan.objects = given.whole(1..=1_000_000)? as usize,
            "--skew" => plan.skew = given.number(0.0..=3.0)?,
            "--seed" => plan.seed = given.whole(0..=1_000_000_000_000_000)?,
            "--uncacheable" => plan.uncacheable = given.number(0.0..=100.0)? / 100.0,
            "--purges" => plan.purges = given.number(0.0..=100.0)? / 100.0,
            "--save" => self.save = Some(given.file()?),
            "--baseline" => self.baseline = Some(given.file()?),
            "--tolerance" => self.tolerance = given.number(0.0..=1000.0)?,
            "--targets" => {
                given.one_of(&["off"])?;
                self.targets = Targets::off();
            }
            _ => {
                let target = self.targets.named(option).ok_or_else(|| given.unknown())?;
                *target = given.number_or_off(0.0..=1e9)?;
            }
        }
        Ok(())
    }
}

/// The address in `http://127.0.0.1:PORT`. A load is no visit: what is on other machines is reached through a tunnel by whoever
/// may.
fn loopback(url: &str) -> Result<SocketAddr, String> {
    let rest = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let address = rest.map(|rest| rest.replacen("localhost", "127.0.0.1", 1).parse::<SocketAddr>());
    match address {
        Some(Ok(address)) if address.ip().is_loopback() => Ok(address),
        _ => Err(format!("--url takes http://127.0.0.1:PORT, an address of this machine, not '{url}'")),
    }
}

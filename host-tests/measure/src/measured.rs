//! What programs that measure have in common: samples, their summary, what was run where.

use std::{
    collections::BTreeMap,
    env, fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use selvage_rig::envoy::Gateway;

/// One request.
pub struct Sample {
    /// When it was to be sent, since the load's start. Latency counts from here.
    pub due: Duration,
    /// How long after that it was sent.
    pub late: Duration,
    /// How long after `due` the whole answer was there.
    pub latency: Duration,
    /// What `Cache-Status` said, or what was wrong.
    pub outcome: Result<String, String>,
}

/// What is known of the requests of one phase.
#[derive(Default)]
pub struct Phase {
    /// How many there were.
    pub requests: usize,
    /// Half of the latencies are below, in milliseconds.
    pub p50: f64,
    /// 99 of 100 are.
    pub p99: f64,
    /// The longest.
    pub longest: f64,
    /// What `Cache-Status` said, by how often.
    pub said: BTreeMap<String, usize>,
}

impl Phase {
    /// The phase with the requests that were due from `from` to `to`.
    pub fn of(samples: &[Sample], from: Duration, to: Duration) -> Self {
        Self::with(samples.iter().filter(|sample| (from..to).contains(&sample.due)))
    }

    /// The phase with these requests.
    pub fn with<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut phase = Self::default();
        let mut latencies = Vec::new();
        for sample in samples {
            phase.requests += 1;
            latencies.push(sample.latency.as_secs_f64() * 1000.0);
            if let Ok(said) = &sample.outcome {
                *phase.said.entry(gist(said)).or_default() += 1;
            }
        }
        latencies.sort_by(f64::total_cmp);
        let quantile =
            |part: f64| latencies.get((latencies.len() as f64 * part) as usize).or(latencies.last()).copied();
        phase.p50 = quantile(0.5).unwrap_or_default();
        phase.p99 = quantile(0.99).unwrap_or_default();
        phase.longest = latencies.last().copied().unwrap_or_default();
        phase
    }

    /// The five that `Cache-Status` said most often.
    pub fn commonest(&self) -> String {
        commonest(&self.said)
    }
}

/// The five outcomes that are the most frequent, with how often they were.
pub fn commonest(said: &BTreeMap<String, usize>) -> String {
    let mut said: Vec<_> = said.iter().collect();
    said.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown = said.iter().take(5).map(|(what, count)| format!("{what} {count}"));
    shown.collect::<Vec<_>>().join(", ")
}

/// `hit remote`, `uri-miss`, `stale stored`: what matters of a `Cache-Status`.
pub fn gist(said: &str) -> String {
    let parts: Vec<&str> = said.split("; ").collect();
    let value = |name: &str| parts.iter().find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let first = if parts.contains(&"hit") { "hit" } else { value("fwd").unwrap_or("nothing") };
    let collapsed = parts.contains(&"collapsed").then_some("collapsed");
    [Some(first), value("detail"), collapsed].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What was wrong with answers, by how often.
pub fn errors(samples: &[Sample]) -> BTreeMap<String, usize> {
    let mut errors = BTreeMap::new();
    for problem in samples.iter().filter_map(|sample| sample.outcome.as_ref().err()) {
        *errors.entry(problem.clone()).or_default() += 1;
    }
    errors
}

/// The 99th percentile of how late requests were sent.
pub fn late(samples: &[Sample]) -> Duration {
    let mut late: Vec<Duration> = samples.iter().map(|sample| sample.late).collect();
    late.sort();
    late.get(late.len() * 99 / 100).copied().unwrap_or_default()
}

/// In milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// So large a part of the values is no larger; 0 without values.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values.get(at).or(values.last()).copied().unwrap_or_default()
}

/// The counters that grew, and by how much.
pub fn moved(early: &BTreeMap<String, u64>, late: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let by = |(name, value): (&String, &u64)| {
        let by = value.saturating_sub(early.get(name).copied().unwrap_or_default());
        (by > 0).then(|| (name.clone(), by))
    };
    late.iter().filter_map(by).collect()
}

/// Whether a VM trapped or was loaded anew since the start, with the line of Envoy's log that says why.
pub fn reloaded(gateway: &Gateway) -> Option<String> {
    let reloads: u64 = gateway.stats("vm_reload").iter().map(|(_, value)| value).sum();
    let log = gateway.log();
    let words = ["Uncaught RuntimeError", "RangeError", "Proxy-Wasm plugin in-VM", "[critical]"];
    let trap = log.lines().find(|line| words.iter().any(|word| line.contains(word)));
    (reloads > 0 || trap.is_some())
        .then(|| format!("Envoy loaded {reloads} VMs anew: {}", trap.unwrap_or("nothing in the log")))
}

/// Counters in a line, the largest first.
pub fn counted(moved: &BTreeMap<String, u64>) -> String {
    let mut moved: Vec<_> = moved.iter().collect();
    moved.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    moved.iter().map(|(name, by)| format!("{name} {by}")).collect::<Vec<_>>().join(", ")
}

/// The last cell of a row.
pub fn verdict(faults: &[String]) -> String {
    if faults.is_empty() { "ok".to_owned() } else { format!("**{}**", faults.join("; ")) }
}

/// What `program --version` prints, the first line.
pub fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}

/// The command as it was given and where it runs: cores, processor, Envoy.
pub fn machine(command: &str) -> String {
    let words = [command.to_owned()].into_iter().chain(env::args().skip(1)).collect::<Vec<_>>().join(" ");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let processor = processor.trim_matches([' ', '\t', ':']);
    let envoy = env::var("ENVOY_BIN").map_or_else(|_| "Envoy".to_owned(), |program| version(&program));
    let envoy = envoy.split('/').nth_back(3).map_or(envoy.clone(), |version| format!("Envoy {version}"));
    format!("`{words}`: {cores} cores ({processor}) for everything, {envoy} with 2 workers")
}

/// The load average of the last minute, as text.
pub fn load_average() -> String {
    let busy = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    busy.split(' ').next().unwrap_or_default().to_owned()
}

/// `Redis 7.0.15`.
pub fn redis_version() -> String {
    let redis = version("redis-server");
    format!("Redis {}", redis.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?"))
}

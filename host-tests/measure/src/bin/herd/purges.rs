//! Something that must be gone, or stale, in every worker of two Envoys.

use std::time::{Duration, Instant};

use selvage_measure::crowd::{Origin, Plan, Swarm};
use selvage_measure::measured::verdict;
use selvage_rig::envoy::{Connection, Gateway};
use selvage_rig::process::Ticks;

use crate::load::Load;
use crate::subjects::{Subject, TOKEN};

const PURGES: usize = 1000;
/// To each Envoy: all on one worker once in a hundred thousand times.
const CONNECTIONS: usize = 18;
/// In how many milliseconds 99 of 100 purges are to be known everywhere.
const MOST: f64 = 150.0;
/// Responses with the tag that a purge names.
const FEW: usize = 10;
const MANY: usize = 100_000;
/// How often each of the two is purged.
const REPEATED: usize = 50;
const FILLING: u32 = 4000;

/// What came of it.
pub struct Purges {
    /// What was purged, and how.
    kinds: Vec<(&'static str, Times)>,
    all: Times,
    /// How long the answers to purges by tag took that covered few and many.
    few: Times,
    many: Times,
    /// Entries in the worker stores of both Envoys when many were purged.
    entries: u64,
    others: f64,
    unsound: Option<String>,
}

#[derive(Default)]
struct Times(Vec<f64>);

/// A body tells which fetch it is of, so what is old can be told from what is new.
fn script(path: &str, before: usize) -> Plan {
    let (tag, body) = match path.trim_start_matches('/').split_once('/') {
        Some((tag, _)) => (tag, path.to_owned()),
        None => (path.trim_start_matches('/'), format!("{path} {before}")),
    };
    Plan {
        delay: Duration::ZERO,
        status: 200,
        fields: format!("cache-control: max-age=3600\r\nsurrogate-key: {tag}\r\n"),
        body: body.into_bytes(),
        ..Plan::default()
    }
}

/// Measures it.
pub fn measure(members: &str) -> Purges {
    let origin = Origin::start(script);
    let own = r#""admin": { "token_env": "SELVAGE_ADMIN_TOKEN" }, "worker": { "bytes": "256MiB" }"#;
    let members = if members.is_empty() { own.to_owned() } else { format!("{own}, {members}") };
    let stage = Subject::Fleet.start(&origin, &members);
    let ticks = Ticks::now();
    let mut purges = Purges {
        kinds: ["tag, hard", "tag, soft", "URL, hard", "URL, soft"]
            .map(|kind| (kind, Times::default()))
            .into(),
        all: Times::default(),
        few: Times::default(),
        many: Times::default(),
        entries: 0,
        others: 0.0,
        unsound: None,
    };
    let mut readers: Vec<Connection> =
        stage.gateways.iter().flat_map(|gateway| (0..CONNECTIONS).map(|_| gateway.connect())).collect();
    let mut operators: Vec<Connection> = stage.gateways.iter().map(Gateway::connect).collect();
    for number in 0..PURGES {
        let what = match number / 2 % 2 {
            0 => format!(r#""tags":["key-{number}"]"#),
            _ => format!(r#""urls":["http://herd.example/key-{number}"]"#),
        };
        let kind = number / 2 % 2 * 2 + number % 2;
        let body = format!(r#"{{{what},"soft":{}}}"#, number % 2 == 1);
        let target = format!("/key-{number}");
        let old: Vec<Vec<u8>> = readers.iter_mut().map(|reader| stored(reader, &target)).collect();
        purge(&mut operators[number / 4 % 2], &body);
        let took = until_new(&mut readers, &target, &old);
        purges.kinds[kind].1.0.push(took);
        purges.all.0.push(took);
    }
    purges.count_does_not_matter(&stage.addresses, &stage.gateways, &mut operators[0]);
    purges.others = ticks.others_since();
    purges.unsound = stage.unsound();
    purges
}

fn ask(connection: &mut Connection, target: &str) -> (bool, Vec<u8>) {
    let ask = connection.get(target).header("host", "herd.example");
    let answer = connection.send(ask);
    assert_eq!(answer.status, 200, "{target}");
    (answer.is_hit(), answer.body)
}

/// What a connection's worker has stored, after it has.
fn stored(connection: &mut Connection, target: &str) -> Vec<u8> {
    let answers = (0..100).map(|_| ask(connection, target));
    answers.into_iter().find(|(hit, _)| *hit).expect("it is stored").1
}

/// Returns when the purge is accepted.
fn purge(connection: &mut Connection, body: &str) {
    let ask = connection.ask("POST", "/.selvage/purge").header("host", "herd.example");
    let answer = connection.send(ask.header("authorization", format!("Bearer {TOKEN}")).body(body));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// How many milliseconds it takes until every connection has got something new.
fn until_new(readers: &mut [Connection], target: &str, old: &[Vec<u8>]) -> f64 {
    let accepted = Instant::now();
    let mut waiting: Vec<usize> = (0..readers.len()).collect();
    while !waiting.is_empty() {
        waiting.retain(|number| ask(&mut readers[*number], target).1 == old[*number]);
        assert!(accepted.elapsed() < Duration::from_secs(10), "{target} is never purged");
    }
    accepted.elapsed().as_secs_f64() * 1000.0
}

impl Purges {
    /// Fills the stores, and purges by a tag that covers few and one that covers many.
    fn count_does_not_matter(
        &mut self,
        addresses: &[std::net::SocketAddr],
        gateways: &[Gateway],
        operator: &mut Connection,
    ) {
        let mut swarm = Swarm::open(addresses, 256);
        let fill = |swarm: &mut Swarm, count: usize, target: &dyn Fn(usize, Duration) -> String| {
            let lasting = Duration::from_secs(1) * count as u32 / FILLING;
            let wanted = |target: &str| target.as_bytes().to_vec();
            let samples = Load { rate: FILLING, lasting, target, wanted: &wanted }.run(swarm, 256, |_| {});
            assert!(samples.len() + 1 >= count, "{} of {count}", samples.len());
            assert!(samples.iter().all(|sample| sample.outcome.is_ok()), "filling failed");
        };
        fill(&mut swarm, FEW, &|number, _| format!("/few/{number}"));
        fill(&mut swarm, MANY, &|number, _| format!("/many/{number}"));
        self.entries = gateways.iter().map(|gateway| gateway.stat("selvage.entries.worker")).sum();
        for _ in 0..REPEATED {
            for (body, times) in
                [(r#"{"tags":["few"]}"#, &mut self.few), (r#"{"tags":["many"]}"#, &mut self.many)]
            {
                let start = Instant::now();
                purge(operator, body);
                times.0.push(start.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }

    /// What is not as it should be.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let p99 = self.all.quantile(0.99);
        if p99 > MOST {
            faults.push(format!("p99 {p99:.0} ms, want {MOST}"));
        }
        if self.many.quantile(0.5) > 2.0 * self.few.quantile(0.5) {
            faults.push("many cost more than few".to_owned());
        }
        faults.extend(self.unsound.clone());
        faults
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        let faults = self.faults();
        let told = if faults.is_empty() { "ok".to_owned() } else { faults.join("; ") };
        format!(
            "{PURGES} purges: p50 {:.0} ms, p99 {:.0} ms, {told}",
            self.all.quantile(0.5),
            self.all.quantile(0.99)
        )
    }

    /// The tables of this part.
    pub fn render(&self) -> String {
        let mut text = format!(
            "## A purge\n\n\
             {PURGES} purges, half of them at each of two Envoys with two workers and one Redis. Time counts from the answer to the purge to the\n\
             first new content on the last of {} connections, which are asked in turn. Others used {:.0} % of the cores meanwhile.\n\n\
             | purge | times | p50, ms | p99, ms | longest, ms | verdict |\n|---|---|---|---|---|---|\n",
            2 * CONNECTIONS,
            self.others * 100.0
        );
        let all = ("all", &self.all);
        for (name, times) in self.kinds.iter().map(|(name, times)| (*name, times)).chain([all]) {
            let told = if name == "all" { verdict(&self.faults()) } else { String::new() };
            text += &format!("| {name} | {} | {} | {told} |\n", times.0.len(), times.cells());
        }
        text += &format!(
            "\nThe answer to a purge by tag, from the request on, with {} entries in the worker stores:\n\n\
             | the tag covers | times | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|\n",
            self.entries
        );
        for (count, times) in [(FEW, &self.few), (MANY, &self.many)] {
            text += &format!("| {count} | {} | {} |\n", times.0.len(), times.cells());
        }
        text
    }
}

impl Times {
    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get((sorted.len() as f64 * part) as usize).or(sorted.last()).copied().unwrap_or_default()
    }

    fn cells(&self) -> String {
        format!("{:.2} | {:.2} | {:.2}", self.quantile(0.5), self.quantile(0.99), self.quantile(1.0))
    }
}

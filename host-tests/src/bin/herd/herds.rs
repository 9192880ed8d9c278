//! Thousands of clients at once for one key that is not stored.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant, SystemTime},
};

use httpdate::fmt_http_date;
use selvage_host_tests::crowd::{Finished, Origin, Plan, Swarm, get};
use selvage_host_tests::measured::{Phase, Sample, Ticks, commonest, counted, errors, moved, verdict};

use crate::subjects::{Stage, Subject};

/// How many clients there are.
pub const CLIENTS: usize = 4000;
/// How long the origin takes, in milliseconds.
const ORIGIN_TAKES: u64 = 500;
/// What 4,000 fetches at once may cost beyond what the origin takes: see the rows of Envoy without a cache.
const ALL_FETCH: u64 = 500;
/// How much longer the 99th percentile may be.
const SLACK: u64 = 150;
/// The leader goes away after so long; what breaks off does so so long after its head.
const LATER: u64 = 100;
/// A herd that is not answered by then never is.
const PATIENCE: Duration = Duration::from_secs(12);
const BODY_BYTES: usize = 2048;
/// A herd of ours during which others used more of the machine is tried again, and the less disturbed kept, not the faster.
const DISTURBED: f64 = 0.1;

/// What happens to the first fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The response is stored before anybody asks: what 4,000 answers at once cost.
    Stored,
    /// The first thing that is asked of the processes at all: V8 has not compiled the filter's hot paths yet.
    Started,
    Cold,
    LeaderLeaves,
    LeaderGets500,
    NoStore,
    BreaksOff,
}

/// All, in the table's order.
pub const SCENARIOS: [Scenario; 7] = [
    Scenario::Started,
    Scenario::Cold,
    Scenario::Stored,
    Scenario::LeaderLeaves,
    Scenario::LeaderGets500,
    Scenario::NoStore,
    Scenario::BreaksOff,
];

/// What came of a herd.
pub struct Herd {
    subject: Subject,
    scenario: Scenario,
    phase: Phase,
    errors: BTreeMap<String, usize>,
    fetches: usize,
    /// From the first request to the last answer.
    took: Duration,
    /// The part of the machine that others used meanwhile.
    others: f64,
    moved: BTreeMap<String, u64>,
    resident_mib: u64,
    unsound: Option<String>,
}

impl Scenario {
    fn path(self) -> &'static str {
        match self {
            Self::Stored => "/stored",
            Self::Started => "/just-started",
            Self::Cold => "/cold",
            Self::LeaderLeaves => "/leader-leaves",
            Self::LeaderGets500 => "/leader-gets-500",
            Self::NoStore => "/no-store",
            Self::BreaksOff => "/breaks-off",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Stored => "already stored",
            Self::Started => "cold key, first herd since the start",
            Self::Cold => "cold key",
            Self::LeaderLeaves => "the leader's client leaves after 100 ms",
            Self::LeaderGets500 => "the first fetch gets 500",
            Self::NoStore => "it turns out `no-store`",
            Self::BreaksOff => "the origin resets half way through the first body",
        }
    }

    /// What each client may be short of, how many fetches there may be, and the bound of the 99th percentile in ms.
    fn wants(self) -> (usize, Option<usize>, Option<u64>) {
        match self {
            // What the machine takes, without any waiting.
            Self::Stored => (0, Some(1), None),
            Self::Started | Self::Cold => (0, Some(1), Some(ORIGIN_TAKES + SLACK)),
            Self::LeaderLeaves => (0, Some(2), Some(LATER + ORIGIN_TAKES + SLACK)),
            // One client gets the 500, and one other asks again.
            Self::LeaderGets500 => (1, Some(2), Some(2 * ORIGIN_TAKES + SLACK)),
            // As many fetches again as there are clients take their time; in line they would take minutes.
            Self::NoStore => (0, Some(CLIENTS), Some(2 * ORIGIN_TAKES + ALL_FETCH)),
            Self::BreaksOff => (1, Some(2), Some(2 * ORIGIN_TAKES + LATER + SLACK)),
        }
    }
}

/// What the origin does in this part.
pub fn script(path: &str, before: usize) -> Plan {
    let fields = if path.starts_with(Scenario::NoStore.path()) { "no-store" } else { "max-age=3600" };
    let mut plan = Plan {
        delay: Duration::from_millis(ORIGIN_TAKES),
        status: 200,
        fields: format!(
            "cache-control: {fields}\r\ndate: {}\r\ncontent-type: application/octet-stream\r\n",
            fmt_http_date(SystemTime::now())
        ),
        body: body(path),
        ..Plan::default()
    };
    if path.starts_with(Scenario::LeaderGets500.path()) && before == 0 {
        plan = Plan { status: 500, fields: String::new(), body: b"broken".to_vec(), ..plan };
    }
    if path.starts_with(Scenario::BreaksOff.path()) && before == 0 {
        plan.breaks = Some((BODY_BYTES / 2, Duration::from_millis(LATER)));
    }
    plan
}

/// What a path's body is.
fn body(path: &str) -> Vec<u8> {
    path.bytes().cycle().take(BODY_BYTES).collect()
}

/// Every scenario for a subject, in processes of its own.
pub fn measure(subject: Subject, members: &str) -> Vec<Herd> {
    let origin = Origin::start(script);
    let stage = subject.start(&origin, members);
    let scenarios =
        SCENARIOS.iter().filter(|scenario| subject != Subject::Plain || **scenario == Scenario::Cold);
    let measure = |scenario: &Scenario| {
        let measured = herd(subject, *scenario, 0, &stage, &origin);
        if measured.others <= DISTURBED || !subject.is_ours() || *scenario == Scenario::Started {
            return measured;
        }
        let other = herd(subject, *scenario, 1, &stage, &origin);
        if other.others < measured.others { other } else { measured }
    };
    scenarios.map(measure).collect()
}

fn herd(subject: Subject, scenario: Scenario, again: u32, stage: &Stage, origin: &Origin) -> Herd {
    let path = &format!("{}/{again}", scenario.path());
    let before = stage.counters();
    let mut swarm = Swarm::open(&stage.addresses, CLIENTS);
    let (mut samples, mut first) = (Vec::new(), 0);
    let mut begun = Instant::now();
    let mut leaves = None;
    match scenario {
        Scenario::Stored => {
            swarm.ask(0, &get(path), begun);
            swarm_until(&mut swarm, Instant::now() + PATIENCE, 1, |_| {});
            thread::sleep(Duration::from_millis(200));
            begun = Instant::now();
        }
        Scenario::LeaderLeaves => {
            swarm.ask(0, &get(path), begun);
            while origin.fetches(path).is_empty() && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(1));
            }
            leaves = Some(begun + Duration::from_millis(LATER));
            first = 1;
        }
        _ => {}
    }
    let ticks = Ticks::now();
    for client in first..CLIENTS {
        swarm.ask(client, &get(path), Instant::now());
    }
    let wanted = body(path);
    let mut take = |finished: Finished| samples.push(sample(finished, &wanted));
    let deadline = begun + PATIENCE;
    if let Some(at) = leaves {
        swarm_until(&mut swarm, at, CLIENTS, &mut take);
        swarm.hang_up(0);
    }
    let already = samples.len();
    let mut take = |finished: Finished| samples.push(sample(finished, &wanted));
    swarm_until(&mut swarm, deadline, CLIENTS - first - already, &mut take);
    let (took, others) = (begun.elapsed(), ticks.others_since());
    for _ in samples.len()..CLIENTS - first {
        samples.push(Sample {
            due: Duration::ZERO,
            late: Duration::ZERO,
            latency: PATIENCE,
            outcome: Err("nothing".to_owned()),
        });
    }
    drop(swarm);
    // Counters are exported now and then.
    thread::sleep(Duration::from_millis(300));
    Herd {
        subject,
        scenario,
        phase: Phase::with(&samples),
        errors: errors(&samples),
        fetches: origin.fetches(path).len(),
        took,
        others,
        moved: moved(&before, &stage.counters()),
        resident_mib: stage.gateways.iter().map(|gateway| gateway.resident_kib() / 1024).sum(),
        unsound: stage.unsound(),
    }
}

/// Takes in answers until there are so many, or the moment has come.
fn swarm_until(swarm: &mut Swarm, until: Instant, count: usize, mut take: impl FnMut(Finished)) {
    let mut taken = 0;
    while taken < count && Instant::now() < until {
        swarm.poll(until, |finished| {
            taken += 1;
            take(finished);
        });
    }
}

fn sample(finished: Finished, wanted: &[u8]) -> Sample {
    let outcome = match finished.answer {
        Err(problem) => Err(problem.to_owned()),
        Ok(answer) if answer.status != 200 => Err(format!("status {}", answer.status)),
        Ok(answer) if answer.body() != wanted => Err("wrong body".to_owned()),
        Ok(answer) => Ok(answer.cache_status()),
    };
    Sample { due: Duration::ZERO, late: Duration::ZERO, latency: finished.latency, outcome }
}

impl Herd {
    /// What is not as it should be; empty for what is not ours.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.subject.is_ours() {
            return faults;
        }
        let (short, fetches, bound) = self.scenario.wants();
        let problems: usize = self.errors.values().sum();
        if problems > short {
            faults.push(format!("{problems} clients without the whole 200"));
        }
        if let Some(most) = fetches.filter(|most| self.fetches > *most) {
            faults.push(format!("{} fetches, want {most}", self.fetches));
        }
        if let Some(bound) = bound.filter(|bound| self.phase.p99 > *bound as f64) {
            faults.push(format!("p99 {:.0} ms, want {bound}", self.phase.p99));
        }
        faults.extend(self.unsound.clone());
        faults
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        let faults = self.faults();
        format!(
            "{:<32} {:<16} {:>5} fetches, p50 {:>6.0} ms, p99 {:>6.0} ms, {} errors, others {:.0} %, {}",
            self.subject.title(),
            self.scenario.path(),
            self.fetches,
            self.phase.p50,
            self.phase.p99,
            self.errors.values().sum::<usize>(),
            self.others * 100.0,
            if faults.is_empty() { "ok".to_owned() } else { faults.join("; ") }
        )
    }
}

/// The tables of this part.
pub fn render(herds: &[Herd]) -> String {
    let mut text = format!(
        "## {CLIENTS} clients at once\n\n\
         An origin that takes {ORIGIN_TAKES} ms. All connections are open before the first request is written; latency counts from a client's\n\
         own request, and every body is compared. Wanted of Selvage: no trap, every client its 200 (but the one to whom the origin\n\
         gave something else), and what follows. A herd during which other processes used more than {:.0} % of the cores (\"others used\") is\n\
         tried once again when it is ours, and the less disturbed kept, not the faster.\n\n\
         | the first fetch | fetches | p99, ms |\n|---|---|---|\n",
        DISTURBED * 100.0
    );
    for scenario in SCENARIOS {
        let (_, fetches, bound) = scenario.wants();
        let or_free = |bound: Option<u64>| bound.map_or("not judged".to_owned(), |bound| bound.to_string());
        let fetches = or_free(fetches.map(|fetches| fetches as u64));
        text += &format!("| {} | {fetches} | {} |\n", scenario.title(), or_free(bound));
    }
    text.push_str(
        "\n| the first fetch | cache | origin fetches | whole 200s | others | p50, ms | p99, ms | longest, ms | all answered after, ms | others used | traps | verdict |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for scenario in SCENARIOS {
        for herd in herds.iter().filter(|herd| herd.scenario == scenario) {
            text += &herd.row();
        }
    }
    text.push_str(
        "\nFor scale: \"already stored\" is what 4,000 answers at once cost here, and \"Envoy without a cache\" what as many fetches cost.\n\
         nginx looks every 500 ms whether the response has come, and 500 ms is what the origin takes; its other fetches leave at once, one\n\
         for about each thousand requests.\n",
    );
    text.push_str(
        "\n| the first fetch | cache | `Cache-Status` | counted | Envoy, MiB |\n|---|---|---|---|---|\n",
    );
    for scenario in SCENARIOS {
        for herd in herds.iter().filter(|herd| herd.scenario == scenario && herd.subject.is_ours()) {
            text += &format!(
                "| {} | {} | {} | {} | {} |\n",
                scenario.title(),
                herd.subject.title(),
                herd.phase.commonest(),
                counted(&herd.moved),
                herd.resident_mib
            );
        }
    }
    text
}

impl Herd {
    fn row(&self) -> String {
        let problems: usize = self.errors.values().sum();
        format!(
            "| {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} % | {} | {} |\n",
            self.scenario.title(),
            self.subject.title(),
            self.fetches,
            self.phase.requests - problems,
            commonest(&self.errors),
            self.phase.p50,
            self.phase.p99,
            self.phase.longest,
            self.took.as_secs_f64() * 1000.0,
            self.others * 100.0,
            if self.unsound.is_some() { "**yes**" } else { "0" },
            if self.subject.is_ours() { verdict(&self.faults()) } else { String::new() },
        )
    }
}

//! Thousands of clients at once for one key that is not stored.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Finished, Origin, Swarm};
use selvage_measure::measured::{Phase, Sample, commonest, counted, errors, moved, verdict};
use selvage_rig::process::Ticks;

use crate::scenario::{CLIENTS, Facts, LATER, ORIGIN_TAKES, Opening, SCENARIOS, Scenario, script};
use crate::subjects::{Stage, Subject};

/// A herd that is not answered by then never is.
const PATIENCE: Duration = Duration::from_secs(12);
/// A herd of ours during which others used more of the machine is tried again, and the less disturbed kept, not the faster.
const DISTURBED: f64 = 0.1;

/// What came of a herd.
pub struct Herd {
    subject: Subject,
    facts: &'static Facts,
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

/// Every scenario for a subject, in processes of its own.
pub fn measure(subject: Subject, members: &str) -> Vec<Herd> {
    let origin = Origin::attentive(script);
    let stage = subject.start(&origin, members);
    let scenarios =
        SCENARIOS.iter().filter(|facts| subject != Subject::Plain || facts.scenario == Scenario::Cold);
    let measure = |facts| {
        let measured = herd(subject, facts, 0, &stage, &origin);
        if measured.others <= DISTURBED || !subject.is_ours() || facts.scenario == Scenario::Started {
            return measured;
        }
        let other = herd(subject, facts, 1, &stage, &origin);
        if other.others < measured.others { other } else { measured }
    };
    scenarios.map(measure).collect()
}

fn herd(subject: Subject, facts: &'static Facts, again: u32, stage: &Stage, origin: &Origin) -> Herd {
    let (scenario, clients) = (facts.scenario, facts.scenario.clients());
    let path = &format!("{}/{again}", facts.path);
    let before = stage.counters();
    let mut swarm = Swarm::open(&stage.addresses, clients);
    let mut leaders = 0;
    match facts.opening {
        Opening::Nothing => {}
        Opening::Stored => teach(&mut swarm, 1, &scenario.lesson(path)),
        Opening::Taught => teach(&mut swarm, stage.addresses.len(), &scenario.lesson(path)),
        Opening::Leads => leaders = scenario.leaders(),
    }
    // Made beforehand: the clients share the cores with what is measured.
    let requests: Vec<Vec<u8>> = (0..clients).map(|client| scenario.request(path, client)).collect();
    let wanted: Vec<Vec<u8>> = (0..clients).map(|client| scenario.wanted(path, client)).collect();
    let begun = Instant::now();
    for (client, request) in requests.iter().enumerate().take(leaders) {
        swarm.ask(client, request, begun);
    }
    while origin.fetches_below(path).len() < leaders && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    let ticks = Ticks::now();
    for (client, request) in requests.iter().enumerate().skip(leaders) {
        swarm.ask(client, request, Instant::now());
    }
    let (mut samples, mut expected) = (Vec::new(), clients);
    let mut take = |finished: Finished| samples.push(sample(finished, scenario, &wanted));
    if scenario == Scenario::LeaderLeaves {
        let taken = swarm_until(&mut swarm, begun + Duration::from_millis(LATER), clients, &mut take);
        swarm.hang_up(0);
        expected -= 1 + taken;
    }
    swarm_until(&mut swarm, begun + PATIENCE, expected, &mut take);
    let (took, others) = (begun.elapsed(), ticks.others_since());
    let answers = clients - usize::from(scenario == Scenario::LeaderLeaves);
    for _ in samples.len()..answers {
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
    let fetches = origin.fetches_below(path).into_iter();
    Herd {
        subject,
        facts,
        phase: Phase::with(&samples),
        errors: errors(&samples),
        fetches: fetches.filter(|at| facts.opening != Opening::Taught || *at >= begun).count(),
        took,
        others,
        moved: moved(&before, &stage.counters()),
        resident_mib: stage.gateways.iter().map(|gateway| gateway.resident_kib() / 1024).sum(),
        unsound: stage.unsound(),
    }
}

/// Has the first clients ask one after the other, and waits until what they got may be stored.
fn teach(swarm: &mut Swarm, clients: usize, request: &[u8]) {
    for client in 0..clients {
        swarm.ask(client, request, Instant::now());
        swarm_until(swarm, Instant::now() + PATIENCE, 1, |_| {});
        thread::sleep(Duration::from_millis(200));
    }
}

/// Takes in answers until there are so many, or the moment has come; gives how many.
fn swarm_until(swarm: &mut Swarm, until: Instant, count: usize, mut take: impl FnMut(Finished)) -> usize {
    let mut taken = 0;
    while taken < count && Instant::now() < until {
        swarm.poll(until, |finished| {
            taken += 1;
            take(finished);
        });
    }
    taken
}

fn sample(finished: Finished, scenario: Scenario, wanted: &[Vec<u8>]) -> Sample {
    let client = finished.client;
    let outcome = match finished.answer {
        Err(problem) => Err(problem.to_owned()),
        Ok(answer) if answer.status == 304 && scenario.has_it(client) => Ok(answer.cache_status()),
        Ok(answer) if answer.status != 200 => Err(format!("status {}", answer.status)),
        Ok(answer) if answer.body() != wanted[client] => Err("wrong body".to_owned()),
        Ok(answer) => Ok(answer.cache_status()),
    };
    // What is slow by itself is judged by its head.
    let latency = if scenario == Scenario::SlowBody { finished.head } else { finished.latency };
    Sample { due: Duration::ZERO, late: Duration::ZERO, latency, outcome }
}

impl Herd {
    /// What is not as it should be; empty for what is not ours.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.subject.is_ours() {
            return faults;
        }
        let Facts { short, fetches, p99, .. } = self.facts;
        let problems: usize = self.errors.values().sum();
        if problems > *short {
            faults.push(format!("{problems} clients without the whole 200"));
        }
        if self.fetches > *fetches {
            faults.push(format!("{} fetches, want {fetches}", self.fetches));
        }
        if let Some(bound) = p99.filter(|bound| self.phase.p99 > *bound as f64) {
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
            self.facts.path,
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
         own request to the whole answer, of the slow body to its head, and every body is compared. Fetches for what was asked\n\
         beforehand are not counted where another answer had to be known before. Wanted of Selvage: no trap, every client its 200 (but\n\
         the one to whom the origin gave something else; 304 for the leader that has it), and what follows. A herd during which other processes used more than {:.0} % of the cores (\"others used\") is\n\
         tried once again when it is ours, and the less disturbed kept, not the faster.\n\n\
         | the first fetch | fetches | p99, ms |\n|---|---|---|\n",
        DISTURBED * 100.0
    );
    for Facts { title, fetches, p99, .. } in &SCENARIOS {
        let bound = p99.map_or("not judged".to_owned(), |bound| bound.to_string());
        text += &format!("| {title} | {fetches} | {bound} |\n");
    }
    text.push_str(
        "\n| the first fetch | cache | origin fetches | whole 200s | others | p50, ms | p99, ms | longest, ms | all answered after, ms | others used | traps | verdict |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for facts in &SCENARIOS {
        for herd in herds.iter().filter(|herd| herd.facts.scenario == facts.scenario) {
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
    for facts in &SCENARIOS {
        for herd in
            herds.iter().filter(|herd| herd.facts.scenario == facts.scenario && herd.subject.is_ours())
        {
            text += &format!(
                "| {} | {} | {} | {} | {} |\n",
                facts.title,
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
            self.facts.title,
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

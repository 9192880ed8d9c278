//! An origin that refuses connections for a while.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Origin, Plan, Swarm};
use selvage_measure::measured::{Phase, Sample, commonest, counted, errors, gist, late, moved, verdict};

use crate::load::Load;
use crate::subjects::Subject;

const RATE: u32 = 500;
const KEYS: usize = 200;
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(8);
/// When something is asked that is not stored, since the outage began.
const PROBE: Duration = Duration::from_millis(1500);

/// What came of it.
pub struct Outage {
    lasted: Duration,
    requests: usize,
    errors: BTreeMap<String, usize>,
    before: Phase,
    during: Phase,
    after: Phase,
    /// From the origin's return to its first request.
    asked_again: Option<Duration>,
    /// From the origin's return to the last answer for which it could not be reached.
    last_stale: Option<Duration>,
    /// What a request got for which nothing is stored.
    unstored: String,
    moved: BTreeMap<String, u64>,
    late: Duration,
    unsound: Option<String>,
}

fn script(path: &str, _: usize) -> Plan {
    Plan {
        delay: Duration::from_millis(5),
        status: 200,
        fields: "cache-control: max-age=1, stale-if-error=3600\r\n".to_owned(),
        body: body(path),
        ..Plan::default()
    }
}

fn body(path: &str) -> Vec<u8> {
    path.bytes().cycle().take(2048).collect()
}

/// Measures it with an outage of so many seconds.
pub fn measure(seconds: u64, members: &str) -> Outage {
    let origin = Origin::start(script);
    let stage = Subject::Selvage.start(&origin, members);
    let mut swarm = Swarm::open(&stage.addresses, 256);
    let target = |number: usize, _: Duration| format!("/key/{}", number * 7919 % KEYS);
    let outage = Duration::from_secs(seconds);
    // Every key is stored before anything is counted.
    let warm = Load { rate: RATE, lasting: Duration::from_secs(1), target: &target, wanted: &body };
    warm.run(&mut swarm, 256, |_| {});

    let counters = stage.counters();
    let start = Instant::now();
    let (mut down, mut up) = (None, None);
    let load = Load { rate: RATE, lasting: BEFORE + outage + AFTER, target: &target, wanted: &body };
    let unstored = std::thread::scope(|scope| {
        let (gateway, from) = (&stage.gateways[0], BEFORE + PROBE);
        let probe = scope.spawn(move || {
            std::thread::sleep(from);
            let begun = Instant::now();
            match gateway.get("/never-stored").try_send() {
                Ok(answer) => format!(
                    "{} after {:.1} ms, `Cache-Status: {}`, `Retry-After: {}`",
                    answer.status,
                    begun.elapsed().as_secs_f64() * 1000.0,
                    answer.cache_status(),
                    answer.header("retry-after").unwrap_or_else(|| "none".to_owned())
                ),
                Err(problem) => format!("{:?}", problem.kind()),
            }
        });
        let samples = load.run(&mut swarm, 256, |since| {
            if down.is_none() && since >= BEFORE {
                origin.set_up(false);
                down = Some(since);
            } else if up.is_none() && since >= BEFORE + outage {
                origin.set_up(true);
                up = Some(since);
            }
        });
        (samples, probe.join().unwrap())
    });
    let (samples, unstored) = unstored;
    let (down, up) = (down.unwrap_or_default(), up.unwrap_or_default());
    let asked = origin.all_fetches().into_iter().map(|at| at.saturating_duration_since(start));
    let unreachable = |sample: &&Sample| {
        let said = sample.outcome.as_ref().map(|said| gist(said)).unwrap_or_default();
        sample.due > up
            && ["disconnected", "stale-if-error", "breaker"].iter().any(|word| said.contains(word))
    };
    let answered = |sample: &Sample| (sample.due + sample.latency).saturating_sub(up);
    std::thread::sleep(Duration::from_millis(300));
    Outage {
        lasted: up - down,
        requests: samples.len(),
        errors: errors(&samples),
        before: Phase::of(&samples, Duration::ZERO, down),
        during: Phase::of(&samples, down, up),
        after: Phase::of(&samples, up, load.lasting),
        asked_again: asked.filter(|at| *at > up).min().map(|at| at - up),
        last_stale: samples.iter().filter(unreachable).map(answered).max(),
        unstored,
        moved: moved(&counters, &stage.counters()),
        late: late(&samples),
        unsound: stage.unsound(),
    }
}

impl Outage {
    /// What is not as it should be.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let problems: usize = self.errors.values().sum();
        if problems > 0 {
            faults.push(format!("{problems} client errors: {}", commonest(&self.errors)));
        }
        if self.asked_again.is_none() {
            faults.push("the origin was not asked again".to_owned());
        }
        faults.extend(self.unsound.clone());
        faults
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        let faults = self.faults();
        format!(
            "outage of {:.0} s: {} requests, p99 {:.1} ms before, {:.1} during, {:.1} after, {}",
            self.lasted.as_secs_f64(),
            self.requests,
            self.before.p99,
            self.during.p99,
            self.after.p99,
            if faults.is_empty() { "ok".to_owned() } else { faults.join("; ") }
        )
    }

    /// The tables of this part.
    pub fn render(&self) -> String {
        let seconds = |time: Option<Duration>| {
            time.map_or("never".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
        };
        let latencies = |phase: &Phase| format!("{:.1}, {:.1}, {:.0}", phase.p50, phase.p99, phase.longest);
        format!(
            "## The origin is dead\n\n\
             {RATE} requests/s over {KEYS} keys with `max-age=1, stale-if-error=3600`, all of them stored; then the origin refuses\n\
             connections. Wanted: no error. Latencies in ms: p50, p99, longest.\n\n\
             | outage, s | requests | errors | before | during | after | origin asked again after | last stale answer after | verdict |\n\
             |---|---|---|---|---|---|---|---|---|\n\
             | {:.1} | {} | {} | {} | {} | {} | {} | {} | {} |\n\n\
             | phase | `Cache-Status` |\n|---|---|\n| before | {} |\n| during | {} |\n| after | {} |\n\n\
             A request during the outage for which nothing is stored: {}.\n\n\
             Counted: {}. 99 of 100 requests were sent at most {:.2} ms late.\n",
            self.lasted.as_secs_f64(),
            self.requests,
            self.errors.values().sum::<usize>(),
            latencies(&self.before),
            latencies(&self.during),
            latencies(&self.after),
            seconds(self.asked_again),
            self.last_stale.map_or("none".to_owned(), |time| seconds(Some(time))),
            verdict(&self.faults()),
            self.before.commonest(),
            self.during.commonest(),
            self.after.commonest(),
            self.unstored,
            counted(&self.moved),
            self.late.as_secs_f64() * 1000.0
        )
    }
}

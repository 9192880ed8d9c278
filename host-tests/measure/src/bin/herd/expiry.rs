//! A hot key that expires every second, beside one that does not.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Origin, Plan, Swarm};
use selvage_measure::measured::{Phase, Sample, commonest, counted, errors, late, moved, verdict};
use selvage_rig::process::Ticks;

use crate::load::Load;
use crate::subjects::Subject;

/// What is tried, the highest first. The first that the machine can send and answer is taken.
const RATES: [u32; 5] = [5000, 4000, 3000, 2000, 1000];
/// The keys take turns of this length, so that whatever else the machine does is in both.
const TURN: Duration = Duration::from_millis(2500);
const TURNS: u32 = 8;
const ORIGIN_TAKES: Duration = Duration::from_millis(200);
const CLIENTS: usize = 1500;
const STEADY: &str = "/steady";
const EXPIRING: &str = "/expiring";
/// How much the 99th percentile may be of the steady one.
const MOST: f64 = 1.2;
/// What 99 of 100 requests may be late before the rate counts as too high.
const LATE: Duration = Duration::from_millis(5);

/// What came of it.
pub struct Expiry {
    subject: Subject,
    /// Whether the cache renews by calls of its own.
    renews: bool,
    rate: u32,
    steady: Phase,
    expiring: Phase,
    /// The requests for the expiring key while the origin was being asked.
    refreshing: Phase,
    /// Requests for the expiring key that waited for the origin.
    slow: usize,
    errors: BTreeMap<String, usize>,
    expiries: usize,
    fetches: usize,
    late: Duration,
    /// The part of the machine that others used meanwhile.
    others: f64,
    moved: BTreeMap<String, u64>,
    unsound: Option<String>,
}

fn script(path: &str, _: usize) -> Plan {
    // No `Date`, whose whole seconds would be part of a lifetime of one second.
    let control = if path == STEADY { "max-age=3600" } else { "max-age=1, stale-while-revalidate=60" };
    Plan {
        delay: ORIGIN_TAKES,
        status: 200,
        fields: format!("cache-control: {control}\r\netag: \"one\"\r\n"),
        body: body(path),
        ..Plan::default()
    }
}

fn body(path: &str) -> Vec<u8> {
    path.bytes().cycle().take(2048).collect()
}

fn is_expiring(due: Duration) -> bool {
    due.as_millis() / TURN.as_millis() % 2 == 1
}

/// Measures it. With `renews` the cache renews by calls of its own, else the next request does.
pub fn measure(subject: Subject, renews: bool, members: &str) -> Expiry {
    let origin = Origin::start(script);
    let refresh = r#""defaults": { "refresh": { "cluster": "origin" } }"#;
    let members = [members, if renews { refresh } else { "" }];
    let members: Vec<&str> = members.into_iter().filter(|text| !text.is_empty()).collect();
    let stage = subject.start(&origin, &members.join(", "));
    let mut swarm = Swarm::open(&stage.addresses, CLIENTS);
    let rate = highest_rate(&mut swarm);
    let before = stage.counters();
    let target = |_: usize, due: Duration| if is_expiring(due) { EXPIRING } else { STEADY }.to_owned();
    let start = Instant::now();
    let load = Load { rate, lasting: TURN * TURNS, target: &target, wanted: &body };
    let ticks = Ticks::now();
    let samples = load.run(&mut swarm, CLIENTS, |_| {});
    let others = ticks.others_since();
    thread::sleep(Duration::from_millis(300));
    // The first fetch of a key that nothing is stored for is no expiry.
    let fetches: Vec<Duration> = origin.fetches(EXPIRING).into_iter().map(|at| at - start).collect();
    let first = fetches.first().copied().unwrap_or_default() + Duration::from_millis(400);
    let refreshes: Vec<Duration> = fetches.into_iter().filter(|at| *at > first).collect();
    let expiring: Vec<&Sample> =
        samples.iter().filter(|sample| is_expiring(sample.due) && sample.due > first).collect();
    let asked = |due: Duration| refreshes.iter().any(|at| (*at..*at + ORIGIN_TAKES).contains(&due));
    let steady = samples.iter().filter(|sample| !is_expiring(sample.due) && sample.due > TURN / 5);
    Expiry {
        subject,
        renews,
        rate,
        steady: Phase::with(steady),
        expiring: Phase::with(expiring.iter().copied()),
        refreshing: Phase::with(expiring.iter().copied().filter(|sample| asked(sample.due))),
        slow: expiring.iter().filter(|sample| sample.latency > ORIGIN_TAKES / 2).count(),
        errors: errors(&samples),
        expiries: apart(&refreshes),
        fetches: refreshes.len(),
        late: late(&samples),
        others,
        moved: moved(&before, &stage.counters()),
        unsound: stage.unsound(),
    }
}

/// How many of the fetches are no more than half a lifetime after another.
fn apart(fetches: &[Duration]) -> usize {
    let mut last: Option<Duration> = None;
    let mut count = 0;
    for at in fetches {
        if last.is_none_or(|last| *at > last + Duration::from_millis(500)) {
            count += 1;
            last = Some(*at);
        }
    }
    count
}

/// The highest rate at which requests leave in time and are answered in time, of what is stored.
fn highest_rate(swarm: &mut Swarm) -> u32 {
    let target = |_: usize, _: Duration| STEADY.to_owned();
    let lasting = Duration::from_millis(1500);
    let holds = |rate: &u32| {
        let load = Load { rate: *rate, lasting, target: &target, wanted: &body };
        let samples = load.run(swarm, CLIENTS, |_| {});
        let warm = Phase::of(&samples, Duration::from_millis(700), lasting);
        late(&samples) < LATE && warm.p99 < 50.0
    };
    let mut rates = RATES.into_iter();
    let lowest = RATES[RATES.len() - 1];
    let mut holds = holds;
    rates.find(|rate| holds(rate)).unwrap_or(lowest)
}

impl Expiry {
    /// What is not as it should be.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let problems: usize = self.errors.values().sum();
        if problems > 0 {
            faults.push(format!("{problems} client errors: {}", commonest(&self.errors)));
        }
        for (name, phase) in [("", &self.expiring), (" while it is refreshed", &self.refreshing)] {
            let ratio = phase.p99 / self.steady.p99;
            if ratio > MOST {
                faults.push(format!("p99{name} is {ratio:.2} of the steady one, want {MOST}"));
            }
        }
        if self.expiries == 0 {
            faults.push("nothing was fetched again".to_owned());
        }
        // Without calls of the cache's own one request of each Envoy renews, and waits for it.
        let (most, waits) = if self.renews { (self.expiries, 0) } else { (self.fetches, self.fetches + 1) };
        if self.fetches > most {
            faults.push(format!("{} fetches for {} expiries", self.fetches, self.expiries));
        }
        if self.slow > waits {
            faults.push(format!("{} requests waited for the origin", self.slow));
        }
        faults.extend(self.unsound.clone());
        faults
    }

    fn title(&self) -> String {
        let how = if self.renews { "renewed in the background" } else { "renewed by the next request" };
        format!("{}, {how}", self.subject.title())
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        let faults = self.faults();
        format!(
            "{}: {} requests/s, p99 {:.2} ms steady, {:.2} expiring, {} fetches for {} expiries, {}",
            self.title(),
            self.rate,
            self.steady.p99,
            self.expiring.p99,
            self.fetches,
            self.expiries,
            if faults.is_empty() { "ok".to_owned() } else { faults.join("; ") }
        )
    }
}

/// The tables of this part.
pub fn render(measured: &[Expiry]) -> String {
    let mut text = format!(
        "## The expiry of a hot key\n\n\
         One key with `max-age=1, stale-while-revalidate=60` and one with `max-age=3600` take turns of {} s at a steady rate that waits\n\
         for nothing, {} s in all; the origin takes {} ms and sends no `Date`. Latency counts from when a request was due. Wanted: the\n\
         p99 of the expiring key, also of the requests during a fetch, at most {MOST} times the steady key's; one fetch for each\n\
         expiry in the fleet and no request that waits for the origin where the cache renews by itself. Fetches that follow another within half a second are for the same expiry.\n\n\
         | cache | requests/s | steady p50, p99, longest | expiring p50, p99, longest | during a fetch p50, p99 | p99 of steady | waited for the origin | expiries | fetches | errors | verdict |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        TURN.as_secs_f64(),
        (TURN * TURNS).as_secs(),
        ORIGIN_TAKES.as_millis(),
    );
    for row in measured {
        text += &format!(
            "| {} | {} | {:.2}, {:.2}, {:.0} | {:.2}, {:.2}, {:.0} | {:.2}, {:.2} | {:.2} | {} | {} | {} | {} | {} |\n",
            row.title(),
            row.rate,
            row.steady.p50,
            row.steady.p99,
            row.steady.longest,
            row.expiring.p50,
            row.expiring.p99,
            row.expiring.longest,
            row.refreshing.p50,
            row.refreshing.p99,
            row.expiring.p99 / row.steady.p99,
            row.slow,
            row.expiries,
            row.fetches,
            row.errors.values().sum::<usize>(),
            verdict(&row.faults())
        );
    }
    text.push_str(
        "\n| cache | `Cache-Status` of the expiring key | counted | 99 of 100 sent at most so late, ms | others used |\n|---|---|---|---|---|\n",
    );
    for row in measured {
        text += &format!(
            "| {} | {} | {} | {:.2} | {:.0} % |\n",
            row.title(),
            row.expiring.commonest(),
            counted(&row.moved),
            row.late.as_secs_f64() * 1000.0,
            row.others * 100.0
        );
    }
    text
}

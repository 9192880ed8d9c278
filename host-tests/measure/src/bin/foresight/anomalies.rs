//! H2: how soon an anomaly is told, and how many are told that are none.
//!
//! A simulated site has a day and a night, slow noise in its rate and hit rate, a peak once a week, bursts, crawlers, single
//! buckets full of failures, and nights with a handful of requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use selvage_engine::foresight::detector::Detector;
use selvage_engine::foresight::series::{Bucket, Series};

use super::random::Random;
use super::{Report, each};

/// A site whose traffic is simulated.
#[derive(Clone, Copy)]
struct Site {
    name: &'static str,
    /// Requests a second at noon.
    rate: f64,
    /// At night, as a part of that.
    night: f64,
    hit_rate: f64,
    /// On Saturdays and Sundays, as a part of other days.
    weekend: f64,
}

const SITES: [Site; 6] = [
    Site { name: "busy", rate: 2000.0, night: 0.25, hit_rate: 0.92, weekend: 0.8 },
    Site { name: "middling", rate: 200.0, night: 0.15, hit_rate: 0.8, weekend: 0.8 },
    Site { name: "few hits", rate: 200.0, night: 0.3, hit_rate: 0.3, weekend: 1.0 },
    Site { name: "an office's", rate: 100.0, night: 0.01, hit_rate: 0.7, weekend: 0.1 },
    Site { name: "small", rate: 20.0, night: 0.1, hit_rate: 0.6, weekend: 0.9 },
    Site { name: "hardly used", rate: 1.0, night: 0.02, hit_rate: 0.5, weekend: 0.7 },
];

/// What is done to it.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Half of the hits are none.
    Halved,
    /// So many of the origin's answers are failures.
    Failing(f64),
    /// The origin takes three times as long.
    Slow,
    /// Nothing comes any more.
    Silence,
}

/// Traffic of one site.
#[derive(Clone)]
struct Traffic {
    site: Site,
    random: Random,
    /// Slow noise, in logarithms.
    drift: f64,
    hit_drift: f64,
    /// Until when there is a burst, and how large; the same of a crawler.
    burst: (u32, f64),
    crawl: u32,
}

impl Traffic {
    fn new(site: Site, seed: u64) -> Self {
        Self { site, random: Random::new(seed), drift: 0.0, hit_drift: 0.0, burst: (0, 1.0), crawl: 0 }
    }

    /// What happens in ten seconds; `period` counts them since a Thursday's midnight, as 1970 does.
    fn bucket(&mut self, period: u32, fault: Fault) -> Bucket {
        let random = &mut self.random;
        let hour = f64::from(period % 8640) / 360.0;
        let day = (period / 8640) % 7;
        // Lowest at four in the morning.
        let wave = 0.5 - 0.5 * (std::f64::consts::TAU * (hour - 4.0) / 24.0).cos();
        let mut rate = self.site.rate * self.site.night.powf(1.0 - wave);
        // A weekend begins on Friday evening and ends on Monday morning.
        let hours = f64::from(day) * 24.0 + hour;
        let weekend = ((hours - 42.0) / 12.0).clamp(0.0, 1.0) * ((102.0 - hours) / 12.0).clamp(0.0, 1.0);
        rate *= self.site.weekend.powf(weekend);
        // A peak on Tuesdays at eight in the evening, for an hour and a half.
        if day == 5 && (20.0..21.5).contains(&hour) {
            rate *= 3.0;
        }
        self.drift = 0.999 * self.drift + 0.004 * random.normal();
        self.hit_drift = 0.999 * self.hit_drift + 0.001 * random.normal();
        if period >= self.burst.0 && random.happens(1.0 / 3000.0) {
            self.burst = (period + 2 + (random.fraction() * 16.0) as u32, 1.5 + 4.0 * random.fraction());
        }
        let burst = if period < self.burst.0 { self.burst.1 } else { 1.0 };
        if period >= self.crawl && random.happens(1.0 / 6000.0) {
            self.crawl = period + 2;
        }
        let mean = rate * 10.0 * (self.drift + 0.05 * random.normal()).exp() * burst;
        let mut requests = random.poisson(mean);
        if fault == Fault::Silence {
            requests = 0;
        }
        let mut share = (self.site.hit_rate + self.hit_drift + 0.01 * random.normal()).clamp(0.02, 0.98);
        if period < self.crawl {
            share *= 0.5;
        }
        if fault == Fault::Halved {
            share *= 0.5;
        }
        let hits = random.binomial(requests, share);
        let to_origin = requests - hits;
        let mut failing = 0.001;
        // For one bucket all of it fails, as while something restarts.
        if random.happens(1.0 / 8000.0) {
            failing = 0.6;
        }
        if let Fault::Failing(share) = fault {
            failing += share;
        }
        let failed = random.binomial(to_origin, failing);
        let slower = if fault == Fault::Slow { 3.0 } else { 1.0 };
        let mut bucket = Bucket { requests, cacheable: requests, hits, ..Bucket::default() };
        // A share of them tells as much as all, and is simulated sooner.
        let timed = to_origin.min(400);
        for nth in 0..timed {
            let took = 60.0 * slower * (0.5 * random.normal()).exp();
            let status = if nth < failed { 503 } else { 200 };
            bucket.answers.note(status, Duration::from_millis(took as u64));
        }
        bucket.answers.all = to_origin;
        bucket.answers.failed = failed;
        bucket
    }
}

const WEEK: u32 = 7 * 8640;
/// A Thursday of 2025, at midnight.
const BEGIN: u32 = 2_900 * WEEK;

/// False alarms of the weeks of one seed.
fn false_alarms(site: Site, seed: u64, weeks: u32) -> Vec<(u32, Series, u32)> {
    let (mut traffic, mut detector) = (Traffic::new(site, seed), Detector::default());
    let mut told = Vec::new();
    for period in 1..=WEEK * weeks {
        let bucket = traffic.bucket(period, Fault::None);
        for news in detector.step(BEGIN + period, Some(&bucket)).into_iter().filter(|news| news.begins) {
            told.push((period / WEEK, news.series, period % WEEK));
        }
    }
    told
}

/// How long after its beginning each fault is told, in seconds; `None` if not within ten minutes. They begin at an hour after so
/// many `known` days.
/// The requests and answers a second there were just before come first.
fn told_after(site: Site, seed: u64, known: u32, hour: u32) -> ((u64, u64), Vec<Option<u32>>) {
    let (mut traffic, mut detector) = (Traffic::new(site, seed), Detector::default());
    let begins = known * 8640 + hour * 360 + 7;
    // The first hours of a day tell nothing of those before them.
    let from = if known == 0 { begins.saturating_sub(1080) } else { 0 };
    let mut last = Bucket::default();
    for period in from..begins {
        let bucket = traffic.bucket(period, Fault::None);
        detector.step(BEGIN + period, Some(&bucket));
        if begins - period <= 10 {
            last.add(&bucket);
        }
    }
    let told = FAULTS.map(|(_, fault, series)| {
        let (mut traffic, mut detector) = (traffic.clone(), detector.clone());
        // What is told already is no detection.
        let before = detector.open();
        (0..60).find_map(|after| {
            let bucket = traffic.bucket(begins + after, fault);
            let news = detector.step(BEGIN + begins + after, Some(&bucket));
            let told = news.iter().any(|news| news.begins && news.series == series);
            (told && before & (1 << series as u32) == 0).then_some((after + 1) * 10)
        })
    });
    ((last.requests / 100, last.answers.all / 100), told.into())
}

const FAULTS: [(&str, Fault, Series); 4] = [
    ("half of the hits", Fault::Halved, Series::HitRate),
    ("5 % errors", Fault::Failing(0.05), Series::Errors),
    ("origin three times slower", Fault::Slow, Series::OriginP99),
    ("nothing comes", Fault::Silence, Series::Requests),
];

/// Fills in what the table says of anomalies.
pub fn measure(seeds: Range<u64>, report: &mut Report) {
    let weeks = 2;
    let count = seeds.end - seeds.start;
    let pairs: Vec<(Site, u64)> =
        SITES.iter().flat_map(|site| seeds.clone().map(|seed| (*site, seed))).collect();
    let alarms = each(&pairs, |(site, seed)| false_alarms(*site, *seed, weeks));
    report.tables += "\n## Anomalies that are none\n\nEach site for two weeks, with each seed. The first week has no other to compare with.\n\n\
         | site | requests/s at noon | weeks | told in first weeks | in second weeks | worst week | by series |\n\
         |---|---|---|---|---|---|---|\n";
    let (mut most, mut all) = (0, 0);
    for (site, alarms) in SITES.iter().zip(alarms.chunks(count as usize)) {
        let (mut first, mut later, mut worst) = (0, 0, 0);
        let mut by_series = BTreeMap::<&str, u32>::new();
        for alarms in alarms {
            for (_, series, _) in alarms {
                *by_series.entry(series.as_str()).or_default() += 1;
            }
            let of = |wanted: u32| alarms.iter().filter(|(week, ..)| *week == wanted).count();
            first += of(0);
            later += of(1);
            worst = worst.max(of(0)).max(of(1));
        }
        most = most.max(worst);
        all += first + later;
        let by_series: Vec<String> =
            by_series.iter().map(|(series, count)| format!("{series} {count}")).collect();
        let by_series = if by_series.is_empty() { "–".into() } else { by_series.join(", ") };
        let weeks = count * u64::from(weeks);
        let _ = writeln!(
            report.tables,
            "| {} | {} | {weeks} | {first} | {later} | {worst} | {by_series} |",
            site.name, site.rate,
        );
    }
    let what =
        format!("told though nothing is wrong, worst of {} simulated weeks", alarms.len() * weeks as usize);
    report.target("H2", &what, "≤ 1", format!("{most}; {all} in all of them"), "–", most <= 1);
    report.tables += "\n## How soon an anomaly is told\n\nSeconds from its beginning: at noon after a week, and at ten on the first day, three hours after the start.\n\n\
         | site | what | requests/s | of these at the origin | told | median | longest |\n|---|---|---|---|---|---|---|\n";
    let (mut slowest, mut missed) = (0, 0);
    for (known, hour, when) in [(7, 12, "after a week"), (0, 10, "first day")] {
        let told = each(&pairs, |(site, seed)| told_after(*site, 1000 + seed, known, hour));
        for (site, told) in SITES.iter().zip(told.chunks(count as usize)) {
            let least =
                |of: fn(&(u64, u64)) -> u64| told.iter().map(|(rates, _)| of(rates)).min().unwrap_or(0);
            let (requests, answers) = (least(|rates| rates.0), least(|rates| rates.1));
            for (nth, (what, fault, _)) in FAULTS.iter().enumerate() {
                let mut after: Vec<Option<u32>> = told.iter().map(|(_, told)| told[nth]).collect();
                after.sort_unstable_by_key(|after| after.unwrap_or(u32::MAX));
                let in_time = after.iter().flatten().count();
                let shown = |after: Option<u32>| after.map_or("–".into(), |after| after.to_string());
                let (median, longest) = (shown(after[after.len() / 2]), shown(after[after.len() - 1]));
                let _ = writeln!(
                    report.tables,
                    "| {}, {when} | {what} | {requests} | {answers} | {in_time} of {} | {median} | {longest} |",
                    site.name,
                    after.len(),
                );
                // What is promised is promised where enough comes to tell by.
                let enough = match fault {
                    Fault::Halved => requests >= 20,
                    Fault::Failing(_) => answers >= 20,
                    _ => false,
                };
                if enough {
                    missed += after.len() - in_time;
                    slowest = slowest.max(after.iter().flatten().max().copied().unwrap_or(0));
                }
            }
        }
    }
    let measured = format!("longest {slowest} s; {missed} not told");
    let what = "halved hit rate from 20 requests/s, 5 % errors from 20 answers/s: told after";
    report.target("H2", what, "≤ 60 s", measured, "–", slowest <= 60 && missed == 0);
}

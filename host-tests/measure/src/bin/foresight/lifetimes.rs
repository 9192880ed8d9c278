//! H1: how many fetches lifetimes by how often each response changes need, beside one lifetime for all, when clients get as much
//! that is out of date.
//!
//! A site has pages that change at rates far apart (log-normal) and are asked for by Zipf's law. The engine's own table decides.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

use selvage_engine::foresight::change::Wanted;
use selvage_engine::foresight::lifetimes::{Look, note};
use selvage_engine::host::{CasMismatch, SharedData};

use super::random::Random;
use super::{Report, each};

/// A site, and what is asked of it.
#[derive(Clone, Copy)]
struct Site {
    name: &'static str,
    seed: u64,
    pages: usize,
    /// Of Zipf's law.
    skew: f64,
    /// Requests a second.
    rate: f64,
    /// The median time between changes, and how far apart times are: the standard deviation of logarithms.
    every: f64,
    apart: f64,
    days: f64,
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    requests: u64,
    fetches: u64,
    stale: u64,
}

impl Came {
    fn staleness(&self) -> f64 {
        self.stale as f64 / self.requests.max(1) as f64
    }
}

/// One seed of a site.
struct Run {
    adaptive: Came,
    /// The best fixed lifetime, and what it comes to.
    lifetime: f64,
    fixed: Came,
    /// The part of answers that is out of date if everything is kept for as short as may be.
    least: f64,
}

/// Shared data of one node.
#[derive(Default)]
struct Data(HashMap<String, Vec<u8>>);

impl SharedData for Data {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        Some((self.0.get(key)?.clone(), 1))
    }

    fn set(&mut self, key: &str, value: &[u8], _cas: u32) -> Result<(), CasMismatch> {
        self.0.insert(key.into(), value.into());
        Ok(())
    }
}

/// A page as it is stored.
#[derive(Clone, Copy, Default)]
struct Stored {
    version: u32,
    until: f64,
}

/// A page at its origin: its version now, and when the next comes.
#[derive(Clone, Copy)]
struct Page {
    rate: f64,
    version: u32,
    next: f64,
}

impl Site {
    /// Plays it; a page is kept for what `lifetime` says of a fetch.
    fn play(&self, mut lifetime: impl FnMut(usize, u32, f64) -> f64) -> Came {
        let mut random = Random::new(self.seed);
        let mut pages: Vec<Page> = (0..self.pages)
            .map(|_| {
                let rate = (-(self.apart * random.normal())).exp() / self.every;
                Page { rate, version: 0, next: random.exponential() / rate }
            })
            .collect();
        let mut sums = Vec::with_capacity(self.pages);
        let mut sum = 0.0;
        for rank in 1..=self.pages {
            sum += (rank as f64).powf(-self.skew);
            sums.push(sum);
        }
        let mut stored: Vec<Option<Stored>> = vec![None; self.pages];
        let (mut came, mut now, end) = (Came::default(), 0.0, self.days * 86_400.0);
        // What is learnt at the beginning counts as well.
        while now < end {
            now += random.exponential() / self.rate;
            let at = random.fraction() * sum;
            let nth = sums.partition_point(|sum| *sum < at).min(self.pages - 1);
            let page = &mut pages[nth];
            while page.next <= now {
                page.version += 1;
                page.next += random.exponential() / page.rate;
            }
            came.requests += 1;
            match stored[nth] {
                Some(kept) if now < kept.until => came.stale += u64::from(kept.version != page.version),
                _ => {
                    came.fetches += 1;
                    let until = now + lifetime(nth, page.version, now);
                    stored[nth] = Some(Stored { version: page.version, until });
                }
            }
        }
        came
    }

    fn adaptive(&self, wanted: &Wanted) -> Came {
        let mut data = Data::default();
        self.play(|nth, version, now| {
            let hash = u128::from(selvage_engine::chance::mixed(nth as u64)) * 0x1_0000_0001_0000_0001;
            let now = 1_800_000_000_000 + (now * 1000.0) as u64;
            let known = note(&mut data, "r", hash, Look::Content(version as u16), now, wanted);
            f64::from(known.own.lifetime)
        })
    }

    /// The one lifetime with which as many answers are out of date.
    fn fixed(&self, staleness: f64) -> (f64, Came) {
        let (mut low, mut high) = (0.1_f64, 7.0 * 86_400.0_f64);
        for _ in 0..14 {
            let middle = (low * high).sqrt();
            if self.play(|_, _, _| middle).staleness() > staleness { high = middle } else { low = middle }
        }
        (low, self.play(|_, _, _| low))
    }
}

/// Fills in what the table says of lifetimes.
pub fn measure(seeds: Range<u64>, report: &mut Report) {
    report.tables += "\n## Lifetimes\n\nThe best fixed lifetime is the longest with which no more answers are out of date. Everything counts, the time in which nothing was known yet too. `min` is a second.\n\n\
         | site | change every (median), apart | pages, requests/s, days | `stale_percent` | out of date | fetches | best fixed: lifetime | fetches | adaptive of fixed | worst seed | most out of date, of what is wanted |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
    let hour = 3600.0;
    let news = Site {
        name: "news",
        seed: 0,
        pages: 1000,
        skew: 0.9,
        rate: 50.0,
        every: hour,
        apart: 2.0,
        days: 1.0,
    };
    let shop = Site {
        name: "shop",
        seed: 0,
        pages: 3000,
        skew: 0.8,
        rate: 50.0,
        every: 12.0 * hour,
        apart: 2.0,
        days: 1.0,
    };
    let api = Site {
        name: "API",
        seed: 0,
        pages: 300,
        skew: 1.1,
        rate: 50.0,
        every: hour / 2.0,
        apart: 1.5,
        days: 1.0,
    };
    let crawl = Site {
        name: "all kinds",
        seed: 0,
        pages: 2000,
        skew: 1.0,
        rate: 50.0,
        every: 24.0 * hour,
        apart: 3.0,
        days: 1.0,
    };
    let (mut worst_of_all, mut most_stale, mut not_possible) = (0.0_f64, 0.0_f64, Vec::new());
    for (site, stale) in [(news, 0.05), (shop, 0.05), (api, 0.05), (crawl, 0.05), (news, 0.02), (news, 0.1)] {
        let wanted = Wanted { min: 1.0, max: 86_400.0, stale };
        let sites: Vec<Site> = seeds.clone().take(4).map(|seed| Site { seed, ..site }).collect();
        let runs = each(&sites, |site| {
            let adaptive = site.adaptive(&wanted);
            let (lifetime, fixed) = site.fixed(adaptive.staleness());
            let least = site.play(|_, _, _| wanted.min).staleness();
            Run { adaptive, lifetime, fixed, least }
        });
        let mean = |of: &dyn Fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let ratio = |run: &Run| run.adaptive.fetches as f64 / run.fixed.fetches as f64;
        let worst = runs.iter().map(ratio).fold(0.0, f64::max);
        worst_of_all = worst_of_all.max(worst);
        let part = |run: &Run| run.adaptive.staleness() / stale;
        let (can, cannot): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(|run| run.least <= stale);
        most_stale = can.iter().map(|run| part(run)).fold(most_stale, f64::max);
        not_possible.extend(cannot.iter().map(|run| {
            let of = |share: f64| format!("{:.1} %", 100.0 * share);
            format!("{}: {} where {} is the least", site.name, of(run.adaptive.staleness()), of(run.least))
        }));
        let _ = writeln!(
            report.tables,
            "| {} | {:.0} s, {} | {}, {}, {} | {:.0} | {:.2} % | {:.0} | {:.0} s | {:.0} | {:.0} % | {:.0} % | {:.2} |",
            site.name,
            site.every,
            site.apart,
            site.pages,
            site.rate,
            site.days,
            stale * 100.0,
            100.0 * mean(&|run| run.adaptive.staleness()),
            mean(&|run| run.adaptive.fetches as f64),
            mean(&|run| run.lifetime),
            mean(&|run| run.fixed.fetches as f64),
            100.0 * mean(&ratio),
            100.0 * worst,
            runs.iter().map(part).fold(0.0, f64::max),
        );
    }
    if !not_possible.is_empty() {
        let _ = writeln!(
            report.tables,
            "\nNot possible, and not in the target: a page that is asked for often changes more often than each second. {}.",
            not_possible.join("; ")
        );
    }
    let measured = format!("{most_stale:.2} of it");
    report.target(
        "H1",
        "answers out of date, of the part that is wanted: worst site and seed of those where `min` allows it",
        "≤ 1",
        measured,
        "–",
        most_stale <= 1.0,
    );
    let measured = format!("{:.0} %", 100.0 * worst_of_all);
    report.target(
        "H1",
        "fetches at the same staleness, of those with the best fixed lifetime: worst site and seed",
        "≤ 60 %",
        measured,
        "Varnish, nginx: fixed",
        worst_of_all <= 0.6,
    );
}

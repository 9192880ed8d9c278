//! What a fleet of so many Envoys asks of its Redis: nothing fails, and every command is counted.
//!
//! Five runs for a size, each with 2 workers by Envoy, the defaults of the configuration and a Redis that takes 2 to 8 ms:
//!
//! - **idle**: nobody asks for anything.
//! - **steady**: each Envoy is asked for one of 200 pages of 1 kB five times a second, some far more often than others. They
//!   are fresh for 10 s.
//! - **purges**: one a second, five times; then a storm of 100 a second for five seconds, each at any worker of the fleet.
//! - **hot key**: each Envoy is asked for one page of 1 kB ten times a second, which is fresh for 5 s and so expires
//!   everywhere at once.
//! - **hot key, renewed**: the same page may be served for 5 s more while it is renewed.

mod meter;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use selvage_engine::config::Config;
use selvage_rig::chance::{Dice, Zipf};

use crate::client::Ask;
use crate::crowd::Crowd;
use crate::events::Event;
use crate::invariants::Violation;
use crate::origin::Page;
use crate::purges::{Purge, What};
use crate::runs::{Kind, Options};
use crate::setting::Setting;
use crate::world::World;

use meter::Meter;
pub use table::page;

/// What is measured while a world runs.
pub struct Fleet {
    pub meter: Meter,
    /// Which page is asked for.
    popularity: Zipf,
    /// How long a node waits between two requests, on average.
    pause: Duration,
    /// Nobody asks any more from then on.
    until: u64,
}

/// What happens to a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    Idle,
    Steady,
    Purges,
    Storm,
    Hot,
    HotRenewed,
}

/// What a fleet has asked in one situation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    pub nodes: usize,
    pub situation: Situation,
    /// How long it was measured, in milliseconds.
    pub millis: u64,
    pub meter: Meter,
    /// Requests of clients, and how many of them or of the cache's own reached the origin.
    pub requests: u64,
    pub fetches: u64,
    /// Those of before that reached the origin: for the hot key, when nobody had it yet.
    pub cold_fetches: u64,
}

/// All situations of fleets of these sizes, as many at once as there are processors.
///
/// # Errors
/// An invariant that did not hold.
pub fn measure_all(sizes: &[usize]) -> Result<Vec<Figures>, Violation> {
    // The longest first.
    let runs = [Situation::Hot, Situation::HotRenewed, Situation::Steady, Situation::Purges, Situation::Idle];
    let runs: Vec<_> = sizes.iter().flat_map(|nodes| runs.map(|run| (*nodes, run))).collect();
    let next = AtomicUsize::new(0);
    let several = || {
        let mut figures = Vec::new();
        while let Some((nodes, situation)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            figures.extend(measure(*nodes, *situation)?);
        }
        Ok(figures)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Vec<Figures>, Violation>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(several)).collect();
        running.into_iter().map(|thread| thread.join().expect("a run does not panic")).collect()
    });
    let mut all = Vec::new();
    for figures in results {
        all.extend(figures?);
    }
    Ok(all)
}

/// One run, which for purges has two parts.
///
/// # Errors
/// An invariant that did not hold.
pub fn measure(nodes: usize, situation: Situation) -> Result<Vec<Figures>, Violation> {
    let mut world = world(nodes, situation);
    match situation {
        Situation::Idle => {
            world.run_until(SETTLED)?;
            Ok(vec![world.figures(situation, 10_000)?])
        }
        Situation::Steady => {
            world.begin_asking();
            world.run_until(10_000)?;
            Ok(vec![world.figures(situation, 10_000)?])
        }
        // It is fetched first, and then expires three times.
        Situation::Hot | Situation::HotRenewed => {
            world.begin_asking();
            world.run_until(SETTLED)?;
            Ok(vec![world.figures(situation, 3 * HOT_SECS * 1000)?])
        }
        Situation::Purges | Situation::Storm => {
            world.run_until(SETTLED)?;
            (0..LONE).for_each(|nth| world.schedule(SETTLED + nth * 1000, Event::Purges));
            let lone = world.figures(Situation::Purges, LONE * 1000)?;
            let from = world.now;
            (0..STORM).for_each(|nth| world.schedule(from + nth * 10, Event::Purges));
            let mut storm = world.figures(Situation::Storm, STORM * 10)?;
            let end = world.now + 30_000;
            while !world.meter().have_all_heard() && world.now < end {
                world.run_until(world.now + 100)?;
            }
            let all = world.meter().have_all_heard();
            let last = world.meter().heard_after.last().copied();
            storm.meter.heard_after = last.filter(|_| all).into_iter().collect();
            Ok(vec![lone, storm])
        }
    }
}

/// A fleet at its start.
fn world(nodes: usize, situation: Situation) -> World {
    let steady = situation == Situation::Steady;
    let pages = if steady { 200 } else { 1 };
    let page = |_: &mut Dice| Page {
        lifetime: if steady { 10 } else { HOT_SECS },
        while_revalidate: if situation == Situation::HotRenewed { HOT_SECS } else { 0 },
        if_error: 0,
        etag: true,
        by_language: false,
        by_theme: false,
        personal: false,
        public: false,
        forbidden: false,
        bytes: 1000,
        errors: 0,
        fickle: 0,
        failing_until: 0,
        typed: true,
        slow: 0,
        published: vec![0],
    };
    let fleet = Fleet {
        meter: Meter::default(),
        popularity: Zipf::new(pages, 1.0),
        pause: Duration::from_millis(if steady { 200 } else { 100 }),
        until: if matches!(situation, Situation::Hot | Situation::HotRenewed) { HOT_UNTIL } else { u64::MAX },
    };
    let setting = Setting::of_fleet(nodes, pages);
    World::with(setting, page, Dice::new(SEED), Some(Box::new(fleet)), Options::default(), false)
}

impl Setting {
    /// Nothing fails, and the filter has its defaults, but for stores that are small enough for many of them and a named
    /// cluster: an Envoy knows the one of a page by itself only once it has fetched it.
    fn of_fleet(nodes: usize, pages: usize) -> Self {
        let config = r#"{"admin":{"open":true,"hosts":["example.com"]},"worker":{"bytes":"4MiB"},
            "node":{"bytes":"4MiB","buckets":16,"object_bytes":"8KiB"},"remote":{"enabled":true},
            "defaults":{"compression":{"enabled":false},"refresh":{"cluster":"origin"}}}"#;
        let parsed = Config::parse(config.as_bytes()).unwrap_or_else(|faults| panic!("{config}: {faults:?}"));
        let mut setting = Self::random(&mut Dice::new(SEED), Kind::Pages, Some(0));
        setting.policy = std::rc::Rc::new(parsed.into());
        let policy = setting.policy.clone();
        let rule = policy.rule_for(b"", b"", b"").1;
        let millis = |duration: Duration| duration.as_millis() as u64;
        Self {
            config: config.to_owned(),
            nodes,
            workers: WORKERS,
            last_request: 0,
            pages,
            wait: millis(rule.coalesce.wait),
            body_wait: millis(rule.coalesce.body_wait),
            poll: millis(policy.node.poll),
            call_delay: 1,
            calls_lost: 0,
            remote: true,
            remote_timeout: millis(policy.remote.timeout),
            losses: 0,
            old_redis: false,
            disconnected: millis(rule.stale.disconnected),
            origin_delay: 100,
            origin_slow: 100,
            breaker: false,
            refresh_timeout: millis(rule.refresh.timeout),
            disconnects: 0,
            restarts: 0,
            edits: 0,
            purges: 0,
            moods: 0,
            flushes: 0,
            refused: 0,
            contention: 0,
            nested: 0,
            even: true,
            crowd: Crowd::default(),
            ..setting
        }
    }
}

impl World {
    fn meter(&mut self) -> &mut Meter {
        &mut self.fleet.as_mut().expect("a fleet is measured").meter
    }

    /// What is asked from now on for so long.
    fn figures(&mut self, situation: Situation, millis: u64) -> Result<Figures, Violation> {
        self.meter().begin();
        let (before, from) = (self.summary, self.now);
        self.run_until(from + millis)?;
        Ok(Figures {
            nodes: self.setting.nodes,
            situation,
            millis,
            meter: self.meter().clone(),
            requests: self.summary.requests - before.requests,
            fetches: self.summary.fetched - before.fetched,
            cold_fetches: before.fetched,
        })
    }

    /// Each node gets its first request soon.
    fn begin_asking(&mut self) {
        for node in 0..self.setting.nodes {
            let delay = self.dice.below(1000);
            self.after(delay, Event::Asks { node });
        }
    }

    /// One of the requests of a node.
    pub fn somebody_asks(&mut self, node: usize) {
        let Some(fleet) = &self.fleet else { return };
        let (pause, until) = (fleet.pause, fleet.until);
        if self.now >= until {
            return;
        }
        let page = fleet.popularity.choose(&mut self.dice);
        let worker = self.dice.below(self.setting.workers as u64) as usize;
        self.begin_with(Ask::plain(page), None, Vec::new(), (node, worker));
        let pause = self.dice.pause(pause).as_millis() as u64;
        self.after(pause, Event::Asks { node });
    }

    /// A page is purged at any worker.
    pub fn somebody_purges(&mut self) {
        let fetches = self.sent.len();
        let purge = Purge { what: What::Url(0), soft: false, node: 0, worker: 0, at: self.now, fetches };
        let ask = Ask { method: "PURGE", ..Ask::plain(0) };
        let body = purge.what.body(purge.soft).into_bytes();
        let place = self.any_worker();
        let others = (self.setting.nodes * self.setting.workers - 1) as u64;
        let now = self.now;
        self.meter().purged(others, now);
        self.begin_with(ask, Some(purge), body, place);
    }
}

const WORKERS: usize = 2;
/// By then every node has done what it does at its start.
const SETTLED: u64 = 4_000;
/// For how long the hot key is fresh.
const HOT_SECS: u64 = 5;
const HOT_UNTIL: u64 = SETTLED + 3 * HOT_SECS * 1000;
/// Purges one by one, and those of the storm.
const LONE: u64 = 5;
const STORM: u64 = 500;
const SEED: u64 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_of_two_repeats_exactly_and_an_idle_node_asks_little() {
        for situation in [Situation::Idle, Situation::Steady, Situation::Purges, Situation::HotRenewed] {
            let (first, again) = (measure(2, situation).unwrap(), measure(2, situation).unwrap());
            assert!(first == again, "{situation:?}");
        }
        let idle = &measure(2, Situation::Idle).unwrap()[0];
        let by_node = idle.per_second(idle.meter.all.sum.commands) / 2.0;
        assert!((11.0..=12.0).contains(&by_node), "{by_node} commands a second");
        assert_eq!(idle.fetches, 0);
    }

    #[test]
    fn every_worker_of_a_fleet_hears_of_every_purge() {
        let purges = measure(3, Situation::Purges).unwrap();
        let [lone, storm] = &purges[..] else { panic!("{purges:?}") };
        assert_eq!(lone.meter.heard_after.len() as u64, LONE);
        assert!(lone.meter.heard_after.iter().all(|millis| *millis <= 500), "{:?}", lone.meter.heard_after);
        assert!(!storm.meter.heard_after.is_empty());
    }

    #[test]
    fn a_hot_key_is_renewed_by_one_node_whether_it_may_be_stale_or_not() {
        for situation in [Situation::HotRenewed, Situation::Hot] {
            let hot = &measure(10, situation).unwrap()[0];
            assert_eq!(hot.fetches, 3, "{situation:?}");
        }
    }
}

//! Runs of the simulation, and what comes of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::invariants::Violation;
use crate::world::World;

/// What is simulated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Requests of each run; `None`: 200 to 500, as the seed says.
    pub requests: Option<usize>,
    /// Events shown of a run that fails; `None`: 60.
    pub events: Option<usize>,
    /// These alone; `None`: each seed is a run of each kind.
    pub only: Option<Kind>,
}

/// Of what a world is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pages, as of the web.
    Pages,
    /// Questions to language models (see `tenants`).
    Tenants,
}

/// What has happened in one or more runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests.
    pub requests: u64,
    /// Requests answered by the cache.
    pub answered: u64,
    /// How often requests were woken after another's fetch.
    pub waited: u64,
    /// Requests that reached the origin, the cache's own among them.
    pub fetched: u64,
    /// Requests of the cache's own.
    pub refreshed: u64,
    /// How often requests began to wait for a fetch.
    pub parked: u64,
    /// Requests of a cache of the same key space.
    pub nested: u64,
    /// Full answers that took the place of what was stored.
    pub replaced: u64,
    /// Records that came from Redis.
    pub remote: u64,
    /// Calls to Redis with several commands.
    pub batched: u64,
    /// Clients that left early.
    pub left: u64,
    /// Unsafe requests that invalidated.
    pub invalidated: u64,
    /// Purges.
    pub purged: u64,
    /// VMs that were replaced.
    pub restarted: u64,
    /// How often Redis was emptied.
    pub flushed: u64,
    /// Requests that waited for a place at the origin.
    pub queued: u64,
    /// Requests that were refused since there was none.
    pub overloaded: u64,
    /// Requests that a limit refused.
    pub limited: u64,
    /// Requests that waited for what Redis says of a quota.
    pub leased: u64,
    /// Requests that were questions of tenants.
    pub asked: u64,
    /// Those of them that the cache has answered.
    pub shared: u64,
    /// Events.
    pub events: u64,
}

impl Summary {
    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.answered += other.answered;
        self.waited += other.waited;
        self.fetched += other.fetched;
        self.refreshed += other.refreshed;
        self.parked += other.parked;
        self.nested += other.nested;
        self.replaced += other.replaced;
        self.remote += other.remote;
        self.batched += other.batched;
        self.left += other.left;
        self.invalidated += other.invalidated;
        self.purged += other.purged;
        self.restarted += other.restarted;
        self.flushed += other.flushed;
        self.queued += other.queued;
        self.overloaded += other.overloaded;
        self.limited += other.limited;
        self.leased += other.leased;
        self.asked += other.asked;
        self.shared += other.shared;
        self.events += other.events;
    }
}

/// What did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// What should have held.
    pub invariant: &'static str,
    /// What was the case instead.
    pub found: String,
    /// The last events before it, oldest first.
    pub events: Vec<String>,
}

/// One run. The same seed and options give the same result.
///
/// # Errors
/// The first thing that did not hold.
pub fn run(seed: u64, options: Options) -> Result<Summary, Box<Failure>> {
    let mut all = Summary::default();
    for kind in [Kind::Pages, Kind::Tenants] {
        if options.only.is_some_and(|only| only != kind) {
            continue;
        }
        match once(seed, kind, options, false) {
            Ok(summary) => all.add(&summary),
            // Again, with the events written down.
            Err(failure) => return Err(once(seed, kind, options, true).err().unwrap_or(failure)),
        }
    }
    Ok(all)
}

/// Runs with seeds in a row, as many at once as there are processors.
///
/// # Errors
/// What did not hold with the smallest seed that fails.
pub fn run_all(first: u64, count: u64, options: Options) -> Result<Summary, Box<Failure>> {
    let next = AtomicU64::new(0);
    let several = || {
        let mut all = Summary::default();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= count {
                return Ok(all);
            }
            match run(first.wrapping_add(nth), options) {
                Ok(summary) => all.add(&summary),
                Err(failure) => {
                    // Those before it are all taken.
                    next.store(count, Ordering::Relaxed);
                    return Err(failure);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(several)).collect();
        running.into_iter().map(|thread| thread.join().expect("a run does not panic")).collect()
    });
    let mut all = Summary::default();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(summary) => all.add(&summary),
            Err(failure) => failures.push(failure),
        }
    }
    failures.into_iter().min_by_key(|failure| failure.seed.wrapping_sub(first)).map_or(Ok(all), Err)
}

fn once(seed: u64, kind: Kind, options: Options, traced: bool) -> Result<Summary, Box<Failure>> {
    let mut world = World::new(seed, kind, options, traced);
    let violation = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(summary)) => return Ok(summary),
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Violation { invariant: "nothing panics", found: text.unwrap_or_default() }
        }
    };
    let events = world.take_trace();
    Err(Box::new(Failure { seed, invariant: violation.invariant, found: violation.found, events }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_violated_in_a_fixed_number_of_seeds() {
        if let Err(failure) = run_all(0, SEEDS, Options::default()) {
            panic!("{failure:#?}");
        }
    }

    #[test]
    fn a_seed_repeats_exactly() {
        let events = |(seed, kind)| {
            let mut world =
                World::new(seed, kind, Options { events: Some(usize::MAX), ..Options::default() }, true);
            (world.run().ok(), world.take_trace())
        };
        for seed in [(SEEDS, Kind::Pages), (SEEDS + 1, Kind::Pages), (SEEDS, Kind::Tenants)] {
            assert!(events(seed) == events(seed), "{seed:?}");
        }
    }

    const SEEDS: u64 = 200;
}

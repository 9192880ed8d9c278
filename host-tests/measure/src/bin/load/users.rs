//! Users who come one by one, ask, wait for the answer, think, and ask again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Finished, Swarm};
use selvage_rig::chance::Dice;

use crate::{
    arguments::Plan,
    traffic::{Asked, Traffic},
};

/// What became of the requests that were due in the time that counts.
#[derive(Default)]
pub struct Tally {
    /// From when a request was due to its last byte, in microseconds; only of those that were answered well.
    pub latencies: Vec<u32>,
    /// All requests.
    pub requests: u64,
    /// Those for which there was an answer, whatever it said, before the time was over.
    pub answered: u64,
    /// Those that were not purges.
    pub lookups: u64,
    /// Those of them that the cache answered.
    pub hits: u64,
    /// Purges.
    pub purges: u64,
    /// What was wrong, by how often.
    pub faults: BTreeMap<String, u64>,
}

/// What one second was like.
#[derive(Default)]
pub struct Second {
    /// Answers.
    pub answers: u64,
    /// Answers by the cache.
    pub hits: u64,
    /// Whatever was wrong.
    pub faults: u64,
    /// Latencies in microseconds.
    pub latencies: Vec<u32>,
}

/// No answer is waited for longer, when the time is over.
const PATIENCE: Duration = Duration::from_secs(10);
/// No load is larger.
const MOST: u64 = 50_000_000;

/// Sends the load; `each_second` is told of each second.
pub fn run(
    plan: &Plan,
    address: SocketAddr,
    traffic: &Traffic,
    mut each_second: impl FnMut(Duration, Second),
) -> Tally {
    let mut swarm = Swarm::new(&[address], plan.connections);
    let mut dice = Dice::new(plan.seed);
    let mut asked: Vec<Option<(Duration, Asked)>> = vec![None; plan.connections];
    let mut request = Vec::with_capacity(256);
    let (mut tally, mut second, mut told) = (Tally::default(), Second::default(), 0);
    let (from, to) = (plan.ramp, plan.ramp + plan.lasting);
    let comes = |user: usize| plan.ramp.mul_f64(user as f64 / plan.connections as f64);
    let mut due: BinaryHeap<_> = (0..plan.connections).map(|user| Reverse((comes(user), user))).collect();
    let (mut under_way, mut sent) = (0usize, 0u64);
    let mut finished: Vec<Finished> = Vec::with_capacity(512);
    let start = Instant::now();
    loop {
        let now = start.elapsed();
        if now >= to && under_way == 0 || now >= to + PATIENCE || sent >= MOST {
            break;
        }
        if now.as_secs() > told && now < to + Duration::from_secs(1) {
            told = now.as_secs();
            each_second(now, std::mem::take(&mut second));
        }
        while let Some(Reverse((at, user))) =
            due.peek().copied().filter(|Reverse((at, _))| *at <= now && *at < to)
        {
            due.pop();
            let what = traffic.write(&mut dice, &mut request);
            asked[user] = Some((at, what));
            under_way += 1;
            sent += 1;
            finished.extend(swarm.ask(user, &request, start + at));
        }
        // At the end only answers are waited for.
        let next = due.peek().map(|Reverse((at, _))| *at).filter(|at| *at < to).unwrap_or(Duration::MAX);
        let wake = next.min(now + Duration::from_millis(50));
        // Those whose connection was refused are done already.
        let until = if finished.is_empty() { start + wake } else { start };
        swarm.poll(until, |done| finished.push(done));
        let now = start.elapsed();
        for done in finished.drain(..) {
            let Some((at, what)) = asked[done.client].take() else { continue };
            under_way -= 1;
            due.push(Reverse((now + dice.pause(plan.think), done.client)));
            let micros = done.latency.as_micros().min(u32::MAX.into()) as u32;
            let fault = match &done.answer {
                Ok(answer) => traffic.fault(what, answer),
                Err(problem) => Some((*problem).to_owned()),
            };
            let hit = what != Asked::Purge
                && done.answer.as_ref().is_ok_and(|answer| answer.field("cache-status").is_some_and(is_hit));
            second.answers += 1;
            second.hits += u64::from(hit);
            second.faults += u64::from(fault.is_some());
            second.latencies.push(micros);
            if (from..to).contains(&at) {
                tally.count(what, hit, fault, micros);
                tally.answered += u64::from(done.answer.is_ok() && now < to);
            }
        }
    }
    for (at, what) in asked.into_iter().flatten().filter(|(at, _)| (from..to).contains(at)) {
        let micros = (start.elapsed() - at).as_micros() as u32;
        tally.count(what, false, Some("no answer".to_owned()), micros);
    }
    tally
}

/// `Selvage; hit; …`, also where several caches say something.
fn is_hit(status: &[u8]) -> bool {
    status.windows(5).any(|piece| piece == b"; hit")
}

impl Tally {
    fn count(&mut self, what: Asked, hit: bool, fault: Option<String>, micros: u32) {
        self.requests += 1;
        self.purges += u64::from(what == Asked::Purge);
        self.lookups += u64::from(what != Asked::Purge);
        self.hits += u64::from(hit && fault.is_none());
        match fault {
            Some(fault) => *self.faults.entry(fault).or_default() += 1,
            None => self.latencies.push(micros),
        }
    }
}

/// The latency, in milliseconds, that so many of 100 are not above. It sorts them.
pub fn percentile(latencies: &mut [u32], percent: f64) -> f64 {
    let index = (latencies.len() as f64 * percent / 100.0) as usize;
    let index = index.min(latencies.len().saturating_sub(1));
    if latencies.is_empty() {
        return 0.0;
    }
    f64::from(*latencies.select_nth_unstable(index).1) / 1000.0
}

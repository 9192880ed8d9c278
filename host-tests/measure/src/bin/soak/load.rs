//! A steady load that does not wait for answers, in a thread of its own, which can be paused.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Finished, Swarm};

use crate::traffic::{Asked, Outcome, Traffic, Wanted};

/// The most requests under way at once.
const CLIENTS: usize = 2048;
/// Between purges.
const PURGE_EVERY: Duration = Duration::from_secs(1);
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(25);

/// The load, until it is dropped.
pub struct Load {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Control {
    paused: AtomicBool,
    quiet: AtomicBool,
    ended: AtomicBool,
    trouble: AtomicBool,
    tally: Mutex<Tally>,
}

/// What became of requests.
#[derive(Clone, Default)]
pub struct Tally {
    /// All requests.
    pub asked: u64,
    /// Those that a cache may answer and for which there was an answer.
    pub lookups: u64,
    /// Those of them that the cache answered.
    pub hits: u64,
    /// Purges and URLs to warm.
    pub purges: u64,
    /// Clients that went away before their answer.
    pub left: u64,
    /// Requests that were not sent, because too many were under way.
    pub unsent: u64,
    /// Requests that failed while the origin was in trouble.
    pub excused: u64,
    /// What must not be, by how often.
    pub faults: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds what became of others.
    pub fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.lookups += other.lookups;
        self.hits += other.hits;
        self.purges += other.purges;
        self.left += other.left;
        self.unsent += other.unsent;
        self.excused += other.excused;
        for (fault, count) in &other.faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
    }
}

impl Load {
    /// Begins. A plugin that `keeps` what is asked for often has something stale for it at any time.
    pub fn start(address: SocketAddr, rate: u32, seed: u64, keeps: bool) -> Self {
        let control = Arc::<Control>::default();
        let of_thread = Arc::clone(&control);
        let thread =
            thread::spawn(move || Clients::new(address, Traffic::new(seed, keeps), of_thread).run(rate));
        Self { control, thread: Some(thread) }
    }

    /// Sends nothing more, or goes on.
    pub fn pause(&self, paused: bool) {
        self.control.quiet.store(false, Ordering::SeqCst);
        self.control.paused.store(paused, Ordering::SeqCst);
    }

    /// Whether no request has been under way and no connection open since the pause began.
    pub fn is_quiet(&self) -> bool {
        self.control.quiet.load(Ordering::SeqCst)
    }

    /// Whether what the origin has to answer may fail.
    pub fn excuse(&self, trouble: bool) {
        self.control.trouble.store(trouble, Ordering::SeqCst);
    }

    /// All that has become of requests so far.
    pub fn tally(&self) -> Tally {
        self.control.tally.lock().unwrap().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.control.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A request under way.
struct UnderWay {
    wanted: Wanted,
    number: u64,
    since: Instant,
    excused: bool,
}

struct Clients {
    control: Arc<Control>,
    swarm: Swarm,
    traffic: Traffic,
    asked: Vec<Option<UnderWay>>,
    idle: Vec<usize>,
    /// Who goes away when, by the number of the request.
    leaving: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    count: u64,
    /// Of requests that could not be sent, and so are not told of by the swarm.
    finished: Vec<Finished>,
}

impl Clients {
    fn new(address: SocketAddr, traffic: Traffic, control: Arc<Control>) -> Self {
        Self {
            control,
            swarm: Swarm::new(&[address], CLIENTS),
            traffic,
            asked: (0..CLIENTS).map(|_| None).collect(),
            idle: (0..CLIENTS).rev().collect(),
            leaving: BinaryHeap::new(),
            count: 0,
            finished: Vec::new(),
        }
    }

    fn run(mut self, rate: u32) {
        let every = Duration::from_secs(1) / rate;
        let (mut next, mut purge) = (Instant::now(), Instant::now());
        while !self.control.ended.load(Ordering::SeqCst) {
            let now = Instant::now();
            let paused = self.control.paused.load(Ordering::SeqCst);
            if paused {
                (next, purge) = (now, now + PURGE_EVERY);
            }
            while !paused && next <= now {
                let asked = self.traffic.next();
                self.ask(asked, next);
                next += every;
            }
            if !paused && purge <= now {
                let asked = self.traffic.purge();
                self.control.tally.lock().unwrap().purges += 1;
                self.ask(asked, now);
                purge += PURGE_EVERY;
            }
            self.let_leave(now);
            let wake = if paused { now + Duration::from_millis(5) } else { next };
            let leaving = self.leaving.peek().map_or(wake, |Reverse((at, _, _))| *at);
            let mut finished = std::mem::take(&mut self.finished);
            let until = if finished.is_empty() { wake.min(leaving) } else { now };
            self.swarm.poll(until, |done| finished.push(done));
            let trouble = self.control.trouble.load(Ordering::SeqCst);
            finished.drain(..).for_each(|done| self.finish(done, trouble));
            if paused && self.idle.len() == CLIENTS && !self.control.quiet.load(Ordering::SeqCst) {
                // A rush leaves many connections behind, each of which takes memory in Envoy as long as it is open.
                (0..CLIENTS).for_each(|client| self.swarm.hang_up(client));
                self.control.quiet.store(true, Ordering::SeqCst);
            }
        }
    }

    fn ask(&mut self, asked: Asked, due: Instant) {
        let control = Arc::clone(&self.control);
        let mut tally = control.tally.lock().unwrap();
        // The one that was used last, so that some connections are kept for long and the others idle.
        let Some(client) = self.idle.pop() else {
            tally.unsent += 1;
            return;
        };
        tally.asked += 1;
        self.count += 1;
        // Nobody waits for ever: then it is a fault, and not the client's wish.
        let leaves = due + asked.leaves.unwrap_or(PATIENCE);
        self.leaving.push(Reverse((leaves, client, self.count)));
        let excused = self.control.trouble.load(Ordering::SeqCst);
        self.asked[client] = Some(UnderWay { wanted: asked.wanted, number: self.count, since: due, excused });
        self.finished.extend(self.swarm.ask(client, &asked.bytes, due));
    }

    fn let_leave(&mut self, now: Instant) {
        while let Some(Reverse((_, client, number))) =
            self.leaving.peek().filter(|first| first.0.0 <= now).copied()
        {
            self.leaving.pop();
            let Some(under_way) = self.asked[client].take_if(|under_way| under_way.number == number) else {
                continue;
            };
            self.swarm.hang_up(client);
            self.idle.push(client);
            let mut tally = self.control.tally.lock().unwrap();
            if now - under_way.since < PATIENCE {
                tally.left += 1;
            } else {
                *tally.faults.entry("no answer".to_owned()).or_default() += 1;
            }
        }
    }

    fn finish(&mut self, done: Finished, trouble: bool) {
        let Some(under_way) = self.asked[done.client].take() else { return };
        self.idle.push(done.client);
        let excused = trouble || under_way.excused;
        let mut tally = self.control.tally.lock().unwrap();
        let fault = match &done.answer {
            Ok(answer) => match under_way.wanted.judge(answer) {
                Outcome::Good { hit } => {
                    let lookup = under_way.wanted.is_lookup();
                    tally.lookups += u64::from(lookup);
                    tally.hits += u64::from(lookup && hit);
                    return;
                }
                Outcome::Unanswered(_) if excused => None,
                Outcome::Unanswered(status) => Some(format!("status {status} {}", answer.cache_status())),
                Outcome::Wrong(what) => Some(what),
            },
            // A response on its way when the origin dies ends in the middle.
            Err("broken off") if excused => None,
            Err(problem) => Some((*problem).to_owned()),
        };
        match fault {
            None => tally.excused += 1,
            Some(fault) => *tally.faults.entry(fault).or_default() += 1,
        }
    }
}

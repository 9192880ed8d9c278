//! An open loop: requests leave at their times, as if those who send them knew nothing of each other, whatever became of those
//! before.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Finished, Swarm, get_with};
use selvage_rig::chance::Dice;

/// An answer that comes later is of no use.
pub const DEADLINE: Duration = Duration::from_millis(250);
/// Whoever has no answer after this goes away.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is stored are so many responses.
pub const STORED: usize = 100;

/// Requests of one sort.
#[derive(Clone, Copy)]
pub struct Kind {
    /// In a second, on average.
    pub rate: f64,
    /// Field lines, each with its end.
    pub fields: &'static str,
    /// They are for what is stored.
    pub stored: bool,
}

impl Kind {
    pub const fn new(rate: f64, fields: &'static str) -> Self {
        Self { rate, fields, stored: false }
    }
}

/// What became of a request.
#[derive(Clone, Copy)]
pub struct Sample {
    /// When it was due, since the load's beginning.
    pub due: Duration,
    /// How long after that it was sent.
    pub late: Duration,
    /// Its sort.
    pub kind: usize,
    /// From when it was due to its whole answer.
    pub latency: Duration,
    /// Of the answer; 0 if there was none.
    pub status: u16,
}

impl Sample {
    pub fn is_served(&self) -> bool {
        self.status == 200
    }

    pub fn is_in_time(&self) -> bool {
        self.is_served() && self.latency <= DEADLINE
    }
}

struct Load {
    swarm: Swarm,
    samples: Vec<Sample>,
    /// By connection: the request that is under way.
    asked: Vec<Option<usize>>,
    idle: Vec<usize>,
    /// When who goes away, the first first.
    leaving: VecDeque<(Instant, usize, usize)>,
}

/// Sends this for so long; gives what became of each request.
pub fn offer(address: SocketAddr, kinds: &[Kind], lasting: Duration, seed: u64) -> Vec<Sample> {
    let rate: f64 = kinds.iter().map(|kind| kind.rate).sum();
    // All who may wait at once, and half as many again.
    let most = (rate * PATIENCE.as_secs_f64() * 1.5) as usize + 64;
    let mut load = Load {
        swarm: Swarm::new(&[address], most),
        samples: Vec::new(),
        asked: vec![None; most],
        idle: (0..most).rev().collect(),
        leaving: VecDeque::new(),
    };
    let mut dice = Dice::new(seed);
    let mut pause = move || Duration::from_secs_f64(-(1.0 - dice.fraction()).ln() / rate);
    let mut choice = Dice::new(seed ^ 0x6b69_6e64);
    let began = Instant::now();
    let mut due = pause();
    loop {
        while due < lasting && began + due <= Instant::now() {
            let mut point = choice.fraction() * rate;
            let chosen = kinds.iter().position(|kind| {
                point -= kind.rate;
                point < 0.0
            });
            let kind = chosen.unwrap_or(kinds.len() - 1);
            load.ask(kinds[kind], kind, began, due);
            due += pause();
        }
        let now = Instant::now();
        load.let_leave(now);
        if due >= lasting && load.leaving.is_empty() {
            return load.samples;
        }
        let leaving = load.leaving.front().map(|first| first.0);
        let next = (due < lasting).then_some(began + due);
        load.take(next.into_iter().chain(leaving).min().unwrap_or(now));
    }
}

impl Load {
    fn ask(&mut self, kind: Kind, number: usize, began: Instant, due: Duration) {
        let sample = self.samples.len();
        let at = began + due;
        let target =
            if kind.stored { format!("/stored/{}", sample % STORED) } else { format!("/own/{sample}") };
        self.samples.push(Sample { due, late: at.elapsed(), kind: number, latency: PATIENCE, status: 0 });
        // The one that was used last: so that no more are open than are needed.
        let Some(client) = self.idle.pop() else { return };
        self.asked[client] = Some(sample);
        self.leaving.push_back((at + PATIENCE, client, sample));
        if let Some(done) = self.swarm.ask(client, &get_with(&target, kind.fields), at) {
            self.finish(&done);
        }
    }

    fn take(&mut self, until: Instant) {
        let mut finished = Vec::new();
        self.swarm.poll(until, |done| finished.push(done));
        finished.iter().for_each(|done| self.finish(done));
        // Those who have their answers need not be waited for.
        while self.leaving.front().is_some_and(|(_, client, sample)| self.asked[*client] != Some(*sample)) {
            self.leaving.pop_front();
        }
    }

    fn finish(&mut self, done: &Finished) {
        let Some(sample) = self.asked[done.client].take() else { return };
        self.idle.push(done.client);
        let sample = &mut self.samples[sample];
        sample.latency = done.latency;
        sample.status = done.answer.as_ref().map_or(0, |answer| answer.status);
    }

    fn let_leave(&mut self, now: Instant) {
        while let Some((_, client, sample)) = self.leaving.front().filter(|first| first.0 <= now).copied() {
            self.leaving.pop_front();
            if self.asked[client].take_if(|asked| *asked == sample).is_some() {
                self.swarm.hang_up(client);
                self.idle.push(client);
            }
        }
    }
}

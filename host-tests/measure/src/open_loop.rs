//! An open loop: requests leave at their times, as if those who send them knew nothing of each other, whatever became of those
//! before.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use selvage_rig::chance::Dice;

use crate::crowd::{Finished, Swarm};

/// What is offered.
pub struct Offer<'a> {
    /// Kind `k` asks the one at `k` modulo their number.
    pub addresses: &'a [SocketAddr],
    /// Requests of each kind in a second, on average.
    pub rates: &'a [f64],
    /// Whoever has no answer after this goes away.
    pub patience: Duration,
    /// How long.
    pub lasting: Duration,
    /// Other arrivals.
    pub seed: u64,
}

/// What became of a request.
#[derive(Clone, Copy)]
pub struct Sample {
    /// When it was due, since the load's beginning.
    pub due: Duration,
    /// How long after that it was sent.
    pub late: Duration,
    /// Its kind.
    pub kind: usize,
    /// From when it was due to its whole answer.
    pub latency: Duration,
    /// Of the answer; 0 if there was none.
    pub status: u16,
}

struct Load {
    swarm: Swarm,
    patience: Duration,
    samples: Vec<Sample>,
    /// By connection: the request that is under way.
    asked: Vec<Option<usize>>,
    /// Connections without one, by address.
    idle: Vec<Vec<usize>>,
    /// When who goes away, the first first.
    leaving: VecDeque<(Instant, usize, usize)>,
}

impl Offer<'_> {
    /// Sends requests that `request` makes of their kind and number; gives what became of each.
    pub fn send(&self, request: &mut dyn FnMut(usize, usize) -> Vec<u8>) -> Vec<Sample> {
        let rate: f64 = self.rates.iter().sum();
        let places = self.addresses.len();
        // All who may wait at once, and half as many again.
        let most = ((rate * self.patience.as_secs_f64() * 1.5) as usize + 64).next_multiple_of(places);
        let idle = (0..places).map(|place| (place..most).step_by(places).rev().collect());
        let mut load = Load {
            swarm: Swarm::new(self.addresses, most),
            patience: self.patience,
            samples: Vec::new(),
            asked: vec![None; most],
            idle: idle.collect(),
            leaving: VecDeque::new(),
        };
        let mut dice = Dice::new(self.seed);
        let mut pause = move || Duration::from_secs_f64(-(1.0 - dice.fraction()).ln() / rate);
        let mut choice = Dice::new(self.seed ^ 0x6b69_6e64);
        let began = Instant::now();
        let mut due = pause();
        loop {
            while due < self.lasting && began + due <= Instant::now() {
                let mut point = choice.fraction() * rate;
                let chosen = self.rates.iter().position(|rate| {
                    point -= rate;
                    point < 0.0
                });
                let kind = chosen.unwrap_or(self.rates.len() - 1);
                let bytes = request(kind, load.samples.len());
                load.ask(&bytes, kind, began, due);
                due += pause();
            }
            let now = Instant::now();
            load.let_leave(now);
            if due >= self.lasting && load.leaving.is_empty() {
                return load.samples;
            }
            let leaving = load.leaving.front().map(|first| first.0);
            let next = (due < self.lasting).then_some(began + due);
            load.take(next.into_iter().chain(leaving).min().unwrap_or(now));
        }
    }
}

impl Load {
    fn ask(&mut self, request: &[u8], kind: usize, began: Instant, due: Duration) {
        let sample = self.samples.len();
        let at = began + due;
        self.samples.push(Sample { due, late: at.elapsed(), kind, latency: self.patience, status: 0 });
        // The one that was used last: so that no more are open than are needed.
        let place = kind % self.idle.len();
        let Some(client) = self.idle[place].pop() else { return };
        self.asked[client] = Some(sample);
        self.leaving.push_back((at + self.patience, client, sample));
        if let Some(done) = self.swarm.ask(client, request, at) {
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
        self.rest(done.client);
        let sample = &mut self.samples[sample];
        sample.latency = done.latency;
        sample.status = done.answer.as_ref().map_or(0, |answer| answer.status);
    }

    fn rest(&mut self, client: usize) {
        let place = client % self.idle.len();
        self.idle[place].push(client);
    }

    fn let_leave(&mut self, now: Instant) {
        while let Some((_, client, sample)) = self.leaving.front().filter(|first| first.0 <= now).copied() {
            self.leaving.pop_front();
            if self.asked[client].take_if(|asked| *asked == sample).is_some() {
                self.swarm.hang_up(client);
                self.rest(client);
            }
        }
    }
}
